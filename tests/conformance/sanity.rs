//! Design §6, sanity: what passes although it looks odd. What is refused is in `drops_sanity`.

use genkan_engine::{DropReason, Offload};
use genkan_tests::lab::craft::{raw, tcp, udp};
use genkan_tests::lab::{Arp, Body, Checksum, Flags, Frame, LAN, WAN, mac_of, router_mac};

use crate::common::{external, home, ip, scene};

#[test]
fn link_padding_is_cut_off() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53)).data(b"x");
    let mut frame = Frame::new(mac_of(pc.address), router_mac(LAN), Body::Ipv4(packet));
    frame.padding = 60 - frame.to_bytes().len();
    lab.send_frame(LAN, &frame);
    // The lab itself refuses padding on what leaves the router.
    assert_eq!(lab.receive(web).payload_data(), b"x");
}

#[test]
fn udp_source_port_0_is_legal() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(0), web.at(53)), web);
}

#[test]
fn ip_options_other_than_routing_pass() {
    let (mut lab, pc, web) = home();
    // No operation, timestamp (RFC 791), router alert (RFC 2113), end of options.
    let options = [1, 68, 12, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 148, 4, 0, 0, 1, 0, 0];
    let seen = lab.pass(pc, udp(pc.at(5000), web.at(53)).options(&options), web);
    assert_eq!(seen.options, options);
}

#[test]
fn private_sources_from_outside_pass() {
    let (mut lab, pc, _) = home();
    // Double NAT is real: the outside may be somebody's private network.
    let neighbour = lab.wan_host("10.0.0.7");
    let outside = lab.pass(pc, udp(pc.at(5000), neighbour.at(53)), neighbour).from();
    lab.pass(neighbour, udp(neighbour.at(53), outside), pc);
}

#[test]
fn udp_without_checksum_stays_without() {
    let (mut lab, pc, web) = home();
    let seen = lab.pass(pc, udp(pc.at(5000), web.at(53)).with_checksum(Checksum::None), web);
    assert_eq!(seen.checksum(), Checksum::None);
}

#[test]
fn a_wrong_transport_checksum_stays_wrong() {
    let (mut lab, pc, web) = home();
    lab.wrong_checksums = true;
    for by in [1, 0x8000, 0xfffe] {
        let state = Checksum::Off(by);
        assert_eq!(lab.pass(pc, udp(pc.at(5000), web.at(53)).with_checksum(state), web).checksum(), state);
        let syn = tcp(pc.at(40_000), web.at(80), Flags::SYN);
        assert_eq!(lab.pass(pc, syn.with_checksum(state), web).checksum(), state);
    }
}

#[test]
fn a_partial_checksum_stays_partial() {
    let (mut lab, pc, web) = home();
    let offload = Offload { partial_checksum: true, ..Offload::default() };
    for packet in [udp(pc.at(5000), web.at(53)), tcp(pc.at(40_000), web.at(80), Flags::SYN)] {
        lab.send_offloaded(pc, packet.with_checksum(Checksum::Partial), offload);
        let seen = lab.receive_whole(web);
        assert_eq!(seen.packet.checksum(), Checksum::Partial);
        assert!(seen.offload.partial_checksum);
    }
}

#[test]
fn a_priority_tag_passes() {
    let (mut lab, pc, web) = home();
    // VID 0 with priority 5, taken off by the device.
    let offload = Offload { vlan_tci: Some(5 << 13), ..Offload::default() };
    lab.send_offloaded(pc, udp(pc.at(5000), web.at(53)), offload);
    lab.receive(web);
}

#[test]
fn an_arp_probe_for_our_address_is_answered() {
    let (mut lab, pc, _) = home();
    let mac = mac_of(pc.address);
    let probe = Arp::request(mac, ip("0.0.0.0"), ip("192.168.0.1"));
    lab.send_frame(
        LAN,
        &Frame::new(mac, genkan_engine::wire::ethernet::MacAddr::BROADCAST, Body::Arp(probe)),
    );
    let answers = lab.take_arps();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].1.request, answers[0].1.sender_mac), (false, router_mac(LAN)));
}

#[test]
fn prefixes_of_31_and_32_have_no_broadcast_address() {
    let (mut lab, pc, _) = scene(|plan| {
        plan.wan.address = "203.0.113.1/31".parse().unwrap();
        plan.wan.gateway = Some(ip("203.0.113.0"));
    });
    let gateway = lab.wan_host("203.0.113.0");
    let outside = lab.pass(pc, udp(pc.at(5000), gateway.at(53)), gateway).from();
    lab.pass(gateway, udp(gateway.at(53), outside), pc);
}

#[test]
fn a_gateway_outside_the_prefix_is_reached_by_arp() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.address = "203.0.113.1/32".parse().unwrap());
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn an_unknown_protocol_with_any_payload_passes() {
    let (mut lab, pc, web) = home();
    for (protocol, data) in [(50, vec![1; 3]), (47, vec![]), (132, vec![7; 100]), (200, vec![0; 1])] {
        let seen = lab.pass(pc, raw(pc.address, web.address, protocol, &data), web);
        assert_eq!(seen.payload_data(), data);
    }
}

#[test]
fn nothing_from_outside_is_answered_that_no_rule_admits() {
    let (mut lab, _, web) = scene(|plan| plan.wan.ping = false);
    for packet in [
        udp(web.at(1), external(53)),
        tcp(web.at(1), external(22), Flags::SYN),
        tcp(web.at(1), external(22), Flags::ACK),
        raw(web.address, *external(0).ip(), 50, &[0; 8]),
        udp(web.at(1), external(53)).ttl(1),
        udp(web.at(1), external(53)).data(&[0; 2000]).fragments(1480).remove(0),
    ] {
        lab.send(web, packet);
        lab.quiet();
    }
    let frame = Frame::new(
        mac_of(ip("203.0.113.2")),
        router_mac(WAN),
        Body::Other { ethertype: 0x88cc, bytes: vec![0; 46] },
    );
    lab.send_frame(WAN, &frame);
    lab.quiet();
    assert!(lab.take_drops().iter().all(|(reason, _)| *reason != DropReason::FrameTruncated));
}
