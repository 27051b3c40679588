//! The configuration file of Genkan: read, checked, explained, and turned into a [`Plan`].
//!
//! [`load`] and [`parse`] report every mistake of a file at once, each pointing at its text. What they
//! return is complete: the [`Plan`] for the engine, the [`Config`] for the daemon around it (devices, back
//! ends, socket), and the warnings.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use genkan_engine::Plan;

pub mod error;
mod render;

pub use error::{Code, Diagnostic, Label, Position, Severity, SourceFile, Span};
pub use render::{count, json, render};

/// A file without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the daemon around the engine needs.
    pub config: Config,
    /// What the engine needs.
    pub plan: Plan,
    /// Lint, in file order.
    pub warnings: Vec<Diagnostic>,
    /// Where things are written.
    pub places: Places,
}

/// Everything of a configuration that is not the engine's business, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[wan]`.
    pub wan: Device,
    /// `[[lan]]`, in file order, which is the order of [`Plan::lans`].
    pub lans: Vec<Device>,
    /// `[router] tun`: name of the TUN device through which the box itself is an inside host.
    pub tun: Option<String>,
    /// `[router] workers`. Only 1 in this version.
    pub workers: u16,
    /// `[services] socket`: path of the control socket.
    pub socket: PathBuf,
    /// `[services] state`: directory of what survives a restart. systemd's `STATE_DIRECTORY` goes before it.
    pub state: PathBuf,
}

/// The network device behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `wan`, or the name of the lan.
    pub label: String,
    /// Name of the device, 1 to 15 octets.
    pub device: String,
    /// How frames are read and written.
    pub backend: Backend,
    /// IP MTU in octets, as written; the device's own may be smaller.
    pub mtu: u16,
}

/// How frames are read from and written to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A packet socket on an existing device; also what `auto` means in this version.
    AfPacket,
    /// A TAP device that Genkan creates or attaches to.
    Tap,
}

/// Where the parts of a configuration are written, for messages that name the line that decided something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The file.
    pub file: Arc<SourceFile>,
    /// `[wan]`.
    pub wan: Span,
    /// Each `[[lan]]`, in file order.
    pub lans: Vec<Span>,
    /// Each `[[route]]`, in file order.
    pub routes: Vec<Span>,
    /// Each `[[host]]`, in file order.
    pub hosts: Vec<Span>,
    /// Each `[[forward]]`, in file order: index `i` is `plan.forwards[i]`.
    pub forwards: Vec<Span>,
    /// `[dmz]`.
    pub dmz: Option<Span>,
    /// `[nat]`.
    pub nat: Option<Span>,
}

impl Places {
    /// Line and column of a span's start.
    pub fn position(&self, span: &Span) -> Position {
        self.file.position(span.start)
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Every mistake of the file, in file order; a single one with [`Code::Unreadable`] when it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &name),
        Err(error) => Err(vec![unreadable(name, &error.to_string())]),
    }
}

/// Checks the text of a configuration; `name` is what messages call it.
///
/// # Errors
/// Every mistake of the text, in file order.
pub fn parse(source: &str, name: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let _ = source;
    Err(vec![unreadable(name.to_owned(), "reading configurations is not there yet")])
}

fn unreadable(name: String, reason: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Unreadable,
        message: format!("cannot read {name}: {reason}"),
        file: Arc::new(SourceFile::new(name, "")),
        primary: None,
        related: Vec::new(),
        notes: Vec::new(),
        help: Vec::new(),
    }
}
