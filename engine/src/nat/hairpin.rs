//! Between inside hosts by way of their external endpoints (RFC 4787 §6): who may.
//!
//! A hairpin is two sessions, one of the sender and one of the receiver. What either sees is the other's external
//! endpoint, so whether their lans may speak with each other has to be asked for.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Nat;
use super::session::{Session, SessionFlags, SessionKey};
use crate::frame::PortId;
use crate::time::Timestamp;
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

impl Nat {
    /// Whether a host behind `port` may open sessions to whoever has an external endpoint of ours: what a lan
    /// `reaches` holds for the way round as well. True where nobody has it.
    pub(crate) fn may_turn_round(
        &self,
        now: Timestamp,
        port: PortId,
        protocol: Protocol,
        external: SocketAddrV4,
    ) -> bool {
        let behind = self.holder_behind(now, protocol, external);
        behind.is_none_or(|behind| behind == PortId::WAN || self.settings.reaches(port, behind))
    }

    /// Where the inside host is that has an external endpoint.
    fn holder_behind(&self, now: Timestamp, protocol: Protocol, external: SocketAddrV4) -> Option<PortId> {
        let here = self.holder(now, protocol, external).and_then(|host| self.routes.lookup(host));
        here.map(|hop| hop.port).or_else(|| self.inside_elsewhere(protocol, external))
    }

    /// The inside host that has an external endpoint, whoever it lets in.
    fn holder(&self, now: Timestamp, protocol: Protocol, external: SocketAddrV4) -> Option<Ipv4Addr> {
        match self.judge_inbound(now, protocol, external, external, true) {
            Ok(admission) => Some(*admission.internal.ip()),
            Err(DropReason::Filtered) => {
                let mapping = self.mappings.find_external(protocol, external)?;
                Some(*self.mappings[mapping].internal.ip())
            }
            Err(_) => None,
        }
    }

    /// Whether the plan in force lets a session of a hairpin go on, as far as the other side is concerned.
    pub(crate) fn hairpin_reaches(&self, now: Timestamp, session: &Session) -> bool {
        if !session.flags.contains(SessionFlags::OPENED_INBOUND) {
            return self.may_turn_round(now, session.inside_port, session.protocol, session.remote());
        }
        // Opened by the remote, which is one of ours: its own session tells where it is. Both go together,
        // whichever is judged first.
        let key = SessionKey::new(PortId::WAN, session.protocol, session.external(), session.remote());
        let Some((opener, _)) = self.sessions.find_key(key) else {
            // At another worker, which judges it by itself.
            let is_elsewhere = self.member.as_ref().is_some_and(|member| member.known_session(key).is_some());
            let behind = self.holder_behind(now, session.protocol, session.remote());
            return is_elsewhere
                && behind.is_some_and(|behind| self.settings.reaches(behind, session.inside_port));
        };
        let opener = &self.sessions[opener];
        let reaches = |from: &Session, to: &Session| self.settings.reaches(from.inside_port, to.inside_port);
        let is_open = if opener.flags.contains(SessionFlags::OPENED_INBOUND) {
            // Each side answers what the other has said; nobody knows any more who began.
            reaches(opener, session) || reaches(session, opener)
        } else {
            reaches(opener, session) && self.hairpin_reaches(now, opener)
        };
        is_open && self.is_allowed_alone(now, opener)
    }
}
