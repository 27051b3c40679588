//! Which worker of a team a packet belongs to.
//!
//! Every session lives at one worker. These rules lead the packets of both its directions there, with nothing but
//! what every worker knows: the plan, a keyed hash, and the shared table of external ports.
//!
//! | packet | its owner |
//! | --- | --- |
//! | from inside, to outside or to an external address | hash of the internal address |
//! | between inside hosts, or one and the box | hash of both addresses, the same either way |
//! | of a protocol without ports, from or to outside | hash of the remote address |
//! | from outside, to a port of a dynamic mapping | who has claimed the port |
//! | ... of a forward, open or not | as if sent by its target |
//! | ... to a 1:1 address | as if sent by its host |
//! | ... to any other port, with a DMZ | as if sent by the DMZ host |
//! | ... to a port that is closed for a while | who has closed it |
//! | otherwise | whoever got it: it says no |
//!
//! An internal host's sessions with the outside, and so its mappings and ports, are all at one worker. Where the rules
//! lead to another one, as they have changed or contradict each other, [`Member::known_session`] leads there.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::mapping::pool_index;
use super::session::{Origin, Session, SessionFlags, SessionId, SessionKey};
use crate::forward::rules::Inbound;
use crate::frame::PortId;
use crate::team::{Holder, Member, WorkerId};
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

impl Nat {
    /// The owner of a packet from an internal address.
    pub(crate) fn owner_from_inside(
        &self,
        protocol: Protocol,
        internal: Ipv4Addr,
        remote: Ipv4Addr,
    ) -> Option<WorkerId> {
        let member = self.member.as_ref()?;
        let is_translated = self.settings.is_external(remote)
            || self.routes.lookup(remote).is_none_or(|hop| hop.port == PortId::WAN);
        Some(match pool_index(protocol) {
            _ if !is_translated => member.of_pair(internal, remote),
            Some(_) => member.of_host(internal),
            None => member.of_remote(remote),
        })
    }

    /// The owner of a packet from `source`, outside or translated, to an external endpoint of ours; `None` when
    /// anybody may judge it.
    pub(crate) fn owner_from_outside(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        from_inside: bool,
    ) -> Option<WorkerId> {
        let member = self.member.as_ref()?;
        if pool_index(protocol).is_none() {
            return Some(member.of_remote(*source.ip()));
        }
        let holder = self.mappings.holder(protocol, external);
        if let Holder::Owned(worker, _) = holder {
            return Some(worker);
        }
        let (address, port) = (*external.ip(), external.port());
        let target = match self.forwards.inbound(now, protocol, address, port, *source.ip(), from_inside) {
            Inbound::To { internal, .. } => Some(*internal.ip()),
            Inbound::Closed(rule) | Inbound::Refused(rule) => self.forwards.target(rule),
            Inbound::NotOwned => self
                .settings
                .one_to_one_host(address)
                .or_else(|| self.settings.dmz.inbound(protocol, port).map(|internal| *internal.ip())),
        };
        match (target, holder) {
            (Some(target), _) => Some(member.of_host(target)),
            (None, Holder::Closed(worker)) => Some(worker),
            (None, _) => None,
        }
    }

    /// Who has the session of a packet to an external endpoint of ours to which no rule leads: see
    /// [`KnownSession`](crate::team::KnownSession). One that is closing has none that opens a new connection.
    pub(crate) fn owner_by_session(
        &self,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
        is_opening: bool,
    ) -> Option<WorkerId> {
        let key = SessionKey::new(PortId::WAN, protocol, source, external);
        let session = self.member.as_ref()?.known_session(key)?;
        (!is_opening || !session.is_closing).then_some(session.worker)
    }

    /// Through whom a session is made known to other workers, if it has to be. Those of protocols without ports are
    /// where their remote leads, whoever has them.
    pub(super) fn knower_of(&self, session: &Session) -> Option<&Member> {
        let member = self.member.as_ref()?;
        let is_asked_about = session.origin.is_by_rule() || session.flags.contains(SessionFlags::HAIRPIN);
        (is_asked_about && pool_index(session.protocol).is_some()).then_some(member)
    }

    /// Tells the others that a session's connection is over, or begins anew.
    pub(super) fn tell_known_session(&self, id: SessionId) {
        let session = &self.sessions[id];
        if let Some(member) = self.knower_of(session) {
            let (is_dmz, is_closing) = (session.origin == Origin::Dmz, session.tcp.is_closing());
            member.update_known_session(session.inbound_key(), is_dmz, is_closing);
        }
    }

    /// Whether no other worker has a session with this inbound key, or one that gives way.
    pub(super) fn take_key(&self, key: SessionKey) -> bool {
        self.member.as_ref().is_none_or(|member| member.take_key(key))
    }

    /// Whether sessions here are over by what other workers have done.
    pub(super) fn has_lost_keys(&self) -> bool {
        self.member.as_ref().is_some_and(Member::has_lost_keys)
    }

    /// Ends those sessions.
    pub(super) fn end_lost_sessions(&mut self, now: Timestamp) {
        let lost = self.member.as_ref().map(Member::take_lost_keys).unwrap_or_default();
        for key in lost {
            let Some((id, _)) = self.sessions.find_key(key) else { continue };
            let session = &self.sessions[id];
            let Some(member) = self.knower_of(session) else { continue };
            // Nobody has taken the key: told of is the other half, whose doing this one is if that opened it.
            let has_its_key = member.known_session(key).is_some_and(|known| known.worker == member.id);
            if !has_its_key || session.flags.contains(SessionFlags::OPENED_INBOUND) {
                self.end_session(now, id);
                self.stages.sessions_revoked += 1;
            }
        }
    }

    /// The plan has ended one half of a hairpin: what it opened at another worker ends as well.
    pub(super) fn end_other_half(&self, session: &Session) {
        let is_opener = !session.flags.contains(SessionFlags::OPENED_INBOUND);
        if let Some(member) = self.knower_of(session)
            && session.flags.contains(SessionFlags::HAIRPIN)
            && is_opener
        {
            let (source, external) = (session.external(), session.remote());
            member.end_known_session(SessionKey::new(PortId::WAN, session.protocol, source, external));
        }
    }

    /// Whether another worker keeps an external port from everybody.
    pub(super) fn is_closed_elsewhere(&self, protocol: Protocol, external: SocketAddrV4) -> bool {
        let Some(member) = &self.member else { return false };
        matches!(self.mappings.holder(protocol, external), Holder::Closed(worker) if worker != member.id)
    }

    /// Where the host is that has an external endpoint of ours at another worker.
    pub(super) fn inside_elsewhere(&self, protocol: Protocol, external: SocketAddrV4) -> Option<PortId> {
        let member = self.member.as_ref()?;
        match self.mappings.holder(protocol, external) {
            Holder::Owned(worker, inside) if worker != member.id => Some(inside),
            _ => None,
        }
    }
}
