//! Sessions read out and put back: the same tables as before, whatever there was; and whatever a record says, tables
//! that agree with each other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::invariants::{Step, World, start, step};
use super::*;
use crate::nat::saved::{NotRestored, Restored, SavedSession};
use crate::nat::session::SessionFlags;
use crate::plan::FilteringBehavior;
use crate::team::{Member, Team, WorkerId};
use crate::wire::tcp::TcpFlags;

/// A later process' clock starts anew.
const LATER: Timestamp = Timestamp::from_secs(3);

fn save(nat: &Nat, now: Timestamp) -> Vec<SavedSession> {
    (0..nat.sessions.end()).filter_map(|id| nat.saved(now, id)).collect()
}

fn fresh(plan: &Plan, member: Option<Member>) -> Nat {
    Nat::new(plan, RouteTable::from_plan(plan).into(), [7, 8], LATER, UnixTime(0), member)
}

fn restore(nat: &mut Nat, elapsed: Duration, sessions: &[SavedSession]) -> Restored {
    let mut outcome = Restored::default();
    for session in sessions {
        outcome.count(nat.restore(LATER, elapsed, session));
    }
    outcome
}

/// By protocol and endpoints, in a form that can be a key.
fn keyed(sessions: Vec<SavedSession>) -> BTreeMap<String, SavedSession> {
    let name = |s: &SavedSession| format!("{} {} {} {}", s.protocol.0, s.internal, s.external, s.remote);
    sessions.into_iter().map(|session| (name(&session), session)).collect()
}

fn record(origin: Origin, internal: &str, external: &str, remote: &str) -> SavedSession {
    let scope = matches!(origin, Origin::Outbound | Origin::Inbound).then(|| endpoint("0.0.0.0:0"));
    SavedSession {
        protocol: Protocol::TCP,
        internal: endpoint(internal),
        external: endpoint(external),
        remote: endpoint(remote),
        inside: LAN,
        outside: PortId::WAN,
        origin,
        tcp: TcpState::Established,
        flags: 1,
        scope,
        left: Duration::from_secs(1000),
    }
}

#[test]
fn each_reason_has_its_case() {
    let mut plan = plan();
    plan.forwards.push(web("192.168.0.20"));
    plan.nat.max_ports_per_host = 2;
    let mut nat = fresh(&plan, None);
    let out = record(Origin::Outbound, "192.168.0.10:5000", "203.0.113.1:5000", "198.51.100.7:80");
    let mut outcome =
        |session: SavedSession, elapsed| nat.restore(LATER, Duration::from_secs(elapsed), &session);
    assert_eq!(outcome(out, 1000), Err(NotRestored::Expired));
    assert_eq!(outcome(SavedSession { scope: None, ..out }, 0), Err(NotRestored::Malformed));
    assert_eq!(outcome(SavedSession { inside: PortId::WAN, ..out }, 0), Err(NotRestored::Malformed));
    let routed =
        SavedSession { origin: Origin::Routed, outside: LAN, scope: None, external: out.internal, ..out };
    let to_itself = SavedSession { remote: out.internal, ..routed };
    assert_eq!(outcome(to_itself, 0), Err(NotRestored::Malformed));
    let elsewhere = SavedSession { internal: endpoint("192.168.7.10:5000"), ..out };
    assert_eq!(outcome(elsewhere, 0), Err(NotRestored::Moved));
    assert_eq!(outcome(SavedSession { inside: PortId::lan(1), ..out }, 0), Err(NotRestored::Moved));
    let not_ours = SavedSession { external: endpoint("203.0.113.9:5000"), ..out };
    assert_eq!(outcome(not_ours, 0), Err(NotRestored::NotAllowed));
    let forwards = SavedSession { external: endpoint("203.0.113.1:80"), ..out };
    assert_eq!(outcome(forwards, 0), Err(NotRestored::NotAllowed), "a forward has this port");
    assert_eq!(outcome(out, 999), Ok(true));
    assert_eq!(outcome(out, 0), Err(NotRestored::Taken), "twice the same");
    let thief = SavedSession { internal: endpoint("192.168.0.11:5000"), ..out };
    assert_eq!(outcome(thief, 0), Err(NotRestored::Taken));
    let moved_port =
        SavedSession { external: endpoint("203.0.113.1:5001"), remote: endpoint("198.51.100.8:80"), ..out };
    assert_eq!(outcome(moved_port, 0), Err(NotRestored::Taken), "its endpoint has another external one");
    let second = record(Origin::Outbound, "192.168.0.10:6", "203.0.113.1:6", "198.51.100.7:80");
    assert_eq!(outcome(second, 0), Ok(true), "outside of the range of dynamic ports, as before");
    let third = record(Origin::Outbound, "192.168.0.10:7", "203.0.113.1:7", "198.51.100.7:80");
    assert_eq!(outcome(third, 0), Err(NotRestored::Full), "the host has all its ports");
    let forward = record(Origin::Forward, "192.168.0.20:8080", "203.0.113.1:80", "198.51.100.7:900");
    assert_eq!(outcome(forward, 0), Ok(true));
    let gone = record(Origin::Forward, "192.168.0.21:8080", "203.0.113.1:80", "198.51.100.7:901");
    assert_eq!(outcome(gone, 0), Err(NotRestored::NotAllowed));
    let dmz = record(Origin::Dmz, "192.168.0.21:90", "203.0.113.1:90", "198.51.100.7:901");
    assert_eq!(outcome(dmz, 0), Err(NotRestored::NotAllowed));
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (3, 2));
    let counted = nat.tally.views(&plan, LATER, 0, 10);
    assert_eq!((counted[0].sessions, counted[0].hits), (1, 0), "its forward's, but opened before");
}

#[test]
fn what_is_left_of_its_time_is_what_it_gets() {
    let mut nat = fresh(&plan(), None);
    let out = record(Origin::Outbound, "192.168.0.10:5000", "203.0.113.1:5000", "198.51.100.7:80");
    assert_eq!(nat.restore(LATER, Duration::from_secs(400), &out), Ok(true));
    nat.expire(LATER + Duration::from_secs(599));
    assert_eq!(nat.sessions.len(), 1);
    nat.expire(LATER + Duration::from_secs(601));
    assert_eq!((nat.sessions.len(), nat.mappings.len()), (0, 0));
    // No record outlives the timeout of the plan in force.
    let long = SavedSession { left: Duration::MAX, ..out };
    assert_eq!(nat.restore(LATER, Duration::ZERO, &long), Ok(true));
    nat.expire(LATER + nat.settings.timeouts.tcp_established + Duration::from_secs(2));
    assert_eq!(nat.sessions.len(), 0);
}

/// A host speaks from the same external address as before, also in new sessions.
#[test]
fn a_host_stays_paired_with_its_external_address() {
    let mut plan = plan();
    plan.wan.addresses = (2..10).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect();
    for last in 1..10 {
        let mut nat = fresh(&plan, None);
        let external = format!("203.0.113.{last}:5000");
        let out = record(Origin::Outbound, "192.168.0.10:5000", &external, "198.51.100.7:80");
        assert_eq!(nat.restore(LATER, Duration::ZERO, &out), Ok(true));
        let opened = open(&mut nat, Protocol::UDP, "192.168.0.10:6000", "198.51.100.7:53").unwrap();
        assert_eq!(*opened.ip(), Ipv4Addr::new(203, 0, 113, last));
    }
}

/// Filtering goes by what the inside had sent before.
#[test]
fn a_mapping_admits_whom_it_admitted_before() {
    let mut plan = plan();
    plan.nat.filtering = FilteringBehavior::AddressDependent;
    let mut nat = nat(&plan);
    let external = open(&mut nat, Protocol::UDP, "192.168.0.10:5000", "198.51.100.7:53").unwrap();
    let mut later = fresh(&plan, None);
    restore(&mut later, Duration::ZERO, &save(&nat, NOW));
    let admits = |from| later.judge_inbound(LATER, Protocol::UDP, endpoint(from), external, false);
    assert!(admits("198.51.100.7:999").is_ok());
    assert_eq!(admits("198.51.100.8:53"), Err(DropReason::Filtered));
}

/// A session that came from outside and was answered holds as one that the inside has opened.
#[test]
fn an_answered_session_from_outside_is_put_back() {
    let mut plan = plan();
    plan.nat.filtering = FilteringBehavior::AddressDependent;
    let out = record(Origin::Outbound, "192.168.0.10:5000", "203.0.113.1:5000", "198.51.100.7:80");
    let back = SavedSession { origin: Origin::Inbound, remote: endpoint("198.51.100.7:81"), ..out };
    let sent = |saved| SavedSession { flags: SessionFlags::SENT.bits(), ..saved };
    let mut later = fresh(&plan, None);
    let saved = [sent(out), sent(back)];
    assert_eq!(restore(&mut later, Duration::ZERO, &saved).restored, 2);
    assert_eq!(save(&later, LATER), saved);
    let mut unanswered = fresh(&plan, None);
    assert_eq!(restore(&mut unanswered, Duration::ZERO, &[sent(out), back]).restored, 1);
}

/// How many workers there were before is nothing to the records: each has one owner, where its packets go.
#[test]
fn every_session_is_put_back_at_one_worker() {
    let mut plan = plan();
    plan.nat.max_sessions = 1000;
    let mut before = nat(&plan);
    for host in 10..40 {
        for port in 0..5 {
            let internal = format!("192.168.0.{host}:{}", 5000 + port);
            open(&mut before, Protocol::UDP, &internal, "198.51.100.7:53").unwrap();
        }
    }
    let saved = save(&before, NOW);
    let team = Team::new(3, [1, 2]);
    let members: Vec<Member> =
        (0..3).filter_map(|worker| Member::new(team.clone(), WorkerId(worker))).collect();
    let mut workers: Vec<Nat> = members.iter().map(|member| fresh(&plan, Some(member.clone()))).collect();
    let mut sum = Restored::default();
    for worker in &mut workers {
        sum += restore(worker, Duration::ZERO, &saved);
    }
    assert_eq!(sum, Restored { restored: saved.len() as u64, ..Restored::default() });
    for (nat, member) in workers.iter().zip(&members) {
        for session in save(nat, LATER) {
            let (internal, remote) = (*session.internal.ip(), *session.remote.ip());
            assert_eq!(nat.owner_from_inside(session.protocol, internal, remote), Some(member.id));
            let owner =
                nat.owner_from_outside(LATER, session.protocol, session.remote, session.external, false);
            assert_eq!(owner, Some(member.id), "the port has its owner");
        }
    }
}

prop_compose! {
    /// Few values of each field, so that records meet.
    fn any_record()(
        protocol in prop::sample::select(vec![6u8, 17, 1, 50]),
        hosts in (0u8..5, 0u8..5, 0u8..5),
        ports in (0u16..4, 0u16..4, 0u16..4),
        sides in (0u8..4, 0u8..4),
        origin in 0..Origin::ALL.len(),
        tcp in 0..TcpState::ALL.len(),
        flags in any::<u8>(),
        scope in prop::option::of((0u8..4, 0u16..3)),
        left in 0u64..400,
    ) -> SavedSession {
        let address = |index: u8| [
            Ipv4Addr::new(192, 168, 0, 10),
            Ipv4Addr::new(203, 0, 113, 1),
            Ipv4Addr::new(198, 51, 100, 0),
            Ipv4Addr::new(203, 0, 113, 5),
            Ipv4Addr::UNSPECIFIED,
        ][index as usize];
        let port = |index: u16| if index == 0 { 0 } else { 1999 + index };
        let side = |index: u8| [PortId::WAN, PortId::lan(0), PortId::HOST, PortId(255)][index as usize];
        SavedSession {
            protocol: Protocol(protocol),
            internal: SocketAddrV4::new(address(hosts.0), port(ports.0)),
            external: SocketAddrV4::new(address(hosts.1), port(ports.1)),
            remote: SocketAddrV4::new(address(hosts.2), port(ports.2)),
            inside: side(sides.0),
            outside: side(sides.1),
            origin: Origin::ALL[origin],
            tcp: TcpState::ALL[tcp],
            flags,
            scope: scope.map(|(host, port)| SocketAddrV4::new(address(host), port)),
            left: Duration::from_secs(left),
        }
    }
}

/// A field of one record in place of another's: nearly right, as damage is.
fn crossed(one: &SavedSession, other: &SavedSession, field: u8) -> SavedSession {
    let mut record = *one;
    match field {
        0 => record.internal = other.internal,
        1 => record.external = other.external,
        2 => record.remote = other.remote,
        3 => record.protocol = other.protocol,
        4 => record.origin = other.origin,
        5 => record.scope = other.scope,
        6 => record.flags = !record.flags,
        7 => record.inside = other.inside,
        8 => record.outside = other.outside,
        _ => record.tcp = other.tcp,
    }
    record
}

/// What the plan does not allow must not come back by the file: judged first, as after a reload, and again for as long
/// as one that has ended was what let another go on.
fn judge_all(world: &mut World) {
    loop {
        let before = world.nat.sessions.len();
        world.nat.epoch += 1;
        for id in 0..world.nat.sessions.end() {
            world.nat.revalidate(world.now, id);
        }
        if world.nat.sessions.len() == before {
            return;
        }
    }
}

proptest! {
    /// Whatever happened before: what is read out and put back under the same plan is the same, in both directions.
    #[test]
    fn nothing_is_lost_and_nothing_changes(steps in prop::collection::vec(step(), 1..120)) {
        let plan = start();
        let mut world = World { nat: nat(&plan), plan, now: NOW };
        for step in &steps {
            world.run(step);
        }
        judge_all(&mut world);
        // A plan may have made the table smaller than what it holds.
        world.plan.nat.max_sessions = world.plan.nat.max_sessions.max(world.nat.sessions.len() as u32);
        let saved = save(&world.nat, world.now);
        let mut later = World { nat: fresh(&world.plan, None), plan: world.plan, now: LATER };
        let outcome = restore(&mut later.nat, Duration::ZERO, &saved);
        later.check();
        prop_assert_eq!(outcome, Restored { restored: saved.len() as u64, ..Restored::default() });
        later.nat.sweep(LATER);
        later.check();
        prop_assert_eq!(keyed(save(&later.nat, LATER)), keyed(saved));
    }

    /// Put back early and caught up later is the same as put back later.
    #[test]
    fn catching_up_is_as_good_as_having_waited(
        steps in prop::collection::vec(step(), 1..80),
        meanwhile in prop::collection::vec(step(), 0..80),
    ) {
        let plan = start();
        let mut world = World { nat: nat(&plan), plan, now: NOW };
        for step in &steps {
            world.run(step);
        }
        judge_all(&mut world);
        world.plan.nat.max_sessions = world.plan.nat.max_sessions.max(world.nat.sessions.len() as u32);
        let mut later = World { nat: fresh(&world.plan, None), plan: world.plan.clone(), now: LATER };
        restore(&mut later.nat, Duration::ZERO, &save(&world.nat, world.now));
        let before = world.now;
        // Plans wait meanwhile.
        for step in meanwhile.iter().filter(|step| !matches!(step, Step::Reload(_))) {
            world.run(step);
        }
        judge_all(&mut world);
        later.now += world.now.saturating_since(before);
        let saved = save(&world.nat, world.now);
        let mut catch_up = later.nat.begin_catch_up();
        for piece in saved.chunks(3) {
            later.nat.compare(later.now, Duration::ZERO, piece, &mut catch_up);
        }
        let outcome = later.nat.catch_up(later.now, Duration::ZERO, catch_up);
        later.check();
        prop_assert_eq!(outcome, Restored { restored: saved.len() as u64, ..Restored::default() });
        later.nat.sweep(later.now);
        later.check();
        prop_assert_eq!(keyed(save(&later.nat, later.now)), keyed(saved));
    }

    #[test]
    fn whatever_a_record_says_the_tables_agree(
        steps in prop::collection::vec(step(), 1..60),
        records in prop::collection::vec(any_record(), 0..40),
        crossings in prop::collection::vec((any::<u16>(), any::<u16>(), 0u8..10), 0..40),
        after in prop::collection::vec(step(), 1..40),
    ) {
        let plan = start();
        let mut world = World { nat: nat(&plan), plan, now: NOW };
        for step in &steps {
            world.run(step);
        }
        let mut all = save(&world.nat, world.now);
        all.extend(records);
        for (one, other, field) in crossings {
            if !all.is_empty() {
                let (one, other) = (usize::from(one) % all.len(), usize::from(other) % all.len());
                let record = crossed(&all[one], &all[other], field);
                all.push(record);
            }
        }
        let mut later = World { nat: fresh(&world.plan, None), plan: world.plan, now: LATER };
        for record in &all {
            let _ = later.nat.restore(later.now, Duration::from_secs(5), record);
            later.check();
        }
        for step in &after {
            later.run(step);
            later.check();
        }
        later.now += Duration::from_secs(200_000);
        for _ in 0..200 {
            later.nat.expire(later.now);
        }
        prop_assert_eq!((later.nat.sessions.len(), later.nat.mappings.len()), (0, 0));
    }
}

#[test]
fn a_hairpin_is_put_back_whichever_half_comes_first() {
    let mut plan = plan();
    plan.forwards.push(web("192.168.0.20"));
    let mut world = World { nat: nat(&plan), plan: plan.clone(), now: NOW };
    let (internal, remote) = (endpoint("192.168.0.10:5000"), endpoint("203.0.113.1:80"));
    let id = world.nat.open_outbound(NOW, Protocol::TCP, internal, remote, LAN, &Foreseen::NOTHING).unwrap();
    let source = world.nat.sessions[id].external();
    world.inbound(Protocol::TCP, source, remote, TcpFlags::SYN, true);
    let mut saved = save(&world.nat, NOW);
    assert_eq!(saved.len(), 2);
    for _ in 0..2 {
        saved.reverse();
        let mut later = fresh(&plan, None);
        assert_eq!(restore(&mut later, Duration::ZERO, &saved).restored, 2);
        later.sweep(LATER);
        assert_eq!(later.sessions.len(), 2);
    }
}
