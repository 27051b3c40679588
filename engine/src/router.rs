//! The order in which the stages see one frame.

use std::sync::Arc;

use crate::counters::Counters;
use crate::event::Event;
use crate::frame::{FrameBatch, Offload, PortId, Transmit};
use crate::plan::Plan;
use crate::time::{Timestamp, UnixTime};
use crate::verdict::Verdict;
use crate::view::{MappingView, NeighborView, SessionView};
use crate::wire::ethernet::MacAddr;

/// What a [`Router`] is made from.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// Secret randomness: keys of the tables, port choice. 128 bits.
    pub seed: [u64; 2],
}

/// State of the link behind a port, as the I/O layer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Our MAC address there.
    pub mac: MacAddr,
    /// IP MTU of the device in octets; the smaller of this and the plan's holds.
    pub mtu: u16,
    /// Carrier present and device there.
    pub up: bool,
}

/// One NAT router: all state of one worker.
#[derive(Debug)]
pub struct Router {
    counters: Counters,
}

impl Router {
    /// A router without sessions. `wall` is the wall time at `now`, for `expires`.
    pub fn new(_config: RouterConfig, _now: Timestamp, _wall: UnixTime) -> Router {
        Router { counters: Counters::default() }
    }

    /// Takes a new plan: state that it no longer allows ends, everything else goes on.
    pub fn apply_plan(&mut self, _now: Timestamp, _wall: UnixTime, _plan: Arc<Plan>) {}

    /// Tells the state of a port's link; a port without one is down. Announces our addresses when it comes up
    /// or its MAC changes.
    pub fn set_link(&mut self, _now: Timestamp, _port: PortId, _link: LinkState) {}

    /// Judges a batch of frames that arrived on `port`, rewriting in place; the verdicts are left in the slots.
    /// Frames that the router itself makes meanwhile come out of [`Router::poll_transmit`].
    pub fn handle_batch(&mut self, _now: Timestamp, _port: PortId, _batch: FrameBatch<'_>) {}

    /// Judges one frame. `frame` shrinks when link padding is cut off.
    pub fn handle_frame(
        &mut self,
        _now: Timestamp,
        _port: PortId,
        _frame: &mut &mut [u8],
        _offload: Offload,
    ) -> Verdict {
        Verdict::Consumed
    }

    /// Lets time pass: a bounded amount of expiry work.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// When [`Router::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Frames that the router made or held, in the order to send them.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    /// Events since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// All counters so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Live sessions.
    pub fn session_count(&self) -> u32 {
        0
    }

    /// Live mappings, dynamic ones and those of forwards in use.
    pub fn mapping_count(&self) -> u32 {
        0
    }

    /// Up to `limit` sessions from table position `cursor` on, and the position to go on from (`None` at the end).
    /// Looks at no more than `4 * limit` table positions, so that a listing cannot stall the worker.
    pub fn sessions(&self, _now: Timestamp, _cursor: u32, _limit: u32) -> (Vec<SessionView>, Option<u32>) {
        (Vec::new(), None)
    }

    /// Up to `limit` mappings, as [`Router::sessions`] does.
    pub fn mappings(&self, _cursor: u32, _limit: u32) -> (Vec<MappingView>, Option<u32>) {
        (Vec::new(), None)
    }

    /// The ARP cache.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        Vec::new()
    }
}
