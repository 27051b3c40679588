//! From a hash to the number of a table entry: open addressing that spreads as it fills.
//!
//! Linear probing with backward-shift deletion, so there are neither tombstones nor rehashes: no
//! operation ever takes longer than a probe run, which the table's size (3/2 of the entries it may
//! hold) and the secret hash keep short. Memory is reserved for all entries at the start and zeroed by the
//! system, so that pages never touched cost nothing.
//!
//! # Growth
//! Entries start out in the first 2,048 slots or so, close together: few of them touch few cache lines and
//! pages. At two thirds full the table spreads over twice as many slots, in place and a few slots with each
//! insertion, from the last slot to the first:
//! ```text
//!   home of a hash:   p          still closely packed             p < unsettled
//!                     2p, 2p+1   spread                           p >= unsettled
//!   slots:  [ packed |    left    |        spread          |   not yet in use   ]
//!           0    unsettled   2*unsettled
//! ```
//! Both kinds of home rise with the hash, so at every moment the whole is an ordinary table with linear
//! probing: look-ups and removals need not know. It never shrinks.

/// Slots that a table starts with, at most.
const FIRST_SLOTS: usize = 2_048;

/// Slots that one insertion spreads. The table is fully spread after an eighth of its old slots in insertions,
/// before it could become crowded.
const SPREAD_PORTION: usize = 8;

/// A hash index of `u32` values below `u32::MAX`.
#[derive(Debug)]
pub struct Index {
    /// Upper half: the hash's upper half, from which the home position follows. Lower half: value + 1;
    /// 0 is empty.
    entries: Vec<u64>,
    /// Values stored.
    len: usize,
    /// From so many values on an insertion has more to do than to store one; 0 while the table spreads.
    busy_from: usize,
    /// Halvings between a home among all slots and the one in use.
    shift: u32,
    /// Homes below this one, halved once more, are not spread yet.
    unsettled: usize,
}

impl Index {
    /// An index for up to `items` values.
    pub fn new(items: usize) -> Index {
        Self::with_first_slots(items, FIRST_SLOTS)
    }

    fn with_first_slots(items: usize, first_slots: usize) -> Index {
        let entries = vec![0; Self::slots_for(items)];
        let shift = (entries.len() / first_slots).checked_ilog2().unwrap_or(0);
        let mut index = Index { entries, len: 0, busy_from: 0, shift, unsettled: 0 };
        index.settle();
        index
    }

    fn slots_for(items: usize) -> usize {
        items.saturating_mul(3).div_ceil(2).clamp(16, u32::MAX as usize)
    }

    /// Makes room for up to `items` values, all at once: some 10 ns for each value held. For plan changes, not
    /// for packets.
    pub fn grow(&mut self, items: usize) {
        if Self::slots_for(items) <= self.entries.len() {
            return;
        }
        let before = std::mem::replace(self, Self::new(items));
        self.len = before.len;
        while self.is_crowded() {
            self.shift -= 1;
        }
        self.settle();
        for entry in before.entries.into_iter().filter(|&entry| entry != 0) {
            // The tag is all of the hash that the position depends on.
            self.place(entry);
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        let spread = self.spread_home(hash);
        let packed = spread / 2;
        if packed < self.unsettled { packed } else { spread }
    }

    /// The home of a hash once the table is spread.
    #[inline]
    fn spread_home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.entries.len() as u64) >> 32 >> self.shift) as usize
    }

    #[inline]
    fn next(&self, position: usize) -> usize {
        if position + 1 == self.entries.len() { 0 } else { position + 1 }
    }

    /// Reads the slot where a search for `hash` begins, so that the search will find it in the cache. The value
    /// read means nothing, but has to be used for the read to happen.
    #[inline]
    pub fn touch(&self, hash: u64) -> u64 {
        self.entries[self.home(hash)]
    }

    /// The first value stored under the same 32-bit tag, without proof that it is the one: what a
    /// batch looks at ahead of time so that cache misses overlap.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The value under `hash` that `is_it` recognises.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash >> 32;
        let mut position = self.home(hash);
        loop {
            let entry = self.entries[position];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == tag {
                let value = entry as u32 - 1;
                if is_it(value) {
                    return Some(value);
                }
            }
            position = self.next(position);
        }
    }

    /// Adds `value` under `hash`. The caller keeps the number of values within what it asked for in
    /// [`Index::new`].
    #[inline]
    pub fn insert(&mut self, hash: u64, value: u32) {
        if self.len >= self.busy_from {
            self.spread();
        }
        self.len += 1;
        self.place((hash >> 32) << 32 | u64::from(value + 1));
    }

    /// Begins to use more of the slots, or goes on with it.
    #[inline(never)]
    fn spread(&mut self) {
        if self.unsettled > 0 {
            for _ in 0..self.unsettled.min(SPREAD_PORTION) {
                self.spread_one();
            }
        } else {
            self.unsettled = ((self.entries.len() - 1) >> self.shift) + 1;
            self.shift -= 1;
        }
        self.settle();
    }

    /// Reckons when the next insertion has more to do than to store a value.
    fn settle(&mut self) {
        self.busy_from = match self.shift {
            _ if self.unsettled > 0 => 0,
            0 => usize::MAX,
            shift => ((self.entries.len() >> shift) * 2).div_ceil(3),
        };
    }

    /// Whether it is time to use more of the slots.
    fn is_crowded(&self) -> bool {
        self.shift > 0 && self.len * 3 >= (self.entries.len() >> self.shift) * 2
    }

    /// Spreads the entries of the last home that is still packed.
    fn spread_one(&mut self) {
        self.unsettled -= 1;
        let packed = self.unsettled;
        // They lie between here and the next empty slot. What else lies there has its home before, and may lie
        // anywhere in this run: it closes up.
        let (mut left, mut end) = (packed, packed);
        while self.entries[end] != 0 {
            if self.spread_home(self.entries[end]) / 2 != packed {
                self.entries.swap(left, end);
                left += 1;
            }
            end += 1;
            if end >= 2 * packed {
                // The run reaches into what is spread already.
                return self.place_again(packed);
            }
        }
        for position in left..end {
            let entry = std::mem::take(&mut self.entries[position]);
            self.place(entry);
        }
    }

    /// Places the entries anew that lie between here and the next empty slot, each where it was or where a slot has
    /// become free.
    fn place_again(&mut self, mut position: usize) {
        loop {
            match std::mem::take(&mut self.entries[position]) {
                0 => return,
                entry => self.place(entry),
            }
            position = self.next(position);
        }
    }

    fn place(&mut self, entry: u64) {
        let mut position = self.home(entry);
        while self.entries[position] != 0 {
            position = self.next(position);
        }
        self.entries[position] = entry;
    }

    /// Takes `value` under `hash` out; does nothing when it is not there.
    pub fn remove(&mut self, hash: u64, value: u32) {
        let wanted = (hash >> 32) << 32 | u64::from(value + 1);
        let mut hole = self.home(hash);
        while self.entries[hole] != wanted {
            if self.entries[hole] == 0 {
                return;
            }
            hole = self.next(hole);
        }
        self.len -= 1;
        let slots = self.entries.len();
        let mut position = hole;
        loop {
            position = self.next(position);
            let entry = self.entries[position];
            if entry == 0 {
                break;
            }
            // An entry may move back into the hole unless that lies before its home.
            let from_home = distance(self.home(entry), position, slots);
            let from_hole = distance(hole, position, slots);
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = position;
            }
        }
        self.entries[hole] = 0;
    }
}

/// Steps from one slot on to another, round the end.
#[inline]
fn distance(from: usize, to: usize, slots: usize) -> usize {
    if to >= from { to - from } else { to + slots - from }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map, with so few distinct hashes that runs collide and wrap round the end, and from few
        /// slots on, so that it spreads again and again.
        #[test]
        fn behaves_like_a_map(
            operations in prop::collection::vec((any::<bool>(), 0u32..80), 1..400),
            first_slots in 1usize..64,
            hashes in 1u32..200,
        ) {
            let mut index = Index::with_first_slots(80, first_slots);
            let mut model = BTreeMap::new();
            let hash = |value: u32| u64::from(value % hashes).wrapping_mul(0x2aaa_aaaa_0000_0000) | 0xf000_0000_0000_0000;
            for (add, value) in operations {
                if add && model.insert(value, ()).is_none() {
                    index.insert(hash(value), value);
                } else if !add {
                    index.remove(hash(value), value);
                    model.remove(&value);
                }
                if model.len() == 60 {
                    index.grow(200);
                }
                for value in 0..80 {
                    let found = index.find(hash(value), |candidate| candidate == value);
                    prop_assert_eq!(found.is_some(), model.contains_key(&value));
                }
                prop_assert_eq!(index.len, model.len());
            }
        }
    }

    #[test]
    fn uses_no_more_slots_than_its_values_need() {
        let mut index = Index::new(100_000);
        let hash = |value: u32| u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut insertions = 0;
        for values in [1_000, 3_000, 30_000, 100_000] {
            for value in insertions..values {
                index.insert(hash(value), value);
            }
            insertions = values;
            let last = index.entries.iter().rposition(|&entry| entry != 0).unwrap_or(0);
            assert!(last < (4 * values as usize).max(2 * FIRST_SLOTS), "{values} values reach slot {last}");
            assert!((0..values).all(|value| index.find(hash(value), |found| found == value).is_some()));
        }
        assert_eq!((index.shift, index.unsettled, index.entries.len()), (0, 0, 150_000));
    }
}
