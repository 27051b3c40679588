//! A copy of the ports for one allocation: of those that rest only the ones that it may look at.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::bitmap::{Bitmap, WORDS};
use super::{EXPIRY_PORTION, HOST, NEXT, PortPool};
use crate::time::Timestamp;

/// The ports of an address as one allocation finds them: some 24 KiB, where a pool that is used has a megabyte.
#[derive(Clone, Debug)]
pub(crate) struct PortsExcerpt {
    range: RangeInclusive<u16>,
    owned: Bitmap,
    reserved: Bitmap,
    closed: Bitmap,
    /// A closed port, and until when it is.
    closed_until: Option<(u16, u64)>,
    /// Those that rest, until when, and for which host; oldest first.
    resting: Vec<(u16, u64, Ipv4Addr)>,
}

impl PortPool {
    /// The ports for one allocation that would like `preferred`: what others have counts as owned, and so do the ports
    /// that rest, all but `preferred` and those that have rested longest.
    pub(crate) fn excerpt(&self, now: Timestamp, preferred: u16) -> PortsExcerpt {
        let (mut owned, mut reserved, mut closed) = (Bitmap::new(), Bitmap::new(), Bitmap::new());
        for word in 0..WORDS {
            let held = self.claims.as_ref().map_or(0, |claims| claims.ports().held(word));
            let ours = self.owned.0[word] | self.resting.0[word] | self.closed.0[word];
            owned.0[word] = self.owned.0[word] | self.resting.0[word] | (held & !ours);
            reserved.0[word] = self.reserved.0[word];
            closed.0[word] = self.closed.0[word];
        }
        // Closed ports whose time has come are found at the next reopening only.
        if now >= self.next_reopening {
            for port in self.closed.iter().filter(|&port| self.until[port as usize] <= now.as_nanos()) {
                closed.clear(port);
            }
        }
        let closed_until =
            self.closed.contains(preferred).then(|| (preferred, self.until[preferred as usize]));
        let next = |port: u32| port.checked_sub(1).map(|port| port as u16);
        let oldest = std::iter::successors(next(self.oldest), |&port| next(self.links[port as usize][NEXT]));
        let mut looked_at: Vec<u16> = oldest.take(EXPIRY_PORTION + 2).collect();
        if self.resting.contains(preferred) && !looked_at.contains(&preferred) {
            looked_at.push(preferred);
        }
        let mut resting = Vec::with_capacity(looked_at.len());
        for port in looked_at {
            if !self.owned.contains(port) {
                owned.clear(port);
            }
            let host = Ipv4Addr::from_bits(self.links[port as usize][HOST]);
            resting.push((port, self.until[port as usize], host));
        }
        let range = self.first..=self.last;
        PortsExcerpt { range, owned, reserved, closed, closed_until, resting }
    }

    /// A pool without other workers that gives the port which the one of the excerpt would, once.
    pub(crate) fn of_excerpt(excerpt: PortsExcerpt) -> PortPool {
        let PortsExcerpt { range, owned, reserved, closed, closed_until, resting } = excerpt;
        let mut pool = PortPool::new(range);
        (pool.owned, pool.reserved, pool.closed) = (owned, reserved, closed);
        if let Some((port, until)) = closed_until {
            pool.until[port as usize] = until;
        }
        for (port, until, host) in resting {
            pool.resting.set(port);
            pool.until[port as usize] = until;
            pool.append(port, host);
        }
        pool
    }

    /// Until when a port is closed for everybody; `None` when it is not.
    pub(crate) fn rests_for_all_until(&self, now: Timestamp, port: u16) -> Option<Timestamp> {
        self.is_resting_for_all(now, port).then(|| Timestamp::from_nanos(self.until[port as usize]))
    }
}
