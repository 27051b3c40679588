//! Loads: what the hosts do to the router.

pub(crate) mod echo;
pub(crate) mod flow;
pub(crate) mod pacing;
pub(crate) mod tcp;
pub(crate) mod udp;
