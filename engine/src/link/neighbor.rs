//! The ARP cache: which MAC address a next hop has, and the frames that wait for the answer.
//!
//! Read first: RFC 826; RFC 1122 §2.3.2 (cache time-out, flood prevention, packets that wait); RFC 4861 §7.3, whose
//! states for IPv6 neighbors are used here for ARP.
//!
//! ```text
//!                    resolve                      answer                 reachable time
//!   (no entry) ------------------> incomplete ------------> reachable -------------------> stale
//!       ^  |                        |     ^                     ^                          |   |
//!       |  | asks us for            |     | no answer           | answer              used |   | idle
//!       |  | our address            |     | to unicast          |                          |   v
//!       |  +--------> learned ------|-----|---- used ------> probing <---------------------+  gone
//!       |                           v     +--------------------/
//!       +---- a moment later --- failed
//! ```
//!
//! *Reachable*, *stale* and *probing* entries have a MAC address that is used. *Stale* only says that nobody has
//! confirmed it for a while: the next use sends the neighbor a unicast request (*probing*) and goes on using it;
//! without an answer the address is forgotten and asked for by broadcast (*incomplete*). A *failed* entry refuses
//! frames at once for a moment, so that a dead host costs few requests.
//!
//! What a wire can do to the table: an ARP packet changes an entry that exists, and makes one only when it asks for
//! an address of ours and the table has room beyond a reserve. It never displaces an entry. Packets from inside to
//! hosts that do not exist make incomplete entries, of which each port has a limited number, each replaced at the
//! earliest after [`NeighborConfig::recycle_after`]; this bounds the rate of ARP requests too. When the table is full,
//! room is made from entries that failed, then those never used, then those not used lately; entries in use stay.

mod excerpt;
mod types;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::event::Event;
use crate::frame::PortId;
use crate::seeded_hash::SeededState;
use crate::slot_lists::SlotLists;
use crate::time::Timestamp;
use crate::timer_wheel::TimerWheel;
use crate::verdict::DropReason;
use crate::view::NeighborView;
use crate::wire::arp;
use crate::wire::ethernet::MacAddr;

pub(crate) use excerpt::NeighborExcerpt;
pub use types::{HeldFrame, NeighborAction, NeighborConfig};

/// Entries that one [`NeighborTable::handle_timeout`] looks after.
const TIMEOUT_PORTION: usize = 32;

/// Least time between two events of one kind.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Events that wait to be polled; more are lost.
const MAX_EVENTS: usize = 16;

/// An entry of the table, for as long as it stands for the same neighbor.
///
/// Holds the slot and how often that was reused before; with 4096 slots the same value comes up again after a slot
/// was reused a million times. Never 0, so that an `Option` of it takes no more room.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NeighborRef(NonZeroU32);

/// What is known about a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Send to this address.
    Ready(NeighborRef, MacAddr),
    /// Not known yet, or does not answer: [`NeighborTable::hold`] takes the frame or says why not.
    Pending(NeighborRef),
    /// The table is full of entries in use.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Incomplete,
    Reachable,
    Stale,
    /// Stale, and never used.
    Learned,
    Probing,
    Failed,
}

#[derive(Debug)]
struct Entry {
    state: State,
    port: PortId,
    mac: MacAddr,
    ip: Ipv4Addr,
    generation: u32,
    last_used: Timestamp,
    /// When the MAC address was last changed.
    updated: Timestamp,
    /// When the neighbor itself last said its MAC address.
    heard: Timestamp,
    /// When the state ends; the timer may fire earlier.
    deadline: Timestamp,
    /// Requests sent in this state.
    tries: u8,
    held: VecDeque<HeldFrame>,
}

/// Lists of entries in the order in which they are given up; live ones are in none.
const FREE: usize = 0;
const FAILED: usize = 1;
const LEARNED: usize = 2;
const STALE: usize = 3;
/// From here on one list per port.
const INCOMPLETE: usize = 4;

/// The neighbors of all ports.
///
/// Memory: about 200 octets per entry, and the frames that wait.
#[derive(Debug)]
pub struct NeighborTable {
    config: NeighborConfig,
    entries: Vec<Entry>,
    slot_bits: u32,
    /// By [`index_key`].
    index: HashMap<u64, u32, SeededState>,
    lists: SlotLists,
    timers: TimerWheel,
    /// Entries to send a request for; the state at the time of polling says which kind.
    requests: VecDeque<NeighborRef>,
    /// Frames that are done waiting.
    done: VecDeque<NeighborAction>,
    events: VecDeque<Event>,
    /// Frames in entries and in `done`, and their octets.
    held_frames: usize,
    held_octets: usize,
    /// No event of this kind before.
    next_moved: Timestamp,
    next_unreachable: Timestamp,
}

/// A neighbor's port and address in one word, which takes one hash.
#[inline]
fn index_key(port: PortId, ip: Ipv4Addr) -> u64 {
    u64::from(port.0) << 32 | u64::from(ip.to_bits())
}

impl NeighborTable {
    /// An empty table. `seed` is a secret that keeps senders from choosing addresses that collide.
    pub fn new(mut config: NeighborConfig, start: Timestamp, seed: u64) -> NeighborTable {
        config.max_entries = config.max_entries.clamp(1, 1 << 16);
        let slots = config.max_entries;
        let entries = (0..slots).map(|_| Entry {
            state: State::Free,
            port: PortId::WAN,
            mac: MacAddr::ZERO,
            ip: Ipv4Addr::UNSPECIFIED,
            generation: 1,
            last_used: start,
            updated: start,
            heard: start,
            deadline: Timestamp::MAX,
            tries: 0,
            held: VecDeque::new(),
        });
        NeighborTable {
            entries: entries.collect(),
            slot_bits: u32::BITS - (slots - 1).leading_zeros(),
            index: HashMap::with_capacity_and_hasher(slots as usize, SeededState::new(seed)),
            lists: SlotLists::new(slots, INCOMPLETE + PortId::COUNT, FREE),
            timers: TimerWheel::new(slots, config.probe_interval / 8, start),
            requests: VecDeque::with_capacity(slots as usize),
            done: VecDeque::new(),
            events: VecDeque::new(),
            held_frames: 0,
            held_octets: 0,
            next_moved: start,
            next_unreachable: start,
            config,
        }
    }

    /// A next hop on the link of `port` whose MAC address is known; marks it as used.
    pub fn find(&mut self, now: Timestamp, port: PortId, ip: Ipv4Addr) -> Option<(NeighborRef, MacAddr)> {
        let reference = self.reference(*self.index.get(&index_key(port, ip))?);
        Some((reference, self.mac(now, reference)?))
    }

    /// Looks up a next hop on the link of `port`; asks for it when it is unknown.
    pub fn resolve(&mut self, now: Timestamp, port: PortId, ip: Ipv4Addr) -> Resolution {
        if let Some(&slot) = self.index.get(&index_key(port, ip)) {
            let reference = self.reference(slot);
            return match self.mac(now, reference) {
                Some(mac) => Resolution::Ready(reference, mac),
                None => Resolution::Pending(reference),
            };
        }
        let Some(slot) = self.room(now, port) else { return Resolution::Full };
        self.occupy(now, slot, port, ip);
        self.ask_everybody(now, slot);
        Resolution::Pending(self.reference(slot))
    }

    /// The MAC address of an entry, marked as used. `None` when it has none (any more), or when the entry stands for
    /// another neighbor by now: then [`NeighborTable::resolve`] tells.
    #[inline(always)]
    pub fn mac(&mut self, now: Timestamp, r: NeighborRef) -> Option<MacAddr> {
        let slot = r.0.get() & ((1 << self.slot_bits) - 1);
        let entry = self.entries.get_mut(slot as usize)?;
        if r.0.get() != slot | entry.generation << self.slot_bits {
            return None;
        }
        match entry.state {
            State::Reachable | State::Probing => {
                entry.last_used = now;
                Some(entry.mac)
            }
            State::Stale | State::Learned => {
                entry.last_used = now;
                let mac = entry.mac;
                self.probe(now, slot);
                Some(mac)
            }
            State::Free | State::Incomplete | State::Failed => None,
        }
    }

    /// As [`NeighborTable::mac`], of a neighbor on the link of `port` only.
    pub fn mac_on(&mut self, now: Timestamp, port: PortId, r: NeighborRef) -> Option<MacAddr> {
        let slot = r.0.get() & ((1 << self.slot_bits) - 1);
        if self.entries.get(slot as usize)?.port != port {
            return None;
        }
        self.mac(now, r)
    }

    /// Reads an entry, for it to be in the cache. What is read means nothing.
    pub fn touch(&self, r: NeighborRef) -> u64 {
        let slot = r.0.get() & ((1 << self.slot_bits) - 1);
        self.entries.get(slot as usize).map_or(0, |entry| entry.last_used.as_nanos())
    }

    /// Keeps a frame until its neighbor answers. It comes back from [`NeighborTable::poll_action`].
    ///
    /// # Errors
    /// [`DropReason::HostUnreachable`] when the neighbor has just failed to answer or the entry has gone,
    /// [`DropReason::NeighborQueueFull`] when too many frames wait.
    pub fn hold(&mut self, r: NeighborRef, frame: HeldFrame) -> Result<(), DropReason> {
        let slot = r.0.get() & ((1 << self.slot_bits) - 1);
        let current = slot < self.config.max_entries && self.reference(slot) == r;
        let state = if current { self.entries[slot as usize].state } else { State::Free };
        if matches!(state, State::Free | State::Failed) {
            return Err(DropReason::HostUnreachable);
        }
        let entry = &mut self.entries[slot as usize];
        if entry.held.len() >= self.config.held_per_entry
            || self.held_frames >= self.config.held_frames
            || self.held_octets.saturating_add(frame.bytes.len()) > self.config.held_octets
        {
            return Err(DropReason::NeighborQueueFull);
        }
        self.held_frames += 1;
        self.held_octets += frame.bytes.len();
        entry.held.push_back(frame);
        if state != State::Incomplete {
            self.release(slot);
        }
        Ok(())
    }

    /// Learns from an ARP packet that arrived on `port`. The caller has made sure that the sender's address belongs
    /// on that link and is not our own. `to_us`: the target address is one of ours.
    pub fn handle_arp(&mut self, now: Timestamp, port: PortId, arp: &arp::Repr, to_us: bool) {
        let (ip, mac) = (arp.sender_ip, arp.sender_mac);
        if !mac.is_unicast() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
            return; // a probe (RFC 5227 §1.1), or nonsense
        }
        let Some(&slot) = self.index.get(&index_key(port, ip)) else {
            if to_us {
                self.learn(now, port, ip, mac);
            }
            return;
        };
        let entry = &mut self.entries[slot as usize];
        let asked = matches!(entry.state, State::Incomplete | State::Probing);
        let answer = asked && to_us && arp.operation == arp::Operation::Reply;
        let had = (!matches!(entry.state, State::Incomplete | State::Failed)).then_some(entry.mac);
        if had != Some(mac) {
            if let Some(old) = had {
                if now < entry.updated + self.config.move_lock {
                    return;
                }
                if now >= self.next_moved {
                    self.next_moved = now + EVENT_INTERVAL;
                    self.event(Event::NeighborMoved { port, address: ip, old, new: mac });
                }
            }
            let entry = &mut self.entries[slot as usize];
            entry.mac = mac;
            entry.updated = now;
        }
        self.entries[slot as usize].heard = now;
        if had == Some(mac) && !answer {
            return; // nothing new
        }
        let state = self.entries[slot as usize].state;
        match state {
            _ if answer => self.enter(slot, State::Reachable, now + self.config.reachable),
            // In use, and the address is only hearsay: verify it.
            State::Incomplete | State::Reachable | State::Probing => self.probe(now, slot),
            State::Failed => self.enter(slot, State::Stale, now + self.config.idle),
            State::Stale | State::Learned | State::Free => {}
        }
        self.release(slot);
    }

    /// Forgets every neighbor of a port, since its link is down. Frames that wait are given up.
    pub fn forget_port(&mut self, port: PortId) {
        self.retain(|of, _| of != port);
    }

    /// Forgets every neighbor that `is_kept` says no to. Frames that wait for it are given up.
    pub fn retain(&mut self, is_kept: impl Fn(PortId, Ipv4Addr) -> bool) {
        for slot in 0..self.config.max_entries {
            let entry = &self.entries[slot as usize];
            if entry.state != State::Free && !is_kept(entry.port, entry.ip) {
                self.vacate(slot);
            }
        }
    }

    /// Repeats requests and lets entries age: a bounded number of them per call. While
    /// [`NeighborTable::poll_timeout`] is not later than `now` there is more to do.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for _ in 0..TIMEOUT_PORTION {
            let Some(slot) = self.timers.pop_due(now) else { return };
            let deadline = self.entries[slot as usize].deadline;
            if now < deadline {
                self.timers.schedule(slot, deadline);
                continue;
            }
            self.end_of_state(now, slot);
        }
    }

    /// When [`NeighborTable::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next_deadline()
    }

    /// The next thing to do, frames first. To be called until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<NeighborAction> {
        if let Some(action) = self.done.pop_front() {
            if let NeighborAction::Release { frame, .. } | NeighborAction::Unreachable { frame, .. } = &action
            {
                self.held_frames -= 1;
                self.held_octets -= frame.bytes.len();
            }
            return Some(action);
        }
        while let Some(r) = self.requests.pop_front() {
            let slot = r.0.get() & ((1 << self.slot_bits) - 1);
            let entry = &self.entries[slot as usize];
            let unicast = match entry.state {
                _ if self.reference(slot) != r => continue,
                State::Incomplete => None,
                State::Probing => Some(entry.mac),
                _ => continue, // answered meanwhile
            };
            return Some(NeighborAction::Request { port: entry.port, target: entry.ip, unicast });
        }
        self.events.pop_front().map(NeighborAction::Event)
    }

    /// All entries, for listings.
    pub fn entries(&self) -> Vec<NeighborView> {
        let used = self.entries.iter().filter_map(|entry| {
            let state = match entry.state {
                State::Free => return None,
                State::Incomplete => "incomplete",
                State::Reachable => "reachable",
                State::Stale | State::Learned => "stale",
                State::Probing => "probing",
                State::Failed => "failed",
            };
            let mac = (!matches!(entry.state, State::Incomplete | State::Failed)).then_some(entry.mac);
            Some(NeighborView { port: entry.port, address: entry.ip, mac, state, heard: entry.heard })
        });
        used.collect()
    }

    fn reference(&self, slot: u32) -> NeighborRef {
        let value = slot | self.entries[slot as usize].generation << self.slot_bits;
        NeighborRef(NonZeroU32::new(value).expect("generations whose bits would all be cut off are skipped"))
    }

    /// Makes an entry for somebody who asks for an address of ours: an answer will follow, and likely more.
    fn learn(&mut self, now: Timestamp, port: PortId, ip: Ipv4Addr, mac: MacAddr) {
        if self.lists.len(FREE) <= self.config.learn_reserve {
            return;
        }
        let Some(slot) = self.lists.first(FREE) else { return };
        self.occupy(now, slot, port, ip);
        self.entries[slot as usize].mac = mac;
        self.enter(slot, State::Learned, now + self.config.learned);
    }

    /// A free slot for an entry that waits for an answer, by giving up another entry if need be.
    fn room(&mut self, now: Timestamp, port: PortId) -> Option<u32> {
        let waiting = incomplete(port);
        let oldest_waiting = self.lists.first(waiting).filter(|&slot| {
            // Its deadline moves with every request; the last use is when it was made.
            self.entries[slot as usize].last_used + self.config.recycle_after <= now
        });
        let slot = if self.lists.len(waiting) >= self.config.max_incomplete_per_port {
            oldest_waiting?
        } else if let Some(slot) = self.lists.first(FREE) {
            return Some(slot);
        } else {
            let stale = self
                .lists
                .first(STALE)
                .filter(|&slot| self.entries[slot as usize].last_used + self.config.reachable <= now);
            let given_up = self.lists.first(FAILED).or_else(|| self.lists.first(LEARNED));
            given_up.or(stale).or(oldest_waiting)?
        };
        self.vacate(slot);
        Some(slot)
    }

    /// Turns a free slot into an entry; the caller gives it a state.
    fn occupy(&mut self, now: Timestamp, slot: u32, port: PortId, ip: Ipv4Addr) {
        let entry = &mut self.entries[slot as usize];
        (entry.port, entry.ip) = (port, ip);
        (entry.last_used, entry.updated, entry.heard) = (now, now, now);
        self.index.insert(index_key(port, ip), slot);
    }

    /// Frees a slot; what refers to it is stale from now on.
    fn vacate(&mut self, slot: u32) {
        self.give_up(slot);
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        if entry.generation << self.slot_bits == 0 {
            entry.generation = 1;
        }
        let key = index_key(entry.port, entry.ip);
        self.index.remove(&key);
        self.enter(slot, State::Free, Timestamp::MAX);
        self.timers.cancel(slot);
    }

    /// Changes the state until `deadline`.
    fn enter(&mut self, slot: u32, state: State, deadline: Timestamp) {
        let entry = &mut self.entries[slot as usize];
        entry.state = state;
        entry.deadline = deadline;
        self.timers.schedule(slot, deadline);
        match state {
            State::Free => self.lists.move_to(slot, FREE),
            State::Failed => self.lists.move_to(slot, FAILED),
            State::Learned => self.lists.move_to(slot, LEARNED),
            State::Stale => self.lists.move_to(slot, STALE),
            State::Incomplete => self.lists.move_to(slot, incomplete(entry.port)),
            State::Reachable | State::Probing => self.lists.remove(slot),
        }
    }

    fn ask_everybody(&mut self, now: Timestamp, slot: u32) {
        self.entries[slot as usize].tries = 1;
        self.enter(slot, State::Incomplete, now + self.config.probe_interval);
        self.request(slot);
    }

    /// Asks the neighbor itself whether it is still there; its address is used meanwhile.
    #[cold]
    fn probe(&mut self, now: Timestamp, slot: u32) {
        self.entries[slot as usize].tries = 1;
        self.enter(slot, State::Probing, now + self.config.probe_interval);
        self.request(slot);
    }

    fn request(&mut self, slot: u32) {
        // When nobody polls, the timer asks again later.
        if self.requests.len() < self.config.max_entries as usize {
            self.requests.push_back(self.reference(slot));
        }
    }

    fn end_of_state(&mut self, now: Timestamp, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        match entry.state {
            State::Incomplete | State::Probing if entry.tries < self.config.tries => {
                entry.tries += 1;
                // Not by `enter`: the order among those that wait is by age.
                entry.deadline = now + self.config.probe_interval;
                self.timers.schedule(slot, entry.deadline);
                self.request(slot);
            }
            State::Probing => self.ask_everybody(now, slot),
            State::Incomplete => {
                let (port, address) = (entry.port, entry.ip);
                self.give_up(slot);
                self.enter(slot, State::Failed, now + self.config.failed);
                if now >= self.next_unreachable {
                    self.next_unreachable = now + EVENT_INTERVAL;
                    self.event(Event::NeighborUnreachable { port, address });
                }
            }
            State::Reachable => self.enter(slot, State::Stale, now + self.config.idle),
            State::Stale | State::Learned | State::Failed | State::Free => self.vacate(slot),
        }
    }

    /// Sends what waits.
    fn release(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let (port, mac) = (entry.port, entry.mac);
        self.done.extend(entry.held.drain(..).map(|frame| NeighborAction::Release { port, mac, frame }));
    }

    /// Gives up what waits.
    fn give_up(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let (port, ip) = (entry.port, entry.ip);
        self.done.extend(entry.held.drain(..).map(|frame| NeighborAction::Unreachable { port, ip, frame }));
    }

    fn event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }
}

/// The list of entries of a port that wait for an answer.
fn incomplete(port: PortId) -> usize {
    INCOMPLETE + port.index().min(PortId::COUNT - 1)
}

#[cfg(test)]
mod tests;
