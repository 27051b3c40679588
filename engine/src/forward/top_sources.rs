//! Who opens most sessions through a forward, in a handful of entries.
//!
//! Theory of operation: the space-saving algorithm of Metwally, Agrawal and El Abbadi (2005). A source that has an entry
//! is counted there; another one takes over the entry with the lowest count, goes on from that, and remembers how much
//! of it may be others'. So a count is never too low, a source with more than one session in [`ENTRIES`] is always among
//! the entries, and ever so many sources cost no memory.

use std::net::Ipv4Addr;

/// Sources that are told apart.
pub(crate) const ENTRIES: usize = 8;

/// The entries of one forward.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TopSources([Entry; ENTRIES]);

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    source: u32,
    /// 0: nobody's.
    sessions: u32,
    /// How many of them may be others'.
    surplus: u32,
}

impl TopSources {
    /// One session more.
    pub(crate) fn count(&mut self, source: Ipv4Addr) {
        let source = source.to_bits();
        let mut least = 0;
        for at in 0..ENTRIES {
            let entry = self.0[at];
            if entry.source == source && entry.sessions > 0 {
                self.0[at].sessions = entry.sessions.saturating_add(1);
                return;
            }
            if entry.sessions < self.0[least].sessions {
                least = at;
            }
        }
        let surplus = self.0[least].sessions;
        self.0[least] = Entry { source, sessions: surplus.saturating_add(1), surplus };
    }

    /// Source, sessions, and how many of these may be others'; those with most first.
    pub(crate) fn listed(&self) -> Vec<(Ipv4Addr, u32, u32)> {
        let mut listed: Vec<_> = self.0.iter().filter(|entry| entry.sessions > 0).collect();
        listed.sort_by_key(|entry| (std::cmp::Reverse(entry.sessions), entry.source));
        let told = |entry: &Entry| (Ipv4Addr::from_bits(entry.source), entry.sessions, entry.surplus);
        listed.into_iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0xc633_6400 + number)
    }

    #[test]
    fn few_sources_are_counted_exactly() {
        let mut top = TopSources::default();
        for (number, sessions) in [(1, 3), (2, 1), (3, 7)] {
            (0..sessions).for_each(|_| top.count(source(number)));
        }
        assert_eq!(top.listed(), [(source(3), 7, 0), (source(1), 3, 0), (source(2), 1, 0)]);
    }

    #[test]
    fn who_comes_most_is_there_however_many_others_come() {
        let mut top = TopSources::default();
        for round in 0..1_000 {
            top.count(source(100_000 + round));
            if round % 4 == 0 {
                top.count(source(1));
            }
        }
        let listed = top.listed();
        assert_eq!(listed.len(), ENTRIES);
        let (_, sessions, surplus) = listed.iter().find(|(of, ..)| *of == source(1)).expect("a fifth of all");
        assert!(*sessions >= 250 && sessions - surplus <= 250, "{listed:?}");
    }
}
