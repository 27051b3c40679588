//! What happens by itself or on demand: timers, the link, probes, DHCPDECLINE and DHCPRELEASE.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;
use genkan_engine::Timestamp;

use super::message::Request;
use super::{Client, Event, Exchange, Lease, Lost, State, Transmit};

/// Requests for one offer; with the waits between them 60 s (RFC 2131 section 3.1).
const REQUESTS: u32 = 4;
/// Requests of INIT-REBOOT; with the waits between them 12 s, so that a box that moved is soon on its new network.
const REBOOT_REQUESTS: u32 = 2;
/// First wait for an answer, and the longest one (RFC 2131 section 4.1).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// The shortest wait while a lease is renewed (RFC 2131 section 4.4.5); of a lease of less than 32 minutes one 32nd, or
/// it could end with a single message that is lost.
const RENEWAL_WAIT: Duration = Duration::from_secs(60);
/// Wait after DHCPDECLINE (RFC 2131 section 3.1).
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// MAX_CONFLICTS and RATE_LIMIT_INTERVAL (RFC 5227 section 1.1).
const MAX_CONFLICTS: u32 = 10;
const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the outcome of a probe is awaited; RFC 5227 section 1.1 needs at most 7 s for it.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// The longest random wait before the first DHCPDISCOVER, in milliseconds: a street whose power comes back does not
/// ask at once, and nobody waits for the 10 s that RFC 2131 section 4.4.1 allows.
const START_WAIT_MILLIS: u32 = 1000;

/// The wait after `sent` + 1 messages without success (RFC 2131 section 4.1).
pub(super) fn back_off(sent: u32) -> Duration {
    (FIRST_WAIT * (1 << sent.min(4))).min(LONGEST_WAIT)
}

impl Client {
    /// The carrier came or went. A lease in use stays in use until it expires; with the link back a server is asked
    /// whether it still holds.
    pub fn handle_link(&mut self, now: Timestamp, up: bool) {
        self.advance(now);
        if self.link == up {
            return;
        }
        self.link = up;
        if up {
            self.begin();
        } else {
            self.transmit = None;
            if let State::Probing { lease, .. } = self.idle()
                && self.held.is_none()
            {
                self.remembered = Some(lease);
            }
        }
    }

    /// Wants an address (again), after [`release`](Client::release).
    pub fn start(&mut self, now: Timestamp) {
        self.advance(now);
        if !self.wanted {
            self.wanted = true;
            self.begin();
        }
    }

    /// Gives the address back, if there is one, and stops.
    pub fn release(&mut self, now: Timestamp) {
        self.advance(now);
        self.wanted = false;
        self.idle();
        self.remembered = None;
        self.hint = None;
        self.transmit = None;
        if self.link
            && let Some(lease) = &self.held
        {
            let (address, server) = (lease.address(), lease.server);
            let request = Request {
                kind: MessageType::Release,
                xid: self.rng.next_u64() as u32,
                secs: 0,
                broadcast: false,
                ciaddr: address,
                requested: None,
                server: Some(server),
            };
            self.send(address, server, &request);
        }
        self.lose(Lost::Released);
    }

    /// Nobody answered the probe of [`Event::Probe`].
    pub fn handle_address_free(&mut self, now: Timestamp, address: Ipv4Addr) {
        self.advance(now);
        if matches!(&self.state, State::Probing { lease, .. } if lease.address() == address) {
            self.probed();
        }
    }

    /// Somebody else uses `address`: seen by the probe, or later, when defending it failed (RFC 5227 section 2.4).
    pub fn handle_conflict(&mut self, now: Timestamp, address: Ipv4Addr) {
        self.advance(now);
        let is_address = |lease: &&Lease| lease.address() == address;
        let probed = match &self.state {
            State::Probing { lease, .. } => Some(lease).filter(is_address),
            _ => None,
        };
        let Some(server) = probed.or(self.held.as_ref().filter(is_address)).map(|lease| lease.server) else {
            return;
        };
        if self.held.as_ref().is_some_and(|lease| lease.address() == address) {
            self.lose(Lost::Conflict);
        }
        self.remembered = None;
        self.hint = None;
        if self.link && self.wanted {
            let request = Request {
                kind: MessageType::Decline,
                xid: self.rng.next_u64() as u32,
                secs: 0,
                broadcast: false,
                ciaddr: Ipv4Addr::UNSPECIFIED,
                requested: Some(address),
                server: Some(server),
            };
            self.send(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &request);
            self.conflicts = self.conflicts.saturating_add(1);
            let wait = if self.conflicts < MAX_CONFLICTS { DECLINE_WAIT } else { RATE_LIMIT_INTERVAL };
            self.init(wait);
        }
    }

    /// The time that [`poll_timeout`](Client::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        if self.now < self.timer {
            return;
        }
        match &self.state {
            State::Idle => self.timer = Timestamp::MAX,
            State::Init => {
                let exchange = self.exchange();
                self.state = State::Selecting(exchange);
                self.repeat();
            }
            State::Requesting { exchange, offer } if exchange.sent >= REQUESTS => {
                self.broken = Some(offer.server);
                self.init(Duration::ZERO);
            }
            State::Rebooting { exchange, .. } if exchange.sent >= REBOOT_REQUESTS => self.unanswered_reboot(),
            State::Selecting(_) | State::Requesting { .. } | State::Rebooting { .. } => self.repeat(),
            State::Probing { .. } => self.probed(),
            State::Bound | State::Renewing(_) | State::Rebinding(_) => self.renew(),
        }
    }

    /// Takes note of the time, and ends a lease that is over by then.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let Some(lease) = self.held.as_ref().filter(|lease| lease.expires <= self.now) else {
            return;
        };
        self.hint = Some(lease.address());
        self.lose(Lost::Expired);
        if matches!(self.state, State::Bound | State::Renewing(_) | State::Rebinding(_)) {
            self.init(Duration::ZERO);
        }
    }

    /// INIT-REBOOT with a lease, INIT without one.
    fn begin(&mut self) {
        if !self.link || !self.wanted {
            return;
        }
        self.began = self.now;
        self.naks = 0;
        match self.held.as_ref().or(self.remembered.as_ref()) {
            Some(lease) => {
                let address = lease.address();
                let exchange = self.exchange();
                self.state = State::Rebooting { exchange, address };
                self.repeat();
            }
            None => {
                let wait = self.rng.below(START_WAIT_MILLIS + 1);
                self.init(Duration::from_millis(wait.into()));
            }
        }
    }

    pub(super) fn init(&mut self, wait: Duration) {
        self.state = State::Init;
        self.began = self.now;
        self.timer = self.now + wait;
    }

    fn idle(&mut self) -> State {
        self.timer = Timestamp::MAX;
        std::mem::replace(&mut self.state, State::Idle)
    }

    pub(super) fn exchange(&mut self) -> Exchange {
        Exchange { xid: self.rng.next_u64() as u32, sent_at: self.now, sent: 0, secs: 0 }
    }

    /// No server answered INIT-REBOOT. The lease runs on (RFC 2131 section 3.2), and any server will do.
    fn unanswered_reboot(&mut self) {
        match self.remembered.take_if(|_| self.held.is_none()) {
            Some(lease) if lease.expires > self.now => self.probe(lease, false),
            Some(lease) => {
                self.hint = Some(lease.address());
                self.init(Duration::ZERO);
            }
            None => {
                self.hint = self.held.as_ref().map(Lease::address).or(self.hint);
                self.init(Duration::ZERO);
            }
        }
    }

    pub(super) fn probe(&mut self, lease: Lease, confirmed: bool) {
        self.events.push_back(Event::Probe { address: lease.address() });
        self.state = State::Probing { lease, confirmed };
        self.timer = self.now + PROBE_WAIT;
    }

    fn probed(&mut self) {
        let State::Probing { lease, confirmed } = self.idle() else { return };
        if lease.expires <= self.now {
            self.hint = Some(lease.address());
            self.init(Duration::ZERO);
        } else if confirmed {
            self.take(lease);
        } else {
            self.hint = Some(lease.address());
            self.take(lease);
            self.init(Duration::ZERO);
        }
    }

    /// Uses a lease, and tells what is new about it.
    pub(super) fn take(&mut self, lease: Lease) {
        let after = lease.configuration.clone();
        self.state = State::Bound;
        self.timer = lease.renewal;
        self.events.push_back(match self.held.replace(lease).map(|lease| lease.configuration) {
            None => Event::Bound(after),
            Some(before) if before == after => Event::Renewed,
            Some(before) => Event::Changed { before, after },
        });
        self.remembered = None;
        self.hint = None;
        self.broken = None;
        self.naks = 0;
        self.conflicts = 0;
    }

    pub(super) fn lose(&mut self, why: Lost) {
        if let Some(lease) = self.held.take() {
            self.transmit.take_if(|transmit| why != Lost::Released && transmit.source == lease.address());
            self.events.push_back(Event::Lost { why });
        }
    }

    /// Past T1 or T2. Each request is an exchange of its own: the lease that an answer grants runs from it.
    fn renew(&mut self) {
        let Some(lease) = &self.held else { return };
        let (address, server) = (lease.address(), lease.server);
        let (rebinding, expires) = (lease.rebinding, lease.expires);
        let least = lease.time.map_or(RENEWAL_WAIT, |time| RENEWAL_WAIT.min(time / 32));
        if matches!(self.state, State::Bound) {
            self.began = self.now;
        }
        let mut exchange = self.exchange();
        exchange.secs = self.secs();
        let (destination, deadline) = if self.now < rebinding {
            self.state = State::Renewing(exchange);
            (server, rebinding)
        } else {
            self.state = State::Rebinding(exchange);
            (Ipv4Addr::BROADCAST, expires)
        };
        let wait = (deadline.saturating_since(self.now) / 2).max(least);
        self.timer = deadline.min(self.now + wait);
        let request = Request {
            kind: MessageType::Request,
            xid: exchange.xid,
            secs: exchange.secs,
            broadcast: false,
            ciaddr: address,
            requested: None,
            server: None,
        };
        self.send(address, destination, &request);
    }

    /// Sends the message of the state, for the first time or again.
    pub(super) fn repeat(&mut self) {
        let secs = self.secs();
        let (kind, exchange, requested, server) = match &mut self.state {
            State::Selecting(exchange) => {
                exchange.secs = secs;
                (MessageType::Discover, exchange, self.hint, None)
            }
            // RFC 2131 section 3.1: `secs` stays that of the DHCPDISCOVER.
            State::Requesting { exchange, offer } => {
                (MessageType::Request, exchange, Some(offer.address()), Some(offer.server))
            }
            State::Rebooting { exchange, address } => {
                exchange.secs = secs;
                (MessageType::Request, exchange, Some(*address), None)
            }
            _ => return,
        };
        let request = Request {
            kind,
            xid: exchange.xid,
            secs: exchange.secs,
            // Every other time, for a link on which only broadcast reaches a host without an address.
            broadcast: exchange.sent % 2 == 1,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested,
            server,
        };
        let wait = back_off(exchange.sent);
        exchange.sent = exchange.sent.saturating_add(1);
        self.timer = self.now + self.about(wait);
        self.send(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &request);
    }

    /// `wait` with a uniform random second more or less (RFC 2131 section 4.1).
    pub(super) fn about(&mut self, wait: Duration) -> Duration {
        (wait + Duration::from_millis(self.rng.below(2001).into())).saturating_sub(Duration::from_secs(1))
    }

    fn secs(&self) -> u16 {
        u16::try_from(self.now.saturating_since(self.began).as_secs()).unwrap_or(u16::MAX)
    }

    fn send(&mut self, source: Ipv4Addr, destination: Ipv4Addr, request: &Request) {
        let octets = request.encode(&self.identity);
        self.transmit = Some(Transmit { source, destination, octets });
    }
}
