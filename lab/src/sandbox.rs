//! Private namespaces for one program.
//!
//! Read user_namespaces(7) and pid_namespaces(7) first. The program is started a second time as process 1 of new
//! PID, mount and network namespaces (and of a new user namespace when it is not root). The first copy only waits.
//! When it dies, by whatever signal, the kernel kills process 1, with it every process of the PID namespace, and
//! the last process takes the namespaces along: devices, addresses and routes need no clean-up code.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::{env, fs, io};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getpid};

/// Tells the second copy who started it: the process id of the first.
const MARKER: &str = "GENKAN_SANDBOX_PARENT";

/// Why there are no private namespaces.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refuses to make them.
    #[error(
        "this system does not let ordinary users make network namespaces ({errno}); \
         run it with sudo, or allow user namespaces (sysctl user.max_user_namespaces, \
         on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    Refused {
        /// What the kernel said.
        errno: Errno,
    },
    /// Root, but without the right to make namespaces: a container.
    #[error(
        "root may not make network namespaces here ({errno}); in a container this needs CAP_SYS_ADMIN and \
         CAP_NET_ADMIN (docker run --privileged)"
    )]
    RefusedToRoot {
        /// What the kernel said.
        errno: Errno,
    },
    /// The second copy could not be prepared or started.
    #[error("cannot {step}")]
    Setup {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Where this copy of the program finds itself.
#[derive(Debug)]
pub enum Sandbox {
    /// In the private namespaces: go on.
    Inside,
    /// Outside; the copy inside has ended with this status: end likewise.
    Ended(ExitStatus),
}

impl Sandbox {
    /// Starts this program again, with the same arguments, in private namespaces, and waits for it. Inside,
    /// `/run` is an empty file system of its own and the caller is root.
    ///
    /// Call it before the first thread is started: the kernel gives a user namespace to single-threaded programs only.
    ///
    /// # Errors
    /// [`SandboxError`] when the system does not allow it.
    pub fn enter() -> Result<Sandbox, SandboxError> {
        if let Some(parent) = Sandbox::parent() {
            die_with_parent(&parent)?;
            return Ok(Sandbox::Inside);
        }
        unshare_all()?;
        let status = Command::new("/proc/self/exe")
            .args(env::args_os().skip(1))
            .env(MARKER, getpid().to_string())
            .status()
            .map_err(setup("start the program again"))?;
        Ok(Sandbox::Ended(status))
    }

    /// Whether this is the copy inside, or will be after [`Sandbox::enter`].
    pub fn is_inside() -> bool {
        Sandbox::parent().is_some()
    }

    fn parent() -> Option<String> {
        env::var(MARKER).ok().filter(|_| getpid().as_raw() == 1)
    }
}

/// The exit status that says the same as `status`; a signal becomes 128 + its number, as in shells.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

fn setup<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::Setup { step, source: source.into() }
}

/// The first copy's part: namespaces for the children to come (the PID namespace is theirs only).
fn unshare_all() -> Result<(), SandboxError> {
    let private = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        unshare(private).map_err(|errno| SandboxError::RefusedToRoot { errno })?;
    } else {
        unshare(private | CloneFlags::CLONE_NEWUSER).map_err(|errno| SandboxError::Refused { errno })?;
        // setgroups must be given up before an ordinary user may map a group (user_namespaces(7)).
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            fs::write(Path::new("/proc/self").join(file), text)
                .map_err(setup("map the user into the namespace"))?;
        }
    }
    // Some systems give the namespace, but no capability in it; the first mount shows that.
    let refused = |errno| match uid.is_root() {
        true => SandboxError::RefusedToRoot { errno },
        false => SandboxError::Refused { errno },
    };
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing).map_err(refused)?;
    mount(Some("genkan-lab"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).map_err(refused)?;
    Ok(())
}

/// The second copy's part. The parent may have died before the kernel was asked to tell; so look afterwards.
fn die_with_parent(parent: &str) -> Result<(), SandboxError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(setup("tie the lab to its parent"))?;
    let status = fs::read_to_string("/proc/self/status").map_err(setup("read /proc/self/status"))?;
    let alive = status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|pid| pid.trim() == parent));
    if !alive {
        return Err(setup("find the parent")(io::Error::from(Errno::ESRCH)));
    }
    // Programs inside look up their own process numbers. Containers that hide parts of /proc refuse this; then
    // /proc/self still works, which is all that the lab itself needs.
    let nothing: Option<&str> = None;
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing);
    Ok(())
}
