//! The lists in `docs/` say what the tests show: names must not drift apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use genkan_engine::DropReason;
use genkan_engine::counters::StageCounters;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Names of the test functions of this test, with the file that holds them.
fn tests() -> BTreeSet<(String, String)> {
    let folder = root().join("tests/conformance");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("this folder") {
        let path = entry.expect("an entry").path();
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a source file");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim() == "#[test]") {
            let name = pair[1].trim().strip_prefix("fn ").and_then(|rest| rest.split_once('('));
            let (name, _) = name.expect("a function follows #[test]");
            found.insert((file.clone(), name.to_owned()));
        }
    }
    found
}

/// What stands in backquotes in a document.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_drop_reason_has_a_test() {
    let tests: BTreeSet<String> =
        tests().into_iter().map(|(_, name)| name).filter(|name| name.starts_with("drop_")).collect();
    let reasons: BTreeSet<String> =
        DropReason::ALL.iter().map(|reason| format!("drop_{}", reason.name())).collect();
    assert_eq!(tests, reasons, "left: tests, right: reasons");
}

#[test]
fn tests_named_by_the_compliance_list_exist() {
    let text = fs::read_to_string(root().join("docs/rfc-compliance.md")).expect("the list");
    let tests = tests();
    let named: BTreeSet<(String, String)> = quoted(&text)
        .filter_map(|name| name.split_once("::"))
        .map(|(file, name)| (file.to_owned(), name.to_owned()))
        .collect();
    assert!(named.len() > 100, "the list names its tests");
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "named, but there is no such test: {missing:?}");
    // And the other way: a test of a requirement stands in the list.
    let requirement = |file: &str| file.starts_with("rfc");
    let unnamed: Vec<_> =
        tests.iter().filter(|(file, _)| requirement(file)).filter(|test| !named.contains(test)).collect();
    assert!(unnamed.is_empty(), "tests of a requirement that the list does not name: {unnamed:?}");
}

/// What the daemon counts beside the engine, per port.
const IO_COUNTERS: [&str; 5] = ["rx_lost", "tx_refused", "rx_errors", "tx_errors", "tx_merged"];

#[test]
fn every_counter_stands_in_the_counter_list() {
    let text = fs::read_to_string(root().join("docs/counters.md")).expect("the list");
    let rows: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let listed: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(rows.len(), listed.len(), "a counter stands there twice");
    let stages = StageCounters::default();
    let ports = ["rx_frames", "rx_octets", "tx_frames", "tx_octets"].map(|name| format!("port.{name}"));
    let known: BTreeSet<String> = DropReason::ALL
        .iter()
        .map(|reason| format!("drop.{}", reason.name()))
        .chain(stages.iter().map(|(name, _)| format!("stage.{name}")))
        .chain(ports)
        .chain(IO_COUNTERS.map(|name| format!("io.{name}")))
        .collect();
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(listed, known, "left: docs/counters.md, right: the engine");
}
