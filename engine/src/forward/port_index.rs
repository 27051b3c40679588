//! From a port number to the rules whose port ranges hold it, in file order, in a constant number of steps.
//!
//! A tree over the four hexadecimal digits of a port. A range is listed at the digits that it covers wholly, as high
//! up as it can be, so a look-up reads the lists of four digits and merges them. Lists are linked and built back to
//! front, and neighboring digits whose lists begin alike share their cells: a wide range costs a handful. The last
//! item of a list stands in the link to it, so that a port with one range needs no cell.
//!
//! Memory of one range: a cell of 8 octets per listed digit, at most 106 of them and usually none; and
//! nodes of 128 octets, at most seven, shared by the ranges of one [`PortIndex`].

/// "Nothing": cells and nodes are numbered from one.
const NONE: u32 = 0;
/// In the link to a list: its only item, instead of a cell.
const SOLE: u32 = 1 << 31;

const DIGITS: usize = 16;

/// What all indices of a table share: their nodes and list cells.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    nodes: Vec<[Digit; DIGITS]>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Digit {
    /// First cell of the items that cover all ports that go on like this; or the last of them itself, see [`SOLE`].
    list: u32,
    /// Node of the next digit.
    node: u32,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    item: u32,
    next: u32,
}

/// Ports to items; see the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PortIndex {
    root: u32,
}

impl PortIndex {
    /// Without any items.
    pub(super) const EMPTY: PortIndex = PortIndex { root: NONE };
}

impl Store {
    /// Lists `item` for the ports `first..=last`. Items must be added in falling order: the last one added comes
    /// out first.
    pub(super) fn add(&mut self, index: &mut PortIndex, first: u16, last: u16, item: u32) {
        if index.root == NONE {
            index.root = self.node();
        }
        self.add_below(index.root, 12, first, last, item);
    }

    /// Lists `item` in the subtree of `node`, whose digit is that of the port's bits from `shift` on. The ports have
    /// the digits before in common.
    fn add_below(&mut self, node: u32, shift: u32, first: u16, last: u16, item: u32) {
        let below = (1u16 << shift) - 1;
        let (mut list, mut shared) = (NONE, NONE);
        for digit in first >> shift..=last >> shift {
            let (from, to) = (digit << shift, digit << shift | below);
            let position = digit as usize % DIGITS;
            let old = self.nodes[node as usize - 1][position];
            if first <= from && to <= last {
                if list == NONE || shared != old.list {
                    shared = old.list;
                    list = match shared {
                        NONE => SOLE | item,
                        next => {
                            self.cells.push(Cell { item, next });
                            self.cells.len() as u32
                        }
                    };
                }
                self.nodes[node as usize - 1][position].list = list;
            } else {
                let child = if old.node == NONE { self.node() } else { old.node };
                self.nodes[node as usize - 1][position].node = child;
                self.add_below(child, shift - 4, first.max(from), last.min(to), item);
            }
        }
    }

    fn node(&mut self) -> u32 {
        self.nodes.push(Default::default());
        self.nodes.len() as u32
    }

    /// The items of `port`, smallest first.
    pub(super) fn items(&self, index: &PortIndex, port: u16) -> Items<'_> {
        let mut lists = [NONE; 4];
        let mut node = index.root;
        for (level, list) in lists.iter_mut().enumerate() {
            let Some(digits) = node.checked_sub(1).map(|node| &self.nodes[node as usize]) else { break };
            let digit = digits[(port >> (12 - 4 * level)) as usize % DIGITS];
            (*list, node) = (digit.list, digit.node);
        }
        Items { cells: &self.cells, lists }
    }

    /// Every port that has an item, in order.
    pub(super) fn ports(&self, index: &PortIndex) -> Vec<u16> {
        let mut ports = Vec::new();
        self.ports_below(index.root, 12, 0, &mut ports);
        ports
    }

    fn ports_below(&self, node: u32, shift: u32, base: u16, ports: &mut Vec<u16>) {
        let Some(digits) = node.checked_sub(1).map(|node| &self.nodes[node as usize]) else { return };
        for (digit, entry) in (0u16..).zip(digits) {
            let from = base | digit << shift;
            if entry.list != NONE {
                ports.extend(from..=from | ((1 << shift) - 1));
            } else {
                self.ports_below(entry.node, shift.saturating_sub(4), from, ports);
            }
        }
    }
}

/// The items of one port, smallest first.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    cells: &'a [Cell],
    /// What is left of the list of each digit.
    lists: [u32; 4],
}

impl Iterator for Items<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let cells = self.cells;
        let heads = self.lists.iter_mut().filter_map(|list| {
            let cell = match *list {
                NONE => return None,
                sole if sole & SOLE != 0 => Cell { item: sole & !SOLE, next: NONE },
                number => cells[number as usize - 1],
            };
            Some((cell, list))
        });
        // No item is in two lists of one port.
        let (cell, list) = heads.min_by_key(|(cell, _)| cell.item)?;
        *list = cell.next;
        Some(cell.item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(ranges: &[(u16, u16)]) -> (Store, PortIndex) {
        let (mut store, mut index) = (Store::default(), PortIndex::default());
        for (item, &(first, last)) in ranges.iter().enumerate().rev() {
            store.add(&mut index, first, last, item as u32);
        }
        (store, index)
    }

    #[test]
    fn a_lone_range_takes_no_cells() {
        let (store, index) = build(&[(100, 65_000)]);
        assert_eq!((store.nodes.len(), store.cells.len()), (7, 0));
        assert_eq!(store.ports(&index), (100..=65_000).collect::<Vec<u16>>());
    }

    #[test]
    fn a_wide_range_shares_its_cells() {
        let (store, _) = build(&[(100, 65_000), (0, 65_535), (100, 65_000)]);
        assert_eq!((store.nodes.len(), store.cells.len()), (7, 8));
    }

    #[test]
    fn the_whole_port_space_takes_no_cell() {
        let (store, index) = build(&[(0, 65_535)]);
        assert_eq!((store.nodes.len(), store.cells.len()), (1, 0));
        assert_eq!(store.ports(&index).len(), 65_536);
        assert_eq!(store.items(&index, 65_535).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn worst_overlaps_stay_within_the_stated_memory() {
        let ranges: Vec<_> = (0..300u16).map(|i| (i % 255 + 1, 65_534 - i % 255)).collect();
        let (store, index) = build(&ranges);
        assert!(store.nodes.len() <= 300 * 7);
        assert!(store.cells.len() <= 300 * 106);
        assert_eq!(store.items(&index, 300).count(), 300);
    }

    fn range() -> impl Strategy<Value = (u16, u16)> {
        let near = (0u16..1200, 0u16..600).prop_map(|(first, length)| (first, first + length));
        let any = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
        prop_oneof![3 => near, 1 => any]
    }

    proptest! {
        // Each case asks for all 65,536 ports.
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a scan over all ranges, in order.
        #[test]
        fn agrees_with_a_linear_scan(
            ranges in prop::collection::vec(range(), 0..40),
            ports in prop::collection::vec(prop_oneof![0u16..2000, any::<u16>()], 100),
        ) {
            let (store, index) = build(&ranges);
            let holds = |range: &(u16, u16), port| (range.0..=range.1).contains(&port);
            for port in ports {
                let scan = ranges.iter().enumerate().filter(|(_, range)| holds(range, port));
                let expected: Vec<u32> = scan.map(|(item, _)| item as u32).collect();
                prop_assert_eq!(store.items(&index, port).collect::<Vec<_>>(), expected);
            }
            let owned = (0..=u16::MAX).filter(|&port| ranges.iter().any(|range| holds(range, port)));
            prop_assert_eq!(store.ports(&index), owned.collect::<Vec<u16>>());
        }
    }
}
