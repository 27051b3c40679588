//! Expiry of numbered things: sessions, mappings, neighbors, fragmented packets.
//!
//! A wheel of [`TimerWheel::SLOTS`] slots, each one tick long, over the ids `0..capacity` of the caller's table.
//! The entries of a slot form a doubly linked list threaded through one array, so that arming, re-arming and
//! cancelling cost a few stores and never allocate. A two-level bitmap says which slots hold anything, so that
//! neither a long silence nor a jump of time makes any call walk over empty slots.
//!
//! An entry comes out when its tick has passed: never before the time it was armed for, and less than one tick
//! after it. One exception: a time beyond the horizon (4096 ticks from the oldest tick that was not yet drained)
//! waits in the last slot and comes out early. A caller that uses such times, or that re-arms lazily (remember the
//! last use, schedule again when the timer fires), compares the time of what it got and schedules it again.

use std::time::Duration;

use crate::time::Timestamp;

const SLOT_BITS: u32 = 12;
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
const WORDS: usize = SLOTS / 64;

/// "No entry" in a link. Ids are stored plus one, so that fresh zeroed memory is an empty wheel and the pages of
/// ids that were never used are never touched.
const NONE: u32 = 0;

/// Where an id is: links to its neighbours in the slot's list, and the slot.
const NEXT: usize = 0;
const PREVIOUS: usize = 1;
/// Slot plus one; 0 when the id is not armed.
const SLOT: usize = 2;

/// One timer per id; see the module's text for what it promises.
///
/// Memory: 12 octets per id (taken lazily by the system) and 17 KiB for the slots.
#[derive(Debug)]
pub struct TimerWheel {
    /// `[NEXT, PREVIOUS, SLOT]` of every id.
    links: Vec<[u32; 3]>,
    /// First entry of each slot's list.
    heads: Vec<u32>,
    /// Bit per slot: its list is not empty.
    occupied: [u64; WORDS],
    /// Bit per word of `occupied`: it is not zero.
    summary: u64,
    /// The first tick that may still hold entries; the wheel spans `cursor..cursor + SLOTS`.
    cursor: u64,
    armed: u32,
    start: Timestamp,
    tick: u64,
}

impl TimerWheel {
    /// Slots of the wheel: the horizon in ticks.
    pub const SLOTS: usize = SLOTS;

    /// A wheel for the ids `0..capacity`, none of them armed. A `tick` under a nanosecond counts as one.
    pub fn new(capacity: u32, tick: Duration, start: Timestamp) -> TimerWheel {
        TimerWheel {
            links: vec![[0; 3]; capacity as usize],
            heads: vec![NONE; SLOTS],
            occupied: [0; WORDS],
            summary: 0,
            cursor: 0,
            armed: 0,
            start,
            tick: u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1),
        }
    }

    /// Makes room for the ids `0..capacity`; never takes any away.
    pub fn grow(&mut self, capacity: u32) {
        if capacity as usize > self.links.len() {
            self.links.resize(capacity as usize, [0; 3]);
        }
    }

    /// Arms `id` for `at`, or moves it there. A time that has already passed fires with the next tick.
    ///
    /// # Panics
    /// When `id` is not below the capacity.
    #[inline]
    pub fn schedule(&mut self, id: u32, at: Timestamp) {
        let elapsed = at.as_nanos().saturating_sub(self.start.as_nanos());
        let tick = elapsed.div_ceil(self.tick).clamp(self.cursor, self.cursor.saturating_add(SLOT_MASK));
        let slot = (tick & SLOT_MASK) as u32;
        let current = self.links[id as usize][SLOT];
        if current == slot + 1 {
            return;
        }
        if current != 0 {
            self.unlink(id, current - 1);
        } else {
            self.armed += 1;
        }
        self.link(id, slot);
    }

    /// Disarms `id`; nothing happens when it is not armed.
    ///
    /// # Panics
    /// When `id` is not below the capacity.
    pub fn cancel(&mut self, id: u32) {
        let current = self.links[id as usize][SLOT];
        if current != 0 {
            self.unlink(id, current - 1);
            self.links[id as usize][SLOT] = 0;
            self.armed -= 1;
        }
    }

    /// Takes out one entry whose slot has passed. Constant work per call; call it until it says `None`, or as
    /// often as the caller's portion of work allows. Entries of one tick come in no particular order.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<u32> {
        let passed = now.as_nanos().checked_sub(self.start.as_nanos())? / self.tick;
        match self.first_occupied() {
            Some(tick) if tick <= passed => {
                self.cursor = tick;
                let slot = (tick & SLOT_MASK) as u32;
                let id = self.heads[slot as usize] - 1;
                self.unlink(id, slot);
                self.links[id as usize][SLOT] = 0;
                self.armed -= 1;
                Some(id)
            }
            _ => {
                self.cursor = self.cursor.max(passed.saturating_add(1));
                None
            }
        }
    }

    /// When [`TimerWheel::pop_due`] may next return something; `None` when nothing is armed.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let offset = Duration::from_nanos(self.first_occupied()?.saturating_mul(self.tick));
        Some(self.start + offset)
    }

    /// Whether `id` is armed.
    ///
    /// # Panics
    /// When `id` is not below the capacity.
    pub fn is_armed(&self, id: u32) -> bool {
        self.links[id as usize][SLOT] != 0
    }

    /// How many ids are armed.
    pub fn len(&self) -> u32 {
        self.armed
    }

    /// Whether no id is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    fn link(&mut self, id: u32, slot: u32) {
        let head = self.heads[slot as usize];
        self.links[id as usize] = [head, NONE, slot + 1];
        if head == NONE {
            let word = slot as usize / 64;
            self.occupied[word] |= 1 << (slot % 64);
            self.summary |= 1 << word;
        } else {
            self.links[head as usize - 1][PREVIOUS] = id + 1;
        }
        self.heads[slot as usize] = id + 1;
    }

    /// Takes `id` out of the list of `slot`; the caller mends its `SLOT` field.
    fn unlink(&mut self, id: u32, slot: u32) {
        let [next, previous, _] = self.links[id as usize];
        if next != NONE {
            self.links[next as usize - 1][PREVIOUS] = previous;
        }
        if previous != NONE {
            self.links[previous as usize - 1][NEXT] = next;
            return;
        }
        self.heads[slot as usize] = next;
        if next == NONE {
            let word = slot as usize / 64;
            self.occupied[word] &= !(1 << (slot % 64));
            if self.occupied[word] == 0 {
                self.summary &= !(1 << word);
            }
        }
    }

    /// The first tick from the cursor on whose slot holds something.
    fn first_occupied(&self) -> Option<u64> {
        let slot = (self.cursor & SLOT_MASK) as usize;
        let (word, bit) = (slot / 64, slot % 64);
        let rest_of_word = self.occupied[word] & (u64::MAX << bit);
        let found = if rest_of_word != 0 {
            word * 64 + rest_of_word.trailing_zeros() as usize
        } else {
            // Words after this one, then round to the start; the cursor's own word comes last, for the bits
            // below the cursor, which are the last ticks of the span.
            let later = self.summary & (u64::MAX << word << 1);
            let candidates = if later != 0 { later } else { self.summary };
            if candidates == 0 {
                return None;
            }
            let word = candidates.trailing_zeros() as usize;
            word * 64 + self.occupied[word].trailing_zeros() as usize
        };
        Some(self.cursor.saturating_add(found.wrapping_sub(slot) as u64 & SLOT_MASK))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn drain(wheel: &mut TimerWheel, now: Timestamp) -> Vec<u32> {
        let mut ids: Vec<u32> = std::iter::from_fn(|| wheel.pop_due(now)).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn fires_just_after_its_slot_and_not_just_before() {
        let mut wheel = TimerWheel::new(8, SECOND, at(500));
        wheel.schedule(3, at(2_400));
        assert_eq!(wheel.next_deadline(), Some(at(2_500)));
        assert_eq!(wheel.pop_due(Timestamp::from_nanos(2_499_999_999)), None);
        assert_eq!(wheel.pop_due(at(2_500)), Some(3));
        assert_eq!(wheel.pop_due(at(2_500)), None);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_time_on_the_tick_is_not_delayed() {
        let mut wheel = TimerWheel::new(1, SECOND, Timestamp::ZERO);
        wheel.schedule(0, at(3_000));
        assert_eq!(wheel.pop_due(at(2_999)), None);
        assert_eq!(wheel.pop_due(at(3_000)), Some(0));
    }

    #[test]
    fn re_arming_moves_and_cancelling_forgets() {
        let mut wheel = TimerWheel::new(4, SECOND, Timestamp::ZERO);
        for id in 0..4 {
            wheel.schedule(id, at(2_000));
        }
        wheel.schedule(1, at(5_000));
        wheel.cancel(2);
        wheel.cancel(2);
        assert_eq!(wheel.len(), 3);
        assert!(!wheel.is_armed(2));
        assert_eq!(drain(&mut wheel, at(4_000)), [0, 3]);
        assert_eq!(drain(&mut wheel, at(5_000)), [1]);
    }

    #[test]
    fn a_time_in_the_past_fires_with_the_next_tick() {
        let mut wheel = TimerWheel::new(1, SECOND, Timestamp::ZERO);
        assert_eq!(wheel.pop_due(at(10_500)), None);
        wheel.schedule(0, at(1_000));
        assert_eq!(wheel.next_deadline(), Some(at(11_000)));
        assert_eq!(wheel.pop_due(at(10_999)), None);
        assert_eq!(wheel.pop_due(at(11_000)), Some(0));
    }

    #[test]
    fn beyond_the_horizon_waits_in_the_last_slot_and_comes_early() {
        let mut wheel = TimerWheel::new(2, SECOND, Timestamp::ZERO);
        wheel.schedule(0, Timestamp::MAX);
        wheel.schedule(1, Timestamp::from_secs(7_440));
        assert_eq!(drain(&mut wheel, Timestamp::from_secs(4_094)), []);
        assert_eq!(drain(&mut wheel, Timestamp::from_secs(4_095)), [0, 1]);
        wheel.schedule(1, Timestamp::from_secs(7_440));
        assert_eq!(drain(&mut wheel, Timestamp::from_secs(7_439)), []);
        assert_eq!(drain(&mut wheel, Timestamp::from_secs(7_440)), [1]);
    }

    #[test]
    fn time_before_the_start_and_the_end_of_time_do_no_harm() {
        let mut wheel = TimerWheel::new(1, Duration::ZERO, at(1_000));
        wheel.schedule(0, Timestamp::ZERO);
        assert_eq!(wheel.pop_due(Timestamp::ZERO), None);
        assert_eq!(wheel.pop_due(at(1_000)), Some(0));
        assert_eq!(wheel.pop_due(Timestamp::MAX), None);
        wheel.schedule(0, Timestamp::MAX);
        assert!(wheel.next_deadline().is_some());
    }

    #[test]
    fn an_empty_capacity_is_allowed() {
        let mut wheel = TimerWheel::new(0, SECOND, Timestamp::ZERO);
        assert_eq!(wheel.pop_due(at(1)), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32, u64),
        Cancel(u32),
        Advance(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u32..40, 0u64..30_000).prop_map(|(id, delay)| Step::Schedule(id, delay)),
            1 => (0u32..40, 300_000u64..2_000_000).prop_map(|(id, delay)| Step::Schedule(id, delay)),
            1 => (0u32..40).prop_map(Step::Cancel),
            3 => (0u64..20_000, 0usize..50).prop_map(|(millis, pops)| Step::Advance(millis, pops)),
            1 => (0u64..3_000_000, Just(usize::MAX)).prop_map(|(millis, pops)| Step::Advance(millis, pops)),
        ]
    }

    proptest! {
        /// Against a map of due times: nothing armed within the horizon comes early, nothing comes a tick late,
        /// nothing is lost or made up, and the deadline is exact.
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 1..200), tick in 50u64..2_000) {
            let start = at(777);
            let mut wheel = TimerWheel::new(40, Duration::from_millis(tick), start);
            let mut model: BTreeMap<u32, (u64, bool)> = BTreeMap::new(); // id -> (due in ms, beyond the horizon)
            let mut now = 777;
            let mut drained_to = 777;
            for step in steps {
                match step {
                    Step::Schedule(id, delay) => {
                        wheel.schedule(id, at(now + delay));
                        let far = now + delay >= drained_to + tick * (SLOTS as u64 - 1);
                        model.insert(id, (now + delay, far));
                    }
                    Step::Cancel(id) => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    Step::Advance(millis, pops) => {
                        now += millis;
                        for _ in 0..pops {
                            let Some(id) = wheel.pop_due(at(now)) else {
                                drained_to = now;
                                break;
                            };
                            let (due, far) = model.remove(&id).expect("only what is armed");
                            prop_assert!(due <= now || far, "{id} came {} ms early", due - now);
                            if due > now {
                                wheel.schedule(id, at(due));
                                model.insert(id, (due, true));
                            }
                        }
                        if drained_to == now {
                            for (&id, &(due, _)) in &model {
                                prop_assert!(due + tick > now, "{id} is {} ms late", now - due);
                            }
                        }
                    }
                }
                prop_assert_eq!(wheel.len() as usize, model.len());
                prop_assert_eq!(wheel.next_deadline().is_some(), !model.is_empty());
                if let (Some(deadline), Some(first)) = (wheel.next_deadline(), model.values().map(|v| v.0).min()) {
                    prop_assert!(deadline <= at(first.max(now) + 2 * tick));
                }
                for id in 0..40 {
                    prop_assert_eq!(wheel.is_armed(id), model.contains_key(&id));
                }
            }
        }
    }
}
