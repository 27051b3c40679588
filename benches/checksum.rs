//! Full sums by length, and the incremental update that replaces them.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genkan_engine::wire::checksum::{self, Delta};

fn full(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for len in [20, 64, 512, 1_500, 65_535] {
        let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("full {len}"), |bencher| {
            bencher.iter(|| checksum::finish(checksum::sum(black_box(&bytes))));
        });
    }
}

fn incremental(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    let (old, new) = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(203, 0, 113, 1));
    group.bench_function("incremental, address and port", |bencher| {
        bencher.iter(|| {
            let delta = Delta::address(black_box(old), black_box(new)).and(Delta::word(black_box(2_048), 5));
            delta.apply(black_box(0x1234))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = full, incremental
}
criterion_main!(benches);
