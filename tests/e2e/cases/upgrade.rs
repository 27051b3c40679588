//! Another program takes over from the running one while packets flow.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use genkan_lab::Options;
use genkan_lab::topology::Role::{Isp, Laptop, Remote, Router};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::persistence::{Calls, count, while_some_talk};
use crate::cases;
use crate::counted::{Counted, Flow};
use crate::fixture::{Lab, WEB, put_program, wait_for, with_backend};
use crate::flood::mac;
use crate::outcome::Outcome;
use crate::programs::{Said, need, need_tun};
use crate::servers::{Server, connect, exchange, greeting, udp};
use crate::setup;
use crate::steady::{Sink, Steady};

cases![
    ;
    only_genkan:
    a_thousand_sessions_survive_an_upgrade,
    an_upgrade_is_but_a_moment,
    an_upgrade_keeps_the_box_itself_and_several_workers,
    a_program_that_would_not_run_is_refused,
    a_program_that_fails_half_way_gives_everything_back,
    the_new_program_goes_on_alone_when_the_running_one_dies,
    without_a_service_manager_the_first_process_stays,
];

/// A router whose children may be any program.
pub(super) const FREE: &str = "\n[router]\nsandbox = false\n";

/// The longest pause that is promised. Without optimisation nothing is as fast as it is meant to be.
pub(super) fn longest_pause() -> Duration {
    Duration::from_millis(if setup::is_slow() { 1_000 } else { 100 })
}

/// Puts something else in the place of a program, as a package manager does.
pub(super) fn replace(program: &Path, with: impl FnOnce(&Path)) {
    let fresh = program.with_extension("new");
    with(&fresh);
    fs::rename(fresh, program).expect("the folder is ours");
}

/// Puts a script in the place of a program.
pub(super) fn replace_by_script(program: &Path, text: &str) {
    replace(program, |fresh| {
        fs::write(fresh, text).expect("the folder is ours");
        fs::set_permissions(fresh, fs::Permissions::from_mode(0o755)).expect("it is ours");
    });
}

/// `genkan upgrade`, by the program under test.
pub(super) fn upgrade(lab: &Lab) -> Said {
    let socket = lab.router(|router| router.socket());
    let mut command = Command::new(setup::binary());
    command.args(["upgrade", "--format", "json", "--socket"]).arg(socket);
    Said::from(lab.host(Router).output(&mut command).expect("the program is there"))
}

/// An upgrade that is refused for a reason with these words.
pub(super) fn refused(lab: &Lab, what: &str) {
    let said = upgrade(lab);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains(what) && said.stderr.contains("goes on"), "{said:#?}");
}

/// A lab with a router in a program of its own.
pub(super) fn lab(options: &Options, rules: &str) -> (Lab, std::path::PathBuf) {
    let mut lab = Lab::without_router(options);
    let program = lab.use_own_program();
    lab.start_router(rules).unwrap_or_else(|error| panic!("{error}"));
    (lab, program)
}

/// Sends datagrams from the laptop to the remote host, about one each millisecond, while something happens.
pub(super) fn flow_during(lab: &Lab, work: impl FnOnce()) -> Flow {
    let remote = lab.host(Remote);
    let socket = udp(&remote, 5001);
    let to = SocketAddrV4::new(lab.address.remote, 5001);
    let flow = Counted::start(Duration::from_millis(1), udp(&lab.host(Laptop), 0), to, remote, socket);
    flow.wait_for_more(50);
    work();
    flow.wait_for_more(50);
    flow.end()
}

fn a_thousand_sessions_survive_an_upgrade() -> Outcome {
    let (lab, program) = lab(&Options::default(), WEB);
    let mut calls = Calls::open(&lab, 1_000);
    let (before, pid) = (count(&lab, "sessions"), count(&lab, "pid"));
    while_some_talk(&mut calls, || {
        replace(&program, put_program);
        let said = upgrade(&lab).expect_ok();
        let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
        println!("{report}");
        assert!(report["sessions"].as_u64() >= Some(1_000) && report["not_taken"] == 0, "{report}");
    });
    assert_eq!((count(&lab, "sessions"), count(&lab, "upgrades")), (before, 1));
    assert_ne!(count(&lab, "pid"), pid);
    calls.check();
    let said = lab.genkan(&["status"]).expect_ok();
    assert!(said.stdout.contains("sandbox: capabilities"), "as before: {said:#?}");
    // What was taken over is given back at the end all the same, and the last one saves its sessions.
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router(WEB).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(count(&lab, "sessions"), before);
    calls.check();
    Ok(())
}

/// The pause, where it counts: at whom the packets are for.
fn moments(lab: &Lab) {
    let _calls = Calls::open(lab, if setup::is_slow() { 100 } else { 1_000 });
    let more = setup::sessions().map(|flows| more_sessions(lab, flows));
    let mut pauses = Vec::new();
    for _ in 0..if more.is_some() { 9 } else { 2 } {
        let flow = flow_during(lab, || {
            let said = upgrade(lab).expect_ok();
            let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
            println!("{} sessions, packets waited for {} us", report["sessions"], report["pause_micros"]);
        });
        println!("{flow:?}");
        pauses.push(flow.longest);
        assert!(flow.longest < longest_pause() || more.is_some(), "{flow:?}");
        assert!(flow.is_whole(), "none was lost: {flow:?}");
    }
    pauses.sort_unstable();
    println!("the median of the pauses is {:?}", pauses[pauses.len() / 2]);
}

/// Opens so many sessions of datagrams; they end where the sink is.
fn more_sessions(lab: &Lab, flows: u64) -> Sink {
    let next_hop = lab.host(Router).run(|| mac("lan0")).expect("it is there");
    let rate = if setup::is_slow() { 10_000 } else { 100_000 };
    let source = Ipv4Addr::new(192, 168, 0, 50);
    let steady = Steady { next_hop, source, destination: lab.address.isp, port: 9, flows, rate };
    let sink = Sink::start(lab.host(Isp), steady.destination, steady.ports());
    steady.find_way(&lab.host(Laptop), &sink);
    steady.open(&lab.host(Laptop), "eth0", &sink);
    sink
}

fn an_upgrade_is_but_a_moment() -> Outcome {
    let (first, _program) = lab(&Options::default(), WEB);
    moments(&first);
    drop(first);
    with_backend("af-packet", || {
        let (second, _program) = lab(&Options::default(), &format!("{WEB}\n[router]\nworkers = 2\n"));
        moments(&second);
    });
    Ok(())
}

fn an_upgrade_keeps_the_box_itself_and_several_workers() -> Outcome {
    need_tun()?;
    let rules = format!("{WEB}\n[router]\nworkers = 2\ntun = \"genkan0\"\n");
    let (lab, _program) = lab(&Options::default(), &rules);
    let mut calls = Calls::open(&lab, 50);
    let _server = Server::tcp(&lab.host(Remote), 9);
    let to = SocketAddrV4::new(lab.address.remote, 9);
    let mut own = connect(&lab.host(Router), to).expect("the box speaks");
    greeting(&mut own);
    for upgrades in 1..=2 {
        while_some_talk(&mut calls, || drop(upgrade(&lab).expect_ok()));
        exchange(&mut own, b"so does the box");
        assert_eq!(count(&lab, "upgrades"), upgrades);
    }
    calls.check();
    // All that a router does, the last one does as well.
    lab.genkan(&["forward", "add", "more", "--protocol", "tcp", "--port", "81", "--to", "192.168.0.10:8080"])
        .expect_ok();
    let mut more = connect(&lab.host(Remote), lab.wan(81)).expect("the forward is open");
    greeting(&mut more);
    assert_eq!(lab.stop_router(), Some(0));
    let links = lab.run(Router, "ip", &["-o", "link"]).expect_ok();
    assert!(!links.stdout.contains("genkan0"), "the TUN device ends with the router:\n{}", links.stdout);
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    Ok(())
}

fn a_program_that_would_not_run_is_refused() -> Outcome {
    let (lab, program) = lab(&Options::default(), WEB);
    let mut calls = Calls::open(&lab, 20);
    // The sandbox is on: no other folder's program is of use here, such as a shell for a script.
    replace_by_script(&program, "#!/bin/sh\nexit 0\n");
    refused(&lab, "cannot be run");
    replace(&program, |fresh| {
        fs::copy("/bin/false", fresh).expect("it is there");
    });
    refused(&lab, "without a word");
    fs::remove_file(&program).expect("it was there");
    refused(&lab, "cannot be run");
    // A good program, and a configuration that is another one by now.
    replace(&program, put_program);
    let file = lab.config_file();
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, format!("{text}\n# edited\n")).expect("it is ours");
    refused(&lab, "genkan reload");
    lab.genkan(&["reload"]).expect_ok();
    lab.genkan(&["dmz", "set", "192.168.0.20", "--confirm", "60s"]).expect_ok();
    refused(&lab, "confirm");
    lab.genkan(&["confirm"]).expect_ok();
    calls.check();
    assert_eq!(count(&lab, "upgrades"), 0);
    upgrade(&lab).expect_ok();
    calls.check();
    Ok(())
}

/// It says all that is to be said, up to the moment when it has everything.
const TREACHEROUS: &str = r#"#!/bin/sh
until_heard() { until dd bs=65536 count=1 2>/dev/null | grep -q "$1"; do :; done; }
printf '{"ready":{"version":"9.9.9"}}' >&0
until_heard begin
printf '"gathering"' >&0
until_heard '"go"'
exit 7
"#;

fn a_program_that_fails_half_way_gives_everything_back() -> Outcome {
    let (lab, program) = lab(&Options::default(), &format!("{WEB}{FREE}"));
    let mut calls = Calls::open(&lab, 50);
    let pid = count(&lab, "pid");
    replace_by_script(&program, TREACHEROUS);
    let flow = flow_during(&lab, || {
        while_some_talk(&mut calls, || {
            refused(&lab, "it ended when it was to move packets");
            refused(&lab, "it ended when it was to move packets");
        });
    });
    println!("{flow:?}");
    assert!(flow.is_whole(), "none was lost: {flow:?}");
    // The lab asks by the same program.
    replace(&program, put_program);
    assert_eq!((count(&lab, "pid"), count(&lab, "upgrades")), (pid, 0));
    calls.check();
    upgrade(&lab).expect_ok();
    calls.check();
    Ok(())
}

/// Takes every offer, kills the running program, and becomes the new one, which is made the same offers.
const MURDEROUS: &str = r#"#!/usr/bin/env python3
import json, os, signal, socket, sys

def receive(passage):
    octets, descriptors, _, _ = socket.recv_fds(passage, 1 << 16, 64)
    return octets, descriptors

passage = socket.socket(fileno=0)
offers = [receive(passage)]
ports = json.loads(offers[0][0])["offer"]["ports"]
offers += [receive(passage) for _ in range(ports)]
os.kill(os.getppid(), signal.SIGKILL)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for octets, descriptors in offers:
    socket.send_fds(ours, [octets], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
os.dup2(theirs.fileno(), 0)
os.execv("REAL", ["REAL", *sys.argv[1:]])
"#;

fn the_new_program_goes_on_alone_when_the_running_one_dies() -> Outcome {
    need("python3")?;
    let (lab, program) = lab(&Options::default(), &format!("{WEB}{FREE}"));
    let mut calls = Calls::open(&lab, 50);
    let pid = count(&lab, "pid");
    let real = program.with_extension("real");
    put_program(&real);
    let text = MURDEROUS.replace("REAL", &real.display().to_string());
    replace_by_script(&program, &text);
    let said = upgrade(&lab);
    // The lab asks by the same program.
    replace(&program, put_program);
    assert_eq!(said.code, Some(1), "the one that was asked is dead: {said:#?}");
    let runs = || lab.genkan(&["status"]).ok;
    wait_for("the other one runs", runs);
    calls.check();
    let other = count(&lab, "pid");
    assert_ne!(other, pid);
    let other = Pid::from_raw(i32::try_from(other).expect("a process"));
    kill(other, Signal::SIGTERM).expect("it runs");
    let ended = waitpid(other, None).expect("it became our child");
    assert_eq!(ended, WaitStatus::Exited(other, 0));
    lab.start_router(WEB).unwrap_or_else(|error| panic!("{error}"));
    calls.check();
    Ok(())
}

/// As under a supervisor of another kind, or from a shell.
fn without_a_service_manager_the_first_process_stays() -> Outcome {
    let lab = Lab::without_router(&Options::default());
    let file = |name: &str| format!("/run/genkan-guarded{name}");
    fs::write(file(".toml"), lab.config(WEB)).expect("/run is ours in here");
    let log = fs::File::create(file(".log")).expect("/run is ours in here");
    let mut command = Command::new(setup::binary());
    command.args(["run", "--config", &file(".toml"), "--socket", &file(".sock")]);
    command.env("STATE_DIRECTORY", file(".state")).env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stderr(log);
    let mut first = lab.host(Router).start(&mut command).expect("the program is there");
    let ask = |words: &[&str]| {
        let mut command = Command::new(setup::binary());
        command.args(words).args(["--format", "json", "--socket", &file(".sock")]);
        Said::from(lab.host(Router).output(&mut command).expect("the program is there"))
    };
    let status = |what: &str| {
        let status: serde_json::Value = serde_json::from_str(&ask(&["status"]).stdout).ok()?;
        status[what].as_u64()
    };
    wait_for("it runs", || ask(&["status"]).ok);
    let own = Pid::from_raw(i32::try_from(first.id()).expect("a process"));
    let mut calls = Calls::open(&lab, 20);
    for upgrades in 1..=2 {
        ask(&["upgrade"]).expect_ok();
        calls.check();
        assert_eq!(status("upgrades"), Some(upgrades));
        assert_ne!(status("pid"), Some(u64::from(first.id())));
        assert!(first.try_wait().expect("it is our child").is_none(), "it stays");
    }
    fs::write(file(".toml"), lab.config("[dmz]\nto = \"192.168.0.20\"\n")).expect("it is ours");
    kill(own, Signal::SIGHUP).expect("it runs");
    wait_for("the signal has come through", || status("reloads") == Some(1));
    let last = status("pid").expect("it runs");
    // At once after an upgrade the one before is still about to end, and listens as well.
    ask(&["upgrade"]).expect_ok();
    kill(own, Signal::SIGTERM).expect("it runs");
    wait_for("it has ended", || first.try_wait().expect("it is our child").is_some());
    let ended = first.wait().expect("it is our child");
    assert!(ended.success(), "{ended}: {}", fs::read_to_string(file(".log")).unwrap_or_default());
    assert!(!Path::new(&format!("/proc/{last}/stat")).exists(), "and so have all the others");
    Ok(())
}
