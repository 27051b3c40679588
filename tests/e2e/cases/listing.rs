//! A large table is read while packets pass.
//!
//! `GENKAN_E2E_SESSIONS=1000000 cargo test --release -p genkan-tests --test e2e listing -- --nocapture` is the
//! measurement that docs/operation.md tells of. Otherwise the table is small, and what reading it costs is not judged.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::topology::Role::{Isp, Laptop, Router};

use crate::fixture::Lab;
use crate::flood::mac;
use crate::outcome::Outcome;
use crate::steady::{Sink, Steady};
use crate::{cases, setup};

cases![
    ;
    only_genkan:
    a_table_is_read_while_packets_pass,
];

/// Sessions where nobody says how many.
const FEW: u64 = 20_000;
/// Rounds, each without and with somebody who reads.
const ROUNDS: usize = 5;
/// Sessions from which on the costs are judged.
const LARGE: u64 = 1_000_000;
/// What reading may add to the CPU time of a packet.
const MOST_ADDED: f64 = 0.05;

/// One page of sessions: its rows, and where the next one begins.
fn page(socket: &Path, cursor: u64) -> io::Result<(u64, Option<u64>)> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "GET /v1/sessions?limit=10000&cursor={cursor} HTTP/1.1\r\nHost: genkan\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
    let next = answer.rfind("\"next\":").map(|at| &answer[at + 7..]);
    let next = next.and_then(|rest| rest.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok());
    Ok((answer.matches("\"internal\":").count() as u64, next))
}

/// The whole table; how many rows it had, or those read before `is_over`.
fn read_all(socket: &Path, is_over: &AtomicBool) -> u64 {
    let (mut next, mut rows) = (Some(0), 0);
    while let Some(cursor) = next.filter(|_| !is_over.load(Ordering::Relaxed)) {
        let (found, following) = page(socket, cursor).expect("the router answers");
        (rows, next) = (rows + found, following);
    }
    rows
}

/// CPU time of the packet workers, and how long they waited for a CPU.
fn worker_times(pid: u32) -> [Duration; 2] {
    let mut sum = [Duration::ZERO; 2];
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").starts_with("packets-") {
            let text = read("schedstat");
            for (sum, field) in sum.iter_mut().zip(text.split_ascii_whitespace()) {
                *sum += Duration::from_nanos(field.parse().expect("a number"));
            }
        }
    }
    sum
}

fn a_table_is_read_while_packets_pass() -> Outcome {
    let (sessions, seconds) = setup::sessions().map_or((FEW, 0.2), |sessions| (sessions, 2.0));
    let rate = if setup::is_slow() { 10_000 } else { 100_000 };
    let lab = Lab::start("[nat]\nmax_sessions = 1_050_000\n");
    let (laptop, next_hop) = (lab.host(Laptop), lab.host(Router).run(|| mac("lan0")).expect("it is there"));
    let source = Ipv4Addr::new(192, 168, 0, 50);
    let steady = Steady { next_hop, source, destination: lab.address.isp, port: 9, flows: sessions, rate };
    let sink = Sink::start(lab.host(Isp), steady.destination, steady.ports());
    steady.find_way(&laptop, &sink);
    steady.open(&laptop, "eth0", &sink);

    let (pid, socket) = lab.router(|router| (router.pid(), router.socket()));
    // With the one that found the way.
    assert_eq!(read_all(&socket, &AtomicBool::new(false)), sessions + 1, "all are listed");
    let (sender, sent_before) = (steady.start(&laptop, "eth0"), sink.count());
    let mut costs = [Vec::new(), Vec::new()];
    let rows = AtomicU64::new(0);
    for round in 0..2 * ROUNDS {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            if round % 2 == 1 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        rows.fetch_add(read_all(&socket, &is_over), Ordering::Relaxed);
                    }
                });
            }
            let (began, packets, [busy, waited]) = (Instant::now(), sink.count(), worker_times(pid));
            thread::sleep(Duration::from_secs_f64(seconds));
            let [busy, waited] = {
                let [now_busy, now_waited] = worker_times(pid);
                [now_busy - busy, now_waited - waited]
            };
            let (packets, took) = (sink.count() - packets, began.elapsed());
            is_over.store(true, Ordering::Relaxed);
            let cost = busy.as_nanos() as f64 / packets as f64;
            costs[round % 2].push(cost);
            println!(
                "{}: {:.0} packets/s, {cost:.0} ns of a worker for each; it waited {waited:?} for a CPU",
                ["alone", "read "][round % 2],
                packets as f64 / took.as_secs_f64(),
            );
        });
    }
    let sent = sender.stop();
    println!("{sent} packets sent, {} arrived", sink.settled(sent_before, sent));
    let seconds = ROUNDS as f64 * seconds;
    println!("{:.0} rows/s were read", rows.load(Ordering::Relaxed) as f64 / seconds);
    let [alone, read] = costs.map(|mut costs| {
        costs.sort_unstable_by(f64::total_cmp);
        costs[costs.len() / 2]
    });
    let added = read / alone - 1.0;
    println!("{sessions} sessions: {alone:.0} and {read:.0} ns for a packet, {:+.1} %", added * 100.0);
    assert!(sessions < LARGE || setup::is_slow() || added < MOST_ADDED, "it adds too much");
    Ok(())
}
