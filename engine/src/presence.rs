//! Does somebody have this address? A DHCP server wants to know before it offers one (RFC 2131 §3.1 item 2), of many
//! addresses at a time.
//!
//! On a lan itself all are asked by ARP; behind a router of the lan the machine is asked by an echo request. With several
//! workers all of them watch, since the answer may arrive at any; one asks. See also [`crate::probe`], which looks closer at
//! few machines.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::frame::PortId;
use crate::time::Timestamp;
use crate::wire::ethernet::MacAddr;

/// Addresses that are watched for at once.
pub const MOST_WATCHED: usize = 32_768;

/// How long signs of life are watched for, from the question on.
pub const WATCH: Duration = Duration::from_secs(1);

/// Signs of life that wait to be polled; more are lost.
const MOST_SEEN: usize = 1024;

/// Identifier of the echo requests.
pub(crate) const ECHO_IDENTIFIER: u16 = 0x474b;

/// An address that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Where.
    pub port: PortId,
    /// The address.
    pub address: Ipv4Addr,
    /// The link address; unknown behind a router.
    pub mac: Option<MacAddr>,
}

/// What is watched for, and what was seen of it.
#[derive(Debug, Default)]
pub(crate) struct PresenceTable {
    watched: BTreeMap<(usize, Ipv4Addr), Timestamp>,
    /// In the order in which they end; one that was watched for anew stands here twice.
    ends: VecDeque<(Timestamp, (usize, Ipv4Addr))>,
    seen: VecDeque<Presence>,
}

impl PresenceTable {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Watches for an address; false when there are too many already.
    pub(crate) fn watch(&mut self, now: Timestamp, port: PortId, address: Ipv4Addr) -> bool {
        self.forget(now);
        let key = (port.index(), address);
        if self.ends.len() >= 2 * MOST_WATCHED
            || self.watched.len() >= MOST_WATCHED && !self.watched.contains_key(&key)
        {
            return false;
        }
        let until = now + WATCH;
        self.watched.insert(key, until);
        self.ends.push_back((until, key));
        true
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.ends.pop_front_if(|(until, _)| *until <= now) {
            if self.watched.get(&key) == Some(&until) {
                self.watched.remove(&key);
            }
        }
    }

    /// Somebody has shown to have an address. Whether it was watched for.
    pub(crate) fn seen(
        &mut self,
        now: Timestamp,
        port: PortId,
        address: Ipv4Addr,
        mac: Option<MacAddr>,
    ) -> bool {
        if self.is_empty() {
            return false;
        }
        self.forget(now);
        let is_watched = self.watched.contains_key(&(port.index(), address));
        if is_watched && self.seen.len() < MOST_SEEN {
            self.seen.push_back(Presence { port, address, mac });
        }
        is_watched
    }

    pub(crate) fn poll(&mut self) -> Option<Presence> {
        self.seen.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: PortId = PortId::lan(0);

    #[test]
    fn only_what_is_watched_for_is_seen_and_only_for_a_while() {
        let (address, other) = (Ipv4Addr::new(192, 168, 0, 10), Ipv4Addr::new(192, 168, 0, 11));
        let mut table = PresenceTable::default();
        let start = Timestamp::from_secs(5);
        assert!(table.watch(start, LAN, address));
        assert!(!table.seen(start, LAN, other, None) && !table.seen(start, PortId::lan(1), address, None));
        // Asked again later: it is watched for from then on.
        assert!(table.watch(start + WATCH / 2, LAN, address));
        let mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
        assert!(table.seen(start + WATCH, LAN, address, mac));
        assert_eq!(table.poll(), Some(Presence { port: LAN, address, mac }));
        assert_eq!(table.poll(), None);
        assert!(!table.seen(start + 2 * WATCH, LAN, address, mac));
        assert!(table.is_empty() && table.ends.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut table = PresenceTable::default();
        let address = |number: usize| Ipv4Addr::from(number as u32);
        let start = Timestamp::from_secs(5);
        let watched = (0..2 * MOST_WATCHED).filter(|n| table.watch(start, LAN, address(*n))).count();
        assert_eq!(watched, MOST_WATCHED);
        for number in 0..2 * MOST_WATCHED {
            table.seen(start, LAN, address(number % 10), None);
            table.watch(start, LAN, address(0));
        }
        assert_eq!((table.seen.len(), table.ends.len()), (MOST_SEEN, 2 * MOST_WATCHED));
        assert!(table.watch(start + WATCH, LAN, address(MOST_WATCHED)), "all of them have ended");
    }
}
