//! Which slots of a table are free, and in which order the others would be given up.

/// "No slot" in a link; slots are stored plus one.
const NONE: u32 = 0;

/// The slots `0..slots` of a table, each in at most one of some doubly linked lists. Every change costs a few
/// stores and none allocates.
#[derive(Debug)]
pub(crate) struct SlotLists {
    nodes: Vec<Node>,
    lists: Vec<List>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    next: u32,
    previous: u32,
    /// List plus one; 0 when in none.
    list: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl SlotLists {
    /// `lists` empty lists, but for list `full`, which holds all slots in order.
    pub(crate) fn new(slots: u32, lists: usize, full: usize) -> SlotLists {
        let mut all =
            SlotLists { nodes: vec![Node::default(); slots as usize], lists: vec![List::default(); lists] };
        for slot in 0..slots {
            all.move_to(slot, full);
        }
        all
    }

    /// Puts `slot` at the end of `list`, wherever it was before.
    pub(crate) fn move_to(&mut self, slot: u32, list: usize) {
        self.remove(slot);
        let ends = &mut self.lists[list];
        let previous = std::mem::replace(&mut ends.last, slot + 1);
        ends.len += 1;
        if previous == NONE {
            ends.first = slot + 1;
        } else {
            self.nodes[previous as usize - 1].next = slot + 1;
        }
        self.nodes[slot as usize] = Node { next: NONE, previous, list: list as u32 + 1 };
    }

    /// Takes `slot` out of its list, if it is in one.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Node { next, previous, list } = std::mem::take(&mut self.nodes[slot as usize]);
        if list == 0 {
            return;
        }
        let ends = &mut self.lists[list as usize - 1];
        ends.len -= 1;
        if previous == NONE {
            ends.first = next;
        } else {
            self.nodes[previous as usize - 1].next = next;
        }
        if next == NONE {
            ends.last = previous;
        } else {
            self.nodes[next as usize - 1].previous = previous;
        }
    }

    /// The slot that has been longest in `list`.
    pub(crate) fn first(&self, list: usize) -> Option<u32> {
        self.lists[list].first.checked_sub(1)
    }

    /// How many slots are in `list`.
    pub(crate) fn len(&self, list: usize) -> u32 {
        self.lists[list].len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against one queue per list.
        #[test]
        fn agrees_with_queues(moves in prop::collection::vec((0u32..8, prop::option::of(0usize..3)), 0..200)) {
            let mut lists = SlotLists::new(8, 3, 0);
            let mut model = [(0..8).collect(), VecDeque::new(), VecDeque::new()];
            for (slot, to) in moves {
                for queue in &mut model {
                    queue.retain(|&other| other != slot);
                }
                match to {
                    Some(list) => {
                        lists.move_to(slot, list);
                        model[list].push_back(slot);
                    }
                    None => lists.remove(slot),
                }
                for (list, queue) in model.iter().enumerate() {
                    prop_assert_eq!(lists.first(list), queue.front().copied());
                    prop_assert_eq!(lists.len(list) as usize, queue.len());
                }
            }
            // Empty them from the front: the whole order agrees, not only the ends.
            for (list, queue) in model.iter_mut().enumerate() {
                while let Some(slot) = queue.pop_front() {
                    prop_assert_eq!(lists.first(list), Some(slot));
                    lists.remove(slot);
                }
                prop_assert_eq!(lists.first(list), None);
            }
        }
    }
}
