//! What a second worker brings: packets of established sessions per second, each worker on a thread of its own.
//!
//! - *own*: the kernel's steering is right, every worker gets its own packets.
//! - *handed over*: it is wrong for every packet. One worker looks, gives each frame to the other through the ring
//!   between them, and that one forwards it.
//!
//! Only the router's part and the ring's are timed, by the thread's CPU clock; the frames are made in between.
//!
//! `cargo bench -p genkan-benches --bench workers`; with `-- --test` for short runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{FrameBatch, Team, Verdict, WorkerId};
use genkan_io::hand_over;
use genkan_traffic::flows::Shuffle;
use genkan_traffic::network::INSIDE;
use genkan_traffic::{BATCH, Batch, Flows, Rig, Transport};
use nix::time::{ClockId, clock_gettime};

const RUNS: usize = 5;
const FRAME: usize = 64;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock").into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The sessions of one worker, in random order.
fn numbers_of(flows: Flows, team: &Team, worker: WorkerId) -> Vec<u32> {
    let all = Shuffle::new(flows.count()).take(flows.count() as usize);
    let owner =
        |number: u32| team.host_spread().worker_of(*flows.endpoints(number).internal.ip(), team.workers());
    all.filter(|&number| owner(number) == worker).collect()
}

/// A worker that has opened its sessions.
fn worker(flows: Flows, team: &Arc<Team>, id: WorkerId) -> (Rig, Vec<u32>) {
    let mut rig = Rig::in_team(flows, team.clone(), id);
    let numbers = numbers_of(flows, team, id);
    rig.open(numbers.iter().copied());
    (rig, numbers)
}

/// Nanoseconds of CPU time per packet of each worker, all at work at the same time.
fn own(flows: Flows, workers: u8, length: Duration) -> Vec<f64> {
    let team = Team::new(workers, [1, 2]);
    let start = Barrier::new(workers.into());
    let run = |id: u8| {
        let (mut rig, numbers) = worker(flows, &team, WorkerId(id));
        let template = flows.template(INSIDE, FRAME, TcpFlags::ACK);
        let mut batch = Batch::new(&template);
        let mut next = numbers.iter().cycle();
        start.wait();
        let (begin, mut busy, mut packets) = (Instant::now(), Duration::ZERO, 0);
        while begin.elapsed() < length {
            let mut number = || *next.next().expect("every worker has hosts");
            batch.fill(|frame| flows.write(&template, INSIDE, number(), frame));
            let before = cpu_time();
            batch.handle(&mut rig.router, rig.now, INSIDE);
            busy += cpu_time() - before;
            packets += BATCH;
        }
        assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
        busy.as_nanos() as f64 / packets as f64
    };
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|id| scope.spawn(move || run(id))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Nanoseconds of CPU time per packet: of the worker that gives it away, and of the one that forwards it.
fn handed_over(flows: Flows, length: Duration) -> [f64; 2] {
    let team = Team::new(2, [1, 2]);
    let (mut owner, numbers) = worker(flows, &team, WorkerId(1));
    let mut other = Rig::in_team(flows, team.clone(), WorkerId(0));
    let (mut to_owner, mut from_other) = hand_over::ring();
    let done = AtomicBool::new(false);
    let template = flows.template(INSIDE, FRAME, TcpFlags::ACK);
    thread::scope(|scope| {
        let giver = scope.spawn(|| {
            let mut batch = Batch::new(&template);
            let mut next = numbers.iter().cycle();
            let (begin, mut busy, mut packets) = (Instant::now(), Duration::ZERO, 0);
            while begin.elapsed() < length {
                let mut number = || *next.next().expect("every worker has hosts");
                batch.fill(|frame| flows.write(&template, INSIDE, number(), frame));
                let before = cpu_time();
                batch.handle(&mut other.router, other.now, INSIDE);
                let (memory, slots) = batch.parts();
                let given = slots.iter().filter(|slot| {
                    let Verdict::HandOver(_, stage) = slot.verdict else { panic!("{:?}", slot.verdict) };
                    let frame = &memory[slot.offset..slot.offset + slot.len];
                    to_owner.push(INSIDE, stage, slot.offload, frame)
                });
                let given = given.count();
                if given == BATCH {
                    busy += cpu_time() - before;
                    packets += BATCH;
                } else {
                    // A full ring: that batch tells nothing.
                    thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
            busy.as_nanos() as f64 / packets as f64
        });
        let (mut busy, mut packets) = (Duration::ZERO, 0);
        while !(done.load(Ordering::Acquire) && from_other.is_empty()) {
            let before = cpu_time();
            let Some((port, stage, FrameBatch { memory, slots })) = from_other.receive() else {
                thread::yield_now();
                continue;
            };
            packets += slots.len();
            let batch = FrameBatch { memory: &mut *memory, slots: &mut *slots };
            owner.router.handle_handed_over(owner.now, port, stage, batch);
            busy += cpu_time() - before;
            assert!(slots.iter().all(|slot| matches!(slot.verdict, Verdict::Transmit(_))));
        }
        [giver.join().expect("no panic"), busy.as_nanos() as f64 / packets as f64]
    })
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (runs, length) =
        if is_test { (1, Duration::from_millis(20)) } else { (RUNS, Duration::from_millis(500)) };
    println!("{:<12} {:>14} {:>14} {:>14} {:>12}", "sessions", "1 worker", "2 workers", "ratio", "ns each");
    for sessions in [1_000, 100_000] {
        let flows = Flows::new(Transport::Udp, sessions);
        let (mut one, mut two, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            one.extend(own(flows, 1, length).iter().map(|ns| 1e3 / ns));
            let both = own(flows, 2, length);
            two.push(both.iter().map(|ns| 1e3 / ns).sum::<f64>());
            each.push(both.iter().sum::<f64>() / 2.0);
        }
        let (one, two) = (median(one), median(two));
        println!("{sessions:<12} {one:>9.1} Mpps {two:>9.1} Mpps {:>14.2} {:>12.1}", two / one, median(each));
    }
    let flows = Flows::new(Transport::Udp, 1_000);
    let both: Vec<[f64; 2]> = (0..runs).map(|_| handed_over(flows, length)).collect();
    println!(
        "handed over: {:.1} ns per packet at the worker that gives, {:.1} ns at the one that forwards",
        median(both.iter().map(|pair| pair[0]).collect()),
        median(both.iter().map(|pair| pair[1]).collect())
    );
}
