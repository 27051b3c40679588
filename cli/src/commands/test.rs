//! `genkan test`: expectations about a configuration.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use genkan_config::Diagnostic;
use genkan_config::expectations::{TestFile, load_tests};
use genkan_lab::{Sandbox, sandbox};

use crate::output::{self, Exit, Failure};
use crate::rule_tests::report::{junit, tap, text};
use crate::rule_tests::{self, FileReport, Options};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
A file of tests stands beside the configuration:

  config = \"home.toml\"

  [[test]]
  name     = \"visitors reach the web server\"
  protocol = \"tcp\"
  from     = \"198.51.100.7\"
  to       = \"203.0.113.1:80\"
  expect   = { reaches = \"192.168.0.10:8080\", reply_from = \"203.0.113.1:80\" }

  [[test]]
  name     = \"nobody logs in from outside\"
  protocol = \"tcp\"
  from     = \"198.51.100.7\"
  to       = \"203.0.113.1:22\"
  expect   = \"refused\"

The packets go through the router's own engine, on virtual time: nothing on this machine is touched, and hours pass in
microseconds. docs/rule-tests.md has every kind of expectation.

Speaks Japanese where LC_ALL, LC_MESSAGES or LANG ask for it.
Exit status: 0 when all is as expected, 1 when something is not, 2 when a file has errors or no test is found.

Examples:
  genkan test home.test.toml
  genkan test rules/                            every *.test.toml in there
  genkan test home.test.toml --filter web --fail-fast
  genkan test home.test.toml --coverage         which rules does no test touch?
  genkan test home.test.toml --live             the same at a real router, with real sockets
  genkan test rules/ --format junit > results.xml";

/// Test a configuration: who reaches what, and who does not
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Files of tests, or folders in which every *.test.toml is one
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Only tests with this in their names
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Stop after the first test that fails
    #[arg(long)]
    fail_fast: bool,
    /// Say which forwards, hosts, routes and lans no test touches
    #[arg(long)]
    coverage: bool,
    /// With the router itself and real sockets, in network namespaces; no root where user namespaces are allowed
    #[arg(long, conflicts_with = "coverage")]
    live: bool,
    /// Where captures of failing tests are put
    #[arg(long, value_name = "DIR", default_value = "genkan-test")]
    artifacts: PathBuf,
    /// Shape of the results
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Shape,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Shape {
    /// For people
    #[default]
    Text,
    /// A list of files with their tests
    Json,
    /// XML for test collectors
    Junit,
    /// Test Anything Protocol, version 14
    Tap,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.live
        && let Sandbox::Ended(status) = Sandbox::enter()?
    {
        std::process::exit(sandbox::exit_code(status).into());
    }
    let files = load_all(&arguments.files)?;
    let words = Words::new(Language::of_environment());
    let options = Options {
        filter: arguments.filter.as_deref(),
        fail_fast: arguments.fail_fast,
        coverage: arguments.coverage,
        artifacts: &arguments.artifacts,
    };
    let mut reports: Vec<FileReport> = Vec::with_capacity(files.len());
    for file in &files {
        let report = match arguments.live {
            true => rule_tests::live::run(file, &options, &words)?,
            false => rule_tests::run(file, &options, &words)?,
        };
        let failed = report.failures().next().is_some();
        reports.push(report);
        if failed && options.fail_fast {
            break;
        }
    }
    if reports.iter().all(|report| report.tests.is_empty()) {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        return Err(Failure::report(Exit::Misuse, format!("error: no test has \"{filter}\" in its name")));
    }
    match arguments.format {
        Shape::Text => output::print(&text::text(&reports, &words))?,
        Shape::Json => output::print_json(&reports)?,
        Shape::Junit => output::print(&junit::junit(&reports, &words)?)?,
        Shape::Tap => output::print(&tap::tap(&reports, &words))?,
    }
    let failed = reports.iter().any(|report| report.failures().next().is_some());
    Ok(if failed { Exit::No } else { Exit::Done })
}

/// Reads every file before the first test runs.
fn load_all(paths: &[PathBuf]) -> Result<Vec<TestFile>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            collect(path, &mut found)
                .map_err(|error| Failure::new(&format!("cannot read {}", path.display()), &error))?;
            if found.len() == before {
                let text = format!("error: there is no *.test.toml in {}", path.display());
                return Err(Failure::report(Exit::Misuse, text));
            }
        } else {
            found.push(path.clone());
        }
    }
    let mut files = Vec::with_capacity(found.len());
    let mut errors: Vec<Diagnostic> = Vec::new();
    for path in &found {
        match load_tests(path) {
            Ok(file) => files.push(file),
            Err(mut wrong) => errors.append(&mut wrong),
        }
    }
    if errors.is_empty() {
        return Ok(files);
    }
    let color = output::color(&io::stderr());
    Err(Failure::report(Exit::Misuse, genkan_config::render(&errors, color)))
}

/// Every `*.test.toml` in a folder and the folders in it, by name.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        // A link to a folder above would never end.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found)?;
        } else if path.to_string_lossy().ends_with(".test.toml") {
            found.push(path);
        }
    }
    Ok(())
}
