//! A worker's end: a ring to the thread that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use genkan_engine::Router;
use genkan_engine::nat::event_log::{Detail, NatEventKind};
use genkan_io::Clock;
use rtrb::{Consumer, Producer, RingBuffer};

/// Events that may wait for the thread: more than come while it rests, at half a million sessions a second.
const RING: usize = 1 << 15;

/// An event, and when it was, since 1970-01-01T00:00:00Z.
pub(super) type Dated = (Duration, NatEventKind);

/// What a worker tells its events to. The thread ends when all senders are gone.
#[derive(Debug)]
pub(crate) struct Sender {
    detail: Detail,
    // Before what wakes the thread: it is to find the ring abandoned then.
    ring: Producer<Dated>,
    lost: Arc<AtomicU64>,
    wake: WakeAtEnd,
}

#[derive(Debug)]
struct WakeAtEnd(Thread);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) ring: Consumer<Dated>,
    lost: Arc<AtomicU64>,
}

/// The other end of a [`Drain`], without the thread, which is yet to be started.
#[derive(Debug)]
pub(super) struct Unattended {
    pub(super) ring: Producer<Dated>,
    pub(super) lost: Arc<AtomicU64>,
}

pub(super) fn ring() -> (Unattended, Drain) {
    let (producer, consumer) = RingBuffer::new(RING);
    let lost = Arc::new(AtomicU64::new(0));
    (Unattended { ring: producer, lost: lost.clone() }, Drain { ring: consumer, lost })
}

impl Unattended {
    pub(super) fn attended(self, detail: Detail, by: Thread) -> Sender {
        Sender { detail, ring: self.ring, lost: self.lost, wake: WakeAtEnd(by) }
    }
}

impl Sender {
    /// How much it wants to be told.
    pub(crate) fn detail(&self) -> Detail {
        self.detail
    }

    /// Passes on what a router has noted, as much as there is room for. The rest waits in the router.
    pub(crate) fn take_from(&mut self, router: &mut Router, clock: Clock) {
        let mut events = router.take_nat_events(self.ring.slots());
        let Some(first) = events.next() else { return };
        // The wall clock may have been set since the last time.
        let epoch = clock.epoch();
        for event in [first].into_iter().chain(events) {
            let time = epoch + Duration::from_nanos(event.at.as_nanos());
            // There is room.
            let _ = self.ring.push((time, event.kind));
        }
        self.lost.store(router.nat_events_lost(), Ordering::Relaxed);
        self.wake.0.unpark();
    }
}

impl Drain {
    /// Events that did not fit so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether no more events will come than those that wait.
    pub(super) fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}
