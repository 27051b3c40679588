//! Forwards that never get a packet, or not on all of their ports, because another one always goes first.
//!
//! Of the forwards of a port those that name `address` go first, then file order counts, and the first whose
//! `from` admits the source gets the packet. So one shadows another when it goes first and admits whomever the
//! other admits. Closed forwards shadow nobody.

use std::net::Ipv4Addr;

use genkan_engine::UnixTime;
use genkan_engine::wire::ipv4::Protocol;
use ipnet::Ipv4Net;

use super::forwards::external;
use super::ports::all_of;
use crate::error::{Code, Report, Span};
use crate::schedule::Schedule;
use crate::schema::File;
use crate::validate::{Checked, Resolved, Topology};
use crate::value::ports::PortSpan;

/// Of many forwards that go first so many are shown.
const SHOWN: usize = 3;

/// One forward, as far as it matters here.
struct Rule<'f> {
    name: &'f str,
    span: &'f Span,
    /// Its turn among the forwards of a port.
    turn: (bool, usize),
    address: Option<Ipv4Addr>,
    /// Empty: everybody.
    from: Vec<Ipv4Net>,
    protocols: &'f [Protocol],
    expires: Option<UnixTime>,
    schedule: Option<&'f Schedule>,
    resolved: &'f Resolved,
}

/// A run of external ports of one rule and one protocol.
struct Run {
    ports: PortSpan,
    rule: usize,
}

/// What a rule loses. Its size is bounded: with thousands of rules on the same ports all pairs count.
#[derive(Default)]
struct Lost {
    /// Ports by protocol; may overlap.
    ports: Vec<(Protocol, PortSpan)>,
    /// Who takes them, in their turn; the first few.
    winners: Vec<usize>,
}

/// More runs of lost ports than anybody reads.
const MOST_RUNS: usize = 512;
/// As many winners as a message names, and one more to show that there are others.
const MOST_WINNERS: usize = 9;

impl Lost {
    fn add(&mut self, protocol: Protocol, ports: PortSpan, winner: usize, rules: &[Rule<'_>]) {
        let known =
            |(of, known): &(Protocol, PortSpan)| *of == protocol && known.overlap(ports) == Some(ports);
        if self.ports.len() < MOST_RUNS && !self.ports.iter().rev().take(4).any(known) {
            self.ports.push((protocol, ports));
        }
        let turn = |index: &usize| rules[*index].turn;
        if let Err(place) = self.winners.binary_search_by_key(&rules[winner].turn, turn) {
            self.winners.insert(place, winner);
            self.winners.truncate(MOST_WINNERS);
        }
    }
}

pub(super) fn lint(file: &File, checked: &Checked, topology: &Topology<'_>, report: &mut Report) {
    let rules: Vec<Rule<'_>> = rules(file, checked);
    let one_address = topology.external_count() == 1;
    let mut lost: Vec<Lost> = rules.iter().map(|_| Lost::default()).collect();
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let mut runs: Vec<Run> = Vec::new();
        for (rule, of) in rules.iter().enumerate().filter(|(_, rule)| rule.protocols.contains(&protocol)) {
            runs.extend(of.resolved.ports.iter().map(|range| Run { ports: external(range), rule }));
        }
        runs.sort_by_key(|run| run.ports);
        // Runs that reach into the one at hand; kept short by dropping those that end before it.
        let mut open: Vec<&Run> = Vec::new();
        for run in &runs {
            open.retain(|earlier| earlier.ports.last >= run.ports.first);
            for earlier in &open {
                let Some(ports) = earlier.ports.overlap(run.ports) else { continue };
                let (a, b) = (&rules[earlier.rule], &rules[run.rule]);
                if a.shadows(b, one_address) {
                    lost[run.rule].add(protocol, ports, earlier.rule, &rules);
                } else if b.shadows(a, one_address) {
                    lost[earlier.rule].add(protocol, ports, run.rule, &rules);
                }
            }
            open.push(run);
        }
    }
    for (rule, lost) in rules.iter().zip(&lost) {
        let winners: Vec<&Rule<'_>> = lost.winners.iter().map(|winner| &rules[*winner]).collect();
        tell(rule, &winners, lost, report);
    }
}

fn rules<'f>(file: &'f File, checked: &'f Checked) -> Vec<Rule<'f>> {
    let rule = |(index, (forward, resolved)): (usize, (&'f crate::schema::Forward, &'f Option<Resolved>))| {
        if forward.enabled.as_ref().is_some_and(|enabled| !enabled.value) {
            return None;
        }
        let name = forward.name.as_ref()?;
        let from: Vec<Ipv4Net> =
            forward.from.iter().flat_map(|from| &from.value.items).map(|net| net.value.0).collect();
        let everybody = from.iter().any(|net| net.prefix_len() == 0);
        Some(Rule {
            name: &name.value.0,
            span: forward.port.as_ref().map_or(&forward.span, |ports| &ports.span),
            turn: (forward.address.is_none(), index),
            address: forward.address.as_ref().map(|address| address.value.0),
            from: if everybody { Vec::new() } else { from },
            protocols: &forward.protocol.as_ref()?.value.0,
            expires: forward.expires.as_ref().map(|moment| moment.value.0),
            schedule: forward.schedule.as_ref().map(|schedule| &schedule.value),
            resolved: resolved.as_ref()?,
        })
    };
    file.forwards().zip(&checked.forwards).enumerate().filter_map(rule).collect()
}

impl Rule<'_> {
    /// Whether `self` gets every packet of a shared port that `other` would get.
    fn shadows(&self, other: &Rule<'_>, one_address: bool) -> bool {
        let first = self.turn < other.turn;
        let same_address = match (self.address, other.address) {
            (None, _) => true,
            (Some(own), Some(theirs)) => own == theirs,
            (Some(_), None) => one_address,
        };
        let admits = self.from.is_empty()
            || (!other.from.is_empty()
                && other.from.iter().all(|theirs| self.from.iter().any(|own| own.contains(theirs))));
        // One that ends earlier leaves its ports to the other then: that is how a move is prepared.
        let lasts = match (self.expires, other.expires) {
            (None, _) => true,
            (Some(own), Some(theirs)) => own >= theirs,
            (Some(_), None) => false,
        };
        // Out of its hours it leaves them to the other too.
        let hours = self.schedule.is_none() || self.schedule == other.schedule;
        first && same_address && admits && lasts && hours
    }

    /// Whether both do the same with every packet of `other`.
    fn says_the_same(&self, other: &Rule<'_>) -> bool {
        self.resolved == other.resolved
    }
}

/// Runs that may overlap, as few that do not.
fn joined(mut runs: Vec<PortSpan>) -> Vec<PortSpan> {
    runs.sort_unstable();
    let mut out: Vec<PortSpan> = Vec::new();
    for run in runs {
        match out.last_mut() {
            Some(last) if u32::from(run.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(run.last)
            }
            _ => out.push(run),
        }
    }
    out
}

fn tell(rule: &Rule<'_>, winners: &[&Rule<'_>], lost: &Lost, report: &mut Report) {
    let Some(first) = winners.first() else { return };
    let mut words = Vec::new();
    let mut everything = true;
    for protocol in rule.protocols {
        let of_protocol = lost.ports.iter().filter(|(of, _)| of == protocol).map(|(_, ports)| *ports);
        let gone = joined(of_protocol.collect());
        let all = joined(rule.resolved.ports.iter().map(external).collect());
        everything &= gone == all;
        words.extend(gone.iter().map(|ports| format!("{protocol} {ports}")));
    }
    let name = rule.name;
    let names: Vec<String> = winners.iter().map(|winner| format!("`{}`", winner.name)).collect();
    let (names, go) = (all_of(&names), if winners.len() == 1 { "goes" } else { "go" });
    let message = if everything && first.says_the_same(rule) {
        format!("forward `{name}` is a duplicate of `{}`", first.name)
    } else if everything {
        format!("forward `{name}` never gets a packet: {names} {go} first")
    } else {
        format!("forward `{name}` never gets a packet for {}: {names} {go} first", all_of(&words))
    };
    let diagnostic = report.warning(Code::Shadowed, rule.span, message);
    diagnostic.label("these ports are taken");
    for winner in winners.iter().take(SHOWN) {
        diagnostic.related(winner.span, format!("by `{}`", winner.name));
    }
    if rule.turn.1 < first.turn.1 {
        diagnostic.note("forwards that name `address` go before those that do not");
    }
    diagnostic.help(if everything {
        format!("take `{name}` away, or give it other ports, another `address` or other sources")
    } else {
        format!("take these ports out of `{name}`, or out of {names}")
    });
}
