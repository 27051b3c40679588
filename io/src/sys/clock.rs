//! The clocks that the engine is told about.

use std::time::{Duration, Instant, SystemTime};

use genkan_engine::time::{Timestamp, UnixTime};

/// A monotonic clock that starts at zero, and the wall clock.
///
/// Copies share the origin: give every worker a copy of one clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose [`Timestamp::ZERO`] is now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Monotonic time since the start. (One `clock_gettime` in the vDSO: once per batch, not per frame.)
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// Wall time of [`Timestamp::ZERO`] by the wall clock as it stands now, since 1970-01-01T00:00:00Z.
    pub fn epoch(&self) -> Duration {
        since_1970().saturating_sub(self.origin.elapsed())
    }

    /// Wall time in whole seconds.
    pub fn wall(&self) -> UnixTime {
        UnixTime(i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX))
    }
}

/// Wall time since 1970-01-01T00:00:00Z, for captures; zero when the clock stands before that.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forward_from_zero() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first < Timestamp::from_secs(60));
        assert!(clock.now() >= first);
        // This was written in 2026.
        assert!(clock.wall() > UnixTime(1_760_000_000));
    }
}
