//! One test per drop reason, in the order of the packet's walk: frames that no decision about translation is needed for.

use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{DropReason, Offload};
use genkan_tests::lab::craft::{echo_request, raw, tcp, udp};
use genkan_tests::lab::{Arp, Body, Flags, Frame, Host, LAN, Lab, Packet, mac_of, router_mac};

use crate::common::{endpoint, external, home, ip, scene};

/// A packet whose octets were changed: sent from `host`, it must be dropped for `reason`.
#[track_caller]
fn refuse_bytes(
    lab: &mut Lab,
    host: Host,
    packet: &Packet,
    reason: DropReason,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let mut ip = packet.to_ip();
    change(&mut ip);
    let frame = [&router_mac(host.port).0[..], &mac_of(host.address).0, &[8, 0], &ip].concat();
    lab.take_drops();
    lab.send_bytes(host.port, frame, Offload::default());
    assert_eq!(lab.take_drops(), [(reason, 1)]);
    lab.quiet();
}

/// Makes the IP header checksum right after a change.
fn mend(ip: &mut [u8]) {
    let header = usize::from(ip[0] & 15) * 4;
    ip[10..12].fill(0);
    let sum = !genkan_tests::lab::sum::of(&ip[..header]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[track_caller]
fn refuse_frame(lab: &mut Lab, port: genkan_engine::PortId, frame: &Frame, reason: DropReason) {
    lab.take_drops();
    lab.send_frame(port, frame);
    assert_eq!(lab.take_drops(), [(reason, 1)]);
    lab.quiet();
}

#[test]
fn drop_frame_truncated() {
    let (mut lab, ..) = home();
    for length in 0..14 {
        lab.send_bytes(LAN, vec![0xff; length], Offload::default());
    }
    assert_eq!(lab.take_drops(), [(DropReason::FrameTruncated, 14)]);
}

#[test]
fn drop_vlan_tagged() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53));
    let offload = Offload { vlan_tci: Some(7), ..Offload::default() };
    lab.send_offloaded(pc, packet.clone(), offload);
    assert_eq!(lab.take_drops(), [(DropReason::VlanTagged, 1)]);
    let tagged = [&[0, 7, 8, 0][..], &packet.to_ip()].concat();
    let frame =
        Frame::new(mac_of(pc.address), router_mac(LAN), Body::Other { ethertype: 0x8100, bytes: tagged });
    refuse_frame(&mut lab, LAN, &frame, DropReason::VlanTagged);
}

#[test]
fn drop_not_our_mac() {
    let (mut lab, pc, web) = home();
    let body = Body::Ipv4(udp(pc.at(5000), web.at(53)));
    let frame = Frame::new(mac_of(pc.address), MacAddr([2, 9, 9, 9, 9, 9]), body);
    refuse_frame(&mut lab, LAN, &frame, DropReason::NotOurMac);
}

#[test]
fn drop_ipv6_not_supported() {
    let (mut lab, pc, _) = home();
    let frame = Frame::new(
        mac_of(pc.address),
        router_mac(LAN),
        Body::Other { ethertype: 0x86dd, bytes: vec![0x60; 40] },
    );
    refuse_frame(&mut lab, LAN, &frame, DropReason::Ipv6NotSupported);
}

#[test]
fn drop_unknown_ethertype() {
    let (mut lab, pc, _) = home();
    let frame = Frame::new(
        mac_of(pc.address),
        router_mac(LAN),
        Body::Other { ethertype: 0x88cc, bytes: vec![0; 46] },
    );
    refuse_frame(&mut lab, LAN, &frame, DropReason::UnknownEthertype);
}

#[test]
fn drop_arp_malformed() {
    let (mut lab, pc, _) = home();
    let whole = Arp::request(mac_of(pc.address), pc.address, ip("192.168.0.1")).to_bytes();
    let mut token_ring = whole.clone();
    token_ring[1] = 6;
    let mut long_addresses = whole.clone();
    long_addresses[4] = 8;
    for bytes in [whole[..27].to_vec(), token_ring, long_addresses] {
        let frame =
            Frame::new(mac_of(pc.address), MacAddr::BROADCAST, Body::Other { ethertype: 0x0806, bytes });
        refuse_frame(&mut lab, LAN, &frame, DropReason::ArpMalformed);
    }
}

#[test]
fn drop_arp_not_for_us() {
    let (mut lab, ..) = home();
    let mac = mac_of(ip("10.9.9.9"));
    let arp = Arp::request(mac, ip("10.9.9.9"), ip("10.9.9.1"));
    let frame = Frame::new(mac, MacAddr::BROADCAST, Body::Arp(arp));
    refuse_frame(&mut lab, LAN, &frame, DropReason::ArpNotForUs);
    assert_eq!(lab.take_arps(), []);
}

#[test]
fn drop_ip_version() {
    let (mut lab, pc, web) = home();
    refuse_bytes(&mut lab, pc, &udp(pc.at(5000), web.at(53)), DropReason::IpVersion, |ip| {
        ip[0] = 0x55;
        mend(ip);
    });
}

#[test]
fn drop_ip_header_length() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53));
    refuse_bytes(&mut lab, pc, &packet, DropReason::IpHeaderLength, |ip| ip[0] = 0x44);
    // Longer than the packet.
    refuse_bytes(&mut lab, pc, &packet, DropReason::IpHeaderLength, |ip| ip[0] = 0x4f);
}

#[test]
fn drop_ip_total_length() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53));
    for total in [0u16, 19, 33, 0xffff] {
        refuse_bytes(&mut lab, pc, &packet, DropReason::IpTotalLength, |ip| {
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            mend(ip);
        });
    }
}

#[test]
fn drop_ip_header_checksum() {
    let (mut lab, pc, web) = home();
    let packet = udp(pc.at(5000), web.at(53));
    refuse_bytes(&mut lab, pc, &packet, DropReason::IpHeaderChecksum, |ip| ip[10] ^= 0x80);
}

#[test]
fn drop_ip_option_malformed() {
    let (mut lab, pc, web) = home();
    // Length 0, length 1, longer than the header.
    for options in [[68, 0, 0, 0], [68, 1, 0, 0], [1, 1, 1, 68], [68, 9, 5, 0]] {
        lab.refuse(pc, udp(pc.at(5000), web.at(53)).options(&options), DropReason::IpOptionMalformed);
    }
}

#[test]
fn drop_source_route() {
    let (mut lab, pc, web) = home();
    // Loose source route, strict source route, record route (RFC 791); also behind other options.
    for options in [
        [131, 7, 4, 192, 0, 2, 1, 0],
        [137, 7, 4, 192, 0, 2, 1, 0],
        [7, 7, 4, 0, 0, 0, 0, 0],
        [1, 131, 7, 4, 192, 0, 2, 1],
    ] {
        lab.refuse(pc, udp(pc.at(5000), web.at(53)).options(&options), DropReason::SourceRoute);
    }
}

#[test]
fn drop_transport_truncated() {
    let (mut lab, pc, web) = home();
    for (protocol, length) in [(17, 0), (17, 7), (6, 0), (6, 19), (1, 0), (1, 7)] {
        let packet = raw(pc.address, web.address, protocol, &[0x50; 40][..length]);
        lab.refuse(pc, packet, DropReason::TransportTruncated);
    }
    // UDP length past the end and under 8; TCP data offset past the end and under 5.
    for length in [13u8, 7] {
        refuse_bytes(&mut lab, pc, &udp(pc.at(5000), web.at(53)), DropReason::TransportTruncated, |ip| {
            ip[25] = length
        });
    }
    for offset in [0x60, 0x40] {
        let syn = tcp(pc.at(40_000), web.at(80), Flags::SYN);
        refuse_bytes(&mut lab, pc, &syn, DropReason::TransportTruncated, |ip| ip[32] = offset);
    }
}

#[test]
fn drop_port_zero() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(pc.at(5000), web.at(0)), DropReason::PortZero);
    lab.refuse(pc, tcp(pc.at(40_000), web.at(0), Flags::SYN), DropReason::PortZero);
    lab.refuse(pc, tcp(pc.at(0), web.at(80), Flags::SYN), DropReason::PortZero);
    lab.refuse(web, udp(web.at(53), external(0)), DropReason::PortZero);
}

#[test]
fn drop_tcp_flags() {
    let (mut lab, pc, web) = home();
    let outside = lab.open_tcp(pc, 40_000, web, 80);
    // None, SYN+FIN, SYN+RST, with or without others.
    for flags in [0x00, 0x03, 0x06, 0x07, 0x13, 0x16, 0x2b] {
        lab.refuse(pc, tcp(pc.at(40_000), web.at(80), Flags(flags)), DropReason::TcpFlags);
        lab.refuse(web, tcp(web.at(80), outside, Flags(flags)), DropReason::TcpFlags);
    }
}

#[test]
fn drop_land() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(pc.at(5000), pc.at(5000)), DropReason::Land);
    lab.refuse(web, tcp(external(80), external(80), Flags::SYN), DropReason::Land);
}

#[test]
fn drop_source_zero() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(endpoint("0.0.0.0:5000"), web.at(53)), DropReason::SourceZero);
    lab.refuse(web, udp(endpoint("0.1.2.3:5000"), external(53)), DropReason::SourceZero);
}

#[test]
fn drop_source_loopback() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(endpoint("127.0.0.1:5000"), web.at(53)), DropReason::SourceLoopback);
    lab.refuse(web, udp(endpoint("127.255.0.1:5000"), external(53)), DropReason::SourceLoopback);
}

#[test]
fn drop_source_multicast() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(endpoint("224.0.0.251:5353"), web.at(53)), DropReason::SourceMulticast);
    lab.refuse(web, udp(endpoint("239.1.2.3:5353"), external(53)), DropReason::SourceMulticast);
}

#[test]
fn drop_source_broadcast() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, udp(endpoint("255.255.255.255:5"), web.at(53)), DropReason::SourceBroadcast);
    lab.refuse(pc, udp(endpoint("192.168.0.255:5"), web.at(53)), DropReason::SourceBroadcast);
    lab.refuse(web, udp(endpoint("240.0.0.1:5"), external(53)), DropReason::SourceBroadcast);
    lab.refuse(web, udp(endpoint("203.0.113.255:5"), external(53)), DropReason::SourceBroadcast);
}

#[test]
fn drop_source_ours() {
    let (mut lab, pc, web) = home();
    for source in ["192.168.0.1:5", "203.0.113.1:5", "192.168.1.1:5"] {
        lab.refuse(pc, udp(endpoint(source), web.at(53)), DropReason::SourceOurs);
    }
    let (mut lab, _, web) = scene(|plan| plan.wan.addresses.push(ip("203.0.113.5")));
    lab.refuse(web, udp(endpoint("203.0.113.5:7"), external(53)), DropReason::SourceOurs);
}

#[test]
fn drop_source_lan_from_wan() {
    let (mut lab, pc, web) = home();
    lab.refuse(web, udp(pc.at(7), external(53)), DropReason::SourceLanFromWan);
    lab.refuse(web, udp(endpoint("192.168.1.77:7"), external(53)), DropReason::SourceLanFromWan);
}

#[test]
fn drop_source_not_of_lan() {
    let (mut lab, pc, web) = home();
    for source in ["10.0.0.7:5", "192.168.1.100:5", "8.8.8.8:5"] {
        lab.refuse(pc, udp(endpoint(source), web.at(53)), DropReason::SourceNotOfLan);
    }
}

#[test]
fn drop_destination_not_unicast() {
    let (mut lab, pc, web) = home();
    for destination in ["224.0.0.251:5353", "255.255.255.255:67", "192.168.0.255:137", "203.0.113.255:9"] {
        lab.refuse(pc, udp(pc.at(5000), endpoint(destination)), DropReason::DestinationNotUnicast);
    }
    lab.refuse(web, udp(web.at(53), endpoint("203.0.113.255:9")), DropReason::DestinationNotUnicast);
    // To the group's MAC address as well.
    let group = MacAddr([1, 0, 0x5e, 0, 0, 0xfb]);
    let body = Body::Ipv4(udp(pc.at(5353), endpoint("224.0.0.251:5353")));
    refuse_frame(
        &mut lab,
        LAN,
        &Frame::new(mac_of(pc.address), group, body),
        DropReason::DestinationNotUnicast,
    );
}

#[test]
fn drop_not_ours() {
    let (mut lab, pc, web) = home();
    lab.refuse(web, udp(web.at(53), endpoint("203.0.113.77:53")), DropReason::NotOurs);
    lab.refuse(web, udp(web.at(53), pc.at(5000)), DropReason::NotOurs);
    lab.refuse(web, echo_request(web.address, ip("192.168.0.1"), 7), DropReason::NotOurs);
}

#[test]
fn drop_fragment_tiny() {
    let (mut lab, pc, web) = home();
    // A first fragment with less than its transport header (RFC 1858).
    for (protocol, length) in [(17, 0), (6, 16), (6, 8)] {
        let mut packet = raw(pc.address, web.address, protocol, &[0x50; 40][..length]);
        packet.more_fragments = true;
        lab.refuse(pc, packet, DropReason::FragmentTiny);
    }
    // Not a multiple of 8 octets, and not the last.
    let mut packet = udp(pc.at(5000), web.at(53)).data(&[0; 5]);
    packet.more_fragments = true;
    lab.refuse(pc, packet, DropReason::FragmentTiny);
}

#[test]
fn drop_fragment_overlap() {
    let (mut lab, pc, web) = home();
    let parts = udp(pc.at(5000), web.at(53)).id(1).data(&[0; 40]).fragments(16);
    lab.pass(pc, parts[0].clone(), web);
    lab.pass(pc, parts[1].clone(), web);
    let mut over = parts[2].clone();
    over.fragment_offset = 24;
    lab.refuse(pc, over, DropReason::FragmentOverlap);
    // Past 65,535 octets (the "ping of death").
    let mut far = raw(pc.address, web.address, 17, &[0; 100]).id(2);
    far.fragment_offset = 65_528;
    lab.refuse(pc, far, DropReason::FragmentOverlap);
}
