//! Start, change, end, accident.

use std::fs;
use std::net::SocketAddrV4;
use std::thread;

use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};
use genkan_lab::{Options, RouterError};
use nix::sys::signal::Signal;

use crate::cases;
use crate::fixture::{Lab, SILENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun, run};
use crate::servers::{Server, connect, connect_within, exchange, greeting};
use crate::setup;

cases![
    ;
    only_genkan:
    start_is_refused_when_the_kernel_has_an_address,
    everything_is_put_back_after_sigterm,
    everything_is_put_back_after_kill_and_restart,
    a_device_may_vanish_and_come_back,
    reload_keeps_live_sessions,
    sighup_reloads,
    removing_a_forward_ends_its_sessions,
    a_bad_reload_changes_nothing,
    check_shows_all_mistakes_at_once,
    status_says_whether_packets_can_flow,
    after_a_crash_applications_notice_at_once,
];

fn start_is_refused_when_the_kernel_has_an_address() -> Outcome {
    for (device, address) in [("wan0", "203.0.113.1/24"), ("lan0", "192.168.0.77/24")] {
        let lab = Lab::without_router(&Options::default());
        run(&lab.host(Router), "ip", &["address", "add", address, "dev", device]).expect_ok();
        match lab.start_router("") {
            Err(RouterError::Ended(status, said)) => {
                assert!(!status.success());
                assert!(said.contains(device), "it does not say which device: {said}");
            }
            other => panic!("the router started beside the kernel's {address} on {device}: {other:?}"),
        }
    }
    Ok(())
}

/// Everything about the router's devices that Genkan could have changed.
pub(super) fn devices(lab: &Lab) -> String {
    let router = lab.host(Router);
    let mut all = String::new();
    for (program, arguments) in [
        ("ip", &["-d", "link", "show", "wan0"][..]),
        ("ip", &["-d", "link", "show", "lan0"]),
        ("ip", &["address", "show"]),
        ("ip", &["route", "show", "table", "all", "type", "unicast"]),
        ("ip", &["rule", "show"]),
        ("ethtool", &["-k", "wan0"]),
        ("ethtool", &["-k", "lan0"]),
        ("tc", &["filter", "show", "dev", "wan0", "ingress"]),
        ("tc", &["filter", "show", "dev", "lan0", "ingress"]),
        ("nft", &["list", "ruleset"]),
    ] {
        all += &format!("$ {program} {}\n{}", arguments.join(" "), run(&router, program, arguments).stdout);
    }
    // The kernel's own link-local addresses come and go by themselves.
    all.lines()
        .filter(|line| !line.contains("fe80::") && !line.contains("valid_lft"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[track_caller]
pub(super) fn assert_same(before: &str, after: &str) {
    let lost: Vec<_> = before.lines().filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(lost.is_empty() && new.is_empty(), "was: {lost:#?}\nis: {new:#?}");
}

const WITH_TUN: &str = "[router]\ntun = \"genkan0\"\n";

fn everything_is_put_back_after_sigterm() -> Outcome {
    need("ethtool")?;
    need("nft")?;
    for rules in ["", WITH_TUN] {
        if rules == WITH_TUN {
            need_tun()?;
        }
        let lab = Lab::without_router(&Options::default());
        let before = devices(&lab);
        lab.start_router(rules).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(lab.stop_router(), Some(0));
        assert_same(&before, &devices(&lab));
    }
    Ok(())
}

fn everything_is_put_back_after_kill_and_restart() -> Outcome {
    need("ethtool")?;
    need("nft")?;
    for rules in ["", WITH_TUN] {
        if rules == WITH_TUN {
            need_tun()?;
        }
        let lab = Lab::without_router(&Options::default());
        let before = devices(&lab);
        lab.start_router(rules).unwrap_or_else(|error| panic!("{error}"));
        lab.kill_router();
        // Even now the kernel must not have become a router or a host on the wire.
        assert!(connect_within(&lab.host(Isp), lab.wan(22), SILENCE).is_err());
        lab.start_router(rules).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(lab.stop_router(), Some(0));
        assert_same(&before, &devices(&lab));
    }
    Ok(())
}

fn a_device_may_vanish_and_come_back() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::tcp(&lab.host(Remote), 7);
    let (isp, router) = (lab.host(Isp), lab.host(Router));
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    greeting(&mut connect(&lab.host(Laptop), remote).expect("the way out is open"));
    assert!(lab.genkan(&["status"]).ok);
    run(&router, "ip", &["link", "delete", "wan0"]).expect_ok();
    wait_for("the status says so", || lab.genkan(&["status"]).code == Some(1));
    let again =
        ["link", "add", "name", "eth0", "type", "veth", "peer", "name", "wan0", "netns", router.name()];
    run(&isp, "ip", &again).expect_ok();
    run(&isp, "ip", &["address", "add", "203.0.113.2/24", "dev", "eth0"]).expect_ok();
    run(&isp, "ip", &["link", "set", "eth0", "up"]).expect_ok();
    wait_for("the router is back", || lab.genkan(&["status"]).ok);
    wait_for("packets flow again", || connect_within(&lab.host(Laptop), remote, SILENCE).is_ok());
    Ok(())
}

fn reload_keeps_live_sessions() -> Outcome {
    let lab = Lab::start(WEB);
    let _servers = [
        Server::tcp(&lab.host(Nas), 8080),
        Server::tcp(&lab.host(Remote), 7),
        Server::tcp(&lab.host(Nas), 9090),
    ];
    let mut sessions = [
        connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open"),
        connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("the way out is open"),
        connect(&lab.host(Laptop), lab.wan(80)).expect("hairpin works"),
    ];
    for session in &mut sessions {
        greeting(session);
    }
    assert!(connect_within(&lab.host(Remote), lab.wan(90), SILENCE).is_err());
    let more = format!(
        "{WEB}[[forward]]\nname = \"more\"\nprotocol = \"tcp\"\nport = 90\nto = \"192.168.0.10:9090\"\n"
    );
    // Also while octets are under way.
    thread::scope(|scope| {
        let [_, out, _] = &mut sessions;
        let busy = scope.spawn(|| exchange(out, &vec![b'x'; 2_000_000]));
        lab.reload(&more);
        busy.join().expect("the busy session went on");
    });
    greeting(&mut connect(&lab.host(Remote), lab.wan(90)).expect("the new forward is open"));
    for session in &mut sessions {
        exchange(session, b"still here");
    }
    Ok(())
}

fn sighup_reloads() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::tcp(&lab.host(Nas), 8080);
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    lab.write_rules(WEB);
    lab.router(|router| router.signal(Signal::SIGHUP)).expect("it runs");
    wait_for("the forward is open", || connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_ok());
    Ok(())
}

fn removing_a_forward_ends_its_sessions() -> Outcome {
    let lab = Lab::start(WEB);
    let _servers = [Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Remote), 7)];
    let mut inward = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    let mut outward =
        connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("the way out is open");
    greeting(&mut inward);
    greeting(&mut outward);
    lab.reload("");
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err(), "the port is still open");
    inward.set_read_timeout(Some(SILENCE)).expect("not zero");
    std::io::Write::write_all(&mut inward, b"hello?").expect("the socket buffers it");
    let mut byte = [0];
    assert!(std::io::Read::read_exact(&mut inward, &mut byte).is_err(), "the session outlived its forward");
    exchange(&mut outward, b"the other one did not notice");
    Ok(())
}

fn a_bad_reload_changes_nothing() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut session = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut session);
    lab.write_rules(
        "[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 99999\nto = \"192.168.0.10:8080\"\n",
    );
    let said = lab.genkan(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(
        format!("{}{}", said.stdout, said.stderr).contains("99999"),
        "it does not say what is wrong: {said:#?}"
    );
    lab.router(|router| router.signal(Signal::SIGHUP)).expect("it runs");
    exchange(&mut session, b"still here");
    connect(&lab.host(Remote), lab.wan(80)).expect("the old rules are in force");
    assert!(lab.genkan(&["status"]).ok);
    Ok(())
}

fn check_shows_all_mistakes_at_once() -> Outcome {
    let file = std::path::Path::new("/run/genkan-e2e-mistakes.toml");
    let text = r#"[wan]
device = "eth0"
address = "203.0.113.1/33"
speed = "fast"

[[lan]]
name = "home"
device = "eth1"
address = "192.168.0.1/24"

[[forward]]
name = "web"
protocol = "http"
port = 80
to = "192.168.0.10:8080"

[[forward]]
name = "game"
protocol = "udp"
port = "10010-10000"
to = "192.168.0.20"

[dmz]
to = "192.168.0.256"
"#;
    fs::write(file, text).expect("/run is ours in here");
    let output =
        std::process::Command::new(setup::binary()).arg("check").arg(file).output().expect("it is there");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{said}");
    let errors = said.lines().filter(|line| line.starts_with("error")).count();
    for mistake in ["203.0.113.1/33", "speed", "http", "10010-10000", "192.168.0.256"] {
        assert!(said.contains(mistake), "{mistake} is missing in:\n{said}");
    }
    assert_eq!(errors, 5, "{said}");
    Ok(())
}

fn status_says_whether_packets_can_flow() -> Outcome {
    let lab = Lab::start("");
    assert_eq!(lab.genkan(&["status"]).code, Some(0));
    run(&lab.host(Isp), "ip", &["link", "set", "eth0", "down"]).expect_ok();
    wait_for("the missing carrier shows", || lab.genkan(&["status"]).code == Some(1));
    run(&lab.host(Isp), "ip", &["link", "set", "eth0", "up"]).expect_ok();
    wait_for("the carrier is back", || lab.genkan(&["status"]).code == Some(0));
    Ok(())
}

/// Sessions that were not saved do not survive the router. The inside host must not wait for a timeout to find out.
fn after_a_crash_applications_notice_at_once() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::tcp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let mut session = connect(&lab.host(Laptop), remote).expect("the way out is open");
    greeting(&mut session);
    lab.kill_router();
    lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
    std::io::Write::write_all(&mut session, b"hello?").expect("the socket buffers it");
    let mut byte = [0];
    let error = std::io::Read::read_exact(&mut session, &mut byte).expect_err("the session is gone");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    greeting(&mut connect(&lab.host(Laptop), remote).expect("a new session works"));
    Ok(())
}
