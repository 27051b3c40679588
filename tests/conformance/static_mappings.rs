//! Design §1: a forward is a static mapping, both ways. And 1:1 hosts.

use std::net::SocketAddrV4;

use genkan_engine::DropReason;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::craft::{echo_reply, echo_request, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward};
use genkan_tests::lab::{Checksum, Flags, GUEST};

use crate::common::{LATE, MOMENT, endpoint, external, ip, join, one_to_one, scene, secs};

#[test]
fn a_new_session_from_a_target_leaves_from_the_forwarded_port() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("game", "udp", "10000", "192.168.0.20:3074")));
    let console = lab.lan_host("192.168.0.20");
    let other = lab.wan_host("192.0.2.9");
    for server in [web, other] {
        assert_eq!(lab.pass(console, udp(console.at(3074), server.at(88)), server).from(), external(10_000));
        let answer = lab.pass(server, udp(server.at(88), external(10_000)), console);
        assert_eq!(answer.to(), console.at(3074));
    }
    // Another source port of the same host is an ordinary mapping.
    assert_eq!(lab.pass(console, udp(console.at(3075), web.at(88)), web).from(), external(3075));
}

#[test]
fn two_consoles_keep_the_endpoints_that_their_forwards_give_them() {
    let (mut lab, _, web) = scene(|plan| {
        plan.forwards.push(forward("one", "udp", "3074", "192.168.0.20"));
        plan.forwards.push(forward("two", "udp", "3075", "192.168.0.21:3074"));
    });
    let (one, two) = (lab.lan_host("192.168.0.20"), lab.lan_host("192.168.0.21"));
    assert_eq!(lab.pass(two, udp(two.at(3074), web.at(88)), web).from(), external(3075));
    assert_eq!(lab.pass(one, udp(one.at(3074), web.at(88)), web).from(), external(3074));
}

#[test]
fn the_first_open_forward_in_file_order_decides() {
    let (mut lab, _, web) = scene(|plan| {
        let mut closed = forward("closed", "udp", "1111", "192.168.0.20:3074");
        closed.enabled = false;
        plan.forwards.push(closed);
        plan.forwards.push(forward("first", "udp", "2222", "192.168.0.20:3074"));
        plan.forwards.push(forward("second", "udp", "3333", "192.168.0.20:3074"));
    });
    let console = lab.lan_host("192.168.0.20");
    assert_eq!(lab.pass(console, udp(console.at(3074), web.at(88)), web).from(), external(2222));
    // What came in through the second forward is answered from there all the same.
    lab.pass(web, udp(web.at(99), external(3333)), console);
    assert_eq!(lab.pass(console, udp(console.at(3074), web.at(99)), web).from(), external(3333));
}

#[test]
fn the_address_that_a_forward_names_is_used() {
    let (mut lab, _, web) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        let mut rule = forward("game", "udp", "10000", "192.168.0.20:3074");
        rule.address = Some(EXTERNAL_2);
        plan.forwards.push(rule);
    });
    let console = lab.lan_host("192.168.0.20");
    let seen = lab.pass(console, udp(console.at(3074), web.at(88)), web);
    assert_eq!(seen.from(), SocketAddrV4::new(EXTERNAL_2, 10_000));
}

#[test]
fn tcp_connections_from_a_target_leave_from_the_forwarded_port() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("torrent", "tcp", "6881", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    assert_eq!(lab.open_tcp(server, 6881, web, 80), external(6881));
    // And from outside at the same time, from the same address.
    lab.accept_tcp(web.at(5000), external(6881), server, 6881);
}

#[test]
fn inbound_on_a_forwarded_port_is_not_filtered_after_outbound_use() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("game", "udp", "10000", "192.168.0.20:3074")));
    let console = lab.lan_host("192.168.0.20");
    let stranger = lab.wan_host("192.0.2.9");
    lab.pass(console, udp(console.at(3074), web.at(88)), web);
    lab.pass(stranger, udp(stranger.at(1), external(10_000)), console);
}

#[test]
fn replies_of_a_target_follow_their_session() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("dns", "udp", "53", "192.168.0.10:5353")));
    let server = lab.lan_host("192.168.0.10");
    for port in [4000, 4001] {
        lab.pass(web, udp(web.at(port), external(53)), server);
    }
    for port in [4001, 4000] {
        let answer = lab.pass(server, udp(server.at(5353), web.at(port)), web);
        assert_eq!((answer.from(), answer.to()), (external(53), web.at(port)));
    }
}

#[test]
fn forwarded_ports_stay_out_of_the_pool_also_while_disabled() {
    let (mut lab, pc, web) = scene(|plan| {
        let mut rule = forward("game", "udp", "5000", "192.168.0.20");
        rule.enabled = false;
        plan.forwards.push(rule);
    });
    assert_ne!(lab.pass(pc, udp(pc.at(5000), web.at(53)), web).source_port(), 5000);
    assert_eq!(
        lab.pass(pc, tcp(pc.at(5000), web.at(80), Flags::SYN), web).source_port(),
        5000,
        "TCP is another pool"
    );
}

#[test]
fn a_static_mapping_does_not_count_as_a_port_of_its_host() {
    let (mut lab, _, web) = scene(|plan| {
        plan.nat.max_ports_per_host = 1;
        plan.forwards.push(forward("game", "udp", "10000-10003", "192.168.0.20"));
    });
    let console = lab.lan_host("192.168.0.20");
    for port in 10_000..10_004 {
        assert_eq!(lab.pass(console, udp(console.at(port), web.at(88)), web).from(), external(port));
    }
    lab.pass(console, udp(console.at(5000), web.at(88)), web);
    lab.drop_at(console, udp(console.at(5001), web.at(88)), DropReason::HostPortLimit);
}

#[test]
fn a_one_to_one_host_leaves_from_its_address_with_its_ports() {
    let (mut lab, nas, web) = one_to_one();
    for port in [22, 80, 5000, 65_535] {
        assert_eq!(
            lab.pass(nas, udp(nas.at(port), web.at(53)), web).from(),
            SocketAddrV4::new(EXTERNAL_2, port)
        );
        let seen = lab.pass(nas, tcp(nas.at(port), web.at(80), Flags::SYN), web);
        assert_eq!(seen.from(), SocketAddrV4::new(EXTERNAL_2, port));
    }
    let ping = lab.pass(nas, echo_request(nas.address, web.address, 9), web);
    assert_eq!((ping.source, ping.identifier()), (EXTERNAL_2, 9));
    lab.pass(web, echo_reply(web.address, EXTERNAL_2, 9), nas);
    let esp = lab.pass(nas, raw(nas.address, web.address, 50, &[0; 8]), web);
    assert_eq!(esp.source, EXTERNAL_2);
}

#[test]
fn all_ports_of_a_one_to_one_address_come_in() {
    let (mut lab, nas, web) = one_to_one();
    for port in [1, 22, 1023, 5000, 65_535] {
        lab.accept_tcp(web.at(5000), SocketAddrV4::new(EXTERNAL_2, port), nas, port);
        lab.pass(web, udp(web.at(5000), SocketAddrV4::new(EXTERNAL_2, port)), nas);
    }
    lab.pass(web, raw(web.address, EXTERNAL_2, 47, &[0; 8]), nas);
    lab.refuse(web, tcp(web.at(5000), external(22), Flags::SYN), DropReason::NoMapping);
}

#[test]
fn nobody_else_is_paired_with_a_one_to_one_address() {
    let (mut lab, _, web) = one_to_one();
    for last in 100..140 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        assert_eq!(lab.pass(host, udp(host.at(5000), web.at(53)), web).source, ip("203.0.113.1"));
    }
}

#[test]
fn a_forward_that_names_a_one_to_one_address_comes_before_it() {
    let (mut lab, nas, web) = one_to_one();
    let other = lab.lan_host("192.168.0.11");
    lab.change(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.11");
        rule.address = Some(EXTERNAL_2);
        plan.forwards.push(rule);
    });
    lab.accept_tcp(web.at(5000), SocketAddrV4::new(EXTERNAL_2, 80), other, 80);
    lab.accept_tcp(web.at(5000), SocketAddrV4::new(EXTERNAL_2, 81), nas, 81);
}

#[test]
fn inside_hosts_reach_a_one_to_one_host_by_its_address() {
    let (mut lab, nas, _) = one_to_one();
    let pc = lab.lan_host("192.168.0.100");
    let seen = lab.pass(pc, udp(pc.at(5000), endpoint("203.0.113.5:53")), nas);
    assert_eq!((seen.from(), seen.to()), (external(5000), nas.at(53)));
    let answer = lab.pass(nas, udp(nas.at(53), external(5000)), pc);
    assert_eq!(answer.from(), endpoint("203.0.113.5:53"));
    lab.advance(secs(1));
    assert!(lab.session(Protocol::UDP, pc.at(5000), endpoint("203.0.113.5:53")).is_some());
}

#[test]
fn query_sessions_of_a_one_to_one_host_live_sixty_seconds_from_either_side() {
    let (mut lab, nas, web) = one_to_one();
    lab.pass(web, echo_request(web.address, EXTERNAL_2, 7), nas);
    let session = lab.session(Protocol::ICMP, nas.at(0), web.at(7)).expect("a session");
    assert_eq!(
        (session.external, session.origin, session.state),
        (endpoint("203.0.113.5:0"), "one-to-one", "unanswered")
    );
    lab.advance(secs(60) - MOMENT);
    lab.pass(web, echo_request(web.address, EXTERNAL_2, 7), nas);
    lab.advance(secs(60) - MOMENT);
    lab.pass(nas, echo_reply(nas.address, web.address, 7), web);
    lab.advance(secs(60) + LATE);
    lab.refuse(nas, echo_reply(nas.address, web.address, 7), DropReason::IcmpNoSession);
}

#[test]
fn queries_count_for_the_limit_of_a_one_to_one_host() {
    let (mut lab, nas, web) = one_to_one();
    lab.change(|plan| plan.nat.max_sessions_per_host = 2);
    for id in [1, 2] {
        lab.pass(web, echo_request(web.address, EXTERNAL_2, id), nas);
    }
    lab.refuse(web, echo_request(web.address, EXTERNAL_2, 3), DropReason::HostSessionLimit);
    lab.pass(web, echo_request(web.address, EXTERNAL_2, 2), nas);
}

/// `ping` says whether the router answers, `hairpin` and `reaches` whether queries go round.
#[test]
fn queries_to_a_one_to_one_host_follow_its_rules_and_not_the_routers() {
    let (mut lab, nas, web) = one_to_one();
    let (pc, guest) = (lab.lan_host("192.168.0.100"), lab.host(GUEST, "192.168.1.100"));
    lab.drop_at(guest, echo_request(guest.address, EXTERNAL_2, 7), DropReason::NotReachable);
    assert_eq!(lab.receive(guest).icmp_kind(), Some((3, 13)));
    lab.change(|plan| plan.wan.ping = false);
    lab.pass(web, echo_request(web.address, EXTERNAL_2, 7), nas);
    lab.refuse(web, echo_request(web.address, EXTERNAL, 7), DropReason::PingOff);
    lab.pass(pc, echo_request(pc.address, EXTERNAL_2, 7), nas);
    lab.change(|plan| plan.nat.hairpin = false);
    lab.refuse(pc, echo_request(pc.address, EXTERNAL_2, 7), DropReason::HairpinOff);
    assert_eq!(lab.pass(pc, echo_request(pc.address, EXTERNAL, 7), pc).source, EXTERNAL);
    assert_eq!(lab.sessions().len(), 1, "that from outside");
}

#[test]
fn the_router_answers_again_for_an_address_that_is_no_host_s_any_more() {
    let (mut lab, nas, web) = one_to_one();
    let pc = lab.lan_host("192.168.0.100");
    for asker in [web, pc] {
        lab.pass(asker, echo_request(asker.address, EXTERNAL_2, 7), nas);
    }
    lab.change(|plan| plan.hosts[0].external = None);
    for asker in [web, pc] {
        let reply = lab.pass(asker, echo_request(asker.address, EXTERNAL_2, 7), asker);
        assert_eq!((reply.source, reply.icmp_kind()), (EXTERNAL_2, Some((0, 0))));
    }
    lab.advance(secs(1));
    assert_eq!(lab.router.session_count(), 0);
    // And no longer once a host has it.
    lab.change(|plan| plan.hosts[0].external = Some(EXTERNAL_2));
    for asker in [web, pc] {
        lab.pass(asker, echo_request(asker.address, EXTERNAL_2, 7), nas);
    }
}

#[test]
fn a_query_to_a_one_to_one_host_may_come_in_fragments() {
    let (mut lab, nas, web) = one_to_one();
    let pc = lab.lan_host("192.168.0.100");
    for (number, asker) in (1..).zip([web, pc]) {
        for part in echo_request(asker.address, EXTERNAL_2, 7).id(number).data(&[3; 3000]).fragments(1480) {
            lab.send(asker, part);
        }
        let seen = join(lab.received(nas));
        assert_eq!((seen.payload_data().len(), seen.checksum()), (3000, Checksum::Right));
        for part in echo_reply(nas.address, seen.source, seen.identifier())
            .id(number)
            .data(&[3; 3000])
            .fragments(1480)
        {
            lab.send(nas, part);
        }
        let reply = join(lab.received(asker));
        assert_eq!((reply.source, reply.identifier(), reply.checksum()), (EXTERNAL_2, 7, Checksum::Right));
    }
    lab.quiet();
}
