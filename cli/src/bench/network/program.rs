//! Other programs that the benchmark runs.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::{Child, Command, Stdio};

use genkan_lab::Namespace;

/// Why another program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It, or a socket in its place, could not be made.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not installed.
    #[error("the program '{0}' is missing")]
    Missing(&'static str),
    /// It ended with an error.
    #[error("{name}: {said}")]
    Said {
        /// The program.
        name: &'static str,
        /// Its words.
        said: String,
    },
}

impl ProgramError {
    pub(crate) fn said(name: &'static str, said: impl AsRef<str>) -> ProgramError {
        ProgramError::Said { name, said: said.as_ref().trim().to_owned() }
    }
}

/// A program that runs on; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts it at a host.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn start(
        host: &Namespace,
        name: &'static str,
        command: &mut Command,
    ) -> Result<Program, ProgramError> {
        host.start(command).map(Program).map_err(|error| missing(name, error))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end; what it printed.
///
/// # Errors
/// When it is not there, or ends with an error.
pub(crate) fn output(
    host: Option<&Namespace>,
    name: &'static str,
    command: &mut Command,
) -> Result<String, ProgramError> {
    command.stdin(Stdio::null()).env("PATH", path());
    let output = match host {
        Some(host) => host.output(command),
        None => command.output(),
    };
    let output = output.map_err(|error| missing(name, error))?;
    if !output.status.success() {
        return Err(ProgramError::said(name, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(name: &'static str, error: io::Error) -> ProgramError {
    match error.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing(name),
        _ => error.into(),
    }
}

/// Where programs are looked for. An ordinary user's PATH lacks the directories where nft lives.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Whether a program can be found.
pub(crate) fn is_there(name: &str) -> bool {
    env::split_paths(&path()).any(|directory| directory.join(name).is_file())
}
