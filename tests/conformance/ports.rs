//! Design §6, ports: kept, random, paired, resting.

use genkan_engine::DropReason;
use genkan_engine::nat::policy::MappingBehavior;
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{echo_request, tcp, udp};
use genkan_tests::lab::plan::forward;

use crate::common::{LATE, external, home, ip, scene, secs};

#[test]
fn the_internal_port_is_kept_when_free() {
    let (mut lab, pc, web) = home();
    for port in [1024, 1025, 5000, 40_000, 65_535] {
        assert_eq!(lab.pass(pc, udp(pc.at(port), web.at(53)), web).from(), external(port));
        assert_eq!(lab.pass(pc, tcp(pc.at(port), web.at(80), Flags::SYN), web).from(), external(port));
    }
}

#[test]
fn ports_below_the_range_move_into_it() {
    let (mut lab, pc, web) = home();
    for port in [1, 53, 123, 1023] {
        assert!(lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port() >= 1024);
    }
}

#[test]
fn ports_stay_within_the_configured_range() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 30_000..=30_999);
    for port in 2000..2200 {
        let outside = lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port();
        assert!((30_000..=30_999).contains(&outside), "{outside}");
    }
}

#[test]
fn parity_gives_way_when_no_other_port_is_left() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.nat.port_parity = true;
        plan.nat.ports = 5000..=5003;
    });
    let mut outside: Vec<u16> = [6000, 6002, 6004, 6006]
        .map(|port| lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port())
        .into();
    assert!(outside[0].is_multiple_of(2) && outside[1].is_multiple_of(2), "{outside:?}");
    outside.sort_unstable();
    assert_eq!(outside, [5000, 5001, 5002, 5003]);
}

#[test]
fn identifiers_of_pings_have_their_own_pool() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5000);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    for identifier in [5000, 5001, 0, 65_535] {
        assert_eq!(
            lab.pass(pc, echo_request(pc.address, web.address, identifier), web).identifier(),
            identifier
        );
    }
}

#[test]
fn dependent_mappings_use_a_port_per_remote() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.mapping = MappingBehavior::AddressAndPortDependent);
    let mut seen = std::collections::HashSet::new();
    for port in 53..63 {
        assert!(seen.insert(lab.pass(pc, udp(pc.at(5000), web.at(port)), web).source_port()));
    }
    // The same remote endpoint: the same port.
    assert!(seen.contains(&lab.pass(pc, udp(pc.at(5000), web.at(53)), web).source_port()));
    assert_eq!(lab.router.mapping_count(), 10);
}

#[test]
fn dependent_mappings_count_against_the_hosts_ports() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.nat.mapping = MappingBehavior::AddressAndPortDependent;
        plan.nat.max_ports_per_host = 3;
    });
    for port in 53..56 {
        lab.pass(pc, udp(pc.at(5000), web.at(port)), web);
    }
    lab.drop_at(pc, udp(pc.at(5000), web.at(56)), DropReason::HostPortLimit);
}

#[test]
fn a_full_pool_lets_unanswered_mappings_go() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5001);
    let other = lab.lan_host("192.168.0.101");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
    lab.advance(secs(1));
    lab.pass(pc, udp(pc.at(5001), web.at(53)), web);
    lab.advance(secs(1));
    // Design §5: the unanswered one makes room, the answered one stays.
    if lab.router.workers() > 1 {
        // At another worker it does so when asked: for the next packet.
        lab.send(other, udp(other.at(6000), web.at(53)));
        lab.received(web);
        lab.received(other);
    }
    assert_eq!(lab.pass(other, udp(other.at(6000), web.at(53)), web).from(), external(5001));
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn a_mapping_lives_as_long_as_any_of_its_sessions() {
    let (mut lab, pc, web) = home();
    let other = lab.wan_host("192.0.2.9");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(200));
    lab.pass(pc, udp(pc.at(5000), other.at(53)), other);
    lab.advance(secs(100) + LATE);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (1, 1));
    // The first remote's session is over, and with it its admission.
    lab.refuse(web, udp(web.at(53), external(5000)), DropReason::Filtered);
    lab.pass(other, udp(other.at(53), external(5000)), pc);
    lab.advance(secs(200) + LATE);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0));
}

#[test]
fn ports_of_forwards_added_later_are_not_handed_out() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5003);
    lab.change(|plan| plan.forwards.push(forward("game", "udp", "5000-5001", "192.168.0.10")));
    for port in [5000, 5001] {
        assert!(lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port() >= 5002);
    }
}

#[test]
fn an_answer_to_port_0_goes_nowhere() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(0), web.at(53)), web).from();
    lab.refuse(web, udp(web.at(53), outside), DropReason::PortZero);
}

#[test]
fn a_hairpin_takes_any_port_but_the_one_that_it_speaks_to() {
    let (mut lab, pc, _) = scene(|plan| {
        plan.nat.ports = 5000..=5001;
        plan.dmz = Some(ip("192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    for port in [40_000, 5000] {
        let seen = lab.pass(pc, udp(pc.at(port), external(5000)), server);
        assert_eq!((seen.from(), seen.to()), (external(5001), server.at(5000)));
        lab.advance(secs(300) + LATE);
    }
}
