//! Tests of the ARP cache on virtual time.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::frame::Offload;

const LAN: PortId = PortId::lan(0);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 10]);
const OTHER_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 99]);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn table() -> NeighborTable {
    NeighborTable::new(NeighborConfig::default(), Timestamp::ZERO, 1)
}

fn arp(operation: arp::Operation, sender_ip: Ipv4Addr, sender_mac: MacAddr) -> arp::Repr {
    arp::Repr { operation, sender_mac, sender_ip, target_mac: MacAddr::ZERO, target_ip: ROUTER }
}

fn reply(ip: Ipv4Addr, mac: MacAddr) -> arp::Repr {
    arp(arp::Operation::Reply, ip, mac)
}

fn request(ip: Ipv4Addr, mac: MacAddr) -> arp::Repr {
    arp(arp::Operation::Request, ip, mac)
}

fn frame(tag: u8) -> HeldFrame {
    HeldFrame { bytes: vec![tag; 60], offload: Offload::default(), inbound_port: PortId::WAN, epoch: 0 }
}

fn actions(table: &mut NeighborTable) -> Vec<NeighborAction> {
    std::iter::from_fn(|| table.poll_action()).collect()
}

fn ask(unicast: Option<MacAddr>) -> NeighborAction {
    NeighborAction::Request { port: LAN, target: HOST, unicast }
}

fn state(table: &NeighborTable, ip: Ipv4Addr) -> Option<&'static str> {
    table.entries().iter().find(|entry| entry.address == ip).map(|entry| entry.state)
}

/// Lets time pass in steps of a timer's tick.
fn run(table: &mut NeighborTable, from: u64, to: u64) -> Vec<(u64, NeighborAction)> {
    let mut all = Vec::new();
    for now in from..=to {
        while table.poll_timeout().is_some_and(|at| at <= ms(now)) {
            table.handle_timeout(ms(now));
        }
        all.extend(actions(table).into_iter().map(|action| (now, action)));
    }
    all
}

/// A table in which HOST answered at time 0.
fn with_host() -> (NeighborTable, NeighborRef) {
    let mut table = table();
    let Resolution::Pending(r) = table.resolve(ms(0), LAN, HOST) else { panic!("unknown so far") };
    table.handle_arp(ms(0), LAN, &reply(HOST, MAC), true);
    assert_eq!(actions(&mut table), []);
    (table, r)
}

#[test]
fn asks_holds_and_releases_in_order() {
    let mut table = table();
    let Resolution::Pending(r) = table.resolve(ms(0), LAN, HOST) else { panic!("unknown so far") };
    assert_eq!(table.resolve(ms(0), LAN, HOST), Resolution::Pending(r));
    assert_eq!(table.mac(ms(0), r), None);
    table.hold(r, frame(1)).expect("room");
    table.hold(r, frame(2)).expect("room");
    assert_eq!(actions(&mut table), [ask(None)]);
    table.handle_arp(ms(5), LAN, &reply(HOST, MAC), true);
    let release = |tag| NeighborAction::Release { port: LAN, mac: MAC, frame: frame(tag) };
    assert_eq!(actions(&mut table), [release(1), release(2)]);
    assert_eq!(table.resolve(ms(6), LAN, HOST), Resolution::Ready(r, MAC));
    assert_eq!(table.mac(ms(6), r), Some(MAC));
    // The same address on another port is another neighbor.
    assert!(matches!(table.resolve(ms(6), PortId::lan(1), HOST), Resolution::Pending(other) if other != r));
    // A frame that comes late is sent at once.
    table.hold(r, frame(3)).expect("room");
    assert_eq!(actions(&mut table)[0], release(3));
}

#[test]
fn gives_up_after_three_requests_and_refuses_for_a_moment() {
    let mut table = table();
    let Resolution::Pending(r) = table.resolve(ms(0), LAN, HOST) else { panic!("unknown so far") };
    table.hold(r, frame(1)).expect("room");
    let happened = run(&mut table, 0, 2_999);
    assert_eq!(happened, [(0, ask(None)), (1_000, ask(None)), (2_000, ask(None))]);
    let happened = run(&mut table, 3_000, 3_000);
    let unreachable = NeighborAction::Unreachable { port: LAN, ip: HOST, frame: frame(1) };
    let event = NeighborAction::Event(Event::NeighborUnreachable { port: LAN, address: HOST });
    assert_eq!(happened, [(3_000, unreachable), (3_000, event)]);
    assert_eq!(table.resolve(ms(3_000), LAN, HOST), Resolution::Pending(r));
    assert_eq!(table.hold(r, frame(2)), Err(DropReason::HostUnreachable));
    assert_eq!(run(&mut table, 3_001, 4_999), []);
    assert_eq!(state(&table, HOST), Some("failed"));
    assert_eq!(run(&mut table, 5_000, 5_000), []);
    assert_eq!(state(&table, HOST), None);
    assert_eq!(table.hold(r, frame(2)), Err(DropReason::HostUnreachable));
    assert!(matches!(table.resolve(ms(5_000), LAN, HOST), Resolution::Pending(next) if next != r));
    assert_eq!(table.mac(ms(5_000), r), None);
    assert_eq!(actions(&mut table), [ask(None)]);
}

#[test]
fn a_failed_neighbor_that_speaks_is_back() {
    let mut table = table();
    table.resolve(ms(0), LAN, HOST);
    run(&mut table, 0, 3_500);
    assert_eq!(state(&table, HOST), Some("failed"));
    table.handle_arp(ms(3_500), LAN, &request(HOST, MAC), true);
    assert!(matches!(table.resolve(ms(3_501), LAN, HOST), Resolution::Ready(_, MAC)));
}

#[test]
fn a_stale_entry_is_probed_when_used_and_keeps_working_meanwhile() {
    let (mut table, r) = with_host();
    assert_eq!(run(&mut table, 0, 29_999), []);
    assert_eq!(state(&table, HOST), Some("reachable"));
    assert_eq!(run(&mut table, 30_000, 40_000), []);
    assert_eq!(state(&table, HOST), Some("stale"));
    assert_eq!(table.mac(ms(40_000), r), Some(MAC));
    assert_eq!(actions(&mut table), [ask(Some(MAC))]);
    assert_eq!(table.mac(ms(40_001), r), Some(MAC));
    assert_eq!(actions(&mut table), []);
    table.handle_arp(ms(40_002), LAN, &reply(HOST, MAC), true);
    assert_eq!(state(&table, HOST), Some("reachable"));
    assert_eq!(run(&mut table, 40_002, 69_999), []);
    assert_eq!(state(&table, HOST), Some("reachable"));
}

#[test]
fn without_an_answer_to_unicast_everybody_is_asked() {
    let (mut table, r) = with_host();
    run(&mut table, 0, 31_000);
    table.mac(ms(31_000), r);
    let happened = run(&mut table, 31_000, 33_999);
    assert_eq!(happened.iter().filter(|(_, action)| *action == ask(Some(MAC))).count(), 3);
    assert_eq!(table.mac(ms(33_999), r), Some(MAC));
    let happened = run(&mut table, 34_000, 36_000);
    assert_eq!(happened.iter().filter(|(_, action)| *action == ask(None)).count(), 3);
    assert_eq!(table.mac(ms(36_000), r), None);
    table.hold(r, frame(1)).expect("it may come back");
    table.handle_arp(ms(36_500), LAN, &reply(HOST, OTHER_MAC), true);
    assert_eq!(table.mac(ms(36_500), r), Some(OTHER_MAC));
    assert_eq!(actions(&mut table), [NeighborAction::Release { port: LAN, mac: OTHER_MAC, frame: frame(1) }]);
}

#[test]
fn an_unused_entry_goes_after_its_idle_time() {
    let (mut table, r) = with_host();
    run(&mut table, 0, 629_999);
    assert_eq!(state(&table, HOST), Some("stale"));
    run(&mut table, 630_000, 630_125);
    assert_eq!(state(&table, HOST), None);
    assert_eq!(table.mac(ms(630_200), r), None);
    assert_eq!(table.poll_timeout(), None);
}

#[test]
fn who_asks_us_is_learned_and_probed_at_first_use() {
    let mut table = table();
    table.handle_arp(ms(0), LAN, &request(HOST, MAC), false);
    assert_eq!(state(&table, HOST), None);
    table.handle_arp(ms(0), LAN, &request(HOST, MAC), true);
    assert_eq!(state(&table, HOST), Some("stale"));
    assert!(matches!(table.resolve(ms(1), LAN, HOST), Resolution::Ready(_, MAC)));
    assert_eq!(actions(&mut table), [ask(Some(MAC))]);
}

#[test]
fn an_answer_nobody_asked_for_confirms_nothing() {
    let (mut table, _) = with_host();
    run(&mut table, 0, 20_000);
    table.handle_arp(ms(20_000), LAN, &reply(HOST, MAC), true);
    run(&mut table, 20_000, 30_000);
    assert_eq!(state(&table, HOST), Some("stale"));
}

#[test]
fn a_neighbor_that_moves_is_followed_verified_and_reported() {
    let (mut table, r) = with_host();
    table.handle_arp(ms(999), LAN, &request(HOST, OTHER_MAC), false);
    assert_eq!(table.mac(ms(999), r), Some(MAC), "too soon after the last change");
    table.handle_arp(ms(1_000), LAN, &request(HOST, OTHER_MAC), false);
    assert_eq!(table.mac(ms(1_000), r), Some(OTHER_MAC));
    let moved = Event::NeighborMoved { port: LAN, address: HOST, old: MAC, new: OTHER_MAC };
    assert_eq!(actions(&mut table), [ask(Some(OTHER_MAC)), NeighborAction::Event(moved)]);
}

#[test]
fn when_a_neighbor_was_heard_last_is_known() {
    let mut table = table();
    let heard = |table: &NeighborTable| table.entries()[0].heard;
    // It only asks for us, again and again.
    table.handle_arp(ms(1_000), LAN, &request(HOST, MAC), true);
    assert_eq!(heard(&table), ms(1_000));
    table.handle_arp(ms(9_000), LAN, &request(HOST, MAC), false);
    assert_eq!(heard(&table), ms(9_000));
    // What does not count, and what goes to it, says nothing about it.
    table.handle_arp(ms(10_000), LAN, &request(HOST, OTHER_MAC), true);
    assert_eq!(heard(&table), ms(10_000), "it is another one by now");
    table.handle_arp(ms(10_500), LAN, &request(HOST, MAC), true);
    table.resolve(ms(11_000), LAN, HOST);
    assert_eq!(heard(&table), ms(10_000));
    table.handle_arp(ms(12_000), LAN, &reply(HOST, OTHER_MAC), true);
    assert_eq!(heard(&table), ms(12_000));
}

#[test]
fn events_of_a_duel_are_rate_limited() {
    let (mut table, _) = with_host();
    for second in 1..=100u64 {
        let mac = if second % 2 == 0 { MAC } else { OTHER_MAC };
        for millis in 0..10 {
            table.handle_arp(ms(second * 1_000 + millis), LAN, &request(HOST, mac), false);
            let mac = MacAddr([2, 0, 0, 0, 0, millis as u8]);
            table.handle_arp(ms(second * 1_000 + millis), LAN, &request(HOST, mac), false);
        }
    }
    let moved = |action: &NeighborAction| matches!(action, NeighborAction::Event(_));
    let count = actions(&mut table).iter().filter(|action| moved(action)).count();
    assert!((1..=MAX_EVENTS).contains(&count), "{count}");
}

#[test]
fn probes_and_nonsense_teach_nothing() {
    let (mut table, r) = with_host();
    for (ip, mac) in [
        (Ipv4Addr::UNSPECIFIED, OTHER_MAC),
        (Ipv4Addr::BROADCAST, OTHER_MAC),
        (Ipv4Addr::new(224, 0, 0, 1), OTHER_MAC),
        (HOST, MacAddr::BROADCAST),
        (HOST, MacAddr::ZERO),
        (HOST, MacAddr([1, 0, 0x5e, 0, 0, 1])),
    ] {
        table.handle_arp(ms(5_000), LAN, &request(ip, mac), true);
        table.handle_arp(ms(5_000), LAN, &reply(ip, mac), true);
    }
    assert_eq!(table.entries().len(), 1);
    assert_eq!(table.mac(ms(5_000), r), Some(MAC));
}

#[test]
fn what_waits_is_bounded_in_frames_and_octets() {
    let mut table = table();
    let mut held = 0;
    for last in 0..100 {
        let ip = Ipv4Addr::new(192, 168, 0, last);
        let Resolution::Pending(r) = table.resolve(ms(0), LAN, ip) else { panic!("unknown so far") };
        let of_this = (0..20).filter(|_| table.hold(r, frame(last)).is_ok()).count();
        assert!(of_this <= 16);
        held += of_this;
    }
    assert_eq!(held, 512);
    // Given up, but not polled yet: still ours.
    table.forget_port(LAN);
    let Resolution::Pending(r) = table.resolve(ms(0), LAN, HOST) else { panic!("unknown so far") };
    assert_eq!(table.hold(r, frame(0)), Err(DropReason::NeighborQueueFull));
    assert_eq!(actions(&mut table).len(), 512 + 1);
    let big = HeldFrame { bytes: vec![0; (4 << 20) - 60], ..frame(0) };
    table.hold(r, frame(0)).expect("room");
    table.hold(r, big).expect("just fits");
    assert_eq!(table.hold(r, frame(0)), Err(DropReason::NeighborQueueFull));
}

#[test]
fn link_down_forgets_that_port_alone() {
    let (mut table, r) = with_host();
    let Resolution::Pending(other) = table.resolve(ms(1), PortId::WAN, HOST) else { panic!("unknown") };
    table.hold(other, frame(1)).expect("room");
    table.forget_port(PortId::WAN);
    assert_eq!(
        actions(&mut table),
        [NeighborAction::Unreachable { port: PortId::WAN, ip: HOST, frame: frame(1) }]
    );
    assert_eq!(table.mac(ms(2), r), Some(MAC));
    assert_eq!(table.mac(ms(2), other), None);
}

/// A lan host asks for our address under 100,000 names: what is in use stays, and so does room for our needs.
#[test]
fn an_arp_flood_displaces_nothing() {
    let (mut table, r) = with_host();
    let idle = Ipv4Addr::new(192, 168, 0, 11);
    table.resolve(ms(0), LAN, idle);
    table.handle_arp(ms(0), LAN, &reply(idle, MAC), true);
    actions(&mut table);
    for i in 0..100_000u32 {
        let ip = Ipv4Addr::from_bits(0x0a00_0000 + i);
        table.handle_arp(ms(u64::from(i) / 10), LAN, &request(ip, OTHER_MAC), true);
        assert_eq!(table.poll_action(), None);
    }
    assert_eq!(table.entries().len(), 4096 - 1024);
    assert_eq!(table.mac(ms(10_000), r), Some(MAC));
    assert!(matches!(table.resolve(ms(10_000), LAN, idle), Resolution::Ready(..)));
    let mut fresh = 0;
    for i in 0..500 {
        let ip = Ipv4Addr::from_bits(0xac10_0000 + i);
        fresh += u32::from(matches!(table.resolve(ms(10_000), LAN, ip), Resolution::Pending(_)));
    }
    assert_eq!(fresh, 500);
}

/// A host scans a lan for 10 s at 20,000 addresses per second: live entries stay, requests stay bounded, other
/// ports go on.
#[test]
fn a_scan_from_inside_is_bounded() {
    let (mut table, r) = with_host();
    let mut requests = 0;
    for i in 0..200_000u32 {
        let now = ms(u64::from(i) / 20);
        table.resolve(now, LAN, Ipv4Addr::from_bits(0x0a00_0000 + i));
        while table.poll_timeout().is_some_and(|at| at <= now) {
            table.handle_timeout(now);
        }
        requests += actions(&mut table).len();
        assert_eq!(table.mac(now, r), Some(MAC));
    }
    assert!(requests < 10 * 2048 + 512 * 4, "{requests}");
    let incomplete = table.entries().iter().filter(|entry| entry.state == "incomplete").count();
    assert!(incomplete <= 512, "{incomplete}");
    assert!(matches!(table.resolve(ms(10_000), PortId::WAN, HOST), Resolution::Pending(_)));
}

#[test]
fn a_table_full_of_live_entries_refuses() {
    let config = NeighborConfig { max_entries: 8, learn_reserve: 0, ..NeighborConfig::default() };
    let mut table = NeighborTable::new(config, Timestamp::ZERO, 1);
    let ip = |last| Ipv4Addr::new(192, 168, 0, last);
    for last in 0..8 {
        table.resolve(ms(0), LAN, ip(last));
        table.handle_arp(ms(0), LAN, &reply(ip(last), MAC), true);
    }
    assert_eq!(table.resolve(ms(1), LAN, HOST), Resolution::Full);
    // Used at 20 s, stale since 30 s: not idle before 50 s.
    for last in 0..8 {
        table.resolve(ms(20_000), LAN, ip(last));
    }
    run(&mut table, 20_000, 49_999);
    assert_eq!(table.resolve(ms(49_999), LAN, HOST), Resolution::Full);
    assert!(matches!(table.resolve(ms(50_000), LAN, HOST), Resolution::Pending(_)));
    assert_eq!(table.entries().len(), 8);
    assert_eq!(table.entries().iter().filter(|entry| entry.state == "stale").count(), 7);
}

#[test]
fn expiry_works_in_portions() {
    let mut table = table();
    for i in 0..512 {
        table.resolve(ms(0), LAN, Ipv4Addr::from_bits(0x0a00_0000 + i));
    }
    actions(&mut table);
    let mut calls = 0;
    while table.poll_timeout().is_some_and(|at| at <= ms(1_000)) {
        table.handle_timeout(ms(1_000));
        assert!(actions(&mut table).len() <= TIMEOUT_PORTION);
        calls += 1;
    }
    assert!(calls >= 512 / TIMEOUT_PORTION);
}

#[derive(Clone, Debug)]
enum Step {
    Resolve(u8, u8),
    Use(usize),
    Hold(usize),
    Arp { port: u8, ip: u8, mac: u8, is_reply: bool, to_us: bool },
    Forget(u8),
    Wait(u64),
    Poll(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, 0u8..20).prop_map(|(port, ip)| Step::Resolve(port, ip)),
        3 => (0usize..64).prop_map(Step::Use),
        3 => (0usize..64).prop_map(Step::Hold),
        6 => (0u8..3, 0u8..20, 0u8..4, any::<bool>(), any::<bool>())
            .prop_map(|(port, ip, mac, is_reply, to_us)| Step::Arp { port, ip, mac, is_reply, to_us }),
        1 => (0u8..3).prop_map(Step::Forget),
        3 => (0u64..3_000).prop_map(Step::Wait),
        1 => (0u64..700_000).prop_map(Step::Wait),
        2 => (0usize..20).prop_map(Step::Poll),
    ]
}

proptest! {
    /// Whatever happens: a MAC address that is given out was claimed for that address on that port, frames are
    /// neither lost nor doubled, and every bound holds.
    #[test]
    fn holds_its_invariants(steps in prop::collection::vec(step(), 1..150)) {
        let config = NeighborConfig {
            max_entries: 8,
            max_incomplete_per_port: 3,
            learn_reserve: 2,
            held_per_entry: 2,
            held_frames: 5,
            ..NeighborConfig::default()
        };
        let mut table = NeighborTable::new(config, Timestamp::ZERO, 9);
        let mut now = 0;
        let mut known: Vec<(NeighborRef, PortId, Ipv4Addr)> = Vec::new();
        let mut claimed = HashSet::new();
        let mut waiting = 0;
        for step in steps {
            match step {
                Step::Resolve(port, ip) => {
                    let (port, ip) = (PortId(port), Ipv4Addr::new(192, 168, 0, ip));
                    match table.resolve(ms(now), port, ip) {
                        Resolution::Ready(r, mac) => {
                            prop_assert!(claimed.contains(&(port, ip, mac)));
                            known.push((r, port, ip));
                        }
                        Resolution::Pending(r) => known.push((r, port, ip)),
                        Resolution::Full => {}
                    }
                }
                Step::Use(position) => {
                    if let Some(&(r, port, ip)) = known.get(position)
                        && let Some(mac) = table.mac(ms(now), r)
                    {
                        prop_assert!(claimed.contains(&(port, ip, mac)));
                        prop_assert_eq!(table.resolve(ms(now), port, ip), Resolution::Ready(r, mac));
                    }
                }
                Step::Hold(position) => {
                    if let Some(&(r, ..)) = known.get(position) {
                        waiting += usize::from(table.hold(r, frame(0)).is_ok());
                    }
                }
                Step::Arp { port, ip, mac, is_reply, to_us } => {
                    let (port, ip) = (PortId(port), Ipv4Addr::new(192, 168, 0, ip));
                    let mac = MacAddr([2, 0, 0, 0, 0, mac]);
                    let repr = if is_reply { reply(ip, mac) } else { request(ip, mac) };
                    table.handle_arp(ms(now), port, &repr, to_us);
                    claimed.insert((port, ip, mac));
                }
                Step::Forget(port) => {
                    table.forget_port(PortId(port));
                    prop_assert!(table.entries().iter().all(|entry| entry.port != PortId(port)));
                }
                Step::Wait(millis) => {
                    now += millis;
                    while table.poll_timeout().is_some_and(|at| at <= ms(now)) {
                        table.handle_timeout(ms(now));
                    }
                }
                Step::Poll(count) => {
                    for _ in 0..count {
                        match table.poll_action() {
                            Some(NeighborAction::Release { .. } | NeighborAction::Unreachable { .. }) => {
                                waiting -= 1;
                            }
                            Some(_) => {}
                            None => break,
                        }
                    }
                }
            }
            prop_assert_eq!(table.held_frames, waiting);
            prop_assert_eq!(table.held_octets, waiting * 60);
            prop_assert!(waiting <= 5);
            prop_assert!(table.requests.len() <= 8);
            let entries = table.entries();
            prop_assert_eq!(entries.len(), table.index.len());
            prop_assert_eq!(entries.len() as u32 + table.lists.len(FREE), 8);
            prop_assert_eq!(table.timers.len() as usize, entries.len());
        }
    }
}
