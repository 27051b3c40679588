//! What has passed through each forward.
//!
//! Theory of operation: the counts lie by rule, and for each session that a forward has admitted the rule lies by
//! session number, so that the fast path adds to a count without a search. A new plan numbers its rules anew and takes
//! over the counts of forwards of the same name, with their sessions; each session is given the rule that admits it
//! now when it is judged under that plan, before it passes another packet. So the number of a forward's sessions is right
//! at every moment, and `max_sessions` can go by it.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::rules::RuleId;
use super::top_sources::TopSources;
use crate::nat::policy::Direction;
use crate::nat::session::SessionId;
use crate::plan::{ForwardRule, Plan};
use crate::time::Timestamp;
use crate::view::ForwardView;

/// The counts of all forwards.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By rule, from 1 on; 0 is for sessions whose rule is not known.
    counts: Vec<Count>,
    /// Of each count, who came most often.
    sources: Vec<TopSources>,
    /// Of each count first what went out, then what came in: all that the fast path writes.
    passed: Vec<Passed>,
    /// Positions in `counts` by session number, for sessions that a forward has admitted. Empty without forwards, and
    /// zeros that take no memory before they are written.
    positions: Vec<u32>,
    /// The most sessions that there ever were to be: a smaller `max_sessions` leaves those that live their numbers.
    capacity: usize,
}

/// The counts of one forward.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Those that take a place of the forward: [`Session::takes_place`](crate::nat::session::Session::takes_place).
    sessions: u32,
    hits: u64,
    refused: u64,
    limited: u64,
    braked: u64,
    first_hit: Option<Timestamp>,
    last_hit: Option<Timestamp>,
    last_source: Option<Ipv4Addr>,
    last_refused: Option<Ipv4Addr>,
    last_braked: Option<Ipv4Addr>,
}

/// Packets in one direction, and their octets from the IP header on.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    packets: u64,
    octets: u64,
}

impl Tally {
    /// Nothing counted yet, for so many sessions.
    pub(crate) fn new(plan: &Plan, capacity: u32) -> Tally {
        let counts = vec![Count::default(); plan.forwards.len() + 1];
        let passed = vec![Passed::default(); 2 * counts.len()];
        let sources = vec![TopSources::default(); counts.len()];
        let mut tally = Tally { counts, sources, passed, positions: Vec::new(), capacity: 0 };
        tally.grow(capacity);
        tally
    }

    fn grow(&mut self, capacity: u32) {
        self.capacity = self.capacity.max(capacity as usize);
        if self.counts.len() > 1 && self.positions.len() < self.capacity {
            let mut positions = vec![0; self.capacity];
            positions[..self.positions.len()].copy_from_slice(&self.positions);
            self.positions = positions;
        }
    }

    /// Follows a new plan for so many sessions: forwards that keep their name keep their counts, and their sessions until
    /// these are judged again. The sessions of others belong to no rule until then.
    pub(crate) fn apply(&mut self, before: &Plan, plan: &Plan, capacity: u32) {
        let names = before.forwards.iter().map(|rule| rule.name.as_str());
        let known: HashMap<&str, usize> = names.zip(1..).collect();
        let (mut counts, mut passed) = (vec![Count::default()], vec![Passed::default(); 2]);
        let mut sources = vec![TopSources::default()];
        let mut moved = vec![0; self.counts.len()];
        for (rule, position) in plan.forwards.iter().zip(1..) {
            let old = known.get(rule.name.as_str()).copied();
            if let Some(old) = old {
                moved[old] = position;
            }
            counts.push(old.map_or_else(Count::default, |old| self.counts[old]));
            sources.push(old.map_or_else(TopSources::default, |old| self.sources[old]));
            passed.extend(old.map_or([Passed::default(); 2], |old| self.both(old)));
        }
        (self.counts, self.sources, self.passed) = (counts, sources, passed);
        if moved.iter().zip(0..).any(|(&position, old)| position != old) {
            // Zeros, which may take no memory, are not written over.
            for position in self.positions.iter_mut().filter(|position| **position != 0) {
                *position = moved.get(*position as usize).copied().unwrap_or(0);
            }
        }
        self.grow(capacity);
    }

    /// A session that a forward has admitted has its rule, or none that is known. It is not counted by this.
    pub(crate) fn attribute(&mut self, id: SessionId, rule: Option<RuleId>) {
        if let Some(entry) = self.positions.get_mut(id as usize) {
            *entry = rule.map_or(0, |rule| rule.0 + 1);
        }
    }

    /// Sessions that take a place of a forward.
    pub(crate) fn sessions(&self, rule: RuleId) -> u32 {
        self.counts.get(rule.0 as usize + 1).map_or(0, |count| count.sessions)
    }

    /// Sets how many do, for an excerpt.
    pub(crate) fn set_sessions(&mut self, rule: RuleId, sessions: u32) {
        if let Some(count) = self.counts.get_mut(rule.0 as usize + 1) {
            count.sessions = sessions;
        }
    }

    /// The rule that a session counts for.
    pub(crate) fn rule_of(&self, id: SessionId) -> Option<RuleId> {
        self.positions.get(id as usize)?.checked_sub(1).map(RuleId)
    }

    /// The count of a session that a forward has admitted.
    fn count_of(&mut self, id: SessionId) -> Option<&mut Count> {
        self.counts.get_mut(*self.positions.get(id as usize)? as usize)
    }

    /// A session takes a place of its forward, from now on.
    pub(crate) fn take_place(&mut self, id: SessionId) {
        if let Some(count) = self.count_of(id) {
            count.sessions += 1;
        }
    }

    /// And from now on no more.
    pub(crate) fn leave_place(&mut self, id: SessionId) {
        if let Some(count) = self.count_of(id) {
            count.sessions = count.sessions.saturating_sub(1);
        }
    }

    /// A new session, or a new connection on one, from `source`.
    pub(crate) fn hit(&mut self, now: Timestamp, id: SessionId, source: Ipv4Addr) {
        let Some(&position) = self.positions.get(id as usize) else { return };
        if let Some(count) = self.counts.get_mut(position as usize) {
            count.hits += 1;
            count.first_hit = count.first_hit.or(Some(now));
            count.last_hit = Some(now);
            count.last_source = Some(source);
        }
        if let Some(sources) = self.sources.get_mut(position as usize) {
            sources.count(source);
        }
    }

    /// A source that the rule, the first of its port, does not admit.
    pub(crate) fn refuse(&mut self, rule: RuleId, source: Ipv4Addr) {
        if let Some(count) = self.counts.get_mut(rule.0 as usize + 1) {
            count.refused += 1;
            count.last_refused = Some(source);
        }
    }

    /// Reads what counting the first packet of a session through this rule begins with, for it to be in the cache.
    /// What is read means nothing.
    pub(crate) fn touch(&self, rule: RuleId) -> u64 {
        let position = rule.0 as usize + 1;
        let count = self.counts.get(position).map_or(0, |count| count.hits);
        let passed = self.passed.get(2 * position + Direction::Inbound as usize);
        count ^ passed.map_or(0, |passed| passed.packets)
    }

    /// A session that was refused since the rule has as many as it may have.
    pub(crate) fn limit(&mut self, rule: RuleId) {
        if let Some(count) = self.counts.get_mut(rule.0 as usize + 1) {
            count.limited += 1;
        }
    }

    /// A session that was refused since its source opens them too fast.
    pub(crate) fn brake(&mut self, rule: RuleId, source: Ipv4Addr) {
        if let Some(count) = self.counts.get_mut(rule.0 as usize + 1) {
            count.braked += 1;
            count.last_braked = Some(source);
        }
    }

    /// A packet of such a session passes, with so many octets from its IP header on.
    // A call, so that the packets of other sessions pay for nothing but the question whether it is one.
    #[inline(never)]
    pub(crate) fn pass(&mut self, id: SessionId, direction: Direction, octets: usize) {
        let Some(&position) = self.positions.get(id as usize) else { return };
        if let Some(passed) = self.passed.get_mut(2 * position as usize + direction as usize) {
            passed.packets += 1;
            passed.octets += octets as u64;
        }
    }

    /// What went out and what came in.
    fn both(&self, position: usize) -> [Passed; 2] {
        [self.passed[2 * position], self.passed[2 * position + 1]]
    }

    /// What the rules from `first` on have counted, at most `limit` of them.
    pub(crate) fn views(&self, plan: &Plan, now: Timestamp, first: u32, limit: u32) -> Vec<ForwardView> {
        let rules = plan.forwards.iter().zip(1..).skip(first as usize).take(limit as usize);
        let view = |(rule, position): (&ForwardRule, usize)| {
            let count = &self.counts[position];
            let [outbound, inbound] = self.both(position);
            let ago = |at: Option<Timestamp>| at.map(|at| now.saturating_since(at));
            ForwardView {
                name: rule.name.clone(),
                sessions: count.sessions,
                hits: count.hits,
                refused: count.refused,
                limited: count.limited,
                braked: count.braked,
                packets_in: inbound.packets,
                octets_in: inbound.octets,
                packets_out: outbound.packets,
                octets_out: outbound.octets,
                first_hit: ago(count.first_hit),
                last_hit: ago(count.last_hit),
                last_source: count.last_source,
                last_refused: count.last_refused,
                last_braked: count.last_braked,
                top_sources: self.sources[position].listed(),
            }
        };
        rules.map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PortRange;
    use crate::router::tests::plan;
    use crate::wire::ipv4::Protocol;

    #[test]
    fn sessions_with_numbers_beyond_a_smaller_limit_are_counted() {
        let before = plan();
        let rule = ForwardRule {
            name: "web".to_owned(),
            protocols: vec![Protocol::TCP],
            ports: vec![PortRange { external_first: 80, external_last: 80, internal_first: 80 }],
            to: Ipv4Addr::new(192, 168, 0, 10),
            address: None,
            from: Vec::new(),
            enabled: true,
            expires: None,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        };
        let after = Plan { forwards: vec![rule], ..plan() };
        let mut tally = Tally::new(&before, 8);
        tally.apply(&before, &after, 2);
        tally.attribute(7, Some(RuleId(0)));
        tally.take_place(7);
        assert_eq!(tally.sessions(RuleId(0)), 1);
    }
}
