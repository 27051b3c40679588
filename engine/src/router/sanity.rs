//! Addresses that cannot be true: judged once per session, by its first packet, and for every packet that
//! has no session of its own.

use std::net::Ipv4Addr;

use super::Router;
use crate::frame::PortId;
use crate::packet::parsed::Parsed;
use crate::verdict::DropReason;

impl Router {
    /// Why the packet's addresses are impossible on this port (RFC 1122 §3.2.1.3, RFC 2827, RFC 3704).
    pub(super) fn address_sanity(&self, port: PortId, parsed: &Parsed) -> Result<(), DropReason> {
        let (source, destination) = (parsed.source, parsed.destination);
        if source == destination {
            return Err(DropReason::Land);
        }
        match source.octets()[0] {
            0 => return Err(DropReason::SourceZero),
            127 => return Err(DropReason::SourceLoopback),
            224..=239 => return Err(DropReason::SourceMulticast),
            240..=255 => return Err(DropReason::SourceBroadcast),
            _ => {}
        }
        if self.routes.is_broadcast(source) {
            return Err(DropReason::SourceBroadcast);
        }
        if port != PortId::HOST && self.routes.local(source).is_some() {
            return Err(DropReason::SourceOurs);
        }
        if port == PortId::WAN {
            // Behind a `[[route]]` is inside too: an answer would go there, not back to the wan (RFC 3704 §2.2).
            let is_inside = || self.routes.lookup(source).is_some_and(|hop| hop.port != PortId::WAN);
            if self.routes.is_lan_address(source) || is_inside() {
                return Err(DropReason::SourceLanFromWan);
            }
        } else if !self.routes.is_internal_source(port, source) {
            return Err(DropReason::SourceNotOfLan);
        }
        if self.is_not_unicast(destination) {
            return Err(DropReason::DestinationNotUnicast);
        }
        Ok(())
    }

    fn is_not_unicast(&self, destination: Ipv4Addr) -> bool {
        matches!(destination.octets()[0], 0 | 127 | 224..=255) || self.routes.is_broadcast(destination)
    }
}
