//! The leases of the DHCP service.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /v1/leases`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// `next` of the page before; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub cursor: Option<u32>,
    /// Most rows, 1,000 by default and 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub limit: Option<u32>,
}

/// The DHCP service of a lan: `GET /v1/dhcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DhcpRow {
    /// The lan, with the networks behind its relay agents.
    pub lan: String,
    /// Addresses that any client may get.
    pub pool: u32,
    /// Those of them that nobody has or was promised.
    pub free: u32,
    /// Leases in force, reserved ones included.
    pub leases: u64,
    /// Networks of which a client was given none, since there was none left, and there still is none.
    #[serde(default)]
    pub exhausted: Vec<String>,
    /// Addresses that were found in use by strangers since the start.
    pub conflicts: u64,
    /// Another DHCP server whose offer a client has taken lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub other_server: Option<Ipv4Addr>,
    /// Why no client gets an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<DhcpFault>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why the DHCP service of a lan gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpFault {
    /// It could not begin.
    NotServed,
    /// Leases cannot be written to the disk.
    Disk,
}

impl DhcpFault {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            DhcpFault::NotServed => "not-served",
            DhcpFault::Disk => "disk",
        }
    }
}

/// What an address of a pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// A client has it.
    Leased,
    /// A stranger was found to use it: no client gets it for a while.
    Resting,
}

impl LeaseState {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            LeaseState::Leased => "leased",
            LeaseState::Resting => "resting",
        }
    }
}

/// A lease of the DHCP service, or an address that rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseRow {
    /// The address.
    #[schema(value_type = String, format = Ipv4)]
    pub address: Ipv4Addr,
    /// The lan whose service has given it.
    pub lan: String,
    /// The name that the client goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The MAC address of the client, or of the stranger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The client identifier (RFC 2132 section 9.14) in hexadecimal digits, where the client sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whether a `[[host]]` keeps the address for this client.
    pub reserved: bool,
    /// What the address is doing.
    pub state: LeaseState,
    /// When that ends: RFC 3339, UTC.
    pub ends: String,
    /// Seconds until then.
    pub ends_in_seconds: u64,
}
