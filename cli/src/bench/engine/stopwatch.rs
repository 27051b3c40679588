//! What batches take, by the thread's CPU time and by the clock on the wall; what looking at the clocks costs is taken
//! off.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Passes of `Router::handle_batch`.
pub(super) const PASSES: usize = 4;
/// A batch that took this many times as long as the fastest one was interrupted: its passes say nothing.
const INTERRUPTED: u32 = 20;

/// Both clocks, and what one stretch of nothing takes by each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopwatch {
    cpu: Duration,
    wall: Duration,
}

impl Stopwatch {
    /// Finds out what looking at the clocks costs: the median of many stretches of nothing.
    pub(super) fn new() -> Stopwatch {
        const STRETCHES: usize = 10_001;
        let mut stretches = [(); STRETCHES].map(|()| Stopwatch::default().time(|| {}));
        let half = STRETCHES / 2;
        stretches.sort_unstable_by_key(|(cpu, _)| *cpu);
        let cpu = stretches[half].0;
        stretches.sort_unstable_by_key(|(_, wall)| *wall);
        Stopwatch { cpu, wall: stretches[half].1 }
    }

    /// CPU time and wall time of `work`.
    pub(super) fn time(&self, work: impl FnOnce()) -> (Duration, Duration) {
        let cpu = thread_cpu_time();
        let wall = Instant::now();
        work();
        let wall = wall.elapsed();
        (thread_cpu_time().saturating_sub(cpu + self.cpu), wall.saturating_sub(self.wall))
    }

    /// What one look at the clock on the wall costs.
    pub(super) fn look(&self) -> Duration {
        self.wall
    }
}

/// What one round took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lap {
    packets: u64,
    cpu: Duration,
    wall: Duration,
}

impl Lap {
    /// So many packets took this CPU time and wall time.
    pub(super) fn add(&mut self, packets: usize, (cpu, wall): (Duration, Duration)) {
        self.packets += packets as u64;
        self.cpu += cpu;
        self.wall += wall;
    }

    /// CPU time for each packet, in nanoseconds.
    pub(super) fn cpu(&self) -> f64 {
        per_packet(self.cpu, self.packets)
    }

    /// Wall time for each packet, in nanoseconds.
    pub(super) fn wall(&self) -> f64 {
        per_packet(self.wall, self.packets)
    }

    /// Packets of the round.
    #[cfg(test)]
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }
}

/// What the passes of one round took, by the clock on the wall.
#[derive(Clone, Debug, Default)]
pub(super) struct PassLap {
    packets: u64,
    sums: [Duration; PASSES],
    fastest: Option<Duration>,
}

impl PassLap {
    /// A batch's passes ended at these times after its start; the clock was looked at after each of them.
    pub(super) fn add(&mut self, packets: usize, ends: [Duration; PASSES], look: Duration) {
        let whole = ends[PASSES - 1];
        let fastest = self.fastest.map_or(whole, |fastest| fastest.min(whole));
        self.fastest = Some(fastest);
        if whole > fastest * INTERRUPTED {
            return;
        }
        self.packets += packets as u64;
        let mut start = Duration::ZERO;
        for (sum, end) in self.sums.iter_mut().zip(ends) {
            *sum += end.saturating_sub(start + look);
            start = end;
        }
    }

    /// Wall time of each pass for one packet, in nanoseconds.
    pub(super) fn each(&self) -> [f64; PASSES] {
        self.sums.map(|sum| per_packet(sum, self.packets))
    }
}

fn per_packet(time: Duration, packets: u64) -> f64 {
    time.as_nanos() as f64 / packets.max(1) as f64
}

fn thread_cpu_time() -> Duration {
    // Every thread has this clock; without it all times would come out as 0, and show.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ns(count: u64) -> Duration {
        Duration::from_nanos(count)
    }

    #[test]
    fn laps_are_means_by_packet() {
        let mut lap = Lap::default();
        lap.add(64, (ns(640), ns(1_280)));
        lap.add(64, (ns(640), ns(2_560)));
        assert_eq!((lap.packets(), lap.cpu(), lap.wall()), (128, 10.0, 30.0));
        assert_eq!(Lap::default().cpu(), 0.0);
    }

    #[test]
    fn passes_are_the_gaps_without_the_looks() {
        let mut lap = PassLap::default();
        let ends = [ns(120), ns(240), ns(300), ns(500)];
        lap.add(10, ends, ns(20));
        lap.add(10, ends, ns(20));
        assert_eq!(lap.each(), [10.0, 10.0, 4.0, 18.0]);
        // Somebody else had the CPU meanwhile.
        lap.add(10, [ns(120), ns(240), ns(4_000_000), ns(4_000_200)], ns(20));
        assert_eq!(lap.each(), [10.0, 10.0, 4.0, 18.0]);
    }

    #[test]
    fn work_takes_time_and_nothing_takes_little() {
        let watch = Stopwatch::new();
        let start = thread_cpu_time();
        let (cpu, wall) = watch.time(|| while thread_cpu_time() - start < ns(2_000_000) {});
        assert!(cpu > ns(1_000_000) && wall > ns(1_000_000), "{cpu:?} {wall:?}");
        assert!(watch.look() < ns(100_000), "{watch:?}");
    }
}
