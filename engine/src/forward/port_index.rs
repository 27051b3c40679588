//! From a port number to the rules whose port ranges hold it, in file order, in a constant number of steps.
//!
//! The 65,536 ports are 256 pages of 256. A range is cut into the pages that it covers wholly, where it is listed
//! once for the page, and at most two that it covers in part, where it is listed for each port. A look-up
//! therefore reads two lists and merges them. Lists are linked and built back to front, and ports whose lists
//! begin alike share their cells: a range of 200 ports usually costs one cell.
//!
//! Memory of one range: at most two pages of 1 KiB, 256 entries of 12 octets for whole pages, and 764 cells of 8
//! octets (only where it overlaps other ranges that differ from port to port); one page and one cell for a single
//! port, pages being shared by all ranges of one [`PortIndex`].

/// "Nothing": cells and pages are numbered from one.
const NONE: u32 = 0;

const PAGE: usize = 256;

/// What all indices of a table share: their pages and list cells.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// First cell of the list of each port of a page.
    pages: Vec<[u32; PAGE]>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    item: u32,
    next: u32,
}

/// Ports to items; see the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct PortIndex {
    /// The pages that are touched at all, in order.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The upper eight bits of the port.
    number: u8,
    /// List of items that cover the whole page.
    whole: u32,
    /// Page of lists of items that cover it in part.
    page: u32,
}

impl Store {
    /// Lists `item` for the ports `first..=last`. Items must be added in falling order: the last one added comes
    /// out first.
    pub(super) fn add(&mut self, index: &mut PortIndex, first: u16, last: u16, item: u32) {
        let (mut whole, mut whole_tail) = (NONE, NONE);
        for number in (first >> 8) as u8..=(last >> 8) as u8 {
            let base = u16::from(number) << 8;
            let (from, to) = (first.max(base) - base, last.min(base | 0xff) - base);
            let entry = index.entry(number);
            if (from, to) == (0, 0xff) {
                if whole == NONE || whole_tail != entry.whole {
                    whole_tail = entry.whole;
                    whole = self.cell(item, entry.whole);
                }
                entry.whole = whole;
                continue;
            }
            if entry.page == NONE {
                self.pages.push([NONE; PAGE]);
                entry.page = self.pages.len() as u32;
            }
            let page = entry.page as usize - 1;
            let (mut head, mut tail) = (NONE, NONE);
            for port in from as usize..=to as usize {
                let old = self.pages[page][port];
                if head == NONE || tail != old {
                    tail = old;
                    head = self.cell(item, old);
                }
                self.pages[page][port] = head;
            }
        }
    }

    /// The items of `port`, smallest first.
    pub(super) fn items(&self, index: &PortIndex, port: u16) -> Items<'_> {
        let (mut whole, mut part) = (NONE, NONE);
        if let Ok(position) = index.position((port >> 8) as u8) {
            let entry = index.entries[position];
            whole = entry.whole;
            if entry.page != NONE {
                part = self.pages[entry.page as usize - 1][port as usize % PAGE];
            }
        }
        Items { cells: &self.cells, whole, part }
    }

    /// Every port that has an item, in order.
    pub(super) fn ports<'a>(&'a self, index: &'a PortIndex) -> impl Iterator<Item = u16> + 'a {
        index.entries.iter().flat_map(move |entry| {
            let page = entry.page.checked_sub(1).map(|page| &self.pages[page as usize]);
            let listed = move |port: u16| page.is_some_and(|page| page[port as usize] != NONE);
            let base = u16::from(entry.number) << 8;
            (0..PAGE as u16)
                .filter(move |&port| entry.whole != NONE || listed(port))
                .map(move |port| base | port)
        })
    }

    fn cell(&mut self, item: u32, next: u32) -> u32 {
        self.cells.push(Cell { item, next });
        self.cells.len() as u32
    }
}

impl PortIndex {
    fn position(&self, number: u8) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number)
    }

    fn entry(&mut self, number: u8) -> &mut Entry {
        let position = self.position(number).unwrap_or_else(|position| {
            self.entries.insert(position, Entry { number, whole: NONE, page: NONE });
            position
        });
        &mut self.entries[position]
    }
}

/// The items of one port, smallest first.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    cells: &'a [Cell],
    whole: u32,
    part: u32,
}

impl Iterator for Items<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let cell = |link: u32| link.checked_sub(1).map(|cell| self.cells[cell as usize]);
        let (whole, part) = (cell(self.whole), cell(self.part));
        match (whole, part) {
            (Some(whole), part) if part.is_none_or(|part| whole.item < part.item) => {
                self.whole = whole.next;
                Some(whole.item)
            }
            (_, Some(part)) => {
                self.part = part.next;
                Some(part.item)
            }
            _ => None,
        }
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
    fn a_wide_range_shares_its_cells() {
        let (store, index) = build(&[(100, 65_000)]);
        assert_eq!((store.pages.len(), store.cells.len()), (2, 3));
        let mut ports = store.ports(&index);
        assert_eq!(ports.next(), Some(100));
        assert_eq!(ports.last(), Some(65_000));
    }

    #[test]
    fn the_whole_port_space_is_one_cell() {
        let (store, index) = build(&[(0, 65_535)]);
        assert_eq!((store.pages.len(), store.cells.len()), (0, 1));
        assert_eq!(store.ports(&index).count(), 65_536);
        assert_eq!(store.items(&index, 65_535).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn worst_overlaps_stay_within_the_stated_memory() {
        let ranges: Vec<_> = (0..300u16).map(|i| (i % 255 + 1, 65_534 - i % 255)).collect();
        let (store, index) = build(&ranges);
        assert_eq!(store.pages.len(), 2);
        assert!(store.cells.len() <= 300 * 764);
        assert_eq!(store.items(&index, 300).count(), 300);
    }

    fn range() -> impl Strategy<Value = (u16, u16)> {
        let near = (0u16..1200, 0u16..600).prop_map(|(first, length)| (first, first + length));
        let any = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
        prop_oneof![3 => near, 1 => any]
    }

    proptest! {
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
            prop_assert!(store.ports(&index).eq(owned));
        }
    }
}
