//! What of the NAT's state decides about one packet: read out of a router that goes on, and put into another that is
//! made for nothing but this packet.
//!
//! Theory of operation: an excerpt holds more than will be asked for, found by look-ups alone, so that taking it costs
//! some microseconds however many sessions there are. It is gathered by the functions that judge packets, where these
//! only read: whom a forward, a mapping or the DMZ leads to is asked of [`Nat::judge_inbound`] itself. Counts stay those
//! of the whole router: a host in an excerpt has as many sessions as it has, though only one of them came along. What
//! the excerpt leaves out is taken for used: ports that rest for others, room in the table beyond what one packet needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::host::Host;
use super::mapping::Mapping;
use super::port_pool::{PortPool, PortsExcerpt};
use super::session::{NONE, Session, SessionFlags, SessionId, SessionKey};
use super::translate::Admission;
use crate::forward::rules::RuleId;
use crate::frame::PortId;
use crate::rng::Rng;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// Sessions that may make room, of each kind: a hairpin needs two.
const VICTIMS: usize = 2;

/// Places for new sessions that an excerpt has at most.
pub(crate) const ROOM: u32 = 16;

/// A packet as far as the NAT is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) port: PortId,
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

/// A part of the state of one worker.
#[derive(Debug, Default)]
pub(crate) struct NatExcerpt {
    epoch: u32,
    expiries_seen: Timestamp,
    /// With their numbers and the rules they count for; those that make room first.
    sessions: Vec<(SessionId, Session, Option<RuleId>)>,
    mappings: Vec<(u32, Mapping)>,
    /// Mapping, remote address, sessions.
    peers: Vec<(u32, Ipv4Addr, u32)>,
    /// Those without a number have no session yet.
    hosts: Vec<(u32, Host)>,
    ports: Option<(Protocol, Ipv4Addr, PortsExcerpt, Rng)>,
    /// Ports kept from everybody.
    closed: Vec<(Protocol, SocketAddrV4, Timestamp)>,
    /// Sessions of forwards.
    placed: Vec<(RuleId, u32)>,
    /// When the bucket of a source is full.
    brakes: Vec<(RuleId, Ipv4Addr, Timestamp)>,
    /// Sessions that there may be besides.
    room: u32,
    /// Sessions that there are.
    pub(crate) sessions_in_all: u32,
    /// External endpoints that a packet from inside may get on its way back in.
    pub(crate) turns_round_from: Vec<SocketAddrV4>,
}

impl NatExcerpt {
    /// How many sessions came along.
    pub(crate) fn len(&self) -> u32 {
        self.sessions.len() as u32
    }

    /// The addresses whose next hops matter.
    pub(crate) fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let sessions = self.sessions.iter();
        let of_sessions =
            sessions.flat_map(|(_, session, _)| [session.internal_address, session.remote_address]);
        of_sessions.chain(self.hosts.iter().map(|(_, host)| host.address)).collect()
    }
}

/// An excerpt in the making.
struct Gathering<'a> {
    nat: &'a Nat,
    now: Timestamp,
    taken: NatExcerpt,
    /// Sessions at the front that make room in the table.
    making_room: usize,
}

impl Nat {
    /// What decides about a packet, which may turn round from these endpoints as well.
    pub(crate) fn excerpt(
        &self,
        now: Timestamp,
        asked: &Asked,
        turns_round_from: &[SocketAddrV4],
    ) -> NatExcerpt {
        let used = self.sessions.len() as u32;
        let room = match &self.quota {
            None => self.settings.max_sessions.saturating_sub(used),
            Some(quota) => quota.room(used, self.settings.max_sessions),
        };
        let taken = NatExcerpt {
            epoch: self.epoch,
            expiries_seen: self.expiries_seen,
            room: room.min(ROOM),
            sessions_in_all: used,
            ..NatExcerpt::default()
        };
        let mut gathering = Gathering { nat: self, now, taken, making_room: 0 };
        if room < ROOM {
            for id in self.queues.oldest(&self.sessions, VICTIMS) {
                gathering.session(id);
            }
            gathering.making_room = gathering.taken.sessions.len();
        }
        gathering.gather(asked, turns_round_from);
        gathering.peers(asked);
        gathering.taken
    }

    /// Takes in what was read out of the workers of a router, the packet's own one among them. For a router without
    /// sessions, of the same plan but for `max_sessions`.
    pub(crate) fn take_excerpts(&mut self, mut parts: Vec<NatExcerpt>) {
        self.hosts.keep_idle();
        let room = parts.iter().map(|part| part.room).max().unwrap_or_default();
        // What ports come along goes first: the others only add to them.
        parts.sort_by_key(|part| part.ports.is_none());
        // One worker has all sessions of a forward; what the others count is none.
        let mut placed = BTreeMap::new();
        for (rule, sessions) in parts.iter().flat_map(|part| &part.placed) {
            *placed.entry(*rule).or_default() += sessions;
        }
        for part in parts {
            self.epoch = part.epoch;
            self.expiries_seen = part.expiries_seen;
            self.take_excerpt(part);
        }
        for (rule, sessions) in placed {
            self.tally.set_sessions(rule, sessions);
        }
        self.settings.max_sessions = self.sessions.len() as u32 + room;
    }

    fn take_excerpt(&mut self, part: NatExcerpt) {
        if let Some((protocol, address, pool, rng)) = part.ports {
            self.mappings.replace_pool(protocol, address, pool);
            self.rng = rng;
        }
        for (protocol, external, until) in part.closed {
            self.mappings.rest_for_all(protocol, external, until);
        }
        let mut hosts = Vec::new();
        for (number, host) in part.hosts {
            let id = self.hosts.find(host.address).or_else(|| self.hosts.insert(host.address, host.paired));
            let Some(id) = id else { continue };
            let entry = &mut self.hosts[id];
            entry.sessions = entry.sessions.max(host.sessions);
            if host.ports != [0; 3] {
                entry.paired = host.paired;
            }
            for (sum, ports) in entry.ports.iter_mut().zip(host.ports) {
                *sum += ports;
            }
            hosts.push((number, id));
        }
        let renumbered = |numbers: &[(u32, u32)], number: u32| {
            numbers.iter().find(|(old, _)| *old == number).map_or(NONE, |(_, new)| *new)
        };
        let mut mappings = Vec::new();
        for (number, mapping) in part.mappings {
            let host = renumbered(&hosts, mapping.host);
            if let Some(id) = self.mappings.put_back(Mapping { host, ..mapping }) {
                mappings.push((number, id));
            }
        }
        for (mapping, remote, sessions) in part.peers {
            let mapping = renumbered(&mappings, mapping);
            let hash = self.peers.hash(mapping, remote);
            (0..sessions.min(2)).for_each(|_| self.peers.add(mapping, remote, hash));
        }
        for (_, session, rule) in part.sessions {
            let session = Session {
                mapping: if session.mapping == NONE { NONE } else { renumbered(&mappings, session.mapping) },
                host: renumbered(&hosts, session.host),
                inside_hop: None,
                outside_hop: None,
                evict_next: NONE,
                evict_previous: NONE,
                ..session
            };
            let keys = [session.outbound_key(), session.inbound_key()];
            let hashes = keys.map(|key| self.sessions.hash(key));
            if let Some(id) = self.insert_session(session, hashes) {
                self.tally.attribute(id, rule);
            }
        }
        for (rule, source, full_at) in part.brakes {
            self.limits.set_bucket(rule, source, full_at);
        }
    }
}

impl Gathering<'_> {
    fn gather(&mut self, asked: &Asked, turns_round_from: &[SocketAddrV4]) {
        let Asked { port, protocol, source, destination } = *asked;
        let key = SessionKey::new(port, protocol, source, destination);
        self.key(key);
        let own_session = self.nat.sessions.find_key(key).map(|(id, _)| self.nat.sessions[id].external());
        let is_external = self.nat.settings.is_external(*destination.ip());
        if port == PortId::WAN {
            if is_external {
                self.inbound(protocol, source, destination, false);
            }
            return;
        }
        let mut externals = self.outbound(asked);
        if is_external {
            // By the hairpin, from whatever endpoint it leaves.
            externals.extend(own_session);
            externals.extend(turns_round_from);
            externals.sort_unstable();
            externals.dedup();
            for external in &externals {
                self.inbound(protocol, *external, destination, true);
            }
            self.taken.turns_round_from = externals;
        }
    }

    /// A packet from inside; returns the external endpoints that it may have.
    fn outbound(&mut self, asked: &Asked) -> Vec<SocketAddrV4> {
        let Asked { port: _, protocol, source, destination } = *asked;
        let (nat, now) = (self.nat, self.now);
        let host = *source.ip();
        self.host_at(host);
        let paired = nat.external_address_of(host);
        let wanted = nat.mappings.want(nat.settings.mapping(host), protocol, source, destination);
        let known = wanted.and_then(|wanted| nat.mappings.find_internal(wanted));
        if let Some(mapping) = known {
            self.mapping(mapping);
        }
        let candidates = [
            nat.settings.own_external(host).map(|own| SocketAddrV4::new(own, source.port())),
            nat.forwards.outbound(now, protocol, source, paired).map(|(_, endpoint)| endpoint),
            known.map(|mapping| nat.mappings[mapping].external),
            Some(SocketAddrV4::new(paired, if wanted.is_some() { source.port() } else { 0 })),
        ];
        let mut externals: Vec<SocketAddrV4> = candidates.into_iter().flatten().collect();
        for external in &externals {
            self.key(SessionKey::new(PortId::WAN, protocol, destination, *external));
        }
        if let Some(hop) = nat.routes.lookup(*destination.ip()).filter(|hop| hop.port != PortId::WAN) {
            self.key(SessionKey::new(hop.port, protocol, destination, source));
        }
        let owner = nat.owner_from_inside(protocol, host, *destination.ip());
        let is_ours = owner == nat.member.as_ref().map(|member| member.id);
        if let Some(wanted) = wanted.filter(|_| is_ours) {
            let victim = if known.is_none() { nat.port_victim(&wanted, paired) } else { None };
            if let Some(victim) = victim {
                self.port_victim(victim);
            }
            if let Some(pool) = nat.mappings.pool_excerpt(now, protocol, paired, source.port()) {
                if known.is_none() && nat.settings.is_external(*destination.ip()) {
                    // The receiver may be open to the very port that is drawn.
                    let (mut ports, parity) = (PortPool::of_excerpt(pool.clone()), nat.settings.port_parity);
                    let drawn = wanted.port_of(&mut ports, paired, now, parity, &mut nat.rng.clone());
                    let given_up = victim.map(|victim| nat.sessions[victim].external_port);
                    externals.extend(drawn.or(given_up).map(|port| SocketAddrV4::new(paired, port)));
                }
                self.taken.ports = Some((protocol, paired, pool, nat.rng.clone()));
            }
        }
        externals
    }

    /// A packet from outside, or turned round, to an external endpoint of ours.
    fn inbound(
        &mut self,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
    ) {
        let (nat, now) = (self.nat, self.now);
        self.key(SessionKey::new(PortId::WAN, protocol, source, external));
        if let Some(mapping) = nat.mappings.find_external(protocol, external) {
            self.mapping(mapping);
        }
        if let Some(until) = nat.mappings.rests_for_all_until(now, protocol, external) {
            self.taken.closed.push((protocol, external, until));
        }
        // A new source may be admitted where this one is not: what its own mapping brings is asked for only then.
        let Ok(Admission { internal, rule, .. }) =
            nat.judge_inbound(now, protocol, source, external, from_inside)
        else {
            return;
        };
        self.host_at(*internal.ip());
        if let Some(rule) = rule {
            if self.taken.placed.iter().all(|(known, _)| *known != rule) {
                self.taken.placed.push((rule, nat.tally.sessions(rule)));
            }
            if let Some(full_at) = nat.limits.bucket(rule, *source.ip()) {
                self.taken.brakes.push((rule, *source.ip(), full_at));
            }
        }
        if let Some(hop) = nat.routes.lookup(*internal.ip()) {
            self.key(SessionKey::new(hop.port, protocol, internal, source));
        }
    }

    fn key(&mut self, key: SessionKey) {
        if let Some((id, _)) = self.nat.sessions.find_key(key) {
            self.session(id);
        }
    }

    fn session(&mut self, id: SessionId) {
        let Some(session) = self.nat.sessions.get(id) else { return };
        if self.taken.sessions.iter().any(|(known, ..)| *known == id) {
            return;
        }
        self.taken.sessions.push((id, session.clone(), self.nat.tally.rule_of(id)));
        self.host(session.host);
        if session.mapping != NONE {
            self.mapping(session.mapping);
        }
        if session.flags.contains(SessionFlags::HAIRPIN) {
            // Whether it may go on is asked of its other half.
            let remote = session.remote();
            self.key(SessionKey::new(PortId::WAN, session.protocol, session.external(), remote));
            if let Some(mapping) = self.nat.mappings.find_external(session.protocol, remote) {
                self.mapping(mapping);
            }
        }
    }

    /// The session that gives up its port: older than all others here that could, so put back before them.
    fn port_victim(&mut self, id: SessionId) {
        self.session(id);
        let sessions = &mut self.taken.sessions;
        let at = sessions.iter().position(|(known, ..)| *known == id);
        if let Some(at) = at.filter(|&at| at > self.making_room) {
            sessions[self.making_room..=at].rotate_right(1);
        }
    }

    fn mapping(&mut self, id: u32) {
        let Some(mapping) = self.nat.mappings.get(id) else { return };
        if self.taken.mappings.iter().all(|(known, _)| *known != id) {
            self.taken.mappings.push((id, mapping.clone()));
            self.host(mapping.host);
        }
    }

    fn host(&mut self, id: u32) {
        let Some(host) = self.nat.hosts.get(id) else { return };
        self.taken.hosts.retain(|(known, other)| *known != NONE || other.address != host.address);
        if self.taken.hosts.iter().all(|(known, _)| *known != id) {
            self.taken.hosts.push((id, self.counted(host.clone())));
        }
    }

    /// A host with its sessions at all workers.
    fn counted(&self, host: Host) -> Host {
        let sessions = self.nat.member.as_ref().map(|member| member.sessions_of(host.address));
        Host { sessions: sessions.unwrap_or(host.sessions), ..host }
    }

    /// The host of an address, known or not: which external address it has is settled.
    fn host_at(&mut self, address: Ipv4Addr) {
        if let Some(id) = self.nat.hosts.find(address) {
            self.host(id);
        } else if self.taken.hosts.iter().all(|(_, known)| known.address != address) {
            let paired = self.nat.external_address_of(address);
            self.taken.hosts.push((NONE, self.counted(Host::new(address, paired))));
        }
    }

    /// To whom the mappings have been opened, of all whom the packet may make ask.
    fn peers(&mut self, asked: &Asked) {
        let sessions = self.taken.sessions.iter().map(|(_, session, _)| session.remote_address);
        let mut remotes: BTreeSet<Ipv4Addr> = sessions.collect();
        remotes.extend([*asked.source.ip(), *asked.destination.ip()]);
        remotes.extend(self.taken.hosts.iter().map(|(_, host)| host.paired));
        remotes.extend(self.taken.mappings.iter().map(|(_, mapping)| *mapping.external.ip()));
        for (mapping, _) in &self.taken.mappings {
            for &remote in &remotes {
                let sessions = self.nat.peers.sessions(*mapping, remote);
                if sessions > 0 {
                    self.taken.peers.push((*mapping, remote, sessions));
                }
            }
        }
    }
}
