//! Seccomp (seccomp(2)): system calls of which a router makes none are refused with EPERM.
//!
//! What is refused is listed, rather than what is permitted: the C library, the allocator and tokio choose their calls by
//! themselves and differently in each version, and a router that is refused `futex_wait` one day helps nobody. What the
//! list takes away is what gets an intruder further: programs, other processes, mounts, namespaces, modules, keys, the
//! clock, sockets of families that are no router's, and interfaces of the kernel with a long record of defects.
//!
//! The kernel remembers for each system call without conditions that the filters always permit it (Linux 5.11), so that
//! calls made for packets cost nothing more.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// What is refused unless there is a use for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permitted {
    /// AF_XDP: its sockets and bpf(2).
    pub(super) af_xdp: bool,
    /// io_uring, by which batches of frames go through a TAP device. What is asked of it goes by these filters (though not
    /// by landlock).
    pub(super) io_uring: bool,
    /// Programs may be started; which, is decided elsewhere.
    pub(super) programs: bool,
}

/// Refused whatever their arguments are.
const REFUSED: &[c_long] = &[
    // Programs without a path that landlock could look at.
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Namespaces, for new processes see below.
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_personality,
    libc::SYS_vhangup,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The clock.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Who we are, and what the machine is called.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Refused without a use for it.
const IO_URING: [c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Families of sockets that a router has.
const FAMILIES: [i32; 5] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];

/// Namespaces of their own for new processes.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Refuses them for the calling thread and those that it starts. Returns in words what is in force.
///
/// # Errors
/// In words why nothing is.
pub(super) fn restrict(permitted: Permitted) -> Result<String, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("all of them (seccomp: {reason})");
    let refusals = refusals(permitted).map_err(|error| failed(&error))?;
    // The second first: it refuses nothing that installing the other one takes.
    for program in [absences(), refusals] {
        seccompiler::apply_filter(&program).map_err(|error| failed(&error))?;
    }
    Ok("only those of a router (seccomp)".to_owned())
}

fn refusals(permitted: Permitted) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    if !permitted.programs {
        rules.insert(libc::SYS_execve, Vec::new());
    }
    if !permitted.af_xdp {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    if !permitted.io_uring {
        rules.extend(IO_URING.map(|call| (call, Vec::new())));
    }
    let families = FAMILIES.into_iter().chain(permitted.af_xdp.then_some(libc::AF_XDP));
    let other_family: Vec<SeccompCondition> =
        families.map(|family| condition(SeccompCmpOp::Ne, family)).collect::<Result<_, _>>()?;
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(call, vec![SeccompRule::new(other_family.clone())?]);
    }
    let namespace = |flag: i32| SeccompRule::new(vec![condition(SeccompCmpOp::MaskedEq(flag as u64), flag)?]);
    rules.insert(libc::SYS_clone, NAMESPACES.into_iter().map(namespace).collect::<Result<_, _>>()?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    filter.try_into()
}

/// About the first argument, a C int.
fn condition(operator: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value as u64)
}

/// A filter for which these are not in this kernel (ENOSYS): clone3, whose flags no filter sees, and for which the C
/// library has clone instead; and, on x86-64, the numbers of the x32 ABI, by which the list above could be gone by.
fn absences() -> BpfProgram {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    /// Bit of the x32 ABI; no number of other architectures gets near it.
    const X32: u32 = 0x4000_0000;
    let statement = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    vec![
        statement(LOAD_NUMBER, 0),
        sock_filter { code: IF_EQUAL, jt: 1, jf: 0, k: libc::SYS_clone3 as u32 },
        sock_filter { code: IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;

    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    /// Runs something in a thread with the filters.
    fn restricted<T: Send + 'static>(permitted: Permitted, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(move || {
            restrict(permitted).expect("this kernel has seccomp");
            work()
        });
        thread.join().expect("nothing panics")
    }

    #[test]
    fn what_no_router_does_is_refused() {
        let nothing = Permitted { af_xdp: false, io_uring: false, programs: false };
        restricted(nothing, || {
            assert_eq!(unshare(CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
            assert_eq!(nix::mount::umount("/nowhere"), Err(Errno::EPERM));
            let refused = |family| socket(family, SockType::Datagram, SockFlag::empty(), None).err();
            assert_eq!(refused(AddressFamily::Alg), Some(Errno::EPERM));
            assert_eq!(refused(AddressFamily::Vsock), Some(Errno::EPERM));
            let started = Command::new("/bin/true").status().expect_err("programs are refused");
            assert_eq!(started.raw_os_error(), Some(libc::EPERM));
        });
    }

    #[test]
    fn what_a_router_does_is_not() {
        restricted(Permitted { af_xdp: false, io_uring: false, programs: true }, || {
            for family in [AddressFamily::Unix, AddressFamily::Inet, AddressFamily::Inet6] {
                socket(family, SockType::Datagram, SockFlag::empty(), None).expect("it is permitted");
            }
            // Threads, and what tokio makes of them.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("threads can be made");
            let (sender, receiver) = mpsc::channel();
            runtime.block_on(async {
                tokio::task::spawn_blocking(move || sender.send(7))
                    .await
                    .expect("it runs")
                    .expect("we listen");
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            });
            assert_eq!(receiver.recv(), Ok(7));
            let status = Command::new("/bin/true").status().expect("programs are permitted");
            assert!(status.success());
        });
    }
}
