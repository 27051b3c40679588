//! ICMP errors, their translation and their like: RFC 5508 sections 4 to 9.

use std::net::SocketAddrV4;

use super::icmp::QUOTED;
use super::mapping::meet;
use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, partly, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{EXTERNAL, Kind, SERVICE, Site};
use crate::conformance::wire::Host;

/// A datagram from inside that the outside host has seen.
struct Sent {
    inner: Host,
    remote: Host,
    sent: Packet,
    seen: Packet,
}

impl Sent {
    fn new(site: &Site) -> Result<Sent, Finding> {
        let (inner, remote) = (site.inside_host()?, site.outside_host()?);
        let sent = site.first(Kind::Udp, inner.at(site.port()), remote.at(SERVICE));
        let seen = site.pass_out(&inner, &sent, &remote)?;
        Ok(Sent { inner, remote, sent, seen })
    }

    /// Sends an error from the outside host, and what arrives at the inside one.
    fn told(&self, site: &Site, error: &Packet) -> Result<Option<Packet>, Finding> {
        let kind = error.icmp_kind();
        site.brings(&self.remote, error, &self.inner, |packet| packet.icmp_kind() == kind)
    }

    fn error(&self, about: &Packet) -> Packet {
        Packet::error(self.remote.address, (3, 3), about, QUOTED)
    }
}

/// RFC 5508 REQ-3.
pub(crate) fn wrong_checksum(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let mut error = scene.error(&scene.seen);
    error.payload[2] ^= 0x40;
    require(scene.told(site, &error)?.is_none(), "an error with a wrong checksum passes")?;
    let right = scene.told(site, &scene.error(&scene.seen))?;
    Ok(judge(
        right.is_some(),
        "dropped; the same error with the right one passes",
        "also the right one is dropped",
    ))
}

/// RFC 5508 REQ-3a.
pub(crate) fn wrong_quoted_header(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let mut quote = scene.seen.to_bytes();
    quote[10] ^= 0x40;
    quote.truncate(28);
    let error = Packet::icmp(scene.remote.address, scene.seen.source, (3, 3), [0; 4], &quote);
    Ok(judge(
        scene.told(site, &error)?.is_none(),
        "an error that quotes a header with a wrong checksum is dropped",
        "an error that quotes a header with a wrong checksum passes",
    ))
}

/// RFC 5508 REQ-3b.
pub(crate) fn quoted_options(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let about = Packet { options: vec![1, 1, 1, 1, 1, 1, 1, 0], ..scene.seen.clone() };
    let told = scene.told(site, &scene.error(&about))?.ok_or_else(|| not_met("the error is dropped"))?;
    let quoted = told.quoted().is_some_and(|quoted| {
        quoted.options == about.options
            && (quoted.from(), quoted.to()) == (scene.sent.from(), scene.sent.to())
    });
    Ok(judge(
        quoted,
        "an error that quotes a packet with options is translated behind them",
        "an error that quotes a packet with options is translated wrongly",
    ))
}

/// RFC 5508 REQ-3c.
pub(crate) fn quoted_transport_checksum(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let mut about = scene.seen.clone();
    about.payload[6] ^= 0x40;
    let error = Packet::error(scene.remote.address, (3, 3), &about, about.payload.len());
    Ok(judge(
        scene.told(site, &error)?.is_some(),
        "an error that quotes a datagram with a wrong checksum passes",
        "an error that quotes a datagram with a wrong checksum is dropped",
    ))
}

/// RFC 5508 REQ-3d: an RFC 4884 extension behind a datagram that is filled up to 128 octets.
pub(crate) fn extensions(site: &Site) -> Outcome {
    const EXTENSION: [u8; 12] = [0x20, 0, 0xd9, 0x7e, 0, 8, 1, 1, 0, 1, 2, 3];
    let scene = Sent::new(site)?;
    let mut body = scene.seen.to_bytes();
    body.resize(128, 0);
    body.extend(EXTENSION);
    let error = Packet::icmp(scene.remote.address, scene.seen.source, (11, 0), [0, 32, 0, 0], &body);
    let told = scene.told(site, &error)?.ok_or_else(|| not_met("an error with an extension is dropped"))?;
    let quoted = told.quoted().is_some_and(|quoted| {
        (quoted.from(), quoted.to()) == (scene.sent.from(), scene.sent.to()) && quoted.checksum_is_right()
    });
    Ok(judge(
        quoted && told.payload.ends_with(&EXTENSION) && told.checksum_is_right(),
        "the quoted datagram is translated, its checksum with it, the extension behind it is not touched",
        "the quoted datagram, or the extension behind it, arrives changed",
    ))
}

/// RFC 5508 REQ-4.
pub(crate) fn errors_from_outside(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let [mut stranger, stale] = [scene.seen.clone(), scene.seen.clone()];
    // A port that nobody has.
    stranger.payload[..2].copy_from_slice(&site.port().to_be_bytes());
    require(scene.told(site, &scene.error(&stranger))?.is_none(), "an error about nothing known passes")?;
    let error = Packet::error(scene.remote.address, (3, 3), &stale, stale.payload.len());
    let told =
        scene.told(site, &error)?.ok_or_else(|| not_met("an error about a known packet is dropped"))?;
    let mut expected = scene.sent.clone();
    expected.ttl = scene.seen.ttl;
    Ok(judge(
        told.quoted() == Some(expected)
            && told.destination == scene.inner.address
            && told.checksum_is_right(),
        "about nothing known: dropped; else the quoted packet is the one that the host sent, octet by octet",
        "the quoted packet is not the one that the host sent",
    ))
}

/// An answer that an inside host complains about.
fn complaint(site: &Site) -> Result<(Sent, Packet, Packet), Finding> {
    let scene = Sent::new(site)?;
    let answer = site.first(Kind::Udp, scene.seen.to(), scene.seen.from());
    let inward = site.tried(&scene.remote, &answer, &scene.inner)?;
    let inward = inward.ok_or_else(|| not_met("the answer does not get in"))?;
    Ok((scene, answer, inward))
}

/// RFC 5508 REQ-5.
pub(crate) fn errors_from_inside(site: &Site) -> Outcome {
    let (scene, answer, inward) = complaint(site)?;
    let is_error = |packet: &Packet| packet.icmp_kind() == Some((3, 3));
    let mut unknown = inward.clone();
    unknown.payload[2..4].copy_from_slice(&site.port().to_be_bytes());
    let error = Packet::error(scene.inner.address, (3, 3), &unknown, QUOTED);
    let told = site.brings(&scene.inner, &error, &scene.remote, is_error)?;
    require(told.is_none(), "an error about nothing known passes")?;
    let error = Packet::error(scene.inner.address, (3, 3), &inward, inward.payload.len());
    let told = site.brings(&scene.inner, &error, &scene.remote, is_error)?;
    let told = told.ok_or_else(|| not_met("an error about a known packet is dropped"))?;
    let expected = Packet { ttl: inward.ttl, ..answer };
    Ok(judge(
        told.quoted() == Some(expected) && told.checksum_is_right(),
        "about nothing known: dropped; else the quoted packet is the one that the outside host sent, octet by octet",
        "the quoted packet is not the one that the outside host sent",
    ))
}

/// RFC 5508 REQ-5c: also by a router on the inside, where hosts share two external addresses.
pub(crate) fn errors_from_inside_have_the_external_source(site: &Site) -> Outcome {
    for _ in 0..6 {
        let (scene, _, inward) = complaint(site)?;
        let hop = site.inside_host()?;
        for (sender, kind) in [(&scene.inner, (3, 3)), (&hop, (11, 0))] {
            let error = Packet::error(sender.address, kind, &inward, QUOTED);
            let told =
                site.brings(sender, &error, &scene.remote, |packet| packet.icmp_kind() == Some(kind))?;
            let told = told.ok_or_else(|| not_met("an error from inside is dropped"))?;
            require(
                told.source == scene.seen.source,
                "errors of inside routers leave from another external address than the flow's",
            )?;
        }
    }
    Ok(met("errors of six hosts, and of a router before them, leave from the external address of the flow"))
}

/// RFC 5508 REQ-7: errors between any two inside hosts, queries to one that has an external address for itself (Basic
/// NAT).
pub(crate) fn hairpinning(site: &Site) -> Outcome {
    let errors = hairpinned_errors(site)?;
    let inner = site.inside_host()?;
    let (external, alone) = site.one_to_one()?;
    let query = Packet::echo_request(inner.address, external, site.port());
    let seen = site.tried(&inner, &query, alone)?;
    let by_host = seen.is_some_and(|seen| {
        seen.source != inner.address && alone_answers(site, alone, &seen, &inner, &query)
    });
    let by_device = inner.take(|reply| reply.icmp_kind() == Some((0, 0))).is_some();
    Ok(match (errors, by_host, by_device) {
        (true, true, _) => met("errors pass, and queries to a host with an external address for itself"),
        (true, false, true) => partly(
            "errors pass; the device itself answers queries, also those to a host with an external address for itself",
        ),
        (true, false, false) => partly("errors pass, queries do not"),
        (false, true, _) => {
            partly("queries to a host with an external address for itself pass, errors do not")
        }
        (false, false, _) => not_met("neither errors nor queries pass"),
    })
}

fn alone_answers(site: &Site, alone: &Host, seen: &Packet, inner: &Host, query: &Packet) -> bool {
    let reply = site.tried(alone, &seen.echo_reply(), inner);
    matches!(reply, Ok(Some(reply)) if reply.identifier() == query.identifier() && reply.source == query.destination)
}

fn hairpinned_errors(site: &Site) -> Result<bool, Finding> {
    let meeting = meet(site, Kind::Udp)?;
    let Some(seen) = meeting.seen else { return Ok(false) };
    let error = Packet::error(meeting.two.address, (3, 3), &seen, QUOTED);
    let told =
        site.brings(&meeting.two, &error, &meeting.one, |packet| packet.icmp_kind() == Some((3, 3)))?;
    Ok(told.is_some_and(|told| {
        let quoted = told.quoted().map(|quoted| (quoted.from(), quoted.to()));
        told.destination == meeting.one.address
            && told.source != meeting.two.address
            && quoted == Some((meeting.sent.from(), meeting.sent.to()))
    }))
}

/// RFC 5508 REQ-7a and 7b.
pub(crate) fn hairpinned_errors_are_translated(site: &Site) -> Outcome {
    Ok(judge(
        hairpinned_errors(site)?,
        "an error about a hairpinned datagram comes from the external address, about the datagram as it was sent",
        "no hairpinned datagram arrives, so no error about one does",
    ))
}

/// RFC 5508 REQ-9.
pub(crate) fn silence_toward_outside(site: &Site) -> Outcome {
    let remote = site.outside_host()?;
    let port = site.port();
    remote.send(&site.first(Kind::Udp, remote.at(SERVICE), SocketAddrV4::new(EXTERNAL, port)));
    remote.send(&site.first(Kind::Tcp, remote.at(SERVICE), SocketAddrV4::new(EXTERNAL, port)));
    let mut last = site.first(Kind::Udp, remote.at(SERVICE), SocketAddrV4::new(EXTERNAL, port));
    last.ttl = 1;
    remote.send(&last);
    site.settle()?;
    let told = remote.take(|packet| packet.icmp_kind().is_some());
    Ok(met(match told {
        None => "no errors toward the outside about what nothing admitted",
        Some(_) => "errors toward the outside also about what nothing admitted",
    }))
}

/// Whether an error from outside about a known datagram gets in.
fn passes(site: &Site, kind: (u8, u8)) -> Result<bool, Finding> {
    let scene = Sent::new(site)?;
    let error = Packet::error(scene.remote.address, kind, &scene.seen, QUOTED);
    Ok(scene.told(site, &error)?.is_some())
}

/// RFC 5508 REQ-10b.
pub(crate) fn may_pass(site: &Site) -> Outcome {
    let word = |passes: bool| if passes { "passes" } else { "does not pass" };
    Ok(met(format!(
        "parameter problem {}, redirect {}",
        word(passes(site, (12, 0))?),
        word(passes(site, (5, 1))?)
    )))
}

/// RFC 5508 REQ-10c.
pub(crate) fn should_not_pass(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let advertisement =
        |from, to| Packet::icmp(from, to, (9, 0), [1, 2, 0, 30], &[198, 51, 100, 1, 0, 0, 0, 0]);
    let inward = advertisement(scene.remote.address, EXTERNAL);
    let outward = advertisement(scene.inner.address, scene.remote.address);
    let is_one = |packet: &Packet| packet.icmp_kind() == Some((9, 0));
    let advertised = site.brings(&scene.remote, &inward, &scene.inner, is_one)?.is_some()
        || site.brings(&scene.inner, &outward, &scene.remote, is_one)?.is_some();
    Ok(match (passes(site, (4, 0))?, advertised) {
        (false, false) => met("neither source quench nor router advertisements pass"),
        (true, false) => not_met("source quench passes, router advertisements do not"),
        (false, true) => not_met("router advertisements pass, source quench does not"),
        (true, true) => not_met("source quench and router advertisements pass"),
    })
}

/// RFC 5508 REQ-11.
pub(crate) fn other_messages(site: &Site) -> Outcome {
    let scene = Sent::new(site)?;
    let other = Packet::icmp(scene.inner.address, scene.remote.address, (42, 0), [0, 7, 1, 1], b"genkan");
    let out = site.tried(&scene.inner, &other, &scene.remote)?.is_some();
    let other = Packet::icmp(scene.remote.address, EXTERNAL, (42, 0), [0, 7, 1, 1], b"genkan");
    let inward = site.tried(&scene.remote, &other, &scene.inner)?.is_some();
    Ok(met(match (out, inward) {
        (false, false) => "a message that is neither query nor error passes neither way",
        (true, false) => "a message that is neither query nor error passes from inside",
        (_, true) => "a message that is neither query nor error passes from outside",
    }))
}
