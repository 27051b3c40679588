//! What the benches share: the synthetic traffic of [`genkan_traffic`], and an allocator that counts.

pub mod counting;

pub use genkan_traffic::{BATCH, Batch, Flows, Rig, Template, Transport, flows, frames, network, rig};
