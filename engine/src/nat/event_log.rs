//! What became of translations, for the record: who had which external endpoint, and when (RFC 8158, RFC 6888 section 4).
//!
//! Off, it costs a branch where a session or a mapping begins or ends. On, events wait in a bounded buffer that the caller
//! empties after every batch; what does not fit is counted. Packets of sessions that are there never come by here.
//!
//! Nothing is told of sessions between lans, which are not translated, nor of what is put back after a restart, which is
//! only going on. A mapping that a plan takes away ends at once, its sessions when they are found out.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::mapping::Mapping;
use super::session::{NONE, Origin, Session, SessionFlags, SessionId};
use crate::rate_limit::TokenBucket;
use crate::time::Timestamp;
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

/// Events that may wait: more than one call brings about, but for a plan that takes away the address of as many mappings.
const MOST: usize = 1 << 16;

/// Events of limits that have been met, per second: whoever meets one meets it with every packet (RFC 8158 section 4.3
/// wants them limited).
const LIMITS_PER_SECOND: u32 = 10;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Who has which external endpoint: dynamic mappings, and the sessions that have none. As little as answers that
    /// (RFC 6888 REQ-14).
    Endpoints,
    /// Every session as well, and so with whom inside hosts speak, which RFC 6888 REQ-12 wants told only where it has to be.
    Sessions,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: NatEventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatEventKind {
    /// A session began.
    SessionCreated(Translation),
    /// It ended.
    SessionDeleted(Translation),
    /// A dynamic mapping began.
    MappingCreated(Binding),
    /// It ended.
    MappingDeleted(Binding),
    /// No external port was left for a new mapping.
    PortsExhausted {
        /// Of which external address.
        external: Ipv4Addr,
        /// For which protocol.
        protocol: Protocol,
    },
    /// The table of sessions is full of live ones.
    SessionLimit {
        /// How many there may be.
        limit: u32,
    },
    /// An inside host has all the sessions, or all the ports of a protocol, that it may have.
    HostLimit {
        /// Who.
        host: Ipv4Addr,
        /// How many it may have.
        limit: u32,
    },
}

/// A session's endpoints. Ports are ICMP identifiers on the requester's side and 0 on the other; 0 for protocols
/// without ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Its internal and its external endpoint.
    pub binding: Binding,
    /// The far endpoint.
    pub remote: SocketAddrV4,
    /// Its first packet came to the external endpoint, from outside or by a hairpin.
    pub opened_inbound: bool,
}

/// An internal endpoint and the external one that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Their protocol.
    pub protocol: Protocol,
    /// Inside.
    pub internal: SocketAddrV4,
    /// Outside.
    pub external: SocketAddrV4,
}

impl Translation {
    fn of(session: &Session) -> Translation {
        let (protocol, internal, external) = (session.protocol, session.internal(), session.external());
        Translation {
            binding: Binding { protocol, internal, external },
            remote: session.remote(),
            opened_inbound: session.flags.contains(SessionFlags::OPENED_INBOUND),
        }
    }
}

impl Binding {
    fn of(mapping: &Mapping) -> Binding {
        let Mapping { protocol, internal, external, .. } = *mapping;
        Binding { protocol, internal, external }
    }
}

/// The events that wait.
#[derive(Debug)]
pub(crate) struct EventLog {
    detail: Detail,
    events: VecDeque<NatEvent>,
    lost: u64,
    limits: TokenBucket,
}

impl EventLog {
    pub(crate) fn new(detail: Detail) -> EventLog {
        EventLog {
            detail,
            events: VecDeque::with_capacity(MOST),
            lost: 0,
            limits: TokenBucket::per_second(LIMITS_PER_SECOND),
        }
    }

    /// The oldest `most` events, if there are as many.
    pub(crate) fn take(&mut self, most: usize) -> impl Iterator<Item = NatEvent> {
        self.events.drain(..most.min(self.events.len()))
    }

    /// Events that did not fit, since the beginning.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Out of the way of those who keep no record.
    #[cold]
    fn session(&mut self, now: Timestamp, session: &Session, kind: fn(Translation) -> NatEventKind) {
        let is_told_of = session.mapping == NONE || self.detail == Detail::Sessions;
        if is_told_of && session.origin != Origin::Routed {
            self.push(now, kind(Translation::of(session)));
        }
    }

    #[cold]
    fn mapping(&mut self, now: Timestamp, mapping: &Mapping, kind: fn(Binding) -> NatEventKind) {
        self.push(now, kind(Binding::of(mapping)));
    }

    fn push(&mut self, at: Timestamp, kind: NatEventKind) {
        if self.events.len() < MOST {
            self.events.push_back(NatEvent { at, kind });
        } else {
            self.lost += 1;
        }
    }
}

impl Nat {
    pub(super) fn log_session_created(&mut self, now: Timestamp, id: SessionId) {
        if let Some(log) = &mut self.event_log {
            log.session(now, &self.sessions[id], NatEventKind::SessionCreated);
        }
    }

    pub(super) fn log_session_deleted(&mut self, now: Timestamp, session: &Session) {
        if let Some(log) = &mut self.event_log {
            log.session(now, session, NatEventKind::SessionDeleted);
        }
    }

    pub(super) fn log_mapping_created(&mut self, now: Timestamp, id: u32) {
        if let Some(log) = &mut self.event_log {
            log.mapping(now, &self.mappings[id], NatEventKind::MappingCreated);
        }
    }

    pub(super) fn log_mapping_deleted(&mut self, now: Timestamp, mapping: &Mapping) {
        if let Some(log) = &mut self.event_log {
            log.mapping(now, mapping, NatEventKind::MappingDeleted);
        }
    }

    /// An inside host was refused a session for this reason, which may be a limit.
    pub(crate) fn log_limit(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        host: Ipv4Addr,
        reason: DropReason,
    ) {
        if self.event_log.is_none() {
            return;
        }
        let settings = &self.settings;
        let kind = match reason {
            DropReason::SessionLimit => NatEventKind::SessionLimit { limit: settings.max_sessions },
            DropReason::HostSessionLimit => {
                NatEventKind::HostLimit { host, limit: settings.max_sessions_per_host }
            }
            DropReason::HostPortLimit => NatEventKind::HostLimit { host, limit: settings.max_ports_per_host },
            DropReason::PortsExhausted => {
                NatEventKind::PortsExhausted { external: self.external_address_of(host), protocol }
            }
            _ => return,
        };
        if let Some(log) = &mut self.event_log
            && log.limits.take(now)
        {
            log.push(now, kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_oldest_come_out_first() {
        let mut log = EventLog::new(Detail::Endpoints);
        let count = |limit| NatEventKind::SessionLimit { limit };
        for number in 0..MOST as u32 + 3 {
            log.push(Timestamp::ZERO, count(number));
        }
        assert_eq!(log.lost(), 3);
        let first: Vec<_> = log.take(2).map(|event| event.kind).collect();
        assert_eq!(first, [count(0), count(1)]);
        assert_eq!(log.take(usize::MAX).count(), MOST - 2);
        log.push(Timestamp::ZERO, count(7));
        assert_eq!((log.take(usize::MAX).count(), log.lost()), (1, 3));
    }
}
