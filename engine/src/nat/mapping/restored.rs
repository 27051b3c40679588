//! Mappings of an earlier process, at the very port that they had.

use std::net::SocketAddrV4;

use super::{Mapping, MappingTable, Wanted, pool_index};
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

impl MappingTable {
    /// The dynamic mapping of `internal` with this scope, if it has this external endpoint already; the inner error is
    /// that it has another one, or the endpoint another owner.
    pub(crate) fn find_like_saved(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        external: SocketAddrV4,
        scope: SocketAddrV4,
    ) -> Result<Option<u32>, ()> {
        let Some(pool) = pool_index(protocol) else { return Err(()) };
        let hash = self.hash(protocol, internal, scope);
        let wanted = Wanted { protocol, internal, remote: scope, scope, pool, hash };
        let (here, there) = (self.find_internal(wanted), self.find_external(protocol, external));
        if here == there { Ok(here) } else { Err(()) }
    }

    /// Makes a mapping without sessions at this external endpoint, inside or outside of the range of dynamic ports.
    /// The caller knows from [`MappingTable::find_like_saved`] that there is none like it. `None` when the port is
    /// somebody else's, here or at another worker, or the table is full.
    pub(crate) fn restore(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        internal: SocketAddrV4,
        external: SocketAddrV4,
        scope: SocketAddrV4,
        host: u32,
    ) -> Option<u32> {
        let hash = self.hash(protocol, internal, scope);
        let ports = &mut self.externals.get_mut(external.ip())?[pool_index(protocol)?];
        if !ports.pool.claim(external.port()) {
            return None;
        }
        let mapping =
            Mapping { protocol, internal, external, scope, host, sessions: 0, sent: 0, revoked: false };
        let Some(id) = self.mappings.insert(mapping) else {
            ports.pool.release(now, external.port(), *internal.ip());
            return None;
        };
        ports.owner[external.port() as usize] = id + 1;
        self.by_internal.insert(hash, id);
        Some(id)
    }
}
