//! As `cargo test` prints it.

use crate::rule_tests::coverage::Rule;
use crate::rule_tests::{FileReport, Outcome, TestReport};
use crate::words::Words;

/// All files.
pub(crate) fn text(reports: &[FileReport], words: &Words) -> String {
    reports.iter().map(|report| file(report, words)).collect::<Vec<_>>().join("\n")
}

fn file(report: &FileReport, words: &Words) -> String {
    let mut text = String::new();
    let line = |text: &mut String, id: &str, arguments: &[(&str, String)]| {
        text.push_str(&(words.say(id, arguments) + "\n"));
    };
    let (count, file) = (report.tests.len().to_string(), report.file.clone());
    let configuration = report.configuration.clone();
    line(&mut text, "test-running", &[("count", count), ("file", file), ("configuration", configuration)]);
    let (ok, failed) = (words.say("test-ok", &[]), words.say("test-failed", &[]));
    for test in &report.tests {
        let outcome = match test.outcome {
            Outcome::Ok => ok.clone(),
            Outcome::Failed(_) => failed.clone(),
            Outcome::OfflineOnly { ref reason } => {
                words.say("test-offline-only", &[("reason", reason.clone())])
            }
        };
        line(&mut text, "test-one", &[("name", test.name.clone()), ("outcome", outcome)]);
    }
    if report.failures().next().is_some() {
        text.push_str(&format!("\n{}\n", words.say("test-failures", &[])));
    }
    for (test, fault) in report.failures() {
        text.push_str(&format!("\n---- {} ({})\n", test.name, test.place));
        text.push_str(&super::fault(fault, words));
    }
    text.push('\n');
    let failures = report.failures().count();
    let is_offline_only = |test: &&TestReport| matches!(test.outcome, Outcome::OfflineOnly { .. });
    let offline_only = report.tests.iter().filter(is_offline_only).count();
    let outcome = if failures == 0 { ok } else { failed };
    line(
        &mut text,
        "test-summary",
        &[
            ("outcome", outcome),
            ("passed", (report.tests.len() - failures - offline_only).to_string()),
            ("failed", failures.to_string()),
            ("left_out", report.left_out.to_string()),
            ("time", format!("{:.3}", report.time.as_secs_f64())),
        ],
    );
    if offline_only > 0 {
        line(&mut text, "test-offline-count", &[("count", offline_only.to_string())]);
    }
    if let Some(rules) = &report.coverage {
        text.push('\n');
        text.push_str(&coverage(&report.configuration, rules, words));
    }
    text
}

fn coverage(file: &str, rules: &[Rule], words: &Words) -> String {
    let covered = rules.iter().filter(|rule| rule.covered).count();
    let counts =
        [("file", file.to_owned()), ("covered", covered.to_string()), ("all", rules.len().to_string())];
    let mut text = words.say("test-coverage", &counts) + "\n";
    for rule in rules.iter().filter(|rule| !rule.covered) {
        let arguments =
            [("kind", rule.kind.to_owned()), ("name", rule.name.clone()), ("place", rule.place.clone())];
        text.push_str(&format!("  {}\n", words.say("test-uncovered", &arguments)));
    }
    text
}
