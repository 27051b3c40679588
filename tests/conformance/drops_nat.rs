//! One test per drop reason, in the order of the packet's walk: the decisions about forwarding and translation.

use std::net::SocketAddrV4;

use genkan_engine::plan::{Rate, Route};
use genkan_engine::router::LinkState;
use genkan_engine::{DropReason, Offload, UnixTime};
use genkan_tests::lab::clock::WALL_START;
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp, icmp_error, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward, host_entry};
use genkan_tests::lab::{Body, Checksum, Flags, Frame, GUEST, LAN, Lab, WAN, mac_of, router_mac};

use crate::common::{external, home, ip, scene, secs};

#[test]
fn drop_fragment_unmatched() {
    let (mut lab, _, web) = home();
    // The first fragment never comes.
    let parts = udp(web.at(1), external(5000)).id(1).data(&[0; 40]).fragments(16);
    lab.send(web, parts[1].clone());
    lab.send(web, parts[2].clone());
    assert_eq!(lab.take_drops(), []);
    lab.advance(secs(60));
    assert_eq!(lab.take_drops(), [(DropReason::FragmentUnmatched, 2)]);
    lab.quiet();
    // The first fragment's packet is refused, and the others with it.
    let parts = udp(web.at(1), external(5000)).id(2).data(&[0; 40]).fragments(16);
    lab.send(web, parts[1].clone());
    lab.send(web, parts[0].clone());
    lab.send(web, parts[2].clone());
    assert_eq!(lab.take_drops(), [(DropReason::FragmentUnmatched, 2), (DropReason::NoMapping, 1)]);
    lab.quiet();
}

#[test]
fn drop_fragment_limit() {
    let (mut lab, _, web) = home();
    for id in 1..2000 {
        lab.send(web, udp(web.at(1), external(5000)).id(id).data(&[0; 40]).fragments(16).remove(1));
    }
    lab.advance(secs(60));
    let drops = lab.take_drops();
    let &[(DropReason::FragmentUnmatched, waited), (DropReason::FragmentLimit, refused)] = &drops[..] else {
        panic!("{drops:?}");
    };
    assert_eq!(waited + refused, 1999);
    // At each worker.
    assert!(waited <= 64 * lab.router.workers(), "no more than that wait for one source: {waited}");
    lab.quiet();
}

#[test]
fn drop_ttl_exceeded() {
    let (mut lab, pc, web) = home();
    for ttl in [0, 1] {
        lab.drop_at(pc, udp(pc.at(5000), web.at(53)).ttl(ttl), DropReason::TtlExceeded);
        assert_eq!(lab.receive(pc).icmp_kind(), Some((11, 0)));
        lab.quiet();
    }
}

#[test]
fn drop_fragmentation_needed() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.mtu = 1400);
    lab.drop_at(
        pc,
        udp(pc.at(5000), web.at(53)).data(&[0; 1400]).dont_fragment(),
        DropReason::FragmentationNeeded,
    );
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 4)));
    lab.quiet();
}

#[test]
fn drop_no_route() {
    let (mut lab, pc, _) = scene(|plan| plan.wan.gateway = None);
    let far = lab.wan_host("198.51.100.7");
    lab.drop_at(pc, udp(pc.at(5000), far.at(53)), DropReason::NoRoute);
    assert_eq!(lab.router.session_count(), 0, "nothing is kept for a packet that cannot leave");
}

#[test]
fn drop_not_reachable() {
    let (mut lab, pc, _) = home();
    let guest = lab.host(GUEST, "192.168.1.100");
    lab.drop_at(pc, udp(pc.at(5000), guest.at(53)), DropReason::NotReachable);
    lab.drop_at(guest, tcp(guest.at(5000), pc.at(53), Flags::SYN), DropReason::NotReachable);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn drop_host_unreachable() {
    let (mut lab, pc, _) = home();
    let silent = lab.wan_host("203.0.113.99");
    lab.answer_arp(silent, false);
    lab.send(pc, udp(pc.at(5000), silent.at(53)));
    assert_eq!(lab.take_drops(), [], "held for an answer to ARP");
    lab.advance(secs(10));
    assert_eq!(lab.take_drops(), [(DropReason::HostUnreachable, 1)]);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 1)));
    lab.quiet();
}

#[test]
fn drop_neighbor_queue_full() {
    let (mut lab, pc, _) = home();
    let silent = lab.wan_host("203.0.113.99");
    lab.answer_arp(silent, false);
    for port in 5000..5100 {
        lab.send(pc, udp(pc.at(port), silent.at(53)));
    }
    let drops = lab.take_drops();
    assert!(matches!(drops[..], [(DropReason::NeighborQueueFull, 36..=99)]), "{drops:?}");
}

#[test]
fn drop_hand_over_full() {
    let (mut lab, _, _) = home();
    lab.router.hand_over_failed();
    assert_eq!(lab.take_drops(), [(DropReason::HandOverFull, 1)]);
}

#[test]
fn drop_transmit_queue_full() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.mtu = 68);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let datagram = udp(pc.at(5000), web.at(53)).data(&[7; 1400]);
    let bytes = Frame::new(mac_of(pc.address), router_mac(LAN), Body::Ipv4(datagram)).to_bytes();
    // Cut into dozens of fragments each, which nobody fetches.
    for _ in 0..1000 {
        let now = lab.now();
        for router in lab.router.routers() {
            router.handle_frame(now, LAN, &mut bytes.clone().as_mut_slice(), Offload::default());
        }
    }
    let drops = lab.take_drops();
    assert!(matches!(drops[..], [(DropReason::TransmitQueueFull, 1..)]), "{drops:?}");
}

#[test]
fn drop_neighbor_table_full() {
    let mut lab = Lab::with(|plan| {
        plan.wan.address = "203.0.113.1/16".parse().unwrap();
        plan.nat.max_sessions = 20_000;
        plan.nat.max_sessions_per_host = 20_000;
    });
    let pc = lab.lan_host("192.168.0.100");
    let mut full = false;
    for number in 0..5000u32 {
        let neighbour = lab.wan_host(&format!("203.0.{}.{}", 120 + number / 250, 1 + number % 250));
        lab.send(pc, udp(pc.at(5000), neighbour.at(53)));
        match lab.take_drops()[..] {
            [] => assert_eq!(lab.received(neighbour).len(), 1),
            [(DropReason::NeighborTableFull, 1)] => {
                full = true;
                break;
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert!(full, "no end of neighbours");
}

#[test]
fn drop_port_down() {
    let (mut lab, pc, web) = home();
    lab.set_link(WAN, LinkState { mac: router_mac(WAN), mtu: 1500, up: false });
    lab.drop_at(pc, udp(pc.at(5000), web.at(53)), DropReason::PortDown);
}

#[test]
fn drop_plan_changed() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.answer_arp(server, false);
    lab.send(web, udp(web.at(5000), external(7000)));
    lab.change(|plan| plan.forwards.clear());
    lab.answer_arp(server, true);
    lab.advance(secs(5));
    assert_eq!(lab.take_drops(), [(DropReason::PlanChanged, 1)]);
    assert_eq!(lab.received(server), []);
}

#[test]
fn drop_tcp_no_session() {
    let (mut lab, pc, web) = home();
    lab.drop_at(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), DropReason::TcpNoSession);
    assert!(lab.receive(pc).flags().contains(Flags::RST));
    lab.quiet();
    for flags in [Flags::ACK, Flags::SYN_ACK, Flags::RST, Flags::FIN_ACK] {
        lab.drop_at(pc, tcp(pc.at(40_000), web.at(80), flags), DropReason::TcpNoSession);
        lab.received(pc);
        lab.refuse(web, tcp(web.at(80), external(40_000), flags), DropReason::TcpNoSession);
    }
}

#[test]
fn drop_filtered() {
    let (mut lab, pc, web) = home();
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.refuse(stranger, udp(stranger.at(53), outside), DropReason::Filtered);
}

#[test]
fn drop_forward_source() {
    let (mut lab, _, web) = scene(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.from.push("192.0.2.0/24".parse().unwrap());
        plan.forwards.push(rule);
    });
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::SYN), DropReason::ForwardSource);
}

#[test]
fn drop_forward_closed() {
    let (mut lab, _, web) = scene(|plan| {
        let mut rule = forward("web", "tcp", "80", "192.168.0.10");
        rule.enabled = false;
        plan.forwards.push(rule);
        let mut rule = forward("old", "tcp", "81", "192.168.0.10");
        rule.expires = Some(UnixTime(WALL_START.0 - 1));
        plan.forwards.push(rule);
    });
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::SYN), DropReason::ForwardClosed);
    lab.refuse(web, tcp(web.at(5000), external(81), Flags::SYN), DropReason::ForwardClosed);
}

/// An address that is kept for a device that is nowhere: for nobody else, neither for the DMZ nor for who asks from inside.
/// As soon as the device is somewhere, it is there.
#[test]
fn drop_host_absent() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        let mut nas = host_entry("nas", "0.0.0.0");
        nas.external = Some(EXTERNAL_2);
        plan.hosts.push(nas);
        plan.dmz = Some(ip("192.168.0.100"));
        // So that there is a way to 0.0.0.0 inside, too.
        plan.routes.push(Route { to: "0.0.0.0/8".parse().unwrap(), via: ip("192.168.0.254") });
    });
    let own = |port| SocketAddrV4::new(EXTERNAL_2, port);
    lab.refuse(web, tcp(web.at(5000), own(80), Flags::SYN), DropReason::HostAbsent);
    lab.refuse(web, udp(web.at(5000), own(53)), DropReason::HostAbsent);
    lab.refuse(web, echo_request(web.address, EXTERNAL_2, 7), DropReason::HostAbsent);
    lab.refuse(web, raw(web.address, EXTERNAL_2, 50, &[0; 8]), DropReason::HostAbsent);
    lab.drop_at(pc, tcp(pc.at(5000), own(80), Flags::SYN), DropReason::HostAbsent);
    assert_eq!(lab.router.session_count(), 0);
    // Nobody leaves from there meanwhile.
    lab.change(|plan| plan.routes.clear());
    for port in 6000..6010 {
        assert_eq!(*lab.pass(pc, udp(pc.at(port), web.at(53)), web).from().ip(), EXTERNAL);
    }
    let nas = lab.lan_host("192.168.0.10");
    lab.change(|plan| plan.hosts[0].address = nas.address);
    lab.pass(web, tcp(web.at(5001), own(80), Flags::SYN), nas);
    lab.pass(web, echo_request(web.address, EXTERNAL_2, 7), nas);
    assert_eq!(lab.pass(nas, udp(nas.at(5000), web.at(53)), web).from(), own(5000));
    // It is gone again, and with it all that it had.
    lab.change(|plan| plan.hosts[0].address = ip("0.0.0.0"));
    lab.refuse(web, udp(web.at(53), own(5000)), DropReason::HostAbsent);
    assert_eq!(lab.received(nas), []);
}

#[test]
fn drop_forward_session_limit() {
    let (mut lab, _, web) = scene(|plan| {
        let mut rule = forward("game", "udp", "7000", "192.168.0.10");
        rule.max_sessions = Some(1);
        plan.forwards.push(rule);
    });
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.refuse(web, udp(web.at(5001), external(7000)), DropReason::ForwardSessionLimit);
}

#[test]
fn drop_forward_source_rate() {
    let (mut lab, _, web) = scene(|plan| {
        let mut rule = forward("game", "udp", "7000", "192.168.0.10");
        rule.max_new_per_source = Some(Rate { count: 1, per: secs(60) });
        plan.forwards.push(rule);
    });
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.refuse(web, udp(web.at(5001), external(7000)), DropReason::ForwardSourceRate);
}

#[test]
fn drop_port_resting() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.change(|plan| plan.forwards.clear());
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::PortResting);
}

#[test]
fn drop_hairpin_off() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.hairpin = false);
    let friend = lab.lan_host("192.168.0.101");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.drop_at(friend, udp(friend.at(6000), outside), DropReason::HairpinOff);
}

#[test]
fn drop_no_mapping() {
    let (mut lab, _, web) = home();
    lab.refuse(web, udp(web.at(53), external(5000)), DropReason::NoMapping);
    lab.refuse(web, tcp(web.at(53), external(5000), Flags::SYN), DropReason::NoMapping);
    lab.refuse(web, raw(web.address, EXTERNAL, 50, &[0; 8]), DropReason::NoMapping);
}

#[test]
fn drop_no_service() {
    let (mut lab, pc, _) = home();
    let router = std::net::SocketAddrV4::new(ip("192.168.0.1"), 80);
    lab.drop_at(pc, tcp(pc.at(5000), router, Flags::SYN), DropReason::NoService);
    lab.drop_at(pc, udp(pc.at(5000), router), DropReason::NoService);
}

#[test]
fn drop_ping_off() {
    let (mut lab, _, web) = scene(|plan| plan.wan.ping = false);
    lab.refuse(web, echo_request(web.address, EXTERNAL, 7), DropReason::PingOff);
}

#[test]
fn drop_icmp_type() {
    let (mut lab, pc, web) = home();
    // Router advertisement.
    lab.refuse(pc, icmp(pc.address, web.address, 9, 0), DropReason::IcmpType);
    lab.refuse(web, icmp(web.address, EXTERNAL, 9, 0), DropReason::IcmpType);
}

#[test]
fn drop_icmp_no_session() {
    let (mut lab, pc, web) = home();
    lab.refuse(web, echo_reply(web.address, EXTERNAL, 7), DropReason::IcmpNoSession);
    lab.refuse(pc, echo_reply(pc.address, web.address, 7), DropReason::IcmpNoSession);
}

#[test]
fn drop_icmp_error_no_session() {
    let (mut lab, _, web) = home();
    let quoted = udp(external(5000), web.at(53)).to_ip();
    lab.refuse(web, icmp_error(web.address, EXTERNAL, 3, 3, &quoted), DropReason::IcmpErrorNoSession);
}

#[test]
fn drop_icmp_error_malformed() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).to_ip();
    let mut not_ip = sent.clone();
    not_ip[0] = 0x60;
    for quoted in [&sent[..0], &sent[..19], &sent[..27], &not_ip] {
        lab.refuse(web, icmp_error(web.address, EXTERNAL, 3, 3, quoted), DropReason::IcmpErrorMalformed);
    }
}

#[test]
fn drop_icmp_checksum() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let error = icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()).with_checksum(Checksum::Off(7));
    lab.refuse(web, error, DropReason::IcmpChecksum);
}

#[test]
fn drop_session_limit() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions = 1);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(53), external(5000)), pc);
    lab.drop_at(pc, udp(pc.at(5001), web.at(53)), DropReason::SessionLimit);
}

#[test]
fn drop_host_session_limit() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions_per_host = 1);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.drop_at(pc, udp(pc.at(5000), web.at(54)), DropReason::HostSessionLimit);
}

#[test]
fn drop_ports_exhausted() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.ports = 5000..=5000);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(53), external(5000)), pc);
    lab.drop_at(pc, udp(pc.at(5001), web.at(53)), DropReason::PortsExhausted);
}

#[test]
fn drop_host_port_limit() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_ports_per_host = 1);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.drop_at(pc, udp(pc.at(5001), web.at(53)), DropReason::HostPortLimit);
}

#[test]
fn drop_session_conflict() {
    // Two sessions of one internal endpoint toward one remote, through different external ports: packets
    // of the inside could not tell which is meant.
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("game", "udp", "7000,7001", "192.168.0.10:7000")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.refuse(web, udp(web.at(5000), external(7001)), DropReason::SessionConflict);
    lab.pass(web, udp(web.at(5001), external(7001)), server);
}

#[test]
fn drop_protocol_in_use() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web);
    lab.drop_at(rival, raw(rival.address, web.address, 50, &[0; 8]), DropReason::ProtocolInUse);
}
