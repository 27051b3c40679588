# `genkan conformance`.

conformance-met = met
conformance-partly = partly
conformance-not-met = not met
conformance-not-applicable = not applicable
conformance-not-live = not live
conformance-why = not live: { $why }
conformance-score = { $device }: { $met } of { $all } MUSTs met
