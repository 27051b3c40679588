//! The router against a NAT simple enough to be believed (`reference`), step by step, over random packets, time and
//! changes of the plan (`transitions`).
//!
//! After every step both must have done the same with the packet, answers to what was translated included, list the
//! same sessions and mappings to the millisecond, and these must hold:
//! * no external endpoint belongs to two internal ones;
//! * no limit is exceeded;
//! * what the router tells for the record (RFC 8158) begins once and ends once, and what has not ended is there.
//!
//! Environment: `GENKAN_MODEL_CASES` is how many histories are tried (default 100, some 20 s unoptimized). Histories
//! that failed are kept in `regressions.txt` and tried first.

mod random_frames;
mod reference;
mod transitions;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

use genkan_engine::{Plan, PortId};
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp_error, raw, tcp, udp};
use genkan_tests::lab::{Flags, Packet, Payload, text};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError};

use reference::{Fate, Outcome, Reference, Seen, Told};
use transitions::{Kind, PortPick, Target, Transition, Wait, place, remote};
use world::{Step, World};

/// How long the router may take to clear away what has ended.
const CLEARED_AFTER: Duration = Duration::from_secs(3);
/// Packets that can still be answered.
const REMEMBERED: usize = 12;

fn config() -> ProptestConfig {
    let cases = std::env::var("GENKAN_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100);
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/model/regressions.txt");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_the_reference(
        setup in transitions::setup(),
        steps in prop::collection::vec(transitions::transition(), 1..100),
    ) {
        let mut pair = Pair::new(setup.plan());
        pair.learn_external_addresses().map_err(TestCaseError::fail)?;
        for step in &steps {
            if pair.reference.has_lost_track {
                break;
            }
            pair.step(step).map_err(|what| TestCaseError::fail(format!("{step:?}: {what}\n{}", pair.history())))?;
        }
    }
}

/// Protocol, internal and external endpoint.
type Mapping = (u8, SocketAddrV4, SocketAddrV4);

/// Router and reference side by side.
struct Pair {
    world: World,
    reference: Reference,
    /// What left by the wan, and what it was before.
    left: Vec<(Packet, (PortId, Packet))>,
    /// What reached inside hosts.
    arrived: Vec<(PortId, Packet)>,
    log: Vec<String>,
}

impl Pair {
    fn new(plan: Plan) -> Pair {
        let world = World::new(&plan);
        let reference = Reference::new(plan, world.now());
        Pair { world, reference, left: Vec::new(), arrived: Vec::new(), log: Vec::new() }
    }

    /// Every host shows once which of the external addresses is its own.
    fn learn_external_addresses(&mut self) -> Result<(), String> {
        let hosts = transitions::HOSTS.len() + usize::from(self.reference.plan.host_port);
        for (port, address) in (0..hosts).map(place) {
            self.send(port, &echo_request(address, transitions::REMOTES[0], 1))?;
        }
        self.wait(Wait::For(Duration::from_secs(300)))?;
        self.left.clear();
        self.log.clear();
        self.compare()
    }

    fn history(&self) -> String {
        let rows = self.reference.sessions.iter().map(|session| format!("  {session:?}\n"));
        let listed = self.world.sessions().into_iter().map(|session| format!("  {session:?}\n"));
        format!(
            "{}\nreference:\n{}router:\n{}",
            self.log.join("\n"),
            String::from_iter(rows),
            String::from_iter(listed)
        )
    }

    fn step(&mut self, transition: &Transition) -> Result<(), String> {
        match transition {
            Transition::Wait(wait) => self.wait(*wait)?,
            Transition::Change(change) => {
                let mut plan = self.reference.plan.clone();
                change.apply(&mut plan);
                self.log.push(format!("{change:?}"));
                self.world.change(&plan);
                let seen = self.seen(&Step::default());
                self.reference.change(plan, &seen);
            }
            _ => {
                let packet = self.packet_of(transition);
                // After a change of the wan address a remote may have what is now ours.
                let is_ours =
                    |address| self.reference.plan.wan.external_addresses().any(|ours| ours == address);
                let Some((port, packet)) = packet.filter(|(_, packet)| !is_ours(packet.source)) else {
                    return Ok(());
                };
                self.send(port, &packet)?;
            }
        }
        if self.reference.has_lost_track { Ok(()) } else { self.compare() }
    }

    /// The packet that a transition stands for here and now.
    fn packet_of(&self, transition: &Transition) -> Option<(PortId, Packet)> {
        match *transition {
            Transition::Send { host, port, ref target, kind, ttl } => {
                let (at, source) = place(host);
                if at == PortId::HOST && !self.reference.plan.host_port {
                    return None;
                }
                let from = SocketAddrV4::new(source, transitions::PORTS[port]);
                let to = match *target {
                    Target::Remote(which, port) => remote(which, port),
                    Target::External(which, ref port) => self.external(which, port),
                    Target::Host(host, port) => SocketAddrV4::new(place(host).1, transitions::PORTS[port]),
                    Target::Router => SocketAddrV4::new(world::ROUTER, transitions::PORTS[0]),
                };
                (from.ip() != to.ip()).then(|| (at, craft(kind, from, to).ttl(ttl)))
            }
            Transition::Stranger { remote: which, port, external, ref to, kind, ttl } => {
                Some((PortId::WAN, craft(kind, remote(which, port), self.external(external, to)).ttl(ttl)))
            }
            Transition::Reply { nth, flags } => {
                Some((PortId::WAN, answer(&nth_last(&self.left, nth)?.0, flags)?))
            }
            Transition::Answer { nth, flags } => {
                let (port, packet) = nth_last(&self.arrived, nth)?;
                Some((*port, answer(packet, flags)?))
            }
            Transition::ErrorOutside { nth, kind, by_router } => {
                let (about, _) = nth_last(&self.left, nth)?;
                let source = if by_router { transitions::REMOTES[2] } else { about.destination };
                error(source, about, kind).map(|error| (PortId::WAN, error))
            }
            Transition::ErrorInside { nth, kind } => {
                let (port, about) = nth_last(&self.arrived, nth)?;
                error(about.destination, about, kind).map(|error| (*port, error))
            }
            Transition::Wait(_) | Transition::Change(_) => None,
        }
    }

    /// An external endpoint of the router.
    fn external(&self, which: usize, port: &PortPick) -> SocketAddrV4 {
        let addresses: Vec<_> = self.reference.plan.wan.external_addresses().collect();
        let address = addresses[which % addresses.len()];
        let mappings: Vec<_> = self.reference.mappings().into_keys().collect();
        match *port {
            // The identifier of a ping may be 0, which is no port.
            PortPick::Mapping(nth) if mappings.get(nth).is_some_and(|mapping| mapping.2.port() > 0) => {
                mappings[nth].2
            }
            PortPick::Mapping(nth) | PortPick::Known(nth) => {
                SocketAddrV4::new(address, transitions::PORTS[nth % transitions::PORTS.len()])
            }
        }
    }

    /// Sends a packet through the router, and then past the reference.
    fn send(&mut self, port: PortId, packet: &Packet) -> Result<(), String> {
        self.log.push(format!("{port:?} -> {}", text::packet(packet)));
        let step = self.world.send(port, packet);
        self.log.extend(
            step.out.iter().map(|(port, packet)| format!("    {port:?} <- {}", text::packet(packet))),
        );
        self.log.extend(step.drops.iter().map(|reason| format!("    drop {}", reason.name())));
        let seen = self.seen(&step);
        let expected = self.reference.handle(port, packet, &seen)?;
        if self.reference.has_lost_track {
            return Ok(());
        }
        compare_step(port, packet, &expected, &step)?;
        if let Fate::Out(out, sent) = expected.fate {
            if out == PortId::WAN {
                remember(&mut self.left, (sent, (port, packet.clone())));
            } else {
                remember(&mut self.arrived, (out, sent));
            }
        }
        Ok(())
    }

    /// What the reference is told of the router's doings.
    fn seen(&self, step: &Step) -> Seen {
        let is_ours =
            |from: &SocketAddrV4| self.reference.plan.wan.external_addresses().any(|ours| ours == *from.ip());
        Seen {
            rows: self.world.sessions().iter().map(row).collect(),
            sources: step.out.iter().map(|(_, packet)| packet.from()).filter(is_ours).collect(),
            drops: step.drops.clone(),
        }
    }

    fn wait(&mut self, wait: Wait) -> Result<(), String> {
        let millisecond = Duration::from_millis(1);
        let duration = match wait {
            Wait::For(duration) => duration,
            Wait::Next { past } => match self.reference.expiries().min() {
                Some(at) if past => at.saturating_since(self.world.now()) + millisecond,
                Some(at) => at.saturating_since(self.world.now()).saturating_sub(millisecond),
                None => return Ok(()),
            },
        };
        self.log.push(format!("wait {duration:?}"));
        self.pass(duration);
        self.compare_sessions()?;
        while self.reference.something_ended_within(CLEARED_AFTER) {
            self.pass(CLEARED_AFTER);
        }
        Ok(())
    }

    fn pass(&mut self, duration: Duration) {
        self.world.wait(duration);
        self.reference.advance(self.world.now());
    }

    /// Tables agree, and the invariants hold.
    fn compare(&self) -> Result<(), String> {
        self.compare_sessions()?;
        let listed: BTreeMap<_, _> = self
            .world
            .mappings()
            .into_iter()
            .map(|mapping| ((mapping.protocol.0, mapping.internal, mapping.external), mapping.sessions))
            .collect();
        let expected = self.reference.mappings();
        if listed != expected {
            return Err(format!("mappings: {listed:?}, expected {expected:?}"));
        }
        let forwards = (self.world.sessions_by_forward(), self.reference.sessions_by_forward());
        if forwards.0 != forwards.1 {
            return Err(format!("sessions of forwards: {:?}, expected {:?}", forwards.0, forwards.1));
        }
        let counts =
            (self.world.router().session_count() as usize, self.world.router().mapping_count() as usize);
        if counts != (self.reference.sessions.len(), expected.len()) {
            return Err(format!("{counts:?} sessions and mappings counted"));
        }
        self.compare_record(&listed)?;
        self.check_invariants(&listed)
    }

    /// What has begun and not ended by the record is what is there.
    fn compare_record(&self, mappings: &BTreeMap<Mapping, u32>) -> Result<(), String> {
        let record = self.world.record();
        let translated = self.world.sessions().into_iter().filter(|session| session.origin != "routed");
        let sessions: BTreeSet<_> = translated.map(|session| row(&session)).collect();
        if sessions != record.sessions {
            return Err(format!("sessions {sessions:?}, recorded {:?}", record.sessions));
        }
        if !mappings.keys().eq(&record.mappings) {
            return Err(format!("mappings {mappings:?}, recorded {:?}", record.mappings));
        }
        Ok(())
    }

    fn compare_sessions(&self) -> Result<(), String> {
        let listed: BTreeMap<_, _> = self
            .world
            .sessions()
            .into_iter()
            .map(|session| (row(&session), (session.origin, session.state, session.expires_in)))
            .collect();
        let now = self.world.now();
        let expected: BTreeMap<_, _> =
            self.reference.sessions.iter().map(|session| (session.row(), session.listed(now))).collect();
        if listed == expected {
            return Ok(());
        }
        let surplus: Vec<_> = listed.iter().filter(|(row, state)| expected.get(row) != Some(state)).collect();
        let missing: Vec<_> = expected.iter().filter(|(row, state)| listed.get(row) != Some(state)).collect();
        Err(format!("sessions listed: {surplus:?}, expected {missing:?}"))
    }

    fn check_invariants(&self, mappings: &BTreeMap<Mapping, u32>) -> Result<(), String> {
        let nat = &self.reference.plan.nat;
        let mut owners = BTreeMap::new();
        let mut ports_of_host: BTreeMap<_, u32> = BTreeMap::new();
        for (protocol, internal, external) in mappings.keys() {
            if let Some(other) = owners.insert((protocol, external), internal) {
                return Err(format!("{external} belongs to {internal} and {other}"));
            }
            *ports_of_host.entry((protocol, internal.ip())).or_default() += 1;
        }
        let sessions = self.world.sessions();
        let mut sessions_of_host: BTreeMap<_, u32> = BTreeMap::new();
        let mut inbound = BTreeMap::new();
        for session in &sessions {
            *sessions_of_host.entry(session.internal.ip()).or_default() += 1;
            let key = (session.protocol.0, session.external, session.remote);
            if let Some(other) = inbound.insert(key, session.internal) {
                return Err(format!("packets of {key:?} belong to {} and {other}", session.internal));
            }
        }
        let within = sessions.len() <= nat.max_sessions as usize
            && sessions_of_host.values().all(|&count| count <= nat.max_sessions_per_host)
            && ports_of_host.values().all(|&count| count <= nat.max_ports_per_host);
        if within { Ok(()) } else { Err("a limit is exceeded".into()) }
    }
}

fn row(session: &genkan_engine::view::SessionView) -> reference::Row {
    (session.protocol.0, session.internal, session.external, session.remote)
}

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}

fn nth_last<T>(list: &[T], nth: usize) -> Option<&T> {
    list.get(list.len().checked_sub(1 + nth)?)
}

fn craft(kind: Kind, from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    match kind {
        Kind::Udp => udp(from, to),
        Kind::Tcp(flags) => tcp(from, to, flags),
        Kind::Ping => echo_request(*from.ip(), *to.ip(), from.port()),
        Kind::NullPing => echo_request(*from.ip(), *to.ip(), 0),
        Kind::Esp => raw(*from.ip(), *to.ip(), 50, &[0, 0, 0, 1, 0, 0, 0, 1]),
    }
}

/// The packet back, by these flags or what is usual. Nobody answers an ICMP error.
fn answer(packet: &Packet, flags: Option<Flags>) -> Option<Packet> {
    let (from, to) = (packet.to(), packet.from());
    let answer = match &packet.payload {
        Payload::Udp { .. } => udp(from, to),
        Payload::Tcp { flags: theirs, .. } => {
            let usual = if theirs.contains(Flags::SYN) && !theirs.contains(Flags::ACK) {
                Flags::SYN_ACK
            } else if theirs.contains(Flags::FIN) {
                Flags::FIN_ACK
            } else {
                Flags::ACK
            };
            tcp(from, to, flags.unwrap_or(usual))
        }
        Payload::Icmp { kind: 8, .. } => echo_reply(packet.destination, packet.source, packet.identifier()),
        Payload::Icmp { kind: 0, .. } => echo_request(packet.destination, packet.source, packet.identifier()),
        Payload::Icmp { .. } => return None,
        Payload::Raw { protocol, data } => raw(packet.destination, packet.source, *protocol, data),
    };
    Some(answer)
}

/// An ICMP error about a packet; none about an error.
fn error(source: std::net::Ipv4Addr, about: &Packet, kind: u8) -> Option<Packet> {
    if matches!(about.icmp_kind(), Some((3..=5 | 11 | 12, _))) || source == about.source {
        return None;
    }
    let code = if kind == 3 { 1 } else { 0 };
    Some(icmp_error(source, about.source, kind, code, &about.to_ip()))
}

fn compare_step(port: PortId, packet: &Packet, expected: &Outcome, step: &Step) -> Result<(), String> {
    let mut out = step.out.clone();
    match &expected.fate {
        Fate::Out(port, wanted) => {
            let Some(at) = out.iter().position(|sent| (sent.0, &sent.1) == (*port, wanted)) else {
                return Err(format!("expected out of {port:?}: {}", text::packet(wanted)));
            };
            out.remove(at);
            if !step.drops.is_empty() {
                return Err(format!("dropped: {:?}", step.drops));
            }
        }
        Fate::Drop(reason) => {
            if step.drops != [*reason] {
                return Err(format!("expected to be dropped: {}", reason.name()));
            }
        }
    }
    if let Some(told) = expected.told {
        let Some(at) = out.iter().position(|sent| sent.0 == port && is_told(told, packet, &sent.1)) else {
            return Err(format!("expected to be told: {told:?}"));
        };
        out.remove(at);
    }
    if out.is_empty() { Ok(()) } else { Err("more left than expected".into()) }
}

/// Whether `sent` tells the sender of `packet` so.
fn is_told(told: Told, packet: &Packet, sent: &Packet) -> bool {
    match told {
        Told::Error(kind, code) => {
            sent.icmp_kind() == Some((kind, code))
                && sent.destination == packet.source
                && sent.payload_data() == packet.to_ip()
        }
        Told::Reset => {
            sent.flags().contains(Flags::RST) && (sent.from(), sent.to()) == (packet.to(), packet.from())
        }
    }
}
