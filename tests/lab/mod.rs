//! A simulated internet around one router, which is one [`Crew`]: machines on links, virtual time, no threads and no sockets.
//!
//! A test sends packets from machines, lets time pass and looks at what reached which machine and at
//! the drop counters. The lab itself checks every frame that leaves the router (headers and checksums
//! right, source MAC address ours, no larger than the MTU, no internal address outside). When a test
//! panics, tables, counters and recent frames are printed, and a capture per port is written.

pub mod clock;
pub mod craft;
pub mod crew;
pub mod frame;
pub mod host;
pub mod link;
pub mod nat_probe;
pub mod observe;
pub mod packet;
pub mod plan;
pub mod sum;
pub mod text;
pub mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::counters::StageCounters;
use genkan_engine::frame::Transmit;
use genkan_engine::local_datagram::{LocalDatagram, LocalSend};
use genkan_engine::router::LinkState;
use genkan_engine::{
    DropReason, Event, FrameBatch, GsoKind, Offload, Plan, PortId, Slot, Timestamp, Verdict,
};

pub use clock::Clock;
pub use crew::Crew;
pub use frame::{Arp, Body, Frame};
pub use host::{Host, Received, mac_of, router_mac};
pub use link::Link;
pub use packet::{Checksum, Flags, Packet, Payload};

use host::Machine;
use link::{InFlight, Toward, UnderWay};
use trace::{Crossing, Trace};

/// The outside.
pub const WAN: PortId = PortId::WAN;
/// The lan "home", 192.168.0.0/24.
pub const LAN: PortId = PortId::lan(0);
/// The lan "guest", 192.168.1.0/24.
pub const GUEST: PortId = PortId::lan(1);

/// Secret randomness of the router of a lab, unless a test brings its own.
pub const SEED: [u64; 2] = [0x6765_6e6b_616e, 0x7465_7374_7365];

/// How the lab hands frames to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// [`Router::handle_frame`](genkan_engine::Router::handle_frame).
    Frame,
    /// [`Router::handle_batch`](genkan_engine::Router::handle_batch), one frame per batch.
    Batch,
    /// [`Router::explain`](genkan_engine::Router::explain).
    Explained,
}

/// One router and the world around it.
pub struct Lab {
    /// The router.
    pub router: Crew,
    /// Which way frames go in.
    pub door: Door,
    /// Transport checksums of frames that leave the router may be wrong: the test sends wrong ones.
    pub wrong_checksums: bool,
    /// The test sends what no machine sends (reserved bits, super-frames of the wrong protocol): of what leaves
    /// the router only the IP header is judged.
    pub strange_input: bool,
    /// What was asked about the last frame that went in by [`Door::Explained`].
    pub steps: Vec<genkan_engine::trail::Step>,
    plan: Arc<Plan>,
    clock: Clock,
    links: BTreeMap<PortId, Link>,
    link_states: BTreeMap<PortId, LinkState>,
    flight: InFlight,
    machines: BTreeMap<Host, Machine>,
    trace: Trace,
    events: Vec<Event>,
    arps: VecDeque<(PortId, Arp)>,
    lost: Vec<(PortId, Frame)>,
    verdicts: VecDeque<Verdict>,
    seen_drops: [u64; DropReason::COUNT],
    seen_stages: StageCounters,
}

impl Lab {
    /// A lab around a router with this plan; all links are up and announced.
    pub fn new(plan: Plan) -> Lab {
        Lab::seeded(plan, SEED)
    }

    /// A lab around [`plan::home`] with changes.
    pub fn with(change: impl FnOnce(&mut Plan)) -> Lab {
        let mut plan = plan::home();
        change(&mut plan);
        Lab::new(plan)
    }

    /// A lab whose router has this seed.
    pub fn seeded(plan: Plan, seed: [u64; 2]) -> Lab {
        let (plan, clock) = (Arc::new(plan), Clock::default());
        let mut lab = Lab {
            router: Crew::new(plan.clone(), seed, clock.now(), clock.wall()),
            door: Door::Frame,
            steps: Vec::new(),
            wrong_checksums: false,
            strange_input: false,
            plan,
            clock,
            links: BTreeMap::new(),
            link_states: BTreeMap::new(),
            flight: InFlight::default(),
            machines: BTreeMap::new(),
            trace: Trace::default(),
            events: Vec::new(),
            arps: VecDeque::new(),
            lost: Vec::new(),
            verdicts: VecDeque::new(),
            seen_drops: [0; DropReason::COUNT],
            seen_stages: StageCounters::default(),
        };
        let lans = (0..lab.plan.lans.len()).map(PortId::lan);
        let ports: Vec<PortId> =
            [WAN].into_iter().chain(lab.plan.host_port.then_some(PortId::HOST)).chain(lans).collect();
        for port in ports {
            lab.links.insert(port, Link::new(SEED[0] ^ u64::from(port.0)));
            lab.set_link(port, LinkState { mac: router_mac(port), mtu: 1500, up: true });
        }
        if let Some(gateway) = lab.plan.wan.gateway {
            lab.machines.insert(Host { port: WAN, address: gateway }, Machine::new(mac_of(gateway), false));
        }
        for next_hop in lab.plan.wan.routes.iter().filter_map(|route| route.via) {
            let host = Host { port: WAN, address: next_hop };
            lab.machines.insert(host, Machine::new(mac_of(next_hop), false));
        }
        for route in lab.plan.routes.clone() {
            if let Some(index) = lab.plan.lans.iter().position(|lan| lan.address.contains(&route.via)) {
                let via = Host { port: PortId::lan(index), address: route.via };
                lab.machines.insert(via, Machine::new(mac_of(route.via), false));
            }
        }
        lab.arps.clear();
        lab
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives the router a changed plan, as a reload does.
    pub fn change(&mut self, change: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::clone(&self.plan);
        change(&mut plan);
        self.plan = Arc::new(plan);
        self.router.apply_plan(self.clock.now(), self.clock.wall(), self.plan.clone());
        self.drain();
        self.drive();
    }

    /// Tells the router the state of a link.
    pub fn set_link(&mut self, port: PortId, state: LinkState) {
        self.link_states.insert(port, state);
        self.router.set_link(self.clock.now(), port, state);
        self.drain();
        self.drive();
    }

    /// The link of a port, to make it slow or lossy.
    pub fn link(&mut self, port: PortId) -> &mut Link {
        self.links.get_mut(&port).expect("a port of the plan")
    }

    /// A machine with this address on the side of `port`: on the link itself, or behind the gateway or
    /// the plan's route to it.
    pub fn host(&mut self, port: PortId, address: &str) -> Host {
        let host = Host { port, address: address.parse().expect("an address") };
        let machine = self.machine_where_the_plan_says(host);
        self.machines.entry(host).or_insert(machine);
        host
    }

    /// Puts a machine where the plan of now says that it is; what it has received is gone.
    pub fn move_host(&mut self, host: Host) {
        let machine = self.machine_where_the_plan_says(host);
        self.machines.insert(host, machine);
    }

    fn machine_where_the_plan_says(&self, host: Host) -> Machine {
        let via = match host.port {
            WAN if !self.plan.wan.address.contains(&host.address) => {
                let routes = self.plan.wan.routes.iter().filter(|route| route.to.contains(&host.address));
                let best = routes.max_by_key(|route| route.to.prefix_len());
                best.map_or(self.plan.wan.gateway, |route| route.via)
            }
            port => port
                .lan_index()
                .filter(|&index| !self.plan.lans[index].address.contains(&host.address))
                .and_then(|_| {
                    self.plan
                        .routes
                        .iter()
                        .find(|route| route.to.contains(&host.address))
                        .map(|route| route.via)
                }),
        };
        Machine::new(mac_of(via.unwrap_or(host.address)), via.is_some())
    }

    /// A machine on the lan "home".
    pub fn lan_host(&mut self, address: &str) -> Host {
        self.host(LAN, address)
    }

    /// A machine outside.
    pub fn wan_host(&mut self, address: &str) -> Host {
        self.host(WAN, address)
    }

    fn machine(&mut self, host: Host) -> &mut Machine {
        self.machines.get_mut(&host).expect("a machine of this lab")
    }

    /// Lets a machine answer ARP, or not.
    pub fn answer_arp(&mut self, host: Host, answers: bool) {
        self.machine(host).answers_arp = answers;
    }

    /// Lets a machine answer pings, or not (they do not at first: tests look at requests).
    pub fn answer_pings(&mut self, host: Host, answers: bool) {
        self.machine(host).echoes = answers;
    }

    /// The monotonic time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Sends a packet from a machine and lets everything happen that follows at once.
    pub fn send(&mut self, host: Host, packet: Packet) {
        self.send_offloaded(host, packet, Offload::default());
    }

    /// [`Lab::send`] of a frame that leaves work to a device.
    pub fn send_offloaded(&mut self, host: Host, packet: Packet, offload: Offload) {
        let source = self.machine(host).link_mac;
        let frame = Frame::new(source, router_mac(host.port), Body::Ipv4(packet));
        self.send_bytes(host.port, frame.to_bytes(), offload);
    }

    /// What has come in for the router's own services.
    pub fn hear(&mut self) -> Vec<LocalDatagram> {
        std::iter::from_fn(|| self.router.poll_local_datagram()).collect()
    }

    /// Lets a service of the router's own say something.
    ///
    /// # Errors
    /// Why nothing was sent.
    pub fn say(&mut self, datagram: &LocalSend) -> Result<(), DropReason> {
        let sent = self.router.send_local_datagram(self.clock.now(), datagram);
        self.drain();
        self.drive();
        sent
    }

    /// Sends a frame of any kind toward a port.
    pub fn send_frame(&mut self, port: PortId, frame: &Frame) {
        self.send_bytes(port, frame.to_bytes(), Offload::default());
    }

    /// Sends any octets toward a port.
    pub fn send_bytes(&mut self, port: PortId, bytes: Vec<u8>, offload: Offload) {
        let now = self.clock.now();
        let at = self.links.get_mut(&port).expect("a port of the plan").carry(now);
        if let Some(at) = at {
            self.flight.push(at, UnderWay { toward: Toward::Router(port), bytes, offload });
        }
        self.drive();
    }

    /// Runs until no frame is under way, moving the clock as far as the frames need.
    pub fn drive(&mut self) {
        while let Some(at) = self.flight.next_arrival() {
            self.run_to(at);
        }
    }

    /// Lets time pass, with everything that happens meanwhile.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        self.run_to(end);
        self.drive();
    }

    /// Does the next thing that is due by `end`; false when nothing is.
    pub fn step(&mut self, end: Timestamp) -> bool {
        let due = |at: &Timestamp| *at <= end;
        let timeout = self.router.poll_timeout().filter(due);
        let arrival = self.flight.next_arrival().filter(due);
        match (timeout, arrival) {
            (Some(timeout), arrival) if arrival.is_none_or(|arrival| timeout < arrival) => {
                self.clock.advance_to(timeout);
                self.router.handle_timeout(self.clock.now());
                self.drain();
                true
            }
            (_, Some(arrival)) => {
                self.clock.advance_to(arrival);
                let frame = self.flight.pop(self.clock.now()).expect("one that has arrived");
                match frame.toward {
                    Toward::Router(port) => self.enter_router(port, frame.bytes, frame.offload),
                    Toward::Hosts(port) => self.reach_hosts(port, &frame.bytes, frame.offload),
                }
                true
            }
            _ => false,
        }
    }

    fn run_to(&mut self, end: Timestamp) {
        let (mut at, mut steps) = (self.clock.now(), 0u32);
        while self.step(end) {
            steps = if self.clock.now() == at { steps + 1 } else { 0 };
            at = self.clock.now();
            assert!(steps < 1_000_000, "the lab does not come to rest: poll_timeout stays at {at:?}");
        }
        self.clock.advance_to(end);
    }

    fn enter_router(&mut self, port: PortId, bytes: Vec<u8>, offload: Offload) {
        let (now, arrived) = (self.clock.now(), bytes.clone());
        let (verdict, bytes, offload) = self.judge(now, port, bytes, offload);
        self.verdicts.push_back(verdict);
        let at = self.clock.elapsed();
        self.trace.push(Crossing { at, port, verdict: Some(verdict), bytes: arrived });
        if let Verdict::Transmit(out) = verdict {
            self.leave_router(Transmit { port: out, bytes, offload });
        }
        self.drain();
    }

    /// One frame through the chosen door: the verdict, and the frame as the router left it.
    fn judge(
        &mut self,
        now: Timestamp,
        port: PortId,
        mut bytes: Vec<u8>,
        offload: Offload,
    ) -> (Verdict, Vec<u8>, Offload) {
        match self.door {
            Door::Frame => {
                let mut frame = bytes.as_mut_slice();
                let verdict = self.router.handle_frame(now, port, &mut frame, offload);
                let frame = frame.to_vec();
                (verdict, frame, offload)
            }
            Door::Batch => {
                // Not at the start of the memory area, so that a forgotten offset shows.
                let mut memory = [&[0xee; 6][..], &bytes, &[0xee; 6][..]].concat();
                let mut slots = [Slot { offset: 6, len: bytes.len(), offload, verdict: Verdict::Consumed }];
                self.router.handle_batch(now, port, FrameBatch { memory: &mut memory, slots: &mut slots });
                let [slot] = slots;
                assert_eq!((&memory[..6], &memory[6 + bytes.len()..]), (&[0xee; 6][..], &[0xee; 6][..]));
                bytes = memory[slot.offset..slot.offset + slot.len].to_vec();
                (slot.verdict, bytes, slot.offload)
            }
            Door::Explained => {
                let mut frame = bytes.as_mut_slice();
                let (verdict, steps) = self.router.explain(now, port, &mut frame, offload);
                self.steps = steps;
                let frame = frame.to_vec();
                (verdict, frame, offload)
            }
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.router.poll_transmit() {
            self.leave_router(transmit);
        }
        while let Some(event) = self.router.poll_event() {
            self.events.push(event);
        }
    }

    fn leave_router(&mut self, transmit: Transmit) {
        let Transmit { port, bytes, offload } = transmit;
        let crossing = Crossing { at: self.clock.elapsed(), port, verdict: None, bytes: bytes.clone() };
        self.trace.push(crossing);
        self.check_output(port, &bytes, offload);
        let at = self.links.get_mut(&port).expect("the router sends on its ports").carry(self.clock.now());
        if let Some(at) = at {
            self.flight.push(at, UnderWay { toward: Toward::Hosts(port), bytes, offload });
        }
    }

    /// What every frame of every test must keep to.
    fn check_output(&self, port: PortId, bytes: &[u8], offload: Offload) {
        let frame = Frame::parse(bytes).expect("an Ethernet frame");
        let line = text::frame(&frame, port);
        let state = self.link_states[&port];
        assert!(state.up, "sent on a port that is down: {line}");
        assert_eq!(frame.source, state.mac, "not the router's MAC address: {line}");
        assert_eq!(frame.padding, 0, "link padding was forwarded: {line}");
        match &frame.body {
            Body::Arp(_) => assert!(port != PortId::HOST, "ARP toward the box itself: {line}"),
            Body::Other { ethertype: 0x0800, bytes } if self.strange_input => {
                let (header, _) = etherparse::Ipv4Header::from_slice(bytes).expect("an IPv4 header");
                assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum: {line}");
            }
            Body::Other { .. } => panic!("malformed or unknown: {line}"),
            Body::Ipv4(packet) => {
                let to_everybody = packet.destination.is_broadcast();
                assert!(
                    !frame.destination.is_multicast() || to_everybody,
                    "unicast to a group address: {line}"
                );
                // RFC 1122 §3.2.1.7: a host takes what has reached it, with whatever TTL.
                assert!(packet.ttl > 0 || port == PortId::HOST, "TTL 0: {line}");
                let checksum_ok = match packet.checksum() {
                    Checksum::Right | Checksum::None => true,
                    Checksum::Partial => offload.partial_checksum || self.wrong_checksums,
                    Checksum::Off(_) => self.wrong_checksums,
                };
                assert!(checksum_ok, "wrong checksum: {line}");
                if offload.gso == GsoKind::None {
                    let mtu = self.mtu(port);
                    assert!(
                        bytes.len() <= 14 + usize::from(mtu),
                        "{} octets over MTU {mtu}: {line}",
                        bytes.len()
                    );
                }
                if port == WAN {
                    let ours = self.plan.wan.external_addresses().any(|address| address == packet.source);
                    // A DHCP client without an address.
                    let has_none = packet.source.is_unspecified() && to_everybody;
                    assert!(ours || has_none, "an address that is not external leaves: {line}");
                }
            }
        }
    }

    fn mtu(&self, port: PortId) -> u16 {
        let planned = match port {
            WAN => self.plan.wan.mtu,
            _ => port.lan_index().map_or(u16::MAX, |index| self.plan.lans[index].mtu),
        };
        planned.min(self.link_states[&port].mtu)
    }

    fn reach_hosts(&mut self, port: PortId, bytes: &[u8], offload: Offload) {
        let frame = Frame::parse(bytes).expect("checked when it left the router");
        match &frame.body {
            Body::Arp(arp) => {
                self.arps.push_back((port, *arp));
                let owner = Host { port, address: arp.target };
                let answers = self.machines.get(&owner).is_some_and(|machine| machine.answers_arp);
                if arp.request && arp.sender != arp.target && answers {
                    let mac = self.machines[&owner].link_mac;
                    let answer = Frame::new(mac, arp.sender_mac, Body::Arp(arp.answer(mac)));
                    self.send_from_hosts(port, answer.to_bytes());
                }
            }
            Body::Ipv4(packet) => {
                let host = Host { port, address: packet.destination };
                let (now, packet) = (self.clock.now(), packet.clone());
                match self.machines.get_mut(&host) {
                    Some(machine) if machine.link_mac == frame.destination || port == PortId::HOST => {
                        let answer = machine.take(Received { at: now, packet, offload });
                        let mac = machine.link_mac;
                        if let Some(answer) = answer {
                            let frame = Frame::new(mac, router_mac(port), Body::Ipv4(answer));
                            self.send_from_hosts(port, frame.to_bytes());
                        }
                    }
                    _ => self.lost.push((port, frame)),
                }
            }
            Body::Other { .. } => self.lost.push((port, frame)),
        }
    }

    fn send_from_hosts(&mut self, port: PortId, bytes: Vec<u8>) {
        let now = self.clock.now();
        let at = self.links.get_mut(&port).expect("a port of the plan").carry(now);
        if let Some(at) = at {
            let toward = Toward::Router(port);
            self.flight.push(at, UnderWay { toward, bytes, offload: Offload::default() });
        }
    }
}
