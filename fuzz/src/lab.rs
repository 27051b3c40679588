//! Inputs of the router over time. Packets are made from a small world, so that they meet each other's sessions;
//! the lab around the router checks everything that leaves it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use genkan_engine::plan::{FilteringBehavior, MappingBehavior, Plan, Route};
use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{GsoKind, Offload, PortId, UnixTime};
use genkan_tests::lab::clock::WALL_START;
use genkan_tests::lab::plan::{EXTERNAL_2, forward, home, host_entry};
use genkan_tests::lab::{Arp, Body, Flags, Frame, GUEST, LAN, Lab, Packet, WAN, craft, mac_of, router_mac};

/// Most steps that are taken: longer inputs find nothing that shorter ones do not.
const STEPS: usize = 96;

/// Plays a timeline.
///
/// # Panics
/// On a bug of the router, which includes everything that the lab checks on frames that leave it.
pub fn check(octets: &[u8]) {
    if let Ok(timeline) = Timeline::arbitrary_take_rest(Unstructured::new(octets)) {
        timeline.run();
    }
}

/// A plan and what happens to the router.
#[derive(Arbitrary, Debug)]
struct Timeline {
    plan: Choices,
    steps: Vec<Step>,
}

/// Which parts of the plan are there.
#[derive(Arbitrary, Clone, Debug)]
struct Choices {
    mapping: u8,
    filtering: u8,
    flags: u16,
    forward_target: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Send { port: u8, packet: Template, offload: u8, change: Option<(u16, u8)> },
    Octets { port: u8, bytes: Vec<u8> },
    Ask { port: u8, sender: u8, target: u8, request: bool },
    Wait { millis: u16, scale: u8 },
    Reload(Choices),
    Link { port: u8, up: bool, small_mtu: bool },
}

#[derive(Arbitrary, Debug)]
enum Template {
    Udp { ends: Ends, length: u16 },
    Tcp { ends: Ends, flags: u8, mss: Option<u16>, length: u8 },
    Echo { ends: Ends, reply: bool, identifier: u8 },
    Other { ends: Ends, protocol: u8, length: u8 },
    Error { ends: Ends, kind: u8, code: u8, quoted: Box<Template>, cut: u8 },
    Part { of: Box<Template>, id: u8, unit: u8, index: u8 },
}

#[derive(Arbitrary, Debug)]
struct Ends {
    source: u8,
    destination: u8,
    ports: u8,
    ttl: u8,
}

const ADDRESSES: [[u8; 4]; 16] = [
    [192, 168, 0, 9],
    [192, 168, 0, 10],
    [198, 51, 100, 7],
    [203, 0, 113, 1],
    [192, 0, 2, 9],
    [203, 0, 113, 5],
    [192, 168, 1, 9],
    [203, 0, 113, 2],
    [192, 168, 0, 1],
    [10, 20, 1, 1],
    [203, 0, 113, 99],
    [192, 168, 0, 255],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
    [0, 0, 0, 0],
    [127, 0, 0, 1],
];

const PORTS: [u16; 8] = [5000, 53, 80, 7000, 40_000, 1024, 65_535, 0];

fn address(choice: u8) -> Ipv4Addr {
    // The first ones more often: they have sessions with each other.
    ADDRESSES[usize::from(if choice < 192 { choice % 8 } else { choice % 16 })].into()
}

fn port_of(choice: u8) -> PortId {
    [WAN, LAN, GUEST, PortId::HOST][usize::from(choice % 4)]
}

impl Ends {
    fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(address(self.source), PORTS[usize::from(self.ports & 7)])
    }

    fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(address(self.destination), PORTS[usize::from(self.ports >> 3 & 7)])
    }

    fn dress(&self, packet: Packet) -> Packet {
        let packet = packet.ttl(if self.ttl < 8 { self.ttl } else { 64 });
        if self.ports & 0x80 != 0 { packet.dont_fragment() } else { packet }
    }
}

impl Template {
    fn packet(&self) -> Packet {
        match self {
            Template::Udp { ends, length } => {
                ends.dress(craft::udp(ends.source(), ends.destination()).data(&vec![
                    7;
                    usize::from(
                        length % 3000
                    )
                ]))
            }
            Template::Tcp { ends, flags, mss, length } => {
                let segment = craft::tcp(ends.source(), ends.destination(), Flags(*flags));
                let segment = segment.data(&vec![7; usize::from(*length)]);
                ends.dress(mss.map_or(segment.clone(), |mss| segment.mss(mss)))
            }
            Template::Echo { ends, reply, identifier } => {
                let make = if *reply { craft::echo_reply } else { craft::echo_request };
                ends.dress(make(*ends.source().ip(), *ends.destination().ip(), u16::from(identifier & 3)))
            }
            Template::Other { ends, protocol, length } => {
                let data = vec![7; usize::from(*length)];
                ends.dress(craft::raw(*ends.source().ip(), *ends.destination().ip(), *protocol, &data))
            }
            Template::Error { ends, kind, code, quoted, cut } => {
                let kind = [3, 11, 12, 3, 5, 4][usize::from(kind % 6)];
                let mut quoted = quoted.packet().to_ip();
                quoted.truncate(if *cut < 128 { 28 } else { usize::from(*cut) * 4 });
                ends.dress(craft::icmp_error(
                    *ends.source().ip(),
                    *ends.destination().ip(),
                    kind,
                    code % 16,
                    &quoted,
                ))
            }
            Template::Part { of, id, unit, index } => {
                let whole = of.packet().id(u16::from(id & 3));
                if whole.is_fragment() || whole.to_ip().len() <= 20 {
                    return whole;
                }
                let mut parts = whole.fragments(8 * (1 + usize::from(unit % 64)));
                let index = usize::from(*index) % parts.len();
                parts.swap_remove(index)
            }
        }
    }
}

impl Choices {
    fn has(&self, bit: u16) -> bool {
        self.flags >> bit & 1 != 0
    }

    fn plan(&self) -> Plan {
        let mut plan = home();
        plan.nat.mapping = [
            MappingBehavior::EndpointIndependent,
            MappingBehavior::AddressDependent,
            MappingBehavior::AddressAndPortDependent,
        ][usize::from(self.mapping % 3)];
        plan.nat.filtering = [
            FilteringBehavior::AddressDependent,
            FilteringBehavior::EndpointIndependent,
            FilteringBehavior::AddressAndPortDependent,
        ][usize::from(self.filtering % 3)];
        plan.nat.max_sessions = if self.has(0) { 4 } else { 32 };
        plan.nat.max_sessions_per_host = if self.has(1) { 3 } else { 32 };
        plan.nat.max_ports_per_host = if self.has(2) { 2 } else { 32 };
        plan.nat.ports = if self.has(3) { 5000..=5003 } else { 1024..=65_535 };
        plan.nat.hairpin = !self.has(4);
        plan.nat.port_parity = self.has(5);
        plan.nat.inbound_refresh = self.has(6);
        plan.host_port = self.has(7);
        plan.wan.ping = !self.has(8);
        if self.has(9) {
            plan.wan.addresses.push(EXTERNAL_2);
            if self.has(10) {
                let mut nas = host_entry("nas", "192.168.0.10");
                nas.external = Some(EXTERNAL_2);
                plan.hosts.push(nas);
            }
        }
        if self.has(11) {
            plan.dmz = Some(Ipv4Addr::new(192, 168, 0, 10));
        }
        if self.has(12) {
            plan.lans[0].reaches = vec![1];
        }
        if self.has(13) {
            let to = "10.20.0.0/16".parse().expect("a prefix");
            plan.routes.push(Route { to, via: Ipv4Addr::new(192, 168, 0, 254) });
        }
        if self.has(14) {
            let target = ["192.168.0.9", "192.168.0.10", "192.168.1.9"][usize::from(self.forward_target % 3)];
            let mut rule = forward("web", "tcp+udp", "80,7000-7003", target);
            rule.enabled = self.forward_target & 0x10 == 0;
            if self.forward_target & 0x20 != 0 {
                rule.from.push("198.51.100.0/24".parse().expect("a prefix"));
            }
            if self.forward_target & 0x40 != 0 {
                rule.expires = Some(UnixTime(WALL_START.0 + 600));
            }
            plan.forwards.push(rule);
        }
        plan
    }
}

fn offload(choice: u8) -> Offload {
    Offload {
        partial_checksum: choice & 1 != 0,
        gso: match choice >> 1 & 7 {
            5 => GsoKind::TcpV4,
            6 => GsoKind::UdpL4,
            7 => GsoKind::TcpV6,
            _ => GsoKind::None,
        },
        gso_size: u16::from(choice >> 4) * 100,
        gso_ecn: false,
        vlan_tci: (choice == 0xff).then_some(7),
    }
}

impl Timeline {
    fn run(&self) {
        let first = self.plan.plan();
        // The ports of a router are fixed at start: a reload keeps the host port as it was.
        let host_port = first.host_port;
        let mut lab = Lab::new(first);
        lab.wrong_checksums = true;
        lab.strange_input = true;
        for (port, host) in [
            (LAN, "192.168.0.9"),
            (LAN, "192.168.0.10"),
            (GUEST, "192.168.1.9"),
            (WAN, "198.51.100.7"),
            (WAN, "192.0.2.9"),
            (WAN, "203.0.113.99"),
        ] {
            lab.host(port, host);
        }
        for step in self.steps.iter().take(STEPS) {
            self.take(&mut lab, step, host_port);
            lab.take_lost();
            lab.take_arps();
            lab.take_verdicts();
            lab.forget_received();
            assert!(lab.take_events().len() <= 256, "events are bounded");
            assert!(lab.router.session_count() <= 32, "sessions are bounded");
        }
        lab.advance(Duration::from_secs(24 * 3600));
        assert_eq!(lab.router.session_count(), 0, "every session ends");
        assert_eq!(lab.router.mapping_count(), 0, "every mapping ends with its sessions");
    }

    fn take(&self, lab: &mut Lab, step: &Step, host_port: bool) {
        let there = |port: u8| Some(port_of(port)).filter(|&port| port != PortId::HOST || host_port);
        match step {
            Step::Send { port, packet, offload: offloads, change } => {
                let Some(port) = there(*port) else { return };
                let packet = packet.packet();
                let mut bytes =
                    Frame::new(mac_of(packet.source), router_mac(port), Body::Ipv4(packet)).to_bytes();
                if let Some((at, value)) = change {
                    let at = usize::from(*at) % bytes.len();
                    bytes[at] ^= value;
                }
                lab.send_bytes(port, bytes, offload(*offloads));
            }
            Step::Octets { port, bytes } => {
                let Some(port) = there(*port) else { return };
                lab.send_bytes(port, bytes.clone(), Offload::default());
            }
            Step::Ask { port, sender, target, request } => {
                let Some(port) = there(*port) else { return };
                let mac = mac_of(address(*sender));
                let mut arp = Arp::request(mac, address(*sender), address(*target));
                arp.request = *request;
                lab.send_frame(port, &Frame::new(mac, MacAddr::BROADCAST, Body::Arp(arp)));
            }
            Step::Wait { millis, scale } => {
                lab.advance(Duration::from_millis(u64::from(*millis) * u64::from(*scale)));
            }
            Step::Reload(choices) => lab.change(|plan| {
                *plan = choices.plan();
                plan.host_port = host_port;
            }),
            Step::Link { port, up, small_mtu } => {
                let Some(port) = there(*port) else { return };
                let mtu = if *small_mtu { 576 } else { 1500 };
                lab.set_link(port, LinkState { mac: router_mac(port), mtu, up: *up });
            }
        }
    }
}
