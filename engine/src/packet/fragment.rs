//! Ties later fragments, which carry no ports, to the first fragment of their packet.
//!
//! Read first: RFC 4787 §11 (fragments in any order, REQ-14), RFC 6146 §3.4 and §3.5 (how to bound it), RFC 1858
//! and RFC 3128 (overlaps), RFC 4963 (why not to keep fragments for long).
//!
//! Nothing is reassembled. When the first fragment is judged, what shall become of the others (an `R`, which only
//! the caller understands) is remembered, and later ones pass without delay. Those that came before are held, as
//! copies, and let go once the first is judged. A packet is in one of these conditions:
//!
//! - *waiting*: only later fragments so far, or a first one that is being judged;
//! - *decided*: the first passed; later ones follow it;
//! - *refused*: the first was dropped; later ones are dropped at once;
//! - *complete*: every octet has passed. For [`FragmentConfig::linger`] duplicates still follow; a new fragment with
//!   the same identification begins another packet.
//!
//! Everything is bounded. When there is no room, complete and refused packets make it first, then waiting ones,
//! then decided ones, the oldest first; a source that has too many gives up its own oldest. So a flood of forged
//! fragments cannot keep a proper packet, whose first fragment usually comes first, from passing.

mod coverage;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use coverage::{Coverage, Fit};

use super::parsed::{FragmentInfo, Parsed};
use crate::frame::{Offload, PortId};
use crate::seeded_hash::SeededState;
use crate::slot_lists::SlotLists;
use crate::time::Timestamp;
use crate::timer_wheel::TimerWheel;
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

/// Packets that one [`FragmentTable::handle_timeout`] looks after.
const TIMEOUT_PORTION: usize = 32;

/// Packets that are given up for room for one frame.
const ROOM_PORTION: usize = 16;

/// What a held frame costs besides its octets: its descriptor and the allocator's overhead.
const FRAME_OVERHEAD: usize = 96;

/// Bounds and times of a [`FragmentTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentConfig {
    /// Packets at once. Default 1024.
    pub max_packets: u32,
    /// Packets at once that are not complete, per port and source address. Default 64.
    pub max_per_source: u32,
    /// Octets of held frames in all, each counted with 96 octets more for its management. Default 4 MiB.
    pub max_held_octets: usize,
    /// Fragments of one packet, duplicates included. Default 64: enough for the largest packet over a link with an
    /// MTU of 1064.
    pub max_fragments_per_packet: u32,
    /// How long a packet is remembered from its first sight on. Default 10 s: more than the 2 s that RFC 6146 §4
    /// (FRAGMENT_MIN) asks for, and short since identifications come again (RFC 4963).
    pub timeout: Duration,
    /// How long a complete packet is remembered for the sake of duplicates. Default 1 s.
    pub linger: Duration,
}

impl Default for FragmentConfig {
    fn default() -> FragmentConfig {
        FragmentConfig {
            max_packets: 1024,
            max_per_source: 64,
            max_held_octets: 4 << 20,
            max_fragments_per_packet: 64,
            timeout: Duration::from_secs(10),
            linger: Duration::from_secs(1),
        }
    }
}

/// What fragments of one packet have in common (RFC 791 §3.2), and where they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Where they arrive.
    pub port: PortId,
    /// Source address on arrival.
    pub source: Ipv4Addr,
    /// Destination address on arrival.
    pub destination: Ipv4Addr,
    /// Identification.
    pub id: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl FragmentKey {
    /// The key of a fragment that arrived on `port`; `None` when `parsed` is a whole packet.
    pub fn new(port: PortId, parsed: &Parsed) -> Option<FragmentKey> {
        let Parsed { source, destination, protocol, .. } = *parsed;
        parsed.fragment.map(|info| FragmentKey { port, source, destination, id: info.id, protocol })
    }
}

/// What shall become of a later fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later<R> {
    /// It follows the first one.
    Forward(R),
    /// It was copied and waits for the first one.
    Held,
    /// It is dropped.
    Drop(DropReason),
}

/// A fragment that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFragment {
    /// The Ethernet frame.
    pub bytes: Vec<u8>,
    /// What is left for the device to finish.
    pub offload: Offload,
    /// Where it arrived.
    pub port: PortId,
}

/// Held fragments that were dropped later, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentDrops {
    /// [`DropReason::FragmentUnmatched`]: the first did not come in time or was refused.
    pub unmatched: u64,
    /// [`DropReason::FragmentLimit`]: given up for room.
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State<R> {
    Waiting,
    Decided(R),
    Refused,
    Complete(R),
}

#[derive(Debug)]
struct Packet<R> {
    key: FragmentKey,
    state: State<R>,
    coverage: Coverage,
    /// Fragments seen, duplicates included.
    fragments: u32,
    held: Vec<HeldFragment>,
    deadline: Timestamp,
    /// Number of its source, while it counts for it.
    source: Option<u32>,
}

/// Lists of packets, oldest first, in the order in which they make room.
const FREE: usize = 0;
const COMPLETE: usize = 1;
const REFUSED: usize = 2;
const WAITING: usize = 3;
const DECIDED: usize = 4;
const LISTS: usize = 5;

/// The packets of which not all fragments have come.
///
/// Memory: about 400 octets per packet at most, and the held frames.
#[derive(Debug)]
pub struct FragmentTable<R> {
    config: FragmentConfig,
    packets: Vec<Option<Packet<R>>>,
    index: HashMap<FragmentKey, u32, SeededState>,
    lists: SlotLists,
    timers: TimerWheel,
    /// Packets by source: one list per source, and one for all that do not count.
    by_source: SlotLists,
    sources: HashMap<(PortId, Ipv4Addr), u32, SeededState>,
    free_sources: Vec<u32>,
    released: VecDeque<(R, HeldFragment)>,
    /// Octets of frames that wait or are to be polled.
    held_octets: usize,
    drops: FragmentDrops,
}

impl<R: Copy> FragmentTable<R> {
    /// An empty table. `seed` is a secret that keeps senders from choosing keys that collide.
    pub fn new(mut config: FragmentConfig, start: Timestamp, seed: u64) -> FragmentTable<R> {
        config.max_packets = config.max_packets.clamp(1, 1 << 20);
        config.max_per_source = config.max_per_source.max(1);
        let slots = config.max_packets;
        let tick = config.linger.min(config.timeout) / 4;
        let hasher = SeededState::new(seed);
        FragmentTable {
            packets: std::iter::repeat_with(|| None).take(slots as usize).collect(),
            index: HashMap::with_capacity_and_hasher(slots as usize, hasher.clone()),
            lists: SlotLists::new(slots, LISTS, FREE),
            timers: TimerWheel::new(slots, tick.max(Duration::from_millis(1)), start),
            by_source: SlotLists::new(slots, slots as usize + 1, slots as usize),
            sources: HashMap::with_capacity_and_hasher(slots as usize, hasher),
            free_sources: (0..slots).rev().collect(),
            released: VecDeque::new(),
            held_octets: 0,
            drops: FragmentDrops::default(),
            config,
        }
    }

    /// Notes a first fragment (offset 0) with `len` octets behind its IPv4 header, before it is judged. Unless this
    /// fails, the caller then tells the judgement by [`FragmentTable::decide`].
    ///
    /// # Errors
    /// [`DropReason::FragmentOverlap`], [`DropReason::FragmentTiny`] or [`DropReason::FragmentLimit`]: the first
    /// fragment is to be dropped.
    pub fn begin(
        &mut self,
        now: Timestamp,
        key: FragmentKey,
        info: FragmentInfo,
        len: usize,
    ) -> Result<(), DropReason> {
        if len == 0 {
            return Err(DropReason::FragmentTiny); // before it costs another packet its place
        }
        let slot = match self.index.get(&key) {
            Some(&slot) if !self.is_complete(slot) => slot,
            Some(&slot) => {
                self.vacate(slot, DropReason::FragmentUnmatched);
                self.create(now, key)
            }
            None => self.create(now, key),
        };
        let fit = self.fit(slot, info, len)?;
        self.take_in(slot, fit, info, len);
        Ok(())
    }

    /// What became of the first fragment of a packet: `Some` when it passed and the others shall follow, `None` when
    /// it was dropped. Held fragments come out of [`FragmentTable::poll_released`], or are dropped.
    pub fn decide(&mut self, now: Timestamp, key: FragmentKey, outcome: Option<R>) {
        let Some(&slot) = self.index.get(&key) else { return };
        let Some(packet) = &mut self.packets[slot as usize] else { return };
        let held = std::mem::take(&mut packet.held);
        if let Some(follow) = outcome {
            packet.state = State::Decided(follow);
            self.released.extend(held.into_iter().map(|frame| (follow, frame)));
            self.lists.move_to(slot, DECIDED);
            self.finish_if_complete(now, slot);
        } else {
            packet.state = State::Refused;
            self.lists.move_to(slot, REFUSED);
            self.drop_held(held, DropReason::FragmentUnmatched);
        }
    }

    /// Judges a later fragment with `len` octets behind its IPv4 header. `frame` is the whole Ethernet frame without
    /// link padding; it is copied when it has to wait.
    pub fn handle_later(
        &mut self,
        now: Timestamp,
        key: FragmentKey,
        info: FragmentInfo,
        len: usize,
        frame: &[u8],
        offload: Offload,
    ) -> Later<R> {
        let mut slot = self.index.get(&key).copied();
        if let Some(complete) = slot.filter(|&slot| self.is_complete(slot)) {
            let packet = self.packets[complete as usize].as_ref();
            if let Some(Packet { state: State::Complete(follow), coverage, .. }) = packet
                && coverage.check(info, len) == Ok(Fit::Duplicate)
            {
                return Later::Forward(*follow);
            }
            self.vacate(complete, DropReason::FragmentUnmatched);
            slot = None;
        }
        let slot = match slot {
            Some(slot) => slot,
            None if len == 0 => return Later::Drop(DropReason::FragmentTiny),
            None => self.create(now, key),
        };
        match self.packets[slot as usize].as_ref().map(|packet| packet.state) {
            Some(State::Refused) | None => Later::Drop(DropReason::FragmentUnmatched),
            Some(State::Decided(follow) | State::Complete(follow)) => match self.fit(slot, info, len) {
                Ok(fit) => {
                    self.take_in(slot, fit, info, len);
                    self.finish_if_complete(now, slot);
                    Later::Forward(follow)
                }
                Err(reason) => Later::Drop(reason),
            },
            Some(State::Waiting) => match self.fit(slot, info, len) {
                Ok(fit) if self.make_room(slot, frame.len() + FRAME_OVERHEAD) => {
                    self.take_in(slot, fit, info, len);
                    self.hold(slot, HeldFragment { bytes: frame.to_vec(), offload, port: key.port });
                    Later::Held
                }
                Ok(_) => Later::Drop(DropReason::FragmentLimit),
                Err(reason) => Later::Drop(reason),
            },
        }
    }

    /// The next fragment that has waited long enough, and what to do with it. To be called until `None` after
    /// [`FragmentTable::decide`].
    pub fn poll_released(&mut self) -> Option<(R, HeldFragment)> {
        let (follow, frame) = self.released.pop_front()?;
        self.held_octets -= frame.bytes.len() + FRAME_OVERHEAD;
        Some((follow, frame))
    }

    /// Held fragments that were dropped since the last call, for the counters.
    pub fn take_dropped(&mut self) -> FragmentDrops {
        std::mem::take(&mut self.drops)
    }

    /// Forgets packets whose time is over: a bounded number per call. While [`FragmentTable::poll_timeout`] is not
    /// later than `now` there is more to do.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for _ in 0..TIMEOUT_PORTION {
            let Some(slot) = self.timers.pop_due(now) else { return };
            match &self.packets[slot as usize] {
                // Beyond the wheel's horizon.
                Some(packet) if now < packet.deadline => self.timers.schedule(slot, packet.deadline),
                _ => self.vacate(slot, DropReason::FragmentUnmatched),
            }
        }
    }

    /// When [`FragmentTable::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next_deadline()
    }

    /// Packets remembered, complete ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no packet is remembered.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Octets of frames that wait or are to be polled, each counted with 96 octets more.
    pub fn held_octets(&self) -> usize {
        self.held_octets
    }

    fn is_complete(&self, slot: u32) -> bool {
        matches!(&self.packets[slot as usize], Some(Packet { state: State::Complete(_), .. }))
    }

    /// How a fragment fits into its packet.
    fn fit(&self, slot: u32, info: FragmentInfo, len: usize) -> Result<Fit, DropReason> {
        let Some(packet) = &self.packets[slot as usize] else { return Err(DropReason::FragmentUnmatched) };
        let fit = packet.coverage.check(info, len)?;
        if packet.fragments >= self.config.max_fragments_per_packet {
            return Err(DropReason::FragmentLimit);
        }
        Ok(fit)
    }

    /// Notes a fragment that fits.
    fn take_in(&mut self, slot: u32, fit: Fit, info: FragmentInfo, len: usize) {
        let Some(packet) = &mut self.packets[slot as usize] else { return };
        packet.fragments += 1;
        if let Fit::New(position) = fit {
            packet.coverage.insert(position, info, len);
        }
    }

    fn hold(&mut self, slot: u32, frame: HeldFragment) {
        let Some(packet) = &mut self.packets[slot as usize] else { return };
        self.held_octets += frame.bytes.len() + FRAME_OVERHEAD;
        packet.held.push(frame);
    }

    fn finish_if_complete(&mut self, now: Timestamp, slot: u32) {
        let Some(packet) = &mut self.packets[slot as usize] else { return };
        if let State::Decided(follow) = packet.state
            && packet.coverage.is_complete()
        {
            packet.state = State::Complete(follow);
            packet.deadline = packet.deadline.min(now + self.config.linger);
            self.timers.schedule(slot, packet.deadline);
            self.lists.move_to(slot, COMPLETE);
            self.leave_source(slot);
        }
    }

    /// Makes an entry, in place of another one if need be.
    fn create(&mut self, now: Timestamp, key: FragmentKey) -> u32 {
        let origin = (key.port, key.source);
        if let Some(&source) = self.sources.get(&origin)
            && self.by_source.len(source as usize) >= self.config.max_per_source
            && let Some(oldest) = self.by_source.first(source as usize)
        {
            self.vacate(oldest, DropReason::FragmentLimit);
        }
        let slot = self.lists.first(FREE).unwrap_or_else(|| {
            let victim =
                [COMPLETE, REFUSED, WAITING, DECIDED].into_iter().find_map(|list| self.lists.first(list));
            let victim = victim.expect("every slot is in some list, and there is at least one slot");
            self.vacate(victim, DropReason::FragmentLimit);
            victim
        });
        // There are as many source numbers as slots, and at least this slot uses none.
        let source = *self
            .sources
            .entry(origin)
            .or_insert_with(|| self.free_sources.pop().expect("a source number per slot"));
        self.by_source.move_to(slot, source as usize);
        self.index.insert(key, slot);
        self.lists.move_to(slot, WAITING);
        let deadline = now + self.config.timeout;
        self.timers.schedule(slot, deadline);
        self.packets[slot as usize] = Some(Packet {
            key,
            state: State::Waiting,
            coverage: Coverage::default(),
            fragments: 0,
            held: Vec::new(),
            deadline,
            source: Some(source),
        });
        slot
    }

    /// Frees a slot; what waits there is dropped.
    fn vacate(&mut self, slot: u32, reason: DropReason) {
        self.leave_source(slot);
        self.timers.cancel(slot);
        self.lists.move_to(slot, FREE);
        if let Some(packet) = self.packets[slot as usize].take() {
            self.index.remove(&packet.key);
            self.drop_held(packet.held, reason);
        }
    }

    /// The packet no longer counts for its source.
    fn leave_source(&mut self, slot: u32) {
        let Some(packet) = &mut self.packets[slot as usize] else { return };
        let Some(source) = packet.source.take() else { return };
        self.by_source.move_to(slot, self.config.max_packets as usize);
        if self.by_source.len(source as usize) == 0 {
            self.sources.remove(&(packet.key.port, packet.key.source));
            self.free_sources.push(source);
        }
    }

    fn drop_held(&mut self, held: Vec<HeldFragment>, reason: DropReason) {
        for frame in &held {
            self.held_octets -= frame.bytes.len() + FRAME_OVERHEAD;
        }
        match reason {
            DropReason::FragmentLimit => self.drops.limit += held.len() as u64,
            _ => self.drops.unmatched += held.len() as u64,
        }
    }

    /// Gives up waiting packets other than `keep` until a frame of `octets` can be held.
    fn make_room(&mut self, keep: u32, octets: usize) -> bool {
        for _ in 0..ROOM_PORTION {
            if self.held_octets.saturating_add(octets) <= self.config.max_held_octets {
                return true;
            }
            match self.lists.first(WAITING) {
                Some(oldest) if oldest != keep => self.vacate(oldest, DropReason::FragmentLimit),
                _ => return false,
            }
        }
        self.held_octets.saturating_add(octets) <= self.config.max_held_octets
    }
}

#[cfg(test)]
mod tests;
