//! The client on the wan (RFC 2131; RFC 3396, 3442, 4361, 5227 and 6842 for the details).
//!
//! Two things live side by side: the *held* lease, whose address the router uses until it expires, and the *state* of
//! the conversation with servers. A link that comes back starts INIT-REBOOT while the address stays in use; a silent
//! INIT-REBOOT keeps it too and looks for any server, for as long as the lease runs.
//!
//! ```text
//! link up ─┬─ no lease ──> Init ──> Selecting ──offer──> Requesting ──ACK──┐
//!          │                ^          NAK, silence <────────┘             v
//!          └─ a lease ──> Rebooting ──────────────────ACK──────────────> Probing ──free──> Bound
//!                          NAK ──> Init;  silence: Probing, then Init        │ conflict      │ T1
//!                                     ^── DHCPDECLINE, 10 s ─────────────────┘           Renewing
//!                                     ^── NAK, expiry ───────────────────────── Rebinding <──┘ T2
//! ```
//!
//! After every `handle_*`, `start` and `release` the caller sends what [`Client::poll_transmit`] has, then acts on
//! every event of [`Client::poll_event`], then sleeps until [`Client::poll_timeout`]. In this order DHCPRELEASE leaves
//! before the address goes, and no message leaves from an address that was not told. `now` must go on while the
//! machine is suspended (CLOCK_BOOTTIME), or a lease outlives its time.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::rng::Rng;
use genkan_engine::{Timestamp, UnixTime};

mod answer;
mod config;
mod configuration;
mod ignored;
mod lease;
mod machine;
mod message;
#[cfg(test)]
mod tests;

pub use config::{ClientIdentifier, Config, ConfigError};
pub use configuration::{Configuration, Route};
pub use ignored::Ignored;
pub use lease::SavedLease;

use config::Identity;
use lease::Lease;

/// Whoever offers a shorter lease is not asked for it: renewing it would be a flood.
pub const MINIMUM_LEASE: Duration = Duration::from_secs(10);

/// The DHCP client of one wan. Made with its link down and wanting an address.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    rng: Rng,
    /// The latest time that was told; time that goes back is not believed.
    now: Timestamp,
    link: bool,
    wanted: bool,
    state: State,
    /// When the state goes on by itself.
    timer: Timestamp,
    /// The lease in use.
    held: Option<Lease>,
    /// A lease that no server has confirmed since the start, or whose probe the link's loss cut short.
    remembered: Option<Lease>,
    /// The address to ask for in DHCPDISCOVER.
    hint: Option<Ipv4Addr>,
    /// The server whose offer led to nothing.
    broken: Option<Ipv4Addr>,
    /// When the acquisition or renewal began (field `secs`).
    began: Timestamp,
    /// Offers refused with DHCPNAK since an address was last taken.
    naks: u32,
    /// Conflicts since an address was last taken.
    conflicts: u32,
    transmit: Option<Transmit>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Link down, or not wanted.
    Idle,
    Init,
    Selecting(Exchange),
    Requesting {
        exchange: Exchange,
        offer: Lease,
    },
    Rebooting {
        exchange: Exchange,
        address: Ipv4Addr,
    },
    Probing {
        lease: Lease,
        /// By a server, not only by its own age.
        confirmed: bool,
    },
    Bound,
    Renewing(Exchange),
    Rebinding(Exchange),
}

/// One transaction: a request, its repetitions, and one answer.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    xid: u32,
    /// When its first message was sent.
    sent_at: Timestamp,
    /// Messages sent.
    sent: u32,
    /// The field `secs` of the last message.
    secs: u16,
}

/// What the conversation is at (RFC 2131 figure 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Link down, or released.
    Idle,
    /// Waits before it begins.
    Init,
    /// Looks for servers.
    Selecting,
    /// Has asked for an offer.
    Requesting,
    /// Asks whether a lease of before still holds.
    Rebooting,
    /// Waits for the outcome of [`Event::Probe`].
    Probing,
    /// Holds a lease and is silent.
    Bound,
    /// Past T1: asks the server that granted the lease.
    Renewing,
    /// Past T2: asks any server.
    Rebinding,
}

/// A message to send from UDP port 68 to port 67.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The address in use, or 0.0.0.0.
    pub source: Ipv4Addr,
    /// The server, or 255.255.255.255: then to the link's broadcast address, never through a router.
    pub destination: Ipv4Addr,
    /// The payload of the datagram.
    pub octets: Vec<u8>,
}

/// What the daemon has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Probe this address with ARP (RFC 5227 section 2.1.1), then call [`Client::handle_address_free`] or
    /// [`Client::handle_conflict`]. After 10 s without either the address is taken as free.
    Probe {
        /// Not to be used yet, unless it is in use already.
        address: Ipv4Addr,
    },
    /// An address came: use it, and keep [`Client::saved_lease`].
    Bound(Configuration),
    /// The address or what belongs to it is another one: use `after`, and keep [`Client::saved_lease`].
    Changed {
        /// What was in use.
        before: Configuration,
        /// What is to be used from now on.
        after: Configuration,
    },
    /// The same again for a new time: keep [`Client::saved_lease`].
    Renewed,
    /// There is no address any more. The record may be kept after [`Lost::Expired`] and is to be removed after the
    /// others.
    Lost {
        /// What ended it.
        why: Lost,
    },
}

/// What ended the use of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The lease time is over and no server renewed it.
    Expired,
    /// A server said DHCPNAK.
    Refused,
    /// Somebody else uses the address.
    Conflict,
    /// On our own demand.
    Released,
}

impl Client {
    /// A client whose link is down. `seed` must be secret: transaction numbers come from it. `wall` is `None` while the
    /// clock is not plausible; then the age of `saved` is not trusted, and its address waits for a server's word.
    ///
    /// # Errors
    /// When the host name or the DUID of `config` cannot be sent.
    pub fn new(
        config: Config,
        saved: Option<SavedLease>,
        seed: u64,
        now: Timestamp,
        wall: Option<UnixTime>,
    ) -> Result<Client, ConfigError> {
        let identity = Identity::try_from(config)?;
        let saved = saved.filter(|saved| saved.hardware_address == identity.hardware_address);
        let hint = saved.as_ref().map(|saved| saved.configuration.address.addr());
        Ok(Client {
            identity,
            rng: Rng::new(seed),
            now,
            link: false,
            wanted: true,
            state: State::Idle,
            timer: Timestamp::MAX,
            held: None,
            remembered: saved.and_then(|saved| Lease::restore(saved, now, wall)),
            hint: hint.filter(|address| configuration::is_unicast(*address)),
            broken: None,
            began: now,
            naks: 0,
            conflicts: 0,
            transmit: None,
            events: VecDeque::new(),
        })
    }

    /// Uses the saved lease from now on, before a server has confirmed it: for a router that had the address until a
    /// moment ago and whose sessions go on. Tells no event. Returns false, and changes nothing, without a lease that is
    /// still valid for certain.
    pub fn resume(&mut self, now: Timestamp) -> bool {
        self.advance(now);
        let now = self.now;
        let Some(lease) = self.remembered.take_if(|lease| self.held.is_none() && lease.expires > now) else {
            return false;
        };
        self.held = Some(lease);
        true
    }

    /// Who granted the lease in use.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.held.as_ref().map(|lease| lease.server)
    }

    /// The message to send, at most one between two calls of `handle_*`.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.take()
    }

    /// The next event, in their order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Client::handle_timeout); may be past. `None`: only something else moves the
    /// client.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let expires = self.held.as_ref().map_or(Timestamp::MAX, |lease| lease.expires);
        Some(self.timer.min(expires)).filter(|at| *at != Timestamp::MAX)
    }

    /// What the router uses.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.held.as_ref().map(|lease| &lease.configuration)
    }

    /// When the address in use ends without another word of a server; [`Timestamp::MAX`]: never. `None` without an
    /// address.
    pub fn expires(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|lease| lease.expires)
    }

    /// What the conversation is at.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Idle => Phase::Idle,
            State::Init => Phase::Init,
            State::Selecting(_) => Phase::Selecting,
            State::Requesting { .. } => Phase::Requesting,
            State::Rebooting { .. } => Phase::Rebooting,
            State::Probing { .. } => Phase::Probing,
            State::Bound => Phase::Bound,
            State::Renewing(_) => Phase::Renewing,
            State::Rebinding(_) => Phase::Rebinding,
        }
    }

    /// The record of the lease in use, `None` without one. `wall` is `None` while the clock is not plausible.
    pub fn saved_lease(&self, now: Timestamp, wall: Option<UnixTime>) -> Option<SavedLease> {
        let lease = self.held.as_ref()?;
        Some(lease.save(self.identity.hardware_address, now, wall))
    }
}
