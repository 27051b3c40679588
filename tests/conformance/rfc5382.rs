//! RFC 5382 §8: TCP.

use std::collections::HashSet;

use genkan_engine::DropReason;
use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{icmp_error, tcp};
use genkan_tests::lab::plan::{EXTERNAL, forward};

use crate::common::{LATE, MOMENT, external, home, scene, secs};

#[test]
fn req_1_endpoint_independent_mapping() {
    let (mut lab, pc, web) = home();
    let other = lab.wan_host("192.0.2.9");
    let first = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web).from();
    assert_eq!(lab.pass(pc, tcp(pc.at(40_000), web.at(81), Flags::SYN), web).from(), first);
    assert_eq!(lab.pass(pc, tcp(pc.at(40_000), other.at(80), Flags::SYN), other).from(), first);
}

#[test]
fn req_2_a_whole_connection_from_inside() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    let (inner, outer) = (pc.at(40_000), web.at(80));
    lab.pass(pc, tcp(inner, outer, Flags::ACK).data(b"GET /"), web);
    assert_eq!(lab.pass(web, tcp(outer, outside, Flags::ACK).data(b"200 OK"), pc).payload_data(), b"200 OK");
    lab.pass(web, tcp(outer, outside, Flags::FIN_ACK), pc);
    // Half closed: data still flows the other way.
    lab.pass(pc, tcp(inner, outer, Flags::ACK).data(b"more"), web);
    lab.pass(pc, tcp(inner, outer, Flags::FIN_ACK), web);
    lab.pass(web, tcp(outer, outside, Flags::ACK), pc);
    // A retransmission of the last segments passes too.
    lab.pass(pc, tcp(inner, outer, Flags::FIN_ACK), web);
    lab.pass(web, tcp(outer, outside, Flags::ACK), pc);
}

#[test]
fn req_2_a_whole_connection_from_outside() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    let server = lab.lan_host("192.168.0.10");
    lab.accept_tcp(web.at(50_000), external(80), server, 8080);
    lab.pass(web, tcp(web.at(50_000), external(80), Flags::ACK).data(b"GET /"), server);
    let answer = lab.pass(server, tcp(server.at(8080), web.at(50_000), Flags::ACK).data(b"200"), web);
    assert_eq!(answer.from(), external(80));
    lab.pass(server, tcp(server.at(8080), web.at(50_000), Flags::FIN_ACK), web);
    lab.pass(web, tcp(web.at(50_000), external(80), Flags::FIN_ACK), server);
    lab.pass(server, tcp(server.at(8080), web.at(50_000), Flags::ACK), web);
}

#[test]
fn req_2a_retransmitted_syns_pass() {
    let (mut lab, pc, web) = home();
    let syn = tcp(pc.at(40_000), web.at(80), Flags::SYN);
    let outside = lab.pass(pc, syn.clone(), web).from();
    for _ in 0..3 {
        lab.advance(secs(3));
        assert_eq!(lab.pass(pc, syn.clone(), web).from(), outside);
    }
    lab.pass(web, tcp(web.at(80), outside, Flags::SYN_ACK), pc);
    lab.pass(web, tcp(web.at(80), outside, Flags::SYN_ACK), pc);
}

#[test]
fn req_2a_simultaneous_open() {
    let (mut lab, pc, web) = home();
    let (inner, outer) = (pc.at(40_000), web.at(80));
    let outside = lab.pass(pc, tcp(inner, outer, Flags::SYN), web).from();
    lab.pass(web, tcp(outer, outside, Flags::SYN), pc);
    lab.pass(pc, tcp(inner, outer, Flags::SYN_ACK), web);
    lab.pass(web, tcp(outer, outside, Flags::SYN_ACK), pc);
    lab.pass(pc, tcp(inner, outer, Flags::ACK), web);
    let session = lab.session(Protocol::TCP, inner, outer).expect("a session");
    assert!(session.expires_in > secs(7000), "it is established: {session:?}");
}

#[test]
fn req_3_filtering_admits_other_ports_of_the_same_address() {
    let (mut lab, pc, web) = home();
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(web, tcp(web.at(81), outside, Flags::SYN), pc);
    lab.refuse(stranger, tcp(stranger.at(81), outside, Flags::SYN), DropReason::Filtered);
}

#[test]
fn req_3a_filtering_is_configurable() {
    for (filtering, same_address, stranger_passes) in [
        (FilteringBehavior::EndpointIndependent, true, true),
        (FilteringBehavior::AddressAndPortDependent, false, false),
    ] {
        let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = filtering);
        let stranger = lab.wan_host("192.0.2.9");
        let outside = lab.open_tcp(pc, 40_000, web, 80);
        for (host, passes) in [(web, same_address), (stranger, stranger_passes)] {
            let syn = tcp(host.at(81), outside, Flags::SYN);
            if passes {
                lab.pass(host, syn, pc);
            } else {
                lab.refuse(host, syn, DropReason::Filtered);
            }
        }
    }
}

#[test]
fn req_4_no_answer_to_an_unsolicited_syn() {
    let (mut lab, pc, web) = home();
    let (inner, outer) = (pc.at(40_000), web.at(80));
    lab.refuse(web, tcp(outer, external(40_000), Flags::SYN), DropReason::NoMapping);
    lab.advance(secs(2));
    // The SYN from inside comes within 6 seconds: the first one is forgotten, the connection opens.
    let outside = lab.pass(pc, tcp(inner, outer, Flags::SYN), web).from();
    assert_eq!(outside, external(40_000));
    lab.pass(web, tcp(outer, outside, Flags::SYN), pc);
    lab.advance(secs(10));
    lab.quiet();
}

#[test]
fn req_4a_unsolicited_syns_are_dropped_in_silence() {
    let (mut lab, _, web) = home();
    lab.refuse(web, tcp(web.at(80), external(40_000), Flags::SYN), DropReason::NoMapping);
    lab.advance(secs(10));
    lab.quiet();
    assert_eq!(lab.stage("icmp_errors_sent") + lab.stage("resets_sent"), 0);
}

#[test]
fn req_5_established_sessions_live_two_hours_and_four_minutes() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.advance(secs(2 * 3600 + 4 * 60) - MOMENT);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, tcp(web.at(80), outside, Flags::ACK), DropReason::TcpNoSession);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn req_5_opening_sessions_live_four_minutes() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web).from();
    lab.advance(secs(240) - MOMENT);
    assert_eq!(lab.router.session_count(), 1);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, tcp(web.at(80), outside, Flags::SYN_ACK), DropReason::TcpNoSession);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn req_5_closing_sessions_live_four_minutes() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(web, tcp(web.at(80), outside, Flags::FIN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::FIN_ACK), web);
    lab.advance(secs(240) - MOMENT);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn req_5_a_half_closed_session_keeps_the_established_timeout() {
    for from_inside in [true, false] {
        let (mut lab, pc, web) = home();
        let outside = lab.open_tcp(pc, 40_000, web, 80);
        if from_inside {
            lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::FIN_ACK), web);
        } else {
            lab.pass(web, tcp(web.at(80), outside, Flags::FIN_ACK), pc);
        }
        lab.advance(secs(300));
        lab.pass(web, tcp(web.at(80), outside, Flags::ACK).data(b"still"), pc);
    }
}

#[test]
fn req_5a_timeouts_are_configurable() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.timeouts.tcp_established = secs(3 * 3600));
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    lab.advance(secs(3 * 3600) - MOMENT);
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, tcp(web.at(80), outside, Flags::ACK), DropReason::TcpNoSession);
}

#[test]
fn req_7_no_port_overloading() {
    let (mut lab, _, web) = home();
    let mut seen = HashSet::new();
    for last in 10..60 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        let outside = lab.open_tcp(host, 40_000, web, 80);
        assert!(seen.insert(outside), "{outside} belongs to two hosts");
    }
}

#[test]
fn req_8_hairpinning() {
    let (mut lab, pc, _) = scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    let server = lab.lan_host("192.168.0.10");
    let syn = lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), server);
    assert_eq!(syn.to(), server.at(8080));
    let answer = lab.pass(server, tcp(server.at(8080), syn.from(), Flags::SYN_ACK), pc);
    assert_eq!(answer.from(), external(80));
    lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::ACK), server);
}

#[test]
fn req_8a_hairpinned_connections_come_from_the_external_endpoint() {
    let (mut lab, pc, web) =
        scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10:8080")));
    let server = lab.lan_host("192.168.0.10");
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    let syn = lab.pass(pc, tcp(pc.at(40_000), external(80), Flags::SYN), server);
    assert_eq!(syn.from(), outside);
    assert_eq!(syn.source, EXTERNAL);
}

#[test]
fn req_9_destination_unreachable_is_translated() {
    let (mut lab, pc, web) = home();
    let hop = lab.wan_host("192.0.2.77");
    let original = tcp(pc.at(40_000), web.at(80), Flags::SYN);
    let sent = lab.pass(pc, original.clone(), web);
    for code in 0..=15 {
        // Eight octets of the TCP header are all that RFC 792 promises.
        let quoted = &sent.to_ip()[..28];
        let error = lab.pass(hop, icmp_error(hop.address, EXTERNAL, 3, code, quoted), pc);
        assert_eq!(error.icmp_kind(), Some((3, code)));
        assert_eq!(error.payload_data(), &original.clone().ttl(sent.ttl).to_ip()[..28]);
    }
}

#[test]
fn req_10_icmp_does_not_end_a_connection() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    let sent = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK).data(b"x"), web);
    for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 10), (11, 0)] {
        lab.pass(web, icmp_error(web.address, EXTERNAL, kind, code, &sent.to_ip()), pc);
    }
    lab.advance(secs(3600));
    lab.pass(web, tcp(web.at(80), outside, Flags::ACK), pc);
}
