//! Routers that act as one: as many workers as asked for, steered as badly as can be.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;

use genkan_engine::frame::Transmit;
use genkan_engine::local_datagram::{LocalDatagram, LocalSend, Service};
use genkan_engine::nat::event_log::{Detail, NatEvent};
use genkan_engine::router::LinkState;
use genkan_engine::trail::Step;
use genkan_engine::view::{ForwardView, MappingView, NeighborView, SessionView};
use genkan_engine::{
    Counters, DropReason, Event, FrameBatch, HandOver, Offload, Plan, PortId, Router, RouterConfig, Slot,
    Stage, Team, Timestamp, UnixTime, Verdict, WorkerId,
};

/// How many workers the labs of this test run have, by the environment.
pub const WORKERS: &str = "GENKAN_WORKERS";

/// Bits of a cursor that are a worker's own.
const CURSOR_BITS: u32 = 25;

/// Hand-overs that one frame may cause.
const MOST_HOPS: u32 = 4;

/// How many workers the environment asks for; one if it says nothing.
///
/// # Panics
/// When it names no number from 1 to 64.
pub fn workers() -> u8 {
    std::env::var(WORKERS).map_or(1, |text| {
        let workers = text.parse().ok().filter(|workers| (1..=WorkerId::MAX).contains(workers));
        workers.unwrap_or_else(|| panic!("{WORKERS}={text}: a number from 1 to 64"))
    })
}

/// The workers of one router. Every frame goes to one that is drawn by lot, whoever's it is; hand-overs arrive at
/// once and in order. With one worker it is that router and nothing else.
pub struct Crew {
    routers: Vec<Router>,
    /// State of the lot.
    lot: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// What was told at this moment, and by whom: who else tells it is not heard.
    told: Vec<(Timestamp, usize, Event)>,
    now: Timestamp,
}

impl Crew {
    /// As many workers as [`workers`] says.
    pub fn new(plan: Arc<Plan>, seed: [u64; 2], now: Timestamp, wall: UnixTime) -> Crew {
        let seed_of = |worker: u8| [seed[0].wrapping_add(u64::from(worker)), seed[1]];
        Crew::made(workers(), plan, seed, seed_of, now, wall)
    }

    /// As [`Crew::new`], but all choose at random as the only worker would.
    pub fn alike(plan: Arc<Plan>, seed: [u64; 2], now: Timestamp, wall: UnixTime) -> Crew {
        Crew::made(workers(), plan, seed, |_| seed, now, wall)
    }

    fn made(
        workers: u8,
        plan: Arc<Plan>,
        seed: [u64; 2],
        seed_of: impl Fn(u8) -> [u64; 2],
        now: Timestamp,
        wall: UnixTime,
    ) -> Crew {
        let team = Team::new(workers, seed);
        let router = |worker| {
            let seed = seed_of(worker);
            let config =
                RouterConfig { plan: plan.clone(), seed, team: team.clone(), worker: WorkerId(worker) };
            Router::new(config, now, wall)
        };
        Crew {
            routers: (0..workers).map(router).collect(),
            lot: seed[1],
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            told: Vec::new(),
            now,
        }
    }

    /// How many.
    pub fn workers(&self) -> u64 {
        self.routers.len() as u64
    }

    /// Each of them.
    pub fn routers(&mut self) -> &mut [Router] {
        &mut self.routers
    }

    fn draw(&mut self) -> usize {
        self.lot = self.lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.lot >> 33) as usize % self.routers.len()
    }

    /// [`Router::apply_plan`] of all.
    pub fn apply_plan(&mut self, now: Timestamp, wall: UnixTime, plan: Arc<Plan>) {
        self.now = now;
        for at in 0..self.routers.len() {
            self.routers[at].apply_plan(now, wall, plan.clone());
            self.collect(at);
        }
    }

    /// [`Router::set_link`] of all.
    pub fn set_link(&mut self, now: Timestamp, port: PortId, link: LinkState) {
        self.now = now;
        for at in 0..self.routers.len() {
            self.routers[at].set_link(now, port, link);
            self.collect(at);
        }
    }

    /// [`Router::handle_frame`] of whom it reaches, and of all it is handed over to.
    pub fn handle_frame(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: Offload,
    ) -> Verdict {
        self.now = now;
        let at = self.draw();
        let verdict = self.routers[at].handle_frame(now, port, frame, offload);
        self.collect(at);
        let memory = std::mem::take(frame);
        let mut slot = Slot { offset: 0, len: memory.len(), offload, verdict };
        self.pass_on(port, memory, &mut slot);
        *frame = &mut memory[slot.offset..slot.offset + slot.len];
        slot.verdict
    }

    /// [`Router::explain`] of whom it reaches; others that it is handed over to explain nothing.
    pub fn explain(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: Offload,
    ) -> (Verdict, Vec<Step>) {
        self.now = now;
        let at = self.draw();
        let (verdict, steps) = self.routers[at].explain(now, port, frame, offload);
        self.collect(at);
        let memory = std::mem::take(frame);
        let mut slot = Slot { offset: 0, len: memory.len(), offload, verdict };
        self.pass_on(port, memory, &mut slot);
        *frame = &mut memory[slot.offset..slot.offset + slot.len];
        (slot.verdict, steps)
    }

    /// A router for one frame, of what all have read out for it.
    pub fn excerpt(&self, now: Timestamp, wall: UnixTime, port: PortId, frame: &[u8]) -> Option<Router> {
        let taken = |from: &[SocketAddrV4]| -> Vec<_> {
            self.routers.iter().map(|router| router.excerpt(now, port, frame, from)).collect()
        };
        let mut excerpts = taken(&[]);
        if self.routers.len() > 1 {
            let from: Vec<_> =
                excerpts.iter().flat_map(|excerpt| excerpt.turns_round_from()).copied().collect();
            excerpts = taken(&from);
        }
        Router::of_excerpts(now, wall, excerpts)
    }

    /// [`Router::handle_batch`], every frame of it somewhere else.
    pub fn handle_batch(&mut self, now: Timestamp, port: PortId, batch: FrameBatch<'_>) {
        self.now = now;
        let FrameBatch { memory, slots } = batch;
        if self.routers.len() == 1 {
            self.routers[0].handle_batch(now, port, FrameBatch { memory, slots });
            return self.collect(0);
        }
        for slot in slots {
            let at = self.draw();
            self.routers[at].handle_batch(
                now,
                port,
                FrameBatch { memory: &mut *memory, slots: std::slice::from_mut(&mut *slot) },
            );
            self.collect(at);
            self.pass_on(port, memory, slot);
        }
    }

    /// Brings a frame to the workers it is handed over to.
    fn pass_on(&mut self, port: PortId, memory: &mut [u8], slot: &mut Slot) {
        let mut hops = 0;
        while let Verdict::HandOver(to, stage) = slot.verdict {
            hops += 1;
            assert!(hops <= MOST_HOPS, "handed over again and again: {stage:?}");
            self.take(to, port, stage, memory, slot);
        }
    }

    fn take(&mut self, to: WorkerId, port: PortId, stage: Stage, memory: &mut [u8], slot: &mut Slot) {
        let batch = FrameBatch { memory, slots: std::slice::from_mut(slot) };
        self.routers[to.index()].handle_handed_over(self.now, port, stage, batch);
        self.collect(to.index());
    }

    /// Takes what a worker made and brings it where it belongs.
    fn collect(&mut self, at: usize) {
        while let Some(event) = self.routers[at].poll_event() {
            self.hear(at, event);
        }
        while let Some(transmit) = self.routers[at].poll_transmit() {
            self.transmits.push_back(transmit);
        }
        while let Some(HandOver { to, stage, port, mut bytes, offload }) = self.routers[at].poll_hand_over() {
            assert_ne!(to.index(), at, "handed over to itself");
            let mut slot =
                Slot { offset: 0, len: bytes.len(), offload, verdict: Verdict::HandOver(to, stage) };
            self.pass_on(port, &mut bytes, &mut slot);
            if let Verdict::Transmit(port) = slot.verdict {
                let bytes = bytes[slot.offset..slot.offset + slot.len].to_vec();
                self.transmits.push_back(Transmit { port, bytes, offload: slot.offload });
            }
        }
    }

    fn hear(&mut self, at: usize, event: Event) {
        let now = self.now;
        self.told.retain(|(when, _, _)| *when == now);
        if !self.told.iter().any(|(_, by, told)| *by != at && *told == event) {
            self.told.push((now, at, event.clone()));
            self.events.push_back(event);
        }
    }

    /// [`Router::handle_timeout`] of those that have something to do.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
        for at in 0..self.routers.len() {
            if self.routers[at].poll_timeout().is_some_and(|due| due <= now) {
                self.routers[at].handle_timeout(now);
                self.collect(at);
            }
        }
    }

    /// The first [`Router::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.routers.iter().filter_map(Router::poll_timeout).min()
    }

    /// [`Router::poll_transmit`] of all.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// [`Router::poll_local_datagram`] of all.
    pub fn poll_local_datagram(&mut self) -> Option<LocalDatagram> {
        let polled = |router: &mut Router| {
            Service::ALL.into_iter().find_map(|service| router.poll_local_datagram(service))
        };
        self.routers.iter_mut().find_map(polled)
    }

    /// [`Router::send_local_datagram`] of the first.
    pub fn send_local_datagram(&mut self, now: Timestamp, datagram: &LocalSend) -> Result<(), DropReason> {
        self.now = now;
        let sent = self.routers[0].send_local_datagram(now, datagram);
        self.collect(0);
        sent
    }

    /// [`Router::poll_event`] of all; what several tell is heard once.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// [`Router::log_nat_events`] of all.
    pub fn log_nat_events(&mut self, detail: Option<Detail>) {
        self.routers.iter_mut().for_each(|router| router.log_nat_events(detail));
    }

    /// [`Router::take_nat_events`] of all, by time.
    pub fn take_nat_events(&mut self) -> Vec<NatEvent> {
        let routers = self.routers.iter_mut();
        let mut events: Vec<NatEvent> =
            routers.flat_map(|router| router.take_nat_events(usize::MAX)).collect();
        events.sort_by_key(|event| event.at);
        events
    }

    /// [`Router::hand_over_failed`] of one.
    pub fn hand_over_failed(&mut self) {
        self.routers[0].hand_over_failed();
    }

    /// The sum of all counters.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for router in &self.routers {
            sum.add(&router.counters());
        }
        sum
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        self.routers[0].plan()
    }

    /// Sessions of all.
    pub fn session_count(&self) -> u32 {
        self.routers.iter().map(Router::session_count).sum()
    }

    /// Mappings of all.
    pub fn mapping_count(&self) -> u32 {
        self.routers.iter().map(Router::mapping_count).sum()
    }

    /// [`Router::sessions`] of one after the other.
    pub fn sessions(&self, now: Timestamp, cursor: u32, limit: u32) -> (Vec<SessionView>, Option<u32>) {
        self.page(cursor, |router, cursor| router.sessions(now, cursor, limit))
    }

    /// [`Router::mappings`] of one after the other.
    pub fn mappings(&self, cursor: u32, limit: u32) -> (Vec<MappingView>, Option<u32>) {
        self.page(cursor, |router, cursor| router.mappings(cursor, limit))
    }

    /// [`Router::forwards`] of one after the other.
    pub fn forwards(&self, now: Timestamp, cursor: u32, limit: u32) -> (Vec<ForwardView>, Option<u32>) {
        self.page(cursor, |router, cursor| router.forwards(now, cursor, limit))
    }

    fn page<T>(
        &self,
        cursor: u32,
        page: impl Fn(&Router, u32) -> (Vec<T>, Option<u32>),
    ) -> (Vec<T>, Option<u32>) {
        let at = cursor >> CURSOR_BITS;
        let (rows, next) = page(&self.routers[at as usize], cursor & ((1 << CURSOR_BITS) - 1));
        let next_worker = || (at as usize + 1 < self.routers.len()).then_some((at + 1) << CURSOR_BITS);
        (rows, next.map(|next| at << CURSOR_BITS | next).or_else(next_worker))
    }

    /// [`Router::neighbors`]: of what several know, what knows most.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        let rank = |neighbor: &NeighborView| {
            ["reachable", "probing", "stale", "incomplete"].iter().position(|state| *state == neighbor.state)
        };
        let mut all: Vec<NeighborView> = self.routers.iter().flat_map(Router::neighbors).collect();
        if self.routers.len() > 1 {
            all.sort_by_key(|known| (known.port, known.address, rank(known).unwrap_or(usize::MAX)));
            all.dedup_by_key(|known| (known.port, known.address));
        }
        all
    }
}
