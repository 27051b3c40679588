//! Who a client is, and which leases are its own (RFC 2131 §4.2).

use std::net::Ipv4Addr;

use super::Server;
use crate::dhcp::lease::{ClientKey, HardwareAddress};
use crate::dhcp::message::Request;
use crate::dhcp::pool::Slot;

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

    /// Whether an address is this client's. A host that has a reservation keeps its address when the reservation changes
    /// the way in which it is identified.
    pub(super) fn holds(
        &self,
        address: Ipv4Addr,
        slot: &Slot,
        client: &ClientKey,
        hardware: &HardwareAddress,
    ) -> bool {
        let same_host = || {
            *client == ClientKey::Hardware(*hardware)
                && self.reserved_at(address).is_some()
                && slot.holder.as_ref().is_some_and(|holder| holder.hardware == *hardware)
        };
        slot.is_held_by(client) || same_host()
    }
}
