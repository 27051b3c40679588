//! What sessions cost when they come and go, and what a look-up among many forwards costs.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genkan_benches::flows::Shuffle;
use genkan_benches::network::{self, EXTERNAL, INSIDE, plan};
use genkan_benches::{BATCH, Batch, Flows, Rig, Transport};
use genkan_engine::forward::rules::ForwardTable;
use genkan_engine::plan::Plan;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{Timestamp, UnixTime};

/// Sessions that are all ended before the next ones are opened.
const GENERATION: u32 = 60 * 1_024;

/// The first packets of sessions: of internal endpoints that have no mapping yet, and of some that do.
fn new_sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first packet");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, transport, known) in [
        ("udp, new mapping", Transport::Udp, 0),
        ("tcp, new mapping", Transport::Tcp, 0),
        ("udp, known mapping", Transport::Udp, GENERATION),
    ] {
        let flows = Flows::new(transport, GENERATION);
        let mut rig = Rig::idle(flows);
        rig.open(0..known);
        let template = flows.template(INSIDE, 64, TcpFlags::SYN);
        let mut batch = Batch::new(&template);
        let end = if known == 0 { GENERATION } else { 14 * GENERATION };
        let mut next = known;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    if next + BATCH as u32 > end {
                        rig.expire_all();
                        rig.open(0..known);
                        next = known;
                    }
                    batch.fill(|frame| {
                        flows.write(&template, INSIDE, next, frame);
                        next += 1;
                    });
                    let start = Instant::now();
                    batch.handle(&mut rig.router, rig.now, INSIDE);
                    total += start.elapsed();
                }
                total
            });
        });
        assert_eq!(rig.router.session_count(), next);
    }
}

/// The end of sessions whose time has come, their mappings included.
fn expiry(criterion: &mut Criterion) {
    const SESSIONS: u32 = 4_096;
    let mut group = criterion.benchmark_group("expiry");
    group.throughput(Throughput::Elements(SESSIONS.into()));
    for (name, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
        let mut rig = Rig::idle(Flows::new(transport, SESSIONS));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    rig.open(0..SESSIONS);
                    rig.now += Duration::from_secs(3 * 3_600);
                    let start = Instant::now();
                    while rig.router.session_count() > 0 {
                        rig.router.handle_timeout(rig.now);
                    }
                    total += start.elapsed();
                    rig.expire_all();
                }
                total
            });
        });
    }
}

/// Which forward takes a packet, when there are few and when there are many.
fn forwards(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forwards");
    let source = Ipv4Addr::new(198, 18, 0, 1);
    let now = Timestamp::ZERO;
    for count in [1, 10_000] {
        let plan = Plan { forwards: network::forwards(count, 1_024), ..plan(1_000) };
        let wall = UnixTime(1_800_000_000);
        group.bench_function(format!("compile {count}"), |bencher| {
            bencher.iter(|| ForwardTable::compile(black_box(&plan), now, wall));
        });
        let table = ForwardTable::compile(&plan, now, wall);
        let mut numbers = Shuffle::new(count.into());
        let mut next = move || numbers.next().unwrap_or_default() as u16;
        group.bench_function(format!("inbound, taken, of {count}"), |bencher| {
            bencher.iter(|| table.inbound(now, Protocol::TCP, EXTERNAL, 1 + next(), source, false));
        });
        group.bench_function(format!("inbound, not taken, of {count}"), |bencher| {
            bencher.iter(|| table.inbound(now, Protocol::TCP, EXTERNAL, 50_000 + next(), source, false));
        });
        group.bench_function(format!("outbound, of {count}"), |bencher| {
            bencher.iter(|| {
                let rule = &plan.forwards[usize::from(next())];
                let internal = SocketAddrV4::new(rule.to, rule.ports[0].internal_first);
                table.outbound(now, Protocol::TCP, internal, EXTERNAL)
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = new_sessions, expiry, forwards
}
criterion_main!(benches);
