//! The rounds: every contender in turn, for one test after the other.

use std::time::Duration;

use super::contender::{Contender, Room};
use super::measure::{measure, settle};
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
}

/// The stages of the contenders, side by side: only one of them is under load at any time, and the others sleep.
struct Stages {
    standing: Vec<(Contender, Stage)>,
    built: u32,
}

impl Stages {
    /// The contender's stage, which is built if need be. A `fresh` one has seen no traffic yet.
    fn of(&mut self, contender: Contender, room: Option<Room>) -> Result<&mut Stage, Failure> {
        if room.is_some() {
            self.standing.retain(|(standing, _)| *standing != contender);
        }
        let found = self.standing.iter().position(|(standing, _)| *standing == contender);
        let index = match found {
            Some(index) => index,
            None => {
                self.built += 1;
                let stage =
                    Stage::build(&format!("bench{}", self.built), contender, room.unwrap_or_default())?;
                self.standing.push((contender, stage));
                self.standing.len() - 1
            }
        };
        Ok(&mut self.standing[index].1)
    }
}

/// Does it all; the metrics in the order of the tests.
///
/// # Errors
/// At the first measurement that fails.
pub(crate) fn run(plan: &Plan) -> Result<Vec<Metric>, Failure> {
    let mut stages = Stages { standing: Vec::new(), built: 0 };
    let mut progress = Progress::new(plan);
    let mut metrics = Vec::new();
    for &test in &plan.tests {
        let values = test.values();
        let mut of_test: Vec<Metric> = values.iter().map(|value| value.metric()).collect();
        for (metric, value) in of_test.iter_mut().zip(&values) {
            metric.series.extend(plan.contenders.iter().map(|&contender| Series {
                contender: contender.name().to_owned(),
                goals: value.goals(contender),
                rounds: Vec::new(),
            }));
        }
        for round in 0..plan.rounds {
            for (place, &contender) in plan.contenders.iter().enumerate() {
                progress.begin(test, round, contender);
                let stage = stages.of(contender, None).map_err(|error| within(test, contender, error))?;
                settle()?;
                let measured =
                    measure(test, stage, plan.length).map_err(|error| within(test, contender, error))?;
                progress.end(&values[0], measured[0]);
                for (metric, value) in of_test.iter_mut().zip(measured) {
                    metric.series[place].rounds.push(value);
                }
            }
        }
        metrics.extend(of_test);
    }
    Ok(metrics)
}

fn within(test: Test, contender: Contender, error: Failure) -> Failure {
    error.within(&format!("{} of {}", test.key(), contender.name()))
}
