//! What the engine is told to do: the checked, typed form of a configuration.
//!
//! A `Plan` comes from the config crate, which has already refused what contradicts itself; the engine
//! trusts it. It never holds device names or text of the file beyond the names that events quote.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::frame::PortId;
use crate::local_datagram::Service;
pub use crate::nat::policy::{FilteringBehavior, MappingBehavior};
use crate::time::UnixTime;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::Protocol;

/// A whole configuration, as the engine needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `[wan]`.
    pub wan: Wan,
    /// `[[lan]]`, in file order; at most [`crate::PortId::MAX_LANS`].
    pub lans: Vec<Lan>,
    /// `[[route]]`.
    pub routes: Vec<Route>,
    /// `[router] tun`: the box itself is an internal host.
    pub host_port: bool,
    /// `[nat]`.
    pub nat: Nat,
    /// `[[host]]`.
    pub hosts: Vec<Host>,
    /// `[[forward]]`, in file order.
    pub forwards: Vec<ForwardRule>,
    /// `[dmz] to`.
    pub dmz: Option<Ipv4Addr>,
    /// UDP services of the router itself, each once per port that it is on at; none on the host TUN.
    pub services: Vec<LocalService>,
}

/// A UDP service of the router itself, and where it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalService {
    /// Which.
    pub service: Service,
    /// The wan for a client, a lan for a server.
    pub port: PortId,
}

/// The outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wan {
    /// The primary external address and its prefix. 0.0.0.0/32 while there is none: then nothing leaves by the wan but
    /// what a DHCP client says.
    pub address: Ipv4Net,
    /// Next hop for what is not on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Networks outside that have another next hop (RFC 3442). One that is part of a lan, or of a `[[route]]`, counts
    /// for nothing: the outside cannot take away what is inside.
    pub routes: Vec<WanRoute>,
    /// Further external addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// IP MTU in octets.
    pub mtu: u16,
    /// Answer echo requests from outside; those to 1:1 hosts are theirs.
    pub ping: bool,
}

impl Wan {
    /// All external addresses, the primary first.
    pub fn external_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.primary().into_iter().chain(self.addresses.iter().copied())
    }

    /// The primary address, if there is one.
    pub fn primary(&self) -> Option<Ipv4Addr> {
        Some(self.address.addr()).filter(|address| !address.is_unspecified())
    }
}

/// A network outside, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WanRoute {
    /// The network.
    pub to: Ipv4Net,
    /// Its next hop, on the wan's link; `None`: its hosts are on that link themselves.
    pub via: Option<Ipv4Addr>,
}

/// A network inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// Its name in listings.
    pub name: String,
    /// The router's address there, with the prefix.
    pub address: Ipv4Net,
    /// IP MTU in octets.
    pub mtu: u16,
    /// Indices of the other lans that it may open sessions to.
    pub reaches: Vec<usize>,
}

/// A network behind a router on a lan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: Ipv4Net,
    /// Its next hop, an address in a lan's prefix.
    pub via: Ipv4Addr,
}

/// NAT behaviour and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// RFC 4787 §4.1.
    pub mapping: MappingBehavior,
    /// RFC 4787 §5.
    pub filtering: FilteringBehavior,
    /// Inside hosts reach external endpoints of inside hosts.
    pub hairpin: bool,
    /// Keep the parity of the internal port when it cannot be kept itself (RFC 4787 REQ-4).
    pub port_parity: bool,
    /// Packets from outside refresh UDP sessions too (RFC 4787 REQ-6b).
    pub inbound_refresh: bool,
    /// Dynamic external ports of TCP and UDP.
    pub ports: RangeInclusive<u16>,
    /// Most sessions at once, below 2^30.
    pub max_sessions: u32,
    /// Most sessions of one internal host.
    pub max_sessions_per_host: u32,
    /// Most dynamic external ports of one internal host, per protocol.
    pub max_ports_per_host: u32,
    /// Idle timeouts.
    pub timeouts: Timeouts,
}

impl Default for Nat {
    /// What holds where a configuration says nothing.
    fn default() -> Self {
        Nat {
            mapping: MappingBehavior::default(),
            filtering: FilteringBehavior::default(),
            hairpin: true,
            port_parity: false,
            inbound_refresh: false,
            ports: 1024..=u16::MAX,
            max_sessions: 1_000_000,
            max_sessions_per_host: 65_536,
            max_ports_per_host: 16_384,
            timeouts: Timeouts::default(),
        }
    }
}

/// Idle timeouts of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// RFC 4787 REQ-5: at least 2 minutes, 5 recommended.
    pub udp: Duration,
    /// RFC 5382 REQ-5: at least 2 h 4 min.
    pub tcp_established: Duration,
    /// Opening and closing; RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_transitory: Duration,
    /// RFC 5508 REQ-2: at least 60 seconds.
    pub icmp: Duration,
    /// Every other protocol.
    pub other: Duration,
}

/// A known device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name in listings.
    pub name: String,
    /// Its MAC address, if written.
    pub mac: Option<MacAddr>,
    /// Its internal address; 0.0.0.0: it is nowhere at the moment, and `external` is kept for it.
    pub address: Ipv4Addr,
    /// Its own filtering behaviour.
    pub filtering: Option<FilteringBehavior>,
    /// Its own mapping behaviour.
    pub mapping: Option<MappingBehavior>,
    /// 1:1 NAT: all its traffic leaves from this external address, and all ports of that and ICMP queries to it come in.
    pub external: Option<Ipv4Addr>,
}

/// A port forward: a static mapping, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRule {
    /// Its name in listings; unique.
    pub name: String,
    /// TCP, UDP or both.
    pub protocols: Vec<Protocol>,
    /// External ports. Lists are spread by the config crate into one `ports` element each.
    pub ports: Vec<PortRange>,
    /// Target address.
    pub to: Ipv4Addr,
    /// Only this external address; `None`: all of them.
    pub address: Option<Ipv4Addr>,
    /// Only these sources; empty: everybody.
    pub from: Vec<Ipv4Net>,
    /// Closed when false, but its ports stay owned.
    pub enabled: bool,
    /// Closed from then on.
    pub expires: Option<UnixTime>,
    /// Log each new session.
    pub log: bool,
    /// Most sessions at once that it admits; `None`: as many as `[nat]` allows.
    pub max_sessions: Option<u32>,
    /// How fast each source may open sessions through it; `None`: as fast as it likes.
    pub max_new_per_source: Option<Rate>,
}

/// So many per so long: a token bucket of that size, refilled evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

impl fmt::Display for Rate {
    /// As configurations say it: `20/min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/min", self.count),
            3_600 => write!(f, "{}/h", self.count),
            seconds => write!(f, "{}/{seconds}s", self.count),
        }
    }
}

/// A run of external ports and the equally long run of internal ports that they map to, one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First external port.
    pub external_first: u16,
    /// Last external port, included.
    pub external_last: u16,
    /// First internal port.
    pub internal_first: u16,
}
