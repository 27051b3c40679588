//! What a fuzzer may do to a router: configurations from a small world, packets, time, links.

use std::net::Ipv4Addr;
use std::time::Duration;

use arbitrary::Arbitrary;
use genkan_engine::frame::GsoKind;
use genkan_engine::local_datagram::Service;
use genkan_engine::plan::{
    FilteringBehavior, ForwardRule, Host, Lan, LocalService, MappingBehavior, Nat, Plan, PortRange, Rate,
    Route, Timeouts, Wan,
};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{Offload, PortId, UnixTime};
use ipnet::Ipv4Net;

const LAN: PortId = PortId::lan(0);

/// Wall time at the start.
pub(crate) const WALL: i64 = 1_800_000_000;

/// A whole run.
#[derive(Arbitrary, Debug)]
pub(crate) struct Scenario {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

/// What is done next.
#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    /// A packet out of the small world, well formed but for `damage`.
    Packet(PacketSpec),
    /// An answer to a frame that the router sent, from where it was sent to.
    Answer { nth: u8, flags: u8, damage: Option<Damage> },
    /// An ICMP error about a frame that the router sent.
    Error { nth: u8, kind: u8, code: u8, from_router: bool, quoted: u8 },
    /// The next packet, in fragments.
    Fragments { packet: PacketSpec, cuts: [u8; 3], order: u8, leave_out: u8 },
    /// Bytes as they are.
    Raw { port: PortChoice, offload: OffloadSpec, bytes: Vec<u8> },
    /// Several packets at once.
    Batch { port: PortChoice, packets: [PacketSpec; 3] },
    /// Time goes by.
    Wait { amount: u16, unit: u8 },
    /// The timers are looked after once.
    Timeout,
    /// The configuration changes.
    Setup(Setup),
    /// A link changes.
    Link { port: PortChoice, up: bool, mtu: u16 },
    /// Somebody says something by ARP.
    Arp { port: PortChoice, reply: bool, mac: u8, sender: Place, target: Place },
    /// A listing is asked for.
    List { cursor: u32, limit: u16 },
}

/// A port of the small world.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    Wan,
    Host,
    Lan,
    OtherLan,
}

/// An address of the small world.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Place {
    /// One of our external addresses.
    External(u8),
    /// A machine outside.
    Remote(u8),
    /// The gateway.
    Gateway,
    /// A machine on a lan.
    Inside {
        other: bool,
        machine: u8,
    },
    /// Behind a route.
    Behind(u8),
    /// Our own address on a lan.
    Ours {
        other: bool,
    },
    Any(u32),
}

impl Place {
    pub(crate) fn address(self) -> Ipv4Addr {
        match self {
            Place::External(n) => external(n),
            Place::Remote(n) => Ipv4Addr::new(198, 51, 100, 1 + n % 4),
            Place::Gateway => Ipv4Addr::new(203, 0, 113, 254),
            Place::Inside { other, machine } => Ipv4Addr::new(192, 168, u8::from(other), 10 + machine % 4),
            Place::Behind(n) => Ipv4Addr::new(10, 20, 0, 1 + n % 2),
            Place::Ours { other } => Ipv4Addr::new(192, 168, u8::from(other), 1),
            Place::Any(bits) => Ipv4Addr::from_bits(bits),
        }
    }
}

/// The external addresses: the primary and two more.
pub(crate) fn external(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 1 + n % 3)
}

/// A port number from a handful, most of the time.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Number {
    Few(u8),
    Any(u16),
}

impl Number {
    pub(crate) fn value(self) -> u16 {
        match self {
            Number::Few(n) => 2_000 + u16::from(n % 8),
            Number::Any(n) => n,
        }
    }
}

/// The transport of a packet.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Transport {
    Tcp { source: Number, destination: Number, flags: u8, mss: Option<u16> },
    Udp { source: Number, destination: Number },
    Query { is_reply: bool, identifier: Number },
    Other { protocol: u8 },
}

/// A change of one octet.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Damage {
    pub(crate) at: u16,
    pub(crate) octet: u8,
    /// Lengths and checksums are made right afterwards.
    pub(crate) mended: bool,
}

/// What the device left to be done.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct OffloadSpec {
    partial_checksum: bool,
    gso: u8,
    gso_size: u16,
    vlan_tci: Option<u16>,
}

impl OffloadSpec {
    pub(crate) fn offload(self) -> Offload {
        Offload {
            partial_checksum: self.partial_checksum,
            gso: [GsoKind::None, GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4][usize::from(self.gso % 4)],
            gso_size: self.gso_size,
            gso_ecn: false,
            vlan_tci: self.vlan_tci,
        }
    }
}

/// A packet.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct PacketSpec {
    pub(crate) port: PortChoice,
    pub(crate) source: Place,
    pub(crate) destination: Place,
    pub(crate) transport: Transport,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    /// In eights of octets.
    pub(crate) payload: u8,
    pub(crate) damage: Option<Damage>,
    pub(crate) offload: Option<OffloadSpec>,
}

impl PacketSpec {
    /// Protocol and transport header with payload; lengths and checksums are left to do.
    pub(crate) fn transport(&self) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        let protocol = match self.transport {
            Transport::Tcp { source, destination, flags, mss } => {
                bytes.extend(source.value().to_be_bytes());
                bytes.extend(destination.value().to_be_bytes());
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, if mss.is_some() { 6 << 4 } else { 5 << 4 }, flags]);
                bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
                if let Some(mss) = mss {
                    bytes.extend([2, 4]);
                    bytes.extend(mss.to_be_bytes());
                }
                6
            }
            Transport::Udp { source, destination } => {
                bytes.extend(source.value().to_be_bytes());
                bytes.extend(destination.value().to_be_bytes());
                bytes.extend([0; 4]);
                17
            }
            Transport::Query { is_reply, identifier } => {
                bytes.extend([if is_reply { 0 } else { 8 }, 0, 0, 0]);
                bytes.extend(identifier.value().to_be_bytes());
                bytes.extend([0, 7]);
                1
            }
            Transport::Other { protocol } => {
                bytes.extend([0; 8]);
                protocol
            }
        };
        bytes.extend(std::iter::repeat_n(0xa5, usize::from(self.payload) * 8));
        (protocol, bytes)
    }
}

/// One forward.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct ForwardSpec {
    protocols: u8,
    first: u8,
    count: u8,
    internal: Option<u8>,
    to: (bool, u8),
    address: Option<u8>,
    from: Option<u8>,
    enabled: bool,
    expires: Option<u16>,
    log: bool,
}

/// A configuration.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Setup {
    mapping: u8,
    filtering: u8,
    hairpin: bool,
    port_parity: bool,
    inbound_refresh: bool,
    ping: bool,
    few_ports: Option<u8>,
    max_sessions: u8,
    max_sessions_per_host: u8,
    max_ports_per_host: u8,
    short_timeouts: bool,
    primary: u8,
    further: [bool; 3],
    host_port: bool,
    other_lan: bool,
    reaches: (bool, bool),
    route: bool,
    gateway: bool,
    mtus: [u16; 2],
    one_to_one: Option<(u8, u8)>,
    host_filtering: Option<(u8, u8)>,
    dmz: Option<(bool, u8)>,
    forwards: Vec<ForwardSpec>,
}

fn lan_host(other: bool, machine: u8) -> Ipv4Addr {
    Place::Inside { other, machine }.address()
}

fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

impl Setup {
    /// The plan that the config crate would make of it.
    pub(crate) fn plan(&self) -> Plan {
        let primary = external(self.primary);
        let addresses: Vec<Ipv4Addr> = (0..3)
            .filter(|&n| self.further[usize::from(n)])
            .map(external)
            .filter(|a| *a != primary)
            .collect();
        let others = if self.other_lan { 1 } else { 0 };
        let reaches = |to: usize, on: bool| if on && others == 1 { vec![to] } else { Vec::new() };
        let mut lans = vec![Lan {
            name: "lan".to_owned(),
            address: net(Place::Ours { other: false }.address(), 24),
            mtu: self.mtus[1].max(68),
            reaches: reaches(1, self.reaches.0),
        }];
        if self.other_lan {
            lans.push(Lan {
                name: "other".to_owned(),
                address: net(Place::Ours { other: true }.address(), 24),
                mtu: 1500,
                reaches: reaches(0, self.reaches.1),
            });
        }
        let filtering = |n: u8| match n % 3 {
            0 => FilteringBehavior::EndpointIndependent,
            1 => FilteringBehavior::AddressDependent,
            _ => FilteringBehavior::AddressAndPortDependent,
        };
        // 1:1 takes a further address, never the primary.
        let mut hosts = Vec::new();
        if let Some((machine, which)) = self.one_to_one
            && let Some(&own) = addresses.get(usize::from(which) % addresses.len().max(1))
        {
            hosts.push(Host {
                name: "one-to-one".to_owned(),
                mac: None,
                address: lan_host(false, machine),
                filtering: None,
                mapping: None,
                external: Some(own),
            });
        }
        if let Some((machine, kind)) = self.host_filtering
            && hosts.iter().all(|host| host.address != lan_host(false, machine))
        {
            hosts.push(Host {
                name: "special".to_owned(),
                mac: None,
                address: lan_host(false, machine),
                filtering: Some(filtering(kind)),
                mapping: None,
                external: None,
            });
        }
        let timeouts = if self.short_timeouts {
            let seconds = Duration::from_secs;
            Timeouts {
                udp: seconds(2),
                tcp_established: seconds(5),
                tcp_transitory: seconds(3),
                icmp: seconds(1),
                other: seconds(4),
            }
        } else {
            Timeouts::default()
        };
        Plan {
            wan: Wan {
                address: net(primary, 24),
                gateway: self.gateway.then(|| Place::Gateway.address()),
                routes: Vec::new(),
                addresses: addresses.clone(),
                mtu: self.mtus[0].max(68),
                ping: self.ping,
            },
            lans,
            routes: if self.route {
                vec![Route { to: net(Ipv4Addr::new(10, 20, 0, 0), 16), via: lan_host(false, 3) }]
            } else {
                Vec::new()
            },
            host_port: self.host_port,
            nat: Nat {
                mapping: match self.mapping % 3 {
                    0 => MappingBehavior::EndpointIndependent,
                    1 => MappingBehavior::AddressDependent,
                    _ => MappingBehavior::AddressAndPortDependent,
                },
                filtering: filtering(self.filtering),
                hairpin: self.hairpin,
                port_parity: self.port_parity,
                inbound_refresh: self.inbound_refresh,
                ports: match self.few_ports {
                    Some(count) => 2_000..=2_000 + u16::from(count % 8),
                    None => 1_024..=65_535,
                },
                max_sessions: u32::from(self.max_sessions % 24) + 1,
                max_sessions_per_host: u32::from(self.max_sessions_per_host % 16) + 1,
                max_ports_per_host: u32::from(self.max_ports_per_host % 8) + 1,
                timeouts,
            },
            hosts,
            forwards: self
                .forwards
                .iter()
                .take(8)
                .enumerate()
                .map(|(n, spec)| spec.rule(n, &addresses, primary))
                .collect(),
            dmz: self.dmz.map(|(other, machine)| lan_host(other && self.other_lan, machine)),
            // From what the number above leaves unused, so that the seeds keep their meaning.
            services: [(Service::DhcpClient, PortId::WAN), (Service::DhcpServer, LAN), (Service::Dns, LAN)]
                .into_iter()
                .enumerate()
                .filter(|&(bit, _)| self.mapping / 3 >> bit & 1 == 1)
                .map(|(_, (service, port))| LocalService { service, port })
                .collect(),
        }
    }
}

impl ForwardSpec {
    fn rule(&self, number: usize, further: &[Ipv4Addr], primary: Ipv4Addr) -> ForwardRule {
        let first = 2_000 + u16::from(self.first % 8);
        let last = first + u16::from(self.count % 3);
        let internal_first = self.internal.map_or(first, |n| 2_000 + u16::from(n % 8));
        let ours: Vec<Ipv4Addr> = std::iter::once(primary).chain(further.iter().copied()).collect();
        ForwardRule {
            name: format!("forward-{number}"),
            protocols: match self.protocols % 3 {
                0 => vec![Protocol::TCP],
                1 => vec![Protocol::UDP],
                _ => vec![Protocol::TCP, Protocol::UDP],
            },
            ports: vec![PortRange { external_first: first, external_last: last, internal_first }],
            to: lan_host(self.to.0, self.to.1),
            address: self.address.map(|n| ours[usize::from(n) % ours.len()]),
            from: self.from.iter().map(|&n| net(Place::Remote(n).address(), 32)).collect(),
            enabled: self.enabled,
            expires: self.expires.map(|seconds| UnixTime(WALL + i64::from(seconds))),
            log: self.log,
            // From what the numbers above leave unused, so that the seeds keep their meaning.
            max_sessions: Some(u32::from(self.first / 8 % 4)).filter(|&most| most > 0),
            max_new_per_source: Some(u32::from(self.count / 3 % 4)).filter(|&count| count > 0).map(|count| {
                let per = Duration::from_secs(if self.protocols / 3 % 2 == 0 { 1 } else { 60 });
                Rate { count, per }
            }),
        }
    }
}
