//! The router under test: packets in, packets out, ARP answered by everybody, time moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::frame::Transmit;
use genkan_engine::nat::event_log::{Binding, Detail, NatEvent, NatEventKind, Translation};
use genkan_engine::router::LinkState;
use genkan_engine::view::{MappingView, SessionView};
use genkan_engine::{DropReason, FrameBatch, Offload, Plan, PortId, Slot, Timestamp, Verdict};
use genkan_tests::lab::plan::GATEWAY;
use genkan_tests::lab::{Body, Clock, Crew, Frame, Packet, SEED, mac_of, router_mac};

/// What came of a packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// What left, in order.
    pub(crate) out: Vec<(PortId, Packet)>,
    /// What was dropped.
    pub(crate) drops: Vec<DropReason>,
}

/// What became of a frame, to the last octet.
#[derive(Debug, PartialEq)]
struct Foretold {
    verdict: Verdict,
    /// What the router made or let go because of it.
    made: Vec<Transmit>,
    /// The frame, where it was sent on.
    sent: Option<Vec<u8>>,
}

/// A router and its surroundings.
pub(crate) struct World {
    router: Crew,
    clock: Clock,
    /// By number they go in by a batch, alone, or to be explained.
    packets: u64,
    /// By what the router tells for the record.
    record: Record,
}

/// Sessions and mappings that have begun and not ended. Neither begins or ends twice.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) sessions: BTreeSet<(u8, SocketAddrV4, SocketAddrV4, SocketAddrV4)>,
    pub(crate) mappings: BTreeSet<(u8, SocketAddrV4, SocketAddrV4)>,
}

impl Record {
    fn note(&mut self, event: NatEvent) {
        let mapping = |it: Binding| (it.protocol.0, it.internal, it.external);
        let session = |it: Translation| {
            let (protocol, internal, external) = mapping(it.binding);
            (protocol, internal, external, it.remote)
        };
        let is_new_or_known = match event.kind {
            NatEventKind::SessionCreated(it) => self.sessions.insert(session(it)),
            NatEventKind::SessionDeleted(it) => self.sessions.remove(&session(it)),
            NatEventKind::MappingCreated(it) => self.mappings.insert(mapping(it)),
            NatEventKind::MappingDeleted(it) => self.mappings.remove(&mapping(it)),
            _ => true,
        };
        assert!(is_new_or_known, "begun twice, or ended without having begun: {event:?}");
    }
}

impl World {
    pub(crate) fn new(plan: &Plan) -> World {
        let clock = Clock::default();
        let mut router = Crew::new(Arc::new(plan.clone()), SEED, clock.now(), clock.wall());
        let lans = (0..plan.lans.len()).map(PortId::lan);
        for port in [PortId::WAN].into_iter().chain(plan.host_port.then_some(PortId::HOST)).chain(lans) {
            router.set_link(clock.now(), port, LinkState { mac: router_mac(port), mtu: 1500, up: true });
        }
        while router.poll_transmit().is_some() {}
        router.log_nat_events(Some(Detail::Sessions));
        World { router, clock, packets: 0, record: Record::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn router(&self) -> &Crew {
        &self.router
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// A packet comes in by `port`.
    pub(crate) fn send(&mut self, port: PortId, packet: &Packet) -> Step {
        let link_source = if port == PortId::WAN { GATEWAY } else { packet.source };
        let frame = Frame::new(mac_of(link_source), router_mac(port), Body::Ipv4(packet.clone()));
        let before = self.router.counters().drops;
        let mut step = Step::default();
        self.enter(port, frame.to_bytes(), &mut step);
        self.settle(&mut step);
        let after = self.router.counters().drops;
        for &reason in DropReason::ALL {
            let count = after[reason as usize] - before[reason as usize];
            step.drops.extend((0..count).map(|_| reason));
        }
        step
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            self.clock.advance_to(due);
            self.router.handle_timeout(self.clock.now());
            let mut step = Step::default();
            self.drain(&mut step);
            assert!(step.out.is_empty(), "packets out of nothing: {:?}", step.out);
        }
        self.clock.advance_to(end);
    }

    /// A new plan.
    pub(crate) fn change(&mut self, plan: &Plan) {
        self.router.apply_plan(self.clock.now(), self.clock.wall(), Arc::new(plan.clone()));
        let mut step = Step::default();
        self.settle(&mut step);
        assert!(step.out.is_empty(), "packets out of nothing: {:?}", step.out);
    }

    pub(crate) fn sessions(&self) -> Vec<SessionView> {
        let (mut all, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = self.router.sessions(self.now(), at, 64);
            all.extend(page);
            cursor = next;
        }
        all
    }

    /// Sessions of each forward that has any, at all workers.
    pub(crate) fn sessions_by_forward(&self) -> BTreeMap<String, u32> {
        let (mut all, mut cursor) = (BTreeMap::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = self.router.forwards(self.now(), at, 64);
            for view in page.into_iter().filter(|view| view.sessions > 0) {
                *all.entry(view.name).or_default() += view.sessions;
            }
            cursor = next;
        }
        all
    }

    pub(crate) fn mappings(&self) -> Vec<MappingView> {
        let (mut all, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = self.router.mappings(at, 64);
            all.extend(page);
            cursor = next;
        }
        all
    }

    fn enter(&mut self, port: PortId, mut bytes: Vec<u8>, step: &mut Step) {
        self.packets += 1;
        let now = self.clock.now();
        let offload = Offload::default();
        // Not of every packet: the tables of a router made for one cost more than all that it does.
        let foretold = self.packets.is_multiple_of(4).then(|| self.foretell(port, &bytes));
        let frame_before = bytes.clone();
        let mut frame = bytes.as_mut_slice();
        let (verdict, bytes) = match self.packets % 3 {
            0 => {
                let mut slots = [Slot { offset: 0, len: bytes.len(), offload, verdict: Verdict::Consumed }];
                self.router.handle_batch(now, port, FrameBatch { memory: &mut bytes, slots: &mut slots });
                let [slot] = slots;
                (slot.verdict, bytes[slot.offset..slot.offset + slot.len].to_vec())
            }
            1 => {
                let verdict = self.router.handle_frame(now, port, &mut frame, offload);
                (verdict, frame.to_vec())
            }
            _ => {
                let (verdict, _) = self.router.explain(now, port, &mut frame, offload);
                (verdict, frame.to_vec())
            }
        };
        let made: Vec<Transmit> = std::iter::from_fn(|| self.router.poll_transmit()).collect();
        let told = self.told(verdict, made.clone(), &bytes);
        // The answers of neighbours are between them and the router alone.
        let is_packet = matches!(Frame::parse(&frame_before), Some(Frame { body: Body::Ipv4(_), .. }));
        if let Some(foretold) = foretold.filter(|_| is_packet) {
            assert_eq!(foretold, told, "by the excerpt, and in truth: {frame_before:02x?} at {port:?}");
        }
        made.into_iter().for_each(|made| self.leave(made, step));
        self.drain(step);
        if let Verdict::Transmit(port) = verdict {
            self.leave(Transmit { port, bytes, offload }, step);
        }
    }

    /// What becomes of a frame, by an excerpt of the router.
    fn foretell(&self, port: PortId, bytes: &[u8]) -> Foretold {
        let now = self.clock.now();
        let excerpt = self.router.excerpt(now, self.clock.wall(), port, bytes);
        let mut router = excerpt.expect("all workers follow one plan");
        let mut bytes = bytes.to_vec();
        let mut frame = bytes.as_mut_slice();
        let (verdict, _) = router.explain(now, port, &mut frame, Offload::default());
        let made = std::iter::from_fn(|| router.poll_transmit()).collect();
        self.told(verdict, made, frame)
    }

    fn told(&self, verdict: Verdict, made: Vec<Transmit>, frame: &[u8]) -> Foretold {
        let sent = matches!(verdict, Verdict::Transmit(_)).then(|| frame.to_vec());
        if self.router.workers() > 1 {
            // Each of several workers has its own neighbours to ask before it sends the same, and its own limits of what
            // it answers.
            let is_passed = matches!(verdict, Verdict::Transmit(_) | Verdict::Consumed);
            let verdict = if is_passed { Verdict::Consumed } else { verdict };
            return Foretold { verdict, made: Vec::new(), sent: None };
        }
        Foretold { verdict, made, sent }
    }

    /// Does what is due now.
    fn settle(&mut self, step: &mut Step) {
        let now = self.clock.now();
        self.drain(step);
        while self.router.poll_timeout().is_some_and(|due| due <= now) {
            self.router.handle_timeout(now);
            self.drain(step);
        }
    }

    fn drain(&mut self, step: &mut Step) {
        while let Some(made) = self.router.poll_transmit() {
            self.leave(made, step);
        }
        while self.router.poll_event().is_some() {}
        self.router.take_nat_events().into_iter().for_each(|event| self.record.note(event));
    }

    /// A frame leaves: everybody answers ARP.
    fn leave(&mut self, made: Transmit, step: &mut Step) {
        let Transmit { port, bytes, .. } = made;
        let frame = Frame::parse(&bytes).expect("an Ethernet frame");
        assert_eq!(frame.source, router_mac(port));
        match frame.body {
            Body::Arp(arp) if arp.request && arp.sender != arp.target => {
                let mac = mac_of(arp.target);
                let answer = Frame::new(mac, arp.sender_mac, Body::Arp(arp.answer(mac)));
                self.enter(port, answer.to_bytes(), step);
            }
            Body::Arp(_) => {}
            Body::Ipv4(packet) => {
                let is_on_link = self.router.plan().wan.address.contains(&packet.destination);
                let next_hop = if port == PortId::WAN && !is_on_link { GATEWAY } else { packet.destination };
                // The TUN behind the host port has no link addresses.
                let is_right = port == PortId::HOST || frame.destination == mac_of(next_hop);
                assert!(is_right, "{packet:?} to the wrong machine");
                step.out.push((port, packet));
            }
            Body::Other { .. } => panic!("malformed: {bytes:02x?}"),
        }
    }
}

/// The address of the router in the first lan.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
