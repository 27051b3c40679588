//! Times of single batches, added up; what the clock itself costs is taken off.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Passes of `Router::handle_batch`.
pub(super) const PASSES: usize = 4;

/// What one reading of the clock costs, in nanoseconds: the mean of many in a row.
pub(super) fn clock_cost() -> f64 {
    const READINGS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..READINGS {
        std::hint::black_box(Instant::now());
    }
    start.elapsed().as_nanos() as f64 / f64::from(READINGS)
}

/// What one round took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lap {
    packets: u64,
    batches: u64,
    /// In the router, with one reading of the clock for each batch.
    busy: Duration,
    /// In each pass, with one reading of the clock for each batch and pass.
    passes: [Duration; PASSES],
}

impl Lap {
    /// A batch was handled in this time.
    pub(super) fn add(&mut self, packets: usize, took: Duration) {
        self.packets += packets as u64;
        self.batches += 1;
        self.busy += took;
    }

    /// A pass over the current batch took this time.
    pub(super) fn add_pass(&mut self, pass: usize, took: Duration) {
        if let Some(sum) = self.passes.get_mut(pass) {
            *sum += took;
        }
    }

    /// Packets of the round.
    #[cfg(test)]
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Nanoseconds for one packet.
    pub(super) fn each(&self, clock_cost: f64) -> f64 {
        self.per_packet(self.busy, clock_cost)
    }

    /// Nanoseconds of each pass for one packet.
    pub(super) fn each_pass(&self, clock_cost: f64) -> [f64; PASSES] {
        self.passes.map(|pass| self.per_packet(pass, clock_cost))
    }

    fn per_packet(&self, time: Duration, clock_cost: f64) -> f64 {
        let net = time.as_nanos() as f64 - self.batches as f64 * clock_cost;
        net.max(0.0) / self.packets.max(1) as f64
    }
}

/// How much of a stretch of time this thread really had its CPU.
#[derive(Debug)]
pub(super) struct Presence {
    wall: Instant,
    cpu: Duration,
}

impl Presence {
    /// From now on.
    pub(super) fn start() -> Presence {
        Presence { wall: Instant::now(), cpu: thread_cpu_time() }
    }

    /// CPU time by wall time, at most 1.
    pub(super) fn share(&self) -> f64 {
        let cpu = thread_cpu_time().saturating_sub(self.cpu).as_secs_f64();
        (cpu / self.wall.elapsed().as_secs_f64().max(1e-9)).min(1.0)
    }
}

fn thread_cpu_time() -> Duration {
    // Every thread has this clock; without it the share would come out as 0 and show.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_taken_off_once_per_batch_and_pass() {
        let mut lap = Lap::default();
        for _ in 0..10 {
            lap.add(64, Duration::from_nanos(64 * 30 + 25));
            lap.add_pass(1, Duration::from_nanos(64 * 10 + 25));
        }
        assert_eq!(lap.packets(), 640);
        assert!((lap.each(25.0) - 30.0).abs() < 1e-9);
        let passes = lap.each_pass(25.0);
        assert!((passes[1] - 10.0).abs() < 1e-9);
        assert_eq!(passes[0], 0.0);
        assert_eq!(Lap::default().each(25.0), 0.0);
    }

    #[test]
    fn a_thread_that_works_is_present() {
        assert!(clock_cost() > 0.0);
        let presence = Presence::start();
        let cpu = thread_cpu_time();
        while thread_cpu_time() - cpu < Duration::from_millis(2) {}
        let share = presence.share();
        assert!(share > 0.0 && share <= 1.0, "{share}");
    }
}
