//! Design §1, steps 2, 6 and 7 of the judgement over packets from outside: forwards and the DMZ.

use std::net::SocketAddrV4;

use genkan_engine::plan::Plan;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, Event, UnixTime};
use genkan_tests::lab::clock::WALL_START;
use genkan_tests::lab::craft::{echo_request, icmp_error, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward};
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{LATE, MOMENT, external, ip, scene, secs};

fn served(change: impl FnOnce(&mut Plan)) -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(change);
    let server = lab.lan_host("192.168.0.10");
    (lab, server, web)
}

#[test]
fn a_forward_takes_its_port_and_protocol_only() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    lab.accept_tcp(web.at(5000), external(80), server, 8080);
    lab.refuse(web, tcp(web.at(5001), external(81), Flags::SYN), DropReason::NoMapping);
    lab.refuse(web, tcp(web.at(5001), external(8080), Flags::SYN), DropReason::NoMapping);
    lab.refuse(web, udp(web.at(5001), external(80)), DropReason::NoMapping);
    assert_eq!(lab.stage("sessions_forward"), 1);
    let session = lab.session(Protocol::TCP, server.at(8080), web.at(5000)).expect("a session");
    assert_eq!((session.forward.as_deref(), session.external), (Some("web"), external(80)));
}

#[test]
fn both_protocols_of_one_forward() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("dns", "tcp+udp", "53", "192.168.0.10")));
    lab.accept_tcp(web.at(5000), external(53), server, 53);
    let query = lab.pass(web, udp(web.at(5000), external(53)), server);
    assert_eq!(query.to(), server.at(53));
    let answer = lab.pass(server, udp(server.at(53), web.at(5000)), web);
    assert_eq!(answer.from(), external(53));
}

#[test]
fn a_range_maps_one_to_one() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("game", "udp", "10000-10010", "192.168.0.10:20000")));
    for offset in 0..=10 {
        let seen = lab.pass(web, udp(web.at(5000), external(10_000 + offset)), server);
        assert_eq!(seen.destination_port(), 20_000 + offset);
    }
    for port in [9_999, 10_011] {
        lab.refuse(web, udp(web.at(5000), external(port)), DropReason::NoMapping);
    }
}

#[test]
fn a_list_takes_each_of_its_ports() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("mail", "tcp", "25,143,990-995", "192.168.0.10")));
    for port in [25, 143, 990, 993, 995] {
        lab.accept_tcp(web.at(5000), external(port), server, port);
    }
    for port in [26, 142, 989, 996] {
        lab.refuse(web, tcp(web.at(5000), external(port), Flags::SYN), DropReason::NoMapping);
    }
}

#[test]
fn from_admits_only_its_prefixes() {
    let (mut lab, server, web) = served(|plan| {
        let mut rule = forward("ssh", "tcp", "22", "192.168.0.10");
        rule.from = vec!["198.51.100.0/25".parse().unwrap(), "192.0.2.9/32".parse().unwrap()];
        plan.forwards.push(rule);
    });
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    lab.accept_tcp(SocketAddrV4::new(ip("192.0.2.9"), 5000), external(22), server, 22);
    for stranger in ["198.51.100.128", "192.0.2.10"] {
        let stranger = lab.wan_host(stranger);
        lab.refuse(stranger, tcp(stranger.at(5000), external(22), Flags::SYN), DropReason::ForwardSource);
    }
}

#[test]
fn the_first_forward_whose_from_admits_takes_the_packet() {
    let (mut lab, server, web) = served(|plan| {
        let mut near = forward("near", "tcp", "22", "192.168.0.11");
        near.from = vec!["192.0.2.0/24".parse().unwrap()];
        plan.forwards.push(near);
        plan.forwards.push(forward("rest", "tcp", "22", "192.168.0.10"));
        plan.forwards.push(forward("never", "tcp", "22", "192.168.0.12"));
    });
    let other = lab.lan_host("192.168.0.11");
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    lab.accept_tcp(SocketAddrV4::new(ip("192.0.2.9"), 5000), external(22), other, 22);
}

#[test]
fn forwards_that_name_an_address_come_first() {
    let (mut lab, server, web) = served(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        plan.forwards.push(forward("all", "tcp", "80", "192.168.0.10"));
        let mut one = forward("one", "tcp", "80", "192.168.0.11");
        one.address = Some(EXTERNAL_2);
        plan.forwards.push(one);
    });
    let other = lab.lan_host("192.168.0.11");
    lab.accept_tcp(web.at(5000), external(80), server, 80);
    lab.accept_tcp(web.at(5000), SocketAddrV4::new(EXTERNAL_2, 80), other, 80);
}

#[test]
fn a_forward_without_address_holds_on_every_address() {
    let (mut lab, server, web) = served(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10"));
    });
    for (port, address) in [(5000, EXTERNAL), (5001, EXTERNAL_2)] {
        lab.accept_tcp(web.at(port), SocketAddrV4::new(address, 80), server, 80);
    }
}

#[test]
fn a_disabled_forward_keeps_its_port_closed_also_to_the_dmz() {
    let (mut lab, server, web) = served(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.11");
        rule.enabled = false;
        plan.forwards.push(rule);
        plan.dmz = Some(ip("192.168.0.10"));
    });
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::SYN), DropReason::ForwardClosed);
    lab.accept_tcp(web.at(5000), external(81), server, 81);
}

#[test]
fn a_refused_source_does_not_fall_to_the_dmz() {
    let (mut lab, _, web) = served(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.11");
        rule.from = vec!["192.0.2.0/24".parse().unwrap()];
        plan.forwards.push(rule);
        plan.dmz = Some(ip("192.168.0.10"));
    });
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::SYN), DropReason::ForwardSource);
}

#[test]
fn a_closed_forward_lets_a_later_open_one_take_its_port() {
    let (mut lab, server, web) = served(|plan| {
        let mut rule = forward("old", "tcp", "80", "192.168.0.11");
        rule.enabled = false;
        plan.forwards.push(rule);
        plan.forwards.push(forward("new", "tcp", "80", "192.168.0.10"));
    });
    lab.accept_tcp(web.at(5000), external(80), server, 80);
}

#[test]
fn a_forward_expires_with_its_sessions_and_keeps_its_port() {
    let (mut lab, server, web) = served(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.expires = Some(UnixTime(WALL_START.0 + 100));
        plan.forwards.push(rule);
        plan.dmz = Some(ip("192.168.0.11"));
    });
    lab.accept_tcp(web.at(5000), external(80), server, 80);
    lab.advance(secs(100) - MOMENT);
    lab.pass(web, tcp(web.at(5000), external(80), Flags::ACK), server);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.session_count(), 0);
    assert_eq!(lab.stage("sessions_revoked"), 1);
    assert!(lab.take_events().contains(&Event::ForwardExpired { forward: "web".into() }));
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::ACK), DropReason::TcpNoSession);
    lab.refuse(web, tcp(web.at(5001), external(80), Flags::SYN), DropReason::ForwardClosed);
    lab.advance(secs(3600));
    lab.refuse(web, tcp(web.at(5001), external(80), Flags::SYN), DropReason::ForwardClosed);
}

#[test]
fn packets_of_either_side_refresh_forwarded_sessions() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let timeout = lab.plan().nat.timeouts.udp;
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    for _ in 0..3 {
        lab.advance(timeout - MOMENT);
        lab.pass(web, udp(web.at(5000), external(7000)), server);
    }
    assert_eq!(lab.stage("sessions_forward"), 1, "it is still the first session");
    lab.advance(timeout - MOMENT);
    lab.pass(server, udp(server.at(7000), web.at(5000)), web);
    lab.advance(timeout - MOMENT);
    assert_eq!(lab.router.session_count(), 1);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn mid_stream_tcp_does_not_open_a_forward() {
    let (mut lab, _, web) = served(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10")));
    for flags in [Flags::ACK, Flags::SYN_ACK, Flags::FIN_ACK, Flags::RST] {
        lab.refuse(web, tcp(web.at(5000), external(80), flags), DropReason::TcpNoSession);
    }
}

#[test]
fn a_logged_forward_tells_each_new_session() {
    let (mut lab, server, web) = served(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.log = true;
        plan.forwards.push(rule);
    });
    lab.accept_tcp(web.at(5000), external(80), server, 80);
    let hit = Event::ForwardHit { forward: "web".into(), source: web.address, source_port: 5000 };
    assert_eq!(lab.take_events(), [hit]);
}

#[test]
fn errors_about_forwarded_sessions_pass_both_ways() {
    let (mut lab, server, web) =
        served(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10:7777")));
    let request = udp(web.at(5000), external(7000));
    let seen = lab.pass(web, request.clone(), server);
    let told = lab.pass(server, icmp_error(server.address, web.address, 3, 3, &seen.to_ip()), web);
    assert_eq!((told.source, told.payload_data()), (EXTERNAL, &request.ttl(seen.ttl).to_ip()[..]));
    let answer = udp(server.at(7777), web.at(5000));
    let sent = lab.pass(server, answer.clone(), web);
    let told = lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()), server);
    assert_eq!(told.payload_data(), answer.ttl(sent.ttl).to_ip());
}

#[test]
fn the_dmz_takes_what_nothing_else_takes() {
    let (mut lab, server, web) = served(|plan| {
        plan.dmz = Some(ip("192.168.0.10"));
        plan.forwards.push(forward("web", "tcp", "80", "192.168.0.11"));
    });
    let (pc, other) = (lab.lan_host("192.168.0.100"), lab.lan_host("192.168.0.11"));
    let stranger = lab.wan_host("192.0.2.9");
    lab.accept_tcp(web.at(5000), external(80), other, 80);
    lab.accept_tcp(web.at(5000), external(2222), server, 2222);
    let seen = lab.pass(web, udp(web.at(5000), external(9)), server);
    assert_eq!(seen.to(), server.at(9));
    lab.pass(server, udp(server.at(9), web.at(5000)), web);
    lab.pass(web, raw(web.address, EXTERNAL, 50, &[1; 8]), server);
    // A dynamic mapping owns its port, also against the DMZ.
    let outside = lab.pass(pc, udp(pc.at(6000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
    lab.refuse(stranger, udp(stranger.at(53), outside), DropReason::Filtered);
    assert_eq!(lab.stage("sessions_dmz"), 3);
}

#[test]
fn the_dmz_takes_no_pings_and_no_middles_of_connections() {
    let (mut lab, _, web) = served(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let reply = lab.pass(web, echo_request(web.address, EXTERNAL, 7), web);
    assert_eq!((reply.source, reply.icmp_kind()), (EXTERNAL, Some((0, 0))));
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::ACK), DropReason::TcpNoSession);
    lab.change(|plan| plan.wan.ping = false);
    lab.refuse(web, echo_request(web.address, EXTERNAL, 7), DropReason::PingOff);
}

#[test]
fn packets_of_either_side_refresh_dmz_sessions() {
    let (mut lab, server, web) = served(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let timeout = lab.plan().nat.timeouts.udp;
    lab.pass(web, udp(web.at(5000), external(9)), server);
    for _ in 0..3 {
        lab.advance(timeout - MOMENT);
        lab.pass(web, udp(web.at(5000), external(9)), server);
    }
    assert_eq!(lab.stage("sessions_dmz"), 1);
}

#[test]
fn a_forward_to_a_host_behind_a_route() {
    let (mut lab, _, web) = scene(|plan| {
        plan.routes.push(genkan_engine::plan::Route {
            to: "10.20.0.0/16".parse().unwrap(),
            via: ip("192.168.0.254"),
        });
        plan.forwards.push(forward("deep", "tcp", "80", "10.20.1.1"));
    });
    let deep = lab.lan_host("10.20.1.1");
    lab.accept_tcp(web.at(5000), external(80), deep, 80);
}
