//! Sessions for a later process: read out in pieces, put back in pieces.

use std::time::Duration;

use super::Router;
use super::views::portion;
use crate::nat::catch_up::CatchUp;
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
            outcome.count(self.nat.restore(now, elapsed, session));
        }
        outcome
    }

    /// Begins to catch up with a router whose sessions were put back here while it went on, and that has stopped now.
    pub fn begin_catch_up(&self) -> CatchUp {
        self.nat.begin_catch_up()
    }

    /// Goes through a piece of all its records, read out `elapsed` ago. Some hundred nanoseconds for each.
    pub fn compare(
        &mut self,
        now: Timestamp,
        elapsed: Duration,
        sessions: &[SavedSession],
        catch_up: &mut CatchUp,
    ) {
        self.nat.compare(now, elapsed, sessions, catch_up);
    }

    /// When all have been gone through: from now on the sessions are those of the records.
    pub fn catch_up(&mut self, now: Timestamp, elapsed: Duration, catch_up: CatchUp) -> Restored {
        self.nat.catch_up(now, elapsed, catch_up)
    }
}
