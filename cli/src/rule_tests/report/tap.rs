//! The Test Anything Protocol, version 14 (<https://testanything.org>), which readers of version 13 take as well.

use serde_json::json;

use crate::rule_tests::{FileReport, Outcome};
use crate::words::Words;

/// All tests of all files, numbered through.
pub(crate) fn tap(reports: &[FileReport], words: &Words) -> String {
    let count: usize = reports.iter().map(|report| report.tests.len()).sum();
    let mut text = format!("TAP version 14\n1..{count}\n");
    let tests = reports.iter().flat_map(|report| &report.tests);
    for (test, number) in tests.zip(1..) {
        let name = escape(&test.name);
        match &test.outcome {
            Outcome::Ok => text.push_str(&format!("ok {number} - {name}\n")),
            Outcome::OfflineOnly { reason } => {
                text.push_str(&format!("ok {number} - {name} # SKIP {reason}\n"));
            }
            Outcome::Failed(fault) => {
                text.push_str(&format!("not ok {number} - {name}\n  ---\n"));
                // Strings of JSON are strings of YAML.
                for (key, value) in [
                    ("at", json!(fault.place)),
                    ("expected", json!(fault.expected)),
                    ("found", json!(fault.seen)),
                    ("trace", json!(super::fault(fault, words))),
                ] {
                    text.push_str(&format!("  {key}: {value}\n"));
                }
                text.push_str("  ...\n");
            }
        }
    }
    text
}

/// A `#` would begin a directive.
fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('#', "\\#")
}
