//! The packet core of Genkan, sans-IO.
//!
//! Frames go in and come out in batches; nothing here makes a system call, reads a clock, starts a
//! thread or asks for randomness: `now` and the seed are arguments. The same code therefore runs in
//! the router, in a simulation, under a fuzzer and over a capture file.
//!
//! Layers, each of which imports only from those above it in this list:
//! - [`wire`]: one header format per file, byte views and checksums;
//! - [`packet`]: what a whole frame is: parsed once, rewritten in place, segmented, fragmented;
//! - [`link`]: next hops: routes and the ARP cache;
//! - [`forward`]: the rules a person wrote: port forwards and the DMZ;
//! - [`team`]: what the workers of one router share, and what they hand to each other;
//! - [`trail`]: what the stages note about a packet that is to be explained;
//! - [`nat`]: mappings, sessions, filtering, translation;
//! - [`probe`]: questions of the router's own to machines of its links; [`presence`]: is an address in use?
//! - [`sightings`]: where known devices are, as ARP tells;
//! - [`local_datagram`]: what comes in for UDP services of the router's own;
//! - [`router`]: the order in which the stages see one frame.
#![forbid(unsafe_code)]

pub mod counters;
pub mod event;
pub mod forward;
pub mod frame;
pub mod link;
pub mod local_datagram;
pub mod nat;
pub mod packet;
pub mod plan;
pub mod presence;
pub mod probe;
pub mod rate_limit;
pub mod rng;
pub mod router;
mod seeded_hash;
pub mod sightings;
mod slot_lists;
pub mod team;
pub mod time;
pub mod timer_wheel;
pub mod trail;
pub mod verdict;
pub mod view;
pub mod wire;

pub use counters::Counters;
pub use event::Event;
pub use frame::{FrameBatch, GsoKind, Offload, PortId, Slot};
pub use plan::Plan;
pub use router::{Router, RouterConfig};
pub use team::{HandOver, Stage, Team, WorkerId};
pub use time::{Timestamp, UnixTime};
pub use verdict::{DropReason, Verdict};
