//! Properties: whatever opens, passes, ends, expires and is reloaded, the tables agree with each other after
//! every step, and once everything has timed out nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::forward::rules::RuleId;
use crate::nat::eviction::queue_of;
use crate::nat::mapping::pool_index;
use crate::packet::parsed::{Kind, Parsed};
use crate::plan::Route;
use crate::wire::tcp::TcpFlags;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A packet from inside: protocol, host, port, remote (0 to 3 outside, then our own endpoints).
    Out(u8, u8, u8, u8, u8),
    /// A packet from outside: protocol, remote, external address and port, flags.
    In(u8, u8, u8, u8, u8),
    Wait(u16),
    Sweep,
    Reload(Change),
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Forward { host: u8, port: u8, enabled: bool },
    NoForwards,
    Dmz(Option<u8>),
    OneToOne(Option<u8>),
    Wan(u8),
    SecondAddress(bool),
    Mapping(u8),
    Filtering(u8),
    MaxSessions(u8),
    Route(u8),
    Ports(u8),
    Timeout(u8),
    Hairpin(bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0u8..3, 0u8..4, any::<bool>())
            .prop_map(|(host, port, enabled)| Change::Forward { host, port, enabled }),
        1 => Just(Change::NoForwards),
        1 => prop::option::of(0u8..3).prop_map(Change::Dmz),
        1 => prop::option::of(0u8..3).prop_map(Change::OneToOne),
        1 => (0u8..2).prop_map(Change::Wan),
        1 => any::<bool>().prop_map(Change::SecondAddress),
        1 => (0u8..3).prop_map(Change::Mapping),
        1 => (0u8..3).prop_map(Change::Filtering),
        1 => (1u8..20).prop_map(Change::MaxSessions),
        1 => (0u8..3).prop_map(Change::Route),
        1 => (1u8..6).prop_map(Change::Ports),
        1 => (1u8..20).prop_map(Change::Timeout),
        1 => any::<bool>().prop_map(Change::Hairpin),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4, 0u8..4, 0u8..4, 0u8..6, 0u8..5).prop_map(|(p, h, s, r, f)| Step::Out(p, h, s, r, f)),
        8 => (0u8..4, 0u8..4, 0u8..4, 0u8..4, 0u8..5).prop_map(|(p, r, a, e, f)| Step::In(p, r, a, e, f)),
        2 => (0u16..400).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
        2 => change().prop_map(Step::Reload),
    ]
}

fn protocol(index: u8) -> Protocol {
    [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ESP][index as usize]
}

const FLAGS: [TcpFlags; 5] = [TcpFlags::SYN, TcpFlags(0x12), TcpFlags::ACK, TcpFlags(0x11), TcpFlags::RST];

/// Hosts 0 to 2 are on the lan, host 3 lies behind the route.
fn host(index: u8) -> Ipv4Addr {
    if index == 3 { Ipv4Addr::new(10, 20, 0, 5) } else { Ipv4Addr::new(192, 168, 0, 10 + index) }
}

fn external(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, [1, 9, 5][index as usize % 3])
}

pub(super) fn start() -> Plan {
    let mut plan = plan();
    plan.lans.push(Lan {
        name: "guest".into(),
        address: "192.168.1.1/24".parse().unwrap(),
        ..plan.lans[0].clone()
    });
    plan.nat.ports = 2000..=2007;
    plan.nat.max_sessions = 12;
    plan.nat.max_sessions_per_host = 8;
    plan.nat.max_ports_per_host = 4;
    plan
}

fn change_plan(plan: &mut Plan, change: &Change) {
    match *change {
        Change::Forward { host: index, port, enabled } => {
            let mut rule = web(&host(index).to_string());
            rule.name = plan.forwards.len().to_string();
            rule.protocols = vec![Protocol::TCP, Protocol::UDP];
            let external = 2000 + u16::from(port);
            let internal_first = 2000 + u16::from(port % 2);
            rule.ports =
                vec![PortRange { external_first: external, external_last: external, internal_first }];
            rule.enabled = enabled;
            plan.forwards.push(rule);
        }
        Change::NoForwards => plan.forwards.clear(),
        Change::Dmz(to) => plan.dmz = to.map(host),
        Change::OneToOne(owner) => {
            plan.hosts.clear();
            if let (Some(index), false) = (owner, plan.wan.addresses.is_empty()) {
                plan.hosts.push(Host {
                    name: "own".into(),
                    mac: None,
                    address: host(index),
                    filtering: None,
                    mapping: None,
                    external: Some(external(2)),
                });
            }
        }
        Change::Wan(index) => plan.wan.address = format!("{}/24", external(index)).parse().unwrap(),
        Change::SecondAddress(there) => {
            plan.wan.addresses = if there { vec![external(2)] } else { Vec::new() };
            plan.hosts.clear();
        }
        Change::Mapping(index) => {
            plan.nat.mapping = [
                MappingBehavior::EndpointIndependent,
                MappingBehavior::AddressDependent,
                MappingBehavior::AddressAndPortDependent,
            ][index as usize];
        }
        Change::Filtering(index) => {
            plan.nat.filtering = [
                FilteringBehavior::EndpointIndependent,
                FilteringBehavior::AddressDependent,
                FilteringBehavior::AddressAndPortDependent,
            ][index as usize];
        }
        Change::MaxSessions(max) => plan.nat.max_sessions = max.into(),
        Change::Route(lan) => {
            let via = Ipv4Addr::new(192, 168, lan.min(1), 254);
            plan.routes =
                if lan < 2 { vec![Route { to: "10.20.0.0/16".parse().unwrap(), via }] } else { Vec::new() };
        }
        Change::Ports(count) => plan.nat.ports = 2001..=2001 + u16::from(count),
        Change::Timeout(minutes) => {
            plan.nat.timeouts.tcp_established = Duration::from_secs(60 * u64::from(minutes))
        }
        Change::Hairpin(on) => plan.nat.hairpin = on,
    }
}

pub(super) struct World {
    pub(super) nat: Nat,
    pub(super) plan: Plan,
    pub(super) now: Timestamp,
}

impl World {
    /// A packet of a session that is known, as the router handles it. False when it is not.
    fn pass_known(&mut self, key: SessionKey, flags: TcpFlags) -> bool {
        let hash = self.nat.sessions.hash(key);
        let Some((id, direction)) = self.nat.lookup(self.now, key, hash, None) else { return false };
        if !self.nat.revalidate(self.now, id) {
            return false;
        }
        let session = &self.nat.sessions[id];
        let is_tcp = session.protocol == Protocol::TCP;
        if is_tcp && flags == TcpFlags::SYN && session.tcp.is_closing() {
            self.nat.reopen(self.now, id, direction);
        }
        let tcp_flags = if is_tcp { flags } else { TcpFlags::NONE };
        let packet = Parsed { kind: Kind::Other, tcp_flags, ..Parsed::BLANK };
        self.nat.touch(self.now, id, direction, &packet);
        true
    }

    fn outbound(
        &mut self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        flags: TcpFlags,
    ) {
        let Some(hop) = self.nat.routes.lookup(*internal.ip()).filter(|hop| hop.port != PortId::WAN) else {
            return;
        };
        if self.pass_known(SessionKey::new(hop.port, protocol, internal, remote), flags)
            || (protocol == Protocol::ICMP && !self.may_ask(internal, remote))
        {
            return;
        }
        if let Ok(id) =
            self.nat.open_outbound(self.now, protocol, internal, remote, hop.port, &Foreseen::NOTHING)
        {
            let source = self.nat.sessions[id].external();
            if self.nat.settings.is_external(*remote.ip()) {
                self.inbound(protocol, source, remote, flags, true);
            }
        }
    }

    /// Whether an ICMP packet is a query, and not one that the router answers.
    fn may_ask(&self, internal: SocketAddrV4, remote: SocketAddrV4) -> bool {
        let settings = &self.nat.settings;
        let is_for_router =
            settings.is_external(*remote.ip()) && settings.one_to_one_host(*remote.ip()).is_none();
        internal.port() != 0 && !is_for_router
    }

    pub(super) fn inbound(
        &mut self,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        flags: TcpFlags,
        from_inside: bool,
    ) {
        if self.pass_known(SessionKey::new(PortId::WAN, protocol, source, external), flags)
            || (protocol == Protocol::ICMP && external.port() != 0)
        {
            return;
        }
        let judged = self.nat.judge_inbound(self.now, protocol, source, external, from_inside);
        let Ok(admission) = judged else { return };
        let hop = self.nat.routes.lookup(*admission.internal.ip()).filter(|hop| hop.port != PortId::WAN);
        if let Some(hop) = hop {
            let _ = self.nat.open_inbound(
                self.now,
                protocol,
                source,
                external,
                admission,
                hop.port,
                &Foreseen::NOTHING,
            );
        }
    }

    pub(super) fn run(&mut self, step: &Step) {
        match *step {
            Step::Out(kind, from, port, to, flags) => {
                let protocol = protocol(kind);
                // A query's identifier is on the side of who asks.
                let is_reply = protocol == Protocol::ICMP && flags % 2 == 1;
                let has_port = protocol != Protocol::ESP && !is_reply;
                let internal =
                    SocketAddrV4::new(host(from), if has_port { 2000 + u16::from(port) } else { 0 });
                let has_remote_port = matches!(protocol, Protocol::TCP | Protocol::UDP) || is_reply;
                let remote_port = if has_remote_port { 2000 + u16::from(to % 2) } else { 0 };
                let address = match to {
                    0..=3 => Ipv4Addr::new(198, 51, 100, to / 2),
                    5 if self.nat.settings.is_external(external(2)) => external(2),
                    _ => self.plan.wan.address.addr(),
                };
                self.outbound(
                    protocol,
                    internal,
                    SocketAddrV4::new(address, remote_port),
                    FLAGS[flags as usize],
                );
            }
            Step::In(kind, from, address, port, flags) => {
                let protocol = protocol(kind);
                let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
                let of = |port: u8| if has_ports { 2000 + u16::from(port) } else { 0 };
                let (asked, answered) = match protocol {
                    Protocol::ICMP if flags % 2 == 1 => (0, 2000 + u16::from(port)),
                    Protocol::ICMP => (2000 + u16::from(from % 2), 0),
                    _ => (of(from % 2), of(port)),
                };
                let source = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, from / 2), asked);
                let to = SocketAddrV4::new(external(address), answered);
                if self.nat.settings.is_external(*to.ip()) {
                    self.inbound(protocol, source, to, FLAGS[flags as usize], false);
                }
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                self.nat.expire(self.now);
            }
            Step::Sweep => self.nat.sweep(self.now),
            Step::Reload(ref change) => {
                let before = self.plan.clone();
                change_plan(&mut self.plan, change);
                self.nat.tally.apply(&before, &self.plan, self.plan.nat.max_sessions);
                let routes = RouteTable::from_plan(&self.plan).into();
                self.nat.apply(self.now, UnixTime(0), &self.plan, routes);
            }
        }
    }

    pub(super) fn check(&self) {
        let nat = &self.nat;
        let mut hosts: BTreeMap<u32, u32> = BTreeMap::new();
        let mut uses: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let mut peers: BTreeMap<(u32, Ipv4Addr), u32> = BTreeMap::new();
        let mut queued: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
        let sessions = || (0..nat.sessions.end()).filter_map(|id| Some((id, nat.sessions.get(id)?)));
        let counted: u32 =
            (0..self.plan.forwards.len() as u32).map(|id| nat.tally.sessions(RuleId(id))).sum();
        let placed = sessions().filter(|(_, session)| session.takes_place());
        // Once all are judged again; until then some have a rule that is gone.
        let is_judged = sessions().all(|(_, session)| session.epoch == nat.epoch);
        let placed = placed.count() as u32;
        assert!(if is_judged { counted == placed } else { counted <= placed }, "{counted} of {placed}");
        for (id, session) in sessions() {
            assert_eq!(nat.hosts[session.host].address, session.internal_address);
            *hosts.entry(session.host).or_default() += 1;
            if session.mapping != NONE {
                let mapping = nat.mappings.get(session.mapping).expect("its mapping");
                assert_eq!((mapping.internal, mapping.external), (session.internal(), session.external()));
                let sent = session.flags.contains(SessionFlags::SENT);
                let entry = uses.entry(session.mapping).or_default();
                *entry = (entry.0 + 1, entry.1 + u32::from(sent));
                if sent {
                    *peers.entry((session.mapping, session.remote_address)).or_default() += 1;
                }
            }
            for direction in [Direction::Outbound, Direction::Inbound] {
                assert_eq!(nat.sessions.find_key(session.key(direction)), Some((id, direction)));
            }
            if let Some(queue) = queue_of(session) {
                queued.entry(queue).or_default().insert(id);
            }
            assert!(nat.wheel.is_armed(id));
        }
        assert_eq!(nat.wheel.len() as usize, nat.sessions.len());
        assert_eq!(nat.queues.members(&nat.sessions), queued);

        let mut ports: BTreeMap<(u32, usize), u32> = BTreeMap::new();
        let mut externals = BTreeSet::new();
        for (id, mapping) in nat.mappings.iter() {
            assert_eq!(uses.remove(&id), Some((mapping.sessions, mapping.sent)), "{mapping:?}");
            let pool = pool_index(mapping.protocol).expect("a protocol with ports");
            *ports.entry((mapping.host, pool)).or_default() += 1;
            let owner = nat.mappings.find_external(mapping.protocol, mapping.external);
            assert_eq!(owner == Some(id), !mapping.revoked);
            if !mapping.revoked {
                assert!(externals.insert((mapping.protocol, mapping.external)), "two owners: {mapping:?}");
                assert_eq!(nat.mappings.find_like(mapping), Some(id));
            }
        }
        assert_eq!(uses, BTreeMap::new(), "sessions of mappings that are gone");
        assert_eq!(nat.mappings.owned_ports(), externals.len());
        for (id, host) in nat.hosts.iter() {
            assert_eq!(hosts.remove(&id), Some(host.sessions), "{host:?}");
            let counted = [0, 1, 2].map(|pool| ports.remove(&(id, pool)).unwrap_or(0));
            assert_eq!(counted, host.ports);
        }
        assert_eq!((hosts, ports), (BTreeMap::new(), BTreeMap::new()));
        let known = nat.peers.iter().map(|(mapping, remote, count)| ((mapping, remote), count)).collect();
        assert_eq!(peers, known);
        let created = nat.stages.mappings_created - nat.stages.mappings_ended;
        assert_eq!(created as usize, externals.len());
    }
}

proptest! {
    #[test]
    fn tables_agree_and_nothing_is_left(steps in prop::collection::vec(step(), 1..120)) {
        let plan = start();
        let mut world = World { nat: nat(&plan), plan, now: NOW };
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.now += Duration::from_secs(200_000);
        for _ in 0..200 {
            world.nat.expire(world.now);
        }
        world.check();
        prop_assert_eq!((world.nat.sessions.len(), world.nat.mappings.len()), (0, 0));
        prop_assert_eq!(world.nat.hosts.iter().count(), 0);
    }
}
