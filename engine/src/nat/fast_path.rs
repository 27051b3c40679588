//! What a packet of a known session does to it: one look-up, a time check, the TCP state.

use super::Nat;
use super::eviction::queue_of;
use super::look_ahead::Foreseen;
use super::policy::Direction;
use super::session::{SessionFlags, SessionId, SessionKey};
use super::tcp_state::{TcpState, next_state};
use crate::packet::parsed::Parsed;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

impl Nat {
    /// The live session that a packet belongs to, with the packet's direction. `hint` is a guess made
    /// ahead of time.
    #[inline]
    pub(crate) fn lookup(
        &mut self,
        now: Timestamp,
        key: SessionKey,
        hash: u64,
        hint: Option<(SessionId, Direction)>,
    ) -> Option<(SessionId, Direction)> {
        let (id, direction) = match hint {
            Some(candidate) if self.sessions.confirm(candidate, key) => candidate,
            _ => self.sessions.find(key, hash)?,
        };
        if self.sessions[id].expires <= now {
            self.end_session(now, id);
            self.stages.sessions_expired += 1;
            return None;
        }
        Some((id, direction))
    }

    /// Follows a packet that is about to be forwarded: TCP state, refresh, what evictions go by.
    #[inline]
    pub(crate) fn touch(&mut self, now: Timestamp, id: SessionId, direction: Direction, packet: &Parsed) {
        let session = &mut self.sessions[id];
        let is_tcp = session.protocol == Protocol::TCP;
        let settled = if is_tcp {
            next_state(session.tcp, direction, packet.tcp_flags) == session.tcp
        } else {
            let from_opener =
                (direction == Direction::Inbound) == session.flags.contains(SessionFlags::OPENED_INBOUND);
            from_opener || session.flags.contains(SessionFlags::ANSWERED)
        };
        if settled {
            if self.settings.refreshes(session, direction) {
                session.expires = now + self.settings.lifetime(session);
            }
        } else {
            self.change_state(now, id, direction, packet);
        }
    }

    /// A packet that is a step in the session's life: an answer, or a TCP flag that counts.
    fn change_state(&mut self, now: Timestamp, id: SessionId, direction: Direction, packet: &Parsed) {
        let before = queue_of(&self.sessions[id]);
        let session = &mut self.sessions[id];
        let took_place = session.takes_place();
        let is_tcp = session.protocol == Protocol::TCP;
        let state = next_state(session.tcp, direction, packet.tcp_flags);
        let from_opener =
            (direction == Direction::Inbound) == session.flags.contains(SessionFlags::OPENED_INBOUND);
        if !from_opener {
            session.flags.set(SessionFlags::ANSWERED, true);
        }
        if is_tcp {
            session.tcp = state;
        }
        if is_tcp || self.settings.refreshes(session, direction) {
            session.expires = now + self.settings.lifetime(session);
        }
        let (expires, after) = (session.expires, queue_of(session));
        let leaves = took_place && !session.takes_place();
        if is_tcp && state.is_closing() {
            self.tell_known_session(id);
        }
        if leaves {
            self.tally.leave_place(id);
        }
        if direction == Direction::Outbound {
            self.note_sent(id, &Foreseen::NOTHING);
        }
        self.wheel.schedule(id, expires);
        if before != after {
            if let Some(queue) = before {
                self.queues.unlink(&mut self.sessions, queue, id);
            }
            if let Some(queue) = after {
                self.queues.push(&mut self.sessions, queue, id);
            }
        }
    }

    /// Starts a closing TCP session anew with a SYN, from inside or, once judged, from outside.
    pub(crate) fn reopen(&mut self, now: Timestamp, id: SessionId, direction: Direction) {
        let before = queue_of(&self.sessions[id]);
        let session = &mut self.sessions[id];
        let took_place = session.takes_place();
        session.tcp = match direction {
            Direction::Outbound => TcpState::OutboundSyn,
            Direction::Inbound => TcpState::InboundSyn,
        };
        session.flags.set(SessionFlags::ANSWERED, false);
        session.flags.set(SessionFlags::OPENED_INBOUND, direction == Direction::Inbound);
        session.expires = now + self.settings.lifetime(session);
        let (expires, after) = (session.expires, queue_of(session));
        if !took_place && session.takes_place() {
            self.tally.take_place(id);
        }
        self.tell_known_session(id);
        self.wheel.schedule(id, expires);
        if let Some(queue) = before {
            self.queues.unlink(&mut self.sessions, queue, id);
        }
        if let Some(queue) = after {
            self.queues.push(&mut self.sessions, queue, id);
        }
    }
}
