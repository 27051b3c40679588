//! Help, exit status, errors: what somebody sees who types.

use std::process::{Command, Stdio};

use crate::support::{HOME, Scratch, binary, genkan};

const COMMANDS: [&str; 13] = [
    "run",
    "check",
    "status",
    "sessions",
    "mappings",
    "neighbors",
    "hosts",
    "counters",
    "top",
    "reload",
    "replay",
    "lab",
    "bench",
];

#[test]
fn every_command_explains_itself_with_an_example() {
    let whole = genkan(["--help"]);
    assert_eq!(whole.code, Some(0));
    for command in COMMANDS {
        assert!(whole.stdout.contains(command), "{command} is not in the overview");
        let help = genkan([command, "--help"]);
        assert_eq!(help.code, Some(0), "{command}");
        assert!(
            help.stdout.contains(&format!("genkan {command}")),
            "{command} has no example:\n{}",
            help.stdout
        );
    }
}

#[test]
fn misuse_is_status_2() {
    for arguments in
        [&["fly"][..], &["status", "--fast"], &["check"], &["run"], &["sessions", "--address", "nas"]]
    {
        let said = genkan(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{arguments:?}: {said:?}");
    }
    assert_eq!(genkan([] as [&str; 0]).code, Some(2));
}

#[test]
fn without_a_router_the_answer_is_no_and_names_the_socket() {
    for command in ["status", "sessions", "mappings", "neighbors", "hosts", "counters", "top", "reload"] {
        let said = genkan([command, "--socket", "/nonexistent/control.sock"]);
        assert_eq!(said.code, Some(1), "{command}: {said:?}");
        assert!(said.stderr.contains("/nonexistent/control.sock"), "{command}: {said:?}");
        assert!(said.stdout.is_empty(), "{command}: {said:?}");
    }
}

#[test]
fn check_tells_right_from_wrong() {
    let scratch = Scratch::new("check");
    let right = scratch.file("home.toml", HOME);
    let said = genkan(["check".as_ref(), right.as_os_str()]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let wrong = scratch.file("wrong.toml", HOME.replace("port     = 80", "port     = 99999\nspeed = 3"));
    let said = genkan(["check".as_ref(), wrong.as_os_str()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in ["99999", "speed", "wrong.toml:"] {
        assert!(said.stdout.contains(part), "{part} is missing in:\n{}", said.stdout);
    }
    assert!(!said.stdout.contains('\u{1b}'), "colours in a pipe");

    let said = genkan(["check".as_ref(), wrong.as_os_str(), "--format".as_ref(), "json".as_ref()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let json: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(json["valid"], false);
    let diagnostics = json["diagnostics"].as_array().expect("a list");
    assert!(diagnostics.iter().all(|diagnostic| diagnostic["line"].as_u64().is_some()), "{diagnostics:?}");
    assert!(diagnostics.len() >= 2, "{diagnostics:?}");

    let missing = scratch.path("missing.toml");
    let said = genkan(["check".as_ref(), missing.as_os_str()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stdout.contains("missing.toml"), "{said:?}");
}

#[test]
fn a_schema_comes_out_of_check() {
    let said = genkan(["check", "--schema"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let schema: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(schema["properties"]["wan"].is_object(), "{schema}");
}

#[test]
fn run_refuses_a_wrong_file_before_it_touches_anything() {
    let scratch = Scratch::new("run");
    let wrong = scratch.file("wrong.toml", HOME.replace("203.0.113.1/24", "203.0.113.1/240"));
    let socket = scratch.path("control.sock");
    let said = genkan([
        "run".as_ref(),
        "--config".as_ref(),
        wrong.as_os_str(),
        "--socket".as_ref(),
        socket.as_os_str(),
    ]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("203.0.113.1/240"), "{said:?}");
    assert!(!socket.exists());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    // The read end is closed before the program starts, so its first write fails.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = Command::new(binary())
        .args(["check", "--schema"])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
}
