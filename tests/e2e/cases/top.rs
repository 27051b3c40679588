//! `genkan top` on a terminal, in a pipe, and while the router comes and goes.

use std::net::SocketAddrV4;

use genkan_lab::topology::Role::{Laptop, Remote, Router};
use nix::sys::signal::Signal;

use crate::cases;
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, udp};
use crate::terminal::Terminal;

cases![; only_genkan:
    top_shows_the_router_and_gives_the_terminal_back,
    top_outlives_the_router,
    top_without_a_terminal_prints_once
];

/// What a program writes when it leaves a screen of its own.
const LEAVES: &str = "\u{1b}[?1049l";
const SHOWS_CURSOR: &str = "\u{1b}[?25h";

fn start(lab: &Lab, columns: u16, rows: u16) -> Terminal {
    let mut command = lab.router(|router| router.command(&["top", "--interval", "0.2"]));
    Terminal::start(&lab.host(Router), &mut command, columns, rows)
}

/// A lab in which the laptop has just asked somebody outside.
fn used() -> Lab {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    ask(&udp(&lab.host(Laptop), 5001), remote, b"hello", PATIENCE).expect("an answer");
    lab
}

fn top_shows_the_router_and_gives_the_terminal_back() -> Outcome {
    let lab = used();
    for (columns, rows) in [(100, 30), (40, 10)] {
        let mut terminal = start(&lab, columns, rows);
        terminal.wait_for("forwarding");
        terminal.wait_for("home");
        assert!(!terminal.is_ordinary(), "keys come one by one");
        terminal.press("2");
        terminal.wait_for("sorted");
        terminal.press("q");
        let (status, written) = terminal.end_ordinary();
        assert!(status.success(), "{status}: {written}");
        assert!(written.contains(LEAVES) && written.contains(SHOWS_CURSOR), "{written:?}");
    }
    for end in [End::Signal(Signal::SIGTERM), End::Signal(Signal::SIGHUP), End::Keys("\u{3}")] {
        let mut terminal = start(&lab, 80, 24);
        terminal.wait_for("forwarding");
        match end {
            End::Signal(signal) => terminal.signal(signal),
            End::Keys(keys) => terminal.press(keys),
        }
        let (status, written) = terminal.end_ordinary();
        assert!(status.success(), "{status}: {written}");
        assert!(written.contains(LEAVES) && written.contains(SHOWS_CURSOR), "{written:?}");
    }
    Ok(())
}

enum End {
    Signal(Signal),
    Keys(&'static str),
}

fn top_outlives_the_router() -> Outcome {
    let lab = used();
    let mut terminal = start(&lab, 100, 30);
    terminal.wait_for("forwarding");
    terminal.press("3");
    terminal.wait_for("sorted");
    lab.kill_router();
    terminal.wait_for("no answer for");
    let rules = "[[forward]]\nname = \"back-again\"\nprotocol = \"tcp\"\nport = 80\nto = \"192.168.0.10\"\n";
    lab.start_router(rules).expect("it starts again");
    terminal.wait_for("back-again");
    terminal.press("q");
    let (status, written) = terminal.end_ordinary();
    assert!(status.success(), "{status}: {written}");
    Ok(())
}

fn top_without_a_terminal_prints_once() -> Outcome {
    let lab = used();
    let text = lab.genkan(&["top", "--interval", "0.1"]).expect_ok().stdout;
    assert!(text.contains("forwarding packets") && text.contains("192.168.0.20"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let said = lab.genkan(&["top", "--interval", "0.1", "--format", "json"]).expect_ok();
    let json: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(json["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.1), "{json}");
    assert_eq!(json["ports"][0]["port"], "wan", "{json}");
    assert!(json["ports"][0]["rx_bits_per_second"].is_number(), "{json}");
    assert_eq!(json["hosts"][0]["sessions"], 1, "{json}");
    Ok(())
}
