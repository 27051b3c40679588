//! The highest rate without loss (RFC 2544 section 26.1), by bisection with short trials and a confirming one.
//!
//! Less than one packet of a thousand lost counts as none: a scheduler that takes a CPU away for a millisecond loses
//! some on any machine that is not alone with its work. For the same reason a trial that lost packets is repeated
//! once: what disturbs a trial makes it lose, never makes it pass, so that one of two that passes says more than one
//! that does not. A rate that passed by luck is found out by the confirming trial, which is longer. A trial whose sender
//! fell behind (its CPU was taken away for a while) is repeated, too, and says nothing about the rates above it.

use std::time::Duration;

/// Part of the packets that may be lost.
pub(crate) const TOLERANCE: f64 = 0.001;

/// The search ends when it knows the rate to this part of it.
const RESOLUTION: f64 = 0.03;

/// Most trials of the bisection.
const TRIALS: u32 = 8;

/// A rate fails when so many trials of it fail; more of them there are only where one fails or its sender falls behind.
const TRIES: u32 = 2;

/// Most confirmations; after each that fails the rate is lowered by [`step_back`]. Enough for a fifteenth of what the
/// short trials promised: on a busy machine, and before a long queue that hides losses from them, they are far too
/// hopeful.
const CONFIRMATIONS: u32 = 24;

/// Part of the rate by which it is lowered after so many confirmations that failed: little while it may be nearly right,
/// much once it was wrong by more than half.
fn step_back(failed: u32) -> f64 {
    if failed <= CONFIRMATIONS * 3 / 4 { 0.05 } else { 0.3 }
}

/// What a trial showed, in packets per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    /// Sent, which may be less than asked for.
    pub(crate) sent: f64,
    /// Received.
    pub(crate) received: f64,
}

impl Trial {
    fn passed(self) -> bool {
        self.received > 0.0 && self.received >= self.sent * (1.0 - TOLERANCE)
    }

    /// Whether about as much was sent as asked for.
    fn kept_up(self, rate: f64) -> bool {
        self.sent >= rate * (1.0 - RESOLUTION)
    }
}

/// The first of [`TRIES`] trials of a rate that passed and whose sender kept up; else, of those that passed, the one that
/// sent most, or the last one.
fn best<E>(rate: f64, mut trial: impl FnMut(f64) -> Result<Trial, E>) -> Result<Trial, E> {
    let mut shown = trial(rate)?;
    for _ in 1..TRIES {
        if shown.passed() && shown.kept_up(rate) {
            break;
        }
        let again = trial(rate)?;
        if !shown.passed() || again.passed() && again.sent > shown.sent {
            shown = again;
        }
    }
    Ok(shown)
}

/// Finds the rate with trials at a rate (`None`: as fast as possible) of a length. `None` when even the last
/// confirmation lost packets.
///
/// # Errors
/// Those of `trial`.
pub(crate) fn search<E>(
    length: Duration,
    mut trial: impl FnMut(Option<f64>, Duration) -> Result<Trial, E>,
) -> Result<Option<f64>, E> {
    let short = length / 5;
    let all_out = trial(None, short)?;
    let (mut low, mut high) = (0.0, all_out.sent);
    // Where the sender has to wait for the router (veth and the kernel), nothing is ever lost.
    let mut rate = all_out.passed().then_some(all_out.received);
    if rate.is_none() {
        for _ in 0..TRIALS {
            if high - low <= RESOLUTION * high {
                break;
            }
            let middle = (low + high) / 2.0;
            let shown = best(middle, |rate| trial(Some(rate), short))?;
            if shown.passed() {
                // That the sender did not keep up is no end: it has sent faster than this before.
                low = middle.min(shown.sent).max(low);
                rate = Some(low);
            } else {
                high = middle;
            }
        }
    }
    let mut asked = rate;
    for failed in 1..=CONFIRMATIONS {
        let Some(rate) = asked else { return Ok(None) };
        let shown = best(rate, |rate| trial(Some(rate), length))?;
        if shown.passed() {
            return Ok(Some(shown.received));
        }
        asked = Some(rate * (1.0 - step_back(failed)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(3);

    /// A router that forwards up to `capacity`, and a sender that reaches `most`.
    fn find(capacity: f64, most: f64) -> (Option<f64>, u32) {
        let mut trials = 0;
        let found = search(LENGTH, |rate, _| {
            trials += 1;
            let sent = rate.unwrap_or(most).min(most);
            Ok::<_, Infallible>(Trial { sent, received: sent.min(capacity) })
        });
        (found.unwrap_or_else(|never| match never {}), trials)
    }

    #[test]
    fn the_capacity_is_found() {
        for capacity in [31_000.0, 250_000.0, 470_000.0, 699_000.0] {
            let (found, trials) = find(capacity, 700_000.0);
            let found = found.expect("some rate is without loss");
            assert!(found <= capacity * 1.002, "{found} of {capacity}");
            assert!(found >= capacity * 0.85, "{found} of {capacity}");
            assert!(trials <= 1 + TRIES * (TRIALS + CONFIRMATIONS));
        }
    }

    #[test]
    fn hopeful_short_trials_still_lead_to_a_rate() {
        // Short trials pass up to 400,000, long ones only up to a part of that.
        for (capacity, least) in [(160_000.0, 150_000.0), (30_000.0, 20_000.0)] {
            let found = search(LENGTH, |rate, length| {
                let sent = rate.unwrap_or(700_000.0);
                let capacity = if length < LENGTH { 400_000.0 } else { capacity };
                Ok::<_, Infallible>(Trial { sent, received: sent.min(capacity) })
            });
            let found = found.unwrap_or_else(|never| match never {}).expect("some rate is without loss");
            assert!((least..=capacity * 1.001).contains(&found), "{found}");
        }
    }

    #[test]
    fn a_router_that_makes_the_sender_wait_loses_nothing() {
        let (found, trials) = find(300_000.0, 290_000.0);
        assert_eq!((found, trials), (Some(290_000.0), 2));
    }

    #[test]
    fn a_trial_that_was_lucky_is_not_believed() {
        // Short trials pass up to 400,000, long ones only up to 330,000.
        let found = search(LENGTH, |rate, length| {
            let capacity = if length == LENGTH { 330_000.0 } else { 400_000.0 };
            let sent = rate.unwrap_or(600_000.0);
            Ok::<_, Infallible>(Trial { sent, received: sent.min(capacity) })
        });
        let found = found.unwrap_or_else(|never| match never {}).expect("a lower rate passes");
        assert!((300_000.0..=330_331.0).contains(&found), "{found}");
    }

    #[test]
    fn a_trial_that_was_disturbed_does_not_decide() {
        // Every third trial loses one packet of a hundred, whatever the rate.
        let mut trials = 0;
        let found = search(LENGTH, |rate, _| {
            trials += 1;
            let sent = rate.unwrap_or(700_000.0);
            let received = sent.min(400_000.0) * if trials % 3 == 0 { 0.99 } else { 1.0 };
            Ok::<_, Infallible>(Trial { sent, received })
        });
        let found = found.unwrap_or_else(|never| match never {}).expect("two of three trials pass");
        assert!((380_000.0..=400_400.0).contains(&found), "{found}");
    }

    #[test]
    fn a_sender_that_was_stopped_does_not_end_the_search() {
        // Every third trial sends half of what it is to send, of which nothing is lost.
        let mut trials = 0;
        let found = search(LENGTH, |rate, _| {
            trials += 1;
            let sent = rate.unwrap_or(700_000.0) * if trials % 3 == 2 { 0.5 } else { 1.0 };
            Ok::<_, Infallible>(Trial { sent, received: sent.min(400_000.0) })
        });
        let found = found.unwrap_or_else(|never| match never {}).expect("most trials send all");
        assert!((380_000.0..=400_400.0).contains(&found), "{found}");
    }

    #[test]
    fn a_router_that_always_loses_has_no_such_rate() {
        let found = search(LENGTH, |rate, _| {
            let sent = rate.unwrap_or(1_000.0);
            Ok::<_, Infallible>(Trial { sent, received: sent * 0.9 })
        });
        assert_eq!(found.unwrap_or_else(|never| match never {}), None);
    }
}
