# `genkan conformance`.

conformance-met = 適合
conformance-partly = 一部適合
conformance-not-met = 不適合
conformance-not-applicable = 対象外
conformance-not-live = 実機試験なし
conformance-why = 実機試験なし: { $why }
conformance-score = { $device }: MUST 要件 { $all } 件中 { $met } 件に適合
