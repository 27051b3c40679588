//! When to send what: one client per entry.
//!
//! A new address waits until it has been the same for the service's [settling time](Service::settle); then a round runs,
//! and the next one may not begin before the service's minimum interval, or the back-off after a failure, has gone. A name whose update was stopped
//! waits for another configuration, or for [`Client::resume`].

use super::dns_name::DnsName;
use super::entry::{Entry, Family, Service};
use super::reason::{Reason, Verdict};
use super::request::{Ask, Outcome, Request, RequestId};
use super::round::{Progress, Round, Sent, Step, Zone};
use super::server_clock::ServerClock;
use super::state::{Known, State, StoredName};
use genkan_engine::{Timestamp, UnixTime};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// After which an outcome is no longer waited for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// First wait after a request that did not reach the service.
pub(super) const NOT_SENT: Duration = Duration::from_secs(30);
/// Longest back-off that doubling leads to; what a service asks for may be longer.
const MAX_BACK_OFF: Duration = Duration::from_secs(6 * 3600);
/// How often a clock that is not plausible is looked at again.
const CLOCK_WAIT: Duration = Duration::from_secs(30);
/// When a name that was found to have the address already is sent nevertheless, for services that forget names: nobody
/// knows how old what was found is.
const REFRESH_AFTER_LOOKUP: Duration = Duration::from_secs(86_400);
/// Events that are kept until they are taken; older ones go first.
const MAX_EVENTS: usize = 128;

/// Both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic.
    pub at: Timestamp,
    /// The date, if it is plausible. Signed updates wait for it.
    pub wall: Option<UnixTime>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name has the address now.
    Updated {
        /// Which.
        name: String,
        /// That it has.
        address: IpAddr,
        /// False when it had it already.
        changed: bool,
    },
    /// A name could not be updated.
    Failed {
        /// Which.
        name: String,
        /// Why.
        reason: Reason,
        /// Whether it will not be tried again with this configuration.
        stopped: bool,
    },
}

/// How a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameStatus<'a> {
    /// Which.
    pub name: &'a str,
    /// What it has, as far as known.
    pub address: Option<IpAddr>,
    /// Since when, if the clock was plausible.
    pub since: Option<UnixTime>,
    /// Whether that is the address it ought to have.
    pub good: bool,
    /// Why the last update failed, if it did.
    pub failure: Option<Reason>,
    /// Whether it waits for another configuration.
    pub stopped: bool,
}

#[derive(Debug, Default)]
struct Name {
    known: Known,
    /// When the address was acknowledged or found, or the client was made.
    at: Timestamp,
    wall: Option<UnixTime>,
    /// Whether nobody knows how old the record is.
    found: bool,
    failure: Option<Reason>,
    stopped: bool,
}

#[derive(Debug)]
struct InFlight {
    id: RequestId,
    step: Step,
    sent: Sent,
    deadline: Timestamp,
    /// What was known before an update put it in doubt.
    before: Vec<(usize, Known)>,
    not_before: Timestamp,
}

/// The zone, where the configuration tells it in the form that requests need.
fn configured_zone(service: &Service) -> Option<Zone> {
    let Service::DnsUpdate(server) = service else { return None };
    server.zone.as_deref().and_then(|zone| DnsName::parse(zone).ok()).map(Zone::Name)
}

/// Keeps the names of one entry at an address. See the [module](super).
#[derive(Debug)]
pub struct Client {
    pub(super) entry: Entry,
    pub(super) zone: Option<Zone>,
    pub(super) round: Option<Round>,
    /// Once the server did not take a signature for our clock.
    pub(super) server_clock: Option<ServerClock>,
    names: Vec<Name>,
    address: Option<IpAddr>,
    settled_at: Timestamp,
    not_before: Timestamp,
    failures: u32,
    in_flight: Option<InFlight>,
    last_id: u64,
    waits_for_clock: bool,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that goes on where `state` was. A state of another configuration only keeps requests apart.
    pub fn new(now: Now, entry: Entry, state: Option<State>) -> Client {
        let mut names: Vec<Name> =
            entry.names.iter().map(|_| Name { at: now.at, ..Name::default() }).collect();
        let mut not_before = now.at;
        let mut failures = 0;
        if let Some(state) = state {
            let same = state.configuration == entry.digest() && state.names.len() == names.len();
            let remaining = state.remaining(now.wall);
            not_before = now.at + if same { remaining } else { remaining.min(entry.service.back_off()) };
            if same {
                failures = state.failures;
                for (name, stored) in names.iter_mut().zip(state.names) {
                    // What another family's address in a state means is unknown.
                    let fits = !matches!(stored.known, Known::Has(a) if Family::of(a) != entry.family);
                    name.known = if fits { stored.known } else { Known::InDoubt };
                    name.wall = stored.at.map(UnixTime);
                    name.failure = stored.failure;
                    name.stopped = stored.stopped;
                    name.found = stored.found;
                }
            }
        }
        let zone = configured_zone(&entry.service);
        Client {
            entry,
            zone,
            round: None,
            server_clock: None,
            names,
            address: None,
            settled_at: now.at,
            not_before,
            failures,
            in_flight: None,
            last_id: 0,
            waits_for_clock: false,
            events: VecDeque::new(),
        }
    }

    /// What must be saved before a request of [`Self::poll`] is sent, and after an outcome was handed in.
    pub fn state(&self, now: Now) -> State {
        let wait = self.not_before.saturating_since(now.at);
        // Rounded up: a restart must not make it shorter.
        let wait = u32::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        State {
            configuration: self.entry.digest(),
            failures: self.failures,
            not_before: now.wall.map(|wall| wall.0.saturating_add(wait.into())),
            wait,
            names: self
                .names
                .iter()
                .map(|name| StoredName {
                    known: name.known,
                    at: name.wall.map(|wall| wall.0),
                    failure: name.failure,
                    stopped: name.stopped,
                    found: name.found,
                })
                .collect(),
        }
    }

    /// The address that the names ought to have; `None` while there is none, which leaves the names alone. An address of
    /// another family counts as none.
    pub fn address(&mut self, now: Now, address: Option<IpAddr>) {
        let address = address.filter(|a| Family::of(*a) == self.entry.family);
        if address != self.address {
            self.address = address;
            self.settled_at = now.at + self.entry.service.settle();
        }
    }

    /// The same names were sent to the same service `elapsed` ago, in another family: the interval goes for both.
    pub fn hold_off(&mut self, now: Now, elapsed: Duration) {
        let wait = self.entry.service.min_interval().saturating_sub(elapsed);
        if wait > Duration::ZERO && self.in_flight.is_none() {
            self.not_before = self.not_before.max(now.at + wait);
            // What resolvers have told so far is asked again then.
            self.round.take_if(|round| !round.reached);
        }
    }

    /// A person wants all names to be tried again: stopped ones are sent, good ones are looked up, and sent if they lead
    /// elsewhere. Intervals still hold.
    pub fn resume(&mut self) {
        let is_idle = self.round.is_none();
        for name in &mut self.names {
            if is_idle && !name.stopped && matches!(name.known, Known::Has(_)) {
                name.known = Known::Nothing;
            }
            name.stopped = false;
        }
    }

    /// Whether a name needs the address, or to be sent again.
    fn needs(&self, now: Now, name: &Name, address: IpAddr) -> bool {
        let refresh =
            self.entry.service.refresh().map(|r| if name.found { r.min(REFRESH_AFTER_LOOKUP) } else { r });
        let age = match (name.wall, now.wall) {
            (Some(then), Some(now)) => {
                Duration::from_secs(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
            }
            _ => Duration::ZERO,
        };
        let due = refresh.is_some_and(|r| age >= r || now.at.saturating_since(name.at) >= r);
        !name.stopped && (name.known != Known::Has(address) || due)
    }

    fn needy(&self, now: Now, address: IpAddr) -> Vec<(usize, Known)> {
        let names = self.names.iter().enumerate();
        names.filter(|(_, name)| self.needs(now, name, address)).map(|(i, name)| (i, name.known)).collect()
    }

    /// The next request, if it is time for one. `random` gives DNS messages their ID.
    pub fn poll(&mut self, now: Now, random: u64) -> Option<Request> {
        self.waits_for_clock = false;
        if self.in_flight.as_ref().is_some_and(|f| now.at >= f.deadline) {
            let id = self.in_flight.as_ref().map(|f| f.id)?;
            self.answer(now, id, &Outcome::NoAnswer, random);
        }
        if self.in_flight.is_some() {
            return None;
        }
        for name in &mut self.names {
            // The clock has become plausible: since when the address holds can be told.
            if let (None, Some(wall), Known::Has(_)) = (name.wall, now.wall, name.known) {
                name.wall = Some(UnixTime(
                    wall.0.saturating_sub_unsigned(now.at.saturating_since(name.at).as_secs()),
                ));
            }
        }
        // What is left of a round for an address that is no longer wanted is not asked.
        self.round.take_if(|round| self.address != Some(round.address));
        if self.round.is_none() {
            let address = self.address?;
            if now.at < self.not_before.max(self.settled_at) || self.needy(now, address).is_empty() {
                return None;
            }
            if matches!(&self.entry.service, Service::DnsUpdate(s) if s.key.is_some()) && now.wall.is_none() {
                self.waits_for_clock = true;
                return None;
            }
            self.round = Some(Round::new(address, self.names.len()));
        }
        let round = self.round.as_ref()?;
        let address = round.address;
        let Some(step) = round.next_step(&self.entry.service, self.zone.as_ref(), &self.needy(now, address))
        else {
            // Nothing failed: the wait that every request reserves, in case nobody lives to see its answer, is not due.
            self.not_before = self.not_before.min(now.at + self.entry.service.min_interval());
            self.round = None;
            return None;
        };
        let Some((ask, sent)) = self.build(now, &step, address, random as u16) else {
            self.round = None;
            self.not_before = self.not_before.max(now.at + CLOCK_WAIT);
            return None;
        };
        self.last_id += 1;
        let id = RequestId(self.last_id);
        let not_before = self.not_before;
        let mut before = Vec::new();
        if let Step::Update(of) = &step {
            before = of.iter().map(|i| (*i, self.names[*i].known)).collect();
            of.iter().for_each(|i| self.names[*i].known = Known::InDoubt);
        }
        // Resolvers are not the service.
        if !matches!(ask, Ask::Resolve { .. }) {
            self.not_before = not_before.max(now.at + self.entry.service.back_off());
        }
        self.in_flight =
            Some(InFlight { id, step, sent, deadline: now.at + REQUEST_TIMEOUT, before, not_before });
        Some(Request { id, ask })
    }

    /// What came of a request. Outcomes of other requests than the one under way are ignored. `random` spreads the
    /// back-off.
    pub fn answer(&mut self, now: Now, id: RequestId, outcome: &Outcome<'_>, random: u64) {
        let Some(flight) = self.in_flight.take_if(|f| f.id == id) else { return };
        let Some(mut round) = self.round.take() else { return };
        if *outcome == Outcome::NotSent {
            for (i, known) in &flight.before {
                self.names[*i].known = *known;
            }
            self.not_before = if round.reached { self.not_before } else { flight.not_before };
        } else if !matches!(outcome, Outcome::Addresses(_)) {
            round.reached = true;
        }
        let progress = self.understand(now, &flight.step, &flight.sent, outcome, &mut round);
        let verdicts = match progress {
            Progress::Next => {
                self.round = Some(round);
                return;
            }
            Progress::Verdicts(verdicts) => verdicts,
        };
        let mut failed = None;
        for (i, verdict) in verdicts {
            match verdict {
                Verdict::Good { changed } => {
                    self.has(now, i, round.address, changed);
                    self.names[i].found = false;
                }
                Verdict::Retry { reason, floor } => {
                    self.fail(i, reason, false);
                    let (_, longest) = *failed.get_or_insert((reason, floor));
                    if floor > longest {
                        failed = Some((reason, floor));
                    }
                }
                Verdict::Stop(reason) if reason.is_of_account() => (0..self.names.len()).for_each(|i| {
                    if !self.names[i].stopped {
                        self.fail(i, reason, true);
                    }
                }),
                Verdict::Stop(reason) => self.fail(i, reason, true),
            }
            round.tried[i] = true;
        }
        match failed {
            Some((reason, floor)) => {
                self.failures = self.failures.saturating_add(1);
                let unreached = reason == Reason::NotSent && !round.reached;
                let wait = self.back_off(unreached).max(floor);
                // Up to a quarter more, so that many routers do not come back together.
                let spread = wait.as_millis() as u64 / 4;
                let wait = wait + Duration::from_millis(random % (spread + 1));
                self.not_before = self.not_before.max(now.at + wait);
                // What was found out about the zone may have changed.
                self.zone = configured_zone(&self.entry.service);
            }
            None => {
                self.failures = 0;
                self.round = Some(round);
            }
        }
    }

    fn back_off(&self, unreached: bool) -> Duration {
        let base = if unreached { NOT_SENT } else { self.entry.service.back_off() };
        let factor = 1u32 << (self.failures.saturating_sub(1)).min(16);
        base.saturating_mul(factor).min(MAX_BACK_OFF.max(base))
    }

    /// What a lookup found for a name that ought to have `address`.
    pub(super) fn found(&mut self, now: Now, i: usize, found: &[IpAddr], address: IpAddr) {
        if found == [address] {
            self.has(now, i, address, false);
            self.names[i].found = true;
        }
    }

    fn has(&mut self, now: Now, i: usize, address: IpAddr, changed: bool) {
        let name = &mut self.names[i];
        name.known = Known::Has(address);
        name.at = now.at;
        name.wall = now.wall;
        name.failure = None;
        self.event(Event::Updated { name: self.entry.names[i].clone(), address, changed });
    }

    fn fail(&mut self, i: usize, reason: Reason, stopped: bool) {
        self.names[i].failure = Some(reason);
        self.names[i].stopped = stopped;
        self.event(Event::Failed { name: self.entry.names[i].clone(), reason, stopped });
    }

    fn event(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::poll`] is to be called next, at the latest; `None` when only [`Self::address`] or an outcome can
    /// change anything.
    pub fn poll_timeout(&self, now: Now) -> Option<Timestamp> {
        if let Some(flight) = &self.in_flight {
            return Some(flight.deadline);
        }
        if self.round.is_some() {
            return Some(now.at);
        }
        let address = self.address?;
        if self.waits_for_clock {
            return Some(now.at + CLOCK_WAIT);
        }
        if !self.needy(now, address).is_empty() {
            return Some(self.not_before.max(self.settled_at));
        }
        // Looked at now and then, since the date may jump.
        let refreshes = self.entry.service.refresh().is_some() && self.names.iter().any(|n| !n.stopped);
        refreshes.then(|| now.at + Duration::from_secs(3600))
    }

    /// How every name stands, in the order of the configuration.
    pub fn status(&self) -> impl Iterator<Item = NameStatus<'_>> {
        self.entry.names.iter().zip(&self.names).map(|(name, state)| {
            let address = match state.known {
                Known::Has(address) => Some(address),
                Known::Nothing | Known::InDoubt => None,
            };
            NameStatus {
                name,
                address,
                since: state.wall,
                good: address.is_some() && address == self.address,
                failure: state.failure,
                stopped: state.stopped,
            }
        })
    }

    /// Whether it keeps the same names with the same service and account. What [`State`] remembers of that is shorter.
    pub fn is_of(&self, entry: &Entry) -> bool {
        self.entry == *entry
    }

    /// Whether nothing happens until the date is known.
    pub fn waits_for_clock(&self) -> bool {
        self.waits_for_clock
    }

    /// By how many seconds the server's clock is ahead of ours (negative: behind), where that is more than signatures bear:
    /// then they are made with the server's time.
    pub fn server_clock_ahead(&self, now: Now) -> Option<i64> {
        self.server_clock?.trouble(now)
    }

    /// The time to sign with.
    pub(super) fn signing_time(&self, now: Now) -> Option<UnixTime> {
        let ahead = self.server_clock.map_or(0, |clock| clock.ahead(now));
        now.wall.map(|wall| UnixTime(wall.0.saturating_add(ahead)))
    }
}
