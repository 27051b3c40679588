//! Which sessions make room when a table is full.
//!
//! Five queues, each oldest first: sessions that nobody ever answered, by protocol, and TCP sessions
//! that both sides have closed. Live sessions and those marked by an RST are in none, so they are never
//! evicted.

use super::session::{NONE, Session, SessionId, SessionTable};
use super::tcp_state::TcpState;
use crate::team::Member;
use crate::wire::ipv4::Protocol;

/// The queues, threaded through the sessions.
#[derive(Debug)]
pub(crate) struct EvictionQueues {
    ends: [Ends; QUEUES],
    /// Sessions in all of them.
    len: usize,
    /// Who wants to know whether there are any.
    member: Option<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: SessionId,
    youngest: SessionId,
}

const QUEUES: usize = 5;
const CLOSED: usize = 4;

/// The queue that a session belongs in, judged by its state.
pub(crate) fn queue_of(session: &Session) -> Option<usize> {
    if session.is_unanswered() {
        Some(unanswered(session.protocol))
    } else if session.protocol == Protocol::TCP && session.tcp == TcpState::BothFin {
        Some(CLOSED)
    } else {
        None
    }
}

const fn unanswered(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        Protocol::ICMP => 2,
        _ => 3,
    }
}

impl EvictionQueues {
    pub(crate) fn new(member: Option<Member>) -> EvictionQueues {
        EvictionQueues { ends: [Ends { oldest: NONE, youngest: NONE }; QUEUES], len: 0, member }
    }

    fn change_len(&mut self, len: usize) {
        if let Some(member) = &self.member
            && (len == 0) != (self.len == 0)
        {
            member.set_has_victims(len > 0);
        }
        self.len = len;
    }

    /// Puts a session at the young end of `queue`.
    pub(crate) fn push(&mut self, sessions: &mut SessionTable, queue: usize, id: SessionId) {
        self.change_len(self.len + 1);
        let ends = &mut self.ends[queue];
        let previous = ends.youngest;
        sessions[id].evict_previous = previous;
        sessions[id].evict_next = NONE;
        if previous == NONE {
            ends.oldest = id;
        } else {
            sessions[previous].evict_next = id;
        }
        ends.youngest = id;
    }

    /// Takes a session out of `queue`, which it must be in.
    pub(crate) fn unlink(&mut self, sessions: &mut SessionTable, queue: usize, id: SessionId) {
        self.change_len(self.len - 1);
        let (previous, next) = (sessions[id].evict_previous, sessions[id].evict_next);
        let ends = &mut self.ends[queue];
        if previous == NONE {
            ends.oldest = next;
        } else {
            sessions[previous].evict_next = next;
        }
        if next == NONE {
            ends.youngest = previous;
        } else {
            sessions[next].evict_previous = previous;
        }
        sessions[id].evict_previous = NONE;
        sessions[id].evict_next = NONE;
    }

    /// All members by queue, for tests; every list is walked both ways.
    #[cfg(test)]
    pub(crate) fn members(
        &self,
        sessions: &SessionTable,
    ) -> std::collections::BTreeMap<usize, std::collections::BTreeSet<SessionId>> {
        let mut all = std::collections::BTreeMap::new();
        for (queue, ends) in self.ends.iter().enumerate() {
            let (mut previous, mut id) = (NONE, ends.oldest);
            while id != NONE {
                assert_eq!(sessions[id].evict_previous, previous);
                all.entry(queue).or_insert_with(std::collections::BTreeSet::new).insert(id);
                (previous, id) = (id, sessions[id].evict_next);
            }
            assert_eq!(ends.youngest, previous);
        }
        all
    }

    /// The session to end for room in the table: the unanswered one that has been idle longest, else the
    /// oldest of the closed. `idle_since` says when a session was last refreshed, in any unit.
    pub(crate) fn victim(
        &self,
        sessions: &SessionTable,
        idle_since: impl Fn(&Session) -> u64,
    ) -> Option<SessionId> {
        let oldest = |queue: usize| Some(self.ends[queue].oldest).filter(|&id| id != NONE);
        (0..CLOSED).filter_map(oldest).min_by_key(|&id| idle_since(&sessions[id])).or_else(|| oldest(CLOSED))
    }

    /// Up to so many of the oldest of every queue.
    pub(crate) fn oldest(&self, sessions: &SessionTable, count: usize) -> Vec<SessionId> {
        let some = |id: SessionId| Some(id).filter(|&id| id != NONE);
        let first = |ends: &Ends| {
            std::iter::successors(some(ends.oldest), |&id| some(sessions[id].evict_next)).take(count)
        };
        self.ends.iter().flat_map(first).collect()
    }

    /// The oldest session of `protocol`, unanswered or else closed, that `frees` what is wanted; looks at
    /// no more than `limit` of each.
    pub(crate) fn victim_for(
        &self,
        sessions: &SessionTable,
        protocol: Protocol,
        limit: usize,
        frees: impl Fn(&Session) -> bool,
    ) -> Option<SessionId> {
        let closed = if protocol == Protocol::TCP { Some(CLOSED) } else { None };
        std::iter::once(unanswered(protocol)).chain(closed).find_map(|queue| {
            let some = |id: SessionId| Some(id).filter(|&id| id != NONE);
            std::iter::successors(some(self.ends[queue].oldest), |&id| some(sessions[id].evict_next))
                .take(limit)
                .find(|&id| frees(&sessions[id]))
        })
    }
}
