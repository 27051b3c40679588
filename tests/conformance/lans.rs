//! Several lans, routes behind them, and the box itself as a host.

use genkan_engine::plan::Route;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId};
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp_error, raw, tcp, udp};
use genkan_tests::lab::plan::forward;
use genkan_tests::lab::{Flags, GUEST, Host, Lab};

use crate::common::{external, ip, scene};

fn two_lans(reaches: bool) -> (Lab, Host, Host) {
    let (mut lab, pc, _) = scene(|plan| {
        if reaches {
            plan.lans[0].reaches = vec![1];
        }
    });
    let guest = lab.host(GUEST, "192.168.1.100");
    (lab, pc, guest)
}

#[test]
fn every_lan_reaches_the_outside() {
    let (mut lab, pc, guest) = two_lans(false);
    let web = lab.wan_host("198.51.100.7");
    for host in [pc, guest] {
        let outside = lab.pass(host, udp(host.at(5000), web.at(53)), web).from();
        lab.pass(web, udp(web.at(53), outside), host);
    }
}

#[test]
fn lans_talk_without_nat_where_reaches_says_so() {
    let (mut lab, pc, guest) = two_lans(true);
    let seen = lab.pass(pc, udp(pc.at(5000), guest.at(53)), guest);
    assert_eq!((seen.from(), seen.to(), seen.ttl), (pc.at(5000), guest.at(53), 63));
    lab.pass(guest, udp(guest.at(53), pc.at(5000)), pc);
    lab.pass(pc, tcp(pc.at(40_000), guest.at(80), Flags::SYN), guest);
    lab.pass(guest, tcp(guest.at(80), pc.at(40_000), Flags::SYN_ACK), pc);
    lab.pass(pc, echo_request(pc.address, guest.address, 7), guest);
    lab.pass(guest, echo_reply(guest.address, pc.address, 7), pc);
    lab.pass(pc, raw(pc.address, guest.address, 50, &[0; 8]), guest);
    assert_eq!(lab.stage("sessions_routed"), 4);
    let session = lab.session(Protocol::UDP, pc.at(5000), guest.at(53)).expect("a session");
    assert_eq!((session.origin, session.external), ("routed", pc.at(5000)));
    assert_eq!(lab.router.mapping_count(), 0);
}

#[test]
fn reaches_is_one_way() {
    let (mut lab, pc, guest) = two_lans(true);
    lab.drop_at(guest, udp(guest.at(53), pc.at(5000)), DropReason::NotReachable);
    lab.drop_at(guest, tcp(guest.at(53), pc.at(22), Flags::SYN), DropReason::NotReachable);
    lab.drop_at(guest, echo_request(guest.address, pc.address, 7), DropReason::NotReachable);
}

#[test]
fn errors_pass_between_lans() {
    let (mut lab, pc, guest) = two_lans(true);
    let request = udp(pc.at(5000), guest.at(53));
    let seen = lab.pass(pc, request.clone(), guest);
    let told = lab.pass(guest, icmp_error(guest.address, pc.address, 3, 3, &seen.to_ip()), pc);
    assert_eq!((told.source, told.payload_data()), (guest.address, &request.ttl(63).to_ip()[..]));
}

#[test]
fn a_plan_that_ends_reaches_ends_its_sessions() {
    let (mut lab, pc, guest) = two_lans(true);
    lab.pass(pc, udp(pc.at(5000), guest.at(53)), guest);
    lab.change(|plan| plan.lans[0].reaches.clear());
    lab.drop_at(guest, udp(guest.at(53), pc.at(5000)), DropReason::NotReachable);
    lab.drop_at(pc, udp(pc.at(5000), guest.at(53)), DropReason::NotReachable);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn other_lans_router_address_is_a_service_question_not_a_route() {
    let (mut lab, pc, _) = two_lans(true);
    let router = std::net::SocketAddrV4::new(ip("192.168.1.1"), 80);
    lab.drop_at(pc, tcp(pc.at(5000), router, Flags::SYN), DropReason::NoService);
    lab.received(pc);
    let reply = lab.pass(pc, echo_request(pc.address, ip("192.168.1.1"), 7), pc);
    assert_eq!(reply.source, ip("192.168.1.1"));
}

fn routed() -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| {
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.0.254") })
    });
    let deep = lab.lan_host("10.20.1.1");
    (lab, deep, web)
}

#[test]
fn hosts_behind_a_route_are_inside_hosts() {
    let (mut lab, deep, web) = routed();
    let outside = lab.pass(deep, udp(deep.at(5000), web.at(53)), web).from();
    assert_eq!(outside, external(5000));
    assert_eq!(lab.pass(web, udp(web.at(53), outside), deep).to(), deep.at(5000));
}

#[test]
fn a_routed_source_on_the_wrong_lan_is_refused() {
    let (mut lab, deep, web) = routed();
    let guest = lab.host(GUEST, "192.168.1.100");
    lab.refuse(guest, udp(deep.at(5000), web.at(53)), DropReason::SourceNotOfLan);
}

#[test]
fn the_longest_prefix_decides() {
    let (mut lab, _, _) = scene(|plan| {
        plan.routes.push(Route { to: "10.0.0.0/8".parse().unwrap(), via: ip("192.168.0.254") });
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.1.254") });
        plan.forwards.push(forward("deep", "udp", "1", "10.20.0.1"));
        plan.forwards.push(forward("wide", "udp", "2", "10.21.0.1"));
    });
    let web = lab.wan_host("198.51.100.7");
    lab.send(web, udp(web.at(9), external(1)));
    lab.send(web, udp(web.at(9), external(2)));
    let lost = lab.take_lost();
    let macs: Vec<_> = lost.iter().map(|(port, frame)| (*port, frame.destination)).collect();
    let via = |address| genkan_tests::lab::mac_of(ip(address));
    assert_eq!(macs, [(GUEST, via("192.168.1.254")), (PortId::lan(0), via("192.168.0.254"))]);
}

#[test]
fn hosts_of_a_lan_do_not_meet_through_the_router() {
    let (mut lab, pc, _) = two_lans(false);
    let other = lab.lan_host("192.168.0.101");
    // A host that sends to a neighbour by way of the router: routed back, the neighbour is on the same lan.
    lab.send(pc, udp(pc.at(5000), other.at(53)));
    let seen = lab.received(other);
    assert!(seen.iter().all(|packet| packet.from() == pc.at(5000)), "never translated: {seen:?}");
}

fn with_box() -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| plan.host_port = true);
    let the_box = lab.host(PortId::HOST, "192.168.0.1");
    (lab, the_box, web)
}

#[test]
fn the_box_goes_out_like_an_inside_host() {
    let (mut lab, the_box, web) = with_box();
    let outside = lab.pass(the_box, udp(the_box.at(5000), web.at(53)), web).from();
    assert_eq!(outside, external(5000));
    assert_eq!(lab.pass(web, udp(web.at(53), outside), the_box).to(), the_box.at(5000));
}

#[test]
fn inside_hosts_reach_the_box_at_its_lan_address() {
    let (mut lab, the_box, _) = with_box();
    let pc = lab.lan_host("192.168.0.100");
    let syn = lab.pass(pc, tcp(pc.at(40_000), the_box.at(22), Flags::SYN), the_box);
    assert_eq!(syn.from(), pc.at(40_000), "no NAT");
    lab.pass(the_box, tcp(the_box.at(22), pc.at(40_000), Flags::SYN_ACK), pc);
    lab.pass(the_box, udp(the_box.at(9), pc.at(9)), pc);
}

#[test]
fn the_box_may_only_use_lan_addresses() {
    let (mut lab, the_box, web) = with_box();
    for source in ["192.168.0.77:5", "203.0.113.1:5", "10.0.0.1:5"] {
        lab.send(the_box, udp(source.parse().unwrap(), web.at(53)));
        let drops = lab.take_drops();
        assert!(
            matches!(drops[..], [(DropReason::SourceNotOfLan | DropReason::SourceOurs, 1)]),
            "{source}: {drops:?}"
        );
        lab.quiet();
    }
}

#[test]
fn a_forward_to_the_box() {
    let (mut lab, the_box, web) = with_box();
    lab.change(|plan| plan.forwards.push(forward("ssh", "tcp", "2222", "192.168.0.1:22")));
    lab.accept_tcp(web.at(5000), external(2222), the_box, 22);
}

#[test]
fn from_outside_the_box_is_closed() {
    let (mut lab, _, web) = with_box();
    lab.refuse(web, tcp(web.at(5000), external(22), Flags::SYN), DropReason::NoMapping);
}

#[test]
fn a_lan_that_does_not_reach_the_other_cannot_reopen_its_connections() {
    let (mut lab, pc, guest) = two_lans(true);
    lab.pass(pc, tcp(pc.at(40_000), guest.at(80), Flags::SYN), guest);
    lab.pass(guest, tcp(guest.at(80), pc.at(40_000), Flags::SYN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), guest.at(80), Flags::FIN_ACK), guest);
    lab.pass(guest, tcp(guest.at(80), pc.at(40_000), Flags::FIN_ACK), pc);
    lab.drop_at(guest, tcp(guest.at(80), pc.at(40_000), Flags::SYN), DropReason::NotReachable);
    assert_eq!(lab.receive(guest).icmp_kind(), Some((3, 13)));
    lab.quiet();
    lab.pass(pc, tcp(pc.at(40_000), guest.at(80), Flags::SYN), guest);
}

#[test]
fn nor_by_hairpin() {
    let (mut lab, pc, guest) = two_lans(true);
    lab.change(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.1.100")));
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), guest);
    lab.pass(guest, tcp(guest.at(80), external(40_000), Flags::SYN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::FIN_ACK), guest);
    lab.pass(guest, tcp(guest.at(80), external(40_000), Flags::FIN_ACK), pc);
    lab.drop_at(guest, tcp(guest.at(80), external(40_000), Flags::SYN), DropReason::NotReachable);
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), guest);
}

#[test]
fn addresses_behind_a_route_do_not_come_from_the_wan() {
    let (mut lab, deep, web) = routed();
    lab.change(|plan| plan.forwards.push(forward("web", "udp", "80", "192.168.0.10")));
    lab.refuse(web, udp(deep.at(5000), external(80)), DropReason::SourceLanFromWan);
    // Other private sources do.
    let double = lab.wan_host("10.30.1.1");
    let server = lab.lan_host("192.168.0.10");
    lab.pass(double, udp(double.at(5000), external(80)), server);
}

#[test]
fn a_host_behind_a_route_is_told_of_a_silent_neighbour() {
    let (mut lab, deep, _) = routed();
    lab.change(|plan| plan.lans[0].reaches = vec![1]);
    lab.send(deep, udp(deep.at(5000), "192.168.1.77:53".parse().unwrap()));
    lab.advance(crate::common::secs(10));
    assert_eq!(lab.receive(deep).icmp_kind(), Some((3, 1)));
}
