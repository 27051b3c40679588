//! Changes addresses, ports, TTL, MAC addresses and MSS in place, each together with the checksums that
//! cover it.
//!
//! Read first: RFC 1624 (incremental update), RFC 768 (UDP's zero checksum), RFC 5508 §3 (ICMP
//! identifiers), and [`crate::wire::checksum`] for the words sum, checksum and partial.
//!
//! Checksums are changed by the difference only, so a wrong one stays equally wrong: the receiver is to
//! find out, not the router to hide it.

use std::net::Ipv4Addr;

use super::parsed::{Kind, Parsed};
use crate::frame::Offload;
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::tcp::TcpFlags;
use crate::wire::{be16, be32, icmpv4, tcp, udp};

/// Offset of the checksum field in UDP-Lite (RFC 3828 §3.1) and DCCP (RFC 4340 §5.1), whose checksums
/// cover a pseudo header as UDP's does.
const UDP_LITE_AND_DCCP_CHECKSUM: usize = 6;

/// Octets of Ethernet and IPv4 header without options: what every parsed frame has.
const HEADERS_LEN: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN;

/// Which endpoint of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// One side's new endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Which side.
    pub side: Side,
    /// Its new address.
    pub address: Ipv4Addr,
    /// Its new port; of an ICMP query the new identifier, when `side` is the requester's. Not used for
    /// protocols without ports, ICMP errors and later fragments.
    pub port: u16,
}

/// Replaces address and port of one side, and mends the IPv4 header checksum and the transport checksum by
/// the difference.
///
/// `parsed` is of this very frame, but is not looked at for the values replaced, so it may have been taken
/// before an earlier rewrite of the other or the same side. A partial checksum covers the pseudo header
/// alone, and only the address counts there. UDP's checksum 0 stays 0. ESP, AH, GRE, SCTP (whose CRC covers
/// no address, RFC 4960 §6.8) and unknown protocols change their address only.
#[inline]
pub fn apply(frame: &mut [u8], parsed: &Parsed, offload: &Offload, rewrite: &Rewrite) {
    let Some((headers, _)) = frame.split_first_chunk_mut::<HEADERS_LEN>() else { return };
    // Fixed offsets for each side, so that no bounds check is left.
    let address_delta = match rewrite.side {
        Side::Source => replace_address(headers, ethernet::HEADER_LEN + ipv4::FIELD_SOURCE, rewrite.address),
        Side::Destination => {
            replace_address(headers, ethernet::HEADER_LEN + ipv4::FIELD_DESTINATION, rewrite.address)
        }
    };
    let Some(transport) = frame.get_mut(usize::from(parsed.l4)..) else { return };
    let partial = offload.partial_checksum;
    match parsed.kind {
        Kind::Tcp => {
            let Some(header) = transport.first_chunk_mut::<{ tcp::MIN_HEADER_LEN }>() else { return };
            let port_delta = replace_port(header, rewrite);
            mend(header, tcp::FIELD_CHECKSUM, partial, address_delta, port_delta);
        }
        Kind::Udp => {
            let Some(header) = transport.first_chunk_mut::<{ udp::HEADER_LEN }>() else { return };
            let port_delta = replace_port(header, rewrite);
            mend_udp(header, partial, address_delta, port_delta);
        }
        Kind::IcmpRequest if rewrite.side == Side::Source => {
            replace_identifier(transport, parsed, rewrite.port);
        }
        Kind::IcmpReply if rewrite.side == Side::Destination => {
            replace_identifier(transport, parsed, rewrite.port);
        }
        Kind::Other => mend_other(transport, parsed.protocol, partial, address_delta),
        Kind::IcmpRequest | Kind::IcmpReply | Kind::IcmpError | Kind::IcmpOther(_) | Kind::LaterFragment => {}
    }
}

/// Lowers the TTL by one and mends the header checksum. The caller has made sure that it is at least 2;
/// 0 stays 0.
#[inline]
pub fn decrement_ttl(frame: &mut [u8]) {
    const TTL: usize = ethernet::HEADER_LEN + ipv4::FIELD_TTL;
    const CHECKSUM: usize = ethernet::HEADER_LEN + ipv4::FIELD_CHECKSUM;
    let Some(headers) = frame.first_chunk_mut::<HEADERS_LEN>() else { return };
    if headers[TTL] == 0 {
        return;
    }
    headers[TTL] -= 1;
    // What RFC 1624's equation 3 comes to when the upper octet of a word falls by one.
    let sum = u32::from(be16!(headers, CHECKSUM)) + 0x0100;
    put16(headers, CHECKSUM, (sum + u32::from(sum >= 0xffff)) as u16);
}

/// Replaces the TTL and mends the header checksum.
#[inline]
pub(super) fn set_ttl(headers: &mut [u8; HEADERS_LEN], ttl: u8) {
    const TTL: usize = ethernet::HEADER_LEN + ipv4::FIELD_TTL;
    const CHECKSUM: usize = ethernet::HEADER_LEN + ipv4::FIELD_CHECKSUM;
    let old = be16!(headers, TTL);
    headers[TTL] = ttl;
    let delta = Delta::word(old, be16!(headers, TTL));
    put16(headers, CHECKSUM, delta.apply(be16!(headers, CHECKSUM)));
}

/// Writes both MAC addresses.
#[inline]
pub fn set_macs(frame: &mut [u8], destination: MacAddr, source: MacAddr) {
    let Some(header) = frame.first_chunk_mut::<{ ethernet::HEADER_LEN }>() else { return };
    header[ethernet::FIELD_DESTINATION..ethernet::FIELD_SOURCE].copy_from_slice(&destination.0);
    header[ethernet::FIELD_SOURCE..ethernet::FIELD_ETHERTYPE].copy_from_slice(&source.0);
}

/// Does in one what [`apply`], [`decrement_ttl`] and [`set_macs`] do to a TCP segment or UDP datagram behind an IPv4
/// header without options. `rewrite` is the side with its new address and port, `None` without NAT. A frame that
/// is shorter than these headers is left alone.
#[inline(always)]
pub fn replay(
    frame: &mut [u8],
    protocol: Protocol,
    partial: bool,
    rewrite: Option<(Side, Ipv4Addr, u16)>,
    destination: MacAddr,
    source: MacAddr,
) {
    const IP: usize = ethernet::HEADER_LEN;
    // RFC 1071 §2(B): sums do not depend on the order of octets, so all words here are as they lie in memory.
    const TTL_DELTA: Delta = Delta::word(u16::from_ne_bytes([1, 0]), 0);
    let Some((headers, rest)) = frame.split_first_chunk_mut::<{ HEADERS_LEN + udp::HEADER_LEN }>() else {
        return;
    };
    headers[ethernet::FIELD_DESTINATION..ethernet::FIELD_SOURCE].copy_from_slice(&destination.0);
    headers[ethernet::FIELD_SOURCE..ethernet::FIELD_ETHERTYPE].copy_from_slice(&source.0);
    headers[IP + ipv4::FIELD_TTL] = headers[IP + ipv4::FIELD_TTL].wrapping_sub(1);
    let mut address_delta = Delta::NONE;
    if let Some((side, address, port)) = rewrite {
        let port_delta;
        (address_delta, port_delta) = match side {
            Side::Source => swap_endpoint(headers, IP + ipv4::FIELD_SOURCE, HEADERS_LEN, address, port),
            Side::Destination => {
                swap_endpoint(headers, IP + ipv4::FIELD_DESTINATION, HEADERS_LEN + 2, address, port)
            }
        };
        if protocol == Protocol::TCP {
            let Some(rest) = rest.first_chunk_mut::<{ tcp::MIN_HEADER_LEN - udp::HEADER_LEN }>() else {
                return;
            };
            const FIELD: usize = tcp::FIELD_CHECKSUM - udp::HEADER_LEN;
            let old = u16::from_ne_bytes([rest[FIELD], rest[FIELD + 1]]);
            let new = mended(old, partial, address_delta, port_delta);
            [rest[FIELD], rest[FIELD + 1]] = new.to_ne_bytes();
        } else {
            const FIELD: usize = HEADERS_LEN + udp::FIELD_CHECKSUM;
            let old = u16::from_ne_bytes([headers[FIELD], headers[FIELD + 1]]);
            let new = mended_udp(old, partial, address_delta, port_delta);
            [headers[FIELD], headers[FIELD + 1]] = new.to_ne_bytes();
        }
    }
    const FIELD: usize = IP + ipv4::FIELD_CHECKSUM;
    let old = u16::from_ne_bytes([headers[FIELD], headers[FIELD + 1]]);
    [headers[FIELD], headers[FIELD + 1]] = address_delta.and(TTL_DELTA).apply(old).to_ne_bytes();
}

/// Writes an address and a port at these offsets, and returns the changes in words as they lie in memory.
#[inline(always)]
fn swap_endpoint<const N: usize>(
    headers: &mut [u8; N],
    address_at: usize,
    port_at: usize,
    address: Ipv4Addr,
    port: u16,
) -> (Delta, Delta) {
    let new = address.octets();
    let old =
        [headers[address_at], headers[address_at + 1], headers[address_at + 2], headers[address_at + 3]];
    headers[address_at..address_at + 4].copy_from_slice(&new);
    let new_port = port.to_be_bytes();
    let old_port = [headers[port_at], headers[port_at + 1]];
    [headers[port_at], headers[port_at + 1]] = new_port;
    (
        Delta::double_word(u32::from_ne_bytes(old), u32::from_ne_bytes(new)),
        Delta::word(u16::from_ne_bytes(old_port), u16::from_ne_bytes(new_port)),
    )
}

/// Lowers the MSS option of a SYN or SYN-ACK to `max` octets, and says whether it did. Never raises it,
/// never adds one (RFC 9293 §3.7.1: no option means 536). Mends the checksum; a partial one does not cover
/// options.
pub fn clamp_mss(frame: &mut [u8], parsed: &Parsed, offload: &Offload, max: u16) -> bool {
    if parsed.kind != Kind::Tcp || !parsed.tcp_flags.contains(TcpFlags::SYN) {
        return false;
    }
    let Some(segment) = frame.get_mut(usize::from(parsed.l4)..parsed.end as usize) else { return false };
    let Ok(view) = tcp::View::new_checked(segment) else { return false };
    let Some((offset, old)) = tcp::find_mss(view.options()) else { return false };
    if old <= max {
        return false;
    }
    let at = tcp::MIN_HEADER_LEN + offset;
    segment[at..at + 2].copy_from_slice(&max.to_be_bytes());
    if !offload.partial_checksum {
        // Padding may put the value astride two words of the sum: then its octets count the other way round.
        let delta = if at.is_multiple_of(2) {
            Delta::word(old, max)
        } else {
            Delta::word(old.swap_bytes(), max.swap_bytes())
        };
        let checksum = delta.apply(be16!(segment, tcp::FIELD_CHECKSUM));
        segment[tcp::FIELD_CHECKSUM..tcp::FIELD_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    true
}

/// Writes `address` at `offset`, mends the IPv4 header checksum and returns the change.
#[inline(always)]
fn replace_address(headers: &mut [u8; HEADERS_LEN], offset: usize, address: Ipv4Addr) -> Delta {
    const CHECKSUM: usize = ethernet::HEADER_LEN + ipv4::FIELD_CHECKSUM;
    let delta = Delta::address(Ipv4Addr::from_bits(be32!(headers, offset)), address);
    headers[offset..offset + 4].copy_from_slice(&address.octets());
    put16(headers, CHECKSUM, delta.apply(be16!(headers, CHECKSUM)));
    delta
}

/// Writes the port of TCP and UDP, which lie at the same offsets, and returns the change.
#[inline(always)]
fn replace_port<const N: usize>(header: &mut [u8; N], rewrite: &Rewrite) -> Delta {
    match rewrite.side {
        Side::Source => replace16(header, tcp::FIELD_SOURCE_PORT, rewrite.port),
        Side::Destination => replace16(header, tcp::FIELD_DESTINATION_PORT, rewrite.port),
    }
}

#[inline(always)]
fn replace16<const N: usize>(header: &mut [u8; N], offset: usize, value: u16) -> Delta {
    let old = be16!(header, offset);
    put16(header, offset, value);
    Delta::word(old, value)
}

#[inline(always)]
fn put16<const N: usize>(header: &mut [u8; N], offset: usize, value: u16) {
    [header[offset], header[offset + 1]] = value.to_be_bytes();
}

/// Mends a checksum that covers a pseudo header.
#[inline(always)]
fn mend<const N: usize>(header: &mut [u8; N], offset: usize, partial: bool, address: Delta, port: Delta) {
    put16(header, offset, mended(be16!(header, offset), partial, address, port));
}

/// What becomes of a checksum that covers a pseudo header.
#[inline(always)]
fn mended(old: u16, partial: bool, address: Delta, port: Delta) -> u16 {
    if partial { address.apply_partial(old) } else { address.and(port).apply(old) }
}

/// As [`mend`], with RFC 768's rules: 0 means that there is no checksum and stays, and a computed 0 is
/// written as 0xffff. A partial field never means "none": it is always mended.
#[inline(always)]
pub(super) fn mend_udp(header: &mut [u8; udp::HEADER_LEN], partial: bool, address: Delta, port: Delta) {
    let old = be16!(header, udp::FIELD_CHECKSUM);
    put16(header, udp::FIELD_CHECKSUM, mended_udp(old, partial, address, port));
}

#[inline(always)]
fn mended_udp(old: u16, partial: bool, address: Delta, port: Delta) -> u16 {
    match (partial, old) {
        (true, _) => address.apply_partial(old),
        (false, 0) => 0,
        (false, _) => match address.and(port).apply(old) {
            0 => 0xffff,
            new => new,
        },
    }
}

/// Protocols without ports that the router knows of, but whose checksum covers the addresses.
#[inline]
fn mend_other(transport: &mut [u8], protocol: Protocol, partial: bool, address: Delta) {
    if protocol != Protocol::UDP_LITE && protocol != Protocol::DCCP {
        return;
    }
    let Some(header) = transport.first_chunk_mut::<8>() else { return };
    mend(header, UDP_LITE_AND_DCCP_CHECKSUM, partial, address, Delta::NONE);
    // RFC 3828 §3.1: 0 is not a checksum of UDP-Lite either; a computed 0 is sent as ones.
    if protocol == Protocol::UDP_LITE && !partial && be16!(header, UDP_LITE_AND_DCCP_CHECKSUM) == 0 {
        put16(header, UDP_LITE_AND_DCCP_CHECKSUM, 0xffff);
    }
}

/// Replaces the identifier of an ICMP query, whose checksum covers no pseudo header.
#[inline]
fn replace_identifier(transport: &mut [u8], parsed: &Parsed, identifier: u16) {
    let len = usize::from(u16::try_from(parsed.end - u32::from(parsed.l4)).unwrap_or(u16::MAX));
    let Some(message) = transport.get_mut(..len) else { return };
    let Some(header) = message.first_chunk_mut::<{ icmpv4::HEADER_LEN }>() else { return };
    let delta = replace16(header, icmpv4::FIELD_IDENTIFIER, identifier);
    let checksum = delta.apply(be16!(header, icmpv4::FIELD_CHECKSUM));
    put16(header, icmpv4::FIELD_CHECKSUM, checksum);
    if checksum == 0 {
        mend_all_zero_icmp(message);
    }
}

/// RFC 1624's equation yields the other zero when a message turns into nothing but zeros (an echo reply
/// with identifier, sequence number and data 0): receivers want 0xffff there.
#[cold]
pub(super) fn mend_all_zero_icmp(message: &mut [u8]) {
    if message.iter().all(|&octet| octet == 0)
        && let Some(field) = message.get_mut(icmpv4::FIELD_CHECKSUM..icmpv4::FIELD_CHECKSUM + 2)
    {
        field.fill(0xff);
    }
}

#[cfg(test)]
mod tests {
    //! Properties: after a rewrite every checksum equals full recomputation (etherparse's), partial fields
    //! equal the pseudo header's sum; a rewrite and its reverse are identity; a wrong checksum stays wrong.

    use super::*;
    use crate::packet::parsed::parse_ipv4;
    use crate::packet::test_frames::{
        IP, Spec, Transport, any_address, any_spec, assert_checksums, make_partial, refill,
    };
    use proptest::prelude::*;

    const PARTIAL: Offload = Offload {
        partial_checksum: true,
        gso: crate::frame::GsoKind::None,
        gso_size: 0,
        gso_ecn: false,
        vlan_tci: None,
    };

    fn finished() -> Offload {
        Offload::default()
    }

    fn any_rewrite() -> impl Strategy<Value = Rewrite> {
        (any::<bool>(), any_address(), any::<u16>()).prop_map(|(source, address, port)| Rewrite {
            side: if source { Side::Source } else { Side::Destination },
            address,
            port,
        })
    }

    /// Writes the endpoint without looking at any checksum.
    fn naive(frame: &mut [u8], parsed: &Parsed, rewrite: &Rewrite) {
        let l4 = usize::from(parsed.l4);
        let (address, port) = match rewrite.side {
            Side::Source => (IP + 12, l4),
            Side::Destination => (IP + 16, l4 + 2),
        };
        frame[address..address + 4].copy_from_slice(&rewrite.address.octets());
        let port = match (parsed.kind, rewrite.side) {
            (Kind::Tcp | Kind::Udp, _) => port,
            (Kind::IcmpRequest, Side::Source) | (Kind::IcmpReply, Side::Destination) => l4 + 4,
            _ => return,
        };
        frame[port..port + 2].copy_from_slice(&rewrite.port.to_be_bytes());
    }

    #[test]
    fn udp_without_checksum_stays_so() {
        let mut frame = Spec::new(Transport::Udp { checksum: false }, b"x").frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(frame[IP + 26..IP + 28], [0, 0]);
        assert_eq!(frame[IP + 12..IP + 16], [203, 0, 113, 1]);
        assert_eq!(frame[IP + 20..IP + 22], 50_000_u16.to_be_bytes());
        assert_checksums(&frame);
    }

    #[test]
    fn a_udp_checksum_that_becomes_zero_is_written_as_ones() {
        // Turn the source port so that the sum comes to 0xffff: RFC 768 sends the checksum 0 as 0xffff.
        let spec = Spec::udp(b"four");
        let mut frame = spec.frame();
        let checksum = be16!(frame, IP + 26);
        let port = u32::from(spec.source_port) + u32::from(checksum);
        let port = crate::wire::checksum::fold(port);
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Source, address: spec.source, port };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(be16!(frame, IP + 26), 0xffff);
        assert_checksums(&frame);
        let back = Rewrite { side: Side::Source, address: spec.source, port: spec.source_port };
        apply(&mut frame, &parsed, &finished(), &back);
        assert_eq!(frame, spec.frame());
    }

    #[test]
    fn a_partial_udp_field_is_mended_whatever_it_holds() {
        let mut frame = Spec::new(Transport::Udp { checksum: false }, b"x").frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
        apply(&mut frame, &parsed, &PARTIAL, &rewrite);
        assert_ne!(frame[IP + 26..IP + 28], [0, 0]);
    }

    #[test]
    fn an_echo_reply_that_becomes_all_zeros_has_the_checksum_of_ones() {
        let mut spec = Spec::icmp(0, &[0; 6]);
        spec.source_port = 5;
        spec.destination_port = 0;
        let mut frame = spec.frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Destination, address: spec.destination, port: 0 };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(be16!(frame, IP + 22), 0xffff);
        assert_checksums(&frame);
        let back = Rewrite { side: Side::Destination, address: spec.destination, port: 5 };
        apply(&mut frame, &parsed, &finished(), &back);
        assert_eq!(frame, spec.frame());
    }

    #[test]
    fn identifiers_change_on_the_requester_s_side_only() {
        for (kind, side) in [(8, Side::Destination), (0, Side::Source)] {
            let spec = Spec::icmp(kind, b"x");
            let mut frame = spec.frame();
            let parsed = parse_ipv4(&frame).unwrap();
            apply(&mut frame, &parsed, &finished(), &Rewrite { side, address: Ipv4Addr::LOCALHOST, port: 9 });
            assert_eq!(be16!(frame, IP + 24), spec.source_port);
            assert_checksums(&frame);
        }
    }

    #[test]
    fn later_fragments_change_their_address_only() {
        let mut frame = Spec::udp(&[7; 24]).frame();
        frame[IP + 7] = 3;
        refill(&mut frame);
        let before = frame.clone();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(frame[IP + 12..IP + 16], [203, 0, 113, 1]);
        assert_eq!(frame[IP + 16..], before[IP + 16..]);
        assert_checksums(&frame);
    }

    #[test]
    fn udp_lite_and_dccp_cover_the_addresses_too() {
        for protocol in [136, 33] {
            let mut frame = Spec::new(Transport::Other(protocol), &[1, 2, 3, 4, 0, 16, 0, 0, 9, 9]).frame();
            let parsed = parse_ipv4(&frame).unwrap();
            let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 1 };
            apply(&mut frame, &parsed, &finished(), &rewrite);
            assert_eq!(frame[IP + 20..IP + 22], [1, 2], "the port is not touched");
            assert_checksums(&frame);
        }
    }

    #[test]
    fn sctp_gre_and_esp_keep_every_octet_of_their_payload() {
        for protocol in [132, 47, 50, 51, 200] {
            let mut frame = Spec::new(Transport::Other(protocol), &[7; 20]).frame();
            let before = frame.clone();
            let parsed = parse_ipv4(&frame).unwrap();
            let rewrite = Rewrite { side: Side::Destination, address: Ipv4Addr::new(192, 0, 2, 9), port: 1 };
            apply(&mut frame, &parsed, &finished(), &rewrite);
            assert_eq!(frame[IP + 20..], before[IP + 20..]);
            assert_checksums(&frame);
        }
    }

    #[test]
    fn ttl_goes_down_to_zero_and_no_further() {
        let mut spec = Spec::udp(b"");
        spec.ttl = 1;
        let mut frame = spec.frame();
        decrement_ttl(&mut frame);
        assert_eq!(frame[IP + 8], 0);
        assert_checksums(&frame);
        decrement_ttl(&mut frame);
        assert_eq!(frame[IP + 8], 0);
        assert_checksums(&frame);
    }

    #[test]
    fn every_header_checksum_follows_the_ttl() {
        let mut spec = Spec::udp(b"");
        for id in 0..=u16::MAX {
            spec.id = id;
            let mut frame = spec.frame();
            decrement_ttl(&mut frame);
            let ip = ipv4::View::new_checked(&frame[IP..]).unwrap();
            assert!(ip.checksum_is_valid() && ip.checksum() != 0xffff, "identification {id:#x}");
        }
    }

    #[test]
    fn macs_are_written() {
        let mut frame = Spec::udp(b"").frame();
        set_macs(&mut frame, MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
        assert_eq!(frame[..14], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
    }

    #[test]
    fn mss_is_lowered_on_syn_only() {
        // Aligned, and astride two words.
        for options in [vec![2, 4, 0x05, 0xb4], vec![1, 2, 4, 0x05, 0xb4, 1, 1, 0]] {
            for (flags, max, lowered) in
                [(0x02, 1400, true), (0x12, 1400, true), (0x10, 1400, false), (0x02, 1460, false)]
            {
                let transport = Transport::Tcp { flags, options: options.clone() };
                let mut frame = Spec::new(transport, b"odd").frame();
                let before = frame.clone();
                let parsed = parse_ipv4(&frame).unwrap();
                assert_eq!(clamp_mss(&mut frame, &parsed, &finished(), max), lowered);
                assert_checksums(&frame);
                let options = tcp::View::new_checked(&frame[34..]).unwrap().options();
                assert_eq!(tcp::find_mss(options).unwrap().1, if lowered { max } else { 1460 });
                assert_eq!(frame == before, !lowered);
            }
        }
    }

    #[test]
    fn mss_under_a_partial_checksum_leaves_the_field_alone() {
        let transport = Transport::Tcp { flags: 2, options: vec![2, 4, 0x05, 0xb4] };
        let mut frame = Spec::new(transport, b"").frame();
        make_partial(&mut frame);
        let field = be16!(frame, 34 + 16);
        let parsed = parse_ipv4(&frame).unwrap();
        assert!(clamp_mss(&mut frame, &parsed, &PARTIAL, 1000));
        assert_eq!(be16!(frame, 34 + 16), field);
    }

    #[test]
    fn mss_is_never_added() {
        let mut frame = Spec::tcp(0x02, b"").frame();
        let before = frame.clone();
        let parsed = parse_ipv4(&frame).unwrap();
        assert!(!clamp_mss(&mut frame, &parsed, &finished(), 500));
        assert_eq!(frame, before);
    }

    proptest! {
        #[test]
        fn equals_full_recomputation(spec in any_spec(), rewrites in proptest::collection::vec(any_rewrite(), 1..4)) {
            let mut frame = spec.frame();
            let parsed = parse_ipv4(&frame).unwrap();
            let mut expected = frame.clone();
            for rewrite in &rewrites {
                apply(&mut frame, &parsed, &finished(), rewrite);
                decrement_ttl(&mut frame);
                naive(&mut expected, &parsed, rewrite);
                expected[IP + 8] = expected[IP + 8].saturating_sub(1);
            }
            refill(&mut expected);
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn replay_is_all_three_in_one(
            mut spec in any_spec(), rewrite in any_rewrite(), any_nat: bool, partial: bool, checksum: u16,
        ) {
            spec.ttl = spec.ttl.max(1);
            let mut frame = spec.frame();
            let parsed = parse_ipv4(&frame).unwrap();
            if parsed.has_options || !matches!(parsed.kind, Kind::Tcp | Kind::Udp) {
                return Ok(());
            }
            // Right, wrong or none.
            let field = usize::from(parsed.l4) + if parsed.kind == Kind::Tcp { 16 } else { 6 };
            if checksum % 4 != 0 {
                frame[field..field + 2].copy_from_slice(&(checksum % 3).wrapping_sub(1).to_be_bytes());
            }
            let mut expected = frame.clone();
            let (to, from) = (MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
            let offload = if partial { PARTIAL } else { finished() };
            if any_nat {
                apply(&mut expected, &parsed, &offload, &rewrite);
            }
            decrement_ttl(&mut expected);
            set_macs(&mut expected, to, from);
            let nat = any_nat.then_some((rewrite.side, rewrite.address, rewrite.port));
            replay(&mut frame, parsed.protocol, partial, nat, to, from);
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn partial_equals_the_new_pseudo_header(spec in any_spec(), rewrite in any_rewrite()) {
            if !matches!(spec.transport, Transport::Tcp { .. } | Transport::Udp { .. }) {
                return Ok(());
            }
            let mut frame = spec.frame();
            make_partial(&mut frame);
            let parsed = parse_ipv4(&frame).unwrap();
            let mut expected = frame.clone();
            naive(&mut expected, &parsed, &rewrite);
            refill(&mut expected);
            make_partial(&mut expected);
            apply(&mut frame, &parsed, &PARTIAL, &rewrite);
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn reverse_is_identity(spec in any_spec(), rewrite in any_rewrite()) {
            let original = spec.frame();
            let parsed = parse_ipv4(&original).unwrap();
            let back = match rewrite.side {
                Side::Source => {
                    Rewrite { side: Side::Source, address: parsed.source, port: parsed.source_port }
                }
                Side::Destination => {
                    Rewrite { side: Side::Destination, address: parsed.destination, port: parsed.destination_port }
                }
            };
            let mut frame = original.clone();
            apply(&mut frame, &parsed, &finished(), &rewrite);
            apply(&mut frame, &parsed, &finished(), &back);
            prop_assert_eq!(frame, original);
        }

        #[test]
        fn a_wrong_checksum_stays_wrong(
            mut spec in any_spec(),
            rewrite in any_rewrite(),
            error in 1..0xffff_u16,
        ) {
            spec.transport = Transport::Tcp { flags: 0x10, options: vec![] };
            let mut frame = spec.frame();
            let parsed = parse_ipv4(&frame).unwrap();
            let field = usize::from(parsed.l4) + 16;
            let wrong = be16!(frame, field).wrapping_add(error);
            // 0 and 0xffff are the same value in ones' complement.
            prop_assume!(wrong % 0xffff != be16!(frame, field) % 0xffff);
            frame[field..field + 2].copy_from_slice(&wrong.to_be_bytes());
            apply(&mut frame, &parsed, &finished(), &rewrite);
            let mut right = frame.clone();
            refill(&mut right);
            prop_assert_ne!(be16!(frame, field) % 0xffff, be16!(right, field) % 0xffff);
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), spec in any_spec(), rewrite in any_rewrite()) {
            // Parsed from another frame: wrong use must not panic either.
            let parsed = parse_ipv4(&spec.frame()).unwrap();
            apply(&mut bytes, &parsed, &finished(), &rewrite);
            clamp_mss(&mut bytes, &parsed, &finished(), 500);
            let nat = Some((rewrite.side, rewrite.address, rewrite.port));
            replay(&mut bytes, parsed.protocol, false, nat, MacAddr::ZERO, MacAddr::ZERO);
            decrement_ttl(&mut bytes);
        }
    }
}
