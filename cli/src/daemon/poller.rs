//! How a worker sleeps: first it looks around a little longer, then it waits in the kernel.
//!
//! Waking a sleeping CPU costs far more than receiving a batch, so after a batch the worker keeps looking for a while.
//! How long depends on whether that paid lately, and it ends as soon as somebody else wants this CPU.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use genkan_engine::Timestamp;
use genkan_engine::frame::PortId;
use genkan_io::{MAX_POLL_FDS, PollFds};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

/// Gets a sleeping worker to look at its channels. Cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    event: EventFd,
    /// The worker sleeps, or is about to.
    asleep: AtomicBool,
}

impl Waker {
    /// A waker, and nobody to wake yet.
    pub(crate) fn new() -> nix::Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Waker(Arc::new(Bell { event, asleep: AtomicBool::new(false) })))
    }

    /// Wakes the worker, or keeps it from falling asleep.
    pub(crate) fn wake(&self) {
        // It fails only when the count is at its end, and then the worker is being woken already.
        let _ = self.0.event.write(1);
    }

    /// Wakes the worker only if it sleeps, which costs no system call otherwise. For those who gave it something
    /// that it looks at after [`Waker::fall_asleep`].
    pub(crate) fn wake_sleeper(&self) {
        // Either the worker sees what was given before this fence, or we see that it is about to sleep.
        fence(Ordering::SeqCst);
        if self.0.asleep.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// The worker is about to sleep: from now on [`Waker::wake_sleeper`] wakes it. What it must not sleep over is to
    /// be looked at after this.
    pub(crate) fn fall_asleep(&self) {
        self.0.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake.
    pub(crate) fn awake(&self) {
        self.0.asleep.store(false, Ordering::Relaxed);
    }

    /// Forgets the wake-ups so far. To be called before the channels are looked at.
    fn reset(&self) {
        // Would block: nobody woke us.
        let _ = self.0.event.read();
    }
}

/// Waits for frames and for the waker.
#[derive(Debug)]
pub(crate) struct Poller {
    waker: Waker,
}

impl Poller {
    /// A poller that `waker` ends.
    pub(crate) fn new(waker: Waker) -> Poller {
        Poller { waker }
    }

    /// Sleeps until one of `receivers` is readable, the waker is used, or `timeout` is over (`None`: however long).
    /// A `None` among them means that there is nothing to wait for.
    ///
    /// # Panics
    /// With more than [`PortId::COUNT`] receivers.
    pub(crate) fn wait<'a>(
        &'a self,
        receivers: impl Iterator<Item = Option<PollFds<'a>>>,
        timeout: Option<Duration>,
    ) {
        // A fixed array, as this runs once per packet when few packets come.
        let mut polled: [PollFd<'_>; PortId::COUNT * MAX_POLL_FDS + 1] =
            std::array::from_fn(|_| PollFd::new(self.waker.0.event.as_fd(), PollFlags::POLLIN));
        let mut count = 0;
        for fds in receivers {
            let Some(fds) = fds else { return };
            for fd in fds.iter() {
                count += 1;
                polled[count] = PollFd::new(fd, PollFlags::POLLIN);
            }
        }
        // An interrupted wait is a short one; any other failure shows again in `receive`.
        let _ = ppoll(&mut polled[..=count], timeout.map(TimeSpec::from_duration), None);
        // Most often it was a frame. A wake-up that came since then ends the next wait.
        if polled[0].any() != Some(false) {
            self.waker.reset();
        }
    }
}

/// Shortest look around worth its clock reading.
const SPIN_LEAST: Duration = Duration::from_micros(4);
/// Longest look around: past this, a wake-up costs less than the CPU time.
const SPIN_MOST: Duration = Duration::from_micros(50);
/// After so many sleeps without looking around first, it is tried again.
const RETRY: u32 = 64;
/// Between two looks lies far less than a microsecond, or an interrupt. After a longer time somebody else had the CPU.
const INTERRUPTED: Duration = Duration::from_micros(20);
/// How long a CPU that somebody else wants is left to them.
const REST: Duration = Duration::from_millis(2);

/// Decides between looking once more and sleeping.
///
/// Only frames that came while looking around lengthen the look, not those that would have come within a longer one.
/// Between the question and the answer of a lone round trip it is their hosts that want a CPU, often this one: where a
/// scheduler puts woken threads beside their waker, looking around for the answer keeps its sender waiting.
#[derive(Debug)]
pub(crate) struct Spin {
    budget: Duration,
    /// Since when nothing came, and the last look.
    idle: Option<(Timestamp, Timestamp)>,
    sleeps: u32,
    rest_until: Timestamp,
    enabled: bool,
}

impl Spin {
    /// `enabled`: there is another CPU for those who send the frames.
    pub(crate) fn new(enabled: bool) -> Spin {
        Spin { budget: SPIN_LEAST, idle: None, sleeps: 0, rest_until: Timestamp::ZERO, enabled }
    }

    /// Frames came.
    pub(crate) fn found(&mut self) {
        // Only frames that came while looking around speak for doing so longer.
        if self.idle.take().is_some() {
            self.budget = (self.budget * 2).min(SPIN_MOST);
        }
    }

    /// No frames came: whether to sleep now.
    pub(crate) fn should_sleep(&mut self, now: Timestamp) -> bool {
        if !self.enabled || now < self.rest_until {
            return true;
        }
        if self.budget < SPIN_LEAST {
            self.sleeps += 1;
            if self.sleeps < RETRY {
                return true;
            }
            self.sleeps = 0;
            self.budget = SPIN_LEAST;
        }
        let (since, last) = *self.idle.get_or_insert((now, now));
        if now.saturating_since(last) > INTERRUPTED {
            self.rest_until = now + REST;
        } else if now.saturating_since(since) < self.budget {
            self.idle = Some((since, now));
            return false;
        } else {
            self.budget /= 2;
        }
        self.idle = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000)
    }

    #[test]
    fn spins_longer_while_it_pays_and_stops_when_not() {
        let mut spin = Spin::new(true);
        let mut now = 0;
        for _ in 0..10 {
            assert!(!spin.should_sleep(at(now)));
            now += 3;
            spin.found();
        }
        assert_eq!(spin.budget, SPIN_MOST);
        for micros in 0..50 {
            assert!(!spin.should_sleep(at(now + micros)));
        }
        assert!(spin.should_sleep(at(now + 50)));

        // Nothing ever comes: soon it sleeps at once, and only rarely tries again.
        now += 1_000;
        for _ in 0..10 {
            while !spin.should_sleep(at(now)) {
                now += 1;
            }
        }
        let mut looks = 0;
        for _ in 0..10 * RETRY {
            while !spin.should_sleep(at(now)) {
                looks += 1;
                now += 1;
            }
            now += 100;
        }
        // One look around of the shortest length in 64 sleeps.
        assert!(looks <= 10 * SPIN_LEAST.as_micros(), "{looks}");
    }

    #[test]
    fn answers_are_not_waited_for() {
        let mut spin = Spin::new(true);
        let (mut now, mut looks) = (0, 0);
        // A question each 400 microseconds, its answer 20 later.
        for pause in [20, 380].into_iter().cycle().take(2_000) {
            let next = now + pause;
            spin.found();
            while now < next && !spin.should_sleep(at(now)) {
                looks += 1;
                now += 1;
            }
            now = next;
        }
        assert!(looks <= 2_000 / u64::from(RETRY) * 2 * SPIN_LEAST.as_micros() as u64, "{looks}");
    }

    #[test]
    fn a_cpu_that_others_want_is_left_to_them() {
        let mut spin = Spin::new(true);
        assert!(!spin.should_sleep(at(1)));
        assert!(!spin.should_sleep(at(2)));
        // Somebody had the CPU for 30 microseconds.
        assert!(spin.should_sleep(at(32)));
        assert!(spin.should_sleep(at(32 + 1_999)));
        assert!(!spin.should_sleep(at(32 + 2_000)));
    }

    #[test]
    fn a_lone_cpu_never_spins() {
        let mut spin = Spin::new(false);
        assert!(spin.should_sleep(at(0)));
    }

    #[test]
    fn a_wake_up_is_not_lost_among_frames() {
        let waker = Waker::new().expect("an eventfd");
        let poller = Poller::new(waker.clone());
        let frames = EventFd::from_value(1).expect("an eventfd");
        poller.wait(std::iter::once(Some(frames.as_fd().into())), None);
        waker.wake();
        poller.wait(std::iter::once(Some(frames.as_fd().into())), None);
        // Taken by the wait that it ended, though frames would have ended that one as well.
        let start = std::time::Instant::now();
        poller.wait(std::iter::empty(), Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(19));
        // Came while nobody waited: the next wait ends at once.
        waker.wake();
        poller.wait(std::iter::empty(), None);
    }

    #[test]
    fn waker_ends_the_sleep_and_is_used_up() {
        let waker = Waker::new().expect("an eventfd");
        let poller = Poller::new(waker.clone());
        waker.wake();
        waker.wake();
        // Would hang for ever without the wake-up.
        poller.wait(std::iter::empty(), None);
        let start = std::time::Instant::now();
        poller.wait(std::iter::empty(), Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(19));
        // A port that cannot be waited for means no waiting.
        poller.wait(std::iter::once(None), None);
    }

    /// Fails without the fence in [`Waker::fall_asleep`]: a processor may look at what was given before others see
    /// the worker asleep.
    #[test]
    fn nobody_sleeps_over_what_was_given() {
        const ROUNDS: u32 = 100_000;
        const ENDED: u32 = u32::MAX;
        let long = Duration::from_secs(10);
        let waker = Waker::new().expect("an eventfd");
        let poller = Poller::new(waker.clone());
        let (given, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut slept_over = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    // The moment that matters comes at once after the last was taken: so no system call here.
                    loop {
                        match taken.load(Ordering::Acquire) {
                            ENDED => return,
                            taken if taken == round => break,
                            _ => std::hint::spin_loop(),
                        }
                    }
                    (0..round % 32).for_each(|_| std::hint::spin_loop());
                    given.store(round + 1, Ordering::Release);
                    waker.wake_sleeper();
                }
            });
            for round in 0..ROUNDS {
                while given.load(Ordering::Acquire) == round {
                    waker.fall_asleep();
                    if given.load(Ordering::Acquire) == round {
                        let start = std::time::Instant::now();
                        poller.wait(std::iter::empty(), Some(long));
                        if start.elapsed() >= long {
                            slept_over = Some(round);
                        }
                    }
                    waker.awake();
                }
                if slept_over.is_some() {
                    break;
                }
                taken.store(round + 1, Ordering::Release);
            }
            taken.store(ENDED, Ordering::Release);
        });
        assert_eq!(slept_over, None);
    }

    #[test]
    fn each_descriptor_of_each_receiver_ends_the_sleep() {
        let poller = Poller::new(Waker::new().expect("an eventfd"));
        for readable in 0..2 * MAX_POLL_FDS {
            let events: [[EventFd; MAX_POLL_FDS]; 2] = std::array::from_fn(|receiver| {
                std::array::from_fn(|fd| {
                    let count = u32::from(receiver * MAX_POLL_FDS + fd == readable);
                    EventFd::from_value(count).expect("an eventfd")
                })
            });
            let receivers = events.iter().map(|events| Some(events.each_ref().map(AsFd::as_fd).into()));
            // Would hang for ever.
            poller.wait(receivers, None);
        }
    }
}
