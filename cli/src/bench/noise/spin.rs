//! How evenly a CPU does a fixed piece of work: whatever else wants it, or slows it down, shows in the times.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use super::super::pinning::{Pinned, allowed_cpus};
use super::super::statistics::middle_spread;

/// Pieces on each CPU.
const PIECES: usize = 32;
/// Steps of one piece, each of which waits for the one before: four to ten milliseconds. Interrupts and stops by the
/// hypervisor take some 0.05 ms each, several hundred times a second on a virtual machine: a short piece meets one or
/// none, and its time says only that; a piece of this length meets its share of them.
const STEPS: u64 = 4_000_000;
/// Part of the pieces that is left out at either end.
const LEFT_OUT: f64 = 0.1;

/// How one CPU did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spin {
    pub(super) cpu: usize,
    /// How far the pieces' times lie apart, the longest and the shortest tenth left out, as a part of their median.
    pub(super) spread: f64,
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
            Ok(Spin { cpu, spread: middle_spread(&times, LEFT_OUT).unwrap_or_default() })
        })
        .collect()
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Marsaglia's xorshift (2003): unlike those of a multiplication and an addition, its steps cannot be folded into
/// fewer by a compiler.
fn piece() {
    let mut state = black_box(1_u64);
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_long_beside_an_interrupt() {
        // 4,000,000 steps of six operations that wait for each other: 4.8 ms at 5 GHz. A compiler that found a short
        // cut would leave a piece that an interrupt of 0.1 ms seems to change.
        let shortest = (0..5).map(|_| timed(piece)).fold(f64::MAX, f64::min);
        assert!(shortest > 3e-3, "{shortest} s");
    }

    #[test]
    fn every_cpu_is_looked_at() {
        let looked_at: Vec<usize> =
            all_cpus().expect("they can be used").iter().map(|spin| spin.cpu).collect();
        assert_eq!(looked_at, allowed_cpus().expect("there is one"));
    }
}
