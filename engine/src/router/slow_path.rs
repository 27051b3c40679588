//! Packets that belong to no session: to the router, to be refused, or the first of a new session.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Router;
use super::ingress::{destination_of, key_of, source_of};
use crate::event::Event;
use crate::frame::{Offload, PortId};
use crate::link::route::NextHop;
use crate::local_datagram::Service;
use crate::nat::look_ahead::Foreseen;
use crate::nat::mapping::pool_index;
use crate::nat::policy::Direction;
use crate::nat::session::{Origin, SessionId};
use crate::nat::translate::Admission;
use crate::packet::build::IcmpErrorKind;
use crate::packet::parsed::{Kind, Parsed};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};
use crate::wire::icmpv4;
use crate::wire::ipv4::Protocol;
use crate::wire::tcp::TcpFlags;

/// A SYN that asks for a new connection.
pub(super) fn is_opening_syn(parsed: &Parsed) -> bool {
    parsed.tcp_flags.contains(TcpFlags::SYN)
        && !parsed.tcp_flags.contains(TcpFlags::ACK)
        && !parsed.tcp_flags.contains(TcpFlags::RST)
}

impl Router {
    /// A packet without a session.
    pub(super) fn handle_unknown(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        self.handle_foreseen(now, port, frame, parsed, offload, &Foreseen::NOTHING)
    }

    /// A packet without a session, of which something may be known already.
    #[inline(never)]
    pub(super) fn handle_foreseen(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        foreseen: &Foreseen,
    ) -> Verdict {
        if !self.probes.is_empty() && self.answers_probe(now, port, frame, parsed) {
            return Verdict::Consumed;
        }
        if let Err(reason) = self.address_sanity(port, parsed) {
            // Who has no address yet asks from 0.0.0.0, and asks everybody.
            return self.take_local(port, frame, parsed, offload).unwrap_or(Verdict::Drop(reason));
        }
        self.nat.note(|| Step::AddressesPlausible);
        if port == PortId::WAN {
            // Before we have the address that it offers, it is for nobody.
            if parsed.destination_port == Service::DhcpClient.udp_port()
                && let Some(taken) = self.take_local(port, frame, parsed, offload)
            {
                return taken;
            }
            if !self.nat.settings.is_external(parsed.destination) {
                return Verdict::Drop(DropReason::NotOurs);
            }
            self.nat.note(|| Step::ForExternal { address: parsed.destination });
            if let Some(handed_over) = self.elsewhere(now, port, parsed) {
                return handed_over;
            }
            if self.is_asked_itself(parsed) {
                return self.echo_to_us(port, frame, parsed, self.plan.wan.ping);
            }
            if let Err(reason) = may_open(parsed) {
                return Verdict::Drop(reason);
            }
            return self.enter(now, port, frame, parsed, offload, (false, foreseen));
        }
        if let Some(handed_over) = self.elsewhere(now, port, parsed) {
            return handed_over;
        }
        if self.nat.settings.is_external(parsed.destination) {
            self.nat.note(|| Step::Hairpin);
            return self.handle_hairpin(now, port, frame, parsed, offload);
        }
        let is_to_router = self.routes.local(parsed.destination).is_some();
        if is_to_router {
            self.nat.note(|| Step::ForRouter { address: parsed.destination });
            if let Some(taken) = self.take_local(port, frame, parsed, offload) {
                return taken;
            }
        }
        if self.is_asked_itself(parsed) {
            return self.echo_to_us(port, frame, parsed, true);
        }
        if let Err(reason) = may_open(parsed) {
            return self.refuse_mid_stream(now, frame, parsed, reason);
        }
        if is_to_router && !self.ports[PortId::HOST.index()].link.up {
            return self.refuse_no_service(now, frame, parsed);
        }
        let Some(hop) = self.route_of(parsed.destination) else {
            return self.refuse_inside(
                now,
                frame,
                parsed,
                icmpv4::CODE_NETWORK_UNREACHABLE,
                DropReason::NoRoute,
            );
        };
        let (source, destination) = (source_of(parsed), destination_of(parsed));
        let opened = if hop.port == PortId::WAN {
            self.nat.open_outbound(now, parsed.protocol, source, destination, port, foreseen)
        } else if self.reaches(port, hop.port) {
            self.nat.open_routed(now, parsed.protocol, source, destination, port, hop.port)
        } else {
            Err(DropReason::NotReachable)
        };
        match opened {
            Ok(id) => self.forward(now, port, frame, parsed, offload, id, Direction::Outbound),
            Err(reason) => self.refuse_opening(now, frame, parsed, reason),
        }
    }

    /// A packet from inside to an external address of ours: out, and in again (RFC 4787 §6).
    fn handle_hairpin(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        if self.is_asked_itself(parsed) {
            return self.echo_to_us(port, frame, parsed, true);
        }
        if let Err(reason) = may_open(parsed) {
            return self.refuse_mid_stream(now, frame, parsed, reason);
        }
        if !self.nat.settings.hairpin {
            return Verdict::Drop(DropReason::HairpinOff);
        }
        // Without ports both sides would look the same.
        if pool_index(parsed.protocol).is_none() {
            return Verdict::Drop(DropReason::NoMapping);
        }
        // Refused before a mapping is made for nothing. Not so where a filter stands in the way: the sender's own
        // opens towards the other all the same, else two hosts could never meet (RFC 5128 §3.3).
        let source = SocketAddrV4::new(self.nat.external_address_of(parsed.source), 0);
        let known = self.nat.steps();
        match self.nat.judge_arrived(now, parsed.protocol, source, destination_of(parsed), true) {
            // Asked again once it has turned round.
            Ok(_) | Err(DropReason::Filtered) => self.nat.forget_steps(known),
            Err(reason) => return Verdict::Drop(reason),
        }
        if !self.nat.may_turn_round(now, port, parsed.protocol, destination_of(parsed)) {
            return self.refuse_opening(now, frame, parsed, DropReason::NotReachable);
        }
        let (source, destination) = (source_of(parsed), destination_of(parsed));
        let nothing = &Foreseen::NOTHING;
        match self.nat.open_outbound(now, parsed.protocol, source, destination, port, nothing) {
            Ok(id) => self.forward(now, port, frame, parsed, offload, id, Direction::Outbound),
            Err(reason) => self.refuse_opening(now, frame, parsed, reason),
        }
    }

    /// A packet that stands before our external address, from outside or turned round: a new session, if
    /// somebody takes it. `port` is where it really came in.
    pub(super) fn enter(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        (from_inside, foreseen): (bool, &Foreseen),
    ) -> Verdict {
        match self.open_entering(now, port, parsed, from_inside, foreseen) {
            Ok(id) => self.forward(now, port, frame, parsed, offload, id, Direction::Inbound),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn open_entering(
        &mut self,
        now: Timestamp,
        port: PortId,
        parsed: &Parsed,
        from_inside: bool,
        foreseen: &Foreseen,
    ) -> Result<SessionId, DropReason> {
        let (source, external) = (source_of(parsed), destination_of(parsed));
        let admission = match foreseen.inbound() {
            Some(forwarded) => {
                self.nat.judge_beyond(now, parsed.protocol, source, external, forwarded, |_| {})
            }
            None => self.nat.judge_arrived(now, parsed.protocol, source, external, from_inside),
        };
        let admission = admission.inspect_err(|&reason| {
            if reason == DropReason::ForwardSource {
                self.nat.tally_refusal(now, parsed.protocol, source, external);
            }
        })?;
        let hop = self.route_of(*admission.internal.ip()).ok_or(DropReason::NoRoute)?;
        if hop.port == PortId::WAN {
            return Err(DropReason::NoRoute);
        }
        if from_inside && !self.reaches(port, hop.port) {
            return Err(DropReason::NotReachable);
        }
        self.nat.within_limits(now, &admission, source, from_inside, true)?;
        let opened =
            self.nat.open_inbound(now, parsed.protocol, source, external, admission, hop.port, foreseen);
        match opened {
            Ok(id) => self.note_forward_hit(now, id, source, &admission),
            Err(reason) => self.limit_event(now, parsed.protocol, *admission.internal.ip(), reason),
        }
        opened
    }

    fn route_of(&self, destination: Ipv4Addr) -> Option<NextHop> {
        let hop = self.routes.lookup(destination);
        self.nat.note(|| Step::Route { destination, to: hop.map(|hop| (hop.port, hop.next_hop)) });
        hop
    }

    /// Whether what is behind `from` may open sessions to what is behind `to`.
    fn reaches(&self, from: PortId, to: PortId) -> bool {
        let may = self.nat.settings.reaches(from, to);
        self.nat.note(|| Step::Reaches { from, to, may });
        may
    }

    fn note_forward_hit(
        &mut self,
        now: Timestamp,
        id: SessionId,
        source: SocketAddrV4,
        admission: &Admission,
    ) {
        let Some(rule) = admission.rule else { return };
        self.nat.tally.hit(now, id, *source.ip());
        if !self.nat.forwards.is_logged(rule) {
            return;
        }
        // The plan's own rules are long, and in no cache.
        if let Some(rule) = self.plan.forwards.get(rule.0 as usize) {
            let forward = rule.name.clone();
            self.push_event(Event::ForwardHit { forward, source: *source.ip(), source_port: source.port() });
        }
    }

    /// A SYN on a session that both sides have closed, or an RST has: a new connection between the same
    /// endpoints. From inside it just opens, from another lan if that reaches this one; from outside it is
    /// judged afresh.
    #[inline(never)]
    pub(super) fn handle_reopening(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        (id, direction): (SessionId, Direction),
    ) -> Verdict {
        self.nat.note(|| Step::Reopening);
        let session = &self.nat.sessions[id];
        let is_inbound = direction == Direction::Inbound;
        if is_inbound && session.outside_port != PortId::WAN {
            if !self.nat.settings.reaches(session.outside_port, session.inside_port) {
                return self.refuse_opening(now, frame, parsed, DropReason::NotReachable);
            }
        } else if is_inbound {
            let (internal, from_inside) = (session.internal(), port != PortId::WAN);
            if from_inside && !self.nat.settings.reaches(port, session.inside_port) {
                return Verdict::Drop(DropReason::NotReachable);
            }
            let (source, external) = (source_of(parsed), destination_of(parsed));
            match self.nat.judge_arrived(now, parsed.protocol, source, external, from_inside) {
                Ok(admission) if admission.internal == internal => {
                    let is_placed = self.nat.sessions[id].takes_place();
                    let admitted = self.nat.within_limits(now, &admission, source, from_inside, !is_placed);
                    if let Err(reason) = admitted {
                        return Verdict::Drop(reason);
                    }
                }
                Ok(_) => {
                    self.nat.end_session(now, id);
                    return match self.elsewhere_again(now, port, parsed) {
                        Some(handed_over) => handed_over,
                        None => {
                            let entering = (from_inside, &Foreseen::NOTHING);
                            self.enter(now, port, frame, parsed, offload, entering)
                        }
                    };
                }
                Err(reason) => {
                    return self.elsewhere_again(now, port, parsed).unwrap_or(Verdict::Drop(reason));
                }
            }
        }
        self.nat.reopen(now, id, direction);
        if is_inbound && self.nat.sessions[id].origin == Origin::Forward {
            self.nat.tally.hit(now, id, parsed.source);
        }
        self.forward(now, port, frame, parsed, offload, id, direction)
    }

    /// An answer or the middle of a stream, from inside, of which nothing is known. TCP is told, so that
    /// applications reconnect at once after a restart.
    fn refuse_mid_stream(
        &mut self,
        now: Timestamp,
        frame: &[u8],
        parsed: &Parsed,
        reason: DropReason,
    ) -> Verdict {
        if reason == DropReason::TcpNoSession {
            self.send_reset(now, frame, parsed);
        }
        Verdict::Drop(reason)
    }

    /// A limit or policy stands against a session from inside; the host is told.
    fn refuse_opening(
        &mut self,
        now: Timestamp,
        frame: &[u8],
        parsed: &Parsed,
        reason: DropReason,
    ) -> Verdict {
        self.limit_event(now, parsed.protocol, parsed.source, reason);
        self.refuse_inside(now, frame, parsed, icmpv4::CODE_PROHIBITED, reason)
    }

    fn refuse_inside(
        &mut self,
        now: Timestamp,
        frame: &[u8],
        parsed: &Parsed,
        code: u8,
        reason: DropReason,
    ) -> Verdict {
        self.send_icmp_error(now, IcmpErrorKind::Unreachable { code }, frame, parsed);
        Verdict::Drop(reason)
    }

    /// To the router itself, from inside, and nothing of it listens.
    fn refuse_no_service(&mut self, now: Timestamp, frame: &[u8], parsed: &Parsed) -> Verdict {
        match parsed.kind {
            Kind::Tcp => self.send_reset(now, frame, parsed),
            Kind::Udp => {
                let kind = IcmpErrorKind::Unreachable { code: icmpv4::CODE_PORT_UNREACHABLE };
                self.send_icmp_error(now, kind, frame, parsed);
            }
            _ => {
                let kind = IcmpErrorKind::Unreachable { code: icmpv4::CODE_PROTOCOL_UNREACHABLE };
                self.send_icmp_error(now, kind, frame, parsed);
            }
        }
        Verdict::Drop(DropReason::NoService)
    }

    /// Tells of a limit that `host`, inside, has met.
    fn limit_event(&mut self, now: Timestamp, protocol: Protocol, host: Ipv4Addr, reason: DropReason) {
        self.nat.log_limit(now, protocol, host, reason);
        let count = self.drops[reason as usize];
        // The first of a series, then ever more rarely: a flood must not fill the log.
        if count != 0 && !count.is_power_of_two() {
            return;
        }
        match reason {
            DropReason::SessionLimit => self.push_event(Event::SessionTableFull),
            DropReason::HostSessionLimit | DropReason::HostPortLimit => {
                self.push_event(Event::HostLimit { host });
            }
            DropReason::PortsExhausted => {
                let external = self.nat.external_address_of(host);
                self.push_event(Event::PortsExhausted { external, protocol });
            }
            _ => {}
        }
    }

    /// The second half of a hairpin: the packet has its external source and stands before our own address.
    pub(super) fn turn_round(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        self.nat.stages.hairpin += 1;
        self.come_round(now, port, frame, parsed, offload)
    }

    /// [`Router::turn_round`], here or at the worker that has the session of that side.
    pub(super) fn come_round(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        let key = key_of(PortId::WAN, parsed);
        let hash = self.nat.sessions.hash(key);
        if let Some((id, direction)) = self.nat.lookup(now, key, hash, None) {
            return self.handle_known(now, port, frame, parsed, offload, id, direction);
        }
        match self.elsewhere_round(now, parsed) {
            Some(handed_over) => handed_over,
            None => match may_open(parsed) {
                Ok(()) => self.enter(now, port, frame, parsed, offload, (true, &Foreseen::NOTHING)),
                Err(reason) => Verdict::Drop(reason),
            },
        }
    }
}

/// Whether a packet may be the first of a session.
pub(super) fn may_open(parsed: &Parsed) -> Result<(), DropReason> {
    match parsed.kind {
        Kind::Tcp if !is_opening_syn(parsed) => Err(DropReason::TcpNoSession),
        Kind::IcmpReply => Err(DropReason::IcmpNoSession),
        Kind::Tcp | Kind::Udp | Kind::Other | Kind::IcmpRequest => Ok(()),
        Kind::IcmpError | Kind::IcmpOther(_) | Kind::LaterFragment => Err(DropReason::IcmpType),
    }
}
