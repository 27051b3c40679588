//! Mappings and ports as an excerpt of another router has them.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Mapping, MappingTable, pool_index};
use crate::nat::port_pool::{PortPool, PortsExcerpt};
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

impl MappingTable {
    /// The ports of an external address as far as they matter to who would like `preferred`.
    pub(crate) fn pool_excerpt(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: Ipv4Addr,
        preferred: u16,
    ) -> Option<PortsExcerpt> {
        let ports = &self.externals.get(&external)?[pool_index(protocol)?];
        Some(ports.pool.excerpt(now, preferred))
    }

    /// Takes such ports for those of an address.
    pub(crate) fn replace_pool(&mut self, protocol: Protocol, external: Ipv4Addr, part: PortsExcerpt) {
        if let Some((ports, index)) = self.externals.get_mut(&external).zip(pool_index(protocol)) {
            ports[index].pool = PortPool::of_excerpt(part);
        }
    }

    /// Until when a port is kept from everybody; `None` when it is not.
    pub(crate) fn rests_for_all_until(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: SocketAddrV4,
    ) -> Option<Timestamp> {
        let ports = &self.externals.get(external.ip())?[pool_index(protocol)?];
        ports.pool.rests_for_all_until(now, external.port())
    }

    /// Takes in a mapping with the sessions that it counts.
    pub(crate) fn put_back(&mut self, mapping: Mapping) -> Option<u32> {
        let Mapping { protocol, internal, external, scope, revoked, .. } = mapping;
        let hash = self.hash(protocol, internal, scope);
        let id = self.mappings.insert(mapping)?;
        if revoked {
            return Some(id);
        }
        if let Some((ports, index)) = self.externals.get_mut(external.ip()).zip(pool_index(protocol)) {
            // Taken already where the ports came along.
            ports[index].pool.claim(external.port());
            ports[index].owner[external.port() as usize] = id + 1;
        }
        self.by_internal.insert(hash, id);
        Some(id)
    }
}
