//! Questions that upstreams were asked and have not answered yet.
//!
//! An exchange is one question with those who wait for its answer; several clients that ask the same share one. It makes
//! attempts: one message to one upstream, with an identifier of its own, over UDP from a port of its own and with the
//! case of the name's letters drawn by chance ("0x20"), so that somebody who does not see the question has to guess all
//! three. An attempt that timed out is still listened for until the exchange ends.
//!
//! An exchange that ends leaves behind what it was still waiting for from other upstreams: a laggard of each, so that one that
//! is slower than another can be told from one that is dead. One at a time is enough for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use genkan_engine::Timestamp;

use super::forwarder::Action;
use super::message::{AD, CD, ClientTransport, HEADER, Key, Query, RD, opt};
use super::upstream::{Transport, UpstreamId};

/// How long a datagram, and a message over a connection that may have to be made first, is waited for.
const UDP_TIMEOUT: Duration = Duration::from_secs(1);
const STREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// How often an identifier or port is drawn when it is in use.
const DRAWS: usize = 16;
/// Queries over TLS are padded to a multiple of this (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 128;
const OPTION_PADDING: u16 = 12;

/// Who asked, and how the reply gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// Where the query came from.
    pub address: SocketAddr,
    /// By what it came.
    pub transport: ClientTransport,
    /// The caller's own mark, such as the lan or the connection; given back as it is.
    pub mark: u32,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) client: Client,
    pub(crate) query: Query,
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) upstream: UpstreamId,
    pub(crate) transport: Transport,
    pub(crate) id: u16,
    /// As it was sent, letter by letter.
    pub(crate) question: Box<[u8]>,
    pub(crate) with_edns: bool,
    pub(crate) sent_at: Timestamp,
    /// When the next attempt is due; nothing when it has been.
    pub(crate) timeout: Option<Timestamp>,
}

/// Who is still to be asked.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The next first; one may come several times.
    rest: VecDeque<UpstreamId>,
    /// How many are asked at once.
    width: usize,
}

impl Turns {
    /// So many of these, `width` at once, from the first again after the last.
    pub(crate) fn new(order: &[UpstreamId], width: usize, count: usize) -> Turns {
        Turns { rest: order.iter().copied().cycle().take(count).collect(), width }
    }

    /// Whom to ask next; nobody: all turns are over.
    pub(crate) fn next(&mut self) -> Vec<UpstreamId> {
        self.rest.drain(..self.width.min(self.rest.len())).collect()
    }

    /// This one is not asked any more.
    pub(crate) fn leave_out(&mut self, upstream: UpstreamId) {
        let before = self.rest.len();
        self.rest.retain(|other| *other != upstream);
        if self.rest.len() < before {
            // Nobody is asked twice at once.
            self.width = self.width.saturating_sub(1).max(1);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Exchange {
    /// The first client's question.
    pub(crate) query: Query,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) turns: Turns,
    pub(crate) attempts: Vec<Attempt>,
    /// When a stale answer goes to those who wait.
    pub(crate) stale_at: Option<Timestamp>,
    pub(crate) deadline: Timestamp,
    /// Its entry among the timers.
    wake: Timestamp,
}

impl Exchange {
    pub(crate) fn new(query: Query, waiters: Vec<Waiter>, turns: Turns, deadline: Timestamp) -> Exchange {
        Exchange { query, waiters, turns, attempts: Vec::new(), stale_at: None, deadline, wake: deadline }
    }
}

/// Why a client cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// It waits for this very answer already.
    Repeated,
    Full,
}

/// All exchanges, within bounds on who waits.
#[derive(Debug)]
pub(crate) struct Exchanges {
    by_key: BTreeMap<Key, Exchange>,
    by_attempt: BTreeMap<(UpstreamId, Transport, u16), Key>,
    /// Attempts whose exchange has ended, and that have not timed out.
    laggards: BTreeMap<UpstreamId, Attempt>,
    ports: BTreeSet<u16>,
    timers: BTreeSet<(Timestamp, Key)>,
    waiting: usize,
    waiting_by_client: BTreeMap<IpAddr, usize>,
    max_waiting: usize,
    max_waiting_per_client: usize,
}

impl Exchanges {
    pub(crate) fn new(max_waiting: usize, max_waiting_per_client: usize) -> Exchanges {
        Exchanges {
            by_key: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            laggards: BTreeMap::new(),
            ports: BTreeSet::new(),
            timers: BTreeSet::new(),
            waiting: 0,
            waiting_by_client: BTreeMap::new(),
            max_waiting,
            max_waiting_per_client,
        }
    }

    pub(crate) fn set_limits(&mut self, max_waiting: usize, max_waiting_per_client: usize) {
        (self.max_waiting, self.max_waiting_per_client) = (max_waiting, max_waiting_per_client);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn is_asked(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn of(&mut self, key: &Key) -> Option<&mut Exchange> {
        self.by_key.get_mut(key)
    }

    /// Whether `client` may wait for `key`, too.
    pub(crate) fn room(&self, key: &Key, client: Client, id: u16) -> Result<(), NoRoom> {
        let same = |waiter: &Waiter| waiter.client == client && waiter.query.id == id;
        if self.by_key.get(key).is_some_and(|exchange| exchange.waiters.iter().any(same)) {
            return Err(NoRoom::Repeated);
        }
        let own = self.waiting_by_client.get(&client.address.ip()).copied().unwrap_or(0);
        let full = self.waiting >= self.max_waiting
            || own >= self.max_waiting_per_client
            // Exchanges that were answered stale go on without anybody who waits.
            || !self.is_asked(key) && self.by_key.len() >= self.max_waiting;
        if full { Err(NoRoom::Full) } else { Ok(()) }
    }

    fn count(&mut self, client: Client) {
        self.waiting += 1;
        *self.waiting_by_client.entry(client.address.ip()).or_default() += 1;
    }

    /// Lets a client wait for an exchange that is under way. Call [`Exchanges::room`] first.
    pub(crate) fn join(&mut self, key: &Key, waiter: Waiter) {
        let client = waiter.client;
        if let Some(exchange) = self.by_key.get_mut(key) {
            exchange.waiters.push(waiter);
            self.count(client);
        }
    }

    /// Begins one. Call [`Exchanges::room`] first.
    pub(crate) fn insert(&mut self, key: &Key, exchange: Exchange) {
        for waiter in &exchange.waiters {
            self.count(waiter.client);
        }
        self.timers.insert((exchange.wake, key.clone()));
        self.by_key.insert(key.clone(), exchange);
    }

    /// Takes those who wait out of an exchange that goes on.
    pub(crate) fn take_waiters(&mut self, key: &Key) -> Vec<Waiter> {
        let Some(exchange) = self.by_key.get_mut(key) else { return Vec::new() };
        let waiters = std::mem::take(&mut exchange.waiters);
        for waiter in &waiters {
            self.waiting -= 1;
            let address = waiter.client.address.ip();
            if let Some(own) = self.waiting_by_client.get_mut(&address) {
                *own -= 1;
                if *own == 0 {
                    self.waiting_by_client.remove(&address);
                }
            }
        }
        waiters
    }

    /// Ends an exchange, and says who waited for it.
    pub(crate) fn end(&mut self, key: &Key, actions: &mut Vec<Action>) -> Vec<Waiter> {
        let waiters = self.take_waiters(key);
        if let Some(exchange) = self.by_key.remove(key) {
            self.timers.remove(&(exchange.wake, key.clone()));
            for attempt in exchange.attempts {
                if attempt.timeout.is_some() && !self.laggards.contains_key(&attempt.upstream) {
                    self.by_attempt.remove(&(attempt.upstream, attempt.transport, attempt.id));
                    self.laggards.insert(attempt.upstream, attempt);
                } else {
                    self.forget(&attempt, actions);
                }
            }
        }
        waiters
    }

    /// Whether anything of an upstream may still come.
    pub(crate) fn is_listening(&self) -> bool {
        !self.by_key.is_empty() || !self.laggards.is_empty()
    }

    /// The laggard of `upstream`, if it is meant; it is one no longer.
    pub(crate) fn take_laggard(
        &mut self,
        upstream: UpstreamId,
        is_meant: impl Fn(&Attempt) -> bool,
        actions: &mut Vec<Action>,
    ) -> Option<Attempt> {
        self.laggards.get(&upstream).filter(|attempt| is_meant(attempt))?;
        let attempt = self.laggards.remove(&upstream)?;
        self.forget(&attempt, actions);
        Some(attempt)
    }

    /// The upstreams whose laggard has timed out; it is one no longer.
    pub(crate) fn silent_laggards(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> Vec<UpstreamId> {
        let is_due = |_: &UpstreamId, attempt: &mut Attempt| attempt.timeout.is_none_or(|at| at <= now);
        let silent: Vec<_> = self.laggards.extract_if(.., is_due).collect();
        silent.iter().for_each(|(_, attempt)| self.forget(attempt, actions));
        silent.into_iter().map(|(upstream, _)| upstream).collect()
    }

    /// Listens for no laggard any more.
    pub(crate) fn drop_laggards(&mut self, actions: &mut Vec<Action>) {
        for (_, attempt) in std::mem::take(&mut self.laggards) {
            self.forget(&attempt, actions);
        }
    }

    /// The questions that are being asked.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.by_key.keys().cloned().collect()
    }

    /// Gives up all attempts of an exchange.
    pub(crate) fn drop_all_attempts(&mut self, key: &Key, actions: &mut Vec<Action>) {
        let Some(exchange) = self.by_key.get_mut(key) else { return };
        for attempt in std::mem::take(&mut exchange.attempts) {
            self.forget(&attempt, actions);
        }
    }

    fn forget(&mut self, attempt: &Attempt, actions: &mut Vec<Action>) {
        self.by_attempt.remove(&(attempt.upstream, attempt.transport, attempt.id));
        if let Transport::Udp { port } = attempt.transport {
            self.ports.remove(&port);
            actions.push(Action::Close { upstream: attempt.upstream, port });
        }
    }

    /// The exchange that a message with this identifier may belong to.
    pub(crate) fn find(&self, upstream: UpstreamId, transport: Transport, id: u16) -> Option<Key> {
        self.by_attempt.get(&(upstream, transport, id)).cloned()
    }

    /// Those with an attempt by this upstream and transport.
    pub(crate) fn all_by(&self, upstream: UpstreamId, transport: Transport) -> Vec<Key> {
        let range = (upstream, transport, 0)..=(upstream, transport, u16::MAX);
        self.by_attempt.range(range).map(|(_, key)| key.clone()).collect()
    }

    /// Asks `upstream`, by UDP when `transport` says so from a port that is drawn (its own counts for nothing). Nothing
    /// happens when no free identifier or port was drawn. Whether it is asked.
    #[expect(clippy::too_many_arguments, reason = "the forwarder's own state is split between them")]
    pub(crate) fn attempt(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        key: &Key,
        upstream: UpstreamId,
        transport: Transport,
        with_edns: bool,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some((transport, id)) = (0..DRAWS).find_map(|_| self.draw(random, upstream, transport)) else {
            return false;
        };
        let Some(exchange) = self.by_key.get_mut(key) else { return false };
        let mut question = exchange.query.question.clone();
        let timeout = match transport {
            Transport::Udp { port } => {
                mix_case(&mut question, random);
                self.ports.insert(port);
                UDP_TIMEOUT
            }
            Transport::Tcp | Transport::Tls => STREAM_TIMEOUT,
        };
        let octets = encode(id, &question, &exchange.query, with_edns, transport == Transport::Tls);
        exchange.attempts.push(Attempt {
            upstream,
            transport,
            id,
            question,
            with_edns,
            sent_at: now,
            timeout: Some(now + timeout),
        });
        self.by_attempt.insert((upstream, transport, id), key.clone());
        actions.push(Action::Send { upstream, transport, octets });
        true
    }

    fn draw(
        &self,
        random: &mut dyn FnMut() -> u64,
        upstream: UpstreamId,
        transport: Transport,
    ) -> Option<(Transport, u16)> {
        let number = random();
        let id = number as u16;
        let transport = match transport {
            Transport::Udp { .. } => {
                // RFC 6056 section 3.2: 1024 to 65535, each equally likely.
                let port = (1024 + (number >> 16) % 64_512) as u16;
                if self.ports.contains(&port) {
                    return None;
                }
                Transport::Udp { port }
            }
            stream => stream,
        };
        (!self.by_attempt.contains_key(&(upstream, transport, id))).then_some((transport, id))
    }

    /// Gives up the attempts of an exchange by this upstream and transport with this identifier, or whichever it is.
    pub(crate) fn drop_attempts(
        &mut self,
        key: &Key,
        upstream: UpstreamId,
        transport: Transport,
        id: Option<u16>,
        actions: &mut Vec<Action>,
    ) {
        let Some(exchange) = self.by_key.get_mut(key) else { return };
        let is_meant = |attempt: &mut Attempt| {
            attempt.upstream == upstream
                && attempt.transport == transport
                && id.is_none_or(|id| attempt.id == id)
        };
        let dropped: Vec<Attempt> = exchange.attempts.extract_if(.., is_meant).collect();
        for attempt in &dropped {
            self.forget(attempt, actions);
        }
    }

    /// What was sent with this identifier.
    pub(crate) fn attempt_of(
        &self,
        key: &Key,
        upstream: UpstreamId,
        transport: Transport,
        id: u16,
    ) -> Option<&Attempt> {
        let attempts = &self.by_key.get(key)?.attempts;
        let is_meant = |attempt: &&Attempt| {
            (attempt.upstream, attempt.transport, attempt.id) == (upstream, transport, id)
        };
        attempts.iter().find(is_meant)
    }

    /// Sets the timer of an exchange to what comes first.
    pub(crate) fn rearm(&mut self, key: &Key) {
        let Some(exchange) = self.by_key.get_mut(key) else { return };
        let timeouts = exchange.attempts.iter().filter_map(|attempt| attempt.timeout);
        let wake =
            timeouts.chain(exchange.stale_at).chain([exchange.deadline]).min().unwrap_or(exchange.deadline);
        if wake != exchange.wake {
            self.timers.remove(&(exchange.wake, key.clone()));
            exchange.wake = wake;
            self.timers.insert((wake, key.clone()));
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let laggards = self.laggards.values().filter_map(|attempt| attempt.timeout);
        self.timers.first().map(|(at, _)| *at).into_iter().chain(laggards).min()
    }

    /// One whose timer is due.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Key> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone())
    }
}

/// Gives each letter of the question's name one case or the other.
fn mix_case(question: &mut [u8], random: &mut dyn FnMut() -> u64) {
    let name = question.len().saturating_sub(4);
    for chunk in question[..name].chunks_mut(64) {
        let mut bits = random();
        // The octets of lengths are below those of letters.
        for octet in chunk.iter_mut().filter(|octet| octet.is_ascii_alphabetic()) {
            if bits & 1 == 1 {
                *octet ^= 0x20;
            }
            bits >>= 1;
        }
    }
}

/// The message: one question and, with EDNS, an OPT. What else the client sent with its own stays here (RFC 7871 section 7.1.2 and
/// RFC 7873 are between neighbours).
fn encode(id: u16, question: &[u8], query: &Query, with_edns: bool, padded: bool) -> Vec<u8> {
    let mut octets = vec![0; HEADER];
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets[2] = RD;
    // AD asks for AD (RFC 6840 section 5.7).
    octets[3] = AD | if query.checking_disabled { CD } else { 0 };
    octets[5] = 1;
    octets.extend_from_slice(question);
    if !with_edns {
        return octets;
    }
    octets[11] = 1;
    let bare = octets.len() + opt(0, false, 0).len();
    let padding = if padded { (bare + 4).next_multiple_of(PADDING_BLOCK) - bare - 4 } else { 0 };
    let options = if padded { padding + 4 } else { 0 };
    octets.extend_from_slice(&opt(0, query.dnssec_ok(), options as u16));
    if padded {
        octets.extend_from_slice(&OPTION_PADDING.to_be_bytes());
        octets.extend_from_slice(&(padding as u16).to_be_bytes());
        octets.resize(octets.len() + padding, 0);
    }
    octets
}
