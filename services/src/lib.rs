//! What a router does for its lans beside forwarding: state machines without I/O. Octets, time and random numbers come
//! in as arguments; octets to send and events go out.
#![forbid(unsafe_code)]

pub mod ddns;
pub mod dhcp;
pub mod dns;
