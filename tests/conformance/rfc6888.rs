//! RFC 6888 §3: what is asked of carrier-grade NATs, as far as it concerns translation.

use std::collections::HashSet;

use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::{DropReason, Event};
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{echo_request, tcp, udp};
use genkan_tests::lab::nat_probe::probe;
use genkan_tests::lab::plan::EXTERNAL;

use crate::common::{LATE, MOMENT, external, home, ip, scene, secs};

#[test]
fn req_2_pooling_is_paired_also_across_protocols() {
    let extra = ["203.0.113.5", "203.0.113.17", "198.18.0.9"];
    let (mut lab, _, web) = scene(|plan| plan.wan.addresses.extend(extra.map(ip)));
    let mut used = HashSet::new();
    for last in 10..60 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        let address = lab.pass(host, udp(host.at(5000), web.at(53)), web).source;
        assert_eq!(lab.pass(host, tcp(host.at(5000), web.at(80), Flags::SYN), web).source, address);
        assert_eq!(lab.pass(host, echo_request(host.address, web.address, 9), web).source, address);
        used.insert(address);
    }
    assert!(used.len() > 1, "hosts are spread over the pool");
}

#[test]
fn req_3_the_pool_need_not_be_contiguous() {
    let extra = ["203.0.113.200", "198.18.0.9"];
    let (mut lab, _, web) = scene(|plan| plan.wan.addresses.extend(extra.map(ip)));
    let mut used = HashSet::new();
    for last in 10..100 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        used.insert(lab.pass(host, udp(host.at(5000), web.at(53)), web).source);
    }
    assert_eq!(used, HashSet::from([EXTERNAL, ip(extra[0]), ip(extra[1])]));
}

#[test]
fn req_4_ports_per_host_are_limited() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_ports_per_host = 3);
    let other = lab.lan_host("192.168.0.101");
    for port in 5000..5003 {
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
    }
    lab.drop_at(pc, udp(pc.at(5003), web.at(53)), DropReason::HostPortLimit);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 13)));
    // Neither the other protocol, nor another remote of a known port, nor another host is concerned.
    lab.pass(pc, tcp(pc.at(5003), web.at(80), Flags::SYN), web);
    lab.pass(pc, udp(pc.at(5000), web.at(54)), web);
    lab.pass(other, udp(other.at(5003), web.at(53)), web);
}

#[test]
fn req_5_sessions_per_host_are_limited() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions_per_host = 3);
    let other = lab.lan_host("192.168.0.101");
    for port in 53..56 {
        lab.pass(pc, udp(pc.at(5000), web.at(port)), web);
    }
    lab.drop_at(pc, udp(pc.at(5000), web.at(56)), DropReason::HostSessionLimit);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 13)));
    assert!(lab.take_events().contains(&Event::HostLimit { host: pc.address }));
    lab.pass(other, udp(other.at(5000), web.at(53)), web);
    // Room comes back with time.
    lab.advance(secs(300) + LATE);
    lab.pass(pc, udp(pc.at(5000), web.at(56)), web);
}

#[test]
fn req_7_endpoint_independent_filtering_can_be_chosen() {
    let (mut lab, pc, _) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    assert_eq!(probe(&mut lab, pc, 5000).filtering, FilteringBehavior::EndpointIndependent);
}

#[test]
fn req_8_a_freed_port_rests_for_two_minutes() {
    let (mut lab, pc, web) = home();
    let other = lab.lan_host("192.168.0.101");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(300) + LATE);
    assert_eq!(lab.router.mapping_count(), 0);
    assert_ne!(lab.pass(other, udp(other.at(5000), web.at(53)), web).from(), external(5000), "it rests");
}

#[test]
fn req_8_a_rested_port_is_free_again() {
    let (mut lab, pc, web) = home();
    let other = lab.lan_host("192.168.0.101");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(300) + LATE + secs(120));
    assert_eq!(lab.pass(other, udp(other.at(5000), web.at(53)), web).from(), external(5000));
}

#[test]
fn req_8_the_same_host_gets_its_port_back_at_once() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(300) + LATE);
    assert_eq!(lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from(), external(5000));
}

#[test]
fn req_8_a_resting_port_is_taken_when_nothing_else_is_left() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5001);
    let other = lab.lan_host("192.168.0.101");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(10));
    lab.pass(pc, udp(pc.at(5001), web.at(53)), web);
    lab.advance(secs(300) + LATE);
    assert_eq!(lab.router.mapping_count(), 0);
    let first = lab.pass(other, udp(other.at(6000), web.at(53)), web).source_port();
    let second = lab.pass(other, udp(other.at(6001), web.at(53)), web).source_port();
    assert_eq!([first, second], [5000, 5001], "the longest resting first");
}

#[test]
fn req_11_a_refused_mapping_is_told_and_ends_no_other() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5003);
    let other = lab.lan_host("192.168.0.101");
    for port in 5000..5004 {
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
        lab.pass(web, udp(web.at(53), external(port)), pc);
    }
    lab.drop_at(other, udp(other.at(6000), web.at(53)), DropReason::PortsExhausted);
    assert_eq!(lab.receive(other).icmp_kind(), Some((3, 13)));
    let exhausted = lab
        .take_events()
        .into_iter()
        .any(|event| matches!(event, Event::PortsExhausted { external, .. } if external == EXTERNAL));
    assert!(exhausted, "somebody is told");
    for port in 5000..5004 {
        lab.pass(web, udp(web.at(53), external(port)), pc);
    }
}

#[test]
fn req_12_events_of_ordinary_traffic_name_no_remote() {
    let (mut lab, pc, web) = home();
    lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    assert_eq!(lab.take_events(), []);
}

#[test]
fn req_13_every_port_of_the_range_is_used() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 2000..=2099);
    let used: HashSet<u16> = (0..100)
        .map(|index| lab.pass(pc, udp(pc.at(40_000 + index), web.at(53)), web).source_port())
        .collect();
    assert_eq!(used, (2000..=2099).collect());
}

#[test]
fn req_15_ports_are_hard_to_guess() {
    // Ports that cannot be kept: neither neighbouring, nor the same for another seed.
    let draw = |seed| {
        let mut plan = genkan_tests::lab::plan::home();
        plan.nat.ports = 10_000..=59_999;
        let mut lab = genkan_tests::lab::Lab::seeded(plan, seed);
        let (pc, web) = (lab.lan_host("192.168.0.100"), lab.wan_host("198.51.100.7"));
        (2000..2064)
            .map(|port| lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port())
            .collect::<Vec<_>>()
    };
    let ports = draw([1, 2]);
    assert_ne!(ports, draw([3, 4]));
    let neighbours = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
    assert!(neighbours < 4, "{ports:?}");
    assert!(ports.iter().any(|&port| port < 30_000) && ports.iter().any(|&port| port > 40_000), "{ports:?}");
}

#[test]
fn req_8_tcp_ports_rest_too() {
    let (mut lab, pc, web) = home();
    let other = lab.lan_host("192.168.0.101");
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web);
    lab.advance(secs(240) + LATE);
    assert_eq!(lab.router.mapping_count(), 0);
    lab.advance(secs(110) - MOMENT);
    assert_ne!(lab.pass(other, tcp(other.at(40_000), web.at(80), Flags::SYN), web).from(), external(40_000));
}
