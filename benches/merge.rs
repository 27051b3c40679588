//! What merging costs per frame: where there is nothing to merge, and where everything is; and segmentation, its
//! reverse.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use genkan_benches::network::OUTSIDE;
use genkan_benches::{BATCH, Batch, Flows, Transport};
use genkan_engine::packet::merge::{Kinds, Merger};
use genkan_engine::packet::segmentation;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{GsoKind, Offload};

const BOTH: Kinds = Kinds { tcp: true, udp: true };

/// Datagrams of so many flows, each in turn, their checksums finished.
fn datagrams(flows: u32, len: usize) -> Batch {
    let all = Flows::new(Transport::Udp, flows);
    let template = all.template(OUTSIDE, len, TcpFlags::NONE);
    let mut batch = Batch::new(&template);
    let mut number = 0;
    batch.fill(|frame| {
        all.write(&template, OUTSIDE, number % flows, frame);
        number += 1;
    });
    batch
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(BATCH as u64));
    let indices: Vec<u16> = (0..BATCH as u16).collect();
    for (flows, len) in [(64, 64), (8, 64), (2, 64), (1, 64), (1, 1_200)] {
        let batch = datagrams(flows, len);
        let (memory, slots) = batch.parts();
        let mut merger = Merger::new();
        group.bench_function(BenchmarkId::new(format!("{flows} flows"), len), |bencher| {
            bencher.iter(|| {
                let merged = merger.merge(black_box(memory), slots, black_box(&indices), BOTH);
                merged.map_or(0, |merged| merged.frames().len())
            });
        });
    }
    group.finish();
}

fn segmenting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    for (transport, gso, size) in [
        (Transport::Tcp, GsoKind::TcpV4, 1_448_u16),
        (Transport::Udp, GsoKind::UdpL4, 1_200),
        (Transport::Udp, GsoKind::UdpL4, 22),
    ] {
        let headers = if transport == Transport::Tcp { 54 } else { 42 };
        let flows = Flows::new(transport, 1);
        let template = flows.template(OUTSIDE, headers + 44 * usize::from(size), TcpFlags::ACK);
        let mut frame = vec![7; template.len()];
        flows.write(&template, OUTSIDE, 0, &mut frame);
        let offload = Offload { partial_checksum: true, gso, gso_size: size, ..Offload::default() };
        group.throughput(Throughput::Elements(44));
        let mut scratch = Vec::new();
        group.bench_function(BenchmarkId::new(transport.name(), size), |bencher| {
            bencher.iter(|| {
                let mut octets = 0;
                let count = segmentation::segment(black_box(&frame), &offload, &mut scratch, |segment| {
                    octets += black_box(segment).len();
                });
                (count.expect("it can be cut"), octets)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = merging, segmenting
}
criterion_main!(benches);
