//! How evenly a CPU does a fixed piece of work: whatever else wants it, or slows it down, shows in the times.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use super::super::pinning::{Pinned, allowed_cpus};
use super::super::statistics::variation;

/// Pieces on each CPU.
const PIECES: usize = 32;
/// Steps of one piece, each of which waits for the one before: one to four milliseconds.
const STEPS: u64 = 1_000_000;

/// How one CPU did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spin {
    pub(super) cpu: usize,
    /// Coefficient of variation of the pieces' times.
    pub(super) variation: f64,
}

/// Lets each CPU that this process may use do the same work, one after the other.
pub(super) fn all_cpus() -> io::Result<Vec<Spin>> {
    allowed_cpus()?
        .into_iter()
        .map(|cpu| {
            let _pinned = Pinned::to(cpu)?;
            // The first piece wakes the CPU up.
            piece();
            let times: Vec<f64> = (0..PIECES).map(|_| timed(piece)).collect();
            Ok(Spin { cpu, variation: variation(&times).unwrap_or_default() })
        })
        .collect()
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn piece() {
    let mut state = black_box(1_u64);
    for _ in 0..STEPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    black_box(state);
}
