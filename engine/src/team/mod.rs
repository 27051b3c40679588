//! What the workers of one router have in common.
//!
//! A router is one [`Router`](crate::Router) per worker thread, which share nothing on the fast path. Every packet
//! has one owner among them, who has its session (`nat::ownership` has the rules); what arrives at another worker
//! is handed over ([`Verdict::HandOver`](crate::Verdict::HandOver) and [`HandOver`]). A worker that finds the session
//! of a packet in its own table is its owner: only packets without one are asked about.
//!
//! Shared are, all off the fast path: the owners of external ports, the totals that limits are about, and a secret by
//! which addresses are spread. With one worker nothing of this is ever looked at.

mod hand_over;
mod host_spread;
mod known_sessions;
mod port_owners;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;

pub use self::hand_over::{HandOver, Stage};
pub use self::host_spread::HostSpread;
pub(crate) use self::known_sessions::KnownSession;
use self::known_sessions::KnownSessions;
pub(crate) use self::port_owners::{Holder, PortOwners};
use crate::nat::hash::HashKey;
use crate::nat::session::SessionKey;
use crate::seeded_hash::SeededState;
use crate::wire::ipv4::Protocol;

/// Unused quota that all workers together may hold back, as a part of `max_sessions`: totals hold within 5 %.
const IDLE_QUOTA_PART: u32 = 20;

/// The number of a worker, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The one that speaks for all: it announces our addresses and tells of forwards that have expired.
    pub const FIRST: WorkerId = WorkerId(0);
    /// Most workers of a team.
    pub const MAX: u8 = 64;

    /// For arrays with an element per worker.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The ports of one external address: TCP, UDP, ICMP identifiers.
pub(crate) type AddressOwners = [PortOwners; 3];

/// What the workers of one router share: made once, given to each of them.
#[derive(Debug)]
pub struct Team {
    workers: u8,
    hosts_spread: HostSpread,
    key: HashKey,
    /// By external address, for as long as some worker's plan has it. Locked when plans change.
    owners: Mutex<BTreeMap<Ipv4Addr, Weak<AddressOwners>>>,
    /// Sessions that workers may have, together.
    granted: AtomicU32,
    /// A number that changes when some worker needs room for a session.
    room_requests: AtomicU32,
    /// One bit per worker that has sessions which may make room.
    victims: AtomicU64,
    /// Sessions by internal host.
    hosts: DashMap<Ipv4Addr, u32, SeededState>,
    /// Sessions to which `owners` does not lead.
    known_sessions: KnownSessions,
}

impl Team {
    /// A team of `workers`, 1 to [`WorkerId::MAX`] (what is more or less is brought there). `seed` is secret
    /// randomness, 128 bits, like [`RouterConfig::seed`](crate::RouterConfig::seed).
    pub fn new(workers: u8, seed: [u64; 2]) -> Arc<Team> {
        let (key, _) = HashKey::from_seed(seed);
        let workers = workers.clamp(1, WorkerId::MAX);
        Arc::new(Team {
            workers,
            hosts_spread: HostSpread::from_secret(key.hash(0, HOST_SPREAD)),
            key,
            owners: Mutex::default(),
            granted: AtomicU32::new(0),
            room_requests: AtomicU32::new(0),
            victims: AtomicU64::new(0),
            hosts: DashMap::with_hasher(SeededState::new(key.hash(0, HOST_TABLE))),
            known_sessions: KnownSessions::new(workers, SeededState::new(key.hash(0, KNOWN_SESSIONS))),
        })
    }

    /// The team of a router with one worker.
    pub fn alone() -> Arc<Team> {
        Team::new(1, [0; 2])
    }

    /// Which worker an internal host belongs to.
    pub fn host_spread(&self) -> HostSpread {
        self.hosts_spread
    }

    /// How many workers it has.
    pub fn workers(&self) -> u8 {
        self.workers
    }
}

/// Second words of hashes, so that each question has a hash of its own.
const HOST_SPREAD: u64 = 0x10;
const PAIR: u64 = 0x11;
const REMOTE: u64 = 0x12;
const FRAGMENT: u64 = 0x13;
const HOST_TABLE: u64 = 0x14;
const KNOWN_SESSIONS: u64 = 0x15;

/// One worker's place in a team of several.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    team: Arc<Team>,
    pub(crate) id: WorkerId,
}

impl Member {
    /// `None` for the only worker of a router, which shares nothing.
    pub(crate) fn new(team: Arc<Team>, id: WorkerId) -> Option<Member> {
        (team.workers > 1).then(|| Member { id: WorkerId(id.0 % team.workers), team })
    }

    pub(crate) fn workers(&self) -> u8 {
        self.team.workers
    }

    /// All others.
    pub(crate) fn others(&self) -> impl Iterator<Item = WorkerId> + use<> {
        let me = self.id;
        (0..self.team.workers).map(WorkerId).filter(move |&id| id != me)
    }

    fn spread(&self, a: u64, b: u64) -> WorkerId {
        WorkerId((((self.team.key.hash(a, b) >> 32) * u64::from(self.team.workers)) >> 32) as u8)
    }

    /// The owner of what an internal host sends through NAT.
    pub(crate) fn of_host(&self, internal: Ipv4Addr) -> WorkerId {
        self.team.hosts_spread.worker_of(internal, self.team.workers)
    }

    /// The owner of what two inside hosts send each other without NAT, whoever asks.
    pub(crate) fn of_pair(&self, one: Ipv4Addr, other: Ipv4Addr) -> WorkerId {
        let (low, high) = (one.min(other), one.max(other));
        self.spread(u64::from(low.to_bits()) << 32 | u64::from(high.to_bits()), PAIR)
    }

    /// The owner of what goes to and comes from a remote by a protocol without ports.
    pub(crate) fn of_remote(&self, remote: Ipv4Addr) -> WorkerId {
        self.spread(remote.to_bits().into(), REMOTE)
    }

    /// Who ties the fragments of a packet from outside together.
    pub(crate) fn of_fragments(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        id: u16,
        protocol: Protocol,
    ) -> WorkerId {
        let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
        self.spread(addresses, u64::from(id) << 16 | u64::from(protocol.0) << 8 | FRAGMENT)
    }

    /// A number in `0..1 << 32` that is the same for an internal host at every worker.
    pub(crate) fn draw_for(&self, internal: Ipv4Addr, purpose: u64) -> u64 {
        self.team.key.hash(internal.to_bits().into(), purpose) >> 32
    }

    /// Who has the ports of an external address.
    pub(crate) fn owners_of(&self, external: Ipv4Addr) -> Arc<AddressOwners> {
        let mut owners = self.team.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = owners.get(&external).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(std::array::from_fn(|_| PortOwners::new()));
        owners.insert(external, Arc::downgrade(&fresh));
        fresh
    }

    /// Counts one session more of an internal host, up to `most` at all workers together.
    pub(crate) fn add_session_of(&self, internal: Ipv4Addr, most: u32) -> bool {
        let mut sessions = self.team.hosts.entry(internal).or_insert(0);
        let has_room = *sessions < most;
        *sessions += u32::from(has_room);
        drop(sessions);
        if !has_room {
            self.team.hosts.remove_if(&internal, |_, sessions| *sessions == 0);
        }
        has_room
    }

    /// Sessions of an internal host at all workers.
    pub(crate) fn sessions_of(&self, internal: Ipv4Addr) -> u32 {
        self.team.hosts.get(&internal).map_or(0, |sessions| *sessions)
    }

    /// Counts one session less of an internal host.
    pub(crate) fn subtract_session_of(&self, internal: Ipv4Addr) {
        if let Some(mut sessions) = self.team.hosts.get_mut(&internal) {
            *sessions = sessions.saturating_sub(1);
            if *sessions > 0 {
                return;
            }
        }
        self.team.hosts.remove_if(&internal, |_, sessions| *sessions == 0);
    }

    /// The session, at whichever worker, whose inbound packets look like `key`, if it is of those to be known.
    pub(crate) fn known_session(&self, key: SessionKey) -> Option<KnownSession> {
        self.team.known_sessions.find(key)
    }

    /// Makes a session known to all; false when another worker has one with this inbound key.
    pub(crate) fn enter_known_session(&self, key: SessionKey, is_dmz: bool) -> bool {
        self.team.known_sessions.enter(key, KnownSession { worker: self.id, is_dmz, is_closing: false })
    }

    /// Tells whether a known session of this worker's may be replaced by a new one.
    pub(crate) fn update_known_session(&self, key: SessionKey, is_dmz: bool, is_closing: bool) {
        self.team.known_sessions.update(key, KnownSession { worker: self.id, is_dmz, is_closing });
    }

    /// A known session of this worker's has ended.
    pub(crate) fn leave_known_session(&self, key: SessionKey) {
        self.team.known_sessions.leave(key, self.id);
    }

    /// Whether no known session of another worker has this key any more; one that gives way ends.
    pub(crate) fn take_key(&self, key: SessionKey) -> bool {
        self.team.known_sessions.take(key, self.id)
    }

    /// Ends the known session with this key, wherever it is.
    pub(crate) fn end_known_session(&self, key: SessionKey) {
        if let Some(session) = self.known_session(key) {
            self.team.known_sessions.tell(session.worker, key);
        }
    }

    /// Whether sessions of this worker are over by what others have done.
    pub(crate) fn has_lost_keys(&self) -> bool {
        self.team.known_sessions.has_lost(self.id)
    }

    /// Their inbound keys, since the last call.
    pub(crate) fn take_lost_keys(&self) -> Vec<SessionKey> {
        self.team.known_sessions.take_lost(self.id)
    }

    /// Says whether this worker has sessions that may make room for others.
    pub(crate) fn set_has_victims(&self, has_victims: bool) {
        let bit = 1 << self.id.0;
        if has_victims {
            self.team.victims.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.team.victims.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// How many sessions a worker asks for at once, and keeps at most unused.
    fn chunk(&self, most: u32) -> u32 {
        (most / IDLE_QUOTA_PART / u32::from(self.team.workers)).max(1)
    }
}

/// The sessions that one worker may have, out of those of all.
#[derive(Debug)]
pub(crate) struct Quota {
    member: Member,
    granted: u32,
    /// The last request for room that was looked into.
    seen: u32,
}

impl Quota {
    pub(crate) fn new(member: Member) -> Quota {
        let seen = member.team.room_requests.load(Ordering::Acquire);
        Quota { member, granted: 0, seen }
    }

    pub(crate) fn workers(&self) -> u8 {
        self.member.workers()
    }

    /// One session more than all may have together, where others have sessions that may make room for it: they
    /// are asked to. No more than 5 % are on loan.
    pub(crate) fn borrow(&mut self, most: u32) -> bool {
        let team = &self.member.team;
        if team.victims.load(Ordering::Acquire) & !(1 << self.member.id.0) == 0 {
            return false;
        }
        let limit = most.saturating_add((most / IDLE_QUOTA_PART).max(1));
        let lent = team.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, |granted| {
            (granted < limit).then(|| granted + 1)
        });
        if lent.is_err() {
            return false;
        }
        self.granted += 1;
        let before = team.room_requests.fetch_add(1, Ordering::AcqRel);
        if self.seen == before {
            self.seen = before.wrapping_add(1);
        }
        true
    }

    /// Whether another worker has asked for room since [`Quota::take_request`].
    pub(crate) fn is_asked(&self) -> bool {
        self.seen != self.member.team.room_requests.load(Ordering::Acquire)
    }

    /// Whether there is a request that this worker has not looked into.
    pub(crate) fn take_request(&mut self) -> bool {
        let requests = self.member.team.room_requests.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, requests) != requests
    }

    /// Whether all workers together have more than they may.
    pub(crate) fn is_overdrawn(&self, most: u32) -> bool {
        self.member.team.granted.load(Ordering::Acquire) > most
    }

    /// Gives back all that is not used.
    pub(crate) fn give_back(&mut self, used: u32) {
        let back = self.granted.saturating_sub(used);
        self.granted -= back;
        self.member.team.granted.fetch_sub(back, Ordering::AcqRel);
    }

    /// Whether one more than `used` is within what all workers may have, `most`. What is not used yet is kept for
    /// the next.
    pub(crate) fn has_room(&mut self, used: u32, most: u32) -> bool {
        if used < self.granted {
            return true;
        }
        let chunk = self.member.chunk(most);
        let mut got = 0;
        let taken = self.member.team.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, |granted| {
            got = chunk.min(most.saturating_sub(granted));
            (got > 0).then(|| granted + got)
        });
        self.granted += if taken.is_ok() { got } else { 0 };
        used < self.granted
    }

    /// How many more than `used` are within what all workers may have, `most`.
    pub(crate) fn room(&self, used: u32, most: u32) -> u32 {
        let granted = self.member.team.granted.load(Ordering::Acquire);
        self.granted.saturating_sub(used).saturating_add(most.saturating_sub(granted))
    }

    /// Gives back what is not used, beyond a reserve.
    pub(crate) fn settle(&mut self, used: u32, most: u32) {
        let spare = self.granted.saturating_sub(used);
        let chunk = self.member.chunk(most);
        if spare >= chunk {
            // All but what makes the next openings cheap; of the smallest quota nothing is kept.
            let back = spare - chunk / 2;
            self.granted -= back;
            self.member.team.granted.fetch_sub(back, Ordering::AcqRel);
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.member.team.granted.fetch_sub(self.granted, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);

    fn members(workers: u8) -> Vec<Member> {
        let team = Team::new(workers, [1, 2]);
        (0..workers).filter_map(|worker| Member::new(team.clone(), WorkerId(worker))).collect()
    }

    #[test]
    fn a_worker_alone_shares_nothing() {
        assert!(Member::new(Team::alone(), WorkerId::FIRST).is_none());
        assert_eq!((Team::new(0, [0; 2]).workers(), Team::new(200, [0; 2]).workers()), (1, 64));
    }

    #[test]
    fn all_know_the_same_owners_and_both_directions_have_one() {
        let all = members(3);
        let mut seen = [0; 3];
        for number in 0..3_000u32 {
            let (one, other) = (Ipv4Addr::from_bits(0x0a00_0000 + number), Ipv4Addr::from_bits(number * 7));
            let pair = all[0].of_pair(one, other);
            for member in &all {
                assert_eq!(member.of_pair(other, one), pair);
                assert_eq!(member.of_remote(one), all[0].of_remote(one));
                assert_eq!(member.of_host(one), all[0].of_host(one));
                assert_eq!(member.draw_for(one, 4), all[0].draw_for(one, 4));
            }
            seen[pair.index()] += 1;
        }
        assert!(seen.iter().all(|&count| count > 800), "{seen:?}");
    }

    #[test]
    fn sessions_of_a_host_are_counted_together() {
        let all = members(2);
        assert!(all[0].add_session_of(HOST, 2) && all[1].add_session_of(HOST, 2));
        assert!(!all[0].add_session_of(HOST, 2));
        assert_eq!(all[1].sessions_of(HOST), 2);
        all[1].subtract_session_of(HOST);
        assert!(all[0].add_session_of(HOST, 2));
        all[0].subtract_session_of(HOST);
        all[0].subtract_session_of(HOST);
        assert!(!all[0].add_session_of(HOST, 0) && all[0].team.hosts.is_empty(), "idle hosts are forgotten");
    }

    /// The property: never more than allowed, and never refused with 5 % unused.
    #[test]
    fn totals_hold_within_five_percent() {
        for (workers, most) in [(2u8, 1_000_000u32), (64, 1_000_000), (3, 100), (64, 40), (5, 1)] {
            let mut quotas: Vec<Quota> = members(workers).into_iter().map(Quota::new).collect();
            let mut used = vec![0u32; workers.into()];
            let mut rng = crate::rng::Rng::new(u64::from(most));
            for step in 0..3 * u64::from(most).min(60_000) {
                let at = rng.below(workers.into()) as usize;
                // In portions, so that a large table fills.
                let portion = (most / 20_000).max(1);
                if step % 4 == 3 {
                    used[at] = used[at].saturating_sub(portion);
                    quotas[at].settle(used[at], most);
                    continue;
                }
                for _ in 0..portion {
                    let total: u32 = used.iter().sum();
                    if quotas[at].has_room(used[at], most) {
                        used[at] += 1;
                        assert!(total < most);
                    } else {
                        assert!(total >= most - most / IDLE_QUOTA_PART, "{total} of {most} at {workers}");
                        break;
                    }
                }
            }
            let total: u32 = used.iter().sum();
            assert!(total >= most - most / IDLE_QUOTA_PART, "{total} of {most} at {workers}");
        }
    }

    #[test]
    fn room_is_lent_where_others_can_make_it() {
        let all = members(2);
        let (mut rich, mut poor) = (Quota::new(all[0].clone()), Quota::new(all[1].clone()));
        assert!((0..100).all(|used| rich.has_room(used, 100)) && !rich.has_room(100, 100));
        assert!(!poor.has_room(0, 100) && !poor.borrow(100), "nobody has anything to give");
        all[0].set_has_victims(true);
        assert!((0..5).all(|_| poor.borrow(100)) && !poor.borrow(100), "5 % are on loan");
        assert!(rich.take_request() && !rich.take_request() && !poor.take_request());
        assert!(rich.is_overdrawn(100));
        rich.give_back(95);
        assert!(!rich.is_overdrawn(100));
    }

    #[test]
    fn ports_of_an_address_are_the_same_for_all_while_anybody_has_it() {
        let all = members(2);
        let first = all[0].owners_of(HOST);
        assert!(first[1].claim(53, WorkerId(0)));
        assert!(!all[1].owners_of(HOST)[1].claim(53, WorkerId(1)));
        drop(first);
        assert!(all[1].owners_of(HOST)[1].claim(53, WorkerId(1)), "made anew");
    }
}
