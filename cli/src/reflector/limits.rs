//! How much is done for one asker and for all of them, in memory of fixed size.
//!
//! Each limit is a bucket that holds a burst and is refilled evenly, kept as the one time at which it would be full again
//! (the generic cell rate algorithm of ATM). Sources share a table of such times by a keyed hash: two that meet in one
//! place share its allowance, and nobody can choose whom to meet.

use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// Places for sources, 8 octets each.
const PLACES: usize = 8192;

/// So many at once, and then one in each interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// At once.
    pub(super) burst: u32,
    /// Time for one.
    pub(super) interval: Duration,
}

/// A limit for each source and one for all.
#[derive(Debug)]
pub(super) struct Limit {
    key: [u8; 16],
    per_source: Rate,
    in_all: Rate,
    /// When each place's bucket is full again, in microseconds since the start.
    sources: Vec<u64>,
    all: u64,
}

impl Limit {
    /// Full buckets.
    pub(super) fn new(key: [u8; 16], per_source: Rate, in_all: Rate) -> Limit {
        Limit { key, per_source, in_all, sources: vec![0; PLACES], all: 0 }
    }

    /// Takes one, if there is one for this source and one in all.
    pub(super) fn admits(&mut self, now: Duration, source: Ipv4Addr) -> bool {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&source.octets());
        let place = hasher.finish() as usize % PLACES;
        let now = now.as_micros() as u64;
        let (own, all) =
            (taken(self.sources[place], now, self.per_source), taken(self.all, now, self.in_all));
        let (Some(own), Some(all)) = (own, all) else { return false };
        (self.sources[place], self.all) = (own, all);
        true
    }
}

/// When a bucket is full again after one more is taken; `None` when it is empty.
fn taken(full: u64, now: u64, rate: Rate) -> Option<u64> {
    let interval = rate.interval.as_micros() as u64;
    let full = full.max(now);
    (full - now <= interval * u64::from(rate.burst.saturating_sub(1))).then_some(full + interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn admitted(limit: &mut Limit, now: Duration, source: Ipv4Addr) -> usize {
        (0..100).filter(|_| limit.admits(now, source)).count()
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let rate = Rate { burst: 5, interval: SECOND };
        let mut limit = Limit::new([1; 16], rate, Rate { burst: 1000, interval: SECOND });
        assert_eq!(admitted(&mut limit, 10 * SECOND, ONE), 5);
        assert_eq!(admitted(&mut limit, 10 * SECOND + SECOND / 2, ONE), 0);
        assert_eq!(admitted(&mut limit, 11 * SECOND, ONE), 1);
        assert_eq!(admitted(&mut limit, 14 * SECOND, ONE), 3);
        assert_eq!(admitted(&mut limit, 1000 * SECOND, ONE), 5, "never more than the burst");
    }

    #[test]
    fn all_sources_together_are_bounded_and_one_cannot_starve_the_others() {
        let own = Rate { burst: 5, interval: SECOND };
        let mut limit = Limit::new([1; 16], own, Rate { burst: 50, interval: SECOND });
        assert_eq!(admitted(&mut limit, SECOND, ONE), 5);
        let admitted: usize =
            (0..1000).map(|host| admitted(&mut limit, SECOND, Ipv4Addr::from_bits(0x0B00_0000 + host))).sum();
        assert_eq!(admitted, 45);
    }
}
