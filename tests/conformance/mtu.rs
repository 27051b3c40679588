//! MTU: fragmentation needed, cutting, MSS, super-frames.

use genkan_engine::router::LinkState;
use genkan_engine::{DropReason, GsoKind, Offload};
use genkan_tests::lab::craft::{icmp_error, tcp, udp};
use genkan_tests::lab::packet::Payload;
use genkan_tests::lab::plan::{EXTERNAL, forward};
use genkan_tests::lab::{Checksum, Flags, Host, Lab, Packet, WAN, router_mac};

use crate::common::{external, ip, scene};

fn narrow_wan(mtu: u16) -> (Lab, Host, Host) {
    scene(|plan| plan.wan.mtu = mtu)
}

/// Next-hop MTU of a "fragmentation needed" (RFC 1191 §4).
fn next_hop_mtu(packet: &Packet) -> u16 {
    assert_eq!(packet.icmp_kind(), Some((3, 4)));
    let Payload::Icmp { rest, .. } = &packet.payload else { unreachable!("it has an ICMP kind") };
    u16::from_be_bytes([rest[2], rest[3]])
}

#[test]
fn packets_of_exactly_the_mtu_pass() {
    let (mut lab, pc, web) = narrow_wan(1400);
    lab.pass(pc, udp(pc.at(5000), web.at(53)).data(&[1; 1372]).dont_fragment(), web);
    lab.drop_at(
        pc,
        udp(pc.at(5000), web.at(53)).data(&[1; 1373]).dont_fragment(),
        DropReason::FragmentationNeeded,
    );
    assert_eq!(next_hop_mtu(&lab.receive(pc)), 1400);
}

#[test]
fn the_smaller_of_plan_and_device_holds() {
    let (mut lab, pc, web) = narrow_wan(1400);
    lab.set_link(WAN, LinkState { mac: router_mac(WAN), mtu: 1300, up: true });
    lab.drop_at(
        pc,
        udp(pc.at(5000), web.at(53)).data(&[1; 1300]).dont_fragment(),
        DropReason::FragmentationNeeded,
    );
    assert_eq!(next_hop_mtu(&lab.receive(pc)), 1300);
}

#[test]
fn outside_hosts_are_told_about_packets_that_a_session_admitted() {
    let (mut lab, pc, web) = scene(|plan| plan.lans[0].mtu = 1280);
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let big = udp(web.at(53), outside).data(&[1; 1400]).dont_fragment();
    lab.drop_at(web, big.clone(), DropReason::FragmentationNeeded);
    let told = lab.receive(web);
    assert_eq!((next_hop_mtu(&told), told.source), (1280, EXTERNAL));
    // It quotes the packet as the outside host sent it.
    assert_eq!(told.payload_data()[12..28], big.to_ip()[12..28]);
    lab.quiet();
}

#[test]
fn outside_hosts_are_told_about_packets_to_a_forward() {
    let (mut lab, _, web) = scene(|plan| {
        plan.lans[0].mtu = 1280;
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let _server = lab.lan_host("192.168.0.10");
    let big = udp(web.at(53), external(7000)).data(&[1; 1400]).dont_fragment();
    lab.drop_at(web, big.clone(), DropReason::FragmentationNeeded);
    let told = lab.receive(web);
    assert_eq!(next_hop_mtu(&told), 1280);
    assert_eq!(told.payload_data()[12..28], big.to_ip()[12..28]);
}

#[test]
fn inbound_packets_without_df_are_cut() {
    let (mut lab, pc, web) = scene(|plan| plan.lans[0].mtu = 576);
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let data: Vec<u8> = (0..1400u32).map(|index| index as u8).collect();
    lab.send(web, udp(web.at(53), outside).id(7).data(&data));
    let parts = lab.received(pc);
    assert_eq!(parts.len(), 3);
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.payload_data().to_vec()).collect();
    assert_eq!(joined[8..], data);
    assert!(parts.iter().all(|part| part.id == 7));
    assert_eq!(lab.stage("packets_fragmented"), 1);
}

#[test]
fn a_fragment_too_large_is_cut_again() {
    let (mut lab, pc, web) = narrow_wan(1000);
    let whole = udp(pc.at(5000), web.at(53)).id(5).data(&[6; 2800]);
    for part in whole.fragments(1480) {
        lab.send(pc, part);
    }
    let parts = lab.received(web);
    let mut next = 0;
    for part in &parts {
        assert_eq!(usize::from(part.fragment_offset), next);
        next += part.payload_data().len();
    }
    assert_eq!(next, 2808);
    assert!(!parts.last().expect("several").more_fragments);
}

#[test]
fn path_mtu_messages_from_outside_reach_the_sender() {
    let (mut lab, pc, web) = scene(|_| {});
    let hop = lab.wan_host("192.0.2.77");
    lab.open_tcp(pc, 40_000, web, 80);
    let big = tcp(pc.at(40_000), web.at(80), Flags::ACK).data(&[1; 1400]).dont_fragment();
    let sent = lab.pass(pc, big.clone(), web);
    // RFC 1191: next-hop MTU in the last two octets; eight octets of the segment quoted.
    let error = icmp_error(hop.address, EXTERNAL, 3, 4, &sent.to_ip()[..28]).rest([0, 0, 0x05, 0x14]);
    let told = lab.pass(hop, error, pc);
    assert_eq!(next_hop_mtu(&told), 1300);
    assert_eq!(told.payload_data(), &big.ttl(sent.ttl).to_ip()[..28]);
}

#[test]
fn path_mtu_messages_from_inside_reach_the_outside() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let (server, hop) = (lab.lan_host("192.168.0.10"), lab.lan_host("192.168.0.99"));
    let request = udp(web.at(5000), external(7000)).data(&[1; 1400]).dont_fragment();
    let seen = lab.pass(web, request.clone(), server);
    let error = icmp_error(hop.address, web.address, 3, 4, &seen.to_ip()[..28]).rest([0, 0, 0x05, 0x14]);
    let told = lab.pass(hop, error, web);
    assert_eq!((told.source, next_hop_mtu(&told)), (EXTERNAL, 1300));
    assert_eq!(told.payload_data(), &request.ttl(seen.ttl).to_ip()[..28]);
}

#[test]
fn mss_is_lowered_both_ways_to_the_smaller_mtu() {
    let (mut lab, pc, web) = narrow_wan(1454);
    let syn = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN).mss(1460), web);
    assert_eq!(syn.announced_mss(), Some(1414));
    let answer = tcp(web.at(80), syn.from(), Flags::SYN_ACK).mss(8960);
    assert_eq!(lab.pass(web, answer, pc).announced_mss(), Some(1414));
    assert_eq!(lab.stage("mss_clamped"), 2);
}

#[test]
fn mss_is_never_raised_and_never_added() {
    let (mut lab, pc, web) = narrow_wan(1454);
    let syn = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN).mss(536), web);
    assert_eq!(syn.announced_mss(), Some(536));
    let syn = lab.pass(pc, tcp(pc.at(40_001), web.at(80), Flags::SYN), web);
    assert_eq!((syn.announced_mss(), syn.to_ip().len()), (None, 40));
    assert_eq!(lab.stage("mss_clamped"), 0);
}

#[test]
fn mss_is_found_behind_other_options_at_any_alignment() {
    let (mut lab, pc, web) = narrow_wan(1454);
    // SACK permitted, window scale, no operation: the MSS value straddles checksum words.
    let options: [&[u8]; 4] = [
        &[4, 2, 2, 4, 0x05, 0xb4],
        &[1, 2, 4, 0x05, 0xb4, 1, 3, 3, 7],
        &[3, 3, 7, 2, 4, 0x05, 0xb4],
        &[8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 4, 0x05, 0xb4],
    ];
    for (index, options) in options.into_iter().enumerate() {
        let port = 40_000 + index as u16;
        let seen = lab.pass(pc, tcp(pc.at(port), web.at(80), Flags::SYN).tcp_options(options), web);
        assert_eq!(seen.announced_mss(), Some(1414), "{options:?}");
    }
}

#[test]
fn mss_in_other_segments_is_left_alone() {
    let (mut lab, pc, web) = narrow_wan(1454);
    lab.open_tcp(pc, 40_000, web, 80);
    let seen = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK).mss(1460), web);
    assert_eq!(seen.announced_mss(), Some(1460));
}

#[test]
fn mss_is_lowered_on_forwarded_connections() {
    let (mut lab, _, web) = scene(|plan| {
        plan.wan.mtu = 1454;
        plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    let syn = lab.pass(web, tcp(web.at(5000), external(80), Flags::SYN).mss(1460), server);
    assert_eq!(syn.announced_mss(), Some(1414));
}

#[test]
fn super_frames_are_measured_by_their_segments() {
    let (mut lab, pc, web) = narrow_wan(1400);
    lab.open_tcp(pc, 40_000, web, 80);
    let giant = tcp(pc.at(40_000), web.at(80), Flags::ACK).data(&[1; 20_000]).dont_fragment();
    let giant = giant.with_checksum(Checksum::Partial);
    let fits = Offload { partial_checksum: true, gso: GsoKind::TcpV4, gso_size: 1360, ..Offload::default() };
    lab.send_offloaded(pc, giant.clone(), fits);
    let seen = lab.receive_whole(web);
    assert_eq!((seen.offload.gso, seen.offload.gso_size), (GsoKind::TcpV4, 1360));
    assert_eq!(seen.packet.payload_data().len(), 20_000);
    lab.take_drops();
    lab.send_offloaded(pc, giant, Offload { gso_size: 1361, ..fits });
    assert_eq!(lab.take_drops(), [(DropReason::FragmentationNeeded, 1)]);
    assert_eq!(next_hop_mtu(&lab.receive(pc)), 1400);
}

#[test]
fn udp_super_frames_pass() {
    let (mut lab, pc, web) = scene(|_| {});
    let giant = udp(pc.at(5000), web.at(443)).data(&[1; 12_000]).with_checksum(Checksum::Partial);
    let offload =
        Offload { partial_checksum: true, gso: GsoKind::UdpL4, gso_size: 1200, ..Offload::default() };
    lab.send_offloaded(pc, giant, offload);
    let seen = lab.receive_whole(web);
    assert_eq!((seen.packet.from(), seen.offload), (external(5000), offload));
}

#[test]
fn pieces_have_right_checksums_also_when_the_host_left_them_to_the_device() {
    let (mut lab, pc, web) = narrow_wan(1280);
    let offload = Offload { partial_checksum: true, ..Offload::default() };
    lab.send_offloaded(
        pc,
        udp(pc.at(5000), web.at(53)).id(4).data(&[7; 1400]).with_checksum(Checksum::Partial),
        offload,
    );
    let parts = lab.received(web);
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.payload_data().to_vec()).collect();
    let mut whole = parts[0].clone();
    whole.more_fragments = false;
    whole.payload = Payload::Raw { protocol: 17, data: joined };
    let whole = Packet::parse(&whole.to_ip()).expect("a packet");
    assert_eq!((whole.checksum(), whole.from()), (Checksum::Right, external(5000)));
}

#[test]
fn a_router_address_quotes_from_the_right_side() {
    let (mut lab, pc, web) = narrow_wan(1280);
    lab.drop_at(
        pc,
        udp(pc.at(5000), web.at(53)).data(&[0; 1400]).dont_fragment(),
        DropReason::FragmentationNeeded,
    );
    assert_eq!(lab.receive(pc).source, ip("192.168.0.1"));
}
