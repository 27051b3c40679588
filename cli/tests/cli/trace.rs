//! `genkan trace`: one packet, and why it goes where it goes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{HOME, Said, Scratch, binary, said};

const PASSES: [&str; 8] =
    ["--in", "wan", "--protocol", "tcp", "--from", "198.51.100.7:40000", "--to", "203.0.113.1:80"];
const DROPPED: [&str; 8] =
    ["--in", "wan", "--protocol", "tcp", "--from", "198.51.100.7:40000", "--to", "203.0.113.1:81"];

/// `genkan trace --config FILE ARGUMENTS`, in the language of a locale.
fn trace(file: &Path, arguments: &[&str], locale: &str) -> Said {
    let mut command = Command::new(binary());
    command.arg("trace").arg("--config").arg(file).args(arguments).stdin(Stdio::null());
    command.env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", locale);
    said(command.output().expect("the program starts"))
}

#[test]
fn what_passes_is_told_step_by_step_with_its_answer() {
    let scratch = Scratch::new("trace-passes");
    let file = scratch.file("home.toml", HOME);
    let said = trace(&file, &PASSES, "C");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    for expected in [
        "tcp 198.51.100.7:40000 -> 203.0.113.1:80 [SYN] comes in by wan\n",
        &format!("forward \"web\" takes it, to 192.168.0.10:8080  ({}:15:12)\n", file.display()),
        "leaves by home: tcp 198.51.100.7:40000 -> 192.168.0.10:8080 [SYN]\n",
        "leaves by wan: tcp 203.0.113.1:80 -> 198.51.100.7:40000 [SYN|ACK]\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected:?} is not in\n{}", said.stdout);
    }
}

#[test]
fn what_is_dropped_has_its_reason_in_the_language_of_the_environment() {
    let scratch = Scratch::new("trace-dropped");
    let file = scratch.file("home.toml", HOME);
    let english = trace(&file, &DROPPED, "en_US.UTF-8");
    assert_eq!(english.code, Some(1), "{english:?}");
    assert!(
        english.stdout.contains("=> dropped, no_mapping: Nothing takes this packet"),
        "{}",
        english.stdout
    );
    assert!(
        english.stdout.contains("genkan forward add NAME --protocol tcp --port 81"),
        "{}",
        english.stdout
    );
    let japanese = trace(&file, &DROPPED, "ja_JP.UTF-8");
    assert_eq!(japanese.code, Some(1), "{japanese:?}");
    assert!(japanese.stdout.contains("=> 破棄（no_mapping）: 外から来た"), "{}", japanese.stdout);
    assert!(!japanese.stdout.contains("=> dropped"), "{}", japanese.stdout);
}

#[test]
fn programs_get_names_that_stay() {
    let scratch = Scratch::new("trace-json");
    let file = scratch.file("home.toml", HOME);
    let said = trace(&file, &[&DROPPED[..], &["--format", "json"]].concat(), "ja_JP.UTF-8");
    assert_eq!(said.code, Some(1), "{said:?}");
    let answer: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!((&answer["fate"], &answer["reason"]["id"]), (&"dropped".into(), &"no_mapping".into()));
    assert_eq!(answer["remedies"][0]["id"], "remedy-forward-add");
}

#[test]
fn what_cannot_be_asked_is_misuse() {
    let scratch = Scratch::new("trace-misuse");
    let file = scratch.file("home.toml", HOME);
    let with = |index: usize, value| {
        let mut arguments = PASSES;
        arguments[index] = value;
        trace(&file, &arguments, "C")
    };
    for (said, expected) in [
        (with(1, "guests"), "no such port: `guests`; accepted: wan, home"),
        (with(5, "198.51.100.7"), "tcp has a port on both sides"),
        (with(5, "198.51.100:1"), "accepted: an IPv4 address with a port"),
        (with(7, "203.0.113.1:65536"), "accepted: an IPv4 address with a port"),
        (trace(&scratch.file("bad.toml", "[wan]\n"), &PASSES, "C"), "device"),
    ] {
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stdout.is_empty() && said.stderr.contains(expected), "{said:?}");
    }
}
