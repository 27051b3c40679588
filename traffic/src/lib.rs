//! Synthetic traffic: a router with sessions in it, and the frames of those sessions. The benches and
//! `genkan bench --engine` measure with it.
//!
//! The network is a lan of 10.0.0.0/8 with up to 1,024 hosts and one external address; remotes are in the
//! benchmarking range 198.18.0.0/15 (RFC 2544). All numbers follow from the number of sessions, so that
//! two runs measure the same thing.
#![forbid(unsafe_code)]

pub mod flows;
pub mod frames;
pub mod network;
pub mod rig;
pub mod workers;

pub use flows::{Flows, Transport};
pub use frames::{Batch, Template};
pub use rig::Rig;

/// Frames in one call of `Router::handle_batch`, as the I/O layer reads them.
pub const BATCH: usize = 64;
