//! Design §5: what happens when tables and pools are full.

use genkan_engine::{DropReason, Event};
use genkan_tests::lab::craft::{echo_request, tcp, udp};
use genkan_tests::lab::plan::forward;
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{LATE, external, scene, secs};

const ROOM: u32 = 8;

fn small() -> (Lab, Host, Host) {
    scene(|plan| plan.nat.max_sessions = ROOM)
}

/// An answered UDP session: nothing may throw it out.
fn live(lab: &mut Lab, pc: Host, web: Host, port: u16) {
    let outside = lab.pass(pc, udp(pc.at(port), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
}

/// A TCP session that both sides have closed.
fn closed(lab: &mut Lab, pc: Host, web: Host, port: u16) {
    let outside = lab.open_tcp(pc, port, web, 80);
    lab.pass(pc, tcp(pc.at(port), web.at(80), Flags::FIN_ACK), web);
    lab.pass(web, tcp(web.at(80), outside, Flags::FIN_ACK), pc);
    lab.pass(pc, tcp(pc.at(port), web.at(80), Flags::ACK), web);
}

fn internal_ports(lab: &Lab) -> Vec<u16> {
    let mut ports: Vec<u16> = lab.sessions().iter().map(|session| session.internal.port()).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn unanswered_sessions_go_first_oldest_first() {
    let (mut lab, pc, web) = small();
    for port in 5000..5004 {
        live(&mut lab, pc, web, port);
    }
    for port in 6000..6004 {
        lab.advance(secs(1));
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
    }
    assert_eq!(lab.router.session_count(), ROOM);
    lab.pass(pc, udp(pc.at(7000), web.at(53)), web);
    assert_eq!(internal_ports(&lab), [5000, 5001, 5002, 5003, 6001, 6002, 6003, 7000]);
    lab.pass(pc, udp(pc.at(7001), web.at(53)), web);
    assert_eq!(internal_ports(&lab), [5000, 5001, 5002, 5003, 6002, 6003, 7000, 7001]);
    assert_eq!(lab.stage("sessions_evicted"), 2);
}

#[test]
fn closed_sessions_go_when_no_unanswered_one_is_left() {
    let (mut lab, pc, web) = small();
    closed(&mut lab, pc, web, 40_000);
    lab.advance(secs(1));
    closed(&mut lab, pc, web, 40_001);
    for port in 5000..5005 {
        live(&mut lab, pc, web, port);
    }
    lab.pass(pc, udp(pc.at(6000), web.at(53)), web);
    // The unanswered one is younger than the closed ones, and goes before them.
    live(&mut lab, pc, web, 5005);
    assert_eq!(internal_ports(&lab), [5000, 5001, 5002, 5003, 5004, 5005, 40_000, 40_001]);
    live(&mut lab, pc, web, 5006);
    assert_eq!(internal_ports(&lab), [5000, 5001, 5002, 5003, 5004, 5005, 5006, 40_001]);
    live(&mut lab, pc, web, 5007);
    assert_eq!(internal_ports(&lab), [5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007]);
}

#[test]
fn live_sessions_never_go() {
    let (mut lab, pc, web) = small();
    let stranger = lab.wan_host("192.0.2.9");
    for port in 5000..5008 {
        live(&mut lab, pc, web, port);
    }
    lab.drop_at(pc, udp(pc.at(6000), web.at(53)), DropReason::SessionLimit);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 13)));
    lab.drop_at(pc, tcp(pc.at(6000), web.at(53), Flags::SYN), DropReason::SessionLimit);
    lab.drop_at(pc, echo_request(pc.address, web.address, 6), DropReason::SessionLimit);
    lab.received(pc);
    assert!(lab.take_events().contains(&Event::SessionTableFull));
    // From outside: silence.
    lab.refuse(web, udp(web.at(99), external(5000)), DropReason::SessionLimit);
    lab.refuse(stranger, udp(stranger.at(53), external(5000)), DropReason::Filtered);
    for port in 5000..5008 {
        lab.pass(web, udp(web.at(53), external(port)), pc);
    }
}

#[test]
fn reset_sessions_are_not_evicted() {
    let (mut lab, pc, web) = small();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(web, tcp(web.at(80), outside, Flags::RST), pc);
    for port in 5000..5007 {
        live(&mut lab, pc, web, port);
    }
    lab.drop_at(pc, udp(pc.at(6000), web.at(53)), DropReason::SessionLimit);
    lab.received(pc);
    // The RST may have been forged: the connection goes on.
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
}

#[test]
fn half_closed_and_opening_answered_sessions_are_not_evicted() {
    let (mut lab, pc, web) = small();
    lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::FIN_ACK), web);
    for port in 5000..5007 {
        live(&mut lab, pc, web, port);
    }
    lab.drop_at(pc, udp(pc.at(6000), web.at(53)), DropReason::SessionLimit);
}

#[test]
fn a_forward_makes_room_like_anybody() {
    let (mut lab, _, web) = scene(|plan| {
        plan.nat.max_sessions = ROOM;
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    for port in 1000..1000 + u16::try_from(ROOM).unwrap() + 5 {
        lab.pass(web, udp(web.at(port), external(7000)), server);
    }
    assert_eq!(lab.router.session_count(), ROOM);
    assert_eq!(lab.stage("sessions_evicted"), 5);
}

#[test]
fn the_host_limit_counts_sessions_from_outside_too() {
    let (mut lab, _, web) = scene(|plan| {
        plan.nat.max_sessions_per_host = 3;
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    for port in 1000..1003 {
        lab.pass(web, udp(web.at(port), external(7000)), server);
    }
    lab.refuse(web, udp(web.at(1003), external(7000)), DropReason::HostSessionLimit);
    lab.drop_at(server, udp(server.at(9), web.at(53)), DropReason::HostSessionLimit);
}

#[test]
fn evicted_sessions_free_their_port_and_host_count() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.nat.max_sessions = 4;
        plan.nat.max_ports_per_host = 4;
        plan.nat.max_sessions_per_host = 4;
    });
    let other = lab.lan_host("192.168.0.101");
    for port in 5000..5004 {
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
    }
    for port in 5000..5004 {
        lab.pass(other, udp(other.at(port + 1000), web.at(53)), web);
    }
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (4, 4));
    for port in 7000..7004 {
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
    }
    // Each worker of several ends its own first.
    let is_alone = lab.router.workers() == 1;
    assert!(!is_alone || lab.sessions().iter().all(|session| *session.internal.ip() == pc.address));
    assert_eq!(lab.router.session_count(), 4);
}

#[test]
fn a_smaller_plan_refuses_new_sessions_and_keeps_the_old() {
    let (mut lab, pc, web) = small();
    for port in 5000..5006 {
        live(&mut lab, pc, web, port);
    }
    lab.change(|plan| plan.nat.max_sessions = 4);
    lab.drop_at(pc, udp(pc.at(6000), web.at(53)), DropReason::SessionLimit);
    lab.received(pc);
    for port in 5000..5006 {
        lab.pass(web, udp(web.at(53), external(port)), pc);
    }
}

#[test]
fn a_larger_plan_makes_room_and_keeps_the_old_sessions() {
    let (mut lab, pc, web) = small();
    for port in 5000..5008 {
        live(&mut lab, pc, web, port);
    }
    lab.change(|plan| plan.nat.max_sessions = 1000);
    for port in 6000..6992 {
        live(&mut lab, pc, web, port);
    }
    lab.drop_at(pc, udp(pc.at(8000), web.at(53)), DropReason::SessionLimit);
    lab.received(pc);
    for port in 5000..5008 {
        lab.pass(web, udp(web.at(53), external(port)), pc);
    }
}

#[test]
fn errors_to_inside_hosts_are_rate_limited() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions_per_host = 1);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    for port in 6000..10_000 {
        lab.send(pc, udp(pc.at(port), web.at(53)));
    }
    let told = lab.received(pc).len() as u64;
    assert_eq!(lab.take_drops(), [(DropReason::HostSessionLimit, 4000)]);
    assert!((1..=1000).contains(&told), "{told} errors at once");
    assert_eq!((lab.stage("icmp_errors_sent"), lab.stage("icmp_errors_suppressed")), (told, 4000 - told));
    lab.advance(secs(10));
    lab.drop_at(pc, udp(pc.at(7000), web.at(53)), DropReason::HostSessionLimit);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 13)), "after a while they are told again");
}

#[test]
fn everything_is_free_again_after_the_timeouts() {
    let (mut lab, pc, web) = small();
    for port in 5000..5008 {
        live(&mut lab, pc, web, port);
    }
    lab.advance(secs(300) + LATE);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0));
    for port in 6000..6008 {
        live(&mut lab, pc, web, port);
    }
    assert_eq!(lab.stage("sessions_expired"), 8);
    assert_eq!(lab.stage("mappings_ended"), 8);
}

#[test]
fn the_event_of_a_host_limit_names_the_inside_host() {
    let (mut lab, _, web) = scene(|plan| {
        plan.nat.max_sessions_per_host = 1;
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(1000), external(7000)), server);
    lab.refuse(web, udp(web.at(1001), external(7000)), DropReason::HostSessionLimit);
    assert!(lab.take_events().contains(&Event::HostLimit { host: server.address }));
}
