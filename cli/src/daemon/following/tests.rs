//! Packets that are followed fare as others do, and what is told of them is what happened, each once.
//!
//! Random packets through two routers of one or two workers each, at whichever worker they arrive: one is followed.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use genkan_engine::packet::build::{self, IcmpErrorKind};
use genkan_engine::packet::ip_fragmentation;
use genkan_engine::plan::{ForwardRule, PortRange};
use genkan_engine::router::LinkState;
use genkan_engine::trail::Step;
use genkan_engine::wire::ethernet::{self, MacAddr};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{
    Offload, Plan, PortId, Router, RouterConfig, Team, Timestamp, UnixTime, Verdict, WorkerId,
};
use genkan_io::{FrameIo, loopback};
use proptest::prelude::*;

use super::follower::{PER_SECOND, Part, Record, Records, Wanted};
use super::telling::Halves;
use super::{Follower, Followers};
use crate::daemon::exchange::Exchange;
use crate::daemon::forwarder::{Forwarder, PortHalves};
use crate::daemon::poller::Waker;
use crate::replay::Neighbors;
use crate::simulation::{Packet, Transport};

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const LAN: PortId = PortId::lan(0);
const PORTS: [PortId; 2] = [PortId::WAN, LAN];
const NOW: Timestamp = Timestamp::from_secs(100);

fn plan() -> Plan {
    let forward = |name: &str, port, to: [u8; 4], from: &str| ForwardRule {
        name: name.to_owned(),
        protocols: vec![Protocol::TCP, Protocol::UDP],
        ports: vec![PortRange { external_first: port, external_last: port, internal_first: port }],
        to: to.into(),
        address: None,
        from: if from.is_empty() { Vec::new() } else { vec![from.parse().expect("a prefix")] },
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    };
    let forwards = vec![
        forward("web", 80, [192, 168, 0, 10], ""),
        forward("ssh", 81, [192, 168, 0, 11], "198.51.100.0/24"),
    ];
    Plan { forwards, ..crate::replay::tests::plan() }
}

/// A router of several workers, and what its wires lead to.
struct World {
    workers: Vec<Forwarder>,
    /// The far end of each worker's ports.
    far: Vec<[FrameIo; 2]>,
    records: Vec<Records>,
    halves: Halves,
}

impl World {
    fn new(workers: u8) -> World {
        let (plan, team) = (Arc::new(plan()), Team::new(workers, [3, 4]));
        let wakers: Vec<Waker> = (0..workers).map(|_| Waker::new().expect("a descriptor")).collect();
        let mut world =
            World { workers: Vec::new(), far: Vec::new(), records: Vec::new(), halves: Halves::default() };
        for (worker, exchange) in (0..workers).zip(Exchange::between(&wakers)) {
            let config = RouterConfig {
                plan: plan.clone(),
                seed: [1, worker.into()],
                team: team.clone(),
                worker: WorkerId(worker),
            };
            let mut forwarder = Forwarder::new(Router::new(config, NOW, UnixTime(0)), exchange);
            let far = PORTS.map(|port| {
                let (near, far) = loopback::pair(64).expect("descriptors");
                let halves = PortHalves { receiver: Some(near.receiver), transmitter: near.transmitter };
                forwarder.attach(NOW, port, halves, LinkState { mac: ROUTER, mtu: 1500, up: true });
                far
            });
            world.workers.push(forwarder);
            world.far.push(far);
        }
        world.settle();
        world
    }

    fn follow(&mut self, wanted: &Wanted) {
        for worker in &mut self.workers {
            let (follower, records) = Follower::new(wanted.clone());
            worker.add_follower(follower);
            self.records.push(records);
        }
    }

    fn told(&mut self) -> Vec<Record> {
        let all = self.records.iter_mut().flat_map(|ring| std::iter::from_fn(|| ring.pop()));
        all.filter_map(|record| self.halves.join(record)).collect()
    }

    fn lost(&self) -> u64 {
        self.records.iter().map(Records::lost).sum()
    }

    /// Frames come in at the same time. Returns what left, and how many frames came in, answers to ARP among them.
    fn send(&mut self, worker: usize, port: PortId, frames: &[Vec<u8>]) -> (Vec<(PortId, Vec<u8>)>, usize) {
        self.arrive(worker, port, frames);
        let (left, answers) = self.settle();
        (left, frames.len() + answers)
    }

    fn arrive(&mut self, worker: usize, port: PortId, frames: &[Vec<u8>]) {
        let worker = worker % self.workers.len();
        let at = PORTS.iter().position(|known| *known == port).expect("one of them");
        for frame in frames {
            let sent = self.far[worker][at].transmitter.transmit_frame(frame, Offload::default());
            assert!(sent.expect("the other end is there"));
        }
    }

    fn settle(&mut self) -> (Vec<(PortId, Vec<u8>)>, usize) {
        let (mut left, mut answers) = (Vec::new(), 0);
        let neighbors = Neighbors(HashMap::new());
        loop {
            let mut frames = 0;
            for worker in &mut self.workers {
                frames += worker.round(|| NOW);
            }
            for worker in 0..self.workers.len() {
                for (at, port) in PORTS.into_iter().enumerate() {
                    let batch = self.far[worker][at].receiver.receive().expect("the other end is there");
                    let sent: Vec<Vec<u8>> = batch
                        .slots
                        .iter()
                        .map(|slot| batch.memory[slot.offset..slot.offset + slot.len].to_vec())
                        .collect();
                    for frame in sent {
                        frames += 1;
                        if let Some(answer) = neighbors.answer(port, &frame) {
                            answers += 1;
                            self.arrive(worker, port, &[answer]);
                        }
                        left.push((port, frame));
                    }
                }
            }
            if frames == 0 {
                return (left, answers);
            }
        }
    }
}

/// What comes in: port and worker, from and to whom, ports, what.
type Sent = (bool, usize, usize, usize, (u16, u16), usize);

fn sent() -> impl Strategy<Value = Sent> {
    let port = || prop_oneof![Just(5000u16), Just(80), Just(81), Just(90)];
    (any::<bool>(), 0usize..2, 0usize..5, 0usize..5, (port(), port()), 0usize..12)
}

const ADDRESSES: [[u8; 4]; 5] =
    [[192, 168, 0, 10], [192, 168, 0, 11], [203, 0, 113, 1], [198, 51, 100, 7], [192, 0, 2, 9]];

/// The frames, and whether they are fragments.
fn frames(&(_, _, from, to, (source, destination), kind): &Sent) -> (Vec<Vec<u8>>, bool) {
    let transport = match kind {
        0 | 1 => Transport::Tcp(source, destination, TcpFlags::SYN),
        2 => Transport::Tcp(source, destination, TcpFlags::ACK),
        3 => Transport::EchoRequest(source),
        4 => Transport::EchoReply(source),
        5 => Transport::Other(Protocol::ESP),
        _ => Transport::Udp(source, destination),
    };
    let (from, to): (Ipv4Addr, Ipv4Addr) = (ADDRESSES[from].into(), ADDRESSES[to].into());
    let packet = Packet { source: from, destination: to, transport };
    let frame = packet.to_frame(ROUTER);
    match kind {
        6 | 7 => {
            let mut whole = Vec::new();
            let (protocol, addresses) = (etherparse::IpNumber::UDP, (from.octets(), to.octets()));
            let header = etherparse::Ipv4Header::new(0, 64, protocol, addresses.0, addresses.1);
            let header = etherparse::Ipv4Header { dont_fragment: false, ..header.expect("it is short") };
            let builder = etherparse::PacketBuilder::ethernet2([2; 6], ROUTER.0);
            let builder = builder.ip(etherparse::IpHeaders::Ipv4(header, Default::default()));
            builder.udp(source, destination).write(&mut whole, &[7; 700]).expect("it is short");
            let mut pieces = Vec::new();
            ip_fragmentation::fragment(&whole, 400, |piece| pieces.push(piece.to_vec())).expect("it may be");
            if kind == 7 {
                pieces.reverse();
            }
            (pieces, true)
        }
        // About a packet the other way.
        8 => {
            let about = Packet { source: to, destination: from, ..packet.answer().unwrap_or(packet) };
            let quoted = about.to_frame(ROUTER);
            let kind = IcmpErrorKind::Unreachable { code: 3 };
            let error = build::icmp_error(kind, &quoted[ethernet::HEADER_LEN..], from, to);
            (vec![build::with_ethernet(&error, ROUTER, MacAddr([2; 6]))], false)
        }
        9 => (vec![frame; 3], false),
        _ => (vec![frame], false),
    }
}

fn all() -> Wanted {
    Wanted { filter: "".parse().expect("all packets"), port: None }
}

/// Whether what was told of a step is what left in it.
fn tells_the_truth(told: &[Record], left: &[(PortId, Vec<u8>)]) -> Result<(), String> {
    for record in told {
        let is_left = |port: PortId, head: &[u8]| {
            left.iter().any(|(out, frame)| *out == port && frame.starts_with(head))
        };
        if let Some((port, after)) = &record.after
            && !is_left(*port, after.head())
        {
            return Err(format!("has not left: {record:?}"));
        }
        let may_leave = match record.verdict {
            Verdict::Transmit(_) => record.after.is_some(),
            Verdict::Drop(_) => record.after.is_none(),
            Verdict::Consumed => true,
            Verdict::HandOver(..) => false,
        };
        if !may_leave || record.part != Part::Whole {
            return Err(format!("not whole: {record:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn following_changes_nothing_and_tells_what_happened(
        workers in 1u8..3,
        packets in prop::collection::vec(sent(), 1..24),
    ) {
        let (mut plain, mut followed) = (World::new(workers), World::new(workers));
        followed.follow(&all());
        for sent in &packets {
            let (port, (frames, are_fragments)) = (PORTS[usize::from(sent.0)], frames(sent));
            let (expected, _) = plain.send(sent.1, port, &frames);
            let (left, came_in) = followed.send(sent.1, port, &frames);
            prop_assert_eq!(&left, &expected);
            let told = followed.told();
            let truth = tells_the_truth(&told, &left);
            prop_assert!(truth.is_ok(), "{truth:?}");
            // A fragment that has waited is told of again by the worker that goes on with it.
            prop_assert!(
                told.len() == came_in || (are_fragments && workers > 1 && told.len() > came_in),
                "{} of {came_in} are told: {told:#?}", told.len()
            );
        }
        for (plain, followed) in plain.workers.iter().zip(&followed.workers) {
            prop_assert_eq!(plain.router().counters(), followed.router().counters());
        }
        prop_assert_eq!(followed.lost(), 0);
    }
}

fn udp(from: [u8; 4], source: u16, to: [u8; 4], destination: u16) -> Vec<u8> {
    let transport = Transport::Udp(source, destination);
    Packet { source: from.into(), destination: to.into(), transport }.to_frame(ROUTER)
}

/// A hairpin is told of once and from its beginning, also when its sides belong to two workers.
#[test]
fn both_halves_of_a_hairpin_are_one_packet() {
    let mut seen_by_two = 0;
    for host in 20..60 {
        let mut world = World::new(2);
        world.follow(&all());
        let frame = udp([192, 168, 0, host], 5000, [203, 0, 113, 1], 80);
        world.send(0, LAN, std::slice::from_ref(&frame));
        // The neighbour is known by now.
        world.told();
        seen_by_two += usize::from(world.workers.iter().all(|worker| worker.router().session_count() == 1));
        let (left, _) = world.send(1, LAN, &[frame]);
        let told = world.told();
        assert_eq!((told.len(), left.len()), (1, 1), "{told:#?}");
        let steps = &told[0].steps;
        assert!(matches!(steps.first(), Some(Step::Known { .. })), "{steps:?}");
        assert!(steps.contains(&Step::TurnedRound), "{steps:?}");
        assert!(matches!(steps.last(), Some(Step::NextHop { mac: Some(_), .. })), "{steps:?}");
        assert_eq!(told[0].verdict, Verdict::Transmit(LAN));
    }
    assert!(seen_by_two > 0);
}

/// Whoever cannot be told of all is told of as many as it may, and how many there were besides. All are judged.
#[test]
fn a_flood_is_counted_and_not_told() {
    let mut world = World::new(1);
    world.follow(&all());
    world.follow(&Wanted { filter: "udp port 9".parse().expect("a filter"), port: None });
    let frame = udp([192, 0, 2, 9], 5000, [203, 0, 113, 1], 9);
    let other = udp([192, 0, 2, 9], 5000, [203, 0, 113, 1], 99);
    let flood = 40 * 50;
    for _ in 0..40 {
        world.send(0, PortId::WAN, &vec![frame.clone(); 50]);
    }
    let counters = world.workers[0].router().counters();
    assert_eq!(counters.ports[PortId::WAN.index()].rx_frames, flood);
    let told = |records: &mut Records| std::iter::from_fn(|| records.pop()).count() as u64;
    for records in &mut world.records {
        assert_eq!((told(records), records.lost()), (PER_SECOND.into(), flood - u64::from(PER_SECOND)));
    }
    // What nobody wants is not lost.
    world.send(0, PortId::WAN, &[other]);
    assert_eq!(world.records[1].lost(), flood - u64::from(PER_SECOND));
}

/// A packet is wanted as it came in or as it left, at the port that is asked for.
#[test]
fn either_side_of_a_packet_is_matched() {
    for (filter, port, wanted) in [
        ("host 192.168.0.10", None, true),
        ("dst host 203.0.113.1", None, true),
        ("dst host 203.0.113.1", Some(LAN), false),
        ("dst host 192.168.0.10", Some(LAN), true),
        ("dst host 192.168.0.10", Some(PortId::WAN), false),
        ("tcp", None, false),
    ] {
        let mut world = World::new(1);
        let frame = udp([192, 0, 2, 9], 5000, [203, 0, 113, 1], 80);
        // So that it does not wait for ARP.
        world.send(0, PortId::WAN, std::slice::from_ref(&frame));
        world.follow(&Wanted { filter: filter.parse().expect("a filter"), port });
        world.send(0, PortId::WAN, &[frame]);
        assert_eq!(world.told().len(), usize::from(wanted), "{filter} at {port:?}");
        assert_eq!(world.lost(), 0);
    }
}

/// Whoever goes away is forgotten.
#[test]
fn nobody_is_told_who_does_not_listen() {
    let mut followers = Followers::default();
    let (first, records) = Follower::new(all());
    let (second, other_records) = Follower::new(all());
    followers.add(first);
    followers.add(second);
    drop(records);
    assert!(followers.tend());
    drop(other_records);
    assert!(!followers.tend());
}
