//! The router of a case, with nobody around it: every answer is a line of the case.

use std::sync::Arc;
use std::time::Duration;

use genkan_engine::frame::Transmit;
use genkan_engine::router::LinkState;
use genkan_engine::{Counters, FrameBatch, Offload, Plan, PortId, Router, RouterConfig, Slot, Verdict};
use genkan_tests::lab::trace::{Crossing, Trace, port_name};
use genkan_tests::lab::{Clock, SEED, router_mac, text};

use super::case::offload_text;

/// How frames go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// One by one, by `handle_frame`.
    Frame,
    /// By `handle_batch`.
    Batch,
}

/// A frame and what its sender left to the device.
pub(crate) type Arrival = (Vec<u8>, Offload);

/// A router and what it did since somebody asked.
pub(crate) struct World {
    router: Router,
    plan: Arc<Plan>,
    clock: Clock,
    door: Door,
    output: Vec<String>,
    trace: Trace,
    /// Since when time passes, during a wait.
    waiting_since: Option<Duration>,
}

impl World {
    /// A router whose links are all down.
    pub(crate) fn new(plan: Arc<Plan>, door: Door) -> World {
        let clock = Clock::default();
        let config = RouterConfig { plan: plan.clone(), seed: SEED };
        World {
            router: Router::new(config, clock.now(), clock.wall()),
            plan,
            clock,
            door,
            output: Vec::new(),
            trace: Trace::default(),
            waiting_since: None,
        }
    }

    /// Brings a link up, or all.
    pub(crate) fn up(&mut self, port: Option<PortId>, mtu: u16) {
        let ports: Vec<PortId> = match port {
            Some(port) => vec![port],
            None => [PortId::WAN]
                .into_iter()
                .chain(self.plan.host_port.then_some(PortId::HOST))
                .chain((0..self.plan.lans.len()).map(PortId::lan))
                .collect(),
        };
        for port in ports {
            self.router.set_link(self.clock.now(), port, LinkState { mac: router_mac(port), mtu, up: true });
        }
        self.drain();
    }

    /// Takes a link down.
    pub(crate) fn down(&mut self, port: PortId) {
        self.router.set_link(
            self.clock.now(),
            port,
            LinkState { mac: router_mac(port), mtu: 1500, up: false },
        );
        self.drain();
    }

    /// Gives the router a new plan.
    pub(crate) fn reload(&mut self, plan: Arc<Plan>) {
        self.plan = plan;
        self.router.apply_plan(self.clock.now(), self.clock.wall(), self.plan.clone());
        self.drain();
    }

    /// Lets time pass, calling the router when it wants to be called.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        self.waiting_since = Some(self.clock.elapsed());
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            self.clock.advance_to(due);
            self.router.handle_timeout(self.clock.now());
            self.drain();
        }
        self.clock.advance_to(end);
        self.waiting_since = None;
    }

    /// Frames that arrive at the same moment.
    pub(crate) fn frames(&mut self, port: PortId, frames: &[Arrival]) {
        match self.door {
            Door::Frame => {
                for (bytes, offload) in frames {
                    let mut copy = bytes.clone();
                    let mut frame = copy.as_mut_slice();
                    let verdict = self.router.handle_frame(self.clock.now(), port, &mut frame, *offload);
                    let judged = frame.to_vec();
                    self.judged(port, bytes, verdict, judged, *offload);
                }
            }
            Door::Batch => {
                let mut memory: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
                let mut offset = 0;
                let mut slots: Vec<Slot> = Vec::new();
                for (bytes, offload) in frames {
                    slots.push(Slot {
                        offset,
                        len: bytes.len(),
                        offload: *offload,
                        verdict: Verdict::Consumed,
                    });
                    offset += bytes.len();
                }
                let batch = FrameBatch { memory: &mut memory, slots: &mut slots };
                self.router.handle_batch(self.clock.now(), port, batch);
                for ((bytes, _), slot) in frames.iter().zip(&slots) {
                    let judged = memory[slot.offset..slot.offset + slot.len].to_vec();
                    self.judged(port, bytes, slot.verdict, judged, slot.offload);
                }
            }
        }
        self.drain();
    }

    fn judged(&mut self, port: PortId, arrived: &[u8], verdict: Verdict, judged: Vec<u8>, offload: Offload) {
        let at = self.clock.elapsed();
        self.trace.push(Crossing { at, port, verdict: Some(verdict), bytes: arrived.to_vec() });
        match verdict {
            Verdict::Transmit(port) => self.left(Transmit { port, bytes: judged, offload }),
            Verdict::Drop(reason) => self.output.push(format!("drop {}", reason.name())),
            Verdict::Consumed => {}
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.router.poll_transmit() {
            self.left(transmit);
        }
        while let Some(event) = self.router.poll_event() {
            let line = format!("{}event {event:?}", self.time());
            self.output.push(line);
        }
    }

    fn left(&mut self, transmit: Transmit) {
        let Transmit { port, bytes, offload } = transmit;
        let line = format!(
            "{}{} < {}{}",
            self.time(),
            port_name(port),
            offload_text(&offload),
            text::bytes(&bytes, port)
        );
        self.output.push(line);
        self.trace.push(Crossing { at: self.clock.elapsed(), port, verdict: None, bytes });
    }

    /// `+1.5s `, during a wait.
    fn time(&self) -> String {
        let since = self.waiting_since.map(|since| (self.clock.elapsed() - since).as_secs_f64());
        since.map_or_else(String::new, |since| format!("+{since}s "))
    }

    /// What happened since the last call, as lines.
    pub(crate) fn take_output(&mut self) -> Vec<String> {
        std::mem::take(&mut self.output)
    }

    /// All counters.
    pub(crate) fn counters(&self) -> Counters {
        self.router.counters()
    }

    /// Everything that crossed a port.
    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }
}
