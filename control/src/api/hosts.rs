//! The inside hosts.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An inside host: configured, seen by ARP, or with sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostRow {
    /// Its address.
    #[schema(value_type = String, format = Ipv4)]
    pub address: Ipv4Addr,
    /// Its name, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MAC address: as ARP says, else as the configuration does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Where it is, as far as ARP knows: a lan's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// `reachable`, `stale`, ... as ARP says; absent for a host that ARP has not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Seconds since the control side first saw it with this MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_for_seconds: Option<u64>,
    /// Live sessions whose inside endpoint it is.
    pub sessions: u64,
    /// Dynamic external ports that it holds, of all protocols.
    pub external_ports: u64,
    /// The external address that its mappings share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub external: Option<Ipv4Addr>,
}
