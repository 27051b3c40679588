//! What forwards bound besides their sources: sessions at once, and how fast they come.
//!
//! Only the first packet of a session looks here, and a plan without any limit has nothing to look at. All packets of a
//! forward are judged at the worker of its target (`nat::ownership`), which has its sessions too: so the limits hold for
//! the whole router exactly, and the workers need not agree on anything.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::brake::Brake;
use super::rules::RuleId;
use crate::nat::hash::HashKey;
use crate::plan::Plan;
use crate::time::Timestamp;

/// The limits of all forwards.
#[derive(Debug)]
pub(crate) struct Limits {
    /// By rule; empty when none has any.
    of: Vec<Limit>,
    key: HashKey,
}

/// The limits of one forward.
#[derive(Debug)]
pub(crate) struct Limit {
    max_sessions: u32,
    brake: Option<Box<Brake>>,
}

impl Limits {
    /// Those of `plan`, nobody braked.
    pub(crate) fn new(plan: &Plan, key: HashKey) -> Limits {
        let has_any = plan.forwards.iter().any(|rule| {
            let (sessions, brake) = (rule.max_sessions, rule.max_new_per_source);
            sessions.is_some() || brake.is_some()
        });
        let limits = plan.forwards.iter().filter(|_| has_any).map(|rule| Limit {
            max_sessions: rule.max_sessions.unwrap_or(u32::MAX),
            brake: rule.max_new_per_source.map(|rate| Box::new(Brake::new(rate))),
        });
        Limits { of: limits.collect(), key }
    }

    /// Follows a new plan: nobody who is braked gets away by it, as long as the forward keeps its name and the brake its
    /// rate.
    pub(crate) fn apply(&mut self, before: &Plan, plan: &Plan) {
        let old = std::mem::replace(self, Limits::new(plan, self.key));
        let brakes = before.forwards.iter().zip(old.of).filter_map(|(rule, limit)| {
            let brake = limit.brake?;
            Some((rule.name.as_str(), brake))
        });
        let mut brakes: HashMap<&str, Box<Brake>> = brakes.collect();
        for (rule, limit) in plan.forwards.iter().zip(&mut self.of) {
            if let Some(brake) = brakes.remove(rule.name.as_str())
                && rule.max_new_per_source == Some(brake.rate())
            {
                limit.brake = Some(brake);
            }
        }
    }

    /// Whether a forward that has so many sessions may have one more.
    pub(crate) fn has_place(&self, rule: RuleId, sessions: u32) -> bool {
        self.of.get(rule.0 as usize).is_none_or(|limit| sessions < limit.max_sessions)
    }

    /// Whether `source` may open a session through a forward now; it counts as opened.
    pub(crate) fn admit(&mut self, now: Timestamp, rule: RuleId, source: Ipv4Addr) -> bool {
        let brake = self.of.get_mut(rule.0 as usize).and_then(|limit| limit.brake.as_mut());
        brake.is_none_or(|brake| brake.admit(now, source, self.key))
    }

    /// When the bucket of `source` at a forward is full, if it is not; see [`Brake::bucket`].
    pub(crate) fn bucket(&self, rule: RuleId, source: Ipv4Addr) -> Option<Timestamp> {
        self.brake(rule)?.bucket(source, self.key)
    }

    /// Gives `source` such a bucket.
    pub(crate) fn set_bucket(&mut self, rule: RuleId, source: Ipv4Addr, full_at: Timestamp) {
        if let Some(brake) = self.of.get_mut(rule.0 as usize).and_then(|limit| limit.brake.as_mut()) {
            brake.set_bucket(source, full_at, self.key);
        }
    }

    /// Sessions that `source` may open through a forward at once; `None`: as many as it likes.
    pub(crate) fn tokens(&self, now: Timestamp, rule: RuleId, source: Ipv4Addr) -> Option<u32> {
        Some(self.brake(rule)?.tokens(now, source, self.key))
    }

    fn brake(&self, rule: RuleId) -> Option<&Brake> {
        self.of.get(rule.0 as usize)?.brake.as_deref()
    }
}
