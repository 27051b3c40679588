//! How many frames are due: a rate kept by counting, not by timers.

use std::time::Duration;

/// Frames are sent together when they fall due within this time, so that a slow rate does not need a fast clock.
const QUANTUM: Duration = Duration::from_micros(50);

/// A sender that falls behind by more than this (its CPU was taken away) does not catch up: the burst would
/// measure queues, not the router.
const MOST_BEHIND: u64 = 128;

/// Keeps a rate.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// Frames per second; `None`: as many as possible.
    rate: Option<f64>,
    /// Frames that were sent or given up.
    gone: u64,
}

impl Pacer {
    /// `rate` in frames per second; `None`: as many as possible.
    pub(crate) fn new(rate: Option<f64>) -> Pacer {
        Pacer { rate, gone: 0 }
    }

    /// How many frames may go at `elapsed` since the start, at most `most`. Fewer than a quantum of them wait for
    /// each other.
    pub(crate) fn due(&mut self, elapsed: Duration, most: usize) -> usize {
        let Some(rate) = self.rate else { return most };
        let target = (elapsed.as_secs_f64() * rate) as u64;
        self.gone = self.gone.max(target.saturating_sub(MOST_BEHIND));
        let due = target.saturating_sub(self.gone);
        if due < self.together(most) { 0 } else { usize::try_from(due).unwrap_or(most).min(most) }
    }

    /// How long until frames are due again.
    pub(crate) fn wait(&self, elapsed: Duration, most: usize) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let at = (self.gone + self.together(most)) as f64 / rate;
        Duration::from_secs_f64(at).saturating_sub(elapsed)
    }

    /// So many frames were sent.
    pub(crate) fn sent(&mut self, frames: usize) {
        self.gone += frames as u64;
    }

    fn together(&self, most: usize) -> u64 {
        let quantum = self.rate.unwrap_or(0.0) * QUANTUM.as_secs_f64();
        (quantum as u64).clamp(1, most as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Frames sent in `seconds` by a sender that looks at the clock every `step`.
    fn run(pacer: &mut Pacer, seconds: u32, step: Duration) -> u64 {
        let (mut elapsed, mut sent) = (Duration::ZERO, 0);
        while elapsed < Duration::from_secs(seconds.into()) {
            let due = pacer.due(elapsed, 64);
            pacer.sent(due);
            sent += due as u64;
            elapsed += step;
        }
        sent
    }

    #[test]
    fn the_rate_is_kept() {
        for rate in [1_000.0, 99_999.0, 400_000.0, 2_000_000.0] {
            let sent = run(&mut Pacer::new(Some(rate)), 1, 10 * MICROSECOND) as f64;
            assert!((sent - rate).abs() <= 0.001 * rate + 64.0, "{sent} frames at {rate} a second");
        }
    }

    #[test]
    fn a_gap_is_not_caught_up() {
        let mut pacer = Pacer::new(Some(500_000.0));
        assert_eq!(run(&mut pacer, 1, 10 * MICROSECOND) / 1_000, 499);
        let after_gap = Duration::from_millis(1_100);
        let burst: usize = (0..100)
            .map(|_| {
                let due = pacer.due(after_gap, 64);
                pacer.sent(due);
                due
            })
            .sum();
        assert!(burst as u64 <= MOST_BEHIND, "{burst} frames at once");
    }

    #[test]
    fn few_frames_wait_for_each_other() {
        let mut pacer = Pacer::new(Some(200_000.0)); // 10 in a quantum
        assert_eq!(pacer.due(45 * MICROSECOND, 64), 0);
        assert_eq!(pacer.wait(45 * MICROSECOND, 64), 5 * MICROSECOND);
        assert_eq!(pacer.due(50 * MICROSECOND, 64), 10);
    }

    #[test]
    fn without_a_rate_all_is_due() {
        let mut pacer = Pacer::new(None);
        assert_eq!(pacer.due(Duration::ZERO, 64), 64);
        assert_eq!(pacer.wait(Duration::ZERO, 64), Duration::ZERO);
    }
}
