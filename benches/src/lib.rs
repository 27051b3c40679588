//! What the benches share: the synthetic traffic of [`genkan_traffic`], an allocator that counts, and
//! a clock for single calls.

pub mod calls;
pub mod counting;

pub use genkan_traffic::{BATCH, Batch, Flows, Rig, Template, Transport, flows, frames, network, rig};
