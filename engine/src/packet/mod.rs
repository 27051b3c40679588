//! What a whole frame is: parsed once, rewritten in place, cut up, answered.
//!
//! Frames are Ethernet frames with an IPv4 packet; offsets count from the start of the frame.

pub mod build;
pub mod embedded;
pub mod fragment;
pub mod glance;
pub mod ip_fragmentation;
pub mod merge;
pub mod parsed;
pub mod rewrite;
pub mod segmentation;

#[cfg(test)]
pub(crate) mod test_frames;

pub use parsed::{FragmentInfo, Kind, Parsed, parse_ipv4};
pub use rewrite::{Rewrite, Side};
