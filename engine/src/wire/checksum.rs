//! The Internet checksum: read RFC 1071 (the sum), RFC 1624 (changing it in place) and RFC 768 (UDP's zero).
//!
//! Byte order: words and checksums are host-order values of the big-endian 16-bit fields, as
//! `u16::from_be_bytes` reads them. A *sum* is the ones' complement sum of such words, not inverted; a
//! *checksum* is the inverted sum, as it stands in a finished header. A *partial* checksum field holds the
//! uninverted sum of the pseudo header alone; the device adds the segment and inverts.
//!
//! Ones' complement has two zeros. The sum of words is 0 only when all of them are 0, else its zero is
//! 0xffff, and so a finished checksum is 0xffff only over nothing but zeros. RFC 1624's equation 3, used
//! here, keeps that. The one place where it cannot is a message that *becomes* all zeros, which only ICMP
//! echo replies can (no pseudo header): see [`crate::packet::rewrite`].

use std::net::Ipv4Addr;

use super::ipv4::Protocol;

/// Adds the carries of a sum back in until 16 bits are left.
#[inline]
pub const fn fold(sum: u32) -> u16 {
    // The lower halves' carry runs into the upper halves: the end-around carry, without a second step.
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The checksum that stands for `sum`: folded and inverted.
#[inline]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The ones' complement sum of `bytes`, folded to 16 bits; an odd last octet counts as followed by a zero.
/// Kept in 32 bits so that up to 65,536 such sums can be added before [`fold`] or [`finish`].
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    // RFC 1071 §2(B): the sum does not depend on byte order, so native words are summed and the result is
    // swapped once. 32-bit lanes in 64-bit accumulators need no carries (2^32 words to overflow), and the
    // compiler turns the fixed-size inner loop into vector additions.
    const LANES: usize = 16;
    let mut lanes = [0_u64; LANES];
    let (chunks, rest) = bytes.as_chunks::<{ LANES * 4 }>();
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(last));
    u32::from(to_host(fold64(total)))
}

/// The sum of a 20-octet IPv4 header, folded: [`sum`] for the one length that nearly every packet has.
#[inline]
pub fn sum_header(header: &[u8; 20]) -> u16 {
    let (words, _) = header.as_chunks::<4>();
    let mut total = 0_u64;
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    to_host(fold64(total))
}

/// The sum of the TCP/UDP pseudo header (RFC 9293 §3.1): addresses, protocol, and `len`, the octets of
/// transport header and payload. Not folded.
#[inline]
pub fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, len: u16) -> u32 {
    let (source, destination) = (source.to_bits(), destination.to_bits());
    (source >> 16)
        + (source & 0xffff)
        + (destination >> 16)
        + (destination & 0xffff)
        + u32::from(protocol.0)
        + u32::from(len)
}

#[inline]
const fn fold64(sum: u64) -> u16 {
    fold((sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32)
}

/// A sum of native words as a sum of big-endian words.
#[inline]
const fn to_host(sum: u16) -> u16 {
    u16::from_be(sum)
}

/// The change of a sum when words are replaced: RFC 1624 equation 3, `HC' = ~(~HC + ~m + m')`, with the
/// `~m + m'` of all replaced words gathered first.
///
/// Words must lie at even offsets from where the checksum's coverage starts; for one at an odd offset swap
/// the octets of both values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Delta(u64);

impl Delta {
    /// Nothing replaced.
    pub const NONE: Delta = Delta(0);

    /// One 16-bit word replaced.
    #[inline]
    pub const fn word(old: u16, new: u16) -> Delta {
        Delta(!old as u64 + new as u64)
    }

    /// One IPv4 address replaced.
    #[inline]
    pub const fn address(old: Ipv4Addr, new: Ipv4Addr) -> Delta {
        Delta::double_word(old.to_bits(), new.to_bits())
    }

    /// Two adjacent 16-bit words replaced.
    #[inline]
    pub const fn double_word(old: u32, new: u32) -> Delta {
        // A 32-bit word stands for the sum of its halves, since 2^16 counts as 1: folding adds them up.
        Delta(!old as u64 + new as u64)
    }

    /// Both changes. Billions can be gathered.
    #[inline]
    pub const fn and(self, other: Delta) -> Delta {
        Delta(self.0 + other.0)
    }

    /// The checksum of a finished field after the change.
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold64(!checksum as u64 + self.0)
    }

    /// The uninverted sum in a partial field after the change.
    #[inline]
    pub const fn apply_partial(self, field: u16) -> u16 {
        fold64(field as u64 + self.0)
    }
}

#[cfg(test)]
mod tests {
    //! Properties: the sum equals the octet-by-octet definition of RFC 1071 and etherparse's; a delta
    //! equals the full recomputation, for finished and for partial fields.

    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn example_of_rfc_1071() {
        // §3: 0001 f203 f4f5 f6f7 sums to ddf2.
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        // §4: a header whose checksum is 0xdd2f, and a word changes from 0x5555 to 0x3285.
        assert_eq!(Delta::word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn zero_only_over_zeros() {
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0; 100]), 0);
        assert_eq!(sum(&[0xff; 100]), 0xffff);
        assert_eq!(sum(&[0xff, 0xfe, 0x00, 0x01]), 0xffff);
    }

    #[test]
    fn longest_packet_of_ones_does_not_overflow() {
        assert_eq!(sum(&[0xff; 65_535]), u32::from(reference(&[0xff; 65_535])));
    }

    proptest! {
        #[test]
        fn sum_is_the_defined_one(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(sum(&bytes), u32::from(reference(&bytes)));
            // etherparse keeps its sum in network order.
            let oracle = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes).ones_complement();
            prop_assert_eq!(finish(sum(&bytes)), u16::from_be(oracle));
        }

        #[test]
        fn header_sum_is_the_sum(header: [u8; 20]) {
            prop_assert_eq!(u32::from(sum_header(&header)), sum(&header));
        }

        #[test]
        fn delta_is_the_recomputation(
            words in proptest::collection::vec(any::<u16>(), 3..20),
            new: [u16; 3],
        ) {
            // A non-zero word in front, like the version or protocol that every real coverage has.
            let octets = |words: &[u16]| {
                let mut bytes = vec![0, 17];
                bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                bytes
            };
            let before = sum(&octets(&words));
            let old = |i: usize| words[i];
            let address = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
            let delta = Delta::word(old(0), new[0])
                .and(Delta::address(address(old(1), old(2)), address(new[1], new[2])));
            let mut words = words.clone();
            words[..3].copy_from_slice(&new);
            let after = sum(&octets(&words));
            prop_assert_eq!(delta.apply(finish(before)), finish(after));
            prop_assert_eq!(delta.apply_partial(fold(before)), fold(after));
            prop_assert_eq!(Delta::NONE.apply(finish(after)), finish(after));
        }
    }
}
