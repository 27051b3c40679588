//! The door between the router and its own DHCP and DNS: what comes in for them, and what they say.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::local_datagram::{LocalDatagram, LocalSend, MOST_WAITING, Service};
use genkan_engine::plan::{LocalService, Plan, Route};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{DropReason, GsoKind, Offload, PortId};
use genkan_tests::lab::craft::udp;
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, host_entry};
use genkan_tests::lab::{Arp, Body, Checksum, Frame, GUEST, Host, LAN, Lab, Packet, WAN, mac_of, router_mac};

use crate::common::{endpoint, external, ip, scene, secs};

const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
const EVERYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const CLIENT_MAC: MacAddr = MacAddr([2, 0xc1, 0, 0, 0, 1]);

const fn on(service: Service, port: PortId) -> LocalService {
    LocalService { service, port }
}

fn services(plan: &mut Plan) {
    plan.services = vec![
        on(Service::DhcpClient, WAN),
        on(Service::DhcpServer, LAN),
        on(Service::Dns, LAN),
        on(Service::Dns, GUEST),
    ];
}

fn served() -> (Lab, Host, Host) {
    scene(services)
}

fn frame(from: MacAddr, to: MacAddr, packet: Packet) -> Frame {
    Frame::new(from, to, Body::Ipv4(packet))
}

/// A BOOTREPLY to this link address (RFC 951 §3).
fn reply_to(mac: MacAddr) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[0] = 2;
    message[28..34].copy_from_slice(&mac.0);
    message
}

/// What a service says to a lan from the router's address there.
fn from_lan(service: Service, destination: SocketAddrV4) -> LocalSend {
    let payload = b"said".to_vec();
    LocalSend { service, port: LAN, source: ROUTER, destination, to: None, payload }
}

fn drops_of(lab: &mut Lab, port: PortId, frame: &Frame) -> Vec<(DropReason, u64)> {
    lab.send_frame(port, frame);
    assert_eq!(lab.hear(), []);
    lab.take_drops()
}

#[test]
fn a_host_without_an_address_is_heard() {
    let (mut lab, ..) = served();
    let discover = udp(NOBODY, EVERYBODY).data(b"discover");
    for to in [MacAddr::BROADCAST, router_mac(LAN)] {
        lab.send_frame(LAN, &frame(CLIENT_MAC, to, discover.clone()));
        let heard = LocalDatagram {
            service: Service::DhcpServer,
            port: LAN,
            mac: CLIENT_MAC,
            source: NOBODY,
            destination: EVERYBODY,
            payload: b"discover".to_vec(),
        };
        assert_eq!(lab.hear(), [heard]);
    }
    assert_eq!((lab.take_drops(), lab.stage("local_received")), (vec![], 2));
    lab.quiet();
}

/// RFC 2131 table 4: who is rebinding asks everybody, from the address that it has.
#[test]
fn a_host_with_an_address_of_another_network_is_heard_when_it_asks_everybody() {
    let (mut lab, pc, _) = served();
    for (source, heard) in
        [("10.7.7.7:68", 1), ("192.168.0.1:68", 0), ("203.0.113.1:68", 0), ("224.0.0.1:68", 0)]
    {
        let asked = frame(mac_of(pc.address), MacAddr::BROADCAST, udp(endpoint(source), EVERYBODY));
        lab.send_frame(LAN, &asked);
        assert_eq!(lab.hear().len(), heard, "{source}");
        lab.take_drops();
    }
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn the_directed_broadcast_is_for_the_server_too() {
    let (mut lab, pc, _) = served();
    let asked = udp(pc.at(68), endpoint("192.168.0.255:67"));
    lab.send_frame(LAN, &frame(mac_of(pc.address), MacAddr::BROADCAST, asked));
    assert_eq!(lab.hear().len(), 1);
    // That of another lan is not.
    let asked = udp(pc.at(68), endpoint("192.168.1.255:67"));
    let asked = frame(mac_of(pc.address), MacAddr::BROADCAST, asked);
    assert_eq!(drops_of(&mut lab, LAN, &asked), [(DropReason::DestinationNotUnicast, 1)]);
}

#[test]
fn a_renewal_and_a_relay_speak_to_our_address() {
    let (mut lab, pc, _) = scene(|plan| {
        services(plan);
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.0.254") });
    });
    let relay = lab.lan_host("10.20.0.1");
    let server = SocketAddrV4::new(ROUTER, 67);
    for source in [pc.at(68), relay.at(67)] {
        let host = Host { port: LAN, address: *source.ip() };
        lab.send(host, udp(source, server));
        let heard = lab.hear();
        assert_eq!((heard.len(), heard[0].source, heard[0].destination), (1, source, server));
        assert_eq!(
            heard[0].mac,
            if host == relay { mac_of(ip("192.168.0.254")) } else { mac_of(pc.address) }
        );
    }
    // Somebody who says he is elsewhere.
    lab.drop_at(pc, udp(endpoint("10.99.0.1:67"), server), DropReason::SourceNotOfLan);
    assert_eq!((lab.hear(), lab.router.session_count()), (vec![], 0));
}

#[test]
fn names_are_asked_at_every_lan_address_of_ours() {
    let (mut lab, pc, _) = served();
    let guest = lab.host(GUEST, "192.168.1.100");
    for (host, port) in [(pc, LAN), (guest, GUEST)] {
        for own in ["192.168.0.1:53", "192.168.1.1:53"] {
            lab.send(host, udp(host.at(5000), endpoint(own)));
            let heard = lab.hear();
            assert_eq!((heard.len(), heard[0].service, heard[0].port), (1, Service::Dns, port));
        }
    }
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 53);
    let asked = frame(mac_of(pc.address), MacAddr::BROADCAST, udp(pc.at(5000), everybody));
    assert_eq!(drops_of(&mut lab, LAN, &asked), [(DropReason::DestinationNotUnicast, 1)]);
    lab.drop_at(pc, udp(pc.at(5000), endpoint("192.168.0.1:54")), DropReason::NoService);
}

#[test]
fn names_are_asked_beside_the_box() {
    let (mut lab, pc, _) = scene(|plan| {
        services(plan);
        plan.host_port = true;
    });
    lab.send(pc, udp(pc.at(5000), endpoint("192.168.0.1:53")));
    assert_eq!((lab.hear().len(), lab.router.session_count()), (1, 0));
}

#[test]
fn a_service_that_is_switched_on_takes_over_from_the_box() {
    let (mut lab, pc, _) = scene(|plan| plan.host_port = true);
    let boxed = lab.host(PortId::HOST, "192.168.0.1");
    let asked = udp(pc.at(5000), boxed.at(53));
    lab.pass(pc, asked.clone(), boxed);
    lab.change(services);
    lab.send(pc, asked.clone());
    assert_eq!(lab.hear().len(), 1);
    lab.quiet();
    lab.change(|plan| plan.services.clear());
    lab.pass(pc, asked, boxed);
}

#[test]
fn a_lan_without_the_service_is_not_heard() {
    let (mut lab, ..) = served();
    let guest = lab.host(GUEST, "192.168.1.100");
    let discover = frame(CLIENT_MAC, MacAddr::BROADCAST, udp(NOBODY, EVERYBODY));
    assert_eq!(drops_of(&mut lab, GUEST, &discover), [(DropReason::DestinationNotUnicast, 1)]);
    let discover = frame(CLIENT_MAC, router_mac(GUEST), udp(NOBODY, EVERYBODY));
    assert_eq!(drops_of(&mut lab, GUEST, &discover), [(DropReason::SourceZero, 1)]);
    lab.drop_at(guest, udp(guest.at(68), endpoint("192.168.1.1:67")), DropReason::NoService);
}

#[test]
fn all_is_as_before_without_services() {
    let (mut lab, pc, web) = scene(|_| {});
    let discover = frame(CLIENT_MAC, MacAddr::BROADCAST, udp(NOBODY, EVERYBODY));
    assert_eq!(drops_of(&mut lab, LAN, &discover), [(DropReason::DestinationNotUnicast, 1)]);
    lab.drop_at(pc, udp(pc.at(5000), endpoint("192.168.0.1:53")), DropReason::NoService);
    assert_eq!(lab.received(pc).len(), 1);
    let offer = udp(web.at(67), external(68)).data(&reply_to(router_mac(WAN)));
    lab.refuse(web, offer, DropReason::NoMapping);
    let say = from_lan(Service::Dns, pc.at(5000));
    assert_eq!(lab.say(&say), Err(DropReason::PlanChanged));
}

#[test]
fn nobody_outside_reaches_the_services_inside() {
    let (mut lab, _, web) = served();
    for port in [53, 67] {
        lab.refuse(web, udp(web.at(5000), external(port)), DropReason::NoMapping);
        let to_lan = udp(web.at(5000), SocketAddrV4::new(ROUTER, port));
        lab.refuse(web, to_lan, DropReason::NotOurs);
        for source in [NOBODY, web.at(68), endpoint("192.168.0.100:68")] {
            for mac in [MacAddr::BROADCAST, router_mac(WAN)] {
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
                lab.send_frame(WAN, &frame(CLIENT_MAC, mac, udp(source, everybody)));
            }
        }
        assert_eq!(lab.take_drops().iter().map(|(_, count)| count).sum::<u64>(), 6);
    }
    assert_eq!(lab.hear(), []);
}

#[test]
fn the_client_hears_a_server_before_it_has_an_address() {
    let (mut lab, _, _) = served();
    let (server, server_mac) = (endpoint("203.0.113.2:67"), mac_of(ip("203.0.113.2")));
    let ours = router_mac(WAN);
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
    // To everybody; to the address that is offered; to the one that we have; from a server that has addresses of our lan.
    for (mac, source, destination) in [
        (MacAddr::BROADCAST, server, everybody),
        (ours, server, everybody),
        (ours, server, endpoint("203.0.113.77:68")),
        (ours, server, external(68)),
        (MacAddr::BROADCAST, endpoint("192.168.0.7:67"), everybody),
    ] {
        let offer = udp(source, destination).data(&reply_to(ours));
        lab.send_frame(WAN, &frame(server_mac, mac, offer));
        let heard = lab.hear();
        assert_eq!(heard.len(), 1, "{source} {destination}");
        assert_eq!((heard[0].service, heard[0].mac), (Service::DhcpClient, server_mac));
    }
    assert_eq!(lab.take_drops(), []);
}

#[test]
fn the_client_hears_nothing_that_is_for_others() {
    let (mut lab, _, web) = served();
    let server = endpoint("203.0.113.2:67");
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
    let mut request = reply_to(router_mac(WAN));
    request[0] = 1;
    for message in [reply_to(CLIENT_MAC), request, vec![2], vec![]] {
        let offer = frame(CLIENT_MAC, MacAddr::BROADCAST, udp(server, everybody).data(&message));
        assert_eq!(drops_of(&mut lab, WAN, &offer), [(DropReason::DestinationNotUnicast, 1)]);
        lab.refuse(web, udp(web.at(67), external(68)).data(&message), DropReason::NoMapping);
    }
    let to_other = udp(server, everybody).data(&reply_to(router_mac(WAN)));
    let to_other = frame(CLIENT_MAC, MacAddr([2, 9, 9, 9, 9, 9]), to_other);
    assert_eq!(drops_of(&mut lab, WAN, &to_other), [(DropReason::NotOurMac, 1)]);
}

#[test]
fn a_reply_to_our_request_goes_before_every_rule() {
    let (mut lab, ..) = scene(|plan| {
        services(plan);
        plan.dmz = Some(ip("192.168.0.100"));
        plan.wan.addresses.push(EXTERNAL_2);
        let mut nas = host_entry("nas", "192.168.0.10");
        nas.external = Some(EXTERNAL_2);
        plan.hosts.push(nas);
    });
    let server = lab.wan_host("203.0.113.2");
    for to in [external(68), SocketAddrV4::new(EXTERNAL_2, 68)] {
        lab.send(server, udp(server.at(67), to).data(&reply_to(router_mac(WAN))));
        assert_eq!(lab.hear().len(), 1);
    }
    lab.quiet();
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn the_port_of_the_client_is_nobody_elses() {
    let (mut lab, pc, web) = scene(|plan| {
        services(plan);
        plan.nat.ports = 1..=1023;
    });
    assert_eq!(lab.pass(pc, udp(pc.at(67), web.at(53)), web).from(), external(67));
    assert_ne!(lab.pass(pc, udp(pc.at(68), web.at(53)), web).from(), external(68));
}

#[test]
fn an_answer_needs_no_arp_where_the_link_address_is_known() {
    let (mut lab, ..) = served();
    let offered = endpoint("192.168.0.150:68");
    lab.take_arps();
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
    for (destination, to, mac) in
        [(offered, Some(CLIENT_MAC), CLIENT_MAC), (everybody, None, MacAddr::BROADCAST)]
    {
        lab.say(&LocalSend { to, ..from_lan(Service::DhcpServer, destination) }).unwrap();
        let lost = lab.take_lost();
        let [(LAN, sent)] = &lost[..] else { panic!("{lost:?}") };
        assert_eq!(sent.destination, mac);
        let Body::Ipv4(packet) = &sent.body else { panic!("{sent:?}") };
        assert_eq!((packet.from(), packet.to()), (SocketAddrV4::new(ROUTER, 67), destination));
        assert_eq!((packet.payload_data(), packet.checksum()), (&b"said"[..], Checksum::Right));
    }
    assert_eq!((lab.take_arps(), lab.stage("local_sent")), (vec![], 2));
}

#[test]
fn other_answers_find_their_way_by_route_and_arp() {
    let (mut lab, pc, _) = scene(|plan| {
        services(plan);
        plan.routes.push(Route { to: "10.20.0.0/16".parse().unwrap(), via: ip("192.168.0.254") });
    });
    let relay = lab.lan_host("10.20.0.1");
    lab.say(&from_lan(Service::Dns, pc.at(5000))).unwrap();
    assert_eq!(lab.receive(pc).from(), SocketAddrV4::new(ROUTER, 53));
    lab.say(&from_lan(Service::DhcpServer, relay.at(67))).unwrap();
    assert_eq!(lab.receive(relay).from(), SocketAddrV4::new(ROUTER, 67));
    // Not by another port, and not where there is no way.
    let guest = lab.host(GUEST, "192.168.1.100");
    for destination in [guest.at(5000), endpoint("198.51.100.7:5000")] {
        assert_eq!(lab.say(&from_lan(Service::Dns, destination)), Err(DropReason::NoRoute));
    }
    lab.quiet();
}

#[test]
fn nobody_is_told_when_an_answer_finds_nobody() {
    let (mut lab, pc, _) = scene(|plan| {
        services(plan);
        plan.host_port = true;
    });
    lab.answer_arp(pc, false);
    let say = from_lan(Service::Dns, pc.at(5000));
    lab.say(&say).unwrap();
    lab.advance(secs(10));
    assert_eq!(lab.take_drops(), [(DropReason::HostUnreachable, 1)]);
    lab.quiet();
}

#[test]
fn an_answer_that_waits_survives_a_change_that_leaves_its_service_on() {
    for stays_on in [true, false] {
        let (mut lab, pc, _) = served();
        lab.answer_arp(pc, false);
        let say = from_lan(Service::Dns, pc.at(5000));
        lab.say(&say).unwrap();
        lab.change(|plan| {
            plan.wan.ping = false;
            if !stays_on {
                plan.services.clear();
            }
        });
        lab.answer_arp(pc, true);
        lab.advance(secs(5));
        assert_eq!(lab.received(pc).len(), usize::from(stays_on));
        let drops = if stays_on { vec![] } else { vec![(DropReason::PlanChanged, 1)] };
        assert_eq!(lab.take_drops(), drops);
    }
}

#[test]
fn the_client_asks_from_nowhere() {
    let (mut lab, ..) = served();
    let everybody = endpoint("255.255.255.255:67");
    let say = |service, source| LocalSend { port: WAN, source, ..from_lan(service, everybody) };
    lab.say(&say(Service::DhcpClient, Ipv4Addr::UNSPECIFIED)).unwrap();
    let lost = lab.take_lost();
    let [(WAN, sent)] = &lost[..] else { panic!("{lost:?}") };
    let Body::Ipv4(packet) = &sent.body else { panic!("{sent:?}") };
    assert_eq!((sent.destination, packet.from(), packet.to()), (MacAddr::BROADCAST, NOBODY, everybody));
    lab.say(&say(Service::DhcpClient, EXTERNAL)).unwrap();
    lab.take_lost();
    for (service, source) in [(Service::DhcpClient, ROUTER), (Service::Dns, EXTERNAL)] {
        assert_eq!(lab.say(&say(service, source)), Err(DropReason::PlanChanged));
    }
}

#[test]
fn a_wan_gets_its_address_by_the_client() {
    let (mut lab, pc, _) = scene(|plan| {
        services(plan);
        plan.wan.address = "0.0.0.0/32".parse().unwrap();
        plan.wan.gateway = None;
    });
    assert!(lab.take_arps().iter().all(|(port, _)| *port != WAN));
    let server = lab.wan_host("203.0.113.2");
    let say = from_lan(Service::DhcpClient, EVERYBODY);
    lab.say(&LocalSend { port: WAN, source: Ipv4Addr::UNSPECIFIED, ..say }).unwrap();
    assert_eq!(lab.take_lost().len(), 1);
    let offer = udp(server.at(67), external(68)).data(&reply_to(router_mac(WAN)));
    lab.send(server, offer);
    assert_eq!(lab.hear().len(), 1);
    // Nothing else comes in or goes out, and nobody is told that we are nobody.
    lab.send_frame(
        WAN,
        &Frame::new(
            mac_of(server.address),
            MacAddr::BROADCAST,
            Body::Arp(Arp::request(mac_of(server.address), Ipv4Addr::UNSPECIFIED, EXTERNAL)),
        ),
    );
    assert_eq!(lab.take_drops(), [(DropReason::ArpNotForUs, 1)]);
    lab.refuse(server, udp(server.at(53), external(5000)), DropReason::NotOurs);
    lab.drop_at(pc, udp(pc.at(5000), server.at(53)), DropReason::NoRoute);
    lab.received(pc);
    lab.take_events();
    lab.change(|plan| plan.wan.address = "203.0.113.1/24".parse().unwrap());
    assert_eq!(lab.take_arps().iter().filter(|(port, _)| *port == WAN).count(), 1);
    assert_eq!(lab.pass(pc, udp(pc.at(5000), server.at(53)), server).from(), external(5000));
    lab.change(|plan| plan.wan.address = "0.0.0.0/32".parse().unwrap());
    lab.drop_at(pc, udp(pc.at(5000), server.at(53)), DropReason::NoRoute);
    lab.received(pc);
    lab.refuse(server, udp(server.at(53), external(5000)), DropReason::NotOurs);
}

#[test]
fn what_is_longer_than_the_mtu_is_refused() {
    let (mut lab, pc, _) = served();
    let mut say = from_lan(Service::Dns, pc.at(5000));
    say.payload = vec![7; 1472];
    lab.say(&say).unwrap();
    assert_eq!(lab.receive(pc).payload_data().len(), 1472);
    say.payload.push(7);
    assert_eq!(lab.say(&say), Err(DropReason::FragmentationNeeded));
    assert_eq!(lab.take_drops(), [(DropReason::FragmentationNeeded, 1)]);
}

#[test]
fn a_super_frame_is_many_datagrams() {
    let (mut lab, pc, _) = served();
    let asked = udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)).data(&[7; 250]);
    let asked = asked.with_checksum(Checksum::Partial);
    let offload =
        Offload { partial_checksum: true, gso: GsoKind::UdpL4, gso_size: 100, ..Offload::default() };
    lab.send_offloaded(pc, asked.clone(), offload);
    assert_eq!(lab.hear().iter().map(|heard| heard.payload.len()).collect::<Vec<_>>(), [100, 100, 50]);
    lab.send_offloaded(pc, asked, Offload { partial_checksum: true, ..Offload::default() });
    assert_eq!(lab.hear().len(), 1);
}

#[test]
fn what_waits_for_a_service_that_is_off_is_forgotten() {
    let (mut lab, pc, _) = served();
    lab.send(pc, udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)));
    lab.send(pc, udp(pc.at(68), SocketAddrV4::new(ROUTER, 67)));
    lab.change(|plan| plan.services.retain(|on| on.service != Service::Dns));
    assert_eq!(lab.hear().iter().map(|heard| heard.service).collect::<Vec<_>>(), [Service::DhcpServer]);
    lab.drop_at(pc, udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)), DropReason::NoService);
}

#[test]
fn drop_local_queue_full() {
    let (mut lab, pc, _) = served();
    // One host is one worker's.
    for _ in 0..MOST_WAITING + 3 {
        lab.send(pc, udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)));
    }
    assert_eq!(lab.take_drops(), [(DropReason::LocalQueueFull, 3)]);
    // The others have queues of their own.
    lab.send(pc, udp(pc.at(68), SocketAddrV4::new(ROUTER, 67)));
    assert_eq!(lab.hear().len(), MOST_WAITING + 1);
    lab.send(pc, udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)));
    assert_eq!((lab.hear().len(), lab.take_drops()), (1, vec![]));
}

#[test]
fn drop_local_fragment() {
    let (mut lab, pc, _) = served();
    let asked = udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53)).data(&[7; 64]);
    for (first, reason) in [(true, DropReason::LocalFragment), (false, DropReason::FragmentUnmatched)] {
        let parts = asked.clone().id(7).fragments(32);
        let part = parts.into_iter().nth(usize::from(!first)).expect("several fragments");
        lab.drop_at(pc, part, reason);
    }
    let mut everybody = udp(NOBODY, EVERYBODY).data(&[7; 16]);
    everybody.more_fragments = true;
    let everybody = frame(CLIENT_MAC, MacAddr::BROADCAST, everybody);
    assert_eq!(drops_of(&mut lab, LAN, &everybody), [(DropReason::LocalFragment, 1)]);
}

#[test]
fn drop_local_checksum() {
    let (mut lab, pc, _) = served();
    let asked = udp(pc.at(5000), SocketAddrV4::new(ROUTER, 53));
    lab.drop_at(pc, asked.clone().with_checksum(Checksum::Off(1)), DropReason::LocalChecksum);
    lab.send(pc, asked.with_checksum(Checksum::None));
    assert_eq!(lab.hear().len(), 1);
}
