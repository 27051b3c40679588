//! The lists in `docs/` say what the tests show: names must not drift apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use genkan_engine::DropReason;
use genkan_engine::counters::StageCounters;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

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
        .collect();
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(listed, known, "left: docs/counters.md, right: the engine");
}
