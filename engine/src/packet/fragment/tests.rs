//! Tests of the fragment table on virtual time. What shall become of a packet's fragments is a plain number here.

use proptest::prelude::*;

use super::*;

const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const UNMATCHED: Later<u32> = Later::Drop(DropReason::FragmentUnmatched);
const OVERLAP: Later<u32> = Later::Drop(DropReason::FragmentOverlap);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn table() -> FragmentTable<u32> {
    FragmentTable::new(FragmentConfig::default(), Timestamp::ZERO, 1)
}

fn key_from(source: Ipv4Addr, id: u16) -> FragmentKey {
    FragmentKey { port: PortId::WAN, source, destination: EXTERNAL, id, protocol: Protocol::UDP }
}

fn key(id: u16) -> FragmentKey {
    key_from(PEER, id)
}

fn info(offset: u16, more: bool) -> FragmentInfo {
    FragmentInfo { id: 0, offset, more }
}

/// A frame that a test can tell from others.
fn frame(tag: u8) -> Vec<u8> {
    vec![tag; 100]
}

impl FragmentTable<u32> {
    fn first(&mut self, now: u64, key: FragmentKey, outcome: Option<u32>) -> Result<(), DropReason> {
        self.begin(ms(now), key, info(0, true), 64)?;
        self.decide(ms(now), key, outcome);
        Ok(())
    }

    /// The fragment number `number` of 64 octets each.
    fn later(&mut self, now: u64, key: FragmentKey, number: u16, more: bool) -> Later<u32> {
        self.handle_later(ms(now), key, info(number * 64, more), 64, &frame(number as u8), Offload::default())
    }

    fn released(&mut self) -> Vec<(u32, u8)> {
        std::iter::from_fn(|| self.poll_released()).map(|(follow, held)| (follow, held.bytes[0])).collect()
    }

    fn run(&mut self, now: u64) {
        while self.poll_timeout().is_some_and(|at| at <= ms(now)) {
            self.handle_timeout(ms(now));
        }
    }
}

#[test]
fn later_fragments_follow_the_first() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(42)), Ok(()));
    assert_eq!(table.later(1, key(1), 1, true), Later::Forward(42));
    assert_eq!(table.later(1, key(1), 1, true), Later::Forward(42));
    assert_eq!(table.later(2, key(1), 2, false), Later::Forward(42));
    assert_eq!(table.held_octets(), 0);
}

#[test]
fn fragments_that_come_early_wait_in_order() {
    let mut table = table();
    assert_eq!(table.later(0, key(1), 2, false), Later::Held);
    assert_eq!(table.later(1, key(1), 1, true), Later::Held);
    assert_eq!(table.held_octets(), 2 * (100 + FRAME_OVERHEAD));
    assert_eq!(table.first(2, key(1), Some(42)), Ok(()));
    assert_eq!(table.released(), [(42, 2), (42, 1)]);
    assert_eq!(table.held_octets(), 0);
    assert_eq!(table.take_dropped(), FragmentDrops::default());
}

#[test]
fn a_refused_packet_takes_its_fragments_along() {
    let mut table = table();
    assert_eq!(table.later(0, key(1), 1, true), Later::Held);
    assert_eq!(table.first(1, key(1), None), Ok(()));
    assert_eq!(table.released(), []);
    assert_eq!(table.take_dropped(), FragmentDrops { unmatched: 1, limit: 0 });
    assert_eq!(table.take_dropped(), FragmentDrops::default());
    assert_eq!(table.later(2, key(1), 2, false), UNMATCHED);
    assert_eq!(table.held_octets(), 0);
    // The sender tries again with the very same packet, and now it may.
    assert_eq!(table.first(3, key(1), Some(7)), Ok(()));
    assert_eq!(table.later(3, key(1), 2, false), Later::Forward(7));
}

#[test]
fn packets_differ_by_every_part_of_their_key() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    for other in [
        FragmentKey { port: PortId::lan(0), ..key(1) },
        FragmentKey { source: EXTERNAL, ..key(1) },
        FragmentKey { destination: PEER, ..key(1) },
        FragmentKey { id: 2, ..key(1) },
        FragmentKey { protocol: Protocol::TCP, ..key(1) },
    ] {
        assert_eq!(table.later(0, other, 1, false), Later::Held);
    }
}

#[test]
fn overlaps_are_dropped_wherever_they_come() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    let mut judge = |offset, len| {
        table.handle_later(ms(1), key(1), info(offset, true), len, &frame(0), Offload::default())
    };
    assert_eq!(judge(8, 64), OVERLAP); // into the first one's transport header (RFC 3128)
    assert_eq!(judge(64, 64), Later::Forward(1));
    assert_eq!(judge(96, 64), OVERLAP);
    assert_eq!(judge(65_528, 8), OVERLAP); // past 65,535 octets
    assert_eq!(judge(128, 0), Later::Drop(DropReason::FragmentTiny));
    // The same, with the first one last.
    let early = FragmentInfo { id: 0, offset: 8, more: true };
    assert_eq!(table.handle_later(ms(2), key(2), early, 64, &frame(0), Offload::default()), Later::Held);
    assert_eq!(table.first(2, key(2), Some(1)), Err(DropReason::FragmentOverlap));
}

#[test]
fn waiting_ends_with_the_timeout() {
    let mut table = table();
    assert_eq!(table.later(0, key(1), 1, true), Later::Held);
    assert_eq!(table.first(0, key(2), Some(2)), Ok(()));
    table.run(9_999);
    assert_eq!(table.len(), 2);
    assert_eq!(table.later(9_999, key(2), 1, true), Later::Forward(2));
    table.run(10_000);
    assert_eq!((table.len(), table.held_octets()), (0, 0));
    assert_eq!(table.take_dropped(), FragmentDrops { unmatched: 1, limit: 0 });
    assert_eq!(table.later(10_001, key(2), 2, true), Later::Held);
}

#[test]
fn duplicates_follow_a_complete_packet_for_a_moment() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    assert_eq!(table.later(0, key(1), 1, false), Later::Forward(1));
    table.run(999);
    assert_eq!(table.later(999, key(1), 1, false), Later::Forward(1));
    table.run(1_000);
    assert!(table.is_empty());
    assert_eq!(table.later(1_000, key(1), 1, false), Later::Held);
}

#[test]
fn an_identification_used_again_is_another_packet() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    assert_eq!(table.later(0, key(1), 1, false), Later::Forward(1));
    assert_eq!(table.first(1, key(1), Some(2)), Ok(()));
    assert_eq!(table.later(1, key(1), 1, true), Later::Forward(2));
    assert_eq!(table.later(1, key(1), 2, false), Later::Forward(2));
    // Also when a later fragment of the new one is the first to come.
    assert_eq!(table.later(2, key(1), 3, false), Later::Held);
    assert_eq!(table.first(2, key(1), Some(3)), Ok(()));
    assert_eq!(table.released(), [(3, 3)]);
}

#[test]
fn fragments_of_a_packet_are_limited() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    for number in 1..64 {
        assert_eq!(table.later(0, key(1), number, true), Later::Forward(1));
    }
    assert_eq!(table.later(0, key(1), 64, true), Later::Drop(DropReason::FragmentLimit));
    assert_eq!(table.later(0, key(1), 1, true), Later::Drop(DropReason::FragmentLimit));
}

#[test]
fn a_source_with_too_many_packets_gives_up_its_own_oldest() {
    let mut table = table();
    let other = key_from(EXTERNAL, 1);
    assert_eq!(table.first(0, other, Some(9)), Ok(()));
    for id in 0..65 {
        assert_eq!(table.later(0, key(id), 1, false), Later::Held);
    }
    assert_eq!(table.len(), 65);
    assert_eq!(table.take_dropped(), FragmentDrops { unmatched: 0, limit: 1 });
    assert_eq!(table.first(1, key(0), Some(0)), Ok(()));
    assert_eq!(table.released(), []);
    assert_eq!(table.first(1, key(2), Some(2)), Ok(()));
    assert_eq!(table.released(), [(2, 1)]);
    assert_eq!(table.later(1, other, 1, false), Later::Forward(9));
}

#[test]
fn complete_packets_do_not_count_for_their_source() {
    let mut table = table();
    assert_eq!(table.first(0, key(9_999), Some(9)), Ok(()));
    for id in 0..900 {
        assert_eq!(table.first(0, key(id), Some(1)), Ok(()));
        assert_eq!(table.later(0, key(id), 1, false), Later::Forward(1));
    }
    assert_eq!(table.later(0, key(9_999), 1, false), Later::Forward(9));
}

/// 200,000 later fragments under forged sources: memory stays bounded, and both what had begun before and what
/// comes then pass.
#[test]
fn a_flood_of_later_fragments_stops_nothing() {
    let mut table = table();
    assert_eq!(table.first(0, key(1), Some(1)), Ok(()));
    for i in 0..200_000u32 {
        let forged = key_from(Ipv4Addr::from_bits(0x0a00_0000 + i), i as u16);
        let now = ms(u64::from(i) / 100);
        let verdict = table.handle_later(now, forged, info(1480, true), 1480, &[0; 1514], Offload::default());
        assert_eq!(verdict, Later::Held);
        assert!(table.len() <= 1024 && table.held_octets() <= 4 << 20);
        assert!(table.sources.len() <= 1024);
    }
    assert_eq!(table.later(2_000, key(1), 1, false), Later::Forward(1));
    assert_eq!(table.first(2_000, key(2), Some(2)), Ok(()));
    assert_eq!(table.later(2_000, key(2), 1, false), Later::Forward(2));
    assert!(table.take_dropped().limit > 190_000);
    table.run(13_000);
    assert_eq!((table.len(), table.held_octets(), table.sources.len()), (0, 0, 0));
    assert_eq!(table.poll_timeout(), None);
}

/// Large fragments fill the octets before the packets.
#[test]
fn held_octets_are_bounded() {
    let mut table = table();
    for id in 0..1000 {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + u32::from(id));
        for number in 1..8 {
            let range = info(number * 8960, true);
            table.handle_later(ms(0), key_from(source, id), range, 8960, &[0; 8994], Offload::default());
            assert!(table.held_octets() <= 4 << 20);
        }
    }
    assert!(table.held_octets() > 4 << 19);
    let huge = vec![0; (4 << 20) + 1];
    let verdict = table.handle_later(ms(1), key(1), info(8, true), 8, &huge, Offload::default());
    assert_eq!(verdict, Later::Drop(DropReason::FragmentLimit));
}

#[test]
fn refused_packets_make_room_before_others() {
    let mut table = table();
    assert_eq!(table.later(0, key(1), 1, false), Later::Held);
    for i in 0..10_000u32 {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + i);
        assert_eq!(table.first(0, key_from(source, 1), None), Ok(()));
    }
    assert_eq!(table.len(), 1024);
    assert_eq!(table.first(1, key(1), Some(1)), Ok(()));
    assert_eq!(table.released(), [(1, 1)]);
}

#[test]
fn expiry_works_in_portions() {
    let mut table = table();
    for i in 0..1024u32 {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + i);
        assert_eq!(table.first(0, key_from(source, 1), Some(1)), Ok(()));
    }
    table.handle_timeout(ms(60_000));
    assert_eq!(table.len(), 1024 - TIMEOUT_PORTION);
    assert!(table.poll_timeout().is_some_and(|at| at <= ms(60_000)));
}

#[derive(Clone, Debug)]
enum Step {
    First { source: u8, id: u16, len: usize, pass: bool },
    Later { source: u8, id: u16, number: u16, len: usize, more: bool },
    Wait(u64),
    Poll(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4, 0u16..4, 1usize..3, any::<bool>())
            .prop_map(|(source, id, len, pass)| Step::First { source, id, len: len * 8, pass }),
        8 => (0u8..4, 0u16..4, 1u16..6, 1usize..3, any::<bool>())
            .prop_map(|(source, id, number, len, more)| Step::Later { source, id, number, len: len * 8, more }),
        1 => (0u64..6_000).prop_map(Step::Wait),
        2 => (0usize..6).prop_map(Step::Poll),
    ]
}

proptest! {
    /// Whatever comes: a fragment follows only the latest decision about its packet, every held frame is released or
    /// counted as dropped exactly once, and every bound holds.
    #[test]
    fn holds_its_invariants(steps in prop::collection::vec(step(), 1..200)) {
        let config = FragmentConfig {
            max_packets: 6,
            max_per_source: 3,
            max_held_octets: 5 * (100 + FRAME_OVERHEAD),
            max_fragments_per_packet: 4,
            ..FragmentConfig::default()
        };
        let mut table = FragmentTable::new(config, Timestamp::ZERO, 3);
        let mut now = 0;
        let mut decisions: HashMap<FragmentKey, Option<u32>> = HashMap::default();
        let (mut next, mut held, mut released, mut dropped) = (0, 0u64, 0u64, 0u64);
        for step in steps {
            match step {
                Step::First { source, id, len, pass } => {
                    let key = key_from(Ipv4Addr::new(198, 51, 100, source), id);
                    if table.begin(ms(now), key, info(0, true), len).is_ok() {
                        next += 1;
                        let outcome = pass.then_some(next);
                        table.decide(ms(now), key, outcome);
                        decisions.insert(key, outcome);
                    }
                }
                Step::Later { source, id, number, len, more } => {
                    let key = key_from(Ipv4Addr::new(198, 51, 100, source), id);
                    let range = info(number * 8, more);
                    match table.handle_later(ms(now), key, range, len, &frame(0), Offload::default()) {
                        Later::Forward(follow) => prop_assert_eq!(decisions.get(&key), Some(&Some(follow))),
                        Later::Held => held += 1,
                        Later::Drop(_) => {}
                    }
                }
                Step::Wait(millis) => {
                    now += millis;
                    table.run(now);
                }
                Step::Poll(count) => {
                    for _ in 0..count {
                        released += u64::from(table.poll_released().is_some());
                    }
                }
            }
            let drops = table.take_dropped();
            dropped += drops.limit + drops.unmatched;
            let waiting = (table.held_octets() / (100 + FRAME_OVERHEAD)) as u64;
            prop_assert_eq!(held, released + dropped + waiting);
            prop_assert!(waiting <= 5);
            prop_assert!(table.len() <= 6);
            prop_assert_eq!(table.len(), table.packets.iter().flatten().count());
            prop_assert_eq!(table.timers.len() as usize, table.len());
            let counted = table.packets.iter().flatten().filter(|packet| packet.source.is_some()).count();
            let by_source: u32 = table.sources.values().map(|&source| table.by_source.len(source as usize)).sum();
            prop_assert_eq!(counted, by_source as usize);
            prop_assert!(table.sources.values().all(|&source| (1..=3).contains(&table.by_source.len(source as usize))));
            prop_assert_eq!(table.sources.len() + table.free_sources.len(), 6);
        }
    }
}
