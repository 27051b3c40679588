//! What the router tells while it runs, and how much of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, wait_for};
use crate::outcome::Outcome;

cases![
    ;
    only_genkan:
    the_level_changes_while_it_runs,
    a_wrong_level_changes_nothing,
    the_journal_gets_fields,
];

/// Lines of the log that are about this request.
fn requests(lab: &Lab, path: &str) -> Vec<Value> {
    let log = lab.router(|router| router.log());
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "request" && line["path"] == path).collect()
}

/// The level in force, and who says so.
fn level(lab: &Lab) -> (String, String) {
    let said = lab.genkan(&["log-level", "--format", "json"]).expect_ok();
    let report: Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let text = |key: &str| report[key].as_str().expect("it is text").to_owned();
    (text("level"), text("set_by"))
}

fn owned((level, set_by): (&str, &str)) -> (String, String) {
    (level.to_owned(), set_by.to_owned())
}

fn the_level_changes_while_it_runs() -> Outcome {
    let json = "[log]\nformat = \"json\"\n";
    let lab = Lab::start(json);
    assert_eq!(level(&lab), owned(("info", "configuration")));
    lab.genkan(&["status"]).expect_ok();
    let said = lab.genkan(&["log-level", "info,genkan_control=debug"]).expect_ok();
    assert_eq!(
        said.stdout,
        "info,genkan_control=debug (set while it runs; info again with the next reload)\n"
    );
    lab.genkan(&["counters"]).expect_ok();
    wait_for("the request in the log", || !requests(&lab, "/v1/counters").is_empty());
    let request = requests(&lab, "/v1/counters").remove(0);
    let expected =
        [("uid", json!(0)), ("method", json!("GET")), ("status", json!(200)), ("level", json!("DEBUG"))];
    for (key, value) in expected {
        assert_eq!(request[key], value, "{key}: {request}");
    }
    assert!(request["pid"].is_number() && request["timestamp"].is_string(), "{request}");
    assert_eq!(requests(&lab, "/v1/status"), Vec::<Value>::new(), "asked before the level was raised");

    // A change is none of the level's business, a reload is.
    let web = ["forward", "add", "web", "--protocol", "tcp", "--port", "80", "--to", "192.168.0.10"];
    lab.genkan(&web).expect_ok();
    assert_eq!(level(&lab), owned(("info,genkan_control=debug", "request")));
    lab.genkan(&["reload"]).expect_ok();
    assert_eq!(level(&lab), owned(("info", "configuration")));

    // Another level in the file, and another form.
    lab.reload("[log]\nlevel = \"debug\"\nformat = \"text\"\n");
    lab.genkan(&["hosts"]).expect_ok();
    let told = |line: &str| line.contains("DEBUG request") && line.contains("path=\"/v1/hosts\"");
    wait_for("a line of text", || lab.router(|router| router.log()).lines().any(told));
    assert_eq!(level(&lab), owned(("debug", "configuration")));
    Ok(())
}

fn a_wrong_level_changes_nothing() -> Outcome {
    let lab = Lab::start("");
    let said = lab.genkan(&["log-level", "inof"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.stderr.contains("`inof` is not a level: off, error, warn"), "{said:#?}");
    lab.write_rules("[log]\nlevel = \"inof\"\n");
    let said = lab.genkan(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("write `level = \"info\"`"), "{said:#?}");
    assert_eq!(level(&lab), owned(("info", "configuration")));
    Ok(())
}

fn the_journal_gets_fields() -> Outcome {
    const SOCKET: &str = "/run/systemd/journal/socket";
    // In here /run is the tests' own: nobody listens there.
    let lab = Lab::start("[log]\nformat = \"journald\"\n");
    let problems = || lab.genkan(&["status", "--format", "json"]).expect_ok().stdout;
    assert!(problems().contains("the journal cannot be reached"), "{}", problems());
    assert!(lab.router(|router| router.log()).contains("the log goes to standard error"));

    fs::create_dir_all(Path::new(SOCKET).parent().expect("a folder")).expect("/run is ours in here");
    let journal = UnixDatagram::bind(SOCKET).expect("/run is ours in here");
    journal.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    lab.genkan(&["reload"]).expect_ok();
    assert!(!problems().contains("journal"), "{}", problems());
    let web = ["forward", "add", "web", "--protocol", "tcp", "--port", "80", "--to", "192.168.0.10"];
    lab.genkan(&web).expect_ok();
    let deadline = Instant::now() + PATIENCE;
    let entry = loop {
        let mut entry = [0; 4096];
        let length = journal.recv(&mut entry).expect("the router tells of the forward");
        let entry = fields(&entry[..length]);
        if entry.get("MESSAGE").is_some_and(|message| message.starts_with("forward add web")) {
            break entry;
        }
        assert!(Instant::now() < deadline, "nothing about the forward");
    };
    drop(journal);
    fs::remove_file(SOCKET).expect("/run is ours in here");
    let expected = [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "genkan"),
        ("TARGET", "genkan::daemon::changes"),
        ("GENKAN_REVISION", "2"),
        ("GENKAN_UID", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name}: {entry:?}");
    }
    assert!(entry.contains_key("GENKAN_PID"), "{entry:?}");
    Ok(())
}

/// The fields of an entry in the journal's native protocol: `NAME=value`, or the name, the length of the value in
/// octets (64 bits, little-endian) and the value; a line end after each.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|octet| *octet == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if let Some(equals) = line.iter().position(|octet| *octet == b'=') {
            fields.insert(text(&line[..equals]), text(&line[equals + 1..]));
            entry = rest;
            continue;
        }
        let (length, rest) = rest.split_first_chunk().expect("the length of a value");
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("it fits a datagram");
        fields.insert(text(line), text(&rest[..length]));
        entry = &rest[length + 1..];
    }
    fields
}
