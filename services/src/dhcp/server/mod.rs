//! The server of a lan (RFC 2131 §4.3), and of networks behind relay agents (RFC 3046).
//!
//! A state machine without I/O: datagrams, outcomes of probes and written records come in; datagrams, probes, records and
//! events are polled out. Two promises shape it. An address is offered only after it was probed, and since clients should
//! not wait for that, a small stock of probed addresses is kept. A lease is acknowledged only after its record was told to
//! be on disk ([`Server::committed`]), so that no acknowledged lease is lost in a crash, and no address is given twice.

mod config;
mod counters;
mod discover;
mod identity;
mod limit;
mod names;
mod output;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;
use genkan_engine::rng::Rng;
use genkan_engine::time::{Timestamp, UnixTime};
use genkan_engine::wire::ethernet::MacAddr;

pub use config::{Config, ConfigError, MAX_POOL, Options, Reservation, Subnet};
pub use counters::Counters;
pub use output::{Batch, Datagram, Delivery, Event, LeaseView, Now, Probe, ProbeOutcome, Reason, Transmit};

use self::discover::Waiting;
use self::limit::Limiter;
use super::journal::{Record, Replay};
use super::lease::{ClientKey, Lease};
use super::message::Request;
use super::pool::{Holder, Slot, State, Table};

/// Wall time is counted in whole seconds, and moves of the wall clock by a second are not recorded: so much longer a lease is
/// kept after a restart, so that none ends before its client thinks so.
const SLACK: u32 = 2;

/// Records that were made and not yet told to be on disk; beyond it clients get no answer and ask again.
const MAX_OUTSTANDING: u64 = 8192;
/// Things waiting to be polled, of each kind that a wire can cause.
const MAX_QUEUE: usize = 8192;
/// Deadlines handled in one call; the rest is due at once.
const MAX_DUE: usize = 1024;

/// An acknowledgement that waits for its record.
#[derive(Debug)]
struct Held {
    sequence: u64,
    client: ClientKey,
    address: Ipv4Addr,
    expires: Timestamp,
    transmit: Transmit,
    event: Event,
}

/// The server of one lan.
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// Indexes into the reservations.
    reserved_macs: BTreeMap<(usize, MacAddr), usize>,
    reserved_identifiers: BTreeMap<(usize, Vec<u8>), usize>,
    reserved_addresses: BTreeMap<Ipv4Addr, usize>,
    reserved_names: BTreeSet<String>,
    table: Table,
    rng: Rng,
    /// Unix time at the origin of the monotonic clock, seconds.
    wall_origin: i64,
    /// Probed addresses to keep, by subnet.
    stock: Vec<usize>,
    limiter: Limiter,
    waiting: Waiting,
    unwritten: Vec<u8>,
    /// Of the last record made, and of the last one told to be on disk.
    sequence: u64,
    committed: u64,
    held: VecDeque<Held>,
    transmits: VecDeque<Transmit>,
    probes: VecDeque<Probe>,
    events: VecDeque<Event>,
    lost_events: u64,
    counters: Counters,
}

impl Server {
    /// A server with the leases that its journal told of.
    ///
    /// # Errors
    /// When the networks and pools do not fit; reservations that do not are left out with an event.
    pub fn new(config: Config, replay: &Replay, now: Now, seed: u64) -> Result<Server, ConfigError> {
        config.check()?;
        let mut server = Server {
            limiter: Limiter::new(config.messages_per_client),
            config,
            reserved_macs: BTreeMap::new(),
            reserved_identifiers: BTreeMap::new(),
            reserved_addresses: BTreeMap::new(),
            reserved_names: BTreeSet::new(),
            table: Table::default(),
            rng: Rng::new(seed),
            wall_origin: now.wall_origin(),
            stock: Vec::new(),
            waiting: Waiting::default(),
            unwritten: Vec::new(),
            sequence: 0,
            committed: 0,
            held: VecDeque::new(),
            transmits: VecDeque::new(),
            probes: VecDeque::new(),
            events: VecDeque::new(),
            lost_events: 0,
            counters: Counters::default(),
        };
        server.build();
        let mut leases: Vec<&Lease> = replay.leases.values().collect();
        leases.sort_by_key(|lease| lease.granted.saturating_add(lease.seconds.into()));
        let is_valid = |lease: &&Lease| left_of(lease, now).is_some();
        let (valid, over): (Vec<_>, Vec<_>) = leases.into_iter().partition(is_valid);
        // Of several leases of one client the one that is valid longest is its own; of what it had, it is the last one.
        for lease in valid.into_iter().chain(over.into_iter().rev()) {
            server.restore(now, lease);
        }
        for (address, until) in &replay.resting {
            // A clock that was set back must not make an address rest for ever.
            let most =
                server.table.subnet_of(*address).map_or(0, |subnet| server.config.subnet(subnet).rest_time);
            let left = until.saturating_sub(now.wall.0).clamp(0, i64::from(most)) as u64;
            if left > 0 {
                let until = now.monotonic + Duration::from_secs(left);
                server.table.set(*address, Slot { state: State::Resting, until, holder: None });
            }
        }
        server.refill_all(now);
        Ok(server)
    }

    /// Takes another configuration; leases are kept, and clients whose lease does not fit any more are told so (NAK) when
    /// they renew.
    ///
    /// # Errors
    /// As [`Server::new`]; then nothing is changed.
    pub fn reconfigure(&mut self, now: Now, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        self.advance(now);
        let old = std::mem::take(&mut self.table);
        self.limiter = Limiter::new(config.messages_per_client);
        self.waiting = Waiting::default();
        self.probes.clear();
        self.config = config;
        self.build();
        let is_kept =
            |(_, slot): &(_, &Slot)| matches!(slot.state, State::Leased | State::Resting | State::Idle);
        let mut slots: Vec<(Ipv4Addr, &Slot)> = old.slots().filter(is_kept).collect();
        // Of several addresses of one client the same one as before is its own: the last lease, or the first memory.
        slots.sort_by_cached_key(|(address, slot)| match (old.is_known(*address, slot), slot.state) {
            (false, State::Leased) => 0,
            (true, _) => 1,
            (false, _) => 2,
        });
        for (address, slot) in slots {
            self.keep_slot(address, slot.clone());
        }
        self.refill_all(now);
        Ok(())
    }

    /// The tables that follow from the configuration.
    fn build(&mut self) {
        self.table = Table::default();
        self.stock.clear();
        for subnet in self.config.subnets() {
            let start = self.rng.next_u64() as u32;
            self.table.add_subnet(subnet.prefix, subnet.pool.clone(), self.config.excluded(subnet), start);
            self.stock.push(subnet.stock);
        }
        self.reserved_macs.clear();
        self.reserved_identifiers.clear();
        self.reserved_addresses.clear();
        self.reserved_names.clear();
        for (index, reservation) in self.config.reservations.iter_mut().enumerate() {
            reservation.name = reservation.name.take().and_then(|name| names::sanitise(name.as_bytes()));
            let address = reservation.address;
            let subnet =
                self.table.subnet_of(address).filter(|_| !self.reserved_addresses.contains_key(&address));
            let keys = subnet.map(|subnet| {
                let identifier = reservation.identifier.clone().map(|id| (subnet, id));
                (reservation.mac.map(|mac| (subnet, mac)), identifier)
            });
            let is_free = |(mac, identifier): &(Option<_>, Option<_>)| {
                !mac.as_ref().is_some_and(|key| self.reserved_macs.contains_key(key))
                    && !identifier.as_ref().is_some_and(|key| self.reserved_identifiers.contains_key(key))
            };
            let Some((mac, identifier)) = keys.filter(is_free) else {
                self.events.push_back(Event::ReservationIgnored { index, address });
                continue;
            };
            self.reserved_macs.extend(mac.map(|key| (key, index)));
            self.reserved_identifiers.extend(identifier.map(|key| (key, index)));
            self.reserved_addresses.insert(address, index);
            self.reserved_names.extend(reservation.name.clone());
        }
        let taken = self.config.taken_names.iter().filter_map(|name| names::sanitise(name.as_bytes()));
        self.reserved_names.extend(taken);
    }

    fn restore(&mut self, now: Now, lease: &Lease) {
        let left = left_of(lease, now);
        let mut holder = Holder {
            client: lease.client.clone(),
            hardware: lease.hardware,
            name: None,
            seconds: lease.seconds,
        };
        // Older files have the names of reservations as if the clients had told them.
        if left.is_some() && self.reserved_name(lease.address, &holder).is_none() {
            holder.name.clone_from(&lease.name);
        }
        let (state, until) = match left {
            None => (State::Idle, now.monotonic),
            Some(left) => (State::Leased, now.monotonic + left),
        };
        self.keep_slot(lease.address, Slot { state, until, holder: Some(holder) });
    }

    /// Takes over what was known of an address, if it still belongs to a network.
    fn keep_slot(&mut self, address: Ipv4Addr, slot: Slot) {
        let leased = slot.state == State::Leased;
        if self.table.set(address, slot).is_none() && leased {
            self.event(Event::LeaseOutside { address });
        }
    }

    /// Takes a datagram that came to port 67.
    pub fn handle_datagram(&mut self, now: Now, datagram: &Datagram<'_>) {
        self.advance(now);
        let request = match Request::parse(datagram.payload) {
            Ok(request) => request,
            Err(error) => return self.dropped(Reason::Malformed(error)),
        };
        if !self.limiter.admits(now.monotonic, &request.hardware) {
            return self.dropped(Reason::RateLimited);
        }
        self.counters.receive(request.kind);
        let Some(subnet) = self.subnet_for(&request, datagram).filter(|subnet| self.serves(*subnet)) else {
            return self.dropped(Reason::UnknownNetwork);
        };
        match request.kind {
            MessageType::Discover => self.handle_discover(now, &request, subnet, datagram.payload),
            MessageType::Request => self.handle_request(now, &request, subnet, datagram),
            MessageType::Decline => self.handle_decline(now, &request, subnet),
            MessageType::Release => self.handle_release(now, &request, subnet),
            MessageType::Inform => self.handle_inform(&request, subnet, datagram),
            _ => self.dropped(Reason::Malformed(super::message::MessageError::MessageType)),
        }
    }

    /// The network that the client is on: that of link selection (RFC 3527) or of the relay agent; that of its own address
    /// when it renews from behind one by unicast; else the lan.
    fn subnet_for(&self, request: &Request<'_>, datagram: &Datagram<'_>) -> Option<usize> {
        const LINK_SELECTION: u8 = 5;
        if !request.giaddr().is_unspecified() {
            let selected =
                request.relay_suboption(LINK_SELECTION).and_then(|link| <[u8; 4]>::try_from(link).ok());
            return self.table.subnet_of(selected.map_or(request.giaddr(), Ipv4Addr::from));
        }
        if datagram.destination == self.config.address && !request.ciaddr().is_unspecified() {
            return Some(self.table.subnet_of(request.ciaddr()).unwrap_or(0));
        }
        Some(0)
    }

    /// Whether anybody can get an address of a network: on one that is only on the way to relay agents another server may
    /// be, whose clients must not be refused theirs.
    fn serves(&self, subnet: usize) -> bool {
        let Subnet { prefix, pool, .. } = self.config.subnet(subnet);
        pool.is_some() || self.config.reservations.iter().any(|known| prefix.contains(&known.address))
    }

    fn reserved_at(&self, address: Ipv4Addr) -> Option<&Reservation> {
        self.reserved_addresses.get(&address).map(|index| &self.config.reservations[*index])
    }

    /// The reservation by which a client has an address.
    fn reservation_of(&self, address: Ipv4Addr, holder: &Holder) -> Option<&Reservation> {
        self.reserved_at(address).filter(|reservation| {
            let identifier = match &holder.client {
                ClientKey::Identifier(identifier) => Some(&**identifier),
                ClientKey::Hardware(_) => None,
            };
            let by_mac = reservation.mac.is_some() && reservation.mac == holder.hardware.mac();
            by_mac || identifier.is_some() && reservation.identifier.as_deref() == identifier
        })
    }

    /// Lets time pass; to be called at [`Server::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        self.refill_all(now);
    }

    /// When [`Server::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.table.next_deadline()
    }

    /// Handles deadlines, and a wall clock that was set.
    fn advance(&mut self, now: Now) {
        let moved = now.wall_origin() - self.wall_origin;
        if moved.abs() >= 2 && self.has_room() {
            self.wall_origin = now.wall_origin();
            self.record(&Record::ClockSet(moved));
        }
        for _ in 0..MAX_DUE {
            let Some(address) = self.table.due(now.monotonic) else { return };
            let Some(slot) = self.table.slot(address).cloned() else { return };
            let holder = match slot.state {
                State::Leased => {
                    self.event(Event::Expired { address });
                    slot.holder
                }
                State::Ready => {
                    self.shrink_stock(address);
                    slot.holder
                }
                State::Probing | State::Idle => slot.holder,
                State::Offered | State::Resting => None,
            };
            self.table.set(address, Slot { state: State::Idle, until: now.monotonic, holder });
        }
    }

    /// Whether another record may be made.
    fn has_room(&self) -> bool {
        self.sequence - self.committed < MAX_OUTSTANDING
    }

    fn record(&mut self, record: &Record) {
        record.write(&mut self.unwritten);
        self.sequence += 1;
    }

    /// The records made since the last call, to be appended to the file in this order and synced. Afterwards
    /// [`Server::committed`] is to be told the sequence.
    pub fn poll_records(&mut self) -> Option<Batch> {
        let octets = std::mem::take(&mut self.unwritten);
        (!octets.is_empty()).then_some(Batch { octets, sequence: self.sequence })
    }

    /// A whole new file that replaces everything up to its sequence, for when the old one has grown: records that were not
    /// polled yet are in it.
    pub fn snapshot(&mut self, now: Now) -> Batch {
        self.advance(now);
        let mut octets = super::journal::HEADER.to_vec();
        for (address, slot) in self.table.slots() {
            if let Some(record) = record_of(now, address, slot) {
                record.write(&mut octets);
            }
        }
        self.unwritten.clear();
        Batch { octets, sequence: self.sequence }
    }

    /// Everything up to this sequence is on disk, and survives a loss of power: acknowledgements may leave, of leases that
    /// are still what they say. One that was given back, declined or came to its end meanwhile may be somebody else's now.
    pub fn committed(&mut self, sequence: u64) {
        self.committed = self.committed.max(sequence.min(self.sequence));
        while let Some(held) = self.held.pop_front_if(|held| held.sequence <= self.committed) {
            let is_in_force = self.table.slot(held.address).is_some_and(|slot| {
                slot.state == State::Leased && slot.is_held_by(&held.client) && slot.until >= held.expires
            });
            if is_in_force {
                self.event(held.event);
                self.send(held.transmit);
            } else {
                self.dropped(Reason::Outlived);
            }
        }
    }

    /// The lease of an address is over: acknowledgements of it that wait are not sent. Should the same client get it again, a
    /// loss of power may leave the end of this lease on the disk and not yet the next one.
    fn withdraw(&mut self, address: Ipv4Addr) {
        let before = self.held.len();
        self.held.retain(|held| held.address != address);
        for _ in self.held.len()..before {
            self.dropped(Reason::Outlived);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next address to find out about; [`Server::handle_probe`] takes the outcome.
    pub fn poll_probe(&mut self) -> Option<Probe> {
        self.probes.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events that were not kept because nobody polled.
    pub fn lost_events(&self) -> u64 {
        self.lost_events
    }

    /// The leases in force, in the order of their addresses.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView<'_>> {
        self.table.slots().filter_map(|(address, slot)| self.view(address, slot))
    }

    /// The lease of an address, if it is in force.
    pub fn lease(&self, address: Ipv4Addr) -> Option<LeaseView<'_>> {
        self.view(address, self.table.slot(address)?)
    }

    fn view<'a>(&'a self, address: Ipv4Addr, slot: &'a Slot) -> Option<LeaseView<'a>> {
        let holder = slot.holder.as_ref().filter(|_| slot.state == State::Leased)?;
        let (client, hardware) = (&holder.client, holder.hardware);
        let (reserved, name) =
            (self.reservation_of(address, holder).is_some(), self.name_of(address, holder));
        Some(LeaseView { address, client, hardware, name, reserved, expires: slot.until })
    }

    /// Addresses that nobody gets for a while, as strangers use them, and until when.
    pub fn resting(&self) -> impl Iterator<Item = (Ipv4Addr, Timestamp)> {
        let resting = self.table.slots().filter(|(_, slot)| slot.state == State::Resting);
        resting.map(|(address, slot)| (address, slot.until))
    }

    fn event(&mut self, event: Event) {
        match self.events.len() < MAX_QUEUE {
            true => self.events.push_back(event),
            false => self.lost_events += 1,
        }
    }

    /// What was counted since the server was made.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Addresses of all pools that any client may get, and how many of them nobody has or was promised.
    pub fn pooled(&self) -> (u32, u32) {
        self.table.pooled()
    }

    /// The same of one network: 0 is the lan itself, then the relayed ones in the order of the configuration.
    pub fn pooled_in(&self, subnet: usize) -> (u32, u32) {
        self.table.pooled_in(subnet)
    }

    fn dropped(&mut self, reason: Reason) {
        self.counters.drop(reason);
        self.event(Event::Dropped(reason));
    }

    /// Sends unless nobody polls.
    fn send(&mut self, transmit: Transmit) {
        match self.transmits.len() < MAX_QUEUE {
            true => self.transmits.push_back(transmit),
            false => self.dropped(Reason::Overloaded),
        }
    }
}

/// How long a stored lease goes on; `None`: it is over.
fn left_of(lease: &Lease, now: Now) -> Option<Duration> {
    let is_valid = lease.remaining(now.wall.0.saturating_sub(SLACK.into())) > 0;
    let left = lease.remaining(now.wall.0).saturating_add(SLACK);
    is_valid.then(|| Duration::from_secs(left.into()))
}

/// What a snapshot says about an address. Ended leases are in it: their clients get the same address again.
fn record_of(now: Now, address: Ipv4Addr, slot: &Slot) -> Option<Record> {
    let left = whole_seconds(slot.until.saturating_since(now.monotonic));
    if slot.state == State::Resting {
        return Some(Record::Resting { address, until: now.wall.0 + i64::from(left) });
    }
    let holder = slot.holder.as_ref().filter(|_| slot.state != State::Offered)?;
    let (left, seconds) = match slot.state {
        State::Leased => (left, holder.seconds.max(left)),
        _ => (0, 0),
    };
    Some(Record::Bound(Lease {
        address,
        client: holder.client.clone(),
        hardware: holder.hardware,
        name: holder.name.clone(),
        granted: now.wall.0 + i64::from(left) - i64::from(seconds),
        seconds,
    }))
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

impl Now {
    fn wall_origin(self) -> i64 {
        let UnixTime(wall) = self.wall;
        wall - (self.monotonic.as_nanos() / 1_000_000_000) as i64
    }
}
