//! The JSON of the control API: types that go over the socket, and how engine views become them.
//!
//! Addresses are text (`"192.168.0.10:4000"`), times are seconds, counts are plain numbers. Fields are only ever
//! added within `/v1`.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::counters::Counters;
use genkan_engine::frame::PortId;
use genkan_engine::verdict::DropReason;
use genkan_engine::view::{MappingView, NeighborView, SessionView};
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running binary.
    pub version: String,
    /// Process id of the router.
    pub pid: u32,
    /// Path of the configuration in force.
    pub config: String,
    /// Seconds since the router started.
    pub uptime_seconds: u64,
    /// Packets can flow: the wan and at least one inside port are up.
    pub forwarding: bool,
    /// What is not as it should be, one sentence each; empty when all is well.
    pub problems: Vec<String>,
    /// Every configured port, the wan first.
    pub ports: Vec<PortStatus>,
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
}

/// One port of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A piece of a listing and where to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows; may be fewer than asked for, even none, while `next` is set.
    pub rows: Vec<T>,
    /// `cursor` of the next request; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// Query of the paged listings: where to start, how much, and which rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// `next` of the page before; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u32>,
    /// Most rows, 1,000 by default and 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only this protocol, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Only rows one of whose endpoints has this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

impl ListQuery {
    /// Whether a row of this protocol with these endpoints is wanted.
    pub fn admits(&self, protocol: &str, endpoints: &[SocketAddrV4]) -> bool {
        self.protocol.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(protocol))
            && self.address.is_none_or(|wanted| endpoints.iter().any(|endpoint| *endpoint.ip() == wanted))
    }
}

/// One session: a mapping with its remote endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Name or number of the protocol.
    pub protocol: String,
    /// Inside endpoint; the port is the identifier for ICMP and 0 for protocols without ports.
    pub internal: SocketAddrV4,
    /// Name of the inside host, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// External endpoint; equals `internal` where there is no NAT.
    pub external: SocketAddrV4,
    /// The far endpoint.
    pub remote: SocketAddrV4,
    /// What admitted it: `outbound`, `forward`, `inbound`, `dmz`, `one-to-one`, `routed`.
    pub origin: String,
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
            forward: view.forward,
            state: view.state.to_owned(),
            expires_in_seconds: view.expires_in.as_secs(),
        }
    }
}

/// One mapping: an internal endpoint and the external endpoint that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingRow {
    /// Name or number of the protocol.
    pub protocol: String,
    /// Inside endpoint.
    pub internal: SocketAddrV4,
    /// Name of the inside host, where the configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// External endpoint.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    /// Port: `wan` or a lan's name.
    pub port: String,
    /// Its address.
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

/// What the worker counts beside the engine: frames that the I/O layer did not take or could not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Frames lost before the router could see them: a full ring or socket buffer.
    pub rx_lost: u64,
    /// Frames that the device's queue did not take.
    pub tx_refused: u64,
    /// Failed calls to receive.
    pub rx_errors: u64,
    /// Failed calls to send.
    pub tx_errors: u64,
    /// Frames that left within a super-frame that another frame of their flow started.
    pub tx_merged: u64,
}

impl std::ops::AddAssign for IoCounters {
    fn add_assign(&mut self, other: IoCounters) {
        // Named one by one, so that none is forgotten.
        let IoCounters { rx_lost, tx_refused, rx_errors, tx_errors, tx_merged } = other;
        self.rx_lost += rx_lost;
        self.tx_refused += tx_refused;
        self.rx_errors += rx_errors;
        self.tx_errors += tx_errors;
        self.tx_merged += tx_merged;
    }
}

/// `GET /v1/counters`: everything counted since the start, in the order of the packet's walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersReport {
    /// Per port.
    pub ports: Vec<PortCountersRow>,
    /// How often each stage decided something.
    pub stages: Vec<CounterRow>,
    /// Frames not forwarded, by reason.
    pub drops: Vec<CounterRow>,
}

/// Frames and octets of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCountersRow {
    /// `wan`, the lan's name, or `host`.
    pub port: String,
    /// Frames received (a super-frame counts once).
    pub rx_frames: u64,
    /// Octets received, Ethernet header included.
    pub rx_octets: u64,
    /// Frames sent, those that the router made included.
    pub tx_frames: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Frames lost before the router could see them: a full ring or socket buffer.
    #[serde(default)]
    pub rx_lost: u64,
    /// Frames that the device's queue did not take.
    pub tx_refused: u64,
    /// Failed calls to receive.
    pub rx_errors: u64,
    /// Failed calls to send.
    pub tx_errors: u64,
    /// Frames, of those sent, that left within a super-frame that another frame of their flow started.
    #[serde(default)]
    pub tx_merged: u64,
}

/// A named count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// What it means, where it is not plain from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl CountersReport {
    /// All counters; `ports` names the configured ports in the order to list them, `io` is indexed by
    /// [`PortId::index`].
    pub fn new(counters: &Counters, io: &[IoCounters], ports: &[(PortId, String)]) -> CountersReport {
        let port_row = |(port, name): &(PortId, String)| {
            let engine = counters.ports[port.index()];
            let io = io.get(port.index()).copied().unwrap_or_default();
            PortCountersRow {
                port: name.clone(),
                rx_frames: engine.rx_frames,
                rx_octets: engine.rx_octets,
                tx_frames: engine.tx_frames,
                tx_octets: engine.tx_octets,
                rx_lost: io.rx_lost,
                tx_refused: io.tx_refused,
                rx_errors: io.rx_errors,
                tx_errors: io.tx_errors,
                tx_merged: io.tx_merged,
            }
        };
        let stage_row =
            |(name, value): (&str, u64)| CounterRow { name: name.to_owned(), value, description: None };
        let drop_row = |&reason: &DropReason| CounterRow {
            name: reason.name().to_owned(),
            value: counters.dropped(reason),
            description: Some(reason.description().trim().to_owned()),
        };
        CountersReport {
            ports: ports.iter().map(port_row).collect(),
            stages: counters.stages.iter().map(stage_row).collect(),
            drops: DropReason::ALL.iter().map(drop_row).collect(),
        }
    }

    /// Leaves out stages and reasons that never counted anything.
    pub fn without_zeros(mut self) -> CountersReport {
        self.stages.retain(|row| row.value > 0);
        self.drops.retain(|row| row.value > 0);
        self
    }
}

/// `POST /v1/reload`, accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Path of the file that was read.
    pub config: String,
    /// What became different, one short line each; empty when nothing did.
    pub changes: Vec<String>,
    /// Warnings about the file, as `check` prints them; empty when there are none.
    pub warnings: String,
}

/// Body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people; may have several lines for a refused configuration.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The configuration was refused; the old one stays in force.
    ReloadRefused,
    /// The packet worker did not answer in time or has ended.
    WorkerUnavailable,
    /// The request makes no sense.
    BadRequest,
    /// There is no such resource.
    NotFound,
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
            forward: None,
            state: "established",
            expires_in: Duration::from_millis(7_439_900),
        };
        let json = serde_json::to_value(SessionRow::new(view, Some("nas".to_owned()))).expect("json");
        let expected = serde_json::json!({
            "protocol": "tcp", "internal": "192.168.0.10:4000", "host": "nas", "external": "203.0.113.1:4000",
            "remote": "198.51.100.7:443", "origin": "outbound", "state": "established", "expires_in_seconds": 7439,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn query_filters_by_protocol_and_any_endpoint() {
        let endpoints = [endpoint("192.168.0.10:4000"), endpoint("198.51.100.7:443")];
        let query = |protocol: Option<&str>, address: Option<&str>| ListQuery {
            protocol: protocol.map(str::to_owned),
            address: address.map(|text| text.parse().expect("an address")),
            ..ListQuery::default()
        };
        assert!(query(None, None).admits("tcp", &endpoints));
        assert!(query(Some("TCP"), Some("198.51.100.7")).admits("tcp", &endpoints));
        assert!(!query(Some("udp"), None).admits("tcp", &endpoints));
        assert!(!query(None, Some("198.51.100.8")).admits("tcp", &endpoints));
    }

    #[test]
    fn counters_keep_zeros_until_asked() {
        let mut counters = Counters::default();
        counters.drops[DropReason::Filtered as usize] = 3;
        counters.stages.fast_path = 9;
        counters.ports[PortId::WAN.index()].rx_frames = 12;
        let io = [IoCounters { tx_refused: 2, ..IoCounters::default() }];
        let ports = [(PortId::WAN, "wan".to_owned()), (PortId::lan(0), "home".to_owned())];
        let report = CountersReport::new(&counters, &io, &ports);
        assert_eq!(report.drops.len(), DropReason::COUNT);
        assert_eq!(
            (report.ports[0].rx_frames, report.ports[0].tx_refused, report.ports[1].tx_refused),
            (12, 2, 0)
        );
        let short = report.without_zeros();
        assert_eq!(short.stages.len(), 1);
        assert_eq!((short.drops[0].name.as_str(), short.drops[0].value), ("filtered", 3));
    }
}
