//! CPUs: which there are, where threads run, how busy they were.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::bench::pinning::allowed_cpus;

/// Keeps this thread on the n-th usable CPU, counted around.
pub(crate) fn pin_to(n: usize) {
    let usable = allowed_cpus().unwrap_or_default();
    let mut only = CpuSet::new();
    if let Some(&cpu) = usable.get(n % usable.len().max(1))
        && only.set(cpu).is_ok()
    {
        // Where it is not allowed, the scheduler's choice has to do.
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// CPU time that all CPUs together have spent idle since the machine was started.
pub(crate) fn idle() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = idle_ticks(&text).ok_or(io::ErrorKind::InvalidData)?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Of the first line, `cpu USER NICE SYSTEM IDLE IOWAIT ...`: the ticks of idleness.
fn idle_ticks(text: &str) -> Option<u64> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().skip(3);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// CPU time that all threads of a process together have used: `None` when it is gone, or the kernel keeps no such
/// account. To the nanosecond, where `/proc/PID/stat` counts ticks. Interrupts that meet a thread are in it.
pub(crate) fn of_process(id: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let times = threads.flatten().map(|thread| {
        // A thread that ends meanwhile takes its account along.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some(Duration::from_nanos(text.split_ascii_whitespace().next()?.parse().ok()?))
    });
    let times: Vec<Duration> = times.flatten().collect();
    (!times.is_empty()).then(|| times.iter().sum())
}

/// How many CPUs are online: those that [`idle`] adds up.
pub(crate) fn online() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/stat")?;
    Ok(text.lines().filter(|line| is_one_cpu(line)).count())
}

fn is_one_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_what_it_used() {
        let own = std::process::id();
        // A kernel without CONFIG_SCHED_INFO keeps no such account.
        let Some(before) = of_process(own) else { return };
        let start = std::time::Instant::now();
        while of_process(own).is_some_and(|now| now < before + Duration::from_millis(20)) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "this thread spins, but its time stands still"
            );
        }
        assert_eq!(of_process(u32::MAX), None);
    }

    #[test]
    fn idle_is_idle_and_waiting_for_disks() {
        let text = "cpu  10 20 30 400 5 6 7 0 0 0\ncpu0 5 10 15 200 2 3 4 0 0 0\n";
        assert_eq!(idle_ticks(text), Some(405));
        assert_eq!(idle_ticks("intr 5"), None);
        assert_eq!(text.lines().filter(|line| is_one_cpu(line)).count(), 1);
    }
}
