//! The CPU time of single calls, for benches that look for the longest one.
//!
//! Time is the thread's CPU time, so that waiting for a CPU does not count. What is left of noise (interrupts,
//! the hypervisor) hits another call in every run, and the router does the same in every run: a call that seems
//! to take too long is slow only if it is so in each of [`RUNS`] runs.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

/// The most that one call may take.
const LIMIT: Duration = Duration::from_millis(1);
/// Runs in which a call must be slow to be called so.
const RUNS: usize = 3;

/// Runs the phases, again where a call takes too long, and prints how long they take.
///
/// # Panics
/// When a call takes longer than a millisecond in every run.
pub fn no_call_is_long(run: impl Fn() -> Run) {
    let mut result = run();
    for _ in 1..RUNS {
        if result.slowest() <= LIMIT {
            break;
        }
        result.print();
        println!("a call took {:?}: is it so again?", result.slowest());
        result.merge(&run());
    }
    result.print();
    let slowest = result.slowest();
    assert!(slowest <= LIMIT, "a call took {slowest:?} of CPU time, more than {LIMIT:?}, in every run");
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock").into()
}

/// Pages that this thread was given by the system so far.
fn page_faults() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).expect("every thread has usage").minor_page_faults()
}

/// The calls of one phase.
#[derive(Debug)]
struct Phase {
    name: &'static str,
    calls: Vec<Duration>,
    page_faults: i64,
}

/// All phases of one run.
#[derive(Debug, Default)]
pub struct Run {
    phases: Vec<Phase>,
}

impl Run {
    /// Lets a phase do its work: it pushes the time of each call.
    pub fn phase(&mut self, name: &'static str, work: impl FnOnce(&mut Vec<Duration>)) {
        let (faults, mut calls) = (page_faults(), Vec::new());
        work(&mut calls);
        self.phases.push(Phase { name, calls, page_faults: page_faults() - faults });
    }

    /// Keeps the shorter time of each call.
    fn merge(&mut self, other: &Run) {
        for (phase, again) in self.phases.iter_mut().zip(&other.phases) {
            assert_eq!((phase.name, phase.calls.len()), (again.name, again.calls.len()), "runs do the same");
            for (call, again) in phase.calls.iter_mut().zip(&again.calls) {
                *call = (*call).min(*again);
            }
        }
    }

    fn slowest(&self) -> Duration {
        self.phases.iter().flat_map(|phase| &phase.calls).max().copied().unwrap_or_default()
    }

    fn print(&self) {
        println!(
            "{:<44} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "CPU time in us", "calls", "p50", "p99.9", "max", "total/ms", "faults"
        );
        for phase in &self.phases {
            let mut calls = phase.calls.clone();
            calls.sort_unstable();
            let at = |share: f64| calls[((calls.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
            println!(
                "{:<44} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>8}",
                phase.name,
                calls.len(),
                at(0.5),
                at(0.999),
                at(1.0),
                calls.iter().sum::<Duration>().as_secs_f64() * 1e3,
                phase.page_faults,
            );
        }
    }
}

/// Measures one call.
pub fn timed(calls: &mut Vec<Duration>, work: impl FnOnce()) {
    let start = cpu_time();
    work();
    calls.push(cpu_time() - start);
}
