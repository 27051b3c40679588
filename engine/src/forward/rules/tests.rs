use proptest::prelude::*;

use super::*;
use crate::plan::{Nat, PortRange, Timeouts, Wan};

const PRIMARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const WALL: UnixTime = UnixTime(1_800_000_000);

fn plan(forwards: Vec<ForwardRule>) -> Plan {
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().expect("a network"),
            gateway: None,
            routes: Vec::new(),
            addresses: vec![SECOND],
            mtu: 1500,
            ping: true,
        },
        lans: Vec::new(),
        routes: Vec::new(),
        host_port: false,
        nat: Nat {
            mapping: Default::default(),
            filtering: Default::default(),
            hairpin: true,
            port_parity: false,
            inbound_refresh: false,
            ports: 1024..=65535,
            max_sessions: 1,
            max_sessions_per_host: 1,
            max_ports_per_host: 1,
            timeouts: Timeouts::default(),
        },
        hosts: Vec::new(),
        forwards,
        dmz: None,
        services: Vec::new(),
    }
}

fn ports(external_first: u16, external_last: u16, internal_first: u16) -> PortRange {
    PortRange { external_first, external_last, internal_first }
}

fn tcp(range: PortRange, host: u8) -> ForwardRule {
    ForwardRule {
        name: String::new(),
        protocols: vec![Protocol::TCP],
        ports: vec![range],
        to: Ipv4Addr::new(192, 168, 0, host),
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    }
}

fn compile(forwards: Vec<ForwardRule>) -> ForwardTable {
    ForwardTable::compile(&plan(forwards), Timestamp::from_secs(100), WALL)
}

fn to(rule: u32, host: u8, port: u16) -> Inbound {
    let internal = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, host), port);
    Inbound::To { rule: RuleId(rule), internal }
}

fn judge(table: &ForwardTable, port: u16) -> Inbound {
    table.inbound(Timestamp::from_secs(100), Protocol::TCP, PRIMARY, port, PEER, false)
}

#[test]
fn ranges_map_one_to_one() {
    let table = compile(vec![tcp(ports(10_000, 10_010, 20_000), 20)]);
    assert_eq!(judge(&table, 9_999), Inbound::NotOwned);
    assert_eq!(judge(&table, 10_000), to(0, 20, 20_000));
    assert_eq!(judge(&table, 10_010), to(0, 20, 20_010));
    assert_eq!(judge(&table, 10_011), Inbound::NotOwned);
    let now = Timestamp::from_secs(100);
    assert_eq!(table.inbound(now, Protocol::UDP, PRIMARY, 10_000, PEER, false), Inbound::NotOwned);
    assert_eq!(table.inbound(now, Protocol::ICMP, PRIMARY, 10_000, PEER, false), Inbound::NotOwned);
}

#[test]
fn a_rule_that_names_the_address_comes_first() {
    let named = ForwardRule { address: Some(SECOND), ..tcp(ports(80, 80, 8080), 2) };
    let table = compile(vec![tcp(ports(80, 80, 80), 1), named]);
    let now = Timestamp::from_secs(100);
    assert_eq!(table.inbound(now, Protocol::TCP, SECOND, 80, PEER, false), to(1, 2, 8080));
    assert_eq!(table.inbound(now, Protocol::TCP, PRIMARY, 80, PEER, false), to(0, 1, 80));
}

#[test]
fn the_first_rule_that_admits_the_source_takes_it() {
    let from = |network: &str| vec![network.parse().expect("a network")];
    let office = ForwardRule { from: from("192.0.2.0/24"), ..tcp(ports(22, 22, 22), 1) };
    let peers = ForwardRule { from: from("198.51.100.0/29"), ..tcp(ports(22, 22, 2222), 2) };
    let table = compile(vec![office.clone(), peers]);
    assert_eq!(judge(&table, 22), to(1, 2, 2222));
    let now = Timestamp::from_secs(100);
    let other = Ipv4Addr::new(198, 51, 100, 8);
    assert_eq!(table.inbound(now, Protocol::TCP, PRIMARY, 22, other, false), Inbound::Refused(RuleId(0)));
    assert_eq!(table.inbound(now, Protocol::TCP, PRIMARY, 22, other, true), to(0, 1, 22));
    let off = ForwardRule { enabled: false, ..tcp(ports(22, 22, 22), 3) };
    assert_eq!(judge(&compile(vec![off.clone(), office]), 22), Inbound::Refused(RuleId(1)));
    assert_eq!(judge(&compile(vec![off]), 22), Inbound::Closed(RuleId(0)));
}

#[test]
fn a_rule_closes_exactly_when_it_expires() {
    let until = |seconds| ForwardRule {
        expires: Some(UnixTime(WALL.0 + seconds)),
        ..tcp(ports(1000 + seconds as u16, 1000 + seconds as u16, 1), 1)
    };
    let table = compile(vec![until(0), until(60), until(30), until(60), tcp(ports(9, 9, 9), 1)]);
    let just_before = Timestamp::from_nanos(Timestamp::from_secs(160).as_nanos() - 1);
    let at = Timestamp::from_secs(160);
    assert!(!table.is_open(Timestamp::from_secs(100), RuleId(0)));
    assert!(table.is_open(just_before, RuleId(1)));
    assert!(!table.is_open(at, RuleId(1)));
    assert!(table.is_open(at, RuleId(4)));
    assert_eq!(table.inbound(just_before, Protocol::TCP, PRIMARY, 1060, PEER, false), to(1, 1, 1));
    assert_eq!(table.inbound(at, Protocol::TCP, PRIMARY, 1060, PEER, false), Inbound::Closed(RuleId(1)));
    let start = Timestamp::from_secs(100);
    assert_eq!(table.next_expiry(start), Some((Timestamp::from_secs(130), RuleId(2))));
    assert_eq!(table.next_expiry(Timestamp::from_secs(130)), Some((at, RuleId(1))));
    assert_eq!(table.next_expiry(at), None);
    assert_eq!(table.expired(start, just_before).collect::<Vec<_>>(), [RuleId(2)]);
    assert_eq!(table.expired(just_before, at).collect::<Vec<_>>(), [RuleId(1), RuleId(3)]);
}

#[test]
fn new_sessions_of_a_target_leave_from_its_external_port() {
    let named = ForwardRule { address: Some(SECOND), ..tcp(ports(3075, 3075, 3074), 1) };
    let off = ForwardRule { enabled: false, ..tcp(ports(3076, 3076, 3074), 1) };
    let table = compile(vec![named.clone(), off, tcp(ports(3080, 3090, 3070), 1)]);
    let now = Timestamp::from_secs(100);
    let console = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 1), 3074);
    let out = |table: &ForwardTable, internal, paired| table.outbound(now, Protocol::TCP, internal, paired);
    let (primary, second) = (SocketAddrV4::new(PRIMARY, 3084), SocketAddrV4::new(SECOND, 3075));
    assert_eq!(out(&table, console, PRIMARY), Some((RuleId(2), primary)));
    assert_eq!(out(&table, console, SECOND), Some((RuleId(0), second)));
    assert_eq!(out(&compile(vec![named]), console, PRIMARY), Some((RuleId(0), second)));
    let other_port = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 1), 3069);
    assert_eq!(out(&table, other_port, PRIMARY), None);
    assert_eq!(table.outbound(now, Protocol::UDP, console, PRIMARY), None);
}

#[test]
fn closed_forwards_keep_their_ports() {
    let off = ForwardRule { enabled: false, ..tcp(ports(100, 101, 1), 1) };
    let named = ForwardRule { address: Some(SECOND), ..tcp(ports(200, 200, 1), 1) };
    let table = compile(vec![off, named]);
    let reserved = |address| table.reserved_ports(Protocol::TCP, address).collect::<Vec<_>>();
    assert_eq!(reserved(PRIMARY), [100, 101]);
    assert_eq!(reserved(SECOND), [200, 100, 101]);
    assert_eq!(table.reserved_ports(Protocol::UDP, PRIMARY).count(), 0);
    assert_eq!(table.reserved_ports(Protocol::ESP, PRIMARY).count(), 0);
}

/// Every look-up of a port goes through the rules of that port and no others, however many there are.
#[test]
fn ten_thousand_rules_take_as_many_steps_as_one() {
    let many: Vec<_> = (0..10_000u16)
        .map(|i| ForwardRule {
            to: Ipv4Addr::from_bits(0x0a00_0000 + u32::from(i)),
            ..tcp(ports(1024 + i, 1024 + i, 80), 0)
        })
        .collect();
    let one = compile(vec![many[5_000].clone()]);
    let all = compile(many);
    for port in [1024, 6024, 11_023, 11_024, 80] {
        assert!(all.candidates(Protocol::TCP, PRIMARY, port).count() <= 1);
    }
    let steps = |table: &ForwardTable| table.candidates(Protocol::TCP, PRIMARY, 6024).count();
    assert_eq!((steps(&one), steps(&all)), (1, 1));
    let internal = SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0000 + 5_000), 80);
    let now = Timestamp::from_secs(100);
    let external = SocketAddrV4::new(PRIMARY, 6024);
    assert_eq!(all.outbound(now, Protocol::TCP, internal, PRIMARY), Some((RuleId(5_000), external)));
}

#[test]
fn a_long_list_of_sources_is_merged() {
    let networks: Vec<Ipv4Net> =
        (0..=255).map(|i| Ipv4Net::new(Ipv4Addr::new(198, 51, i, 0), 24).expect("a network")).collect();
    let compile = |networks: &[Ipv4Net]| {
        let mut runs = Vec::new();
        (SourceSet::compile(networks, &mut runs), runs)
    };
    assert_eq!(compile(&networks).1.len(), 1);
    let (all, runs) = compile(&["0.0.0.0/0".parse().expect("all"), "1.0.0.0/8".parse().expect("one")]);
    assert_eq!(runs, [(0, u32::MAX)]);
    assert!(all.contains(&runs, Ipv4Addr::BROADCAST) && all.contains(&runs, Ipv4Addr::UNSPECIFIED));
}

fn network() -> impl Strategy<Value = Ipv4Net> {
    (0u32..64, 26u8..=32).prop_map(|(low, length)| {
        Ipv4Net::new(Ipv4Addr::from_bits(PEER.to_bits() & !63 | low), length).expect("length to 32")
    })
}

fn forward() -> impl Strategy<Value = ForwardRule> {
    let address = prop_oneof![Just(None), Just(Some(PRIMARY)), Just(Some(SECOND))];
    let range = (0u16..600, 0u16..40, 0u16..600)
        .prop_map(|(first, length, internal)| ports(first, first + length, internal));
    let protocols = prop_oneof![
        Just(vec![Protocol::TCP]),
        Just(vec![Protocol::UDP]),
        Just(vec![Protocol::TCP, Protocol::UDP])
    ];
    let expires = prop::option::of((-2i64..4).prop_map(|seconds| UnixTime(WALL.0 + seconds)));
    let from = prop::collection::vec(network(), 0..3);
    (protocols, prop::collection::vec(range, 1..4), 0u8..3, address, from, any::<bool>(), expires).prop_map(
        |(protocols, ports, host, address, from, enabled, expires)| ForwardRule {
            name: String::new(),
            protocols,
            ports,
            to: Ipv4Addr::new(192, 168, 0, host),
            address,
            from,
            enabled,
            expires,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        },
    )
}

/// The port ranges of the plan, in file order, with whether their rule is open.
fn scan(plan: &Plan, wall: i64) -> impl Iterator<Item = (RuleId, &ForwardRule, &PortRange, bool)> {
    plan.forwards.iter().zip(0..).flat_map(move |(forward, id)| {
        let open = forward.enabled && forward.expires.is_none_or(|expires| expires.0 > wall);
        forward.ports.iter().map(move |range| (RuleId(id), forward, range, open))
    })
}

proptest! {
    /// Against a scan over the plan, for inbound and outbound.
    #[test]
    fn agrees_with_a_linear_scan(
        forwards in prop::collection::vec(forward(), 0..30),
        queries in prop::collection::vec((0u16..640, any::<bool>(), any::<bool>(), 0u32..64, 0u8..3), 60),
        later in 0u64..5,
    ) {
        let plan = plan(forwards);
        let table = ForwardTable::compile(&plan, Timestamp::from_secs(100), WALL);
        let now = Timestamp::from_secs(100 + later);
        let wall = WALL.0 + later as i64;
        for (port, udp, second, source, host) in queries {
            let protocol = if udp { Protocol::UDP } else { Protocol::TCP };
            let address = if second { SECOND } else { PRIMARY };
            let source = Ipv4Addr::from_bits(PEER.to_bits() & !63 | source);
            for from_inside in [false, true] {
                let rules = |named: bool| {
                    scan(&plan, wall).filter(move |(_, forward, range, _)| {
                        forward.protocols.contains(&protocol)
                            && forward.address == named.then_some(address)
                            && (range.external_first..=range.external_last).contains(&port)
                    })
                };
                let ordered: Vec<_> = rules(true).chain(rules(false)).collect();
                let admits = |forward: &ForwardRule| {
                    from_inside
                        || forward.from.is_empty()
                        || forward.from.iter().any(|network| network.contains(&source))
                };
                let expected = if let Some((rule, forward, range, _)) =
                    ordered.iter().find(|(_, forward, _, open)| *open && admits(forward))
                {
                    let internal = SocketAddrV4::new(forward.to, range.internal_first + port - range.external_first);
                    Inbound::To { rule: *rule, internal }
                } else if let Some((rule, ..)) = ordered.iter().find(|(.., open)| *open) {
                    Inbound::Refused(*rule)
                } else if let Some((rule, ..)) = ordered.first() {
                    Inbound::Closed(*rule)
                } else {
                    Inbound::NotOwned
                };
                let got = table.inbound(now, protocol, address, port, source, from_inside);
                prop_assert_eq!(got, expected);
            }
            let internal = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, host), port);
            let pointing: Vec<_> = scan(&plan, wall)
                .filter(|(_, forward, range, open)| {
                    let length = range.external_last - range.external_first;
                    *open
                        && forward.protocols.contains(&protocol)
                        && forward.to == *internal.ip()
                        && (range.internal_first..=range.internal_first + length).contains(&port)
                })
                .map(|(rule, forward, range, _)| {
                    let external = port - range.internal_first + range.external_first;
                    (rule, SocketAddrV4::new(forward.address.unwrap_or(address), external))
                })
                .collect();
            let expected =
                pointing.iter().find(|(_, external)| *external.ip() == address).or(pointing.first()).copied();
            prop_assert_eq!(table.outbound(now, protocol, internal, address), expected);
        }
    }
}
