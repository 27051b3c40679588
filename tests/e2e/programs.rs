//! Everyday programs, run at a host of the lab.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use genkan_lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::PATIENCE;
use crate::outcome::Skip;

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    /// It ended with status 0.
    pub(crate) ok: bool,
    /// Its exit status; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Said {
    /// Fails the test unless the program ended with status 0.
    #[track_caller]
    pub(crate) fn expect_ok(self) -> Said {
        assert!(self.ok, "the program failed: {self:#?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            ok: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Skips the test when a program is not installed.
pub(crate) fn need(program: &str) -> Result<(), Skip> {
    let path = env::var_os("PATH").unwrap_or_default();
    // An ordinary user's PATH lacks the directories where traceroute and nft live.
    let more = ["/usr/sbin", "/sbin"].map(Into::into);
    match env::split_paths(&path).chain(more).any(|directory| directory.join(program).is_file()) {
        true => Ok(()),
        false => Err(Skip(format!("the program {program} is not installed"))),
    }
}

/// Skips the test where the user may not make TUN devices; most systems let everybody.
pub(crate) fn need_tun() -> Result<(), Skip> {
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(error) => Err(Skip(format!("/dev/net/tun cannot be opened: {error}"))),
    }
}

/// A program with its arguments, which may run for [`PATIENCE`] at most.
fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", &PATIENCE.as_secs().to_string(), program]).args(arguments);
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a program at a host to its end; [`PATIENCE`] at most.
#[track_caller]
pub(crate) fn run(host: &Namespace, program: &str, arguments: &[&str]) -> Said {
    Said::from(host.output(&mut command(program, arguments)).expect("timeout(1) is there"))
}

/// A program that runs beside the test and ends with it.
pub(crate) struct Background(Child);

impl Background {
    /// Starts it; its output is thrown away.
    pub(crate) fn start(host: &Namespace, program: &str, arguments: &[&str]) -> Background {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Background(host.start(&mut command).unwrap_or_else(|error| panic!("cannot start {program}: {error}")))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("process numbers are small"));
        kill(pid, signal).expect("it runs");
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs beside the test, ends with it, and writes what it says to a file.
pub(crate) struct Logged {
    process: Background,
    log: PathBuf,
}

impl Logged {
    /// Starts the program of a shell's line.
    pub(crate) fn start(host: &Namespace, log: PathBuf, line: &str) -> Logged {
        fs::write(&log, "").expect("/run is ours in here");
        let shell = format!("PATH=$PATH:/usr/sbin:/sbin; exec {line} >>{} 2>&1", log.display());
        Logged { process: Background::start(host, "sh", &["-c", &shell]), log }
    }

    /// All that it has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often it has said so.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.said().matches(what).count()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.0.id()).expect("identifiers are small");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}
