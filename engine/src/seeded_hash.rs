//! Hash maps whose keys come from a wire, without asking the system for randomness.

use std::hash::{BuildHasher, Hasher};

use crate::nat::hash::HashKey;

/// SipHash under a secret key from the caller's seed, so that a sender cannot choose keys that collide.
#[derive(Clone, Debug)]
pub(crate) struct SeededState(HashKey);

impl SeededState {
    pub(crate) fn new(seed: u64) -> SeededState {
        SeededState(HashKey::new([seed, !seed.rotate_left(32)]))
    }
}

impl BuildHasher for SeededState {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher { key: self.0, state: 0 }
    }
}

/// Chains the hashes of a key's words. A key of one word costs one hash.
#[derive(Clone, Debug)]
pub(crate) struct SeededHasher {
    key: HashKey,
    state: u64,
}

impl Hasher for SeededHasher {
    fn write(&mut self, octets: &[u8]) {
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.state = self.key.hash(u64::from_le_bytes(word), self.state ^ chunk.len() as u64);
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = self.key.hash(word, self.state);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        let hash = |seed| SeededState::new(seed).hash_one(42u64);
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
        assert_ne!(SeededState::new(1).hash_one([0_u8; 7]), SeededState::new(1).hash_one([0_u8; 8]));
    }
}
