//! A router without devices: packets go in and come out by hand, neighbours answer ARP at once, and the time is what
//! it is said to be.

mod packet;

use std::collections::HashMap;
use std::sync::Arc;

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

/// A router and the machines around it.
pub(crate) struct Simulation {
    router: Router,
    neighbors: Neighbors,
    now: Timestamp,
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
        let plan = Arc::new(plan);
        let lans = plan.lans.iter().enumerate().map(|(at, lan)| (PortId::lan(at), lan.mtu));
        let host = plan.host_port.then_some((PortId::HOST, u16::MAX));
        let ports: Vec<(PortId, u16)> = lans.chain(host).chain([(PortId::WAN, plan.wan.mtu)]).collect();
        let now = Timestamp::ZERO;
        let mut router = Router::new(RouterConfig::alone(plan, SEED), now, wall);
        for (port, mtu) in ports {
            router.set_link(now, port, LinkState { mac: mac_of(port), mtu, up: true });
        }
        // It has announced its addresses.
        while router.poll_transmit().is_some() {}
        Simulation { router, neighbors: Neighbors(HashMap::new()), now }
    }

    /// A packet comes in by `port`.
    pub(crate) fn send(&mut self, port: PortId, packet: &Packet) -> Outcome {
        let mut bytes = packet.to_frame(mac_of(port));
        let mut frame = bytes.as_mut_slice();
        let (verdict, steps) = self.router.explain(self.now, port, &mut frame, Offload::default());
        let mut left: Vec<(PortId, Packet)> = Vec::new();
        if let Verdict::Transmit(out) = verdict {
            left.extend(Packet::from_frame(frame).map(|packet| (out, packet)));
        }
        self.deliver(&mut left);
        Outcome { steps, verdict, left }
    }

    /// Brings what the router has to send to its neighbours, who answer its ARP requests.
    fn deliver(&mut self, left: &mut Vec<(PortId, Packet)>) {
        for _ in 0..MOST_FRAMES {
            let Some(frame) = self.router.poll_transmit() else { break };
            left.extend(Packet::from_frame(&frame.bytes).map(|packet| (frame.port, packet)));
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

/// The router's MAC address on a port.
fn mac_of(port: PortId) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, port.0])
}
