//! Frames that are judged like any other, with what was asked on the way ([`crate::trail`]).

use super::Router;
use super::ingress::{Prepared, key_of, untag_priority};
use crate::frame::{Offload, PortId, Slot};
use crate::packet::parsed::{Parsed, parse_ipv4};
use crate::team::Stage;
use crate::time::Timestamp;
use crate::trail::{Step, Trail};
use crate::verdict::Verdict;

impl Router {
    /// [`Router::handle_frame`], with what was asked on the way. The same stages judge, and all happens that would have:
    /// only the short way of established sessions is left aside, which leads where the long one leads.
    pub fn explain(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: Offload,
    ) -> (Verdict, Vec<Step>) {
        let bytes = std::mem::take(frame);
        let mut slot = Slot { offset: 0, len: bytes.len(), offload, verdict: Verdict::Consumed };
        let mut steps = Vec::new();
        self.explain_slot(now, port, None, bytes, &mut slot, &mut steps);
        *frame = &mut bytes[slot.offset..slot.offset + slot.len];
        (slot.verdict, steps)
    }

    /// The same for one frame of a batch: as [`Router::handle_batch`] would judge it, or, handed over at a `stage`, as
    /// [`Router::handle_handed_over`]. `steps` is emptied first.
    pub fn explain_slot(
        &mut self,
        now: Timestamp,
        port: PortId,
        stage: Option<Stage>,
        memory: &mut [u8],
        slot: &mut Slot,
        steps: &mut Vec<Step>,
    ) {
        let mut frame = super::frame_of(memory, slot);
        steps.clear();
        self.nat.trail = Some(Trail::over(std::mem::take(steps)));
        self.stage = stage;
        let asked_as = if stage == Some(Stage::TurnedRound) { PortId::WAN } else { port };
        let parsed;
        match stage {
            None | Some(Stage::Arrived | Stage::Assigned) => {
                let skipped = untag_priority(frame);
                frame = &mut frame[skipped..];
                (slot.offset, slot.len) = (slot.offset + skipped, slot.len - skipped);
                if stage.is_none() {
                    self.count_received(port, 1, frame.len() as u64);
                }
                parsed = parse_ipv4(frame).ok();
                slot.verdict = self.judge_at_length(now, port, &mut frame, &slot.offload, &Prepared::BLANK);
                slot.len = frame.len();
            }
            Some(stage) => {
                parsed = parse_ipv4(frame).ok();
                slot.verdict = self.take_half_done(now, port, stage, frame, &slot.offload);
                self.count(slot.verdict, slot.len);
                self.stage = None;
            }
        }
        *steps = self.nat.trail.take().map(Trail::into_steps).unwrap_or_default();
        if let Some(parsed) = parsed {
            self.tell_rule(now, asked_as, &parsed, steps);
        }
        self.pump_neighbors(now);
        self.stage = None;
    }

    /// Adds which forward has let the session pass that the packet was found to belong to.
    fn tell_rule(&self, now: Timestamp, port: PortId, parsed: &Parsed, steps: &mut Vec<Step>) {
        let is_known = matches!(steps.first(), Some(Step::Known { origin: "forward", .. }));
        if !is_known || matches!(steps.get(1), Some(Step::SessionRevoked | Step::Reopening)) {
            return;
        }
        let key = key_of(port, parsed);
        let found = self.nat.sessions.find(key, self.nat.sessions.hash(key));
        let session = found.and_then(|(id, _)| self.nat.sessions.get(id));
        if let Some(rule) = session.and_then(|session| self.rule_of(now, session)) {
            steps.insert(1, Step::AdmittedBy { rule });
        }
    }
}
