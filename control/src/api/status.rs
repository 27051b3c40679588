//! Whether packets can flow, and where.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WanLease;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the running binary.
    pub version: String,
    /// Process id of the router.
    pub pid: u32,
    /// Path of the configuration in force.
    pub config: String,
    /// Seconds since the router started.
    pub uptime_seconds: u64,
    /// Packets can flow: the wan and at least one inside port are up, and the wan has an address.
    pub forwarding: bool,
    /// What is not as it should be, one sentence each; empty when all is well.
    pub problems: Vec<String>,
    /// The router's own addresses that other machines use as well. One that does not answer any more leaves the list after
    /// 20 to 25 s.
    #[serde(default)]
    pub conflicts: Vec<AddressConflict>,
    /// Every configured port, the wan first.
    pub ports: Vec<PortStatus>,
    /// The lease of the wan; absent when its address is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wan_lease: Option<WanLease>,
    /// Live sessions.
    pub sessions: u32,
    /// Most sessions at once.
    pub max_sessions: u32,
    /// Live mappings.
    pub mappings: u32,
    /// Successful reloads since the start.
    pub reloads: u32,
    /// Packet workers.
    pub workers: u8,
    /// Number of the configuration in force, in the history.
    #[serde(default)]
    pub revision: u64,
    /// How often another program has taken over (`genkan upgrade`) since the router was started.
    #[serde(default)]
    pub upgrades: u32,
    /// What the process has given up; absent when it was told to keep everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

/// What keeps a router that was taken over from doing more than a router does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Capabilities that the process still has, and can ever have.
    pub capabilities: Vec<String>,
    /// Landlock: only the router's own files can be opened. In words how far the kernel goes along.
    pub files: String,
    /// Seccomp: system calls that no router makes are refused. In words.
    pub system_calls: String,
}

/// An address of the router's own that another machine uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressConflict {
    /// Where: `wan` or a lan's name.
    pub port: String,
    /// The address.
    #[schema(value_type = String, format = Ipv4)]
    pub address: Ipv4Addr,
    /// MAC address of the other machine.
    pub mac: String,
}

/// One port of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStatus {
    /// `wan`, the lan's name, or `host` for the box itself.
    pub name: String,
    /// Which side it is on.
    pub role: PortRole,
    /// The network device.
    pub device: String,
    /// How frames get in and out: `af-packet`, `af-xdp`, `tap`, `host-tun`, ...
    pub backend: String,
    /// Why it is this one, where that was to be found out, and in which mode it works.
    #[serde(default)]
    pub backend_reason: Option<String>,
    /// Device present, carrier there.
    pub up: bool,
    /// Our MAC address there, once the device was seen.
    pub mac: Option<String>,
    /// IP MTU in octets, once the device was seen.
    pub mtu: Option<u16>,
    /// The router's own addresses there.
    pub addresses: Vec<String>,
}

/// Side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortRole {
    /// Towards the external realm.
    Wan,
    /// Towards an internal network.
    Lan,
    /// Towards the box itself.
    Host,
}

/// What the worker alone knows for [`Status`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Live sessions.
    pub sessions: u32,
    /// Live mappings.
    pub mappings: u32,
}

impl Totals {
    /// Of two workers together.
    pub fn plus(self, other: Totals) -> Totals {
        Totals { sessions: self.sessions + other.sessions, mappings: self.mappings + other.mappings }
    }
}
