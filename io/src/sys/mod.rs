//! Raw kernel interfaces: the only place with `unsafe`.
//!
//! What is here is as small as it can be, and safe to call: lengths, lifetimes and alignment are checked or
//! owned here; the meaning of options, flags and frames is the back ends' business.
#![allow(unsafe_code)]

pub(crate) mod bpf;
pub mod clock;
pub(crate) mod ethtool;
pub mod frame_burst;
pub mod huge_pages;
pub(crate) mod ioctl;
pub(crate) mod packet_socket;
pub(crate) mod rights;
pub(crate) mod ring;
pub(crate) mod send_batch;
pub mod thread;
pub(crate) mod uring;
pub(crate) mod xdp;

/// The descriptor of a TUN device of the `tun-tap` crate, which only has it raw.
pub(crate) fn tun_descriptor(interface: &tun_tap::Iface) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: `interface` owns the descriptor and stays borrowed as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(interface.as_raw_fd()) }
}
