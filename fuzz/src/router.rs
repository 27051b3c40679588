//! A router in a small world, where everything may happen: packets, damage, time, plans, links.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use genkan_engine::frame::Transmit;
use genkan_engine::packet::parsed::parse_ipv4;
use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{FrameBatch, Offload, PortId, Router, RouterConfig, Slot, Timestamp, UnixTime, Verdict};

use crate::frame::{self, Packet};
use crate::invariants::World;
use crate::scenario::{Damage, PacketSpec, PortChoice, Scenario, Step, WALL};

/// More would only make a run longer.
const MAX_STEPS: usize = 200;
/// Sent frames that answers and errors are made from.
const MEMORY: usize = 16;

/// Plays a scenario; the world's rules are checked after each step.
pub fn check(data: &[u8]) {
    let Ok(scenario) = Scenario::arbitrary_take_rest(Unstructured::new(data)) else { return };
    if std::env::var_os("FUZZ_SHOW").is_some() {
        eprintln!("{:?}", scenario.setup);
        scenario.steps.iter().for_each(|step| eprintln!("{step:?}"));
    }
    let mut run = Run::new(&scenario);
    for step in scenario.steps.iter().take(MAX_STEPS) {
        run.step(step);
        run.collect();
        run.world.check(&mut run.router, run.now);
    }
    run.settle();
    run.world.check_settled(&run.router, run.now);
}

fn mac(port: PortId) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 0, port.0])
}

struct Run {
    router: Router,
    now: Timestamp,
    world: World,
    /// Frames that the router sent, youngest last.
    sent: Vec<Transmit>,
}

impl Run {
    fn new(scenario: &Scenario) -> Run {
        let plan = Arc::new(scenario.setup.plan());
        let now = Timestamp::from_secs(1);
        let config = RouterConfig::alone(plan.clone(), [7, 11]);
        let router = Router::new(config, now, UnixTime(WALL));
        let mut run = Run { router, now, world: World::new(plan), sent: Vec::new() };
        for port in [PortId::WAN, PortId::HOST, PortId::lan(0), PortId::lan(1)] {
            run.link(port, true, 1500);
        }
        run.collect();
        run
    }

    fn port(&self, choice: PortChoice) -> PortId {
        match choice {
            PortChoice::Wan => PortId::WAN,
            PortChoice::Host if self.world.plan.host_port => PortId::HOST,
            PortChoice::OtherLan if self.world.plan.lans.len() > 1 => PortId::lan(1),
            PortChoice::Host | PortChoice::Lan | PortChoice::OtherLan => PortId::lan(0),
        }
    }

    fn link(&mut self, port: PortId, up: bool, mtu: u16) {
        self.router.set_link(self.now, port, LinkState { mac: mac(port), mtu, up });
        self.world.link(port, up);
    }

    fn wall(&self) -> UnixTime {
        UnixTime(WALL + (self.now.as_nanos() / 1_000_000_000) as i64 - 1)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Packet(spec) => {
                let frame = self.frame_of(spec);
                self.inject(self.port(spec.port), frame, offload_of(spec));
            }
            Step::Answer { nth, flags, damage } => self.answer(*nth, *flags, *damage),
            Step::Error { nth, kind, code, from_router, quoted } => {
                self.error(*nth, *kind, *code, *from_router, *quoted);
            }
            Step::Fragments { packet, cuts, order, leave_out } => {
                self.fragments(packet, *cuts, *order, *leave_out);
            }
            Step::Raw { port, offload, bytes } => {
                self.inject(self.port(*port), bytes.clone(), offload.offload());
            }
            Step::Batch { port, packets } => self.batch(*port, packets),
            Step::Wait { amount, unit } => {
                let millis = u64::from(*amount) * [1, 10, 1_000, 10_000][usize::from(unit % 4)];
                self.now += Duration::from_millis(millis);
            }
            Step::Timeout => self.router.handle_timeout(self.now),
            Step::Setup(setup) => {
                let plan = Arc::new(setup.plan());
                self.world.change(plan.clone(), self.router.session_count());
                self.router.apply_plan(self.now, self.wall(), plan);
            }
            Step::Link { port, up, mtu } => self.link(self.port(*port), *up, *mtu),
            Step::Arp { port, reply, mac: last, sender, target } => {
                let port = self.port(*port);
                let from = [0x02, 9, 9, 9, 9, *last];
                let (sender, target) = (sender.address().to_bits(), target.address().to_bits());
                let bytes = frame::arp(*reply, from, sender, mac(port).0, target);
                self.inject(port, bytes, Offload::default());
            }
            Step::List { cursor, limit } => {
                let limit = u32::from(*limit);
                let (rows, next) = self.router.sessions(self.now, *cursor, limit);
                assert!(rows.len() <= limit as usize && next.is_none_or(|next| next >= *cursor));
                let (rows, next) = self.router.mappings(*cursor, limit);
                assert!(rows.len() <= limit as usize && next.is_none_or(|next| next >= *cursor));
            }
        }
    }

    fn packet_of(&self, spec: &PacketSpec) -> Packet {
        let (protocol, transport) = spec.transport();
        Packet {
            to_mac: mac(self.port(spec.port)).0,
            from_mac: [0x02, 1, 1, 1, 1, 1],
            source: spec.source.address().to_bits(),
            destination: spec.destination.address().to_bits(),
            protocol,
            ttl: spec.ttl,
            fragment_word: if spec.dont_fragment { 0x4000 } else { 0 },
            identification: 0x1234,
            transport,
        }
    }

    fn frame_of(&self, spec: &PacketSpec) -> Vec<u8> {
        let mut frame = self.packet_of(spec).frame();
        damage(&mut frame, spec.damage);
        frame
    }

    fn inject(&mut self, port: PortId, mut bytes: Vec<u8>, offload: Offload) {
        let before = bytes.clone();
        let mut frame = &mut bytes[..];
        let verdict = self.router.handle_frame(self.now, port, &mut frame, offload);
        let frame = frame.to_vec();
        self.transmitted(port, verdict, &before, frame, offload);
    }

    fn transmitted(
        &mut self,
        from: PortId,
        verdict: Verdict,
        before: &[u8],
        bytes: Vec<u8>,
        offload: Offload,
    ) {
        if let Verdict::Transmit(port) = verdict {
            let sent = Transmit { port, bytes, offload };
            self.world.check_sent(&sent, Some(from));
            self.world.check_checksum(before, &sent);
            self.remember(sent);
        }
    }

    fn batch(&mut self, port: PortChoice, packets: &[PacketSpec]) {
        let port = self.port(port);
        let (mut memory, mut slots) = (Vec::new(), Vec::new());
        for spec in packets {
            let frame = self.frame_of(spec);
            let verdict = Verdict::Consumed;
            slots.push(Slot { offset: memory.len(), len: frame.len(), offload: offload_of(spec), verdict });
            memory.extend(frame);
        }
        let (before, started) = (memory.clone(), slots.clone());
        self.router.handle_batch(self.now, port, FrameBatch { memory: &mut memory, slots: &mut slots });
        for (slot, start) in slots.iter().zip(&started) {
            let frame = memory[slot.offset..slot.offset + slot.len].to_vec();
            let before = &before[start.offset..start.offset + start.len];
            self.transmitted(port, slot.verdict, before, frame, slot.offload);
        }
    }

    /// The frame back: addresses and ports exchanged, in by the port that it went out of.
    fn answer(&mut self, nth: u8, flags: u8, change: Option<Damage>) {
        let Some(sent) = self.nth(nth) else { return };
        let mut bytes = sent.bytes.clone();
        let Ok(parsed) = parse_ipv4(&bytes) else { return };
        let l4 = usize::from(parsed.l4);
        bytes[..6].copy_from_slice(&mac(sent.port).0);
        for i in 0..4 {
            bytes.swap(26 + i, 30 + i);
        }
        bytes[22] = 64;
        match (parsed.protocol.0, bytes.len() > l4 + 13) {
            (6, true) => {
                bytes.swap(l4, l4 + 2);
                bytes.swap(l4 + 1, l4 + 3);
                bytes[l4 + 13] = flags;
            }
            (17, _) => {
                bytes.swap(l4, l4 + 2);
                bytes.swap(l4 + 1, l4 + 3);
            }
            (1, _) if bytes[l4] == 8 => bytes[l4] = 0,
            _ => {}
        }
        frame::refill_checksums(&mut bytes);
        damage(&mut bytes, change);
        self.inject(sent.port, bytes, Offload::default());
    }

    fn error(&mut self, nth: u8, kind: u8, code: u8, from_router: bool, quoted: u8) {
        let Some(sent) = self.nth(nth) else { return };
        let Ok(parsed) = parse_ipv4(&sent.bytes) else { return };
        let packet = &sent.bytes[14..parsed.end as usize];
        let mut transport = vec![[3, 11, 12, 5][usize::from(kind % 4)], code, 0, 0, 0, 0, 5, 0];
        transport.extend(&packet[..packet.len().min(20 + usize::from(quoted))]);
        let source = if from_router { 0xc633_64c8 } else { parsed.destination.to_bits() };
        let error = Packet {
            to_mac: mac(sent.port).0,
            from_mac: [0x02, 1, 1, 1, 1, 1],
            source,
            destination: parsed.source.to_bits(),
            protocol: 1,
            ttl: 64,
            fragment_word: 0,
            identification: 1,
            transport,
        };
        self.inject(sent.port, error.frame(), Offload::default());
    }

    fn fragments(&mut self, spec: &PacketSpec, cuts: [u8; 3], order: u8, leave_out: u8) {
        let whole = self.frame_of(spec);
        let Some(transport) = whole.get(34..).filter(|_| spec.damage.is_none()) else { return };
        let mut edges: Vec<usize> =
            cuts.iter().map(|&cut| (usize::from(cut) * 8).min(transport.len() & !7)).collect();
        edges.extend([0, transport.len()]);
        edges.sort_unstable();
        edges.dedup();
        let mut pieces: Vec<Vec<u8>> = edges
            .windows(2)
            .map(|edge| {
                let more = edge[1] < transport.len();
                let packet = Packet {
                    fragment_word: u16::from(more) << 13 | (edge[0] / 8) as u16,
                    transport: transport[edge[0]..edge[1]].to_vec(),
                    ..self.packet_of(spec)
                };
                packet.frame()
            })
            .collect();
        let count = pieces.len().max(1);
        pieces.rotate_left(usize::from(order) % count);
        if order >= 128 {
            pieces.reverse();
        }
        for (n, piece) in pieces.into_iter().enumerate() {
            if n != usize::from(leave_out) {
                self.inject(self.port(spec.port), piece, Offload::default());
            }
        }
    }

    fn nth(&self, nth: u8) -> Option<Transmit> {
        let count = self.sent.len();
        self.sent.get((count.wrapping_sub(1 + usize::from(nth))) % count.max(1)).cloned()
    }

    fn remember(&mut self, sent: Transmit) {
        self.sent.push(sent);
        if self.sent.len() > MEMORY {
            self.sent.remove(0);
        }
    }

    /// Takes what the router wants to send and to tell.
    fn collect(&mut self) {
        let mut count = 0;
        while let Some(sent) = self.router.poll_transmit() {
            self.world.check_sent(&sent, None);
            count += 1;
            self.remember(sent);
        }
        self.world.check_transmits(count);
        let mut events = 0;
        while self.router.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= 256, "{events} events after one step");
    }

    /// Lets everything happen that is due.
    fn settle(&mut self) {
        let mut calls = 0;
        while self.router.poll_timeout().is_some_and(|at| at <= self.now) {
            self.router.handle_timeout(self.now);
            self.collect();
            calls += 1;
            // After months without a call the ARP cache's wheel has many turns to make up for.
            assert!(calls < 20_000, "the timers never come to rest");
        }
    }
}

fn offload_of(spec: &PacketSpec) -> Offload {
    spec.offload.map(|offload| offload.offload()).unwrap_or_default()
}

fn damage(frame: &mut [u8], damage: Option<Damage>) {
    let Some(damage) = damage else { return };
    let len = frame.len().max(1);
    if let Some(octet) = frame.get_mut(usize::from(damage.at) % len) {
        *octet = damage.octet;
    }
    if damage.mended {
        frame::refill_checksums(frame);
    }
}
