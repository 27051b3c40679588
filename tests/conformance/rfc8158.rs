//! RFC 8158 §4.3: events of translation. What a line of the log looks like is tested where it is written.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::nat::event_log::{Binding, Detail, NatEvent, NatEventKind, Translation};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, Plan};
use genkan_tests::lab::craft::{echo_request, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward, host_entry};
use genkan_tests::lab::{Flags, GUEST, Host, Lab};

use crate::common::{LATE, external, home, scene, secs};

fn logged(change: impl FnOnce(&mut Plan), detail: Detail) -> (Lab, Host, Host) {
    let (mut lab, pc, web) = scene(change);
    lab.router.log_nat_events(Some(detail));
    (lab, pc, web)
}

fn kinds(lab: &mut Lab) -> Vec<NatEventKind> {
    lab.router.take_nat_events().into_iter().map(|event| event.kind).collect()
}

fn binding(protocol: Protocol, internal: SocketAddrV4, external: SocketAddrV4) -> Binding {
    Binding { protocol, internal, external }
}

fn translation(binding: Binding, remote: SocketAddrV4, opened_inbound: bool) -> Translation {
    Translation { binding, remote, opened_inbound }
}

#[test]
fn nothing_is_noted_unless_asked_for() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    assert_eq!(kinds(&mut lab), []);
    lab.router.log_nat_events(Some(Detail::Sessions));
    lab.pass(pc, udp(pc.at(5001), web.at(53)), web);
    lab.router.log_nat_events(None);
    assert_eq!(kinds(&mut lab), []);
}

#[test]
fn a_mapping_and_its_sessions_begin_and_end() {
    let (mut lab, pc, web) = logged(|_| {}, Detail::Sessions);
    let start = lab.now();
    let mapping = binding(Protocol::UDP, pc.at(5000), external(5000));
    let [first, second] = [53, 54].map(|port| translation(mapping, web.at(port), false));
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(1));
    lab.pass(pc, udp(pc.at(5000), web.at(54)), web);
    // Nothing is told of packets of sessions that are there.
    lab.pass(web, udp(web.at(53), external(5000)), pc);
    let noted = lab.router.take_nat_events();
    let begun = [
        (start, NatEventKind::MappingCreated(mapping)),
        (start, NatEventKind::SessionCreated(first)),
        (start + secs(1), NatEventKind::SessionCreated(second)),
    ];
    assert_eq!(noted, begun.map(|(at, kind)| NatEvent { at, kind }));
    lab.advance(secs(301) + LATE);
    let ended = [
        NatEventKind::SessionDeleted(first),
        NatEventKind::SessionDeleted(second),
        NatEventKind::MappingDeleted(mapping),
    ];
    assert_eq!(kinds(&mut lab), ended);
}

#[test]
fn endpoints_alone_name_no_remote() {
    let (mut lab, pc, web) = logged(|_| {}, Detail::Endpoints);
    lab.open_tcp(pc, 40_000, web, 80);
    let mapping = binding(Protocol::TCP, pc.at(40_000), external(40_000));
    assert_eq!(kinds(&mut lab), [NatEventKind::MappingCreated(mapping)]);
}

#[test]
fn sessions_without_a_mapping_are_told_by_themselves() {
    let change = |plan: &mut Plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080"));
        let mut server = host_entry("own", "192.168.0.30");
        server.external = Some(EXTERNAL_2);
        plan.hosts.push(server);
    };
    let (mut lab, pc, web) = logged(change, Detail::Endpoints);
    let (nas, own) = (lab.lan_host("192.168.0.10"), lab.lan_host("192.168.0.30"));

    lab.accept_tcp(web.at(50_000), external(80), nas, 8080);
    let by_forward = binding(Protocol::TCP, nas.at(8080), external(80));
    let by_forward = translation(by_forward, web.at(50_000), true);
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionCreated(by_forward)]);

    lab.pass(own, udp(own.at(5000), web.at(53)), web);
    let one_to_one = binding(Protocol::UDP, own.at(5000), SocketAddrV4::new(EXTERNAL_2, 5000));
    let one_to_one = translation(one_to_one, web.at(53), false);
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionCreated(one_to_one)]);

    let esp = Protocol(50);
    let leaves_from = lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web).source;
    let no_port = |address: Ipv4Addr| SocketAddrV4::new(address, 0);
    let portless = binding(esp, no_port(pc.address), no_port(leaves_from));
    let portless = translation(portless, no_port(web.address), false);
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionCreated(portless)]);

    lab.change(|plan| plan.forwards.clear());
    lab.advance(secs(1));
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionDeleted(by_forward)]);
}

#[test]
fn icmp_queries_have_their_identifier_for_a_port() {
    let (mut lab, pc, web) = logged(|_| {}, Detail::Sessions);
    lab.pass(pc, echo_request(pc.address, web.address, 77), web);
    let mapping = binding(Protocol::ICMP, pc.at(77), external(77));
    let session = translation(mapping, web.at(0), false);
    assert_eq!(
        kinds(&mut lab),
        [NatEventKind::MappingCreated(mapping), NatEventKind::SessionCreated(session)]
    );
}

#[test]
fn a_hairpin_is_two_sessions() {
    let change = |plan: &mut Plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080"));
    let (mut lab, pc, _) = logged(change, Detail::Sessions);
    let nas = lab.lan_host("192.168.0.10");
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), nas);
    let mapping = binding(Protocol::TCP, pc.at(40_000), external(40_000));
    let opener = translation(mapping, external(80), false);
    let target = binding(Protocol::TCP, nas.at(8080), external(80));
    let target = translation(target, external(40_000), true);
    let mut told = kinds(&mut lab);
    // At the same time, perhaps at different workers.
    told.sort_by_key(|kind| matches!(kind, NatEventKind::SessionCreated(it) if it.opened_inbound));
    let expected = [
        NatEventKind::MappingCreated(mapping),
        NatEventKind::SessionCreated(opener),
        NatEventKind::SessionCreated(target),
    ];
    assert_eq!(told, expected);
}

#[test]
fn between_lans_nothing_is_translated() {
    let (mut lab, pc, _) = logged(|plan| plan.lans[0].reaches.push(1), Detail::Sessions);
    let guest = lab.host(GUEST, "192.168.1.20");
    lab.pass(pc, udp(pc.at(5000), guest.at(53)), guest);
    lab.advance(secs(300) + LATE);
    assert_eq!(lab.router.session_count(), 0);
    assert_eq!(kinds(&mut lab), []);
}

#[test]
fn a_mapping_that_a_plan_takes_away_ends_at_once_and_once() {
    let (mut lab, pc, web) = logged(|_| {}, Detail::Sessions);
    lab.pass(pc, tcp(pc.at(8080), web.at(80), Flags::SYN), web);
    let mapping = binding(Protocol::TCP, pc.at(8080), external(8080));
    let session = translation(mapping, web.at(80), false);
    assert_eq!(kinds(&mut lab).len(), 2);
    lab.change(|plan| plan.forwards.push(forward("web", "tcp", "8080", "192.168.0.10")));
    assert_eq!(kinds(&mut lab), [NatEventKind::MappingDeleted(mapping)]);
    lab.advance(secs(1));
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionDeleted(session)]);
}

#[test]
fn limits_that_are_met_are_told_of_a_few_times_a_second() {
    let (mut lab, pc, web) = logged(|plan| plan.nat.max_ports_per_host = 1, Detail::Endpoints);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    kinds(&mut lab);
    for port in 5001..5101 {
        lab.drop_at(pc, udp(pc.at(port), web.at(53)), DropReason::HostPortLimit);
    }
    let limit = NatEventKind::HostLimit { host: pc.address, limit: 1 };
    assert_eq!(kinds(&mut lab), [limit; 10]);

    let (mut lab, pc, web) = logged(|plan| plan.nat.max_sessions_per_host = 1, Detail::Endpoints);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    kinds(&mut lab);
    lab.drop_at(pc, udp(pc.at(5000), web.at(54)), DropReason::HostSessionLimit);
    assert_eq!(kinds(&mut lab), [NatEventKind::HostLimit { host: pc.address, limit: 1 }]);

    let (mut lab, pc, web) = logged(|plan| plan.nat.max_sessions = 1, Detail::Endpoints);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(53), external(5000)), pc);
    kinds(&mut lab);
    lab.drop_at(pc, udp(pc.at(5001), web.at(53)), DropReason::SessionLimit);
    assert_eq!(kinds(&mut lab), [NatEventKind::SessionLimit { limit: 1 }]);

    let (mut lab, pc, web) = logged(|plan| plan.nat.ports = 2000..=2000, Detail::Endpoints);
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.pass(web, udp(web.at(53), external(2000)), pc);
    kinds(&mut lab);
    lab.drop_at(pc, udp(pc.at(5001), web.at(53)), DropReason::PortsExhausted);
    let exhausted = NatEventKind::PortsExhausted { external: EXTERNAL, protocol: Protocol::UDP };
    assert_eq!(kinds(&mut lab), [exhausted]);
}
