//! Sessions read out for a later process, and put back by it.
//!
//! A record stands for itself: it names its endpoints, not table positions, and brings the scope of the mapping that it
//! hangs on, since a mapping lives by its sessions and by nothing else. Rewrites, hashes, next hops and the numbers of
//! hosts follow from it and are made anew.
//!
//! What is put back is judged like what was there before a plan change ([`super::revalidate`]): under the plan in
//! force now, by the same code. The halves of a hairpin ask for each other, and may be put back in any order, at
//! different workers: they are judged once more, with their other half, before they pass a packet.

use std::net::SocketAddrV4;
use std::ops::AddAssign;
use std::time::Duration;

use super::Nat;
use super::look_ahead::Foreseen;
use super::mapping::pool_index;
pub use super::session::Origin;
use super::session::{NONE, Session, SessionFlags};
use super::tcp_state::TcpState;
use crate::forward::rules::Inbound;
use crate::frame::PortId;
use crate::team::WorkerId;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// One session, with what it takes to put it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Its protocol.
    pub protocol: Protocol,
    /// Inside endpoint; ports as in [`crate::view::SessionView`].
    pub internal: SocketAddrV4,
    /// External endpoint; equals `internal` where there is no NAT.
    pub external: SocketAddrV4,
    /// The far endpoint.
    pub remote: SocketAddrV4,
    /// Where its inside packets come in.
    pub inside: PortId,
    /// Where its outside packets come in: the wan, or another lan when routed.
    pub outside: PortId,
    /// Who allowed it.
    pub origin: Origin,
    /// Meaningful for TCP only.
    pub tcp: TcpState,
    /// What has happened on it, one bit each: 1 answered, 2 opened from outside, 4 hairpin, 8 packets from either side
    /// refresh it, 16 the inside has sent something.
    pub flags: u8,
    /// For which remotes its dynamic mapping holds: any (unspecified, 0), one address (port 0), or one endpoint. `None`
    /// where there is no such mapping.
    pub scope: Option<SocketAddrV4>,
    /// Idle time left.
    pub left: Duration,
}

/// Why a session was not put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NotRestored {
    /// Its idle time has run out meanwhile.
    Expired,
    /// One of its hosts is behind another port now, or behind none.
    Moved,
    /// The plan in force does not allow it: its forward, its address or its permission is gone, or its port belongs to
    /// a forward now.
    NotAllowed,
    /// Its endpoints are another session's or mapping's by now, or its port rests.
    Taken,
    /// No room: in the table, or within the limits of its host.
    Full,
    /// No session looks like that.
    Malformed,
}

impl NotRestored {
    /// Every reason, in the order of their numbers.
    pub const ALL: &'static [NotRestored] = &[
        NotRestored::Expired,
        NotRestored::Moved,
        NotRestored::NotAllowed,
        NotRestored::Taken,
        NotRestored::Full,
        NotRestored::Malformed,
    ];

    /// A word for logs.
    pub const fn name(self) -> &'static str {
        match self {
            NotRestored::Expired => "expired",
            NotRestored::Moved => "moved",
            NotRestored::NotAllowed => "not-allowed",
            NotRestored::Taken => "taken",
            NotRestored::Full => "full",
            NotRestored::Malformed => "malformed",
        }
    }
}

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions put back.
    pub restored: u64,
    /// Those not put back, by [`NotRestored`].
    pub refused: [u64; NotRestored::ALL.len()],
}

impl Restored {
    /// Sessions not put back for this reason.
    pub fn refused(&self, reason: NotRestored) -> u64 {
        self.refused[reason as usize]
    }

    /// Counts what became of one; those of other workers are not counted.
    pub(crate) fn count(&mut self, outcome: Result<bool, NotRestored>) {
        match outcome {
            Ok(is_ours) => self.restored += u64::from(is_ours),
            Err(reason) => self.refused[reason as usize] += 1,
        }
    }
}

impl AddAssign for Restored {
    fn add_assign(&mut self, other: Restored) {
        self.restored += other.restored;
        for (sum, count) in self.refused.iter_mut().zip(other.refused) {
            *sum += count;
        }
    }
}

impl SavedSession {
    /// Whether it is an ICMP query to a 1:1 host: then the identifier is the remote's.
    fn is_asked_from_outside(&self) -> bool {
        let opened_inbound = SessionFlags::from_bits(self.flags).contains(SessionFlags::OPENED_INBOUND);
        self.protocol == Protocol::ICMP && self.origin == Origin::OneToOne && opened_inbound
    }

    /// Whether a session can look like that at all, under whatever plan.
    fn is_sound(&self) -> bool {
        let is_inside = |port: PortId| port != PortId::WAN;
        let pool = pool_index(self.protocol);
        let ports = [self.internal.port(), self.external.port(), self.remote.port()];
        let ports_fit = match self.protocol {
            Protocol::TCP | Protocol::UDP => self.origin == Origin::Routed || self.external.port() != 0,
            Protocol::ICMP if self.is_asked_from_outside() => self.internal.port() == 0,
            Protocol::ICMP => self.remote.port() == 0,
            _ => ports == [0; 3],
        };
        let is_dynamic = matches!(self.origin, Origin::Outbound | Origin::Inbound) && pool.is_some();
        let sides_fit = match self.origin {
            Origin::Routed => {
                let is_to_itself = self.internal == self.remote && self.inside == self.outside;
                is_inside(self.outside) && self.external == self.internal && !is_to_itself
            }
            Origin::OneToOne => self.outside == PortId::WAN && self.external.port() == self.internal.port(),
            _ => self.outside == PortId::WAN,
        };
        is_inside(self.inside) && ports_fit && sides_fit && self.scope.is_some() == is_dynamic
    }
}

impl Nat {
    /// The session of this number for a later process, unless it is over.
    pub(crate) fn saved(&self, now: Timestamp, id: u32) -> Option<SavedSession> {
        let session = self.sessions.get(id).filter(|session| session.expires > now)?;
        let scope = match session.mapping {
            NONE => None,
            mapping => Some(self.mappings.get(mapping).filter(|mapping| !mapping.revoked)?.scope),
        };
        Some(SavedSession {
            protocol: session.protocol,
            internal: session.internal(),
            external: session.external(),
            remote: session.remote(),
            inside: session.inside_port,
            outside: session.outside_port,
            origin: session.origin,
            tcp: session.tcp,
            flags: session.flags.bits(),
            scope,
            left: session.expires.saturating_since(now),
        })
    }

    /// Which worker has the packets of a session.
    fn owner_of_saved(&self, saved: &SavedSession) -> Option<WorkerId> {
        let member = self.member.as_ref()?;
        let (internal, remote) = (*saved.internal.ip(), *saved.remote.ip());
        Some(match pool_index(saved.protocol) {
            _ if saved.origin == Origin::Routed => member.of_pair(internal, remote),
            Some(_) => member.of_host(internal),
            None => member.of_remote(remote),
        })
    }

    /// Whether the packets of a session are this worker's.
    pub(super) fn has_saved(&self, saved: &SavedSession) -> bool {
        self.owner_of_saved(saved) == self.member.as_ref().map(|member| member.id)
    }

    /// Puts a session back that was read out `elapsed` ago; false when it is another worker's.
    pub(crate) fn restore(
        &mut self,
        now: Timestamp,
        elapsed: Duration,
        saved: &SavedSession,
    ) -> Result<bool, NotRestored> {
        if !self.has_saved(saved) {
            return Ok(false);
        }
        let left = saved.left.saturating_sub(elapsed);
        if left.is_zero() {
            return Err(NotRestored::Expired);
        }
        if !saved.is_sound() {
            return Err(NotRestored::Malformed);
        }
        let port_of = |address| self.routes.lookup(address).map(|hop| hop.port);
        let moved = port_of(*saved.internal.ip()) != Some(saved.inside)
            || saved.origin == Origin::Routed && port_of(*saved.remote.ip()) != Some(saved.outside);
        if moved {
            return Err(NotRestored::Moved);
        }
        let mut session = self.session_of(now, left, saved);
        let hashes = [self.sessions.hash(session.outbound_key()), self.sessions.hash(session.inbound_key())];
        let is_taken = self.sessions.find(session.outbound_key(), hashes[0]).is_some()
            || self.sessions.find(session.inbound_key(), hashes[1]).is_some()
            || !self.take_key(session.inbound_key());
        if is_taken {
            return Err(NotRestored::Taken);
        }
        if !self.has_room() {
            return Err(NotRestored::Full);
        }
        let host = self.reserve_saved_host(now, saved)?;
        session.host = host;
        let mapping = match self.use_saved_mapping(now, saved, host) {
            Ok(mapping) => mapping,
            Err(reason) => {
                self.release_host(host);
                return Err(reason);
            }
        };
        session.mapping = mapping;
        let inserted = if self.is_allowed_alone(now, &session) {
            // Counted below, once the session is there.
            session.flags.set(SessionFlags::SENT, false);
            self.insert_session(session, hashes).ok_or(NotRestored::Taken)
        } else {
            Err(NotRestored::NotAllowed)
        };
        let id = match inserted {
            Ok(id) => id,
            Err(reason) => {
                if mapping != NONE {
                    self.drop_mapping_use(now, mapping);
                }
                self.release_host(host);
                return Err(reason);
            }
        };
        if SessionFlags::from_bits(saved.flags).contains(SessionFlags::SENT) {
            self.note_sent(id, &Foreseen::NOTHING);
        }
        if saved.protocol == Protocol::TCP && saved.tcp.is_closing() {
            self.tell_known_session(id);
        }
        if mapping != NONE && self.member.is_some() && self.mappings[mapping].sessions == 1 {
            self.mappings.set_inside(mapping, saved.inside);
        }
        if self.sessions[id].flags.contains(SessionFlags::HAIRPIN) {
            // To be judged again once its other half is there.
            self.sessions[id].epoch = self.epoch.wrapping_sub(1);
            self.sweep = Some(0);
        }
        self.tally_session(now, id);
        Ok(true)
    }

    /// The session itself, on no mapping and no host yet.
    fn session_of(&self, now: Timestamp, left: Duration, saved: &SavedSession) -> Session {
        let flags = SessionFlags::from_bits(saved.flags);
        let (internal, external, remote) = (saved.internal, saved.external, saved.remote);
        let session = self.new_session(now, saved.protocol, internal, external, remote, flags);
        let mut session = Session {
            inside_port: saved.inside,
            outside_port: saved.outside,
            origin: saved.origin,
            tcp: saved.tcp,
            ..session
        };
        session.expires = (now + left).min(now + self.settings.lifetime(&session));
        session
    }

    /// Counts the session on its host. A host without mappings is paired with the external address that this one has:
    /// it keeps it beyond the restart.
    fn reserve_saved_host(&mut self, now: Timestamp, saved: &SavedSession) -> Result<u32, NotRestored> {
        let (internal, external) = (*saved.internal.ip(), *saved.external.ip());
        let is_pairing = matches!(saved.origin, Origin::Outbound | Origin::Inbound)
            && self.settings.own_external(internal).is_none()
            && self.settings.shared().contains(&external);
        let known = self.hosts.find(internal);
        let host = match known {
            None if is_pairing => self.hosts.insert(internal, external),
            Some(host) if is_pairing && self.hosts[host].ports == [0; 3] => {
                self.hosts[host].paired = external;
                known
            }
            _ => known,
        };
        self.reserve_host(now, internal, host.unwrap_or(NONE)).map_err(|_| {
            if let Some(host) = host {
                self.hosts.remove_if_idle(host);
            }
            NotRestored::Full
        })
    }

    /// One use more of the mapping that a session hangs on, which is made when this is its first; [`NONE`] where there is
    /// none.
    fn use_saved_mapping(
        &mut self,
        now: Timestamp,
        saved: &SavedSession,
        host: u32,
    ) -> Result<u32, NotRestored> {
        let (Some(scope), Some(pool)) = (saved.scope, pool_index(saved.protocol)) else { return Ok(NONE) };
        let SavedSession { protocol, internal, external, .. } = *saved;
        let known = self.mappings.find_like_saved(protocol, internal, external, scope);
        let mapping = match known.map_err(|()| NotRestored::Taken)? {
            Some(mapping) => mapping,
            None => {
                let (address, port) = (*external.ip(), external.port());
                let is_free = self.settings.shared().contains(&address)
                    && self.settings.own_external(*internal.ip()).is_none()
                    && self.forwards.inbound(now, protocol, address, port, address, true)
                        == Inbound::NotOwned;
                if !is_free {
                    return Err(NotRestored::NotAllowed);
                }
                if self.mappings.is_resting_for_all(now, protocol, external) {
                    return Err(NotRestored::Taken);
                }
                if self.hosts[host].ports[pool] >= self.settings.max_ports_per_host {
                    return Err(NotRestored::Full);
                }
                let made = self.mappings.restore(now, protocol, internal, external, scope, host);
                let made = made.ok_or(NotRestored::Taken)?;
                self.hosts[host].ports[pool] += 1;
                self.stages.mappings_created += 1;
                made
            }
        };
        self.mappings.add_session(mapping);
        Ok(mapping)
    }
}
