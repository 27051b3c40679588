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
//! An internal host's sessions with the outside, and so its mappings and ports, are all at one worker.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::mapping::pool_index;
use crate::forward::rules::Inbound;
use crate::frame::PortId;
use crate::team::{Holder, WorkerId};
use crate::time::Timestamp;
use crate::verdict::DropReason;
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

    /// Who has the session of a packet from outside when its owner has none: a session of the DMZ or of a 1:1 host
    /// goes on when somebody else's mapping gets its external port.
    pub(crate) fn owner_after_all(
        &self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Option<WorkerId> {
        let member = self.member.as_ref()?;
        let judged = self.judge_inbound(now, protocol, source, external, false);
        let internal = match judged {
            Ok(admission) => Some(admission.internal),
            Err(DropReason::Filtered) => self.settings.dmz.inbound(protocol, external.port()),
            Err(_) => None,
        };
        internal.filter(|_| pool_index(protocol).is_some()).map(|internal| member.of_host(*internal.ip()))
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
