//! Whatever is answered: no panic, no secret shown, one request at a time, updates of a name at least the minimum
//! interval apart, across restarts too. And once an honest service can be reached, every name ends with the address.

use super::server::{Answer, EPOCH, Kind, Server, entry_of};
use crate::ddns::*;
use genkan_engine::{Timestamp, UnixTime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Fault {
    None,
    NotSent,
    /// Lost on the way there, or on the way back.
    NoAnswer {
        applied: bool,
    },
    Status(u16),
    Text(&'static str),
    Garbage(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Action {
    Address(Option<u8>),
    Wait(u32),
    /// Off for some seconds; whether the date is known afterwards.
    Restart {
        off: u32,
        date: bool,
    },
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::NotSent),
        2 => any::<bool>().prop_map(|applied| Fault::NoAnswer { applied }),
        1 => prop::sample::select(vec![200, 301, 404, 429, 500, 503]).prop_map(Fault::Status),
        1 => prop::sample::select(vec!["911", "dnserr", "", "good 192.0.2.99", "{}", "[]"])
            .prop_map(Fault::Text),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Fault::Garbage),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => prop::option::weighted(0.8, 1u8..4).prop_map(Action::Address),
        3 => (0u32..4000).prop_map(Action::Wait),
        1 => (0u32..100_000, any::<bool>()).prop_map(|(off, date)| Action::Restart { off, date }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Dyndns2, Kind::OneByOne, Kind::Cloudflare, Kind::Dns])
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

fn address(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([203, 0, 113, last]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]),
    }
}

/// A client, the service, and the clocks of both.
struct World {
    kind: Kind,
    family: Family,
    client: Client,
    server: Server,
    /// Real seconds since the start.
    real: u64,
    /// Real seconds at the last restart.
    booted: u64,
    date: bool,
    wanted: Option<IpAddr>,
    faults: std::vec::IntoIter<Fault>,
    /// When the service was last sent an update of a name.
    sent: BTreeMap<String, u64>,
    /// What was saved last.
    saved: State,
}

/// The names that a request updates.
fn updated(ask: &Ask, names: &[String]) -> Vec<String> {
    let mentioned = |text: &str| names.iter().filter(|n| text.contains(n.as_str())).cloned().collect();
    match ask {
        Ask::Http(request) if request.url.expose().contains("myip=") => mentioned(request.url.expose()),
        Ask::Http(request) if request.method == Method::Post => {
            mentioned(&String::from_utf8_lossy(&request.body))
        }
        Ask::Http(request) if request.method == Method::Patch => {
            let id = request.url.expose().rsplit('/').next().unwrap_or("").to_owned();
            names.iter().filter(|n| n.replace('.', "x") == id).cloned().collect()
        }
        Ask::Dns(request) if request.octets[2] & 0x78 != 0 => {
            let wire = |n: &String| DnsName::parse(n).unwrap().wire().to_vec();
            names
                .iter()
                .filter(|n| request.octets.windows(wire(n).len()).any(|w| w == wire(n)))
                .cloned()
                .collect()
        }
        _ => Vec::new(),
    }
}

impl World {
    fn new(kind: Kind, family: Family, faults: Vec<Fault>) -> World {
        let now = Now { at: Timestamp::ZERO, wall: Some(UnixTime(EPOCH)) };
        let client = Client::new(now, entry_of(kind, family), None);
        World {
            kind,
            family,
            saved: client.state(now),
            client,
            server: Server::default(),
            real: 0,
            booted: 0,
            date: true,
            wanted: None,
            faults: faults.into_iter(),
            sent: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        let wall = self.date.then_some(UnixTime(EPOCH + self.real as i64));
        Now { at: Timestamp::from_secs(self.real - self.booted), wall }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Address(last) => {
                self.wanted = last.map(|last| address(self.family, last));
                self.client.address(self.now(), self.wanted);
                self.poll()
            }
            Action::Wait(seconds) => self.wait((*seconds).into()),
            Action::Restart { off, date } => {
                self.real += u64::from(*off);
                self.booted = self.real;
                self.date = *date;
                self.client =
                    Client::new(self.now(), entry_of(self.kind, self.family), Some(self.saved.clone()));
                self.client.address(self.now(), self.wanted);
                self.poll()
            }
        }
    }

    fn wait(&mut self, seconds: u64) -> Result<(), TestCaseError> {
        let end = self.real + seconds;
        while self.real < end {
            let next = self
                .client
                .poll_timeout(self.now())
                .map_or(u64::MAX, |t| t.as_nanos().div_ceil(1_000_000_000));
            self.real = next.saturating_add(self.booted).clamp(self.real + 1, end);
            self.poll()?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..12 {
            let now = self.now();
            let Some(request) = self.client.poll(now, self.real.wrapping_mul(0x9e37_79b9_7f4a_7c15)) else {
                continue;
            };
            prop_assert!(self.client.poll(now, 0).is_none(), "two requests at a time");
            self.saved = self.client.state(now);
            let fault = self.faults.next().unwrap_or(Fault::None);
            if !matches!(fault, Fault::NotSent) {
                let names = ["a.example.com".to_owned(), "b.example.com".to_owned()];
                for name in updated(&request.ask, &names) {
                    let least = entry_of(self.kind, self.family).service.min_interval();
                    if let Some(before) = self.sent.insert(name, self.real) {
                        prop_assert!(
                            Duration::from_secs(self.real - before) >= least,
                            "{} {before}",
                            self.real
                        );
                    }
                }
            }
            let answer = match fault {
                Fault::None => self.server.respond(&request.ask, now),
                Fault::NotSent => Answer::NotSent,
                Fault::NoAnswer { applied } => {
                    if applied {
                        self.server.respond(&request.ask, now);
                    }
                    Answer::Lost
                }
                Fault::Status(status) => Answer::Http(status, Vec::new()),
                Fault::Text(text) => Answer::text(text),
                Fault::Garbage(octets) if matches!(request.ask, Ask::Dns(_)) => Answer::Dns(octets),
                Fault::Garbage(octets) => Answer::Http(200, octets),
            };
            let shown = format!("{request:?}{:?}", self.client);
            prop_assert!(!shown.contains("pass\""), "a secret is shown");
            self.client.answer(now, request.id, &answer.outcome(), self.real);
            self.saved = self.client.state(now);
            while self.client.poll_event().is_some() {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn names_end_with_the_address_and_updates_keep_their_distance(
        kind in kind(),
        family in family(),
        faults in prop::collection::vec(fault(), 0..40),
        actions in prop::collection::vec(action(), 1..30),
        last in 1u8..4,
    ) {
        let mut world = World::new(kind, family, faults);
        for action in &actions {
            world.act(action)?;
        }
        world.date = true;
        world.faults = Vec::new().into_iter();
        world.act(&Action::Address(Some(last)))?;
        world.wait(3 * 86_400)?;
        prop_assert!(world.client.status().all(|name| name.good), "{:?}", world.client);
        prop_assert_eq!(world.server.records.len(), 2);
        prop_assert!(world.server.records.values().all(|a| Some(*a) == world.wanted), "{:?}", world.server);
    }

    #[test]
    fn any_answers_to_any_request(
        kind in kind(),
        family in family(),
        answers in prop::collection::vec((any::<u8>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..200)), 1..30),
    ) {
        let mut world = World::new(kind, family, Vec::new());
        world.client.address(world.now(), Some(address(family, 1)));
        for (which, status, octets) in answers {
            world.real += 100_000;
            let Some(request) = world.client.poll(world.now(), 1) else { continue };
            let text: &str = &String::from_utf8_lossy(&octets);
            let addresses = [address(family, which)];
            let outcome = match which % 5 {
                0 => Outcome::Http { status, retry_after: Some(text), body: &octets },
                1 => Outcome::Http { status: 200, retry_after: None, body: &octets },
                2 => Outcome::Dns(&octets),
                3 => Outcome::Addresses(&addresses),
                _ => Outcome::NoAnswer,
            };
            world.client.answer(world.now(), request.id, &outcome, u64::from(status));
            let _ = world.client.state(world.now());
            let _ = world.client.poll_timeout(world.now());
        }
    }
}
