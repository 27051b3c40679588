//! The control side of a running router: what it answers over its unix socket, and how to ask.
//!
//! - [`api`]: the JSON types, shared by server and client;
//! - [`request`]: the bounded channel to the packet worker, which answers between two batches;
//! - [`snapshot`]: shared, read-mostly state beside the packet path: hosts, ports, running configuration;
//! - [`events`]: what happened lately, with ids to go on from;
//! - [`capture`]: packets of the running router, before and after;
//! - [`forwards`]: what has passed through the forwards;
//! - [`hosts`]: the inside hosts; [`leases`]: who has which address of the DHCP service;
//! - [`metrics`]: all counters for Prometheus; [`metrics_port`]: these alone, over TCP;
//! - [`socket`]: the unix socket itself, and who may replace whose;
//! - [`server`]: HTTP (axum) over that socket;
//! - [`client`]: the other end, for the command line.
//! - [`store`]: the configuration file and the history of its texts, whole after a crash; [`text_diff`] between them;
//! - [`atomic_file`]: files that a crash leaves whole.
//!
//! This crate knows the engine's views and nothing about devices: a worker is whatever answers a
//! [`request::WorkerRequest`].
#![forbid(unsafe_code)]

pub mod api;
pub mod atomic_file;
pub mod capture;
pub mod client;
pub mod devices;
pub mod events;
pub mod forwards;
pub mod hosts;
pub mod leases;
pub mod metrics;
pub mod metrics_port;
pub mod request;
pub mod server;
pub mod snapshot;
pub mod socket;
pub mod store;
pub mod text_diff;
pub mod vendors;

/// Where the control socket lies unless the configuration or `--socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/genkan/control.sock";
