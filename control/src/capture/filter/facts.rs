//! What filters look at in a frame.

use genkan_engine::wire::arp;
use genkan_engine::wire::ethernet::{self, EtherType};
use genkan_engine::wire::ipv4::{self, Protocol};

/// Octets of a VLAN tag (IEEE 802.1Q): TCI and the EtherType behind it.
const TAG: usize = 4;
/// The identifier in a TCI; 0 is a tag for its priority only.
const VLAN_ID: u16 = 0x0fff;

/// The header fields that filters know, as far as the frame has them. Nothing is checked but that they are there: a
/// frame that the router drops as malformed can be asked for as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the frame carries; that behind a tag of VLAN 0.
    pub ethertype: EtherType,
    /// Of IPv4.
    pub protocol: Option<Protocol>,
    /// Source and destination of IPv4, sender and target of ARP; host byte order.
    pub addresses: Option<(u32, u32)>,
    /// The first four octets behind the IPv4 header, unless it is a later fragment: source and destination port where
    /// the protocol has ports.
    pub ports: Option<(u16, u16)>,
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn be32(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

impl Facts {
    /// Reads them.
    pub fn of(frame: &[u8]) -> Facts {
        let ethertype = |at| be16(frame, at).map_or(EtherType(0), EtherType);
        let mut start = ethernet::HEADER_LEN;
        let mut facts =
            Facts { ethertype: ethertype(start - 2), protocol: None, addresses: None, ports: None };
        if facts.ethertype == EtherType::VLAN && be16(frame, start).is_some_and(|tci| tci & VLAN_ID == 0) {
            start += TAG;
            facts.ethertype = ethertype(start - 2);
        }
        let packet = frame.get(start..).unwrap_or_default();
        match facts.ethertype {
            EtherType::IPV4 => facts.read_ipv4(packet),
            EtherType::ARP => {
                let repr = arp::Repr::parse(packet).ok();
                facts.addresses = repr.map(|arp| (arp.sender_ip.to_bits(), arp.target_ip.to_bits()));
            }
            _ => {}
        }
        facts
    }

    fn read_ipv4(&mut self, packet: &[u8]) {
        self.protocol = packet.get(ipv4::FIELD_PROTOCOL).map(|number| Protocol(*number));
        self.addresses = be32(packet, 12).zip(be32(packet, 16));
        let is_later =
            be16(packet, ipv4::FIELD_FRAGMENT).is_none_or(|word| word & ipv4::FRAGMENT_OFFSET != 0);
        if !is_later && let Some(first) = packet.first() {
            let header = usize::from(first & 0x0f) * 4;
            self.ports = be16(packet, header).zip(be16(packet, header + 2));
        }
    }
}
