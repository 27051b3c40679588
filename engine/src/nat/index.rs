//! From a hash to the number of a table entry: open addressing of fixed size.
//!
//! Linear probing with backward-shift deletion, so there are neither tombstones nor rehashes: no
//! operation ever takes longer than a probe run, which the table's size (3/2 of the entries it may
//! hold) and the secret hash keep short. Memory is zeroed on allocation, so that pages never touched
//! cost nothing.

/// A fixed-size hash index of `u32` values below `u32::MAX`.
#[derive(Debug)]
pub(crate) struct Index {
    /// Upper half: the hash's upper half, from which the home position follows. Lower half: value + 1;
    /// 0 is empty.
    entries: Vec<u64>,
}

impl Index {
    /// An index for up to `items` values.
    pub(crate) fn new(items: usize) -> Index {
        Index { entries: vec![0; Self::len_for(items)] }
    }

    fn len_for(items: usize) -> usize {
        items.saturating_mul(3).div_ceil(2).clamp(16, u32::MAX as usize)
    }

    /// Makes room for up to `items` values, all at once: some 10 ns for each value held. For plan changes, not
    /// for packets.
    pub(crate) fn grow(&mut self, items: usize) {
        if Self::len_for(items) <= self.entries.len() {
            return;
        }
        let before = std::mem::take(&mut self.entries);
        self.entries = vec![0; Self::len_for(items)];
        for entry in before.into_iter().filter(|&entry| entry != 0) {
            // The tag is all of the hash that the position depends on.
            self.insert(entry, entry as u32 - 1);
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.entries.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, position: usize) -> usize {
        if position + 1 == self.entries.len() { 0 } else { position + 1 }
    }

    /// The first value stored under the same 32-bit tag, without proof that it is the one: what a
    /// batch looks at ahead of time so that cache misses overlap.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The value under `hash` that `is_it` recognises.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
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
    pub(crate) fn insert(&mut self, hash: u64, value: u32) {
        let mut position = self.home(hash);
        while self.entries[position] != 0 {
            position = self.next(position);
        }
        self.entries[position] = (hash >> 32) << 32 | u64::from(value + 1);
    }

    /// Takes `value` under `hash` out; does nothing when it is not there.
    pub(crate) fn remove(&mut self, hash: u64, value: u32) {
        let wanted = (hash >> 32) << 32 | u64::from(value + 1);
        let mut hole = self.home(hash);
        while self.entries[hole] != wanted {
            if self.entries[hole] == 0 {
                return;
            }
            hole = self.next(hole);
        }
        let len = self.entries.len();
        let mut position = hole;
        loop {
            position = self.next(position);
            let entry = self.entries[position];
            if entry == 0 {
                break;
            }
            // An entry may move back into the hole unless that lies before its home.
            let from_home = (position + len - self.home(entry)) % len;
            let from_hole = (position + len - hole) % len;
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = position;
            }
        }
        self.entries[hole] = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map, with so few distinct hashes that runs collide and wrap round the end.
        #[test]
        fn behaves_like_a_map(operations in prop::collection::vec((any::<bool>(), 0u32..40), 1..400)) {
            let mut index = Index::new(40);
            let mut model = BTreeMap::new();
            let hash = |value: u32| u64::from(value % 7).wrapping_mul(0x2aaa_aaaa_0000_0000) | 0xf000_0000_0000_0000;
            for (add, value) in operations {
                if add && model.insert(value, ()).is_none() {
                    index.insert(hash(value), value);
                } else if !add {
                    index.remove(hash(value), value);
                    model.remove(&value);
                }
                if model.len() == 20 {
                    index.grow(100);
                }
                for value in 0..40 {
                    let found = index.find(hash(value), |candidate| candidate == value);
                    prop_assert_eq!(found.is_some(), model.contains_key(&value));
                }
            }
        }
    }
}
