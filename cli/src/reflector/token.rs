//! Tokens: proof that whoever asks receives what is sent to the address that the question came from.
//!
//! A token is a message authentication code over the address and a span of time. Nothing is remembered for it, so those
//! who ask with other people's addresses cost no memory. The code is SipHash-2-4 with 128 bits of key and result, which was
//! made for this (a keyed function over short texts that nobody can foretell without the key); the engine's tables bring
//! the crate along. The key is as old as the process.

use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Octets of a token: the code in hexadecimal, as a NONCE is text (RFC 8489 §14.10).
pub(super) const LENGTH: usize = 32;

/// A token is good in the span in which it was made and in the next: one to two minutes.
const SPAN: Duration = Duration::from_secs(60);

/// Makes and knows tokens.
#[derive(Clone, Debug)]
pub(super) struct Mint {
    key: [u8; 16],
}

impl Mint {
    /// One with this key, which nobody else may know.
    pub(super) fn new(key: [u8; 16]) -> Mint {
        Mint { key }
    }

    /// The token of an address at a time, counted from the start.
    pub(super) fn token(&self, now: Duration, address: Ipv4Addr) -> [u8; LENGTH] {
        self.of_span(now.as_secs() / SPAN.as_secs(), address)
    }

    /// Whether it is one of this address and not too old.
    pub(super) fn is_good(&self, now: Duration, address: Ipv4Addr, token: &[u8]) -> bool {
        let span = now.as_secs() / SPAN.as_secs();
        [Some(span), span.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|span| same(&self.of_span(span, address), token))
    }

    fn of_span(&self, span: u64, address: Ipv4Addr) -> [u8; LENGTH] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&span.to_be_bytes());
        hasher.write(&address.octets());
        let mut token = [0; LENGTH];
        for (pair, octet) in token.chunks_exact_mut(2).zip(hasher.finish128().as_bytes()) {
            pair[0] = b"0123456789abcdef"[usize::from(octet >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(octet & 0xF)];
        }
        token
    }
}

/// Compares without a shorter time for a token that is wrong sooner.
fn same(expected: &[u8], given: &[u8]) -> bool {
    expected.len() == given.len() && expected.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_address_s_for_one_to_two_minutes() {
        let mint = Mint::new([7; 16]);
        let (one, two) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 100, 8));
        let at = |seconds| Duration::from_secs(seconds);
        let token = mint.token(at(59), one);
        assert!(mint.is_good(at(59), one, &token));
        assert!(mint.is_good(at(119), one, &token), "the next span");
        assert!(!mint.is_good(at(120), one, &token), "the one after it");
        assert!(!mint.is_good(at(59), two, &token), "another address");
        assert!(!Mint::new([8; 16]).is_good(at(59), one, &token), "another key");
        assert!(!mint.is_good(at(59), one, &token[..31]));
        for index in 0..LENGTH {
            let mut wrong = token;
            wrong[index] ^= 1;
            assert!(!mint.is_good(at(59), one, &wrong));
        }
    }
}
