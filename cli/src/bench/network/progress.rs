//! What people see while it runs: a line for every measurement, on standard error.

use std::time::{Duration, Instant};

use super::contender::Contender;
use super::metric::{Test, Value};
use super::run::Plan;
use crate::output;

/// Counts measurements and guesses the rest.
pub(crate) struct Progress {
    all: usize,
    done: usize,
    rounds: u32,
    start: Instant,
    current: String,
}

impl Progress {
    /// Before the first one.
    pub(crate) fn new(plan: &Plan) -> Progress {
        let all = plan.tests.len() * plan.contenders.len() * plan.rounds as usize;
        Progress { all, done: 0, rounds: plan.rounds, start: Instant::now(), current: String::new() }
    }

    /// A measurement begins.
    pub(crate) fn begin(&mut self, test: Test, round: u32, contender: Contender) {
        self.current =
            format!("{:13} round {}/{}  {:14}", test.key(), round + 1, self.rounds, contender.name());
    }

    /// It has ended with this.
    pub(crate) fn end(&mut self, value: &Value, measured: f64) {
        self.say(&format!("{:>16}", value.spoken(measured)));
    }

    /// It could not be done.
    pub(crate) fn fail(&mut self, why: &str) {
        self.say(why);
    }

    fn say(&mut self, what: &str) {
        self.done += 1;
        let left = match self.done {
            done if done == self.all => String::new(),
            done => format!("  ({} to go)", rest(self.start.elapsed(), done, self.all)),
        };
        let width = self.all.to_string().len();
        output::remark(&format!("[{:width$}/{}] {}{what}{left}", self.done, self.all, self.current));
    }
}

/// What is left of the time, as people say it.
fn rest(elapsed: Duration, done: usize, all: usize) -> String {
    let each = elapsed.as_secs_f64() / done.max(1) as f64;
    let seconds = (each * (all - done) as f64).ceil() as u64;
    // Seconds of minutes to come would be a guess.
    output::duration(if seconds < 120 { seconds } else { seconds / 60 * 60 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_guessed_from_what_was() {
        assert_eq!(rest(Duration::from_secs(10), 5, 10), "10s");
        assert_eq!(rest(Duration::from_secs(100), 1, 5), "6m");
    }
}
