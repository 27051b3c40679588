//! Packets that the router makes itself: ICMP errors, echo replies, resets, ARP.
//!
//! Read first: RFC 1812 §4.3.2 (when to answer with an error, and how), RFC 1122 §3.2.2.6 (echo),
//! RFC 9293 §3.5.2 (resets).

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpDscp, IpNumber, Ipv4Header, TcpHeader, TcpOptionElement,
    UdpHeader,
};

use super::parsed::{Kind, Parsed};
use super::rewrite::{mend_all_zero_icmp, set_ttl};
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::tcp::{self, TcpFlags};
use crate::wire::{arp, be16, icmpv4, ipv4};

/// TTL of the router's own packets (RFC 1700's recommended default).
const TTL: u8 = 64;

/// Largest ICMP error in octets (RFC 1812 §4.3.2.3), IPv4 header included.
const MAX_ERROR_LEN: usize = 576;

/// Octets of the offending packet that fit.
const MAX_QUOTED: usize = MAX_ERROR_LEN - ipv4::MIN_HEADER_LEN - icmpv4::HEADER_LEN;

/// An ICMP error of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpErrorKind {
    /// Type 11.
    TimeExceeded {
        /// [`icmpv4::CODE_TTL_EXCEEDED`] or [`icmpv4::CODE_REASSEMBLY_TIME_EXCEEDED`].
        code: u8,
    },
    /// Type 3, code 4 (RFC 1191 §4).
    FragmentationNeeded {
        /// IP MTU of the next hop in octets.
        mtu: u16,
    },
    /// Type 3.
    Unreachable {
        /// [`icmpv4::CODE_HOST_UNREACHABLE`] and its like.
        code: u8,
    },
}

impl IcmpErrorKind {
    /// Type and code (RFC 792).
    pub fn type_and_code(self) -> (u8, u8) {
        match self {
            IcmpErrorKind::TimeExceeded { code } => (icmpv4::TIME_EXCEEDED, code),
            IcmpErrorKind::FragmentationNeeded { .. } => {
                (icmpv4::DESTINATION_UNREACHABLE, icmpv4::CODE_FRAGMENTATION_NEEDED)
            }
            IcmpErrorKind::Unreachable { code } => (icmpv4::DESTINATION_UNREACHABLE, code),
        }
    }
}

/// The packet may be answered with an ICMP error by RFC 1812 §4.3.2.7: it is no ICMP error itself (nor an
/// ICMP type that might be one), no later fragment, and comes from and goes to a single host. Directed
/// broadcasts and link-layer broadcasts are the caller's to know.
pub fn may_answer(parsed: &Parsed) -> bool {
    let single = |address: Ipv4Addr| {
        // 0/8 names no host, 240/4 is reserved and ends in the limited broadcast.
        let first = address.octets()[0];
        first != 0 && first < 224 && !address.is_loopback()
    };
    !matches!(parsed.kind, Kind::IcmpError | Kind::IcmpOther(_) | Kind::LaterFragment)
        && single(parsed.source)
        && single(parsed.destination)
}

/// An ICMP error about `original_ip`, as an IPv4 packet. It quotes as much as RFC 1812 §4.3.2.3 allows; octets
/// behind the original's total length (link padding) are left out. Whether to answer at all is
/// [`may_answer`]'s and the rate limit's business.
pub fn icmp_error(
    kind: IcmpErrorKind,
    original_ip: &[u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Vec<u8> {
    let (type_u8, code_u8) = kind.type_and_code();
    let bytes5to8 = match kind {
        IcmpErrorKind::FragmentationNeeded { mtu } => {
            let [high, low] = mtu.to_be_bytes();
            [0, 0, high, low]
        }
        IcmpErrorKind::TimeExceeded { .. } | IcmpErrorKind::Unreachable { .. } => [0; 4],
    };
    let original = ipv4::View::new_truncated(original_ip).map_or(original_ip, |view| view.packet());
    let quoted = &original[..original.len().min(MAX_QUOTED)];
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }, quoted);
    // RFC 1812 §4.3.2.5: precedence 6, internetwork control.
    let mut packet =
        ip_packet(IpNumber::ICMP, IpDscp::CS6, source, destination, icmpv4::HEADER_LEN + quoted.len());
    packet.extend_from_slice(&icmp.to_bytes());
    packet.extend_from_slice(quoted);
    packet
}

/// Turns an echo request into its reply in place: MAC and IPv4 addresses swapped, type changed, TTL set,
/// checksums mended. Identifier, sequence number, data, TOS and options stay (RFC 1122 §3.2.2.6). The frame
/// is one that [`super::parse_ipv4`] took for an unfragmented echo request.
pub fn echo_reply_in_place(frame: &mut [u8]) {
    const IP: usize = ethernet::HEADER_LEN;
    let Some((headers, _)) = frame.split_first_chunk_mut::<{ IP + ipv4::MIN_HEADER_LEN }>() else { return };
    let [source, destination] = [IP + ipv4::FIELD_SOURCE, IP + ipv4::FIELD_DESTINATION];
    for i in 0..4 {
        headers.swap(source + i, destination + i);
    }
    for i in 0..6 {
        headers.swap(ethernet::FIELD_DESTINATION + i, ethernet::FIELD_SOURCE + i);
    }
    set_ttl(headers, TTL);
    let l4 = IP + usize::from(headers[IP] & 0x0f) * 4;
    let end = IP + usize::from(be16!(headers, IP + ipv4::FIELD_TOTAL_LEN));
    let Some(message) = frame.get_mut(l4..end) else { return };
    let Some(header) = message.first_chunk_mut::<{ icmpv4::HEADER_LEN }>() else { return };
    let code = header[icmpv4::FIELD_CODE];
    let old = u16::from_be_bytes([header[icmpv4::FIELD_TYPE], code]);
    header[icmpv4::FIELD_TYPE] = icmpv4::ECHO_REPLY;
    let new = u16::from_be_bytes([icmpv4::ECHO_REPLY, code]);
    let checksum = Delta::word(old, new).apply(be16!(header, icmpv4::FIELD_CHECKSUM));
    header[icmpv4::FIELD_CHECKSUM..icmpv4::FIELD_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    if checksum == 0 {
        mend_all_zero_icmp(message);
    }
}

/// The reset that answers a TCP segment of no session (RFC 9293 §3.5.2, group 1), as an IPv4 packet from the
/// segment's destination to its source. `None` for a reset, which is never answered, for anything but
/// TCP, and for a fragment, whose segment length is not known.
pub fn tcp_reset(parsed: &Parsed, frame: &[u8]) -> Option<Vec<u8>> {
    if parsed.kind != Kind::Tcp || parsed.fragment.is_some() || parsed.tcp_flags.contains(TcpFlags::RST) {
        return None;
    }
    let segment = tcp::View::new_checked(frame.get(usize::from(parsed.l4)..parsed.end as usize)?).ok()?;
    let mut reset = TcpHeader::new(parsed.destination_port, parsed.source_port, 0, 0);
    reset.rst = true;
    if parsed.tcp_flags.contains(TcpFlags::ACK) {
        reset.sequence_number = segment.acknowledgment();
    } else {
        let controls = u32::from(parsed.tcp_flags.contains(TcpFlags::SYN))
            + u32::from(parsed.tcp_flags.contains(TcpFlags::FIN));
        let len = segment.payload().len() as u32 + controls;
        reset.ack = true;
        reset.acknowledgment_number = segment.sequence().wrapping_add(len);
    }
    let (source, destination) = (parsed.destination, parsed.source);
    reset.checksum = reset
        .calc_checksum_ipv4_raw(source.octets(), destination.octets(), &[])
        .expect("a segment without payload is not too long");
    let mut packet = ip_packet(IpNumber::TCP, IpDscp::CS0, source, destination, tcp::MIN_HEADER_LEN);
    packet.extend_from_slice(&reset.to_bytes());
    Some(packet)
}

/// A SYN, as an IPv4 packet.
pub fn syn(source: SocketAddrV4, destination: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let mut header = TcpHeader::new(source.port(), destination.port(), sequence, u16::MAX);
    header.syn = true;
    // What Ethernet carries: some firewalls refuse a SYN that says nothing.
    header
        .set_options(&[TcpOptionElement::MaximumSegmentSize(1460)])
        .expect("one option fits into the header");
    let (from, to) = (*source.ip(), *destination.ip());
    header.checksum = header
        .calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
        .expect("a segment without payload is not too long");
    let segment = header.to_bytes();
    let mut packet = ip_packet(IpNumber::TCP, IpDscp::CS0, from, to, segment.len());
    packet.extend_from_slice(&segment);
    packet
}

/// A UDP datagram with at most 65,507 octets of payload, as an IPv4 packet.
pub fn datagram(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (*source.ip(), *destination.ip());
    let length = UdpHeader::LEN + payload.len();
    let mut header = UdpHeader {
        source_port: source.port(),
        destination_port: destination.port(),
        length: length as u16,
        checksum: 0,
    };
    header.checksum = header
        .calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
        .expect("a payload that fits into a packet is not too long");
    let mut packet = ip_packet(IpNumber::UDP, IpDscp::CS0, from, to, length);
    packet.extend_from_slice(&header.to_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// An echo request with sequence number 1 and no data, as an IPv4 packet.
pub fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Vec<u8> {
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: identifier, seq: 1 });
    let header = Icmpv4Header::with_checksum(echo, &[]);
    let mut packet = ip_packet(IpNumber::ICMP, IpDscp::CS0, source, destination, icmpv4::HEADER_LEN);
    packet.extend_from_slice(&header.to_bytes());
    packet
}

/// An Ethernet frame with an ARP packet, from the packet's sender to `destination` (the broadcast address
/// for a request, unless the target is known). 42 octets: the device pads it.
pub fn arp_frame(packet: &arp::Repr, destination: MacAddr) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN + arp::LEN];
    ethernet::Repr { destination, source: packet.sender_mac, ethertype: EtherType::ARP }.emit(&mut frame);
    packet.emit(&mut frame[ethernet::HEADER_LEN..]);
    frame
}

/// An IPv4 packet behind an Ethernet header.
pub fn with_ethernet(ip_packet: &[u8], destination: MacAddr, source: MacAddr) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN + ip_packet.len()];
    ethernet::Repr { destination, source, ethertype: EtherType::IPV4 }.emit(&mut frame);
    frame[ethernet::HEADER_LEN..].copy_from_slice(ip_packet);
    frame
}

/// A vector that holds the IPv4 header of a packet with `payload_len` (at most 65,515) octets of payload, and
/// room for these. Not to be fragmented, so that no identification is needed (RFC 6864 §4.1).
fn ip_packet(
    protocol: IpNumber,
    dscp: IpDscp,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload_len: usize,
) -> Vec<u8> {
    let mut header = Ipv4Header {
        dscp,
        total_len: (ipv4::MIN_HEADER_LEN + payload_len) as u16,
        dont_fragment: true,
        time_to_live: TTL,
        protocol,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv4Header::default()
    };
    header.header_checksum = header.calc_header_checksum();
    let mut packet = Vec::with_capacity(ipv4::MIN_HEADER_LEN + payload_len);
    packet.extend_from_slice(&header.to_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::embedded::Embedded;
    use crate::packet::parsed::parse_ipv4;
    use crate::packet::test_frames::{IP, Spec, assert_checksums, refill};
    use crate::wire::ipv4::Protocol;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn framed(packet: &[u8]) -> Vec<u8> {
        with_ethernet(packet, HOST, US)
    }

    #[test]
    fn errors_quote_what_fits() {
        for (payload, quoted) in [(0, 28), (100, 128), (520, 548), (521, 548), (1472, 548)] {
            let original = Spec::udp(&vec![7; payload]).frame();
            let router = Ipv4Addr::new(192, 168, 0, 1);
            let kind = IcmpErrorKind::FragmentationNeeded { mtu: 1400 };
            let packet = icmp_error(kind, &original[IP..], router, Ipv4Addr::new(192, 168, 0, 10));
            assert_eq!(packet.len(), 28 + quoted);
            let frame = framed(&packet);
            assert_checksums(&frame);
            let parsed = parse_ipv4(&frame).unwrap();
            assert_eq!((parsed.kind, parsed.source, parsed.ttl), (Kind::IcmpError, router, 64));
            let icmp = icmpv4::View::new_checked(&packet[20..]).unwrap();
            assert_eq!((icmp.icmp_type(), icmp.code(), icmp.mtu(), icmp.quoted_len()), (3, 4, 1400, 0));
            assert_eq!(icmp.payload(), &original[IP..][..quoted]);
            let embedded = Embedded::parse(&frame, &parsed).unwrap();
            assert_eq!((embedded.protocol, embedded.source_port), (Protocol::UDP, 40_000));
        }
    }

    #[test]
    fn types_and_codes_of_errors() {
        let original = Spec::udp(b"").frame();
        let type_and_code = |kind| {
            let packet = icmp_error(kind, &original[IP..], Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
            (packet[20], packet[21], packet[24..28].to_vec())
        };
        assert_eq!(type_and_code(IcmpErrorKind::TimeExceeded { code: 1 }), (11, 1, vec![0; 4]));
        assert_eq!(type_and_code(IcmpErrorKind::Unreachable { code: 13 }), (3, 13, vec![0; 4]));
    }

    #[test]
    fn link_padding_is_not_quoted() {
        let mut original = Spec::udp(b"").frame();
        original.resize(60, 0xee);
        let kind = IcmpErrorKind::TimeExceeded { code: 0 };
        let packet = icmp_error(kind, &original[IP..], Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert_eq!(packet.len(), 28 + 28);
    }

    #[test]
    fn what_may_be_answered() {
        let answer = |spec: &Spec| may_answer(&parse_ipv4(&spec.frame()).unwrap());
        let udp = Spec::udp(&[0; 24]);
        assert!(answer(&udp) && answer(&Spec::tcp(2, b"")) && answer(&Spec::icmp(8, b"")));
        for kind in [3, 4, 5, 11, 12, 42] {
            assert!(!answer(&Spec::icmp(kind, b"")), "ICMP type {kind}");
        }
        for address in
            ["224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"]
        {
            let address = address.parse().unwrap();
            assert!(!answer(&Spec { destination: address, ..udp.clone() }), "to {address}");
            assert!(!answer(&Spec { source: address, ..udp.clone() }), "from {address}");
        }
        let mut later = udp.frame();
        later[IP + 7] = 3;
        refill(&mut later);
        assert!(!may_answer(&parse_ipv4(&later).unwrap()));
        let mut first = udp.frame();
        first[IP + 6] = 0x20;
        refill(&mut first);
        assert!(may_answer(&parse_ipv4(&first).unwrap()), "first fragments are answered");
    }

    #[test]
    fn resets_by_rfc_9293() {
        let parse_reset = |flags: u8, payload: &[u8]| {
            let frame = Spec::tcp(flags, payload).frame();
            let packet = tcp_reset(&parse_ipv4(&frame).unwrap(), &frame)?;
            assert_checksums(&framed(&packet));
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (sliced.net, sliced.transport)
            else {
                panic!("not TCP");
            };
            assert_eq!(ip.header().source_addr(), Ipv4Addr::new(198, 51, 100, 7));
            assert_eq!(ip.header().destination_addr(), Ipv4Addr::new(192, 168, 0, 10));
            assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_000));
            assert!(tcp.rst() && !tcp.syn() && tcp.payload().is_empty());
            Some((tcp.sequence_number(), tcp.ack().then(|| tcp.acknowledgment_number())))
        };
        // Specs have sequence number 0x01020304 and acknowledgment number 0x05060708.
        assert_eq!(parse_reset(0x10, b"data"), Some((0x0506_0708, None)), "ACK: its number");
        assert_eq!(parse_reset(0x12, b""), Some((0x0506_0708, None)), "SYN-ACK likewise");
        assert_eq!(parse_reset(0x02, b""), Some((0, Some(0x0102_0305))), "SYN counts as one");
        assert_eq!(parse_reset(0x02, b"data"), Some((0, Some(0x0102_0309))), "with data");
        assert_eq!(parse_reset(0x01, b""), Some((0, Some(0x0102_0305))), "FIN counts as one");
        assert_eq!(parse_reset(0x04, b""), None, "a reset is never answered");
        let udp = Spec::udp(b"").frame();
        assert_eq!(tcp_reset(&parse_ipv4(&udp).unwrap(), &udp), None);
    }

    #[test]
    fn arp_frames_have_the_sender_s_mac() {
        let packet = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: US,
            sender_ip: Ipv4Addr::new(192, 168, 0, 1),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(192, 168, 0, 10),
        };
        let frame = arp_frame(&packet, MacAddr::BROADCAST);
        assert_eq!(frame.len(), 42);
        let header = ethernet::Repr::parse(&frame).unwrap();
        assert_eq!((header.destination, header.source), (MacAddr::BROADCAST, US));
        assert_eq!((header.ethertype, arp::Repr::parse(&frame[14..])), (EtherType::ARP, Ok(packet)));
    }

    #[test]
    fn the_reply_to_an_echo_of_zeros_has_the_checksum_of_ones() {
        let mut spec = Spec::icmp(8, &[0; 6]);
        (spec.source_port, spec.destination_port) = (0, 0);
        let mut frame = spec.frame();
        echo_reply_in_place(&mut frame);
        assert_eq!(frame[IP + 22..IP + 24], [0xff, 0xff]);
        assert_checksums(&frame);
    }

    proptest! {
        /// The reply is the request with the ends swapped, and all its checksums are right.
        #[test]
        fn echo_replies(
            id: u16,
            sequence: u16,
            ttl in 1..=255_u8,
            data in proptest::collection::vec(any::<u8>(), 0..100),
            options: bool,
            padding in 0..10_usize,
        ) {
            let mut spec = Spec::icmp(8, &data);
            (spec.source_port, spec.destination_port, spec.ttl) = (id, sequence, ttl);
            if options {
                spec.ip_options = vec![148, 4, 0, 0];
            }
            let mut frame = spec.frame();
            let len = frame.len();
            frame.resize(len + padding, 0);
            echo_reply_in_place(&mut frame);
            let mut expected = Spec { ttl: 64, source: spec.destination, destination: spec.source, ..spec };
            expected.transport = crate::packet::test_frames::Transport::Icmp { kind: 0, code: 0 };
            let mut expected = expected.frame();
            let (destination, rest) = expected.split_at_mut(6);
            destination.swap_with_slice(&mut rest[..6]);
            prop_assert_eq!(&frame[..len], &expected[..]);
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let kind = IcmpErrorKind::TimeExceeded { code: 0 };
            icmp_error(kind, &bytes, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
            echo_reply_in_place(&mut bytes);
        }
    }
}
