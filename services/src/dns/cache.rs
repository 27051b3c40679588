//! Answers that were had before, by question, DO and CD bit.
//!
//! Every answer is charged with its octets and a flat sum for the tables around it; the total never exceeds the limit.
//! When it would, answers go by second chance: a hand walks over them, passes those that were used since it came by last,
//! and takes the first that was not. An answer that has expired stays for a while, to be served when no upstream is to be
//! reached (RFC 8767).

use std::collections::HashMap;
use std::time::Duration;

use genkan_engine::Timestamp;

use super::hash::SeededState;
use super::message::{Body, Key, RCODE_SERVER_FAILURE};

/// What an answer is charged beside its octets: slot, table entry, two reference counts, rounding of allocations.
const OVERHEAD: usize = 256;
/// The largest answer in octets that is kept.
const MAX_BODY: usize = 8192;

/// The TTL in seconds of what is served after its end (RFC 8767 section 4), unless it was shorter already.
pub(crate) const STALE_TTL: u32 = 30;
/// How long the upstreams are left alone after a refresh failed (RFC 8767 section 5).
const FAILURE_RECHECK: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Entry {
    key: Key,
    body: Body,
    stored: Timestamp,
    expires: Timestamp,
    /// When it is of no more use.
    ends: Timestamp,
    /// Until then it is served stale without asking anew.
    recheck: Timestamp,
    used: bool,
}

/// What is known about a question.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// An answer within its TTL, with its age in seconds.
    Fresh(&'a Body, u32),
    /// One past it, and whether upstreams may be asked again.
    Stale(&'a Body, bool),
}

/// Bounded in octets; see the module's text.
#[derive(Debug)]
pub(crate) struct Cache {
    index: HashMap<Key, u32, SeededState>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    hand: usize,
    octets: usize,
    limit: usize,
    stale: Duration,
}

fn cost(key: &Key, body: &Body) -> usize {
    OVERHEAD + key.len() + body.octets.len() + 2 * body.ttls.len()
}

impl Cache {
    /// An empty one that takes at most `limit` octets and keeps answers for `stale` after their end.
    pub(crate) fn new(limit: usize, stale: Duration, seed: u64) -> Cache {
        let index = HashMap::with_hasher(SeededState::new(seed));
        Cache { index, entries: Vec::new(), free: Vec::new(), hand: 0, octets: 0, limit, stale }
    }

    /// Follows other limits; what is over them goes.
    pub(crate) fn set_limits(&mut self, limit: usize, stale: Duration) {
        (self.limit, self.stale) = (limit, stale);
        while self.octets > self.limit {
            self.evict();
        }
    }

    /// Octets charged at present.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What is known about `key`.
    pub(crate) fn find(&mut self, key: &Key, now: Timestamp) -> Option<Found<'_>> {
        let slot = *self.index.get(key)?;
        if self.entries[slot as usize].as_ref().is_none_or(|entry| entry.ends <= now) {
            self.take(slot);
            return None;
        }
        let entry = self.entries[slot as usize].as_mut()?;
        entry.used = true;
        if now < entry.expires {
            let age = now.saturating_since(entry.stored).as_secs();
            return Some(Found::Fresh(&entry.body, u32::try_from(age).unwrap_or(u32::MAX)));
        }
        Some(Found::Stale(&entry.body, entry.recheck <= now))
    }

    /// Keeps an answer for `lifetime` seconds in place of what was known, and makes room for it. What is to be kept for no
    /// time, or is too large, is not kept, and ends what was known.
    pub(crate) fn insert(&mut self, key: &Key, body: Body, lifetime: u32, now: Timestamp) {
        if let Some(&slot) = self.index.get(key) {
            self.take(slot);
        }
        let cost = cost(key, &body);
        if lifetime == 0 || body.octets.len() > MAX_BODY || cost > self.limit {
            return;
        }
        while self.octets + cost > self.limit {
            self.evict();
        }
        self.octets += cost;
        let expires = now + Duration::from_secs(lifetime.into());
        // A failure is no answer that could be served stale.
        let is_failure = body.octets.get(3).is_some_and(|flags| flags & 0x0f == RCODE_SERVER_FAILURE);
        let ends = if is_failure { expires } else { expires + self.stale };
        let entry =
            Entry { key: key.clone(), body, stored: now, expires, ends, recheck: expires, used: false };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[slot as usize] = Some(entry);
        self.index.insert(key.clone(), slot);
    }

    /// No upstream answered: a stale answer serves without further asking for a while. Whether there is one.
    pub(crate) fn refresh_failed(&mut self, key: &Key, now: Timestamp) -> bool {
        let Some(&slot) = self.index.get(key) else { return false };
        let Some(entry) = self.entries[slot as usize].as_mut().filter(|entry| now < entry.ends) else {
            return false;
        };
        entry.recheck = now + FAILURE_RECHECK;
        true
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.free.clear();
        self.octets = 0;
    }

    fn take(&mut self, slot: u32) {
        if let Some(entry) = self.entries[slot as usize].take() {
            self.index.remove(&entry.key);
            self.octets -= cost(&entry.key, &entry.body);
            self.free.push(slot);
        }
    }

    /// Ends one answer. Called only while there is one: the sum of none is 0.
    fn evict(&mut self) {
        loop {
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            match &mut self.entries[self.hand] {
                Some(entry) if entry.used => entry.used = false,
                Some(_) => return self.take(self.hand as u32),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u16) -> Key {
        number.to_be_bytes().as_slice().into()
    }

    fn body(length: usize) -> Body {
        Body { octets: vec![0; length].into(), ttls: Box::default() }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let mut cache = Cache::new(10_000, HOUR, 1);
        cache.insert(&key(1), body(100), 60, Timestamp::from_secs(100));
        let mut at = |seconds| match cache.find(&key(1), Timestamp::from_secs(seconds)) {
            None => "gone".to_owned(),
            Some(Found::Fresh(_, age)) => format!("fresh {age}"),
            Some(Found::Stale(_, ask)) => format!("stale {ask}"),
        };
        assert_eq!(
            [at(100), at(159), at(160), at(3759), at(3760)],
            ["fresh 0", "fresh 59", "stale true", "stale true", "gone"]
        );
        assert_eq!((cache.len(), cache.octets()), (0, 0));
    }

    #[test]
    fn after_a_failure_upstreams_are_left_alone_for_a_while() {
        let mut cache = Cache::new(10_000, HOUR, 1);
        cache.insert(&key(1), body(100), 60, Timestamp::ZERO);
        assert!(cache.refresh_failed(&key(1), Timestamp::from_secs(70)));
        let mut asks = |seconds| {
            matches!(cache.find(&key(1), Timestamp::from_secs(seconds)), Some(Found::Stale(_, true)))
        };
        assert_eq!([asks(99), asks(100)], [false, true]);
        assert!(!cache.refresh_failed(&key(2), Timestamp::ZERO));
    }

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let mut cache = Cache::new(10 * cost(&key(0), &body(100)), HOUR, 1);
        for number in 0..1000 {
            cache.insert(&key(number), body(100), 60, Timestamp::ZERO);
            assert!(cache.find(&key(0), Timestamp::ZERO).is_some(), "{number}");
        }
        assert_eq!(cache.len(), 10);
    }

    #[test]
    fn what_cannot_be_kept_ends_what_was_known() {
        let mut cache = Cache::new(100_000, HOUR, 1);
        for (length, lifetime) in [(100, 0), (MAX_BODY + 1, 60)] {
            cache.insert(&key(1), body(100), 60, Timestamp::ZERO);
            cache.insert(&key(1), body(length), lifetime, Timestamp::ZERO);
            assert_eq!((cache.len(), cache.octets()), (0, 0));
        }
    }

    proptest! {
        /// Whatever is put in, asked for or fails: the sum is that of what is there, and within the limit.
        #[test]
        fn memory_stays_within_the_limit(
            limit in 0_usize..20_000,
            steps in prop::collection::vec((0_u16..40, 0_usize..9000, 0_u32..100, 0_u64..200), 0..200),
        ) {
            let mut cache = Cache::new(limit, Duration::from_secs(50), 7);
            for (number, length, lifetime, at) in steps {
                let now = Timestamp::from_secs(at);
                if length % 3 == 0 {
                    cache.find(&key(number), now);
                } else {
                    cache.insert(&key(number), body(length), lifetime, now);
                }
                let sum: usize = cache.entries.iter().flatten().map(|entry| cost(&entry.key, &entry.body)).sum();
                prop_assert_eq!(sum, cache.octets());
                prop_assert!(sum <= limit);
                prop_assert_eq!(cache.entries.iter().flatten().count(), cache.len());
            }
        }
    }
}
