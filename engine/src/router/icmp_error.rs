//! ICMP errors about translated packets: outer and quoted headers change together (RFC 5508 §4).

use std::net::SocketAddrV4;

use super::Router;
use crate::frame::{Offload, PortId};
use crate::nat::policy::Direction;
use crate::nat::session::{Origin, SessionKey};
use crate::packet::embedded::{self, Embedded};
use crate::packet::parsed::Parsed;
use crate::packet::rewrite::{self, Rewrite, Side};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};

impl Router {
    /// An ICMP error that came in by `port`. It belongs to the session that a packet in the opposite direction
    /// of the quoted one would have; it neither refreshes nor ends it (RFC 5508 REQ-3 to REQ-6).
    pub(super) fn handle_icmp_error(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        if !self.probes.is_empty() && self.errs_about_probe(now, port, frame, parsed) {
            return Verdict::Consumed;
        }
        match self.translate_icmp_error(now, Some(port), port, frame, parsed, offload) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// `came_in` is where the error really came in (`None`: we have made it), `port` where it stands now: at the
    /// wan when the hairpin has turned it round, or, when it is our own, where an answer to the quoted packet
    /// would come in.
    pub(super) fn translate_icmp_error(
        &mut self,
        now: Timestamp,
        came_in: Option<PortId>,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Result<Verdict, DropReason> {
        let turned_round = came_in != Some(port);
        if !turned_round {
            self.address_sanity(port, parsed)?;
        }
        let embedded = Embedded::parse(frame, parsed)?;
        let quoted_source = SocketAddrV4::new(embedded.source, embedded.source_port);
        let quoted_destination = SocketAddrV4::new(embedded.destination, embedded.destination_port);
        let key = SessionKey::new(port, embedded.protocol, quoted_destination, quoted_source);
        let hash = self.nat.sessions.hash(key);
        let found = self.nat.lookup(now, key, hash, None);
        let Some((id, direction)) = found else {
            let quoted = (embedded.protocol, quoted_source, quoted_destination);
            let handed_over = self.error_elsewhere(now, came_in, port, quoted);
            return handed_over.ok_or(DropReason::IcmpErrorNoSession);
        };
        if !self.nat.revalidate(now, id) {
            return Err(DropReason::IcmpErrorNoSession);
        }
        let session = &self.nat.sessions[id];
        let (internal, external, inside_port) = (session.internal(), session.external(), session.inside_port);
        if came_in.is_some() {
            let remote = session.remote();
            self.nat.note(|| Step::ErrorAbout { internal, external, remote });
        }
        let expected = match direction {
            Direction::Outbound => session.remote_address,
            Direction::Inbound => session.external_address,
        };
        if parsed.destination != expected {
            return Err(DropReason::IcmpErrorNoSession);
        }
        let counts_hop = came_in != Some(PortId::HOST) && !turned_round;
        if counts_hop && parsed.ttl <= 1 {
            return Err(DropReason::TtlExceeded);
        }
        let is_routed = session.origin == Origin::Routed;
        let is_hairpin =
            direction == Direction::Outbound && self.nat.settings.is_external(parsed.destination);
        let mut now_parsed = *parsed;
        if !is_routed {
            let (outer, quoted) = match direction {
                // The quoted packet came in to us and was given its internal destination: undo that.
                Direction::Outbound => (
                    Rewrite { side: Side::Source, address: *external.ip(), port: 0 },
                    Rewrite { side: Side::Destination, address: *external.ip(), port: external.port() },
                ),
                Direction::Inbound => (
                    Rewrite { side: Side::Destination, address: *internal.ip(), port: 0 },
                    Rewrite { side: Side::Source, address: *internal.ip(), port: internal.port() },
                ),
            };
            embedded::translate(frame, parsed, &embedded, quoted);
            rewrite::apply(frame, parsed, offload, &outer);
            match outer.side {
                Side::Source => now_parsed.source = outer.address,
                Side::Destination => now_parsed.destination = outer.address,
            }
            // Our own word is given in the name that the host knows us by (RFC 1812 §4.3.2.4).
            let is_own = came_in.is_none() && direction == Direction::Inbound;
            if let Some(address) = self.address_towards(inside_port).filter(|_| is_own) {
                rewrite::apply(frame, parsed, offload, &Rewrite { side: Side::Source, address, port: 0 });
            }
        }
        self.nat.stages.icmp_errors_translated += 1;
        if counts_hop {
            rewrite::decrement_ttl(frame);
        }
        if is_hairpin {
            if came_in.is_some() {
                self.nat.note(|| Step::TurnedRound);
            }
            return self.translate_icmp_error(now, came_in, PortId::WAN, frame, &now_parsed, offload);
        }
        Ok(self.send_out(now, came_in.unwrap_or(PortId::HOST), frame, offload, None).0)
    }
}
