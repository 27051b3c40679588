//! What may happen: packets from inside and outside, time, changes of the plan. Everything refers to small sets of
//! hosts, remotes and ports, so that things meet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_engine::plan::{ForwardRule, Host, PortRange, Rate};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{Plan, PortId};
use genkan_tests::lab::{Flags, crew, plan};
use proptest::prelude::*;

use super::world::ROUTER;

/// Inside hosts: three at home, one guest.
pub(crate) const HOSTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(192, 168, 0, 10),
    Ipv4Addr::new(192, 168, 0, 11),
    Ipv4Addr::new(192, 168, 0, 12),
    Ipv4Addr::new(192, 168, 1, 20),
];

/// Machines outside.
pub(crate) const REMOTES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 100, 8), Ipv4Addr::new(192, 0, 2, 9)];

/// Ports that machines use. One is below the dynamic range.
pub(crate) const PORTS: [u16; 5] = [4000, 4001, 4002, 4003, 53];

/// Where a packet from inside goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Remote(usize, usize),
    /// An external endpoint of ours.
    External(usize, PortPick),
    /// Another inside host.
    Host(usize, usize),
    Router,
}

/// A port of an external address.
#[derive(Clone, Debug)]
pub(crate) enum PortPick {
    Known(usize),
    /// That of the nth mapping.
    Mapping(usize),
}

/// A kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Tcp(Flags),
    Ping,
    /// With identifier 0: both directions of the query look alike.
    NullPing,
    Esp,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// A host (or, when there are no more, the box itself) sends.
    Send { host: usize, port: usize, target: Target, kind: Kind, ttl: u8 },
    /// A remote sends to an external endpoint.
    Stranger { remote: usize, port: usize, external: usize, to: PortPick, kind: Kind, ttl: u8 },
    /// A remote answers the nth last packet that left, by these flags or what is usual.
    Reply { nth: usize, flags: Option<Flags> },
    /// An inside host answers the nth last packet that it got.
    Answer { nth: usize, flags: Option<Flags> },
    /// Somebody outside sends an ICMP error about the nth last packet that left; maybe by a router on the way.
    ErrorOutside { nth: usize, kind: u8, by_router: bool },
    /// An inside host does, about the nth last packet that it got.
    ErrorInside { nth: usize, kind: u8 },
    /// Time passes.
    Wait(Wait),
    /// The plan changes.
    Change(Change),
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    For(Duration),
    /// Until a millisecond before the next session ends by itself, or that much after.
    Next {
        past: bool,
    },
}

/// A change of the plan.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    AddForward { forward: Forward, first: bool },
    RemoveForward(usize),
    Retarget(usize, usize, usize),
    Toggle(usize),
    From(usize, Option<usize>),
    MaxSessions(usize, Option<u32>),
    PerMinute(usize, Option<u32>),
    Dmz(Option<usize>),
    Filtering(FilteringBehavior),
    Mapping(MappingBehavior),
    HostFiltering(usize, Option<FilteringBehavior>),
    Hairpin(bool),
    Reaches(usize, bool),
    OneToOne(Option<usize>),
    WanAddress(usize),
    UdpTimeout(u64),
}

/// A forward to be.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    udp: bool,
    tcp: bool,
    port: usize,
    count: u16,
    host: usize,
    to: usize,
    from: Option<usize>,
    enabled: bool,
    max_sessions: Option<u32>,
    per_minute: Option<u32>,
}

/// How the router is set up at first.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    mapping: MappingBehavior,
    filtering: FilteringBehavior,
    last_port: u16,
    max_sessions: u32,
    max_sessions_per_host: u32,
    max_ports_per_host: u32,
    externals: Externals,
    forwards: Vec<Forward>,
    dmz: Option<usize>,
    reaches: [bool; 2],
    host_port: bool,
    port_parity: bool,
    inbound_refresh: bool,
}

/// External addresses besides the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Externals {
    One,
    /// Two that the hosts share.
    TwoShared,
    /// A second one for one host alone.
    OneToOne(usize),
}

impl Setup {
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = plan::home();
        for (lan, reaches) in self.reaches.into_iter().enumerate() {
            plan.lans[lan].reaches = reaches.then_some(1 - lan).into_iter().collect();
        }
        plan.host_port = self.host_port;
        plan.nat.mapping = self.mapping;
        plan.nat.filtering = self.filtering;
        plan.nat.ports = 4000..=self.last_port;
        plan.nat.max_sessions = self.max_sessions;
        if crew::workers() > 1 {
            // Whose sessions make room in full tables, and when, is not said for several.
            plan.nat.ports = 4000..=4999;
            plan.nat.max_sessions = 1000;
        }
        plan.nat.max_sessions_per_host = self.max_sessions_per_host;
        plan.nat.max_ports_per_host = self.max_ports_per_host;
        plan.nat.port_parity = self.port_parity;
        plan.nat.inbound_refresh = self.inbound_refresh;
        plan.dmz = self.dmz.map(|host| HOSTS[host]);
        for forward in &self.forwards {
            let rule = forward.rule(&plan);
            plan.forwards.push(rule);
        }
        plan.hosts = HOSTS.iter().enumerate().map(|(at, &address)| host_entry(at, address)).collect();
        if self.externals != Externals::One {
            plan.wan.addresses = vec![plan::EXTERNAL_2];
        }
        if let Externals::OneToOne(host) = self.externals {
            plan.hosts[host].external = Some(plan::EXTERNAL_2);
        }
        plan
    }
}

fn host_entry(at: usize, address: Ipv4Addr) -> Host {
    Host { name: format!("host{at}"), mac: None, address, filtering: None, mapping: None, external: None }
}

impl Forward {
    /// The rule, by a name that `plan` has not.
    fn rule(&self, plan: &Plan) -> ForwardRule {
        let is_free = |name: &String| plan.forwards.iter().all(|rule| rule.name != *name);
        let protocols = [self.udp.then_some(Protocol::UDP), (self.tcp || !self.udp).then_some(Protocol::TCP)];
        let first = PORTS[self.port];
        ForwardRule {
            name: (0..).map(|number: u32| number.to_string()).find(is_free).expect("a number"),
            protocols: protocols.into_iter().flatten().collect(),
            ports: vec![PortRange {
                external_first: first,
                external_last: first + self.count,
                internal_first: PORTS[self.to],
            }],
            to: HOSTS[self.host],
            address: None,
            from: self.from.map(network).into_iter().collect(),
            enabled: self.enabled,
            expires: None,
            log: false,
            max_sessions: self.max_sessions,
            max_new_per_source: self.per_minute.map(per_minute),
        }
    }
}

fn nth_forward(plan: &mut Plan, nth: usize) -> Option<&mut ForwardRule> {
    let at = nth.checked_rem(plan.forwards.len())?;
    plan.forwards.get_mut(at)
}

fn per_minute(count: u32) -> Rate {
    Rate { count, per: Duration::from_secs(60) }
}

fn network(remote: usize) -> ipnet::Ipv4Net {
    ipnet::Ipv4Net::from(REMOTES[remote])
}

impl Change {
    /// Makes the change; nothing happens where it does not fit.
    pub(crate) fn apply(&self, plan: &mut Plan) {
        let count = plan.forwards.len();
        match self {
            Change::AddForward { forward, first } if count < 6 => {
                let at = if *first { 0 } else { count };
                let rule = forward.rule(plan);
                plan.forwards.insert(at, rule);
            }
            Change::AddForward { .. } => {}
            Change::RemoveForward(nth) => {
                if count > 0 {
                    plan.forwards.remove(nth % count);
                }
            }
            Change::Retarget(nth, host, port) => {
                if let Some(rule) = nth_forward(plan, *nth) {
                    rule.to = HOSTS[*host];
                    rule.ports[0].internal_first = PORTS[*port];
                }
            }
            Change::Toggle(nth) => {
                if let Some(rule) = nth_forward(plan, *nth) {
                    rule.enabled ^= true;
                }
            }
            Change::From(nth, from) => {
                if let Some(rule) = nth_forward(plan, *nth) {
                    rule.from = from.map(network).into_iter().collect();
                }
            }
            Change::MaxSessions(nth, most) => {
                if let Some(rule) = nth_forward(plan, *nth) {
                    rule.max_sessions = *most;
                }
            }
            Change::PerMinute(nth, count) => {
                if let Some(rule) = nth_forward(plan, *nth) {
                    rule.max_new_per_source = count.map(per_minute);
                }
            }
            Change::Dmz(host) => plan.dmz = host.map(|host| HOSTS[host]),
            Change::Filtering(kind) => plan.nat.filtering = *kind,
            Change::Mapping(kind) => plan.nat.mapping = *kind,
            Change::HostFiltering(host, kind) => plan.hosts[*host].filtering = *kind,
            Change::Hairpin(on) => plan.nat.hairpin = *on,
            Change::Reaches(lan, on) => plan.lans[*lan].reaches = on.then_some(1 - lan).into_iter().collect(),
            Change::OneToOne(host) => {
                // With two addresses to share, who has which would change with it.
                let is_shared =
                    !plan.wan.addresses.is_empty() && plan.hosts.iter().all(|host| host.external.is_none());
                if !is_shared {
                    plan.hosts.iter_mut().for_each(|host| host.external = None);
                    plan.wan.addresses = host.map(|_| plan::EXTERNAL_2).into_iter().collect();
                    if let Some(host) = host {
                        plan.hosts[*host].external = Some(plan::EXTERNAL_2);
                    }
                }
            }
            Change::WanAddress(which) => {
                if plan.wan.addresses.is_empty() {
                    let address = Ipv4Addr::new(203, 0, 113, [1, 77][*which]);
                    plan.wan.address = ipnet::Ipv4Net::new_assert(address, 24);
                }
            }
            Change::UdpTimeout(seconds) => plan.nat.timeouts.udp = Duration::from_secs(*seconds),
        }
    }
}

/// Where the host of this number is; the one behind the last is the box itself.
pub(crate) fn place(host: usize) -> (PortId, Ipv4Addr) {
    match HOSTS.get(host) {
        None => (PortId::HOST, ROUTER),
        Some(&address) => (PortId::lan(usize::from(address.octets()[2])), address),
    }
}

/// An endpoint outside.
pub(crate) fn remote(which: usize, port: usize) -> SocketAddrV4 {
    SocketAddrV4::new(REMOTES[which], PORTS[port])
}

fn filtering() -> impl Strategy<Value = FilteringBehavior> {
    prop_oneof![
        Just(FilteringBehavior::EndpointIndependent),
        Just(FilteringBehavior::AddressDependent),
        Just(FilteringBehavior::AddressAndPortDependent),
    ]
}

fn mapping() -> impl Strategy<Value = MappingBehavior> {
    prop_oneof![
        3 => Just(MappingBehavior::EndpointIndependent),
        1 => Just(MappingBehavior::AddressDependent),
        1 => Just(MappingBehavior::AddressAndPortDependent),
    ]
}

fn forward() -> impl Strategy<Value = Forward> {
    let parts = (
        any::<bool>(),
        any::<bool>(),
        0..PORTS.len(),
        prop_oneof![3 => Just(0u16), 1 => Just(2)],
        0..HOSTS.len(),
        0..PORTS.len(),
        prop::option::weighted(0.3, 0..REMOTES.len()),
        prop::bool::weighted(0.8),
        (limit(), limit()),
    );
    parts.prop_map(|(udp, tcp, port, count, host, to, from, enabled, (max_sessions, per_minute))| Forward {
        udp,
        tcp,
        port,
        count,
        host,
        to,
        from,
        enabled,
        max_sessions,
        per_minute,
    })
}

/// Sessions at once, or in a minute; few enough to be met.
fn limit() -> impl Strategy<Value = Option<u32>> {
    prop::option::weighted(0.2, 1u32..4)
}

/// How the router is set up at first.
pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let externals = prop_oneof![
        3 => Just(Externals::One),
        1 => Just(Externals::TwoShared),
        1 => (0..HOSTS.len()).prop_map(Externals::OneToOne),
    ];
    let limits = (
        prop_oneof![Just(4001u16), Just(4003), Just(4015), Just(4999)],
        prop_oneof![1 => Just(3u32), 1 => Just(8), 3 => Just(1000)],
        prop_oneof![1 => Just(3u32), 3 => Just(1000)],
        prop_oneof![1 => Just(2u32), 3 => Just(1000)],
    );
    let rules = (prop::collection::vec(forward(), 0..3), prop::option::weighted(0.3, 0..HOSTS.len()));
    let flags = (any::<[bool; 2]>(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (mapping(), filtering(), limits, externals, rules, flags).prop_map(
        |(mapping, filtering, limits, externals, (forwards, dmz), flags)| Setup {
            mapping,
            filtering,
            last_port: limits.0,
            max_sessions: limits.1,
            max_sessions_per_host: limits.2,
            max_ports_per_host: limits.3,
            externals,
            forwards,
            dmz,
            reaches: flags.0,
            host_port: flags.1,
            port_parity: flags.2,
            inbound_refresh: flags.3,
        },
    )
}

fn flags() -> impl Strategy<Value = Flags> {
    prop_oneof![
        5 => Just(Flags::SYN),
        2 => Just(Flags::SYN_ACK),
        2 => Just(Flags::ACK),
        2 => Just(Flags::FIN_ACK),
        1 => Just(Flags::RST),
        1 => Just(Flags::RST_ACK),
        1 => Just(Flags::FIN),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![4 => Just(Kind::Udp), 4 => flags().prop_map(Kind::Tcp), 1 => Just(Kind::Ping), 1 => Just(Kind::NullPing), 1 => Just(Kind::Esp)]
}

fn ttl() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(64u8), 1 => Just(1), 1 => Just(2)]
}

fn port_pick() -> impl Strategy<Value = PortPick> {
    prop_oneof![(0..PORTS.len()).prop_map(PortPick::Known), (0usize..8).prop_map(PortPick::Mapping)]
}

fn change() -> impl Strategy<Value = Change> {
    let host = || 0..HOSTS.len();
    prop_oneof![
        4 => (forward(), any::<bool>()).prop_map(|(forward, first)| Change::AddForward { forward, first }),
        3 => (0usize..6).prop_map(Change::RemoveForward),
        2 => (0usize..6, host(), 0..PORTS.len()).prop_map(|(nth, host, port)| Change::Retarget(nth, host, port)),
        2 => (0usize..6).prop_map(Change::Toggle),
        2 => (0usize..6, prop::option::of(0..REMOTES.len())).prop_map(|(nth, from)| Change::From(nth, from)),
        1 => (0usize..6, prop::option::of(1u32..4)).prop_map(|(nth, most)| Change::MaxSessions(nth, most)),
        1 => (0usize..6, prop::option::of(1u32..4)).prop_map(|(nth, count)| Change::PerMinute(nth, count)),
        2 => prop::option::of(host()).prop_map(Change::Dmz),
        2 => filtering().prop_map(Change::Filtering),
        1 => mapping().prop_map(Change::Mapping),
        1 => (host(), prop::option::of(filtering())).prop_map(|(host, kind)| Change::HostFiltering(host, kind)),
        1 => any::<bool>().prop_map(Change::Hairpin),
        2 => (0usize..2, any::<bool>()).prop_map(|(lan, on)| Change::Reaches(lan, on)),
        1 => prop::option::of(host()).prop_map(Change::OneToOne),
        1 => (0usize..2).prop_map(Change::WanAddress),
        1 => prop_oneof![Just(300u64), Just(120)].prop_map(Change::UdpTimeout),
    ]
}

fn wait() -> impl Strategy<Value = Wait> {
    let seconds =
        prop_oneof![Just(1u64), Just(59), Just(60), Just(119), Just(120), Just(239), Just(240), Just(299)];
    prop_oneof![
        4 => seconds.prop_map(|seconds| Wait::For(Duration::from_secs(seconds))),
        1 => Just(Wait::For(Duration::from_secs(2 * 3600 + 4 * 60))),
        2 => any::<bool>().prop_map(|past| Wait::Next { past }),
    ]
}

/// Anything that may happen.
pub(crate) fn transition() -> impl Strategy<Value = Transition> {
    let target = prop_oneof![
        6 => (0..REMOTES.len(), 0..PORTS.len()).prop_map(|(remote, port)| Target::Remote(remote, port)),
        4 => (0usize..2, port_pick()).prop_map(|(external, port)| Target::External(external, port)),
        1 => (0..HOSTS.len(), 0..PORTS.len()).prop_map(|(host, port)| Target::Host(host, port)),
        1 => Just(Target::Router),
    ];
    let error = || prop_oneof![Just(3u8), Just(11)];
    let nth = || prop_oneof![4 => Just(0usize), 3 => 1usize..4, 1 => 4usize..12];
    prop_oneof![
        10 => (0..=HOSTS.len(), 0..PORTS.len(), target, kind(), ttl())
            .prop_map(|(host, port, target, kind, ttl)| Transition::Send { host, port, target, kind, ttl }),
        6 => (0..REMOTES.len(), 0..PORTS.len(), 0usize..2, port_pick(), kind(), ttl()).prop_map(
            |(remote, port, external, to, kind, ttl)| Transition::Stranger { remote, port, external, to, kind, ttl }
        ),
        8 => (nth(), prop::option::weighted(0.4, flags())).prop_map(|(nth, flags)| Transition::Reply { nth, flags }),
        8 => (nth(), prop::option::weighted(0.4, flags())).prop_map(|(nth, flags)| Transition::Answer { nth, flags }),
        2 => (nth(), error(), any::<bool>())
            .prop_map(|(nth, kind, by_router)| Transition::ErrorOutside { nth, kind, by_router }),
        2 => (nth(), error()).prop_map(|(nth, kind)| Transition::ErrorInside { nth, kind }),
        4 => wait().prop_map(Transition::Wait),
        4 => change().prop_map(Transition::Change),
    ]
}
