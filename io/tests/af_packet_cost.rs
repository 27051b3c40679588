//! What receiving and sending a frame costs: run by hand, in release mode, on a quiet machine:
//! `cargo test --release -p genkan-io --test af_packet_cost -- --ignored --nocapture`

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Namespace, wire};
use genkan_engine::frame::{Offload, Slot};
use genkan_io::FrameIo;
use genkan_io::af_packet::{self, AfPacketOptions};
use nix::time::{ClockId, clock_gettime};

/// CPU time of the calling thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}

/// A UDP datagram of 64 octets in all, for a MAC address that is nobody's: the stack at the far end drops it at once.
fn datagram() -> Vec<u8> {
    let mut frame =
        vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17];
    frame.extend_from_slice(&[0; 2]);
    frame.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 1, 0x13, 0x88, 0, 7, 0, 30, 0, 0]);
    frame.resize(64, 0);
    frame
}

namespace_tests! {
    #[ignore = "a measurement"]
    fn cost_per_frame() {
        let (a, b) = (Namespace::new(), Namespace::new());
        wire("r0", &a, "a0");
        wire("r1", &b, "b0");
        let mut source = a.run(|| af_packet::open("a0", &AfPacketOptions::default()).expect("it exists"));
        let frame = datagram();
        let memory: Vec<u8> = frame.repeat(64);
        let slots: Vec<Slot> = (0..64)
            .map(|i| Slot {
                offset: i * 64,
                len: 64,
                offload: Offload::default(),
                verdict: genkan_engine::Verdict::default(),
            })
            .collect();
        let indices: Vec<u16> = (0..64).collect();
        let time = Duration::from_secs(3);
        let send_for = |source: &mut FrameIo, what: &str| {
            let (start, cpu, mut sent) = (Instant::now(), cpu_time(), 0u64);
            while start.elapsed() < time {
                sent += source.transmitter.transmit(&memory, &slots, &indices).expect("a0 is there") as u64;
            }
            let cpu = cpu_time() - cpu;
            println!("{what}: {} kpps sent, {} ns CPU per frame", sent / 3000, cpu.as_nanos() / u128::from(sent));
            sent
        };
        send_for(&mut source, "send, nobody receives at r0");
        let mut left = af_packet::open("r0", &AfPacketOptions::default()).expect("it exists");
        let mut right = af_packet::open("r1", &AfPacketOptions::default()).expect("it exists");
        send_for(&mut source, "send, full rings at r0");

        // Taking frames out of a full ring, and sending them on, each by itself.
        let (mut taking, mut sending, mut count) = (Duration::ZERO, Duration::ZERO, 0);
        for _ in 0..20 {
            common::receive_waiting(&mut left.receiver);
            for _ in 0..60 {
                source.transmitter.transmit(&memory, &slots, &indices).expect("a0 is there");
            }
            loop {
                let start = cpu_time();
                let batch = left.receiver.receive().expect("r0 is there");
                taking += cpu_time() - start;
                if batch.slots.is_empty() {
                    break;
                }
                count += batch.slots.len() as u32;
                let indices: Vec<u16> = (0..batch.slots.len() as u16).collect();
                let start = cpu_time();
                right.transmitter.transmit(batch.memory, batch.slots, &indices).expect("r1 is there");
                sending += cpu_time() - start;
            }
        }
        println!("{count} frames: {:?} to take one out of the ring, {:?} to send it", taking / count, sending / count);
        for (transmit, spin) in [(false, false), (true, false), (false, true), (true, true)] {
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let router = scope.spawn(|| {
                    let (cpu, mut received, mut taken, mut empty) = (cpu_time(), 0u64, 0u64, 0u64);
                    while !done.load(Ordering::Relaxed) {
                        let batch = left.receiver.receive().expect("r0 is there");
                        if batch.slots.is_empty() {
                            empty += 1;
                            if !spin {
                                common::wait(&left.receiver, Duration::from_millis(10));
                            }
                            continue;
                        }
                        received += batch.slots.len() as u64;
                        if transmit {
                            let indices: Vec<u16> = (0..batch.slots.len() as u16).collect();
                            taken += right.transmitter.transmit(batch.memory, batch.slots, &indices)
                                .expect("r1 is there") as u64;
                        }
                    }
                    let cpu = cpu_time() - cpu;
                    println!(
                        "  {}: received {} kpps, sent on {} kpps, {} ns CPU per received frame, {} empty batches/ms",
                        if spin { "spinning" } else { "waiting" },
                        received / 3000,
                        taken / 3000,
                        cpu.as_nanos() / u128::from(received.max(1)),
                        empty / 3000,
                    );
                });
                send_for(&mut source, if transmit { "send, received and sent on" } else { "send, received" });
                done.store(true, Ordering::Relaxed);
                router.join().expect("no error");
            });
        }
    }
}
