//! Next hops: routes and the ARP cache.

pub mod neighbor;
pub mod route;
