//! What a file turns into: defaults, every key, the example, the JSON forms.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use genkan_config::facts::ABSENT;
use genkan_config::schedule::Zone;
use genkan_config::{Backend, Code, Dhcp, Facts, Loaded, LogFormat, LogLevel, Severity, WanDhcp};
use genkan_engine::local_datagram::Service;
use genkan_engine::plan::{
    FilteringBehavior, ForwardRule, Host, LocalService, MappingBehavior, PortRange, Rate,
};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{PortId, UnixTime};
use genkan_services::dhcp::server::Options;

const MINIMAL: &str = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
[[lan]]
device = "eth1"
address = "192.168.0.1/24"
"#;

#[track_caller]
fn load(text: &str) -> Loaded {
    genkan_config::parse(text, "genkan.toml")
        .unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)))
}

fn minimal_and(more: &str) -> Loaded {
    load(&format!("{MINIMAL}{more}"))
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// The keys of a table in the JSON Schema, which spells the wan out where it is used.
fn properties<'a>(
    schema: &'a serde_json::Value,
    table: &str,
) -> &'a serde_json::Map<String, serde_json::Value> {
    let table = if table == "Wan" { &schema["properties"]["wan"] } else { &schema["$defs"][table] };
    table["properties"].as_object().expect("a table of the schema")
}

fn example() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/home.toml");
    let text = std::fs::read_to_string(&path).expect("the example is in the tree");
    (path, text)
}

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
fn dhcp_of_the_wan_arrives() {
    let text = |wan: &str| {
        format!("[wan]\ndevice = \"eth0\"\n{wan}\n[[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n")
    };
    let fixed = load(&text("address = \"203.0.113.1/24\"\ngateway = \"203.0.113.2\""));
    assert_eq!((&fixed.config.wan_dhcp, &fixed.plan.services), (&None, &vec![]));
    let leased = load(&text("address = \"dhcp\"\ndhcp.hostname = \"genkan\""));
    assert_eq!(leased.config.wan_dhcp, Some(WanDhcp { hostname: Some("genkan".into()) }));
    assert_eq!((leased.plan.wan.primary(), leased.plan.wan.gateway), (None, None));
    let client = LocalService { service: Service::DhcpClient, port: PortId::WAN };
    assert_eq!(leased.plan.services, [client]);
    let diff = genkan_config::diff(&fixed, &leased);
    assert_eq!(
        diff.to_string(),
        "wan: address 203.0.113.1/24 -> dhcp\nwan: dhcp.hostname none -> genkan\nwan: gateway 203.0.113.2 -> none\n"
    );
    assert!(!diff.needs_restart());
    // What a lease says is no change of the file.
    let mut running = leased.clone();
    running.plan.wan.address = "203.0.113.9/24".parse().expect("a prefix");
    running.plan.wan.gateway = Some(address("203.0.113.2"));
    assert!(genkan_config::diff(&running, &leased).is_empty());
}

#[test]
fn relayed_networks_are_served_by_the_lan_that_leads_there() {
    let text = "[[lan]]\nname = \"rack\"\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n\
                [[route]]\nto = \"10.0.0.0/8\"\nvia = \"192.168.0.254\"\n\
                [[route]]\nto = \"10.20.0.0/16\"\nvia = \"192.168.1.254\"\n\
                [[relayed]]\nnetwork = \"10.20.0.0/24\"\npool = \"10.20.0.100-10.20.0.199\"\n\
                router = \"10.20.0.1\"\nlease = \"1h\"\nroutes = [{ to = \"10.21.0.0/16\", via = \"10.20.0.2\" }]\n\
                [[host]]\nname = \"printer\"\nclient_id = \"00:70:72\"\naddress = \"10.20.0.7\"\n";
    let loaded = minimal_and(text);
    let [relayed] = &loaded.config.relayed[..] else { panic!("{:?}", loaded.config.relayed) };
    assert_eq!((relayed.network.to_string().as_str(), relayed.lan), ("10.20.0.0/24", 1));
    let dhcp = &relayed.dhcp;
    assert_eq!(dhcp.pool, address("10.20.0.100")..=address("10.20.0.199"));
    assert_eq!((&dhcp.options.routers[..], dhcp.lease), (&[address("10.20.0.1")][..], Duration::from_secs(3_600)));
    assert_eq!(dhcp.options.routes, [("10.21.0.0/16".parse().expect("a network"), address("10.20.0.2"))]);
    let on = LocalService { service: Service::DhcpServer, port: PortId::lan(1) };
    assert_eq!(loaded.plan.services, [on], "also without `dhcp` of its own");
    assert_eq!(loaded.config.hosts[0].client_id.as_deref(), Some(&[0, 0x70, 0x72][..]));
    let routes = text.split("[[relayed]]").next().unwrap_or_default();
    assert_eq!(
        genkan_config::diff(&minimal_and(routes), &loaded).to_string(),
        "relayed 10.20.0.0/24: added: lan rack, dhcp [pool 10.20.0.100-10.20.0.199, lease 1h, router 10.20.0.1, \
         dns none, domain none, ntp none, mtu none, routes [10.21.0.0/16 via 10.20.0.2]]\n\
         host printer: added: address 10.20.0.7, client_id 00:70:72\n"
    );
}

#[test]
fn hosts_without_an_address_are_nowhere_until_they_are_found() {
    let loaded = minimal_and(
        "[[host]]\nname = \"nas\"\nmac = \"52:54:00:12:34:56\"\n\
         [[host]]\nname = \"box\"\nclient_id = \"0062\"\n\
         [[forward]]\nname = \"a\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas:8080\"\n[dmz]\nto = \"box\"\n",
    );
    assert!(loaded.plan.hosts.is_empty());
    assert_eq!((loaded.plan.forwards[0].to, loaded.plan.dmz), (ABSENT, None));
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["the DMZ opens every unused port of `box` to everybody"]);
    let hosts = [("nas", "192.168.0.7"), ("box", "192.168.0.8")];
    let hosts = hosts.map(|(name, at)| (name.to_owned(), address(at))).into();
    let known = loaded.with(&Facts { hosts, ..Facts::default() });
    assert_eq!(known.plan.forwards[0].to, address("192.168.0.7"));
    assert_eq!(known.plan.dmz, Some(address("192.168.0.8")));
    assert_eq!(
        genkan_config::diff(&minimal_and(""), &loaded).to_string(),
        "host nas: added: mac 52:54:00:12:34:56\nhost box: added: client_id 00:62\n\
         forward a: added: protocol tcp, port 80, to nas:8080, from everybody, enabled true, log false\n\
         dmz: to none -> box\n"
    );
}

#[test]
fn dhcp_of_a_lan_arrives() {
    let loaded = minimal_and("[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n");
    let mut dhcp = Dhcp {
        pool: address("192.168.0.100")..=address("192.168.0.199"),
        lease: Duration::from_secs(12 * 3_600),
        options: Options { routers: vec![address("192.168.0.1")], ..Options::default() },
    };
    assert_eq!(loaded.config.dhcp, [Some(dhcp.clone())]);
    let on = LocalService { service: Service::DhcpServer, port: PortId::lan(0) };
    assert_eq!(loaded.plan.services, [on]);

    let options = "lease = \"2h\"\nrouter = \"192.168.0.254\"\ndns = [\"192.0.2.53\"]\n\
                   domain = \"home.arpa\"\nntp = [\"192.0.2.123\"]\nmtu = 1492\nvendor = \"01:02:ff\"\n\
                   routes = [{ to = \"10.20.0.0/16\", via = \"192.168.0.254\" }]\n\
                   options = [{ code = 67, text = \"boot\" }, { code = 66, hex = \"0102\" }]\n";
    let text = format!("[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n{options}");
    let more = minimal_and(&format!("{text}[[lan]]\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n"));
    dhcp.lease = Duration::from_secs(2 * 3_600);
    dhcp.options = Options {
        routers: vec![address("192.168.0.254")],
        dns: vec![address("192.0.2.53")],
        domain: Some("home.arpa".into()),
        ntp: vec![address("192.0.2.123")],
        mtu: Some(1492),
        routes: vec![("10.20.0.0/16".parse().expect("a network"), address("192.168.0.254"))],
        vendor: vec![1, 2, 255],
        others: vec![(67, b"boot".to_vec()), (66, vec![1, 2])],
    };
    assert_eq!(more.config.dhcp, [Some(dhcp), None]);

    let changes = genkan_config::diff(&minimal_and(""), &loaded);
    assert_eq!(
        changes.to_string().trim_end(),
        "lan eth1: dhcp none -> [pool 192.168.0.100-192.168.0.199, lease 12h, router 192.168.0.1, dns none, \
         domain none, ntp none, mtu none]"
    );
    assert!(minimal_and("").plan.services.is_empty());
}

#[test]
fn dns_is_told_by_dhcp_and_heard_on_every_lan() {
    let pool = "[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n";
    let more = "[[lan]]\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n\
                [lan.dhcp]\npool = \"192.168.1.100-192.168.1.199\"\ndns = [\"192.0.2.9\"]\ndomain = \"b.example\"\n\
                [router]\ntun = \"genkan0\"\n";
    let upstreams = "upstreams = [\"192.0.2.53\", \"tls://192.0.2.54#dns.example.net\"]\n";
    let loaded = minimal_and(&format!("{pool}{more}[dns]\n{upstreams}"));
    let options = loaded.config.dhcp.iter().flatten().map(|dhcp| &dhcp.options);
    let told: Vec<_> = options.map(|told| (&told.dns[..], told.domain.as_deref())).collect();
    let (own, other) = ([address("192.168.0.1")], [address("192.0.2.9")]);
    assert_eq!(told, [(&own[..], Some("home.arpa")), (&other[..], Some("b.example"))]);
    for lan in 0..2 {
        assert!(
            loaded.plan.services.contains(&LocalService { service: Service::Dns, port: PortId::lan(lan) })
        );
    }
    let dns = loaded.config.dns.clone().expect("it is on");
    let written: Vec<String> = dns.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["192.0.2.53:53", "tls://192.0.2.54:853#dns.example.net"]);

    let off = minimal_and(&format!("{pool}{more}"));
    let changes = genkan_config::diff(&off, &loaded).to_string();
    assert!(changes.contains("dns: on, upstreams [192.0.2.53:53, tls://192.0.2.54:853#dns.example.net]\n"));
    let wider = minimal_and(&format!("{pool}{more}[dns]\n{upstreams}cache = \"8 MiB\"\n"));
    assert_eq!(genkan_config::diff(&loaded, &wider).to_string(), "dns: cache 4 MiB -> 8 MiB\n");
}

/// The `default`s of the JSON Schema, written out one by one, change nothing.
#[test]
fn schema_defaults_are_the_defaults() {
    let schema = genkan_config::schema_json();
    let mut checked = 0;
    for (table, header, required) in [
        ("Wan", "[wan]", "device = \"eth0\"\naddress = \"203.0.113.1/24\"\n"),
        ("Lan", "[[lan]]", "device = \"eth1\"\naddress = \"192.168.0.1/24\"\n"),
        ("Dhcp", "[lan.dhcp]", "pool = \"192.168.0.100-192.168.0.199\"\n"),
        ("RouterTable", "[router]", ""),
        ("Nat", "[nat]", ""),
        ("Timeouts", "[nat.timeouts]", ""),
        ("Forward", "[[forward]]", "name = \"a\"\nprotocol = \"tcp\"\nport = 80\nto = \"192.168.0.2\"\n"),
        (
            "Ddns",
            "[[ddns]]",
            "provider = \"rfc2136\"\nserver = \"192.0.2.53\"\nnames = [\"home.example.net\"]\n",
        ),
        ("Services", "[services]", ""),
        ("Log", "[log]", ""),
        ("Dns", "[router]\ntun = \"genkan0\"\n[dns]", "upstreams = [\"192.0.2.53\"]\n"),
    ] {
        let part = format!("{header}\n{required}");
        let rest = MINIMAL.replace(&part, "");
        let rest = if table == "Ddns" { format!("{rest}[router]\ntun = \"genkan0\"\n") } else { rest };
        let base = load(&format!("{rest}{part}"));
        for (key, property) in properties(&schema, table) {
            let Some(default) = property.get("default") else { continue };
            // JSON and TOML write these values alike.
            let with = load(&format!("{rest}{part}{key} = {default}\n"));
            assert_eq!(with.plan, base.plan, "{header} {key} = {default}");
            assert_eq!(with.config, base.config, "{header} {key} = {default}");
            checked += 1;
        }
    }
    assert_eq!(checked, 51, "a default is missing in the schema, or one is new: count it here");
}

#[test]
fn the_example_has_no_warnings() {
    let (path, _) = example();
    let loaded = genkan_config::load(&path)
        .unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)));
    assert_eq!(genkan_config::render(&loaded.warnings, false), "");
    assert_eq!(loaded.plan.lans.len(), 2);
    assert_eq!(loaded.plan.lans[0].reaches, [1]);
    assert!(loaded.plan.lans[1].reaches.is_empty());
    assert_eq!(loaded.plan.forwards.len(), 3);
    assert_eq!(
        loaded
            .places
            .file
            .line(loaded.places.position(&loaded.places.key("forward", 2, "").expect("it is there")).line),
        "[[forward]]"
    );
}

/// The DMZ of the example is a comment, because it is documented to warn.
#[test]
fn the_example_with_its_dmz_has_one_warning() {
    let (_, text) = example();
    let loaded = load(&text.replace("# [dmz]", "[dmz]").replace("# to = ", "to = "));
    assert_eq!(loaded.plan.dmz, Some(address("192.168.0.50")));
    let codes: Vec<Code> = loaded.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::DmzOpen]);
}

/// Every key of the schema is in the example, so that the example shows all that works.
#[test]
fn the_example_shows_every_key() {
    let (_, text) = example();
    let text = text.replace("# [dmz]", "[dmz]").replace("# to = ", "to = ");
    let text = text.replace("# [wan.dhcp]", "[wan.dhcp]").replace("# hostname = ", "hostname = ");
    let schema = genkan_config::schema_json();
    for (table, header) in [
        ("Wan", "[wan]"),
        ("WanDhcp", "[wan.dhcp]"),
        ("Lan", "[[lan]]"),
        ("Dhcp", "[lan.dhcp]"),
        ("Route", "[[route]]"),
        ("Relayed", "[[relayed]]"),
        ("RouterTable", "[router]"),
        ("Nat", "[nat]"),
        ("Timeouts", "[nat.timeouts]"),
        ("Host", "[[host]]"),
        ("Forward", "[[forward]]"),
        ("Dmz", "[dmz]"),
        ("Services", "[services]"),
        ("Log", "[log]"),
        ("Metrics", "[metrics]"),
        ("Dns", "[dns]"),
    ] {
        let sections = text.split("\n[").filter(|section| format!("[{section}").starts_with(header));
        let lines: Vec<&str> = sections.flat_map(str::lines).collect();
        for key in
            properties(&schema, table).keys().filter(|key| !["timeouts", "dhcp"].contains(&key.as_str()))
        {
            let shown =
                lines.iter().any(|line| line.split('=').next().is_some_and(|name| name.trim() == *key));
            assert!(shown, "{header} {key} is not in examples/home.toml");
        }
    }
}

/// Comments, blanks and the order of keys carry no meaning.
#[test]
fn the_example_survives_without_its_comments() {
    let (_, text) = example();
    let bare: String = text
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let (written, stripped) = (load(&text), load(&bare));
    assert_eq!(written.plan, stripped.plan);
    assert_eq!(written.config, stripped.config);
    assert!(genkan_config::diff(&written, &stripped).is_empty());
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

/// Inline tables, dotted keys, quoted keys and Windows line ends are TOML too.
#[test]
fn other_ways_to_write_the_same() {
    let inline = load(
        "wan = { device = \"eth0\", address = '203.0.113.1/24' }\r\n\
         \"lan\" = [{ device = \"eth1\", address = \"192.168.0.1/24\" }]\r\n\
         nat.timeouts.udp = \"5m\"\r\n",
    );
    let plain = load(MINIMAL);
    assert_eq!(inline.plan, plain.plan);
    let with_mark = load(&format!("\u{feff}{MINIMAL}"));
    assert_eq!(with_mark.plan, plain.plan);
}

#[test]
fn json_places_every_word() {
    let errors = genkan_config::parse(&format!("{MINIMAL}reaches = [\"*\", \"ü\"]\n"), "g.toml")
        .expect_err("a mistake");
    let json = genkan_config::json(&errors);
    let first = &json[0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["code"], "conflict");
    assert_eq!(first["file"], "g.toml");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(8), Some(17)));
    assert_eq!(first["primary"]["end"]["column"], 20);
    assert_eq!(first["related"][0]["text"], "this one");
    assert!(first["help"][0].as_str().is_some_and(|help| help.contains("reaches")));
}

#[test]
fn a_file_that_cannot_be_read() {
    let directory = std::env::temp_dir();
    for path in [directory.join("genkan-no-such-file.toml"), directory] {
        let errors = genkan_config::load(&path).expect_err("no file");
        assert_eq!(
            (errors.len(), errors[0].code, errors[0].severity),
            (1, Code::Unreadable, Severity::Error)
        );
        let text = genkan_config::render(&errors, false);
        assert!(text.contains("cannot read"), "{text}");
        assert!(genkan_config::json(&errors)[0]["line"].is_null());
    }
}

#[test]
fn colours_only_when_asked_for() {
    let errors = genkan_config::parse("", "g.toml").expect_err("mistakes");
    assert!(!genkan_config::render(&errors, false).contains('\u{1b}'));
    assert!(genkan_config::render(&errors, true).contains('\u{1b}'));
}

/// The worst for lint: every pair of forwards overlaps, and none of them settles it for good.
#[test]
fn many_overlapping_forwards() {
    let mut text = MINIMAL.to_owned();
    for index in 0..600_u32 {
        text.push_str(&format!(
            "[[forward]]\nname = \"f{index}\"\nprotocol = [\"tcp\", \"udp\"]\nport = \"{}-{}\"\nto = \"192.168.0.2\"\n\
             from = [\"10.{}.{}.0/24\"]\n",
            1 + index,
            60_000 + index,
            index / 250,
            index % 250,
        ));
    }
    text.push_str(&text.replace("name = \"f", "name = \"g").replacen(MINIMAL, "", 1));
    let start = std::time::Instant::now();
    let loaded = load(&text);
    assert_eq!(loaded.warnings.iter().filter(|warning| warning.code == Code::Shadowed).count(), 600);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn what_is_no_toml_at_all_ends_somewhere() {
    let text = "line of something else\n".repeat(60);
    let errors = genkan_config::parse(&text, "g.toml").expect_err("mistakes");
    assert_eq!(errors.len(), 50);
    assert_eq!(
        errors[49].notes.last().map(String::as_str),
        Some("more mistakes may follow: they are shown when these are mended")
    );
    assert!(errors[48].notes.iter().all(|note| !note.contains("follow")));
}

/// Windows line ends are neither shown nor counted.
#[test]
fn carriage_returns_stay_out_of_messages() {
    let text = MINIMAL.replace("eth1", "eth0");
    let dos = text.replace('\n', "\r\n");
    let shown = |text: &str| {
        genkan_config::render(&genkan_config::parse(text, "g.toml").expect_err("a mistake"), false)
    };
    assert_eq!(shown(&dos), shown(&text));
}

#[test]
fn one_line_form() {
    let errors = genkan_config::parse(&format!("{MINIMAL}mtu = 1\n"), "g.toml").expect_err("a mistake");
    assert_eq!(errors[0].to_string(), "g.toml:8:7: error: `lan.mtu` cannot be 1: it is too small");
}

#[test]
fn the_schema_has_no_null_and_knows_what_is_required() {
    let schema = genkan_config::schema_json();
    assert!(!schema.to_string().contains("null"));
    assert_eq!(schema["required"], serde_json::json!(["wan", "lan"]));
    assert_eq!(schema["$defs"]["Forward"]["required"], serde_json::json!(["name", "protocol", "port", "to"]));
    assert_eq!(schema["additionalProperties"], false);
}

/// Ten thousand forwards load in a moment: the checks between them are no squares.
#[test]
fn many_forwards() {
    let mut text = MINIMAL.to_owned();
    for index in 0..10_000_u32 {
        let port = 1_024 + index;
        text.push_str(&format!(
            "[[forward]]\nname = \"f{index}\"\nprotocol = [\"tcp\", \"udp\"]\nport = {port}\n\
             to = \"192.168.0.{}:{port}\"\nfrom = [\"198.51.100.0/24\"]\n",
            2 + index % 200,
        ));
    }
    let start = std::time::Instant::now();
    let loaded = load(&text);
    assert_eq!(loaded.plan.forwards.len(), 10_000);
    // A debug build on a busy machine takes a good second; a square would take minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// What passwords are in is nobody else's to read, and what is not there cannot be sent.
#[test]
fn files_of_passwords_are_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("genkan-secret-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let (path, secret) = (folder.join("genkan.toml"), folder.join("token"));
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    let tun = "[router]\ntun = \"genkan0\"\n";
    let entry = "[[ddns]]\nprovider = \"duckdns\"\nnames = [\"a.duckdns.org\"]\n";
    let warnings = |key: &str| {
        std::fs::write(&path, format!("{MINIMAL}{tun}{entry}{key}\n")).expect("it is ours");
        let loaded = genkan_config::load(&path).expect("no errors");
        let shown = genkan_config::render(&loaded.warnings, false);
        assert!(!shown.contains("hunter2") && !format!("{loaded:?}").contains("Secret(\""), "{shown}");
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let inline = "token = \"hunter2\"";
    warnings(inline);
    mode(&path, 0o644);
    let [open] = &warnings(inline)[..] else { panic!("one warning") };
    assert!(open.contains("everybody on this machine can read the `ddns.token`"), "{open}");
    mode(&path, 0o640);
    assert!(warnings(inline).is_empty());

    let in_file = format!("token_file = \"{}\"", secret.display());
    let [missing] = &warnings(&in_file)[..] else { panic!("one warning") };
    assert!(
        missing.contains("`ddns.token_file` gives no password") && missing.contains("No such file"),
        "{missing}"
    );
    std::fs::write(&secret, "hunter2\n").expect("it is ours");
    mode(&secret, 0o644);
    let [open] = &warnings(&in_file)[..] else { panic!("one warning") };
    assert!(open.contains("everybody on this machine can read"), "{open}");
    mode(&secret, 0o600);
    assert!(warnings(&in_file).is_empty());
    let loaded = genkan_config::load(&path).expect("no errors");
    loaded.config.ddns[0].entry().expect("the password is there");
    std::fs::write(&secret, "two\nlines\n").expect("it is ours");
    assert!(loaded.config.ddns[0].entry().is_err());
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
