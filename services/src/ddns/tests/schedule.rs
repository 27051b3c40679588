//! When requests are made.

use super::server::{Answer, EPOCH, Kind, Server, at, entry, ip, run};
use crate::ddns::client::{NOT_SENT, REQUEST_TIMEOUT};
use crate::ddns::*;
use genkan_engine::UnixTime;
use std::time::Duration;

const A: &str = "203.0.113.7";
const B: &str = "203.0.113.8";

/// A client whose names have `A`.
fn settled() -> (Client, Server) {
    let mut client = Client::new(at(0), entry(Kind::Dyndns2), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip(A)));
    run(&mut client, &mut server, at(5));
    assert!(client.status().all(|n| n.good));
    (client, server)
}

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Answers the update that is due with `body`.
fn answer(client: &mut Client, now: Now, answer: &Answer) {
    let request = client.poll(now, 0).expect("a request is due");
    assert!(matches!(request.ask, Ask::Http(_)));
    client.answer(now, request.id, &answer.outcome(), 0);
}

#[test]
fn a_first_update_looks_up_then_sends_both_names_at_once() {
    let mut client = Client::new(at(0), entry(Kind::Dyndns2), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip(A)));
    assert_eq!(client.poll(at(4), 0), None);
    assert_eq!(client.poll_timeout(at(4)), Some(at(5).at));
    let asked = run(&mut client, &mut server, at(5));
    let [Ask::Resolve { name, family: Family::V4 }, Ask::Resolve { .. }, Ask::Http(update)] = &asked[..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!(name, "a.example.com");
    assert_eq!(
        update.url.expose(),
        "https://dyn.example.net/nic/update?hostname=a.example.com,b.example.com&myip=203.0.113.7"
    );
    assert!(update.headers.contains(&("Authorization", Secret::new("Basic dXNlcjpwYXNz"))));
    assert_eq!(events(&mut client).len(), 2);
}

#[test]
fn the_interval_goes_for_both_families() {
    let mut client = Client::new(at(0), entry(Kind::Dyndns2), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip(A)));
    // Its sister was sent while it looked its names up.
    let lookup = client.poll(at(5), 0).expect("a lookup");
    assert!(matches!(lookup.ask, Ask::Resolve { .. }));
    client.answer(at(5), lookup.id, &Outcome::Addresses(&[]), 0);
    for elapsed in [1, 2, 299] {
        client.hold_off(at(5 + elapsed), Duration::from_secs(elapsed));
        assert_eq!(client.poll(at(5 + elapsed), 0), None);
        assert_eq!(client.poll_timeout(at(5 + elapsed)), Some(at(305).at), "the least interval is 300 s");
    }
    assert!(client.state(at(10)).not_before >= Some(EPOCH + 305), "a restart does not make it shorter");
    client.hold_off(at(305), Duration::from_secs(300));
    assert_eq!(run(&mut client, &mut server, at(305)).len(), 3, "both are looked up, and sent at once");
}

#[test]
fn what_is_there_already_is_not_sent() {
    let mut client = Client::new(at(0), entry(Kind::Dyndns2), None);
    let mut server = Server::default();
    server.records.insert("a.example.com".into(), ip(A));
    server.records.insert("b.example.com".into(), ip(A));
    client.address(at(0), Some(ip(A)));
    assert_eq!(run(&mut client, &mut server, at(5)).len(), 2);
    assert_eq!(server.updates, 0);
    assert!(client.status().all(|n| n.good));
    // Nobody knows how old it is, so it is sent once a day later.
    assert!(run(&mut client, &mut server, at(86_000)).is_empty());
    assert_eq!(run(&mut client, &mut server, at(86_500)).len(), 1);
    assert!(run(&mut client, &mut server, at(200_000)).is_empty());
}

#[test]
fn a_burst_of_changes_makes_one_update() {
    let (mut client, mut server) = settled();
    for i in 0..20 {
        client.address(at(400 + i), Some(ip(if i % 2 == 0 { B } else { A })));
        assert!(run(&mut client, &mut server, at(400 + i)).is_empty());
    }
    client.address(at(420), Some(ip(B)));
    let settle = client.entry.service.settle().as_secs();
    assert_eq!(run(&mut client, &mut server, at(420 + settle + 1)).len(), 1);
    assert_eq!(server.updates, 2);
}

#[test]
fn the_rest_of_a_round_for_an_old_address_is_not_asked() {
    let mut client = Client::new(at(0), entry(Kind::OneByOne), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip(A)));
    run(&mut client, &mut server, at(5));
    client.address(at(400), Some(ip(B)));
    let request = client.poll(at(405), 0).unwrap();
    client.address(at(406), Some(ip(A)));
    let answer = server.respond(&request.ask, at(406));
    client.answer(at(406), request.id, &answer.outcome(), 0);
    assert!(run(&mut client, &mut server, at(406)).is_empty());
    assert_eq!(server.records["b.example.com"], ip(A));
    assert!(run(&mut client, &mut server, at(704)).is_empty());
    // Only the name that was moved is moved back.
    assert_eq!(run(&mut client, &mut server, at(705)).len(), 1);
    assert_eq!(server.records["a.example.com"], ip(A));
}

#[test]
fn an_address_that_comes_back_is_not_sent() {
    let (mut client, mut server) = settled();
    client.address(at(400), None);
    client.address(at(402), Some(ip(A)));
    assert!(run(&mut client, &mut server, at(500)).is_empty());
    client.address(at(600), Some(ip("2001:db8::1")));
    assert!(run(&mut client, &mut server, at(700)).is_empty());
    assert_eq!(client.poll_timeout(at(700)), None);
}

#[test]
fn updates_keep_their_distance() {
    let (mut client, mut server) = settled();
    client.address(at(10), Some(ip(B)));
    assert!(run(&mut client, &mut server, at(304)).is_empty());
    assert_eq!(client.poll_timeout(at(304)), Some(at(305).at));
    assert_eq!(run(&mut client, &mut server, at(305)).len(), 1);
}

#[test]
fn badauth_stops_until_the_configuration_changes() {
    let (mut client, mut server) = settled();
    client.address(at(400), Some(ip(B)));
    events(&mut client);
    answer(&mut client, at(405), &Answer::text("badauth"));
    let stopped = |name: &str| Event::Failed { name: name.into(), reason: Reason::BadAuth, stopped: true };
    assert_eq!(events(&mut client), [stopped("a.example.com"), stopped("b.example.com")]);
    assert!(run(&mut client, &mut server, at(10_000_000)).is_empty());
    assert_eq!(client.poll_timeout(at(10_000_000)), None);
    assert!(client.status().all(|n| n.stopped && n.failure == Some(Reason::BadAuth)));

    let state = client.state(at(500));
    let mut same = Client::new(at(600), entry(Kind::Dyndns2), Some(state.clone()));
    same.address(at(600), Some(ip(B)));
    assert!(run(&mut same, &mut server, at(100_000)).is_empty());

    let mut other = Client::new(at(600), entry(Kind::OneByOne), Some(state.clone()));
    other.address(at(600), Some(ip(B)));
    // The digest tells names and account, not how many names one request takes.
    assert!(run(&mut other, &mut server, at(100_000)).is_empty());
    let mut changed = entry(Kind::Dyndns2);
    if let Service::Http(http) = &mut changed.service {
        http.password = Secret::new("another");
    }
    let mut changed = Client::new(at(600), changed, Some(state));
    changed.address(at(600), Some(ip(B)));
    assert!(!run(&mut changed, &mut server, at(1000)).is_empty());

    client.resume();
    assert_eq!(run(&mut client, &mut server, at(10_000_001)).len(), 1);
    assert!(client.status().all(|n| n.good && !n.stopped && n.failure.is_none()));
}

#[test]
fn good_names_are_looked_up_when_a_person_says_so() {
    let (mut client, mut server) = settled();
    assert!(run(&mut client, &mut server, at(400)).is_empty());
    client.resume();
    let asked = run(&mut client, &mut server, at(400));
    assert!(matches!(asked[..], [Ask::Resolve { .. }, Ask::Resolve { .. }]), "{asked:?}");
    assert!(client.status().all(|n| n.good));
    // Somebody has led one of them elsewhere by hand.
    server.records.insert("b.example.com".into(), ip(B));
    client.resume();
    let asked = run(&mut client, &mut server, at(401));
    let [Ask::Resolve { .. }, Ask::Resolve { .. }, Ask::Http(update)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert!(update.url.expose().contains("hostname=b.example.com&"), "{update:?}");
    assert_eq!(server.records["b.example.com"], ip(A));
    // Not sooner than the service wants, all the same.
    server.records.insert("b.example.com".into(), ip(B));
    client.resume();
    assert!(run(&mut client, &mut server, at(402)).is_empty());
    assert_eq!(run(&mut client, &mut server, at(701)).len(), 3);
}

#[test]
fn nohost_stops_one_name() {
    let (mut client, mut server) = settled();
    client.address(at(400), Some(ip(B)));
    answer(&mut client, at(405), &Answer::text("nohost\ngood"));
    let names: Vec<_> = client.status().map(|n| (n.good, n.stopped)).collect();
    assert_eq!(names, [(false, true), (true, false)]);
    client.address(at(800), Some(ip(A)));
    run(&mut client, &mut server, at(805));
    assert_eq!(client.status().map(|n| n.good).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn failures_double_the_wait() {
    let (mut client, _) = settled();
    client.address(at(400), Some(ip(B)));
    let mut now = 405;
    for wait in [300, 600, 1200, 2400, 4800, 9600, 19_200, 21_600, 21_600] {
        answer(&mut client, at(now), &Answer::Http(502, Vec::new()));
        let next = client.poll_timeout(at(now)).unwrap();
        assert_eq!(next, at(now + wait).at);
        assert_eq!(client.poll(at(now + wait - 1), 0), None);
        now += wait;
    }
    answer(&mut client, at(now), &Answer::text("good\ngood"));
    assert!(client.status().all(|n| n.good));
}

#[test]
fn an_unreachable_service_is_tried_sooner_than_one_that_fails() {
    let (mut client, _) = settled();
    client.address(at(400), Some(ip(B)));
    answer(&mut client, at(405), &Answer::NotSent);
    assert_eq!(client.poll_timeout(at(405)), Some(at(405).at + NOT_SENT));
    answer(&mut client, at(435), &Answer::NotSent);
    assert_eq!(client.poll_timeout(at(435)), Some(at(435).at + NOT_SENT * 2));
    // Nothing was sent, so it is known what the names have.
    client.address(at(436), Some(ip(A)));
    assert!(client.status().all(|n| n.good));
}

#[test]
fn half_an_hour_after_911_and_what_retry_after_asks() {
    let (mut client, _) = settled();
    client.address(at(400), Some(ip(B)));
    answer(&mut client, at(405), &Answer::text("911"));
    assert_eq!(client.poll_timeout(at(405)), Some(at(405 + 1800).at));
    let request = client.poll(at(2205), 0).unwrap();
    let outcome = Outcome::Http { status: 429, retry_after: Some("7200"), body: b"" };
    // The back-off is spread upwards only.
    client.answer(at(2205), request.id, &outcome, u64::MAX);
    let next = client.poll_timeout(at(2205)).unwrap();
    assert!((at(2205 + 7200).at..=at(2205 + 9000).at).contains(&next));
}

#[test]
fn an_answer_that_does_not_come_leaves_doubt() {
    let (mut client, mut server) = settled();
    client.address(at(400), Some(ip(B)));
    let request = client.poll(at(405), 0).unwrap();
    // It reached the service.
    server.respond(&request.ask, at(405));
    assert_eq!(client.poll_timeout(at(405)), Some(at(405).at + REQUEST_TIMEOUT));
    assert_eq!(client.poll(at(530), 0), None);
    client.answer(at(531), request.id, &Answer::text("good").outcome(), 0);
    assert!(client.status().all(|n| n.failure == Some(Reason::NoAnswer) && n.address.is_none()));
    // Back to the first address: the names may have the second one, so it is sent, without asking a resolver.
    client.address(at(600), Some(ip(A)));
    let asked = run(&mut client, &mut server, at(2000));
    assert!(matches!(asked[..], [Ask::Http(_)]));
    assert!(server.records.values().all(|a| *a == ip(A)));
}

#[test]
fn a_name_is_sent_again_before_it_is_forgotten_also_over_a_restart() {
    let (client, mut server) = settled();
    let day = 86_400;
    let state = client.state(at(day));
    // Twenty days off, the monotonic clock begins anew.
    let later =
        |seconds: u64| Now { wall: Some(UnixTime(EPOCH + 20 * 86_400 + seconds as i64)), ..at(seconds) };
    let mut client = Client::new(later(0), entry(Kind::Dyndns2), Some(state.clone()));
    client.address(later(0), Some(ip(A)));
    assert!(run(&mut client, &mut server, later(4 * day)).is_empty());
    assert_eq!(run(&mut client, &mut server, later(5 * day + 10)).len(), 1);
    // Without a date: counted from the restart on.
    let unknown = |seconds: u64| Now { wall: None, ..at(seconds) };
    let mut client = Client::new(unknown(0), entry(Kind::Dyndns2), Some(state));
    client.address(unknown(0), Some(ip(A)));
    assert!(run(&mut client, &mut server, unknown(24 * day)).is_empty());
    assert_eq!(run(&mut client, &mut server, unknown(26 * day)).len(), 1);
}

#[test]
fn a_restart_does_not_shorten_the_wait() {
    let mut client = Client::new(at(0), entry(Kind::Dyndns2), None);
    client.address(at(0), Some(ip(A)));
    let mut server = Server::default();
    let mut asked = 0;
    while let Some(request) = client.poll(at(5), 0) {
        asked += 1;
        if matches!(request.ask, Ask::Http(_)) {
            break;
        }
        let answer = server.respond(&request.ask, at(5));
        client.answer(at(5), request.id, &answer.outcome(), 0);
    }
    assert_eq!(asked, 3);
    // Killed before the answer.
    let state = client.state(at(5));
    let mut with_date = Client::new(at(100), entry(Kind::Dyndns2), Some(state.clone()));
    with_date.address(at(100), Some(ip(A)));
    assert_eq!(with_date.poll(at(304), 0), None);
    assert!(with_date.poll(at(305), 0).is_some());
    let unknown = |seconds: u64| Now { wall: None, ..at(seconds) };
    let mut without = Client::new(unknown(0), entry(Kind::Dyndns2), Some(state.clone()));
    without.address(unknown(0), Some(ip(A)));
    assert_eq!(without.poll(unknown(299), 0), None);
    assert!(without.poll(unknown(300), 0).is_some());
    // A date that was wrong, before or now, makes nothing wait longer than what was left.
    let early = |seconds: u64| Now { wall: Some(UnixTime(0)), ..at(seconds) };
    let mut client = Client::new(early(0), entry(Kind::Dyndns2), Some(state));
    client.address(early(0), Some(ip(A)));
    assert!(client.poll(early(300), 0).is_some());
}

#[test]
fn the_state_survives_being_written_down() {
    let (mut client, _) = settled();
    client.address(at(400), Some(ip(B)));
    answer(&mut client, at(405), &Answer::text("abuse"));
    let state = client.state(at(405));
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    assert!(!text.contains("pass"));
}

#[test]
fn nothing_secret_is_shown() {
    let (mut client, _) = settled();
    client.address(at(400), Some(ip(B)));
    let request = client.poll(at(405), 0).unwrap();
    client.answer(at(405), request.id, &Answer::text("badauth pass token").outcome(), 0);
    let shown = format!("{client:?} {request:?} {:?} {:?}", client.state(at(405)), events(&mut client));
    for secret in ["pass\"", "dXNlcjpwYXNz", "badauth pass"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let cloudflare = format!("{:?} {:?}", entry(Kind::Cloudflare), entry(Kind::Dns));
    assert!(!cloudflare.contains("token\"") && !cloudflare.contains("115, 101, 99"), "{cloudflare}");
    assert_eq!(NOT_SENT, Duration::from_secs(30));
}

#[test]
fn a_dns_server_has_a_second_change_at_once_and_one_in_doubt_later() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip(A)));
    run(&mut client, &mut server, at(1));
    assert!(client.status().all(|n| n.good));
    client.address(at(3), Some(ip(B)));
    run(&mut client, &mut server, at(4));
    assert!(client.status().all(|n| n.good), "{:?}", client.status().collect::<Vec<_>>());
    // Whoever dies before the answer is told of waits longer.
    client.address(at(10), Some(ip(A)));
    client.poll(at(11), 0).unwrap();
    let state = client.state(at(11));
    let mut client = Client::new(at(12), entry(Kind::Dns), Some(state));
    client.address(at(12), Some(ip(A)));
    assert!(run(&mut client, &mut server, at(40)).is_empty());
    assert!(!run(&mut client, &mut server, at(41)).is_empty());
}
