//! Sessions: one internal endpoint, seen outside as one external endpoint, with one remote endpoint.
//!
//! A session is found by two keys, one for each direction of its packets, in one [`Index`]. Everything
//! that the fast path needs lies in one cache line.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::hash::HashKey;
use super::index::Index;
use super::policy::Direction;
use super::slab::{Place, Slab};
use super::tcp_state::TcpState;
use crate::frame::PortId;
use crate::link::neighbor::NeighborRef;
use crate::time::Timestamp;
use crate::trail::Step;
use crate::wire::ipv4::Protocol;

/// The number of a session.
pub(crate) type SessionId = u32;

/// No mapping, rule, list neighbour or other thing that is referred to by number.
pub(crate) const NONE: u32 = u32::MAX;

/// What a packet is recognised by: the port it came in by, its protocol and its two endpoints. Ports are
/// ICMP identifiers on the requester's side and 0 on the other; 0 for protocols without ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    /// Source and destination address, in the order in which they lie in a header.
    addresses: u64,
    /// From the top: 16 bits of nothing, port of the router, protocol, source port, destination port.
    rest: u64,
}

impl SessionKey {
    /// No packet's key: protocol 0 from nowhere to nowhere.
    pub(crate) const BLANK: SessionKey = SessionKey { addresses: 0, rest: 0 };

    /// The key of a packet that came in by `port`: its addresses as they lie in the header, its source port and,
    /// in the lower half, its destination port.
    #[inline]
    pub(crate) fn of_header(port: PortId, protocol: Protocol, addresses: [u8; 8], ports: u32) -> SessionKey {
        SessionKey {
            addresses: u64::from_le_bytes(addresses),
            rest: u64::from(ports) | u64::from(protocol.0) << 32 | u64::from(port.0) << 40,
        }
    }

    /// The key of packets from `source` to `destination` that come in by `port`.
    #[inline]
    pub(crate) fn new(
        port: PortId,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Self {
        Self::pack(port, protocol, *source.ip(), source.port(), *destination.ip(), destination.port())
    }

    #[inline]
    fn pack(
        port: PortId,
        protocol: Protocol,
        source: Ipv4Addr,
        source_port: u16,
        destination: Ipv4Addr,
        to_port: u16,
    ) -> Self {
        // As whole words, which the compiler makes one load of where they lie side by side.
        let word = |address: Ipv4Addr| u64::from(u32::from_le_bytes(address.octets()));
        let ports = u64::from(source_port) << 16 | u64::from(to_port);
        SessionKey {
            addresses: word(source) | word(destination) << 32,
            rest: ports | u64::from(protocol.0) << 32 | u64::from(port.0) << 40,
        }
    }

    /// Source and destination address.
    #[inline]
    pub(crate) fn addresses(self) -> [u8; 8] {
        self.addresses.to_le_bytes()
    }

    /// Source port and, in the lower half, destination port.
    #[inline]
    pub(crate) fn ports(self) -> u32 {
        self.rest as u32
    }

    /// Its hash under the router's secret key.
    #[inline]
    pub(crate) fn hash(self, key: HashKey) -> u64 {
        key.hash_14(self.addresses, self.rest)
    }
}

/// Who allowed a session to be opened, which decides what ends it when the plan changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// From inside, on a dynamic mapping (or by address alone, for protocols without ports).
    Outbound,
    /// From inside, by the target of a forward, from the forward's external port.
    ForwardOutbound,
    /// From outside, through a forward.
    Forward,
    /// From outside, on a dynamic mapping whose filtering admits the source.
    Inbound,
    /// From outside, through the DMZ.
    Dmz,
    /// Either way, of a host with an external address of its own.
    OneToOne,
    /// Between lans, or a lan and the box, without NAT.
    Routed,
}

impl Origin {
    /// Every origin, in the order of their numbers.
    pub const ALL: &'static [Origin] = &[
        Origin::Outbound,
        Origin::ForwardOutbound,
        Origin::Forward,
        Origin::Inbound,
        Origin::Dmz,
        Origin::OneToOne,
        Origin::Routed,
    ];

    /// Whether a rule of the plan gave it its external endpoint, rather than a mapping.
    pub(crate) const fn is_by_rule(self) -> bool {
        matches!(self, Origin::ForwardOutbound | Origin::Forward | Origin::Dmz | Origin::OneToOne)
    }

    /// The name in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Origin::Outbound => "outbound",
            Origin::ForwardOutbound | Origin::Forward => "forward",
            Origin::Inbound => "inbound",
            Origin::Dmz => "dmz",
            Origin::OneToOne => "one-to-one",
            Origin::Routed => "routed",
        }
    }
}

/// Flags of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionFlags(u8);

impl SessionFlags {
    /// The other side than the opener's has sent something.
    pub(crate) const ANSWERED: SessionFlags = SessionFlags(1);
    /// The first packet came from outside.
    pub(crate) const OPENED_INBOUND: SessionFlags = SessionFlags(2);
    /// The remote endpoint is one of our own external ones (RFC 4787 §6).
    pub(crate) const HAIRPIN: SessionFlags = SessionFlags(4);
    /// Packets from either side refresh it.
    pub(crate) const REFRESHED_BY_BOTH: SessionFlags = SessionFlags(8);
    /// The inside has sent something on it: what filtering and the life of a mapping go by (RFC 4787 §4.3, §5).
    pub(crate) const SENT: SessionFlags = SessionFlags(16);

    #[inline]
    pub(crate) const fn contains(self, flag: SessionFlags) -> bool {
        self.0 & flag.0 != 0
    }
    #[inline]
    pub(crate) fn set(&mut self, flag: SessionFlags, on: bool) {
        if on { self.0 |= flag.0 } else { self.0 &= !flag.0 }
    }
    /// As one octet.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }
    /// From [`SessionFlags::bits`]; others than those above are dropped.
    pub(crate) const fn from_bits(bits: u8) -> SessionFlags {
        SessionFlags(bits & 31)
    }
    /// Those of `flags` whose condition holds.
    pub(crate) fn of<const N: usize>(flags: [(SessionFlags, bool); N]) -> SessionFlags {
        let mut all = SessionFlags::default();
        for (flag, on) in flags {
            all.set(flag, on);
        }
        all
    }
}

/// One session; exactly one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Session {
    // Addresses and ports in an order in which each key's lie side by side, to be compared by one wide load.
    pub(crate) internal_address: Ipv4Addr,
    pub(crate) remote_address: Ipv4Addr,
    pub(crate) external_address: Ipv4Addr,
    pub(crate) external_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) internal_port: u16,
    pub(crate) protocol: Protocol,
    /// Where its inside packets come in.
    pub(crate) inside_port: PortId,
    /// Where its outside packets come in: the wan, or another lan when routed.
    pub(crate) outside_port: PortId,
    pub(crate) origin: Origin,
    /// Meaningful for TCP only.
    pub(crate) tcp: TcpState,
    pub(crate) flags: SessionFlags,
    /// The plan under which it was last found to be allowed.
    pub(crate) epoch: u32,
    /// The dynamic mapping that it uses, or [`NONE`].
    pub(crate) mapping: u32,
    /// Valid strictly before.
    pub(crate) expires: Timestamp,
    /// Next hop of inbound packets.
    pub(crate) inside_hop: Option<NeighborRef>,
    /// Next hop of outbound packets.
    pub(crate) outside_hop: Option<NeighborRef>,
    /// The internal host's number.
    pub(crate) host: u32,
    /// Neighbours in the eviction list that it is in, or [`NONE`].
    pub(crate) evict_next: u32,
    pub(crate) evict_previous: u32,
}

const _: () = assert!(size_of::<Place<Session>>() == 64);

impl Session {
    pub(crate) fn internal(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.internal_address, self.internal_port)
    }
    pub(crate) fn external(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.external_address, self.external_port)
    }
    pub(crate) fn remote(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.remote_address, self.remote_port)
    }

    /// What outbound packets look like before translation.
    #[inline]
    pub(crate) fn outbound_key(&self) -> SessionKey {
        SessionKey::pack(
            self.inside_port,
            self.protocol,
            self.internal_address,
            self.internal_port,
            self.remote_address,
            self.remote_port,
        )
    }

    /// What inbound packets look like before translation.
    #[inline]
    pub(crate) fn inbound_key(&self) -> SessionKey {
        SessionKey::pack(
            self.outside_port,
            self.protocol,
            self.remote_address,
            self.remote_port,
            self.external_address,
            self.external_port,
        )
    }

    /// For a packet that is being explained.
    pub(crate) fn opened_step(&self) -> Step {
        Step::Opened {
            origin: self.origin.name(),
            internal: self.internal(),
            external: self.external(),
            remote: self.remote(),
        }
    }

    /// For a packet of it that is being explained.
    pub(crate) fn known_step(&self, direction: Direction) -> Step {
        Step::Known {
            direction,
            origin: self.origin.name(),
            internal: self.internal(),
            external: self.external(),
            remote: self.remote(),
        }
    }

    #[inline(always)]
    pub(crate) fn key(&self, direction: Direction) -> SessionKey {
        match direction {
            Direction::Outbound => self.outbound_key(),
            Direction::Inbound => self.inbound_key(),
        }
    }

    /// Whether it counts for the `max_sessions` of its forward: until both sides have closed it. After an RST it still
    /// does, since that may be forged and the connection go on.
    pub(crate) fn takes_place(&self) -> bool {
        let is_over = self.protocol == Protocol::TCP && self.tcp == TcpState::BothFin;
        self.origin == Origin::Forward && !is_over
    }

    /// Whether nobody has answered its opener yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        if self.protocol == Protocol::TCP {
            self.tcp.is_unanswered()
        } else {
            !self.flags.contains(SessionFlags::ANSWERED)
        }
    }
}

/// All sessions, by number and by key.
#[derive(Debug)]
pub(crate) struct SessionTable {
    sessions: Slab<Session>,
    index: Index,
    key: HashKey,
}

/// A session number and a direction in one index value.
#[inline]
const fn tagged(id: SessionId, direction: Direction) -> u32 {
    id << 1 | matches!(direction, Direction::Inbound) as u32
}

#[inline]
const fn untagged(value: u32) -> (SessionId, Direction) {
    (value >> 1, if value & 1 == 0 { Direction::Outbound } else { Direction::Inbound })
}

impl SessionTable {
    /// A table for `capacity` sessions, below 2^30.
    pub(crate) fn new(capacity: u32, key: HashKey) -> SessionTable {
        assert!(capacity < 1 << 30, "session numbers and a direction bit share 32 bits");
        SessionTable { sessions: Slab::new(capacity as usize), index: Index::new(2 * capacity as usize), key }
    }

    /// Makes room for `capacity` sessions in all.
    pub(crate) fn grow(&mut self, capacity: u32) {
        self.sessions.grow(capacity as usize);
        self.index.grow(2 * capacity as usize);
    }

    #[inline]
    pub(crate) fn hash(&self, key: SessionKey) -> u64 {
        key.hash(self.key)
    }

    /// The session whose packets in some direction look like `key`.
    #[inline]
    pub(crate) fn find(&self, key: SessionKey, hash: u64) -> Option<(SessionId, Direction)> {
        self.index.find(hash, |value| self.is(value, key)).map(untagged)
    }

    /// Reads where the look-up of `hash` begins, for it to be in the cache; see [`Index::touch`].
    #[inline]
    pub(crate) fn touch_index(&self, hash: u64) -> u64 {
        self.index.touch(hash)
    }

    /// Reads a session, for it to be in the cache. What is read means nothing.
    #[inline]
    pub(crate) fn touch(&self, id: SessionId) -> u64 {
        self.sessions.get(id).map_or(0, |session| session.expires.as_nanos())
    }

    /// A guess at [`SessionTable::find`] that touches the index only; prove it by [`SessionTable::confirm`].
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<(SessionId, Direction)> {
        self.index.candidate(hash).map(untagged)
    }

    /// Whether packets like `key` belong to this session in this direction.
    #[inline]
    pub(crate) fn confirm(&self, candidate: (SessionId, Direction), key: SessionKey) -> bool {
        self.is(tagged(candidate.0, candidate.1), key)
    }

    #[inline]
    fn is(&self, value: u32, key: SessionKey) -> bool {
        let (id, direction) = untagged(value);
        self.sessions.get(id).is_some_and(|session| session.key(direction) == key)
    }

    /// Whether a session already has this key.
    pub(crate) fn find_key(&self, key: SessionKey) -> Option<(SessionId, Direction)> {
        self.find(key, self.hash(key))
    }

    /// Adds a session, neither of whose keys is in use; `None` when the table is full. `hashes` are those of its
    /// outbound and its inbound key.
    pub(crate) fn insert(&mut self, session: Session, hashes: [u64; 2]) -> Option<SessionId> {
        let id = self.sessions.insert(session)?;
        self.index.insert(hashes[0], tagged(id, Direction::Outbound));
        self.index.insert(hashes[1], tagged(id, Direction::Inbound));
        Some(id)
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.index.remove(self.hash(session.outbound_key()), tagged(id, Direction::Outbound));
        self.index.remove(self.hash(session.inbound_key()), tagged(id, Direction::Inbound));
        Some(session)
    }

    #[inline]
    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }
    #[inline]
    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id)
    }
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
    /// One more than the highest number ever used.
    pub(crate) fn end(&self) -> SessionId {
        self.sessions.end()
    }
}

impl std::ops::Index<SessionId> for SessionTable {
    type Output = Session;
    #[inline]
    fn index(&self, id: SessionId) -> &Session {
        &self.sessions[id]
    }
}

impl std::ops::IndexMut<SessionId> for SessionTable {
    #[inline]
    fn index_mut(&mut self, id: SessionId) -> &mut Session {
        &mut self.sessions[id]
    }
}
