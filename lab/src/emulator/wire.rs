//! One direction of a wire, without I/O: what happens to each frame, and when it arrives.
//!
//! Read first: tc-netem(8), whose terms these are. Time and seed come in as arguments. Every frame draws the same number
//! of random numbers whatever the settings, so equal seeds make equal choices for equal sequences of frames.
//!
//! A frame is lost, or it waits until the frames before it have left at the rate, and then is under way for the delay
//! and its jitter. Frames keep their order, also under jitter; only those that are chosen to be reordered come after the
//! one behind them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use genkan_engine::rng::Rng;
use serde::{Deserialize, Serialize};

/// Longest time that a frame waits for others to leave; one that would have to wait longer is lost, as at a full queue.
pub const LONGEST_QUEUE: Duration = Duration::from_millis(500);

/// Most frames on a wire; one more is lost.
pub const MOST_FRAMES: usize = 100_000;

/// How long a reordered frame waits for one that overtakes it.
pub const REORDER_WAIT: Duration = Duration::from_millis(10);

/// The whole of a share, which is told in millionths.
const WHOLE: u32 = 1_000_000;

/// What a wire does to frames. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impairments {
    /// How long a frame is under way.
    pub delay: Duration,
    /// How much longer or shorter than that at most; evenly spread.
    pub jitter: Duration,
    /// Share of frames that are lost, in millionths.
    pub loss: u32,
    /// Share that come twice, in millionths.
    pub duplicate: u32,
    /// Share that come after the next one, in millionths.
    pub reorder: u32,
    /// Bits per second, Ethernet headers included; `None`: no bound.
    pub rate: Option<u64>,
    /// Seed of the choices.
    pub seed: u64,
}

/// What has become of the frames of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that came.
    pub frames: u64,
    /// Of those, lost by chance.
    pub lost: u64,
    /// Lost because too many waited before them.
    pub overflowed: u64,
    /// Sent a second time.
    pub duplicated: u64,
    /// Held back for the next one.
    pub reordered: u64,
}

/// A frame under way.
#[derive(Debug)]
struct Entry<F> {
    due: Duration,
    number: u64,
    frame: F,
}

impl<F> PartialEq for Entry<F> {
    fn eq(&self, other: &Entry<F>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<F> Eq for Entry<F> {}
impl<F> PartialOrd for Entry<F> {
    fn partial_cmp(&self, other: &Entry<F>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<F> Ord for Entry<F> {
    fn cmp(&self, other: &Entry<F>) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// One direction of a wire. Times count from any common start.
#[derive(Debug)]
pub struct Wire<F> {
    impairments: Impairments,
    random: Rng,
    under_way: BinaryHeap<Reverse<Entry<F>>>,
    /// Frames so far that were put under way.
    number: u64,
    /// When the last frame has left at the rate.
    free: Duration,
    /// When the last frame arrives: no later one may come before.
    last_due: Duration,
    /// Waits for one that overtakes it.
    held: Option<(Duration, Vec<F>)>,
    counts: Counts,
}

impl<F: Clone> Wire<F> {
    /// An empty wire.
    pub fn new(impairments: Impairments) -> Wire<F> {
        Wire {
            impairments,
            random: Rng::new(impairments.seed),
            under_way: BinaryHeap::new(),
            number: 0,
            free: Duration::ZERO,
            last_due: Duration::ZERO,
            held: None,
            counts: Counts::default(),
        }
    }

    /// Changes what happens to the frames to come; those under way stay so. Another seed starts its choices anew.
    pub fn set(&mut self, impairments: Impairments) {
        if impairments.seed != self.impairments.seed {
            self.random = Rng::new(impairments.seed);
        }
        self.impairments = impairments;
    }

    /// What it does to frames.
    pub fn impairments(&self) -> Impairments {
        self.impairments
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A frame of so many octets comes in at `now`.
    pub fn push(&mut self, now: Duration, frame: F, octets: usize) {
        let [lost, duplicated, reordered, jitter] = [(); 4].map(|()| self.random.below(WHOLE));
        let Impairments { delay, jitter: spread, loss, duplicate, reorder, rate, .. } = self.impairments;
        self.counts.frames += 1;
        if lost < loss {
            self.counts.lost += 1;
            return;
        }
        if self.under_way.len() >= MOST_FRAMES || self.free > now + LONGEST_QUEUE {
            self.counts.overflowed += 1;
            return;
        }
        let sent = match rate {
            Some(rate) => {
                let nanoseconds = octets as u128 * 8 * 1_000_000_000 / u128::from(rate.max(1));
                self.free.max(now) + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
            }
            None => now,
        };
        self.free = sent;
        // From -spread to +spread.
        let late = spread * 2 * jitter / WHOLE;
        let due = (sent + delay + late).saturating_sub(spread).max(sent).max(self.last_due);
        let mut frames = vec![frame];
        if duplicated < duplicate {
            self.counts.duplicated += 1;
            frames.push(frames[0].clone());
        }
        if reordered < reorder && self.held.is_none() {
            self.counts.reordered += 1;
            self.held = Some((due, frames));
            return;
        }
        self.put(due, frames);
        if let Some((since, held)) = self.held.take() {
            self.put(since.max(due), held);
        }
    }

    fn put(&mut self, due: Duration, frames: Vec<F>) {
        self.last_due = due;
        for frame in frames {
            self.under_way.push(Reverse(Entry { due, number: self.number, frame }));
            self.number += 1;
        }
    }

    /// The next frame that has arrived by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<F> {
        if let Some((since, _)) = &self.held
            && since.saturating_add(REORDER_WAIT) <= now
            && let Some((since, frames)) = self.held.take()
        {
            self.put((since + REORDER_WAIT).max(self.last_due), frames);
        }
        if self.under_way.peek().is_none_or(|Reverse(first)| first.due > now) {
            return None;
        }
        self.under_way.pop().map(|Reverse(first)| first.frame)
    }

    /// When to call [`Wire::pop`] next; `None` while nothing is under way.
    pub fn next_due(&self) -> Option<Duration> {
        let first = self.under_way.peek().map(|Reverse(first)| first.due);
        let held = self.held.as_ref().map(|(since, _)| *since + REORDER_WAIT);
        first.into_iter().chain(held).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends numbered frames of 1250 octets (10,000 bits), one each `gap`; what arrives, and when.
    fn arrivals(impairments: Impairments, frames: u32, gap: Duration) -> (Vec<(Duration, u32)>, Counts) {
        let mut wire = Wire::new(impairments);
        let mut arrived = Vec::new();
        let drain = |wire: &mut Wire<u32>, until: Duration, arrived: &mut Vec<(Duration, u32)>| {
            while let Some(due) = wire.next_due().filter(|due| *due <= until) {
                while let Some(frame) = wire.pop(due) {
                    arrived.push((due, frame));
                }
            }
        };
        for number in 0..frames {
            let now = gap * number;
            drain(&mut wire, now, &mut arrived);
            wire.push(now, number, 1250);
        }
        drain(&mut wire, Duration::MAX, &mut arrived);
        (arrived, wire.counts())
    }

    fn numbers(arrived: &[(Duration, u32)]) -> Vec<u32> {
        arrived.iter().map(|(_, number)| *number).collect()
    }

    #[test]
    fn a_wire_that_does_nothing_changes_nothing() {
        let (arrived, counts) = arrivals(Impairments::default(), 100, MS);
        assert!(arrived.iter().all(|(due, number)| *due == MS * *number));
        assert_eq!((arrived.len(), counts.frames), (100, 100));
    }

    #[test]
    fn a_delay_is_exact_and_jitter_stays_within_its_bounds_and_in_order() {
        let fixed = Impairments { delay: 20 * MS, ..Default::default() };
        let (arrived, _) = arrivals(fixed, 100, MS);
        assert!(arrived.iter().all(|(due, number)| *due == MS * *number + 20 * MS));

        let (arrived, _) = arrivals(Impairments { jitter: 5 * MS, ..fixed }, 10_000, 20 * MS);
        let late: Vec<_> = arrived.iter().map(|(due, number)| *due - 20 * MS * *number).collect();
        let (least, most) = (late.iter().min().copied(), late.iter().max().copied());
        assert!(least >= Some(15 * MS) && least < Some(15 * MS + MS / 10), "{least:?}");
        assert!(most <= Some(25 * MS) && most > Some(25 * MS - MS / 10), "{most:?}");
        let mean = late.iter().sum::<Duration>() / 10_000;
        assert!(mean.abs_diff(20 * MS) < MS / 10, "{mean:?}");
        let (arrived, _) = arrivals(Impairments { jitter: 5 * MS, ..fixed }, 1000, MS / 10);
        assert!(arrived.is_sorted() && numbers(&arrived).is_sorted());
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_loses_them() {
        // 10,000 bits at 10 Mbit/s: 1 ms each.
        let slow = Impairments { rate: Some(10_000_000), ..Default::default() };
        let (arrived, counts) = arrivals(slow, 400, Duration::ZERO);
        assert!(arrived.iter().enumerate().all(|(index, (due, _))| *due == MS * (index as u32 + 1)));
        assert_eq!(counts.overflowed, 0);
        let (arrived, counts) = arrivals(slow, 1000, Duration::ZERO);
        assert_eq!((arrived.len(), counts.overflowed), (501, 499));
        // At less than the rate nobody waits.
        let (arrived, _) = arrivals(slow, 100, 2 * MS);
        assert!(arrived.iter().all(|(due, number)| *due == 2 * MS * *number + MS));
    }

    #[test]
    fn shares_are_about_as_large_as_asked() {
        let share = 200_000;
        let (arrived, counts) =
            arrivals(Impairments { loss: share, seed: 1, ..Default::default() }, 10_000, MS);
        assert!((1_800..2_200).contains(&counts.lost), "{counts:?}");
        assert_eq!(arrived.len() as u64, 10_000 - counts.lost);

        let (arrived, counts) =
            arrivals(Impairments { duplicate: share, seed: 2, ..Default::default() }, 10_000, MS);
        assert!((1_800..2_200).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(arrived.len() as u64, 10_000 + counts.duplicated);
        assert!(numbers(&arrived).is_sorted());

        let (arrived, counts) =
            arrivals(Impairments { reorder: share, seed: 3, ..Default::default() }, 10_000, MS);
        let late = arrived.windows(2).filter(|pair| pair[0].1 > pair[1].1).count() as u64;
        assert!((1_500..2_200).contains(&counts.reordered) && late == counts.reordered, "{late} {counts:?}");
        let mut all = numbers(&arrived);
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn equal_seeds_make_equal_choices_whatever_else_is_set() {
        let all = Impairments {
            delay: 20 * MS,
            jitter: MS,
            loss: 100_000,
            duplicate: 100_000,
            reorder: 100_000,
            rate: Some(100_000_000),
            seed: 7,
        };
        assert_eq!(arrivals(all, 1000, MS), arrivals(all, 1000, MS));
        assert_ne!(arrivals(all, 1000, MS), arrivals(Impairments { seed: 8, ..all }, 1000, MS));
        let only = Impairments { loss: all.loss, seed: all.seed, ..Default::default() };
        assert_eq!(arrivals(only, 1000, MS).1.lost, arrivals(all, 1000, MS).1.lost);
    }

    #[test]
    fn the_last_frame_is_not_kept() {
        let (arrived, _) = arrivals(Impairments { reorder: WHOLE, ..Default::default() }, 1, MS);
        assert_eq!(arrived, [(REORDER_WAIT, 0)]);
    }

    #[test]
    fn settings_change_for_the_frames_to_come() {
        let mut wire = Wire::new(Impairments { delay: 20 * MS, ..Default::default() });
        wire.push(Duration::ZERO, 1, 100);
        wire.set(Impairments::default());
        wire.push(MS, 2, 100);
        assert_eq!((wire.pop(19 * MS), wire.next_due()), (None, Some(20 * MS)));
        // The second one does not overtake the first.
        assert_eq!((wire.pop(20 * MS), wire.pop(20 * MS), wire.pop(20 * MS)), (Some(1), Some(2), None));
    }
}
