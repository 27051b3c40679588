//! Packets that are too long, and parts of packets: RFC 4787 sections 10 and 11.

use std::net::SocketAddrV4;

use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{EXTERNAL, Kind, SERVICE, Site, WAN_MTU};
use crate::conformance::wire::Host;

/// Octets of the lan's MTU, IP and UDP headers off.
const LONG: usize = 1500 - 28;

/// Fragments of a flood.
const FLOOD: u16 = 6000;

/// Octets in each of the fragments that are sent on purpose.
const PART: usize = 400;

/// Collects the fragments of one packet at a host, in the order in which they come, and puts them together.
fn collect(at: &Host, identification: u16) -> Option<(Vec<Packet>, Packet)> {
    let mut parts: Vec<Packet> = Vec::new();
    loop {
        parts.push(at.wait(|packet| packet.identification == identification)?);
        let mut sorted: Vec<&Packet> = parts.iter().collect();
        sorted.sort_by_key(|part| part.offset);
        let mut payload = Vec::new();
        for part in &sorted {
            if usize::from(part.offset) == payload.len() {
                payload.extend_from_slice(&part.payload);
            }
        }
        let last = sorted.last()?;
        if !last.more_fragments && payload.len() == usize::from(last.offset) + last.payload.len() {
            let whole = Packet { more_fragments: false, offset: 0, payload, ..parts[0].clone() };
            return Some((parts, whole));
        }
    }
}

fn long_text(site: &Site, length: usize) -> Vec<u8> {
    site.token().into_iter().cycle().take(length).collect()
}

/// RFC 4787 REQ-13.
pub(crate) fn fragmentation_needed(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let text = long_text(site, LONG);
    let mut packet = Packet::udp(inner.at(site.port()), remote.at(SERVICE), &text);
    packet.dont_fragment = true;
    inner.send(&packet);
    let told = inner.wait(|seen| seen.icmp_kind() == Some((3, 4)));
    let told =
        told.ok_or_else(|| not_met("a packet that is too long for the wan, with DF, vanishes in silence"))?;
    let mtu = u16::from_be_bytes([told.payload[6], told.payload[7]]);
    let quoted = told.quoted().is_some_and(|quoted| quoted.from() == packet.from());
    Ok(judge(
        usize::from(mtu) == WAN_MTU && quoted && told.checksum_is_right(),
        &format!("the host is told, with the MTU of {WAN_MTU}"),
        "the host is told, but not the MTU or not of its own packet",
    ))
}

/// RFC 4787 REQ-13a.
pub(crate) fn cut_in_order(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let text = long_text(site, LONG);
    let packet =
        Packet { identification: 1313, ..Packet::udp(inner.at(site.port()), remote.at(SERVICE), &text) };
    inner.send(&packet);
    let seen = collect(&remote, 1313);
    let (parts, whole) =
        seen.ok_or_else(|| not_met("a packet that is too long for the wan does not arrive"))?;
    require(parts.len() > 1 && parts[0].offset == 0, "the fragments are out of order")?;
    Ok(judge(
        whole.data() == text && whole.source == EXTERNAL && whole.checksum_is_right(),
        "a packet that is too long for the wan arrives in fragments, the first one first",
        "what arrives in fragments is not what was sent",
    ))
}

/// Sends a datagram in fragments, in this order, and sees it arrive whole.
fn passes_in_order(
    site: &Site,
    (sender, from): (&Host, SocketAddrV4),
    to: SocketAddrV4,
    receiver: &Host,
    (order, identification): ([usize; 3], u16),
) -> Result<bool, Finding> {
    let text = long_text(site, 3 * PART - 8);
    let packet = Packet { identification, ..Packet::udp(from, to, &text) };
    let parts = packet.fragments(PART);
    for index in order {
        sender.send(&parts[index]);
    }
    let seen = collect(receiver, identification);
    Ok(seen.is_some_and(|(_, whole)| whole.data() == text && whole.checksum_is_right()))
}

/// RFC 4787 REQ-14.
pub(crate) fn in_any_order(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let port = site.port();
    let external = site.mapped(Kind::Udp, (&inner, port), (&remote, SERVICE))?;
    let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2]];
    for (order, number) in orders.into_iter().zip(1400..) {
        let inward = (&remote, remote.at(SERVICE));
        let arrived = passes_in_order(site, inward, external, &inner, (order, number))?;
        require(arrived, &format!("three fragments from outside, {order:?}: lost"))?;
        let outward = (&inner, inner.at(port));
        let arrived = passes_in_order(site, outward, remote.at(SERVICE), &remote, (order, number))?;
        require(arrived, &format!("three fragments from inside, {order:?}: lost"))?;
    }
    Ok(met("three fragments in order, reversed and mixed arrive as one datagram, both ways"))
}

/// RFC 4787 REQ-14a: fragments without a first one, of ever new packets, from both sides.
pub(crate) fn flood(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let (attacker, accomplice) = (site.outside_host()?, site.inside_host()?);
    let port = site.port();
    let external = site.mapped(Kind::Udp, (&inner, port), (&remote, SERVICE))?;
    let from = (attacker.at(SERVICE), accomplice.at(port));
    let text = [0; 3 * PART - 8];
    for number in 0..FLOOD {
        let flood = |packet: Packet| Packet { identification: number, ..packet.fragments(PART)[1].clone() };
        attacker.send(&flood(Packet::udp(from.0, external, &text)));
        accomplice.send(&flood(Packet::udp(from.1, remote.at(SERVICE), &text)));
        if number % 100 == 99 {
            site.settle()?;
        }
    }
    let whole = site.arrives(Kind::Udp, (&remote, SERVICE), external, &inner)?.is_some();
    let inward = (&remote, remote.at(SERVICE));
    let cut = passes_in_order(site, inward, external, &inner, ([0, 1, 2], 65_000))?;
    Ok(judge(
        whole && cut,
        &format!("after {FLOOD} lone fragments from each side, datagrams pass, whole and in fragments"),
        &format!(
            "after {FLOOD} lone fragments from each side, {} pass",
            if whole { "no fragments of others" } else { "not even whole datagrams" }
        ),
    ))
}
