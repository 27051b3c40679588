//! Raw kernel interfaces: the only place with `unsafe`.
//!
//! What is here is as small as it can be, and safe to call: lengths, lifetimes and alignment are checked or
//! owned here; the meaning of options, flags and frames is the back ends' business.
#![allow(unsafe_code)]

pub mod clock;
pub(crate) mod ethtool;
pub(crate) mod ioctl;
pub(crate) mod packet_socket;
pub(crate) mod ring;
pub(crate) mod send_batch;
