//! Files of expectations about a configuration, `home.test.toml`: read, checked, and joined with the configurations
//! that they are about.
//!
//! Mistakes in them are told like those of a configuration: all at once, each pointing at its text.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use genkan_engine::time::UnixTime;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId};

use crate::error::{Code, Diagnostic, Position, Report, Severity, SourceFile};
use crate::openings::State;
use crate::{Loaded, load, read_file, syntax};

mod keys;
mod resolve;
mod values;

pub use resolve::port_of;

/// Most connections that one step may open, over all its sources.
pub const MOST_CONNECTIONS: u32 = 10_000;

/// A file of expectations without errors.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Its text.
    pub file: Arc<SourceFile>,
    /// The configurations: first the one that it is about, then those that tests change to.
    pub configurations: Vec<Arc<Loaded>>,
    /// The tests, in file order.
    pub tests: Vec<Test>,
}

/// One test: steps that follow each other at one router, which starts afresh.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it is called.
    pub name: String,
    /// Where it is written.
    pub place: Position,
    /// The time on the wall when it begins, where the file says one; without one it does not matter.
    pub at: Option<UnixTime>,
    /// What happens, at least one step.
    pub steps: Vec<Step>,
}

/// Something that happens, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it is written.
    pub place: Position,
    /// Time that passes before.
    pub after: Option<Duration>,
    /// The time on the wall at which it happens.
    pub at: Option<UnixTime>,
    /// The configuration that the router changes to before.
    pub reload: Option<usize>,
    /// The configuration in force.
    pub configuration: usize,
    /// What is sent first.
    pub flow: Flow,
    /// From so many addresses, counting up from the one in `flow`.
    pub sources: u32,
    /// So many connections from each, from ports that count up.
    pub connections: u32,
    /// What is to come of it.
    pub expect: Expect,
}

/// The two ends of what is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// What it is.
    pub protocol: Protocol,
    /// Where it comes in.
    pub port: PortId,
    /// Who sends it.
    pub from: Endpoint,
    /// To whom.
    pub to: Endpoint,
}

/// An address, and a port where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: Option<u16>,
}

/// What is to come of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It arrives, and its answer comes back.
    Reaches(Reached),
    /// It does not arrive.
    Refused(Refusal),
    /// The router answers it itself.
    Answered,
    /// The connection of an earlier step works on.
    Open,
    /// The connection of an earlier step does not.
    Ended,
    /// How the router treats an internal endpoint.
    Behaves {
        /// RFC 4787 §4.1.
        mapping: Option<MappingBehavior>,
        /// RFC 4787 §5.
        filtering: Option<FilteringBehavior>,
    },
    /// So many of the connections arrive, and the others do not.
    Passes(u32, Refusal),
}

/// Where something arrives, as far as that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The endpoint that gets it.
    pub target: Option<Endpoint>,
    /// The source that it sees.
    pub source: Option<Endpoint>,
    /// The source of the answer, as the asker sees it.
    pub reply_from: Option<Endpoint>,
    /// It has to go out and come in again (RFC 4787 §6).
    pub hairpin: bool,
}

/// Why something does not arrive, as far as that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The reason for the drop.
    pub reason: Option<DropReason>,
    /// Why the forward that has the port is closed.
    pub closed: Option<State>,
}

/// Reads a file of expectations and the configurations that it names, whose paths are relative to it.
///
/// # Errors
/// Every mistake of the file and of its configurations.
pub fn load_tests(path: &Path) -> Result<TestFile, Vec<Diagnostic>> {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => parse_tests(&text, &name, &mut |relative| {
            load(&path.parent().unwrap_or(Path::new("")).join(relative)).map(|loaded| loaded.supposed())
        }),
        Err(error) => {
            let mut report = Report::new(Arc::new(SourceFile::new(&name, "")));
            report
                .whole_file(Code::Unreadable, format!("cannot read `{name}`: {error}"))
                .note("a file of tests says first `config = \"FILE\"`, then has a `[[test]]` for each");
            Err(report.into_sorted(Severity::Error))
        }
    }
}

/// Checks the text of a file of expectations; `name` is what messages call it, `load` reads a configuration.
///
/// # Errors
/// Every mistake of the text and of the configurations.
pub fn parse_tests(
    text: &str,
    name: &str,
    load: &mut dyn FnMut(&Path) -> Result<Loaded, Vec<Diagnostic>>,
) -> Result<TestFile, Vec<Diagnostic>> {
    let file = Arc::new(SourceFile::new(name, text));
    let mut report = Report::new(Arc::clone(&file));
    let mut configurations =
        Configurations { load, loaded: Vec::new(), known: HashMap::new(), errors: Vec::new() };
    let tests = syntax::parse(&mut report, |tree, complete, report| {
        let keys = keys::File::read(tree, report);
        if !complete {
            report.retain(|diagnostic| diagnostic.code != Code::MissingKey);
            return None;
        }
        resolve::tests(&keys, &mut configurations, report)
    });
    let mut errors = configurations.errors;
    match tests.flatten() {
        Some(tests) if !report.has_errors() && errors.is_empty() => {
            Ok(TestFile { file, configurations: configurations.loaded, tests })
        }
        _ => {
            let mut all = report.into_sorted(Severity::Error);
            all.append(&mut errors);
            Err(all)
        }
    }
}

/// The configurations that a file names, each read once.
struct Configurations<'a> {
    load: &'a mut dyn FnMut(&Path) -> Result<Loaded, Vec<Diagnostic>>,
    loaded: Vec<Arc<Loaded>>,
    /// `None`: it has errors.
    known: HashMap<PathBuf, Option<usize>>,
    errors: Vec<Diagnostic>,
}

impl Configurations<'_> {
    /// Which one it is; `None` after its errors were noted.
    fn get(&mut self, path: &Path) -> Option<usize> {
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let index = match (self.load)(path) {
            Ok(loaded) => {
                self.loaded.push(Arc::new(loaded));
                Some(self.loaded.len() - 1)
            }
            Err(mut errors) => {
                self.errors.append(&mut errors);
                None
            }
        };
        self.known.insert(path.to_owned(), index);
        index
    }
}
