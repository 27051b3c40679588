//! Dynamic mappings: an internal endpoint and the external endpoint that it has for as long as it has
//! sessions.

mod excerpt;
mod restored;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use super::hash::HashKey;
use super::index::Index;
use super::policy::MappingBehavior;
use super::port_pool::{Claims, PortPool};
use super::session::NONE;
use super::slab::{Place, Slab};
use crate::frame::PortId;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::team::{Holder, Member};
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// One dynamic mapping.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) protocol: Protocol,
    pub(crate) internal: SocketAddrV4,
    pub(crate) external: SocketAddrV4,
    /// For which remotes it holds: any (unspecified, 0), one address (port 0), or one endpoint.
    pub(crate) scope: SocketAddrV4,
    pub(crate) host: u32,
    pub(crate) sessions: u32,
    /// Sessions on which the inside has sent something. Without any it admits nobody new, so that no remote
    /// can keep it open by ever new sessions (RFC 4787 §4.3).
    pub(crate) sent: u32,
    /// Its external endpoint is no longer its own; it stays until its last session is gone.
    pub(crate) revoked: bool,
}

const _: () = assert!(size_of::<Place<Mapping>>() == 32);

/// A mapping that is looked for, or to be made for its first session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) protocol: Protocol,
    pub(crate) internal: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    scope: SocketAddrV4,
    /// [`pool_index`] of the protocol.
    pub(crate) pool: usize,
    hash: u64,
}

impl Wanted {
    /// A free port of `external` for it, the internal one where possible. When it is a hairpin, the port that it speaks
    /// to is somebody else's, the DMZ's maybe: not to be taken from under it. `None` when no port is left.
    pub(super) fn port_of(
        &self,
        pool: &mut PortPool,
        external: Ipv4Addr,
        now: Timestamp,
        keep_parity: bool,
        rng: &mut Rng,
    ) -> Option<u16> {
        let (preferred, owner) = (self.internal.port(), *self.internal.ip());
        if *self.remote.ip() == external {
            pool.allocate_other(self.remote.port(), now, preferred, owner, keep_parity, rng)
        } else {
            pool.allocate(now, preferred, owner, keep_parity, rng)
        }
    }

    /// What the index knows it by.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// The part of a remote endpoint that a mapping depends on.
fn scope(behavior: MappingBehavior, remote: SocketAddrV4) -> SocketAddrV4 {
    match behavior {
        MappingBehavior::EndpointIndependent => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        MappingBehavior::AddressDependent => SocketAddrV4::new(*remote.ip(), 0),
        MappingBehavior::AddressAndPortDependent => remote,
    }
}

/// Protocols with ports or identifiers have a pool each.
pub(crate) const fn pool_index(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(0),
        Protocol::UDP => Some(1),
        Protocol::ICMP => Some(2),
        _ => None,
    }
}

const SECOND: u64 = 1_000_000_000;

/// Identifiers of ICMP queries.
const IDENTIFIERS: usize = 1 << 16;

const POOL_PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP];

/// The ports of one external address and protocol: who may have one, and who has it.
#[derive(Debug)]
struct ExternalPorts {
    pool: PortPool,
    /// Mapping number + 1 by port; 0 is nobody.
    owner: Vec<u32>,
}

/// How many dynamic mappings there can be under a plan: no more than ports, and each has a session. Those that a
/// plan change has ended count until their sessions are found out.
pub(crate) fn most_mappings(plan: &Plan) -> u32 {
    let ports = 2 * plan.nat.ports.len() + IDENTIFIERS;
    let ports = ports.saturating_mul(plan.wan.external_addresses().count().max(1));
    plan.nat.max_sessions.min(u32::try_from(ports).unwrap_or(u32::MAX)).max(1)
}

/// All dynamic mappings.
#[derive(Debug)]
pub(crate) struct MappingTable {
    mappings: Slab<Mapping>,
    by_internal: Index,
    externals: BTreeMap<Ipv4Addr, [ExternalPorts; 3]>,
    range: RangeInclusive<u16>,
    key: HashKey,
    /// Who else hands out ports of the same addresses.
    member: Option<Member>,
}

impl MappingTable {
    pub(crate) fn new(
        capacity: u32,
        key: HashKey,
        range: RangeInclusive<u16>,
        member: Option<Member>,
    ) -> MappingTable {
        MappingTable {
            mappings: Slab::new(capacity as usize),
            by_internal: Index::new(capacity as usize),
            externals: BTreeMap::new(),
            range,
            key,
            member,
        }
    }

    pub(crate) fn grow(&mut self, capacity: u32) {
        self.mappings.grow(capacity as usize);
        self.by_internal.grow(capacity as usize);
    }

    fn hash(&self, protocol: Protocol, internal: SocketAddrV4, scope: SocketAddrV4) -> u64 {
        let internal_word = u64::from(u32::from(*internal.ip())) << 32
            | u64::from(internal.port()) << 16
            | u64::from(protocol.0);
        let scope_word = u64::from(u32::from(*scope.ip())) << 32 | u64::from(scope.port()) << 16 | 3;
        self.key.hash(internal_word, scope_word)
    }

    /// What to ask for on behalf of an internal endpoint that speaks to `remote`; `None` for protocols without
    /// ports.
    pub(crate) fn want(
        &self,
        behavior: MappingBehavior,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<Wanted> {
        let pool = pool_index(protocol)?;
        let scope = scope(behavior, remote);
        let hash = self.hash(protocol, internal, scope);
        Some(Wanted { protocol, internal, remote, scope, pool, hash })
    }

    /// The mapping that is wanted, if it is there.
    pub(crate) fn find_internal(&self, wanted: Wanted) -> Option<u32> {
        let Wanted { protocol, internal, scope, hash, .. } = wanted;
        self.by_internal.find(hash, |id| {
            let mapping = &self.mappings[id];
            mapping.internal == internal && mapping.scope == scope && mapping.protocol == protocol
        })
    }

    /// Reads where the look-up of a wanted mapping begins; see [`Index::touch`].
    pub(crate) fn touch_index(&self, hash: u64) -> u64 {
        self.by_internal.touch(hash)
    }

    /// A guess at [`MappingTable::find_internal`] that touches the index only.
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.by_internal.candidate(hash)
    }

    /// The numbers of the mappings that will be made next, in their order.
    pub(crate) fn upcoming(&self) -> impl Iterator<Item = u32> {
        self.mappings.upcoming()
    }

    /// The mapping that owns an external endpoint.
    pub(crate) fn find_external(&self, protocol: Protocol, external: SocketAddrV4) -> Option<u32> {
        let ports = &self.externals.get(external.ip())?[pool_index(protocol)?];
        ports.owner[external.port() as usize].checked_sub(1)
    }

    /// Which worker has an external endpoint; nobody without a team.
    pub(crate) fn holder(&self, protocol: Protocol, external: SocketAddrV4) -> Holder {
        let ports = self.externals.get(external.ip()).zip(pool_index(protocol));
        let claims = ports.and_then(|(ports, pool)| ports[pool].pool.claims());
        claims.map_or(Holder::Nobody, |claims| claims.ports().holder(external.port()))
    }

    /// Tells other workers where the host of a mapping is.
    pub(crate) fn set_inside(&self, id: u32, inside: PortId) {
        let mapping = &self.mappings[id];
        let ports = self.externals.get(mapping.external.ip()).zip(pool_index(mapping.protocol));
        if let Some((ports, pool)) = ports {
            ports[pool].pool.set_inside(mapping.external.port(), inside);
        }
    }

    /// Makes a wanted mapping at a free port of `external`, the internal one where possible. `None` when no port is left.
    pub(crate) fn create(
        &mut self,
        now: Timestamp,
        wanted: Wanted,
        external: Ipv4Addr,
        host: u32,
        keep_parity: bool,
        rng: &mut Rng,
    ) -> Option<u32> {
        let Wanted { protocol, internal, scope, pool, hash, .. } = wanted;
        let ports = &mut self.externals.get_mut(&external)?[pool];
        let port = wanted.port_of(&mut ports.pool, external, now, keep_parity, rng)?;
        let mapping = Mapping {
            protocol,
            internal,
            external: SocketAddrV4::new(external, port),
            scope,
            host,
            sessions: 0,
            sent: 0,
            revoked: false,
        };
        let Some(id) = self.mappings.insert(mapping) else {
            ports.pool.release(now, port, *internal.ip());
            return None;
        };
        ports.owner[port as usize] = id + 1;
        self.by_internal.insert(hash, id);
        Some(id)
    }

    /// Takes the endpoint away from a mapping, which then only waits for its sessions to go.
    fn detach(&mut self, id: u32) {
        let mapping = &self.mappings[id];
        let hash = self.hash(mapping.protocol, mapping.internal, mapping.scope);
        self.by_internal.remove(hash, id);
        let external = mapping.external;
        if let (Some(ports), Some(pool)) =
            (self.externals.get_mut(external.ip()), pool_index(mapping.protocol))
        {
            let owner = &mut ports[pool].owner[external.port() as usize];
            if *owner == id + 1 {
                *owner = 0;
            }
        }
    }

    /// Counts one session more.
    pub(crate) fn add_session(&mut self, id: u32) {
        self.mappings[id].sessions += 1;
    }

    /// Counts one session more, or less, on which the inside has sent something.
    pub(crate) fn count_sent(&mut self, id: u32, more: bool) {
        let sent = &mut self.mappings[id].sent;
        *sent = if more { *sent + 1 } else { sent.saturating_sub(1) };
    }

    /// Counts one session less; the mapping ends with its last, and its port rests. Returns what ended.
    pub(crate) fn drop_session(&mut self, now: Timestamp, id: u32) -> Option<Mapping> {
        let mapping = &mut self.mappings[id];
        mapping.sessions = mapping.sessions.saturating_sub(1);
        if mapping.sessions > 0 {
            return None;
        }
        if !mapping.revoked {
            self.detach(id);
            let mapping = &self.mappings[id];
            let (external, host) = (mapping.external, *mapping.internal.ip());
            if let (Some(ports), Some(pool)) =
                (self.externals.get_mut(external.ip()), pool_index(mapping.protocol))
            {
                ports[pool].pool.release(now, external.port(), host);
            }
        }
        self.mappings.remove(id)
    }

    /// Ends those mappings at once whose external endpoint is not theirs any more. Their sessions are found
    /// out one by one. Returns their numbers.
    pub(crate) fn revoke_where(&mut self, now: Timestamp, is_over: impl Fn(&Mapping) -> bool) -> Vec<u32> {
        let over: Vec<u32> =
            self.mappings.iter().filter(|(_, m)| !m.revoked && is_over(m)).map(|(id, _)| id).collect();
        for &id in &over {
            self.detach(id);
            let mapping = &mut self.mappings[id];
            mapping.revoked = true;
            let (external, host, protocol) = (mapping.external, *mapping.internal.ip(), mapping.protocol);
            if let (Some(ports), Some(pool)) = (self.externals.get_mut(external.ip()), pool_index(protocol)) {
                ports[pool].pool.release(now, external.port(), host);
            }
        }
        over
    }

    /// Sets the external addresses, the dynamic ports, and the ports that are never handed out.
    pub(crate) fn set_externals<I: Iterator<Item = u16>>(
        &mut self,
        addresses: impl Iterator<Item = Ipv4Addr>,
        range: RangeInclusive<u16>,
        reserved: impl Fn(Protocol, Ipv4Addr) -> I,
    ) {
        let mut before = std::mem::take(&mut self.externals);
        let range_changed = range != self.range;
        self.range = range;
        for address in addresses {
            if self.externals.contains_key(&address) {
                continue;
            }
            let mut ports = before.remove(&address).unwrap_or_else(|| {
                let owners = self.member.as_ref().map(|member| (member.owners_of(address), member.id));
                let mut pools = 0..;
                POOL_PROTOCOLS.map(|protocol| {
                    let (range, number) = (self.range_of(protocol), pools.next().unwrap_or_default());
                    let pool = match &owners {
                        None => PortPool::new(range),
                        Some((owners, worker)) => {
                            PortPool::shared(range, Claims::new(owners.clone(), number, *worker))
                        }
                    };
                    ExternalPorts { pool, owner: vec![0; 1 << 16] }
                })
            });
            for (protocol, ports) in POOL_PROTOCOLS.into_iter().zip(&mut ports) {
                if range_changed {
                    ports.pool.set_range(self.range_of(protocol));
                }
                ports.pool.set_reserved(reserved(protocol, address));
            }
            self.externals.insert(address, ports);
        }
    }

    /// When the next port comes free that this worker keeps from others, rounded up to a second: ports come free
    /// one by one.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.member.as_ref()?;
        let at = self.externals.values().flatten().filter_map(|ports| ports.pool.next_deadline()).min()?;
        Some(Timestamp::from_secs(at.as_nanos().div_ceil(SECOND)))
    }

    /// Asks the other workers for a port of an address that has none left.
    pub(crate) fn ask_for_port(&self, protocol: Protocol, external: Ipv4Addr) {
        let ports = self.externals.get(&external).zip(pool_index(protocol));
        if let Some(claims) = ports.and_then(|(ports, pool)| ports[pool].pool.claims()) {
            claims.ports().ask();
        }
    }

    /// Whether another worker has asked for a port.
    pub(crate) fn is_asked(&self) -> bool {
        self.member.is_some() && self.externals.values().flatten().any(|ports| ports.pool.is_asked())
    }

    /// What another worker has asked for and this one has not looked into.
    pub(crate) fn take_request(&mut self) -> Option<(Protocol, Ipv4Addr)> {
        self.externals.iter_mut().find_map(|(address, ports)| {
            let pools = POOL_PROTOCOLS.into_iter().zip(ports);
            let mut asked =
                pools.filter_map(|(protocol, ports)| ports.pool.take_request().then_some(protocol));
            asked.next().map(|protocol| (protocol, *address))
        })
    }

    /// Says that this worker makes room for what was asked; false when another has done so.
    pub(crate) fn answer_request(&self, protocol: Protocol, external: Ipv4Addr) -> bool {
        let ports = self.externals.get(&external).zip(pool_index(protocol));
        let claims = ports.and_then(|(ports, pool)| ports[pool].pool.claims());
        claims.is_some_and(|claims| claims.ports().answer())
    }

    /// Frees ports that this worker need not keep from others any longer, a portion of them.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        if self.member.is_none() {
            return;
        }
        for ports in self.externals.values_mut().flatten() {
            ports.pool.expire(now);
        }
    }

    /// Identifiers of ICMP queries are not ports: all of them are to be had.
    fn range_of(&self, protocol: Protocol) -> RangeInclusive<u16> {
        if protocol == Protocol::ICMP { 0..=u16::MAX } else { self.range.clone() }
    }

    /// Keeps an external port from everybody until then.
    pub(crate) fn rest_for_all(&mut self, protocol: Protocol, external: SocketAddrV4, until: Timestamp) {
        if let (Some(ports), Some(pool)) = (self.externals.get_mut(external.ip()), pool_index(protocol)) {
            ports[pool].pool.rest_for_all(external.port(), until);
        }
    }

    /// Whether a port is kept from everybody.
    pub(crate) fn is_resting_for_all(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: SocketAddrV4,
    ) -> bool {
        match (self.externals.get(external.ip()), pool_index(protocol)) {
            (Some(ports), Some(pool)) => ports[pool].pool.is_resting_for_all(now, external.port()),
            _ => false,
        }
    }

    /// All mappings, revoked ones included.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Mapping)> {
        self.mappings.iter()
    }

    /// What is found for an internal endpoint and scope as this one's.
    #[cfg(test)]
    pub(crate) fn find_like(&self, mapping: &Mapping) -> Option<u32> {
        let Mapping { protocol, internal, scope, .. } = *mapping;
        let (pool, hash) = (pool_index(protocol)?, self.hash(protocol, internal, scope));
        self.find_internal(Wanted { protocol, internal, remote: scope, scope, pool, hash })
    }

    /// How many ports are taken; asserts that each has an owner.
    #[cfg(test)]
    pub(crate) fn owned_ports(&self) -> usize {
        let taken = |ports: &ExternalPorts| {
            let taken = ports.pool.owned();
            assert!(taken.iter().all(|&port| ports.owner[port as usize] != 0));
            taken.len()
        };
        self.externals.values().flatten().map(taken).sum()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Mapping> {
        if id == NONE { None } else { self.mappings.get(id) }
    }
    pub(crate) fn len(&self) -> usize {
        self.mappings.len()
    }
    pub(crate) fn end(&self) -> u32 {
        self.mappings.end()
    }
}

impl std::ops::Index<u32> for MappingTable {
    type Output = Mapping;
    fn index(&self, id: u32) -> &Mapping {
        &self.mappings[id]
    }
}
