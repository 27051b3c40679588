//! Who a client is, and which leases are its own (RFC 2131 §4.2).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Server;
use crate::dhcp::lease::ClientKey;
use crate::dhcp::message::Request;
use crate::dhcp::pool::{Slot, State};

impl Server {
    /// Who the client is, and the address reserved for it. A reservation is the identity itself, by whichever of the two it
    /// is known.
    pub(super) fn identify(&self, request: &Request<'_>, subnet: usize) -> (ClientKey, Option<Ipv4Addr>) {
        let by_mac = || self.reserved_macs.get(&(subnet, request.hardware.mac()?));
        let identifier = request.client_identifier();
        let by_identifier = identifier.and_then(|id| self.reserved_identifiers.get(&(subnet, id.to_vec())));
        let reserved = by_identifier.or_else(by_mac).map(|index| &self.config.reservations[*index]);
        let identifier = match reserved {
            Some(reservation) => reservation.identifier.as_deref(),
            None => identifier,
        };
        let hardware = ClientKey::Hardware(request.hardware);
        let key = identifier.map_or(hardware, |id| ClientKey::Identifier(id.into()));
        (key, reserved.map(|reservation| reservation.address))
    }

    /// Whether an address is this client's, or was. A reservation that comes, goes or changes may change what its host is
    /// known by, and the host keeps its address. At one link-layer address there may be several clients, so their identifiers
    /// count there, unless the reservation says that it is one host.
    pub(super) fn holds(
        &self,
        request: &Request<'_>,
        address: Ipv4Addr,
        slot: &Slot,
        client: &ClientKey,
    ) -> bool {
        let Some(holder) = &slot.holder else { return false };
        let mac = request.hardware.mac();
        let is_one_host =
            || mac.is_some() && self.reserved_at(address).is_some_and(|reservation| reservation.mac == mac);
        holder.client == *client
            || holder.hardware == request.hardware
                && (keys(request, client).any(|key| key == holder.client) || is_one_host())
    }

    /// The addresses that the client has, was offered or had last, memories behind the others.
    pub(super) fn recorded(&self, request: &Request<'_>, subnet: usize, client: &ClientKey) -> Vec<Ipv4Addr> {
        let slot_of_its_own = |address| {
            let slot = self.table.slot(address)?;
            self.holds(request, address, slot, client).then_some((address, slot.state))
        };
        let addresses = keys(request, client).filter_map(|key| self.table.address_of(subnet, &key));
        let mut recorded: Vec<_> = addresses.filter_map(slot_of_its_own).collect();
        recorded.sort_by_key(|(_, state)| !matches!(state, State::Offered | State::Leased));
        recorded.into_iter().map(|(address, _)| address).collect()
    }

    /// The leases that the client has.
    pub(super) fn leased(
        &self,
        request: &Request<'_>,
        subnet: usize,
        client: &ClientKey,
    ) -> BTreeSet<Ipv4Addr> {
        let is_its = |address: &Ipv4Addr| {
            self.table.slot(*address).is_some_and(|slot| self.holds(request, *address, slot, client))
        };
        keys(request, client).filter_map(|key| self.table.leased_to(subnet, &key)).filter(is_its).collect()
    }
}

/// What a lease of the client may be recorded under: what it is known by now comes first, then what it would be known by
/// without a reservation, and by one that has its MAC address alone.
fn keys(request: &Request<'_>, client: &ClientKey) -> impl Iterator<Item = ClientKey> {
    let identifier = request.client_identifier().map(|id| ClientKey::Identifier(id.into()));
    [Some(client.clone()), identifier, Some(ClientKey::Hardware(request.hardware))].into_iter().flatten()
}
