//! DHCP for IPv4 (RFC 2131, 2132).

pub mod client;
pub mod journal;
pub mod lease;
pub mod message;
mod pool;
pub mod server;
