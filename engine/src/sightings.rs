//! Where known devices of the lans are, as their own ARP packets say.
//!
//! A device that gets another address announces it (RFC 5227 §2.3), or asks for its router from there. Only the devices and
//! addresses that somebody watches for are looked up, only when an ARP packet comes by a lan, and what is told already is
//! told again only after another place was: so that the wire fills nothing. Who is told asks again before he believes it
//! ([`crate::probe`]).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::frame::PortId;
use crate::time::Timestamp;
use crate::wire::ethernet::MacAddr;

/// Devices that are watched for at once.
pub const MOST_DEVICES: usize = 4096;

/// Sightings that wait to be polled; more are lost.
const MOST_SEEN: usize = 256;

/// Most sightings of one device, or of strangers at its address, in [`WINDOW`]: more than any that moves needs. The only
/// packet that tells of a move is not to be lost because another one came shortly before.
const MOST_IN_WINDOW: u8 = 8;
const WINDOW: Duration = Duration::from_secs(1);

/// A device to watch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its link address.
    pub mac: MacAddr,
    /// Where it is, as far as that is known: others that claim to be there are told of as well.
    pub address: Option<Ipv4Addr>,
}

/// Somebody who says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The lan.
    pub port: PortId,
    /// Who.
    pub mac: MacAddr,
    /// Where.
    pub address: Ipv4Addr,
}

/// What was told of a device, or of an address, and how often lately.
#[derive(Debug, Default)]
struct Told {
    last: Option<Sighting>,
    /// End of the window that is counted in.
    until: Timestamp,
    count: u8,
}

/// The devices and addresses that are watched for, and what was seen of them.
#[derive(Debug, Default)]
pub(crate) struct SightingTable {
    devices: BTreeMap<MacAddr, Told>,
    addresses: BTreeMap<Ipv4Addr, (MacAddr, Told)>,
    seen: VecDeque<Sighting>,
}

impl SightingTable {
    /// Watches for these devices from now on, and for no others. How many of them it watches for.
    pub(crate) fn watch(&mut self, watched: &[Watched]) -> usize {
        let watched = &watched[..watched.len().min(MOST_DEVICES)];
        let mut devices = std::mem::take(&mut self.devices);
        self.devices =
            watched.iter().map(|one| (one.mac, devices.remove(&one.mac).unwrap_or_default())).collect();
        let places = watched.iter().filter_map(|one| Some((one.address?, (one.mac, Told::default()))));
        self.addresses = places.collect();
        watched.len()
    }

    /// Takes note of who says by an ARP packet that it is at `address`, on the lan `port`.
    pub(crate) fn arp(&mut self, now: Timestamp, port: PortId, mac: MacAddr, address: Ipv4Addr) {
        if self.devices.is_empty() {
            return;
        }
        let sighting = Sighting { port, mac, address };
        let stranger = self.addresses.get_mut(&address).filter(|(holder, _)| *holder != mac);
        let mut is_news = stranger.is_some_and(|(_, told)| told.is_news(now, sighting));
        is_news |= self.devices.get_mut(&mac).is_some_and(|told| told.is_news(now, sighting));
        if is_news && self.seen.len() < MOST_SEEN {
            self.seen.push_back(sighting);
        }
    }

    /// The next sighting.
    pub(crate) fn poll(&mut self) -> Option<Sighting> {
        self.seen.pop_front()
    }
}

impl Told {
    fn is_news(&mut self, now: Timestamp, sighting: Sighting) -> bool {
        if self.last == Some(sighting) {
            return false;
        }
        if now >= self.until {
            (self.until, self.count) = (now + WINDOW, 0);
        }
        if self.count >= MOST_IN_WINDOW {
            return false;
        }
        self.last = Some(sighting);
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: PortId = PortId::lan(0);
    const NAS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_millis(milliseconds)
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 0, last)
    }

    fn seen(table: &mut SightingTable) -> Vec<(MacAddr, u8)> {
        std::iter::from_fn(|| table.poll()).map(|seen| (seen.mac, seen.address.octets()[3])).collect()
    }

    #[test]
    fn a_device_is_told_of_when_it_is_elsewhere() {
        let mut table = SightingTable::default();
        table.arp(at(0), LAN, NAS, address(10));
        assert_eq!(seen(&mut table), [], "nobody watches for it");
        assert_eq!(table.watch(&[Watched { mac: NAS, address: None }]), 1);
        for (time, last) in [(0, 10), (1, 10), (2, 11), (5_000, 11)] {
            table.arp(at(time), LAN, NAS, address(last));
        }
        table.arp(at(6_000), LAN, OTHER, address(10));
        assert_eq!(seen(&mut table), [(NAS, 10), (NAS, 11)], "each once, however soon");
        for number in 0..100 {
            table.arp(at(6_500), LAN, NAS, address(100 + number));
        }
        assert_eq!(seen(&mut table).len(), usize::from(MOST_IN_WINDOW));
        table.arp(at(7_500), LAN, NAS, address(11));
        assert_eq!(seen(&mut table), [(NAS, 11)]);
        table.watch(&[Watched { mac: NAS, address: Some(address(11)) }]);
        table.arp(at(9_000), LAN, NAS, address(11));
        assert_eq!(seen(&mut table), [], "what was told stays told");
    }

    #[test]
    fn strangers_at_its_address_are_told_of() {
        let mut table = SightingTable::default();
        table.watch(&[Watched { mac: NAS, address: Some(address(10)) }]);
        for time in [0, 200, 400] {
            table.arp(at(time), LAN, OTHER, address(10));
        }
        assert_eq!(seen(&mut table), [(OTHER, 10)]);
        table.arp(at(600), LAN, OTHER, address(11));
        assert_eq!(seen(&mut table), []);
    }

    #[test]
    fn a_wire_fills_nothing() {
        let mut table = SightingTable::default();
        let device = |index: u32| {
            let [.., a, b] = index.to_be_bytes();
            Watched { mac: MacAddr([2, 0, 0, 0, a, b]), address: None }
        };
        let many: Vec<Watched> = (0..5_000).map(device).collect();
        assert_eq!(table.watch(&many), MOST_DEVICES);
        for device in &many {
            table.arp(at(0), LAN, device.mac, address(9));
        }
        assert_eq!(seen(&mut table).len(), MOST_SEEN);
    }
}
