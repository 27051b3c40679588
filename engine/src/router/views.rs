//! The tables, for listings.

use super::Router;
use super::ingress::key_of;
use crate::forward::rules::{Inbound, RuleId};
use crate::frame::PortId;
use crate::nat::policy::Direction;
use crate::nat::session::{Origin, Session, SessionFlags};
use crate::packet::parsed::Parsed;
use crate::time::Timestamp;
use crate::view::{Decision, ForwardView, HostView, MappingView, NeighborView, SessionView};
use crate::wire::ipv4::Protocol;

/// Table positions looked at for each row asked for.
const POSITIONS_PER_ROW: u32 = 4;

impl Router {
    /// Live sessions.
    pub fn session_count(&self) -> u32 {
        self.nat.sessions.len() as u32
    }

    /// Dynamic mappings.
    pub fn mapping_count(&self) -> u32 {
        self.nat.mappings.len() as u32
    }

    /// Up to `limit` internal hosts from table position `cursor` on, as [`Router::sessions`] does it.
    pub fn hosts(&self, now: Timestamp, cursor: u32, limit: u32) -> (Vec<HostView>, Option<u32>) {
        let table = &self.nat.hosts;
        portion(cursor, limit, table.end(), |id| {
            let host = table.get(id)?;
            let [octets_per_second_in, octets_per_second_out] = host.traffic.rates(now);
            Some(HostView {
                address: host.address,
                external: host.paired,
                sessions: host.sessions,
                external_ports: host.ports.iter().sum(),
                octets_per_second_in,
                octets_per_second_out,
            })
        })
    }

    /// What up to `limit` forwards have counted, from the one at position `first` of the plan on; and the position to
    /// go on from.
    pub fn forwards(&self, now: Timestamp, first: u32, limit: u32) -> (Vec<ForwardView>, Option<u32>) {
        let views = self.nat.tally.views(&self.plan, now, first, limit);
        let next = first.saturating_add(views.len() as u32);
        (views, ((next as usize) < self.plan.forwards.len()).then_some(next))
    }

    /// Up to `limit` sessions from table position `cursor` on, and the position to go on from (`None` at the end).
    /// Looks at no more than `4 * limit` table positions, so that a listing cannot stall the worker.
    pub fn sessions(&self, now: Timestamp, cursor: u32, limit: u32) -> (Vec<SessionView>, Option<u32>) {
        let table = &self.nat.sessions;
        portion(cursor, limit, table.end(), |id| {
            let session = table.get(id).filter(|session| session.expires > now)?;
            Some(self.view(now, session))
        })
    }

    /// Up to `limit` dynamic mappings, as [`Router::sessions`] does.
    pub fn mappings(&self, cursor: u32, limit: u32) -> (Vec<MappingView>, Option<u32>) {
        let table = &self.nat.mappings;
        portion(cursor, limit, table.end(), |id| {
            let mapping = table.get(id).filter(|mapping| !mapping.revoked)?;
            Some(MappingView {
                protocol: mapping.protocol,
                internal: mapping.internal,
                external: mapping.external,
                kind: "dynamic",
                sessions: mapping.sessions,
            })
        })
    }

    /// The ARP cache.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        self.neighbors.entries()
    }

    /// Which session lets a packet pass that came in by `port`, and why that was opened; for captures. `None` also for
    /// what is looked up by other things than its own addresses and ports: fragments and ICMP errors.
    pub fn decision(&self, now: Timestamp, port: PortId, packet: &Parsed) -> Option<Decision<'_>> {
        let key = key_of(port, packet);
        let (id, direction) = self.nat.sessions.find(key, self.nat.sessions.hash(key))?;
        let session = self.nat.sessions.get(id).filter(|session| session.expires > now)?;
        let opened_inbound = session.flags.contains(SessionFlags::OPENED_INBOUND);
        Some(Decision {
            origin: session.origin.name(),
            forward: self.forward_of(now, session),
            is_answer: (direction == Direction::Inbound) != opened_inbound,
        })
    }

    fn view(&self, now: Timestamp, session: &Session) -> SessionView {
        SessionView {
            protocol: session.protocol,
            internal: session.internal(),
            external: session.external(),
            remote: session.remote(),
            origin: session.origin.name(),
            is_inbound: session.flags.contains(SessionFlags::OPENED_INBOUND),
            forward: self.forward_of(now, session).map(str::to_owned),
            state: match session.protocol {
                Protocol::TCP => session.tcp.name(),
                _ if session.flags.contains(SessionFlags::ANSWERED) => "answered",
                _ => "unanswered",
            },
            expires_in: session.expires.saturating_since(now),
        }
    }

    /// The name of the forward that a session uses, by the plan in force.
    fn forward_of(&self, now: Timestamp, session: &Session) -> Option<&str> {
        let rule = self.rule_of(now, session)?;
        Some(&self.plan.forwards.get(rule.0 as usize)?.name)
    }

    /// The forward that a session uses, by the plan in force.
    pub(super) fn rule_of(&self, now: Timestamp, session: &Session) -> Option<RuleId> {
        if !matches!(session.origin, Origin::Forward | Origin::ForwardOutbound) {
            return None;
        }
        if session.origin == Origin::ForwardOutbound {
            self.nat.forwards.maps(now, session.protocol, session.external(), session.internal())
        } else {
            let external = session.external();
            let from_inside = session.flags.contains(SessionFlags::HAIRPIN);
            let judged = self.nat.forwards.inbound(
                now,
                session.protocol,
                *external.ip(),
                external.port(),
                session.remote_address,
                from_inside,
            );
            match judged {
                Inbound::To { rule, .. } => Some(rule),
                _ => None,
            }
        }
    }
}

/// Rows from table positions `cursor..end`, and where to go on.
pub(super) fn portion<T>(
    cursor: u32,
    limit: u32,
    end: u32,
    row: impl Fn(u32) -> Option<T>,
) -> (Vec<T>, Option<u32>) {
    let last = end.min(cursor.saturating_add(limit.saturating_mul(POSITIONS_PER_ROW)));
    let mut rows = Vec::new();
    let mut position = cursor;
    while position < last && rows.len() < limit as usize {
        rows.extend(row(position));
        position += 1;
    }
    (rows, (position < end).then_some(position))
}
