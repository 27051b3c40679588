//! No call into the router takes longer than a millisecond of CPU, whatever it is in the middle of: a million
//! sessions are opened and expired, a full table is flooded, a pool runs out of ports, the plan changes, the tables are
//! read.
//!
//! `cargo bench -p genkan-benches --bench stall`; with `-- --test` for a tenth of the sessions.

use std::sync::Arc;
use std::time::Duration;

use genkan_benches::calls::{Run, no_call_is_long, timed};
use genkan_benches::network::{INSIDE, OUTSIDE, forwards, plan};
use genkan_benches::{BATCH, Batch, Flows, Rig, Template, Transport};
use genkan_engine::plan::Plan;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, UnixTime, Verdict};
use genkan_io::sys::huge_pages::HugePages;

/// As in the program: who touches a huge page first waits until all of it is zeroed.
#[global_allocator]
static MEMORY: HugePages = HugePages;

/// Rows that the API asks for at once (`CHUNK` in `control/src/request.rs`), and how many such pieces a worker reads out
/// between two batches (`REQUESTS_PER_ROUND` in `cli/src/daemon/worker.rs`).
const PIECES: (u32, usize) = (256, 4);

/// Frames of these sessions in batches, and what share of them was forwarded.
fn send(
    rig: &mut Rig,
    calls: &mut Vec<Duration>,
    template: &Template,
    port: PortId,
    flows: Flows,
    numbers: std::ops::Range<u32>,
) -> f64 {
    let mut batch = Batch::new(template);
    let mut forwarded = 0;
    let len = numbers.len();
    for start in numbers.step_by(BATCH) {
        let mut number = start..;
        batch.fill(|frame| flows.write(template, port, number.next().unwrap_or_default(), frame));
        timed(calls, || batch.handle(&mut rig.router, rig.now, port));
        forwarded += batch.verdicts().filter(|verdict| matches!(verdict, Verdict::Transmit(_))).count();
        rig.answer_arp();
    }
    forwarded as f64 / len as f64
}

/// Reads a table to its end, as many pieces in a call as a worker reads out between two batches. How many rows it had.
fn read_table<T>(calls: &mut Vec<Duration>, piece: impl Fn(u32, u32) -> (Vec<T>, Option<u32>)) -> u32 {
    let (limit, pieces) = PIECES;
    let (mut next, mut rows) = (Some(0), 0);
    while next.is_some() {
        timed(calls, || {
            for _ in 0..pieces {
                let Some(cursor) = next else { break };
                let (found, following) = piece(cursor, limit);
                rows += found.len() as u32;
                next = following;
            }
        });
    }
    rows
}

/// Lets everything happen that is due.
fn let_time_pass(rig: &mut Rig, calls: &mut Vec<Duration>) {
    while rig.router.poll_timeout().is_some_and(|at| at <= rig.now) {
        timed(calls, || rig.router.handle_timeout(rig.now));
    }
    rig.answer_arp();
}

fn run(sessions: u32) -> Run {
    let mut run = Run::default();
    let udp = Flows::new(Transport::Udp, sessions);
    let plan = Plan { forwards: forwards(1_000, 1_000), ..plan(sessions) };
    let wall = UnixTime(1_800_000_000);
    let mut rig = Rig::with_plan(udp, plan.clone());
    let outbound = udp.template(INSIDE, 64, TcpFlags::NONE);
    let inbound = udp.template(OUTSIDE, 64, TcpFlags::NONE);

    run.phase("first packets, fresh memory", |calls| {
        let share = send(&mut rig, calls, &outbound, INSIDE, udp, 0..sessions);
        assert_eq!((share, rig.router.session_count()), (1.0, sessions));
    });
    // Nobody has answered: each new session takes the place of the oldest.
    run.phase("flood, full of unanswered sessions", |calls| {
        let share = send(&mut rig, calls, &outbound, INSIDE, udp, sessions..sessions + sessions / 4);
        assert_eq!((share, rig.router.session_count()), (1.0, sessions));
    });
    run.phase("answers", |calls| {
        let numbers = sessions / 4..sessions + sessions / 4;
        assert_eq!(send(&mut rig, calls, &inbound, OUTSIDE, udp, numbers), 1.0);
    });
    run.phase("sessions listed, 4 pieces a call", |calls| {
        let rows = read_table(calls, |cursor, limit| rig.router.sessions(rig.now, cursor, limit));
        assert_eq!(rows, sessions);
    });
    run.phase("mappings listed, 4 pieces a call", |calls| {
        let rows = read_table(calls, |cursor, limit| rig.router.mappings(cursor, limit));
        assert_eq!(rows, rig.router.mapping_count());
    });
    run.phase("sessions saved, 4 pieces a call", |calls| {
        let rows = read_table(calls, |cursor, limit| rig.router.save(rig.now, cursor, limit));
        assert_eq!(rows, sessions);
    });
    // All are live: nothing makes room, and inside hosts are told.
    run.phase("flood, full of live sessions", |calls| {
        let numbers = 2 * sessions..2 * sessions + sessions / 4;
        assert_eq!(send(&mut rig, calls, &outbound, INSIDE, udp, numbers), 0.0);
    });
    // A plan that leaves every session allowed, and one that leaves none.
    rig.router.apply_plan(
        rig.now,
        wall,
        Arc::new(Plan { dmz: Some("10.1.0.1".parse().unwrap()), ..plan.clone() }),
    );
    run.phase("sweep, all stay", |calls| {
        let_time_pass(&mut rig, calls);
        assert_eq!(rig.router.session_count(), sessions);
    });
    let mut moved = plan.clone();
    moved.wan.address = "203.0.113.9/24".parse().expect("a prefix");
    rig.router.apply_plan(rig.now, wall, Arc::new(moved));
    run.phase("sweep, all end", |calls| {
        let_time_pass(&mut rig, calls);
        assert_eq!(rig.router.session_count(), 0);
    });
    rig.router.apply_plan(rig.now, wall, Arc::new(plan));
    rig.expire_all();
    let tcp = Flows::new(Transport::Tcp, sessions);
    let syn = tcp.template(INSIDE, 64, TcpFlags::SYN);
    run.phase("first packets, used memory", |calls| {
        assert_eq!(send(&mut rig, calls, &syn, INSIDE, tcp, 0..sessions), 1.0);
    });
    run.phase("expiry of all", |calls| {
        rig.now += Duration::from_secs(3_600);
        let_time_pass(&mut rig, calls);
        assert_eq!(rig.router.session_count(), 0);
    });
    rig.expire_all();
    // More internal endpoints than external ports: what nobody answered makes room.
    let many = Flows::with_mappings(Transport::Udp, 120_000);
    let template = many.template(INSIDE, 64, TcpFlags::NONE);
    run.phase("flood, no port left", |calls| {
        assert_eq!(send(&mut rig, calls, &template, INSIDE, many, 0..120_000), 1.0);
        assert!(rig.router.mapping_count() <= 65_536);
    });
    run
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    // Quarters of them are whole batches.
    let sessions = if quick { 102_400 } else { 1_024_000 };
    println!("{sessions} sessions");
    no_call_is_long(|| run(sessions));
}
