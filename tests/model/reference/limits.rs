//! `max_sessions` and `max_new_per_source` of forwards (design §6, Limits).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use genkan_engine::plan::Rate;
use genkan_engine::{DropReason, Plan, Timestamp};

use super::opening::Taker;
use super::{Origin, Reference, Session};

/// A token bucket, as time in which that much grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    left: Duration,
    at: Timestamp,
}

impl Reference {
    /// Whether the forward that takes a packet may have a session more.
    pub(super) fn within_limits(
        &mut self,
        taker: &Taker,
        source: SocketAddrV4,
        from_inside: bool,
        is_one_more: bool,
    ) -> Result<(), DropReason> {
        let rule = self.plan.forwards.iter().find(|rule| Some(&rule.name) == taker.forward.as_ref());
        let Some(rule) = rule.cloned() else { return Ok(()) };
        let sessions = self.sessions_by_forward().get(&rule.name).copied().unwrap_or(0);
        if is_one_more && rule.max_sessions.is_some_and(|most| sessions >= most) {
            return Err(DropReason::ForwardSessionLimit);
        }
        let Some(Rate { count, per }) = rule.max_new_per_source.filter(|_| !from_inside) else {
            return Ok(());
        };
        let (token, now) = (per / count, self.now);
        let full = token * count;
        let bucket = self.buckets.entry((rule.name, *source.ip())).or_insert(Bucket { left: full, at: now });
        let left = full.min(bucket.left + now.saturating_since(bucket.at));
        let Some(rest) = left.checked_sub(token) else { return Err(DropReason::ForwardSourceRate) };
        *bucket = Bucket { left: rest, at: now };
        Ok(())
    }

    /// Sessions that take a place of each forward.
    pub(crate) fn sessions_by_forward(&self) -> BTreeMap<String, u32> {
        let mut sessions = BTreeMap::new();
        for session in self.sessions.iter().filter(|session| session.takes_place()) {
            let (protocol, source, external) = (session.protocol, session.remote, session.external);
            if let Ok(Taker { forward: Some(name), .. }) =
                self.judge(protocol, source, external, session.is_hairpin)
            {
                *sessions.entry(name).or_default() += 1;
            }
        }
        sessions
    }

    /// Only another rate fills the buckets.
    pub(super) fn forget_buckets(&mut self, before: &Plan) {
        let rate = |plan: &Plan, name: &str| {
            plan.forwards.iter().find(|rule| rule.name == name).and_then(|rule| rule.max_new_per_source)
        };
        let plan = &self.plan;
        self.buckets
            .retain(|(name, _), _| rate(plan, name).is_some() && rate(plan, name) == rate(before, name));
    }
}

impl Session {
    pub(super) fn takes_place(&self) -> bool {
        self.origin == Origin::Forward && !self.is_closed()
    }
}
