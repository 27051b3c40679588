//! The real router, running in its namespace.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::namespace::Namespace;

/// How long the router may take from its start to `READY=1`.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How long it may take from SIGTERM to its end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Why the router does not run.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// It, or a file for it, could not be made.
    #[error("cannot start the router")]
    Start(#[from] io::Error),
    /// It ended instead of getting ready; the status and what it said.
    #[error("the router ended at once ({0}) and said:\n{1}")]
    Ended(ExitStatus, String),
    /// It neither ended nor got ready; what it said.
    #[error("the router was not ready after {limit} s and said:\n{0}", limit = START_LIMIT.as_secs())]
    NotReady(String),
}

/// A running router. Dropping it ends it.
///
/// Where another program takes over (`MAINPID=`), that is the router from then on.
#[derive(Debug)]
pub struct RouterProcess {
    child: Child,
    /// The process that has taken over.
    successor: Option<Pid>,
    ended: Option<ExitStatus>,
    binary: PathBuf,
    directory: PathBuf,
    ready: UnixDatagram,
}

impl RouterProcess {
    /// Writes `config` to `directory/genkan.toml` and runs `binary run` with it in `namespace`; returns when the
    /// router says that it is ready. Its control socket, its state and its log lie in `directory` too.
    ///
    /// # Errors
    /// When it does not get ready; what it printed is in the error.
    pub fn start(
        namespace: &Namespace,
        binary: &Path,
        directory: &Path,
        config: &str,
    ) -> Result<RouterProcess, RouterError> {
        fs::create_dir_all(directory.join("state"))?;
        let notify = directory.join("notify");
        match fs::remove_file(&notify) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let ready = UnixDatagram::bind(&notify)?;
        ready.set_nonblocking(true)?;
        let file = directory.join("genkan.toml");
        fs::write(&file, config)?;
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new(binary);
        command
            .args(["run", "--config"])
            .arg(&file)
            .arg("--socket")
            .arg(directory.join("control.sock"))
            .env("NOTIFY_SOCKET", &notify)
            .env("STATE_DIRECTORY", directory.join("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What a terminal sends to the program that runs a lab is not meant for its routers.
            .process_group(0);
        // A process that has taken over becomes our child when the one before it ends, as with a service manager.
        prctl::set_child_subreaper(true).map_err(io::Error::from)?;
        let child = namespace.start(&mut command)?;
        let (binary, directory) = (binary.to_owned(), directory.to_owned());
        let mut router = RouterProcess { child, successor: None, ended: None, binary, directory, ready };
        router.wait_until_ready()?;
        Ok(router)
    }

    fn wait_until_ready(&mut self) -> Result<(), RouterError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut message = [0; 4096];
        while Instant::now() < deadline {
            while let Ok(length) = self.ready.recv(&mut message) {
                if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(RouterError::Ended(status, self.log()));
            }
            thread::sleep(POLL);
        }
        Err(RouterError::NotReady(self.log()))
    }

    /// `genkan ARGUMENTS --socket ...` for this router.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--socket").arg(self.socket());
        command
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("genkan.toml")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The process id of the program that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Looks whether another process is the router by now.
    fn follow(&mut self) {
        let mut message = [0; 4096];
        while let Ok(length) = self.ready.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            let named = text.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
            self.successor = named.map(Pid::from_raw).or(self.successor);
        }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.follow();
        let child = i32::try_from(self.child.id()).expect("a process id is positive");
        kill(self.successor.unwrap_or(Pid::from_raw(child)), signal).map_err(io::Error::from)
    }

    /// Its status once it has ended.
    fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        // It ends after it has told of the other one.
        self.follow();
        let Some(successor) = self.successor else { return Ok(Some(status)) };
        match waitpid(successor, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Ok(Some(ExitStatus::from_raw(code << 8))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(ExitStatus::from_raw(signal as i32))),
            Ok(_) => Ok(None),
            // The one before it, whose child it is, is about to end.
            Err(Errno::ECHILD) if kill(successor, None).is_ok() => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its status, if it ends within `limit`.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.status()? {
                Some(status) => {
                    self.ended = Some(status);
                    return Ok(Some(status));
                }
                None if Instant::now() >= deadline => return Ok(None),
                None => thread::sleep(POLL),
            }
        }
    }

    /// Leaves it running, for whoever ends the lab.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// Ends it with SIGTERM and returns its status; `None` when it had to be killed.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn stop(&mut self) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.wait(Duration::ZERO)? {
            return Ok(Some(status));
        }
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(STOP_LIMIT)?;
        if status.is_none() {
            self.signal(Signal::SIGKILL)?;
            self.wait(STOP_LIMIT)?;
        }
        Ok(status)
    }
}

impl Drop for RouterProcess {
    fn drop(&mut self) {
        // Nothing sensible is left to be done about a failure.
        let _ = self.stop();
    }
}
