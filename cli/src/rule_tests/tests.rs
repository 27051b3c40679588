use std::path::Path;

use super::*;
use crate::words::Language;

const RULES: &str = r#"[wan]
device  = "eth0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
[[lan]]
name    = "home"
device  = "eth1"
address = "192.168.0.1/24"
[[host]]
name    = "nas"
address = "192.168.0.10"
[[forward]]
name     = "web"
protocol = "tcp"
port     = 80
to       = "nas:8080"
[[forward]]
name     = "ssh"
protocol = "tcp"
port     = 2222
to       = "nas:22"
from     = ["198.51.100.0/24"]
max_new_per_source = "3/min"
[[forward]]
name     = "old"
protocol = "tcp"
port     = 2300
to       = "nas"
enabled  = false
"#;

/// A file with one test of these keys, behind the ends of a TCP connection from outside.
fn file_of(keys: &str) -> TestFile {
    let text = format!(
        "config = \"home.toml\"\n[[test]]\nname = \"it\"\nprotocol = \"tcp\"\nfrom = \"198.51.100.7\"\n{keys}\n"
    );
    let file = genkan_config::expectations::parse_tests(&text, "home.test.toml", &mut |_: &Path| {
        genkan_config::parse(RULES, "home.toml")
    });
    file.unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)))
}

fn run_one(keys: &str) -> TestReport {
    let file = file_of(keys);
    let folder = std::env::temp_dir().join(format!("genkan-rule-tests-{}", std::process::id()));
    let options = Options { filter: None, fail_fast: false, coverage: false, artifacts: &folder };
    let mut report = run(&file, &options, &Words::new(Language::English)).expect("captures can be written");
    drop(std::fs::remove_dir_all(&folder));
    report.tests.remove(0)
}

/// Where another router goes wrong, the simulated one says whether it does there, and what it makes of the connection.
#[test]
fn what_went_wrong_elsewhere_is_simulated() {
    for (expect, agrees) in [("\"reaches\"", false), ("\"refused\"", true)] {
        let file = file_of(&format!("to = \"wan:80\"\nexpect = {expect}"));
        let simulated = simulate(&file, &file.tests[0], 0, &Words::new(Language::English));
        let (wrong, traces) = simulated.expect("a simulated router has no trouble");
        assert_eq!(wrong, agrees, "{expect}");
        assert!(traces[0].packet.contains("198.51.100.7:40000"), "{}", traces[0].packet);
        assert!(traces[0].steps.iter().any(|step| step.text.contains("forward \"web\"")), "{traces:?}");
    }
}

/// What is wrong, as `EXPECTED / SEEN`.
fn wrong(keys: &str) -> String {
    match run_one(keys).outcome {
        Outcome::Ok => "nothing".to_owned(),
        Outcome::OfflineOnly { reason } => panic!("{reason}"),
        Outcome::Failed(fault) => format!("{} / {}", fault.expected, fault.seen),
    }
}

#[test]
fn what_is_not_as_expected_is_told() {
    let inside = "protocol = \"tcp\"";
    for (keys, expected) in [
        ("to = \"wan:80\"\nexpect = \"reaches\"", "nothing"),
        (
            "to = \"wan:80\"\nexpect = { reaches = \"nas:80\" }",
            "it arrives at 192.168.0.10:80, and its answer comes back / it arrives at 192.168.0.10:8080",
        ),
        (
            "to = \"wan:80\"\nexpect = { reaches = \"192.168.0.11\" }",
            "it arrives at 192.168.0.11, and its answer comes back / it arrives at 192.168.0.10:8080",
        ),
        (
            "to = \"wan:80\"\nexpect = { source = \"wan\" }",
            "the target sees the source 203.0.113.1 / the target sees the source 198.51.100.7:40000",
        ),
        (
            "to = \"wan:80\"\nexpect = { reply_from = \"wan:8080\" }",
            "the answer comes from 203.0.113.1:8080 / the answer comes from 203.0.113.1:80",
        ),
        (
            "to = \"wan:80\"\nexpect = { hairpin = \"nas:8080\" }",
            "it goes out and comes in again (hairpin), and arrives at 192.168.0.10:8080 / it arrives at \
             192.168.0.10:8080, but not by a hairpin",
        ),
        (
            "to = \"wan:80\"\nexpect = \"refused\"",
            "it does not arrive / it arrives at 192.168.0.10:8080, which sees the source 198.51.100.7:40000",
        ),
        (
            "to = \"wan:81\"\nexpect = { refused = \"from\" }",
            "it does not arrive, because of forward_source / it is dropped, no_mapping: Nothing takes this packet \
             from outside: no session, forward, mapping or DMZ.",
        ),
        ("to = \"wan:2300\"\nexpect = { refused = \"enabled\" }", "nothing"),
        (
            "to = \"wan:2300\"\nexpect = { refused = \"expires\" }",
            "it does not arrive, because the forward has expired / it does not arrive, but the forward is disabled",
        ),
        (
            "to = \"wan:80\"\nexpect = \"answered\"",
            "the router answers it itself / it arrives at 192.168.0.10:8080, which sees the source 198.51.100.7:40000",
        ),
        (
            "to = \"wan:2222\"\nconnections = 5\nexpect = { passes = 4 }",
            "4 of 5 connections arrive / 3 of 5 connections arrive",
        ),
        (
            "to = \"wan:2222\"\nconnections = 5\nexpect = { passes = 3, refused = \"max_sessions\" }",
            "it does not arrive, because of forward_session_limit / it is dropped, forward_source_rate: The source \
             opens sessions through the forward faster than its `max_new_per_source` allows.",
        ),
        (
            "to = \"wan:80\"\n[[test.step]]\nexpect = \"reaches\"\n[[test.step]]\nexpect = \"ended\"",
            "the connection has ended / it arrives at 192.168.0.10:8080, which sees the source 198.51.100.7:40000",
        ),
        (
            "to = \"wan:80\"\n[[test.step]]\nexpect = \"reaches\"\n[[test.step]]\nafter = \"3h\"\nexpect = \"open\"",
            "the connection is still open / it is dropped, tcp_no_session: TCP that belongs to no session and is no SYN.",
        ),
    ] {
        assert_eq!(wrong(keys), expected, "{keys} {inside}");
    }
}

#[test]
fn behaviour_is_found_by_packets_and_not_read_in_the_rules() {
    let keys = |expect: &str| {
        format!("to = \"198.51.100.7:3478\"\n[[test.step]]\nfrom = \"nas:5000\"\nexpect = {expect}")
    };
    assert_eq!(
        wrong(&keys("{ mapping = \"endpoint-independent\", filtering = \"address-dependent\" }")),
        "nothing"
    );
    assert_eq!(
        wrong(&keys("{ mapping = \"address-dependent\" }")),
        "address-dependent mapping (RFC 4787 section 4.1) / endpoint-independent mapping"
    );
    assert_eq!(
        wrong(&keys("{ filtering = \"endpoint-independent\" }")),
        "endpoint-independent filtering (RFC 4787 section 5) / address-dependent filtering"
    );
    // All ports of a forward's target are open to everybody, whatever the filtering of the mappings is.
    let target = "to = \"198.51.100.7:3478\"\n[[test.step]]\nfrom = \"nas:8080\"\nexpect = { filtering = \
                  \"address-dependent\" }";
    assert!(wrong(target).ends_with("/ endpoint-independent filtering"), "{}", wrong(target));
}

#[test]
fn a_failure_names_its_step_and_shows_its_packets() {
    let report = run_one(
        "to = \"wan:80\"\n[[test.step]]\nexpect = \"reaches\"\n[[test.step]]\nto = \"wan:81\"\nexpect = \"reaches\"",
    );
    let Outcome::Failed(fault) = report.outcome else { panic!("port 81 is closed") };
    assert_eq!((fault.step, fault.place.as_str()), (2, "home.test.toml:9:1"));
    assert_eq!(fault.traces.len(), 1);
    assert_eq!(fault.traces[0].packet, "tcp 198.51.100.7:40000 -> 203.0.113.1:81 [SYN]");
}

/// The files of the library say what their configurations do, and leave no rule out.
#[test]
fn the_library_is_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/tests");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the library is in the tree") {
        let path = entry.expect("a file").path();
        if !path.to_string_lossy().ends_with(".test.toml") {
            continue;
        }
        files += 1;
        let file = genkan_config::expectations::load_tests(&path);
        let file = file.unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)));
        for loaded in &file.configurations {
            // A DMZ and a service that everybody reaches are what some of them are about.
            let about: Vec<&str> = loaded.warnings.iter().map(|warning| warning.code.as_str()).collect();
            assert!(about.iter().all(|code| matches!(*code, "dmz-open" | "open-service")), "{about:?}");
        }
        let artifacts = std::env::temp_dir().join("genkan-no-failures");
        let options = Options { filter: None, fail_fast: false, coverage: true, artifacts: &artifacts };
        let words = Words::new(Language::English);
        let report = run(&file, &options, &words).expect("no capture is written");
        let failed = report.failures().next().is_some();
        assert!(!failed, "{}", report::text::text(&[report], &words));
        let rules = report.coverage.iter().flatten();
        assert_eq!(rules.filter(|rule| !rule.covered).count(), 0, "{:?}", report.coverage);
    }
    assert!(files >= 9, "{files}");
}

/// Every message that the code asks for is in the catalogue, and every message of the catalogue is asked for.
#[test]
fn no_message_is_missing_and_none_is_idle() {
    let sources = [
        include_str!("telling.rs"),
        include_str!("report/text.rs"),
        include_str!("report/mod.rs"),
        include_str!("live/mod.rs"),
    ];
    let asked: std::collections::BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split('"'))
        .filter(|text| text.starts_with("test-"))
        .collect();
    let catalogue: std::collections::BTreeSet<&str> = include_str!("../words/en/test.ftl")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(asked, catalogue);
}
