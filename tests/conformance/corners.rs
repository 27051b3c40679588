//! Where two rules meet: cases that no single requirement names.

use std::net::SocketAddrV4;

use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::plan::Route;
use genkan_engine::router::LinkState;
use genkan_engine::{DropReason, PortId};
use genkan_tests::lab::craft::{echo_request, icmp_error, raw, tcp, udp};
use genkan_tests::lab::packet::Payload;
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward};
use genkan_tests::lab::{Arp, Body, Checksum, Flags, Frame, LAN, WAN, mac_of, router_mac};

use crate::common::{LATE, endpoint, external, home, ip, join, one_to_one, scene, secs};

#[test]
fn a_fragmented_ping_to_the_router_is_answered_rightly_or_not_at_all() {
    for reversed in [false, true] {
        let (mut lab, _, web) = home();
        let mut parts = echo_request(web.address, EXTERNAL, 7).id(5).data(&[3; 100]).fragments(48);
        if reversed {
            parts.reverse();
        }
        for part in parts {
            lab.send(web, part);
        }
        let answer = lab.received(web);
        if !answer.is_empty() {
            let whole = join(answer);
            assert_eq!((whole.icmp_kind(), whole.checksum()), (Some((0, 0)), Checksum::Right));
            assert_eq!(whole.payload_data(), [3; 100]);
        }
    }
}

#[test]
fn a_fragmented_error_is_not_translated_by_halves() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)).data(&[1; 200]), web);
    for part in icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()).id(6).fragments(64) {
        lab.send(web, part);
    }
    let seen = lab.received(pc);
    if !seen.is_empty() {
        assert_eq!(join(seen).checksum(), Checksum::Right);
    }
}

#[test]
fn frames_that_wait_for_arp_do_not_leave_from_an_address_that_has_gone() {
    let (mut lab, pc, _) = home();
    let slow = lab.wan_host("203.0.113.99");
    lab.answer_arp(slow, false);
    lab.send(pc, udp(pc.at(5000), slow.at(53)));
    lab.change(|plan| plan.wan.address = "203.0.113.9/24".parse().unwrap());
    lab.answer_arp(slow, true);
    // The lab refuses sources that are not external addresses.
    lab.advance(secs(5));
}

#[test]
fn frames_that_wait_for_a_closed_forwards_target_do_not_arrive() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.answer_arp(server, false);
    lab.send(web, udp(web.at(5000), external(7000)));
    lab.change(|plan| plan.forwards.clear());
    lab.answer_arp(server, true);
    lab.advance(secs(5));
    assert_eq!(lab.received(server), []);
}

#[test]
fn fragments_that_wait_for_a_closed_forward_do_not_arrive() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    let parts = udp(web.at(5000), external(7000)).id(1).data(&[1; 40]).fragments(16);
    lab.pass(web, parts[0].clone(), server);
    lab.change(|plan| plan.forwards.clear());
    lab.send(web, parts[1].clone());
    assert_eq!(lab.received(server), []);
}

#[test]
fn martian_destinations_do_not_leave() {
    let (mut lab, pc, _) = home();
    for destination in ["127.0.0.1:53", "0.0.0.0:53", "240.0.0.1:53", "0.1.2.3:53"] {
        lab.send(pc, udp(pc.at(5000), endpoint(destination)));
        assert_eq!(lab.take_lost(), [], "{destination}");
        lab.received(pc);
    }
}

#[test]
fn dhcp_from_nobody_is_no_spoofing() {
    let (mut lab, ..) = home();
    let discover = udp(endpoint("0.0.0.0:68"), endpoint("255.255.255.255:67"));
    let mac = mac_of(ip("192.168.0.100"));
    let broadcast = genkan_engine::wire::ethernet::MacAddr::BROADCAST;
    lab.send_frame(LAN, &Frame::new(mac, broadcast, Body::Ipv4(discover)));
    let drops = lab.take_drops();
    assert!(!drops.iter().any(|(reason, _)| *reason == DropReason::SourceZero), "{drops:?}");
    lab.quiet();
}

#[test]
fn a_lan_that_moves_takes_its_sessions_along() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.change(|plan| plan.lans[0].address = "192.168.7.1/24".parse().unwrap());
    lab.send(web, udp(web.at(53), outside));
    assert_eq!(lab.take_lost(), []);
    lab.advance(secs(1));
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn a_forward_to_the_routers_own_address_without_a_host_port_goes_nowhere() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("ssh", "tcp", "22", "192.168.0.1")));
    lab.send(web, tcp(web.at(5000), external(22), Flags::SYN));
    lab.advance(secs(5));
    lab.quiet();
    assert_eq!(lab.router.counters().stages.fast_path, 0);
}

#[test]
fn a_removed_route_ends_the_sessions_behind_it() {
    let (mut lab, _, web) = scene(|plan| {
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.0.254") });
    });
    let deep = lab.lan_host("10.20.1.1");
    let outside = lab.pass(deep, udp(deep.at(5000), web.at(53)), web).from();
    lab.change(|plan| plan.routes.clear());
    lab.send(web, udp(web.at(53), outside));
    assert_eq!(lab.received(deep), []);
    assert_eq!(lab.take_lost(), []);
    lab.refuse(deep, udp(deep.at(5000), web.at(53)), DropReason::SourceNotOfLan);
}

#[test]
fn a_rerouted_network_keeps_its_sessions_by_the_new_way() {
    let (mut lab, _, web) = scene(|plan| {
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.0.254") });
    });
    let deep = lab.lan_host("10.20.1.1");
    let outside = lab.pass(deep, udp(deep.at(5000), web.at(53)), web).from();
    lab.lan_host("192.168.0.253");
    lab.change(|plan| plan.routes[0].via = ip("192.168.0.253"));
    lab.send(web, udp(web.at(53), outside));
    let lost = lab.take_lost();
    assert_eq!(
        lost.iter().map(|(_, frame)| frame.destination).collect::<Vec<_>>(),
        [mac_of(ip("192.168.0.253"))]
    );
}

#[test]
fn a_gateway_that_changes_is_used_at_once() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.wan_host("203.0.113.3");
    lab.change(|plan| plan.wan.gateway = Some(ip("203.0.113.3")));
    lab.send(pc, udp(pc.at(5000), web.at(53)));
    let lost = lab.take_lost();
    assert_eq!(
        lost.iter().map(|(_, frame)| frame.destination).collect::<Vec<_>>(),
        [mac_of(ip("203.0.113.3"))]
    );
}

#[test]
fn error_quotes_of_inside_hosts_leak_no_internal_address() {
    let (mut lab, pc, web) = home();
    let hop = lab.lan_host("192.168.0.99");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let seen = lab.pass(web, udp(web.at(53), external(5000)), pc);
    // A second, forged quote that no session has is refused; the true one is translated as a whole.
    let told = lab.pass(hop, icmp_error(hop.address, web.address, 11, 1, &seen.to_ip()), web);
    let inside = |bytes: &[u8]| bytes.windows(3).any(|window| window == [192, 168, 0]);
    assert!(!inside(&told.to_ip()), "{told:?}");
}

#[test]
fn an_error_from_outside_cannot_pretend_to_come_from_inside() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.refuse(web, icmp_error(pc.address, EXTERNAL, 3, 3, &sent.to_ip()), DropReason::SourceLanFromWan);
    lab.refuse(web, icmp_error(EXTERNAL, EXTERNAL, 3, 3, &sent.to_ip()), DropReason::Land);
}

#[test]
fn established_sessions_do_not_excuse_spoofed_sources() {
    let (mut lab, pc, web) = home();
    let guest = lab.host(PortId::lan(1), "192.168.1.100");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    // pc's packets from the other lan, and web's from a lan.
    lab.refuse(guest, udp(pc.at(5000), web.at(53)), DropReason::SourceNotOfLan);
    lab.refuse(guest, udp(web.at(53), outside), DropReason::SourceNotOfLan);
}

#[test]
fn a_full_host_does_not_stop_answers_of_its_sessions() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions_per_host = 1);
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.drop_at(pc, tcp(pc.at(40_001), web.at(80), Flags::SYN), DropReason::HostSessionLimit);
    lab.received(pc);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
}

#[test]
fn counts_are_right_after_everything_has_ended() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.nat.max_sessions = 16;
        plan.nat.max_sessions_per_host = 8;
        plan.nat.max_ports_per_host = 4;
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let (other, server) = (lab.lan_host("192.168.0.101"), lab.lan_host("192.168.0.10"));
    for round in 0..5u16 {
        for index in 0..40u16 {
            lab.send(pc, udp(pc.at(5000 + index % 7), web.at(53 + index % 5)));
            lab.send(other, tcp(other.at(6000 + index), web.at(80), Flags::SYN));
            lab.send(web, udp(web.at(1000 + round * 40 + index), external(7000)));
            lab.send(pc, raw(pc.address, web.address, 50 + index as u8 % 3, &[0; 8]));
        }
        lab.advance(secs(700));
        assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0), "round {round}");
    }
    for host in [pc, other, server, web] {
        lab.received(host);
    }
    // Each host may have its whole share again.
    for index in 0..4 {
        lab.pass(pc, udp(pc.at(8000 + index), web.at(53)), web);
    }
    for index in 4..8 {
        lab.pass(pc, udp(pc.at(8000), web.at(60 + index)), web);
    }
}

#[test]
fn a_one_to_one_host_that_loses_its_address_loses_its_sessions() {
    let (mut lab, nas, web) = one_to_one();
    lab.pass(nas, udp(nas.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(9), SocketAddrV4::new(EXTERNAL_2, 22)), nas);
    lab.change(|plan| plan.hosts[0].external = None);
    lab.send(web, udp(web.at(53), SocketAddrV4::new(EXTERNAL_2, 5000)));
    lab.send(web, udp(web.at(9), SocketAddrV4::new(EXTERNAL_2, 22)));
    assert_eq!(lab.received(nas), []);
    lab.advance(secs(1));
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn the_mtu_of_a_held_frame_is_judged_when_it_leaves() {
    let (mut lab, pc, _) = home();
    let slow = lab.wan_host("203.0.113.99");
    lab.answer_arp(slow, false);
    lab.send(pc, udp(pc.at(5000), slow.at(53)).data(&[1; 1300]));
    lab.set_link(WAN, LinkState { mac: router_mac(WAN), mtu: 1280, up: true });
    lab.answer_arp(slow, true);
    // The lab refuses frames over the MTU.
    lab.advance(secs(5));
}

#[test]
fn arp_and_the_frames_behind_it_keep_their_order_in_one_batch() {
    use genkan_engine::{FrameBatch, Offload, Slot, Verdict};
    let (mut lab, pc, _) = home();
    let slow = lab.wan_host("203.0.113.99");
    lab.answer_arp(slow, false);
    lab.send(pc, udp(pc.at(5000), slow.at(53)));
    let reply = Arp {
        request: false,
        sender_mac: mac_of(slow.address),
        sender: slow.address,
        target_mac: router_mac(WAN),
        target: EXTERNAL,
    };
    let frames = [
        Frame::new(mac_of(slow.address), router_mac(WAN), Body::Arp(reply)).to_bytes(),
        Frame::new(mac_of(slow.address), router_mac(WAN), Body::Ipv4(udp(slow.at(53), external(5000))))
            .to_bytes(),
    ];
    let mut memory = frames.concat();
    let mut slots = [(0, frames[0].len()), (frames[0].len(), frames[1].len())].map(|(offset, len)| Slot {
        offset,
        len,
        offload: Offload::default(),
        verdict: Verdict::Consumed,
    });
    lab.router.handle_batch(lab.now(), WAN, FrameBatch { memory: &mut memory, slots: &mut slots });
    let out: Vec<PortId> =
        std::iter::from_fn(|| lab.router.poll_transmit()).map(|transmit| transmit.port).collect();
    assert!(out.contains(&WAN), "the held frame has left");
}

#[test]
fn endpoint_independent_filtering_does_not_open_ports_of_ended_mappings() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(stranger, udp(stranger.at(9), outside), pc);
    lab.advance(secs(300) + LATE);
    lab.refuse(stranger, udp(stranger.at(9), outside), DropReason::NoMapping);
}

#[test]
fn tcp_options_of_odd_lengths_do_no_harm() {
    let (mut lab, pc, web) = home();
    for options in [&[2, 0][..], &[2, 1], &[2, 4, 5], &[0, 2, 4, 255, 255], &[255; 40], &[8, 255, 2, 4, 9, 9]]
    {
        let syn = tcp(pc.at(40_000), web.at(80), Flags::SYN).tcp_options(options);
        let seen = lab.pass(pc, syn.clone(), web);
        let (Payload::Tcp { options: before, .. }, Payload::Tcp { options: after, .. }) =
            (&syn.payload, &seen.payload)
        else {
            panic!("TCP")
        };
        assert_eq!(before.len(), after.len());
        lab.advance(secs(300));
    }
}
