//! Changes while much else happens: kills, thousands of forwards.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};

use super::changes::{RULES, file, json, names, running_names};
use crate::fixture::Lab;
use crate::flood::mac;
use crate::outcome::Outcome;
use crate::servers::{Server, connect, exchange, greeting};
use crate::steady::{Sink, Steady};
use crate::{cases, setup};

cases![
    ;
    only_genkan:
    killed_during_changes,
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
    let kills = setup::kills();
    let lab = Lab::start("");
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    println!("seed {seed}");
    let mut seed = seed as u64;
    let mut known: Vec<String> = Vec::new();
    let mut outcomes = [0; 2];
    for round in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_micros((seed >> 33) % 60_000);
        let socket = lab.router(|router| router.socket());
        let (acknowledged, under_way) = thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let name = format!("k{round}-{number}");
                    if !post_forward(&socket, &name, 1000 + round * 50 + number) {
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
        "{kills} kills: {} as acknowledged, {} with the one under way, {} forwards",
        outcomes[0],
        outcomes[1],
        known.len()
    );
    Ok(())
}

/// And nobody waits for it: datagrams of known sessions pass meanwhile, counted at both ends.
fn ten_thousand_forwards_are_reloaded_in_no_time() -> Outcome {
    let lab = Lab::start(RULES);
    let laptop = lab.host(Laptop);
    let steady = Steady {
        next_hop: lab.host(Router).run(|| mac("lan0")).expect("it is there"),
        source: Ipv4Addr::new(192, 168, 0, 50),
        destination: lab.address.isp,
        port: 9,
        flows: 1_000,
        rate: if setup::is_slow() { 10_000 } else { 100_000 },
    };
    let sink = Sink::start(lab.host(Isp), steady.destination, steady.ports());
    steady.find_way(&laptop, &sink);
    steady.open(&laptop, "eth0", &sink);
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
    let limit = Duration::from_secs(if setup::is_slow() { 20 } else { 1 });
    let (began, before, sender) = (Instant::now(), sink.count(), steady.start(&laptop, "eth0"));
    for arguments in [&["reload"][..], &["forward", "remove", "f5000"], &["rollback", "2"]] {
        let started = Instant::now();
        lab.genkan(arguments).expect_ok();
        let took = started.elapsed();
        println!("{arguments:?} took {took:?}");
        assert!(took < limit, "{arguments:?} took {took:?}");
    }
    let (sent, took) = (sender.stop(), began.elapsed());
    let arrived = sink.settled(before, sent);
    println!("{sent} datagrams, {:.0} a second, and {arrived} arrived", sent as f64 / took.as_secs_f64());
    let log = lab.router(|router| router.log());
    let to_workers: Vec<u64> = log
        .split("workers_ms=")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    println!("plan to all workers, ms: {to_workers:?}");
    assert_eq!(to_workers.len(), 3, "{log}");
    assert!(setup::is_slow() || to_workers.iter().all(|ms| *ms < 100), "{to_workers:?} ms");
    exchange(&mut session, b"still here");
    assert_eq!(arrived, sent, "{}", lab.genkan(&["counters"]).stdout);
    Ok(())
}
