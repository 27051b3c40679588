//! The calling thread and the CPU scheduler: getpriority(2), setpriority(2).

use nix::errno::Errno;

/// The calling thread's nice value: -20 is served first, 0 is usual, 19 last.
///
/// # Errors
/// When a sandbox forbids to ask.
pub fn nice() -> nix::Result<i32> {
    // The system call itself, whose result (20 less the nice value) cannot be taken for an error as libc's can.
    // SAFETY: no pointers are passed; on Linux "process" 0 is the calling thread.
    let value = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    Ok(20 - Errno::result(value)? as i32)
}

/// Sets the calling thread's nice value.
///
/// # Errors
/// A lower one needs CAP_SYS_NICE in the initial user namespace, or RLIMIT_NICE.
pub fn set_nice(nice: i32) -> nix::Result<()> {
    // SAFETY: as above.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_step_back() {
        let stepped_back = std::thread::spawn(|| {
            set_nice(19).expect("everybody may wait longer");
            nice()
        });
        let before = nice();
        assert_eq!(stepped_back.join().expect("nothing is refused"), Ok(19));
        assert_eq!(nice(), before, "other threads keep theirs");
    }
}
