//! To which remote addresses the inside has sent through a mapping: what address-dependent filtering asks
//! (RFC 4787 §5).

use std::net::Ipv4Addr;

use super::hash::HashKey;
use super::index::Index;
use super::slab::Slab;

#[derive(Debug)]
struct Peer {
    mapping: u32,
    remote: Ipv4Addr,
    sessions: u32,
}

/// How many sessions with something sent each pair of mapping and remote address has.
#[derive(Debug)]
pub(crate) struct PeerTable {
    peers: Slab<Peer>,
    index: Index,
    key: HashKey,
}

impl PeerTable {
    pub(crate) fn new(capacity: u32, key: HashKey) -> PeerTable {
        PeerTable { peers: Slab::new(capacity as usize), index: Index::new(capacity as usize), key }
    }

    pub(crate) fn grow(&mut self, capacity: u32) {
        self.peers.grow(capacity as usize);
        self.index.grow(capacity as usize);
    }

    fn hash(&self, mapping: u32, remote: Ipv4Addr) -> u64 {
        self.key.hash(u64::from(mapping) << 32 | u64::from(u32::from(remote)), 2)
    }

    fn find(&self, mapping: u32, remote: Ipv4Addr) -> Option<u32> {
        self.index.find(self.hash(mapping, remote), |id| {
            let peer = &self.peers[id];
            peer.mapping == mapping && peer.remote == remote
        })
    }

    /// Whether the mapping has such a session with this remote address.
    pub(crate) fn contains(&self, mapping: u32, remote: Ipv4Addr) -> bool {
        self.find(mapping, remote).is_some()
    }

    /// Mapping, remote address and sessions of every pair.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Ipv4Addr, u32)> {
        self.peers.iter().map(|(_, peer)| (peer.mapping, peer.remote, peer.sessions))
    }

    /// Counts one more session. There is room for as many pairs as there are sessions.
    pub(crate) fn add(&mut self, mapping: u32, remote: Ipv4Addr) {
        if let Some(id) = self.find(mapping, remote) {
            self.peers[id].sessions += 1;
        } else if let Some(id) = self.peers.insert(Peer { mapping, remote, sessions: 1 }) {
            self.index.insert(self.hash(mapping, remote), id);
        }
    }

    /// Counts one session less.
    pub(crate) fn subtract(&mut self, mapping: u32, remote: Ipv4Addr) {
        let Some(id) = self.find(mapping, remote) else { return };
        self.peers[id].sessions -= 1;
        if self.peers[id].sessions == 0 {
            self.peers.remove(id);
            self.index.remove(self.hash(mapping, remote), id);
        }
    }
}
