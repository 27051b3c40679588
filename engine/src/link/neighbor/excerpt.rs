//! Single neighbors, read out of one table and put into another that is made for one packet.

use std::net::Ipv4Addr;

use super::{Entry, HeldFrame, NeighborTable, State, index_key};
use crate::frame::{Offload, PortId};
use crate::time::Timestamp;
use crate::wire::ethernet::MacAddr;

/// A neighbor without the frames that wait for it.
#[derive(Clone, Debug)]
pub(crate) struct NeighborExcerpt {
    state: State,
    port: PortId,
    mac: MacAddr,
    ip: Ipv4Addr,
    last_used: Timestamp,
    updated: Timestamp,
    heard: Timestamp,
    deadline: Timestamp,
    tries: u8,
    /// How many they are.
    held: usize,
}

impl NeighborTable {
    /// A neighbor, if there is an entry for it.
    pub(crate) fn excerpt(&self, port: PortId, ip: Ipv4Addr) -> Option<NeighborExcerpt> {
        let slot = *self.index.get(&index_key(port, ip))?;
        let &Entry { state, port, mac, ip, last_used, updated, heard, deadline, tries, ref held, .. } =
            &self.entries[slot as usize];
        let held = held.len();
        Some(NeighborExcerpt { state, port, mac, ip, last_used, updated, heard, deadline, tries, held })
    }

    /// Frames that wait for all neighbors together, and their octets.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held_frames, self.held_octets)
    }

    /// Counts so many frames as waiting.
    pub(crate) fn set_held(&mut self, (frames, octets): (usize, usize)) {
        (self.held_frames, self.held_octets) = (frames, octets);
    }

    /// Takes in a neighbor that is not there. Frames without octets wait for it.
    pub(crate) fn put_back(&mut self, now: Timestamp, neighbor: NeighborExcerpt) {
        let NeighborExcerpt { state, port, mac, ip, last_used, updated, heard, deadline, tries, held } =
            neighbor;
        if self.index.contains_key(&index_key(port, ip)) {
            return;
        }
        let Some(slot) = self.room(now, port) else { return };
        self.occupy(now, slot, port, ip);
        self.enter(slot, state, deadline);
        let epoch = 0;
        let nothing =
            || HeldFrame { bytes: Vec::new(), offload: Offload::default(), inbound_port: port, epoch };
        let entry = &mut self.entries[slot as usize];
        (entry.mac, entry.tries) = (mac, tries);
        (entry.last_used, entry.updated, entry.heard) = (last_used, updated, heard);
        entry.held.extend(std::iter::repeat_with(nothing).take(held));
    }
}
