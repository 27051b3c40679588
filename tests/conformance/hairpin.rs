//! Design §1, hairpin: from inside to an external endpoint, for everything that takes packets from outside.

use std::net::SocketAddrV4;

use genkan_engine::DropReason;
use genkan_engine::nat::policy::FilteringBehavior;
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{icmp_error, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward};

use crate::common::{LATE, MOMENT, external, ip, scene, secs};

#[test]
fn to_a_forward() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    let server = lab.lan_host("192.168.0.10");
    let syn = lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), server);
    assert_eq!((syn.from(), syn.to()), (external(40_000), server.at(8080)));
    let answer = lab.pass(server, tcp(server.at(8080), external(40_000), Flags::SYN_ACK), pc);
    assert_eq!((answer.from(), answer.to()), (external(80), pc.at(40_000)));
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::ACK), server);
    lab.pass(server, tcp(server.at(8080), external(40_000), Flags::FIN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::FIN_ACK), server);
}

#[test]
fn inside_hosts_pass_every_from() {
    let (mut lab, pc, web) = scene(|plan| {
        let mut rule = forward("ssh", "tcp", "22", "192.168.0.10");
        rule.from = vec!["192.0.2.0/24".parse().unwrap()];
        plan.forwards.push(rule);
    });
    let server = lab.lan_host("192.168.0.10");
    lab.pass(pc, tcp(pc.at(40_000), external(22), Flags::SYN), server);
    lab.refuse(web, tcp(web.at(40_000), external(22), Flags::SYN), DropReason::ForwardSource);
}

#[test]
fn a_closed_forward_is_closed_to_inside_hosts_too() {
    let (mut lab, pc, _) = scene(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.enabled = false;
        plan.forwards.push(rule);
    });
    lab.drop_at(pc, tcp(pc.at(40_000), external(80), Flags::SYN), DropReason::ForwardClosed);
}

#[test]
fn to_the_dmz() {
    let (mut lab, pc, _) = scene(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    let seen = lab.pass(pc, udp(pc.at(5000), external(9)), server);
    assert_eq!((seen.from(), seen.to()), (external(5000), server.at(9)));
    let answer = lab.pass(server, udp(server.at(9), external(5000)), pc);
    assert_eq!(answer.from(), external(9));
}

#[test]
fn to_itself() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let seen = lab.pass(pc, udp(pc.at(6000), outside), pc);
    assert_eq!((seen.from(), seen.to()), (external(6000), pc.at(5000)));
    let seen = lab.pass(pc, udp(pc.at(5000), external(6000)), pc);
    assert_eq!((seen.from(), seen.to()), (outside, pc.at(6000)));
}

#[test]
fn from_a_forwards_own_target() {
    let (mut lab, _, _) = scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    let server = lab.lan_host("192.168.0.10");
    let syn = lab.pass(server, tcp(server.at(40_000), external(80), Flags::SYN), server);
    assert_eq!((syn.from(), syn.to()), (external(40_000), server.at(8080)));
    let answer = lab.pass(server, tcp(server.at(8080), external(40_000), Flags::SYN_ACK), server);
    assert_eq!((answer.from(), answer.to()), (external(80), server.at(40_000)));
}

#[test]
fn between_static_mappings_both_keep_their_ports() {
    let (mut lab, _, _) = scene(|plan| {
        plan.forwards.push(forward("one", "udp", "3074", "192.168.0.20"));
        plan.forwards.push(forward("two", "udp", "3075", "192.168.0.21:3074"));
    });
    let (one, two) = (lab.lan_host("192.168.0.20"), lab.lan_host("192.168.0.21"));
    let seen = lab.pass(one, udp(one.at(3074), external(3075)), two);
    assert_eq!((seen.from(), seen.to()), (external(3074), two.at(3074)));
    let seen = lab.pass(two, udp(two.at(3074), external(3074)), one);
    assert_eq!((seen.from(), seen.to()), (external(3075), one.at(3074)));
}

#[test]
fn to_a_further_external_address() {
    let (mut lab, pc, _) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.address = Some(EXTERNAL_2);
        plan.forwards.push(rule);
    });
    let server = lab.lan_host("192.168.0.10");
    let syn = lab.pass(pc, tcp(pc.at(40_000), SocketAddrV4::new(EXTERNAL_2, 80), Flags::SYN), server);
    assert_eq!(syn.to(), server.at(80));
    lab.drop_at(pc, tcp(pc.at(40_001), external(80), Flags::SYN), DropReason::NoMapping);
}

#[test]
fn what_nothing_takes_is_dropped() {
    let (mut lab, pc, _) = scene(|_| {});
    lab.drop_at(pc, udp(pc.at(5000), external(9)), DropReason::NoMapping);
    lab.drop_at(pc, raw(pc.address, EXTERNAL, 50, &[0; 8]), DropReason::NoMapping);
}

#[test]
fn errors_pass_in_both_directions() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    let request = udp(pc.at(5000), external(53));
    let seen = lab.pass(pc, request.clone(), server);
    let told = lab.pass(server, icmp_error(server.address, EXTERNAL, 3, 3, &seen.to_ip()), pc);
    assert_eq!((told.source, told.payload_data()), (EXTERNAL, &request.ttl(seen.ttl).to_ip()[..]));
    let answer = udp(server.at(5353), external(5000));
    let seen = lab.pass(server, answer.clone(), pc);
    let told = lab.pass(pc, icmp_error(pc.address, EXTERNAL, 3, 3, &seen.to_ip()), server);
    assert_eq!(told.payload_data(), answer.ttl(seen.ttl).to_ip());
}

#[test]
fn errors_of_a_machine_between_pass_too() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let (server, hop) = (lab.lan_host("192.168.0.10"), lab.lan_host("192.168.0.99"));
    let request = udp(pc.at(5000), external(53));
    let seen = lab.pass(pc, request.clone(), server);
    let told = lab.pass(hop, icmp_error(hop.address, EXTERNAL, 11, 0, &seen.to_ip()), pc);
    assert_eq!((told.source, told.payload_data()), (EXTERNAL, &request.ttl(seen.ttl).to_ip()[..]));
}

#[test]
fn fragments_are_turned_round() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    let whole = udp(pc.at(5000), external(53)).id(3).data(&[7; 40]);
    for part in whole.fragments(16) {
        lab.send(pc, part);
    }
    let parts = lab.received(server);
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|part| (part.source, part.destination) == (EXTERNAL, server.address)));
    assert_eq!((parts[0].source_port(), parts[0].destination_port()), (5000, 5353));
    lab.quiet();
}

#[test]
fn sessions_end_by_their_timeout() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(pc, udp(pc.at(5000), external(53)), server);
    lab.advance(secs(300) - MOMENT);
    lab.pass(server, udp(server.at(5353), external(5000)), pc);
    lab.advance(secs(300) + LATE + LATE);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0));
}

#[test]
fn switching_hairpin_off_ends_its_sessions() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(pc, udp(pc.at(5000), external(53)), server);
    lab.change(|plan| plan.nat.hairpin = false);
    lab.drop_at(pc, udp(pc.at(5000), external(53)), DropReason::HairpinOff);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn ttl_is_lowered_once() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    assert_eq!(lab.pass(pc, udp(pc.at(5000), external(53)), server).ttl, 63);
    lab.drop_at(pc, udp(pc.at(5000), external(53)).ttl(1), DropReason::TtlExceeded);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((11, 0)));
}

#[test]
fn a_filtered_packet_opens_the_way_for_the_other_side() {
    let (mut lab, pc, web) = scene(|_| {});
    let peer = lab.lan_host("192.168.0.101");
    let mine = lab.pass(pc, udp(pc.at(5000), web.at(3478)), web).from();
    let theirs = lab.pass(peer, udp(peer.at(6000), web.at(3478)), web).from();
    // Hole punching: the first packet is filtered, but it has gone out.
    lab.refuse(pc, udp(pc.at(5000), theirs), DropReason::Filtered);
    assert_eq!(lab.pass(peer, udp(peer.at(6000), mine), pc).from(), theirs);
    assert_eq!(lab.pass(pc, udp(pc.at(5000), theirs), peer).from(), mine);
}

#[test]
fn the_sender_does_not_take_the_very_port_that_it_speaks_to() {
    let (mut lab, pc, _) = scene(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    let seen = lab.pass(pc, udp(pc.at(5060), external(5060)), server);
    assert_eq!(seen.to(), server.at(5060));
    assert_eq!(lab.pass(server, udp(server.at(5060), seen.from()), pc).from(), external(5060));
}

#[test]
fn protocols_without_ports_are_not_turned_round() {
    let (mut lab, pc, _) = scene(|plan| plan.dmz = Some(ip("192.168.0.10")));
    lab.drop_at(pc, raw(pc.address, EXTERNAL, 50, &[0; 8]), DropReason::NoMapping);
    lab.quiet();
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn the_sender_is_told_when_the_target_is_silent() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let request = udp(pc.at(5000), external(53));
    lab.send(pc, request.clone());
    lab.advance(secs(10));
    let told = lab.receive(pc);
    assert_eq!((told.icmp_kind(), told.source), (Some((3, 1)), ip("192.168.0.1")));
    assert_eq!(told.payload_data(), request.ttl(63).to_ip());
}

#[test]
fn the_sender_is_told_when_the_target_s_link_is_too_narrow() {
    let (mut lab, pc, _) = scene(|plan| {
        plan.forwards.push(forward("dns", "udp", "53", "192.168.1.10:5353"));
        plan.lans[1].mtu = 576;
        plan.lans[0].reaches = vec![1];
    });
    let request = udp(pc.at(5000), external(53)).data(&[7; 1000]).dont_fragment();
    lab.drop_at(pc, request, DropReason::FragmentationNeeded);
    let told = lab.receive(pc);
    assert_eq!((told.icmp_kind(), told.source), (Some((3, 4)), ip("192.168.0.1")));
}
