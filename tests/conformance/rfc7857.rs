//! RFC 7857: updates to RFC 4787, 5382 and 5508. It numbers no requirements: tests are named after its sections.

use std::collections::HashSet;

use genkan_engine::DropReason;
use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp_error, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2};

use crate::common::{LATE, MOMENT, external, home, scene, secs};

#[test]
fn section_2_1_both_transitory_phases_are_at_least_four_minutes() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.timeouts.tcp_transitory = secs(300));
    let outside = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web).from();
    lab.advance(secs(300) - MOMENT);
    lab.pass(web, tcp(web.at(80), outside, Flags::SYN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::FIN_ACK), web);
    lab.pass(web, tcp(web.at(80), outside, Flags::FIN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.advance(secs(300) - MOMENT);
    assert_eq!(lab.router.session_count(), 1);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn section_2_2_a_rst_starts_the_four_minutes_and_ends_nothing_at_once() {
    for from_inside in [true, false] {
        let (mut lab, pc, web) = home();
        let outside = lab.open_tcp(pc, 40_000, web, 80);
        if from_inside {
            lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::RST), web);
        } else {
            lab.pass(web, tcp(web.at(80), outside, Flags::RST), pc);
        }
        lab.advance(secs(240) - MOMENT);
        lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
        lab.advance(MOMENT + LATE);
        assert_eq!(lab.router.session_count(), 0, "inbound traffic does not bring it back");
    }
}

#[test]
fn section_2_2_traffic_from_inside_brings_the_connection_back() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    // A forged RST from outside: the inside host knows better and goes on.
    lab.pass(web, tcp(web.at(80), outside, Flags::RST), pc);
    lab.advance(secs(100));
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK).data(b"go on"), web);
    lab.advance(secs(3600));
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK).data(b"ok"), pc);
}

#[test]
fn section_3_ports_do_not_overlap_even_toward_different_remotes() {
    let (mut lab, pc, web) = home();
    let (rival, other) = (lab.lan_host("192.168.0.101"), lab.wan_host("192.0.2.9"));
    let first = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web).from();
    assert_ne!(lab.pass(rival, tcp(rival.at(40_000), other.at(80), Flags::SYN), other).from(), first);
}

#[test]
fn section_4_a_host_without_ports_left_stays_with_its_address() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        plan.nat.ports = 5000..=5001;
    });
    let mut addresses = HashSet::new();
    for port in [5000, 5001] {
        let outside = lab.pass(pc, udp(pc.at(port), web.at(53)), web).from();
        lab.pass(web, udp(web.at(53), outside), pc);
        addresses.insert(*outside.ip());
    }
    assert_eq!(addresses.len(), 1);
    lab.drop_at(pc, udp(pc.at(5002), web.at(53)), DropReason::PortsExhausted);
    lab.received(pc);
}

#[test]
fn section_5_mappings_of_udp_and_tcp_are_independent() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    // The port is taken for UDP; TCP keeps it all the same.
    lab.pass(rival, udp(rival.at(5000), web.at(53)), web);
    assert_eq!(lab.pass(pc, tcp(pc.at(5000), web.at(80), Flags::SYN), web).source_port(), 5000);
    assert_ne!(lab.pass(pc, udp(pc.at(5000), web.at(53)), web).source_port(), 5000);
}

#[test]
fn section_6_filters_of_udp_and_tcp_are_independent() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(99), external(5000)), pc);
    lab.refuse(web, tcp(web.at(99), external(5000), Flags::SYN), DropReason::NoMapping);
}

#[test]
fn section_7_packets_that_the_filter_refuses_refresh_nothing() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.inbound_refresh = true);
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    for _ in 0..4 {
        lab.advance(secs(60));
        lab.refuse(stranger, udp(stranger.at(53), outside), DropReason::Filtered);
    }
    lab.advance(secs(60) + LATE);
    lab.refuse(web, udp(web.at(53), outside), DropReason::NoMapping);
}

#[test]
fn section_7_1_icmp_errors_refresh_nothing() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let seen = lab.pass(web, udp(web.at(53), external(5000)), pc);
    // The inside host answers every datagram with "port unreachable".
    for _ in 0..4 {
        lab.advance(secs(60));
        lab.pass(pc, icmp_error(pc.address, web.address, 3, 3, &seen.to_ip()), web);
    }
    lab.advance(secs(60) + LATE);
    lab.refuse(web, udp(web.at(53), external(5000)), DropReason::NoMapping);
}

#[test]
fn section_8_port_parity_is_off_by_default() {
    assert!(!genkan_tests::lab::plan::home().nat.port_parity);
}

#[test]
fn section_9_ports_that_cannot_be_kept_are_random() {
    let (mut lab, _, web) = home();
    let mut ports = Vec::new();
    for last in 10..60 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        ports.push(lab.pass(host, udp(host.at(5000), web.at(53)), web).source_port());
    }
    assert_eq!(ports[0], 5000);
    let near = ports[1..].iter().filter(|port| port.abs_diff(5000) < 500).count();
    assert!(near < 8, "{ports:?}");
}

#[test]
fn section_10_identifications_of_whole_packets_pass_unchanged() {
    let (mut lab, pc, web) = home();
    for id in [0, 1, 0xffff] {
        assert_eq!(lab.pass(pc, udp(pc.at(5000), web.at(53)).id(id).dont_fragment(), web).id, id);
    }
}

#[test]
fn section_11_query_mappings_live_as_long_as_their_sessions() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, echo_request(pc.address, web.address, 7), web);
    assert_eq!(lab.router.mapping_count(), 1);
    lab.advance(secs(60) - MOMENT);
    assert_eq!(lab.router.mapping_count(), 1);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.mapping_count(), 0);
}

#[test]
fn section_12_the_external_address_answers_pings_from_inside() {
    let (mut lab, pc, _) = home();
    let reply = lab.pass(pc, echo_request(pc.address, EXTERNAL, 7), pc);
    assert_eq!((reply.source, reply.icmp_kind(), reply.identifier()), (EXTERNAL, Some((0, 0)), 7));
}

#[test]
fn section_12_a_reply_to_an_own_ping_does_not_hit_a_mapping_of_another() {
    let (mut lab, pc, web) = home();
    let friend = lab.lan_host("192.168.0.101");
    lab.pass(pc, echo_request(pc.address, web.address, 7), web);
    lab.refuse(friend, echo_reply(friend.address, EXTERNAL, 7), DropReason::IcmpNoSession);
    assert!(lab.session(Protocol::ICMP, pc.at(7), web.at(0)).is_some());
}
