//! Frames in and out of Linux devices, in batches.
//!
//! A back end gives a port two halves, a [`FrameReceiver`] and a [`FrameTransmitter`], which one worker thread
//! drives: receive a batch, let the engine judge it in place, transmit straight from the same memory. The call
//! through the trait object is paid once per batch, never per frame.
//!
//! Back ends: [`af_packet`] (any network device), [`loopback`] (an in-memory pair for tests) and [`pcap_file`]
//! (captures read and written).
#![deny(unsafe_code)]

pub mod af_packet;
pub mod device;
pub mod error;
pub mod frame_arena;
pub mod frame_io;
pub mod host_network;
pub mod host_tun;
pub mod isolation;
pub mod link_monitor;
pub mod loopback;
pub mod netlink;
pub mod pcap_file;
pub mod sys;
pub mod tap;
mod vnet_header;

pub use error::IoError;
pub use frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, MAX_BATCH};
pub use sys::clock::Clock;
