//! Frames in and out of Linux devices, in batches.
//!
//! A back end gives a port two halves, a [`FrameReceiver`] and a [`FrameTransmitter`], which one worker thread
//! drives: receive a batch, let the engine judge it in place, transmit straight from the same memory. The call
//! through the trait object is paid once per batch, never per frame.
//!
//! Back ends: [`loopback`] (an in-memory pair for tests) and [`pcap_file`] (captures read and written).

pub mod error;
pub mod frame_arena;
pub mod frame_io;
pub mod loopback;
pub mod pcap_file;

pub use error::IoError;
pub use frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, MAX_BATCH};
