//! Design §6: ESP, AH, GRE, SCTP and the like pass by address.

use genkan_engine::DropReason;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::craft::{icmp_error, raw};
use genkan_tests::lab::plan::EXTERNAL;

use crate::common::{LATE, MOMENT, home, ip, scene, secs};

const PROTOCOLS: [u8; 5] = [47, 50, 51, 132, 253];

#[test]
fn they_pass_both_ways() {
    let (mut lab, pc, web) = home();
    for protocol in PROTOCOLS {
        let seen = lab.pass(pc, raw(pc.address, web.address, protocol, b"tunnelled"), web);
        assert_eq!((seen.source, seen.payload_data()), (EXTERNAL, &b"tunnelled"[..]));
        let back = lab.pass(web, raw(web.address, EXTERNAL, protocol, b"answer"), pc);
        assert_eq!((back.destination, back.payload_data()), (pc.address, &b"answer"[..]));
    }
}

#[test]
fn udp_lite_and_dccp_keep_right_checksums() {
    let (mut lab, pc, web) = home();
    // UDP-Lite (RFC 3828) and DCCP (RFC 4340) with the checksum at octet 6, over a pseudo header.
    for protocol in [136, 33] {
        let mut data = vec![0x13, 0x88, 0, 53, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let judge = |packet: &genkan_tests::lab::Packet| {
            let words = [
                genkan_tests::lab::sum::of(&packet.source.octets()),
                genkan_tests::lab::sum::of(&packet.destination.octets()),
                u16::from(protocol),
                16,
                genkan_tests::lab::sum::of(packet.payload_data()),
            ];
            words.into_iter().fold(0, genkan_tests::lab::sum::add)
        };
        let missing = !judge(&raw(pc.address, web.address, protocol, &data));
        data[6..8].copy_from_slice(&missing.to_be_bytes());
        let packet = raw(pc.address, web.address, protocol, &data);
        assert_eq!(judge(&packet), 0xffff);
        assert_eq!(judge(&lab.pass(pc, packet, web)), 0xffff, "protocol {protocol}");
    }
}

#[test]
fn one_inside_host_per_remote_at_a_time() {
    let (mut lab, pc, web) = home();
    let (rival, other) = (lab.lan_host("192.168.0.101"), lab.wan_host("192.0.2.9"));
    lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web);
    lab.drop_at(rival, raw(rival.address, web.address, 50, &[0; 8]), DropReason::ProtocolInUse);
    lab.received(rival);
    // Another remote or another protocol is free.
    lab.pass(rival, raw(rival.address, other.address, 50, &[0; 8]), other);
    lab.pass(rival, raw(rival.address, web.address, 47, &[0; 8]), web);
    // And this one, when the first is over.
    lab.advance(secs(600) + LATE);
    lab.pass(rival, raw(rival.address, web.address, 50, &[0; 8]), web);
}

#[test]
fn they_time_out() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web);
    lab.advance(secs(600) - MOMENT);
    lab.pass(web, raw(web.address, EXTERNAL, 50, &[0; 8]), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, raw(web.address, EXTERNAL, 50, &[0; 8]), DropReason::NoMapping);
}

#[test]
fn strangers_are_refused() {
    let (mut lab, pc, web) = home();
    let stranger = lab.wan_host("192.0.2.9");
    lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web);
    lab.refuse(stranger, raw(stranger.address, EXTERNAL, 50, &[0; 8]), DropReason::NoMapping);
}

#[test]
fn errors_about_them_pass() {
    let (mut lab, pc, web) = home();
    let original = raw(pc.address, web.address, 50, &[7; 100]).dont_fragment();
    let sent = lab.pass(pc, original.clone(), web);
    let told =
        lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 4, &sent.to_ip()[..28]).rest([0, 0, 5, 0]), pc);
    assert_eq!(told.payload_data(), &original.ttl(sent.ttl).to_ip()[..28]);
}

#[test]
fn the_dmz_takes_them_until_an_inside_host_speaks_with_that_remote() {
    let (mut lab, pc, web) = scene(|plan| plan.dmz = Some(ip("192.168.0.50")));
    let dmz = lab.lan_host("192.168.0.50");
    let other = lab.wan_host("192.0.2.9");
    lab.pass(pc, raw(pc.address, web.address, 50, &[0; 8]), web);
    lab.pass(web, raw(web.address, EXTERNAL, 50, &[0; 8]), pc);
    lab.pass(other, raw(other.address, EXTERNAL, 50, &[0; 8]), dmz);
    let session = lab.session(Protocol::ESP, dmz.at(0), other.at(0)).expect("a session");
    assert_eq!(session.origin, "dmz");
}
