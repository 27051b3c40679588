//! Two readings of a small router, a second apart.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use genkan_control::api::{
    CounterRow, CountersReport, DdnsFamily, DdnsRow, DdnsState, DhcpRow, DnsQueries, DnsReport,
    DnsUpstreamRow, ForwardCounts, ForwardRow, HostRow, PortCountersRow, PortRole, PortStatus, Status,
    WanLease, WanLeaseState,
};

use super::rates::Snapshot;
use super::sample::Sample;

/// The difference between the two.
pub(super) fn snapshot() -> Snapshot {
    let (before, after) = samples();
    Snapshot::new(Some(&before), &after)
}

/// A reading, and one a second later.
pub(super) fn samples() -> (Sample, Sample) {
    let now = Instant::now();
    (sample(now, 0), sample(now + Duration::from_secs(1), 1))
}

/// The same of a router with every service.
pub(super) fn with_services() -> (Sample, Sample) {
    let (before, after) = samples();
    (add_services(before, 0), add_services(after, 1))
}

fn add_services(mut sample: Sample, second: u64) -> Sample {
    let resolver = |resolver: &str, up| DnsUpstreamRow {
        resolver: resolver.to_owned(),
        up,
        asked: 9,
        answered: 9,
        failed: 0,
        ..DnsUpstreamRow::default()
    };
    sample.dns = DnsReport {
        enabled: true,
        upstreams: vec![resolver("192.0.2.53:53", true), resolver("192.0.2.54:53", false)],
        queries: DnsQueries {
            queries: 1_000 + 200 * second,
            cached: 500 + 140 * second,
            stale: 10 * second,
            ..DnsQueries::default()
        },
        ..DnsReport::default()
    };
    let lan = |lan: &str, leases, pool, free| DhcpRow {
        lan: lan.to_owned(),
        pool,
        free,
        leases,
        exhausted: if free == 0 { vec!["192.168.1.0/24".to_owned()] } else { Vec::new() },
        conflicts: 0,
        other_server: None,
        fault: None,
        reason: None,
    };
    sample.dhcp = vec![lan("guests", 50, 50, 0), lan("home", 12, 2_000, 1_988)];
    let name = |name: &str, family, state| DdnsRow {
        name: name.to_owned(),
        family,
        provider: "rfc2136".to_owned(),
        state,
        address: None,
        wanted: None,
        since: None,
        next_attempt: None,
        fault: None,
        reason: None,
        updates: 0,
        failures: 0,
    };
    sample.ddns = vec![
        name("home.example.net", DdnsFamily::V4, DdnsState::Good),
        name("home.example.net", DdnsFamily::V6, DdnsState::Good),
        name("www.example.net", DdnsFamily::V4, DdnsState::Failed),
    ];
    sample.status.wan_lease = Some(WanLease {
        state: WanLeaseState::Bound,
        address: Some("203.0.113.7/24".to_owned()),
        gateway: None,
        routes: Vec::new(),
        mtu: None,
        dns: Vec::new(),
        domain: None,
        server: None,
        ends_in_seconds: Some(3_540),
        taken: None,
        refused: None,
    });
    sample
}

fn sample(at: Instant, second: u64) -> Sample {
    let port = |port: &str, rx: u64, tx: u64| PortCountersRow {
        port: port.to_owned(),
        rx_octets: second * rx * 1_000,
        rx_frames: second * rx,
        tx_octets: second * tx * 200,
        tx_frames: second * tx,
        ..PortCountersRow::default()
    };
    let count = |name: &str, value, description: Option<&str>| CounterRow {
        name: name.to_owned(),
        value,
        description: description.map(str::to_owned),
    };
    let wan = port("wan", 10_000, 5_000);
    let mut home = port("home", 5_000, 10_000);
    (home.rx_octets, home.tx_octets) = (wan.tx_octets, wan.rx_octets);
    let counters = CountersReport {
        ports: vec![wan, home],
        stages: vec![
            count("fast_path", 1_000_000 * second, None),
            count("sessions_outbound", 500 + 18 * second, None),
            count("sessions_forward", 2 * second, None),
            count("sessions_expired", 900 + 7 * second, None),
        ],
        drops: vec![
            count("filtered", 105 + 5 * second, Some("no mapping admits the source")),
            count("land", 0, Some("source and destination are the same")),
        ],
    };
    Sample {
        at,
        status: status(second),
        counters,
        hosts: hosts(second),
        forwards: forwards(second),
        dns: DnsReport::default(),
        dhcp: Vec::new(),
        ddns: Vec::new(),
    }
}

fn status(second: u64) -> Status {
    let port = |name: &str, role| PortStatus {
        name: name.to_owned(),
        role,
        device: "eth0".to_owned(),
        backend: "af-packet".to_owned(),
        backend_reason: None,
        up: true,
        mac: None,
        mtu: None,
        addresses: Vec::new(),
    };
    Status {
        version: "0.1.0".to_owned(),
        pid: 7,
        config: "home.toml".to_owned(),
        uptime_seconds: 3_660 + second,
        forwarding: true,
        problems: Vec::new(),
        conflicts: Vec::new(),
        ports: vec![port("wan", PortRole::Wan), port("home", PortRole::Lan)],
        wan_lease: None,
        sessions: 1_234,
        max_sessions: 1_000_000,
        mappings: 77,
        reloads: 0,
        workers: 1,
        upgrades: 0,
        revision: 1,
        sandbox: None,
    }
}

fn hosts(second: u64) -> Vec<HostRow> {
    let host = |name: Option<&str>, last, sessions| HostRow {
        address: Ipv4Addr::new(192, 168, 0, last),
        name: name.map(str::to_owned),
        mac: None,
        vendor: None,
        first_seen: None,
        last_seen: None,
        leased: false,
        port: Some("home".to_owned()),
        state: Some("reachable".to_owned()),
        seen_for_seconds: Some(7),
        sessions,
        external_ports: sessions,
        external: None,
        octets_per_second_in: 1_000 * sessions,
        octets_per_second_out: 100,
    };
    vec![host(Some("nas"), 10, 3), host(Some("laptop"), 20, 30 + 10 * second), host(None, 100, 7)]
}

fn forwards(second: u64) -> Vec<ForwardRow> {
    let row = |name: &str, open, counts| ForwardRow {
        name: name.to_owned(),
        protocols: vec!["tcp".to_owned()],
        ports: vec!["80".to_owned()],
        to: "192.168.0.10:8080".to_owned(),
        address: None,
        from: Vec::new(),
        enabled: true,
        open,
        closed_by: None,
        opens: None,
        opened: None,
        expires: None,
        ad_hoc: false,
        schedule: None,
        max_sessions: None,
        max_new_per_source: None,
        log: false,
        device: None,
        counts,
    };
    let counts = ForwardCounts {
        sessions: 9,
        hits: 100 + 2 * second,
        packets_in: 1_000 * second,
        octets_in: 500_000 * second,
        packets_out: 5_000 * second,
        octets_out: 5_000_000 * second,
        ..ForwardCounts::default()
    };
    vec![row("玄関のカメラ", false, ForwardCounts::default()), row("web", true, counts)]
}
