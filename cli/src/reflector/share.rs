//! Whether a NAT has only a share of the ports of its external address, as with MAP-E. Read RFC 7597 §5.1 and appendix B first.
//!
//! ```text
//!  the 16 bits of a port:  | A, a bits, not zero | PSID, k bits | M, m bits |
//! ```
//!
//! Who has one PSID has a block of 2^m ports for each A. External ports of sockets that have nothing to do with each other
//! lie in different blocks and have all other bits by chance; that k bits in the middle are the same in d blocks is one
//! chance in 2^(k(d-1)).

use std::collections::BTreeSet;

use serde::Serialize;

/// Ports that are looked at: sockets that are opened for it.
pub(crate) const SAMPLE: usize = 12;

/// Bits that have to be the same beyond chance: some fifty ways of cutting a port are tried.
const BITS: u32 = 24;

/// A share of the ports of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    /// a.
    psid_offset: u32,
    /// k; where ports of a block happen to have bits in common, more than there are.
    psid_length: u32,
    /// The PSID.
    psid: u16,
}

impl Share {
    /// What external ports of one machine's sockets have in common, if that is no chance.
    pub(crate) fn of(ports: &[u16]) -> Option<Share> {
        let cuts = (1..=8).flat_map(|offset| (4..=15 - offset).map(move |length| (offset, length)));
        let share = |(psid_offset, psid_length)| {
            let first = Share { psid_offset, psid_length, psid: 0 };
            let share = Share { psid: first.psid_of(*ports.first()?), ..first };
            let blocks: BTreeSet<u16> = ports.iter().map(|port| share.block_of(*port)).collect();
            let within: BTreeSet<u16> = ports.iter().map(|port| port & (share.block_size() - 1)).collect();
            let bits = psid_length * (blocks.len() as u32 - 1);
            // Ports that grow by as much each time have more in common than their PSID.
            let is_one = ports.iter().all(|port| share.contains(*port)) && within.len() > 1;
            (is_one && bits >= BITS).then_some(share)
        };
        cuts.filter_map(share).max_by_key(|share| share.psid_length)
    }

    fn block_size(&self) -> u16 {
        1 << (16 - self.psid_offset - self.psid_length)
    }

    fn psid_of(&self, port: u16) -> u16 {
        (port / self.block_size()) & ((1 << self.psid_length) - 1)
    }

    fn block_of(&self, port: u16) -> u16 {
        port >> (16 - self.psid_offset)
    }

    /// Whether a port is of the share.
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.block_of(port) > 0 && self.psid_of(port) == self.psid
    }

    /// The first blocks of ports, each from the first to the last.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u16, u16)> {
        let first = |block: u16| (block << (16 - self.psid_offset)) | (self.psid * self.block_size());
        (1..1 << self.psid_offset).map(first).map(|first| (first, first + (self.block_size() - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ports of a share, spread over blocks.
    fn sample(share: &Share, blocks: usize) -> Vec<u16> {
        let all: Vec<(u16, u16)> = share.blocks().take(blocks).collect();
        let of = |at: usize| {
            let (first, last) = all[at % all.len()];
            first + (at as u16 * 7) % (last - first + 1)
        };
        (0..SAMPLE).map(of).collect()
    }

    #[test]
    fn shares_are_recognised_by_ports_of_some_blocks() {
        for share in [
            Share { psid_offset: 4, psid_length: 8, psid: 0x34 },
            Share { psid_offset: 6, psid_length: 6, psid: 1 },
            Share { psid_offset: 6, psid_length: 6, psid: 63 },
        ] {
            assert_eq!(Share::of(&sample(&share, SAMPLE)), Some(share));
            // Of one block nothing can be told.
            assert_eq!(Share::of(&sample(&share, 1)), None);
        }
    }

    #[test]
    fn blocks_are_those_of_the_rfc() {
        // RFC 7597, appendix B, example 1: PSID 0x34 of 8 bits at offset 6.
        let share = Share { psid_offset: 6, psid_length: 8, psid: 0x34 };
        let first: Vec<(u16, u16)> = share.blocks().take(2).collect();
        assert_eq!(first, [(1232, 1235), (2256, 2259)]);
        assert_eq!(share.blocks().last(), Some((64_720, 64_723)));
        assert!(share.contains(1235) && !share.contains(1236) && !share.contains(208));
    }

    #[test]
    fn ports_by_chance_or_in_a_row_are_no_share() {
        let by_chance =
            [51_423, 17_220, 40_001, 33_333, 62_719, 8_211, 29_876, 12_345, 55_555, 23_456, 47_110, 37_812];
        assert_eq!(Share::of(&by_chance), None);
        let row: Vec<u16> = (40_000..40_000 + SAMPLE as u16).collect();
        assert_eq!(Share::of(&row), None);
        let step: Vec<u16> = (0..SAMPLE as u16).map(|at| 10_000 + 256 * at).collect();
        assert_eq!(Share::of(&step), None);
        assert_eq!(Share::of(&[]), None);
    }
}
