//! Which ports of a forward are looked at: all of a few, a sample of many.

use genkan_engine::plan::PortRange;
use serde::Serialize;

use super::facts::Answer;

/// A port that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Port {
    /// Outside.
    pub(crate) external: u16,
    /// At the target.
    pub(crate) internal: u16,
    /// What the target said to the router.
    pub(crate) answer: Answer,
}

/// The ports of a forward: all, when they are no more than `most` (two at least), else the first, the last, and others
/// evenly between.
pub(super) fn sample(ranges: &[PortRange], most: usize) -> Vec<Port> {
    let length = |range: &PortRange| usize::from(range.external_last - range.external_first) + 1;
    let total: usize = ranges.iter().map(length).sum();
    let number = total.min(most);
    let nth = |index: usize| {
        let mut left = if number < total { index * (total - 1) / (number - 1) } else { index };
        for range in ranges {
            if left < length(range) {
                let offset = left as u16;
                let (external, internal) = (range.external_first + offset, range.internal_first + offset);
                return Some(Port { external, internal, answer: Answer::Unasked });
            }
            left -= length(range);
        }
        None
    };
    (0..number).filter_map(nth).collect()
}

/// The ports of a forward that others begin or end at: where they share ports, they share one of these.
pub(super) fn edges<'a>(
    ranges: &'a [PortRange],
    others: impl Iterator<Item = &'a PortRange>,
) -> impl Iterator<Item = u16> {
    let ends = others.flat_map(|other| [other.external_first, other.external_last]);
    ends.filter(|port| ranges.iter().any(|own| (own.external_first..=own.external_last).contains(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(external_first: u16, external_last: u16, internal_first: u16) -> PortRange {
        PortRange { external_first, external_last, internal_first }
    }

    fn external(ranges: &[PortRange], most: usize) -> Vec<u16> {
        sample(ranges, most).iter().map(|port| port.external).collect()
    }

    #[test]
    fn the_first_and_the_last_are_among_them() {
        assert_eq!(external(&[range(80, 80, 8080)], 4), [80]);
        assert_eq!(external(&[range(80, 83, 80)], 4), [80, 81, 82, 83]);
        assert_eq!(external(&[range(1, 65_535, 1)], 3), [1, 32_768, 65_535]);
        assert_eq!(external(&[range(80, 80, 80), range(90, 99, 90)], 3), [80, 94, 99]);
        let inside: Vec<u16> = sample(&[range(80, 89, 8080)], 2).iter().map(|port| port.internal).collect();
        assert_eq!(inside, [8080, 8089]);
        assert!(external(&[], 4).is_empty());
    }

    #[test]
    fn edges_of_others_are_those_within() {
        let own = [range(100, 200, 100)];
        let others = [range(50, 150, 1), range(160, 160, 1), range(300, 301, 1)];
        assert_eq!(edges(&own, others.iter()).collect::<Vec<_>>(), [150, 160, 160]);
    }
}
