//! How much of the line an internal host uses, estimated.
//!
//! Theory of operation: counting every packet for its host would touch one more cache line for each. Instead one frame of
//! each batch is drawn at random and stands for the whole batch: of `n` frames each is drawn with probability `1 / n` and
//! counted with `n` times its octets, so that in the long run each host is counted for what it sent, whatever the sizes and
//! the order of the frames. A batch of one frame is counted as it is; on a quiet line nothing is estimated at all.
//!
//! What is counted is forgotten exponentially, without touching what does not change: instead of old octets losing
//! weight, new ones gain it ("forward decay"), `e` times as much every [`MEMORY`], since the beginning of an era.
//! Eras are short enough for an `f32`; a host of an earlier one is brought up to date when it is counted again.
//!
//! A rate rests on the batches of about twice [`MEMORY`]. If there were `K` of them in a direction, the host has the share
//! `q` of their frames, and `c` is the mean square of the sizes of its frames by the square of their mean (1 where all are
//! alike, about 2 where half are acknowledgements), the standard deviation of its rate is `sqrt((c / q - 1) / K)` of it.

use std::time::Duration;

use super::policy::Direction;
use crate::time::Timestamp;

/// Time constant of the averages in seconds: what was counted so long ago weighs `1/e` of what is counted now.
const MEMORY: f32 = 5.0;
/// Length of an era, in which weights grow by `e` to the 20th.
const ERA: Duration = Duration::from_secs(100);
/// How long a weight is used before it is reckoned anew: an error of 0.2 %.
const STEP: Duration = Duration::from_millis(10);

/// What octets weigh at a moment; one for all hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    era: u32,
    value: f32,
    valid_until: Timestamp,
}

impl Weight {
    pub(crate) fn at(now: Timestamp) -> Weight {
        let era = now.as_nanos() / ERA.as_nanos() as u64;
        let age = Duration::from_nanos(now.as_nanos() % ERA.as_nanos() as u64);
        Weight { era: era as u32, value: (age.as_secs_f32() / MEMORY).exp(), valid_until: now + STEP }
    }

    /// Follows the time, which does not go back.
    #[inline]
    pub(crate) fn follow(&mut self, now: Timestamp) {
        if now >= self.valid_until {
            *self = Weight::at(now);
        }
    }
}

/// What a host sent and received by the wan lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostTraffic {
    /// Octets towards the host, each by its weight in the era.
    inbound: f32,
    /// Octets from the host.
    outbound: f32,
    era: u32,
}

impl HostTraffic {
    /// Counts octets.
    #[inline]
    pub(crate) fn add(&mut self, weight: &Weight, direction: Direction, octets: u64) {
        if self.era != weight.era {
            *self = self.in_era(weight.era);
        }
        let weighed = octets as f32 * weight.value;
        match direction {
            Direction::Inbound => self.inbound += weighed,
            Direction::Outbound => self.outbound += weighed,
        }
    }

    /// Octets per second towards the host and from it.
    pub(crate) fn rates(&self, now: Timestamp) -> [u64; 2] {
        let weight = Weight::at(now);
        let HostTraffic { inbound, outbound, .. } = self.in_era(weight.era);
        [inbound, outbound].map(|octets| (octets / weight.value / MEMORY).round() as u64)
    }

    /// The same by the weights of a later era.
    #[cold]
    fn in_era(&self, era: u32) -> HostTraffic {
        let passed = era.wrapping_sub(self.era) as f32 * ERA.as_secs_f32();
        let factor = (-passed / MEMORY).exp();
        HostTraffic { inbound: self.inbound * factor, outbound: self.outbound * factor, era }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_and_forgotten() {
        let mut traffic = HostTraffic::default();
        // Over the end of an era.
        let mut now = Timestamp::from_secs(180);
        let mut weight = Weight::at(now);
        // 1,000 octets every 100 µs, which is shorter than a step, and half as much the other way.
        for _ in 0..300_000 {
            now += Duration::from_micros(100);
            weight.follow(now);
            traffic.add(&weight, Direction::Inbound, 1_000);
            traffic.add(&weight, Direction::Outbound, 500);
        }
        let [inbound, outbound] = traffic.rates(now);
        assert!(inbound.abs_diff(10_000_000) < 100_000 && outbound.abs_diff(5_000_000) < 50_000, "{inbound}");
        let [later, _] = traffic.rates(now + Duration::from_secs(5));
        assert!(later.abs_diff(3_679_000) < 40_000, "{later}");
        assert_eq!(traffic.rates(now + Duration::from_secs(100)), [0, 0]);
    }

    #[test]
    fn a_host_that_was_silent_for_years_begins_anew() {
        let mut traffic = HostTraffic::default();
        traffic.add(&Weight::at(Timestamp::from_secs(99)), Direction::Inbound, 1_000_000);
        let now = Timestamp::from_secs(3_000_000_000);
        traffic.add(&Weight::at(now), Direction::Inbound, 5_000);
        assert_eq!(traffic.rates(now), [1_000, 0]);
    }
}
