//! What the fuzz targets do with their input, callable without a fuzzer: `tests/replay.rs` runs the kept
//! corpus through it.
//!
//! - [`parse`]: octets through everything that decodes, rewrites, cuts up or shows frames;
//! - [`router`]: a router in a small world; who owns what is checked in its tables after every step;
//! - [`lab`]: the same in the tests' simulated internet, which checks every frame that leaves;
//! - [`dns`]: the DNS forwarder: every query is answered once at most, every question ends, memory stays bounded;
//! - [`dhcp`]: messages of DHCP clients, and restarts of the server;
//! - [`ddns`]: answers of those who keep names outside, and of those who are asked for the own address;
//! - [`config`]: text, and edits of the example.

pub mod config;
pub mod ddns;
mod ddns_answers;
pub mod dhcp;
pub mod dns;
mod frame;
mod invariants;
pub mod lab;
pub mod parse;
pub mod router;
mod scenario;
