//! The rounds: every contender in turn, for one test after the other.

use std::time::Duration;

use super::contender::{Contender, Room};
use super::measure::{Measured, measure, settle};
use super::metric::Test;
use super::progress::Progress;
use super::stage::Stage;
use crate::bench::report::{Metric, Series};
use crate::output::Failure;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One after the other.
    pub(crate) tests: Vec<Test>,
    /// Taking turns in every test.
    pub(crate) contenders: Vec<Contender>,
    /// Turns of each.
    pub(crate) rounds: u32,
    /// Of one measurement.
    pub(crate) length: Duration,
    /// Sessions that all contenders have room for.
    pub(crate) sessions: u64,
}

/// Room for so many sessions, and some to spare: an echo is one too.
pub(crate) fn room_for(sessions: u64) -> u64 {
    sessions + sessions / 8 + 1_000
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// In the order of the tests.
    pub(crate) metrics: Vec<Metric>,
    /// What a reader has to know.
    pub(crate) notes: Vec<String>,
}

/// The stages of the contenders, side by side: only one of them is under load at any time, and the others sleep.
#[derive(Default)]
struct Stages {
    standing: Vec<(Contender, Stage)>,
    built: u32,
}

impl Stages {
    /// The contender's stage, built if need be. With `sessions` it is one that has room for them, and no others yet.
    fn of(&mut self, contender: Contender, sessions: Option<u64>) -> Result<&mut Stage, Failure> {
        let found = self.standing.iter().position(|(standing, _)| *standing == contender);
        let index = match found {
            Some(index) if sessions.is_none() => index,
            _ => {
                self.end(contender);
                self.built += 1;
                let room = Room { sessions: sessions.map(room_for) };
                let stage = Stage::build(&format!("bench{}", self.built), contender, room)?;
                self.standing.push((contender, stage));
                self.standing.len() - 1
            }
        };
        Ok(&mut self.standing[index].1)
    }

    fn end(&mut self, contender: Contender) {
        self.standing.retain(|(standing, _)| *standing != contender);
    }

    /// One turn. A stage with a table full of sessions ends after it.
    fn turn(&mut self, test: Test, contender: Contender, plan: &Plan) -> Result<Measured, Failure> {
        let sessions = test.sessions(plan.sessions);
        let stage = self.of(contender, sessions)?;
        settle()?;
        let measured = measure(test, stage, plan.length, sessions);
        if measured.is_err() || sessions.is_some() {
            self.end(contender);
        }
        measured
    }
}

/// Does it all. What cannot be measured of a contender is left out, and a note says why.
///
/// # Errors
/// When nothing could be measured.
pub(crate) fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut stages = Stages::default();
    let mut progress = Progress::new(plan);
    let mut outcome = Outcome::default();
    let mut first_failure = None;
    for &test in &plan.tests {
        let values = test.values();
        let mut contenders = plan.contenders.clone();
        // For each contender its values, round by round.
        let mut rounds = vec![Vec::new(); contenders.len()];
        for round in 0..plan.rounds {
            let mut place = 0;
            while let Some(&contender) = contenders.get(place) {
                progress.begin(test, round, contender);
                match stages.turn(test, contender, plan) {
                    Ok(measured) => {
                        progress.end(&values[0], measured.values[0]);
                        let what = format!("{} of {}, round {}", test.key(), contender.name(), round + 1);
                        outcome.notes.extend(measured.note.map(|note| format!("{what}: {note}.")));
                        rounds[place].push(measured.values);
                        place += 1;
                    }
                    Err(failure) => {
                        let why = failure.cause();
                        progress.fail(&why);
                        let (what, who) = (test.key(), contender.name());
                        outcome.notes.push(format!("{what} could not be measured of {who}: {why}."));
                        first_failure.get_or_insert(failure);
                        contenders.remove(place);
                        rounds.remove(place);
                    }
                }
            }
        }
        if contenders.is_empty() {
            continue;
        }
        for (index, value) in values.iter().enumerate() {
            let series = contenders.iter().zip(&rounds).map(|(&contender, rounds)| Series {
                contender: contender.name().to_owned(),
                goals: value.goals(contender),
                rounds: rounds.iter().filter_map(|values| values.get(index).copied()).collect(),
            });
            // The kernel's NAT has no process whose CPU time could be told.
            let series: Vec<Series> = series.filter(|series| !series.rounds.is_empty()).collect();
            if !series.is_empty() {
                outcome.metrics.push(Metric { series, ..value.metric() });
            }
        }
    }
    match first_failure {
        Some(failure) if outcome.metrics.is_empty() => Err(failure),
        _ => Ok(outcome),
    }
}
