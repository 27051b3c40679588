//! Network address and port translation.
//!
//! Read first: RFC 2663 (words), RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP), RFC 7857 (updates).
//!
//! # Theory of operation
//! ```text
//!   internal endpoint  <-- Mapping -->  external endpoint        lives while it has sessions
//!          \______________ Session ____________/ \__ remote endpoint      lives by its timer
//! ```
//! The first packet of a session takes the slow path ([`translate`]): it decides which external endpoint
//! the internal one has (a 1:1 host's own address, a forward's static port, or a dynamic [`mapping`]),
//! and stores a [`session`]. Later packets find it by one look-up ([`fast_path`]) and are rewritten by
//! what it holds. A mapping is shared by all sessions of its internal endpoint within its scope; it ends
//! with its last session, and its port then rests in the [`port_pool`].
//!
//! Filtering goes by what the inside has sent: a session notes it (`SessionFlags::SENT`), its mapping
//! counts such sessions, and [`peer`] counts them by remote address. Sessions from outside that nobody has
//! answered count for nothing, so no remote can keep a mapping or its own admission alive.
//!
//! Two clocks end a session: its idle timeout, checked at every look-up and swept by the timer wheel; and
//! the plan's epoch. A session whose epoch is old is judged again ([`revalidate`]) before it passes
//! another packet or refuses a new session, and a background sweep visits those that stay silent. So a
//! plan change costs nothing up front, and no session outlives what allowed it. Ports that a forward, the
//! DMZ or a 1:1 host has lost rest for everybody, or their old owner's next datagram would open them again.
//!
//! A packet from inside to an external endpoint of ours (hairpin, RFC 4787 §6) is two sessions: it goes
//! out through the one of its sender and comes in through the one of its target.

mod admission;
pub mod catch_up;
pub mod event_log;
pub(crate) mod eviction;
pub(crate) mod excerpt;
pub(crate) mod fast_path;
pub(crate) mod hairpin;
pub mod hash;
pub(crate) mod host;
pub(crate) mod host_traffic;
pub mod index;
pub(crate) mod look_ahead;
pub(crate) mod mapping;
pub(crate) mod ownership;
pub(crate) mod peer;
pub mod policy;
pub mod port_pool;
pub(crate) mod revalidate;
mod room_for_others;
pub mod saved;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod slab;
pub mod tcp_state;
pub mod timeouts;
pub(crate) mod translate;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use self::event_log::EventLog;
use self::eviction::{EvictionQueues, queue_of};
use self::hash::HashKey;
use self::host::{HostTable, most_hosts};
use self::look_ahead::{Foreseen, LookAhead};
use self::mapping::{MappingTable, most_mappings};
use self::peer::PeerTable;
use self::session::{NONE, Origin, Session, SessionFlags, SessionId, SessionTable};
use self::settings::Settings;
use crate::counters::StageCounters;
use crate::forward::limits::Limits;
use crate::forward::rules::ForwardTable;
use crate::forward::tally::Tally;
use crate::frame::PortId;
use crate::link::route::RouteTable;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::team::{Member, Quota};
use crate::time::{Timestamp, UnixTime};
use crate::timer_wheel::TimerWheel;
use crate::trail::{Step, Trail};
use crate::wire::ipv4::Protocol;

/// Sessions that one call of [`Nat::expire`] ends, and that one portion of a sweep judges: together well
/// under a millisecond.
const PORTION: usize = 128;

/// All NAT state of one router.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) sessions: SessionTable,
    pub(crate) mappings: MappingTable,
    pub(crate) forwards: ForwardTable,
    /// What has passed through each of them.
    pub(crate) tally: Tally,
    /// How much may.
    pub(crate) limits: Limits,
    routes: Arc<RouteTable>,
    pub(crate) settings: Settings,
    pub(crate) stages: StageCounters,
    pub(crate) hosts: HostTable,
    peers: PeerTable,
    queues: EvictionQueues,
    wheel: TimerWheel,
    pub(crate) ahead: LookAhead,
    rng: Rng,
    /// Which frame of a batch stands for it, apart from what chooses ports.
    draws: Rng,
    key: HashKey,
    /// Number of the plan in force.
    pub(crate) epoch: u32,
    /// Until when the forwards' `expires` have been acted on.
    expiries_seen: Timestamp,
    /// Where somebody keeps a record of translations.
    pub(crate) event_log: Option<Box<EventLog>>,
    /// The next session that the sweep after a plan change looks at.
    sweep: Option<SessionId>,
    /// Of the packet that is being explained.
    pub(crate) trail: Option<Trail>,
    /// Its place among several workers.
    member: Option<Member>,
    quota: Option<Quota>,
}

impl Nat {
    /// Empty tables for `plan.nat.max_sessions` sessions.
    pub(crate) fn new(
        plan: &Plan,
        routes: Arc<RouteTable>,
        seed: [u64; 2],
        now: Timestamp,
        wall: UnixTime,
        member: Option<Member>,
    ) -> Nat {
        let capacity = plan.nat.max_sessions.max(1);
        let (key, rng) = HashKey::from_seed(seed);
        let mut nat = Nat {
            sessions: SessionTable::new(capacity, key),
            mappings: MappingTable::new(most_mappings(plan), key, plan.nat.ports.clone(), member.clone()),
            forwards: ForwardTable::compile(plan, now, wall),
            tally: Tally::new(plan, capacity),
            limits: Limits::new(plan, key),
            routes,
            settings: Settings::from_plan(plan),
            stages: StageCounters::default(),
            hosts: HostTable::new(most_hosts(capacity), key),
            peers: PeerTable::new(capacity, key),
            queues: EvictionQueues::new(member.clone()),
            wheel: TimerWheel::new(capacity, Duration::from_secs(1), now),
            ahead: LookAhead::default(),
            rng,
            draws: Rng::new(seed[0].rotate_left(43) ^ seed[1].rotate_left(5)),
            key,
            epoch: 0,
            expiries_seen: now,
            event_log: None,
            sweep: None,
            trail: None,
            quota: member.clone().map(Quota::new),
            member,
        };
        nat.set_externals(plan);
        nat
    }

    /// The number of one of so many frames.
    #[inline]
    pub(crate) fn draw(&mut self, frames: u32) -> u32 {
        self.draws.below(frames)
    }

    /// Notes a step of the packet that is being explained.
    #[inline(always)]
    pub(crate) fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(trail) = &self.trail {
            trail.note(step());
        }
    }

    /// How many steps have been noted.
    pub(crate) fn steps(&self) -> usize {
        self.trail.as_ref().map_or(0, Trail::len)
    }

    /// Keeps only the first so many steps.
    pub(crate) fn forget_steps(&self, after: usize) {
        if let Some(trail) = &self.trail {
            trail.truncate(after);
        }
    }

    /// Makes room for a larger `max_sessions`: tens of milliseconds at a million sessions.
    fn grow(&mut self, plan: &Plan) {
        let capacity = plan.nat.max_sessions;
        self.sessions.grow(capacity);
        self.mappings.grow(most_mappings(plan));
        self.hosts.grow(most_hosts(capacity));
        self.peers.grow(capacity);
        self.wheel.grow(capacity);
    }

    fn set_externals(&mut self, plan: &Plan) {
        let forwards = &self.forwards;
        let on_wan = plan.services.iter().filter(|on| on.port == PortId::WAN);
        let own = on_wan.map(|on| (Protocol::UDP, on.service.udp_port()));
        self.mappings.set_externals(
            plan.wan.external_addresses(),
            plan.nat.ports.clone(),
            |protocol, address| {
                let own = own.clone().filter(move |&(of, _)| of == protocol).map(|(_, port)| port);
                forwards.reserved_ports(protocol, address).chain(own)
            },
        );
    }

    /// Stores a session and all that hangs on it. The caller has checked its keys, whose `hashes` it gives, reserved
    /// its host and counted its use of its mapping.
    fn insert_session(&mut self, session: Session, hashes: [u64; 2]) -> Option<SessionId> {
        if let Some(member) = self.knower_of(&session)
            && !member.enter_known_session(session.inbound_key(), session.origin == Origin::Dmz)
        {
            return None;
        }
        let expires = session.expires;
        let queue = queue_of(&session);
        let entered = self.knower_of(&session).map(|_| session.inbound_key());
        let Some(id) = self.sessions.insert(session, hashes) else {
            if let Some((key, member)) = entered.zip(self.member.as_ref()) {
                member.leave_known_session(key);
            }
            return None;
        };
        if let Some(queue) = queue {
            self.queues.push(&mut self.sessions, queue, id);
        }
        self.wheel.schedule(id, expires);
        self.note(|| self.sessions[id].opened_step());
        Some(id)
    }

    /// The inside sends something on a session for the first time: from now on its mapping admits the remote.
    fn note_sent(&mut self, id: SessionId, foreseen: &Foreseen) {
        let session = &mut self.sessions[id];
        if session.mapping != NONE && !session.flags.contains(SessionFlags::SENT) {
            session.flags.set(SessionFlags::SENT, true);
            let (mapping, remote) = (session.mapping, session.remote_address);
            let hash = foreseen.peer_hash(mapping).unwrap_or_else(|| self.peers.hash(mapping, remote));
            self.peers.add(mapping, remote, hash);
            self.mappings.count_sent(mapping, true);
        }
    }

    /// Ends a session, and with it what it was the last user of.
    pub(crate) fn end_session(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        if let Some(queue) = queue_of(session) {
            self.queues.unlink(&mut self.sessions, queue, id);
        }
        let Some(session) = self.sessions.remove(id) else { return };
        self.wheel.cancel(id);
        self.log_session_deleted(now, &session);
        if session.takes_place() {
            self.tally.leave_place(id);
        }
        if let Some(member) = self.knower_of(&session) {
            member.leave_known_session(session.inbound_key());
        }
        if session.mapping != NONE {
            if session.flags.contains(SessionFlags::SENT) {
                self.peers.subtract(session.mapping, session.remote_address);
                self.mappings.count_sent(session.mapping, false);
            }
            self.drop_mapping_use(now, session.mapping);
        }
        self.release_host(session.host);
        if let Some(quota) = &mut self.quota {
            quota.settle(self.sessions.len() as u32, self.settings.max_sessions);
        }
    }

    fn drop_mapping_use(&mut self, now: Timestamp, mapping: u32) {
        if let Some(ended) = self.mappings.drop_session(now, mapping) {
            if let Some(pool) = mapping::pool_index(ended.protocol) {
                self.hosts[ended.host].ports[pool] -= 1;
            }
            // Those that a plan has ended were counted then.
            if !ended.revoked {
                self.stages.mappings_ended += 1;
                self.log_mapping_deleted(now, &ended);
            }
        }
    }

    /// Whether there may be one session more.
    fn has_room(&mut self) -> bool {
        let (used, most) = (self.sessions.len() as u32, self.settings.max_sessions);
        match &mut self.quota {
            None => used < most,
            Some(quota) => quota.has_room(used, most),
        }
    }

    /// Ends the session that makes room in a full table; false when all are live.
    fn evict_for_room(&mut self, now: Timestamp) -> bool {
        let settings = &self.settings;
        let idle_since = |session: &Session| {
            session
                .expires
                .saturating_since(Timestamp::ZERO)
                .saturating_sub(settings.lifetime(session))
                .as_nanos() as u64
        };
        let Some(victim) = self.queues.victim(&self.sessions, idle_since) else { return false };
        self.end_session(now, victim);
        self.stages.sessions_evicted += 1;
        true
    }

    /// A portion of what time and plan changes have ended.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.mappings.expire(now);
        if self.is_asked_for_room() {
            self.make_room_for_others(now);
        }
        if self.has_lost_keys() {
            self.end_lost_sessions(now);
        }
        for _ in 0..PORTION {
            let Some(id) = self.wheel.pop_due(now) else { break };
            let Some(session) = self.sessions.get(id) else { continue };
            if session.expires > now {
                let expires = session.expires;
                self.wheel.schedule(id, expires);
            } else {
                self.end_session(now, id);
                self.stages.sessions_expired += 1;
            }
        }
    }

    /// When there will be something to expire; at once while a sweep is under way.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        if self.sweep.is_some() || self.is_asked_for_room() || self.has_lost_keys() {
            return Some(Timestamp::ZERO);
        }
        let forwards = self.forwards.next_expiry(self.expiries_seen).map(|(at, _)| at);
        [self.wheel.next_deadline(), forwards, self.mappings.next_deadline()].into_iter().flatten().min()
    }
}
