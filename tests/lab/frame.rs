//! Ethernet frames as tests see them: addresses and a decoded body.

use std::net::Ipv4Addr;

use super::packet::Packet;
use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket};
use genkan_engine::wire::ethernet::MacAddr;

/// What an Ethernet frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An IPv4 packet that is right in every header.
    Ipv4(Packet),
    /// Ethernet/IPv4 ARP.
    Arp(Arp),
    /// Anything else, undecoded.
    Other {
        /// EtherType.
        ethertype: u16,
        /// What follows it.
        bytes: Vec<u8>,
    },
}

/// An ARP message (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request, else reply.
    pub request: bool,
    /// Sender's hardware address.
    pub sender_mac: MacAddr,
    /// Sender's protocol address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Target's hardware address.
    pub target_mac: MacAddr,
    /// Target's protocol address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// "Who has `target`?", asked by `sender`.
    pub fn request(sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
        Arp { request: true, sender_mac, sender, target_mac: MacAddr::default(), target }
    }

    /// The answer to this request from the machine at `mac`.
    pub fn answer(&self, mac: MacAddr) -> Arp {
        Arp {
            request: false,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// The 28 octets of the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let packet = ArpEthIpv4Packet {
            operation: if self.request { ArpOperation::REQUEST } else { ArpOperation::REPLY },
            sender_mac: self.sender_mac.0,
            sender_ipv4: self.sender.octets(),
            target_mac: self.target_mac.0,
            target_ipv4: self.target.octets(),
        };
        packet.to_bytes().to_vec()
    }

    fn parse(bytes: &[u8]) -> Option<Arp> {
        let packet = ArpPacket::from_slice(bytes).ok()?.try_eth_ipv4().ok()?;
        let arp = Arp {
            request: packet.operation == ArpOperation::REQUEST,
            sender_mac: MacAddr(packet.sender_mac),
            sender: packet.sender_ipv4_addr(),
            target_mac: MacAddr(packet.target_mac),
            target: packet.target_ipv4_addr(),
        };
        // Any operation but the two would not come out again: such a frame stays undecoded.
        (bytes == arp.to_bytes()).then_some(arp)
    }
}

/// An Ethernet frame without FCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination address.
    pub destination: MacAddr,
    /// Source address.
    pub source: MacAddr,
    /// What it carries.
    pub body: Body,
    /// Octets of link padding behind the body, all 0.
    pub padding: usize,
}

impl Frame {
    /// A frame without padding.
    pub fn new(source: MacAddr, destination: MacAddr, body: Body) -> Frame {
        Frame { destination, source, body, padding: 0 }
    }

    /// Its octets.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination.0, self.source.0].concat();
        let (ethertype, body) = match &self.body {
            Body::Ipv4(packet) => (0x0800, packet.to_ip()),
            Body::Arp(arp) => (0x0806, arp.to_bytes()),
            Body::Other { ethertype, bytes } => (*ethertype, bytes.clone()),
        };
        bytes.extend_from_slice(&u16::to_be_bytes(ethertype));
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len() + self.padding, 0);
        bytes
    }

    /// Reads a frame; `None` when it is shorter than an Ethernet header. A body that its headers do
    /// not describe exactly is `Other`, so that [`Frame::to_bytes`] always gives the same octets back.
    pub fn parse(bytes: &[u8]) -> Option<Frame> {
        let (header, rest) = bytes.split_at_checked(14)?;
        let mac = |at: usize| MacAddr(header[at..at + 6].try_into().expect("six octets"));
        let ethertype = u16::from_be_bytes([header[12], header[13]]);
        let length = match ethertype {
            0x0800 if rest.len() >= 20 => usize::from(u16::from_be_bytes([rest[2], rest[3]])),
            0x0806 => ArpEthIpv4Packet::LEN,
            _ => rest.len(),
        };
        let other = || (Body::Other { ethertype, bytes: rest.to_vec() }, 0);
        let (body, padding) = match rest.split_at_checked(length) {
            Some((body, padding)) if padding.iter().all(|&octet| octet == 0) => {
                let decoded = match ethertype {
                    0x0800 => Packet::parse(body).ok().map(Body::Ipv4),
                    0x0806 => Arp::parse(body).map(Body::Arp),
                    _ => None,
                };
                decoded.map_or_else(other, |body| (body, padding.len()))
            }
            _ => other(),
        };
        let frame = Frame { destination: mac(0), source: mac(6), body, padding };
        if frame.to_bytes() == bytes {
            return Some(frame);
        }
        let (body, padding) = other();
        Some(Frame { body, padding, ..frame })
    }
}

#[cfg(test)]
mod tests {
    use super::super::craft::udp;
    use super::*;

    #[test]
    fn frames_and_back() {
        let (a, b) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let packet = udp("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        let arp = Arp::request(a, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let bodies = [
            Body::Ipv4(packet),
            Body::Arp(arp),
            Body::Arp(arp.answer(b)),
            Body::Other { ethertype: 0x86dd, bytes: vec![0x60, 0] },
        ];
        for body in bodies {
            let mut frame = Frame::new(a, b, body);
            assert_eq!(Frame::parse(&frame.to_bytes()), Some(frame.clone()));
            if !matches!(frame.body, Body::Other { .. }) {
                frame.padding = 18;
                assert_eq!(Frame::parse(&frame.to_bytes()), Some(frame));
            }
        }
        assert_eq!(Frame::parse(&[0; 13]), None);
    }

    #[test]
    fn a_wrong_packet_stays_undecoded() {
        let frame = Frame::new(
            MacAddr([2; 6]),
            MacAddr([4; 6]),
            Body::Other { ethertype: 0x0800, bytes: vec![0x46; 40] },
        );
        assert_eq!(Frame::parse(&frame.to_bytes()), Some(frame));
    }
}
