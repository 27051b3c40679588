//! Design §1: state never outlives what allowed it, and what a change does not concern goes on.

use std::net::SocketAddrV4;

use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_engine::plan::Route;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, UnixTime};
use genkan_tests::lab::craft::{raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL_2, forward, host_entry};
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{LATE, MOMENT, external, ip, scene, secs};

/// Sessions are judged again before their next packet, and in portions when they are silent.
fn settle(lab: &mut Lab) -> u32 {
    lab.advance(secs(1));
    lab.router.session_count()
}

fn game() -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.pass(server, udp(server.at(7000), web.at(5000)), web);
    (lab, server, web)
}

/// The port is closed to both sides, for `udp` seconds.
#[track_caller]
fn rests(lab: &mut Lab, server: Host, web: Host) {
    let udp_timeout = lab.plan().nat.timeouts.udp;
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::PortResting);
    // The next datagram of the old target must not open the port again.
    assert_ne!(lab.pass(server, udp(server.at(7000), web.at(5000)), web).from(), external(7000));
    lab.advance(udp_timeout - MOMENT - secs(1));
    lab.refuse(web, udp(web.at(5001), external(7000)), DropReason::PortResting);
    lab.advance(MOMENT + secs(1) + LATE);
    lab.refuse(web, udp(web.at(5001), external(7000)), DropReason::NoMapping);
}

#[test]
fn removing_a_forward_ends_its_sessions_and_its_port_rests() {
    let (mut lab, server, web) = game();
    lab.change(|plan| plan.forwards.clear());
    assert_eq!((settle(&mut lab), lab.stage("sessions_revoked")), (0, 1));
    rests(&mut lab, server, web);
}

#[test]
fn disabling_a_forward_ends_its_sessions() {
    let (mut lab, server, web) = game();
    lab.change(|plan| plan.forwards[0].enabled = false);
    assert_eq!(settle(&mut lab), 0);
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::ForwardClosed);
    assert_ne!(lab.pass(server, udp(server.at(7000), web.at(5000)), web).from(), external(7000));
    lab.change(|plan| plan.forwards[0].enabled = true);
    lab.pass(web, udp(web.at(5002), external(7000)), server);
}

#[test]
fn sessions_that_a_target_opened_itself_end_with_the_forward() {
    let (mut lab, server, web) = game();
    let other = lab.wan_host("192.0.2.9");
    assert_eq!(lab.pass(server, udp(server.at(7000), other.at(88)), other).from(), external(7000));
    lab.change(|plan| plan.forwards.clear());
    assert_eq!(settle(&mut lab), 0);
    lab.refuse(other, udp(other.at(88), external(7000)), DropReason::PortResting);
    rests(&mut lab, server, web);
}

#[test]
fn retargeting_a_forward_ends_the_sessions_of_the_old_target() {
    let (mut lab, server, web) = game();
    let heir = lab.lan_host("192.168.0.11");
    lab.change(|plan| plan.forwards[0].to = ip("192.168.0.11"));
    assert_eq!(settle(&mut lab), 0);
    assert_eq!(lab.pass(web, udp(web.at(5000), external(7000)), heir).to(), heir.at(7000));
    assert_ne!(lab.pass(server, udp(server.at(7000), web.at(5001)), web).from(), external(7000));
}

#[test]
fn changing_the_internal_port_ends_the_old_sessions() {
    let (mut lab, server, web) = game();
    lab.change(|plan| plan.forwards[0].ports[0].internal_first = 7777);
    assert_eq!(settle(&mut lab), 0);
    assert_eq!(lab.pass(web, udp(web.at(5000), external(7000)), server).to(), server.at(7777));
}

#[test]
fn narrowing_from_ends_only_the_sessions_outside_it() {
    let (mut lab, server, web) = game();
    let friend = lab.wan_host("192.0.2.9");
    lab.pass(friend, udp(friend.at(5000), external(7000)), server);
    lab.change(|plan| plan.forwards[0].from = vec!["192.0.2.0/24".parse().unwrap()]);
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::ForwardSource);
    lab.pass(friend, udp(friend.at(5000), external(7000)), server);
    assert_eq!(lab.stage("sessions_revoked"), 1);
}

#[test]
fn widening_from_ends_nothing() {
    let (mut lab, server, web) = game();
    lab.change(|plan| plan.forwards[0].from = vec!["198.51.100.0/24".parse().unwrap()]);
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.change(|plan| plan.forwards[0].from.clear());
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    assert_eq!((lab.stage("sessions_revoked"), lab.stage("sessions_forward")), (0, 1));
}

#[test]
fn renaming_or_moving_a_forward_ends_nothing() {
    let (mut lab, server, web) = game();
    lab.change(|plan| {
        plan.forwards.insert(0, forward("other", "tcp", "80", "192.168.0.11"));
        plan.forwards[1].name = "renamed".into();
        plan.forwards[1].log = true;
    });
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.pass(server, udp(server.at(7000), web.at(5000)), web);
    assert_eq!((lab.stage("sessions_revoked"), lab.stage("sessions_forward")), (0, 1));
}

#[test]
fn splitting_a_range_keeps_what_is_still_allowed() {
    let (mut lab, server, web) =
        scene(|plan| plan.forwards.push(forward("all", "udp", "7000-7009", "192.168.0.10")));
    let _ = server;
    let server = lab.lan_host("192.168.0.10");
    for port in 7000..7010 {
        lab.pass(web, udp(web.at(5000), external(port)), server);
    }
    lab.change(|plan| plan.forwards = vec![forward("half", "udp", "7005-7009", "192.168.0.10")]);
    for port in 7000..7005 {
        lab.refuse(web, udp(web.at(5000), external(port)), DropReason::PortResting);
    }
    for port in 7005..7010 {
        lab.pass(web, udp(web.at(5000), external(port)), server);
    }
    assert_eq!((lab.stage("sessions_revoked"), lab.stage("sessions_forward")), (5, 10));
}

#[test]
fn moving_the_dmz_ends_the_sessions_of_the_old_host() {
    let (mut lab, _, web) = scene(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let (server, heir) = (lab.lan_host("192.168.0.10"), lab.lan_host("192.168.0.11"));
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.change(|plan| plan.dmz = Some(ip("192.168.0.11")));
    lab.pass(web, udp(web.at(5000), external(7000)), heir);
    assert_eq!(lab.stage("sessions_revoked"), 1);
}

#[test]
fn a_new_forward_evicts_who_sits_on_its_port() {
    let (mut lab, pc, web) = scene(|_| {});
    let server = lab.lan_host("192.168.0.10");
    for port in [5000, 5001] {
        assert_eq!(lab.pass(pc, udp(pc.at(port), web.at(53)), web).from(), external(port));
    }
    lab.change(|plan| plan.forwards.push(forward("game", "udp", "5000", "192.168.0.10")));
    assert_eq!(lab.pass(web, udp(web.at(53), external(5000)), server).to(), server.at(5000));
    // The other mapping of the same host is not concerned; the evicted one moves.
    lab.pass(web, udp(web.at(53), external(5001)), pc);
    let moved = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    assert_ne!(moved, external(5000));
    lab.pass(web, udp(web.at(53), moved), pc);
}

#[test]
fn a_new_forward_for_tcp_leaves_udp_alone() {
    let (mut lab, pc, web) = scene(|_| {});
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.change(|plan| plan.forwards.push(forward("web", "tcp", "5000", "192.168.0.10")));
    lab.pass(web, udp(web.at(53), external(5000)), pc);
}

#[test]
fn a_forward_whose_target_already_has_the_port_keeps_its_sessions_reachable() {
    let (mut lab, _, web) = scene(|_| {});
    let server = lab.lan_host("192.168.0.10");
    lab.pass(server, udp(server.at(7000), web.at(53)), web);
    lab.change(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    lab.pass(web, udp(web.at(53), external(7000)), server);
    assert_eq!(lab.pass(server, udp(server.at(7000), web.at(53)), web).from(), external(7000));
}

#[test]
fn a_new_wan_address_ends_every_mapping_of_the_old_one() {
    let (mut lab, pc, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.change(|plan| plan.wan.address = "203.0.113.9/24".parse().unwrap());
    assert_eq!((settle(&mut lab), lab.router.mapping_count()), (0, 0));
    lab.refuse(web, udp(web.at(53), external(5000)), DropReason::NotOurs);
    let fresh = SocketAddrV4::new(ip("203.0.113.9"), 5000);
    assert_eq!(lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from(), fresh);
    lab.pass(web, udp(web.at(5000), SocketAddrV4::new(*fresh.ip(), 7000)), server);
    // The connection is told to start again.
    lab.drop_at(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), DropReason::TcpNoSession);
    assert!(lab.receive(pc).flags().contains(Flags::RST));
}

#[test]
fn removing_a_further_address_ends_only_its_mappings() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        let mut nas = host_entry("nas", "192.168.0.10");
        nas.external = Some(EXTERNAL_2);
        plan.hosts.push(nas);
    });
    let nas = lab.lan_host("192.168.0.10");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(nas, udp(nas.at(5000), web.at(53)), web);
    lab.change(|plan| {
        plan.wan.addresses.clear();
        plan.hosts.clear();
    });
    lab.pass(web, udp(web.at(53), external(5000)), pc);
    assert_eq!(settle(&mut lab), 1);
    assert_ne!(lab.pass(nas, udp(nas.at(5000), web.at(53)), web).source, EXTERNAL_2);
}

#[test]
fn an_equal_plan_changes_nothing() {
    let (mut lab, server, web) = game();
    let pc = lab.lan_host("192.168.0.100");
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    let before = (lab.sessions(), lab.mappings());
    for _ in 0..3 {
        lab.change(|_| {});
    }
    assert_eq!((lab.sessions(), lab.mappings()), before);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.pass(web, udp(web.at(5000), external(7000)), server);
}

#[test]
fn unrelated_changes_lose_no_packet() {
    let (mut lab, pc, web) = scene(|_| {});
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    let changes: [fn(&mut genkan_engine::Plan); 8] = [
        |plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10")),
        |plan| plan.dmz = Some(ip("192.168.0.50")),
        |plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent,
        |plan| plan.nat.max_sessions_per_host = 7,
        |plan| plan.wan.ping = false,
        |plan| plan.wan.addresses.push(EXTERNAL_2),
        |plan| plan.hosts.push(host_entry("pc", "192.168.0.100")),
        |plan| plan.forwards.clear(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        lab.change(change);
        lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK).data(&[index as u8]), web);
        lab.pass(web, tcp(web.at(80), outside, Flags::ACK).data(&[index as u8]), pc);
    }
    assert!(lab.session(Protocol::TCP, pc.at(40_000), web.at(80)).is_some());
}

#[test]
fn shorter_timeouts_hold_for_the_next_packet() {
    let (mut lab, pc, web) = scene(|_| {});
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.change(|plan| plan.nat.timeouts.udp = secs(120));
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(120) + LATE);
    lab.refuse(web, udp(web.at(53), external(5000)), DropReason::NoMapping);
}

#[test]
fn narrower_filtering_holds_at_once_for_new_remotes() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.change(|plan| plan.nat.filtering = FilteringBehavior::AddressAndPortDependent);
    lab.refuse(stranger, udp(stranger.at(53), outside), DropReason::Filtered);
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn another_mapping_behaviour_keeps_running_sessions() {
    let (mut lab, pc, web) = scene(|_| {});
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.change(|plan| plan.nat.mapping = MappingBehavior::AddressAndPortDependent);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
}

#[test]
fn a_new_one_to_one_host_leaves_from_its_address_at_once() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.addresses.push(EXTERNAL_2));
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.change(|plan| {
        let mut host = host_entry("pc", "192.168.0.100");
        host.external = Some(EXTERNAL_2);
        plan.hosts.push(host);
    });
    assert_eq!(lab.pass(pc, udp(pc.at(5001), web.at(53)), web).from(), SocketAddrV4::new(EXTERNAL_2, 5001));
    lab.pass(web, udp(web.at(9), SocketAddrV4::new(EXTERNAL_2, 9)), pc);
}

#[test]
fn a_removed_lan_takes_its_sessions_along() {
    let (mut lab, pc, web) = scene(|_| {});
    let guest = lab.host(genkan_tests::lab::GUEST, "192.168.1.100");
    lab.pass(guest, udp(guest.at(5000), web.at(53)), web);
    lab.pass(pc, udp(pc.at(5001), web.at(53)), web);
    lab.change(|plan| {
        plan.lans.pop();
    });
    lab.send(web, udp(web.at(53), external(5000)));
    lab.quiet();
    lab.pass(web, udp(web.at(53), external(5001)), pc);
    assert_eq!(settle(&mut lab), 1);
}

#[test]
fn a_new_route_inside_ends_sessions_with_what_now_lies_behind_it() {
    let (mut lab, pc, web) = scene(|_| {});
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.change(|plan| {
        plan.lans[0].reaches = vec![1];
        plan.routes.push(Route { to: "198.51.100.0/24".parse().unwrap(), via: ip("192.168.1.254") });
    });
    assert_eq!(settle(&mut lab), 0);
    let inside = lab.host(genkan_tests::lab::GUEST, "198.51.100.7");
    lab.send(pc, udp(pc.at(5000), inside.at(53)));
    assert_eq!(lab.take_drops(), []);
    let session = lab.session(Protocol::UDP, pc.at(5000), inside.at(53)).expect("a session");
    assert_eq!(session.origin, "routed");
}

#[test]
fn ports_of_a_removed_dmz_rest() {
    let (mut lab, _, web) = scene(|plan| plan.dmz = Some(ip("192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.pass(server, udp(server.at(7000), web.at(5000)), web);
    lab.change(|plan| plan.dmz = None);
    assert_eq!(settle(&mut lab), 0);
    rests(&mut lab, server, web);
}

#[test]
fn a_forward_that_is_removed_while_disabled_leaves_a_resting_port() {
    let (mut lab, server, web) = game();
    lab.change(|plan| plan.forwards[0].enabled = false);
    assert_eq!(settle(&mut lab), 0);
    lab.change(|plan| plan.forwards.clear());
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::PortResting);
    assert_ne!(lab.pass(server, udp(server.at(7000), web.at(5000)), web).from(), external(7000));
}

#[test]
fn a_forward_that_is_removed_after_it_expired_leaves_a_resting_port() {
    let (mut lab, server, web) = game();
    let soon = UnixTime(lab.clock().wall().0 + 60);
    lab.change(|plan| plan.forwards[0].expires = Some(soon));
    lab.advance(secs(61));
    assert_eq!(lab.router.session_count(), 0);
    lab.change(|plan| plan.forwards.clear());
    lab.refuse(web, udp(web.at(5000), external(7000)), DropReason::PortResting);
    assert_ne!(lab.pass(server, udp(server.at(7000), web.at(5000)), web).from(), external(7000));
}

#[test]
fn protocols_without_ports_leave_an_address_that_becomes_another_host_s() {
    let (mut lab, ..) = scene(|plan| plan.wan.addresses.push(EXTERNAL_2));
    let web = lab.wan_host("198.51.100.7");
    // Some host is paired with the second address.
    let hosts: Vec<Host> = (100..120).map(|last| lab.lan_host(&format!("192.168.0.{last}"))).collect();
    let paired = hosts
        .into_iter()
        .find(|host| lab.pass(*host, udp(host.at(5000), web.at(53)), web).source == EXTERNAL_2);
    let host = paired.expect("one of twenty");
    let esp = |host: Host| raw(host.address, web.address, 50, &[0; 16]);
    assert_eq!(lab.pass(host, esp(host), web).source, EXTERNAL_2);
    lab.change(|plan| {
        let mut nas = host_entry("nas", "192.168.0.10");
        nas.external = Some(EXTERNAL_2);
        plan.hosts.push(nas);
    });
    let nas = lab.lan_host("192.168.0.10");
    assert_eq!(lab.pass(nas, esp(nas), web).source, EXTERNAL_2);
    assert_ne!(lab.pass(host, esp(host), web).source, EXTERNAL_2);
}

#[test]
fn shorter_timeouts_hold_for_silent_sessions_too() {
    let (mut lab, pc, web) = scene(|_| {});
    lab.open_tcp(pc, 40_000, web, 80);
    lab.change(|plan| plan.nat.timeouts.tcp_established = secs(600));
    lab.advance(secs(600) + LATE);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0));
}

#[test]
fn narrower_filtering_ends_what_only_strangers_have_used() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let (stranger, friend) = (lab.wan_host("192.0.2.9"), lab.wan_host("192.0.2.10"));
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.pass(stranger, udp(stranger.at(53), outside), pc);
    lab.pass(friend, udp(friend.at(53), outside), pc);
    lab.pass(pc, udp(pc.at(5000), friend.at(53)), friend);
    lab.change(|plan| plan.nat.filtering = FilteringBehavior::AddressDependent);
    lab.refuse(stranger, udp(stranger.at(53), outside), DropReason::Filtered);
    lab.pass(friend, udp(friend.at(53), outside), pc);
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn a_mapping_that_a_change_ends_is_counted_once() {
    let (mut lab, pc, web) = scene(|_| {});
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.change(|plan| plan.wan.address = "203.0.113.9/24".parse().unwrap());
    assert_eq!(settle(&mut lab), 0);
    assert_eq!((lab.stage("mappings_created"), lab.stage("mappings_ended")), (1, 1));
}
