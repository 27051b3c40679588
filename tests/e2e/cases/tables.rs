//! Tables on terminals, in pipes, and as JSON.

use std::net::SocketAddrV4;

use genkan_lab::topology::Role::{Laptop, Remote, Router};
use unicode_width::UnicodeWidthStr;

use crate::cases;
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, udp};
use crate::terminal::Terminal;

cases![; only_genkan: tables_fit_the_terminal, every_listing_has_json];

/// Every command that lists something.
const LISTINGS: [&[&str]; 10] = [
    &["status"],
    &["sessions"],
    &["mappings"],
    &["neighbors"],
    &["hosts"],
    &["counters", "--all"],
    &["events"],
    &["forwards"],
    &["forward", "list"],
    &["history"],
];

/// A router with names that are wide, and something in each of its tables.
fn busy() -> Lab {
    let lab = Lab::start(
        r#"[[host]]
name = "nas"
mac = "52:54:00:12:34:56"
address = "192.168.0.10"

[[forward]]
name = "玄関のカメラの映像を外から見るための入口"
protocol = ["tcp", "udp"]
port = "10000-10010"
to = "nas"
from = ["198.51.100.0/24", "192.0.2.0/24", "203.0.113.128/25"]
expires = 2099-12-31T23:59:59+09:00
"#,
    );
    let server = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    ask(&udp(&lab.host(Laptop), 5001), remote, b"hello", PATIENCE).expect("an answer");
    drop(server);
    lab
}

fn tables_fit_the_terminal() -> Outcome {
    let lab = busy();
    for columns in [20, 80] {
        for arguments in LISTINGS {
            let mut command = lab.router(|router| router.command(arguments));
            let terminal = Terminal::start(&lab.host(Router), &mut command, columns, 24);
            let (status, text) = terminal.end();
            assert!(status.success(), "{arguments:?}: {text}");
            // `status` and `history` also say whole sentences, which have an end of their own.
            let table = text.lines().skip_while(|line| !line.contains("\u{1b}[1m"));
            let table: Vec<String> = table.take_while(|line| !line.trim().is_empty()).map(plain).collect();
            assert!(table.len() > 1, "{arguments:?} shows no table: {text}");
            for line in table {
                assert!(line.width() <= usize::from(columns), "{columns} columns, {arguments:?}: {line}");
            }
        }
    }
    // In a pipe nothing is cut, nor coloured.
    let whole = lab.genkan(&["forward", "list"]).expect_ok().stdout;
    let row = whole.lines().nth(1).expect("a forward");
    assert!(row.contains("玄関のカメラの映像を外から見るための入口"), "{row}");
    assert!(row.contains("203.0.113.128/25") && row.contains("2099-12-31T14:59:59Z"), "{row}");
    assert!(!whole.contains('\u{1b}') && !whole.contains('…'), "{whole}");
    Ok(())
}

/// Without the escapes for bold.
fn plain(line: &str) -> String {
    line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "").trim_end().to_owned()
}

fn every_listing_has_json() -> Outcome {
    let lab = busy();
    for arguments in LISTINGS {
        let said = lab.genkan(&[arguments, &["--format", "json"]].concat()).expect_ok();
        let json: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert!(json.is_array() || json.is_object(), "{arguments:?}: {json}");
        assert!(!said.stdout.contains('…'), "{arguments:?}: {}", said.stdout);
    }
    Ok(())
}
