//! A router without devices: packets go in and come out by hand, neighbours answer ARP at once, and the time is what
//! it is said to be.

mod packet;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::router::LinkState;
use genkan_engine::trail::Step;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Offload, Plan, PortId, Router, RouterConfig, Timestamp, UnixTime, Verdict};

use crate::replay::Neighbors;

pub(crate) use self::packet::{Packet, Transport};

/// Fixed: the same question has the same answer.
pub(crate) const SEED: [u64; 2] = [0x6765_6e6b_616e_0001, 0x7369_6d75_6c61_7465];

/// Frames that may follow from one packet; a router that makes more of them is stuck.
const MOST_FRAMES: usize = 1_000;

/// Sessions that there is room for where nobody says how many are needed. Tables are sized at the start, and those of
/// a real router take longer to make than anything that is done with them here.
const ROOM: u32 = 64;

/// Portions of time that may follow each other at one moment; a router that wants more is stuck.
const MOST_TIMEOUTS: usize = 1_000_000;

/// A router and the machines around it.
pub(crate) struct Simulation {
    router: Router,
    neighbors: Neighbors,
    now: Timestamp,
    /// Most sessions that will be needed.
    room: u32,
    record: Option<Vec<Record>>,
}

/// A frame at a port of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// When.
    pub(crate) time: Timestamp,
    /// Which port.
    pub(crate) port: PortId,
    /// Which packet that came in it is, or belongs to.
    pub(crate) id: u64,
    /// What became of it, for one that came in; `None` for one that left.
    pub(crate) verdict: Option<Verdict>,
    /// From the Ethernet header on.
    pub(crate) octets: Vec<u8>,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the router asked itself.
    pub(crate) steps: Vec<Step>,
    /// What it decided. A packet that had to wait for ARP is `Consumed`, and among those that left.
    pub(crate) verdict: Verdict,
    /// What left because of it, in order.
    pub(crate) left: Vec<(PortId, Packet)>,
}

impl Simulation {
    /// A router that follows `plan`, without sessions, all its links up, at the wall time `wall`.
    pub(crate) fn new(plan: Plan, wall: UnixTime) -> Simulation {
        Simulation::with_room(plan, wall, ROOM)
    }

    /// The same, for at most so many sessions.
    pub(crate) fn with_room(mut plan: Plan, wall: UnixTime, room: u32) -> Simulation {
        plan.nat.max_sessions = plan.nat.max_sessions.min(room);
        let plan = Arc::new(plan);
        let now = Timestamp::ZERO;
        let router = Router::new(RouterConfig::alone(plan, SEED), now, wall);
        let mut simulation =
            Simulation { router, neighbors: Neighbors(HashMap::new()), now, room, record: None };
        simulation.bring_links_up();
        simulation
    }

    /// All links of the plan in force.
    fn bring_links_up(&mut self) {
        let plan = Arc::clone(self.router.plan());
        let lans = plan.lans.iter().enumerate().map(|(at, lan)| (PortId::lan(at), lan.mtu));
        let host = plan.host_port.then_some((PortId::HOST, u16::MAX));
        for (port, mtu) in lans.chain(host).chain([(PortId::WAN, plan.wan.mtu)]) {
            self.router.set_link(self.now, port, LinkState { mac: mac_of(port), mtu, up: true });
        }
        // It has announced its addresses.
        while self.router.poll_transmit().is_some() {}
    }

    /// From now on the frames are kept.
    pub(crate) fn keep_frames(&mut self) {
        self.record = Some(Vec::new());
    }

    /// The frames that were kept, in their order.
    pub(crate) fn frames(&self) -> &[Record] {
        self.record.as_deref().unwrap_or_default()
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Time passes, and with it what nobody uses.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MOST_TIMEOUTS {
            let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.deliver(&mut Vec::new());
        }
        self.now = end;
    }

    /// The router is told other rules, at the wall time `wall`.
    pub(crate) fn apply_plan(&mut self, mut plan: Plan, wall: UnixTime) {
        plan.nat.max_sessions = plan.nat.max_sessions.min(self.room);
        self.router.apply_plan(self.now, wall, Arc::new(plan));
        self.bring_links_up();
        self.deliver(&mut Vec::new());
        // What the change ends, it ends by and by.
        self.pass(Duration::ZERO);
    }

    /// A packet comes in by `port`.
    pub(crate) fn send(&mut self, port: PortId, packet: &Packet) -> Outcome {
        let mut bytes = packet.to_frame(mac_of(port));
        let before = self.record.is_some().then(|| bytes.clone());
        let mut frame = bytes.as_mut_slice();
        let (verdict, steps) = self.router.explain(self.now, port, &mut frame, Offload::default());
        if let Some(octets) = before {
            self.keep(port, Some(verdict), &octets);
        }
        let mut left: Vec<(PortId, Packet)> = Vec::new();
        if let Verdict::Transmit(out) = verdict {
            left.extend(Packet::from_frame(frame).map(|packet| (out, packet)));
            let octets = frame.to_vec();
            self.keep(out, None, &octets);
        }
        self.deliver(&mut left);
        Outcome { steps, verdict, left }
    }

    /// Brings what the router has to send to its neighbours, who answer its ARP requests.
    fn deliver(&mut self, left: &mut Vec<(PortId, Packet)>) {
        for _ in 0..MOST_FRAMES {
            let Some(frame) = self.router.poll_transmit() else { break };
            let packet = Packet::from_frame(&frame.bytes);
            if packet.is_some() {
                self.keep(frame.port, None, &frame.bytes);
            }
            left.extend(packet.map(|packet| (frame.port, packet)));
            if let Some(mut answer) = self.neighbors.answer(frame.port, &frame.bytes) {
                self.router.handle_frame(
                    self.now,
                    frame.port,
                    &mut answer.as_mut_slice(),
                    Offload::default(),
                );
            }
        }
    }
}

impl Simulation {
    /// A frame that comes in begins a packet; those that leave belong to the last one that came in.
    fn keep(&mut self, port: PortId, verdict: Option<Verdict>, octets: &[u8]) {
        let time = self.now;
        let Some(record) = &mut self.record else { return };
        let id = record.last().map_or(0, |last| last.id) + u64::from(verdict.is_some());
        record.push(Record { time, port, id, verdict, octets: octets.to_vec() });
    }
}

/// The router's MAC address on a port.
fn mac_of(port: PortId) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, port.0])
}
