//! How sessions begin: who takes a packet from outside, which external endpoint an internal one gets, and who makes
//! room.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId, Timestamp};

use super::{Connection, Origin, Reference, Seen, Session, Side};

/// Who takes a packet from outside.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    pub(super) internal: SocketAddrV4,
    /// Name of the forward.
    pub(super) forward: Option<String>,
    origin: Origin,
    mapping: Option<SocketAddrV4>,
}

/// A packet that may not begin a session, or what went wrong with the router's choice.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Drop(DropReason),
    Illegal(String),
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal::Drop(reason)
    }
}

const ANYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Reference {
    /// Steps 2 to 7 of the order of judgement (design §1).
    pub(super) fn judge(
        &self,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
    ) -> Result<Taker, DropReason> {
        let forwards = self.forwards_of(protocol, external);
        let open: Vec<_> = forwards.iter().filter(|(rule, _)| rule.enabled).collect();
        let admits = |rule: &genkan_engine::plan::ForwardRule| {
            from_inside || rule.from.is_empty() || rule.from.iter().any(|net| net.contains(source.ip()))
        };
        if let Some((rule, internal)) = open.iter().find(|(rule, _)| admits(rule)) {
            let forward = Some(rule.name.clone());
            return Ok(Taker { internal: *internal, forward, origin: Origin::Forward, mapping: None });
        }
        if !open.is_empty() {
            return Err(DropReason::ForwardSource);
        }
        if !forwards.is_empty() {
            return Err(DropReason::ForwardClosed);
        }
        let (address, port) = (*external.ip(), external.port());
        if let Some(host) = self.one_to_one_host(address) {
            let internal = SocketAddrV4::new(host, port);
            return Ok(Taker { internal, forward: None, origin: Origin::OneToOne, mapping: None });
        }
        if protocol == Protocol::ICMP {
            return Err(DropReason::NoMapping); // nobody else is asked
        }
        if let Some(owner) = self.owner(protocol, external) {
            // Only what the inside has sent counts (RFC 4787 §4.3): nobody lets himself in.
            let mut spoken_to =
                self.sessions.iter().filter(|session| session.shares_mapping(owner) && session.sent);
            let admitted = match self.filtering(*owner.internal.ip()) {
                FilteringBehavior::EndpointIndependent => spoken_to.next().is_some(),
                FilteringBehavior::AddressDependent => {
                    spoken_to.any(|session| session.remote.ip() == source.ip())
                }
                FilteringBehavior::AddressAndPortDependent => {
                    spoken_to.any(|session| session.remote == source)
                }
            };
            let (internal, mapping) = (owner.internal, owner.mapping);
            let taker = Taker { internal, forward: None, origin: Origin::Inbound, mapping };
            return if admitted { Ok(taker) } else { Err(DropReason::Filtered) };
        }
        match self.plan.dmz {
            Some(dmz) => {
                let internal = SocketAddrV4::new(dmz, port);
                Ok(Taker { internal, forward: None, origin: Origin::Dmz, mapping: None })
            }
            _ if self.is_closed_port(protocol, external) => Err(DropReason::PortResting),
            _ => Err(DropReason::NoMapping),
        }
    }

    /// The inside host that has an external endpoint, whoever it lets in.
    pub(super) fn holder(&self, protocol: Protocol, external: SocketAddrV4) -> Option<Ipv4Addr> {
        match self.judge(protocol, external, external, true) {
            Ok(taker) => Some(*taker.internal.ip()),
            Err(DropReason::Filtered) => self.owner(protocol, external).map(|owner| *owner.internal.ip()),
            Err(_) => None,
        }
    }

    fn is_closed_port(&self, protocol: Protocol, external: SocketAddrV4) -> bool {
        self.closed.get(&(protocol.0, external)).is_some_and(|&until| until > self.now)
    }

    /// A session from inside to the outside, or to an external endpoint of ours.
    pub(super) fn open_outbound(
        &mut self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        inside: PortId,
        seen: &Seen,
    ) -> Result<usize, Refusal> {
        self.make_room(*internal.ip())?;
        let (external, origin, mapping) = self.external_side(protocol, internal, remote, seen)?;
        let session = Session {
            origin,
            mapping,
            sent: true,
            ..self.new_session(protocol, internal, external, remote, inside, Side::Inside)
        };
        Ok(self.add(session))
    }

    /// A session between lans.
    pub(super) fn open_routed(
        &mut self,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        (inside, outside): (PortId, PortId),
    ) -> Result<usize, Refusal> {
        self.make_room(*source.ip())?;
        let new = self.new_session(protocol, source, source, destination, inside, Side::Inside);
        let session = Session { outside, origin: Origin::Routed, kept_by_both: true, ..new };
        if !self.free_inbound_key(protocol, destination, source, outside) {
            return Err(DropReason::SessionConflict.into());
        }
        Ok(self.add(session))
    }

    /// A session from outside (or turned round) that somebody takes.
    pub(super) fn open_inbound(
        &mut self,
        protocol: Protocol,
        remote: SocketAddrV4,
        external: SocketAddrV4,
        taker: Taker,
        inside: PortId,
    ) -> Result<usize, Refusal> {
        let internal = taker.internal;
        self.make_room(*internal.ip())?;
        if taker.mapping.is_some() && self.owner(protocol, external).is_none() {
            return Err(DropReason::NoMapping.into());
        }
        let conflict = self.sessions.iter().position(|other| {
            (other.protocol, other.inside, other.internal, other.remote)
                == (protocol, inside, internal, remote)
        });
        if let Some(position) = conflict {
            if !self.sessions[position].is_closing() {
                return Err(DropReason::SessionConflict.into());
            }
            self.end(position);
        }
        let new = self.new_session(protocol, internal, external, remote, inside, Side::Outside);
        let kept_by_both = taker.origin != Origin::Inbound;
        let session = Session { origin: taker.origin, mapping: taker.mapping, kept_by_both, ..new };
        Ok(self.add(session))
    }

    fn new_session(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        external: SocketAddrV4,
        remote: SocketAddrV4,
        inside: PortId,
        opener: Side,
    ) -> Session {
        Session {
            protocol,
            internal,
            external,
            remote,
            inside,
            outside: PortId::WAN,
            origin: Origin::Outbound,
            mapping: None,
            connection: Connection::opened_by(opener),
            opened_inbound: opener == Side::Outside,
            kept_by_both: false,
            is_hairpin: self.is_external(*remote.ip()),
            answered: false,
            sent: false,
            expires: Timestamp::ZERO,
            queued: 0,
        }
    }

    fn add(&mut self, mut session: Session) -> usize {
        session.queued = self.next_event();
        session.expires = self.now + self.lifetime(&session);
        self.sessions.push(session);
        self.sessions.len() - 1
    }

    /// The limits of the host and of the table (design §5): what was never answered goes first, then what both sides
    /// have closed, oldest first.
    fn make_room(&mut self, host: Ipv4Addr) -> Result<(), Refusal> {
        let of_host = self.sessions.iter().filter(|session| *session.internal.ip() == host).count();
        if of_host >= self.plan.nat.max_sessions_per_host as usize {
            return Err(DropReason::HostSessionLimit.into());
        }
        if self.sessions.len() < self.plan.nat.max_sessions as usize {
            return Ok(());
        }
        // The oldest of each protocol; of these the one that has been idle longest, the first of equals.
        let kind = |session: &Session| match session.protocol {
            Protocol::TCP => 0,
            Protocol::UDP => 1,
            Protocol::ICMP => 2,
            _ => 3,
        };
        let oldest = |wanted: u8| {
            let waiting =
                self.sessions.iter().filter(|session| session.is_unanswered() && kind(session) == wanted);
            waiting.min_by_key(|session| session.queued)
        };
        let idle_since = |session: &&Session| session.expires - self.lifetime(session);
        let unanswered = (0..4).filter_map(oldest).min_by_key(idle_since);
        let closed = self.sessions.iter().filter(|session| session.is_closed());
        let victim = unanswered.or_else(|| closed.min_by_key(|session| session.queued));
        self.evict(victim.map(Session::row), DropReason::SessionLimit)
    }

    /// Ends a session for the sake of another.
    fn evict(&mut self, victim: Option<super::Row>, otherwise: DropReason) -> Result<(), Refusal> {
        let victim = self.sessions.iter().position(|session| Some(session.row()) == victim);
        self.end(victim.ok_or(otherwise)?);
        Ok(())
    }

    /// The external address of a host, learnt from what the router chose for it the first time: the same host
    /// always gets the same one.
    fn pair_of(&mut self, host: Ipv4Addr, chosen: Option<SocketAddrV4>) -> Result<Ipv4Addr, Refusal> {
        let shared = self.shared();
        if let Some(known) = self.pairs.get(&(shared.clone(), host)) {
            return Ok(*known);
        }
        let address = match (&shared[..], chosen) {
            ([only], _) => *only,
            (_, Some(chosen)) => *chosen.ip(),
            _ => return Err(Refusal::Illegal(format!("{host} was given none of {shared:?}"))),
        };
        if !shared.contains(&address) {
            return Err(Refusal::Illegal(format!("{address} is not one of {shared:?}")));
        }
        self.pairs.insert((shared, host), address);
        Ok(address)
    }

    fn external_side(
        &mut self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        seen: &Seen,
    ) -> Result<(SocketAddrV4, Origin, Option<SocketAddrV4>), Refusal> {
        let host = *internal.ip();
        if let Some(own) = self.own_external(host) {
            let external = SocketAddrV4::new(own, internal.port());
            self.claim(protocol, remote, external, DropReason::SessionConflict)?;
            return Ok((external, Origin::OneToOne, None));
        }
        let chosen = seen.external_of(protocol, internal, remote);
        let paired = self.pair_of(host, chosen)?;
        if let Some(external) = self.static_endpoint(protocol, internal, paired)
            && self.claim(protocol, remote, external, DropReason::SessionConflict).is_ok()
        {
            return Ok((external, Origin::ForwardOutbound, None));
        }
        if !matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP) {
            let external = SocketAddrV4::new(paired, 0);
            self.claim(protocol, remote, external, DropReason::ProtocolInUse)?;
            return Ok((external, Origin::Outbound, None));
        }
        let scope = match self.mapping_behavior(host) {
            MappingBehavior::EndpointIndependent => ANYBODY,
            MappingBehavior::AddressDependent => SocketAddrV4::new(*remote.ip(), 0),
            MappingBehavior::AddressAndPortDependent => remote,
        };
        let existing = self.sessions.iter().find(|session| {
            (session.protocol, session.internal, session.mapping) == (protocol, internal, Some(scope))
        });
        let external = match existing {
            Some(session) => session.external,
            None => self.allocate(protocol, internal, remote, paired, chosen, seen)?,
        };
        self.claim(protocol, remote, external, DropReason::SessionConflict)?;
        self.rests.remove(&(protocol.0, external));
        Ok((external, Origin::Outbound, Some(scope)))
    }

    /// The external endpoint of the first open forward that points at an internal one, the host's own address
    /// preferred (design §1).
    fn static_endpoint(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        paired: Ipv4Addr,
    ) -> Option<SocketAddrV4> {
        let open =
            self.plan.forwards.iter().filter(|rule| {
                rule.enabled && rule.to == *internal.ip() && rule.protocols.contains(&protocol)
            });
        let endpoints: Vec<SocketAddrV4> = open
            .filter_map(|rule| {
                let ports = rule.ports.iter().find(|ports| {
                    let last = ports.internal_first + (ports.external_last - ports.external_first);
                    (ports.internal_first..=last).contains(&internal.port())
                })?;
                let port = ports.external_first + (internal.port() - ports.internal_first);
                Some(SocketAddrV4::new(rule.address.unwrap_or(paired), port))
            })
            .collect();
        endpoints.iter().find(|endpoint| *endpoint.ip() == paired).or(endpoints.first()).copied()
    }

    /// Nobody else has packets from `remote` to `external`.
    fn claim(
        &mut self,
        protocol: Protocol,
        remote: SocketAddrV4,
        external: SocketAddrV4,
        otherwise: DropReason,
    ) -> Result<(), Refusal> {
        let in_the_way = self.inbound_position(protocol, remote, external, PortId::WAN);
        if let Some(position) = in_the_way.filter(|&position| self.sessions[position].origin == Origin::Dmz) {
            self.end(position); // a port that an inside host owns is no longer the DMZ's
        }
        if self.free_inbound_key(protocol, remote, external, PortId::WAN) {
            Ok(())
        } else {
            Err(otherwise.into())
        }
    }

    fn inbound_position(
        &self,
        protocol: Protocol,
        remote: SocketAddrV4,
        external: SocketAddrV4,
        outside: PortId,
    ) -> Option<usize> {
        self.sessions.iter().position(|session| {
            (session.protocol, session.remote, session.external, session.outside)
                == (protocol, remote, external, outside)
        })
    }

    /// A closing connection gives way to a new one.
    fn free_inbound_key(
        &mut self,
        protocol: Protocol,
        remote: SocketAddrV4,
        external: SocketAddrV4,
        outside: PortId,
    ) -> bool {
        match self.inbound_position(protocol, remote, external, outside) {
            Some(position) if self.sessions[position].is_closing() => {
                self.end(position);
                true
            }
            other => other.is_none(),
        }
    }

    /// A port for a new mapping (design, Ports): the internal one when it is free, else a random free one, else the
    /// one that rests longest, else that of a session that makes room.
    fn allocate(
        &mut self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        paired: Ipv4Addr,
        chosen: Option<SocketAddrV4>,
        seen: &Seen,
    ) -> Result<SocketAddrV4, Refusal> {
        let host = *internal.ip();
        let mappings = self.mappings();
        let of_host = mappings.keys().filter(|(kind, of, _)| *kind == protocol.0 && *of.ip() == host).count();
        if of_host >= self.plan.nat.max_ports_per_host as usize {
            return Err(DropReason::HostPortLimit.into());
        }
        if self.available(protocol, paired, remote).is_empty() {
            let alone = |session: &&Session| {
                let others = self.sessions.iter().filter(|other| other.shares_mapping(session)).count();
                session.protocol == protocol
                    && session.mapping.is_some()
                    && *session.external.ip() == paired
                    && session.external != remote
                    && others == 1
            };
            let mut victims: Vec<&Session> =
                self.sessions.iter().filter(|session| session.is_unanswered()).filter(alone).collect();
            if victims.is_empty() {
                victims = self.sessions.iter().filter(|session| session.is_closed()).filter(alone).collect();
            }
            let oldest = victims.iter().min_by_key(|session| session.queued).map(|session| session.row());
            self.evict(oldest, DropReason::PortsExhausted)?;
        }
        let Some(chosen) = chosen else {
            if seen.drops.contains(&DropReason::PortsExhausted) {
                return Err(Refusal::Illegal("there was a port, and none was given".into()));
            }
            self.has_lost_track = true;
            return Ok(SocketAddrV4::new(paired, internal.port()));
        };
        self.check_choice(protocol, internal, remote, paired, chosen).map_err(Refusal::Illegal)?;
        Ok(chosen)
    }

    /// Ports that can be given, resting ones included.
    fn available(&self, protocol: Protocol, paired: Ipv4Addr, remote: SocketAddrV4) -> Vec<u16> {
        let is_available = |&port: &u16| {
            let external = SocketAddrV4::new(paired, port);
            self.owner(protocol, external).is_none()
                && !self.is_reserved(protocol, external)
                && !self.is_closed_port(protocol, external)
                && external != remote
        };
        self.pool(protocol).filter(is_available).collect()
    }

    fn check_choice(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        paired: Ipv4Addr,
        chosen: SocketAddrV4,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{internal} got {chosen}: {what}"));
        if *chosen.ip() != paired {
            return wrong("not its external address");
        }
        let available = self.available(protocol, paired, remote);
        let rest = |port: u16| {
            let rest = self.rests.get(&(protocol.0, SocketAddrV4::new(paired, port)));
            rest.filter(|rest| rest.until > self.now)
        };
        let preserved = available.contains(&internal.port())
            && rest(internal.port()).is_none_or(|rest| rest.host == *internal.ip());
        if preserved {
            return if chosen.port() == internal.port() { Ok(()) } else { wrong("its own port was free") };
        }
        if !available.contains(&chosen.port()) {
            return wrong("not free");
        }
        let free: Vec<u16> = available.iter().copied().filter(|&port| rest(port).is_none()).collect();
        if free.is_empty() {
            let longest = available.iter().filter_map(|&port| rest(port)).map(|rest| rest.until).min();
            let until = rest(chosen.port()).map(|rest| rest.until);
            // Within the router's tick the order is its own affair.
            let is_longest = longest.zip(until).is_some_and(|(longest, until)| {
                until.saturating_since(longest) <= std::time::Duration::from_secs(2)
            });
            return if is_longest { Ok(()) } else { wrong("another port rests longer") };
        }
        if rest(chosen.port()).is_some() {
            return wrong("it rests, and others were free");
        }
        let same_parity = |port: u16| port % 2 == internal.port() % 2;
        if self.plan.nat.port_parity
            && !same_parity(chosen.port())
            && free.iter().any(|&port| same_parity(port))
        {
            return wrong("its parity could be kept");
        }
        Ok(())
    }
}
