//! What is done to a device to see whether it meets a requirement.

mod connection;
pub(crate) mod fragments;
pub(crate) mod icmp;
pub(crate) mod icmp_errors;
pub(crate) mod icmp_queries;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod tcp;
pub(crate) mod tcp_timers;
pub(crate) mod timers;
