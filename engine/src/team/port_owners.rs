//! Which worker has an external port.
//!
//! Every worker keeps a [`PortPool`](crate::nat::port_pool::PortPool) of its own, which knows what became of the
//! ports that it has had itself. Whether a port is to be had at all is decided here, by compare-and-swap of one word
//! per port, so that no port ever has two owners.
//!
//! ```text
//!            claim                  rest                 claim by the same, take by another
//!   nobody's -------> owned by W ---------> resting at W ----------------------------------> owned
//!      ^                  |                     |
//!      +------ free ------+-------- free -------+        close: nobody's, own or resting --> closed at W
//! ```

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::WorkerId;
use crate::frame::PortId;

const PORTS: usize = 1 << 16;

/// What a word holds of the worker; above it [`STATE`], above that the inside port.
const WORKER: u16 = 0x3f;
const STATE: u16 = 0xc0;
const OWNED: u16 = 0x40;
const RESTING: u16 = 0x80;
const CLOSED: u16 = 0xc0;
const INSIDE_SHIFT: u32 = 8;

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// A mapping of this worker, whose host is behind the port.
    Owned(WorkerId, PortId),
    /// It rests after a mapping of this worker; another takes it only when nothing else is left.
    Resting(WorkerId),
    /// This worker keeps it from everybody.
    Closed(WorkerId),
}

/// The ports of one external address and protocol. 144 KiB.
#[derive(Debug)]
pub(crate) struct PortOwners {
    words: Box<[AtomicU16]>,
    /// Hints, one bit per port, that follow `words`: a search reads 64 ports at once. A bit that is late costs a
    /// claim that fails, or a port that is passed over once.
    held: Box<[AtomicU64]>,
    resting: Box<[AtomicU64]>,
    /// How often a worker found no port left, and up to which time another has made room.
    requests: AtomicU32,
    answered: AtomicU32,
}

impl PortOwners {
    pub(super) fn new() -> PortOwners {
        let hints = || (0..PORTS / 64).map(|_| AtomicU64::new(0)).collect();
        PortOwners {
            words: (0..PORTS).map(|_| AtomicU16::new(0)).collect(),
            held: hints(),
            resting: hints(),
            requests: AtomicU32::new(0),
            answered: AtomicU32::new(0),
        }
    }

    /// Who has `port`.
    #[inline]
    pub(crate) fn holder(&self, port: u16) -> Holder {
        let word = self.words[port as usize].load(Ordering::Acquire);
        let worker = WorkerId((word & WORKER) as u8);
        match word & STATE {
            OWNED => Holder::Owned(worker, PortId((word >> INSIDE_SHIFT) as u8)),
            RESTING => Holder::Resting(worker),
            CLOSED => Holder::Closed(worker),
            _ => Holder::Nobody,
        }
    }

    /// Gives `port` to `worker` where it is nobody's, or rests or is closed at that same worker.
    pub(crate) fn claim(&self, port: u16, worker: WorkerId) -> bool {
        let mine = OWNED | u16::from(worker.0);
        self.swap(port, 0, mine)
            || self.swap(port, RESTING | u16::from(worker.0), mine)
            || self.swap(port, CLOSED | u16::from(worker.0), mine)
    }

    /// Gives `port`, which rests at another worker, to `worker`.
    pub(crate) fn take(&self, port: u16, worker: WorkerId) -> bool {
        let word = self.words[port as usize].load(Ordering::Acquire);
        word & STATE == RESTING && self.swap(port, word, OWNED | u16::from(worker.0))
    }

    /// Tells where the host is that has `port` at `worker`, its owner.
    pub(crate) fn set_inside(&self, port: u16, worker: WorkerId, inside: PortId) {
        let word = self.words[port as usize].load(Ordering::Acquire);
        if word & (STATE | WORKER) == OWNED | u16::from(worker.0) {
            self.swap(port, word, word & (STATE | WORKER) | u16::from(inside.0) << INSIDE_SHIFT);
        }
    }

    /// `worker`, its owner, lets `port` rest.
    pub(crate) fn rest(&self, port: u16, worker: WorkerId) {
        let word = self.words[port as usize].load(Ordering::Acquire);
        if word & (STATE | WORKER) == OWNED | u16::from(worker.0) {
            self.swap(port, word, RESTING | u16::from(worker.0));
        }
    }

    /// `worker` keeps `port` from everybody, unless another has it.
    pub(crate) fn close(&self, port: u16, worker: WorkerId) {
        let word = self.words[port as usize].load(Ordering::Acquire);
        if word == 0 || word & STATE == RESTING || word & WORKER == u16::from(worker.0) {
            self.swap(port, word, CLOSED | u16::from(worker.0));
        }
    }

    /// `port`, which rests at `worker` unless another has taken it, becomes nobody's.
    pub(crate) fn end_rest(&self, port: u16, worker: WorkerId) {
        self.swap(port, RESTING | u16::from(worker.0), 0);
    }

    /// Whatever `worker` has of `port` ends.
    pub(crate) fn free(&self, port: u16, worker: WorkerId) {
        let word = self.words[port as usize].load(Ordering::Acquire);
        if word & STATE != 0 && word & WORKER == u16::from(worker.0) {
            self.swap(port, word, 0);
        }
    }

    /// Which of the 64 ports from `64 * word` on somebody has. A hint.
    #[inline]
    pub(crate) fn held(&self, word: usize) -> u64 {
        self.held[word].load(Ordering::Relaxed)
    }

    /// Which of the 64 ports from `64 * word` on rest. A hint.
    pub(crate) fn resting(&self, word: usize) -> u64 {
        self.resting[word].load(Ordering::Relaxed)
    }

    /// Asks the other workers to make room.
    pub(crate) fn ask(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that changes when somebody asks.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Takes on what was asked; false when another worker has.
    pub(crate) fn answer(&self) -> bool {
        let requests = self.requests();
        self.answered.swap(requests, Ordering::AcqRel) != requests
    }

    fn swap(&self, port: u16, from: u16, to: u16) -> bool {
        let swapped =
            self.words[port as usize].compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if swapped {
            let (word, bit) = (port as usize / 64, 1 << (port % 64));
            hint(&self.held[word], bit, from & STATE != 0, to & STATE != 0);
            hint(&self.resting[word], bit, from & STATE == RESTING, to & STATE == RESTING);
        }
        swapped
    }
}

fn hint(word: &AtomicU64, bit: u64, was: bool, is: bool) {
    match (was, is) {
        (false, true) => word.fetch_or(bit, Ordering::AcqRel),
        (true, false) => word.fetch_and(!bit, Ordering::AcqRel),
        _ => return,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(63);
    const LAN: PortId = PortId::lan(31);

    #[test]
    fn a_port_has_one_owner() {
        let owners = PortOwners::new();
        assert!(owners.claim(5000, A));
        assert!(!owners.claim(5000, B) && !owners.take(5000, B));
        owners.set_inside(5000, B, LAN);
        owners.set_inside(5000, A, LAN);
        assert_eq!(owners.holder(5000), Holder::Owned(A, LAN));
        owners.free(5000, B);
        owners.rest(5000, B);
        owners.close(5000, B);
        assert_eq!(owners.holder(5000), Holder::Owned(A, LAN));
        owners.free(5000, A);
        assert!(owners.claim(5000, B));
    }

    #[test]
    fn what_rests_is_taken_only_by_name() {
        let owners = PortOwners::new();
        assert!(owners.claim(7, B));
        owners.rest(7, B);
        assert!(!owners.claim(7, A), "it is not free");
        assert_eq!((owners.held(0), owners.resting(0)), (1 << 7, 1 << 7));
        assert!(owners.take(7, A));
        owners.end_rest(7, B);
        assert!(!owners.claim(7, B), "its rest is over, but it is another's");
        assert_eq!((owners.holder(7), owners.resting(0)), (Holder::Owned(A, PortId::WAN), 0));
        owners.rest(7, A);
        assert!(owners.claim(7, A), "the old owner has it back");
    }

    #[test]
    fn what_is_closed_is_nobody_else_s() {
        let owners = PortOwners::new();
        owners.close(65_535, A);
        assert_eq!(owners.holder(65_535), Holder::Closed(A));
        assert!(!owners.claim(65_535, B) && !owners.take(65_535, B));
        owners.free(65_535, A);
        assert_eq!((owners.holder(65_535), owners.held(1023)), (Holder::Nobody, 0));
    }

    #[test]
    fn one_worker_answers_a_request() {
        let owners = PortOwners::new();
        assert!(!owners.answer(), "nobody has asked");
        owners.ask();
        assert!(owners.answer() && !owners.answer());
    }

    /// What a worker may do with a port.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Claim,
        Take,
        Rest,
        EndRest,
        Free,
        Close,
    }

    proptest! {
        /// The words are what a plain model says, and the hints follow them when nobody is in between.
        #[test]
        fn does_what_a_plain_model_does(
            steps in prop::collection::vec((0u8..3, 0u16..4, prop::sample::select(vec![
                Step::Claim, Step::Take, Step::Rest, Step::EndRest, Step::Free, Step::Close,
            ])), 0..200),
        ) {
            let owners = PortOwners::new();
            let mut model = [Holder::Nobody; 4];
            for (worker, port, step) in steps {
                let (me, held) = (WorkerId(worker), &mut model[port as usize]);
                let owned = Holder::Owned(me, PortId::WAN);
                let mine = *held == owned || *held == Holder::Resting(me) || *held == Holder::Closed(me);
                match step {
                    Step::Claim => {
                        let to_be_had = *held == Holder::Nobody || (mine && *held != owned);
                        prop_assert_eq!(owners.claim(port, me), to_be_had);
                        if to_be_had {
                            *held = owned;
                        }
                    }
                    Step::Take => {
                        let rests = matches!(*held, Holder::Resting(_));
                        prop_assert_eq!(owners.take(port, me), rests);
                        if rests {
                            *held = owned;
                        }
                    }
                    Step::Rest => {
                        owners.rest(port, me);
                        if *held == owned {
                            *held = Holder::Resting(me);
                        }
                    }
                    Step::EndRest => {
                        owners.end_rest(port, me);
                        if *held == Holder::Resting(me) {
                            *held = Holder::Nobody;
                        }
                    }
                    Step::Free => {
                        owners.free(port, me);
                        if mine {
                            *held = Holder::Nobody;
                        }
                    }
                    Step::Close => {
                        owners.close(port, me);
                        if mine || matches!(*held, Holder::Nobody | Holder::Resting(_)) {
                            *held = Holder::Closed(me);
                        }
                    }
                }
                for (port, held) in model.iter().enumerate() {
                    prop_assert_eq!(owners.holder(port as u16), *held);
                    let bit = |word: u64| word >> port & 1 != 0;
                    prop_assert_eq!(bit(owners.held(0)), *held != Holder::Nobody);
                    prop_assert_eq!(bit(owners.resting(0)), matches!(*held, Holder::Resting(_)));
                }
            }
        }
    }

    /// Threads that claim, rest, take and free a few ports: while one has a port nobody else gets it, and at the
    /// end none is lost.
    #[test]
    fn threads_never_share_a_port_and_lose_none() {
        const WORKERS: u8 = 4;
        const NARROW: u16 = 48;
        let owners = PortOwners::new();
        let users: Vec<AtomicUsize> = (0..NARROW).map(|_| AtomicUsize::new(0)).collect();
        let start = Barrier::new(WORKERS.into());
        std::thread::scope(|scope| {
            for worker in (0..WORKERS).map(WorkerId) {
                let (owners, users, start) = (&owners, &users, &start);
                scope.spawn(move || {
                    let mut rng = Rng::new(worker.0.into());
                    let (mut have, mut resting) = (Vec::new(), HashSet::new());
                    start.wait();
                    for _ in 0..20_000 {
                        let port = rng.below(NARROW.into()) as u16;
                        match rng.below(4) {
                            0 | 1 if have.len() < 20 => {
                                let claimed = owners.claim(port, worker)
                                    || (!resting.contains(&port) && owners.take(port, worker));
                                if claimed {
                                    let before = users[port as usize].fetch_add(1, Ordering::AcqRel);
                                    assert_eq!(before, 0, "port {port} has two owners");
                                    resting.remove(&port);
                                    have.push(port);
                                }
                            }
                            2 if !have.is_empty() => {
                                let port = have.swap_remove(rng.below(have.len() as u32) as usize);
                                users[port as usize].fetch_sub(1, Ordering::AcqRel);
                                owners.rest(port, worker);
                                resting.insert(port);
                            }
                            _ => {
                                if resting.remove(&port) {
                                    owners.end_rest(port, worker);
                                }
                            }
                        }
                    }
                    for port in have {
                        users[port as usize].fetch_sub(1, Ordering::AcqRel);
                        owners.free(port, worker);
                    }
                    for port in resting {
                        owners.end_rest(port, worker);
                    }
                });
            }
        });
        for port in 0..NARROW {
            assert_eq!(owners.holder(port), Holder::Nobody);
            assert!(owners.claim(port, A), "port {port} is lost");
        }
    }
}
