//! Hashing of names that come from a wire, under a secret seed, so that nobody can choose names that collide.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededState(u64);

impl SeededState {
    pub(crate) fn new(seed: u64) -> SeededState {
        SeededState(seed)
    }

    pub(crate) fn hash(&self, octets: &[u8]) -> u64 {
        self.build_hasher().hash(octets)
    }
}

impl BuildHasher for SeededState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, !self.0.rotate_left(32))
    }
}
