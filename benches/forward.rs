//! Time per batch of 64 frames of sessions that are known, in sizes of frames and of the session table.
//!
//! Frames belong to sessions in random order, so that nothing but the table's own look-ahead helps. What a
//! device would do, putting the frames into memory, is not timed.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use genkan_benches::flows::Shuffle;
use genkan_benches::network::{INSIDE, OUTSIDE};
use genkan_benches::{BATCH, Batch, Flows, Rig, Template, Transport};
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, Verdict};
use genkan_io::sys::huge_pages::HugePages;

/// As in the program: large tables in huge pages.
#[global_allocator]
static MEMORY: HugePages = HugePages;

const FRAME_SIZES: [usize; 3] = [64, 512, 1_500];
const TABLE_SIZES: [(u32, &str); 4] =
    [(1_000, "1k"), (64_000, "64k"), (1_000_000, "1M"), (10_000_000, "10M")];
const DIRECTIONS: [(&str, PortId); 2] = [("outbound", INSIDE), ("inbound", OUTSIDE)];

/// A router that is made when the first bench asks for it: some take seconds, and a filter may leave them out.
struct Scene {
    flows: Flows,
    make: fn(Flows) -> Rig,
    rig: Option<Rig>,
}

impl Scene {
    fn new(transport: Transport, count: u32) -> Scene {
        Scene { flows: Flows::new(transport, count), make: Rig::new, rig: None }
    }

    /// Times `handle` on batches whose frames `write` writes.
    fn bench(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        id: BenchmarkId,
        template: &Template,
        write: impl Fn(u32, &mut [u8]),
        handle: impl Fn(&mut Batch, &mut Rig),
    ) {
        let mut batch = Batch::new(template);
        let mut numbers = Shuffle::new(self.flows.count());
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(id, |bencher| {
            let rig = self.rig.get_or_insert_with(|| (self.make)(self.flows));
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    batch.fill(|frame| write(numbers.next().unwrap_or_default(), frame));
                    let start = Instant::now();
                    handle(&mut batch, rig);
                    total += start.elapsed();
                }
                assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
                total
            });
        });
    }

    /// Batches of frames of all sessions, in one direction.
    fn forward(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        id: BenchmarkId,
        port: PortId,
        len: usize,
    ) {
        let flows = self.flows;
        let template = flows.template(port, len, TcpFlags::ACK);
        let write = |number, frame: &mut [u8]| flows.write(&template, port, number, frame);
        self.bench(group, id, &template, write, |batch, rig| batch.handle(&mut rig.router, rig.now, port));
    }
}

fn batches(criterion: &mut Criterion) {
    for (count, name) in TABLE_SIZES {
        let mut scene = Scene::new(Transport::Udp, count);
        for (direction, port) in DIRECTIONS {
            let mut group = criterion.benchmark_group(format!("{direction} udp"));
            for len in FRAME_SIZES {
                scene.forward(&mut group, BenchmarkId::new(name, len), port, len);
            }
        }
    }
}

fn protocols(criterion: &mut Criterion) {
    for transport in [Transport::Tcp, Transport::Icmp] {
        let mut scene = Scene::new(transport, 1_000);
        for (direction, port) in DIRECTIONS {
            let mut group = criterion.benchmark_group(format!("{direction} {}", transport.name()));
            scene.forward(&mut group, BenchmarkId::new("1k", 64), port, 64);
        }
    }
}

fn single_frames(criterion: &mut Criterion) {
    for (count, name) in [TABLE_SIZES[0], TABLE_SIZES[2]] {
        let mut scene = Scene::new(Transport::Udp, count);
        let flows = scene.flows;
        for (direction, port) in DIRECTIONS {
            let mut group = criterion.benchmark_group(format!("{direction} udp one by one"));
            let template = flows.template(port, 64, TcpFlags::NONE);
            let write = |number, frame: &mut [u8]| flows.write(&template, port, number, frame);
            scene.bench(&mut group, BenchmarkId::new(name, 64), &template, write, |batch, rig| {
                batch.handle_singly(&mut rig.router, rig.now, port);
            });
        }
    }
}

fn hairpin(criterion: &mut Criterion) {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut group = criterion.benchmark_group(format!("hairpin {}", transport.name()));
        let flows = Flows::new(transport, 1_000);
        let mut scene = Scene { flows, make: Rig::hairpin, rig: None };
        let template = flows.template(INSIDE, 64, TcpFlags::ACK);
        let write = |number, frame: &mut [u8]| flows.write_hairpin(&template, number, frame);
        scene.bench(&mut group, BenchmarkId::new("1k", 64), &template, write, |batch, rig| {
            batch.handle(&mut rig.router, rig.now, INSIDE);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = batches, protocols, single_frames, hairpin
}
criterion_main!(benches);
