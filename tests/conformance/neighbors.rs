//! ARP both ways: asking, answering, holding frames meanwhile.

use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{DropReason, Event, PortId};
use genkan_tests::lab::craft::udp;
use genkan_tests::lab::{Arp, Body, Frame, Host, LAN, Lab, WAN, mac_of, router_mac};

use crate::common::{external, home, ip, scene, secs};

fn broadcast(lab: &mut Lab, port: PortId, arp: Arp) {
    lab.send_frame(port, &Frame::new(arp.sender_mac, MacAddr::BROADCAST, Body::Arp(arp)));
}

/// A neighbour on the wan link that does not answer yet.
fn silent(lab: &mut Lab) -> Host {
    let host = lab.wan_host("203.0.113.99");
    lab.answer_arp(host, false);
    host
}

fn answer(lab: &mut Lab, host: Host) {
    let reply = Arp {
        request: false,
        sender_mac: mac_of(host.address),
        sender: host.address,
        target_mac: router_mac(WAN),
        target: ip("203.0.113.1"),
    };
    lab.send_frame(WAN, &Frame::new(reply.sender_mac, router_mac(WAN), Body::Arp(reply)));
}

#[test]
fn frames_wait_for_the_answer_and_leave_in_order() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    lab.take_arps();
    for port in 5000..5010 {
        lab.send(pc, udp(pc.at(port), host.at(53)));
    }
    let asked = lab.take_arps();
    assert_eq!(asked.len(), 1, "one question for ten frames: {asked:?}");
    assert_eq!((asked[0].1.sender, asked[0].1.target), (ip("203.0.113.1"), host.address));
    answer(&mut lab, host);
    let ports: Vec<u16> = lab.received(host).iter().map(|packet| packet.source_port()).collect();
    assert_eq!(ports, (5000..5010).collect::<Vec<_>>());
    assert_eq!(lab.take_drops(), []);
    assert_eq!(lab.stage("frames_held"), 10);
}

#[test]
fn later_frames_do_not_overtake_held_ones() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    lab.send(pc, udp(pc.at(5000), host.at(53)).data(b"1"));
    lab.send(pc, udp(pc.at(5000), host.at(53)).data(b"2"));
    answer(&mut lab, host);
    lab.send(pc, udp(pc.at(5000), host.at(53)).data(b"3"));
    let order: Vec<u8> = lab.received(host).iter().map(|packet| packet.payload_data()[0]).collect();
    assert_eq!(order, b"123");
}

#[test]
fn the_question_is_repeated_and_then_given_up() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    lab.take_arps();
    lab.send(pc, udp(pc.at(5000), host.at(53)));
    lab.advance(secs(10));
    let asked = lab.take_arps().len();
    assert!((2..=5).contains(&asked), "{asked} questions");
    assert_eq!(lab.take_drops(), [(DropReason::HostUnreachable, 1)]);
    let told = lab.receive(pc);
    assert_eq!((told.icmp_kind(), told.source), (Some((3, 1)), ip("192.168.0.1")));
    assert!(lab.take_events().contains(&Event::NeighborUnreachable { port: WAN, address: host.address }));
}

#[test]
fn an_answer_to_a_repeated_question_is_in_time() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    lab.send(pc, udp(pc.at(5000), host.at(53)));
    lab.answer_arp(host, true);
    lab.advance(secs(2));
    assert_eq!(lab.received(host).len(), 1);
    assert_eq!(lab.take_drops(), []);
}

#[test]
fn nobody_outside_is_told_of_a_silent_inside_host() {
    let (mut lab, _, web) = scene(|plan| {
        plan.forwards.push(genkan_tests::lab::plan::forward("web", "udp", "7000", "192.168.0.77"))
    });
    lab.send(web, udp(web.at(1), external(7000)));
    lab.advance(secs(10));
    assert_eq!(lab.take_drops(), [(DropReason::HostUnreachable, 1)]);
    lab.quiet();
}

#[test]
fn questions_for_our_addresses_are_answered() {
    let (mut lab, pc, _) = scene(|plan| plan.wan.addresses.push(ip("203.0.113.5")));
    lab.take_arps();
    let gateway = ip("203.0.113.2");
    for (port, sender, target) in [
        (LAN, pc.address, ip("192.168.0.1")),
        (WAN, gateway, ip("203.0.113.1")),
        (WAN, gateway, ip("203.0.113.5")),
    ] {
        let question = Arp::request(mac_of(sender), sender, target);
        broadcast(&mut lab, port, question);
        assert_eq!(lab.take_arps(), [(port, question.answer(router_mac(port)))]);
    }
    assert_eq!(lab.stage("arp_replies"), 3);
}

#[test]
fn questions_for_others_are_not_answered() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.addresses.push(ip("203.0.113.5")));
    lab.take_arps();
    for (port, sender, target) in [
        (LAN, pc.address, ip("192.168.0.77")),
        // The wan's address asked for on the lan: not of this link (no weak host model).
        (LAN, pc.address, ip("203.0.113.5")),
        (WAN, ip("203.0.113.2"), ip("203.0.113.77")),
        (WAN, ip("203.0.113.2"), ip("192.168.0.1")),
        (WAN, ip("203.0.113.2"), web.address),
    ] {
        broadcast(&mut lab, port, Arp::request(mac_of(sender), sender, target));
        assert_eq!(lab.take_arps(), [], "{target} on {port:?}");
    }
}

#[test]
fn a_question_teaches_who_asks() {
    let (mut lab, pc, web) = home();
    lab.take_arps();
    broadcast(&mut lab, LAN, Arp::request(mac_of(pc.address), pc.address, ip("192.168.0.1")));
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.take_arps();
    lab.pass(web, udp(web.at(53), outside), pc);
    // Nothing had to wait for an answer; that it is still there is asked of itself meanwhile.
    assert_eq!(lab.stage("frames_held"), 1, "the one toward the gateway");
    let asked: Vec<_> = lab.take_arps().into_iter().filter(|(port, _)| *port == LAN).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn gratuitous_arp_moves_a_known_neighbour() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
    // Not within the first seconds: two machines with one address must not make it flap.
    lab.advance(secs(20));
    lab.take_events();
    let moved = MacAddr([2, 0, 9, 9, 9, 9]);
    broadcast(&mut lab, LAN, Arp::request(moved, pc.address, pc.address));
    lab.send(web, udp(web.at(53), outside));
    let lost = lab.take_lost();
    assert_eq!(lost.iter().map(|(_, frame)| frame.destination).collect::<Vec<_>>(), [moved]);
    let event = Event::NeighborMoved { port: LAN, address: pc.address, old: mac_of(pc.address), new: moved };
    assert!(lab.take_events().contains(&event));
}

#[test]
fn another_machine_with_our_address_is_reported() {
    let (mut lab, ..) = home();
    let thief = MacAddr([2, 0, 9, 9, 9, 9]);
    for (port, address) in [(LAN, ip("192.168.0.1")), (WAN, ip("203.0.113.1"))] {
        lab.advance(secs(10));
        broadcast(&mut lab, port, Arp::request(thief, address, address));
        let conflict = Event::AddressConflict { port, address, mac: thief };
        assert!(lab.take_events().contains(&conflict), "{address}");
    }
}

/// Who claims an address again keeps it (RFC 5227 section 2.4 (b)), so that has to be told; a flood of claims is not, and
/// does not hide those on another port.
#[test]
fn claims_of_our_addresses_are_told_twice_a_second_on_each_port() {
    let (mut lab, ..) = home();
    let thief = MacAddr([2, 0, 9, 9, 9, 9]);
    lab.advance(secs(10));
    for (port, address) in [(LAN, ip("192.168.0.1")), (WAN, ip("203.0.113.1"))] {
        for _ in 0..5 {
            broadcast(&mut lab, port, Arp::request(thief, address, address));
        }
        let conflict = Event::AddressConflict { port, address, mac: thief };
        assert_eq!(lab.take_events(), [conflict.clone(), conflict], "{address}");
    }
}

#[test]
fn announcements_of_strangers_are_not_learnt() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    broadcast(&mut lab, WAN, Arp::request(mac_of(host.address), host.address, host.address));
    lab.take_arps();
    lab.send(pc, udp(pc.at(5000), host.at(53)));
    assert_eq!(lab.received(host), []);
    assert_eq!(lab.take_arps().len(), 1, "it is asked for");
}

#[test]
fn a_neighbour_in_use_is_asked_again_in_the_background() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.take_arps();
    for _ in 0..20 {
        lab.advance(secs(10));
        lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    }
    let asked: Vec<_> =
        lab.take_arps().into_iter().filter(|(port, arp)| *port == WAN && arp.request).collect();
    assert!((1..=20).contains(&asked.len()), "{} questions in 200 s", asked.len());
    assert_eq!(lab.take_drops(), []);
}

#[test]
fn a_flood_of_questions_does_not_push_out_neighbours_in_use() {
    let (mut lab, pc, web) = scene(|plan| plan.lans[0].address = "10.1.0.1/16".parse().unwrap());
    let _ = pc;
    let pc = lab.lan_host("10.1.0.100");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
    for number in 0..20_000u32 {
        let sender = std::net::Ipv4Addr::from(0x0a01_0200 + number);
        broadcast(&mut lab, LAN, Arp::request(mac_of(sender), sender, ip("10.1.0.1")));
    }
    lab.take_arps();
    lab.pass(web, udp(web.at(53), outside), pc);
    assert_eq!(lab.take_arps(), []);
    assert!(lab.router.neighbors().len() <= 4096);
}

#[test]
fn while_a_neighbour_counts_as_silent_every_sender_is_told_at_once() {
    let (mut lab, pc, _) = home();
    let host = silent(&mut lab);
    lab.send(pc, udp(pc.at(5000), host.at(53)));
    lab.advance(secs(3) + secs(1) / 2);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 1)));
    lab.take_drops();
    for port in [5000, 5001] {
        lab.drop_at(pc, udp(pc.at(port), host.at(53)), DropReason::HostUnreachable);
        assert_eq!(lab.receive(pc).icmp_kind(), Some((3, 1)), "port {port}");
    }
}

#[test]
fn a_stale_neighbour_is_asked_for_as_soon_as_it_is_used() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(60));
    lab.take_arps();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    assert_eq!(lab.take_arps().len(), 1, "a unicast request");
    lab.advance(secs(10));
    assert_eq!(lab.take_arps().len(), 0, "which was answered");
}
