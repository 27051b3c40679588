//! How often a client is listened to.

use std::collections::BTreeMap;
use std::time::Duration;

use genkan_engine::time::Timestamp;

use crate::dhcp::lease::HardwareAddress;

/// Clients that are counted in one second; more are not listened to, since their addresses are made up then.
const MAX_CLIENTS: usize = 16_384;

/// Counts messages by link-layer address, in windows of a second.
#[derive(Debug)]
pub(super) struct Limiter {
    per_second: u32,
    window: Timestamp,
    counts: BTreeMap<HardwareAddress, u32>,
}

impl Limiter {
    pub(super) fn new(per_second: u32) -> Limiter {
        Limiter { per_second: per_second.max(1), window: Timestamp::ZERO, counts: BTreeMap::new() }
    }

    /// Counts a message; false when it is one too many.
    pub(super) fn admits(&mut self, now: Timestamp, client: &HardwareAddress) -> bool {
        if now.saturating_since(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.counts.clear();
        }
        if self.counts.len() >= MAX_CLIENTS && !self.counts.contains_key(client) {
            return false;
        }
        let count = self.counts.entry(*client).or_default();
        *count = count.saturating_add(1);
        *count <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_count() {
        let client = |n: u32| HardwareAddress::new(1, &[&[2, 0][..], &n.to_be_bytes()].concat()).unwrap();
        let mut limiter = Limiter::new(3);
        let now = Timestamp::from_secs(9);
        let admitted =
            |limiter: &mut Limiter, now, n| (0..10).filter(|_| limiter.admits(now, &client(n))).count();
        assert_eq!([1, 2].map(|n| admitted(&mut limiter, now, n)), [3, 3]);
        assert_eq!(admitted(&mut limiter, Timestamp::from_millis(9_999), 1), 0);
        assert_eq!(admitted(&mut limiter, Timestamp::from_secs(10), 1), 3);
    }

    #[test]
    fn made_up_clients_take_bounded_memory() {
        let mut limiter = Limiter::new(3);
        let client = |n: u32| HardwareAddress::new(1, &[&[2, 0][..], &n.to_be_bytes()].concat()).unwrap();
        let admitted = (0..40_000).filter(|n| limiter.admits(Timestamp::from_secs(9), &client(*n))).count();
        assert_eq!((admitted, limiter.counts.len()), (MAX_CLIENTS, MAX_CLIENTS));
    }
}
