//! ICMP queries: RFC 5508 section 3.

use std::collections::BTreeSet;
use std::time::Duration;

use super::timers::{Clock, EARLY, LATE, by_setting};
use crate::conformance::device::BRIEF;
use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{EXTERNAL, INTERNAL, SERVICE, Site};
use crate::conformance::wire::Host;

/// Queries and their replies: echo, timestamp, information, address mask.
const QUERIES: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];

/// What began at once is over by now, and what began anew at [`EARLY`] is not.
const BETWEEN: Duration = Duration::from_millis(BRIEF * 1000 + 1000);

/// An open query: what the outside host saw of it.
pub(crate) struct Query {
    pub(crate) inner: Host,
    pub(crate) remote: Host,
    pub(crate) identifier: u16,
    pub(crate) seen: Packet,
}

impl Query {
    /// An echo request from a new inside host to a new outside host.
    pub(crate) fn new(site: &Site) -> Result<Query, Finding> {
        let (inner, remote) = (site.inside_host()?, site.outside_host()?);
        let identifier = site.port();
        let seen =
            site.pass_out(&inner, &Packet::echo_request(inner.address, remote.address, identifier), &remote)?;
        Ok(Query { inner, remote, identifier, seen })
    }

    /// Whether the reply arrives, as one to the query.
    pub(crate) fn is_answered(&self, site: &Site) -> Result<bool, Finding> {
        let reply = site.tried(&self.remote, &self.seen.echo_reply(), &self.inner)?;
        Ok(reply.is_some_and(|reply| reply.identifier() == self.identifier && reply.checksum_is_right()))
    }
}

/// RFC 5508 REQ-1.
pub(crate) fn queries_and_replies(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    for (query, reply) in QUERIES {
        let identifier = site.port();
        let [high, low] = identifier.to_be_bytes();
        let packet = Packet::icmp(inner.address, remote.address, (query, 0), [high, low, 0, 1], &[7; 12]);
        let seen = site.pass_out(&inner, &packet, &remote)?;
        require(
            seen.source == EXTERNAL && seen.checksum_is_right(),
            "a query does not come from outside's address",
        )?;
        let rest = [seen.payload[4], seen.payload[5], 0, 1];
        let answer = Packet::icmp(remote.address, seen.source, (reply, 0), rest, &[8; 12]);
        let back = site.tried(&remote, &answer, &inner)?;
        let back = back.ok_or_else(|| not_met(format!("a reply of type {reply} does not get in")))?;
        require(back.identifier() == identifier, "a reply has another identifier than its query")?;
    }
    Ok(met("echo, timestamp, information and address mask pass, replies with the identifier of their query"))
}

/// RFC 5508 REQ-1a: the second host begins where the first one has not been.
pub(crate) fn identifiers(site: &Site) -> Outcome {
    let (first, second) = (site.inside_host()?, site.inside_host()?);
    let (one, two) = (site.outside_host()?, site.outside_host()?);
    let identifier = site.port();
    let external = |inner: &Host, remote: &Host| {
        let query = Packet::echo_request(inner.address, remote.address, identifier);
        Ok::<_, Finding>(site.pass_out(inner, &query, remote)?.identifier())
    };
    let mut of_first = BTreeSet::from([external(&first, &one)?]);
    let of_second = BTreeSet::from([external(&second, &two)?, external(&second, &one)?]);
    of_first.insert(external(&first, &two)?);
    Ok(judge(
        (of_first.len(), of_second.len()) == (1, 1),
        "two hosts with the same identifier: each has one external identifier toward two remotes",
        "two hosts with the same identifier: a host has several external identifiers",
    ))
}

fn live_as_set(site: &Site) -> Result<(), Finding> {
    let (late, early) = (Query::new(site)?, Query::new(site)?);
    let clock = Clock::start();
    clock.wait_until(EARLY);
    require(early.is_answered(site)?, "gone too early")?;
    clock.wait_until(LATE);
    require(!late.is_answered(site)?, "there too long")
}

/// RFC 5508 REQ-2.
pub(crate) fn timeout(site: &Site) -> Outcome {
    live_as_set(site)?;
    Ok(by_setting(&site.defaults().icmp, 60, "open at half of it, closed after it"))
}

/// RFC 5508 REQ-2a.
pub(crate) fn timeout_is_configurable(site: &Site) -> Outcome {
    live_as_set(site)?;
    Ok(met(format!("set to {BRIEF} s: open at half of it, closed after it")))
}

/// RFC 5508 REQ-6.
pub(crate) fn errors_leave_queries_alone(site: &Site) -> Outcome {
    let (ended, refreshed) = (Query::new(site)?, Query::new(site)?);
    let clock = Clock::start();
    let complain = |query: &Query| {
        let error = Packet::error(query.remote.address, (11, 0), &query.seen, 8);
        let told =
            site.brings(&query.remote, &error, &query.inner, |packet| packet.icmp_kind() == Some((11, 0)))?;
        require(told.is_some(), "an error about a query does not arrive")
    };
    complain(&ended)?;
    complain(&refreshed)?;
    clock.wait_until(EARLY);
    require(ended.is_answered(site)?, "after an error the reply does not arrive")?;
    complain(&refreshed)?;
    clock.wait_until(BETWEEN);
    Ok(judge(
        !refreshed.is_answered(site)?,
        "after an error the reply still arrives, and errors keep no query open",
        "errors keep a query open",
    ))
}

/// RFC 5508 REQ-10a, what the device makes itself.
pub(crate) fn made_by_the_device(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let mut last = Packet::udp(inner.at(site.port()), remote.at(SERVICE), &site.token());
    last.ttl = 1;
    inner.send(&last);
    let told = inner.wait(|packet| packet.icmp_kind() == Some((11, 0)));
    let told = told.ok_or_else(|| not_met("a packet whose TTL ends vanishes in silence"))?;
    let about = told.quoted().is_some_and(|quoted| quoted.from() == last.from());
    require(about && told.checksum_is_right(), "\"time exceeded\" is not about the host's own packet")?;
    for (host, address) in [(&inner, INTERNAL), (&remote, EXTERNAL)] {
        let query = Packet::echo_request(host.address, address, site.port());
        host.send(&query);
        let reply = host
            .wait(|packet| packet.icmp_kind() == Some((0, 0)) && packet.identifier() == query.identifier());
        require(
            reply.is_some_and(|reply| reply.data() == query.data()),
            "an echo request to the device is not answered",
        )?;
    }
    let unreachable = super::icmp::unreachable_about_udp(site)?;
    require(unreachable == met(unreachable.observed.clone()), "unreachable does not pass")?;
    Ok(met("\"time exceeded\" is made, echo requests from both sides are answered, unreachable passes"))
}

/// RFC 7857 section 11: a query's mapping ends with its session, whatever its host does else.
pub(crate) fn mappings_end_with_their_sessions(site: &Site) -> Outcome {
    let query = Query::new(site)?;
    let clock = Clock::start();
    clock.wait_until(EARLY);
    let other = site.outside_host()?;
    let again = Packet::echo_request(query.inner.address, other.address, query.identifier);
    site.pass_out(&query.inner, &again, &other)?;
    clock.wait_until(BETWEEN);
    Ok(judge(
        !query.is_answered(site)?,
        "a query with the same identifier to another remote does not keep the first one open",
        "a query with the same identifier to another remote keeps the first one open",
    ))
}
