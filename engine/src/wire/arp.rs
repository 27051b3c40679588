//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! ```text
//!  0       2       4     5     6           8            14          18           24          28
//! +-------+-------+-----+-----+-----------+------------+-----------+------------+-----------+
//! | HTYPE | PTYPE | HLN | PLN | operation | sender MAC | sender IP | target MAC | target IP |
//! +-------+-------+-----+-----+-----------+------------+-----------+------------+-----------+
//! ```

use std::net::Ipv4Addr;

use super::ethernet::MacAddr;
use super::{ParseError, be16, be32};

/// Octets of an Ethernet/IPv4 ARP packet.
pub const LEN: usize = 28;

/// Hardware type 1 (Ethernet), protocol type 0x0800, lengths 6 and 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What an ARP packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// The fields of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Request or reply.
    pub operation: Operation,
    /// Who sends it.
    pub sender_mac: MacAddr,
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub sender_ip: Ipv4Addr,
    /// Whom it is for; without meaning in a request.
    pub target_mac: MacAddr,
    /// The address asked for; the asker's own in a reply.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Reads what follows the Ethernet header; link padding behind the 28 octets is ignored.
    ///
    /// # Errors
    /// Under 28 octets, other than Ethernet and IPv4, or neither request nor reply.
    pub fn parse(packet: &[u8]) -> Result<Repr, ParseError> {
        let packet: &[u8; LEN] = packet.first_chunk().ok_or(ParseError::Truncated)?;
        if packet[..6] != ETHERNET_IPV4 {
            return Err(ParseError::Version);
        }
        let operation = match be16!(packet, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(ParseError::Operation),
        };
        Ok(Repr {
            operation,
            sender_mac: mac(packet, 8),
            sender_ip: Ipv4Addr::from_bits(be32!(packet, 14)),
            target_mac: mac(packet, 18),
            target_ip: Ipv4Addr::from_bits(be32!(packet, 24)),
        })
    }

    /// Writes the packet to the first 28 octets of `packet`.
    ///
    /// # Panics
    /// When `packet` is shorter than [`LEN`].
    pub fn emit(&self, packet: &mut [u8]) {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        packet[..6].copy_from_slice(&ETHERNET_IPV4);
        packet[6..8].copy_from_slice(&operation.to_be_bytes());
        packet[8..14].copy_from_slice(&self.sender_mac.0);
        packet[14..18].copy_from_slice(&self.sender_ip.octets());
        packet[18..24].copy_from_slice(&self.target_mac.0);
        packet[24..LEN].copy_from_slice(&self.target_ip.octets());
    }
}

fn mac(packet: &[u8; LEN], offset: usize) -> MacAddr {
    MacAddr(std::array::from_fn(|i| packet[offset + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const REQUEST: [u8; 28] = [
        0x00, 0x01,                         // hardware type: Ethernet
        0x08, 0x00,                         // protocol type: IPv4
        6, 4,                               // lengths of both addresses
        0x00, 0x01,                         // request
        0x52, 0x54, 0x00, 0x00, 0x00, 0x02, // sender MAC
        203, 0, 113, 2,                     // sender address
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // target MAC: unknown
        203, 0, 113, 1,                     // target address
    ];

    #[test]
    fn parses_and_emits_the_same_octets() {
        let repr = Repr::parse(&REQUEST).unwrap();
        assert_eq!(repr.operation, Operation::Request);
        assert_eq!(repr.sender_mac, MacAddr([0x52, 0x54, 0, 0, 0, 2]));
        assert_eq!(repr.sender_ip, Ipv4Addr::new(203, 0, 113, 2));
        assert_eq!(repr.target_mac, MacAddr::ZERO);
        assert_eq!(repr.target_ip, Ipv4Addr::new(203, 0, 113, 1));
        let mut out = [0xff; LEN];
        repr.emit(&mut out);
        assert_eq!(out, REQUEST);
        let reply = Repr { operation: Operation::Reply, ..repr };
        reply.emit(&mut out);
        assert_eq!(Repr::parse(&out), Ok(reply));
    }

    #[test]
    fn link_padding_is_ignored() {
        let mut padded = REQUEST.to_vec();
        padded.resize(46, 0);
        assert_eq!(Repr::parse(&padded), Repr::parse(&REQUEST));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(Repr::parse(&REQUEST[..27]), Err(ParseError::Truncated));
        for (offset, error) in [
            (1, ParseError::Version),
            (2, ParseError::Version),
            (4, ParseError::Version),
            (5, ParseError::Version),
        ] {
            let mut packet = REQUEST;
            packet[offset] ^= 0x40;
            assert_eq!(Repr::parse(&packet), Err(error), "octet {offset}");
        }
        let mut reverse_arp = REQUEST;
        reverse_arp[7] = 3;
        assert_eq!(Repr::parse(&reverse_arp), Err(ParseError::Operation));
    }
}
