//! Defaults, and every key with another value.

use std::path::Path;
use std::time::Duration;

use genkan_config::schedule::Zone;
use genkan_config::{Backend, Loaded, LogFormat, LogLevel};
use genkan_engine::UnixTime;
use genkan_engine::plan::{FilteringBehavior, ForwardRule, Host, MappingBehavior, PortRange, Rate};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::wire::ipv4::Protocol;

use crate::{MINIMAL, address, load, minimal_and};

#[test]
fn documented_defaults() {
    let Loaded { config, plan, warnings, .. } = load(MINIMAL);
    assert!(warnings.is_empty());
    assert_eq!(config.wan.backend, Backend::Auto);
    assert_eq!(config.wan.mtu, 1500);
    assert_eq!(config.lans[0].backend, Backend::Auto);
    assert_eq!(config.lans[0].mtu, 1500);
    assert_eq!(config.lans[0].label, "eth1");
    assert_eq!(config.tun, None);
    assert_eq!(config.workers, 1);
    assert_eq!(config.socket, Path::new("/run/genkan/control.sock"));
    assert_eq!(config.state, Path::new("/var/lib/genkan"));
    assert_eq!((config.save_every, config.save_budget), (Some(Duration::from_secs(300)), 256 << 20));
    assert_eq!((config.log.level, config.log.format), (LogLevel::default(), LogFormat::Auto));
    assert_eq!(plan.wan.gateway, None);
    assert!(plan.wan.addresses.is_empty());
    assert_eq!(plan.wan.mtu, 1500);
    assert!(plan.wan.ping);
    assert_eq!(plan.lans[0].name, "eth1");
    assert_eq!(plan.lans[0].mtu, 1500);
    assert!(!plan.host_port);
    assert_eq!(plan.nat.mapping, MappingBehavior::EndpointIndependent);
    assert_eq!(plan.nat.filtering, FilteringBehavior::AddressDependent);
    assert!(plan.nat.hairpin);
    assert!(!plan.nat.port_parity);
    assert!(!plan.nat.inbound_refresh);
    assert_eq!(plan.nat.ports, 1024..=65535);
    assert_eq!(plan.nat.max_sessions, 1_000_000);
    assert_eq!(plan.nat.max_sessions_per_host, 65_536);
    assert_eq!(plan.nat.max_ports_per_host, 16_384);
    assert_eq!(plan.nat.timeouts.udp, Duration::from_secs(300));
    assert_eq!(plan.nat.timeouts.tcp_established, Duration::from_secs(7_440));
    assert_eq!(plan.nat.timeouts.tcp_transitory, Duration::from_secs(240));
    assert_eq!(plan.nat.timeouts.icmp, Duration::from_secs(60));
    assert_eq!(plan.nat.timeouts.other, Duration::from_secs(600));
    assert!(plan.routes.is_empty() && plan.hosts.is_empty() && plan.forwards.is_empty());
    assert_eq!(plan.dmz, None);

    let plan = minimal_and(
        "[[host]]\nname = \"nas\"\naddress = \"192.168.0.10\"\n\
         [[forward]]\nname = \"a\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas\"\n",
    )
    .plan;
    let nas = Host {
        name: "nas".into(),
        mac: None,
        address: address("192.168.0.10"),
        filtering: None,
        mapping: None,
        external: None,
    };
    assert_eq!(plan.hosts, [nas]);
    let rule = ForwardRule {
        name: "a".into(),
        protocols: vec![Protocol::TCP],
        ports: vec![PortRange { external_first: 80, external_last: 80, internal_first: 80 }],
        to: address("192.168.0.10"),
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    };
    assert_eq!(plan.forwards, [rule]);
}

#[test]
fn every_key_arrives() {
    let loaded = load(
        r#"
[wan]
device = "eth0.7"
backend = "tap"
address = "203.0.113.1/32"
gateway = "198.51.100.1"
addresses = ["203.0.113.5", "198.51.100.77"]
mtu = 1454
ping = false
[[lan]]
name = "a"
device = "lan-a"
backend = "af-packet"
address = "192.168.0.1/24"
mtu = 9000
reaches = ["c"]
[[lan]]
name = "b"
device = "lan-b"
address = "192.168.1.0/31"
[[lan]]
name = "c"
device = "lan-c"
address = "10.0.0.1/8"
reaches = []
[[route]]
to = "172.16.0.0/12"
via = "192.168.0.254"
[router]
tun = "box0"
timezone = "Europe/Berlin"
[nat]
mapping = "address-and-port-dependent"
filtering = "endpoint-independent"
hairpin = false
port_parity = true
inbound_refresh = true
ports = "2000-60000"
max_sessions = 1000
max_sessions_per_host = 100
max_ports_per_host = 10
[nat.timeouts]
udp = "2m"
tcp_established = "1d"
tcp_transitory = "5m"
icmp = "61s"
other = "1h"
[[host]]
name = "nas"
mac = "52:54:00:12:34:56"
address = "172.16.0.10"
mapping = "address-dependent"
filtering = "address-and-port-dependent"
external = "198.51.100.77"
[[forward]]
name = "all"
protocol = ["udp", "tcp"]
port = [53, "100-110"]
to = "nas"
address = "203.0.113.5"
from = ["192.0.2.0/24", "192.0.2.7"]
enabled = false
expires = 2030-01-01T09:00:00+09:00
schedule = "22:00-06:00"
max_sessions = 100
max_new_per_source = "20/min"
log = true
[[forward]]
name = "run"
protocol = "udp"
port = "5000-5002"
to = "192.168.0.7:6000"
[dmz]
to = "192.168.0.1"
[services]
socket = "/run/g2.sock"
state = "/var/lib/g2"
save_every = "never"
save_budget = "1 GiB"
[metrics]
listen = ["10.0.0.1:9090", "192.168.0.1:9091"]
[log]
level = "warn, genkan_control=debug"
format = "json"
nat_events = "/var/log/n"
nat_destinations = true
"#,
    );
    let Loaded { config, plan, .. } = loaded;
    assert_eq!((config.wan.device.as_str(), config.wan.backend), ("eth0.7", Backend::Tap));
    assert_eq!((config.lans[0].backend, config.lans[0].mtu), (Backend::AfPacket, 9000));
    assert_eq!(config.tun.as_deref(), Some("box0"));
    assert_eq!(config.socket, Path::new("/run/g2.sock"));
    assert_eq!(config.state, Path::new("/var/lib/g2"));
    assert_eq!((config.save_every, config.save_budget), (None, 1 << 30));
    let metrics: Vec<(String, String)> = config
        .metrics
        .iter()
        .map(|port| (port.listen.to_string(), port.admits.iter().map(|net| format!("{net} ")).collect()))
        .collect();
    // `a` and `b` reach `c`, and `b` reaches `a`; what is behind `a` comes from there.
    assert_eq!(
        metrics,
        [
            ("10.0.0.1:9090".into(), "192.168.0.0/24 192.168.1.0/31 10.0.0.0/8 172.16.0.0/12 ".into()),
            ("192.168.0.1:9091".into(), "192.168.0.0/24 192.168.1.0/31 172.16.0.0/12 ".into()),
        ]
    );
    assert_eq!(
        (config.log.level.to_string().as_str(), config.log.format),
        ("warn,genkan_control=debug", LogFormat::Json)
    );
    assert_eq!(
        (config.log.nat_events.as_deref(), config.log.nat_destinations),
        (Some(Path::new("/var/log/n")), true)
    );
    assert_eq!(config.timezone, Zone::named("Europe/Berlin").expect("a zone"));
    let schedules: Vec<_> =
        config.schedules.iter().map(|schedule| schedule.as_ref().map(ToString::to_string)).collect();
    assert_eq!(schedules, [Some("daily 22:00-06:00".to_owned()), None]);
    assert_eq!(plan.wan.gateway, Some(address("198.51.100.1")));
    assert_eq!(plan.wan.addresses, [address("203.0.113.5"), address("198.51.100.77")]);
    assert_eq!((plan.wan.mtu, plan.wan.ping), (1454, false));
    assert_eq!(
        plan.lans.iter().map(|lan| lan.reaches.clone()).collect::<Vec<_>>(),
        [vec![2], vec![0, 2], vec![]]
    );
    assert_eq!(plan.routes[0].via, address("192.168.0.254"));
    assert!(plan.host_port);
    assert_eq!(plan.nat.mapping, MappingBehavior::AddressAndPortDependent);
    assert_eq!(plan.nat.filtering, FilteringBehavior::EndpointIndependent);
    assert_eq!((plan.nat.hairpin, plan.nat.port_parity, plan.nat.inbound_refresh), (false, true, true));
    assert_eq!(plan.nat.ports, 2000..=60000);
    assert_eq!(
        (plan.nat.max_sessions, plan.nat.max_sessions_per_host, plan.nat.max_ports_per_host),
        (1000, 100, 10)
    );
    let timeouts = &plan.nat.timeouts;
    let seconds =
        [timeouts.udp, timeouts.tcp_established, timeouts.tcp_transitory, timeouts.icmp, timeouts.other];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [120, 86_400, 300, 61, 3_600]);
    let nas = Host {
        name: "nas".into(),
        mac: Some(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
        address: address("172.16.0.10"),
        filtering: Some(FilteringBehavior::AddressAndPortDependent),
        mapping: Some(MappingBehavior::AddressDependent),
        external: Some(address("198.51.100.77")),
    };
    assert_eq!(plan.hosts, [nas]);
    let all = ForwardRule {
        name: "all".into(),
        protocols: vec![Protocol::UDP, Protocol::TCP],
        ports: vec![
            PortRange { external_first: 53, external_last: 53, internal_first: 53 },
            PortRange { external_first: 100, external_last: 110, internal_first: 100 },
        ],
        to: address("172.16.0.10"),
        address: Some(address("203.0.113.5")),
        from: vec!["192.0.2.0/24".parse().expect("a net"), "192.0.2.7/32".parse().expect("a net")],
        enabled: false,
        expires: Some(UnixTime(1_893_456_000)),
        log: true,
        max_sessions: Some(100),
        max_new_per_source: Some(Rate { count: 20, per: Duration::from_secs(60) }),
    };
    assert_eq!(plan.forwards[0], all);
    assert_eq!(
        plan.forwards[1].ports,
        [PortRange { external_first: 5000, external_last: 5002, internal_first: 6000 }]
    );
    assert_eq!(plan.dmz, Some(address("192.168.0.1")));
}
