//! Sends frames that follow each other in a flow as one super-frame, where a device takes those.
//!
//! A wrapper over a back end's transmitter: the frames of a batch that leave here pass through
//! [`genkan_engine::packet::merge`], and what was found goes out by
//! [`FrameTransmitter::transmit_merged`], gathered from where it lies.

use genkan_engine::frame::Slot;
use genkan_engine::packet::merge::{Kinds, MAX_FRAMES, Merged, Merger};

use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameIo, FrameTransmitter};

/// A transmitter that merges, over one that takes super-frames.
pub struct Merging<T> {
    inner: T,
    kinds: Kinds,
    merger: Box<Merger>,
    pace: Pace,
    merged: u64,
}

impl<T: FrameTransmitter> Merging<T> {
    /// Wraps a transmitter.
    pub fn new(inner: T) -> Merging<T> {
        let Capabilities { partial_checksum, tso, uso } = inner.capabilities();
        // A super-frame's checksum is always partial.
        let kinds = Kinds { tcp: partial_checksum && tso, udp: partial_checksum && uso };
        Merging { inner, kinds, merger: Box::new(Merger::new()), pace: Pace::new(), merged: 0 }
    }
}

impl<T: FrameTransmitter> FrameTransmitter for Merging<T> {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let mut taken = 0;
        for indices in indices.chunks(MAX_FRAMES) {
            let looked = indices.len() > 1 && self.pace.should_look();
            let merged = match looked {
                true => self.merger.merge(memory, slots, indices, self.kinds),
                false => None,
            };
            taken += match &merged {
                Some(merged) => {
                    self.merged += (indices.len() - merged.frames().len()) as u64;
                    self.inner.transmit_merged(merged)?
                }
                None => self.inner.transmit(memory, slots, indices)?,
            };
            if looked {
                self.pace.looked(merged.is_some());
            }
        }
        Ok(taken)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn transmit_merged(&mut self, merged: &Merged<'_>) -> Result<usize, IoError> {
        self.inner.transmit_merged(merged)
    }

    fn merged_frames(&self) -> u64 {
        self.merged
    }
}

/// After so many batches with nothing to merge, most are not looked at.
const PATIENCE: u32 = 16;
/// Then one in so many is.
const RARELY: u32 = 16;

/// Decides which batches are worth a look: where a thousand flows are interleaved there is never anything to merge, and
/// looking would cost each frame a little for nothing.
#[derive(Debug)]
struct Pace {
    /// Batches looked at in vain, one after the other.
    in_vain: u32,
    /// Batches let pass since the last look.
    passed: u32,
}

impl Pace {
    fn new() -> Pace {
        Pace { in_vain: 0, passed: 0 }
    }

    fn should_look(&mut self) -> bool {
        self.passed += 1;
        self.in_vain < PATIENCE || self.passed >= RARELY
    }

    fn looked(&mut self, found: bool) {
        self.passed = 0;
        self.in_vain = if found { 0 } else { self.in_vain.saturating_add(1) };
    }
}

impl FrameIo {
    /// A port that merges what it sends, where its device takes super-frames; else as it is.
    pub fn with_merging(self) -> FrameIo {
        let Capabilities { partial_checksum, tso, uso } = self.transmitter.capabilities();
        if !partial_checksum || !(tso || uso) {
            return self;
        }
        FrameIo { receiver: self.receiver, transmitter: Box::new(Merging::new(self.transmitter)) }
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::frame::{GsoKind, Offload};
    use genkan_engine::packet::segmentation;
    use genkan_engine::verdict::Verdict;
    use genkan_engine::wire::checksum;

    use super::*;
    use crate::loopback;

    /// A UDP datagram of 100 octets of payload, finished.
    fn datagram(id: u16, port: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend_from_slice(&[0x45, 0, 0, 128]);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&[0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
        let sum = checksum::finish(checksum::sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&[0, 9, 0, 108, 0, 0]);
        frame.extend((0..100).map(|i| i as u8 ^ id as u8));
        let pseudo = [&frame[26..34], &[0, 17, 0, 108]].concat();
        let sum = checksum::finish(checksum::sum(&pseudo) + checksum::sum(&frame[34..]));
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    struct Sent {
        memory: Vec<u8>,
        slots: Vec<Slot>,
        indices: Vec<u16>,
    }

    fn batch(frames: &[Vec<u8>]) -> Sent {
        let mut sent = Sent { memory: Vec::new(), slots: Vec::new(), indices: Vec::new() };
        for (index, frame) in frames.iter().enumerate() {
            let slot = Slot {
                offset: sent.memory.len(),
                len: frame.len(),
                offload: Offload::default(),
                verdict: Verdict::Consumed,
            };
            sent.memory.extend_from_slice(frame);
            sent.slots.push(slot);
            sent.indices.push(index as u16);
        }
        sent
    }

    fn arrived(io: &mut FrameIo) -> Vec<(Vec<u8>, Offload)> {
        let batch = io.receiver.receive().expect("the other end is there");
        let frame = |slot: &Slot| (batch.memory[slot.offset..slot.offset + slot.len].to_vec(), slot.offload);
        batch.slots.iter().map(frame).collect()
    }

    #[test]
    fn a_burst_leaves_as_one_frame() {
        let (a, mut b) = loopback::pair_with(10, Capabilities::ALL).expect("file descriptors are left");
        let mut a = a.with_merging();
        let frames: Vec<_> = (0..5).map(|id| datagram(id, 1000)).collect();
        let Sent { memory, slots, indices } = batch(&frames);
        assert_eq!(a.transmitter.transmit(&memory, &slots, &indices).expect("b is there"), 5);
        assert_eq!(a.transmitter.merged_frames(), 4);
        let arrived = arrived(&mut b);
        assert_eq!(arrived.len(), 1);
        let (frame, offload) = &arrived[0];
        assert_eq!((offload.gso, offload.gso_size), (GsoKind::UdpL4, 100));
        let mut segments = Vec::new();
        segmentation::segment(frame, offload, &mut Vec::new(), |segment| segments.push(segment.to_vec()))
            .expect("it can be cut");
        assert_eq!(segments, frames);
    }

    #[test]
    fn a_port_without_super_frames_is_left_as_it_is() {
        let (a, mut b) = loopback::pair_with(10, Capabilities::NONE).expect("file descriptors are left");
        let mut a = a.with_merging();
        let Sent { memory, slots, indices } = batch(&[datagram(0, 1000), datagram(1, 1000)]);
        assert_eq!(a.transmitter.transmit(&memory, &slots, &indices).expect("b is there"), 2);
        assert_eq!((arrived(&mut b).len(), a.transmitter.merged_frames()), (2, 0));
    }

    #[test]
    fn what_is_not_taken_counts_with_all_that_it_stands_for() {
        let (a, _b) = loopback::pair_with(1, Capabilities::ALL).expect("file descriptors are left");
        let mut a = a.with_merging();
        let frames = [datagram(0, 1000), datagram(1, 1000), datagram(0, 1001), datagram(1, 1001)];
        let Sent { memory, slots, indices } = batch(&frames);
        assert_eq!(a.transmitter.transmit(&memory, &slots, &indices).expect("b is there"), 2);
    }

    #[test]
    fn batches_without_anything_to_merge_are_seldom_looked_at() {
        let mut pace = Pace::new();
        let mut looks = 0;
        for _ in 0..PATIENCE + 100 * RARELY {
            if pace.should_look() {
                looks += 1;
                pace.looked(false);
            }
        }
        assert_eq!(looks, PATIENCE + 100);
        while !pace.should_look() {}
        pace.looked(true);
        assert!(pace.should_look(), "from the first find on, every batch is");
    }
}
