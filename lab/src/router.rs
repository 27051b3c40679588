//! The real router, running in its namespace.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
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
#[derive(Debug)]
pub struct RouterProcess {
    child: Child,
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
            .stderr(log);
        let child = namespace.start(&mut command)?;
        let (binary, directory) = (binary.to_owned(), directory.to_owned());
        let mut router = RouterProcess { child, binary, directory, ready };
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).expect("a process id is positive");
        kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
    }

    /// Its status, if it ends within `limit`.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => thread::sleep(POLL),
            }
        }
    }

    /// Ends it with SIGTERM and returns its status; `None` when it had to be killed.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn stop(&mut self) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(STOP_LIMIT)?;
        if status.is_none() {
            self.child.kill()?;
            self.child.wait()?;
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
