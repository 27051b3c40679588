//! Which octets of a packet its fragments have brought so far.

use super::FragmentInfo;
use crate::verdict::DropReason;

/// Most octets of an IPv4 packet (RFC 791 §3.1).
const MAX_PACKET: u32 = 65_535;

/// The ranges seen of one packet's payload: in order, and none overlaps another.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    ranges: Vec<Range>,
    octets: u32,
    /// Payload octets of the whole packet, once the last fragment has come.
    total: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    end: u32,
}

/// How a fragment fits with those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Nothing of it was there; it belongs at this position.
    New(usize),
    /// Exactly the same range was there.
    Duplicate,
}

impl Coverage {
    /// Whether a fragment with `len` octets of payload fits.
    ///
    /// # Errors
    /// [`DropReason::FragmentTiny`] when it brings nothing, [`DropReason::FragmentOverlap`] when it overlaps another
    /// one without being its duplicate, reaches past the end of the packet or the most that a packet can have, or
    /// names another end.
    pub(super) fn check(&self, info: FragmentInfo, len: usize) -> Result<Fit, DropReason> {
        let start = u32::from(info.offset);
        let end = u32::try_from(len).ok().and_then(|len| start.checked_add(len)).unwrap_or(u32::MAX);
        if len == 0 {
            return Err(DropReason::FragmentTiny);
        }
        if end > MAX_PACKET {
            return Err(DropReason::FragmentOverlap);
        }
        let position = self.ranges.partition_point(|range| range.end <= start);
        if self.ranges.get(position) == Some(&Range { start, end }) {
            let is_last = self.total == Some(end);
            return if is_last != info.more { Ok(Fit::Duplicate) } else { Err(DropReason::FragmentOverlap) };
        }
        let overlaps = self.ranges.get(position).is_some_and(|range| range.start < end);
        let past_the_end = match self.total {
            Some(total) => end > total || !info.more,
            None => !info.more && position < self.ranges.len(),
        };
        if overlaps || past_the_end { Err(DropReason::FragmentOverlap) } else { Ok(Fit::New(position)) }
    }

    /// Takes a fragment in that [`Coverage::check`] found new.
    pub(super) fn insert(&mut self, position: usize, info: FragmentInfo, len: usize) {
        let start = u32::from(info.offset);
        let end = start + len as u32;
        self.ranges.insert(position, Range { start, end });
        self.octets += end - start;
        if !info.more {
            self.total = Some(end);
        }
    }

    /// Every octet has come.
    pub(super) fn is_complete(&self) -> bool {
        self.total == Some(self.octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(offset: u16, more: bool) -> FragmentInfo {
        FragmentInfo { id: 1, offset, more }
    }

    /// Takes fragments (offset, octets, more) and says what became of the last one.
    fn judge(fragments: &[(u16, usize, bool)]) -> (Result<bool, DropReason>, bool) {
        let mut coverage = Coverage::default();
        let mut result = Err(DropReason::FragmentTiny);
        for &(offset, len, more) in fragments {
            result = match coverage.check(info(offset, more), len) {
                Ok(Fit::New(position)) => {
                    coverage.insert(position, info(offset, more), len);
                    Ok(true)
                }
                Ok(Fit::Duplicate) => Ok(false),
                Err(reason) => Err(reason),
            };
        }
        (result, coverage.is_complete())
    }

    #[test]
    fn table() {
        const NEW: Result<bool, DropReason> = Ok(true);
        const DUPLICATE: Result<bool, DropReason> = Ok(false);
        const OVERLAP: Result<bool, DropReason> = Err(DropReason::FragmentOverlap);
        type Case<'a> = (&'a [(u16, usize, bool)], Result<bool, DropReason>, bool);
        let cases: &[Case<'_>] = &[
            (&[(0, 16, true)], NEW, false),
            (&[(0, 16, true), (16, 5, false)], NEW, true),
            (&[(16, 5, false), (0, 16, true)], NEW, true),
            (&[(0, 8, true), (16, 8, false), (8, 8, true)], NEW, true),
            (&[(0, 16, true), (0, 16, true)], DUPLICATE, false),
            (&[(16, 5, false), (16, 5, false)], DUPLICATE, false),
            (&[(0, 16, true), (8, 16, true)], OVERLAP, false),
            (&[(8, 16, true), (0, 16, true)], OVERLAP, false),
            (&[(0, 32, true), (8, 8, true)], OVERLAP, false),
            (&[(8, 8, true), (0, 32, true)], OVERLAP, false),
            (&[(0, 16, true), (0, 8, true)], OVERLAP, false),
            (&[(8, 8, true), (24, 8, true), (0, 40, true)], OVERLAP, false),
            // The same range, but once as the last one.
            (&[(16, 8, true), (16, 8, false)], OVERLAP, false),
            (&[(16, 8, false), (16, 8, true)], OVERLAP, false),
            // Two different ends, and octets behind the end.
            (&[(16, 8, false), (32, 8, false)], OVERLAP, false),
            (&[(16, 8, false), (8, 8, false)], OVERLAP, false),
            (&[(16, 8, false), (24, 8, true)], OVERLAP, false),
            (&[(24, 8, true), (16, 8, false)], OVERLAP, false),
            // The most that a packet can have.
            (&[(65_528, 7, false)], NEW, false),
            (&[(65_528, 8, false)], OVERLAP, false),
            (&[(65_528, usize::MAX, false)], OVERLAP, false),
            (&[(16, 0, false)], Err(DropReason::FragmentTiny), false),
        ];
        for (fragments, result, complete) in cases {
            assert_eq!(judge(fragments), (*result, *complete), "{fragments:?}");
        }
    }

    proptest! {
        /// Against a map of octets: what is taken never overlaps, and complete means that all is there.
        #[test]
        fn agrees_with_a_map_of_octets(
            fragments in prop::collection::vec((0u16..20, 1usize..6, prop::bool::weighted(0.8)), 1..30),
        ) {
            let mut coverage = Coverage::default();
            let mut octets = [false; 20 * 8 + 48];
            let mut taken: Vec<(u16, usize, bool)> = Vec::new();
            for (unit, units, more) in fragments {
                let (offset, len) = (unit * 8, units * 8);
                let span = offset as usize..offset as usize + len;
                let total = taken.iter().find(|(.., more)| !more).map(|(offset, len, _)| *offset as usize + len);
                let last = octets.iter().rposition(|&octet| octet).map_or(0, |last| last + 1);
                match coverage.check(info(offset, more), len) {
                    Ok(Fit::New(position)) => {
                        prop_assert!(octets[span.clone()].iter().all(|octet| !octet));
                        prop_assert!(total.is_none_or(|total| more && span.end <= total));
                        prop_assert!(more || span.end > last);
                        coverage.insert(position, info(offset, more), len);
                        octets[span].fill(true);
                        taken.push((offset, len, more));
                    }
                    Ok(Fit::Duplicate) => prop_assert!(taken.contains(&(offset, len, more))),
                    Err(_) => {
                        prop_assert!(!taken.contains(&(offset, len, more)));
                        let fits = octets[span.clone()].iter().all(|octet| !octet)
                            && total.is_none_or(|total| more && span.end <= total)
                            && (more || span.end > last);
                        prop_assert!(!fits);
                    }
                }
                let total = taken.iter().find(|(.., more)| !more).map(|(offset, len, _)| *offset as usize + len);
                let whole = total.is_some_and(|total| octets[..total].iter().all(|&octet| octet));
                prop_assert_eq!(coverage.is_complete(), whole);
            }
        }
    }
}
