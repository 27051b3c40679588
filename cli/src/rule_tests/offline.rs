//! The simulated router as a world for tests, on virtual time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use genkan_config::Loaded;
use genkan_config::expectations::{Flow, Test};
use genkan_config::openings::{BUILT, Openings, State};
use genkan_engine::trail::Step as Trail;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, UnixTime, Verdict};

use super::coverage::Coverage;
use super::world::{Arrival, Seen, World, closed_forward};
use crate::simulation::{Outcome, Packet, Simulation, Transport};

/// One packet that came in, for telling about it.
pub(crate) struct Told {
    /// The configuration in force.
    pub(crate) configuration: usize,
    /// The time on the wall.
    pub(crate) wall: UnixTime,
    /// Where it came in.
    pub(crate) port: PortId,
    /// The packet.
    pub(crate) packet: Packet,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What is remembered of a connection that was opened.
struct Opened {
    first: Packet,
    arrived: Packet,
    out: PortId,
}

/// A simulated router.
pub(crate) struct Offline<'a> {
    configurations: &'a [Arc<Loaded>],
    simulation: Simulation,
    openings: Openings,
    configuration: usize,
    start: UnixTime,
    states: Vec<State>,
    /// When the rules change by themselves.
    next: Option<UnixTime>,
    opened: HashMap<Flow, Opened>,
    coverage: &'a mut [Coverage],
    /// All packets that came in, where they are kept.
    told: Option<Vec<Told>>,
    /// Where among them the connection at hand begins.
    connection: usize,
}

impl<'a> Offline<'a> {
    /// A fresh router with the first configuration, at the time when the test begins.
    pub(crate) fn new(
        configurations: &'a [Arc<Loaded>],
        test: &Test,
        coverage: &'a mut [Coverage],
    ) -> Offline<'a> {
        let start = test.at.unwrap_or(BUILT);
        let mut openings = Openings::new(None, []);
        let judgement = openings.judge(&configurations[0], start);
        // A connection through a hairpin is two sessions; behaviour is asked with three remotes.
        let connections: u32 = test.steps.iter().map(|step| step.sources * step.connections * 2 + 8).sum();
        Offline {
            configurations,
            simulation: Simulation::with_room(judgement.plan, start, connections),
            openings,
            configuration: 0,
            start,
            states: judgement.states,
            next: judgement.next,
            opened: HashMap::new(),
            coverage,
            told: None,
            connection: 0,
        }
    }

    /// From now on packets and frames are kept.
    pub(crate) fn keep(&mut self) {
        self.simulation.keep_frames();
        self.told = Some(Vec::new());
    }

    /// The packets that came in, one for each number of the simulation's frames from 1 on.
    pub(crate) fn told(&self) -> &[Told] {
        self.told.as_deref().unwrap_or_default()
    }

    /// Those of the last connection.
    pub(crate) fn told_last(&self) -> &[Told] {
        self.told().get(self.connection..).unwrap_or_default()
    }

    /// The router.
    pub(crate) fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// When the test began.
    pub(crate) fn start(&self) -> UnixTime {
        self.start
    }

    /// The time on the wall.
    fn wall(&self) -> UnixTime {
        UnixTime(self.start.0 + (self.simulation.now().as_nanos() / 1_000_000_000) as i64)
    }

    fn pass_until(&mut self, at: UnixTime) {
        let seconds = at.0.saturating_sub(self.wall().0).max(0);
        self.simulation.pass(Duration::from_secs(seconds as u64));
    }

    fn apply(&mut self) {
        let wall = self.wall();
        let judgement = self.openings.judge(&self.configurations[self.configuration], wall);
        self.states = judgement.states;
        self.next = judgement.next;
        self.simulation.apply_plan(judgement.plan, wall);
    }

    fn send(&mut self, port: PortId, packet: Packet) -> Outcome {
        let outcome = self.simulation.send(port, &packet);
        self.coverage[self.configuration].note(&self.configurations[self.configuration].plan, port, &outcome);
        let (configuration, wall) = (self.configuration, self.wall());
        if let Some(told) = &mut self.told {
            told.push(Told { configuration, wall, port, packet, outcome: outcome.clone() });
        }
        outcome
    }
}

/// The first packet of a flow.
fn first(flow: &Flow) -> Packet {
    let (from, to) = (flow.from, flow.to);
    let transport = match flow.protocol {
        Protocol::TCP => Transport::Tcp(from.port.unwrap_or(0), to.port.unwrap_or(0), TcpFlags::SYN),
        Protocol::UDP => Transport::Udp(from.port.unwrap_or(0), to.port.unwrap_or(0)),
        Protocol::ICMP => Transport::EchoRequest(1),
        other => Transport::Other(other),
    };
    Packet { source: from.address, destination: to.address, transport }
}

/// What left because of a packet that has a session, if any did.
fn passed(outcome: &Outcome) -> Option<(PortId, Packet)> {
    let has_session = |step: &Trail| matches!(step, Trail::Known { .. } | Trail::Opened { .. });
    let forwarded = !matches!(outcome.verdict, Verdict::Drop(_)) && outcome.steps.iter().any(has_session);
    outcome.left.last().copied().filter(|_| forwarded)
}

fn refused(outcome: &Outcome) -> Seen {
    match outcome.verdict {
        Verdict::Drop(reason) => Seen::Refused(Some(reason)),
        _ => Seen::Refused(None),
    }
}

impl World for Offline<'_> {
    fn open(&mut self, flow: &Flow) -> Seen {
        self.connection = self.told().len();
        let first = first(flow);
        let outcome = self.send(flow.port, first);
        let Some((out, arrived)) = passed(&outcome) else {
            let is_answer = |(port, packet): &(PortId, Packet)| {
                *port == flow.port
                    && packet.source == first.destination
                    && !matches!(packet.transport, Transport::IcmpError(..))
            };
            let answered = !matches!(outcome.verdict, Verdict::Drop(_)) && outcome.left.iter().any(is_answer);
            return if answered { Seen::Answered } else { refused(&outcome) };
        };
        let hairpin = outcome.steps.iter().any(|step| matches!(step, Trail::Hairpin | Trail::TurnedRound));
        let reply = arrived.answer().and_then(|answer| {
            let (port, reply) = passed(&self.send(out, answer))?;
            (port == flow.port && reply.destination_endpoint() == first.source_endpoint()).then_some(reply)
        });
        if flow.protocol == Protocol::TCP
            && reply.is_some()
            && let Some(established) = first.next()
        {
            self.send(flow.port, established);
        }
        self.opened.insert(*flow, Opened { first, arrived, out });
        Seen::Arrived(Arrival {
            target: arrived.destination_endpoint(),
            source: arrived.source_endpoint(),
            reply_from: reply.map(|reply| reply.source_endpoint()),
            hairpin,
        })
    }

    fn goes_on(&mut self, flow: &Flow) -> Seen {
        self.connection = self.told().len();
        let Some(Opened { first, arrived, out }) = self.opened.get(flow) else { return Seen::Refused(None) };
        let (first, arrived, out) = (*first, *arrived, *out);
        let (port, packet, goes_to) = if flow.port != PortId::WAN && out == PortId::WAN {
            (out, arrived.answer().and_then(|answer| answer.next()), first.source_endpoint())
        } else {
            (flow.port, first.next(), arrived.destination_endpoint())
        };
        let Some(packet) = packet else { return Seen::Refused(None) };
        let outcome = self.send(port, packet);
        match passed(&outcome) {
            Some((_, left)) if left.destination_endpoint() == goes_to => Seen::Arrived(Arrival {
                target: left.destination_endpoint(),
                source: left.source_endpoint(),
                reply_from: None,
                hairpin: false,
            }),
            _ => refused(&outcome),
        }
    }

    fn closed(&self, flow: &Flow) -> Option<State> {
        closed_forward(&self.configurations[self.configuration].plan, &self.states, flow)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.wall().0.saturating_add(time.as_secs() as i64);
        while let Some(next) = self.next.filter(|next| next.0 <= end) {
            self.pass_until(next);
            self.apply();
        }
        self.pass_until(UnixTime(end));
    }

    fn pass_to(&mut self, at: UnixTime) {
        self.pass(Duration::from_secs(at.0.saturating_sub(self.wall().0).max(0) as u64));
    }

    fn reload(&mut self, configuration: usize) {
        self.configuration = configuration;
        self.apply();
    }
}
