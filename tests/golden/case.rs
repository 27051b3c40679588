//! A case file: read, run, written down again.

use std::fmt::Write as _;
use std::time::Duration;

use super::clauses::{number, parse_duration, words};
use super::driver::Driver;

const TIMELINE: &str = "--- timeline";
const COUNTERS: &str = "--- counters";

/// What outcomes are indented by.
const INDENT: &str = "    ";

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// Text of the configuration.
    pub(crate) config: String,
    /// The timeline without its outcomes.
    steps: Vec<Step>,
}

/// A line of the timeline that is no outcome.
#[derive(Debug)]
struct Step {
    /// Number in the file, from 1.
    number: usize,
    text: String,
    input: Input,
}

#[derive(Debug)]
enum Input {
    /// A comment or an empty line.
    Nothing,
    /// `in PORT FRAME`.
    Frame { port: String, frame: String },
    /// `answers PORT ADDRESS...` or `silent PORT ADDRESS...`.
    Answers { port: String, addresses: Vec<String>, answers: bool },
    /// `wait DURATION`.
    Wait(Duration),
    /// `link PORT up|down [MTU]`.
    Link { port: String, up: bool, mtu: u16 },
    /// `reload`, with the lines of the configuration that change.
    Reload(Vec<String>),
    /// `tables`.
    Tables,
    /// `neighbors`.
    Neighbors,
}

impl Case {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the line that means nothing.
    pub(crate) fn parse(text: &str) -> Result<Case, String> {
        let (config, rest) =
            text.split_once(&format!("{TIMELINE}\n")).ok_or_else(|| format!("no line {TIMELINE:?}"))?;
        let timeline = rest.split(&format!("{COUNTERS}\n")).next().unwrap_or_default();
        let first = config.lines().count() + 2;
        let mut steps: Vec<Step> = Vec::new();
        for (number, line) in (first..).zip(timeline.lines()) {
            if line.starts_with(INDENT) {
                continue;
            }
            if let (Some(Step { text, input: Input::Reload(change), .. }), true) =
                (steps.last_mut(), line.starts_with("- ") || line.starts_with("+ ") || line == "+")
            {
                let _ = write!(text, "\n{line}");
                change.push(line.to_owned());
                continue;
            }
            let input = parse_input(line).map_err(|error| format!("line {number}: {error}"))?;
            steps.push(Step { number, text: line.to_owned(), input });
        }
        Ok(Case { config: config.to_owned(), steps })
    }

    /// Runs the case and writes it down with its outcomes.
    ///
    /// # Errors
    /// Names the line that cannot be done.
    pub(crate) fn run(&self, driver: &mut Driver) -> Result<String, String> {
        let mut text = format!("{}{TIMELINE}\n", self.config);
        for step in &self.steps {
            let _ = writeln!(text, "{}", step.text);
            step.input.apply(driver).map_err(|error| format!("line {}: {error}", step.number))?;
            for outcome in driver.take_outcomes() {
                let _ = writeln!(text, "{INDENT}{outcome}");
            }
        }
        let _ = writeln!(text, "{COUNTERS}");
        for (name, value) in driver.counters() {
            let _ = writeln!(text, "{name} {value}");
        }
        Ok(text)
    }
}

impl Input {
    fn apply(&self, driver: &mut Driver) -> Result<(), String> {
        match self {
            Input::Nothing => Ok(()),
            Input::Frame { port, frame } => driver.send(port, frame),
            Input::Answers { port, addresses, answers } => addresses.iter().try_for_each(|address| {
                driver.set_answers(port, super::clauses::address(address)?, *answers)
            }),
            Input::Wait(duration) => {
                driver.wait(*duration);
                Ok(())
            }
            Input::Link { port, up, mtu } => driver.set_link(port, *up, *mtu),
            Input::Reload(change) => driver.reload(change),
            Input::Tables => {
                driver.tables();
                Ok(())
            }
            Input::Neighbors => {
                driver.neighbors();
                Ok(())
            }
        }
    }
}

fn parse_input(line: &str) -> Result<Input, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(Input::Nothing);
    }
    match words(line)[..] {
        ["in", port, _, ..] => {
            let frame = line["in ".len()..].trim_start()[port.len()..].trim();
            Ok(Input::Frame { port: port.to_owned(), frame: frame.to_owned() })
        }
        [word @ ("answers" | "silent"), port, ref addresses @ ..] => Ok(Input::Answers {
            port: port.to_owned(),
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            answers: word == "answers",
        }),
        ["wait", duration] => Ok(Input::Wait(parse_duration(duration)?)),
        ["link", port, state @ ("up" | "down"), ref mtu @ ..] => Ok(Input::Link {
            port: port.to_owned(),
            up: state == "up",
            mtu: mtu.first().map_or(Ok(1500), |mtu| number(mtu))?,
        }),
        ["reload"] => Ok(Input::Reload(Vec::new())),
        ["tables"] => Ok(Input::Tables),
        ["neighbors"] => Ok(Input::Neighbors),
        _ => Err(format!("{line:?} is none of in, answers, silent, wait, link, reload, tables, neighbors")),
    }
}
