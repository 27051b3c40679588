//! Links that come, go and change.

use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{DropReason, PortId};
use genkan_tests::lab::craft::{echo_request, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL_2, forward};
use genkan_tests::lab::{Arp, Body, Flags, Frame, GUEST, LAN, Lab, WAN, mac_of, plan, router_mac};

use crate::common::{external, home, ip, scene, secs};

fn announced(lab: &mut Lab) -> Vec<(PortId, std::net::Ipv4Addr, MacAddr)> {
    let mut all: Vec<_> = lab
        .take_arps()
        .into_iter()
        .filter(|(_, arp)| arp.sender == arp.target)
        .map(|(port, arp)| (port, arp.sender, arp.sender_mac))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn state(port: PortId, up: bool) -> LinkState {
    LinkState { mac: router_mac(port), mtu: 1500, up }
}

#[test]
fn our_addresses_are_announced_when_a_link_comes_up() {
    let (mut lab, ..) = scene(|plan| plan.wan.addresses.push(EXTERNAL_2));
    lab.set_link(WAN, state(WAN, false));
    lab.set_link(LAN, state(LAN, false));
    assert_eq!(announced(&mut lab), []);
    lab.set_link(WAN, state(WAN, true));
    lab.set_link(LAN, state(LAN, true));
    let expected = [
        (WAN, ip("203.0.113.1"), router_mac(WAN)),
        (WAN, EXTERNAL_2, router_mac(WAN)),
        (LAN, ip("192.168.0.1"), router_mac(LAN)),
    ];
    assert_eq!(announced(&mut lab), expected);
}

#[test]
fn our_addresses_are_announced_when_the_mac_changes() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let mac = MacAddr([2, 0xee, 0, 0, 0, 1]);
    lab.set_link(LAN, LinkState { mac, mtu: 1500, up: true });
    assert_eq!(announced(&mut lab), [(LAN, ip("192.168.0.1"), mac)]);
    // Sessions stay, and leave with the new source address (the lab checks that).
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn new_addresses_of_a_plan_are_announced() {
    let (mut lab, ..) = home();
    lab.take_arps();
    lab.change(|plan| plan.wan.addresses.push(EXTERNAL_2));
    assert_eq!(announced(&mut lab), [(WAN, EXTERNAL_2, router_mac(WAN))]);
}

#[test]
fn sessions_survive_a_link_that_flaps() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.set_link(WAN, state(WAN, false));
    lab.drop_at(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), DropReason::PortDown);
    lab.advance(secs(30));
    lab.set_link(WAN, state(WAN, true));
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
}

#[test]
fn neighbours_are_asked_for_again_after_a_link_was_down() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.set_link(WAN, state(WAN, false));
    lab.set_link(WAN, state(WAN, true));
    lab.take_arps();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let asked: Vec<_> = lab.take_arps().into_iter().filter(|(_, arp)| arp.sender != arp.target).collect();
    assert_eq!(asked.len(), 1);
}

#[test]
fn a_port_without_a_link_is_down() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("web", "udp", "7000", "192.168.1.10")));
    lab.set_link(GUEST, state(GUEST, false));
    lab.drop_at(web, udp(web.at(1), external(7000)), DropReason::PortDown);
    lab.quiet();
}

#[test]
fn slow_and_lossy_links_only_cost_time() {
    let mut lab = Lab::new(plan::home());
    lab.link(WAN).latency = secs(1) / 10;
    let (pc, web) = (lab.lan_host("192.168.0.100"), lab.wan_host("198.51.100.7"));
    let start = lab.clock().elapsed();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    // ARP there and back, then the datagram.
    assert_eq!(lab.clock().elapsed() - start, secs(3) / 10);
    lab.pass(web, udp(web.at(53), outside), pc);
    assert_eq!(lab.clock().elapsed() - start, secs(4) / 10);
    lab.link(WAN).loss_one_in = 3;
    for _ in 0..300 {
        lab.send(pc, udp(pc.at(5000), web.at(53)));
    }
    let arrived = lab.received(web).len();
    assert!((150..250).contains(&arrived), "{arrived} of 300");
}

#[test]
fn what_came_just_before_a_link_went_down_is_not_answered() {
    let (mut lab, pc, _) = home();
    lab.set_link(LAN, state(LAN, false));
    lab.refuse(pc, echo_request(pc.address, ip("192.168.0.1"), 7), DropReason::PortDown);
    lab.take_arps();
    let question = Arp::request(mac_of(pc.address), pc.address, ip("192.168.0.1"));
    lab.send_frame(LAN, &Frame::new(question.sender_mac, MacAddr::BROADCAST, Body::Arp(question)));
    assert_eq!(lab.take_drops(), [(DropReason::PortDown, 1)]);
}
