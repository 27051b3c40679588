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

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

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
}

impl PortOwners {
    pub(super) fn new() -> PortOwners {
        let hints = || (0..PORTS / 64).map(|_| AtomicU64::new(0)).collect();
        PortOwners { words: (0..PORTS).map(|_| AtomicU16::new(0)).collect(), held: hints(), resting: hints() }
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
