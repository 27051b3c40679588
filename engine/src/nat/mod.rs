//! NAT.

pub mod policy;
pub mod port_pool;
pub mod tcp_state;
pub mod timeouts;
