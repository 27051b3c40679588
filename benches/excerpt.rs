//! A worker that reads out what decides about one packet, for `genkan trace`, is held up for less than a millisecond of
//! CPU: with a million sessions, every table full, every host at its limit, and ten thousand forwards, by packets that
//! make it look at as much as any may.
//!
//! `cargo bench -p genkan-benches --bench excerpt`; with `-- --test` for a tenth of the sessions.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use genkan_benches::calls::{Run, no_call_is_long, timed};
use genkan_benches::flows::Shuffle;
use genkan_benches::network::{EXTERNAL, GATEWAY, INSIDE, LAN_MAC, OUTSIDE, WAN_MAC, forwards, mac_of, plan};
use genkan_benches::{BATCH, Batch, Flows, Rig, Template, Transport};
use genkan_engine::packet::build::{self, IcmpErrorKind};
use genkan_engine::plan::{ForwardRule, Plan, Rate};
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, Router, Team, Timestamp, UnixTime, WorkerId};
use genkan_io::sys::huge_pages::HugePages;

/// As in the program.
#[global_allocator]
static MEMORY: HugePages = HugePages;

const WALL: UnixTime = UnixTime(1_800_000_000);
/// The oldest sessions, which would make room in a full table, are part of every excerpt.
const OLDEST: u32 = 2;
/// Excerpts of each kind, and those of them that are looked into.
const CALLS: u32 = 2_048;
const LOOKED_INTO: usize = 32;
/// Forwards, on an external address that no dynamic mapping has.
const FORWARDS: u16 = 10_000;
const FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Inside hosts of all sessions.
const HOSTS: u32 = 1_024;
const SMALL: usize = 64;

fn ten_thousand() -> Vec<ForwardRule> {
    let mut all = forwards(FORWARDS, HOSTS as u16);
    for rule in &mut all {
        // No session's own endpoint, or it would leave from here.
        rule.ports[0].internal_first += 1;
        rule.address = Some(FORWARDED);
        rule.max_sessions = Some(100);
        rule.max_new_per_source = Some(Rate { count: 20, per: Duration::from_secs(60) });
    }
    all
}

fn forward(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(FORWARDED, 1 + (number % u32::from(FORWARDS)) as u16)
}

/// Someone outside who has no session.
fn stranger(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from_bits(0xc000_0200 + number % 200), 40_000)
}

/// Gives the router these frames, forwarded or not.
fn send(rig: &mut Rig, template: &Template, port: PortId, frames: &[(SocketAddrV4, SocketAddrV4)]) {
    let mut batch = Batch::new(template);
    for frames in frames.chunks_exact(BATCH) {
        let mut next = frames.iter();
        batch.fill(|frame| {
            let (from, to) = next.next().expect("a whole batch");
            template.write(frame, *from, *to);
        });
        batch.handle(&mut rig.router, rig.now, port);
        rig.answer_arp();
    }
}

/// A router in which all that is bounded is full: three quarters of the sessions answered, the rest sharing mappings
/// with them, so that no port can be had by ending one; and among them a hairpin of every host.
fn full(flows: Flows) -> Rig {
    let sessions = flows.count();
    let mut plan = Plan { forwards: ten_thousand(), ..plan(sessions) };
    plan.wan.addresses = vec![FORWARDED];
    plan.nat.max_sessions_per_host = sessions / HOSTS;
    let mut rig = Rig::with_plan(flows, plan);
    let (outbound, inbound) =
        (flows.template(INSIDE, SMALL, TcpFlags::NONE), flows.template(OUTSIDE, SMALL, TcpFlags::NONE));
    let hairpins: Vec<_> = (0..HOSTS).map(|number| hairpin(flows, number)).collect();
    send(&mut rig, &outbound, INSIDE, &hairpins);
    let all: Vec<_> = (0..sessions).map(|number| flows.endpoints(number)).collect();
    let out: Vec<_> = all.iter().map(|of| (of.internal, of.remote)).collect();
    send(&mut rig, &outbound, INSIDE, &out);
    let answers: Vec<_> = all[sessions as usize / 4..].iter().map(|of| (of.remote, of.external)).collect();
    send(&mut rig, &inbound, OUTSIDE, &answers);
    let count = rig.router.session_count();
    assert!(count > sessions - 4 * HOSTS, "{count} of {sessions}");
    println!("{count} sessions, {} mappings", rig.router.mapping_count());
    rig
}

/// The packet that opens a hairpin of a host, from an endpoint that has sessions outside as well.
fn hairpin(flows: Flows, host: u32) -> (SocketAddrV4, SocketAddrV4) {
    (flows.endpoints(host).internal, forward(host * 7))
}

/// An ICMP error about a datagram, to who seems to have sent it.
fn error(port: PortId, reporter: Ipv4Addr, (from, to): (SocketAddrV4, SocketAddrV4)) -> Vec<u8> {
    let quoted = build::datagram(from, to, &[0; 32]);
    let kind = IcmpErrorKind::TimeExceeded { code: 0 };
    let packet = build::icmp_error(kind, &quoted, reporter, *from.ip());
    build::with_ethernet(&packet, if port == INSIDE { LAN_MAC } else { WAN_MAC }, mac_of(reporter))
}

/// Reads out what decides about these frames, each time somewhere else in the tables. The most sessions that came along
/// with one of the first.
fn read_out(
    calls: &mut Vec<Duration>,
    (router, now): (&Router, Timestamp),
    port: PortId,
    frames: impl Iterator<Item = Vec<u8>>,
) -> u32 {
    let mut most = 0;
    for (number, frame) in frames.enumerate() {
        let mut excerpt = None;
        timed(calls, || excerpt = Some(router.excerpt(now, port, &frame, &[])));
        // What is done with it is not done by the worker.
        if number < LOOKED_INTO {
            let router = Router::of_excerpts(now, WALL, excerpt.into_iter().collect());
            most = most.max(router.map_or(0, |router| router.session_count()));
        }
    }
    most
}

fn run(flows: Flows, rig: &Rig) -> Run {
    let mut run = Run::default();
    let (now, router) = (rig.now, &rig.router);
    let inside = flows.template(INSIDE, SMALL, TcpFlags::NONE);
    let outside = flows.template(OUTSIDE, SMALL, TcpFlags::NONE);
    let numbers = || Shuffle::new(flows.count()).take(CALLS as usize);
    let mut phase = |name, port, sessions, frame: &dyn Fn(u32) -> Vec<u8>| {
        run.phase(name, |calls| {
            let came_along = read_out(calls, (router, now), port, numbers().map(frame));
            assert!(came_along >= sessions + OLDEST, "{name}: {came_along} sessions came along");
        });
    };
    phase("a session's, from inside", INSIDE, 1, &|number| {
        let of = flows.endpoints(number);
        inside.frame(of.internal, of.remote)
    });
    phase("a session's, from outside", OUTSIDE, 1, &|number| {
        let of = flows.endpoints(number);
        outside.frame(of.remote, of.external)
    });
    phase("new, of an endpoint with a mapping", INSIDE, 0, &|number| {
        inside.frame(flows.endpoints(number).internal, stranger(number))
    });
    phase("new, of a new endpoint", INSIDE, 0, &|number| {
        let host = *flows.endpoints(number).internal.ip();
        inside.frame(SocketAddrV4::new(host, 64_000), stranger(number))
    });
    phase("new, to a forward", OUTSIDE, 0, &|number| outside.frame(stranger(number), forward(number)));
    phase("new, to a mapping", OUTSIDE, 0, &|number| {
        outside.frame(stranger(number), flows.endpoints(number).external)
    });
    phase("hairpin, new, to a forward", INSIDE, 0, &|number| {
        inside.frame(flows.endpoints(number).internal, forward(number))
    });
    phase("hairpin, new, to a mapping", INSIDE, 0, &|number| {
        inside.frame(flows.endpoints(number).internal, flows.endpoints(number + 1).external)
    });
    phase("hairpin, of a new endpoint, to a forward", INSIDE, 0, &|number| {
        let host = *flows.endpoints(number).internal.ip();
        inside.frame(SocketAddrV4::new(host, 64_000), forward(number))
    });
    phase("hairpin, its session's", INSIDE, 2, &|number| {
        let (from, to) = hairpin(flows, number % HOSTS);
        inside.frame(from, to)
    });
    phase("ICMP error about a session", OUTSIDE, 1, &|number| {
        let of = flows.endpoints(number);
        error(OUTSIDE, GATEWAY, (of.external, of.remote))
    });
    phase("ICMP error about a hairpin", INSIDE, 2, &|number| {
        let of = flows.endpoints(number % HOSTS);
        let (_, to) = hairpin(flows, number % HOSTS);
        let target = genkan_benches::network::HOSTS.to_bits() + u32::from(to.port()) % HOSTS;
        let target = SocketAddrV4::new(Ipv4Addr::from_bits(target), to.port() + 1);
        error(INSIDE, *target.ip(), (SocketAddrV4::new(EXTERNAL, of.internal.port()), target))
    });
    ports(&mut run);
    run
}

/// The ports of an address where more than their owners is to be looked at.
fn ports(run: &mut Run) {
    let flows = Flows::new(Transport::Udp, CALLS);
    let template = flows.template(INSIDE, SMALL, TcpFlags::NONE);
    let frames = || {
        let endpoint = |number| SocketAddrV4::new(*flows.endpoints(number).internal.ip(), 2_000);
        (0..CALLS).map(move |number| (endpoint(number), stranger(number)))
    };
    let frames = || frames().map(|(from, to)| template.frame(from, to));
    // Forwards that have gone, and whose ports may be had again from now on.
    let before = plan(CALLS);
    let mut rig = Rig::with_plan(flows, Plan { forwards: forwards(FORWARDS, 1_000), ..before.clone() });
    rig.router.apply_plan(rig.now, WALL, Arc::new(before.clone()));
    rig.now += before.nat.timeouts.udp + Duration::from_secs(1);
    run.phase("ports of 10,000 forwards that have gone", |calls| {
        read_out(calls, (&rig.router, rig.now), INSIDE, frames());
    });
    let rig = Rig::in_team(flows, Team::new(3, [1, 2]), WorkerId(1));
    run.phase("new, of a new endpoint, three workers", |calls| {
        read_out(calls, (&rig.router, rig.now), INSIDE, frames());
    });
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let flows = Flows::new(Transport::Udp, if quick { 102_400 } else { 1_024_000 });
    let rig = full(flows);
    no_call_is_long(|| run(flows, &rig));
}
