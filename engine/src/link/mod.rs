//! Next hops: routes and the ARP cache.

pub mod route;
