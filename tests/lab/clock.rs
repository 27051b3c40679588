//! Virtual time: moves only when told.

use std::time::Duration;

use genkan_engine::{Timestamp, UnixTime};

/// The wall time at which every lab starts: 2026-01-01T00:00:00Z.
pub const WALL_START: UnixTime = UnixTime(1_767_225_600);

/// Monotonic and wall time of one lab.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Timestamp,
    start: Timestamp,
}

impl Default for Clock {
    /// Starts an hour after the origin, so that nothing passes since it began at 0.
    fn default() -> Clock {
        let start = Timestamp::from_secs(3600);
        Clock { now: start, start }
    }
}

impl Clock {
    /// The monotonic time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The wall time, whole seconds.
    pub fn wall(&self) -> UnixTime {
        let elapsed = self.elapsed().as_secs();
        UnixTime(WALL_START.0 + i64::try_from(elapsed).expect("a test of less than the age of the universe"))
    }

    /// Time since the lab began.
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_since(self.start)
    }

    /// Moves on to `then`; never back.
    pub fn advance_to(&mut self, then: Timestamp) {
        self.now = self.now.max(then);
    }
}
