//! Rows of the engine's tables, page by page.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::view::{MappingView, NeighborView, SessionView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A piece of a listing and where to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows; may be fewer than asked for, even none, while `next` is set.
    pub rows: Vec<T>,
    /// `cursor` of the next request; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One session: a mapping with its remote endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionRow {
    /// Name or number of the protocol.
    pub protocol: String,
    /// Inside endpoint; the port is the identifier for ICMP and 0 for protocols without ports.
    #[schema(value_type = String)]
    pub internal: SocketAddrV4,
    /// Name of the inside host, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// External endpoint; equals `internal` where there is no NAT.
    #[schema(value_type = String)]
    pub external: SocketAddrV4,
    /// The far endpoint.
    #[schema(value_type = String)]
    pub remote: SocketAddrV4,
    /// What admitted it: `outbound`, `forward`, `inbound`, `dmz`, `one-to-one`, `routed`.
    pub origin: String,
    /// Which end sent the first packet: `internal` or `remote`.
    #[serde(default)]
    pub opened_by: String,
    /// The forward that admitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
    /// TCP state, `answered` or `unanswered`.
    pub state: String,
    /// Idle seconds left, rounded down.
    pub expires_in_seconds: u64,
}

impl SessionRow {
    /// From the engine's view; `host` is the inside host's name.
    pub fn new(view: SessionView, host: Option<String>) -> SessionRow {
        SessionRow {
            protocol: view.protocol.to_string(),
            internal: view.internal,
            host,
            external: view.external,
            remote: view.remote,
            origin: view.origin.to_owned(),
            opened_by: if view.is_inbound { "remote" } else { "internal" }.to_owned(),
            forward: view.forward,
            state: view.state.to_owned(),
            expires_in_seconds: view.expires_in.as_secs(),
        }
    }
}

/// One mapping: an internal endpoint and the external endpoint that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappingRow {
    /// Name or number of the protocol.
    pub protocol: String,
    /// Inside endpoint.
    #[schema(value_type = String)]
    pub internal: SocketAddrV4,
    /// Name of the inside host, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// External endpoint.
    #[schema(value_type = String)]
    pub external: SocketAddrV4,
    /// `dynamic` or `forward`.
    pub kind: String,
    /// Sessions that use it.
    pub sessions: u32,
}

impl MappingRow {
    /// From the engine's view; `host` is the inside host's name.
    pub fn new(view: &MappingView, host: Option<String>) -> MappingRow {
        MappingRow {
            protocol: view.protocol.to_string(),
            internal: view.internal,
            host,
            external: view.external,
            kind: view.kind.to_owned(),
            sessions: view.sessions,
        }
    }
}

/// One entry of the ARP cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NeighborRow {
    /// Port: `wan` or a lan's name.
    pub port: String,
    /// Its address.
    #[schema(value_type = String, format = Ipv4)]
    pub address: Ipv4Addr,
    /// Its name, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its MAC address, once known.
    pub mac: Option<String>,
    /// `incomplete`, `reachable`, `stale`, `probing` or `failed`.
    pub state: String,
    /// Seconds since the control side first saw it with this MAC address.
    pub seen_for_seconds: u64,
}

impl NeighborRow {
    /// From the engine's view.
    pub fn new(
        view: &NeighborView,
        port: String,
        host: Option<String>,
        seen_for_seconds: u64,
    ) -> NeighborRow {
        NeighborRow {
            port,
            address: view.address,
            host,
            mac: view.mac.map(|mac| mac.to_string()),
            state: view.state.to_owned(),
            seen_for_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use genkan_engine::wire::ipv4::Protocol;

    use super::*;

    fn endpoint(text: &str) -> SocketAddrV4 {
        text.parse().expect("an endpoint")
    }

    #[test]
    fn session_row_is_plain_json() {
        let view = SessionView {
            protocol: Protocol::TCP,
            internal: endpoint("192.168.0.10:4000"),
            external: endpoint("203.0.113.1:4000"),
            remote: endpoint("198.51.100.7:443"),
            origin: "outbound",
            is_inbound: false,
            forward: None,
            state: "established",
            expires_in: Duration::from_millis(7_439_900),
        };
        let json = serde_json::to_value(SessionRow::new(view, Some("nas".to_owned()))).expect("json");
        let expected = serde_json::json!({
            "protocol": "tcp", "internal": "192.168.0.10:4000", "host": "nas", "external": "203.0.113.1:4000",
            "remote": "198.51.100.7:443", "origin": "outbound", "opened_by": "internal", "state": "established", "expires_in_seconds": 7439,
        });
        assert_eq!(json, expected);
    }
}
