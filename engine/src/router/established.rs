//! The straight way through: packets of sessions that need nothing but their rewrite.

use super::Router;
use super::ingress::Prepared;
use crate::frame::{GsoKind, Offload, PortId};
use crate::nat::policy::Direction;
use crate::nat::session::{Origin, Session, SessionFlags};
use crate::nat::settings::Refreshed;
use crate::nat::tcp_state::TcpState;
use crate::packet::rewrite::{self, Side};
use crate::time::Timestamp;
use crate::wire::ethernet;
use crate::wire::ipv4::Protocol;
use crate::wire::tcp::TcpFlags;

impl Router {
    /// Sends a common packet on its session's way, and says out of which port. `None`, with nothing changed, when
    /// there is more to it: then the long way is to judge, which for the packets that pass here comes to the same
    /// (but for its length).
    #[inline(always)]
    pub(super) fn pass(
        &mut self,
        now: Timestamp,
        refreshed: &Refreshed,
        frame: &mut [u8],
        offload: &Offload,
        packet: &Prepared,
    ) -> Option<PortId> {
        let (id, direction) = packet.hint?;
        let session = self.nat.sessions.get_mut(id)?;
        if session.key(direction) != packet.key
            || session.expires <= now
            || session.epoch != self.nat.epoch
            || !is_settled(session, direction, packet)
        {
            return None;
        }
        let (side, address, new_port, out, hop) = match direction {
            // A hairpin turns round.
            Direction::Outbound if session.flags.contains(SessionFlags::HAIRPIN) => return None,
            Direction::Outbound => (
                Side::Source,
                session.external_address,
                session.external_port,
                session.outside_port,
                session.outside_hop,
            ),
            // Nobody answers to port 0.
            Direction::Inbound if session.internal_port == 0 => return None,
            Direction::Inbound => (
                Side::Destination,
                session.internal_address,
                session.internal_port,
                session.inside_port,
                session.inside_hop,
            ),
        };
        let egress = self.ports.get(out.index())?;
        let len = packet.end as usize - ethernet::HEADER_LEN;
        if out == PortId::HOST
            || packet.ttl <= 1
            || !egress.link.up
            || (len > usize::from(egress.mtu) && !segments_fit(frame, packet, offload, egress.mtu))
        {
            return None;
        }
        // The last thing that can stand in the way: it may also remember that the neighbor was used.
        let mac = self.neighbors.mac(now, hop?)?;
        if self.nat.settings.refreshes(session, direction) {
            session.expires = refreshed.at(packet.protocol);
        }
        if session.origin == Origin::Forward {
            self.nat.tally.pass(id, direction, len);
        }
        let rewrite = (session.origin != Origin::Routed).then_some((side, address, new_port));
        rewrite::replay(frame, packet.protocol, offload.partial_checksum, rewrite, mac, egress.link.mac);
        self.nat.stages.fast_path += 1;
        Some(out)
    }
}

/// Whether the packet leaves the session in the state in which it is.
#[inline(always)]
fn is_settled(session: &Session, direction: Direction, packet: &Prepared) -> bool {
    const TURNS: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0);
    if packet.protocol == Protocol::TCP {
        return session.tcp == TcpState::Established && !packet.tcp_flags.intersects(TURNS);
    }
    let from_opener =
        (direction == Direction::Inbound) == session.flags.contains(SessionFlags::OPENED_INBOUND);
    from_opener || session.flags.contains(SessionFlags::ANSWERED)
}

/// Whether a packet beyond the MTU is a super-frame whose segments are not.
#[inline(never)]
fn segments_fit(frame: &[u8], packet: &Prepared, offload: &Offload, mtu: u16) -> bool {
    offload.gso != GsoKind::None && packet.largest_segment(frame, offload) <= usize::from(mtu)
}
