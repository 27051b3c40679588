//! DISCOVER, and the stock of probed addresses (RFC 2131 §4.3.1, §3.1 item 2).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;
use genkan_engine::time::Timestamp;
use genkan_engine::wire::ethernet::MacAddr;

use super::{Event, MAX_QUEUE, Now, Probe, ProbeOutcome, Reason, Server};
use crate::dhcp::journal::Record;
use crate::dhcp::lease::{ClientKey, HardwareAddress};
use crate::dhcp::message::{Request, code};
use crate::dhcp::pool::{Holder, Slot, State};

/// How long an offer stands.
const OFFER_TIME: Duration = Duration::from_secs(30);
/// How long a probed address counts as free.
const FRESH_TIME: Duration = Duration::from_secs(600);
/// An outcome that did not come by then will not come.
const PROBE_TIME: Duration = Duration::from_secs(5);
/// A client that waited longer has sent another DISCOVER.
const WAIT_TIME: Duration = Duration::from_secs(4);
/// Clients that wait for a probe.
const MAX_WAITING: usize = 4096;
/// Probed addresses kept when many clients come.
const MAX_STOCK: usize = 8192;

/// DISCOVERs that wait for an outcome.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// For a certain address.
    certain: BTreeMap<Ipv4Addr, Waiter>,
    /// For any address of their network.
    any: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    subnet: usize,
    since: Timestamp,
    payload: Box<[u8]>,
}

impl Waiter {
    fn is_old(&self, now: Timestamp) -> bool {
        now.saturating_since(self.since) > WAIT_TIME
    }
}

impl Waiting {
    /// Whether another may wait for an address; those whose outcome never came are forgotten.
    fn has_room_for(&mut self, now: Timestamp, address: Ipv4Addr) -> bool {
        if self.certain.len() >= MAX_WAITING {
            self.certain.retain(|_, waiter| !waiter.is_old(now));
        }
        self.certain.len() < MAX_WAITING || self.certain.contains_key(&address)
    }
}

/// Whether a client can be offered an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usable {
    Now,
    AfterProbe,
    No,
}

impl Server {
    pub(super) fn handle_discover(&mut self, now: Now, request: &Request<'_>, subnet: usize, payload: &[u8]) {
        let (client, reserved) = self.identify(request, subnet);
        let pooled = |address: &Ipv4Addr| self.table.is_pooled(subnet, *address);
        let recorded = self.recorded(request, subnet, &client);
        let wanted = recorded.into_iter().chain(request.address(code::REQUESTED_ADDRESS)).filter(pooled);
        let choices: Vec<Ipv4Addr> = reserved.into_iter().chain(wanted).collect();
        for address in choices {
            match self.usable(request, subnet, address, &client) {
                Usable::No => {}
                Usable::Now => return self.offer(now, request, subnet, address, client),
                Usable::AfterProbe => {
                    let waiter = Waiter { subnet, since: now.monotonic, payload: payload.into() };
                    if !self.waiting.has_room_for(now.monotonic, address) {
                        return self.dropped(Reason::Overloaded);
                    }
                    self.waiting.certain.insert(address, waiter);
                    return self.probe(now, subnet, address);
                }
            }
        }
        if let Some(address) = self.table.ready(subnet) {
            self.offer(now, request, subnet, address, client);
            return self.refill(now, subnet);
        }
        self.stock[subnet] = (self.stock[subnet] * 2).clamp(1, MAX_STOCK);
        self.refill(now, subnet);
        if let Some(address) = self.table.ready(subnet) {
            self.offer(now, request, subnet, address, client);
        } else if !self.table.is_probing(subnet) {
            self.event(Event::Exhausted { subnet });
        } else {
            if self.waiting.any.len() >= MAX_WAITING {
                self.waiting.any.pop_front();
                self.dropped(Reason::Overloaded);
            }
            self.waiting.any.push_back(Waiter { subnet, since: now.monotonic, payload: payload.into() });
        }
    }

    fn usable(&self, request: &Request<'_>, subnet: usize, address: Ipv4Addr, client: &ClientKey) -> Usable {
        let unprobed = if self.config.subnet(subnet).probe { Usable::AfterProbe } else { Usable::Now };
        match self.table.slot(address) {
            None => unprobed,
            Some(slot) => match slot.state {
                State::Idle => unprobed,
                State::Probing => Usable::AfterProbe,
                State::Ready => Usable::Now,
                State::Offered | State::Leased if self.holds(request, address, slot, client) => Usable::Now,
                State::Resting if self.holds(request, address, slot, client) => unprobed,
                State::Offered | State::Leased | State::Resting => Usable::No,
            },
        }
    }

    fn offer(
        &mut self,
        now: Now,
        request: &Request<'_>,
        subnet: usize,
        address: Ipv4Addr,
        client: ClientKey,
    ) {
        let seconds = self.lease_time(request, subnet);
        let leased = self.table.slot(address).is_some_and(|slot| slot.state == State::Leased);
        if !leased {
            let holder = Some(Holder { client, hardware: request.hardware, name: None, seconds });
            let until = now.monotonic + OFFER_TIME;
            self.table.set(address, Slot { state: State::Offered, until, holder });
        }
        let offer = self.reply(request, subnet, MessageType::Offer, address, Some(seconds), None);
        self.send(offer);
    }

    /// Asks for an address to be probed, unless that is under way.
    fn probe(&mut self, now: Now, subnet: usize, address: Ipv4Addr) {
        let holder = match self.table.slot(address) {
            Some(slot) if slot.state == State::Probing => return,
            Some(slot) if slot.state != State::Resting => slot.holder.clone(),
            Some(_) | None => None,
        };
        let until = now.monotonic + PROBE_TIME;
        self.table.set(address, Slot { state: State::Probing, until, holder });
        if self.probes.len() >= MAX_QUEUE {
            self.probes.pop_front();
        }
        self.probes.push_back(Probe { address, relayed: subnet > 0 });
    }

    /// Takes what became of a probe; unknown and late ones are ignored.
    pub fn handle_probe(&mut self, now: Now, address: Ipv4Addr, outcome: ProbeOutcome) {
        self.advance(now);
        let Some(subnet) = self.table.subnet_of(address) else { return };
        let Some(slot) = self.table.slot(address).filter(|slot| slot.state == State::Probing).cloned() else {
            return;
        };
        let waiter = self.waiting.certain.remove(&address);
        let by_waiter = |mac| {
            let waiter = waiter.as_ref().and_then(|waiter| Request::parse(&waiter.payload).ok());
            waiter.and_then(|request| request.hardware.mac()) == Some(mac)
        };
        let free = match outcome {
            ProbeOutcome::Free => true,
            // A host that asks anew for the address that it uses is no stranger.
            ProbeOutcome::InUse(mac) => mac.is_some_and(by_waiter),
        };
        if free {
            let until = now.monotonic + FRESH_TIME;
            self.table.set(address, Slot { state: State::Ready, until, holder: slot.holder });
        } else {
            let ProbeOutcome::InUse(mac) = outcome else { return };
            self.rest(now, subnet, address, mac);
            self.counters.conflicts += 1;
            self.event(Event::Conflict { address, mac });
        }
        match waiter {
            Some(waiter) => self.serve(now, &waiter),
            None => self.serve_any(now, subnet),
        }
        self.refill(now, subnet);
    }

    /// Serves the first that waits for any address of a network.
    fn serve_any(&mut self, now: Now, subnet: usize) {
        if self.table.ready(subnet).is_none() {
            return;
        }
        while self.waiting.any.front().is_some_and(|waiter| waiter.is_old(now.monotonic)) {
            self.waiting.any.pop_front();
            self.dropped(Reason::Overloaded);
        }
        let Some(first) = self.waiting.any.iter().position(|waiter| waiter.subnet == subnet) else { return };
        if let Some(waiter) = self.waiting.any.remove(first) {
            self.serve(now, &waiter);
        }
    }

    fn serve(&mut self, now: Now, waiter: &Waiter) {
        if waiter.is_old(now.monotonic) {
            return self.dropped(Reason::Overloaded);
        }
        if let Ok(request) = Request::parse(&waiter.payload) {
            self.handle_discover(now, &request, waiter.subnet, &waiter.payload);
        }
    }

    /// Nobody gets the address for a while, except who was found to use it.
    pub(super) fn rest(&mut self, now: Now, subnet: usize, address: Ipv4Addr, user: Option<MacAddr>) {
        let seconds = self.config.subnet(subnet).rest_time;
        let until = now.monotonic + Duration::from_secs(seconds.into());
        self.withdraw(address);
        let holder = user.map(HardwareAddress::from).map(|hardware| {
            let client = ClientKey::Hardware(hardware);
            Holder { client, hardware, name: None, seconds: 0 }
        });
        self.table.set(address, Slot { state: State::Resting, until, holder });
        if self.has_room() {
            self.record(&Record::Resting { address, until: now.wall.0 + i64::from(seconds) });
        }
    }

    pub(super) fn refill_all(&mut self, now: Now) {
        for subnet in 0..self.table.subnets() {
            self.refill(now, subnet);
        }
    }

    /// Has addresses probed until there are enough.
    fn refill(&mut self, now: Now, subnet: usize) {
        for _ in self.table.stock(subnet)..self.stock[subnet] {
            let Some(address) = self.table.candidate(subnet) else { return };
            if self.config.subnet(subnet).probe {
                self.probe(now, subnet, address);
            } else {
                let holder = self.table.slot(address).and_then(|slot| slot.holder.clone());
                let until = now.monotonic + FRESH_TIME;
                self.table.set(address, Slot { state: State::Ready, until, holder });
            }
        }
    }

    /// An address of the stock got old before anybody wanted it: keep fewer.
    pub(super) fn shrink_stock(&mut self, address: Ipv4Addr) {
        let Some(subnet) = self.table.subnet_of(address) else { return };
        self.stock[subnet] = (self.stock[subnet] / 2).max(self.config.subnet(subnet).stock);
    }
}
