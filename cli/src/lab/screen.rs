//! How the demonstration looks: numbered steps, remarks, and checks that are counted.

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use crate::output::{self, Failure};

/// A pause after each step, for reading.
const STEP_PAUSE: Duration = Duration::from_millis(900);

/// A pause after each line of a step.
const LINE_PAUSE: Duration = Duration::from_millis(120);

/// Where the demonstration is written, and what it has shown so far.
#[derive(Debug)]
pub(crate) struct Screen {
    color: bool,
    paced: bool,
    steps: u32,
    passed: u32,
    failed: u32,
}

impl Screen {
    /// Standard output. Pauses are made for people only.
    pub(crate) fn new(fast: bool) -> Screen {
        let stdout = std::io::stdout();
        let (color, paced) = (output::color(&stdout), stdout.is_terminal() && !fast);
        Screen { color, paced, steps: 0, passed: 0, failed: 0 }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) -> Result<(), Failure> {
        if self.steps > 0 {
            self.pause(STEP_PAUSE);
        }
        self.steps += 1;
        output::print(&format!(
            "\n {}  {}\n",
            self.paint("1;36", &self.steps.to_string()),
            self.paint("1", title)
        ))
    }

    /// A line of explanation.
    pub(crate) fn say(&self, text: &str) -> Result<(), Failure> {
        output::print(&format!("    {text}\n"))?;
        self.pause(LINE_PAUSE);
        Ok(())
    }

    /// Lines that stand in a file or on a terminal.
    pub(crate) fn quote(&self, text: &str) -> Result<(), Failure> {
        for line in text.trim_end().lines() {
            output::print(&format!("      {}\n", self.paint("33", line)))?;
        }
        self.pause(LINE_PAUSE);
        Ok(())
    }

    /// Something that was to be so: `text` says what, `otherwise` what was found instead.
    pub(crate) fn check(&mut self, as_expected: bool, text: &str, otherwise: &str) -> Result<(), Failure> {
        if as_expected {
            self.passed += 1;
            output::print(&format!("    {} {text}\n", self.paint("1;32", "✓")))?;
        } else {
            self.failed += 1;
            output::print(&format!("    {} {text}\n      {otherwise}\n", self.paint("1;31", "✗")))?;
        }
        self.pause(LINE_PAUSE);
        Ok(())
    }

    /// Text that stands out.
    pub(crate) fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// How many checks were as expected, and how many there were.
    pub(crate) fn score(&self) -> (u32, u32) {
        (self.passed, self.passed + self.failed)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn pause(&self, length: Duration) {
        if self.paced {
            thread::sleep(length);
        }
    }
}
