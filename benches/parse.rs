//! Decoding one frame, by protocol; the rewrite of one frame; drops that parsing decides.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use genkan_benches::network::LAN_MAC;
use genkan_benches::{Template, Transport};
use genkan_engine::Offload;
use genkan_engine::packet::parsed::parse_ipv4;
use genkan_engine::packet::rewrite::{self, Rewrite, Side};
use genkan_engine::wire::tcp::TcpFlags;

const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 1), 2_048);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 443);

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
        for len in [64, 1_500] {
            let frame = Template::new(transport, len, LAN_MAC, TcpFlags::ACK, true).frame(SOURCE, REMOTE);
            group.bench_function(format!("{} {len}", transport.name()), |bencher| {
                bencher.iter(|| parse_ipv4(black_box(&frame)));
            });
        }
    }
    let mut wrong = Template::new(Transport::Udp, 64, LAN_MAC, TcpFlags::NONE, true).frame(SOURCE, REMOTE);
    wrong[24] ^= 1;
    group.bench_function("wrong header checksum", |bencher| bencher.iter(|| parse_ipv4(black_box(&wrong))));
    group.finish();
}

fn rewrite(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rewrite");
    for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
        let mut frame = Template::new(transport, 64, LAN_MAC, TcpFlags::ACK, true).frame(SOURCE, REMOTE);
        let parsed = parse_ipv4(&frame).expect("a right frame");
        let offload = Offload::default();
        let mut port = 0;
        group.bench_function(transport.name(), |bencher| {
            bencher.iter(|| {
                port += 1;
                let address = Ipv4Addr::new(203, 0, 113, 1);
                let rewrite = Rewrite { side: Side::Source, address, port };
                rewrite::apply(black_box(&mut frame), &parsed, &offload, &rewrite);
                port = port.wrapping_mul(3);
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = parse, rewrite
}
criterion_main!(benches);
