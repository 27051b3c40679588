//! The NAT's decisions without frames: what the stages above ask of it, on virtual time.

mod invariants;
mod saved;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::look_ahead::Foreseen;
use super::policy::{Direction, FilteringBehavior, MappingBehavior};
use super::session::{NONE, Origin, SessionFlags, SessionKey};
use super::tcp_state::TcpState;
use super::{Nat, Timestamp};
use crate::frame::PortId;
use crate::link::route::RouteTable;
use crate::plan::{ForwardRule, Host, Lan, Nat as NatPlan, Plan, PortRange, Wan};
use crate::time::UnixTime;
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

const LAN: PortId = PortId::lan(0);
const NOW: Timestamp = Timestamp::from_secs(100);

fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn plan() -> Plan {
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(203, 0, 113, 254)),
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        },
        lans: vec![Lan {
            name: "home".into(),
            address: "192.168.0.1/24".parse().unwrap(),
            mtu: 1500,
            reaches: Vec::new(),
        }],
        routes: Vec::new(),
        host_port: false,
        nat: NatPlan {
            max_sessions: 64,
            max_sessions_per_host: 32,
            max_ports_per_host: 16,
            ..NatPlan::default()
        },
        hosts: Vec::new(),
        forwards: Vec::new(),
        dmz: None,
        services: Vec::new(),
    }
}

fn web(to: &str) -> ForwardRule {
    ForwardRule {
        name: "web".into(),
        protocols: vec![Protocol::TCP],
        ports: vec![PortRange { external_first: 80, external_last: 80, internal_first: 8080 }],
        to: to.parse().unwrap(),
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    }
}

fn nat(plan: &Plan) -> Nat {
    Nat::new(plan, RouteTable::from_plan(plan).into(), [1, 2], NOW, UnixTime(0), None)
}

fn apply(nat: &mut Nat, plan: &Plan) {
    nat.apply(NOW, UnixTime(0), plan, RouteTable::from_plan(plan).into());
}

/// Opens a session from inside and returns its external endpoint.
fn open(nat: &mut Nat, protocol: Protocol, internal: &str, remote: &str) -> Result<SocketAddrV4, DropReason> {
    let id =
        nat.open_outbound(NOW, protocol, endpoint(internal), endpoint(remote), LAN, &Foreseen::NOTHING)?;
    Ok(nat.sessions[id].external())
}

fn find(nat: &Nat, port: PortId, protocol: Protocol, from: &str, to: SocketAddrV4) -> Option<Direction> {
    nat.sessions.find_key(SessionKey::new(port, protocol, endpoint(from), to)).map(|(_, direction)| direction)
}

#[test]
fn a_session_is_found_from_both_sides_and_gone_with_its_mapping_when_it_ends() {
    let mut nat = nat(&plan());
    let external = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:53").unwrap();
    assert_eq!(external, endpoint("203.0.113.1:5000"));
    assert_eq!(
        find(&nat, LAN, Protocol::UDP, "192.168.0.10:5000", endpoint("198.51.100.7:53")),
        Some(Direction::Outbound)
    );
    assert_eq!(find(&nat, PortId::WAN, Protocol::UDP, "198.51.100.7:53", external), Some(Direction::Inbound));
    assert_eq!(find(&nat, PortId::WAN, Protocol::TCP, "198.51.100.7:53", external), None);

    let (just_before, at) = (NOW + Duration::from_nanos(299_999_999_999), NOW + Duration::from_secs(301));
    nat.expire(just_before);
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (1, 1), "the wheel is never early");
    nat.expire(at);
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (0, 0));
    assert_eq!(nat.hosts.find(Ipv4Addr::new(192, 168, 0, 10)), None);
    assert_eq!(nat.stages.sessions_expired, 1);
}

#[test]
fn one_internal_endpoint_keeps_one_external_endpoint_for_all_remotes() {
    let mut nat = nat(&plan());
    let first = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:53").unwrap();
    let second = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.8:99").unwrap();
    assert_eq!(first, second);
    let other = open(&mut nat, Protocol::UDP, "192.168.0.11:5000", "198.51.100.7:53").unwrap();
    assert_ne!(other, first, "no external endpoint has two owners");
}

#[test]
fn the_dependent_mappings_give_different_remotes_different_ports() {
    for (behavior, per_address, per_port) in [
        (MappingBehavior::AddressDependent, true, false),
        (MappingBehavior::AddressAndPortDependent, true, true),
    ] {
        let mut plan = plan();
        plan.nat.mapping = behavior;
        let mut nat = nat(&plan);
        let first = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:53").unwrap();
        let port = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:54").unwrap();
        let address = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.8:53").unwrap();
        assert_eq!((first != address, first != port), (per_address, per_port), "{behavior:?}");
    }
}

#[test]
fn filtering_goes_by_what_the_internal_endpoint_has_sent_to() {
    use FilteringBehavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for (behavior, same_address, stranger) in [
        (EndpointIndependent, true, true),
        (AddressDependent, true, false),
        (AddressAndPortDependent, false, false),
    ] {
        let mut plan = plan();
        plan.nat.filtering = behavior;
        let mut nat = nat(&plan);
        let external = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:53").unwrap();
        let judge =
            |source: &str| nat.judge_inbound(NOW, Protocol::UDP, endpoint(source), external, false).is_ok();
        assert_eq!(
            (judge("198.51.100.7:999"), judge("198.51.100.8:53")),
            (same_address, stranger),
            "{behavior:?}"
        );
    }
}

#[test]
fn a_forward_is_a_static_mapping_both_ways() {
    let mut plan = plan();
    plan.forwards.push(web("192.168.0.10"));
    let mut nat = nat(&plan);
    let (source, external) = (endpoint("198.51.100.7:40000"), endpoint("203.0.113.1:80"));
    let admission = nat.judge_inbound(NOW, Protocol::TCP, source, external, false).unwrap();
    assert_eq!((admission.internal, admission.origin), (endpoint("192.168.0.10:8080"), Origin::Forward));
    nat.open_inbound(NOW, Protocol::TCP, source, external, admission, LAN, &Foreseen::NOTHING).unwrap();
    assert_eq!(find(&nat, LAN, Protocol::TCP, "192.168.0.10:8080", source), Some(Direction::Outbound));

    let outbound = open(&mut nat, Protocol::TCP, "192.168.0.10:8080", "198.51.100.9:443").unwrap();
    assert_eq!(outbound, external, "a new session of the target leaves from the forwarded port");
    assert_eq!(nat.mappings.len(), 0);
}

#[test]
fn unanswered_sessions_make_room_before_closed_ones_and_live_ones_never() {
    let mut plan = plan();
    plan.nat.max_sessions = 2;
    let mut nat = nat(&plan);
    let remote = endpoint("198.51.100.7:53");
    let answered = nat
        .open_outbound(NOW, Protocol::UDP, endpoint("192.168.0.10:5000"), remote, LAN, &Foreseen::NOTHING)
        .unwrap();
    nat.sessions[answered].flags.set(SessionFlags::ANSWERED, true);
    nat.queues.unlink(&mut nat.sessions, 1, answered);
    open(&mut nat, Protocol::UDP, "192.168.0.10:5001", "198.51.100.7:53").unwrap();
    open(&mut nat, Protocol::UDP, "192.168.0.11:5002", "198.51.100.7:53").unwrap();
    assert_eq!(nat.stages.sessions_evicted, 1);
    assert!(nat.sessions.get(answered).is_some());
    assert_eq!(
        find(&nat, LAN, Protocol::UDP, "192.168.0.10:5001", remote),
        None,
        "the oldest unanswered went"
    );

    let second = find_id(&nat, "192.168.0.11:5002", remote);
    nat.sessions[second].flags.set(SessionFlags::ANSWERED, true);
    nat.queues.unlink(&mut nat.sessions, 1, second);
    assert_eq!(
        open(&mut nat, Protocol::UDP, "192.168.0.12:5003", "198.51.100.7:53"),
        Err(DropReason::SessionLimit)
    );
    assert_eq!(nat.hosts.find(Ipv4Addr::new(192, 168, 0, 12)), None, "a refused host leaves no trace");
}

#[test]
fn a_larger_table_takes_effect_with_the_plan_and_keeps_what_it_holds() {
    let mut plan = plan();
    plan.nat.max_sessions = 3;
    let mut nat = nat(&plan);
    let remotes = |port: u16| format!("198.51.100.7:{port}");
    for port in 1..=3 {
        open(&mut nat, Protocol::UDP, "192.168.0.10:5000", &remotes(port)).unwrap();
    }
    plan.nat.max_sessions = 500;
    plan.nat.max_sessions_per_host = 500;
    apply(&mut nat, &plan);
    for port in 4..=500 {
        open(&mut nat, Protocol::UDP, "192.168.0.10:5000", &remotes(port)).unwrap();
    }
    for port in 1..=500 {
        assert!(
            find(&nat, LAN, Protocol::UDP, "192.168.0.10:5000", endpoint(&remotes(port))).is_some(),
            "{port}"
        );
    }
    assert_eq!((nat.sessions.len(), nat.stages.sessions_evicted), (500, 0));
}

fn find_id(nat: &Nat, from: &str, to: SocketAddrV4) -> u32 {
    nat.sessions.find_key(SessionKey::new(LAN, Protocol::UDP, endpoint(from), to)).unwrap().0
}

#[test]
fn per_host_limits_refuse_that_host_only() {
    let mut plan = plan();
    plan.nat.max_ports_per_host = 2;
    plan.nat.max_sessions_per_host = 3;
    let mut nat = nat(&plan);
    for port in [5000, 5001] {
        open(&mut nat, Protocol::UDP, &format!("192.168.0.10:{port}"), "198.51.100.7:53").unwrap();
    }
    let third = open(&mut nat, Protocol::UDP, "192.168.0.10:5002", "198.51.100.7:53");
    assert_eq!(third, Err(DropReason::HostPortLimit));
    open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:54").unwrap();
    let fourth = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:55");
    assert_eq!(fourth, Err(DropReason::HostSessionLimit));
    open(&mut nat, Protocol::UDP, "192.168.0.11:5000", "198.51.100.7:53").unwrap();
}

#[test]
fn a_host_more_than_there_is_room_for_displaces_the_oldest_that_nobody_answered() {
    let mut plan = plan();
    plan.lans[0].address = "10.0.0.1/8".parse().unwrap();
    plan.nat.max_sessions = 100_000;
    let mut nat = nat(&plan);
    let (host, remote) =
        (|n: u32| Ipv4Addr::from_bits(0x0a00_0100 + n), |n: u32| Ipv4Addr::from_bits(0x0900_0000 + n));
    let mut open = |n| {
        let (internal, remote) = (SocketAddrV4::new(host(n), 0), SocketAddrV4::new(remote(n), 0));
        nat.open_outbound(NOW, Protocol::ESP, internal, remote, LAN, &Foreseen::NOTHING)
    };
    assert!((0..65_537).all(|n| open(n).is_ok()));
    assert_eq!((nat.sessions.len(), nat.stages.sessions_evicted), (65_536, 1));
    assert_eq!((nat.hosts.find(host(0)), nat.hosts.find(host(65_536)).is_some()), (None, true));
    assert!(nat.hosts.find(host(1)).is_some());
}

#[test]
fn protocols_without_ports_belong_to_one_host_per_remote() {
    let mut nat = nat(&plan());
    open(&mut nat, Protocol::ESP, "192.168.0.10:0", "198.51.100.7:0").unwrap();
    assert_eq!(
        open(&mut nat, Protocol::ESP, "192.168.0.11:0", "198.51.100.7:0"),
        Err(DropReason::ProtocolInUse)
    );
    open(&mut nat, Protocol::ESP, "192.168.0.11:0", "198.51.100.8:0").unwrap();
}

#[test]
fn a_changed_plan_ends_what_it_no_longer_allows_and_nothing_else() {
    let mut with_web = plan();
    with_web.forwards.push(web("192.168.0.10"));
    let mut nat = nat(&with_web);
    let (source, external) = (endpoint("198.51.100.7:40000"), endpoint("203.0.113.1:80"));
    let admission = nat.judge_inbound(NOW, Protocol::TCP, source, external, false).unwrap();
    let forwarded =
        nat.open_inbound(NOW, Protocol::TCP, source, external, admission, LAN, &Foreseen::NOTHING).unwrap();
    let other = nat
        .open_outbound(
            NOW,
            Protocol::TCP,
            endpoint("192.168.0.10:5000"),
            endpoint("198.51.100.9:443"),
            LAN,
            &Foreseen::NOTHING,
        )
        .unwrap();

    let bare = plan();
    apply(&mut nat, &bare);
    assert!(!nat.revalidate(NOW, forwarded));
    assert!(nat.revalidate(NOW, other));
    let judged = nat.judge_inbound(NOW, Protocol::TCP, source, external, false);
    assert_eq!(judged, Err(DropReason::PortResting));
    let rested = nat.judge_inbound(NOW + Duration::from_secs(301), Protocol::TCP, source, external, false);
    assert_eq!(rested, Err(DropReason::NoMapping));
}

#[test]
fn a_new_forward_takes_its_port_from_a_dynamic_mapping() {
    let mut nat = nat(&plan());
    let id = nat
        .open_outbound(
            NOW,
            Protocol::TCP,
            endpoint("192.168.0.11:8000"),
            endpoint("198.51.100.9:443"),
            LAN,
            &Foreseen::NOTHING,
        )
        .unwrap();
    assert_eq!(nat.sessions[id].external(), endpoint("203.0.113.1:8000"));
    let mut plan = plan();
    plan.forwards.push(web("192.168.0.10"));
    plan.forwards[0].ports[0] = PortRange { external_first: 8000, external_last: 8000, internal_first: 80 };
    apply(&mut nat, &plan);
    nat.sweep(NOW);
    assert!(nat.sessions.get(id).is_none());
    assert_eq!(nat.mappings.len(), 0);
    let again = open(&mut nat, Protocol::TCP, "192.168.0.11:8000", "198.51.100.9:443").unwrap();
    assert_ne!(again.port(), 8000);
}

/// The old session of an endpoint that now comes in elsewhere is the last user of its mapping.
#[test]
fn a_mapping_outlives_the_ended_session_that_its_new_one_replaces() {
    let mut nat = nat(&plan());
    let (internal, remote) = (endpoint("10.20.0.5:5000"), endpoint("198.51.100.7:80"));
    let old = nat.open_outbound(NOW, Protocol::TCP, internal, remote, LAN, &Foreseen::NOTHING).unwrap();
    nat.queues.unlink(&mut nat.sessions, 0, old);
    nat.sessions[old].tcp = TcpState::Reset;
    let new =
        nat.open_outbound(NOW, Protocol::TCP, internal, remote, PortId::lan(1), &Foreseen::NOTHING).unwrap();
    assert_eq!(nat.sessions[new].external(), endpoint("203.0.113.1:5000"));
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (1, 1));
    nat.end_session(NOW, new);
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (0, 0));
    assert_eq!(nat.hosts.find(*internal.ip()), None);
}

/// Neither sweep nor packet has come by the old target's session yet.
#[test]
fn a_session_that_the_plan_ended_is_in_nobodys_way() {
    let mut with_web = plan();
    with_web.forwards.push(web("192.168.0.10"));
    let mut nat = nat(&with_web);
    let (source, external) = (endpoint("198.51.100.7:40000"), endpoint("203.0.113.1:80"));
    let admission = nat.judge_inbound(NOW, Protocol::TCP, source, external, false).unwrap();
    nat.open_inbound(NOW, Protocol::TCP, source, external, admission, LAN, &Foreseen::NOTHING).unwrap();
    with_web.forwards[0].to = Ipv4Addr::new(192, 168, 0, 11);
    apply(&mut nat, &with_web);
    assert_eq!(open(&mut nat, Protocol::TCP, "192.168.0.11:8080", "198.51.100.7:40000"), Ok(external));
}

#[test]
fn a_host_with_an_address_of_its_own_keeps_its_ports_and_takes_all() {
    let mut plan = plan();
    plan.wan.addresses.push(Ipv4Addr::new(203, 0, 113, 5));
    plan.hosts.push(Host {
        name: "server".into(),
        mac: None,
        address: Ipv4Addr::new(192, 168, 0, 20),
        filtering: None,
        mapping: None,
        external: Some(Ipv4Addr::new(203, 0, 113, 5)),
    });
    let mut nat = nat(&plan);
    let external = open(&mut nat, Protocol::TCP, "192.168.0.20:25", "198.51.100.7:4000").unwrap();
    assert_eq!(external, endpoint("203.0.113.5:25"));
    let judged =
        nat.judge_inbound(NOW, Protocol::UDP, endpoint("198.51.100.9:1"), endpoint("203.0.113.5:777"), false);
    let admission = judged.unwrap();
    assert_eq!((admission.internal, admission.mapping), (endpoint("192.168.0.20:777"), NONE));
    for host in 1..=50 {
        let internal = format!("192.168.0.{}:6000", host + 100);
        let shared = nat.external_address_of(*endpoint(&internal).ip());
        assert_eq!(shared, Ipv4Addr::new(203, 0, 113, 1), "others do not share it");
    }
}
