//! Has the kernel merge UDP datagrams on their way into a veth port while they come there in bursts.
//!
//! When a host on the same machine hands over many datagrams at once and its kernel cuts them apart, GRO at our end puts
//! them together again for far less than each of them costs us. Datagrams that come singly go through GRO for nothing,
//! which costs a fifth of their rate. Which of the two comes is seen only while it comes, so it is tried: what follows
//! each other in its flow looks like bursts, and whether it was is seen when the kernel merges it, or does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_io::burst_meter::{BurstCounts, BurstMeter, Metered};
use genkan_io::device::PreparedDevice;
use tracing::{debug, info};

use super::{Devices, Hold};
use crate::daemon::forwarder::PortHalves;
use crate::output;

/// How often a port is looked at while much comes there.
const BUSY: Duration = Duration::from_millis(50);
/// And while little comes.
const QUIET: Duration = Duration::from_millis(100);
/// Where there is no port to look at.
const NEVER: Duration = Duration::from_secs(5);

/// Datagrams/s below which nothing is to be gained.
const FLOOR: u64 = 10_000;
/// Merging ends after so long with fewer.
const SILENCE: Duration = Duration::from_millis(500);
/// Merging has been right when it went well for so long.
const RIGHT: Duration = Duration::from_millis(250);
/// How long nothing is tried after merging ended for want of bursts.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Each time that it had not been right the pause doubles, up to this.
const MOST_PAUSE: Duration = Duration::from_secs(64);

impl Devices {
    /// Switches merging at the ports where it is time to; returns when to look again.
    pub(crate) fn tend_bursts(&mut self, now: Instant) -> Duration {
        let mut again = NEVER;
        for port in &mut self.ports {
            if let Some(Hold::Device { prepared, bursts: Some(bursts), .. }) = &mut port.hold {
                again = again.min(bursts.tend(prepared, now));
            }
        }
        again
    }
}

/// What is known about one port's datagrams.
pub(super) struct Bursts {
    /// One for each worker.
    meters: Vec<Arc<BurstMeter>>,
    before: Option<(Instant, BurstCounts)>,
    policy: Policy,
}

impl Bursts {
    /// Has the halves of a port tell what they receive, where that matters.
    pub(super) fn watch(
        prepared: &PreparedDevice,
        halves: Vec<PortHalves>,
    ) -> (Vec<PortHalves>, Option<Bursts>) {
        if !prepared.merges_datagrams_by_turns() {
            return (halves, None);
        }
        let (halves, bursts) = Bursts::meter(halves);
        (halves, Some(bursts))
    }

    /// As [`Bursts::watch`], of a port of which it will be seen later whether that matters.
    pub(super) fn meter(halves: Vec<PortHalves>) -> (Vec<PortHalves>, Bursts) {
        let mut meters = Vec::new();
        let metered = halves.into_iter().map(|PortHalves { receiver, transmitter }| {
            let meter = Arc::new(BurstMeter::default());
            meters.push(meter.clone());
            let receiver = receiver.map(|inner| Box::new(Metered::new(inner, meter)) as _);
            PortHalves { receiver, transmitter }
        });
        let metered = metered.collect();
        (metered, Bursts { meters, before: None, policy: Policy::new() })
    }

    /// Begins with a device that somebody else has prepared before.
    pub(super) fn begin(self, prepared: &PreparedDevice) -> Option<Bursts> {
        if !prepared.merges_datagrams_by_turns() {
            return None;
        }
        if let Err(error) = prepared.merge_datagrams(false) {
            debug!(port = prepared.link().name, error = output::chain(&error), "merging was not switched");
        }
        Some(self)
    }

    fn tend(&mut self, prepared: &PreparedDevice, now: Instant) -> Duration {
        let counts = self.meters.iter().fold(BurstCounts::default(), |sum, meter| sum.plus(meter.counts()));
        let Some((then, before)) = self.before.replace((now, counts)) else { return QUIET };
        let window = Window { counts: counts.since(before), length: now.saturating_duration_since(then) };
        if let Some(on) = self.policy.judge(window, now) {
            let port = &prepared.link().name;
            match prepared.merge_datagrams(on) {
                Ok(()) => info!(port, on, "merging of UDP datagrams by the kernel"),
                // Most likely the device is gone, which others notice.
                Err(error) => debug!(port, on, error = output::chain(&error), "merging was not switched"),
            }
        }
        if window.is_busy() || self.policy.on { BUSY } else { QUIET }
    }
}

/// What came within a time.
#[derive(Clone, Copy, Debug)]
struct Window {
    counts: BurstCounts,
    length: Duration,
}

impl Window {
    fn is_busy(&self) -> bool {
        u128::from(self.counts.datagrams) * Duration::from_secs(1).as_nanos()
            >= u128::from(FLOOR) * self.length.as_nanos().max(1)
    }

    /// Nothing but bursts: where they mix with single datagrams, it is those who pay.
    fn has_bursts(&self) -> bool {
        self.counts.following >= self.counts.datagrams / 4 * 3
    }

    /// Eight datagrams at least in each super-frame: with fewer, the way through GRO costs more than it saves.
    fn is_merged(&self) -> bool {
        self.counts.merged >= self.counts.datagrams / 8 * 7
    }
}

/// Decides when to merge.
#[derive(Debug)]
struct Policy {
    on: bool,
    /// How long it has gone well since it was switched on.
    well: Duration,
    /// How long little has come, while on.
    silent: Duration,
    /// Nothing is tried before this.
    not_before: Option<Instant>,
    pause: Duration,
}

impl Policy {
    fn new() -> Policy {
        let zero = Duration::ZERO;
        Policy { on: false, well: zero, silent: zero, not_before: None, pause: LEAST_PAUSE }
    }

    /// What to switch to after this window, if anything.
    fn judge(&mut self, window: Window, now: Instant) -> Option<bool> {
        if !self.on {
            let may = self.not_before.is_none_or(|time| now >= time);
            if may && window.is_busy() && window.has_bursts() {
                (self.on, self.well, self.silent) = (true, Duration::ZERO, Duration::ZERO);
                return Some(true);
            }
            return None;
        }
        if !window.is_busy() {
            self.silent += window.length;
            self.on = self.silent < SILENCE;
        } else if window.is_merged() {
            self.silent = Duration::ZERO;
            self.well += window.length;
        } else {
            self.on = false;
            if self.well >= RIGHT {
                self.pause = LEAST_PAUSE;
            }
            self.not_before = Some(now + self.pause);
            self.pause = (self.pause * 2).min(MOST_PAUSE);
        }
        (!self.on).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: BurstCounts = BurstCounts { datagrams: 0, following: 0, merged: 0 };
    /// In 50 ms, by 600,000 datagrams/s.
    const BURSTS: BurstCounts = BurstCounts { datagrams: 30_000, following: 28_500, merged: 0 };
    const MERGED: BurstCounts = BurstCounts { datagrams: 30_000, following: 0, merged: 28_500 };
    const SINGLES: BurstCounts = BurstCounts { datagrams: 20_000, following: 40, merged: 0 };

    struct Port {
        policy: Policy,
        now: Instant,
    }

    impl Port {
        fn new() -> Port {
            Port { policy: Policy::new(), now: Instant::now() }
        }

        fn window(&mut self, counts: BurstCounts) -> Option<bool> {
            self.now += BUSY;
            self.policy.judge(Window { counts, length: BUSY }, self.now)
        }

        /// Windows of the same kind until a switch; none within so many: `None`.
        fn until_switch(&mut self, counts: BurstCounts, most: usize) -> Option<(usize, bool)> {
            (1..=most).find_map(|windows| self.window(counts).map(|on| (windows, on)))
        }
    }

    #[test]
    fn bursts_are_merged_until_they_end() {
        let mut port = Port::new();
        assert_eq!(port.until_switch(SINGLES, 100), None);
        assert_eq!(port.until_switch(BURSTS, 9), Some((1, true)));
        assert_eq!(port.until_switch(MERGED, 1000), None);
        assert_eq!(port.until_switch(SINGLES, 9), Some((1, false)));
        // It had been right: the next bursts need not wait long.
        assert_eq!(port.until_switch(SINGLES, 20), None);
        assert_eq!(port.until_switch(BURSTS, 9), Some((1, true)));
    }

    #[test]
    fn a_little_merging_is_not_enough() {
        // Handed over one by one, but some happen to meet in the kernel: three of four within super-frames.
        let mut port = Port::new();
        assert_eq!(port.window(BURSTS), Some(true));
        let some = BurstCounts { datagrams: 20_000, following: 1_000, merged: 15_000 };
        assert_eq!(port.window(some), Some(false));
        assert_eq!(port.until_switch(SINGLES, 100), None);
    }

    #[test]
    fn silence_ends_merging_and_is_no_mistake() {
        let mut port = Port::new();
        assert_eq!(port.window(BURSTS), Some(true));
        assert_eq!(port.until_switch(IDLE, 9), None);
        assert_eq!(port.window(MERGED), None);
        assert_eq!(port.until_switch(IDLE, 100), Some((10, false)));
        assert_eq!(port.window(BURSTS), Some(true));
    }

    #[test]
    fn after_wrong_guesses_it_is_tried_ever_more_rarely() {
        // Datagrams of one flow after the other, each handed over alone: never merged.
        let mut port = Port::new();
        assert_eq!(port.window(BURSTS), Some(true));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(port.window(BURSTS), Some(false));
            let (windows, on) = port.until_switch(BURSTS, 100_000).expect("it is tried again");
            assert!(on);
            pauses.push((BUSY * windows as u32).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn traffic_that_keeps_changing_does_not_make_it_flap() {
        // Bursts and singles in turn, 100 ms each, for ten minutes.
        let mut port = Port::new();
        let mut switches = 0;
        for round in 0..12_000 {
            let counts = match (round / 2 % 2, port.policy.on) {
                (0, false) => BURSTS,
                (0, true) => MERGED,
                _ => SINGLES,
            };
            switches += u32::from(port.window(counts).is_some());
        }
        assert!(switches <= 40, "{switches} switches in ten minutes");
    }

    #[test]
    fn little_traffic_changes_nothing() {
        let mut port = Port::new();
        let few = BurstCounts { datagrams: 499, following: 499, merged: 0 };
        assert_eq!(port.until_switch(few, 100), None);
        assert_eq!(port.until_switch(IDLE, 100), None);
        let enough = BurstCounts { datagrams: 500, following: 499, merged: 0 };
        assert_eq!(port.window(enough), Some(true));
    }

    #[test]
    fn what_comes_whole_needs_no_merging() {
        // Super-frames that their sender did not cut.
        let mut port = Port::new();
        assert_eq!(port.until_switch(MERGED, 100), None);
    }
}
