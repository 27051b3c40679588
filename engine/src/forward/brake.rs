//! How fast each source may open sessions through one forward.
//!
//! Theory of operation: every source has a token bucket, of which a single number has to be kept: when it would be full
//! again if nothing more were taken out. A source whose bucket is full needs no entry at all, so the table only holds
//! those that came lately. It has [`SOURCES`] entries, in sets of [`WAYS`] that a secret hash spreads the sources over,
//! and never more, however many sources there are.
//!
//! When a source comes for which there is no entry, it takes over the one of its set that is the nearest to full, and
//! *with what is missing in it*. Where that is nothing, as always when fewer sources are about than there are entries,
//! nobody notices. Where a whole set is in use, the newcomer goes on with the bucket of another, and the one that was
//! put out comes back to one of which at least as much is missing, since its own was the fullest. So
//!
//! - what is in an entry never promises a source more than its own bucket would: nobody gets rid of a bucket that he has
//!   emptied, neither by waiting for it to be put out nor by having other addresses push it out;
//! - all sources together get no more than [`SOURCES`] of them would: somebody with ever so many addresses is braked too;
//! - the price is paid under such a flood only, and by those who were not there before it: they wait for the bucket
//!   that the flood empties, too.
//!
//! The other two rules would each give something away: to forget an entry lets everybody with a few thousand addresses in
//! without a brake, and to refuse newcomers while the table is full lets one flood, forged if need be, shut the forward
//! for everybody else until it is over.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::nat::hash::HashKey;
use crate::plan::Rate;
use crate::time::Timestamp;

/// Sources with a bucket of their own: 32 KiB, once the first one has come.
pub(crate) const SOURCES: usize = 2048;

/// Entries that one source may have: a power of two, two cache lines.
const WAYS: usize = 8;

/// The buckets of one forward.
#[derive(Debug)]
pub(crate) struct Brake {
    rate: Rate,
    /// In which a token grows.
    token: Duration,
    /// Empty before somebody comes.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    source: Ipv4Addr,
    /// When its bucket will be full.
    full_at: Timestamp,
}

impl Brake {
    /// All buckets full.
    pub(crate) fn new(rate: Rate) -> Brake {
        Brake { rate, token: rate.per / rate.count.max(1), entries: Vec::new() }
    }

    /// What it was made from.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// When the bucket is full that `source` would take a token out of; `None` where all are.
    pub(crate) fn bucket(&self, source: Ipv4Addr, key: HashKey) -> Option<Timestamp> {
        if self.entries.is_empty() {
            return None;
        }
        let set = set_of(source, key);
        let set = &self.entries[set..set + WAYS];
        let own = set.iter().find(|entry| entry.source == source);
        own.or_else(|| set.iter().min_by_key(|entry| entry.full_at)).map(|entry| entry.full_at)
    }

    /// Gives `source` a bucket that will be full then.
    pub(crate) fn set_bucket(&mut self, source: Ipv4Addr, full_at: Timestamp, key: HashKey) {
        self.make_room();
        self.entries[set_of(source, key)] = Entry { source, full_at };
    }

    /// Tokens in the bucket of `source`.
    pub(crate) fn tokens(&self, now: Timestamp, source: Ipv4Addr, key: HashKey) -> u32 {
        let missing =
            self.bucket(source, key).map_or(Duration::ZERO, |full_at| full_at.saturating_since(now));
        let missing = missing.as_nanos().div_ceil(self.token.as_nanos().max(1));
        self.rate.count.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    fn make_room(&mut self) {
        if self.entries.is_empty() {
            self.entries = vec![Entry { source: Ipv4Addr::UNSPECIFIED, full_at: Timestamp::ZERO }; SOURCES];
        }
    }

    /// Takes a token out of the bucket of `source`, if there is one. `key` is to be the same at every call.
    pub(crate) fn admit(&mut self, now: Timestamp, source: Ipv4Addr, key: HashKey) -> bool {
        self.make_room();
        let set = set_of(source, key);
        let set = &mut self.entries[set..set + WAYS];
        let own = set.iter().position(|entry| entry.source == source);
        let fullest = || (0..WAYS).min_by_key(|&at| set[at].full_at).unwrap_or(0);
        let at = own.unwrap_or_else(fullest);
        let full_at = set[at].full_at.max(now) + self.token;
        // A full bucket has as many tokens as grow in `per`.
        if full_at.saturating_since(now) > self.token * self.rate.count {
            return false;
        }
        set[at] = Entry { source, full_at };
        true
    }
}

/// Where the entries begin that a source may have.
fn set_of(source: Ipv4Addr, key: HashKey) -> usize {
    key.hash_4(source.to_bits()) as usize % (SOURCES / WAYS) * WAYS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KEY: HashKey = HashKey::new([1, 2]);
    const START: Timestamp = Timestamp::from_secs(1_000);

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    fn source(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0xc633_6400 + number)
    }

    fn admitted(brake: &mut Brake, now: Timestamp, from: Ipv4Addr, tries: usize) -> usize {
        (0..tries).filter(|_| brake.admit(now, from, KEY)).count()
    }

    #[test]
    fn a_bucket_holds_its_tokens_and_refills_evenly() {
        let mut brake = Brake::new(rate(20, 60));
        assert_eq!(admitted(&mut brake, START, source(1), 100), 20);
        assert_eq!(admitted(&mut brake, START + Duration::from_millis(2_999), source(1), 9), 0);
        assert_eq!(admitted(&mut brake, START + Duration::from_secs(3), source(1), 9), 1);
        assert_eq!(admitted(&mut brake, START + Duration::from_secs(33), source(1), 99), 10);
        assert_eq!(admitted(&mut brake, START + Duration::from_secs(3_600), source(1), 99), 20, "no more");
        assert_eq!(admitted(&mut brake, START + Duration::from_secs(3_600), source(2), 99), 20, "its own");
    }

    #[test]
    fn rates_that_do_not_divide_their_time_are_kept_all_the_same() {
        for count in [1, 3, 7, 999_999, 1_000_000] {
            let mut brake = Brake::new(rate(count, 1));
            assert_eq!(admitted(&mut brake, START, source(1), count as usize + 9), count as usize);
        }
    }

    /// A flood of sources, and a source that was braked before it: neither gets what its own bucket would not give.
    #[test]
    fn many_sources_neither_free_one_nor_get_more_than_the_table() {
        let mut brake = Brake::new(rate(5, 60));
        assert_eq!(admitted(&mut brake, START, source(0), 9), 5);
        let mut all = 0;
        for round in 0..10 {
            for number in 1..20_000 {
                all += admitted(&mut brake, START, source(number), 1);
            }
            assert_eq!(admitted(&mut brake, START, source(0), 9), 0, "round {round}");
        }
        assert!(all <= 5 * SOURCES && all > 4 * SOURCES, "{all}");
        assert_eq!(brake.entries.len(), SOURCES);
        // It is over as soon as the buckets have refilled.
        assert_eq!(admitted(&mut brake, START + Duration::from_secs(60), source(40_000), 9), 5);
    }

    #[test]
    fn a_thousand_sources_at_once_do_not_feel_each_other() {
        let mut brake = Brake::new(rate(5, 60));
        let full = (0..1_000).filter(|&number| admitted(&mut brake, START, source(number), 9) == 5).count();
        // A few share a set with eight others.
        assert!(full > 950, "{full}");
    }

    proptest! {
        /// Property: whoever comes in whatever order, each source's admissions would pass a bucket of its own; and where
        /// there are few sources they are exactly those.
        #[test]
        fn nobody_gets_more_than_a_bucket_of_his_own(
            count in 1u32..6,
            steps in prop::collection::vec((0u32..40, 0u64..4_000), 1..300),
            // Then most of them are in one set.
            is_crowded in any::<bool>(),
        ) {
            let rate = rate(count, 10);
            let mut brake = Brake::new(rate);
            let crowd: Vec<Ipv4Addr> = (0..)
                .map(source)
                .filter(|source| !is_crowded || (KEY.hash_4(source.to_bits()) as usize).is_multiple_of(SOURCES / WAYS))
                .take(if is_crowded { 40 } else { WAYS })
                .collect();
            let mut own: BTreeMap<Ipv4Addr, f64> = BTreeMap::new();
            let (mut now, mut last) = (START, START);
            for (number, millis) in steps {
                now += Duration::from_millis(millis);
                let refill = (now.saturating_since(last).as_secs_f64()) * f64::from(count) / 10.0;
                last = now;
                own.values_mut().for_each(|tokens| *tokens = (*tokens + refill).min(f64::from(count)));
                let from = crowd[number as usize % crowd.len()];
                let tokens = own.entry(from).or_insert(f64::from(count));
                let is_admitted = brake.admit(now, from, KEY);
                // Nanoseconds are cut off here and there.
                if is_admitted {
                    prop_assert!(*tokens > 0.999, "{tokens} tokens");
                    *tokens -= 1.0;
                } else {
                    prop_assert!(is_crowded || *tokens < 1.001, "{tokens} tokens");
                }
            }
        }
    }
}
