//! Sessions that other workers have to know of: at external endpoints that no mapping has, those of forwards, of 1:1
//! hosts and of the DMZ; and both halves of a hairpin, which go together when the plan changes.
//!
//! The plan says which worker such an endpoint belongs to, and mostly the session is there. Where rules meet it is not:
//! a mapping gets a port at which the DMZ has sessions, a forward has a port of an address that is a host's own, two
//! forwards share a port and one's target speaks to a remote that only the other admits. So every such session is
//! entered here, by the key of its inbound packets. That makes it the only one with this key among all workers, and
//! leads packets to it for which the worker that the rules name has no session.
//!
//! Not by port, like mappings: a stranger who sends to all ports of a DMZ would leave none for anybody else.
//!
//! An inside host that owns a port by its mapping goes before the DMZ, and everybody before a connection that is
//! closed. The session that has lost its key ends when its worker next lets time pass; until then, some microseconds,
//! what its host sends leaves as before. Two workers that open sessions with one key at the very same moment may miss
//! each other, when one of them is by a mapping: what the remote sends then reaches the mapping's.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::WorkerId;
use crate::nat::session::SessionKey;
use crate::seeded_hash::SeededState;

/// Parts of the table, each with a lock and growing by itself: the more of them, the shorter one grows.
const PARTS: usize = 1024;

/// What all workers know of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownSession {
    pub(crate) worker: WorkerId,
    /// Whoever owns the port goes before it.
    pub(crate) is_dmz: bool,
    /// A TCP connection that has ended in all but name: a new one may take its place.
    pub(crate) is_closing: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct KnownSessions {
    /// At least how many there are; mostly none.
    count: AtomicUsize,
    by_key: DashMap<SessionKey, KnownSession, SeededState>,
    /// By worker: keys of its sessions that are over by what another has done.
    lost: Box<[Lost]>,
}

#[derive(Debug, Default)]
struct Lost {
    any: AtomicBool,
    keys: Mutex<Vec<SessionKey>>,
}

impl KnownSessions {
    pub(super) fn new(workers: u8, hash: SeededState) -> KnownSessions {
        let parts = if workers > 1 { PARTS } else { 2 };
        KnownSessions {
            count: AtomicUsize::new(0),
            by_key: DashMap::with_hasher_and_shard_amount(hash, parts),
            lost: (0..workers).map(|_| Lost::default()).collect(),
        }
    }

    /// The session whose inbound packets look like `key`.
    pub(super) fn find(&self, key: SessionKey) -> Option<KnownSession> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.by_key.get(&key).map(|known| *known)
    }

    /// Makes `key` that of a session; false when another worker has it and keeps it.
    pub(super) fn enter(&self, key: SessionKey, session: KnownSession) -> bool {
        // Before the entry is there: who reads 0 came first.
        self.count.fetch_add(1, Ordering::AcqRel);
        let before = match self.by_key.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(session);
                return true;
            }
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                if before.worker == session.worker || before.yields() {
                    entry.insert(session);
                }
                before
            }
        };
        self.count.fetch_sub(1, Ordering::AcqRel);
        if before.worker != session.worker && before.yields() {
            self.tell(before.worker, key);
        }
        before.worker == session.worker || before.yields()
    }

    /// Makes `key` free for a session of `worker` that is not entered; false when another worker keeps it.
    pub(super) fn take(&self, key: SessionKey, worker: WorkerId) -> bool {
        let Some(known) = self.find(key).filter(|known| known.worker != worker) else { return true };
        if known.yields() && self.by_key.remove_if(&key, |_, now| *now == known).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            self.tell(known.worker, key);
            return true;
        }
        // What has changed meanwhile was ended, or began anew.
        self.find(key).is_none_or(|known| known.worker == worker)
    }

    /// Changes what is known of a session.
    pub(super) fn update(&self, key: SessionKey, session: KnownSession) {
        if let Some(mut known) = self.by_key.get_mut(&key).filter(|known| known.worker == session.worker) {
            *known = session;
        }
    }

    /// A session of `worker` has ended.
    pub(super) fn leave(&self, key: SessionKey, worker: WorkerId) {
        if self.by_key.remove_if(&key, |_, known| known.worker == worker).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Tells `worker` that its session with this key is over.
    pub(super) fn tell(&self, worker: WorkerId, key: SessionKey) {
        let lost = &self.lost[worker.index()];
        lost.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        lost.any.store(true, Ordering::Release);
    }

    /// Whether sessions of `worker` are over by what others have done.
    #[inline]
    pub(super) fn has_lost(&self, worker: WorkerId) -> bool {
        self.lost[worker.index()].any.load(Ordering::Acquire)
    }

    /// Their keys, since the last call.
    pub(super) fn take_lost(&self, worker: WorkerId) -> Vec<SessionKey> {
        let lost = &self.lost[worker.index()];
        lost.any.store(false, Ordering::Release);
        std::mem::take(&mut lost.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KnownSession {
    fn yields(self) -> bool {
        self.is_dmz || self.is_closing
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::sync::Barrier;

    use super::*;
    use crate::frame::PortId;
    use crate::rng::Rng;
    use crate::wire::ipv4::Protocol;

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(1);

    fn key(remote_port: u16) -> SessionKey {
        let remote = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), remote_port);
        let external = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 4000);
        SessionKey::new(PortId::WAN, Protocol::TCP, remote, external)
    }

    const fn live(worker: WorkerId) -> KnownSession {
        KnownSession { worker, is_dmz: false, is_closing: false }
    }

    const fn dmz(worker: WorkerId) -> KnownSession {
        KnownSession { is_dmz: true, ..live(worker) }
    }

    fn empty() -> KnownSessions {
        KnownSessions::new(4, SeededState::new(1))
    }

    fn is_empty(sessions: &KnownSessions) -> bool {
        sessions.by_key.is_empty() && sessions.count.load(Ordering::Acquire) == 0
    }

    #[test]
    fn a_key_has_one_session_for_as_long_as_it_lives() {
        let sessions = empty();
        assert!(sessions.find(key(1)).is_none() && sessions.take(key(1), B));
        assert!(sessions.enter(key(1), live(A)));
        assert_eq!(sessions.find(key(1)), Some(live(A)));
        assert!(!sessions.enter(key(1), live(B)) && !sessions.take(key(1), B));
        assert!(sessions.take(key(1), A) && sessions.enter(key(2), live(B)));
        sessions.leave(key(1), B);
        assert_eq!(sessions.find(key(1)), Some(live(A)), "not its to end");
        sessions.leave(key(1), A);
        sessions.leave(key(2), B);
        assert!(is_empty(&sessions) && !sessions.has_lost(A) && !sessions.has_lost(B));
    }

    #[test]
    fn a_dmz_s_session_and_a_closing_one_give_way_and_are_told() {
        let sessions = empty();
        assert!(sessions.enter(key(1), dmz(A)) && sessions.enter(key(2), live(A)));
        assert!(sessions.take(key(1), B) && !sessions.take(key(2), B));
        sessions.update(key(2), live(B));
        sessions.update(key(2), KnownSession { is_closing: true, ..live(A) });
        assert!(sessions.enter(key(2), live(B)));
        assert_eq!((sessions.find(key(1)), sessions.find(key(2))), (None, Some(live(B))));
        assert!(sessions.has_lost(A) && !sessions.has_lost(B));
        assert_eq!(sessions.take_lost(A), [key(1), key(2)]);
        assert!(!sessions.has_lost(A) && sessions.take_lost(A).is_empty());
        sessions.leave(key(2), A);
        sessions.leave(key(2), B);
        assert!(is_empty(&sessions));
    }

    /// Every key that a worker has entered it either has when it ends it, or is told to have lost; nothing is left.
    #[test]
    fn threads_lose_no_key_unknowingly() {
        let sessions = empty();
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for worker in (0..4).map(WorkerId) {
                let (sessions, start) = (&sessions, &start);
                scope.spawn(move || {
                    let mut rng = Rng::new(worker.0.into());
                    let mut have: Vec<SessionKey> = Vec::new();
                    start.wait();
                    for _ in 0..20_000 {
                        let key = key(rng.below(24) as u16);
                        let session = if rng.below(2) == 0 { dmz(worker) } else { live(worker) };
                        // As a worker does: it ends its own before it enters the key once more.
                        if let Some(at) = have.iter().position(|&known| known == key) {
                            have.swap_remove(at);
                            sessions.leave(key, worker);
                        } else if rng.below(4) == 0 {
                            sessions.take(key, worker);
                        } else if !sessions.take_lost(worker).iter().any(|&lost| {
                            have.retain(|&known| known != lost);
                            lost == key
                        }) && sessions.enter(key, session)
                        {
                            have.push(key);
                        }
                    }
                    let lost = sessions.take_lost(worker);
                    for key in have {
                        let is_there = sessions.find(key).is_some_and(|known| known.worker == worker);
                        assert!(is_there || lost.contains(&key) || sessions.has_lost(worker));
                        sessions.leave(key, worker);
                    }
                });
            }
        });
        assert!(is_empty(&sessions));
    }
}
