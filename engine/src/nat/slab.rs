//! Numbered entries with reuse, in memory reserved once.

use std::ops::{Index, IndexMut};

/// Entries by number. The memory is reserved at the start and touched only as far as entries are used,
/// so no push ever moves the table.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T> Slab<T> {
    /// Room for `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Slab<T> {
        Slab { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), capacity }
    }

    /// Makes room for `capacity` entries in all.
    pub(crate) fn grow(&mut self, capacity: usize) {
        if capacity > self.capacity {
            self.entries.reserve_exact(capacity - self.entries.len());
            self.free.reserve_exact(capacity - self.free.len());
            self.capacity = capacity;
        }
    }

    /// Stores an entry; `None` when full.
    pub(crate) fn insert(&mut self, entry: T) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            return Some(id);
        }
        if self.entries.len() == self.capacity {
            return None;
        }
        self.entries.push(Some(entry));
        Some(self.entries.len() as u32 - 1)
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let entry = self.entries.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(entry)
    }

    /// The entry, if there is one.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.entries.get(id as usize)?.as_ref()
    }

    /// The entry, if there is one.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    /// Entries in use.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// One more than the highest number ever used.
    pub(crate) fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    /// All entries with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries.iter().enumerate().filter_map(|(id, entry)| Some((id as u32, entry.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;
    #[inline]
    fn index(&self, id: u32) -> &T {
        self.get(id).expect("the caller holds the number of a live entry")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        self.get_mut(id).expect("the caller holds the number of a live entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_and_the_capacity_holds() {
        let mut slab = Slab::new(2);
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), None);
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert('d'), Some(a));
        slab.grow(3);
        assert_eq!(slab.insert('e'), Some(2));
        assert_eq!((slab[a], slab[b], slab.len()), ('d', 'b', 3));
    }
}
