//! Mapping, filtering and hairpinning of UDP and TCP: RFC 4787 sections 4 to 6, RFC 5382.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, partly, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{EXTERNAL, Kind, SERVICE, Site};
use crate::conformance::wire::Host;

/// Whose packets a mapping admits (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtering {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

impl Filtering {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address- and port-dependent",
        }
    }
}

/// Two hosts that send from the same port: the external endpoints of each toward three remotes. The second one begins
/// where the first one has not been, and comes then to where it has.
fn external_endpoints(
    site: &Site,
    kind: Kind,
    port: u16,
) -> Result<[(Host, BTreeSet<SocketAddrV4>); 2], Finding> {
    let (first, second) = (site.inside_host()?, site.inside_host()?);
    let (one, two) = (site.outside_host()?, site.outside_host()?);
    let mut of_first = BTreeSet::from([site.mapped(kind, (&first, port), (&one, SERVICE))?]);
    let mut of_second = BTreeSet::new();
    for remote in [(&two, SERVICE), (&one, SERVICE), (&one, SERVICE + 1)] {
        of_second.insert(site.mapped(kind, (&second, port), remote)?);
    }
    for remote in [(&two, SERVICE), (&one, SERVICE + 1)] {
        of_first.insert(site.mapped(kind, (&first, port), remote)?);
    }
    Ok([(first, of_first), (second, of_second)])
}

/// Sends to one host and lets others answer.
pub(crate) fn observed_filtering(
    site: &Site,
    kind: Kind,
    (inner, port): (&Host, u16),
) -> Result<Filtering, Finding> {
    let (known, stranger) = (site.outside_host()?, site.outside_host()?);
    let external = site.mapped(kind, (inner, port), (&known, SERVICE))?;
    let passes =
        |sender: &Host, from: u16| Ok(site.arrives(kind, (sender, from), external, inner)?.is_some());
    require(passes(&known, SERVICE)?, "the answer does not get in")?;
    Ok(match (passes(&known, SERVICE + 7)?, passes(&stranger, SERVICE)?) {
        (_, true) => Filtering::EndpointIndependent,
        (true, false) => Filtering::AddressDependent,
        (false, false) => Filtering::AddressAndPortDependent,
    })
}

/// RFC 4787 REQ-1, RFC 5382 REQ-1: also for a host whose port another one has already.
pub(crate) fn endpoint_independent_mapping(site: &Site, kind: Kind) -> Outcome {
    let [(_, first), (_, second)] = external_endpoints(site, kind, site.port())?;
    Ok(match (first.len(), second.len()) {
        (1, 1) => met("two hosts with the same port: each has one external endpoint toward three remotes"),
        _ => not_met(
            "two hosts with the same port: a host has several external endpoints toward three remotes",
        ),
    })
}

/// RFC 4787 REQ-2.
pub(crate) fn paired_addresses(site: &Site) -> Outcome {
    let mut used = BTreeSet::new();
    for _ in 0..20 {
        let inner = site.inside_host()?;
        let mut own = BTreeSet::new();
        for _ in 0..3 {
            let external = site.mapped(Kind::Udp, (&inner, site.port()), (&site.outside_host()?, SERVICE))?;
            own.insert(*external.ip());
        }
        require(own.len() == 1, "one host has both external addresses")?;
        used.extend(own);
    }
    Ok(judge(
        used.len() == 2,
        "20 hosts share two external addresses, each has the same one toward three remotes",
        "only one of two external addresses is used",
    ))
}

/// RFC 4787 REQ-3, RFC 5382 REQ-7.
pub(crate) fn no_port_overloading(site: &Site, kind: Kind) -> Outcome {
    let port = site.port();
    let mut owners = BTreeSet::new();
    for _ in 0..3 {
        let hosts = (site.inside_host()?, site.outside_host()?);
        owners.insert(site.mapped(kind, (&hosts.0, port), (&hosts.1, SERVICE))?);
    }
    Ok(judge(
        owners.len() == 3,
        "three hosts with the same port, each to another remote: three external endpoints",
        "hosts with the same port have the same external endpoint toward different remotes",
    ))
}

/// RFC 4787 REQ-3a.
pub(crate) fn port_ranges(site: &Site) -> Outcome {
    let remote = site.outside_host()?;
    let stays = |port: u16| -> Result<bool, Finding> {
        let mut stays = true;
        for _ in 0..2 {
            let external = site.mapped(Kind::Udp, (&site.inside_host()?, port), (&remote, SERVICE))?;
            stays &= (external.port() < 1024) == (port < 1024);
        }
        Ok(stays)
    };
    Ok(match (stays(600)?, stays(site.port())?) {
        (true, true) => met("ports below 1024 stay below, others above, also when two hosts have the same"),
        (false, true) => partly("ports from 1024 on stay there; those below move up"),
        _ => not_met("ports from 1024 on move below"),
    })
}

/// RFC 4787 REQ-4: hosts with one port, most of which cannot keep it.
pub(crate) fn port_parity(site: &Site) -> Outcome {
    let remote = site.outside_host()?;
    let port = site.port() & !1;
    for _ in 0..12 {
        let external = site.mapped(Kind::Udp, (&site.inside_host()?, port), (&remote, SERVICE))?;
        require(external.port().is_multiple_of(2), "the parity of ports that cannot be kept is lost")?;
    }
    Ok(met("12 hosts with the same even port, chosen with port parity: 12 even external ports"))
}

/// RFC 4787 REQ-7.
pub(crate) fn no_address_conflict(site: &Site) -> Outcome {
    Ok(judge(
        !site.takes_overlap(),
        "a lan with addresses of the wan is refused",
        "a lan with addresses of the wan is accepted",
    ))
}

/// RFC 4787 REQ-8, RFC 5382 REQ-3.
pub(crate) fn filtering(site: &Site, kind: Kind) -> Outcome {
    let found = observed_filtering(site, kind, (&site.inside_host()?, site.port()))?;
    let observed = format!("{}, as it comes", found.word());
    Ok(judge(found != Filtering::AddressAndPortDependent, &observed, &observed))
}

/// RFC 4787 REQ-8a: endpoint-independent filtering was chosen, which is nobody's default.
pub(crate) fn filtering_is_configurable(site: &Site) -> Outcome {
    let found = observed_filtering(site, Kind::Udp, (&site.inside_host()?, site.port()))?;
    Ok(judge(
        found == Filtering::EndpointIndependent,
        "endpoint-independent where that is chosen",
        &format!("there is nothing to choose: {}", found.word()),
    ))
}

/// RFC 5382 REQ-3a.
pub(crate) fn filtering_of_tcp_is_configurable(site: &Site) -> Outcome {
    let inner = site.inside_host()?;
    let tcp = observed_filtering(site, Kind::Tcp, (&inner, site.port()))?;
    let udp = observed_filtering(site, Kind::Udp, (&inner, site.port()))?;
    Ok(match (tcp == Filtering::EndpointIndependent, udp == tcp) {
        (true, true) => partly("endpoint-independent where that is chosen, for UDP and TCP alike"),
        (true, false) => met("endpoint-independent where that is chosen, for TCP alone"),
        _ => not_met(format!("there is nothing to choose: {}", tcp.word())),
    })
}

/// Two inside hosts that send to each other's external endpoints, twice, so that filters open.
pub(crate) struct Meeting {
    pub(crate) one: Host,
    pub(crate) two: Host,
    /// Of the first one, as outside hosts see it.
    pub(crate) external_one: SocketAddrV4,
    /// What the first one sent at last.
    pub(crate) sent: Packet,
    /// What the second one got of it.
    pub(crate) seen: Option<Packet>,
}

pub(crate) fn meet(site: &Site, kind: Kind) -> Result<Meeting, Finding> {
    let (one, two, broker) = (site.inside_host()?, site.inside_host()?, site.outside_host()?);
    let ports = (site.port(), site.port());
    let external_one = site.mapped(kind, (&one, ports.0), (&broker, SERVICE))?;
    let external_two = site.mapped(kind, (&two, ports.1), (&broker, SERVICE))?;
    site.arrives(kind, (&one, ports.0), external_two, &two)?;
    site.arrives(kind, (&two, ports.1), external_one, &one)?;
    let sent = site.first(kind, one.at(ports.0), external_two);
    let seen = site.tried(&one, &sent, &two)?;
    Ok(Meeting { one, two, external_one, sent, seen })
}

/// RFC 4787 REQ-9, RFC 5382 REQ-8.
pub(crate) fn hairpinning(site: &Site, kind: Kind) -> Outcome {
    let inner = site.inside_host()?;
    let (external, target, _) = site.forward()?;
    let forwarded = site.arrives(kind, (&inner, site.port()), external, target)?.is_some();
    let mapped = meet(site, kind)?.seen.is_some();
    Ok(match (mapped, forwarded) {
        (true, true) => met("inside hosts reach each other's external endpoints, and a forward"),
        (true, false) => partly("inside hosts reach each other's external endpoints, but no forward"),
        (false, true) => partly("inside hosts reach a forward, but not each other's external endpoints"),
        (false, false) => not_met("inside hosts reach neither each other's external endpoints nor a forward"),
    })
}

/// RFC 4787 REQ-9a, RFC 5382 REQ-8a.
pub(crate) fn hairpinning_from_the_external_endpoint(site: &Site, kind: Kind) -> Outcome {
    let meeting = meet(site, kind)?;
    let inner = site.inside_host()?;
    let port = site.port();
    let mine = site.mapped(kind, (&inner, port), (&site.outside_host()?, SERVICE))?;
    let (external, target, _) = site.forward()?;
    let by_forward = site.arrives(kind, (&inner, port), external, target)?.map(|packet| packet.from());
    Ok(match (meeting.seen.map(|packet| packet.from()), by_forward) {
        (Some(one), Some(two)) => judge(
            one == meeting.external_one && two == mine,
            "the receiver sees the sender's external endpoint, as outside hosts do",
            "the receiver sees another endpoint than outside hosts do",
        ),
        (None, Some(two)) if two == mine => {
            partly("through a forward the receiver sees the sender's external endpoint; else nothing arrives")
        }
        (None, Some(_)) => {
            not_met("through a forward the receiver sees another endpoint; else nothing arrives")
        }
        _ => not_met("nothing arrives"),
    })
}

/// RFC 4787 REQ-10: messages of protocols that ALGs know, with the sender's address in them, there and back.
pub(crate) fn payloads_untouched(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let address = inner.address;
    let texts = [
        (
            5060,
            format!(
                "INVITE sip:b@{0} SIP/2.0\r\nVia: SIP/2.0/UDP {address}:5060\r\nFrom: <sip:a@{address}>;tag=1\r\n\
                 To: <sip:b@{0}>\r\nCall-ID: 1@{address}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{address}:5060>\r\n\
                 Content-Length: 0\r\n\r\n",
                remote.address
            )
            .into_bytes(),
        ),
        (69, b"\x00\x01genkan\x00octet\x00".to_vec()),
        (SERVICE, [&address.octets()[..], &EXTERNAL.octets(), address.to_string().as_bytes()].concat()),
    ];
    for (port, text) in texts {
        let packet = Packet::udp(inner.at(port), remote.at(port), &text);
        inner.send(&packet);
        let seen = remote.wait(|seen| seen.to() == remote.at(port));
        let seen = seen.ok_or_else(|| not_met("a packet from inside did not get out"))?;
        require(seen.data() == text && seen.checksum_is_right(), "a payload was changed on its way out")?;
        remote.send(&Packet::udp(seen.to(), seen.from(), &text));
        let back = inner.wait(|seen| seen.from() == remote.at(port));
        let back = back.ok_or_else(|| not_met("an answer did not get in"))?;
        require(back.data() == text && back.checksum_is_right(), "a payload was changed on its way in")?;
    }
    Ok(met("SIP, TFTP and addresses in payloads pass unchanged, both ways"))
}

/// RFC 4787 REQ-11: the same with and without another host on the same port.
pub(crate) fn deterministic(site: &Site) -> Outcome {
    let mut kinds = Vec::new();
    let port = site.port();
    for (inner, endpoints) in external_endpoints(site, Kind::Udp, port)? {
        kinds.push((endpoints.len() == 1, observed_filtering(site, Kind::Udp, (&inner, port))?));
    }
    let (alone, one, two) = (site.inside_host()?, site.outside_host()?, site.outside_host()?);
    let port = site.port();
    let endpoints = [&one, &two].map(|remote| site.mapped(Kind::Udp, (&alone, port), (remote, SERVICE)));
    let [first, second] = endpoints;
    kinds.push((first? == second?, observed_filtering(site, Kind::Udp, (&alone, port))?));
    Ok(judge(
        kinds.iter().all(|kind| *kind == kinds[0]),
        "mapping and filtering are of the same kind for a host alone and for two with the same port",
        "the kind of mapping changes when two hosts have the same port",
    ))
}

/// RFC 7857 section 5.
pub(crate) fn protocols_map_apart(site: &Site) -> Outcome {
    let (one, two, remote) = (site.inside_host()?, site.inside_host()?, site.outside_host()?);
    let port = site.port();
    let udp = site.mapped(Kind::Udp, (&one, port), (&remote, SERVICE))?;
    let tcp = site.mapped(Kind::Tcp, (&two, port), (&remote, SERVICE))?;
    Ok(judge(
        udp == tcp,
        "the same external port belongs to one host for UDP and to another one for TCP",
        "a port that a host has for UDP is not given to another one for TCP",
    ))
}

/// RFC 7857 section 6.
pub(crate) fn protocols_filter_apart(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let external = site.mapped(Kind::Udp, (&inner, site.port()), (&remote, SERVICE))?;
    let syn = site.arrives(Kind::Tcp, (&remote, SERVICE), external, &inner)?;
    Ok(judge(
        syn.is_none(),
        "a datagram to a remote does not admit its SYN",
        "a datagram to a remote admits its SYN",
    ))
}

/// RFC 7857 section 8.
pub(crate) fn parity_is_off(site: &Site) -> Outcome {
    let remote = site.outside_host()?;
    let port = site.port() & !1;
    let mut odd = 0;
    for _ in 0..14 {
        let external = site.mapped(Kind::Udp, (&site.inside_host()?, port), (&remote, SERVICE))?;
        odd += external.port() % 2;
    }
    Ok(judge(
        odd > 0,
        "14 hosts with the same even port, as it comes: odd external ports among them",
        "14 hosts with the same even port, as it comes: only even external ports",
    ))
}

/// RFC 7857 section 10.
pub(crate) fn identification(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let packet = site.first(Kind::Udp, inner.at(site.port()), remote.at(SERVICE));
    let packet = Packet { identification: 4711, ..packet };
    let seen = site.pass_out(&inner, &packet, &remote)?;
    Ok(match seen.identification == 4711 {
        true => partly("passes unchanged: unique for each inside host, not for the external address"),
        false => met("another one outside than inside"),
    })
}
