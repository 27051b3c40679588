//! A worker with much to do keeps a CPU of its own; where one that mostly sleeps wakes up is left to the scheduler.
//!
//! A thread that moves about under load loses its caches, and gets in the way of those who send and take the frames: with
//! four TCP streams it forwards a third less. For one that sleeps between two frames it is the other way about: the
//! scheduler wakes it where somebody is awake, and to wake a sleeping CPU instead takes up to a millisecond in a virtual
//! machine.

use std::time::Duration;

use genkan_engine::{Timestamp, WorkerId};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// How often it is looked at how busy the worker is.
const WINDOW: Duration = Duration::from_millis(100);
/// Busier than this, it gets its CPU at once.
const BUSY: f64 = 0.4;
/// When it was less busy than this for so long, it gives the CPU back.
const IDLE: f64 = 0.2;
const IDLE_FOR: Duration = Duration::from_millis(300);

/// The calling thread, and where it may run.
#[derive(Debug)]
pub(crate) struct Placement {
    /// `None`: there is no CPU for it alone.
    own: Option<Own>,
    has_spare: bool,
}

#[derive(Debug)]
struct Own {
    all: CpuSet,
    only: CpuSet,
    is_bound: bool,
    /// The last look: when, and the CPU time until then.
    looked: Timestamp,
    used: Duration,
    /// The last look that found it not idle.
    not_idle: Timestamp,
}

impl Placement {
    /// Of the calling thread, which must be the one that makes the calls below. The first worker's CPU is the last one that
    /// the process may use: the first ones get most interrupts. With more workers than CPUs, or but one CPU, nobody is
    /// bound.
    pub(crate) fn new(worker: WorkerId, workers: u8) -> Placement {
        let Ok(all) = sched_getaffinity(THIS_THREAD) else {
            return Placement { own: None, has_spare: false };
        };
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap_or(false)).collect();
        let workers = usize::from(workers);
        let own = cpus.iter().rev().nth(worker.index()).filter(|_| cpus.len() > 1 && workers <= cpus.len());
        let own = own.and_then(|cpu| {
            let mut only = CpuSet::new();
            only.set(*cpu).ok()?;
            let (never, used) = (Timestamp::ZERO, used().ok()?);
            Some(Own { all, only, is_bound: false, looked: never, used, not_idle: never })
        });
        Placement { own, has_spare: cpus.len() > workers }
    }

    /// Whether the process has another CPU besides those of the workers.
    pub(crate) fn has_spare(&self) -> bool {
        self.has_spare
    }

    /// To be called often: looks now and then how busy the thread is.
    #[inline]
    pub(crate) fn look(&mut self, now: Timestamp) {
        if let Some(own) = &mut self.own
            && now.saturating_since(own.looked) >= WINDOW
            && let Err(error) = own.look(now)
        {
            tracing::warn!(%error, "a packet worker is not bound to a CPU");
            self.own = None;
        }
    }
}

impl Own {
    #[cold]
    fn look(&mut self, now: Timestamp) -> nix::Result<()> {
        let used = used()?;
        let worked = used.saturating_sub(std::mem::replace(&mut self.used, used));
        let window = now.saturating_since(std::mem::replace(&mut self.looked, now));
        let share = worked.as_secs_f64() / window.as_secs_f64();
        if share >= IDLE {
            self.not_idle = now;
        }
        if !self.is_bound && share > BUSY {
            sched_setaffinity(THIS_THREAD, &self.only)?;
            self.is_bound = true;
        } else if self.is_bound && now.saturating_since(self.not_idle) >= IDLE_FOR {
            sched_setaffinity(THIS_THREAD, &self.all)?;
            self.is_bound = false;
        }
        Ok(())
    }
}

const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPU time of the calling thread.
fn used() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus() -> usize {
        let cpus = sched_getaffinity(THIS_THREAD).expect("everybody may ask");
        (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu).expect("it is in range")).count()
    }

    /// Works for so long.
    fn work(time: Duration) {
        let until = used().expect("everybody may ask") + time;
        while used().expect("everybody may ask") < until {}
    }

    #[test]
    fn only_a_busy_worker_has_a_cpu_of_its_own() {
        let all = cpus();
        let mut placement = Placement::new(WorkerId::FIRST, 1);
        assert_eq!(placement.has_spare(), all > 1);
        let mut now = Timestamp::from_secs(1);
        placement.look(now);
        let mut window = |busy: Duration| {
            work(busy);
            now += WINDOW;
            placement.look(now);
            cpus()
        };
        assert_eq!(window(WINDOW / 10), all, "a tenth of a CPU");
        assert_eq!(window(WINDOW / 2), 1);
        // In between nothing changes, and a short pause is none.
        assert_eq!([window(WINDOW / 4), window(WINDOW / 20), window(WINDOW / 4)], [1; 3]);
        assert_eq!([(); 3].map(|()| window(WINDOW / 20)), [1, 1, all]);
        assert_eq!(window(WINDOW / 4), all, "in between nothing changes");
    }

    #[test]
    fn with_fewer_cpus_than_workers_nobody_is_bound() {
        let all = cpus();
        let mut placement = Placement::new(WorkerId::FIRST, u8::try_from(all + 1).unwrap_or(u8::MAX));
        placement.look(Timestamp::from_secs(1));
        work(WINDOW);
        placement.look(Timestamp::from_secs(1) + WINDOW);
        assert_eq!((cpus(), placement.has_spare()), (all, false));
    }
}
