//! Port forwards, compiled for look-up.
//!
//! A forward is a static mapping both ways. From outside, (protocol, external endpoint, source) gives the target;
//! from inside, an internal endpoint that some forward points at gives the external endpoint that its new sessions
//! leave from.
//!
//! The number of rules does not count in a look-up: it finds the external (or internal) address by binary search,
//! then the list of the rules of that port (`port_index`), and only goes through rules that have the very
//! port. Memory per rule's range, protocol and direction: `port_index` states the most, under 2 KiB. So
//! 10,000 rules of one port each, for TCP, take some 5 MB when every one has its own target, under 1 MB when they
//! share a few targets, and less than 80 MB in the worst case that can be made up for both protocols.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::port_index::{PortIndex, Store};
use crate::plan::{ForwardRule, Plan};
use crate::time::{Timestamp, UnixTime};
use crate::trail::ForwardSays;
use crate::wire::ipv4::Protocol;

/// A forward: its position in [`Plan::forwards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// What the forwards say about a packet to an external endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// No forward has this port.
    NotOwned,
    /// Every forward that has it is disabled, has expired, or is out of its hours; this is the first.
    Closed(RuleId),
    /// Open forwards have it, but none admits the source; this is the first.
    Refused(RuleId),
    /// This forward takes it.
    To {
        /// Which.
        rule: RuleId,
        /// Where the packet goes.
        internal: SocketAddrV4,
    },
}

/// All forwards of a plan.
#[derive(Clone, Debug)]
pub struct ForwardTable {
    rules: Vec<Rule>,
    ranges: Vec<Range>,
    /// The `from`s of all rules, each a part of it.
    sources: Vec<(u32, u32)>,
    /// Rules whose new sessions are told of, in order.
    logged: Vec<RuleId>,
    store: Store,
    inbound: [Scopes; 2],
    /// By protocol and target address.
    outbound: [Vec<(Ipv4Addr, PortIndex)>; 2],
    /// Rules that will close by themselves, soonest first.
    expiries: Vec<(Timestamp, RuleId)>,
}

/// The forwards of one protocol, by external port.
#[derive(Clone, Debug, Default)]
struct Scopes {
    /// Those that name an address, by that address.
    named: Vec<(Ipv4Addr, PortIndex)>,
    /// Those that hold for every external address.
    any: PortIndex,
}

/// What holds for all ports of a rule.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Open before this time: `ZERO` when disabled, `MAX` when it does not expire.
    closes: Timestamp,
    to: Ipv4Addr,
    /// The external address that it names, or 0.0.0.0.
    address: Ipv4Addr,
    from: SourceSet,
}

/// One run of ports of one rule, with all that its packets are judged by: one read of memory for each of them.
/// Numbered in file order.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Range {
    rule: Rule,
    id: RuleId,
    external_first: u16,
    internal_first: u16,
}

const _: () = assert!(size_of::<Range>() == 32);

impl ForwardTable {
    /// Compiles the forwards of `plan`. `wall` is the wall time at `now`.
    pub fn compile(plan: &Plan, now: Timestamp, wall: UnixTime) -> ForwardTable {
        let mut sources = Vec::new();
        let rules: Vec<Rule> =
            plan.forwards.iter().map(|forward| Rule::compile(forward, now, wall, &mut sources)).collect();
        let logged = plan.forwards.iter().zip(0..).filter(|(forward, _)| forward.log);
        let logged = logged.map(|(_, id)| RuleId(id)).collect();
        let mut ranges = Vec::new();
        let mut store = Store::default();
        let mut named: [BTreeMap<Ipv4Addr, PortIndex>; 2] = Default::default();
        let mut any: [PortIndex; 2] = Default::default();
        let mut outbound: [BTreeMap<Ipv4Addr, PortIndex>; 2] = Default::default();

        for ((forward, &rule), id) in plan.forwards.iter().zip(&rules).zip(0..) {
            ranges.extend(forward.ports.iter().map(|ports| Range {
                rule,
                id: RuleId(id),
                external_first: ports.external_first,
                internal_first: ports.internal_first,
            }));
        }
        // Back to front, as the store wants it.
        let mut item = ranges.len() as u32;
        for forward in plan.forwards.iter().rev() {
            for ports in forward.ports.iter().rev() {
                item -= 1;
                let (first, last) = (ports.external_first, ports.external_last);
                // The config crate refuses ranges that end past 65535 inside.
                let internal_last = ports.internal_first.saturating_add(last.saturating_sub(first));
                let mut protocols: Vec<usize> =
                    forward.protocols.iter().filter_map(|&protocol| slot(protocol)).collect();
                protocols.sort_unstable();
                protocols.dedup();
                for protocol in protocols {
                    let index = match forward.address {
                        Some(address) => named[protocol].entry(address).or_default(),
                        None => &mut any[protocol],
                    };
                    store.add(index, first, last, item);
                    let index = outbound[protocol].entry(forward.to).or_default();
                    store.add(index, ports.internal_first, internal_last, item);
                }
            }
        }

        let numbered = rules.iter().zip(0..).map(|(rule, id)| (rule.closes, RuleId(id)));
        let mut expiries: Vec<_> =
            numbered.filter(|(closes, _)| *closes > now && *closes < Timestamp::MAX).collect();
        expiries.sort_unstable();
        let [named_tcp, named_udp] = named.map(|map| map.into_iter().collect());
        let [any_tcp, any_udp] = any;
        ForwardTable {
            rules,
            ranges,
            sources,
            logged,
            store,
            inbound: [Scopes { named: named_tcp, any: any_tcp }, Scopes { named: named_udp, any: any_udp }],
            outbound: outbound.map(|map| map.into_iter().collect()),
            expiries,
        }
    }

    /// Judges a packet from `source` to `external`:`port`, which must be one of the router's external addresses.
    /// Rules that name the address come before those that do not, then the order of the file holds; the first
    /// open one that admits the source takes it. Inside hosts are admitted by every `from`.
    pub fn inbound(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: Ipv4Addr,
        port: u16,
        source: Ipv4Addr,
        from_inside: bool,
    ) -> Inbound {
        self.inbound_observed(now, protocol, external, port, (source, from_inside), |_, _| {})
    }

    /// [`ForwardTable::inbound`], telling what every forward says that is asked.
    #[inline]
    pub(crate) fn inbound_observed(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: Ipv4Addr,
        port: u16,
        (source, from_inside): (Ipv4Addr, bool),
        mut tell: impl FnMut(RuleId, ForwardSays),
    ) -> Inbound {
        let mut judgement = Inbound::NotOwned;
        for item in self.candidates(protocol, external, port) {
            let range = &self.ranges[item as usize];
            let rule = &range.rule;
            if now >= rule.closes {
                tell(range.id, ForwardSays::Closed);
                if judgement == Inbound::NotOwned {
                    judgement = Inbound::Closed(range.id);
                }
            } else if from_inside || rule.from.contains(&self.sources, source) {
                let internal_port =
                    range.internal_first.wrapping_add(port.wrapping_sub(range.external_first));
                let internal = SocketAddrV4::new(rule.to, internal_port);
                tell(range.id, ForwardSays::To(internal));
                return Inbound::To { rule: range.id, internal };
            } else {
                tell(range.id, ForwardSays::NotFromThere);
                if !matches!(judgement, Inbound::Refused(_)) {
                    judgement = Inbound::Refused(range.id);
                }
            }
        }
        judgement
    }

    /// Reads what judging a packet begins with, for it to be in the cache. What is read means nothing.
    #[inline]
    pub(crate) fn touch(&self, protocol: Protocol, external: Ipv4Addr, port: u16) -> u64 {
        let first = self.candidates(protocol, external, port).next();
        first.map_or(0, |item| self.ranges[item as usize].rule.closes.as_nanos())
    }

    /// The host that a rule points at.
    pub(crate) fn target(&self, rule: RuleId) -> Option<Ipv4Addr> {
        self.rules.get(rule.0 as usize).map(|rule| rule.to)
    }

    /// The external endpoint that a new session from `internal` leaves from when a forward points at it: the
    /// first open one in file order that gives the host's `paired` external address, otherwise the first open one.
    /// A rule that names no address gives the paired one.
    pub fn outbound(
        &self,
        now: Timestamp,
        protocol: Protocol,
        internal: SocketAddrV4,
        paired: Ipv4Addr,
    ) -> Option<(RuleId, SocketAddrV4)> {
        let index = find(&self.outbound[slot(protocol)?], *internal.ip())?;
        let mut other = None;
        for item in self.store.items(index, internal.port()) {
            let range = &self.ranges[item as usize];
            let rule = &range.rule;
            if now >= rule.closes {
                continue;
            }
            let port = range.external_first.wrapping_add(internal.port().wrapping_sub(range.internal_first));
            let address = if rule.address.is_unspecified() { paired } else { rule.address };
            let found = (range.id, SocketAddrV4::new(address, port));
            if address == paired {
                return Some(found);
            }
            other = other.or(Some(found));
        }
        other
    }

    /// The first open rule that maps `external` to `internal`, whatever its `from`: what keeps a session alive that
    /// the target opened from the forward's port.
    pub fn maps(
        &self,
        now: Timestamp,
        protocol: Protocol,
        external: SocketAddrV4,
        internal: SocketAddrV4,
    ) -> Option<RuleId> {
        let port = external.port();
        self.candidates(protocol, *external.ip(), port).find_map(|item| {
            let range = &self.ranges[item as usize];
            let internal_port = range.internal_first.wrapping_add(port.wrapping_sub(range.external_first));
            let target = SocketAddrV4::new(range.rule.to, internal_port);
            (now < range.rule.closes && target == internal).then_some(range.id)
        })
    }

    /// External ports that some forward has, disabled and expired ones included; a port may come twice.
    pub fn reserved_ports(&self, protocol: Protocol, external: Ipv4Addr) -> impl Iterator<Item = u16> + '_ {
        let indices = slot(protocol).map(|protocol| {
            let scopes = &self.inbound[protocol];
            find(&scopes.named, external).into_iter().chain([&scopes.any])
        });
        indices.into_iter().flatten().flat_map(|index| self.store.ports(index))
    }

    /// The next rule that closes by itself after `now`, and when.
    pub fn next_expiry(&self, now: Timestamp) -> Option<(Timestamp, RuleId)> {
        let position = self.expiries.partition_point(|(closes, _)| *closes <= now);
        self.expiries.get(position).copied()
    }

    /// The rules that have closed by themselves after `since` and until `now`, that moment included.
    pub fn expired(&self, since: Timestamp, now: Timestamp) -> impl Iterator<Item = RuleId> + '_ {
        let first = self.expiries.partition_point(|(closes, _)| *closes <= since);
        self.expiries[first..].iter().take_while(move |(closes, _)| *closes <= now).map(|(_, rule)| *rule)
    }

    /// Whether a rule is enabled and has not expired.
    ///
    /// # Panics
    /// When the rule is not of this plan.
    pub fn is_open(&self, now: Timestamp, rule: RuleId) -> bool {
        now < self.rules[rule.0 as usize].closes
    }

    /// Whether a rule's new sessions are to be told of.
    pub fn is_logged(&self, rule: RuleId) -> bool {
        self.logged.binary_search(&rule).is_ok()
    }

    /// Ranges that hold an external port, in the order of judgement.
    fn candidates(
        &self,
        protocol: Protocol,
        external: Ipv4Addr,
        port: u16,
    ) -> impl Iterator<Item = u32> + use<'_> {
        const NONE: &PortIndex = &PortIndex::EMPTY;
        let scopes = slot(protocol).map(|protocol| &self.inbound[protocol]);
        let named = scopes.and_then(|scopes| find(&scopes.named, external)).unwrap_or(NONE);
        let any = scopes.map_or(NONE, |scopes| &scopes.any);
        let (mut named, mut any) = (self.store.items(named, port), self.store.items(any, port));
        std::iter::from_fn(move || named.next().or_else(|| any.next()))
    }
}

impl Rule {
    fn compile(forward: &ForwardRule, now: Timestamp, wall: UnixTime, sources: &mut Vec<(u32, u32)>) -> Rule {
        let closes = match forward.expires {
            _ if !forward.enabled => Timestamp::ZERO,
            None => Timestamp::MAX,
            Some(expires) => match u64::try_from(expires.0.saturating_sub(wall.0)) {
                Ok(left @ 1..) => now + Duration::from_secs(left),
                _ => Timestamp::ZERO,
            },
        };
        let address = forward.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        Rule { to: forward.to, address, from: SourceSet::compile(&forward.from, sources), closes }
    }
}

/// Position of a protocol that can be forwarded in the tables by protocol.
fn slot(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(0),
        Protocol::UDP => Some(1),
        _ => None,
    }
}

fn find(sorted: &[(Ipv4Addr, PortIndex)], address: Ipv4Addr) -> Option<&PortIndex> {
    let position = sorted.binary_search_by_key(&address, |(address, _)| *address).ok()?;
    Some(&sorted[position].1)
}

/// A `from`: runs of addresses that neither overlap nor touch, in order, so that a list of thousands of networks
/// costs a binary search.
#[derive(Clone, Copy, Debug)]
struct SourceSet {
    /// Its runs among those of all rules, each with its first and last address; none: everybody.
    first: u32,
    end: u32,
}

impl SourceSet {
    fn compile(networks: &[Ipv4Net], all: &mut Vec<(u32, u32)>) -> SourceSet {
        let bounds = |network: &Ipv4Net| (network.network().to_bits(), network.broadcast().to_bits());
        let mut sorted: Vec<(u32, u32)> = networks.iter().map(bounds).collect();
        sorted.sort_unstable();
        let begin = all.len();
        for (first, last) in sorted {
            match all[begin..].last_mut() {
                Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
                _ => all.push((first, last)),
            }
        }
        SourceSet { first: begin as u32, end: all.len() as u32 }
    }

    #[inline]
    fn contains(self, all: &[(u32, u32)], source: Ipv4Addr) -> bool {
        if self.first == self.end {
            return true;
        }
        let runs = &all[self.first as usize..self.end as usize];
        let source = source.to_bits();
        let after = runs.partition_point(|&(first, _)| first <= source);
        after > 0 && source <= runs[after - 1].1
    }
}

#[cfg(test)]
mod tests;
