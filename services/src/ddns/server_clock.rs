//! The clock of a DNS server, where that differs from ours by so much that our signatures do not count (RFC 8945 §5.2.3).
//!
//! The server tells its time in a reply that is signed with our key and covers our request, so nobody else can have told
//! it. Signed with that time, the same update is taken. It goes for signatures alone: our clock stays as it is.

use super::client::Now;
use super::tsig::FUDGE;
use genkan_engine::UnixTime;

/// A clock that moved by more against the monotonic one was set, in seconds; both are cut to seconds.
const SET: u64 = 2;

/// What is known of a server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerClock {
    /// Seconds that it is before ours; negative: behind.
    ahead: i64,
    /// When the monotonic clock was at its origin, by ours.
    origin: i64,
}

/// By our clock, in seconds since 1970.
fn origin(now: Now, wall: UnixTime) -> i64 {
    wall.0.saturating_sub_unsigned(now.at.as_nanos() / 1_000_000_000)
}

impl ServerClock {
    /// From what the server has told `now`. Nothing without a clock of our own.
    pub(super) fn told(now: Now, server: UnixTime) -> Option<ServerClock> {
        let wall = now.wall?;
        Some(ServerClock { ahead: server.0.saturating_sub(wall.0), origin: origin(now, wall) })
    }

    /// Seconds that it is before ours, as long as ours was not set meanwhile.
    pub(super) fn ahead(self, now: Now) -> i64 {
        let is_set = |wall| origin(now, wall).abs_diff(self.origin) > SET;
        if now.wall.is_none_or(is_set) { 0 } else { self.ahead }
    }

    /// [`ServerClock::ahead`], where it is more than signatures bear.
    pub(super) fn trouble(self, now: Now) -> Option<i64> {
        Some(self.ahead(now)).filter(|ahead| ahead.unsigned_abs() > u64::from(FUDGE))
    }
}
