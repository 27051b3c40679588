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
mod tests;
