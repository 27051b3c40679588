//! The forwarder: what becomes of a query, in order. What is not well-formed is refused; local names and private zones
//! are answered here; then block lists, the cache and the upstreams have their turn.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use genkan_engine::Timestamp;
use genkan_engine::wire::ethernet::MacAddr;
use hickory_proto::rr::Name;
use thiserror::Error;

use super::answer::MAX_LIFETIME;
use super::authored;
use super::block_list::BlockList;
use super::cache::{Cache, Found, STALE_TTL};
use super::check;
use super::exchange::{Client, Exchange, Exchanges, NoRoom, Turns, Waiter};
use super::local::LocalNames;
use super::message::{Body, Key, Query, RCODE_REFUSED, Refusal};
use super::name::{self, LowerName};
use super::rebinding::Exceptions;
use super::statistics::{QueryCounters, Statistics};
use super::upstream::{MAX_UPSTREAMS, Strategy, Transport, Upstream, UpstreamId, UpstreamReport, Upstreams};

/// How long clients may remember that a name is blocked, in seconds.
const BLOCKED_TTL: u32 = 60;
/// When those who wait get a stale answer, if there is one (RFC 8767 section 5).
const CLIENT_RESPONSE: Duration = Duration::from_millis(1800);
/// How long upstreams may take for a question, all attempts together: stub resolvers give up at about that time.
const DEADLINE: Duration = Duration::from_secs(5);

/// How the forwarder behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At most [`MAX_UPSTREAMS`], each address once; none: only local names are answered. Default: none.
    pub upstreams: Vec<Upstream>,
    /// Default: in order.
    pub strategy: Strategy,
    /// The domain of the lans' names. Default: `home.arpa` (RFC 8375).
    pub domain: String,
    /// Bound of the cache in octets. Default: 4 MiB.
    pub cache_octets: usize,
    /// For how long after their end answers may serve when upstreams do not. Default: one day (RFC 8767 section 5: one to
    /// three); zero: not at all.
    pub stale: Duration,
    /// Whether answers that point inside are withheld. Default: yes.
    pub rebinding_protection: bool,
    /// Names that may point inside, with all below them.
    pub rebinding_exceptions: Vec<String>,
    /// Bound of queries that wait for upstreams. Default: 1,024.
    pub max_waiting: usize,
    /// The same for one client address. Default: 128.
    pub max_waiting_per_client: usize,
    /// Whether clients are counted apart. Default: no.
    pub client_statistics: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            upstreams: Vec::new(),
            strategy: Strategy::Ordered,
            domain: "home.arpa".to_owned(),
            cache_octets: 4 << 20,
            stale: Duration::from_secs(86_400),
            rebinding_protection: true,
            rebinding_exceptions: Vec::new(),
            max_waiting: 1024,
            max_waiting_per_client: 128,
            client_statistics: false,
        }
    }
}

/// Settings that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// No name of DNS.
    #[error("not a domain name: {0}")]
    Name(String),
    /// More than [`MAX_UPSTREAMS`].
    #[error("{0} upstreams")]
    TooManyUpstreams(usize),
    /// Two of one address and protocol: answers could not be told apart.
    #[error("an upstream is named twice: {0:?}")]
    DuplicateUpstream(Upstream),
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a reply to who asked.
    Reply {
        /// As it came with the query.
        client: Client,
        /// The message.
        octets: Vec<u8>,
    },
    /// Send a question. A UDP port is opened for it; a connection is made where there is none.
    Send {
        /// To whom.
        upstream: UpstreamId,
        /// How.
        transport: Transport,
        /// The message.
        octets: Vec<u8>,
    },
    /// Close a UDP port: nothing more is expected there.
    Close {
        /// Whom it was used with.
        upstream: UpstreamId,
        /// The port.
        port: u16,
    },
    /// Tell who watches.
    Event(Event),
}

/// What somebody may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An answer from outside pointed inside and was withheld.
    Rebinding {
        /// Whose address this was to be.
        name: Name,
        /// The address.
        address: IpAddr,
    },
    /// An upstream failed several times in a row, or refused all questions; others go first.
    UpstreamDown(UpstreamId),
    /// It answers again.
    UpstreamUp(UpstreamId),
}

/// The state of it all. Memory is bounded by the settings, the block list and the names of the lans.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) upstreams: Upstreams,
    pub(super) exchanges: Exchanges,
    pub(super) cache: Cache,
    local: LocalNames,
    block_list: BlockList,
    pub(super) exceptions: Option<Exceptions>,
    client_statistics: bool,
    pub(super) statistics: Statistics,
}

/// The TTL of what has been in the cache for `age` seconds.
pub(super) fn aged(ttl: u32, age: u32) -> u32 {
    ttl.min(MAX_LIFETIME).saturating_sub(age)
}

pub(super) fn stale(ttl: u32) -> u32 {
    ttl.min(STALE_TTL)
}

impl Settings {
    /// The domain as octets.
    fn check(&self) -> Result<LowerName, SettingsError> {
        let domain = name::from_text(&self.domain).ok_or_else(|| SettingsError::Name(self.domain.clone()))?;
        if let Some(wrong) = self.rebinding_exceptions.iter().find(|text| name::from_text(text).is_none()) {
            return Err(SettingsError::Name(wrong.clone()));
        }
        let upstreams = &self.upstreams;
        if upstreams.len() > MAX_UPSTREAMS {
            return Err(SettingsError::TooManyUpstreams(upstreams.len()));
        }
        match (1..upstreams.len()).find(|&index| upstreams[..index].contains(&upstreams[index])) {
            Some(twice) => Err(SettingsError::DuplicateUpstream(upstreams[twice])),
            None => Ok(domain),
        }
    }

    fn exceptions(&self) -> Option<Exceptions> {
        self.rebinding_protection.then(|| Exceptions::new(&self.rebinding_exceptions))
    }
}

impl Forwarder {
    /// With an empty cache and no names. `seed` must be secret.
    ///
    /// # Errors
    /// When the settings contradict themselves.
    pub fn new(settings: &Settings, seed: u64) -> Result<Forwarder, SettingsError> {
        let domain = settings.check()?;
        Ok(Forwarder {
            upstreams: Upstreams::new(&settings.upstreams, settings.strategy),
            exchanges: Exchanges::new(settings.max_waiting, settings.max_waiting_per_client),
            cache: Cache::new(settings.cache_octets, settings.stale, seed),
            local: LocalNames::new(&domain),
            block_list: BlockList::default(),
            exceptions: settings.exceptions(),
            client_statistics: settings.client_statistics,
            statistics: Statistics::default(),
        })
    }

    /// Follows other settings. What is known stays as far as it still counts: answers of other upstreams, or that were
    /// judged otherwise, are forgotten; those who wait are asked for anew. With another domain the names have to be set
    /// again.
    ///
    /// # Errors
    /// When the settings contradict themselves; then nothing has changed.
    pub fn follow(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        settings: &Settings,
        actions: &mut Vec<Action>,
    ) -> Result<(), SettingsError> {
        let domain = settings.check()?;
        let exceptions = settings.exceptions();
        if exceptions != self.exceptions {
            self.exceptions = exceptions;
            self.cache.clear();
        }
        self.local.set_domain(&domain);
        self.cache.set_limits(settings.cache_octets, settings.stale);
        self.exchanges.set_limits(settings.max_waiting, settings.max_waiting_per_client);
        self.client_statistics = settings.client_statistics;
        if !settings.client_statistics {
            self.statistics.clients.clear();
        }
        self.upstreams.strategy = settings.strategy;
        if !self.upstreams.are(&settings.upstreams) {
            self.cache.clear();
            // While the identifiers of upstreams still mean those that they were asked of.
            self.exchanges.drop_laggards(actions);
            let keys = self.exchanges.keys();
            for key in &keys {
                self.exchanges.drop_all_attempts(key, actions);
            }
            self.upstreams.replace(&settings.upstreams);
            for key in keys {
                if check::is_of_check(&key) {
                    self.end_check(&key, actions);
                    continue;
                }
                let turns = self.turns(now);
                if let Some(exchange) = self.exchanges.of(&key) {
                    exchange.turns = turns;
                }
                self.advance(now, random, &key, actions);
            }
        }
        Ok(())
    }

    /// How each upstream does, in the order of the settings.
    pub fn upstream_reports(&self) -> Vec<UpstreamReport> {
        self.upstreams.reports().collect()
    }

    /// Names that the block list has.
    pub fn blocked_names(&self) -> usize {
        self.block_list.len()
    }

    /// Puts these hosts in place of those before, each with its addresses. A name without a dot lies in the domain. The
    /// router's own name is one of them.
    pub fn set_hosts(&mut self, hosts: &[(String, Vec<IpAddr>)]) {
        self.local.set_hosts(hosts);
    }

    /// Puts these names of the public DNS, whose server is inside, in place of those before; see
    /// [`direct_target`](super::direct_target).
    pub fn set_split_names(&mut self, names: &[(String, Ipv4Addr)]) {
        self.local.set_split(names);
    }

    /// A DHCP client calls itself `host_name`. Whether it is known by that now: not, when that is no host name, another
    /// device's, or a name that would draw the traffic of others (`wpad`, `isatap`, ...).
    pub fn add_lease(&mut self, address: Ipv4Addr, device: MacAddr, host_name: &str) -> bool {
        self.local.add_lease(address, device, host_name)
    }

    /// A lease has ended.
    pub fn remove_lease(&mut self, address: Ipv4Addr) {
        self.local.remove_lease(address);
    }

    /// Puts a block list in place of the one before.
    pub fn set_block_list(&mut self, block_list: BlockList) {
        self.block_list = block_list;
    }

    /// Forgets all answers, as after a change of the wan.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// The counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Octets that the cache is charged with, and answers in it.
    pub fn cache_use(&self) -> (usize, usize) {
        (self.cache.octets(), self.cache.len())
    }

    /// Questions that upstreams are being asked.
    pub fn outstanding(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether answers may come: to what is outstanding, or of upstreams that another one was faster than.
    pub fn is_listening(&self) -> bool {
        self.exchanges.is_listening()
    }

    /// When [`Forwarder::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.exchanges.next_wake()
    }

    pub(super) fn count(&mut self, client: Client, count: impl Fn(&mut QueryCounters)) {
        self.statistics.count(client.address.ip(), self.client_statistics, count);
    }

    /// The reply to a client's query, if it is known here and now: a local name, a blocked one, an answer in the cache.
    /// `None` says nothing else and changes nothing: then it is for [`Forwarder::query`].
    pub fn known_reply(&mut self, now: Timestamp, client: Client, octets: &[u8]) -> Option<Vec<u8>> {
        let query = Query::parse(octets).ok()?;
        let octets = self.known(now, client, &query, &query.key())?;
        self.count(client, |counters| counters.queries += 1);
        Some(octets)
    }

    fn known(&mut self, now: Timestamp, client: Client, query: &Query, key: &Key) -> Option<Vec<u8>> {
        let name = &key[..query.name().len()];
        if let Some(body) = self.local.answer(query, name) {
            self.count(client, |counters| counters.local += 1);
            return Some(query.reply(&body, client.transport, |ttl| ttl));
        }
        if self.block_list.blocks(name) {
            self.count(client, |counters| counters.blocked += 1);
            let body = authored::nothing(&query.question, false, name, BLOCKED_TTL);
            return Some(query.reply(&body, client.transport, |ttl| ttl));
        }
        let Some(Found::Fresh(body, age)) = self.cache.find(key, now) else { return None };
        let octets = query.reply(body, client.transport, |ttl| aged(ttl, age));
        self.count(client, |counters| counters.cached += 1);
        Some(octets)
    }

    /// A client asks. `random` gives 64 bits that nobody can foretell with each call; they become identifiers, ports and
    /// the case of letters.
    pub fn query(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        client: Client,
        octets: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let query = match Query::parse(octets) {
            Ok(query) => query,
            Err(refusal) => {
                self.statistics.malformed += 1;
                if let Refusal::Reply(octets) = refusal {
                    actions.push(Action::Reply { client, octets });
                }
                return;
            }
        };
        self.count(client, |counters| counters.queries += 1);
        let key = query.key();
        if let Some(octets) = self.known(now, client, &query, &key) {
            return actions.push(Action::Reply { client, octets });
        }
        let mut refresh = None;
        match self.cache.find(&key, now) {
            Some(Found::Stale(body, false)) => {
                actions.push(reply(client, &query, body, stale));
                return self.count(client, |counters| counters.stale += 1);
            }
            Some(Found::Stale(_, true)) => refresh = Some(now + CLIENT_RESPONSE),
            Some(Found::Fresh(..)) | None => {}
        }
        self.ask(now, random, &key, Waiter { client, query }, refresh, actions);
    }

    /// Lets a client wait for the upstreams.
    fn ask(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        key: &Key,
        waiter: Waiter,
        stale_at: Option<Timestamp>,
        actions: &mut Vec<Action>,
    ) {
        let client = waiter.client;
        let room = self.exchanges.room(key, client, waiter.query.id);
        if room == Err(NoRoom::Repeated) {
            return self.count(client, |counters| counters.repeated += 1);
        }
        if room.is_err() || !waiter.query.recursion_desired {
            let octets = waiter.query.error(RCODE_REFUSED);
            actions.push(Action::Reply { client, octets });
            return self.count(client, |counters| counters.refused += 1);
        }
        if let Some(exchange) = self.exchanges.of(key) {
            // The others of this exchange may have been answered stale by now.
            exchange.stale_at = exchange.stale_at.or(stale_at);
            self.exchanges.join(key, waiter);
            return self.exchanges.rearm(key);
        }
        let turns = self.turns(now);
        let mut exchange = Exchange::new(waiter.query.clone(), vec![waiter], turns, now + DEADLINE);
        exchange.stale_at = stale_at;
        self.exchanges.insert(key, exchange);
        self.advance(now, random, key, actions);
    }

    /// Whom to ask now.
    fn turns(&mut self, now: Timestamp) -> Turns {
        let order = self.upstreams.order(now);
        match self.upstreams.strategy {
            // More than these would not find time.
            Strategy::Ordered => Turns::new(&order, 1, (2 * order.len()).clamp(3, 6)),
            Strategy::Parallel => Turns::new(&order, order.len(), 3 * order.len()),
        }
    }
}

/// The reply to `query` with `body`.
pub(super) fn reply(client: Client, query: &Query, body: &Body, ttl: impl Fn(u32) -> u32) -> Action {
    Action::Reply { client, octets: query.reply(body, client.transport, ttl) }
}
