//! The results of tests: for people, and for the programs that collect them.

pub(crate) mod junit;
pub(crate) mod tap;
pub(crate) mod text;

use super::Fault;
use crate::commands::trace;
use crate::words::Words;

/// What is not as expected, in lines.
fn fault(fault: &Fault, words: &Words) -> String {
    let mut text = String::new();
    let mut line = |id: &str, arguments: &[(&str, String)]| text.push_str(&(words.say(id, arguments) + "\n"));
    line("test-step", &[("step", fault.step.to_string()), ("place", fault.place.clone())]);
    line("test-expected", &[("text", fault.expected.clone())]);
    line("test-seen", &[("text", fault.seen.clone())]);
    if let Some(traced) = &fault.traced {
        text.push_str(&format!("\n{traced}\n"));
    }
    for answer in &fault.traces {
        text.push('\n');
        text.push_str(&trace::text(answer, words));
    }
    if let Some(file) = &fault.capture {
        let file = file.display().to_string();
        text.push_str(&format!("\n{}\n", words.say("test-capture", &[("file", file)])));
    }
    text
}
