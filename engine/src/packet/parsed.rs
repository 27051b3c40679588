//! Offsets and five-tuple of a frame, decoded once.
//!
//! Read first: RFC 791 (header), RFC 1858 and RFC 3128 (tiny fragments), RFC 5508 §3 (ICMP identifiers in
//! the place of ports).

use std::net::Ipv4Addr;

use crate::verdict::DropReason;
use crate::wire::ipv4::{self, OptionError, Protocol};
use crate::wire::tcp::TcpFlags;
use crate::wire::{ParseError, be16, be32, checksum, ethernet, icmpv4, tcp, udp};

/// Largest IPv4 packet after reassembly, in octets.
const MAX_PACKET: usize = 65_535;

/// What a NAT sees in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// An ICMP query that asks.
    IcmpRequest,
    /// An ICMP query's answer.
    IcmpReply,
    /// An ICMP error that quotes a packet: destination unreachable, time exceeded, parameter problem.
    IcmpError,
    /// Any other ICMP message, with its type.
    IcmpOther(u8),
    /// Any other protocol.
    Other,
    /// A fragment other than the first, of whatever protocol: it has no transport header.
    LaterFragment,
}

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentInfo {
    /// Identification, which the fragments of one packet share.
    pub id: u16,
    /// Where the payload lies in the whole packet's payload, in octets; a multiple of 8.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// An IPv4 frame, decoded. Offsets are in octets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Where the transport header (a later fragment's payload) starts: 14 + IHL * 4.
    pub l4: u16,
    /// Where the transport payload starts: behind TCP options, UDP's and ICMP's 8 octets; equal to `l4`
    /// for other protocols and later fragments.
    pub payload: u16,
    /// Where the packet ends: 14 + total length. The rest is link padding.
    pub end: u32,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol number.
    pub protocol: Protocol,
    /// Time to live in hops.
    pub ttl: u8,
    /// Source port. The identifier of an ICMP request; 0 for everything else without ports.
    pub source_port: u16,
    /// Destination port. The identifier of an ICMP reply; 0 for everything else without ports.
    pub destination_port: u16,
    /// Empty unless TCP.
    pub tcp_flags: TcpFlags,
    /// What it is.
    pub kind: Kind,
    /// For every fragment, first ones included (then `kind` is the transport's).
    pub fragment: Option<FragmentInfo>,
    /// DF is set.
    pub dont_fragment: bool,
    /// The IPv4 header has options.
    pub has_options: bool,
}

impl Parsed {
    /// Nothing decoded yet.
    pub const BLANK: Parsed = Parsed {
        l4: 0,
        payload: 0,
        end: 0,
        source: Ipv4Addr::UNSPECIFIED,
        destination: Ipv4Addr::UNSPECIFIED,
        protocol: Protocol(0),
        ttl: 0,
        source_port: 0,
        destination_port: 0,
        tcp_flags: TcpFlags::NONE,
        kind: Kind::Other,
        fragment: None,
        dont_fragment: false,
        has_options: false,
    };

    /// Octets of the packet: header and payload, the IPv4 total length.
    #[inline]
    pub const fn packet_len(&self) -> usize {
        self.end as usize - ethernet::HEADER_LEN
    }

    /// Octets behind the IPv4 header: what a fragment contributes to its packet.
    #[inline]
    pub const fn ip_payload_len(&self) -> usize {
        self.end as usize - self.l4 as usize
    }
}

/// Decodes an IPv4 frame and judges everything that needs only the packet itself: version, lengths, header
/// checksum, options, truncated transport header, ports 0, TCP flags, tiny fragments. Whether the addresses
/// are plausible is the caller's to judge. `frame[12..14]` is known to be 0x0800. Transport checksums are
/// not looked at. Super-frames pass: their lengths are those of the whole.
///
/// # Errors
/// The first check that fails, in the order above.
// Always inlined, and nothing of it behind a call that returns the whole, so that the fields stay in registers:
// passed through memory, their narrow stores would stall the wide loads of the copy. What is rare lies in cold
// functions.
#[inline(always)]
pub fn parse_ipv4(frame: &[u8]) -> Result<Parsed, DropReason> {
    const IP: usize = ethernet::HEADER_LEN;
    const HEADERS: usize = IP + ipv4::MIN_HEADER_LEN;
    let Some(header) = frame.first_chunk::<HEADERS>().and_then(|headers| headers.last_chunk()) else {
        return Err(truncated_header(frame));
    };
    // Nearly every packet: version 4, no options.
    let l4 = if header[ipv4::FIELD_VERSION_IHL] == 0x45 {
        HEADERS
    } else {
        IP + usize::from(check_unusual_header(&frame[IP..])?)
    };
    let end = IP + usize::from(be16!(header, ipv4::FIELD_TOTAL_LEN));
    let Some(transport) = frame.get(l4..end) else { return Err(DropReason::IpTotalLength) };
    // One with options has been checked as a whole.
    if l4 == HEADERS && checksum::sum_header(header) != 0xffff {
        return Err(DropReason::IpHeaderChecksum);
    }
    decode(header, l4, transport)
}

/// The reason to drop a frame that cannot hold both headers.
#[cold]
fn truncated_header(frame: &[u8]) -> DropReason {
    match frame.get(ethernet::HEADER_LEN..).map(ipv4::View::new_checked) {
        None => DropReason::FrameTruncated,
        Some(Err(error)) => header_error(error),
        Some(Ok(_)) => DropReason::IpTotalLength,
    }
}

/// Checks a header with options, or of a version or length that no packet has, and returns its length in octets.
#[cold]
fn check_unusual_header(bytes: &[u8]) -> Result<u8, DropReason> {
    let ip = ipv4::View::new_checked(bytes).map_err(header_error)?;
    if !ip.checksum_is_valid() {
        return Err(DropReason::IpHeaderChecksum);
    }
    ipv4::check_options(ip.options()).map_err(option_error)?;
    Ok(ip.header_len() as u8)
}

/// Decodes what is behind a header that has passed its checks. `transport` ends with the packet.
#[inline(always)]
fn decode(header: &[u8; ipv4::MIN_HEADER_LEN], l4: usize, transport: &[u8]) -> Result<Parsed, DropReason> {
    // At most 14 + 60 and 65,535 + 14, and + 60 for the TCP header: the casts cannot cut anything off.
    let header_len = l4 - ethernet::HEADER_LEN;
    let fragment_word = be16!(header, ipv4::FIELD_FRAGMENT);
    let protocol = Protocol(header[ipv4::FIELD_PROTOCOL]);
    let mut parsed = Parsed {
        l4: l4 as u16,
        payload: l4 as u16,
        end: (l4 + transport.len()) as u32,
        source: Ipv4Addr::from_bits(be32!(header, ipv4::FIELD_SOURCE)),
        destination: Ipv4Addr::from_bits(be32!(header, ipv4::FIELD_DESTINATION)),
        protocol,
        ttl: header[ipv4::FIELD_TTL],
        source_port: 0,
        destination_port: 0,
        tcp_flags: TcpFlags::NONE,
        kind: Kind::Other,
        fragment: None,
        dont_fragment: fragment_word & ipv4::DONT_FRAGMENT != 0,
        has_options: header_len != ipv4::MIN_HEADER_LEN,
    };
    if fragment_word & (ipv4::MORE_FRAGMENTS | ipv4::FRAGMENT_OFFSET) != 0 {
        let id = be16!(header, ipv4::FIELD_IDENTIFICATION);
        let info = fragment_info(id, fragment_word, protocol, header_len, transport.len())?;
        parsed.fragment = Some(info);
        if info.offset != 0 {
            parsed.kind = Kind::LaterFragment;
            return Ok(parsed);
        }
    }
    let is_fragment = parsed.fragment.is_some();
    match protocol {
        Protocol::TCP => {
            let Ok(tcp) = tcp::View::new_checked(transport) else {
                return Err(tcp_error(transport, is_fragment));
            };
            parsed.kind = Kind::Tcp;
            parsed.source_port = tcp.source_port();
            parsed.destination_port = tcp.destination_port();
            parsed.tcp_flags = tcp.flags();
            parsed.payload += tcp.header_len() as u16;
            if parsed.source_port == 0 || parsed.destination_port == 0 {
                return Err(DropReason::PortZero);
            }
            if parsed.tcp_flags.is_nonsense() {
                return Err(DropReason::TcpFlags);
            }
        }
        Protocol::UDP => {
            let Ok(udp) = udp::View::new_checked(transport) else { return Err(too_short(is_fragment)) };
            let length = usize::from(udp.length());
            // A first fragment holds less than the datagram that its length field tells of.
            if length < udp::HEADER_LEN || (length > transport.len() && !is_fragment) {
                return Err(DropReason::TransportTruncated);
            }
            parsed.kind = Kind::Udp;
            parsed.source_port = udp.source_port();
            parsed.destination_port = udp.destination_port();
            parsed.payload += udp::HEADER_LEN as u16;
            if parsed.destination_port == 0 {
                return Err(DropReason::PortZero);
            }
        }
        Protocol::ICMP => {
            let Ok(icmp) = icmpv4::View::new_checked(transport) else { return Err(too_short(is_fragment)) };
            match icmpv4::classify(icmp.icmp_type()) {
                icmpv4::Class::Request => {
                    parsed.kind = Kind::IcmpRequest;
                    parsed.source_port = icmp.identifier();
                }
                icmpv4::Class::Reply => {
                    parsed.kind = Kind::IcmpReply;
                    parsed.destination_port = icmp.identifier();
                }
                icmpv4::Class::Error => parsed.kind = Kind::IcmpError,
                icmpv4::Class::Other => parsed.kind = Kind::IcmpOther(icmp.icmp_type()),
            }
            parsed.payload += icmpv4::HEADER_LEN as u16;
        }
        _ => {}
    }
    Ok(parsed)
}

#[cold]
fn header_error(error: ParseError) -> DropReason {
    match error {
        ParseError::Version => DropReason::IpVersion,
        ParseError::HeaderLength => DropReason::IpHeaderLength,
        // A frame that cannot hold 20 octets is shorter than any total length.
        _ => DropReason::IpTotalLength,
    }
}

#[cold]
fn option_error(error: OptionError) -> DropReason {
    match error {
        OptionError::SourceRoute => DropReason::SourceRoute,
        OptionError::Malformed => DropReason::IpOptionMalformed,
    }
}

#[cold]
fn too_short(is_fragment: bool) -> DropReason {
    // A fragment that is too small for its transport header evades filters (RFC 1858 §3).
    if is_fragment { DropReason::FragmentTiny } else { DropReason::TransportTruncated }
}

#[cold]
fn tcp_error(transport: &[u8], is_fragment: bool) -> DropReason {
    // A data offset under 5 words is wrong however much of the segment is here.
    match tcp::View::new_checked(transport) {
        Err(ParseError::HeaderLength) if transport[tcp::FIELD_DATA_OFFSET] >> 4 < 5 => {
            DropReason::TransportTruncated
        }
        _ => too_short(is_fragment),
    }
}

/// Judges a fragment by itself; overlaps are for the fragment table. `word` are flags and offset, `len` the
/// octets behind the header.
#[cold]
fn fragment_info(
    id: u16,
    word: u16,
    protocol: Protocol,
    header_len: usize,
    len: usize,
) -> Result<FragmentInfo, DropReason> {
    let more = word & ipv4::MORE_FRAGMENTS != 0;
    let offset = (word & ipv4::FRAGMENT_OFFSET) * 8;
    // RFC 791 §3.2: all but the last carry whole units of 8 octets. An empty fragment says nothing.
    if len == 0 || (more && !len.is_multiple_of(8)) {
        return Err(DropReason::FragmentTiny);
    }
    if header_len + usize::from(offset) + len > MAX_PACKET {
        return Err(DropReason::FragmentOverlap);
    }
    // RFC 1858 §3.2.2, RFC 3128 §3: it would overwrite the TCP header, which the first fragment must hold.
    if protocol == Protocol::TCP && offset != 0 && usize::from(offset) < tcp::MIN_HEADER_LEN {
        return Err(DropReason::FragmentTiny);
    }
    Ok(FragmentInfo { id, offset, more })
}

#[cfg(test)]
mod tests {
    //! Properties: any bytes are judged without a panic; well-formed packets decode as etherparse decodes
    //! them; offsets lie inside the frame.

    use super::*;
    use crate::packet::test_frames::{IP, Spec, Transport, any_spec, refill};
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    #[rustfmt::skip]
    const SYN: [u8; 60] = [
        0x52, 0x54, 0x00, 0x00, 0x00, 0x01, // destination MAC
        0x52, 0x54, 0x00, 0x00, 0x00, 0x02, // source MAC
        0x08, 0x00,                         // IPv4
        0x45,                               // version 4, 5 words
        0x00,                               // DSCP, ECN
        0x00, 0x2c,                         // total length 44
        0x12, 0x34,                         // identification
        0x40, 0x00,                         // DF
        0x40,                               // TTL 64
        0x06,                               // TCP
        0x3d, 0xab,                         // header checksum
        192, 168, 0, 10,                    // source
        198, 51, 100, 7,                    // destination
        0x9c, 0x40,                         // source port 40000
        0x00, 0x50,                         // destination port 80
        0x00, 0x00, 0x00, 0x01,             // sequence
        0x00, 0x00, 0x00, 0x00,             // acknowledgment
        0x60, 0x02,                         // 6 words, SYN
        0xfa, 0xf0,                         // window
        0x00, 0x00,                         // checksum, not looked at
        0x00, 0x00,                         // urgent pointer
        0x02, 0x04, 0x05, 0xb4,             // MSS 1460
        0x00, 0x00,                         // link padding
    ];

    /// `SYN` with octets of the IPv4 packet replaced and the header checksum mended.
    fn with(changes: &[(usize, u8)]) -> Result<Parsed, DropReason> {
        let mut frame = SYN;
        for &(offset, value) in changes {
            frame[IP + offset] = value;
        }
        let header_len = (usize::from(frame[IP] & 0xf) * 4).min(frame.len() - IP);
        frame[IP + 10..IP + 12].fill(0);
        let sum = crate::wire::checksum::sum(&frame[IP..IP + header_len]);
        frame[IP + 10..IP + 12].copy_from_slice(&crate::wire::checksum::finish(sum).to_be_bytes());
        parse_ipv4(&frame)
    }

    #[test]
    fn a_syn_decodes() {
        let expected = Parsed {
            l4: 34,
            payload: 58,
            end: 58,
            source: Ipv4Addr::new(192, 168, 0, 10),
            destination: Ipv4Addr::new(198, 51, 100, 7),
            protocol: Protocol::TCP,
            ttl: 64,
            source_port: 40_000,
            destination_port: 80,
            tcp_flags: TcpFlags::SYN,
            kind: Kind::Tcp,
            fragment: None,
            dont_fragment: true,
            has_options: false,
        };
        assert_eq!(parse_ipv4(&SYN), Ok(expected));
        assert_eq!((expected.packet_len(), expected.ip_payload_len()), (44, 24));
    }

    #[test]
    fn header_checks_have_reasons_of_their_own() {
        assert_eq!(parse_ipv4(&SYN[..13]), Err(DropReason::FrameTruncated));
        assert_eq!(parse_ipv4(&SYN[..14]), Err(DropReason::IpTotalLength));
        assert_eq!(parse_ipv4(&SYN[..33]), Err(DropReason::IpTotalLength));
        assert_eq!(parse_ipv4(&SYN[..57]), Err(DropReason::IpTotalLength));
        assert!(parse_ipv4(&SYN[..58]).is_ok());
        assert_eq!(with(&[(0, 0x65)]), Err(DropReason::IpVersion));
        assert_eq!(with(&[(0, 0x44)]), Err(DropReason::IpHeaderLength));
        assert_eq!(with(&[(0, 0x4c)]), Err(DropReason::IpHeaderLength));
        assert_eq!(with(&[(3, 19)]), Err(DropReason::IpTotalLength));
        let mut wrong = SYN;
        wrong[IP + 10] ^= 1;
        assert_eq!(parse_ipv4(&wrong), Err(DropReason::IpHeaderChecksum));
    }

    #[test]
    fn options_are_judged() {
        let frame = |options: &[u8]| {
            let mut spec = Spec::udp(b"x");
            spec.ip_options = options.to_vec();
            parse_ipv4(&spec.frame())
        };
        let parsed = frame(&[148, 4, 0, 0]).unwrap();
        assert!(parsed.has_options);
        assert_eq!((parsed.l4, parsed.payload), (38, 46));
        assert_eq!(frame(&[131, 4, 4, 0]), Err(DropReason::SourceRoute));
        assert_eq!(frame(&[7, 4, 4, 0]), Err(DropReason::SourceRoute));
        assert_eq!(frame(&[68, 9, 0, 0]), Err(DropReason::IpOptionMalformed));
    }

    #[test]
    fn tcp_checks() {
        assert_eq!(with(&[(20, 0), (21, 0)]), Err(DropReason::PortZero));
        assert_eq!(with(&[(22, 0), (23, 0)]), Err(DropReason::PortZero));
        assert_eq!(with(&[(33, 0x00)]), Err(DropReason::TcpFlags));
        assert_eq!(with(&[(33, 0x03)]), Err(DropReason::TcpFlags));
        assert_eq!(with(&[(33, 0x06)]), Err(DropReason::TcpFlags));
        assert_eq!(with(&[(32, 0x70)]), Err(DropReason::TransportTruncated), "data offset past the end");
        assert_eq!(with(&[(32, 0x40)]), Err(DropReason::TransportTruncated), "data offset under 5");
        assert_eq!(with(&[(3, 39)]), Err(DropReason::TransportTruncated), "19 octets of TCP");
    }

    #[test]
    fn udp_checks() {
        let with_length = |length: u8, destination_port: u8| {
            let mut frame = Spec::udp(b"four").frame();
            frame[IP + 23] = destination_port;
            frame[IP + 25] = length;
            parse_ipv4(&frame).map(|parsed| parsed.kind)
        };
        assert_eq!(with_length(12, 53), Ok(Kind::Udp));
        assert_eq!(with_length(8, 53), Ok(Kind::Udp), "octets behind the datagram pass");
        assert_eq!(with_length(13, 53), Err(DropReason::TransportTruncated));
        assert_eq!(with_length(7, 53), Err(DropReason::TransportTruncated));
        assert_eq!(with_length(12, 0), Err(DropReason::PortZero));
        let mut no_answer_wanted = Spec::udp(b"");
        no_answer_wanted.source_port = 0;
        assert!(parse_ipv4(&no_answer_wanted.frame()).is_ok(), "UDP source port 0 is legal");
        assert_eq!(with(&[(9, 17), (3, 27)]), Err(DropReason::TransportTruncated), "7 octets of UDP");
    }

    #[test]
    fn icmp_identifiers_stand_on_the_requester_s_side() {
        let ports = |kind: u8| {
            let parsed = parse_ipv4(&Spec::icmp(kind, b"").frame()).unwrap();
            (parsed.kind, parsed.source_port, parsed.destination_port)
        };
        assert_eq!(ports(8), (Kind::IcmpRequest, 40_000, 0));
        assert_eq!(ports(13), (Kind::IcmpRequest, 40_000, 0));
        assert_eq!(ports(0), (Kind::IcmpReply, 0, 40_000));
        assert_eq!(ports(14), (Kind::IcmpReply, 0, 40_000));
        assert_eq!(ports(3), (Kind::IcmpError, 0, 0));
        assert_eq!(ports(5), (Kind::IcmpOther(5), 0, 0));
        assert_eq!(with(&[(9, 1), (3, 27)]), Err(DropReason::TransportTruncated), "7 octets of ICMP");
    }

    #[test]
    fn fragments() {
        // 24 octets of payload: a whole TCP header, and a multiple of 8.
        let first = with(&[(6, 0x20)]).unwrap();
        assert_eq!(first.kind, Kind::Tcp);
        assert_eq!(first.fragment, Some(FragmentInfo { id: 0x1234, offset: 0, more: true }));
        let later = with(&[(6, 0x00), (7, 0x03)]).unwrap();
        assert_eq!((later.kind, later.source_port, later.payload), (Kind::LaterFragment, 0, 34));
        assert_eq!(later.fragment, Some(FragmentInfo { id: 0x1234, offset: 24, more: false }));
        let middle = with(&[(6, 0x20), (7, 0xb9)]).unwrap();
        assert_eq!(middle.fragment, Some(FragmentInfo { id: 0x1234, offset: 1480, more: true }));
    }

    #[test]
    fn tiny_and_oversized_fragments() {
        assert_eq!(with(&[(6, 0x20), (3, 36)]), Err(DropReason::FragmentTiny), "16 octets of TCP");
        assert_eq!(with(&[(6, 0x20), (32, 0x70)]), Err(DropReason::FragmentTiny), "TCP options cut");
        assert_eq!(with(&[(6, 0x20), (32, 0x40)]), Err(DropReason::TransportTruncated));
        assert_eq!(with(&[(6, 0x20), (7, 9), (3, 43)]), Err(DropReason::FragmentTiny), "no multiple of 8");
        assert_eq!(with(&[(6, 0x20), (3, 20)]), Err(DropReason::FragmentTiny), "empty");
        assert_eq!(with(&[(6, 0x00), (7, 9), (3, 20)]), Err(DropReason::FragmentTiny), "empty last");
        assert_eq!(with(&[(6, 0x00), (7, 1)]), Err(DropReason::FragmentTiny), "overwrites the TCP header");
        assert_eq!(with(&[(6, 0x00), (7, 2)]), Err(DropReason::FragmentTiny), "overwrites the TCP header");
        assert!(with(&[(6, 0x00), (7, 1), (9, 17)]).is_ok(), "UDP ends before it");
        // 65512 + 24 + 20 octets.
        assert_eq!(with(&[(6, 0x1f), (7, 0xfd)]), Err(DropReason::FragmentOverlap), "reaches past 65535");
        // 65488 + 24 + 20 = 65532 octets.
        assert!(with(&[(6, 0x1f), (7, 0xfa)]).is_ok());
    }

    #[test]
    fn a_first_fragment_of_udp_tells_the_length_of_the_whole() {
        let mut frame = Spec::udp(&[0; 16]).frame();
        frame[IP + 6] = 0x20;
        frame[IP + 24..IP + 26].copy_from_slice(&2000_u16.to_be_bytes());
        refill(&mut frame);
        assert_eq!(parse_ipv4(&frame).map(|parsed| parsed.kind), Ok(Kind::Udp));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse_ipv4(&bytes);
        }

        /// Random octets seldom pass the header checks, so a valid frame is damaged and mended.
        #[test]
        fn damaged_frames_are_judged(
            spec in any_spec(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut: prop::sample::Index,
        ) {
            let mut frame = spec.frame();
            for (index, value) in damage {
                let at = IP + index.index(frame.len() - IP);
                frame[at] = value;
            }
            let header_len = (usize::from(frame[IP] & 0xf) * 4).clamp(20, frame.len() - IP);
            frame[IP + 10..IP + 12].fill(0);
            let sum = crate::wire::checksum::sum(&frame[IP..IP + header_len]);
            frame[IP + 10..IP + 12].copy_from_slice(&crate::wire::checksum::finish(sum).to_be_bytes());
            for bytes in [&frame[..], &frame[..cut.index(frame.len())]] {
                if let Ok(parsed) = parse_ipv4(bytes) {
                    prop_assert!(34 <= parsed.l4 && parsed.l4 <= parsed.payload);
                    prop_assert!(u32::from(parsed.payload) <= parsed.end);
                    prop_assert!(parsed.end as usize <= bytes.len());
                }
            }
        }

        #[test]
        fn well_formed_packets_decode_as_etherparse_s(spec in any_spec(), padding in 0..20_usize) {
            let mut frame = spec.frame();
            let end = frame.len();
            frame.resize(end + padding, 0);
            let parsed = parse_ipv4(&frame).unwrap();
            let oracle = SlicedPacket::from_ethernet(&frame).unwrap();
            let ip = oracle.net.as_ref().unwrap().ipv4_ref().unwrap().header();
            prop_assert_eq!(parsed.source, ip.source_addr());
            prop_assert_eq!(parsed.destination, ip.destination_addr());
            prop_assert_eq!(parsed.protocol.0, ip.protocol().0);
            prop_assert_eq!(parsed.ttl, ip.ttl());
            prop_assert_eq!(parsed.end as usize, end);
            prop_assert_eq!(parsed.dont_fragment, ip.dont_fragment());
            prop_assert_eq!(parsed.has_options, !ip.options().is_empty());
            prop_assert_eq!(usize::from(parsed.l4), IP + ip.slice().len());
            let (source_port, destination_port, payload_len) = match oracle.transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    prop_assert_eq!(parsed.kind, Kind::Tcp);
                    prop_assert_eq!(parsed.tcp_flags.0, tcp.slice()[13]);
                    (tcp.source_port(), tcp.destination_port(), tcp.payload().len())
                }
                Some(TransportSlice::Udp(udp)) => {
                    prop_assert_eq!(parsed.kind, Kind::Udp);
                    (udp.source_port(), udp.destination_port(), udp.payload().len())
                }
                Some(TransportSlice::Icmpv4(icmp)) => {
                    let identifier = u16::from_be_bytes([icmp.bytes5to8()[0], icmp.bytes5to8()[1]]);
                    let len = icmp.slice().len() - 8;
                    if parsed.kind == Kind::IcmpRequest { (identifier, 0, len) } else { (0, identifier, len) }
                }
                _ => {
                    prop_assert!(matches!(spec.transport, Transport::Other(_)));
                    prop_assert_eq!(parsed.kind, Kind::Other);
                    (0, 0, end - usize::from(parsed.l4))
                }
            };
            prop_assert_eq!((parsed.source_port, parsed.destination_port), (source_port, destination_port));
            prop_assert_eq!(end - usize::from(parsed.payload), payload_len);
        }
    }
}
