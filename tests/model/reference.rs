//! A NAT as one would explain it: a list of sessions, searched from its front, and nothing remembered that can be
//! worked out. Written from the design and the RFCs, to be compared with the engine step by step.
//!
//! Where the router has a choice (which free port, which of several sessions makes room) the reference looks at what
//! it chose and says whether it might.

mod connection;
mod limits;
mod opening;
mod packets;
mod plan_change;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_engine::plan::ForwardRule;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, Plan, PortId, Timestamp};

pub(crate) use connection::{Connection, Side};
use limits::Bucket;
pub(crate) use packets::{Fate, Outcome, Told};

/// How long a port that was given back is kept for its last host (design, Ports).
const REST: Duration = Duration::from_secs(120);

/// Who let a session in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Outbound,
    ForwardOutbound,
    Forward,
    Inbound,
    Dmz,
    OneToOne,
    Routed,
}

impl Origin {
    /// As listings call it.
    fn name(self) -> &'static str {
        match self {
            Origin::Outbound => "outbound",
            Origin::ForwardOutbound | Origin::Forward => "forward",
            Origin::Inbound => "inbound",
            Origin::Dmz => "dmz",
            Origin::OneToOne => "one-to-one",
            Origin::Routed => "routed",
        }
    }
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) protocol: Protocol,
    pub(crate) internal: SocketAddrV4,
    pub(crate) external: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    inside: PortId,
    outside: PortId,
    origin: Origin,
    /// It uses the dynamic mapping of its internal endpoint for the remotes of this scope.
    mapping: Option<SocketAddrV4>,
    connection: Connection,
    opened_inbound: bool,
    /// Packets of either side keep it, for it was let in by a rule.
    kept_by_both: bool,
    /// Its remote endpoint is one of ours.
    is_hairpin: bool,
    /// The other side than the opener's has sent something.
    answered: bool,
    /// The inside has sent something that counts.
    sent: bool,
    expires: Timestamp,
    /// When it came to wait for its answer, or was closed: older ones make room first.
    queued: u64,
}

/// A protocol's endpoint outside.
type External = (u8, SocketAddrV4);

/// A port that was given back.
#[derive(Clone, Copy, Debug)]
struct Rest {
    host: Ipv4Addr,
    until: Timestamp,
}

/// The table row of a session: protocol, internal, external and remote endpoint.
pub(crate) type Row = (u8, SocketAddrV4, SocketAddrV4, SocketAddrV4);

/// What the router lists after a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Its sessions.
    pub(crate) rows: Vec<Row>,
    /// Sources of the packets that left.
    pub(crate) sources: Vec<SocketAddrV4>,
    /// Why it dropped the packet.
    pub(crate) drops: Vec<DropReason>,
}

impl Seen {
    /// The external endpoint that the router gave a session.
    fn external_of(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        let row = self.rows.iter().find(|row| (row.0, row.1, row.3) == (protocol.0, internal, remote));
        // It may already have made room for another.
        row.map(|row| row.2).or_else(|| self.sources.first().copied())
    }
}

/// The reference.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) plan: Plan,
    pub(crate) now: Timestamp,
    pub(crate) sessions: Vec<Session>,
    /// Ports that rest for everybody but their last host.
    rests: BTreeMap<External, Rest>,
    /// Ports that rest for everybody.
    closed: BTreeMap<External, Timestamp>,
    /// Which of the shared external addresses each host has.
    pairs: BTreeMap<(Vec<Ipv4Addr>, Ipv4Addr), Ipv4Addr>,
    /// What is left of the buckets of the sources that a forward brakes: by its name and the source.
    buckets: BTreeMap<(String, Ipv4Addr), Bucket>,
    /// When a session last ended by itself.
    last_expiry: Timestamp,
    events: u64,
    /// The router made a choice that left no trace: a session that made room again for its own other half.
    pub(crate) has_lost_track: bool,
}

impl Reference {
    pub(crate) fn new(plan: Plan, now: Timestamp) -> Reference {
        Reference {
            plan,
            now,
            sessions: Vec::new(),
            rests: BTreeMap::new(),
            closed: BTreeMap::new(),
            pairs: BTreeMap::new(),
            buckets: BTreeMap::new(),
            last_expiry: Timestamp::ZERO,
            events: 0,
            has_lost_track: false,
        }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        let mut over: Vec<Timestamp> =
            self.sessions.iter().map(|session| session.expires).filter(|&at| at <= now).collect();
        over.sort_unstable();
        for at in over {
            (self.now, self.last_expiry) = (at, at);
            if let Some(position) = self.sessions.iter().position(|session| session.expires == at) {
                self.end(position);
            }
        }
        self.now = now;
    }

    /// Whether something has just ended by itself. The router may take two seconds to clear it away, so nothing is
    /// tried then.
    pub(crate) fn something_ended_within(&self, lately: Duration) -> bool {
        let rests = self.rests.values().map(|rest| rest.until);
        let ends = rests.chain(self.closed.values().copied()).chain([self.last_expiry]);
        let mut recent = ends.filter(|&at| at <= self.now && at + lately > self.now);
        recent.next().is_some()
    }

    /// When each session would end if nothing came.
    pub(crate) fn expiries(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.sessions.iter().map(|session| session.expires)
    }

    /// Dynamic mappings: protocol, internal and external endpoint, sessions.
    pub(crate) fn mappings(&self) -> BTreeMap<(u8, SocketAddrV4, SocketAddrV4), u32> {
        let mut mappings = BTreeMap::new();
        for session in self.sessions.iter().filter(|session| session.mapping.is_some()) {
            *mappings.entry((session.protocol.0, session.internal, session.external)).or_default() += 1;
        }
        mappings
    }

    /// Ends a session; the port of a mapping that ends with it rests.
    fn end(&mut self, position: usize) {
        let session = self.sessions.remove(position);
        if session.mapping.is_some() && !self.sessions.iter().any(|other| other.shares_mapping(&session)) {
            self.give_back(&session);
        }
    }

    fn give_back(&mut self, session: &Session) {
        let (protocol, external) = (session.protocol, session.external);
        if self.pool(protocol).contains(&external.port()) && !self.is_reserved(protocol, external) {
            let rest = Rest { host: *session.internal.ip(), until: self.now + REST };
            self.rests.insert((protocol.0, external), rest);
        }
    }

    /// Ports that may be handed out.
    fn pool(&self, protocol: Protocol) -> std::ops::RangeInclusive<u16> {
        if protocol == Protocol::ICMP { 0..=u16::MAX } else { self.plan.nat.ports.clone() }
    }

    fn is_external(&self, address: Ipv4Addr) -> bool {
        self.plan.wan.external_addresses().any(|ours| ours == address)
    }

    /// External addresses that no host has for itself.
    fn shared(&self) -> Vec<Ipv4Addr> {
        let is_owned =
            |address: &Ipv4Addr| self.plan.hosts.iter().any(|host| host.external == Some(*address));
        self.plan.wan.external_addresses().filter(|address| !is_owned(address)).collect()
    }

    /// The external address that is this host's alone.
    fn own_external(&self, host: Ipv4Addr) -> Option<Ipv4Addr> {
        self.plan.hosts.iter().find(|entry| entry.address == host)?.external
    }

    /// The host that has an external address for itself.
    fn one_to_one_host(&self, external: Ipv4Addr) -> Option<Ipv4Addr> {
        self.plan.hosts.iter().find(|host| host.external == Some(external)).map(|host| host.address)
    }

    fn filtering(&self, host: Ipv4Addr) -> FilteringBehavior {
        let entry = self.plan.hosts.iter().find(|entry| entry.address == host);
        entry.and_then(|entry| entry.filtering).unwrap_or(self.plan.nat.filtering)
    }

    fn mapping_behavior(&self, host: Ipv4Addr) -> MappingBehavior {
        let entry = self.plan.hosts.iter().find(|entry| entry.address == host);
        entry.and_then(|entry| entry.mapping).unwrap_or(self.plan.nat.mapping)
    }

    /// Behind which port an address lies.
    fn port_of(&self, address: Ipv4Addr) -> Option<PortId> {
        if self.is_external(address) {
            return None;
        }
        if self.plan.lans.iter().any(|lan| lan.address.addr() == address) {
            return self.plan.host_port.then_some(PortId::HOST);
        }
        let lan = self.plan.lans.iter().position(|lan| lan.address.contains(&address));
        Some(lan.map_or(PortId::WAN, PortId::lan))
    }

    /// Whether hosts behind one port may open sessions to those behind another.
    fn reaches(&self, from: PortId, to: PortId) -> bool {
        let Some(lan) = from.lan_index() else { return true };
        to == from
            || to == PortId::HOST
            || to.lan_index().is_some_and(|to| self.plan.lans[lan].reaches.contains(&to))
    }

    /// Forwards of an external endpoint in the order of judgement, each with the internal endpoint it leads to.
    fn forwards_of(&self, protocol: Protocol, external: SocketAddrV4) -> Vec<(&ForwardRule, SocketAddrV4)> {
        let target = |rule: &ForwardRule| {
            let ports = rule
                .ports
                .iter()
                .find(|ports| (ports.external_first..=ports.external_last).contains(&external.port()))?;
            let port = ports.internal_first + (external.port() - ports.external_first);
            Some(SocketAddrV4::new(rule.to, port))
        };
        let of = |named: bool| {
            self.plan.forwards.iter().filter(move |rule| {
                let address_fits =
                    if named { rule.address == Some(*external.ip()) } else { rule.address.is_none() };
                address_fits && rule.protocols.contains(&protocol)
            })
        };
        of(true).chain(of(false)).filter_map(|rule| Some((rule, target(rule)?))).collect()
    }

    /// Whether some forward has this port, open or not.
    fn is_reserved(&self, protocol: Protocol, external: SocketAddrV4) -> bool {
        !self.forwards_of(protocol, external).is_empty()
    }

    /// A session that uses the dynamic mapping which owns an external endpoint.
    fn owner(&self, protocol: Protocol, external: SocketAddrV4) -> Option<&Session> {
        self.sessions.iter().find(|session| {
            session.mapping.is_some() && (session.protocol, session.external) == (protocol, external)
        })
    }

    /// The number of the next event.
    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn lifetime(&self, session: &Session) -> Duration {
        let timeouts = &self.plan.nat.timeouts;
        match session.protocol {
            Protocol::TCP if session.connection.is_open() => timeouts.tcp_established,
            Protocol::TCP => timeouts.tcp_transitory,
            Protocol::UDP => timeouts.udp,
            Protocol::ICMP => timeouts.icmp,
            _ => timeouts.other,
        }
    }
}

impl Session {
    pub(crate) fn row(&self) -> Row {
        (self.protocol.0, self.internal, self.external, self.remote)
    }

    /// What a listing says besides: origin, state, idle time left.
    pub(crate) fn listed(&self, now: Timestamp) -> (&'static str, &'static str, Duration) {
        let state = match self.protocol {
            Protocol::TCP => self.connection.name(),
            _ if self.answered => "answered",
            _ => "unanswered",
        };
        (self.origin.name(), state, self.expires.saturating_since(now))
    }

    fn shares_mapping(&self, other: &Session) -> bool {
        let key = |session: &Session| (session.protocol, session.internal, session.external, session.mapping);
        self.mapping.is_some() && key(self) == key(other)
    }

    /// Nobody has answered its opener yet.
    fn is_unanswered(&self) -> bool {
        if self.protocol == Protocol::TCP { self.connection.is_opening() } else { !self.answered }
    }

    /// Both sides have closed it.
    fn is_closed(&self) -> bool {
        self.protocol == Protocol::TCP && self.connection.both_fins()
    }

    fn is_closing(&self) -> bool {
        self.protocol == Protocol::TCP && self.connection.is_closing()
    }
}
