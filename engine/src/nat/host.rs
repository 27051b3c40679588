//! Internal hosts that have sessions: what each of them uses, against its limits.

use std::net::Ipv4Addr;

use super::hash::HashKey;
use super::host_traffic::{HostTraffic, Weight};
use super::index::Index;
use super::policy::Direction;
use super::slab::Slab;
use crate::link::neighbor::NeighborRef;
use crate::time::Timestamp;

/// Hosts that may have sessions at the same time, however small the table of sessions is.
const FEWEST: u32 = 1 << 16;

/// How many hosts there can be when there is room for so many `sessions`: a quarter, and 65,536 at least.
pub(crate) fn most_hosts(sessions: u32) -> u32 {
    (sessions / 4).max(FEWEST).min(sessions)
}

/// One internal host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    /// The external address that all its mappings share (RFC 4787 REQ-2, paired pooling).
    pub(crate) paired: Ipv4Addr,
    pub(crate) sessions: u32,
    /// Dynamic mappings by [`super::mapping::pool_index`].
    pub(crate) ports: [u32; 3],
    /// Its neighbor, or the one that leads to it, as last found by the route of the plan in force.
    pub(crate) hop: Option<NeighborRef>,
    /// What it sends and receives by the wan.
    pub(crate) traffic: HostTraffic,
}

impl Host {
    /// One that has nothing yet.
    pub(crate) fn new(address: Ipv4Addr, paired: Ipv4Addr) -> Host {
        let traffic = HostTraffic::default();
        Host { address, paired, sessions: 0, ports: [0; 3], hop: None, traffic }
    }
}

/// The hosts that have sessions or mappings now.
#[derive(Debug)]
pub(crate) struct HostTable {
    hosts: Slab<Host>,
    index: Index,
    key: HashKey,
    /// Of the octets that are counted.
    weight: Weight,
    keeps_idle: bool,
}

impl HostTable {
    pub(crate) fn new(capacity: u32, key: HashKey) -> HostTable {
        HostTable {
            hosts: Slab::new(capacity as usize),
            index: Index::new(capacity as usize),
            key,
            weight: Weight::at(Timestamp::ZERO),
            keeps_idle: false,
        }
    }

    /// From now on hosts stay that use nothing any more: in an excerpt, where nothing else tells which external address
    /// a host has.
    pub(crate) fn keep_idle(&mut self) {
        self.keeps_idle = true;
    }

    pub(crate) fn grow(&mut self, capacity: u32) {
        self.hosts.grow(capacity as usize);
        self.index.grow(capacity as usize);
    }

    fn hash(&self, address: Ipv4Addr) -> u64 {
        self.key.hash_4(address.to_bits())
    }

    /// One more than the highest number ever used.
    pub(crate) fn end(&self) -> u32 {
        self.hosts.end()
    }

    /// The host of that number, if there is one.
    pub(crate) fn get(&self, id: u32) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// The host of that number, if there is one.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Host> {
        self.hosts.get_mut(id)
    }

    /// Counts octets for a host, if there is one of that number.
    #[inline]
    pub(crate) fn count(&mut self, id: u32, now: Timestamp, direction: Direction, octets: u64) {
        self.weight.follow(now);
        if let Some(host) = self.hosts.get_mut(id) {
            host.traffic.add(&self.weight, direction, octets);
        }
    }

    /// Reads a host, for it to be in the cache. What is read means nothing.
    pub(crate) fn touch(&self, id: u32) -> u64 {
        self.hosts.get(id).map_or(0, |host| host.sessions.into())
    }

    /// Forgets all next hops: the routes have changed.
    pub(crate) fn forget_hops(&mut self) {
        for id in 0..self.hosts.end() {
            if let Some(host) = self.hosts.get_mut(id) {
                host.hop = None;
            }
        }
    }

    /// The host's number, if it is known; `guess` is tried first.
    #[inline]
    pub(crate) fn find_near(&self, guess: u32, address: Ipv4Addr) -> Option<u32> {
        match self.hosts.get(guess) {
            Some(host) if host.address == address => Some(guess),
            _ => self.find(address),
        }
    }

    /// The host's number, if it is known.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<u32> {
        self.index.find(self.hash(address), |id| self.hosts[id].address == address)
    }

    /// Makes a host that is not there; `None` when there is no room for another one.
    pub(crate) fn insert(&mut self, address: Ipv4Addr, paired: Ipv4Addr) -> Option<u32> {
        let id = self.hosts.insert(Host::new(address, paired))?;
        self.index.insert(self.hash(address), id);
        Some(id)
    }

    /// All hosts.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Host)> {
        self.hosts.iter()
    }

    /// Forgets a host that uses nothing any more.
    pub(crate) fn remove_if_idle(&mut self, id: u32) {
        let Some(host) = self.hosts.get(id) else { return };
        if host.sessions == 0 && host.ports == [0; 3] && !self.keeps_idle {
            let address = host.address;
            self.hosts.remove(id);
            self.index.remove(self.hash(address), id);
        }
    }
}

impl std::ops::Index<u32> for HostTable {
    type Output = Host;
    fn index(&self, id: u32) -> &Host {
        &self.hosts[id]
    }
}

impl std::ops::IndexMut<u32> for HostTable {
    fn index_mut(&mut self, id: u32) -> &mut Host {
        &mut self.hosts[id]
    }
}
