//! Whether what was seen is what was expected. Nothing here knows whether the router was a real one.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_config::expectations::{Endpoint, Expect, Flow, Reached, Refusal, Step};
use genkan_config::openings::State;
use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use genkan_engine::{DropReason, PortId};

use super::world::{Arrival, Seen, World, nth};

/// Why an expectation does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It did not arrive.
    Refused(Option<DropReason>),
    /// It arrived, and was not to.
    Arrived(Arrival),
    /// The router answered it itself.
    Answered,
    /// It did not come from inside and go out and in again.
    NoHairpin(Arrival),
    /// No answer came back.
    NoReply(Arrival),
    /// It arrived elsewhere.
    Target(SocketAddrV4),
    /// The target saw another source.
    Source(SocketAddrV4),
    /// The answer came from elsewhere.
    ReplyFrom(SocketAddrV4),
    /// It was refused, for another reason.
    Reason(DropReason),
    /// The forward is closed, for another reason.
    Closed(Option<State>),
    /// The mapping behaves otherwise.
    Mapping(MappingBehavior),
    /// The filtering behaves otherwise.
    Filtering(FilteringBehavior),
    /// Another number of connections arrived.
    Passed(u32),
}

/// Does what a step says and compares.
pub(crate) fn run(step: &Step, world: &mut dyn World) -> Result<(), Wrong> {
    match step.expect {
        Expect::Reaches(reached) => each(step, |flow| arrives(&reached, world.open(flow))),
        Expect::Refused(refusal) => each(step, |flow| {
            let seen = world.open(flow);
            refuses(&refusal, seen, || world.closed(flow))
        }),
        Expect::Answered => each(step, |flow| match world.open(flow) {
            Seen::Answered => Ok(()),
            Seen::Arrived(arrival) => Err(Wrong::Arrived(arrival)),
            Seen::Refused(reason) => Err(Wrong::Refused(reason)),
        }),
        Expect::Open => each(step, |flow| match world.goes_on(flow) {
            Seen::Arrived(_) => Ok(()),
            Seen::Answered => Err(Wrong::Answered),
            Seen::Refused(reason) => Err(Wrong::Refused(reason)),
        }),
        Expect::Ended => each(step, |flow| match world.goes_on(flow) {
            Seen::Arrived(arrival) => Err(Wrong::Arrived(arrival)),
            Seen::Answered => Err(Wrong::Answered),
            Seen::Refused(_) => Ok(()),
        }),
        Expect::Behaves { mapping, filtering } => each(step, |flow| behaves(flow, mapping, filtering, world)),
        Expect::Passes(count, refusal) => {
            let mut passed = 0;
            each(step, |flow| match world.open(flow) {
                Seen::Arrived(arrival) if arrival.reply_from.is_some() => {
                    passed += 1;
                    Ok(())
                }
                Seen::Arrived(arrival) => Err(Wrong::NoReply(arrival)),
                seen => refuses(&refusal, seen, || world.closed(flow)),
            })?;
            if passed == count { Ok(()) } else { Err(Wrong::Passed(passed)) }
        }
    }
}

/// All connections of a step, up to the first that is not as expected.
fn each(step: &Step, mut one: impl FnMut(&Flow) -> Result<(), Wrong>) -> Result<(), Wrong> {
    for source in 0..step.sources {
        for connection in 0..step.connections {
            one(&nth(&step.flow, source, connection))?;
        }
    }
    Ok(())
}

fn is(expected: Option<Endpoint>, seen: SocketAddrV4) -> bool {
    expected.is_none_or(|expected| {
        expected.address == *seen.ip() && expected.port.is_none_or(|port| port == seen.port())
    })
}

fn arrives(reached: &Reached, seen: Seen) -> Result<(), Wrong> {
    let arrival = match seen {
        Seen::Arrived(arrival) => arrival,
        Seen::Answered => return Err(Wrong::Answered),
        Seen::Refused(reason) => return Err(Wrong::Refused(reason)),
    };
    if reached.hairpin && !arrival.hairpin {
        return Err(Wrong::NoHairpin(arrival));
    }
    if !is(reached.target, arrival.target) {
        return Err(Wrong::Target(arrival.target));
    }
    if !is(reached.source, arrival.source) {
        return Err(Wrong::Source(arrival.source));
    }
    match arrival.reply_from {
        None => Err(Wrong::NoReply(arrival)),
        Some(from) if !is(reached.reply_from, from) => Err(Wrong::ReplyFrom(from)),
        Some(_) => Ok(()),
    }
}

fn refuses(refusal: &Refusal, seen: Seen, closed: impl FnOnce() -> Option<State>) -> Result<(), Wrong> {
    let reason = match seen {
        Seen::Refused(reason) => reason,
        Seen::Answered => return Err(Wrong::Answered),
        Seen::Arrived(arrival) => return Err(Wrong::Arrived(arrival)),
    };
    match (refusal.reason, reason) {
        (Some(expected), Some(seen)) if expected != seen => return Err(Wrong::Reason(seen)),
        (Some(_), None) => return Err(Wrong::Refused(None)),
        _ => {}
    }
    let Some(expected) = refusal.closed else { return Ok(()) };
    match closed() {
        Some(state) if state == expected => Ok(()),
        other => Err(Wrong::Closed(other)),
    }
}

/// RFC 4787 §4.1 and §5: an internal endpoint speaks with several remotes, and others speak to its external endpoint.
fn behaves(
    flow: &Flow,
    mapping: Option<MappingBehavior>,
    filtering: Option<FilteringBehavior>,
    world: &mut dyn World,
) -> Result<(), Wrong> {
    let external = external(world, flow)?;
    let [other_port, other_address] = others(flow);
    // Filtering first: whoever was sent something is let in.
    if let Some(expected) = filtering {
        let mut admits = |from| {
            let to = Endpoint { address: *external.ip(), port: Some(external.port()) };
            let back = Flow { port: PortId::WAN, from, to, ..*flow };
            matches!(world.open(&back), Seen::Arrived(_))
        };
        let seen = match (admits(other_address), admits(other_port)) {
            (true, _) => FilteringBehavior::EndpointIndependent,
            (false, true) => FilteringBehavior::AddressDependent,
            (false, false) => FilteringBehavior::AddressAndPortDependent,
        };
        if seen != expected {
            return Err(Wrong::Filtering(seen));
        }
    }
    if let Some(expected) = mapping {
        let by_port = self::external(world, &Flow { to: other_port, ..*flow })?;
        let by_address = self::external(world, &Flow { to: other_address, ..*flow })?;
        let seen = match (by_address == external, by_port == external) {
            (true, true) => MappingBehavior::EndpointIndependent,
            (false, true) => MappingBehavior::AddressDependent,
            (_, false) => MappingBehavior::AddressAndPortDependent,
        };
        if seen != expected {
            return Err(Wrong::Mapping(seen));
        }
    }
    Ok(())
}

/// The external endpoint that the remote of an outbound flow sees.
fn external(world: &mut dyn World, flow: &Flow) -> Result<SocketAddrV4, Wrong> {
    match world.open(flow) {
        Seen::Arrived(arrival) => Ok(arrival.source),
        Seen::Answered => Err(Wrong::Answered),
        Seen::Refused(reason) => Err(Wrong::Refused(reason)),
    }
}

/// The remotes that behaviour is asked with: the same address with the next port, the next address with the same one.
pub(crate) fn others(flow: &Flow) -> [Endpoint; 2] {
    let next = Ipv4Addr::from(u32::from(flow.to.address).wrapping_add(1));
    let port = flow.to.port.map(|port| if port == u16::MAX { port - 1 } else { port + 1 });
    [Endpoint { port, ..flow.to }, Endpoint { address: next, ..flow.to }]
}
