//! Keeping this thread on one CPU while something is timed.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const THIS: Pid = Pid::from_raw(0);

/// The CPUs that this thread may use, ascending.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(THIS)?;
    Ok((0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect())
}

/// While it lives, the thread that made it stays on one CPU.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Moves this thread to `cpu`.
    pub(crate) fn to(cpu: usize) -> io::Result<Pinned> {
        let before = sched_getaffinity(THIS)?;
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(THIS, &only)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before still is, unless all of those CPUs were unplugged meanwhile.
        let _ = sched_setaffinity(THIS, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_and_is_let_go() {
        let all = allowed_cpus().expect("there is at least one");
        let last = *all.last().expect("there is at least one");
        let pinned = Pinned::to(last).expect("it is allowed");
        assert_eq!(allowed_cpus().expect("there is one"), [last]);
        drop(pinned);
        assert_eq!(allowed_cpus().expect("as before"), all);
    }
}
