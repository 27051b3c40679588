//! Plan changes: what no longer is allowed ends, everything else goes on.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::session::{NONE, Origin, Session, SessionFlags, SessionId};
use super::{Nat, PORTION};
use crate::forward::rules::{ForwardTable, Inbound, RuleId};
use crate::frame::PortId;
use crate::link::route::RouteTable;
use crate::nat::policy::FilteringBehavior;
use crate::nat::settings::Settings;
use crate::plan::Plan;
use crate::time::{Timestamp, UnixTime};
use crate::wire::ipv4::Protocol;

impl Nat {
    /// Takes a new plan. Mappings whose external endpoint is no longer theirs end now; every session is
    /// judged again before it passes another packet, or by the sweep.
    pub(crate) fn apply(&mut self, now: Timestamp, wall: UnixTime, plan: &Plan, routes: Arc<RouteTable>) {
        self.routes = routes;
        self.hosts.forget_hops();
        let before = std::mem::replace(&mut self.forwards, ForwardTable::compile(plan, now, wall));
        let settings_before = std::mem::replace(&mut self.settings, Settings::from_plan(plan));
        self.grow(plan);
        let (forwards, settings) = (&self.forwards, &self.settings);
        let ended = self.mappings.revoke_where(now, |mapping| {
            let (address, port) = (*mapping.external.ip(), mapping.external.port());
            !settings.shared().contains(&address)
                || settings.own_external(*mapping.internal.ip()).is_some()
                || forwards.inbound(now, mapping.protocol, address, port, address, true) != Inbound::NotOwned
        });
        self.stages.mappings_ended += ended.len() as u64;
        if self.event_log.is_some() {
            for mapping in ended {
                let mapping = self.mappings[mapping].clone();
                self.log_mapping_deleted(now, &mapping);
            }
        }
        self.set_externals(plan);
        self.rest_closed_ports(now, &before, plan);
        self.rest_withdrawn_ports(now, &settings_before);
        self.expiries_seen = now;
        self.judge_all_again();
    }

    /// The forwards that have reached their `expires` since the last call; their sessions are judged again.
    pub(crate) fn take_expired_forwards(&mut self, now: Timestamp) -> Vec<RuleId> {
        let expired: Vec<_> = self.forwards.expired(self.expiries_seen, now).collect();
        self.expiries_seen = now;
        if !expired.is_empty() {
            self.judge_all_again();
        }
        expired
    }

    fn judge_all_again(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.sweep = Some(0);
    }

    /// Ports that were open through a forward, lately at least, and are not now, rest, for the old target too:
    /// its next datagram would open them again once the forward is gone altogether.
    fn rest_closed_ports(&mut self, now: Timestamp, before: &ForwardTable, plan: &Plan) {
        let rest = plan.nat.timeouts.udp;
        // A forward that has expired meanwhile was open then.
        let lately = now - rest;
        let is_open = |table: &ForwardTable, at, protocol, address, port| {
            matches!(table.inbound(at, protocol, address, port, address, true), Inbound::To { .. })
        };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            for address in plan.wan.external_addresses() {
                for port in before.reserved_ports(protocol, address) {
                    let was_open = is_open(before, now, protocol, address, port)
                        || is_open(before, lately, protocol, address, port);
                    if was_open && !is_open(&self.forwards, now, protocol, address, port) {
                        self.mappings.rest_for_all(protocol, SocketAddrV4::new(address, port), now + rest);
                    }
                }
            }
        }
    }

    /// Ports that a DMZ or a 1:1 host had open and has no more rest like those of a forward. Looks at every session,
    /// but only when the plan takes such a host away.
    fn rest_withdrawn_ports(&mut self, now: Timestamp, before: &Settings) {
        let settings = &self.settings;
        if settings.dmz == before.dmz && settings.has_same_hosts_outside(before) {
            return;
        }
        let until = now + settings.timeouts.udp;
        for id in 0..self.sessions.end() {
            let Some(session) = self.sessions.get(id) else { continue };
            let (protocol, external, internal) = (session.protocol, session.external(), session.internal());
            let was_withdrawn = match session.origin {
                Origin::Dmz => settings.dmz.inbound(protocol, external.port()) != Some(internal),
                Origin::OneToOne => settings.own_external(*internal.ip()) != Some(*external.ip()),
                _ => false,
            };
            if was_withdrawn && self.mappings.find_external(protocol, external).is_none() {
                self.mappings.rest_for_all(protocol, external, until);
            }
        }
    }

    /// Judges a session under the plan in force; ends it when it is no longer allowed. True when it lives.
    pub(crate) fn revalidate(&mut self, now: Timestamp, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        if session.epoch == self.epoch {
            return true;
        }
        if !self.is_allowed(now, session) {
            self.end_other_half(session);
            self.end_session(now, id);
            self.stages.sessions_revoked += 1;
            return false;
        }
        let latest = now + self.settings.lifetime(session);
        let epoch = self.epoch;
        let session = &mut self.sessions[id];
        session.epoch = epoch;
        // Routes may have changed with the plan.
        session.inside_hop = None;
        session.outside_hop = None;
        if session.expires > latest {
            // Timeouts have become shorter.
            session.expires = latest;
            self.wheel.schedule(id, latest);
        }
        self.tally_again(now, id);
        true
    }

    /// Counts a session that a forward has admitted, and that is allowed under the plan in force, for its rule, and for
    /// none that it was counted for before.
    fn tally_again(&mut self, now: Timestamp, id: SessionId) {
        if self.sessions[id].takes_place() {
            self.tally.leave_place(id);
        }
        self.tally_session(now, id);
    }

    /// Counts such a session that was not counted yet.
    pub(crate) fn tally_session(&mut self, now: Timestamp, id: SessionId) {
        let session = &self.sessions[id];
        if session.origin != Origin::Forward {
            return;
        }
        let (protocol, source) = (session.protocol, session.remote_address);
        let (address, port) = (session.external_address, session.external_port);
        let is_hairpin = session.flags.contains(SessionFlags::HAIRPIN);
        let rule = match self.forwards.inbound(now, protocol, address, port, source, is_hairpin) {
            Inbound::To { rule, .. } => Some(rule),
            _ => None,
        };
        self.tally.attribute(id, rule);
        if self.sessions[id].takes_place() {
            self.tally.take_place(id);
        }
    }

    /// Judges a portion of the sessions that have been silent since the plan changed.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        let Some(start) = self.sweep else { return };
        let end = self.sessions.end().min(start + PORTION as u32);
        for id in start..end {
            self.revalidate(now, id);
        }
        self.sweep = (end < self.sessions.end()).then_some(end);
    }

    /// Whether the plan in force allows a session.
    fn is_allowed(&self, now: Timestamp, session: &Session) -> bool {
        self.is_allowed_alone(now, session)
            && (!session.flags.contains(SessionFlags::HAIRPIN) || self.hairpin_reaches(now, session))
    }

    /// Whether the plan in force allows a session, whatever becomes of the other half of a hairpin.
    pub(super) fn is_allowed_alone(&self, now: Timestamp, session: &Session) -> bool {
        let port_of = |address: Ipv4Addr| self.routes.lookup(address).map(|hop| hop.port);
        if port_of(session.internal_address) != Some(session.inside_port) {
            return false;
        }
        if session.origin == Origin::Routed {
            // What the box heard until a service of the router's own was switched on.
            if session.outside_port == PortId::HOST
                && session.protocol == Protocol::UDP
                && self.settings.is_heard(session.inside_port, session.remote_port)
            {
                return false;
            }
            return port_of(session.remote_address) == Some(session.outside_port)
                && self.settings.reaches(session.inside_port, session.outside_port);
        }
        let is_hairpin = session.flags.contains(SessionFlags::HAIRPIN);
        let remote_unchanged = if is_hairpin {
            // Queries to other external addresses of ours are for the router.
            let is_query =
                session.protocol == Protocol::ICMP && !session.flags.contains(SessionFlags::OPENED_INBOUND);
            self.settings.hairpin
                && self.settings.is_external(session.remote_address)
                && (!is_query || self.settings.one_to_one_host(session.remote_address).is_some())
        } else {
            // Without any route it is still outside.
            !self.settings.is_external(session.remote_address)
                && port_of(session.remote_address).is_none_or(|port| port == PortId::WAN)
        };
        if !remote_unchanged || !self.settings.is_external(session.external_address) {
            return false;
        }
        let internal = session.internal();
        let own_external = self.settings.own_external(session.internal_address);
        let mapping_lives = self.mappings.get(session.mapping).is_some_and(|mapping| !mapping.revoked);
        let rule = self.forwards.inbound(
            now,
            session.protocol,
            session.external_address,
            session.external_port,
            session.remote_address,
            is_hairpin,
        );
        let to_itself = matches!(rule, Inbound::To { internal: target, .. } if target == internal);
        match session.origin {
            Origin::Outbound if session.mapping == NONE => {
                own_external.is_none() && self.settings.shared().contains(&session.external_address)
            }
            Origin::Outbound => mapping_lives,
            Origin::ForwardOutbound => {
                own_external.is_none()
                    && self.forwards.maps(now, session.protocol, session.external(), internal).is_some()
            }
            Origin::Forward => to_itself,
            Origin::Inbound => {
                let filtering = self.settings.filtering(session.internal_address);
                let is_admitted = filtering == FilteringBehavior::EndpointIndependent
                    || session.flags.contains(SessionFlags::SENT);
                mapping_lives && is_admitted
            }
            // Also when a mapping has got the port meanwhile: that was here first.
            Origin::Dmz => {
                self.settings.dmz.inbound(session.protocol, session.external_port) == Some(internal)
                    && rule == Inbound::NotOwned
            }
            Origin::OneToOne => {
                own_external == Some(session.external_address) && (rule == Inbound::NotOwned || to_itself)
            }
            Origin::Routed => true,
        }
    }
}
