//! How long ago something was written, also by another process or before a reboot.

use std::time::Duration;

use genkan_io::sys::clock::since_1970;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment on two clocks: while the machine runs, the one counts that nobody sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Which run of the machine (`/proc/sys/kernel/random/boot_id`); empty when nobody knows.
    pub(crate) boot: String,
    /// Since the start of the machine, pauses included (`CLOCK_BOOTTIME`).
    pub(crate) since_boot: Duration,
    /// Wall time since 1970.
    pub(crate) wall: Duration,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Moment {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        Moment { boot: boot.trim().to_owned(), since_boot, wall: since_1970() }
    }

    /// The time from `self` to a later moment; `None` when nobody can tell, as the machine was started anew and its
    /// clock stands before `self`.
    pub(crate) fn until(&self, later: &Moment) -> Option<Duration> {
        if !self.boot.is_empty() && self.boot == later.boot {
            // In another time namespace it may seem to go back: then hardly any time has passed.
            return Some(later.since_boot.saturating_sub(self.since_boot));
        }
        later.wall.checked_sub(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: &str, since_boot: u64, wall: u64) -> Moment {
        let seconds = Duration::from_secs;
        Moment { boot: boot.to_owned(), since_boot: seconds(since_boot), wall: seconds(wall) }
    }

    #[test]
    fn within_one_run_of_the_machine_nobody_asks_the_wall_clock() {
        let written = moment("a", 100, 5_000);
        assert_eq!(written.until(&moment("a", 107, 0)), Some(Duration::from_secs(7)));
        assert_eq!(written.until(&moment("a", 107, 9_000_000)), Some(Duration::from_secs(7)));
    }

    #[test]
    fn beyond_a_reboot_the_wall_clock_tells_unless_it_went_back() {
        let written = moment("a", 100, 5_000);
        assert_eq!(written.until(&moment("b", 3, 5_060)), Some(Duration::from_secs(60)));
        assert_eq!(written.until(&moment("b", 3, 0)), None, "a box without a clock boots in 1970");
        let unknown = moment("", 100, 5_000);
        assert_eq!(unknown.until(&moment("", 3, 5_060)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn now_is_now() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first.until(&second).is_some_and(|passed| passed < Duration::from_secs(60)));
    }
}
