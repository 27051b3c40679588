//! Frames on their way from one worker to another: bounded, without locks, and in order.
//!
//! One ring for one direction between two workers. A frame is copied in and copied out: those who meet here keep
//! nothing of each other's memory, so neither can hold the other up. What does not fit is refused; the sender
//! counts it, as on any wire.

use genkan_engine::frame::{FrameBatch, Offload, PortId};
use genkan_engine::team::Stage;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::frame_arena::{FrameArena, MAX_FRAME};
use crate::frame_io::MAX_BATCH;

/// Most octets of frames of one ring. Untouched memory costs nothing, but a ring in use goes round through all of it.
const OCTETS: usize = 1 << 20;
/// Most frames of one ring.
const FRAMES: usize = 2048;
/// Memory for one batch on its way out.
const ARENA: usize = 256 << 10;

const _: () = assert!(OCTETS >= 2 * MAX_FRAME && ARENA >= 2 * MAX_FRAME);

/// What goes with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label {
    port: PortId,
    stage: Stage,
    offload: Offload,
    len: usize,
}

/// A ring's two ends.
pub fn ring() -> (HandOverSender, HandOverReceiver) {
    let (octets, incoming_octets) = RingBuffer::new(OCTETS);
    let (labels, incoming_labels) = RingBuffer::new(FRAMES);
    let receiver = HandOverReceiver {
        octets: incoming_octets,
        labels: incoming_labels,
        arena: FrameArena::new(ARENA, 0),
    };
    (HandOverSender { octets, labels }, receiver)
}

/// The end of the worker that hands over.
#[derive(Debug)]
pub struct HandOverSender {
    octets: Producer<u8>,
    labels: Producer<Label>,
}

impl HandOverSender {
    /// Copies a frame into the ring; false when it has no room, or nobody is at the other end.
    pub fn push(&mut self, port: PortId, stage: Stage, offload: Offload, frame: &[u8]) -> bool {
        if self.labels.is_full() || self.octets.push_entire_slice(frame).is_err() {
            return false;
        }
        // The label goes last: once it is seen, the frame is there.
        self.labels.push(Label { port, stage, offload, len: frame.len() }).is_ok()
            && !self.labels.is_abandoned()
    }
}

/// The end of the worker that takes over.
#[derive(Debug)]
pub struct HandOverReceiver {
    octets: Consumer<u8>,
    labels: Consumer<Label>,
    arena: FrameArena,
}

impl HandOverReceiver {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The next frames that came by one port and have come equally far, at most [`MAX_BATCH`], in order.
    pub fn receive(&mut self) -> Option<(PortId, Stage, FrameBatch<'_>)> {
        let (port, stage) = self.labels.peek().ok().map(|label| (label.port, label.stage))?;
        self.arena.clear();
        while self.arena.len() < MAX_BATCH
            && let Ok(&label) = self.labels.peek()
            && (label.port, label.stage) == (port, stage)
            && let Some(spare) = self.arena.spare(label.len)
        {
            // Both were pushed, the octets first: neither can be missing.
            let taken = self.octets.pop_entire_slice(spare).is_ok() && self.labels.pop().is_ok();
            assert!(taken, "a label without its frame");
            self.arena.commit(0, label.len, label.offload);
        }
        Some((port, stage, self.arena.batch()))
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::frame::GsoKind;

    use super::*;

    const LAN: PortId = PortId::lan(0);

    fn taken(receiver: &mut HandOverReceiver) -> Vec<(PortId, Stage, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((port, stage, batch)) = receiver.receive() {
            for slot in batch.slots.iter() {
                all.push((port, stage, batch.memory[slot.offset..slot.offset + slot.len].to_vec()));
            }
        }
        all
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_in_order() {
        let (mut sender, mut receiver) = ring();
        assert!(receiver.is_empty() && receiver.receive().is_none());
        let offload =
            Offload { partial_checksum: true, gso: GsoKind::TcpV4, gso_size: 1448, ..Offload::default() };
        assert!(sender.push(LAN, Stage::Arrived, offload, &[1; 60]));
        assert!(sender.push(LAN, Stage::Arrived, Offload::default(), &[2; MAX_FRAME]));
        assert!(sender.push(PortId::WAN, Stage::Arrived, Offload::default(), &[3; 61]));
        assert!(sender.push(PortId::WAN, Stage::TurnedRound, Offload::default(), &[4; 62]));
        {
            let (port, stage, batch) = receiver.receive().expect("frames wait");
            assert_eq!((port, stage, batch.slots.len()), (LAN, Stage::Arrived, 2));
            assert_eq!((batch.slots[0].offload, batch.slots[0].len), (offload, 60));
            assert_eq!((batch.slots[1].offload, batch.slots[1].len), (Offload::default(), MAX_FRAME));
        }
        assert_eq!(
            taken(&mut receiver),
            [(PortId::WAN, Stage::Arrived, vec![3; 61]), (PortId::WAN, Stage::TurnedRound, vec![4; 62])]
        );
        assert!(receiver.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_else_suffers() {
        let (mut sender, mut receiver) = ring();
        let mut small = 0;
        while sender.push(LAN, Stage::Arrived, Offload::default(), &[7; 60]) {
            small += 1;
        }
        assert_eq!(small, FRAMES);
        assert_eq!(taken(&mut receiver).len(), FRAMES);
        let mut large = 0;
        while sender.push(LAN, Stage::Arrived, Offload::default(), &[8; MAX_FRAME]) {
            large += 1;
        }
        assert_eq!(large, OCTETS / MAX_FRAME);
        assert!(sender.push(LAN, Stage::Arrived, Offload::default(), &[9; 60]), "a small one still fits");
        let all = taken(&mut receiver);
        assert_eq!(all.len(), large + 1);
        assert_eq!(all.last().map(|(.., frame)| frame.clone()), Some(vec![9; 60]));
    }

    #[test]
    fn nobody_at_the_other_end_is_a_refusal() {
        let (mut sender, receiver) = ring();
        drop(receiver);
        assert!(!sender.push(LAN, Stage::Arrived, Offload::default(), &[1; 60]));
    }

    #[test]
    fn two_threads_lose_and_mix_nothing() {
        const COUNT: u32 = 200_000;
        let (mut sender, mut receiver) = ring();
        let giving = std::thread::spawn(move || {
            for number in 0..COUNT {
                let mut frame = vec![number as u8; 60 + number as usize % 1400];
                frame[..4].copy_from_slice(&number.to_be_bytes());
                while !sender.push(LAN, Stage::Arrived, Offload::default(), &frame) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < COUNT {
            let Some((_, _, batch)) = receiver.receive() else {
                std::thread::yield_now();
                continue;
            };
            for slot in batch.slots.iter() {
                let frame = &batch.memory[slot.offset..slot.offset + slot.len];
                assert_eq!(frame[..4], next.to_be_bytes());
                assert_eq!(frame.len(), 60 + next as usize % 1400);
                assert!(frame[4..].iter().all(|octet| *octet == next as u8));
                next += 1;
            }
        }
        giving.join().expect("the sender ends");
    }
}
