//! To which remote addresses the inside has sent through a mapping: what address-dependent filtering asks
//! (RFC 4787 §5).

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use super::hash::HashKey;
use super::index::Index;
use super::slab::{Place, Slab};

#[derive(Debug)]
struct Peer {
    mapping: u32,
    remote: Ipv4Addr,
    sessions: NonZeroU32,
}

const _: () = assert!(size_of::<Place<Peer>>() == 12);

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

    /// What a pair is known by.
    pub(crate) fn hash(&self, mapping: u32, remote: Ipv4Addr) -> u64 {
        self.key.hash_8(u64::from(mapping) << 32 | u64::from(u32::from(remote)))
    }

    fn find(&self, mapping: u32, remote: Ipv4Addr, hash: u64) -> Option<u32> {
        self.index.find(hash, |id| {
            let peer = &self.peers[id];
            peer.mapping == mapping && peer.remote == remote
        })
    }

    /// Reads where the look-up of a pair begins; see [`Index::touch`].
    pub(crate) fn touch_index(&self, hash: u64) -> u64 {
        self.index.touch(hash)
    }

    /// Whether the mapping has such a session with this remote address.
    pub(crate) fn contains(&self, mapping: u32, remote: Ipv4Addr) -> bool {
        self.find(mapping, remote, self.hash(mapping, remote)).is_some()
    }

    /// How many such sessions it has.
    pub(crate) fn sessions(&self, mapping: u32, remote: Ipv4Addr) -> u32 {
        let found = self.find(mapping, remote, self.hash(mapping, remote));
        found.map_or(0, |id| self.peers[id].sessions.get())
    }

    /// Mapping, remote address and sessions of every pair.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Ipv4Addr, u32)> {
        self.peers.iter().map(|(_, peer)| (peer.mapping, peer.remote, peer.sessions.get()))
    }

    /// Counts one more session of a pair, whose hash is given. There is room for as many pairs as there are sessions.
    pub(crate) fn add(&mut self, mapping: u32, remote: Ipv4Addr, hash: u64) {
        if let Some(id) = self.find(mapping, remote, hash) {
            let sessions = &mut self.peers[id].sessions;
            *sessions = sessions.saturating_add(1);
        } else if let Some(id) = self.peers.insert(Peer { mapping, remote, sessions: NonZeroU32::MIN }) {
            self.index.insert(hash, id);
        }
    }

    /// Counts one session less.
    pub(crate) fn subtract(&mut self, mapping: u32, remote: Ipv4Addr) {
        let hash = self.hash(mapping, remote);
        let Some(id) = self.find(mapping, remote, hash) else { return };
        let sessions = &mut self.peers[id].sessions;
        match NonZeroU32::new(sessions.get() - 1) {
            Some(fewer) => *sessions = fewer,
            None => {
                self.peers.remove(id);
                self.index.remove(hash, id);
            }
        }
    }
}
