//! The ones' complement sum (RFC 1071) through etherparse: the judge of the engine's own checksums.

use etherparse::checksum::u32_16bit_word;

/// Adds two folded sums.
pub fn add(a: u16, b: u16) -> u16 {
    let (value, carry) = a.overflowing_add(b);
    value + u16::from(carry)
}

/// The folded sum of `bytes` as big-endian words, an odd last octet padded with 0. Host order.
pub fn of(bytes: &[u8]) -> u16 {
    // etherparse sums native-endian words and inverts at the end.
    !u16::from_be(u32_16bit_word::ones_complement(u32_16bit_word::add_slice(0, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(of(&[0x12]), 0x1200);
        assert_eq!(add(0xffff, 1), 1);
    }
}
