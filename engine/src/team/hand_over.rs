//! Frames on their way from one worker to another.

use super::WorkerId;
use crate::frame::{Offload, PortId};

/// How far the work on a frame has come that is handed over. Goes with the frame, which no worker but the next
/// understands without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// As it arrived, at a worker that is not its owner.
    Arrived,
    /// As it arrived; the worker before knew more than the frame says (a fragment's ports, say).
    Assigned,
    /// The first half of a hairpin is done: the source is translated, the destination is an external address of
    /// ours (RFC 4787 §6).
    TurnedRound,
    /// An ICMP error that the router has made, to be translated like one that came in by the port with it.
    Own,
    /// A copy of an ARP packet that another worker has answered: to learn from.
    Overheard,
}

/// A frame for another worker that does not lie in the caller's batch.
///
/// The caller passes it on, with the frames whose verdict is
/// [`Verdict::HandOver`](crate::Verdict::HandOver) and before those of the same batch, in order; the other worker
/// gives all of them to [`Router::handle_handed_over`](crate::Router::handle_handed_over).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Whose it is.
    pub to: WorkerId,
    /// How far it has come.
    pub stage: Stage,
    /// Where it came in.
    pub port: PortId,
    /// The Ethernet frame, without FCS.
    pub bytes: Vec<u8>,
    /// What is left for the device to finish.
    pub offload: Offload,
}
