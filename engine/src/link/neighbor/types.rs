//! What goes into the ARP cache and what comes out.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::event::Event;
use crate::frame::{Offload, PortId};
use crate::wire::ethernet::MacAddr;

/// Bounds and times of a [`NeighborTable`](super::NeighborTable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Entries of all ports together, 1 to 65,536. Default 4096.
    pub max_entries: u32,
    /// Entries per port that wait for their first answer. Default 512.
    pub max_incomplete_per_port: u32,
    /// How long an entry that waits is left alone when its port has too many of them. Default 250 ms, so with 512 of
    /// them a port asks for at most 2048 new addresses per second.
    pub recycle_after: Duration,
    /// Free entries that requests from the wire leave for our own needs. Default 1024.
    pub learn_reserve: u32,
    /// Frames that wait for one neighbor. Default 16 (RFC 1122 §2.3.2.2 asks for at least one).
    pub held_per_entry: usize,
    /// Frames that wait in all. Default 512.
    pub held_frames: usize,
    /// Octets of frames that wait in all. Default 4 MiB: super-frames have up to 64 KiB.
    pub held_octets: usize,
    /// How long an answer is good for. Default 30 s (RFC 4861 §10 REACHABLE_TIME).
    pub reachable: Duration,
    /// How long a stale entry is kept without use. Default 10 minutes.
    pub idle: Duration,
    /// How long an entry is kept that was learned from a request and never used. Default 60 s.
    pub learned: Duration,
    /// Time between requests for one address. Default 1 s, the most often that RFC 1122 §2.3.2.1 allows.
    pub probe_interval: Duration,
    /// Requests without an answer before giving up, by unicast and by broadcast each. Default 3 (RFC 4861 §10).
    pub tries: u8,
    /// How long a failed entry refuses frames. Default 2 s.
    pub failed: Duration,
    /// How long a MAC address is kept against another one that claims the same IP address. Default 1 s, so that of
    /// two answers to one request the first holds.
    pub move_lock: Duration,
}

impl Default for NeighborConfig {
    fn default() -> NeighborConfig {
        NeighborConfig {
            max_entries: 4096,
            max_incomplete_per_port: 512,
            recycle_after: Duration::from_millis(250),
            learn_reserve: 1024,
            held_per_entry: 16,
            held_frames: 512,
            held_octets: 4 << 20,
            reachable: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            learned: Duration::from_secs(60),
            probe_interval: Duration::from_secs(1),
            tries: 3,
            failed: Duration::from_secs(2),
            move_lock: Duration::from_secs(1),
        }
    }
}

/// A frame that waits for an answer; its Ethernet addresses are yet to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFrame {
    /// The Ethernet frame.
    pub bytes: Vec<u8>,
    /// What is left for the device to finish.
    pub offload: Offload,
    /// Where it came from, for the ICMP error when nobody answers.
    pub inbound_port: PortId,
    /// The plan under which it was judged.
    pub epoch: u32,
}

/// Something for the caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighborAction {
    /// Send an ARP request.
    Request {
        /// Out of this port.
        port: PortId,
        /// Asking for this address.
        target: Ipv4Addr,
        /// To this MAC address, or to everybody.
        unicast: Option<MacAddr>,
    },
    /// Send a frame that waited.
    Release {
        /// Out of this port.
        port: PortId,
        /// To this MAC address.
        mac: MacAddr,
        /// The frame.
        frame: HeldFrame,
    },
    /// Give up a frame that waited; the sender may be told.
    Unreachable {
        /// The port of the neighbor.
        port: PortId,
        /// The neighbor that did not answer.
        ip: Ipv4Addr,
        /// The frame.
        frame: HeldFrame,
    },
    /// Something for the log.
    Event(Event),
}
