//! Networks outside that have another next hop than the gateway, as a DHCP server may say (RFC 3442).

use genkan_engine::plan::WanRoute;
use genkan_tests::lab::craft::{tcp, udp};
use genkan_tests::lab::{Flags, GUEST};

use crate::common::{home, ip, scene};

fn route(to: &str, via: Option<&str>) -> WanRoute {
    WanRoute { to: to.parse().expect("a network"), via: via.map(ip) }
}

#[test]
fn the_longest_route_decides_about_the_next_hop() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.wan.routes = vec![
            route("192.0.2.0/24", Some("203.0.113.7")),
            route("192.0.2.128/25", None),
            route("192.0.2.192/26", Some("203.0.113.8")),
        ];
    });
    // The lab takes a frame only by the link address of the machine that the plan leads to.
    for address in ["192.0.2.1", "192.0.2.129", "192.0.2.193"] {
        let host = lab.wan_host(address);
        let outside = lab.pass(pc, udp(pc.at(5000), host.at(53)), host).from();
        lab.pass(host, udp(host.at(53), outside), pc);
    }
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
}

#[test]
fn a_next_hop_outside_of_the_prefix_is_reached_by_arp() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.wan.address = "203.0.113.1/32".parse().expect("a prefix");
        plan.wan.gateway = Some(ip("10.0.0.1"));
        plan.wan.routes = vec![route("192.0.2.0/24", Some("10.9.9.9"))];
    });
    let host = lab.wan_host("192.0.2.1");
    for outside in [host, web] {
        let from = lab.pass(pc, udp(pc.at(5000), outside.at(53)), outside).from();
        lab.pass(outside, udp(outside.at(53), from), pc);
    }
}

#[test]
fn a_session_follows_another_route_without_a_lost_packet() {
    let (mut lab, pc, web) = home();
    lab.wan_host("203.0.113.7");
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.change(|plan| plan.wan.routes = vec![route("198.51.100.0/24", Some("203.0.113.7"))]);
    lab.move_host(web);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.change(|plan| plan.wan.routes.clear());
    lab.move_host(web);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
}

#[test]
fn no_route_of_the_wan_takes_what_is_inside() {
    let (mut lab, _, web) = scene(|plan| {
        plan.lans[1].reaches = vec![0];
        plan.wan.routes = ["192.168.0.0/24", "192.168.0.96/27", "192.168.0.100/32"]
            .map(|to| route(to, Some("203.0.113.7")))
            .into();
    });
    let (pc, guest) = (lab.lan_host("192.168.0.100"), lab.host(GUEST, "192.168.1.20"));
    lab.pass(guest, udp(guest.at(5000), pc.at(53)), pc);
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(web, udp(web.at(53), outside), pc);
}
