//! Packets of known sessions allocate nothing, nor do first packets, refusals and expiry.

use genkan_benches::counting::Counting;
use genkan_benches::network::{INSIDE, OUTSIDE};
use genkan_benches::{Batch, Flows, Rig, Template, Transport};
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, Verdict};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: u32 = 4_096;
const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Icmp];

/// Hands all sessions' frames to the router, in batches or one by one, and counts its allocations.
fn allocations(rig: &mut Rig, template: &Template, port: PortId, write: impl Fn(u32, &mut [u8])) -> u64 {
    let mut batch = Batch::new(template);
    let mut number = 0;
    let mut count = 0;
    for one_by_one in [false, true] {
        // The scratch memory of the first batch is not counted.
        for round in 0..=SESSIONS / 64 {
            batch.fill(|frame| {
                write(number % SESSIONS, frame);
                number += 1;
            });
            let counted = Counting::during(|| {
                if one_by_one {
                    batch.handle_singly(&mut rig.router, rig.now, port);
                } else {
                    batch.handle(&mut rig.router, rig.now, port);
                }
            });
            assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
            count += if round == 0 { 0 } else { counted };
        }
    }
    count
}

#[test]
fn known_sessions() {
    for transport in TRANSPORTS {
        let flows = Flows::new(transport, SESSIONS);
        let mut rig = Rig::new(flows);
        for port in [INSIDE, OUTSIDE] {
            let template = flows.template(port, 512, TcpFlags::ACK);
            let fast_path = rig.router.counters().stages.fast_path;
            let count = allocations(&mut rig, &template, port, |number, frame| {
                flows.write(&template, port, number, frame);
            });
            assert_eq!(count, 0, "{transport:?} {port:?}");
            assert!(rig.router.counters().stages.fast_path > fast_path + u64::from(2 * SESSIONS));
        }
    }
}

#[test]
fn hairpin_sessions() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let flows = Flows::new(transport, SESSIONS);
        let mut rig = Rig::hairpin(flows);
        let template = flows.template(INSIDE, 512, TcpFlags::ACK);
        let turned = rig.router.counters().stages.hairpin;
        let count = allocations(&mut rig, &template, INSIDE, |number, frame| {
            flows.write_hairpin(&template, number, frame);
        });
        assert_eq!(count, 0, "{transport:?}");
        assert!(rig.router.counters().stages.hairpin > turned + u64::from(2 * SESSIONS));
    }
}

#[test]
fn first_packets_answers_and_expiry() {
    for transport in TRANSPORTS {
        let flows = Flows::new(transport, SESSIONS);
        let mut rig = Rig::new(flows);
        rig.expire_all();
        // The whole of a session's life, in memory that the first round has not touched either.
        let later = Flows::new(transport, 2 * SESSIONS);
        let template = later.template(INSIDE, 64, TcpFlags::SYN);
        let mut batch = Batch::new(&template);
        let mut number = 0;
        while number < later.count() {
            batch.fill(|frame| {
                later.write(&template, INSIDE, number, frame);
                number += 1;
            });
            let count = Counting::during(|| batch.handle(&mut rig.router, rig.now, INSIDE));
            // The first batch finds neighbours not heard of for long: to ask them again makes frames.
            let asked = std::iter::from_fn(|| rig.router.poll_transmit()).count();
            assert!(
                asked == 0 || number == batch.verdicts().count() as u32,
                "{transport:?}: {asked} frames of the router's own"
            );
            assert!(count == 0 || asked > 0, "{transport:?}: {count} at {number}");
        }
        rig.now += std::time::Duration::from_secs(600);
        while rig.router.session_count() > 0 {
            let count = Counting::during(|| rig.router.handle_timeout(rig.now));
            // A neighbour that does not answer any more is asked for, and its end told.
            let asked = std::iter::from_fn(|| rig.router.poll_transmit()).count();
            let told = std::iter::from_fn(|| rig.router.poll_event()).count();
            assert!(count == 0 || asked + told > 0, "{transport:?}: {count} in an expiry");
        }
    }
}

#[test]
fn refusals() {
    // What nobody asked for, from outside: ports without a mapping, and TCP out of nowhere.
    for (transport, flags) in [(Transport::Udp, TcpFlags::NONE), (Transport::Tcp, TcpFlags::ACK)] {
        let flows = Flows::new(transport, SESSIONS);
        let mut rig = Rig::idle(flows);
        let template = flows.template(OUTSIDE, 64, flags);
        let mut batch = Batch::new(&template);
        let mut number = 0;
        for round in 0..SESSIONS / 64 {
            batch.fill(|frame| {
                flows.write(&template, OUTSIDE, number, frame);
                number += 1;
            });
            let count = Counting::during(|| batch.handle(&mut rig.router, rig.now, OUTSIDE));
            assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Drop(_))));
            assert!(count == 0 || round == 0, "{transport:?}");
        }
    }
}
