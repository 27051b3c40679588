//! Tests of a configuration: what is expected of it, done to a router and compared.
//!
//! [`world`] is what a test does and sees, [`offline`] that for a simulated router, [`judge`] compares, [`telling`] finds
//! words for what differs.

pub(crate) mod capture;
pub(crate) mod coverage;
mod judge;
pub(crate) mod live;
mod offline;
pub(crate) mod report;
mod telling;
#[cfg(test)]
mod tests;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use genkan_config::expectations::{Test, TestFile};
use genkan_control::api::TraceAnswer;
use serde::Serialize;

use self::coverage::Coverage;
use self::judge::Wrong;
use self::offline::Offline;
use self::world::World;
use crate::output::Failure;
use crate::trace::{Answer, Scene};
use crate::words::Words;

/// What became of the tests of one file.
#[derive(Debug, Serialize)]
pub(crate) struct FileReport {
    /// The file.
    pub(crate) file: String,
    /// The configuration that it is about.
    pub(crate) configuration: String,
    /// Its tests that were run, or could not be.
    pub(crate) tests: Vec<TestReport>,
    /// Tests that the filter left out, and those behind a failure with `--fail-fast`.
    pub(crate) left_out: usize,
    /// The rules of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<Vec<coverage::Rule>>,
    /// How long they took.
    #[serde(serialize_with = "seconds", rename = "seconds")]
    pub(crate) time: Duration,
}

/// What became of one test.
#[derive(Debug, Serialize)]
pub(crate) struct TestReport {
    /// Its name.
    pub(crate) name: String,
    /// `FILE:LINE:COLUMN`.
    pub(crate) place: String,
    /// What became of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// How long it took.
    #[serde(serialize_with = "seconds", rename = "seconds")]
    pub(crate) time: Duration,
}

/// What became of a test.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum Outcome {
    /// All is as expected.
    Ok,
    /// Something is not.
    Failed(Box<Fault>),
    /// It cannot be done with a real router.
    OfflineOnly {
        /// Why not.
        reason: String,
    },
}

/// What is not as expected.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    /// Which step, from 1.
    pub(crate) step: usize,
    /// `FILE:LINE:COLUMN` of it.
    pub(crate) place: String,
    /// What was expected.
    pub(crate) expected: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Where the traces are from, if not from what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traced: Option<String>,
    /// The packets of the connection in question, step by step.
    pub(crate) traces: Vec<TraceAnswer>,
    /// All frames of the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capture: Option<PathBuf>,
}

impl FileReport {
    /// The tests that failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&TestReport, &Fault)> {
        self.tests.iter().filter_map(|test| match &test.outcome {
            Outcome::Failed(fault) => Some((test, &**fault)),
            Outcome::Ok | Outcome::OfflineOnly { .. } => None,
        })
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// What is to be run, and how.
pub(crate) struct Options<'a> {
    /// Only tests whose names contain this.
    pub(crate) filter: Option<&'a str>,
    /// No test after the first failure.
    pub(crate) fail_fast: bool,
    /// Tell which rules were touched.
    pub(crate) coverage: bool,
    /// Where captures of failing tests go.
    pub(crate) artifacts: &'a Path,
}

/// Runs the tests of a file at a simulated router.
///
/// # Errors
/// When a capture cannot be written.
pub(crate) fn run(file: &TestFile, options: &Options<'_>, words: &Words) -> Result<FileReport, Failure> {
    let begin = Instant::now();
    let mut coverage = vec![Coverage::default(); file.configurations.len()];
    let mut tests = Vec::new();
    for test in &file.tests {
        if options.filter.is_some_and(|filter| !test.name.contains(filter)) {
            continue;
        }
        let begin = Instant::now();
        let wrong = attempt(&mut Offline::new(&file.configurations, test, &mut coverage), test)?.err();
        let outcome = match wrong {
            None => Outcome::Ok,
            Some(_) => Outcome::Failed(Box::new(explain(file, test, options, words)?)),
        };
        let failed = !matches!(outcome, Outcome::Ok);
        let place = placed(file, test.place);
        tests.push(TestReport { name: test.name.clone(), place, outcome, time: begin.elapsed() });
        if failed && options.fail_fast {
            break;
        }
    }
    let left_out = file.tests.len() - tests.len();
    let rules = || coverage[0].rules(&file.configurations[0]);
    Ok(FileReport {
        file: file.file.name().to_owned(),
        configuration: file.configurations[0].places.file.name().to_owned(),
        tests,
        left_out,
        coverage: options.coverage.then(rules),
        time: begin.elapsed(),
    })
}

/// All steps, up to the first that does not go as expected: its index, and what is wrong.
///
/// # Errors
/// What went wrong and is no answer of a router.
fn attempt(router: &mut dyn World, test: &Test) -> Result<Result<(), (usize, Wrong)>, Failure> {
    for (index, step) in test.steps.iter().enumerate() {
        if let Some(after) = step.after {
            router.pass(after);
        }
        if let Some(at) = step.at {
            router.pass_to(at);
        }
        if let Some(configuration) = step.reload {
            router.reload(configuration);
        }
        let outcome = judge::run(step, router);
        if let Some(trouble) = router.trouble() {
            return Err(trouble);
        }
        if let Err(wrong) = outcome {
            return Ok(Err((index, wrong)));
        }
    }
    Ok(Ok(()))
}

/// Runs a failing test again, which goes the same way, and keeps what there is to tell about it.
fn explain(file: &TestFile, test: &Test, options: &Options<'_>, words: &Words) -> Result<Fault, Failure> {
    let mut coverage = vec![Coverage::default(); file.configurations.len()];
    let mut router = Offline::new(&file.configurations, test, &mut coverage);
    router.keep();
    let Err((index, wrong)) = attempt(&mut router, test)? else {
        return Err(Failure::message(format!("{}: the same test went two ways", test.name)));
    };
    let told = |told: &offline::Told| tell(file, told, words);
    let capture = capture::write(file, test, &router, options.artifacts, &told)?;
    let traces = router.told_last().iter().map(told).map(TraceAnswer::from).collect();
    Ok(Fault { traces, capture: Some(capture), ..fault(file, test, index, &wrong, words) })
}

fn tell(file: &TestFile, told: &offline::Told, words: &Words) -> Answer {
    let scene = Scene::new(&file.configurations[told.configuration], told.wall);
    scene.tell(told.port, told.packet, &told.outcome, words)
}

/// What a simulated router makes of a test up to a step, with which another one has gone wrong: whether it goes wrong
/// there as well, and the packets of the last connection.
///
/// # Errors
/// None of a simulated router.
fn simulate(
    file: &TestFile,
    test: &Test,
    index: usize,
    words: &Words,
) -> Result<(bool, Vec<TraceAnswer>), Failure> {
    let mut coverage = vec![Coverage::default(); file.configurations.len()];
    let until = Test { steps: test.steps[..=index].to_vec(), ..test.clone() };
    let mut router = Offline::new(&file.configurations, &until, &mut coverage);
    router.keep();
    let agrees = matches!(attempt(&mut router, &until)?, Err((wrong_at, _)) if wrong_at == index);
    let last = router.told_last().iter();
    Ok((agrees, last.map(|told| TraceAnswer::from(tell(file, told, words))).collect()))
}

/// What is wrong with a step, in words.
fn fault(file: &TestFile, test: &Test, index: usize, wrong: &Wrong, words: &Words) -> Fault {
    let step = &test.steps[index];
    Fault {
        step: index + 1,
        place: placed(file, step.place),
        expected: telling::expected(step, wrong, words),
        seen: telling::seen(step, wrong, words),
        traced: None,
        traces: Vec::new(),
        capture: None,
    }
}

fn placed(file: &TestFile, place: genkan_config::Position) -> String {
    format!("{}:{}:{}", file.file.name(), place.line, place.column)
}
