//! Loads with very many sessions.

use std::time::Duration;

use super::load::flow::{Order, payload_len};
use super::load::udp::{Load, Sender};
use super::measure::{Measured, SMALL, load};
use super::stage::{DEVICE, Stage};
use crate::output::Failure;

/// Longest time for one pass over flows.
const LIMIT: Duration = Duration::from_secs(30);

/// Flows that are opened together, before it is counted how many of them arrived.
const STEP: u64 = 20_000;

/// Part of a step's packets that may be missing: it is repeated while there are more.
const MISSING: f64 = 0.001;

/// Most repetitions of all steps together, for each step: a router that loses at any rate must come to an end.
const REPETITIONS: u64 = 3;

/// Packets per second to begin with; it rises while all arrive, and falls when some do not.
const FIRST_RATE: f64 = 150_000.0;
/// What the rate is multiplied by after a step that arrived.
const FASTER: f64 = 1.15;
/// And after one that did not.
const SLOWER: f64 = 0.6;
/// The rate does not fall below this.
const SLOWEST: f64 = 10_000.0;

/// One packet of each of so many flows that the router has not seen before, as fast as possible: sessions opened
/// per second, counted as the packets that arrived before the sender ended, and compared with the router's own count.
///
/// # Errors
/// When nothing can be sent, or the router does not tell its count.
pub(crate) fn newly_opened(stage: &Stage, flows: u64) -> Result<Measured, Failure> {
    let before = stage.received()?;
    let sent = pass(stage, flows)?;
    let arrived = stage.received()?.packets_since(&before, payload_len(SMALL));
    let all = stage.settled()?.packets_since(&before, payload_len(SMALL));
    let sessions = stage.running.sessions(&stage.lab)?;
    let note = ((sessions as f64) < all * 0.99)
        .then(|| format!("{all:.0} packets arrived, but the router's table has {sessions} sessions"));
    Ok(Measured { values: vec![arrived / sent.as_secs_f64()], note })
}

/// Opens so many sessions; how many there are in the end. It goes step by step at a rate that the contender keeps up
/// with, and a step whose packets did not all arrive is sent again: a contender with a queue that drops must not
/// start with fewer sessions than one that makes the sender wait.
///
/// # Errors
/// As [`newly_opened`].
pub(crate) fn open(stage: &Stage, sessions: u64) -> Result<u64, Failure> {
    opened_in_steps(sessions, |first_flow, flows, rate| {
        let before = stage.received()?;
        let load = load(stage, flows, Order::Interleaved, LIMIT);
        let load = Load { first_flow, rate: Some(rate), count: Some(flows), ..load };
        Sender::start(&stage.sender, DEVICE, 0, load)?.wait()?;
        Ok::<_, Failure>(stage.settled()?.packets_since(&before, payload_len(SMALL)))
    })?;
    stage.running.sessions(&stage.lab)
}

/// Has `step` send one packet of each flow (first flow, number of flows, packets per second; returns how many
/// arrived), and again where some are missing.
fn opened_in_steps<E>(flows: u64, mut step: impl FnMut(u64, u64, f64) -> Result<f64, E>) -> Result<(), E> {
    let mut rate = FIRST_RATE;
    let mut repetitions = flows.div_ceil(STEP) * REPETITIONS;
    let mut first = 0;
    while first < flows {
        let count = STEP.min(flows - first);
        let arrived = step(first, count, rate)?;
        let is_whole = arrived >= count as f64 * (1.0 - MISSING);
        rate = if is_whole { rate * FASTER } else { (rate * SLOWER).max(SLOWEST) };
        if is_whole || repetitions == 0 {
            first += count;
        } else {
            repetitions -= 1;
        }
    }
    Ok(())
}

/// One packet of each flow; how long that took.
fn pass(stage: &Stage, flows: u64) -> Result<Duration, Failure> {
    let load = Load { count: Some(flows), ..load(stage, flows, Order::Interleaved, LIMIT) };
    Ok(Sender::start(&stage.sender, DEVICE, 0, load)?.wait()?.time)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Opens at a router that loses what comes faster than `capacity`, and each n-th step whatever the rate; the
    /// flows whose last packets all arrived, and how many steps there were.
    fn open_at(capacity: f64, unlucky: usize, flows: u64) -> (u64, usize) {
        let (mut open, mut steps) = (0, 0);
        let done = opened_in_steps(flows, |first, count, rate| {
            steps += 1;
            let share = if rate > capacity { capacity / rate } else { 1.0 };
            let share = if steps % unlucky == 0 { share * 0.99 } else { share };
            if share >= 1.0 - MISSING {
                assert_eq!(first, open, "steps follow each other");
                open += count;
            }
            Ok::<_, Infallible>(count as f64 * share)
        });
        done.unwrap_or_else(|never| match never {});
        (open, steps)
    }

    #[test]
    fn every_flow_arrives_below_the_capacity() {
        for capacity in [20_000.0, 100_000.0, 250_000.0, 1e9] {
            let (open, steps) = open_at(capacity, 7, 1_010_000);
            assert_eq!(open, 1_010_000, "capacity {capacity}");
            assert!(steps < 120, "{steps} steps at a capacity of {capacity}");
        }
    }

    #[test]
    fn a_router_that_lets_nothing_through_comes_to_an_end() {
        let (open, steps) = open_at(0.0, 2, 100_000);
        assert_eq!((open, steps), (0, 5 + 15));
    }
}
