//! Loads with very many sessions.

use std::time::Duration;

use super::load::flow::{Order, payload_len};
use super::load::udp::{Load, Sender};
use super::measure::{Measured, SMALL, load};
use super::stage::{DEVICE, Stage};
use crate::output::Failure;

/// Longest time for one pass over all flows.
const LIMIT: Duration = Duration::from_secs(30);

/// Most passes to open all sessions: a router that is slower than the sender loses some of each.
const PASSES: u32 = 6;

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

/// Opens so many sessions; how many there are in the end.
///
/// # Errors
/// As [`newly_opened`].
pub(crate) fn open(stage: &Stage, sessions: u64) -> Result<u64, Failure> {
    let mut open = 0;
    for _ in 0..PASSES {
        pass(stage, sessions)?;
        stage.settled()?;
        open = stage.running.sessions(&stage.lab)?;
        if open >= sessions / 1_000 * 999 {
            break;
        }
    }
    Ok(open)
}

/// One packet of each flow; how long that took.
fn pass(stage: &Stage, flows: u64) -> Result<Duration, Failure> {
    let load = Load { count: Some(flows), ..load(stage, flows, Order::Interleaved, LIMIT) };
    Ok(Sender::start(&stage.sender, DEVICE, 0, load)?.wait()?.time)
}
