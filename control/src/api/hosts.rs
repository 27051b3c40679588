//! The inside hosts.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /v1/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HostQuery {
    /// `next` of the page before; absent for the first. Not together with `sort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub cursor: Option<u32>,
    /// Most rows, 1,000 by default and 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub limit: Option<u32>,
    /// The first `limit` rows of all hosts in this order, instead of by address; there is no further page then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub sort: Option<HostSort>,
}

/// Order of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostSort {
    /// Those that use most of the line now, both ways together.
    TrafficMost,
    /// Those that have most sessions.
    SessionsMost,
}

/// An inside host: configured, seen by ARP, or with sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostRow {
    /// Its address.
    #[schema(value_type = String, format = Ipv4)]
    pub address: Ipv4Addr,
    /// Its name: as the configuration says, else as it calls itself to DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MAC address: as ARP says, else as the configuration does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Who made its network card, as far as that is known; `random`: it has made its MAC address up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// When it was seen for the first time, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<i64>,
    /// When it was seen last, in seconds since 1970; also by earlier runs of the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<i64>,
    /// Whether it has a lease of the router's DHCP server for this address.
    #[serde(default)]
    pub leased: bool,
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
    /// Octets per second that come for it by the wan, Ethernet headers included. An estimate from a part of the packets,
    /// averaged over some five seconds.
    #[serde(default)]
    pub octets_per_second_in: u64,
    /// Octets per second that it sends by the wan, as estimated.
    #[serde(default)]
    pub octets_per_second_out: u64,
}
