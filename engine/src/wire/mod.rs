//! Wire formats: one header per file.

pub mod ethernet;
pub mod ipv4;
