//! Golden cases: a configuration, frames in, and all that the router does about them, as text that people read.
//!
//! Every file of `cases/` is a test. Its first part is a configuration file; then comes a timeline of inputs, each
//! followed by what it causes, indented; at the end stands every counter that is not 0. The case runs, its outcomes
//! are written down anew, and the file must not change by that: not by an octet of a frame, not by a counter.
//!
//! ```text
//! # What this case shows.
//! [wan]
//! device = "eth0"
//! ...
//! --- timeline
//! answers wan 203.0.113.2                    these machines answer ARP
//! in home udp 192.168.0.10:5000 > 198.51.100.7:53 "hello"
//!     asked wan 203.0.113.2
//!     out wan router > @203.0.113.2 udp 203.0.113.1:5000 > 198.51.100.7:53 ttl=63 "hello"
//! wait 5m
//! reload                                     with these lines of the configuration changed
//! - to = "192.168.0.10"
//! + to = "192.168.0.11"
//! --- counters
//! port.home.rx_frames 1
//! ```
//! Frames are written as in `lab::text`, with what `notation` adds. Each case runs twice, frame by frame and through
//! batches, which must agree.
//!
//! Environment:
//! * `GENKAN_BLESS=1`: write the outcomes into the files instead of comparing them. Read the difference.
//! * `GENKAN_WORKERS=NUMBER`: so many workers (1); what may differ between them then is not compared.
//! * `GENKAN_TEST_OUTPUT=DIRECTORY`: where captures of failed cases go.

mod case;
mod clauses;
mod diff;
mod driver;
mod notation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use genkan_tests::lab::{Door, crew, trace};
use libtest_mimic::{Arguments, Failed, Trial};

use self::case::Case;
use self::driver::Driver;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let mut paths: Vec<PathBuf> = match fs::read_dir(&directory) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => panic!("{}: {error}", directory.display()),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let trials = paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(name.clone(), move || check(&name, &path))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Cases that go otherwise with several workers: where each asks by ARP for itself and finds a machine silent, where
/// a port is chosen at random, and where a session makes room, which is one of the worker's own if it has any.
const OWN_WAYS: [&str; 4] = ["arp_unreachable", "external_addresses", "one_to_one", "limit_sessions"];

/// Runs one case; in order when its file would not change.
fn check(name: &str, path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let case = Case::parse(&text)?;
    let mut driver = Driver::new(&case.config, Door::Frame)?;
    let written = case.run(&mut driver)?;
    for (door, differ) in [
        (Door::Batch, "batches differ from single frames"),
        (Door::Explained, "frames that are explained differ from those that are not"),
    ] {
        let otherwise = case.run(&mut Driver::new(&case.config, door)?)?;
        if comparable(&otherwise) != comparable(&written) {
            return Err(failure(differ, &written, &otherwise, name, &driver));
        }
    }
    let goes_its_own_way = crew::workers() > 1 && OWN_WAYS.contains(&name);
    if goes_its_own_way || comparable(&written) == comparable(&text) {
        return Ok(());
    }
    let may_bless = crew::workers() == 1;
    if may_bless && std::env::var_os("GENKAN_BLESS").is_some_and(|value| !value.is_empty()) {
        fs::write(path, written)?;
        return Ok(());
    }
    Err(failure("not what the file says", &comparable(&text), &comparable(&written), name, &driver))
}

/// What must be the same however many workers there are: all but what follows from each worker's asking by ARP for
/// itself, and the frames that they hand to each other. The frames that leave are in the timeline, so nothing of them
/// goes unseen.
fn comparable(text: &str) -> String {
    let differs = |line: &str| {
        let line = line.trim_start();
        ["asked ", "port.", "stage.arp_requests ", "stage.frames_held ", "stage.handed_over "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    if crew::workers() == 1 {
        return text.to_owned();
    }
    text.lines().filter(|line| !differs(line)).map(|line| format!("{line}\n")).collect()
}

fn failure(what: &str, expected: &str, got: &str, name: &str, driver: &Driver) -> Failed {
    let captures = driver.trace().write_pcaps(&trace::output_directory(&format!("golden-{name}")));
    let captures = match captures {
        Ok(paths) => paths.iter().map(|path| format!("capture: {}\n", path.display())).collect(),
        Err(error) => format!("no captures: {error}\n"),
    };
    format!("{what} (- expected, + got):\n{}{captures}", diff::lines(expected, got)).into()
}
