//! Numbered entries with reuse, in memory reserved once.

use std::ops::{Index, IndexMut};

/// The number of no entry.
const NONE: u32 = u32::MAX;

/// One place in the table. With a spare value somewhere in `T` it takes no more room than a `T`.
#[derive(Clone, Debug)]
pub(crate) enum Place<T> {
    /// An entry.
    Used(T),
    /// None at present; the number of the next free place, or [`NONE`].
    Free(u32),
}

/// Entries by number. The memory is reserved at the start and touched only as far as entries are used,
/// so no push ever moves the table. Free places are a list through themselves, the last one freed first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    len: usize,
    free: u32,
    capacity: usize,
}

impl<T> Slab<T> {
    /// Room for `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Slab<T> {
        Slab { places: Vec::with_capacity(capacity), len: 0, free: NONE, capacity }
    }

    /// Makes room for `capacity` entries in all.
    pub(crate) fn grow(&mut self, capacity: usize) {
        if capacity > self.capacity {
            self.places.reserve_exact(capacity - self.places.len());
            self.capacity = capacity;
        }
    }

    /// Stores an entry; `None` when full.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> Option<u32> {
        let mut id = self.free;
        if let Some(place) = self.places.get_mut(id as usize) {
            if let Place::Free(next) = *place {
                self.free = next;
            }
            *place = Place::Used(entry);
        } else if self.places.len() < self.capacity {
            id = self.places.len() as u32;
            self.places.push(Place::Used(entry));
        } else {
            return None;
        }
        self.len += 1;
        Some(id)
    }

    /// Takes an entry out.
    #[inline]
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let place = self.places.get_mut(id as usize)?;
        if matches!(place, Place::Free(_)) {
            return None;
        }
        let Place::Used(entry) = std::mem::replace(place, Place::Free(self.free)) else { return None };
        self.free = id;
        self.len -= 1;
        Some(entry)
    }

    /// The entry, if there is one.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        match self.places.get(id as usize)? {
            Place::Used(entry) => Some(entry),
            Place::Free(_) => None,
        }
    }

    /// The entry, if there is one.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.places.get_mut(id as usize)? {
            Place::Used(entry) => Some(entry),
            Place::Free(_) => None,
        }
    }

    /// The numbers of the next entries, in their order, however full it is.
    pub(crate) fn upcoming(&self) -> impl Iterator<Item = u32> {
        let freed = |id: &u32| match self.places.get(*id as usize)? {
            Place::Free(next) => Some(*next),
            Place::Used(_) => None,
        };
        let free = std::iter::successors(Some(self.free), freed).take_while(|&id| id != NONE);
        free.chain(self.end()..)
    }

    /// Entries in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest number ever used.
    pub(crate) fn end(&self) -> u32 {
        self.places.len() as u32
    }

    /// All entries with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.end()).filter_map(|id| Some((id, self.get(id)?)))
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
        assert_eq!((slab.remove(b), slab.remove(a)), (Some('b'), Some('d')));
        assert_eq!(slab.upcoming().take(4).collect::<Vec<_>>(), [a, b, 3, 4]);
        assert_eq!((slab.insert('f'), slab.insert('b'), slab.insert('g')), (Some(a), Some(b), None));
        assert_eq!((slab[a], slab[b], slab[2], slab.len()), ('f', 'b', 'e', 3));
    }
}
