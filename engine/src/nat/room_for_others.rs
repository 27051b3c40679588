//! Full tables of a team: what makes room may be at another worker than what needs it.
//!
//! When all sessions are in use, a worker that has less than its share opens its session all the same, within the
//! 5 % by which totals hold, and the others end sessions that may make room until the total is right again. When an
//! external address has no port left, the worker asks; one of the others ends a mapping that may make room, whose port
//! then rests, and the next packet gets it. Nobody waits for anybody.

use super::Nat;
use super::session::Session;
use super::translate::VICTIMS_LOOKED_AT;
use crate::time::Timestamp;

impl Nat {
    /// Whether there may be a session more since other workers have some that make room. `is_last_resort`: nothing
    /// here makes room.
    pub(super) fn borrow_room(&mut self, is_last_resort: bool) -> bool {
        let Some(quota) = &mut self.quota else { return false };
        let (used, most) = (self.sessions.len() as u32, self.settings.max_sessions);
        let has_less_than_others = used < most / u32::from(quota.workers());
        (is_last_resort || has_less_than_others) && quota.borrow(most)
    }

    /// Whether another worker needs room.
    pub(super) fn is_asked_for_room(&self) -> bool {
        self.quota.as_ref().is_some_and(super::Quota::is_asked) || self.mappings.is_asked()
    }

    /// Ends what makes room for other workers, a portion of it.
    pub(super) fn make_room_for_others(&mut self, now: Timestamp) {
        let Some(quota) = &mut self.quota else { return };
        let most = self.settings.max_sessions;
        if quota.take_request() {
            for _ in 0..super::PORTION {
                let Some(quota) = &mut self.quota else { return };
                quota.give_back(self.sessions.len() as u32);
                if !quota.is_overdrawn(most) || !self.evict_for_room(now) {
                    break;
                }
            }
        }
        while let Some((protocol, address)) = self.mappings.take_request() {
            let mappings = &self.mappings;
            let frees = |session: &Session| {
                session.external_address == address
                    && mappings.get(session.mapping).is_some_and(|mapping| mapping.sessions == 1)
            };
            let victim = self.queues.victim_for(&self.sessions, protocol, VICTIMS_LOOKED_AT, frees);
            if let Some(victim) = victim.filter(|_| mappings.answer_request(protocol, address)) {
                self.end_session(now, victim);
                self.stages.sessions_evicted += 1;
            }
        }
    }
}
