//! Plan changes (design §1: state never outlives what allowed it).

use std::net::SocketAddrV4;

use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{Plan, PortId};

use super::{Origin, Reference, Seen, Session};

impl Reference {
    /// Takes a new plan, after the router has.
    pub(crate) fn change(&mut self, plan: Plan, seen: &Seen) {
        let before = std::mem::replace(&mut self.plan, plan);
        self.forget_buckets(&before);
        self.give_back_mappings(&before);
        self.rest_closed_forwards(&before);
        self.rest_withdrawn_ports();
        for session in self.no_longer_allowed(seen) {
            self.sessions.retain(|other| other.row() != session.row());
            let mapping_is_left = self.sessions.iter().any(|other| other.shares_mapping(&session));
            if session.mapping.is_some() && !mapping_is_left {
                self.give_back(&session);
            }
        }
        // Shorter timeouts hold for those that are silent, too.
        for position in 0..self.sessions.len() {
            let latest = self.now + self.lifetime(&self.sessions[position]);
            let session = &mut self.sessions[position];
            session.expires = session.expires.min(latest);
        }
    }

    /// The sessions that end. Each is judged as if all others were still there. Who is at the other end of a hairpin
    /// may depend on a mapping that ends by the same change: then it is the router's affair which goes first.
    fn no_longer_allowed(&self, seen: &Seen) -> Vec<Session> {
        let mut rest = self.clone();
        while let Some(position) = rest.sessions.iter().position(|session| !rest.is_allowed(session)) {
            rest.sessions.remove(position);
        }
        let is_over = |session: &&Session| {
            let in_the_end = rest.sessions.iter().any(|other| other.row() == session.row());
            let at_first = self.is_allowed(session);
            if session.is_hairpin && at_first != in_the_end {
                return !seen.rows.contains(&session.row());
            }
            !at_first
        };
        self.sessions.iter().filter(is_over).cloned().collect()
    }

    /// Dynamic mappings whose external endpoint is no longer theirs are given back, and their sessions end.
    fn give_back_mappings(&mut self, before: &Plan) {
        let mut over: Vec<Session> = Vec::new();
        for session in &self.sessions {
            let counted = over.iter().any(|other| other.shares_mapping(session));
            if session.mapping.is_some() && !counted && !self.keeps_mapping(session) {
                over.push(session.clone());
            }
        }
        let after = std::mem::replace(&mut self.plan, before.clone());
        for session in &over {
            self.give_back(session);
        }
        self.plan = after;
        let reference = self.clone();
        self.rests.retain(|(protocol, external), _| {
            reference.is_external(*external.ip()) && !reference.is_reserved(Protocol(*protocol), *external)
        });
        self.closed.retain(|(_, external), _| reference.is_external(*external.ip()));
        self.sessions.retain(|session| session.mapping.is_none() || reference.keeps_mapping(session));
    }

    /// Whether a dynamic mapping may stay where it is.
    fn keeps_mapping(&self, session: &Session) -> bool {
        self.shared().contains(session.external.ip())
            && self.own_external(*session.internal.ip()).is_none()
            && !self.is_reserved(session.protocol, session.external)
    }

    /// A port that was open by a forward and is not now rests for everybody, or the old target's next datagram
    /// would open it again.
    fn rest_closed_forwards(&mut self, before: &Plan) {
        let old = Reference { plan: before.clone(), ..Reference::new(before.clone(), self.now) };
        let is_open = |reference: &Reference, protocol, external| {
            reference.forwards_of(protocol, external).iter().any(|(rule, _)| rule.enabled)
        };
        for rule in &before.forwards {
            for (ports, &protocol) in
                rule.ports.iter().flat_map(|ports| rule.protocols.iter().map(move |p| (ports, p)))
            {
                for address in self.plan.wan.external_addresses().collect::<Vec<_>>() {
                    for port in ports.external_first..=ports.external_last {
                        let external = SocketAddrV4::new(address, port);
                        if is_open(&old, protocol, external) && !is_open(self, protocol, external) {
                            self.close(protocol, external);
                        }
                    }
                }
            }
        }
    }

    /// So does one that a DMZ or a 1:1 host had open and has no more.
    fn rest_withdrawn_ports(&mut self) {
        let was_withdrawn = |session: &&Session| match session.origin {
            Origin::Dmz => self.plan.dmz != Some(*session.internal.ip()),
            Origin::OneToOne => self.own_external(*session.internal.ip()) != Some(*session.external.ip()),
            _ => false,
        };
        let withdrawn =
            self.sessions.iter().filter(was_withdrawn).map(|session| (session.protocol, session.external));
        for (protocol, external) in withdrawn.collect::<Vec<_>>() {
            if self.owner(protocol, external).is_none() {
                self.close(protocol, external);
            }
        }
    }

    fn close(&mut self, protocol: Protocol, external: SocketAddrV4) {
        let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP);
        if has_ports && self.is_external(*external.ip()) {
            self.rests.remove(&(protocol.0, external));
            self.closed.insert((protocol.0, external), self.now + self.plan.nat.timeouts.udp);
        }
    }

    /// Whether the plan in force allows a session.
    fn is_allowed(&self, session: &Session) -> bool {
        self.is_allowed_alone(session) && (!session.is_hairpin || self.hairpin_reaches(session))
    }

    /// The same, whatever becomes of the other half of a hairpin.
    fn is_allowed_alone(&self, session: &Session) -> bool {
        if self.port_of(*session.internal.ip()) != Some(session.inside) {
            return false;
        }
        if session.origin == Origin::Routed {
            return self.port_of(*session.remote.ip()) == Some(session.outside)
                && self.reaches(session.inside, session.outside);
        }
        let remote_is_ours = self.is_external(*session.remote.ip());
        let far_side_unchanged = if session.is_hairpin {
            let is_query = session.protocol == Protocol::ICMP && !session.opened_inbound;
            let is_asked = !is_query || self.one_to_one_host(*session.remote.ip()).is_some();
            remote_is_ours && self.plan.nat.hairpin && is_asked
        } else {
            !remote_is_ours && self.port_of(*session.remote.ip()).is_none_or(|port| port == PortId::WAN)
        };
        far_side_unchanged && self.is_external(*session.external.ip()) && self.is_let_by_its_origin(session)
    }

    fn is_let_by_its_origin(&self, session: &Session) -> bool {
        let own = self.own_external(*session.internal.ip());
        let forwards = self.forwards_of(session.protocol, session.external);
        let by_forward = || {
            let taker = self.judge(session.protocol, session.remote, session.external, session.is_hairpin);
            !forwards.is_empty() && taker.is_ok_and(|taker| taker.internal == session.internal)
        };
        match session.origin {
            Origin::Outbound if session.mapping.is_none() => {
                own.is_none() && self.shared().contains(session.external.ip())
            }
            Origin::Outbound => true,
            // Somebody is admitted only while the filtering is wide, or once the inside has answered.
            Origin::Inbound => {
                let is_wide =
                    self.filtering(*session.internal.ip()) == FilteringBehavior::EndpointIndependent;
                is_wide || session.sent
            }
            Origin::ForwardOutbound => {
                own.is_none()
                    && forwards.iter().any(|(rule, internal)| rule.enabled && *internal == session.internal)
            }
            Origin::Forward => by_forward(),
            Origin::Dmz => self.plan.dmz == Some(*session.internal.ip()) && forwards.is_empty(),
            Origin::OneToOne => own == Some(*session.external.ip()) && (forwards.is_empty() || by_forward()),
            Origin::Routed => true,
        }
    }

    /// Whether the lan of whoever opened a hairpin still reaches that of the other side.
    fn hairpin_reaches(&self, session: &Session) -> bool {
        if !session.opened_inbound {
            let holder = self.holder(session.protocol, session.remote).and_then(|host| self.port_of(host));
            return holder.is_none_or(|port| port == PortId::WAN || self.reaches(session.inside, port));
        }
        let other = self.sessions.iter().find(|other| {
            (other.protocol, other.external, other.remote)
                == (session.protocol, session.remote, session.external)
        });
        other.is_some_and(|other| {
            let is_open = if other.opened_inbound {
                self.reaches(other.inside, session.inside) || self.reaches(session.inside, other.inside)
            } else {
                self.reaches(other.inside, session.inside) && self.hairpin_reaches(other)
            };
            is_open && self.is_allowed_alone(other)
        })
    }
}
