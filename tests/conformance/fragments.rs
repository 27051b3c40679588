//! RFC 4787 §11 in detail: later fragments follow their first, whatever the order.

use genkan_engine::DropReason;
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::{echo_reply, echo_request, icmp_error, raw, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL, forward};

use crate::common::{external, home, ip, join, scene, secs};

#[test]
fn a_fragmented_packet_is_translated_as_a_whole() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    lab.pass(rival, udp(rival.at(5000), web.at(53)), web);
    let packets = [
        udp(pc.at(5000), web.at(53)).data(&[1; 100]),
        tcp(pc.at(5000), web.at(80), Flags::SYN).data(&[2; 100]),
        echo_request(pc.address, web.address, 9).data(&[3; 100]),
    ];
    for (index, packet) in packets.into_iter().enumerate() {
        for part in packet.id(index as u16 + 1).fragments(48) {
            lab.send(pc, part);
        }
        // The lab checks the header sums; joined, the transport checksum is right as well.
        let whole = join(lab.received(web));
        assert_eq!(whole.source, EXTERNAL);
        assert_eq!(whole.checksum(), genkan_tests::lab::Checksum::Right);
    }
    lab.quiet();
}

#[test]
fn inbound_fragments_in_reverse_order_reach_the_inside_host() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let whole = udp(web.at(53), outside).id(77).data(&[5; 3000]);
    let mut parts = whole.fragments(1480);
    parts.reverse();
    for part in parts {
        lab.send(web, part);
    }
    let seen = join(lab.received(pc));
    assert_eq!((seen.to(), seen.payload_data()), (pc.at(5000), &[5; 3000][..]));
}

#[test]
fn held_fragments_leave_in_order_behind_their_first() {
    let (mut lab, pc, web) = home();
    let parts = udp(pc.at(5000), web.at(53)).id(1).data(&[0; 120]).fragments(32);
    for index in [3, 1, 2, 0] {
        lab.send(pc, parts[index].clone());
    }
    let offsets: Vec<u16> = lab.received(web).iter().map(|part| part.fragment_offset).collect();
    assert_eq!(offsets[0], 0);
    assert_eq!(offsets.len(), 4);
    assert_eq!(lab.stage("fragments_held"), 3);
}

#[test]
fn packets_with_the_same_id_from_different_hosts_do_not_mix() {
    let (mut lab, pc, web) = home();
    let other = lab.lan_host("192.168.0.101");
    let mine = udp(pc.at(5000), web.at(53)).id(1).data(&[1; 40]).fragments(16);
    let others = udp(other.at(6000), web.at(53)).id(1).data(&[2; 40]).fragments(16);
    for index in 0..3 {
        lab.send(pc, mine[index].clone());
        lab.send(other, others[2 - index].clone());
    }
    assert_eq!(lab.received(web).len(), 6);
    assert_eq!(lab.take_drops(), []);
}

#[test]
fn an_exact_duplicate_is_no_overlap() {
    let (mut lab, pc, web) = home();
    let parts = udp(pc.at(5000), web.at(53)).id(1).data(&[1; 40]).fragments(16);
    for part in [&parts[0], &parts[1], &parts[1], &parts[0], &parts[2]] {
        lab.send(pc, part.clone());
    }
    assert_eq!(lab.take_drops(), []);
    assert_eq!(lab.received(web).len(), 5);
}

#[test]
fn the_tie_ends_after_a_while() {
    let (mut lab, pc, web) = home();
    let parts = udp(pc.at(5000), web.at(53)).id(1).data(&[1; 40]).fragments(16);
    lab.pass(pc, parts[0].clone(), web);
    lab.advance(secs(120));
    lab.send(pc, parts[1].clone());
    lab.advance(secs(120));
    assert_eq!(lab.take_drops(), [(DropReason::FragmentUnmatched, 1)]);
    assert_eq!(lab.received(web), []);
}

#[test]
fn later_fragments_of_a_refused_packet_are_refused() {
    let (mut lab, pc, web) = home();
    let stranger = lab.wan_host("192.0.2.9");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let parts = udp(stranger.at(53), outside).id(1).data(&[1; 40]).fragments(16);
    lab.refuse(stranger, parts[0].clone(), DropReason::Filtered);
    lab.refuse(stranger, parts[1].clone(), DropReason::FragmentUnmatched);
    lab.refuse(stranger, parts[2].clone(), DropReason::FragmentUnmatched);
}

#[test]
fn an_overlap_does_not_rewrite_ports() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    let parts = udp(web.at(53), external(7000)).id(1).data(&[1; 40]).fragments(16);
    lab.pass(web, parts[0].clone(), server);
    // A second "first fragment" with other ports (RFC 1858 §4, RFC 3128).
    let other = udp(web.at(53), external(22)).id(1).data(&[1; 40]).fragments(24).remove(0);
    lab.refuse(web, other, DropReason::FragmentOverlap);
}

#[test]
fn fragments_of_portless_protocols_pass() {
    let (mut lab, pc, web) = home();
    for part in raw(pc.address, web.address, 50, &[4; 100]).id(9).fragments(48) {
        lab.pass(pc, part, web);
    }
}

#[test]
fn fragments_of_a_forwarded_packet_pass() {
    let (mut lab, _, web) =
        scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10:7777")));
    let server = lab.lan_host("192.168.0.10");
    let whole = udp(web.at(5000), external(7000)).id(3).data(&[8; 100]);
    for part in whole.fragments(48).into_iter().rev() {
        lab.send(web, part);
    }
    assert_eq!(join(lab.received(server)).to(), server.at(7777));
}

#[test]
fn fragments_held_do_not_wait_behind_a_neighbour_forever() {
    let (mut lab, pc, _) = home();
    let silent = lab.wan_host("203.0.113.99");
    lab.answer_arp(silent, false);
    for part in udp(pc.at(5000), silent.at(53)).id(3).data(&[8; 40]).fragments(16) {
        lab.send(pc, part);
    }
    lab.answer_arp(silent, true);
    lab.advance(secs(3));
    let parts = lab.received(silent);
    assert_eq!(parts.iter().map(|part| part.fragment_offset).collect::<Vec<_>>(), [0, 16, 32]);
}

#[test]
fn an_error_that_quotes_a_first_fragment_is_translated() {
    let (mut lab, pc, web) = home();
    let original = udp(pc.at(5000), web.at(53)).id(1).data(&[1; 40]).fragments(16).remove(0);
    let sent = lab.pass(pc, original.clone(), web);
    let told = lab.pass(web, icmp_error(web.address, EXTERNAL, 11, 1, &sent.to_ip()), pc);
    assert_eq!(told.payload_data(), original.ttl(sent.ttl).to_ip());
}

#[test]
fn a_fragmented_ping_to_the_router_comes_back_in_fragments() {
    let (mut lab, pc, web) = home();
    for (host, ours) in [(web, EXTERNAL), (pc, ip("192.168.0.1")), (pc, EXTERNAL)] {
        let request = echo_request(host.address, ours, 9).id(77).data(&[3; 100]);
        // The first fragment comes last, too.
        for order in [[0, 1, 2], [2, 1, 0]] {
            let parts = request.fragments(48);
            for index in order {
                lab.send(host, parts[index].clone());
            }
            let mut replies = lab.received(host);
            assert_eq!((lab.take_drops(), replies.len()), (vec![], 3), "{ours}");
            replies.sort_by_key(|part| part.fragment_offset);
            let expected = echo_reply(ours, host.address, 9).id(77).data(&[3; 100]).fragments(48);
            for (reply, expected) in replies.iter().zip(&expected) {
                assert_eq!((reply.source, reply.destination), (ours, host.address));
                assert_eq!(reply.payload_data(), expected.payload_data());
            }
            lab.advance(secs(60));
        }
    }
}
