use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const A: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const B: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);

fn secs(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn pool() -> (PortPool, Rng) {
    (PortPool::new(1024..=65535), Rng::new(7))
}

#[test]
fn keeps_the_internal_port_when_it_is_free() {
    let (mut pool, mut rng) = pool();
    assert_eq!(pool.allocate(secs(0), 40_000, A, false, &mut rng), Some(40_000));
    let other = pool.allocate(secs(0), 40_000, B, false, &mut rng).expect("room");
    assert_ne!(other, 40_000);
}

#[test]
fn well_known_internal_ports_are_not_kept() {
    let (mut pool, mut rng) = pool();
    for preferred in [0, 80, 1023] {
        assert!(pool.allocate(secs(0), preferred, A, false, &mut rng).expect("room") >= 1024);
    }
    assert_eq!(pool.allocate(secs(0), 1024, A, false, &mut rng), Some(1024));
}

#[test]
fn icmp_identifiers_use_the_whole_range() {
    let (mut pool, mut rng) = (PortPool::new(0..=65535), Rng::new(1));
    assert_eq!(pool.free(secs(0)), 65_536);
    assert_eq!(pool.allocate(secs(0), 0, A, false, &mut rng), Some(0));
    assert_eq!(pool.allocate(secs(0), 65_535, A, false, &mut rng), Some(65_535));
    assert_eq!(pool.free(secs(0)), 65_534);
}

#[test]
fn reserved_ports_are_never_handed_out_but_can_be_claimed() {
    let (mut pool, mut rng) = (PortPool::new(2000..=2009), Rng::new(1));
    pool.set_reserved((2000..=2008).chain([80]));
    assert_eq!(pool.allocate(secs(0), 2003, A, false, &mut rng), Some(2009));
    assert_eq!(pool.allocate(secs(0), 2003, A, false, &mut rng), None);
    assert!(pool.claim(2003));
    assert!(!pool.claim(2003));
    assert!(pool.claim(80));
    pool.release(secs(0), 2003, A);
    assert!(pool.claim(2003));
    pool.release(secs(0), 2003, A);
    pool.set_reserved(std::iter::empty());
    assert_eq!(pool.allocate(secs(0), 2003, B, false, &mut rng), Some(2003));
    assert_eq!(pool.free(secs(0)), 8);
}

#[test]
fn an_avoided_port_is_left_alone() {
    let (mut pool, mut rng) = (PortPool::new(3000..=3001), Rng::new(1));
    let other = |pool: &mut PortPool, rng: &mut Rng| pool.allocate_other(3000, secs(0), 3000, A, false, rng);
    assert_eq!(other(&mut pool, &mut rng), Some(3001));
    assert_eq!(other(&mut pool, &mut rng), None);
    assert_eq!(pool.allocate(secs(0), 3000, A, false, &mut rng), Some(3000));
    pool.release(secs(0), 3000, A);
    assert_eq!(other(&mut pool, &mut rng), None);
    pool.release(secs(1), 3001, A);
    assert_eq!(other(&mut pool, &mut rng), Some(3001), "it rests less long, but is another");
    assert_ne!(pool.allocate(secs(0), 3000, B, false, &mut rng), None, "it is the last one");
    assert!(pool.is_owned(3000));
}

#[test]
fn a_released_port_rests_for_others_and_not_for_its_host() {
    let (mut pool, mut rng) = pool();
    assert_eq!(pool.allocate(secs(0), 5000, A, false, &mut rng), Some(5000));
    pool.release(secs(10), 5000, A);
    assert_ne!(pool.allocate(secs(11), 5000, B, false, &mut rng), Some(5000));
    assert_eq!(pool.allocate(secs(11), 5000, A, false, &mut rng), Some(5000));
    pool.release(secs(20), 5000, A);
    let just_before = Timestamp::from_nanos(secs(140).as_nanos() - 1);
    assert_ne!(pool.allocate(just_before, 5000, B, false, &mut rng), Some(5000));
    assert_eq!(pool.allocate(secs(140), 5000, B, false, &mut rng), Some(5000));
}

#[test]
fn the_port_that_rests_longest_goes_first_when_nothing_else_is_left() {
    let (mut pool, mut rng) = (PortPool::new(3000..=3003), Rng::new(1));
    for port in 3000..=3003 {
        assert_eq!(pool.allocate(secs(0), port, A, false, &mut rng), Some(port));
    }
    for (second, port) in [(1, 3002), (2, 3000), (3, 3003)] {
        pool.release(secs(second), port, A);
    }
    assert_eq!(pool.free(secs(4)), 3);
    for expected in [3002, 3000, 3003] {
        assert_eq!(pool.allocate(secs(4), 9, B, false, &mut rng), Some(expected));
    }
    assert_eq!(pool.allocate(secs(4), 9, B, false, &mut rng), None);
}

#[test]
fn a_closed_port_is_nobodys_until_its_time() {
    let (mut pool, mut rng) = (PortPool::new(3000..=3001), Rng::new(1));
    assert!(pool.claim(3000));
    pool.rest_for_all(3000, secs(300));
    pool.release(secs(0), 3000, A); // the owner is gone already
    let just_before = Timestamp::from_nanos(secs(300).as_nanos() - 1);
    assert!(pool.is_resting_for_all(just_before, 3000));
    assert!(!pool.is_resting_for_all(just_before, 3001));
    assert_eq!(pool.free(just_before), 1);
    assert_eq!(pool.allocate(just_before, 3000, A, false, &mut rng), Some(3001));
    assert_eq!(pool.allocate(just_before, 3000, A, false, &mut rng), None);
    assert!(!pool.is_resting_for_all(secs(300), 3000));
    assert_eq!(pool.free(secs(300)), 1);
    assert_eq!(pool.allocate(secs(300), 3000, B, false, &mut rng), Some(3000));
}

#[test]
fn claiming_reopens_a_closed_port() {
    let (mut pool, _) = pool();
    pool.rest_for_all(80, secs(300));
    assert!(pool.is_resting_for_all(secs(1), 80));
    assert!(pool.claim(80));
    assert!(!pool.is_resting_for_all(secs(1), 80));
}

#[test]
fn parity_is_kept_while_there_is_a_port_of_it() {
    let (mut pool, mut rng) = (PortPool::new(3001..=3010), Rng::new(3));
    let odd: HashSet<_> = (0..5).filter_map(|_| pool.allocate(secs(0), 7, A, true, &mut rng)).collect();
    assert_eq!(odd, HashSet::from([3001, 3003, 3005, 3007, 3009]));
    assert_eq!(pool.allocate(secs(0), 7, A, true, &mut rng).map(|port| port % 2), Some(0));
}

#[test]
fn every_port_of_the_range_is_found_from_any_start() {
    for range in [1024..=65535, 0..=65535, 63..=64, 100..=100, 127..=300] {
        let mut pool = PortPool::new(range.clone());
        let mut rng = Rng::new(11);
        let preferred = if *range.start() == 0 { 0 } else { 1 };
        let size = range.len() as u32;
        let got: HashSet<_> =
            std::iter::from_fn(|| pool.allocate(secs(0), preferred, A, false, &mut rng)).collect();
        assert_eq!(got.len() as u32, size);
        assert!(got.iter().all(|port| range.contains(port)));
        assert_eq!(pool.free(secs(0)), 0);
    }
}

#[test]
fn random_ports_spread_over_the_range() {
    let (mut pool, mut rng) = pool();
    let ports: Vec<u16> = (0..1000).filter_map(|_| pool.allocate(secs(0), 1, A, false, &mut rng)).collect();
    let low = ports.iter().filter(|&&port| port < 33_280).count();
    assert!((400..600).contains(&low), "{low} of 1000 in the lower half");
}

#[test]
fn a_changed_range_holds_for_new_ports() {
    let (mut pool, mut rng) = pool();
    assert_eq!(pool.allocate(secs(0), 2000, A, false, &mut rng), Some(2000));
    assert_eq!(pool.allocate(secs(0), 2001, A, false, &mut rng), Some(2001));
    pool.release(secs(0), 2000, A);
    pool.set_range(50_000..=50_001);
    assert_eq!(pool.free(secs(1)), 2);
    let mut got = HashSet::new();
    while let Some(port) = pool.allocate(secs(1), 2000, A, false, &mut rng) {
        got.insert(port);
    }
    assert_eq!(got, HashSet::from([50_000, 50_001]));
    pool.release(secs(1), 2001, A);
    assert_eq!(pool.free(secs(1)), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Allocate { preferred: u16, host: u8, parity: bool },
    Release(u16),
    Claim(u16),
    Close(u16, u64),
    Reserve(Vec<u16>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let port = 2040u16..2080;
    prop_oneof![
        6 => (port.clone(), 0u8..4, any::<bool>())
            .prop_map(|(preferred, host, parity)| Step::Allocate { preferred, host, parity }),
        4 => port.clone().prop_map(Step::Release),
        1 => port.clone().prop_map(Step::Claim),
        1 => (port.clone(), 0u64..400).prop_map(|(port, rest)| Step::Close(port, rest)),
        1 => prop::collection::vec(port, 0..6).prop_map(Step::Reserve),
        2 => (0u64..100).prop_map(Step::Wait),
    ]
}

#[derive(Default)]
struct Model {
    owners: HashMap<u16, Option<Ipv4Addr>>,
    resting: HashMap<u16, (Ipv4Addr, u64)>,
    closed: HashMap<u16, u64>,
    reserved: HashSet<u16>,
}

impl Model {
    fn is_closed(&self, port: u16, now: u64) -> bool {
        self.closed.get(&port).is_some_and(|&until| until > now)
    }
    fn rests_after(&self, port: u16, now: u64) -> Option<Ipv4Addr> {
        self.resting.get(&port).filter(|(_, until)| *until > now).map(|(host, _)| *host)
    }
    /// Could be handed to somebody, if nothing better is left.
    fn is_available(&self, port: u16, now: u64) -> bool {
        !self.owners.contains_key(&port) && !self.reserved.contains(&port) && !self.is_closed(port, now)
    }
    fn is_free(&self, port: u16, now: u64) -> bool {
        self.is_available(port, now) && self.rests_after(port, now).is_none()
    }
}

const FIRST: u16 = 2050;
const LAST: u16 = 2069;

proptest! {
    /// Against maps: no port has two owners, the preferred one is kept when it may be, rest and closure are
    /// respected, and a refusal happens only when nothing is left.
    #[test]
    fn agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..300), seed: u64) {
        let mut pool = PortPool::new(FIRST..=LAST);
        let mut rng = Rng::new(seed);
        let mut model = Model::default();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Allocate { preferred, host, parity } => {
                    let host = Ipv4Addr::new(192, 0, 2, host);
                    let range = FIRST..=LAST;
                    let keeps = range.contains(&preferred)
                        && model.is_available(preferred, now)
                        && model.rests_after(preferred, now).is_none_or(|last| last == host);
                    let free: Vec<u16> = range.clone().filter(|&port| model.is_free(port, now)).collect();
                    let available = range.clone().filter(|&port| model.is_available(port, now)).count();
                    prop_assert_eq!(pool.free(secs(now)) as usize, available);
                    match pool.allocate(secs(now), preferred, host, parity, &mut rng) {
                        Some(port) => {
                            prop_assert!(range.contains(&port) && model.is_available(port, now));
                            if keeps {
                                prop_assert_eq!(port, preferred);
                            } else if !free.is_empty() && !free.contains(&port) {
                                // Bounded expiry may leave a port on the list past its time, never before.
                                prop_assert!(false, "{} rests, {:?} were free", port, free);
                            } else if free.is_empty() {
                                let oldest = range.clone()
                                    .filter(|&port| model.is_available(port, now))
                                    .filter_map(|port| model.resting.get(&port).map(|(_, until)| *until))
                                    .min();
                                prop_assert_eq!(oldest, model.resting.get(&port).map(|(_, until)| *until));
                            } else if parity && free.iter().any(|free| free % 2 == preferred % 2) {
                                prop_assert_eq!(port % 2, preferred % 2);
                            }
                            model.resting.remove(&port);
                            model.closed.remove(&port);
                            prop_assert!(model.owners.insert(port, Some(host)).is_none());
                        }
                        None => prop_assert_eq!(available, 0),
                    }
                }
                Step::Release(port) => {
                    let host = model.owners.remove(&port);
                    pool.release(secs(now), port, host.flatten().unwrap_or(A));
                    if let Some(host) = host
                        && (FIRST..=LAST).contains(&port)
                        && !model.reserved.contains(&port)
                    {
                        model.resting.insert(port, (host.unwrap_or(A), now + REST.as_secs()));
                    }
                }
                Step::Claim(port) => {
                    let claimed = pool.claim(port);
                    prop_assert_eq!(claimed, !model.owners.contains_key(&port));
                    if claimed {
                        model.owners.insert(port, None);
                        model.resting.remove(&port);
                        model.closed.remove(&port);
                    }
                }
                Step::Close(port, rest) => {
                    pool.rest_for_all(port, secs(now + rest));
                    model.owners.remove(&port);
                    model.resting.remove(&port);
                    model.closed.insert(port, now + rest);
                }
                Step::Reserve(ports) => {
                    pool.set_reserved(ports.iter().copied());
                    model.resting.retain(|port, _| !ports.contains(port));
                    model.reserved = ports.into_iter().collect();
                }
                Step::Wait(seconds) => now += seconds,
            }
            for port in 2040..2080 {
                prop_assert_eq!(pool.is_resting_for_all(secs(now), port), model.is_closed(port, now));
                prop_assert_eq!(pool.is_owned(port), model.owners.contains_key(&port));
            }
        }
    }
}
