//! What was judged under an earlier plan and has not left yet: frames that wait for ARP, later fragments.

use std::net::SocketAddrV4;

use super::Router;
use crate::frame::PortId;
use crate::nat::session::SessionKey;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

impl Router {
    /// Whether a packet that was translated under an earlier plan may still leave by `out`: an answer to it
    /// would belong to a session that the plan in force allows. What we say ourselves may, from an address that
    /// is still ours.
    pub(super) fn may_still_leave(
        &mut self,
        now: Timestamp,
        out: PortId,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> bool {
        match self.nat.sessions.find_key(SessionKey::new(out, protocol, destination, source)) {
            Some((id, _)) => self.nat.revalidate(now, id),
            None => {
                let address = *source.ip();
                let is_ours = self.nat.settings.is_external(address) || self.routes.local(address).is_some();
                protocol == Protocol::ICMP && is_ours || self.is_of_service(protocol, source)
            }
        }
    }
}
