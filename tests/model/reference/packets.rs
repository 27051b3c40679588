//! The walk of one packet.

use std::net::SocketAddrV4;

use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId};
use genkan_tests::lab::{Flags, Packet, Payload};

use super::opening::Refusal;
use super::{Origin, Reference, Seen, Side};

/// What shall become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves by a port like this: forwarded, or as the router's echo reply.
    Out(PortId, Packet),
    Drop(DropReason),
}

/// Whom the router tells about a packet that it drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The sender, by an ICMP error of this type and code.
    Error(u8, u8),
    /// The sender, by an RST.
    Reset,
}

/// All that follows from a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) fate: Fate,
    pub(crate) told: Option<Told>,
}

impl Outcome {
    fn drop(reason: DropReason) -> Outcome {
        Outcome { fate: Fate::Drop(reason), told: None }
    }

    fn refuse(reason: DropReason, told: Told) -> Outcome {
        Outcome { fate: Fate::Drop(reason), told: Some(told) }
    }

    fn out(port: PortId, packet: Packet) -> Outcome {
        Outcome { fate: Fate::Out(port, packet), told: None }
    }
}

/// Protocol and endpoints of a packet. The identifier of an ICMP query stands for the requester's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

impl Flow {
    pub(crate) fn of(packet: &Packet) -> Flow {
        let (from, to) = match packet.icmp_kind() {
            Some((8, _)) => (packet.identifier(), 0),
            Some(_) => (0, packet.identifier()),
            None => (packet.source_port(), packet.destination_port()),
        };
        Flow {
            protocol: Protocol(packet.protocol()),
            source: SocketAddrV4::new(packet.source, from),
            destination: SocketAddrV4::new(packet.destination, to),
        }
    }

    fn reversed(self) -> Flow {
        Flow { source: self.destination, destination: self.source, ..self }
    }
}

/// A packet with another source.
fn from(mut packet: Packet, endpoint: SocketAddrV4) -> Packet {
    packet.source = *endpoint.ip();
    match &mut packet.payload {
        Payload::Udp { source, .. } | Payload::Tcp { source, .. } => *source = endpoint.port(),
        Payload::Icmp { kind: 8, rest, .. } => rest[..2].copy_from_slice(&endpoint.port().to_be_bytes()),
        _ => {}
    }
    packet
}

/// A packet with another destination.
fn to(mut packet: Packet, endpoint: SocketAddrV4) -> Packet {
    packet.destination = *endpoint.ip();
    match &mut packet.payload {
        Payload::Udp { destination, .. } | Payload::Tcp { destination, .. } => *destination = endpoint.port(),
        Payload::Icmp { kind: 0, rest, .. } => rest[..2].copy_from_slice(&endpoint.port().to_be_bytes()),
        _ => {}
    }
    packet
}

fn is_opening_syn(packet: &Packet) -> bool {
    let flags = packet.flags();
    flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && !flags.contains(Flags::RST)
}

/// Whether a packet may be the first of a session.
fn may_open(packet: &Packet) -> Result<(), DropReason> {
    match &packet.payload {
        Payload::Tcp { .. } if !is_opening_syn(packet) => Err(DropReason::TcpNoSession),
        Payload::Icmp { kind: 0, .. } => Err(DropReason::IcmpNoSession),
        _ => Ok(()),
    }
}

impl Reference {
    /// Judges a packet that came in by `port`, after the router has.
    ///
    /// # Errors
    /// When the router chose what it might not.
    pub(crate) fn handle(&mut self, port: PortId, packet: &Packet, seen: &Seen) -> Result<Outcome, String> {
        if matches!(packet.icmp_kind(), Some((3..=5 | 11 | 12, _))) {
            return Ok(self.icmp_error(port, packet, port != PortId::HOST));
        }
        let known = if self.is_asked_itself(packet) { None } else { self.find(port, Flow::of(packet)) };
        let outcome = match known {
            Some((position, side)) => self.known(port, position, side, packet, seen),
            None => self.unknown(port, packet, seen),
        };
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(Refusal::Drop(reason)) => Ok(Outcome::drop(reason)),
            Err(Refusal::Illegal(what)) => Err(what),
        }
    }

    /// A ping for the router: one of its addresses, unless a 1:1 host has it (RFC 5508 REQ-7).
    fn is_asked_itself(&self, packet: &Packet) -> bool {
        let address = packet.destination;
        let is_ours =
            self.is_external(address) || self.plan.lans.iter().any(|lan| lan.address.addr() == address);
        let is_ping = packet.icmp_kind().is_some_and(|(kind, _)| kind == 8);
        is_ping && is_ours && self.one_to_one_host(address).is_none()
    }

    /// The session of packets that come in by `port`, and whose side sends them.
    fn find(&self, port: PortId, flow: Flow) -> Option<(usize, Side)> {
        self.sessions.iter().enumerate().find_map(|(position, session)| {
            let inside = (session.inside, session.internal, session.remote);
            let outside = (session.outside, session.remote, session.external);
            let this = (port, flow.source, flow.destination);
            match session.protocol == flow.protocol {
                true if this == inside => Some((position, Side::Inside)),
                true if this == outside => Some((position, Side::Outside)),
                _ => None,
            }
        })
    }

    /// A packet of a session. `port` is where it really came in: a hairpin has turned it round otherwise.
    fn known(
        &mut self,
        port: PortId,
        position: usize,
        side: Side,
        packet: &Packet,
        seen: &Seen,
    ) -> Result<Outcome, Refusal> {
        let session = &self.sessions[position];
        if !(is_opening_syn(packet) && session.is_closing()) {
            return self.forward(port, position, side, packet, seen);
        }
        // A new connection between the same endpoints (design, TCP).
        let (internal, inside, outside) = (session.internal, session.inside, session.outside);
        if side == Side::Outside && outside != PortId::WAN {
            if !self.reaches(outside, inside) {
                return Ok(Outcome::refuse(DropReason::NotReachable, Told::Error(3, 13)));
            }
        } else if side == Side::Outside {
            let from_inside = port != PortId::WAN;
            if from_inside && !self.reaches(port, inside) {
                return Err(DropReason::NotReachable.into());
            }
            let flow = Flow::of(packet);
            let taker = self.judge(flow.protocol, flow.source, flow.destination, from_inside)?;
            if taker.internal != internal {
                self.end(position);
                return self.enter(port, packet, from_inside, seen);
            }
            let is_one_more = !self.sessions[position].takes_place();
            self.within_limits(&taker, flow.source, from_inside, is_one_more)?;
        }
        let queued = self.next_event();
        let expires = self.now + self.plan.nat.timeouts.tcp_transitory;
        let session = &mut self.sessions[position];
        session.connection = super::Connection::opened_by(side);
        session.opened_inbound = side == Side::Outside;
        session.answered = false;
        (session.queued, session.expires) = (queued, expires);
        self.forward(port, position, side, packet, seen)
    }

    fn unknown(&mut self, port: PortId, packet: &Packet, seen: &Seen) -> Result<Outcome, Refusal> {
        let is_ping = self.is_asked_itself(packet);
        if port == PortId::WAN {
            if !self.is_external(packet.destination) {
                return Err(DropReason::NotOurs.into());
            }
            if is_ping {
                return if self.plan.wan.ping {
                    Ok(echo(port, packet))
                } else {
                    Err(DropReason::PingOff.into())
                };
            }
            may_open(packet)?;
            return self.enter(port, packet, false, seen);
        }
        let is_external = self.is_external(packet.destination);
        let is_router = self.plan.lans.iter().any(|lan| lan.address.addr() == packet.destination);
        if is_ping {
            return Ok(echo(port, packet));
        }
        if let Err(reason) = may_open(packet) {
            let is_told = reason == DropReason::TcpNoSession && !packet.flags().contains(Flags::RST);
            return Ok(Outcome { fate: Fate::Drop(reason), told: is_told.then_some(Told::Reset) });
        }
        if is_external {
            return self.hairpin(port, packet, seen);
        }
        if is_router && !self.plan.host_port {
            let told = match packet.payload {
                Payload::Tcp { .. } => Told::Reset,
                Payload::Udp { .. } => Told::Error(3, 3),
                _ => Told::Error(3, 2),
            };
            return Ok(Outcome::refuse(DropReason::NoService, told));
        }
        let Flow { protocol, source, destination } = Flow::of(packet);
        let opened = match self.port_of(packet.destination) {
            Some(PortId::WAN) => self.open_outbound(protocol, source, destination, port, seen),
            Some(out) if self.reaches(port, out) => {
                self.open_routed(protocol, source, destination, (port, out))
            }
            Some(_) => Err(DropReason::NotReachable.into()),
            None => return Ok(Outcome::refuse(DropReason::NoRoute, Told::Error(3, 0))),
        };
        match opened {
            Ok(position) => self.forward(port, position, Side::Inside, packet, seen),
            Err(Refusal::Drop(reason)) => Ok(Outcome::refuse(reason, Told::Error(3, 13))),
            Err(illegal) => Err(illegal),
        }
    }

    /// From inside to an external endpoint: out, and in again (RFC 4787 §6).
    fn hairpin(&mut self, port: PortId, packet: &Packet, seen: &Seen) -> Result<Outcome, Refusal> {
        let Flow { protocol, source, destination } = Flow::of(packet);
        if !self.plan.nat.hairpin {
            return Err(DropReason::HairpinOff.into());
        }
        if !matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP) {
            return Err(DropReason::NoMapping.into());
        }
        match self.judge(protocol, source, destination, true) {
            Ok(_) | Err(DropReason::Filtered) => {}
            Err(reason) => return Err(reason.into()),
        }
        let holder = self.holder(protocol, destination).and_then(|host| self.port_of(host));
        if holder.is_some_and(|to| to != PortId::WAN && !self.reaches(port, to)) {
            return Ok(Outcome::refuse(DropReason::NotReachable, Told::Error(3, 13)));
        }
        match self.open_outbound(protocol, source, destination, port, seen) {
            Ok(position) => self.forward(port, position, Side::Inside, packet, seen),
            Err(Refusal::Drop(reason)) => Ok(Outcome::refuse(reason, Told::Error(3, 13))),
            Err(illegal) => Err(illegal),
        }
    }

    /// A packet before an external address, from outside or turned round.
    fn enter(
        &mut self,
        port: PortId,
        packet: &Packet,
        from_inside: bool,
        seen: &Seen,
    ) -> Result<Outcome, Refusal> {
        let Flow { protocol, source, destination } = Flow::of(packet);
        let taker = self.judge(protocol, source, destination, from_inside)?;
        let inside = match self.port_of(*taker.internal.ip()) {
            None | Some(PortId::WAN) => return Err(DropReason::NoRoute.into()),
            Some(inside) => inside,
        };
        if from_inside && !self.reaches(port, inside) {
            return Err(DropReason::NotReachable.into());
        }
        self.within_limits(&taker, source, from_inside, true)?;
        let position = self.open_inbound(protocol, source, destination, taker, inside)?;
        self.forward(port, position, Side::Outside, packet, seen)
    }

    fn forward(
        &mut self,
        port: PortId,
        position: usize,
        side: Side,
        packet: &Packet,
        seen: &Seen,
    ) -> Result<Outcome, Refusal> {
        let session = self.sessions[position].clone();
        let out = if side == Side::Inside { session.outside } else { session.inside };
        let is_hop = port != PortId::HOST && out != PortId::HOST;
        if is_hop && packet.ttl <= 1 {
            return Ok(Outcome::refuse(DropReason::TtlExceeded, Told::Error(11, 0)));
        }
        self.touch(position, side, packet);
        if session.origin == Origin::Routed {
            return Ok(Outcome::out(out, hop(packet.clone(), is_hop)));
        }
        if side == Side::Outside {
            return Ok(Outcome::out(out, hop(to(packet.clone(), session.internal), is_hop)));
        }
        let translated = from(packet.clone(), session.external);
        if !self.is_external(packet.destination) {
            return Ok(Outcome::out(out, hop(translated, is_hop)));
        }
        match self.find(PortId::WAN, Flow::of(&translated)) {
            Some((position, side)) => self.known(port, position, side, &translated, seen),
            None => {
                may_open(&translated)?;
                self.enter(port, &translated, true, seen)
            }
        }
    }

    /// What a packet does to its session: state, refresh (design, Refresh).
    fn touch(&mut self, position: usize, side: Side, packet: &Packet) {
        let event = self.next_event();
        let mut session = self.sessions[position].clone();
        let (was_unanswered, was_closed) = (session.is_unanswered(), session.is_closed());
        let before = session.connection;
        session.connection.pass(side, packet.flags());
        let is_tcp = session.protocol == Protocol::TCP;
        let from_opener = (side == Side::Outside) == session.opened_inbound;
        let is_step = if is_tcp { session.connection != before } else { !from_opener && !session.answered };
        if is_step {
            session.answered |= !from_opener;
            session.sent |= side == Side::Inside;
        }
        let refreshes = side == Side::Inside
            || session.kept_by_both
            || (self.plan.nat.inbound_refresh && session.protocol == Protocol::UDP);
        if refreshes || (is_tcp && is_step) {
            session.expires = self.now + self.lifetime(&session);
        }
        if (session.is_unanswered(), session.is_closed()) != (was_unanswered, was_closed) {
            session.queued = event;
        }
        self.sessions[position] = session;
    }

    /// An ICMP error belongs to the session that an answer to the quoted packet would have (RFC 5508 §4).
    fn icmp_error(&self, port: PortId, packet: &Packet, is_hop: bool) -> Outcome {
        const UNKNOWN: DropReason = DropReason::IcmpErrorNoSession;
        let Ok(quoted) = Packet::parse(packet.payload_data()) else {
            return Outcome::drop(DropReason::IcmpErrorMalformed);
        };
        let Some((position, side)) = self.find(port, Flow::of(&quoted).reversed()) else {
            return Outcome::drop(UNKNOWN);
        };
        let session = &self.sessions[position];
        let expected = if side == Side::Inside { session.remote } else { session.external };
        if packet.destination != *expected.ip() {
            return Outcome::drop(UNKNOWN);
        }
        if is_hop && packet.ttl <= 1 {
            return Outcome::drop(DropReason::TtlExceeded);
        }
        let mut error = hop(packet.clone(), is_hop);
        if session.origin == Origin::Routed {
            return self.send_error(error);
        }
        let quoted = match side {
            Side::Inside => {
                error.source = *session.external.ip();
                to(quoted, session.external)
            }
            Side::Outside => {
                error.destination = *session.internal.ip();
                from(quoted, session.internal)
            }
        };
        error = error.data(&quoted.to_ip());
        if side == Side::Inside && self.is_external(error.destination) {
            // One hop for the whole way round.
            return self.icmp_error(PortId::WAN, &error, false);
        }
        self.send_error(error)
    }

    fn send_error(&self, error: Packet) -> Outcome {
        match self.port_of(error.destination) {
            Some(port) => Outcome::out(port, error),
            None => Outcome::drop(DropReason::NoRoute),
        }
    }
}

/// Counts a hop, where there is one.
fn hop(mut packet: Packet, counts: bool) -> Packet {
    packet.ttl -= u8::from(counts);
    packet
}

/// The router's answer to a ping.
fn echo(port: PortId, packet: &Packet) -> Outcome {
    let mut reply =
        Packet { source: packet.destination, destination: packet.source, ttl: 64, ..packet.clone() };
    if let Payload::Icmp { kind, .. } = &mut reply.payload {
        *kind = 0;
    }
    Outcome::out(port, reply)
}
