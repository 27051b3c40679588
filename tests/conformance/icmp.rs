//! ICMP beyond RFC 5508: pings to the router, errors that it makes itself and their limits.

use genkan_engine::DropReason;
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp_error, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward};
use genkan_tests::lab::{Flags, Packet};

use crate::common::{LATE, external, home, ip, scene, secs};

#[test]
fn pings_from_outside_are_answered_where_allowed() {
    let (mut lab, _, web) = scene(|plan| plan.wan.addresses.push(EXTERNAL_2));
    for address in [EXTERNAL, EXTERNAL_2] {
        let reply = lab.pass(web, echo_request(web.address, address, 7).data(&[9; 56]), web);
        assert_eq!((reply.source, reply.identifier(), reply.payload_data()), (address, 7, &[9; 56][..]));
    }
    assert_eq!(lab.stage("echo_replies"), 2);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn pings_to_the_router_with_any_ttl_and_options() {
    let (mut lab, pc, web) = home();
    lab.pass(web, echo_request(web.address, EXTERNAL, 7).ttl(1), web);
    let reply = lab.pass(pc, echo_request(pc.address, ip("192.168.0.1"), 7).ttl(1), pc);
    assert!(reply.ttl >= 32);
}

#[test]
fn the_identifier_of_a_ping_is_kept_when_free() {
    let (mut lab, pc, web) = home();
    for identifier in [0, 1, 1023, 40_000, 65_535] {
        assert_eq!(
            lab.pass(pc, echo_request(pc.address, web.address, identifier), web).identifier(),
            identifier
        );
    }
}

#[test]
fn two_hosts_with_the_same_identifier_get_their_own_replies() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    let ids =
        [pc, rival].map(|host| lab.pass(host, echo_request(host.address, web.address, 7), web).identifier());
    assert_ne!(ids[0], ids[1]);
    for (host, id) in [rival, pc].into_iter().zip([ids[1], ids[0]]) {
        let reply = lab.pass(web, echo_reply(web.address, EXTERNAL, id), host);
        assert_eq!(reply.identifier(), 7);
    }
}

#[test]
fn a_ping_from_outside_matches_no_mapping() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, echo_request(pc.address, web.address, 7), web);
    // The remote pings back with the same identifier: the router answers, not the host.
    let reply = lab.pass(web, echo_request(web.address, EXTERNAL, 7), web);
    assert_eq!(reply.icmp_kind(), Some((0, 0)));
}

#[test]
fn replies_from_another_address_are_refused() {
    let (mut lab, pc, web) = home();
    let stranger = lab.wan_host("192.0.2.9");
    lab.pass(pc, echo_request(pc.address, web.address, 7), web);
    lab.refuse(stranger, echo_reply(stranger.address, EXTERNAL, 7), DropReason::IcmpNoSession);
}

#[test]
fn traceroute_sees_the_router_and_the_hops_behind_it() {
    let (mut lab, pc, web) = home();
    let hop = lab.wan_host("192.0.2.77");
    let probe = |ttl| udp(pc.at(33_000), web.at(33_434)).ttl(ttl);
    lab.drop_at(pc, probe(1), DropReason::TtlExceeded);
    assert_eq!(lab.receive(pc).source, ip("192.168.0.1"));
    let sent = lab.pass(pc, probe(2), web);
    let told = lab.pass(hop, icmp_error(hop.address, EXTERNAL, 11, 0, &sent.to_ip()[..28]), pc);
    assert_eq!((told.source, told.icmp_kind()), (hop.address, Some((11, 0))));
}

#[test]
fn time_exceeded_goes_outside_only_about_admitted_packets() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let packet = udp(web.at(53), outside).ttl(1);
    lab.drop_at(web, packet.clone(), DropReason::TtlExceeded);
    let told = lab.receive(web);
    assert_eq!((told.icmp_kind(), told.source), (Some((11, 0)), EXTERNAL));
    // It quotes what the outside host sent: no internal address leaks.
    assert_eq!(told.payload_data()[12..28], packet.to_ip()[12..28]);
    lab.quiet();
    lab.refuse(web, udp(web.at(53), external(9)).ttl(1), DropReason::NoMapping);
}

#[test]
fn ttl_is_lowered_by_one_both_ways() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)).ttl(2), web);
    assert_eq!(sent.ttl, 1);
    assert_eq!(lab.pass(web, udp(web.at(53), sent.from()).ttl(255), pc).ttl, 254);
}

#[test]
fn no_errors_about_errors_fragments_or_groups() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let seen = lab.pass(web, udp(web.at(53), sent.from()), pc);
    let error = icmp_error(pc.address, web.address, 3, 3, &seen.to_ip()).ttl(1);
    lab.refuse(pc, error, DropReason::TtlExceeded);
    let parts = udp(pc.at(5000), web.at(53)).id(3).data(&[0; 40]).fragments(16);
    lab.pass(pc, parts[0].clone(), web);
    lab.refuse(pc, parts[1].clone().ttl(1), DropReason::TtlExceeded);
}

#[test]
fn errors_quote_as_much_as_rfc_1812_allows() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53)).data(&[7; 1200]).ttl(1);
    lab.drop_at(pc, packet.clone(), DropReason::TtlExceeded);
    let told = lab.receive(pc);
    assert!(told.to_ip().len() <= 576);
    let quoted = told.payload_data();
    assert!(quoted.len() >= 28);
    assert_eq!(quoted[20..], packet.to_ip()[20..quoted.len()]);
}

#[test]
fn errors_of_the_router_are_rate_limited() {
    let (mut lab, pc, web) = home();
    for port in 1..=4000 {
        lab.send(pc, udp(pc.at(port), web.at(53)).ttl(1));
    }
    let told = lab.received(pc).len() as u64;
    assert!((1..=1000).contains(&told), "{told} errors at once");
    assert_eq!((lab.stage("icmp_errors_sent"), lab.stage("icmp_errors_suppressed")), (told, 4000 - told));
}

#[test]
fn an_error_toward_outside_cannot_be_provoked_at_a_high_rate() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    for _ in 0..4000 {
        lab.send(web, udp(web.at(53), outside).ttl(1));
    }
    assert!(lab.received(web).len() <= 1000);
}

#[test]
fn errors_about_pings_both_ways() {
    let (mut lab, pc, web) = home();
    let hop = lab.wan_host("192.0.2.77");
    let original = echo_request(pc.address, web.address, 7);
    let sent = lab.pass(pc, original.clone(), web);
    let told = lab.pass(hop, icmp_error(hop.address, EXTERNAL, 11, 0, &sent.to_ip()), pc);
    assert_eq!(told.payload_data(), original.ttl(sent.ttl).to_ip());
    // The inside host complains about a reply.
    let reply = echo_reply(web.address, EXTERNAL, 7);
    let seen = lab.pass(web, reply.clone(), pc);
    let told = lab.pass(pc, icmp_error(pc.address, web.address, 3, 3, &seen.to_ip()), web);
    assert_eq!(told.payload_data(), reply.ttl(seen.ttl).to_ip());
}

#[test]
fn an_error_that_quotes_somebody_elses_session_is_refused() {
    let (mut lab, pc, web) = home();
    let other = lab.lan_host("192.168.0.101");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let seen = lab.pass(web, udp(web.at(53), external(5000)), pc);
    // The quoted destination is pc, but on a port that has no session.
    let forged = udp(web.at(53), pc.at(5001)).to_ip();
    lab.refuse(other, icmp_error(other.address, web.address, 3, 3, &forged), DropReason::IcmpErrorNoSession);
    // And from outside about a session with another remote.
    let stranger = lab.wan_host("192.0.2.9");
    let forged = udp(external(5000), stranger.at(53)).to_ip();
    lab.refuse(
        stranger,
        icmp_error(stranger.address, EXTERNAL, 3, 3, &forged),
        DropReason::IcmpErrorNoSession,
    );
    let _ = seen;
}

#[test]
fn a_quote_cut_inside_the_transport_header_is_translated() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    lab.pass(rival, tcp(rival.at(40_000), web.at(80), Flags::SYN), web);
    let original = tcp(pc.at(40_000), web.at(80), Flags::SYN).mss(1400).id(7);
    let sent: Packet = lab.pass(pc, original.clone(), web);
    let whole = original.ttl(sent.ttl).to_ip();
    for length in [28, 30, 36, 38, 40, 44] {
        let told = lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 1, &sent.to_ip()[..length]), pc);
        assert_eq!(told.payload_data(), &whole[..length], "{length} octets quoted");
    }
}

#[test]
fn errors_about_ended_sessions_are_refused() {
    let (mut lab, pc, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    lab.advance(secs(300) + LATE);
    lab.refuse(web, icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()), DropReason::IcmpErrorNoSession);
}

/// With identifier 0 both directions of a query have the same endpoints.
#[test]
fn the_router_answers_pings_with_identifier_0_while_a_host_asks_the_same_machine_with_it() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, echo_request(pc.address, web.address, 0), web);
    let whole = echo_request(web.address, EXTERNAL, 0).data(b"for the router");
    let reply = lab.pass(web, whole, web);
    assert_eq!((reply.source, reply.icmp_kind()), (EXTERNAL, Some((0, 0))));
    lab.pass(web, echo_reply(web.address, EXTERNAL, 0), pc);
}
