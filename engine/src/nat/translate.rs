//! The slow path: the first packet of a session decides who its endpoints are.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::look_ahead::Foreseen;
use super::mapping::Wanted;
use super::policy::FilteringBehavior;
use super::session::{NONE, Origin, Session, SessionFlags, SessionId, SessionKey};
use super::tcp_state::TcpState;
use crate::forward::rules::{Inbound, RuleId};
use crate::frame::PortId;
use crate::time::Timestamp;
use crate::trail::{Leaving, Step};
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

/// Sessions that are looked at for one that frees a port of a pool that is full.
pub(super) const VICTIMS_LOOKED_AT: usize = 64;

/// Who takes a packet from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) internal: SocketAddrV4,
    pub(crate) origin: Origin,
    /// The dynamic mapping that admits it, or [`NONE`].
    pub(crate) mapping: u32,
    /// The forward that admits it.
    pub(crate) rule: Option<RuleId>,
}

/// The external side of a session about to be made. Counts as a use of its mapping, so that the mapping
/// stays whatever else ends meanwhile.
struct ExternalSide {
    endpoint: SocketAddrV4,
    origin: Origin,
    mapping: u32,
    /// Of the key of its inbound packets.
    hash: u64,
}

impl Nat {
    /// Opens a session from inside to a remote outside (or to an external endpoint of ours).
    pub(crate) fn open_outbound(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        inside_port: PortId,
        foreseen: &Foreseen,
    ) -> Result<SessionId, DropReason> {
        self.make_room(now, *internal.ip())?;
        let wanted = foreseen.wanted().or_else(|| {
            self.mappings.want(self.settings.mapping(*internal.ip()), protocol, internal, remote)
        });
        let known = wanted.and_then(|wanted| self.mappings.find_internal(wanted));
        let guess = known.map_or(foreseen.host(), |mapping| self.mappings[mapping].host);
        let host = self.reserve_host(now, *internal.ip(), guess)?;
        let opened = self
            .external_side(now, protocol, internal, remote, host, (wanted, known), foreseen)
            .and_then(|side| {
                let flags =
                    SessionFlags::of([(SessionFlags::HAIRPIN, self.settings.is_external(*remote.ip()))]);
                let session = self.new_session(now, protocol, internal, side.endpoint, remote, flags);
                let session =
                    Session { inside_port, origin: side.origin, mapping: side.mapping, host, ..session };
                let hash = foreseen.hash(&self.sessions, session.outbound_key());
                self.insert_session(session, [hash, side.hash]).ok_or(DropReason::SessionLimit).inspect_err(
                    |_| {
                        if side.mapping != NONE {
                            self.drop_mapping_use(now, side.mapping);
                        }
                    },
                )
            });
        match opened {
            Ok(id) => {
                self.note_sent(id, foreseen);
                let mapping = self.sessions[id].mapping;
                if self.member.is_some()
                    && self.mappings.get(mapping).is_some_and(|mapping| mapping.sessions == 1)
                {
                    self.mappings.set_inside(mapping, inside_port);
                }
                self.stages.sessions_outbound += 1;
                self.log_session_created(now, id);
            }
            Err(_) => self.release_host(host),
        }
        opened
    }

    /// Opens a session between lans, or a lan and the box, without translation.
    pub(crate) fn open_routed(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        in_port: PortId,
        out_port: PortId,
    ) -> Result<SessionId, DropReason> {
        self.make_room(now, *source.ip())?;
        let host = self.reserve_host(now, *source.ip(), NONE)?;
        let flags = SessionFlags::of([(SessionFlags::REFRESHED_BY_BOTH, true)]);
        let session = Session {
            inside_port: in_port,
            outside_port: out_port,
            origin: Origin::Routed,
            host,
            ..self.new_session(now, protocol, source, source, destination, flags)
        };
        let hashes = [self.sessions.hash(session.outbound_key()), self.sessions.hash(session.inbound_key())];
        let opened = if self.make_key_free(now, session.inbound_key(), hashes[1]) {
            self.insert_session(session, hashes).ok_or(DropReason::SessionLimit)
        } else {
            Err(DropReason::SessionConflict)
        };
        match opened {
            Ok(_) => self.stages.sessions_routed += 1,
            Err(_) => self.release_host(host),
        }
        opened
    }

    /// Steps 2 to 7 of the order of judgement, for a packet from `source` to an external endpoint of ours.
    /// `from_inside`: it comes round by the hairpin.
    pub(crate) fn judge_inbound(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
    ) -> Result<Admission, DropReason> {
        self.judge(now, protocol, source, external, from_inside, |_| {})
    }

    /// [`Nat::judge_inbound`] for a packet that has arrived, which may be one to explain.
    pub(crate) fn judge_arrived(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
    ) -> Result<Admission, DropReason> {
        self.judge(now, protocol, source, external, from_inside, |step| self.note(|| step))
    }

    fn judge(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
        tell: impl Fn(Step),
    ) -> Result<Admission, DropReason> {
        let (address, port, from) = (*external.ip(), external.port(), (*source.ip(), from_inside));
        let says = |rule, says| tell(Step::Forward { rule, says });
        let forwarded = self.forwards.inbound_observed(now, protocol, address, port, from, says);
        self.judge_beyond(now, protocol, source, external, forwarded, tell)
    }

    /// The rest of [`Nat::judge_inbound`], when what the forwards say is known. `tell` hears what else is asked.
    pub(crate) fn judge_beyond(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        forwarded: Inbound,
        tell: impl Fn(Step),
    ) -> Result<Admission, DropReason> {
        let (address, port) = (*external.ip(), external.port());
        match forwarded {
            Inbound::To { rule, internal } => {
                return Ok(Admission { internal, origin: Origin::Forward, mapping: NONE, rule: Some(rule) });
            }
            Inbound::Closed(_) => return Err(DropReason::ForwardClosed),
            Inbound::Refused(_) => return Err(DropReason::ForwardSource),
            Inbound::NotOwned => tell(Step::NoForward),
        }
        let admit = |internal, origin, mapping| Ok(Admission { internal, origin, mapping, rule: None });
        if let Some(host) = self.settings.one_to_one_host(address) {
            tell(Step::OneToOne { external: address, host });
            if host.is_unspecified() {
                return Err(DropReason::HostAbsent);
            }
            return admit(SocketAddrV4::new(host, port), Origin::OneToOne, NONE);
        }
        if protocol == Protocol::ICMP {
            // A query: its identifier is that of who asks, and says nothing about who is asked.
            tell(Step::NoMapping);
            return Err(DropReason::NoMapping);
        }
        if let Some(mapping) = self.mappings.find_external(protocol, external) {
            let internal = self.mappings[mapping].internal;
            let filtering = self.settings.filtering(*internal.ip());
            let admits = match filtering {
                FilteringBehavior::EndpointIndependent => self.mappings[mapping].sent > 0,
                FilteringBehavior::AddressDependent => self.peers.contains(mapping, *source.ip()),
                // Its session has been found, and is closing: a connection is to be opened anew.
                FilteringBehavior::AddressAndPortDependent => {
                    let key = SessionKey::new(PortId::WAN, protocol, source, external);
                    let session = self.sessions.find_key(key).map(|(id, _)| &self.sessions[id]);
                    session.is_some_and(|session| {
                        session.mapping == mapping && session.flags.contains(SessionFlags::SENT)
                    })
                }
            };
            tell(Step::Mapping { internal, filtering, admits });
            return if admits {
                admit(internal, Origin::Inbound, mapping)
            } else {
                Err(DropReason::Filtered)
            };
        }
        if self.inside_elsewhere(protocol, external).is_some() {
            // A mapping of another worker, which alone can tell whom it admits.
            return Err(DropReason::Filtered);
        }
        tell(Step::NoMapping);
        let dmz = self.settings.dmz.inbound(protocol, port);
        tell(dmz.map_or(Step::NoDmz, |internal| Step::Dmz { internal }));
        match dmz {
            Some(internal) => admit(internal, Origin::Dmz, NONE),
            _ if self.mappings.is_resting_for_all(now, protocol, external) => Err(DropReason::PortResting),
            _ if self.is_closed_elsewhere(protocol, external) => Err(DropReason::PortResting),
            _ => Err(DropReason::NoMapping),
        }
    }

    /// Opens the session that [`Nat::judge_inbound`] admits.
    #[expect(clippy::too_many_arguments, reason = "a session's parts, each of its own type")]
    pub(crate) fn open_inbound(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        admission: Admission,
        inside_port: PortId,
        foreseen: &Foreseen,
    ) -> Result<SessionId, DropReason> {
        self.make_room(now, *admission.internal.ip())?;
        let host = self.reserve_host(now, *admission.internal.ip(), foreseen.host())?;
        let by_both = !matches!(admission.origin, Origin::Inbound);
        let flags = SessionFlags::of([
            (SessionFlags::OPENED_INBOUND, true),
            (SessionFlags::REFRESHED_BY_BOTH, by_both),
            (SessionFlags::HAIRPIN, self.settings.is_external(*source.ip())),
        ]);
        let session = Session {
            inside_port,
            origin: admission.origin,
            mapping: admission.mapping,
            host,
            tcp: TcpState::InboundSyn,
            ..self.new_session(now, protocol, admission.internal, external, source, flags)
        };
        let opened = self.insert_inbound(now, session, foreseen);
        match (&opened, admission.origin) {
            (Err(_), _) => self.release_host(host),
            (Ok(id), Origin::Forward) => {
                self.tally.attribute(*id, admission.rule);
                self.tally.take_place(*id);
                self.stages.sessions_forward += 1;
            }
            (Ok(_), Origin::Dmz) => self.stages.sessions_dmz += 1,
            (Ok(_), _) => self.stages.sessions_inbound += 1,
        }
        opened.inspect(|&id| self.log_session_created(now, id))
    }

    fn insert_inbound(
        &mut self,
        now: Timestamp,
        session: Session,
        foreseen: &Foreseen,
    ) -> Result<SessionId, DropReason> {
        let mapping = session.mapping;
        if mapping != NONE {
            // Making room may have ended the very mapping that admitted the packet.
            if self.mappings.find_external(session.protocol, session.external()) != Some(mapping) {
                return Err(DropReason::NoMapping);
            }
            self.mappings.add_session(mapping);
        }
        let hashes =
            [session.outbound_key(), session.inbound_key()].map(|key| foreseen.hash(&self.sessions, key));
        let is_free = self.make_key_free(now, session.outbound_key(), hashes[0]);
        let opened = if is_free && self.take_key(session.inbound_key()) {
            self.insert_session(session, hashes).ok_or(DropReason::SessionLimit)
        } else {
            Err(DropReason::SessionConflict)
        };
        if opened.is_err() && mapping != NONE {
            self.drop_mapping_use(now, mapping);
        }
        opened
    }

    /// The external address that a host's sessions leave from, or would.
    pub(crate) fn external_address_of(&self, internal: Ipv4Addr) -> Ipv4Addr {
        self.paired(internal, self.hosts.find(internal))
    }

    /// The external address of a host, which has this number if it is known already.
    fn paired(&self, internal: Ipv4Addr, host: Option<u32>) -> Ipv4Addr {
        if let Some(own) = self.settings.own_external(internal) {
            return own;
        }
        match host.map(|id| self.hosts[id].paired) {
            Some(paired) if self.settings.shared().contains(&paired) => paired,
            _ => self.pair(internal),
        }
    }

    /// Spreads hosts over the shared external addresses; the same host always gets the same one.
    fn pair(&self, internal: Ipv4Addr) -> Ipv4Addr {
        let shared = self.settings.shared();
        if let [only] = shared {
            return *only;
        }
        const PURPOSE: u64 = 4;
        let draw = match &self.member {
            None => self.key.hash(u32::from(internal).into(), PURPOSE) >> 32,
            Some(member) => member.draw_for(internal, PURPOSE),
        };
        shared[((draw * shared.len() as u64) >> 32) as usize]
    }

    /// Ends a session in favour of one that is about to be opened when the table is full. Whatever has been found
    /// in the tables before may be gone then.
    fn make_room(&mut self, now: Timestamp, internal: Ipv4Addr) -> Result<(), DropReason> {
        if self.has_room() {
            return Ok(());
        }
        // Nobody makes room for a session that its own host may not have.
        let used = self.hosts.find(internal).map_or(0, |host| self.hosts[host].sessions);
        if used >= self.settings.max_sessions_per_host {
            return Err(DropReason::HostSessionLimit);
        }
        let has_room = self.borrow_room(false)
            || (self.evict_for_room(now) && self.has_room())
            || self.borrow_room(true);
        if has_room { Ok(()) } else { Err(DropReason::SessionLimit) }
    }

    /// Counts a session to come on its host, whose number may be `guess`.
    pub(super) fn reserve_host(
        &mut self,
        now: Timestamp,
        internal: Ipv4Addr,
        guess: u32,
    ) -> Result<u32, DropReason> {
        let host = self.hosts.find_near(guess, internal);
        if host.map_or(0, |host| self.hosts[host].sessions) >= self.settings.max_sessions_per_host {
            return Err(DropReason::HostSessionLimit);
        }
        let paired = self.paired(internal, host);
        let host = host.or_else(|| self.hosts.insert(internal, paired)).or_else(|| {
            // No room for one host more: whoever is ended may have been the last of its own.
            self.evict_for_room(now).then(|| self.hosts.insert(internal, paired)).flatten()
        });
        let host = host.ok_or(DropReason::SessionLimit)?;
        // The last check, as it counts. Sessions of other workers: without NAT, or of protocols without ports.
        if let Some(member) = &self.member
            && !member.add_session_of(internal, self.settings.max_sessions_per_host)
        {
            self.hosts.remove_if_idle(host);
            return Err(DropReason::HostSessionLimit);
        }
        let entry = &mut self.hosts[host];
        entry.paired = paired;
        entry.sessions += 1;
        Ok(host)
    }

    pub(super) fn release_host(&mut self, host: u32) {
        if let Some(member) = &self.member {
            member.subtract_session_of(self.hosts[host].address);
        }
        self.hosts[host].sessions -= 1;
        self.hosts.remove_if_idle(host);
    }

    /// A session as every kind starts out: opened from inside, towards the wan, idle from now on.
    pub(super) fn new_session(
        &self,
        now: Timestamp,
        protocol: Protocol,
        internal: SocketAddrV4,
        external: SocketAddrV4,
        remote: SocketAddrV4,
        flags: SessionFlags,
    ) -> Session {
        let mut session = Session {
            internal_address: *internal.ip(),
            external_address: *external.ip(),
            remote_address: *remote.ip(),
            internal_port: internal.port(),
            external_port: external.port(),
            remote_port: remote.port(),
            protocol,
            inside_port: PortId::HOST,
            outside_port: PortId::WAN,
            origin: Origin::Outbound,
            tcp: TcpState::OutboundSyn,
            flags,
            epoch: self.epoch,
            mapping: NONE,
            expires: now,
            inside_hop: None,
            outside_hop: None,
            host: NONE,
            evict_next: NONE,
            evict_previous: NONE,
        };
        session.expires = now + self.settings.lifetime(&session);
        session
    }

    /// Which external endpoint an internal one has towards a remote: its own address, the port of a forward
    /// that points at it, or a dynamic mapping, which is `known` or else made as `wanted`; for protocols without
    /// ports the address alone.
    #[expect(clippy::too_many_arguments, reason = "a session's parts, each of its own type")]
    fn external_side(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
        host: u32,
        (wanted, known): (Option<Wanted>, Option<u32>),
        foreseen: &Foreseen,
    ) -> Result<ExternalSide, DropReason> {
        if let Some(own) = self.settings.own_external(*internal.ip()) {
            let endpoint = SocketAddrV4::new(own, internal.port());
            self.note(|| Step::Leaves { internal, external: endpoint, by: Leaving::OneToOne });
            let side = (endpoint, Origin::OneToOne, NONE);
            return self.claim(now, protocol, remote, side, foreseen, DropReason::SessionConflict);
        }
        let paired = self.hosts[host].paired;
        if let Some((rule, endpoint)) = self.forwards.outbound(now, protocol, internal, paired) {
            let side = (endpoint, Origin::ForwardOutbound, NONE);
            if let Ok(side) = self.claim(now, protocol, remote, side, foreseen, DropReason::SessionConflict) {
                self.note(|| Step::Leaves { internal, external: endpoint, by: Leaving::Forward(rule) });
                return Ok(side);
            }
        }
        let Some(wanted) = wanted else {
            let external = SocketAddrV4::new(paired, 0);
            self.note(|| Step::Leaves { internal, external, by: Leaving::AddressOnly });
            let side = (external, Origin::Outbound, NONE);
            return self.claim(now, protocol, remote, side, foreseen, DropReason::ProtocolInUse);
        };
        // A claim in vain has ended nothing, so what is known is still there.
        let mapping = match known {
            Some(mapping) => mapping,
            None => self.create_mapping(now, wanted, host)?,
        };
        self.mappings.add_session(mapping);
        let external = self.mappings[mapping].external;
        let by = if known.is_some() { Leaving::KnownMapping } else { Leaving::NewMapping };
        self.note(|| Step::Leaves { internal, external, by });
        let side = (external, Origin::Outbound, mapping);
        self.claim(now, protocol, remote, side, foreseen, DropReason::SessionConflict)
            .inspect_err(|_| self.drop_mapping_use(now, mapping))
    }

    /// The external side of these parts when packets from `remote` to it belong to nobody else.
    fn claim(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        remote: SocketAddrV4,
        (endpoint, origin, mapping): (SocketAddrV4, Origin, u32),
        foreseen: &Foreseen,
        otherwise: DropReason,
    ) -> Result<ExternalSide, DropReason> {
        let key = SessionKey::new(PortId::WAN, protocol, remote, endpoint);
        let hash = foreseen.hash(&self.sessions, key);
        let side = ExternalSide { endpoint, origin, mapping, hash };
        let Some((other, _)) = self.sessions.find(key, hash) else {
            return if self.take_key(key) { Ok(side) } else { Err(otherwise) };
        };
        if self.sessions[other].origin == Origin::Dmz {
            // A port that an inside host owns is no longer the DMZ's.
            self.end_session(now, other);
            self.stages.sessions_revoked += 1;
        }
        if self.make_key_free(now, key, hash) && self.take_key(key) { Ok(side) } else { Err(otherwise) }
    }

    /// A mapping for an internal endpoint that has none.
    fn create_mapping(&mut self, now: Timestamp, wanted: Wanted, host: u32) -> Result<u32, DropReason> {
        let pool = wanted.pool;
        if self.hosts[host].ports[pool] >= self.settings.max_ports_per_host {
            return Err(DropReason::HostPortLimit);
        }
        let external = self.hosts[host].paired;
        let parity = self.settings.port_parity;
        let create = |nat: &mut Nat| nat.mappings.create(now, wanted, external, host, parity, &mut nat.rng);
        let created = create(self).or_else(|| {
            let victim = self.port_victim(&wanted, external)?;
            self.end_session(now, victim);
            self.stages.sessions_evicted += 1;
            create(self)
        });
        let Some(mapping) = created else {
            self.mappings.ask_for_port(wanted.protocol, external);
            return Err(DropReason::PortsExhausted);
        };
        self.hosts[host].ports[pool] += 1;
        self.stages.mappings_created += 1;
        self.log_mapping_created(now, mapping);
        Ok(mapping)
    }

    /// The session that gives up the port of its mapping for one that is wanted.
    pub(super) fn port_victim(&self, wanted: &Wanted, external: Ipv4Addr) -> Option<SessionId> {
        let frees = |session: &Session| {
            session.external_address == external
                && session.external() != wanted.remote
                && self.mappings.get(session.mapping).is_some_and(|mapping| mapping.sessions == 1)
        };
        self.queues.victim_for(&self.sessions, wanted.protocol, VICTIMS_LOOKED_AT, frees)
    }

    /// Whether a new session may have this key, whose hash is given: nobody has it, or only one that is over in
    /// all but name, or that the plan in force has ended.
    fn make_key_free(&mut self, now: Timestamp, key: SessionKey, hash: u64) -> bool {
        let Some((id, _)) = self.sessions.find(key, hash) else { return true };
        if !self.revalidate(now, id) {
            return true;
        }
        let other = &self.sessions[id];
        let is_closing = other.protocol == Protocol::TCP && other.tcp.is_closing();
        if other.expires > now && !is_closing {
            return false;
        }
        self.end_session(now, id);
        self.stages.sessions_evicted += 1;
        true
    }
}
