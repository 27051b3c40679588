//! The NAT's part of a plan, laid out for look-ups.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::policy::{Direction, FilteringBehavior, MappingBehavior};
use super::session::{Session, SessionFlags};
use super::tcp_state::TcpState;
use crate::forward::dmz::Dmz;
use crate::frame::PortId;
use crate::plan::{LocalService, Plan};
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// What one `[[host]]` says of its own NAT.
#[derive(Clone, Copy, Debug, Default)]
struct HostSettings {
    mapping: Option<MappingBehavior>,
    filtering: Option<FilteringBehavior>,
    external: Option<Ipv4Addr>,
}

/// Until when sessions last that are refreshed at one moment: reckoned once for a whole batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refreshed {
    tcp: Timestamp,
    udp: Timestamp,
}

impl Refreshed {
    /// An established TCP session, or a UDP one.
    #[inline(always)]
    pub(crate) fn at(&self, protocol: Protocol) -> Timestamp {
        if protocol == Protocol::TCP { self.tcp } else { self.udp }
    }
}

/// Behaviours, limits and timeouts.
#[derive(Debug)]
pub(crate) struct Settings {
    mapping: MappingBehavior,
    filtering: FilteringBehavior,
    inbound_refresh: bool,
    pub(crate) hairpin: bool,
    pub(crate) port_parity: bool,
    pub(crate) max_sessions: u32,
    pub(crate) max_sessions_per_host: u32,
    pub(crate) max_ports_per_host: u32,
    pub(crate) dmz: Dmz,
    pub(crate) timeouts: crate::plan::Timeouts,
    hosts: BTreeMap<Ipv4Addr, HostSettings>,
    /// External address to internal host, for 1:1; 0.0.0.0: nowhere at the moment.
    one_to_one: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// External addresses in order, for look-ups.
    externals: Vec<Ipv4Addr>,
    /// External addresses that hosts share, in file order.
    shared: Vec<Ipv4Addr>,
    /// By port: the ports that it may open sessions to, one bit each.
    reaches: [u64; PortId::COUNT],
    services: Vec<LocalService>,
}

impl Settings {
    pub(crate) fn from_plan(plan: &Plan) -> Settings {
        let one_to_one: BTreeMap<_, _> =
            plan.hosts.iter().filter_map(|host| Some((host.external?, host.address))).collect();
        let mut externals: Vec<_> = plan.wan.external_addresses().collect();
        // The primary one stays everybody's: a lease may bring the very address that a host has for itself.
        let primary = plan.wan.address.addr();
        let further = externals.iter().copied().filter(|address| *address != primary);
        // Where there is none, hosts are paired with none until there is.
        let shared = [primary].into_iter().chain(further.filter(|address| !one_to_one.contains_key(address)));
        let shared = shared.collect();
        externals.sort_unstable();
        externals.dedup();
        Settings {
            mapping: plan.nat.mapping,
            filtering: plan.nat.filtering,
            inbound_refresh: plan.nat.inbound_refresh,
            hairpin: plan.nat.hairpin,
            port_parity: plan.nat.port_parity,
            max_sessions: plan.nat.max_sessions,
            max_sessions_per_host: plan.nat.max_sessions_per_host,
            max_ports_per_host: plan.nat.max_ports_per_host,
            dmz: Dmz::from_plan(plan),
            timeouts: plan.nat.timeouts.clone(),
            hosts: plan
                .hosts
                .iter()
                .filter(|host| !host.address.is_unspecified())
                .map(|host| {
                    let settings = HostSettings {
                        mapping: host.mapping,
                        filtering: host.filtering,
                        external: host.external,
                    };
                    (host.address, settings)
                })
                .collect(),
            one_to_one,
            externals,
            shared,
            reaches: reaches(plan),
            services: plan.services.clone(),
        }
    }

    /// Whether a service of the router's own hears what comes in by `port` for this UDP port of ours.
    pub(crate) fn is_heard(&self, port: PortId, udp_port: u16) -> bool {
        self.services.iter().any(|on| on.port == port && on.service.udp_port() == udp_port)
    }

    pub(crate) fn mapping(&self, host: Ipv4Addr) -> MappingBehavior {
        self.hosts.get(&host).and_then(|settings| settings.mapping).unwrap_or(self.mapping)
    }

    pub(crate) fn filtering(&self, host: Ipv4Addr) -> FilteringBehavior {
        self.hosts.get(&host).and_then(|settings| settings.filtering).unwrap_or(self.filtering)
    }

    /// The external address that is this host's alone.
    pub(crate) fn own_external(&self, host: Ipv4Addr) -> Option<Ipv4Addr> {
        self.hosts.get(&host).and_then(|settings| settings.external)
    }

    /// The host that an external address belongs to alone; 0.0.0.0 where that is nowhere at the moment.
    pub(crate) fn one_to_one_host(&self, external: Ipv4Addr) -> Option<Ipv4Addr> {
        self.one_to_one.get(&external).copied()
    }

    /// Whether the same hosts have external addresses of their own.
    pub(crate) fn has_same_hosts_outside(&self, other: &Settings) -> bool {
        self.one_to_one == other.one_to_one
    }

    pub(crate) fn is_external(&self, address: Ipv4Addr) -> bool {
        self.externals.binary_search(&address).is_ok()
    }

    /// Whether `from` may open sessions to `to`, both inside.
    pub(crate) fn reaches(&self, from: PortId, to: PortId) -> bool {
        self.reaches[from.index()] >> to.0 & 1 != 0
    }

    /// The external addresses that hosts share.
    pub(crate) fn shared(&self) -> &[Ipv4Addr] {
        &self.shared
    }

    /// Until when sessions last that are refreshed at `now`.
    pub(crate) fn refreshed(&self, now: Timestamp) -> Refreshed {
        let lasting = |protocol| self.timeouts.for_session(protocol, Some(TcpState::Established));
        Refreshed { tcp: now + lasting(Protocol::TCP), udp: now + lasting(Protocol::UDP) }
    }

    pub(crate) fn lifetime(&self, session: &Session) -> Duration {
        self.timeouts.for_session(session.protocol, Some(session.tcp))
    }

    /// Whether a packet in this direction keeps the session alive (RFC 4787 REQ-6).
    #[inline]
    pub(crate) fn refreshes(&self, session: &Session, direction: Direction) -> bool {
        direction == Direction::Outbound
            || session.flags.contains(SessionFlags::REFRESHED_BY_BOTH)
            || (self.inbound_refresh && session.protocol == Protocol::UDP)
    }
}

/// A lan reaches itself (through another router on it), the box, and those that it names; the box reaches
/// all.
fn reaches(plan: &Plan) -> [u64; PortId::COUNT] {
    let mut reaches = [0; PortId::COUNT];
    reaches[PortId::HOST.index()] = u64::MAX;
    for (index, lan) in plan.lans.iter().enumerate() {
        let named = lan.reaches.iter().map(|&other| 1u64 << PortId::lan(other).0);
        let itself = 1u64 << PortId::lan(index).0 | 1 << PortId::HOST.0;
        reaches[PortId::lan(index).index()] = named.fold(itself, |all, bit| all | bit);
    }
    reaches
}
