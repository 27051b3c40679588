//! Frames in and out of Linux devices, in batches.
//!
//! A back end gives a port two halves, a [`FrameReceiver`] and a [`FrameTransmitter`], which one worker thread
//! drives: receive a batch, let the engine judge it in place, transmit straight from the same memory. The call
//! through the trait object is paid once per batch, never per frame.
//!
//! - Back ends: [`af_packet`] (any Ethernet device), [`af_xdp`] (by the kernel's stack), [`tap`] (a device whose wire is this process), [`host_tun`] (the
//!   box itself), [`loopback`] (an in-memory pair for tests), [`pcap_file`] (captures read and written).
//! - Wrappers over any half: [`software_offload`] (for devices that cannot finish checksums or segment), [`merging`]
//!   (for those that take super-frames), [`burst_meter`] (what comes in bursts), [`tracer`], [`pcap_writer`],
//!   [`fault_injector`].
//! - [`hand_over`]: frames from one worker to another; [`passage`]: open descriptors from one process to another.
//! - Around the devices: [`device`] (what the kernel knows, and settings that are put back), [`isolation`] (keeps the
//!   kernel's own stack off our ports), [`host_network`] (the box's addresses and routes), [`link_monitor`].
//! - [`classic_bpf`]: which frames a packet socket takes.
//! - Below: [`netlink`], and [`sys`] with every system call that needs `unsafe`.
//!
//! All of it works in the network namespace of the calling thread, as root or inside a user namespace.
#![deny(unsafe_code)]

pub mod af_packet;
pub mod af_xdp;
pub mod burst_meter;
pub mod classic_bpf;
pub mod device;
pub mod error;
pub mod fault_injector;
pub mod frame_arena;
pub mod frame_io;
pub mod hand_over;
pub mod host_network;
pub mod host_tun;
pub mod isolation;
pub mod link_monitor;
pub mod loopback;
pub mod merging;
pub mod netlink;
pub mod passage;
pub mod pcap_file;
pub mod pcap_writer;
pub mod software_offload;
pub mod sys;
pub mod tap;
pub mod tracer;
mod vnet_header;

pub use error::IoError;
pub use frame_io::{
    Capabilities, FrameIo, FrameReceiver, FrameTransmitter, MAX_BATCH, MAX_POLL_FDS, PollFds,
};
pub use sys::clock::Clock;
