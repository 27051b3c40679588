//! A bound on what the router sends or says of its own accord.

use crate::time::Timestamp;

/// A token bucket that holds one second's worth of tokens, refilled evenly.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: u32,
    /// Nanoseconds' worth of tokens, at most one second's.
    credit: u64,
    last: Timestamp,
}

const SECOND: u64 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket of `per_second` tokens, at least 1.
    pub fn per_second(per_second: u32) -> TokenBucket {
        TokenBucket { per_second: per_second.max(1), credit: SECOND, last: Timestamp::ZERO }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let elapsed = now.as_nanos().saturating_sub(self.last.as_nanos());
        self.last = self.last.max(now);
        self.credit = self.credit.saturating_add(elapsed).min(SECOND);
        let price = SECOND / u64::from(self.per_second);
        if self.credit < price {
            return false;
        }
        self.credit -= price;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_its_tokens_and_no_more() {
        let mut bucket = TokenBucket::per_second(10);
        let start = Timestamp::from_secs(5);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 10);
        assert!(!bucket.take(Timestamp::from_millis(5_099)));
        assert!(bucket.take(Timestamp::from_millis(5_100)));
        assert_eq!((0..50).filter(|_| bucket.take(Timestamp::from_secs(60))).count(), 10);
    }
}
