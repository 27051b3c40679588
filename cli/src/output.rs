//! What people and programs see: text that survives a closed pipe, tables that fit the terminal, JSON, exit status.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use genkan_engine::wire::pretty_print;
use serde::Serialize;

mod table;

pub(crate) use self::table::{Layout, Listing, cut};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; the answer is yes.
    Done,
    /// The answer is no, or it could not be done.
    No,
    /// Misuse, or a configuration with errors.
    Misuse,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// It could not be done: `what`, followed by the causes of `error`.
    pub(crate) fn new(what: &str, error: &dyn Error) -> Failure {
        Failure { exit: Exit::No, text: format!("error: {what}: {}", chain(error)) }
    }

    /// It could not be done, and `text` says why.
    pub(crate) fn message(text: impl AsRef<str>) -> Failure {
        Failure { exit: Exit::No, text: format!("error: {}", text.as_ref()) }
    }

    /// What went wrong, as it is told.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What went wrong, on one line, to be said within another sentence.
    pub(crate) fn cause(&self) -> String {
        let text = self.text.strip_prefix("error: ").unwrap_or(&self.text);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// `text` as it is, already a complete report.
    pub(crate) fn report(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into() }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: Exit::No, text: format!("error: {}", chain(&error)) }
    }
}

/// An error and its causes on one line. A cause that the error's own text already ends with is not said twice.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            // Writing to a String does not fail.
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Turns a command's outcome into the exit status, and says what went wrong.
pub(crate) fn exit(outcome: Result<Exit, Failure>) -> ExitCode {
    let exit = outcome.unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            remark(&failure.text);
        }
        failure.exit
    });
    ExitCode::from(match exit {
        Exit::Done => 0,
        Exit::No => 1,
        Exit::Misuse => 2,
    })
}

/// Writes to standard output. A reader that has seen enough (`| head`) ends the command without a word.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Failure { exit: Exit::Done, text: String::new() })
        }
        Err(error) => Err(Failure::new("cannot write to standard output", &error)),
        Ok(()) => Ok(()),
    }
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Writes a remark to standard error.
pub(crate) fn remark(text: &str) {
    // Nobody is left to tell when standard error is closed as well.
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Whether escapes for colour may go to `stream`: a terminal, and nobody objects (<https://no-color.org>).
pub(crate) fn color(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shape of a command's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: fits the terminal; in a pipe or file nothing is cut.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs: stable names, raw numbers.
    Json,
}

/// A count of seconds as people say it: `45s`, `4m10s`, `2h4m`, `3d5h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, "m", seconds % 60, "s"),
        (0, _, _) => two(hours, "h", minutes, "m"),
        _ => two(days, "d", hours, "h"),
    }
}

/// A number with groups of three digits: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A frame, header by header, on one line.
pub(crate) fn headers(frame: &[u8]) -> String {
    let text = pretty_print::frame(frame).to_string();
    // The link says nothing where there is more.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if lines.len() > 1 { lines[1..].join("; ") } else { text }
}

/// A time since 1970 as RFC 3339 has it, UTC.
pub(crate) fn timestamp(time: Duration) -> jiff::Timestamp {
    let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX)
}

/// A rate in at most five characters: `0`, `0.5`, `12`, `999`, `1.23k`, `45.6M`, `789G`.
pub(crate) fn scaled(rate: f64) -> String {
    if rate < 0.05 {
        return "0".to_owned();
    }
    if rate < 9.95 {
        return format!("{rate:.1}").trim_end_matches(".0").to_owned();
    }
    if rate < 999.5 {
        return format!("{rate:.0}");
    }
    let mut rate = rate;
    let mut unit = "";
    for larger in ["k", "M", "G", "T"] {
        if rate < 999.5 {
            break;
        }
        rate /= 1_000.0;
        unit = larger;
    }
    match rate {
        ..9.995 => format!("{rate:.2}{unit}"),
        ..99.95 => format!("{rate:.1}{unit}"),
        _ => format!("{rate:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_read_well() {
        let spoken = [0, 45, 60, 250, 3_600, 7_440, 86_400, 277_200].map(duration);
        assert_eq!(spoken, ["0s", "45s", "1m", "4m10s", "1h", "2h4m", "1d", "3d5h"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn causes_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open: {source}")]
        struct Outer {
            source: io::Error,
        }
        let outer = Outer { source: io::Error::other("no such device") };
        assert_eq!(chain(&outer), "cannot open: no such device");
        assert_eq!(Failure::new("it ended", &outer).cause(), "it ended: cannot open: no such device");
        assert_eq!(Failure::message("it said:\n  no\n\nhelp: yes\n").cause(), "it said:; no; help: yes");
    }
}
