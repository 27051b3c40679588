//! Sessions for a later process: read out in pieces, put back in pieces.

use std::time::Duration;

use super::Router;
use super::views::portion;
use crate::nat::saved::{Restored, SavedSession};
use crate::time::Timestamp;

impl Router {
    /// Up to `limit` sessions from table position `cursor` on, with what it takes to put them back, and the position to
    /// go on from; bounded like [`Router::sessions`].
    pub fn save(&self, now: Timestamp, cursor: u32, limit: u32) -> (Vec<SavedSession>, Option<u32>) {
        portion(cursor, limit, self.nat.sessions.end(), |id| self.nat.saved(now, id))
    }

    /// Puts sessions back that were read out `elapsed` ago, as far as the plan in force allows them, no session has
    /// taken their place, and their idle time has not run out. In a team every worker is given every record; each takes
    /// its own, and counts only those. About a microsecond for each.
    pub fn restore(&mut self, now: Timestamp, elapsed: Duration, sessions: &[SavedSession]) -> Restored {
        let mut outcome = Restored::default();
        for session in sessions {
            match self.nat.restore(now, elapsed, session) {
                Ok(is_ours) => outcome.restored += u64::from(is_ours),
                Err(reason) => outcome.refused[reason as usize] += 1,
            }
        }
        outcome
    }
}
