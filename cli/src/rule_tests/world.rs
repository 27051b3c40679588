//! What a test does to a router, and what it sees of it: the same for a simulated one and for a real one.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_config::expectations::Flow;
use genkan_config::openings::State;
use genkan_engine::{DropReason, Plan, UnixTime};

use crate::output::Failure;

/// A router under test with the machines around it.
pub(crate) trait World {
    /// Somebody opens a connection: the first packet, and where that arrives, the answer and what follows.
    fn open(&mut self, flow: &Flow) -> Seen;

    /// The next packet of a connection that was opened with these ends: whether it arrives.
    ///
    /// It comes from the side that has not opened the connection where that side is outside, because a packet of the
    /// other side would open it anew.
    fn goes_on(&mut self, flow: &Flow) -> Seen;

    /// Why a forward that has the destination is closed.
    fn closed(&self, flow: &Flow) -> Option<State>;

    /// Time passes.
    fn pass(&mut self, time: Duration);

    /// Time passes until the clock on the wall shows this.
    fn pass_to(&mut self, at: UnixTime);

    /// The router is given another configuration.
    fn reload(&mut self, configuration: usize);

    /// What has gone wrong since the last question and is no answer of a router: then nothing that was seen counts.
    fn trouble(&mut self) -> Option<Failure> {
        None
    }
}

/// Why the forwards that have the destination of a flow are closed, by the states of all.
pub(crate) fn closed_forward(plan: &Plan, states: &[State], flow: &Flow) -> Option<State> {
    let port = flow.to.port?;
    let owns = |index: &usize| {
        let forward = &plan.forwards[*index];
        forward.protocols.contains(&flow.protocol)
            && forward.address.is_none_or(|address| address == flow.to.address)
            && forward.ports.iter().any(|ports| (ports.external_first..=ports.external_last).contains(&port))
    };
    let owners = (0..plan.forwards.len()).filter(owns);
    owners.map(|index| states[index]).find(|state| *state != State::Open)
}

/// What came of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It arrived.
    Arrived(Arrival),
    /// The router answered it itself.
    Answered,
    /// It did not arrive, as far as known for this reason.
    Refused(Option<DropReason>),
}

/// Where a packet arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The endpoint that got it; protocols without ports have port 0.
    pub(crate) target: SocketAddrV4,
    /// The source that it saw.
    pub(crate) source: SocketAddrV4,
    /// The source of the answer, as the asker saw it; `None`: no answer came back.
    pub(crate) reply_from: Option<SocketAddrV4>,
    /// It went out and came in again.
    pub(crate) hairpin: bool,
}

/// A flow from another source, of which there are several: the `index`-th address, the `connection`-th port.
pub(crate) fn nth(flow: &Flow, source: u32, connection: u32) -> Flow {
    let mut flow = *flow;
    let address = u32::from(flow.from.address).wrapping_add(source);
    flow.from.address = Ipv4Addr::from(address);
    // Ports wrap round above the well-known ones.
    let next = |port: u16| 1_024 + ((u32::from(port).saturating_sub(1_024) + connection) % 64_512) as u16;
    if connection > 0 {
        flow.from.port = flow.from.port.map(next);
    }
    flow
}
