//! Memory for one batch, for the back ends whose frames are copied out of the kernel or out of a queue.

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::verdict::Verdict;

use crate::frame_io::MAX_BATCH;

/// Longest frame in octets that any back end hands over: an Ethernet header with one VLAN tag, and an IPv4
/// packet of the greatest total length.
pub const MAX_FRAME: usize = 14 + 4 + 65_535;

/// Frames start on a cache line of their own.
const ALIGNMENT: usize = 64;

/// A growing stack of frames: small ones lie side by side (so that a batch of them stays in the cache), and a
/// super-frame takes what it needs.
#[derive(Debug)]
pub struct FrameArena {
    memory: Vec<u8>,
    used: usize,
    slots: Vec<Slot>,
}

impl FrameArena {
    /// An arena of `octets` of memory, at least one [`MAX_FRAME`] with `room` octets before it.
    pub fn new(octets: usize, room: usize) -> FrameArena {
        let octets = octets.max((MAX_FRAME + room).next_multiple_of(ALIGNMENT));
        FrameArena { memory: vec![0; octets], used: 0, slots: Vec::with_capacity(MAX_BATCH) }
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.used = 0;
        self.slots.clear();
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no frame is held.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Memory for one more frame of up to `octets`, or `None` when the batch is full. What is written there
    /// counts only after [`FrameArena::commit`].
    pub fn spare(&mut self, octets: usize) -> Option<&mut [u8]> {
        if self.slots.len() == MAX_BATCH {
            return None;
        }
        self.memory[self.used..].get_mut(..octets)
    }

    /// Makes the octets `skip..skip + len` of the last [`FrameArena::spare`] memory a frame.
    pub fn commit(&mut self, skip: usize, len: usize, offload: Offload) {
        let offset = self.used + skip;
        assert!(offset + len <= self.memory.len(), "a frame must lie in the memory that spare() gave");
        self.slots.push(Slot { offset, len, offload, verdict: Verdict::Consumed });
        self.used = (offset + len).next_multiple_of(ALIGNMENT).min(self.memory.len());
    }

    /// Copies a frame in; `false` when there is no room left.
    pub fn push(&mut self, frame: &[u8], offload: Offload) -> bool {
        let Some(spare) = self.spare(frame.len()) else { return false };
        spare.copy_from_slice(frame);
        self.commit(0, frame.len(), offload);
        true
    }

    /// The frames as a batch.
    pub fn batch(&mut self) -> FrameBatch<'_> {
        FrameBatch { memory: &mut self.memory, slots: &mut self.slots }
    }

    /// The memory and the slots, to transmit from.
    pub fn parts(&self) -> (&[u8], &[Slot]) {
        (&self.memory, &self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_octets_and_do_not_touch() {
        let mut arena = FrameArena::new(0, 0);
        for i in 0..10u8 {
            assert!(arena.push(&vec![i; 60 + usize::from(i)], Offload::default()));
        }
        let batch = arena.batch();
        for (i, slot) in batch.slots.iter().enumerate() {
            assert_eq!(slot.len, 60 + i);
            assert!(batch.memory[slot.offset..slot.offset + slot.len].iter().all(|octet| *octet == i as u8));
        }
    }

    #[test]
    fn is_full_after_a_batch_or_when_memory_ends() {
        let mut arena = FrameArena::new(2 * MAX_FRAME, 0);
        for _ in 0..MAX_BATCH {
            assert!(arena.push(&[0; 60], Offload::default()));
        }
        assert!(!arena.push(&[0; 60], Offload::default()));
        arena.clear();
        assert!(arena.is_empty());
        assert!(arena.push(&vec![0; MAX_FRAME], Offload::default()));
        assert!(arena.spare(MAX_FRAME).is_none());
        assert!(arena.push(&[0; 60], Offload::default()));
    }

    #[test]
    fn commit_may_skip_a_header() {
        let mut arena = FrameArena::new(0, 10);
        arena.spare(70).expect("an empty arena has room")[10..].fill(7);
        arena.commit(10, 60, Offload::default());
        let (memory, slots) = arena.parts();
        assert_eq!((slots[0].offset, slots[0].len), (10, 60));
        assert!(memory[10..70].iter().all(|octet| *octet == 7));
    }
}
