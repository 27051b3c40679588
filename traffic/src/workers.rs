//! Several workers at work, each on a thread of its own: what a packet costs at its owner, and what it costs when it is
//! handed over. Only the router's part and the ring's are timed, by the thread's CPU clock; the frames are made in
//! between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{FrameBatch, Team, Verdict, WorkerId};
use genkan_io::hand_over;
use nix::time::{ClockId, clock_gettime};

use crate::flows::Shuffle;
use crate::network::INSIDE;
use crate::{BATCH, Batch, Flows, Rig};

/// Octets of a frame.
const FRAME: usize = 64;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock").into()
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

/// Nanoseconds of CPU time per packet of established sessions, from inside, of each worker, all at work at the same
/// time, with right steering. `settle` is called in each thread before it begins, with the worker's number: to pin it.
///
/// # Panics
/// When a packet is not forwarded, or a worker has no host.
pub fn own(flows: Flows, workers: u8, length: Duration, settle: impl Fn(u8) + Sync) -> Vec<f64> {
    let team = Team::new(workers, [1, 2]);
    let start = Barrier::new(workers.into());
    let run = |id: u8| {
        settle(id);
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

/// Nanoseconds of CPU time per packet when all are steered wrongly: of the worker that looks and gives each to the other
/// through the ring between them, and of that one, which forwards it. `settle` as for [`own`].
///
/// # Panics
/// When a packet is not handed over, or not forwarded.
pub fn handed_over(flows: Flows, length: Duration, settle: impl Fn(u8) + Sync) -> [f64; 2] {
    let team = Team::new(2, [1, 2]);
    let (mut owner, numbers) = worker(flows, &team, WorkerId(1));
    let mut other = Rig::in_team(flows, team.clone(), WorkerId(0));
    let (mut to_owner, mut from_other) = hand_over::ring();
    let done = AtomicBool::new(false);
    let template = flows.template(INSIDE, FRAME, TcpFlags::ACK);
    thread::scope(|scope| {
        let giver = scope.spawn(|| {
            settle(0);
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
        let taker = scope.spawn(|| {
            settle(1);
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
            busy.as_nanos() as f64 / packets as f64
        });
        [giver, taker].map(|thread| thread.join().expect("no panic"))
    })
}
