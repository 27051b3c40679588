//! What one worker gives to the others, and takes from them.

use genkan_engine::frame::{Offload, PortId};
use genkan_engine::{Stage, WorkerId};
use genkan_io::hand_over::{self, HandOverReceiver, HandOverSender};

use super::poller::Waker;

/// One worker's ends of the rings between it and every other worker.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What it gives.
    pub(crate) outbox: Outbox,
    /// What it takes, a ring for each other worker.
    pub(crate) inbox: Vec<HandOverReceiver>,
}

/// The giving ends, by the other worker's number; none to itself.
#[derive(Debug)]
pub(crate) struct Outbox(Vec<Option<Outgoing>>);

#[derive(Debug)]
struct Outgoing {
    ring: HandOverSender,
    waker: Waker,
    /// Something was pushed since the other was last told.
    fresh: bool,
}

impl Exchange {
    /// Of the only worker: nobody to give to.
    #[cfg(test)]
    pub(crate) fn alone() -> Exchange {
        Exchange { outbox: Outbox(vec![None]), inbox: Vec::new() }
    }

    /// Of each of the workers that these wakers wake.
    pub(crate) fn between(wakers: &[Waker]) -> Vec<Exchange> {
        let mut all: Vec<Exchange> =
            wakers.iter().map(|_| Exchange { outbox: Outbox(Vec::new()), inbox: Vec::new() }).collect();
        for giver in 0..wakers.len() {
            for (taker, waker) in wakers.iter().enumerate() {
                if taker == giver {
                    all[giver].outbox.0.push(None);
                    continue;
                }
                let (ring, end) = hand_over::ring();
                all[giver].outbox.0.push(Some(Outgoing { ring, waker: waker.clone(), fresh: false }));
                all[taker].inbox.push(end);
            }
        }
        all
    }

    /// Whether nobody has anything for this worker.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.iter().all(HandOverReceiver::is_empty)
    }
}

impl Outbox {
    /// Copies a frame to its owner; whether there was room.
    pub(crate) fn push(
        &mut self,
        to: WorkerId,
        port: PortId,
        stage: Stage,
        offload: Offload,
        frame: &[u8],
    ) -> bool {
        let Some(Some(outgoing)) = self.0.get_mut(to.index()) else { return false };
        let taken = outgoing.ring.push(port, stage, offload, frame);
        outgoing.fresh |= taken;
        taken
    }

    /// Wakes those that sleep and have been given something.
    pub(crate) fn notify(&mut self) {
        for outgoing in self.0.iter_mut().flatten() {
            if std::mem::take(&mut outgoing.fresh) {
                outgoing.waker.wake_sleeper();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_reaches_everybody_else() {
        let wakers: Vec<Waker> = (0..3).map(|_| Waker::new().expect("an eventfd")).collect();
        let mut workers = Exchange::between(&wakers);
        for giver in 0..3u8 {
            for taker in 0..3u8 {
                let frame = [giver << 4 | taker; 60];
                let offload = Offload::default();
                let port = PortId::WAN;
                let pushed = workers[usize::from(giver)].outbox.push(
                    WorkerId(taker),
                    port,
                    Stage::Arrived,
                    offload,
                    &frame,
                );
                assert_eq!(pushed, giver != taker);
            }
            assert!(!workers[usize::from(giver)].outbox.push(
                WorkerId(3),
                PortId::WAN,
                Stage::Arrived,
                Offload::default(),
                &[0; 60]
            ));
        }
        for (taker, worker) in workers.iter_mut().enumerate() {
            assert!(!worker.is_empty());
            let mut givers = Vec::new();
            for giver in &mut worker.inbox {
                let (.., batch) = giver.receive().expect("each has given something");
                assert_eq!(batch.slots.len(), 1);
                let octet = batch.memory[batch.slots[0].offset];
                assert_eq!(usize::from(octet & 15), taker);
                givers.push(usize::from(octet >> 4));
            }
            assert_eq!(givers, (0..3).filter(|giver| *giver != taker).collect::<Vec<_>>());
            assert!(worker.is_empty());
        }
    }
}
