//! Names that are answered as if they did not exist.
//!
//! A name is kept as a hash of 8 octets in one sorted array: a million of them takes 8 MB, and at most 24 MB while they are
//! being read. The hash is keyed, so that nobody can find a name that is blocked by mistake; by chance that happens once in
//! 2^43 questions for a million names.

use std::net::IpAddr;

use thiserror::Error;

use super::hash::SeededState;
use super::name;

/// Marks, in a hash's lowest bit, that all below the name is blocked too.
const WITH_SUBDOMAINS: u64 = 1;

/// Why no more names are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockListError {
    /// The bound of names was reached; what came before stays.
    #[error("more than {0} names")]
    Full(usize),
}

/// Reads block lists line by line.
#[derive(Debug)]
pub struct BlockListBuilder {
    hashes: Vec<u64>,
    hasher: SeededState,
    max_names: usize,
    skipped: u64,
}

impl BlockListBuilder {
    /// For at most `max_names` names (8 octets each), hashed under `seed`, which nobody outside may know.
    pub fn new(max_names: usize, seed: u64) -> BlockListBuilder {
        BlockListBuilder { hashes: Vec::new(), hasher: SeededState::new(seed), max_names, skipped: 0 }
    }

    /// Takes a line, of either format, recognised by its first word: `0.0.0.0 ads.example.net tracker.example.net` (hosts:
    /// these names) or `ads.example.net`, also with `*.` before it (domain: this name and all below). `#` begins a comment.
    /// Names without a dot, such as the `localhost` of hosts files, and what is no name are passed over and counted.
    ///
    /// # Errors
    /// When there is no room for more names.
    pub fn line(&mut self, line: &str) -> Result<(), BlockListError> {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(first) = words.next() else { return Ok(()) };
        if first.parse::<IpAddr>().is_ok() {
            return words.try_for_each(|word| self.name(word, 0));
        }
        if words.next().is_some() {
            self.skipped += 1;
            return Ok(());
        }
        self.name(first.strip_prefix("*.").unwrap_or(first), WITH_SUBDOMAINS)
    }

    fn name(&mut self, text: &str, mark: u64) -> Result<(), BlockListError> {
        let Some(name) =
            name::from_text(text).filter(|name| name::labels(name) > 1 && text.parse::<IpAddr>().is_err())
        else {
            self.skipped += 1;
            return Ok(());
        };
        if self.hashes.len() >= self.max_names {
            return Err(BlockListError::Full(self.max_names));
        }
        self.hashes.push(self.hasher.hash(&name) & !WITH_SUBDOMAINS | mark);
        Ok(())
    }

    /// Words that were no names.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The list of what was read.
    pub fn finish(mut self) -> BlockList {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        BlockList { hashes: self.hashes.into(), hasher: self.hasher }
    }
}

/// A set of names and domains; immutable, so that another can be made beside it and put in its place.
#[derive(Clone, Debug)]
pub struct BlockList {
    hashes: Box<[u64]>,
    hasher: SeededState,
}

impl Default for BlockList {
    fn default() -> BlockList {
        BlockList { hashes: Box::default(), hasher: SeededState::new(0) }
    }
}

impl BlockList {
    /// How many names it has, each once.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether it has `name`, in lower case, or a domain that this lies in.
    pub(crate) fn blocks(&self, name: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let has = |hash: u64| self.hashes.binary_search(&hash).is_ok();
        has(self.hasher.hash(name) & !WITH_SUBDOMAINS)
            || name::suffixes(name).any(|suffix| has(self.hasher.hash(suffix) | WITH_SUBDOMAINS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(list: &BlockList, text: &str) -> bool {
        list.blocks(&name::from_text(text).unwrap())
    }

    #[test]
    fn hosts_lines_mean_names_and_domain_lines_all_below() {
        let mut builder = BlockListBuilder::new(100, 1);
        for line in [
            "# a comment",
            "",
            "127.0.0.1 localhost",
            "0.0.0.0 Ads.example.net tracker.example.net # why",
            "::1 six.example.net",
            "doubleclick.example",
            "*.wild.example",
            "two words",
            "0.0.0.0 0.0.0.0",
            "192.0.2.1",
        ] {
            builder.line(line).unwrap();
        }
        assert_eq!(builder.skipped(), 3);
        let list = builder.finish();
        assert_eq!(list.len(), 5);
        for name in [
            "ads.example.net",
            "tracker.example.net",
            "six.example.net",
            "doubleclick.example",
            "a.b.doubleclick.example",
            "x.wild.example",
        ] {
            assert!(blocks(&list, name), "{name}");
        }
        for name in ["example.net", "a.ads.example.net", "notdoubleclick.example", "example", "localhost"] {
            assert!(!blocks(&list, name), "{name}");
        }
    }

    #[test]
    fn the_bound_of_names_holds() {
        let mut builder = BlockListBuilder::new(2, 1);
        builder.line("0.0.0.0 a.example b.example").unwrap();
        assert_eq!(builder.line("c.example"), Err(BlockListError::Full(2)));
        assert_eq!(builder.finish().len(), 2);
    }

    #[test]
    fn a_million_names_fit_in_a_tenth_of_what_they_may_take() {
        let mut builder = BlockListBuilder::new(1_000_000, 1);
        for number in 0..1_000_000 {
            builder.line(&format!("host-{number}.domain-{}.example", number % 1000)).unwrap();
        }
        let while_reading =
            size_of_val(&builder.hashes[..]) / builder.hashes.len() * builder.hashes.capacity();
        let list = builder.finish();
        assert_eq!(list.len(), 1_000_000);
        assert_eq!(size_of_val(&*list.hashes), 8_000_000);
        // Growing, the array is there twice: as it was, and twice as large.
        assert!(while_reading + while_reading / 2 <= 25_200_000, "{while_reading}");
        assert!(blocks(&list, "below.host-999999.domain-999.example"));
        assert!((0..10_000).all(|number| !blocks(&list, &format!("other-{number}.domain-1.example"))));
    }
}
