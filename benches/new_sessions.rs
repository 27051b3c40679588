//! What a new session costs: CPU time for each, and how long the calls take that open them.
//!
//! Frames come in batches of 64, as a device hands them over. The time is that of the thread's CPU, so that
//! waiting for a CPU does not count; what is reported is the median of [`RUNS`] runs on routers of their own.
//!
//! `cargo bench -p genkan-benches --bench new_sessions`; with `-- --test` for one run of a tenth of the sessions,
//! with `-- WORD` for the cases whose names have that word.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::nat::event_log::Detail;
use genkan_engine::plan::Plan;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, Verdict};
use genkan_traffic::network::{EXTERNAL, INSIDE, OUTSIDE, REMOTES, forwards, plan};
use genkan_traffic::{BATCH, Batch, Flows, Rig, Template, Transport};
use nix::time::{ClockId, clock_gettime};

/// Runs of each case.
const RUNS: usize = 5;
/// New sessions per second of the router's time in the steady state.
const RATE: u64 = 100_000;
/// Forwards of the large plan.
const MANY_FORWARDS: u16 = 10_000;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock").into()
}

/// The calls of one case, and the sessions that they opened.
#[derive(Debug, Default)]
struct Calls {
    calls: Vec<Duration>,
    sessions: usize,
}

impl Calls {
    fn time(&mut self, work: impl FnOnce()) {
        let start = cpu_time();
        work();
        self.calls.push(cpu_time() - start);
    }

    /// Nanoseconds per session, and microseconds of the median call, of all but one in a thousand, and of the
    /// longest.
    fn figures(mut self) -> [f64; 4] {
        self.calls.sort_unstable();
        let total: Duration = self.calls.iter().sum();
        let call =
            |share: f64| self.calls[((self.calls.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
        [total.as_nanos() as f64 / self.sessions as f64, call(0.5), call(0.999), call(1.0)]
    }
}

/// Opens sessions by batches whose frames `write` writes, `numbers` of them.
fn open(
    rig: &mut Rig,
    calls: &mut Calls,
    template: &Template,
    port: PortId,
    numbers: std::ops::Range<u32>,
    write: impl Fn(u32, &mut [u8]),
) {
    let mut batch = Batch::new(template);
    let before = rig.router.session_count();
    for start in numbers.clone().step_by(BATCH) {
        let mut number = start..;
        batch.fill(|frame| write(number.next().unwrap_or_default(), frame));
        calls.time(|| {
            batch.handle(&mut rig.router, rig.now, port);
            // None where no record is kept.
            rig.router.take_nat_events(usize::MAX).for_each(|event| _ = black_box(event));
        });
        assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
    }
    assert_eq!(rig.router.session_count() - before, numbers.len() as u32);
    calls.sessions += numbers.len();
}

fn template_and_rig(transport: Transport, sessions: u32, plan: Plan) -> (Flows, Template, Rig) {
    let flows = Flows::new(transport, sessions);
    (flows, flows.template(INSIDE, 64, TcpFlags::SYN), Rig::with_plan(flows, plan))
}

/// From inside: the sessions of `numbers`, those before them being there already.
fn outbound(transport: Transport, sessions: u32, known: u32, numbers: std::ops::Range<u32>) -> Calls {
    let (flows, template, mut rig) = template_and_rig(transport, sessions, plan(sessions));
    rig.open(0..known);
    let mut calls = Calls::default();
    open(&mut rig, &mut calls, &template, INSIDE, numbers, |number, frame| {
        flows.write(&template, INSIDE, number, frame);
    });
    calls
}

/// From inside, with every event noted for a record (RFC 8158).
fn recorded(sessions: u32, known: u32, numbers: std::ops::Range<u32>) -> Calls {
    let (flows, template, mut rig) = template_and_rig(Transport::Udp, sessions, plan(sessions));
    rig.open(0..known);
    rig.router.log_nat_events(Some(Detail::Sessions));
    let mut calls = Calls::default();
    open(&mut rig, &mut calls, &template, INSIDE, numbers, |number, frame| {
        flows.write(&template, INSIDE, number, frame);
    });
    calls
}

/// From outside, through forwards.
fn forwarded(count: u16, sessions: u32) -> Calls {
    let flows = Flows::new(Transport::Tcp, sessions);
    let hosts = flows.hosts().count() as u16;
    let mut rig = Rig::with_plan(flows, Plan { forwards: forwards(count, hosts), ..plan(sessions) });
    let template = flows.template(OUTSIDE, 64, TcpFlags::SYN);
    let mut calls = Calls::default();
    open(&mut rig, &mut calls, &template, OUTSIDE, 0..sessions, |number, frame| {
        let address = Ipv4Addr::from_bits(REMOTES.to_bits() + number % (1 << 17));
        let remote = SocketAddrV4::new(address, 1_024 + (number >> 17) as u16);
        // An odd multiple visits the forwards in no order that a prefetcher would know.
        let port = 1 + (u64::from(number) * 7_919 % u64::from(count)) as u16;
        template.write(frame, remote, SocketAddrV4::new(EXTERNAL, port));
    });
    calls
}

/// As many sessions end as begin.
fn steady(sessions: u32) -> Calls {
    let lifetime = Duration::from_nanos(u64::from(sessions) * 1_000_000_000 / RATE);
    let mut plan = plan(2 * sessions);
    plan.nat.timeouts.udp = lifetime;
    let (flows, template, mut rig) = template_and_rig(Transport::Udp, sessions, plan);
    let mut batch = Batch::new(&template);
    let (mut calls, mut number) = (Calls::default(), 0);
    while number < 3 * sessions {
        batch.fill(|frame| {
            flows.write(&template, INSIDE, number, frame);
            number += 1;
        });
        // Until then it fills up.
        let counts = number > 2 * sessions;
        let mut unnoticed = Calls::default();
        let calls = if counts { &mut calls } else { &mut unnoticed };
        calls.time(|| batch.handle(&mut rig.router, rig.now, INSIDE));
        assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
        calls.sessions += BATCH;
        rig.now += Duration::from_nanos(BATCH as u64 * 1_000_000_000 / RATE);
        while rig.router.poll_timeout().is_some_and(|at| at <= rig.now) {
            calls.time(|| rig.router.handle_timeout(rig.now));
        }
        rig.answer_arp();
    }
    let live = rig.router.session_count();
    assert!((sessions..sessions + sessions / 4).contains(&live), "{live}");
    calls
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    let (runs, million) = if quick { (1, 102_400) } else { (RUNS, 1_024_000) };
    let ports = 61_440;
    type Case<'a> = (&'a str, &'a dyn Fn() -> Calls);
    let cases: [Case<'_>; 9] = [
        ("udp, new mapping, 0 to 61,440", &|| outbound(Transport::Udp, million, 0, 0..ports)),
        ("tcp, new mapping, 0 to 61,440", &|| outbound(Transport::Tcp, million, 0, 0..ports)),
        ("udp, known mapping, to a full table", &|| outbound(Transport::Udp, million, ports, ports..million)),
        ("tcp, known mapping, to a full table", &|| outbound(Transport::Tcp, million, ports, ports..million)),
        ("udp, new mapping, recorded", &|| recorded(million, 0, 0..ports)),
        ("udp, known mapping, recorded", &|| recorded(million, ports, ports..million)),
        ("tcp, through the only forward", &|| forwarded(1, million)),
        ("tcp, through one of 10,000 forwards", &|| forwarded(MANY_FORWARDS, million)),
        ("udp, 100,000/s begin and as many end", &|| steady(million)),
    ];
    println!("tables for {million} sessions; median of {runs} runs");
    println!("{:<40} {:>9} {:>9} {:>9} {:>9}", "", "ns each", "call/us", "p99.9", "max");
    for (name, case) in cases.into_iter().filter(|(name, _)| wanted.is_none_or(|word| name.contains(word))) {
        let mut figures: Vec<[f64; 4]> = (0..runs).map(|_| case().figures()).collect();
        let mut median = |which: usize| {
            figures.sort_by(|a, b| a[which].total_cmp(&b[which]));
            figures[figures.len() / 2][which]
        };
        println!("{name:<40} {:>9.0} {:>9.1} {:>9.1} {:>9.1}", median(0), median(1), median(2), median(3));
    }
}
