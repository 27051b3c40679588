//! Read-only views of the tables, for listings.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::frame::PortId;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::Protocol;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its protocol.
    pub protocol: Protocol,
    /// Inside endpoint; the port is the ICMP identifier for ICMP, 0 for protocols without ports.
    pub internal: SocketAddrV4,
    /// External endpoint; equals `internal` where there is no NAT.
    pub external: SocketAddrV4,
    /// The far endpoint.
    pub remote: SocketAddrV4,
    /// `outbound`, `forward`, `inbound`, `dmz`, `one-to-one` or `routed`.
    pub origin: &'static str,
    /// The forward that admitted it.
    pub forward: Option<String>,
    /// The TCP state's name, `answered` or `unanswered`.
    pub state: &'static str,
    /// Idle time left.
    pub expires_in: Duration,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// Its protocol.
    pub protocol: Protocol,
    /// Inside endpoint.
    pub internal: SocketAddrV4,
    /// External endpoint.
    pub external: SocketAddrV4,
    /// `dynamic` or `forward`.
    pub kind: &'static str,
    /// Sessions that use it.
    pub sessions: u32,
}

/// One entry of the ARP cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Where.
    pub port: PortId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// `incomplete`, `reachable`, `stale`, `probing` or `failed`.
    pub state: &'static str,
}
