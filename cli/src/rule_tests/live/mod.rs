//! The same tests with the real router and real sockets, in namespaces.
//!
//! [`site`] builds the computers that a file of tests names, [`sockets`] does at them what a test says,
//! [`wires`] keeps what passes meanwhile.

mod drops;
mod raw;
mod site;
mod sockets;
mod wires;

use std::path::Path;
use std::time::{Duration, Instant};

use genkan_config::expectations::{Expect, Step, Test, TestFile};
use genkan_engine::PortId;
use genkan_engine::wire::ipv4::Protocol;

use self::site::Site;
use self::sockets::Live;
use super::{Fault, FileReport, Options, Outcome, TestReport, attempt, capture, fault, placed, simulate};
use crate::output::Failure;
use crate::words::Words;

/// Longest time that is waited for really.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Most connections of a step that are opened really.
const MOST_CONNECTIONS: u32 = 2_000;

/// Most sources of a step, each of which becomes an address.
const MOST_SOURCES: u32 = 256;

/// Runs the tests of a file with a router of each test's own. To be called within the sandbox.
///
/// # Errors
/// When the computers cannot be built, the router does not start, or a socket fails that has to work.
pub(crate) fn run(file: &TestFile, options: &Options<'_>, words: &Words) -> Result<FileReport, Failure> {
    let begin = Instant::now();
    let site = Site::build(file)?;
    let mut tests = Vec::new();
    for (number, test) in file.tests.iter().enumerate() {
        if options.filter.is_some_and(|filter| !test.name.contains(filter)) {
            continue;
        }
        let begin = Instant::now();
        let outcome = match offline_only(file, &site, test) {
            Some(reason) => Outcome::OfflineOnly { reason: words.say(reason, &[]) },
            None => at_a_router(file, &site, (test, number), options, words)?,
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        let place = placed(file, test.place);
        tests.push(TestReport { name: test.name.clone(), place, outcome, time: begin.elapsed() });
        if failed && options.fail_fast {
            break;
        }
    }
    Ok(FileReport {
        file: file.file.name().to_owned(),
        configuration: file.configurations[0].places.file.name().to_owned(),
        left_out: file.tests.len() - tests.len(),
        tests,
        coverage: None,
        time: begin.elapsed(),
    })
}

fn at_a_router(
    file: &TestFile,
    site: &Site,
    (test, number): (&Test, usize),
    options: &Options<'_>,
    words: &Words,
) -> Result<Outcome, Failure> {
    let directory = Path::new("/run/genkan-test").join(number.to_string());
    // A router finds nothing of the one before.
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut router = Live::start(file, site, &directory)?;
    let Err((index, wrong)) = attempt(&mut router, test)? else { return Ok(Outcome::Ok) };
    let (ports, frames) = router.frames()?;
    let capture = capture::write_frames(file, test, options.artifacts, &ports, frames.into_iter())?;
    let (agrees, traces) = simulate(file, test, index, words)?;
    let traced = words.say(if agrees { "test-traced" } else { "test-traced-otherwise" }, &[]);
    let fault = fault(file, test, index, &wrong, words);
    let fault = Fault { traced: Some(traced), traces, capture: Some(capture), ..fault };
    Ok(Outcome::Failed(Box::new(fault)))
}

/// Why a test cannot be done with a real router, as the name of a message.
fn offline_only(file: &TestFile, site: &Site, test: &Test) -> Option<&'static str> {
    if !site.is_usable() {
        return Some("test-offline-wan");
    }
    let timed = |index: usize| {
        let loaded = &file.configurations[index];
        let expires = loaded.plan.forwards.iter().any(|forward| forward.expires.is_some());
        expires || loaded.config.schedules.iter().any(Option::is_some)
    };
    for step in &test.steps {
        if step.at.is_some() || timed(step.configuration) {
            return Some("test-offline-date");
        }
        if step.after.is_some_and(|after| after > LONGEST_WAIT) {
            return Some("test-offline-time");
        }
        if step.sources > MOST_SOURCES || step.sources * step.connections > MOST_CONNECTIONS {
            return Some("test-offline-many");
        }
        if !site.fits(step.configuration) {
            return Some("test-offline-devices");
        }
        if site.is_at(step.flow.port, step.flow.to.address) {
            return Some("test-offline-direct");
        }
        if goes_on_without_ports(step) {
            return Some("test-offline-ports");
        }
    }
    None
}

/// Programs cannot send a second packet of such a connection from the other side.
fn goes_on_without_ports(step: &Step) -> bool {
    let has_ports = matches!(step.flow.protocol, Protocol::TCP | Protocol::UDP);
    !has_ports && (matches!(step.expect, Expect::Open | Expect::Ended) || step.flow.port == PortId::HOST)
}
