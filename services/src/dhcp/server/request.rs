//! REQUEST, DECLINE, RELEASE and INFORM (RFC 2131 §4.3.2 to §4.3.5).

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;

use super::{Datagram, Event, Held, Now, Reason, Server};
use crate::dhcp::journal::Record;
use crate::dhcp::lease::{ClientKey, Lease};
use crate::dhcp::message::{Request, code};
use crate::dhcp::pool::{Holder, Slot, State};

/// No lease is shorter, whatever the client asks for, in seconds.
const MIN_LEASE_TIME: u32 = 60;

impl Server {
    pub(super) fn handle_request(
        &mut self,
        now: Now,
        request: &Request<'_>,
        subnet: usize,
        datagram: &Datagram<'_>,
    ) {
        let (client, reserved) = self.identify(request, subnet);
        let requested = request.address(code::REQUESTED_ADDRESS);
        match (request.address(code::SERVER_IDENTIFIER), requested, request.ciaddr()) {
            (Some(server), _, _) if server != self.config.address => {
                self.withdraw_offer(now, subnet, &client);
                self.event(Event::OtherServer { server, hardware: request.hardware });
                self.dropped(Reason::OtherServer);
            }
            (Some(_), Some(address), _) => {
                let fits = self.table.subnet_of(address) == Some(subnet)
                    && self.was_offered(subnet, address, &client, reserved, request);
                match fits {
                    true => self.grant(now, request, subnet, address, client),
                    false => self.refuse(request, subnet, address),
                }
            }
            (_, None, ciaddr) if !ciaddr.is_unspecified() => {
                // Who renews by unicast got the address here, so it may keep it even when the record is lost.
                let is_ours = datagram.destination == self.config.address;
                self.keep(now, request, subnet, ciaddr, is_ours);
            }
            (None, Some(address), _) => self.keep(now, request, subnet, address, false),
            (_, None, _) => self.dropped(Reason::UnknownClient),
        }
    }

    /// The client took another server's offer: ours is free again.
    fn withdraw_offer(&mut self, now: Now, subnet: usize, client: &ClientKey) {
        let Some(address) = self.table.address_of(subnet, client) else { return };
        if self
            .table
            .slot(address)
            .is_some_and(|slot| slot.state == State::Offered && slot.is_held_by(client))
        {
            self.table.set(address, Slot { state: State::Idle, until: now.monotonic, holder: None });
        }
    }

    /// The client takes our offer, or repeats the request by which it did.
    fn was_offered(
        &self,
        subnet: usize,
        address: Ipv4Addr,
        client: &ClientKey,
        reserved: Option<Ipv4Addr>,
        request: &Request<'_>,
    ) -> bool {
        self.table.slot(address).is_some_and(|slot| match slot.state {
            State::Offered => self.holds(request, address, slot, client),
            State::Leased => {
                self.holds(request, address, slot, client)
                    && self.may_have(subnet, address, client, reserved, request)
            }
            State::Idle | State::Probing | State::Ready | State::Resting => false,
        })
    }

    /// The client wants to keep an address: it remembers it (INIT-REBOOT), or uses it (RENEWING, REBINDING).
    fn keep(&mut self, now: Now, request: &Request<'_>, subnet: usize, address: Ipv4Addr, is_ours: bool) {
        let (client, reserved) = self.identify(request, subnet);
        if self.table.subnet_of(address) != Some(subnet) {
            return self.refuse(request, subnet, address);
        }
        let recorded = self.recorded(request, subnet, &client).first().copied();
        let known = is_ours || reserved.is_some() || recorded.is_some();
        // Who reboots uses no address: refused, it gets the one of its record (RFC 2131 section 4.3.2).
        let is_wrong = request.ciaddr().is_unspecified()
            && reserved != Some(address)
            && recorded.is_some_and(|recorded| recorded != address);
        let fits = !is_wrong && self.may_have(subnet, address, &client, reserved, request);
        match self.is_free_for(address, &client, request)
            && fits
            && (known || self.was_its_own(request, address, &client))
        {
            true => self.grant(now, request, subnet, address, client),
            false if known => {
                // It has to leave an address that it may not have any longer, and asks for another one.
                self.end_own(now, request, address, &client);
                self.refuse(request, subnet, address);
            }
            false => self.dropped(Reason::UnknownClient),
        }
    }

    fn was_its_own(&self, request: &Request<'_>, address: Ipv4Addr, client: &ClientKey) -> bool {
        self.table
            .slot(address)
            .is_some_and(|slot| slot.state != State::Resting && self.holds(request, address, slot, client))
    }

    /// Nobody else has or was promised the address.
    fn is_free_for(&self, address: Ipv4Addr, client: &ClientKey, request: &Request<'_>) -> bool {
        self.table.slot(address).is_none_or(|slot| match slot.state {
            State::Idle | State::Probing | State::Ready => true,
            State::Offered | State::Leased | State::Resting => self.holds(request, address, slot, client),
        })
    }

    /// Whether the configuration lets the client have the address.
    fn may_have(
        &self,
        subnet: usize,
        address: Ipv4Addr,
        client: &ClientKey,
        reserved: Option<Ipv4Addr>,
        request: &Request<'_>,
    ) -> bool {
        match reserved {
            Some(reserved) if reserved == address => true,
            // It is to move to its reservation, if it can get that.
            Some(reserved) if self.is_free_for(reserved, client, request) => false,
            _ => self.table.is_pooled(subnet, address),
        }
    }

    /// Binds the address; the acknowledgement waits for the record. Who asks for another address than its own has given that
    /// up (RFC 2131 section 4.4.1): the lease of it ends.
    fn grant(
        &mut self,
        now: Now,
        request: &Request<'_>,
        subnet: usize,
        address: Ipv4Addr,
        client: ClientKey,
    ) {
        if !self.has_room() {
            return self.dropped(Reason::Overloaded);
        }
        let mut others = self.leased(request, subnet, &client);
        others.remove(&address);
        for former in others {
            self.end_lease(now, former);
            self.event(Event::Expired { address: former });
        }
        let seconds = self.lease_time(request, subnet);
        let is_under_another_key = |slot: &Slot| slot.state == State::Leased && !slot.is_held_by(&client);
        if self.table.slot(address).is_some_and(is_under_another_key) {
            self.withdraw(address);
        }
        let before = self.table.slot(address).filter(|slot| slot.state == State::Leased);
        let renewed = before.is_some_and(|slot| self.holds(request, address, slot, &client));
        // The acknowledgement of a shorter lease may get lost: then the client goes by the one that it has.
        let asked = now.monotonic + Duration::from_secs(seconds.into());
        let expires = before.map_or(asked, |slot| slot.until.max(asked));
        let kept = super::whole_seconds(expires.saturating_since(now.monotonic));
        // Not every client says its name again when it renews.
        let known = before.filter(|_| renewed).and_then(|slot| slot.holder.as_ref()?.name.clone());
        let hardware = request.hardware;
        let mut holder = Holder { client: client.clone(), hardware, name: None, seconds: kept };
        if self.reserved_name(address, &holder).is_none() {
            holder.name = self.told_name(request, address, known);
        }
        let name = self.name_of(address, &holder).map(str::to_owned);
        self.record(&Record::Bound(Lease {
            address,
            client: client.clone(),
            hardware,
            name: holder.name.clone(),
            granted: now.wall.0,
            seconds: kept,
        }));
        self.table.set(address, Slot { state: State::Leased, until: expires, holder: Some(holder) });

        let transmit = self.reply(request, subnet, MessageType::Ack, address, Some(seconds), name.as_deref());
        let event = Event::Leased { address, hardware, name, expires, renewed };
        self.held.push_back(Held { sequence: self.sequence, client, address, expires, transmit, event });
    }

    /// Ends the lease of an address, if it is this client's.
    fn end_own(&mut self, now: Now, request: &Request<'_>, address: Ipv4Addr, client: &ClientKey) {
        let is_own = |slot: &Slot| slot.state == State::Leased && self.holds(request, address, slot, client);
        if self.table.slot(address).is_some_and(is_own) && self.has_room() {
            self.end_lease(now, address);
            self.event(Event::Expired { address });
        }
    }

    fn refuse(&mut self, request: &Request<'_>, subnet: usize, address: Ipv4Addr) {
        let nak = self.reply(request, subnet, MessageType::Nak, Ipv4Addr::UNSPECIFIED, None, None);
        self.send(nak);
        self.event(Event::Refused { address, hardware: request.hardware });
    }

    /// The lease time in seconds: what the client asks for, within bounds.
    pub(super) fn lease_time(&self, request: &Request<'_>, subnet: usize) -> u32 {
        let most = self.config.subnet(subnet).lease_time;
        request.lease_time().map_or(most, |asked| asked.max(MIN_LEASE_TIME).min(most))
    }

    /// The client found out that somebody else uses its address.
    pub(super) fn handle_decline(&mut self, now: Now, request: &Request<'_>, subnet: usize) {
        let Some(address) = request
            .address(code::REQUESTED_ADDRESS)
            .and_then(|address| self.own_lease(request, subnet, address))
        else {
            return self.dropped(Reason::UnknownClient);
        };
        if !self.has_room() {
            return self.dropped(Reason::Overloaded);
        }
        self.rest(now, subnet, address, None);
        self.event(Event::Declined { address, hardware: request.hardware });
    }

    /// The client has no more use for its address.
    pub(super) fn handle_release(&mut self, now: Now, request: &Request<'_>, subnet: usize) {
        let Some(address) = self.own_lease(request, subnet, request.ciaddr()) else {
            return self.dropped(Reason::UnknownClient);
        };
        if !self.has_room() {
            return self.dropped(Reason::Overloaded);
        }
        self.end_lease(now, address);
        self.event(Event::Released { address });
    }

    /// The address is free, and its holder remembered.
    fn end_lease(&mut self, now: Now, address: Ipv4Addr) {
        let holder = self.table.slot(address).and_then(|slot| slot.holder.clone());
        self.withdraw(address);
        self.record(&Record::Freed(address));
        self.table.set(address, Slot { state: State::Idle, until: now.monotonic, holder });
    }

    /// The lease that a client speaks of, if it is its own and of this server.
    fn own_lease(&self, request: &Request<'_>, subnet: usize, address: Ipv4Addr) -> Option<Ipv4Addr> {
        if request.address(code::SERVER_IDENTIFIER).is_some_and(|server| server != self.config.address) {
            return None;
        }
        let (client, _) = self.identify(request, subnet);
        let slot = self.table.slot(address).filter(|_| self.table.subnet_of(address) == Some(subnet))?;
        let own = slot.state == State::Leased && self.holds(request, address, slot, &client);
        own.then_some(address)
    }

    /// The client has an address from elsewhere and wants the options alone.
    pub(super) fn handle_inform(&mut self, request: &Request<'_>, subnet: usize, datagram: &Datagram<'_>) {
        let address = match request.ciaddr() {
            ciaddr if ciaddr.is_unspecified() => datagram.source,
            ciaddr => ciaddr,
        };
        if self.table.subnet_of(address) != Some(subnet) {
            return self.dropped(Reason::UnknownNetwork);
        }
        let mut ack = self.reply(request, subnet, MessageType::Ack, Ipv4Addr::UNSPECIFIED, None, None);
        if request.giaddr().is_unspecified() {
            ack.delivery = super::Delivery::Unicast(address);
        }
        self.send(ack);
    }
}
