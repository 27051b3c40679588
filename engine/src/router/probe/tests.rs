//! Questions and answers at one router, without any network.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::super::tests::{MAC, NOW, plan, router};
use crate::frame::{Offload, PortId};
use crate::packet::build;
use crate::packet::parsed::{Kind, parse_ipv4};
use crate::packet::test_frames::assert_checksums;
use crate::plan::{ForwardRule, PortRange, Route};
use crate::presence::Presence;
use crate::probe::{MOST_PROBES, Probe, ProbeAnswer, ProbeKind};
use crate::router::Router;
use crate::sightings::{Sighting, Watched};
use crate::verdict::{DropReason, Verdict};
use crate::wire::arp;
use crate::wire::checksum;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::ipv4::Protocol;
use crate::wire::tcp::TcpFlags;

const LAN: PortId = PortId::lan(0);
const NAS: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);

fn probe(kind: ProbeKind, source: &str) -> Probe {
    let endpoint = |text: &str| text.parse::<SocketAddrV4>().expect("an endpoint");
    Probe {
        id: 0x1234_5678,
        port: LAN,
        kind,
        source: endpoint(source),
        target: endpoint("192.168.0.10:8080"),
        to: NAS,
    }
}

/// The only frame that the router has made.
fn made(router: &mut Router) -> Vec<u8> {
    let frame = router.poll_transmit().expect("it sends something");
    assert!(frame.port == LAN && router.poll_transmit().is_none());
    frame.bytes
}

fn comes(router: &mut Router, packet: &[u8]) -> Verdict {
    let mut frame = build::with_ethernet(packet, MAC, NAS);
    router.handle_frame(NOW, LAN, &mut frame.as_mut_slice(), Offload::default())
}

/// A SYN-ACK to `syn`.
fn accepted(syn: &[u8]) -> Vec<u8> {
    let parsed = parse_ipv4(syn).expect("it is IPv4");
    let source = SocketAddrV4::new(parsed.destination, parsed.destination_port);
    let destination = SocketAddrV4::new(parsed.source, parsed.source_port);
    let mut answer = build::syn(source, destination, 77);
    // SYN becomes SYN-ACK, and the checksum follows.
    answer[33] |= 0x10;
    let checksum = u16::from_be_bytes([answer[36], answer[37]]);
    let mended = if checksum > 0x10 { checksum - 0x10 } else { checksum.wrapping_sub(0x11) };
    answer[36..38].copy_from_slice(&mended.to_be_bytes());
    answer
}

#[test]
fn a_syn_is_sent_and_the_connection_refused_when_it_is_accepted() {
    for source in ["192.168.0.1:50000", "192.0.2.1:50000"] {
        let mut router = router(plan());
        assert!(router.probe(NOW, probe(ProbeKind::Tcp, source), true));
        let syn = made(&mut router);
        assert_checksums(&syn);
        let parsed = parse_ipv4(&syn).expect("it is IPv4");
        assert_eq!((parsed.kind, parsed.tcp_flags), (Kind::Tcp, TcpFlags::SYN));
        assert_eq!((&syn[..6], &syn[6..12]), (&NAS.0[..], &MAC.0[..]));

        assert_eq!(comes(&mut router, &accepted(&syn)), Verdict::Consumed);
        assert_eq!(router.poll_probe(), Some((0x1234_5678, ProbeAnswer::SynAck)));
        let reset = made(&mut router);
        assert_checksums(&reset);
        let parsed = parse_ipv4(&reset).expect("it is IPv4");
        assert!(parsed.tcp_flags.contains(TcpFlags::RST));
        assert_eq!(SocketAddrV4::new(parsed.source, parsed.source_port).to_string(), source);
        assert_eq!(&reset[..6], NAS.0);
        assert_eq!(router.session_count(), 0);
    }
}

#[test]
fn answers_to_strangers_leave_by_no_port_while_they_are_watched_for() {
    let mut plan = plan();
    // A forward would let its target's datagrams out by its own port.
    plan.forwards.push(ForwardRule {
        name: "game".into(),
        protocols: vec![Protocol::UDP],
        ports: vec![PortRange { external_first: 8080, external_last: 8080, internal_first: 8080 }],
        to: "192.168.0.10".parse().expect("an address"),
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    });
    let mut router = router(plan);
    let asked = probe(ProbeKind::Udp, "192.0.2.1:50000");
    assert!(router.probe(NOW, asked, true));
    assert_checksums(&made(&mut router));
    let answer = build::datagram(asked.target, asked.source, b"yes");
    for _ in 0..3 {
        assert_eq!(comes(&mut router, &answer), Verdict::Consumed);
        assert_eq!(router.poll_probe(), Some((asked.id, ProbeAnswer::Datagram)));
    }
    assert_eq!((router.session_count(), router.poll_transmit()), (0, None));
    // Another destination is an ordinary packet.
    let elsewhere = build::datagram(asked.target, "192.0.2.1:50001".parse().expect("an endpoint"), b"yes");
    comes(&mut router, &elsewhere);
    assert_eq!((router.session_count(), router.poll_probe()), (1, None));
    // And so is everything once it is over.
    let mut frame = build::with_ethernet(&answer, MAC, NAS);
    let later = NOW + ProbeKind::Udp.watch() + Duration::from_secs(1);
    router.handle_frame(later, LAN, &mut frame.as_mut_slice(), Offload::default());
    assert_eq!((router.session_count(), router.poll_probe()), (2, None));
}

#[test]
fn the_first_fragment_of_an_answer_takes_the_others_with_it() {
    let mut router = router(plan());
    let asked = probe(ProbeKind::Udp, "192.0.2.1:50000");
    assert!(router.probe(NOW, asked, false));
    let whole = build::datagram(asked.target, asked.source, &[7; 64]);
    let fragment = |from: usize, to: usize, more: u16| {
        let mut bytes = [&whole[..20], &whole[20 + from..20 + to]].concat();
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[6..8].copy_from_slice(&(more << 13 | (from / 8) as u16).to_be_bytes());
        bytes[10..12].fill(0);
        let sum = !checksum::sum_header(bytes.first_chunk().expect("a header"));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    assert_eq!(comes(&mut router, &fragment(0, 40, 1)), Verdict::Consumed);
    assert_eq!(router.poll_probe(), Some((asked.id, ProbeAnswer::Datagram)));
    comes(&mut router, &fragment(40, 72, 0));
    assert_eq!((router.session_count(), router.poll_transmit()), (0, None));
}

#[test]
fn errors_and_echoes_are_told_apart() {
    let mut router = router(plan());
    let udp = probe(ProbeKind::Udp, "192.168.0.1:50000");
    let echo = Probe { id: 5, ..probe(ProbeKind::Echo, "192.0.2.1:777") };
    assert!(router.probe(NOW, udp, true));
    let question = made(&mut router);
    assert!(router.probe(NOW, echo, true));
    assert_checksums(&made(&mut router));
    let kind = build::IcmpErrorKind::Unreachable { code: 3 };
    let (nas, us) = (*udp.target.ip(), *udp.source.ip());
    assert_eq!(comes(&mut router, &build::icmp_error(kind, &question[14..], nas, us)), Verdict::Consumed);
    assert_eq!(router.poll_probe(), Some((udp.id, ProbeAnswer::IcmpError(3, 3))));

    let mut request = build::with_ethernet(&build::echo_request(*echo.source.ip(), nas, 777), MAC, NAS);
    build::echo_reply_in_place(&mut request);
    assert_eq!(comes(&mut router, &request[14..]), Verdict::Consumed);
    assert_eq!(router.poll_probe(), Some((5, ProbeAnswer::EchoReply)));
    // Another's is none.
    let mut other = build::with_ethernet(&build::echo_request(*echo.source.ip(), nas, 778), MAC, NAS);
    build::echo_reply_in_place(&mut other);
    assert_eq!(comes(&mut router, &other[14..]), Verdict::Drop(DropReason::IcmpNoSession));
}

#[test]
fn arp_tells_who_is_there_and_whom_the_target_looks_for() {
    let mut router = router(plan());
    assert!(router.probe(NOW, probe(ProbeKind::Arp, "192.168.0.1:0"), true));
    let request = arp::Repr::parse(&made(&mut router)[ethernet::HEADER_LEN..]).expect("ARP");
    assert_eq!(request.target_ip.to_string(), "192.168.0.10");
    let says = |router: &mut Router, operation, target: &str| {
        let packet = arp::Repr {
            operation,
            sender_mac: NAS,
            sender_ip: request.target_ip,
            target_mac: MAC,
            target_ip: target.parse().expect("an address"),
        };
        let mut frame = build::arp_frame(&packet, MacAddr::BROADCAST);
        router.handle_frame(NOW, LAN, &mut frame.as_mut_slice(), Offload::default());
        router.poll_probe()
    };
    let reply = says(&mut router, arp::Operation::Reply, "192.168.0.1");
    assert_eq!(reply, Some((0x1234_5678, ProbeAnswer::Arp(NAS))));
    // RFC 5227 section 2.1.1: also by what it asks others.
    let request = says(&mut router, arp::Operation::Request, "192.168.0.254");
    assert_eq!(request, Some((0x1234_5678, ProbeAnswer::Arp(NAS))));

    assert!(router.probe(NOW, Probe { id: 9, ..probe(ProbeKind::Tcp, "192.0.2.1:50000") }, false));
    let other = says(&mut router, arp::Operation::Request, "192.168.0.254");
    assert_eq!(other, Some((0x1234_5678, ProbeAnswer::Arp(NAS))));
    assert_eq!(
        router.poll_probe(),
        Some((9, ProbeAnswer::AsksFor("192.168.0.254".parse().expect("an address"))))
    );
    // Not who asks for us, and not who speaks of itself.
    for target in ["192.168.0.1", "192.168.0.10"] {
        let request = says(&mut router, arp::Operation::Request, target);
        assert_eq!(request, Some((0x1234_5678, ProbeAnswer::Arp(NAS))));
        assert_eq!(router.poll_probe(), None);
    }
}

#[test]
fn so_many_are_watched_for_and_no_more() {
    let mut router = router(plan());
    let one = |id| Probe { id, ..probe(ProbeKind::Tcp, "192.0.2.1:50000") };
    for id in 0..MOST_PROBES as u64 {
        assert!(router.probe(NOW, one(id), false));
    }
    assert!(router.probe(NOW, one(0), true), "the same one again");
    assert!(!router.probe(NOW, one(u64::MAX), true));
    assert!(router.probe(NOW + ProbeKind::Tcp.watch(), one(u64::MAX), false));
    let nowhere = Probe { port: PortId::HOST, ..one(1) };
    assert!(!router.probe(NOW, nowhere, true));
}

#[test]
fn who_has_an_address_is_asked_by_arp() {
    let mut router = router(plan());
    let address = "192.168.0.77".parse().expect("an address");
    assert!(router.ask_presence(NOW, LAN, address, true));
    let request = arp::Repr::parse(&made(&mut router)[ethernet::HEADER_LEN..]).expect("ARP");
    assert_eq!((request.target_ip, request.operation), (address, arp::Operation::Request));
    assert_eq!(router.poll_presence(), None);
    let reply = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: NAS,
        sender_ip: address,
        target_mac: MAC,
        target_ip: request.sender_ip,
    };
    let mut frame = build::arp_frame(&reply, MAC);
    router.handle_frame(NOW, LAN, &mut frame.as_mut_slice(), Offload::default());
    assert_eq!(router.poll_presence(), Some(Presence { port: LAN, address, mac: Some(NAS) }));
    // Our own, and what is not behind that lan.
    for other in ["192.168.0.1", "192.0.2.9"] {
        assert!(!router.ask_presence(NOW, LAN, other.parse().expect("an address"), true));
    }
    assert!(!router.ask_presence(NOW, PortId::WAN, address, true));
}

#[test]
fn a_known_device_that_announces_another_address_is_seen() {
    let mut router = router(plan());
    let [old, new] = ["192.168.0.77", "192.168.0.78"].map(|text| text.parse().expect("an address"));
    assert_eq!(router.watch_devices(&[Watched { mac: NAS, address: Some(old) }]), 1);
    let mut announce = |port, mac, address| {
        let announcement = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac,
            sender_ip: address,
            target_mac: MacAddr::ZERO,
            target_ip: address,
        };
        let mut frame = build::arp_frame(&announcement, MacAddr::BROADCAST);
        router.handle_frame(NOW, port, &mut frame.as_mut_slice(), Offload::default());
        router.poll_sighting()
    };
    assert_eq!(announce(PortId::WAN, NAS, new), None, "it is no device of a lan there");
    assert_eq!(announce(LAN, NAS, "192.168.0.1".parse().expect("ours")), None);
    assert_eq!(announce(LAN, NAS, "198.51.100.1".parse().expect("not there")), None);
    assert_eq!(announce(LAN, NAS, new), Some(Sighting { port: LAN, mac: NAS, address: new }));
    let stranger = MacAddr([2, 0, 0, 0, 0, 0x99]);
    assert_eq!(announce(LAN, stranger, new), None);
    assert_eq!(announce(LAN, stranger, old), Some(Sighting { port: LAN, mac: stranger, address: old }));
}

#[test]
fn behind_a_router_of_the_lan_it_is_asked_by_echo() {
    let (to, via) = ("10.1.0.0/24".parse().expect("a network"), "192.168.0.2".parse().expect("an address"));
    let mut router = router(crate::Plan { routes: vec![Route { to, via }], ..plan() });
    let address = "10.1.0.7".parse().expect("an address");
    assert!(router.ask_presence(NOW, LAN, address, true));
    let request = arp::Repr::parse(&made(&mut router)[ethernet::HEADER_LEN..]).expect("ARP for the next hop");
    assert_eq!(request.target_ip, via);
    let reply = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: NAS,
        sender_ip: via,
        target_mac: MAC,
        target_ip: request.sender_ip,
    };
    let mut frame = build::arp_frame(&reply, MAC);
    router.handle_frame(NOW, LAN, &mut frame.as_mut_slice(), Offload::default());
    let mut echo = made(&mut router);
    assert_checksums(&echo);
    assert_eq!(parse_ipv4(&echo).expect("it is IPv4").destination, address);
    build::echo_reply_in_place(&mut echo);
    assert_eq!(comes(&mut router, &echo[14..]), Verdict::Consumed);
    assert_eq!(router.poll_presence(), Some(Presence { port: LAN, address, mac: None }));
}
