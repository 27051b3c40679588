//! `genkan test`: expectations about a configuration.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{HOME, Said, Scratch, binary, said};

const GOOD: &str = r#"config = "home.toml"

[[test]]
name     = "visitors reach the web server"
protocol = "tcp"
from     = "198.51.100.7"
to       = "wan:80"
expect   = { reaches = "192.168.0.10:8080", reply_from = "wan:80" }

[[test]]
name     = "nobody logs in"
protocol = "tcp"
from     = "198.51.100.7"
to       = "wan:22"
expect   = "refused"
"#;

const FAILING: &str = r#"
[[test]]
name     = "port 81 <&> \"leads\" # nowhere"
protocol = "tcp"
from     = "198.51.100.7"
to       = "wan:81"
expect   = "reaches"

[[test]]
name     = "the last one"
protocol = "icmp"
from     = "198.51.100.7"
to       = "wan"
expect   = "answered"
"#;

/// `genkan test ARGUMENTS` in a folder with a good configuration and these tests, in the language of a locale.
fn test_in(scratch: &Scratch, tests: &str, arguments: &[&str], locale: &str) -> Said {
    scratch.file("home.toml", HOME);
    scratch.file("home.test.toml", tests);
    let mut command = Command::new(binary());
    command.arg("test").args(arguments).stdin(Stdio::null()).current_dir(scratch.path(""));
    command.env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", locale);
    said(command.output().expect("the program starts"))
}

#[test]
fn what_is_as_expected_is_ok() {
    let scratch = Scratch::new("test-good");
    let said = test_in(&scratch, GOOD, &["home.test.toml", "--coverage"], "C");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    for expected in [
        "running 2 tests of home.test.toml (rules: home.toml)\n",
        "test visitors reach the web server ... ok\n",
        "test result: ok. 2 passed; 0 failed; 0 left out; finished in ",
        "rules of home.toml that a test touches: 2 of 2\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected:?} is not in\n{}", said.stdout);
    }
    assert!(!scratch.path("genkan-test").exists(), "nothing failed");
    let uncovered = test_in(&scratch, GOOD, &["home.test.toml", "--coverage", "--filter", "logs in"], "C");
    assert!(uncovered.stdout.contains("not touched: forward web  (home.toml:12:12)"), "{}", uncovered.stdout);
    assert!(uncovered.stdout.contains("1 passed; 0 failed; 1 left out"), "{}", uncovered.stdout);
}

#[test]
fn a_failure_has_its_trace_and_a_capture() {
    let scratch = Scratch::new("test-failing");
    let tests = format!("{GOOD}{FAILING}");
    let said = test_in(&scratch, &tests, &["."], "C");
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{}", said.stdout);
    for expected in [
        "... FAILED\n",
        "---- port 81 <&> \"leads\" # nowhere (./home.test.toml:17:1)\n",
        "expected: it arrives, and its answer comes back\n",
        "but:      it is dropped, no_mapping: Nothing takes this packet",
        "tcp 198.51.100.7:40000 -> 203.0.113.1:81 [SYN] comes in by wan\n",
        "genkan forward add NAME --protocol tcp --port 81",
        "test result: FAILED. 3 passed; 1 failed; 0 left out;",
    ] {
        assert!(said.stdout.contains(expected), "{expected:?} is not in\n{}", said.stdout);
    }
    let path = said.stdout.lines().find_map(|line| line.strip_prefix("all frames: ")).expect("a capture");
    let packets = comments(&scratch.path(path));
    assert_eq!(packets.len(), 1, "{packets:?}");
    assert!(packets[0].starts_with("no_mapping: Nothing takes this packet"), "{packets:?}");
    let japanese = test_in(&scratch, &tests, &["home.test.toml"], "ja_JP.UTF-8");
    assert!(japanese.stdout.contains("結果: 失敗。成功 3 件、失敗 1 件"), "{}", japanese.stdout);
}

/// The comments of the packets in a capture.
fn comments(path: &Path) -> Vec<String> {
    use genkan_control::capture::pcapng::{Block, Reader};
    let mut reader = Reader::default();
    reader.push(&std::fs::read(path).expect("the capture is there"));
    let mut comments = Vec::new();
    while let Some((_, block)) = reader.next_block().expect("a whole capture") {
        if let Block::Packet(packet) = block {
            comments.push(packet.comment);
        }
    }
    comments
}

#[test]
fn collectors_get_their_formats() {
    let scratch = Scratch::new("test-formats");
    let tests = format!("{GOOD}{FAILING}");
    let in_format = |format| {
        let said = test_in(&scratch, &tests, &["home.test.toml", "--format", format], "C");
        assert_eq!(said.code, Some(1), "{said:?}");
        said.stdout
    };
    let tap = in_format("tap");
    assert!(tap.starts_with("TAP version 14\n1..4\nok 1 - visitors reach the web server\n"), "{tap}");
    assert!(tap.contains("not ok 3 - port 81 <&> \"leads\" \\# nowhere\n  ---\n"), "{tap}");
    assert!(tap.ends_with("  ...\nok 4 - the last one\n"), "{tap}");
    let junit = in_format("junit");
    assert!(junit.contains("tests=\"4\"") && junit.contains("failures=\"1\""), "{junit}");
    assert!(junit.contains("port 81 &lt;&amp;&gt; &quot;leads&quot; # nowhere"), "{junit}");
    let json: serde_json::Value = serde_json::from_str(&in_format("json")).expect("JSON");
    let tests = &json[0]["tests"];
    assert_eq!((&tests[0]["outcome"], &tests[2]["outcome"]), (&"ok".into(), &"failed".into()));
    assert_eq!(tests[2]["traces"][0]["reason"]["id"], "no_mapping");
}

#[test]
fn it_stops_where_it_is_told_to() {
    let scratch = Scratch::new("test-fail-fast");
    let said = test_in(&scratch, &format!("{GOOD}{FAILING}"), &["home.test.toml", "--fail-fast"], "C");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("2 passed; 1 failed; 1 left out"), "{}", said.stdout);
}

#[test]
fn what_cannot_be_tested_is_misuse() {
    let scratch = Scratch::new("test-misuse");
    for (tests, arguments, expected) in [
        (GOOD, &["home.test.toml", "--filter", "nothing"][..], "no test has \"nothing\" in its name"),
        (GOOD, &["missing.test.toml"][..], "cannot read `missing.test.toml`"),
        ("config = \"none.toml\"\n", &["home.test.toml"][..], "there is no `[[test]]`"),
        (&GOOD.replace("expect ", "expct "), &["home.test.toml"][..], "did you mean `expect`?"),
        (&GOOD.replace("\"home.toml\"", "\"none.toml\""), &["home.test.toml"][..], "cannot read `none.toml`"),
    ] {
        let said = test_in(&scratch, tests, arguments, "C");
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stdout.is_empty() && said.stderr.contains(expected), "{expected}: {}", said.stderr);
    }
    std::fs::create_dir(scratch.path("empty")).expect("an empty folder");
    let said = test_in(&scratch, GOOD, &["empty"], "C");
    assert_eq!((said.code, said.stderr.contains("there is no *.test.toml in empty")), (Some(2), true));
}
