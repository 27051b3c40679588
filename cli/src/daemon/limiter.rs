//! Keeps the log readable when a wire could fill it: so many lines of one kind, then a count of what was left out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of one kind that may come at once.
const BURST: u32 = 10;
/// Then one more per this time.
const REFILL: Duration = Duration::from_secs(6);
/// Kinds remembered; with more, all start afresh.
const KINDS: usize = 1024;

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

/// A limit for each kind of line.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    buckets: HashMap<K, Bucket>,
}

impl<K: Eq + Hash> Limiter<K> {
    /// All kinds may speak.
    pub(crate) fn new() -> Limiter<K> {
        Limiter { buckets: HashMap::new() }
    }

    /// Whether a line of this kind may be written now, and if so, how many of its kind were left out before it.
    pub(crate) fn admit(&mut self, kind: K, now: Instant) -> Option<u64> {
        if self.buckets.len() >= KINDS && !self.buckets.contains_key(&kind) {
            self.buckets.clear();
        }
        let bucket = self.buckets.entry(kind).or_insert(Bucket { left: BURST, refilled: now, suppressed: 0 });
        let waited = now.saturating_duration_since(bucket.refilled);
        let fresh = u32::try_from(waited.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if fresh > 0 {
            bucket.left = bucket.left.saturating_add(fresh).min(BURST);
            bucket.refilled = now;
        }
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_burst_and_a_count() {
        let mut limiter = Limiter::new();
        let start = Instant::now();
        let admitted = (0..100).filter(|_| limiter.admit("conflict", start).is_some()).count();
        assert_eq!(admitted, BURST as usize);
        // Another kind is not concerned.
        assert_eq!(limiter.admit("moved", start), Some(0));
        assert_eq!(limiter.admit("conflict", start + REFILL - Duration::from_millis(1)), None);
        assert_eq!(limiter.admit("conflict", start + REFILL), Some(91));
        assert_eq!(limiter.admit("conflict", start + REFILL), None);
        // After a long silence the whole burst is there again, and no more.
        let later = start + 100 * REFILL;
        let admitted = (0..100).filter(|_| limiter.admit("conflict", later).is_some()).count();
        assert_eq!(admitted, BURST as usize);
    }

    #[test]
    fn memory_is_bounded() {
        let mut limiter = Limiter::new();
        let now = Instant::now();
        for kind in 0..10 * KINDS {
            assert!(limiter.admit(kind, now).is_some());
        }
        assert!(limiter.buckets.len() <= KINDS);
    }
}
