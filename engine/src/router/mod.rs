//! The order in which the stages see one frame.
//!
//! ```text
//!  ingress: link header, ARP, parse ──> session look-up ──hit──> forwarding: rewrite, next hop, transmit
//!                                            │ miss
//!                                            v
//!   fragments │ icmp_error │ slow_path: sanity ─> local ─> hairpin ─> open a session ─> forwarding
//! ```

mod arp;
mod established;
mod excerpt;
mod explain;
mod forwarding;
mod fragments;
mod hand_over;
mod icmp_error;
mod ingress;
mod local;
mod nat_events;
mod plan_change;
mod probe;
mod sanity;
mod saved;
mod services;
mod slow_path;
mod traffic;
mod views;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub use self::excerpt::Excerpt;
use self::fragments::FragmentRoute;
use self::ingress::Prepared;
use crate::counters::{Counters, PortCounters};
use crate::event::Event;
use crate::frame::{FrameBatch, Offload, PortId, Slot, Transmit};
use crate::link::neighbor::{NeighborConfig, NeighborRef, NeighborTable};
use crate::link::route::RouteTable;
use crate::local_datagram::LocalDatagrams;
use crate::nat::Nat;
use crate::packet::fragment::{FragmentConfig, FragmentTable};
use crate::packet::parsed::{Parsed, parse_ipv4};
use crate::plan::Plan;
use crate::probe::ProbeTable;
use crate::rate_limit::TokenBucket;
use crate::sightings::SightingTable;
use crate::team::{HandOver, Member, Stage, Team, WorkerId};
use crate::time::{Timestamp, UnixTime};
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::MacAddr;

/// Events that wait to be polled; further ones are lost, as a wire could cause them.
const MAX_EVENTS: usize = 256;
/// Frames that wait to be polled: more than one batch can make. Only a caller that does not poll meets it.
const MAX_TRANSMITS: usize = 16_384;
/// ICMP errors that the router makes itself, per second (RFC 1812 §4.3.2.8).
const ICMP_ERRORS_PER_SECOND: u32 = 1_000;
/// Defences of our own addresses, per second and port: two, as the second claim is what makes us give an address up
/// (RFC 5227 section 2.4 (b)).
const CONFLICTS_PER_SECOND: u32 = 2;
/// ARP packets that the other workers are told of, per second. What is lost is asked for again.
const ARP_TOLD_PER_SECOND: u32 = 4_096;
/// RSTs to inside hosts, per second. After a crash every connection whose session was lost asks for one, and is to have
/// it before its host asks again; one costs about a microsecond.
const RESETS_PER_SECOND: u32 = 10_000;

/// What a [`Router`] is made from.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// Secret randomness: keys of the tables, port choice. 128 bits, of its own for every worker: equal ones would
    /// choose the same ports.
    pub seed: [u64; 2],
    /// What this router shares with the other workers.
    pub team: Arc<Team>,
    /// Which of them it is: below [`Team::workers`].
    pub worker: WorkerId,
}

impl RouterConfig {
    /// The only worker of a router.
    pub fn alone(plan: Arc<Plan>, seed: [u64; 2]) -> RouterConfig {
        RouterConfig { plan, seed, team: Team::alone(), worker: WorkerId::FIRST }
    }
}

/// State of the link behind a port, as the I/O layer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Our MAC address there.
    pub mac: MacAddr,
    /// IP MTU of the device in octets; the smaller of this and the plan's holds.
    pub mtu: u16,
    /// Carrier present and device there.
    pub up: bool,
}

/// One pass of [`Router::handle_batch`] over all frames of a batch, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Link header, parse, key and hash.
    Headers,
    /// The look-up in the index, which may miss the caches.
    Index,
    /// The first look at the sessions themselves, which may miss the caches.
    Sessions,
    /// Verdict, rewrite and next hop; the slow path for what has no session.
    Forward,
}

/// The octets that a slot stands for; none when it points beyond the memory.
#[inline(always)]
fn frame_of<'a>(memory: &'a mut [u8], slot: &Slot) -> &'a mut [u8] {
    memory.get_mut(slot.offset..slot.offset.saturating_add(slot.len)).unwrap_or_default()
}

/// Decodes a frame off the fast path: the decoder is large and inlined where it is called.
#[inline(never)]
fn decode(frame: &[u8]) -> Result<Parsed, DropReason> {
    parse_ipv4(frame)
}

/// A port as the stages see it.
#[derive(Clone, Copy, Debug)]
struct Port {
    link: LinkState,
    /// IP MTU in octets: the device's or the plan's, whichever is smaller.
    mtu: u16,
}

/// One NAT router: all state of one worker.
#[derive(Debug)]
pub struct Router {
    plan: Arc<Plan>,
    nat: Nat,
    routes: Arc<RouteTable>,
    neighbors: NeighborTable,
    fragments: FragmentTable<FragmentRoute>,
    ports: [Port; PortId::COUNT],
    port_counters: [PortCounters; PortId::COUNT],
    drops: [u64; DropReason::COUNT],
    transmit: VecDeque<Transmit>,
    events: VecDeque<Event>,
    hand_overs: VecDeque<HandOver>,
    told_limit: TokenBucket,
    /// Its place among several workers.
    member: Option<Member>,
    /// How far the frame at hand had come when another worker handed it over; `None` when it arrived here.
    stage: Option<Stage>,
    icmp_limit: TokenBucket,
    reset_limit: TokenBucket,
    conflict_limits: [TokenBucket; PortId::COUNT],
    probes: ProbeTable,
    /// Known devices that moved.
    sightings: SightingTable,
    local: LocalDatagrams,
    /// The next hop of the last session that left by the wan and had to look for it: mostly the gateway.
    last_wan_hop: Option<(Ipv4Addr, NeighborRef)>,
    /// Scratch of [`Router::handle_batch`], kept for its memory.
    prepared: Vec<Prepared>,
}

impl Router {
    /// A router without sessions, its links down. `wall` is the wall time at `now`, for `expires`.
    pub fn new(config: RouterConfig, now: Timestamp, wall: UnixTime) -> Router {
        let RouterConfig { plan, seed, team, worker } = config;
        let member = Member::new(team, worker);
        let share = member.as_ref().map_or(1, |member| u32::from(member.workers()));
        let down = LinkState { mac: MacAddr::default(), mtu: 1500, up: false };
        let routes = Arc::new(RouteTable::from_plan(&plan));
        Router {
            nat: Nat::new(&plan, routes.clone(), seed, now, wall, member.clone()),
            routes,
            neighbors: NeighborTable::new(NeighborConfig::default(), now, seed[0].rotate_left(17) ^ seed[1]),
            fragments: FragmentTable::new(FragmentConfig::default(), now, seed[0] ^ seed[1].rotate_left(29)),
            ports: [Port { link: down, mtu: 1500 }; PortId::COUNT],
            port_counters: [PortCounters::default(); PortId::COUNT],
            drops: [0; DropReason::COUNT],
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            hand_overs: VecDeque::new(),
            told_limit: TokenBucket::per_second(ARP_TOLD_PER_SECOND),
            member,
            stage: None,
            icmp_limit: TokenBucket::per_second(ICMP_ERRORS_PER_SECOND / share),
            reset_limit: TokenBucket::per_second(RESETS_PER_SECOND / share),
            conflict_limits: [(); PortId::COUNT].map(|()| TokenBucket::per_second(CONFLICTS_PER_SECOND)),
            probes: ProbeTable::default(),
            sightings: SightingTable::default(),
            local: LocalDatagrams::new(&plan.services),
            last_wan_hop: None,
            prepared: Vec::new(),
            plan,
        }
    }

    /// Takes a new plan: state that it no longer allows ends, everything else goes on. Not bounded like
    /// `handle_*`: compiling thousands of forwards or making room for more sessions takes milliseconds.
    pub fn apply_plan(&mut self, now: Timestamp, wall: UnixTime, plan: Arc<Plan>) {
        self.routes = Arc::new(RouteTable::from_plan(&plan));
        self.nat.tally.apply(&self.plan, &plan, plan.nat.max_sessions.max(1));
        self.nat.limits.apply(&self.plan, &plan);
        self.local.apply(&plan.services);
        self.nat.apply(now, wall, &plan, self.routes.clone());
        let before = std::mem::replace(&mut self.plan, plan);
        self.forget_strangers(now);
        for port in self.port_ids() {
            self.ports[port.index()].mtu = self.effective_mtu(port);
            let known = Self::addresses_in(&before, port);
            let fresh: Vec<_> = Self::addresses_in(&self.plan, port)
                .into_iter()
                .filter(|address| !known.contains(address))
                .collect();
            if self.is_first() {
                self.announce(port, &fresh);
            }
        }
    }

    /// Tells the state of a port's link; a port that was never told of is down. Announces our addresses
    /// when it comes up or its MAC address changes.
    pub fn set_link(&mut self, now: Timestamp, port: PortId, link: LinkState) {
        let Some(entry) = self.ports.get_mut(port.index()) else { return };
        let before = std::mem::replace(&mut entry.link, link);
        self.ports[port.index()].mtu = self.effective_mtu(port);
        if before.up && !link.up {
            self.neighbors.forget_port(port);
            self.pump_neighbors(now);
        }
        if link.up && (!before.up || before.mac != link.mac) && self.is_first() {
            let addresses = Self::addresses_in(&self.plan, port);
            self.announce(port, &addresses);
        }
    }

    /// Judges a batch of frames that arrived on `port`, rewriting in place; the verdicts are left in the slots.
    /// Frames that the router itself makes meanwhile come out of [`Router::poll_transmit`]; those are to be
    /// sent before the batch's own.
    pub fn handle_batch(&mut self, now: Timestamp, port: PortId, batch: FrameBatch<'_>) {
        self.handle_batch_observed(now, port, batch, |_| {});
    }

    /// [`Router::handle_batch`], telling after each pass over the batch that it is done; for measuring what a pass
    /// costs. With an observer that does nothing it is the same code.
    #[inline]
    pub fn handle_batch_observed(
        &mut self,
        now: Timestamp,
        port: PortId,
        batch: FrameBatch<'_>,
        mut done: impl FnMut(Pass),
    ) {
        let FrameBatch { memory, slots } = batch;
        let refreshed = self.nat.settings.refreshed(now);
        let mut prepared = std::mem::take(&mut self.prepared);
        if prepared.len() < slots.len() {
            prepared.resize(slots.len(), Prepared::BLANK);
        }
        let prepared_slots = &mut prepared[..slots.len()];
        // Passes over the whole batch, so that the cache misses of different frames overlap: headers, then the
        // index, then the sessions themselves. The loops that only read wait for nothing.
        for (slot, entry) in slots.iter_mut().zip(prepared_slots.iter_mut()) {
            let frame = frame_of(memory, slot);
            self.prepare(port, frame, &slot.offload, entry);
            if !entry.is_common() {
                let skipped = ingress::untag_priority(frame);
                if skipped != 0 {
                    slot.offset += skipped;
                    slot.len -= skipped;
                    self.prepare(port, &frame[skipped..], &slot.offload, entry);
                }
            }
        }
        done(Pass::Headers);
        let touched = prepared_slots.iter().fold(0, |all, entry| all ^ self.touch_index(entry));
        std::hint::black_box(touched);
        for entry in prepared_slots.iter_mut() {
            self.look_ahead(entry);
        }
        done(Pass::Index);
        let touched = prepared_slots.iter().fold(0, |all, entry| all ^ self.touch_session(entry));
        std::hint::black_box(touched);
        self.look_ahead_of_first_packets(now, port, prepared_slots);
        done(Pass::Sessions);
        let mut octets = 0;
        for (slot, entry) in slots.iter_mut().zip(prepared_slots.iter()) {
            let mut frame = frame_of(memory, slot);
            octets += frame.len() as u64;
            slot.verdict = self.judge(now, &refreshed, port, &mut frame, &slot.offload, entry);
            slot.len = frame.len();
        }
        self.count_received(port, slots.len() as u64, octets);
        self.nat.ahead.clear();
        self.prepared = prepared;
        self.pump_neighbors(now);
        done(Pass::Forward);
    }

    /// Judges one frame. `frame` shrinks when link padding or a priority tag is cut off.
    pub fn handle_frame(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: Offload,
    ) -> Verdict {
        let bytes = std::mem::take(frame);
        let skipped = ingress::untag_priority(bytes);
        let mut bytes = &mut bytes[skipped..];
        let mut prepared = Prepared::BLANK;
        self.prepare(port, bytes, &offload, &mut prepared);
        self.look_ahead(&mut prepared);
        self.count_received(port, 1, bytes.len() as u64);
        let refreshed = self.nat.settings.refreshed(now);
        let verdict = self.judge(now, &refreshed, port, &mut bytes, &offload, &prepared);
        self.pump_neighbors(now);
        *frame = bytes;
        verdict
    }

    #[inline]
    fn count_received(&mut self, port: PortId, frames: u64, octets: u64) {
        if let Some(counters) = self.port_counters.get_mut(port.index()) {
            counters.rx_frames += frames;
            counters.rx_octets += octets;
        }
    }

    /// Lets time pass: a bounded portion of what is due. Call again while [`Router::poll_timeout`] is not
    /// in the future.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for rule in self.nat.take_expired_forwards(now) {
            if self.is_first() {
                let forward = self.plan.forwards[rule.0 as usize].name.clone();
                self.push_event(Event::ForwardExpired { forward });
            }
        }
        self.nat.expire(now);
        self.nat.sweep(now);
        self.neighbors.handle_timeout(now);
        self.pump_neighbors(now);
        self.fragments.handle_timeout(now);
        self.count_dropped_fragments();
    }

    /// When [`Router::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.nat.next_deadline(), self.neighbors.poll_timeout(), self.fragments.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Frames that the router made or held, in the order to send them.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.pop_front()
    }

    /// Events since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All counters so far.
    pub fn counters(&self) -> Counters {
        Counters { ports: self.port_counters, stages: self.nat.stages, drops: self.drops }
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    fn push_transmit(&mut self, port: PortId, bytes: Vec<u8>, offload: Offload) {
        if self.transmit.len() >= MAX_TRANSMITS {
            self.drops[DropReason::TransmitQueueFull as usize] += 1;
            return;
        }
        let counters = &mut self.port_counters[port.index()];
        counters.tx_frames += 1;
        counters.tx_octets += bytes.len() as u64;
        self.transmit.push_back(Transmit { port, bytes, offload });
    }

    /// Ports of the plan in force.
    fn port_ids(&self) -> impl Iterator<Item = PortId> + use<> {
        let lans = (0..self.plan.lans.len()).map(PortId::lan);
        [PortId::WAN].into_iter().chain(self.plan.host_port.then_some(PortId::HOST)).chain(lans)
    }

    fn effective_mtu(&self, port: PortId) -> u16 {
        let device = self.ports[port.index()].link.mtu;
        match port.lan_index() {
            Some(index) => self.plan.lans.get(index).map_or(device, |lan| lan.mtu.min(device)),
            None if port == PortId::WAN => self.plan.wan.mtu.min(device),
            None => device,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
