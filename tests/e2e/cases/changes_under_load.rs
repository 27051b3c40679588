//! Changes while much else happens: kills, hundreds of sessions, thousands of forwards.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use genkan_lab::topology::Role::{Laptop, Nas, Remote};

use super::changes::{RULES, add, file, json, names, running_names};
use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE};
use crate::outcome::Outcome;
use crate::programs::Said;
use crate::servers::{Server, connect, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    killed_during_changes,
    a_hundred_changes_and_no_session_lost,
    no_datagram_is_lost_that_a_change_does_not_concern,
    ten_thousand_forwards_are_reloaded_in_no_time,
];

/// Asks the router for a forward without a program in between. Whether it said that it is so.
fn post_forward(socket: &Path, name: &str, port: usize) -> bool {
    let body = format!(r#"{{"name":"{name}","protocol":"udp","port":{port},"to":"192.168.0.10"}}"#);
    let request = format!(
        "POST /v1/forwards HTTP/1.1\r\nHost: genkan\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, io::Error>(answer)
    };
    exchange().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The whole router killed at random moments, with a client that changes on and on. What it was told is so holds.
fn killed_during_changes() -> Outcome {
    const KILLS: usize = 40;
    let lab = Lab::start("");
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    println!("seed {seed}");
    let mut seed = seed as u64;
    let mut known: Vec<String> = Vec::new();
    let mut outcomes = [0; 2];
    for round in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_micros((seed >> 33) % 60_000);
        let socket = lab.router(|router| router.socket());
        let (acknowledged, under_way) = thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let name = format!("k{round}-{number}");
                    if !post_forward(&socket, &name, 1000 + round * 100 + number) {
                        return (acknowledged, name);
                    }
                    acknowledged.push(name);
                }
                unreachable!("the router is killed")
            });
            thread::sleep(pause);
            lab.kill_router();
            writer.join().expect("no panic")
        });
        known.extend(acknowledged);
        // Not torn, whatever happened.
        names(&fs::read_to_string(lab.config_file()).expect("there is always a file"));
        lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
        let after = names(&file(&lab));
        if after == known {
            outcomes[0] += 1;
        } else {
            known.push(under_way);
            assert_eq!(after, known);
            outcomes[1] += 1;
        }
        assert_eq!(running_names(&lab), known);
        let history = json(lab.genkan(&["history", "--format", "json"]));
        assert!(!history["edited"].as_bool().expect("a flag"));
        let newest = history["entries"][0]["what"].as_str().expect("a sentence").to_owned();
        if let Some(last) = known.last() {
            assert!(newest.starts_with(&format!("forward add {last}:")), "{newest}, not {last}");
        }
    }
    println!(
        "{} as acknowledged, {} with the one under way, {} forwards",
        outcomes[0],
        outcomes[1],
        known.len()
    );
    Ok(())
}

fn a_hundred_changes_and_no_session_lost() -> Outcome {
    const SESSIONS: usize = 300;
    let lab = Lab::start(RULES);
    let _servers = [Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Remote), 7)];
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let mut sessions: Vec<TcpStream> = (0..SESSIONS)
        .map(|number| {
            let (from, to) = if number % 2 == 0 { (Laptop, remote) } else { (Remote, lab.wan(80)) };
            let mut session = connect(&lab.host(from), to).expect("the way is open");
            greeting(&mut session);
            session
        })
        .collect();
    // A client that finds its session gone fails the test; the changes end by themselves.
    let changing = AtomicBool::new(true);
    let commands: Vec<_> = (0..100)
        .map(|number| {
            let port = (2000 + number / 2).to_string();
            match number % 2 {
                0 => lab.router(|router| router.command(&add("more", "tcp", &port, "192.168.0.20"))),
                _ => lab.router(|router| router.command(&["forward", "remove", "more"])),
            }
        })
        .collect();
    let path = lab.config_file();
    let mut reload = lab.router(|router| router.command(&["reload"]));
    let rounds = thread::scope(|scope| {
        let changing = &changing;
        let changes = scope.spawn(move || {
            let outcome: Vec<Said> = commands
                .into_iter()
                .enumerate()
                .flat_map(|(number, mut command)| {
                    let mut said = vec![Said::from(command.output().expect("it is there"))];
                    if number % 5 == 0 {
                        let text = fs::read_to_string(&path).expect("there is a file");
                        fs::write(&path, format!("{text}# {number}\n")).expect("written");
                        said.push(Said::from(reload.output().expect("it is there")));
                    }
                    said
                })
                .collect();
            changing.store(false, Ordering::Relaxed);
            outcome
        });
        let mut rounds = 0;
        while changing.load(Ordering::Relaxed) {
            for session in &mut sessions {
                exchange(session, b"hello");
            }
            rounds += 1;
        }
        let outcome = changes.join().expect("no panic");
        assert_eq!(outcome.len(), 120);
        outcome.into_iter().for_each(|said| drop(said.expect_ok()));
        rounds
    });
    println!("{SESSIONS} sessions spoke {rounds} times during 100 changes and 20 reloads");
    for session in &mut sessions {
        exchange(session, b"still here");
    }
    Ok(())
}

/// Datagrams both ways, counted at both ends, while forwards come and go.
fn no_datagram_is_lost_that_a_change_does_not_concern() -> Outcome {
    let rules = "[[forward]]\nname = \"log\"\nprotocol = \"udp\"\nport = 514\nto = \"192.168.0.10\"\n";
    let lab = Lab::start(rules);
    let flows = [
        (udp(&lab.host(Laptop), 0), udp(&lab.host(Remote), 7), SocketAddrV4::new(lab.address.remote, 7)),
        (udp(&lab.host(Remote), 0), udp(&lab.host(Nas), 514), lab.wan(514)),
    ];
    let (sending, receiving) = (AtomicBool::new(true), AtomicBool::new(true));
    thread::scope(|scope| {
        let (sending, receiving) = (&sending, &receiving);
        let counts = flows.each_ref().map(|(sender, receiver, to)| {
            // The first one finds the way: until ARP is answered no more than a few frames wait.
            receiver.set_read_timeout(Some(PATIENCE)).expect("not zero");
            sender.send_to(b"first", to).expect("there is a route");
            receiver.recv(&mut [0; 8]).expect("it arrives");
            receiver.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
            let sent = scope.spawn(move || {
                let mut sent = 0;
                while sending.load(Ordering::Relaxed) {
                    sender.send_to(b"x", to).expect("there is a route");
                    sent += 1;
                    thread::sleep(Duration::from_micros(500));
                }
                sent
            });
            let received = scope.spawn(move || {
                let mut received = 0;
                while receiving.load(Ordering::Relaxed) {
                    received += u32::from(receiver.recv(&mut [0; 8]).is_ok());
                }
                received
            });
            (sent, received)
        });
        for number in 0..50 {
            let port = (2000 + number).to_string();
            lab.genkan(&add("more", "tcp", &port, "192.168.0.20")).expect_ok();
            lab.genkan(&["forward", "remove", "more"]).expect_ok();
        }
        sending.store(false, Ordering::Relaxed);
        let counts = counts.map(|(sent, received)| (sent.join().expect("no panic"), received));
        // What is still under way arrives.
        thread::sleep(SILENCE);
        receiving.store(false, Ordering::Relaxed);
        let counts = counts.map(|(sent, received)| (sent, received.join().expect("no panic")));
        println!("sent and received during 100 changes: {counts:?}");
        assert!(counts.iter().all(|(sent, received)| sent == received && *sent > 0), "{counts:?}");
    });
    Ok(())
}

fn ten_thousand_forwards_are_reloaded_in_no_time() -> Outcome {
    let lab = Lab::start(RULES);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut session = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut session);
    let forward = |number: u32| {
        let (port, host) = (20_000 + number, 2 + number % 250);
        format!(
            "[[forward]]\nname = \"f{number}\"\nprotocol = \"udp\"\nport = {port}\nto = \"192.168.0.{host}\"\n"
        )
    };
    let text: String = std::iter::once(file(&lab)).chain((0..10_000).map(forward)).collect();
    fs::write(lab.config_file(), text).expect("written");
    // What it takes without optimisation says nothing; it is bounded all the same.
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });
    for arguments in [&["reload"][..], &["forward", "remove", "f5000"], &["rollback", "2"]] {
        let started = Instant::now();
        lab.genkan(arguments).expect_ok();
        let took = started.elapsed();
        println!("{arguments:?} took {took:?}");
        assert!(took < limit, "{arguments:?} took {took:?}");
    }
    let log = lab.router(|router| router.log());
    let to_workers: Vec<u64> = log
        .split("workers_ms=")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    println!("plan to all workers, ms: {to_workers:?}");
    assert_eq!(to_workers.len(), 3, "{log}");
    assert!(cfg!(debug_assertions) || to_workers.iter().all(|ms| *ms < 100), "{to_workers:?} ms");
    exchange(&mut session, b"still here");
    Ok(())
}
