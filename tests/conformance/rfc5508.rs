//! RFC 5508 §9: ICMP.

use genkan_engine::DropReason;
use genkan_engine::nat::policy::FilteringBehavior;
use genkan_tests::lab::Checksum;
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp, icmp_error, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2};
use genkan_tests::lab::{Flags, Packet};

use crate::common::{LATE, MOMENT, external, home, ip, one_to_one, scene, secs};

#[test]
fn req_1_queries_from_inside_and_their_replies_pass() {
    let (mut lab, pc, web) = home();
    let request = lab.pass(pc, echo_request(pc.address, web.address, 77).data(b"are you there"), web);
    assert_eq!((request.source, request.identifier()), (EXTERNAL, 77));
    let reply = lab.pass(web, echo_reply(web.address, EXTERNAL, 77).data(b"are you there"), pc);
    assert_eq!((reply.source, reply.destination, reply.identifier()), (web.address, pc.address, 77));
    // Timestamp and its reply (RFC 792) are queries as well.
    let [high, low] = 78u16.to_be_bytes();
    lab.pass(pc, icmp(pc.address, web.address, 13, 0).rest([high, low, 0, 1]).data(&[0; 12]), web);
    lab.pass(web, icmp(web.address, EXTERNAL, 14, 0).rest([high, low, 0, 1]).data(&[0; 12]), pc);
}

#[test]
fn req_1a_the_identifier_does_not_depend_on_the_remote() {
    let (mut lab, pc, web) = home();
    let (rival, other) = (lab.lan_host("192.168.0.101"), lab.wan_host("192.0.2.9"));
    lab.pass(rival, echo_request(rival.address, web.address, 77), web);
    let first = lab.pass(pc, echo_request(pc.address, web.address, 77), web).identifier();
    assert_ne!(first, 77, "taken by the other host");
    assert_eq!(lab.pass(pc, echo_request(pc.address, other.address, 77), other).identifier(), first);
}

#[test]
fn req_2_query_sessions_live_sixty_seconds() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, echo_request(pc.address, web.address, 77), web);
    lab.advance(secs(60) - MOMENT);
    lab.pass(web, echo_reply(web.address, EXTERNAL, 77), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, echo_reply(web.address, EXTERNAL, 77), DropReason::IcmpNoSession);
}

#[test]
fn req_2a_the_timeout_is_configurable() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.timeouts.icmp = secs(90));
    lab.pass(pc, echo_request(pc.address, web.address, 77), web);
    lab.advance(secs(90) - MOMENT);
    lab.pass(web, echo_reply(web.address, EXTERNAL, 77), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, echo_reply(web.address, EXTERNAL, 77), DropReason::IcmpNoSession);
}

#[test]
fn req_3_errors_with_a_wrong_checksum_are_dropped() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let error = icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip());
    lab.refuse(web, error.clone().with_checksum(Checksum::Off(1)), DropReason::IcmpChecksum);
    lab.pass(web, error, pc);
}

#[test]
fn req_3a_errors_whose_quoted_header_is_wrong_are_dropped() {
    let (mut lab, pc, web) = home();
    let mut quoted = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).to_ip();
    quoted[11] ^= 1;
    lab.refuse(web, icmp_error(web.address, EXTERNAL, 3, 3, &quoted), DropReason::IcmpErrorMalformed);
}

#[test]
fn req_3b_options_of_the_quoted_packet_are_passed_over() {
    let (mut lab, pc, web) = home();
    // Router alert (RFC 2113).
    let original = udp(pc.at(5000), web.at(53)).options(&[148, 4, 0, 0]);
    let sent = lab.pass(pc, original.clone(), web);
    let error = lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()), pc);
    assert_eq!(error.payload_data(), original.ttl(sent.ttl).to_ip());
}

#[test]
fn req_3c_the_quoted_transport_checksum_is_not_judged() {
    let (mut lab, pc, web) = home();
    lab.wrong_checksums = true;
    let original = udp(pc.at(5000), web.at(53)).with_checksum(Checksum::Off(0x0101));
    let sent = lab.pass(pc, original.clone(), web);
    assert_eq!(sent.checksum(), Checksum::Off(0x0101), "a wrong checksum stays as wrong as it was");
    let error = lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()), pc);
    assert_eq!(error.payload_data(), original.ttl(sent.ttl).to_ip());
}

#[test]
fn req_3d_extensions_behind_the_quoted_packet_are_untouched() {
    let (mut lab, pc, web) = home();
    let original = udp(pc.at(5000), web.at(53)).data(&[3; 20]);
    let sent = lab.pass(pc, original.clone(), web);
    // RFC 4884: the quoted packet padded to 128 octets, then an extension structure (MPLS, RFC 4950).
    let extend = |packet: &Packet| {
        let mut data = packet.to_ip();
        data.resize(128, 0);
        data.extend_from_slice(&[0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x01]);
        data
    };
    let error = icmp_error(web.address, EXTERNAL, 11, 0, &extend(&sent)).rest([0, 32, 0, 0]);
    let seen = lab.pass(web, error, pc);
    assert_eq!(seen.payload_data(), extend(&original.ttl(sent.ttl)));
}

#[test]
fn req_4_errors_from_outside_about_nothing_known_are_dropped() {
    let (mut lab, _, web) = home();
    let quoted = udp(external(5000), web.at(53)).to_ip();
    lab.refuse(web, icmp_error(web.address, EXTERNAL, 3, 3, &quoted), DropReason::IcmpErrorNoSession);
}

#[test]
fn req_4_errors_from_outside_reach_the_sender_as_if_there_were_no_nat() {
    let (mut lab, pc, web) = home();
    let hop = lab.wan_host("192.0.2.77");
    let rival = lab.lan_host("192.168.0.101");
    let (inner, outer) = (pc.at(5000), web.at(80));
    for port in [5000, 5001, 5002] {
        lab.pass(rival, udp(rival.at(port), outer), web);
        lab.pass(rival, tcp(rival.at(port), outer, Flags::SYN), web);
        lab.pass(rival, echo_request(rival.address, web.address, port), web);
    }
    for original in
        [udp(inner, outer), tcp(inner, outer, Flags::SYN), echo_request(pc.address, web.address, 5000)]
    {
        let sent = lab.pass(pc, original.clone(), web);
        assert_ne!(sent.source_port(), original.source_port(), "so that ports are translated as well");
        for (kind, code, rest) in
            [(3, 1, [0; 4]), (3, 4, [0, 0, 5, 0]), (11, 0, [0; 4]), (11, 1, [0; 4]), (12, 0, [1, 0, 0, 0])]
        {
            let error = icmp_error(hop.address, EXTERNAL, kind, code, &sent.to_ip()).rest(rest);
            let seen = lab.pass(hop, error.clone(), pc);
            let expected =
                icmp_error(hop.address, pc.address, kind, code, &original.clone().ttl(sent.ttl).to_ip());
            assert_eq!(seen, expected.rest(rest).ttl(63));
        }
    }
}

#[test]
fn req_5_errors_from_inside_about_nothing_known_are_dropped() {
    let (mut lab, pc, web) = home();
    let quoted = udp(web.at(53), pc.at(5000)).to_ip();
    lab.refuse(pc, icmp_error(pc.address, web.address, 3, 3, &quoted), DropReason::IcmpErrorNoSession);
}

#[test]
fn req_5_errors_from_inside_are_translated() {
    let (mut lab, pc, web) = home();
    let inner_router = lab.lan_host("192.168.0.99");
    lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let answer = udp(web.at(53), external(5000)).data(b"answer");
    let seen = lab.pass(web, answer.clone(), pc);
    // From the host itself and from a machine between it and the router: both leave from the external address.
    for source in [pc, inner_router] {
        let error = icmp_error(source.address, web.address, 3, 3, &seen.to_ip());
        let told = lab.pass(source, error, web);
        assert_eq!((told.source, told.destination), (EXTERNAL, web.address));
        assert_eq!(told.icmp_kind(), Some((3, 3)));
        assert_eq!(told.payload_data(), answer.clone().ttl(seen.ttl).to_ip());
    }
}

#[test]
fn req_5c_errors_of_a_one_to_one_host_leave_from_its_address() {
    let (mut lab, nas, web) = one_to_one();
    let probe = udp(web.at(53), std::net::SocketAddrV4::new(EXTERNAL_2, 9));
    let seen = lab.pass(web, probe.clone(), nas);
    let told = lab.pass(nas, icmp_error(nas.address, web.address, 3, 3, &seen.to_ip()), web);
    assert_eq!(told.source, EXTERNAL_2);
    assert_eq!(told.payload_data(), probe.ttl(seen.ttl).to_ip());
}

#[test]
fn req_6_errors_neither_refresh_nor_end_a_query_session() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, echo_request(pc.address, web.address, 77), web);
    let error = icmp_error(web.address, EXTERNAL, 11, 0, &sent.to_ip());
    for _ in 0..3 {
        lab.advance(secs(15));
        lab.pass(web, error.clone(), pc);
    }
    lab.pass(web, echo_reply(web.address, EXTERNAL, 77), pc);
    lab.advance(secs(15) + LATE);
    lab.refuse(web, echo_reply(web.address, EXTERNAL, 77), DropReason::IcmpNoSession);
}

#[test]
fn req_7_hairpinned_errors_pass() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let friend = lab.lan_host("192.168.0.101");
    let pc_outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let original = udp(friend.at(6000), pc_outside);
    let seen = lab.pass(friend, original.clone(), pc);
    // REQ-7a: as if it came from outside; its destination is the source of the packet that it quotes.
    let error = icmp_error(pc.address, EXTERNAL, 3, 3, &seen.to_ip());
    let told = lab.pass(pc, error, friend);
    assert_eq!((told.source, told.destination), (EXTERNAL, friend.address));
    assert_eq!(told.payload_data(), original.ttl(seen.ttl).to_ip());
}

/// What Basic NAT passes from outside, it passes by hairpin.
#[test]
fn req_7_queries_from_outside_reach_a_one_to_one_host() {
    let (mut lab, nas, web) = one_to_one();
    let seen = lab.pass(web, echo_request(web.address, EXTERNAL_2, 77).data(b"are you there"), nas);
    assert_eq!((seen.source, seen.destination, seen.identifier()), (web.address, nas.address, 77));
    assert_eq!((seen.icmp_kind(), seen.ttl), (Some((8, 0)), 63));
    let reply = lab.pass(nas, echo_reply(nas.address, web.address, 77).data(b"are you there"), web);
    assert_eq!((reply.source, reply.identifier(), reply.ttl), (EXTERNAL_2, 77, 63));
    let [high, low] = 78u16.to_be_bytes();
    lab.pass(web, icmp(web.address, EXTERNAL_2, 13, 0).rest([high, low, 0, 1]).data(&[0; 12]), nas);
    lab.pass(nas, icmp(nas.address, web.address, 14, 0).rest([high, low, 0, 1]).data(&[0; 12]), web);
    assert_eq!((lab.stage("sessions_inbound"), lab.stage("echo_replies")), (2, 0));
}

#[test]
fn req_7_hairpinned_queries_reach_a_one_to_one_host() {
    let (mut lab, nas, web) = one_to_one();
    let (pc, rival) = (lab.lan_host("192.168.0.100"), lab.lan_host("192.168.0.101"));
    lab.pass(rival, echo_request(rival.address, web.address, 77), web);
    let seen = lab.pass(pc, echo_request(pc.address, EXTERNAL_2, 77).data(b"are you there"), nas);
    assert_eq!((seen.source, seen.destination), (EXTERNAL, nas.address));
    assert_ne!(seen.identifier(), 77, "the other host has it");
    assert_eq!((seen.icmp_kind(), seen.ttl, seen.payload_data()), (Some((8, 0)), 63, &b"are you there"[..]));
    let reply = lab.pass(nas, echo_reply(nas.address, EXTERNAL, seen.identifier()), pc);
    assert_eq!((reply.source, reply.destination, reply.identifier()), (EXTERNAL_2, pc.address, 77));
    // It reaches itself as well.
    let seen = lab.pass(nas, echo_request(nas.address, EXTERNAL_2, 5), nas);
    assert_eq!((seen.source, seen.identifier()), (EXTERNAL_2, 5));
    let reply = lab.pass(nas, echo_reply(nas.address, EXTERNAL_2, 5), nas);
    assert_eq!((reply.source, reply.identifier()), (EXTERNAL_2, 5));
    assert_eq!(lab.stage("echo_replies"), 0);
}

#[test]
fn req_7_errors_about_queries_to_a_one_to_one_host_pass() {
    let (mut lab, nas, web) = one_to_one();
    let (pc, inner_router) = (lab.lan_host("192.168.0.100"), lab.lan_host("192.168.0.99"));
    for (asker, source) in [(web, web.address), (pc, EXTERNAL)] {
        let query = echo_request(asker.address, EXTERNAL_2, 77);
        let seen = lab.pass(asker, query.clone(), nas);
        let told =
            lab.pass(inner_router, icmp_error(inner_router.address, source, 3, 1, &seen.to_ip()), asker);
        assert_eq!((told.source, told.destination), (EXTERNAL_2, asker.address));
        assert_eq!(told.payload_data(), query.ttl(seen.ttl).to_ip());
        let answer = echo_reply(nas.address, source, seen.identifier());
        let reply = lab.pass(nas, answer.clone(), asker);
        let told = lab.pass(asker, icmp_error(asker.address, EXTERNAL_2, 11, 1, &reply.to_ip()), nas);
        assert_eq!((told.source, told.destination), (source, nas.address));
        assert_eq!(told.payload_data(), answer.ttl(reply.ttl).to_ip());
    }
}

/// Who asks chooses the identifier, so both sides may choose the same; with 0 both ways look alike.
#[test]
fn req_7_both_sides_may_ask_with_the_same_identifier() {
    for id in [77, 0] {
        let (mut lab, nas, web) = one_to_one();
        let asked = lab.pass(nas, echo_request(nas.address, web.address, id), web);
        assert_eq!((asked.source, asked.identifier()), (EXTERNAL_2, id));
        let asked = lab.pass(web, echo_request(web.address, EXTERNAL_2, id), nas);
        assert_eq!((asked.source, asked.identifier()), (web.address, id));
        let reply = lab.pass(nas, echo_reply(nas.address, web.address, id), web);
        assert_eq!((reply.source, reply.identifier()), (EXTERNAL_2, id));
        let reply = lab.pass(web, echo_reply(web.address, EXTERNAL_2, id), nas);
        assert_eq!((reply.source, reply.identifier()), (web.address, id));
    }
}

#[test]
fn req_8_a_refused_flow_is_told_with_code_13() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.max_sessions_per_host = 2);
    for port in [5000, 5001] {
        lab.pass(pc, udp(pc.at(port), web.at(53)), web);
    }
    let third = udp(pc.at(5002), web.at(53));
    lab.drop_at(pc, third.clone(), DropReason::HostSessionLimit);
    let told = lab.receive(pc);
    assert_eq!(told.icmp_kind(), Some((3, 13)));
    assert_eq!(told.payload_data()[12..28], third.to_ip()[12..28]);
    lab.quiet();
}

#[test]
fn req_9_no_errors_toward_the_outside_about_what_no_rule_admitted() {
    let (mut lab, _, web) = home();
    let packets = [
        udp(web.at(1), external(5000)).ttl(1),
        tcp(web.at(1), external(80), Flags::SYN),
        udp(web.at(1), external(53)),
    ];
    for packet in packets {
        lab.send(web, packet);
        lab.quiet();
    }
    assert_eq!(lab.stage("icmp_errors_sent"), 0);
}

#[test]
fn req_10a_time_exceeded_and_unreachable_are_made_and_echo_is_answered() {
    let (mut lab, pc, web) = home();
    lab.drop_at(pc, udp(pc.at(5000), web.at(53)).ttl(1), DropReason::TtlExceeded);
    assert_eq!(lab.receive(pc).icmp_kind(), Some((11, 0)));
    let reply = lab.pass(pc, echo_request(pc.address, ip("192.168.0.1"), 5).data(b"abc"), pc);
    assert_eq!((reply.icmp_kind(), reply.identifier(), reply.payload_data()), (Some((0, 0)), 5, &b"abc"[..]));
    lab.quiet();
}

#[test]
fn req_10c_redirects_and_source_quench_do_not_pass() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    for (kind, code) in [(5, 0), (5, 1), (4, 0)] {
        lab.refuse(web, icmp_error(web.address, EXTERNAL, kind, code, &sent.to_ip()), DropReason::IcmpType);
    }
}

#[test]
fn req_11_messages_that_are_neither_query_nor_error_are_dropped() {
    let (mut lab, pc, web) = home();
    for kind in [9, 10, 30, 40, 41, 255] {
        lab.refuse(pc, icmp(pc.address, web.address, kind, 0), DropReason::IcmpType);
        lab.refuse(web, icmp(web.address, EXTERNAL, kind, 0), DropReason::IcmpType);
    }
}
