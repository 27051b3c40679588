//! A copy of the ports for one allocation: of those that rest only the ones that it may look at.

use super::bitmap::WORDS;
use super::{EXPIRY_PORTION, HOST, NEXT, PortPool};
use crate::time::Timestamp;
use std::net::Ipv4Addr;

impl PortPool {
    /// A pool without other workers that gives the port which this one would, once: what others have counts as owned, and
    /// so do the ports that rest, all but `preferred` and those that have rested longest. Copies the bitmaps, 32 KiB.
    pub(crate) fn excerpt(&self, now: Timestamp, preferred: u16) -> PortPool {
        let mut part = PortPool::new(self.first..=self.last);
        for word in 0..WORDS {
            let held = self.claims.as_ref().map_or(0, |claims| claims.ports().held(word));
            let ours = self.owned.0[word] | self.resting.0[word] | self.closed.0[word];
            part.owned.0[word] = self.owned.0[word] | self.resting.0[word] | (held & !ours);
            part.reserved.0[word] = self.reserved.0[word];
            part.closed.0[word] = self.closed.0[word];
        }
        // Closed ports whose time has come are found at the next reopening only.
        if now >= self.next_reopening {
            for port in self.closed.iter().filter(|&port| self.until[port as usize] <= now.as_nanos()) {
                part.closed.clear(port);
            }
        }
        if self.closed.contains(preferred) {
            part.until[preferred as usize] = self.until[preferred as usize];
        }
        let next = |port: u32| port.checked_sub(1).map(|port| port as u16);
        let oldest = std::iter::successors(next(self.oldest), |&port| next(self.links[port as usize][NEXT]));
        let mut looked_at: Vec<u16> = oldest.take(EXPIRY_PORTION + 2).collect();
        if self.resting.contains(preferred) && !looked_at.contains(&preferred) {
            looked_at.push(preferred);
        }
        for port in looked_at {
            if !self.owned.contains(port) {
                part.owned.clear(port);
            }
            part.resting.set(port);
            part.until[port as usize] = self.until[port as usize];
            part.append(port, Ipv4Addr::from_bits(self.links[port as usize][HOST]));
        }
        part
    }

    /// Until when a port is closed for everybody; `None` when it is not.
    pub(crate) fn rests_for_all_until(&self, now: Timestamp, port: u16) -> Option<Timestamp> {
        self.is_resting_for_all(now, port).then(|| Timestamp::from_nanos(self.until[port as usize]))
    }
}
