//! Sessions that outlive the router's process.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime};

use genkan_lab::topology::Role::{Laptop, Nas, Remote, Router};
use genkan_lab::{Options, RouterError};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, connect, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    a_thousand_sessions_survive_a_restart,
    sessions_survive_another_number_of_workers,
    after_a_kill_the_last_saved_sessions_live_and_younger_ones_are_told,
    a_damaged_file_is_set_aside,
    a_disk_that_takes_nothing_is_no_reason_not_to_start,
    what_the_new_configuration_does_not_allow_does_not_come_back,
];

/// Connections of each kind, ready to be used.
pub(super) struct Calls {
    pub(super) streams: Vec<TcpStream>,
    _servers: [Server; 2],
}

impl Calls {
    /// Of ten, seven go out, two come in through the forward [`WEB`], and one turns round.
    pub(super) fn open(lab: &Lab, count: usize) -> Calls {
        let servers = [Server::tcp(&lab.host(Remote), 7), Server::tcp(&lab.host(Nas), 8080)];
        let (laptop, remote) = (lab.host(Laptop), lab.host(Remote));
        let out = SocketAddrV4::new(lab.address.remote, 7);
        let open = |number: usize| {
            let opened = match number % 10 {
                0..7 => connect(&laptop, out),
                7 | 8 => connect(&remote, lab.wan(80)),
                _ => connect(&laptop, lab.wan(80)),
            };
            let mut stream = opened.expect("the way is open");
            greeting(&mut stream);
            stream
        };
        Calls { streams: (0..count).map(open).collect(), _servers: servers }
    }

    /// Talks on every one of them.
    pub(super) fn check(&mut self) {
        for stream in &mut self.streams {
            exchange(stream, b"still here");
        }
    }
}

fn state(lab: &Lab) -> PathBuf {
    lab.router(|router| router.config_file()).with_file_name("state")
}

/// A number of `genkan status`.
pub(super) fn count(lab: &Lab, what: &str) -> u64 {
    let said = lab.genkan(&["status", "--format", "json"]).expect_ok();
    let status: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    status[what].as_u64().expect("a number")
}

/// Raised when something is over, be it by a panic.
pub(super) struct Flag<'a>(pub(super) &'a AtomicBool);

impl Flag<'_> {
    pub(super) fn after<T>(self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does something while some of the calls go on talking without a pause.
pub(super) fn while_some_talk(calls: &mut Calls, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talking: Vec<_> = calls.streams[..20]
            .iter_mut()
            .map(|stream| {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        exchange(stream, &[b'x'; 5_000]);
                    }
                })
            })
            .collect();
        Flag(&over).after(work);
        for talking in talking {
            talking.join().expect("the call went on");
        }
    });
}

fn a_thousand_sessions_survive_a_restart() -> Outcome {
    let lab = Lab::start(WEB);
    let mut calls = Calls::open(&lab, 1_000);
    let echo = Server::udp(&lab.host(Remote), 9);
    let socket = udp(&lab.host(Laptop), 0);
    let server = SocketAddrV4::new(lab.address.remote, 9);
    let seen = ask(&socket, server, b"who am I?", PATIENCE).expect("an answer");
    let before = count(&lab, "sessions");
    while_some_talk(&mut calls, || {
        assert_eq!(lab.stop_router(), Some(0));
        lab.start_router(WEB).unwrap_or_else(|error| panic!("{error}"));
    });
    assert_eq!(count(&lab, "sessions"), before);
    calls.check();
    assert_eq!(ask(&socket, server, b"and now?", PATIENCE), Some(seen), "the same endpoint");
    assert_eq!(echo.seen(), [seen, seen]);
    let log = lab.router(|router| router.log());
    println!("{}", log.lines().filter(|line| line.contains("sessions of the last run")).collect::<String>());
    Ok(())
}

fn sessions_survive_another_number_of_workers() -> Outcome {
    let with = |workers| format!("{WEB}\n[router]\nworkers = {workers}\n");
    let lab = Lab::start(&with(2));
    let mut calls = Calls::open(&lab, 200);
    for workers in [3, 1, 2] {
        while_some_talk(&mut calls, || {
            assert_eq!(lab.stop_router(), Some(0));
            lab.start_router(&with(workers)).unwrap_or_else(|error| panic!("{error}"));
        });
        calls.check();
    }
    Ok(())
}

fn after_a_kill_the_last_saved_sessions_live_and_younger_ones_are_told() -> Outcome {
    let saving = format!("{WEB}\n[services]\nsave_every = \"1s\"\n");
    let lab = Lab::start(&saving);
    let mut calls = Calls::open(&lab, 100);
    let file = state(&lab).join("sessions.snap");
    let written = || fs::metadata(&file).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    // The first of them may have been begun before.
    for _ in 0..2 {
        let before = written();
        wait_for("the sessions are saved", || written() > before);
    }
    lab.reload(&format!("{WEB}\n[services]\nsave_every = \"never\"\n"));
    // One that was under way is over by then.
    wait_for("nothing is written any more", || !file.with_extension("snap.new").exists());
    let out = SocketAddrV4::new(lab.address.remote, 7);
    let laptop = lab.host(Laptop);
    let began = Instant::now();
    let mut younger: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut stream = connect(&laptop, out).expect("the way is open");
            greeting(&mut stream);
            stream
        })
        .collect();
    let opened = began.elapsed();
    lab.kill_router();
    lab.start_router(WEB).unwrap_or_else(|error| panic!("{error}"));
    calls.check();
    let began = Instant::now();
    for stream in &mut younger {
        stream.write_all(b"hello?").expect("the socket buffers it");
    }
    for stream in &mut younger {
        let error = stream.read_exact(&mut [0]).expect_err("the session is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    let took = began.elapsed();
    // A reset that came after the kernel had asked again would be late.
    assert!(took < opened, "told only after {took:?}, and opened within {opened:?}");
    greeting(&mut connect(&laptop, out).expect("a new session works"));
    Ok(())
}

fn a_damaged_file_is_set_aside() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::tcp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let mut session = connect(&lab.host(Laptop), remote).expect("the way out is open");
    greeting(&mut session);
    let state = state(&lab);
    assert_eq!(lab.stop_router(), Some(0));
    let file = state.join("sessions.snap");
    let mut octets = fs::read(&file).expect("it was saved");
    let middle = octets.len() / 2;
    octets[middle] ^= 0x10;
    fs::write(&file, octets).expect("the folder is ours");
    lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
    let log = lab.router(|router| router.log());
    assert!(log.contains("damaged") && log.contains("set aside"), "{log}");
    let bad = fs::read_dir(&state).expect("it is there").filter_map(Result::ok);
    let bad = bad.filter(|entry| entry.file_name().to_string_lossy().starts_with("sessions.snap.bad-"));
    assert_eq!(bad.count(), 1);
    session.write_all(b"hello?").expect("the socket buffers it");
    let error = session.read_exact(&mut [0]).expect_err("the session is gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    greeting(&mut connect(&lab.host(Laptop), remote).expect("a new session works"));
    Ok(())
}

fn a_disk_that_takes_nothing_is_no_reason_not_to_start() -> Outcome {
    let lab = Lab::without_router(&Options::default());
    let _server = Server::tcp(&lab.host(Remote), 7);
    let state = lab.config_file().with_file_name("state");
    fs::create_dir_all(&state).expect("/run is ours in here");
    let state = state.to_str().expect("plain letters");
    let mount = |arguments: &[&str]| lab.run(Router, "mount", &[arguments, &[state]].concat()).expect_ok();
    let started = |outcome: Result<(), RouterError>| outcome.unwrap_or_else(|error| panic!("{error}"));
    let is_told = || lab.genkan(&["status"]).expect_ok().stdout.contains("Read-only file system");
    mount(&["-t", "tmpfs", "none"]);
    started(lab.start_router(WEB));
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let mut session = connect(&lab.host(Laptop), remote).expect("the way out is open");
    greeting(&mut session);
    assert!(!is_told());
    assert_eq!(lab.stop_router(), Some(0));
    mount(&["-o", "remount,ro"]);
    started(lab.start_router(WEB));
    exchange(&mut session, b"what was saved before is used");
    assert!(is_told());
    lab.genkan(&["dmz", "set", "192.168.0.20"]).expect_ok();
    // What was not written to the disk outlives the process at least.
    lab.kill_router();
    started(lab.start_router_again());
    assert!(is_told());
    assert!(lab.genkan(&["diff", "1", "2"]).expect_ok().stdout.contains("dmz: to none -> 192.168.0.20"));
    lab.stop_router();
    lab.run(Router, "umount", &[state]).expect_ok();
    Ok(())
}

fn what_the_new_configuration_does_not_allow_does_not_come_back() -> Outcome {
    let lab = Lab::start(WEB);
    let _servers = [Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Remote), 7)];
    let mut inward = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    let out = SocketAddrV4::new(lab.address.remote, 7);
    let mut outward = connect(&lab.host(Laptop), out).expect("the way out is open");
    greeting(&mut inward);
    greeting(&mut outward);
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(count(&lab, "sessions"), 1);
    exchange(&mut outward, b"the other one did not notice");
    let log = lab.router(|router| router.log());
    assert!(log.contains("not-allowed 1"), "{log}");
    Ok(())
}
