//! What a host may have, and what happens to flows that may not be: RFC 5508 section 7, RFC 6888.

use std::collections::BTreeSet;

use super::mapping::{Filtering, observed_filtering};
use super::timers::{Clock, LATE};
use crate::conformance::device::{PORTS_PER_HOST, SESSIONS_PER_HOST};
use crate::conformance::finding::{Finding, Outcome, Verdict, judge, met, not_met, partly, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{Kind, SERVICE, Site};

/// Flows beyond the limit of ports.
const BEYOND: u16 = 6;

/// What became of flows that one host opened, one after the other.
struct Opened {
    passed: u16,
    /// Codes of "destination unreachable" that it was told.
    told: BTreeSet<u8>,
}

/// A host sends from ever new ports to one remote port, or from one port to ever new remote ports.
fn open_flows(site: &Site, count: u16, new_ports: bool) -> Result<Opened, Finding> {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let port = site.port();
    let mut opened = Opened { passed: 0, told: BTreeSet::new() };
    for number in 0..count {
        let (from, to) = if new_ports { (site.port(), SERVICE) } else { (port, SERVICE + number) };
        let packet = site.first(Kind::Udp, inner.at(from), remote.at(to));
        opened.passed += u16::from(site.tried(&inner, &packet, &remote)?.is_some());
        let told = inner.take(|seen| {
            matches!(seen.icmp_kind(), Some((3, _)))
                && seen.quoted().is_some_and(|quoted| quoted.from() == packet.from())
        });
        opened.told.extend(told.and_then(|told| told.icmp_kind()).map(|(_, code)| code));
    }
    Ok(opened)
}

fn nothing_refused(count: u16) -> Finding {
    let observed =
        format!("{count} flows of one host pass: there is no limit to choose, and nothing is refused");
    Finding { verdict: Verdict::NotApplicable, observed }
}

/// RFC 5508 REQ-8, RFC 6888 REQ-11B.
pub(crate) fn refused_flow_is_told(site: &Site) -> Outcome {
    let count = PORTS_PER_HOST + BEYOND;
    let opened = open_flows(site, count, true)?;
    if opened.passed == count {
        return Ok(nothing_refused(count));
    }
    Ok(judge(
        opened.told == BTreeSet::from([13]),
        "a host beyond its limit of ports is told, with code 13",
        "a host beyond its limit of ports is not told, or with another code than 13",
    ))
}

/// RFC 6888 REQ-11A.
pub(crate) fn refused_packets_are_dropped(site: &Site) -> Outcome {
    let count = PORTS_PER_HOST + BEYOND;
    let opened = open_flows(site, count, true)?;
    if opened.passed == count {
        return Ok(nothing_refused(count));
    }
    Ok(met("the packets of a host beyond its limit of ports are dropped"))
}

/// RFC 6888 REQ-4.
pub(crate) fn ports_per_host(site: &Site) -> Outcome {
    let count = PORTS_PER_HOST + BEYOND;
    let opened = open_flows(site, count, true)?;
    Ok(judge(
        opened.passed == PORTS_PER_HOST,
        &format!("limited to {PORTS_PER_HOST}: of {count} flows from as many ports so many pass"),
        "there is no limit to choose",
    ))
}

/// RFC 6888 REQ-5.
pub(crate) fn sessions_per_host(site: &Site) -> Outcome {
    let count = SESSIONS_PER_HOST + BEYOND;
    let opened = open_flows(site, count, false)?;
    Ok(judge(
        opened.passed == SESSIONS_PER_HOST,
        &format!("limited to {SESSIONS_PER_HOST}: of {count} flows from one port so many pass"),
        "there is no limit to choose",
    ))
}

/// RFC 6888 REQ-2.
pub(crate) fn paired_across_protocols(site: &Site) -> Outcome {
    for _ in 0..10 {
        let inner = site.inside_host()?;
        let mut seen = BTreeSet::new();
        for kind in [Kind::Udp, Kind::Tcp] {
            seen.insert(*site.mapped(kind, (&inner, site.port()), (&site.outside_host()?, SERVICE))?.ip());
        }
        let remote = site.outside_host()?;
        let query = Packet::echo_request(inner.address, remote.address, site.port());
        seen.insert(site.pass_out(&inner, &query, &remote)?.source);
        require(seen.len() == 1, "a host has another external address for another protocol")?;
    }
    Ok(met("10 hosts: UDP, TCP and echo requests of each leave from one address"))
}

/// RFC 6888 REQ-7.
pub(crate) fn filtering_recommended(site: &Site) -> Outcome {
    let found = observed_filtering(site, Kind::Udp, (&site.inside_host()?, site.port()))?;
    Ok(match found {
        Filtering::EndpointIndependent => partly("endpoint-independent where that is chosen"),
        _ => not_met(format!("there is nothing to choose: {}", found.word())),
    })
}

/// RFC 6888 REQ-8, as far as seconds show it.
pub(crate) fn ports_rest(site: &Site) -> Outcome {
    let (owner, other) = (site.inside_host()?, site.inside_host()?);
    let port = site.port();
    let before = site.mapped(Kind::Udp, (&owner, port), (&site.outside_host()?, SERVICE))?;
    Clock::start().wait_until(LATE);
    let others = site.mapped(Kind::Udp, (&other, port), (&site.outside_host()?, SERVICE))?;
    let after = site.mapped(Kind::Udp, (&owner, port), (&site.outside_host()?, SERVICE))?;
    Ok(match (others == before, after == before) {
        (true, _) => not_met("2 s after a mapping has ended another host gets its external port"),
        (false, true) => {
            met("2 s after a mapping has ended another host does not get its external port, its own one does")
        }
        (false, false) => met("2 s after a mapping has ended no host gets its external port"),
    })
}

/// Hosts with one port, most of which cannot keep it: how many keep it, and whether the others get ports without order.
fn colliding_ports(site: &Site) -> Result<(usize, bool), Finding> {
    let remote = site.outside_host()?;
    let port = site.port();
    let mut ports = Vec::new();
    for _ in 0..16 {
        ports.push(site.mapped(Kind::Udp, (&site.inside_host()?, port), (&remote, SERVICE))?.port());
    }
    let moved: Vec<u16> = ports.into_iter().filter(|external| *external != port).collect();
    // Of random ports about one pair in a thousand lies so close.
    let close = moved.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 32).count();
    Ok((16 - moved.len(), close < 4))
}

const IN_ORDER: &str = "external ports follow each other";

/// RFC 6888 REQ-15.
pub(crate) fn random_ports(site: &Site) -> Outcome {
    let (kept, scattered) = colliding_ports(site)?;
    Ok(match (scattered, kept) {
        (true, 0) => met("16 hosts with the same port get external ports without order"),
        (true, _) => {
            partly("of hosts with the same port some keep it, the others get external ports without order")
        }
        (false, _) => not_met(IN_ORDER),
    })
}

/// RFC 7857 section 9.
pub(crate) fn random_where_not_kept(site: &Site) -> Outcome {
    let (_, scattered) = colliding_ports(site)?;
    Ok(judge(
        scattered,
        "16 hosts with the same port: those that cannot keep it get ports without order",
        IN_ORDER,
    ))
}
