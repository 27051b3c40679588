//! NAT.

pub mod policy;
