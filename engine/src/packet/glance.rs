//! The fast path's look at a frame.

use std::net::Ipv4Addr;

#[cfg(doc)]
use super::parsed::parse_ipv4;
use super::parsed::{Kind, Parsed};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::tcp::TcpFlags;
use crate::wire::{be16, be32, checksum, ethernet, tcp, udp};

const IP: usize = ethernet::HEADER_LEN;
/// Where the transport header starts.
const L4: usize = IP + ipv4::MIN_HEADER_LEN;

/// What the fast path has to know of a common packet: TCP or UDP behind an IPv4 header without options, whole
/// and with nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Source and destination address as they lie in the header.
    pub addresses: [u8; 8],
    /// Source port and, in the lower half, destination port.
    pub ports: u32,
    /// Where the packet ends: 14 + total length.
    pub end: u32,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Time to live in hops.
    pub ttl: u8,
    /// Empty unless TCP.
    pub tcp_flags: TcpFlags,
}

/// Decodes the frame of a common packet by a few wide loads. `None` says only that [`parse_ipv4`] is to judge,
/// which finds what this finds.
#[inline(always)]
pub fn glance(frame: &[u8]) -> Option<Glance> {
    // What both transports have.
    const LEAST: usize = L4 + udp::HEADER_LEN;
    let headers = frame.first_chunk::<LEAST>()?;
    let link_type = [headers[IP - 2], headers[IP - 1], headers[IP + ipv4::FIELD_VERSION_IHL]];
    let end = IP + usize::from(be16!(headers, IP + ipv4::FIELD_TOTAL_LEN));
    let fragment_word = be16!(headers, IP + ipv4::FIELD_FRAGMENT);
    let is_whole = fragment_word & (ipv4::MORE_FRAGMENTS | ipv4::FRAGMENT_OFFSET) == 0;
    if link_type != [0x08, 0x00, 0x45] || !is_whole || end > frame.len() {
        return None;
    }
    let (_, header) = headers[..L4].split_last_chunk::<{ ipv4::MIN_HEADER_LEN }>()?;
    if checksum::sum_header(header) != 0xffff {
        return None;
    }
    let (_, addresses) = headers[..L4].split_last_chunk::<8>()?;
    let ports = be32!(headers, L4);
    let protocol = Protocol(headers[IP + ipv4::FIELD_PROTOCOL]);
    let tcp_flags = match protocol {
        Protocol::UDP => {
            let length = usize::from(be16!(headers, L4 + udp::FIELD_LENGTH));
            if length < udp::HEADER_LEN || L4 + length > end || ports & 0xffff == 0 {
                return None;
            }
            TcpFlags::NONE
        }
        Protocol::TCP => {
            let &[words, flags] = frame.get(L4 + tcp::FIELD_DATA_OFFSET..)?.first_chunk()?;
            let header_len = usize::from(words >> 4) * 4;
            let flags = TcpFlags(flags);
            if header_len < tcp::MIN_HEADER_LEN
                || L4 + header_len > end
                || ports & 0xffff == 0
                || ports >> 16 == 0
                || flags.is_nonsense()
            {
                return None;
            }
            flags
        }
        _ => return None,
    };
    let ttl = headers[IP + ipv4::FIELD_TTL];
    Some(Glance { addresses: *addresses, ports, end: end as u32, protocol, ttl, tcp_flags })
}

impl Glance {
    /// All that [`parse_ipv4`] would say of the same frame.
    pub fn parsed(&self, frame: &[u8]) -> Parsed {
        let octet = |offset: usize| frame.get(offset).copied().unwrap_or_default();
        let [s0, s1, s2, s3, d0, d1, d2, d3] = self.addresses;
        let (kind, header_len) = match self.protocol {
            Protocol::TCP => (Kind::Tcp, u16::from(octet(L4 + tcp::FIELD_DATA_OFFSET) >> 4) * 4),
            _ => (Kind::Udp, udp::HEADER_LEN as u16),
        };
        Parsed {
            l4: L4 as u16,
            payload: L4 as u16 + header_len,
            end: self.end,
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            protocol: self.protocol,
            ttl: self.ttl,
            source_port: (self.ports >> 16) as u16,
            destination_port: self.ports as u16,
            tcp_flags: self.tcp_flags,
            kind,
            fragment: None,
            dont_fragment: u16::from_be_bytes([octet(IP + 6), octet(IP + 7)]) & ipv4::DONT_FRAGMENT != 0,
            has_options: false,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Property: a glance is what [`parse_ipv4`] finds, and common packets get one.

    use super::*;
    use crate::packet::parsed::parse_ipv4;
    use crate::packet::test_frames::{IP, Spec, any_spec};
    use proptest::prelude::*;

    /// Makes the checksum that of the first 20 octets.
    fn mend(frame: &mut [u8]) {
        frame[IP + 10..IP + 12].fill(0);
        let sum = checksum::sum(&frame[IP..IP + 20]);
        frame[IP + 10..IP + 12].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    }

    fn assert_same(frame: &[u8]) {
        if let Some(glance) = glance(frame) {
            assert_eq!(parse_ipv4(frame), Ok(glance.parsed(frame)));
        }
    }

    #[test]
    fn common_packets_get_one() {
        for mut frame in [Spec::udp(b"x").frame(), Spec::tcp(0x10, b"").frame(), Spec::tcp(0x02, b"").frame()]
        {
            assert!(glance(&frame).is_some());
            frame.extend([0; 9]);
            assert_same(&frame);
            assert!(glance(&frame).is_some(), "link padding is cut off");
        }
    }

    #[test]
    fn what_is_uncommon_or_wrong_gets_none() {
        let whole = Spec::udp(b"x").frame();
        for (offset, value) in [(12, 0x86), (IP, 0x46), (IP, 0x65), (IP + 6, 0x20), (IP + 7, 1), (IP + 9, 1)]
        {
            let mut frame = whole.clone();
            frame[offset] = value;
            mend(&mut frame);
            assert_eq!(glance(&frame), None, "{value:#x} at {offset}");
        }
        let mut frame = whole.clone();
        frame[IP + 10] ^= 1;
        assert_eq!(glance(&frame), None, "checksum");
        assert_eq!(glance(&Spec::icmp(8, b"x").frame()), None);
    }

    proptest! {
        #[test]
        fn is_what_parsing_finds(spec in any_spec(), cut in 0..20_usize, changes in proptest::collection::vec((12..60_usize, any::<u8>()), 0..3)) {
            let mut frame = spec.frame();
            assert_same(&frame);
            for (offset, value) in changes {
                if let Some(octet) = frame.get_mut(offset) {
                    *octet = value;
                }
            }
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            assert_same(&frame);
            // The same with a checksum that fits.
            if frame[IP] == 0x45 {
                mend(&mut frame);
                assert_same(&frame);
            }
            frame.truncate(frame.len() - cut.min(frame.len()));
            assert_same(&frame);
        }
    }
}
