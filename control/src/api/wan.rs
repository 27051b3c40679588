//! What a DHCP server has given to the wan.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The lease of the wan, and what the client is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WanLease {
    /// What the client is at.
    pub state: WanLeaseState,
    /// The address with the length of its prefix; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The default router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv4Addr>,
    /// The other routes, in the server's order: `198.18.0.0/15 via 203.0.113.7`, `192.0.2.0/24 on the link`.
    #[serde(default)]
    pub routes: Vec<String>,
    /// IP MTU in octets, where the server names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Name servers, the best first.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<Ipv4Addr>,
    /// The domain of the link's names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Who granted the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server: Option<Ipv4Addr>,
    /// Seconds until the address is lost, unless a server renews it; absent: never, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_in_seconds: Option<u64>,
    /// An address that a server gives and another machine on the link uses, since the last one that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub taken: Option<Ipv4Addr>,
    /// Why the lease is not used, though it is held: it overlaps something inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What the DHCP client of the wan is at (RFC 2131 figure 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WanLeaseState {
    /// Waits for the link.
    NoLink,
    /// Looks for servers.
    Selecting,
    /// Has asked for an offer.
    Requesting,
    /// Asks whether the lease of before still holds.
    Rebooting,
    /// Looks whether another machine has the address.
    Probing,
    /// Holds a lease.
    Bound,
    /// Asks the server that granted the lease for more time.
    Renewing,
    /// Asks any server for more time.
    Rebinding,
}

impl WanLeaseState {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            WanLeaseState::NoLink => "no-link",
            WanLeaseState::Selecting => "selecting",
            WanLeaseState::Requesting => "requesting",
            WanLeaseState::Rebooting => "rebooting",
            WanLeaseState::Probing => "probing",
            WanLeaseState::Bound => "bound",
            WanLeaseState::Renewing => "renewing",
            WanLeaseState::Rebinding => "rebinding",
        }
    }
}
