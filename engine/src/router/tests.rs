//! Callers that get it wrong, and plans that no file gives: what the lab of `tests/` does not do.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::frame::Slot;
use crate::packet::test_frames::Spec;
use crate::plan::{
    FilteringBehavior, ForwardRule, Host, Lan, MappingBehavior, Nat as NatPlan, PortRange, Route, Timeouts,
    Wan,
};

pub(crate) const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1);

pub(crate) fn plan() -> Plan {
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(203, 0, 113, 2)),
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        },
        lans: vec![Lan {
            name: "home".into(),
            address: "192.168.0.1/24".parse().unwrap(),
            mtu: 1500,
            reaches: Vec::new(),
        }],
        routes: Vec::new(),
        host_port: false,
        nat: NatPlan {
            mapping: MappingBehavior::EndpointIndependent,
            filtering: FilteringBehavior::AddressDependent,
            hairpin: true,
            port_parity: false,
            inbound_refresh: false,
            ports: 1024..=65535,
            max_sessions: 64,
            max_sessions_per_host: 64,
            max_ports_per_host: 64,
            timeouts: Timeouts::default(),
        },
        hosts: Vec::new(),
        forwards: Vec::new(),
        dmz: None,
        services: Vec::new(),
    }
}

pub(crate) fn router(plan: Plan) -> Router {
    let mut router = Router::new(RouterConfig::alone(Arc::new(plan), [1, 2]), NOW, UnixTime(0));
    for port in [PortId::WAN, PortId::lan(0)] {
        router.set_link(NOW, port, LinkState { mac: MAC, mtu: 1500, up: true });
    }
    while router.poll_transmit().is_some() {}
    router
}

/// From 192.168.0.10 to 198.51.100.7, and to our MAC address.
fn datagram() -> Vec<u8> {
    Spec::udp(b"data").frame()
}

fn hand_over(router: &mut Router, port: PortId, mut bytes: Vec<u8>) -> Verdict {
    router.handle_frame(NOW, port, &mut bytes.as_mut_slice(), Offload::default())
}

#[test]
fn ports_that_cannot_be_are_down() {
    let mut router = router(plan());
    for port in [PortId(PortId::COUNT as u8), PortId(255)] {
        assert_eq!(hand_over(&mut router, port, datagram()), Verdict::Drop(DropReason::PortDown));
        router.set_link(NOW, port, LinkState { mac: MAC, mtu: 1500, up: true });
    }
    // One that could be, but that the plan does not have.
    let absent = PortId::lan(PortId::MAX_LANS - 1);
    router.set_link(NOW, absent, LinkState { mac: MAC, mtu: 1500, up: true });
    assert_eq!(hand_over(&mut router, absent, datagram()), Verdict::Drop(DropReason::SourceNotOfLan));
}

#[test]
fn slots_outside_the_memory_are_empty_frames() {
    let mut router = router(plan());
    let mut memory = datagram();
    let len = memory.len();
    let outside =
        [(len, 1), (len - 1, 2), (usize::MAX, 1), (usize::MAX, usize::MAX), (0, usize::MAX), (3, len)];
    let slot = |(offset, len)| Slot { offset, len, offload: Offload::default(), verdict: Verdict::Consumed };
    let mut slots = outside.map(slot);
    router.handle_batch(NOW, PortId::lan(0), FrameBatch { memory: &mut memory, slots: &mut slots });
    for slot in slots {
        assert_eq!((slot.verdict, slot.len), (Verdict::Drop(DropReason::FrameTruncated), 0), "{slot:?}");
    }
}

/// Slots that overlap may spoil each other's frames, nothing else.
#[test]
fn slots_that_overlap_do_no_harm() {
    let mut router = router(plan());
    let frame = datagram();
    let mut memory = [&frame[..], &frame[..]].concat();
    for shift in 0..frame.len() {
        let slot = |offset| Slot {
            offset,
            len: frame.len(),
            offload: Offload::default(),
            verdict: Verdict::Consumed,
        };
        let mut slots = [slot(0), slot(shift), slot(0), slot(frame.len())];
        memory.copy_from_slice(&[&frame[..], &frame[..]].concat());
        router.handle_batch(NOW, PortId::lan(0), FrameBatch { memory: &mut memory, slots: &mut slots });
    }
}

#[test]
fn an_observer_sees_the_passes_in_order_and_changes_nothing() {
    let (mut observed, mut alone) = (router(plan()), router(plan()));
    let slot = Slot {
        offset: 0,
        len: datagram().len(),
        offload: Offload::default(),
        verdict: Verdict::Drop(DropReason::PortDown),
    };
    let mut passes = Vec::new();
    let (mut memory, mut slots) = (datagram(), [slot; 1]);
    let batch = FrameBatch { memory: &mut memory, slots: &mut slots };
    observed.handle_batch_observed(NOW, PortId::lan(0), batch, |pass| passes.push(pass));
    assert_eq!(passes, [Pass::Headers, Pass::Index, Pass::Sessions, Pass::Forward]);
    let (mut memory, mut same_slots) = (datagram(), [slot; 1]);
    alone.handle_batch(NOW, PortId::lan(0), FrameBatch { memory: &mut memory, slots: &mut same_slots });
    assert_eq!(slots[0].verdict, same_slots[0].verdict);
    assert_eq!(observed.counters(), alone.counters());
}

#[test]
fn a_caller_that_does_not_fetch_frames_costs_a_bounded_amount_of_memory() {
    let mut router = router(plan());
    router.set_link(NOW, PortId::WAN, LinkState { mac: MAC, mtu: 68, up: true });
    let reply = crate::wire::arp::Repr {
        operation: crate::wire::arp::Operation::Request,
        sender_mac: MacAddr([2, 0, 0, 0, 0, 9]),
        sender_ip: Ipv4Addr::new(203, 0, 113, 2),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(203, 0, 113, 1),
    };
    hand_over(&mut router, PortId::WAN, crate::packet::build::arp_frame(&reply, MAC));
    let large = Spec { dont_fragment: false, ..Spec::udp(&[7; 1400]) }.frame();
    for _ in 0..1000 {
        assert_eq!(hand_over(&mut router, PortId::lan(0), large.clone()), Verdict::Consumed);
    }
    let waiting = std::iter::from_fn(|| router.poll_transmit()).count();
    assert_eq!(waiting, MAX_TRANSMITS);
    assert!(router.counters().dropped(DropReason::TransmitQueueFull) > 0);
    hand_over(&mut router, PortId::lan(0), large);
    assert!(router.poll_transmit().is_some());
}

/// As a lease may have it: the file's own contradictions are refused by the config crate.
#[test]
fn a_primary_address_that_is_also_another_host_s_or_listed_twice() {
    let mut plan = plan();
    plan.wan.addresses = vec![Ipv4Addr::new(203, 0, 113, 1)];
    plan.hosts.push(Host {
        name: "nas".into(),
        mac: None,
        address: Ipv4Addr::new(192, 168, 0, 20),
        filtering: None,
        mapping: None,
        external: Some(Ipv4Addr::new(203, 0, 113, 1)),
    });
    let mut router = router(plan.clone());
    assert_eq!(hand_over(&mut router, PortId::lan(0), datagram()), Verdict::Consumed, "held for ARP");
    router.apply_plan(NOW + Duration::from_secs(1), UnixTime(1), Arc::new(plan));
    let (sessions, _) = router.sessions(NOW, 0, 10);
    assert_eq!(sessions[0].external.to_string(), "203.0.113.1:40000");
    assert_eq!((router.session_count(), router.mapping_count()), (1, 1));
}

/// An ARP answer from inside.
fn answer(router: &mut Router, mac: MacAddr, address: Ipv4Addr) {
    let reply = crate::wire::arp::Repr {
        operation: crate::wire::arp::Operation::Reply,
        sender_mac: mac,
        sender_ip: address,
        target_mac: MAC,
        target_ip: Ipv4Addr::new(192, 168, 0, 1),
    };
    hand_over(router, PortId::lan(0), crate::packet::build::arp_frame(&reply, MAC));
    while router.poll_transmit().is_some() {}
}

#[test]
fn neighbors_of_a_network_go_with_it() {
    let mut plan = plan();
    let mut router = router(plan.clone());
    let host = |last| Ipv4Addr::new(192, 168, 0, last);
    let lan = PortId::lan(0);
    assert_eq!(hand_over(&mut router, lan, datagram()), Verdict::Consumed, "held for the gateway's answer");
    for last in [10, 200] {
        answer(&mut router, MacAddr([2, 0, 0, 0, 0, last]), host(last));
    }
    let known = |router: &Router| {
        let mut known: Vec<_> = router.neighbors().iter().map(|view| (view.port, view.address)).collect();
        known.sort_unstable();
        known
    };
    let gateway = (PortId::WAN, Ipv4Addr::new(203, 0, 113, 2));
    assert_eq!(known(&router), [gateway, (lan, host(10)), (lan, host(200))]);
    plan.lans[0].address = "192.168.0.1/25".parse().unwrap();
    router.apply_plan(NOW, UnixTime(1), Arc::new(plan.clone()));
    assert_eq!(known(&router), [gateway, (lan, host(10))]);
    plan.lans[0].address = "192.168.50.1/24".parse().unwrap();
    router.apply_plan(NOW, UnixTime(1), Arc::new(plan));
    assert_eq!(known(&router), [gateway]);
}

/// Sessions of one host share what was found out about its next hop, until a plan leads elsewhere.
#[test]
fn new_sessions_of_a_host_take_its_next_hop_by_the_plan_in_force() {
    let (host, via) = (Ipv4Addr::new(192, 168, 0, 10), Ipv4Addr::new(192, 168, 0, 254));
    let (host_mac, via_mac) = (MacAddr([2, 0, 0, 0, 0, 10]), MacAddr([2, 0, 0, 0, 0, 254]));
    let mut plan = plan();
    plan.forwards.push(ForwardRule {
        name: "game".into(),
        protocols: vec![crate::wire::ipv4::Protocol::UDP],
        ports: vec![PortRange { external_first: 80, external_last: 80, internal_first: 80 }],
        to: host,
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    });
    let mut router = router(plan.clone());
    let enter = |router: &mut Router, source_port| {
        let (source, destination) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 1));
        let mut frame = Spec { source, destination, source_port, ..Spec::udp(b"data") }.frame();
        let verdict = router.handle_frame(NOW, PortId::WAN, &mut frame.as_mut_slice(), Offload::default());
        (verdict, MacAddr(frame[..6].try_into().unwrap()))
    };
    assert_eq!(enter(&mut router, 1).0, Verdict::Consumed, "held for ARP");
    answer(&mut router, host_mac, host);
    for source_port in 2..5 {
        assert_eq!(enter(&mut router, source_port), (Verdict::Transmit(PortId::lan(0)), host_mac));
    }
    plan.routes.push(Route { to: "192.168.0.10/32".parse().unwrap(), via });
    router.apply_plan(NOW, UnixTime(1), Arc::new(plan));
    assert_eq!(enter(&mut router, 5).0, Verdict::Consumed, "held for ARP");
    answer(&mut router, via_mac, via);
    for source_port in 2..8 {
        assert_eq!(enter(&mut router, source_port), (Verdict::Transmit(PortId::lan(0)), via_mac));
    }
}

/// For captures: whose doing it is that a packet passes.
#[test]
fn a_packet_s_session_says_what_let_it_pass() {
    let mut router = router(plan());
    let ask = |router: &Router, port, frame: &[u8]| {
        let decision = router.decision(NOW, port, &parse_ipv4(frame).unwrap())?;
        Some((decision.origin, decision.forward.map(str::to_owned), decision.is_answer))
    };
    let lan = PortId::lan(0);
    assert_eq!(ask(&router, lan, &datagram()), None);
    hand_over(&mut router, lan, datagram());
    assert_eq!(ask(&router, lan, &datagram()), Some(("outbound", None, false)));
    // The same addresses at another port are another packet.
    assert_eq!(ask(&router, PortId::WAN, &datagram()), None);
    let (sessions, _) = router.sessions(NOW, 0, 1);
    let (remote, external) = (sessions[0].remote, sessions[0].external);
    let answer = Spec {
        source: *remote.ip(),
        source_port: remote.port(),
        destination: *external.ip(),
        destination_port: external.port(),
        ..Spec::udp(b"data")
    };
    assert_eq!(ask(&router, PortId::WAN, &answer.frame()), Some(("outbound", None, true)));
}

/// What is foreseen for a batch is what each packet finds out alone: the same first packets in one batch, twice each,
/// and one by one.
#[test]
fn a_batch_of_first_packets_opens_what_they_open_one_by_one() {
    let (mut together, mut alone) = (router(plan()), router(plan()));
    let frames: Vec<Vec<u8>> = (0..24_u16)
        .map(|number| {
            let source_port = 40_000 + number % 7;
            let destination = Ipv4Addr::new(198, 51, 100, 7 + (number % 3) as u8);
            Spec { source_port, destination, ..Spec::udp(b"data") }.frame()
        })
        .collect();
    let len = frames[0].len();
    let mut memory = frames.concat();
    let slot = |number| Slot {
        offset: number * len,
        len,
        offload: Offload::default(),
        verdict: Verdict::Drop(DropReason::PortDown),
    };
    let mut slots: Vec<Slot> = (0..frames.len()).map(slot).collect();
    together.handle_batch(NOW, PortId::lan(0), FrameBatch { memory: &mut memory, slots: &mut slots });
    for (frame, slot) in frames.into_iter().zip(&slots) {
        assert_eq!(hand_over(&mut alone, PortId::lan(0), frame), slot.verdict);
    }
    assert_eq!(together.sessions(NOW, 0, 64), alone.sessions(NOW, 0, 64));
    assert_eq!((together.session_count(), together.mapping_count()), (21, 7));
    assert_eq!(together.counters(), alone.counters());
}
