//! `genkan bench`: how fast the router is, beside the kernel's own NAT.
#![allow(dead_code, reason = "no measurement fills it yet")]

pub(crate) mod noise;
pub(crate) mod pinning;
pub(crate) mod report;
pub(crate) mod statistics;
