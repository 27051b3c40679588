//! The keyed hash of table keys: SipHash-1-3 over 16, 14, 8 or 4 octets.
//!
//! Remotes choose the 5-tuples that they send, so the hash must not let them choose collisions; the key
//! is secret and per router. The fixed length saves the buffering of a general hasher.

use crate::rng::Rng;

/// The secret key of one router's tables, as the state that hashing starts from.
#[derive(Clone, Copy, Debug)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// The key that a secret seed gives, and randomness for everything else.
    pub fn from_seed(seed: [u64; 2]) -> (HashKey, Rng) {
        let mut rng = Rng::new(seed[0] ^ seed[1].rotate_left(32));
        (HashKey::new([seed[0] ^ rng.next_u64(), seed[1] ^ rng.next_u64()]), rng)
    }

    /// A key as it is.
    pub const fn new([k0, k1]: [u64; 2]) -> HashKey {
        HashKey([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// SipHash-1-3 of the 16 octets `a`, `b` (each little-endian).
    #[inline(always)]
    pub fn hash(self, a: u64, b: u64) -> u64 {
        self.hash_words([a, b, 16 << 56])
    }

    /// SipHash-1-3 of 14 octets, `a` and the lower six of `b` (each little-endian), whose upper two are 0: a
    /// round less, since the length fits into the second word.
    #[inline(always)]
    pub fn hash_14(self, a: u64, b: u64) -> u64 {
        debug_assert!(b >> 48 == 0, "six octets");
        self.hash_words([a, b | 14 << 56])
    }

    /// SipHash-1-3 of the eight octets of `a` (little-endian): a round less than 16 octets take.
    #[inline(always)]
    pub fn hash_8(self, a: u64) -> u64 {
        self.hash_words([a, 8 << 56])
    }

    /// SipHash-1-3 of the four octets of `a` (little-endian): two rounds less than 16 octets take.
    #[inline(always)]
    pub fn hash_4(self, a: u32) -> u64 {
        self.hash_words([u64::from(a) | 4 << 56])
    }

    #[inline(always)]
    fn hash_words<const N: usize>(self, words: [u64; N]) -> u64 {
        let HashKey(mut v) = self;
        for word in words {
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        round(&mut v);
        round(&mut v);
        round(&mut v);
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_siphash_1_3_of_the_same_octets(k0: u64, k1: u64, a: u64, b: u64) {
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            oracle.write(&a.to_le_bytes());
            oracle.write(&b.to_le_bytes());
            prop_assert_eq!(HashKey::new([k0, k1]).hash(a, b), oracle.finish());
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            oracle.write(&a.to_le_bytes());
            oracle.write(&b.to_le_bytes()[..6]);
            prop_assert_eq!(HashKey::new([k0, k1]).hash_14(a, b & 0xffff_ffff_ffff), oracle.finish());
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            oracle.write(&a.to_le_bytes());
            prop_assert_eq!(HashKey::new([k0, k1]).hash_8(a), oracle.finish());
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            oracle.write(&a.to_le_bytes()[..4]);
            prop_assert_eq!(HashKey::new([k0, k1]).hash_4(a as u32), oracle.finish());
        }
    }
}
