//! Loses, damages, doubles and swaps frames by a seed, to see how everything else takes it.

use std::collections::VecDeque;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::rng::Rng;

use crate::error::IoError;
use crate::frame_arena::FrameArena;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};

/// How often what happens to a frame; equal seeds make equal choices for equal frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultConfig {
    /// Seed of the choices.
    pub seed: u64,
    /// Probability from 0 to 1 that a frame is lost.
    pub drop: f64,
    /// Probability that one of its bits is inverted.
    pub corrupt: f64,
    /// Probability that it comes twice.
    pub duplicate: f64,
    /// Probability that it comes after the next one.
    pub reorder: f64,
}

/// Makes the choices and keeps what is on its way.
#[derive(Debug)]
struct Faults {
    config: FaultConfig,
    rng: Rng,
    /// Waits for the next frame to go first; and how often it is to come.
    held: Option<(Vec<u8>, Offload, usize)>,
    ready: VecDeque<(Vec<u8>, Offload)>,
}

impl Faults {
    fn new(config: FaultConfig) -> Faults {
        Faults { config, rng: Rng::new(config.seed), held: None, ready: VecDeque::new() }
    }

    fn happens(&mut self, probability: f64) -> bool {
        // 53 bits: what an f64 holds exactly.
        let random = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        random < probability
    }

    fn pass(&mut self, frame: &[u8], offload: Offload) {
        if self.happens(self.config.drop) {
            return;
        }
        let mut frame = frame.to_vec();
        if self.happens(self.config.corrupt) && !frame.is_empty() {
            let bit = self.rng.below(frame.len() as u32 * 8);
            frame[bit as usize / 8] ^= 1 << (bit % 8);
        }
        let copies = if self.happens(self.config.duplicate) { 2 } else { 1 };
        if self.held.is_none() && self.happens(self.config.reorder) {
            self.held = Some((frame, offload, copies));
            return;
        }
        self.ready.extend(std::iter::repeat_n((frame, offload), copies));
        self.release();
    }

    /// Lets a held frame go.
    fn release(&mut self) {
        if let Some((frame, offload, copies)) = self.held.take() {
            self.ready.extend(std::iter::repeat_n((frame, offload), copies));
        }
    }
}

/// A receiver with faults.
pub struct FaultyReceiver<T> {
    inner: T,
    faults: Faults,
    arena: FrameArena,
}

impl<T: FrameReceiver> FaultyReceiver<T> {
    /// Wraps a receiver.
    pub fn new(inner: T, config: FaultConfig) -> FaultyReceiver<T> {
        FaultyReceiver { inner, faults: Faults::new(config), arena: FrameArena::new(512 << 10, 0) }
    }
}

impl<T: FrameReceiver> FrameReceiver for FaultyReceiver<T> {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.arena.clear();
        while self.faults.ready.is_empty() {
            let batch = match self.inner.receive() {
                // The last frame must not stay with us.
                Err(IoError::EndOfInput) if self.faults.held.is_some() => {
                    self.faults.release();
                    break;
                }
                result => result?,
            };
            if batch.slots.is_empty() {
                // Nothing comes that could overtake it.
                self.faults.release();
                break;
            }
            for slot in batch.slots.iter() {
                self.faults.pass(&batch.memory[slot.offset..slot.offset + slot.len], slot.offload);
            }
        }
        while let Some((frame, offload)) = self.faults.ready.pop_front() {
            if !self.arena.push(&frame, offload) {
                self.faults.ready.push_front((frame, offload));
                break;
            }
        }
        Ok(self.arena.batch())
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        self.inner.poll_fds()
    }

    fn lost_frames(&mut self) -> u64 {
        self.inner.lost_frames()
    }
}

/// A transmitter with faults; frames change places only within a batch.
pub struct FaultyTransmitter<T> {
    inner: T,
    faults: Faults,
}

impl<T: FrameTransmitter> FaultyTransmitter<T> {
    /// Wraps a transmitter.
    pub fn new(inner: T, config: FaultConfig) -> FaultyTransmitter<T> {
        FaultyTransmitter { inner, faults: Faults::new(config) }
    }
}

impl<T: FrameTransmitter> FrameTransmitter for FaultyTransmitter<T> {
    /// Frames lost here count as taken: a wire does not tell.
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            self.faults.pass(&memory[slot.offset..slot.offset + slot.len], slot.offload);
        }
        self.faults.release();
        let mut refused = 0;
        while let Some((frame, offload)) = self.faults.ready.pop_front() {
            refused += usize::from(!self.inner.transmit_frame(&frame, offload)?);
        }
        Ok(indices.len().saturating_sub(refused))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Gives both halves of a port faults, each with choices of its own.
pub fn faulty(io: FrameIo, config: FaultConfig) -> FrameIo {
    let other = FaultConfig { seed: Rng::new(config.seed).next_u64(), ..config };
    FrameIo::new(FaultyReceiver::new(io.receiver, config), FaultyTransmitter::new(io.transmitter, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback;

    /// Sends a thousand numbered frames through a faulty half, in batches of ten; what arrives.
    fn arrived(config: FaultConfig, at_receiver: bool) -> Vec<u16> {
        let (mut a, mut b) = loopback::pair(10_000).expect("file descriptors are left");
        if at_receiver {
            b.receiver = Box::new(FaultyReceiver::new(b.receiver, config));
        } else {
            a.transmitter = Box::new(FaultyTransmitter::new(a.transmitter, config));
        }
        for first in (0..1000u16).step_by(10) {
            let (mut memory, mut slots) = (Vec::new(), Vec::new());
            for number in first..first + 10 {
                let offset = memory.len();
                slots.push(Slot {
                    offset,
                    len: 60,
                    offload: Offload::default(),
                    verdict: genkan_engine::Verdict::Consumed,
                });
                memory.extend(number.to_be_bytes().repeat(30));
            }
            let indices: Vec<u16> = (0..10).collect();
            a.transmitter.transmit(&memory, &slots, &indices).expect("b is there");
        }
        let mut numbers = Vec::new();
        loop {
            let batch = b.receiver.receive().expect("a is there");
            if batch.slots.is_empty() {
                return numbers;
            }
            for slot in batch.slots.iter() {
                let frame = &batch.memory[slot.offset..slot.offset + slot.len];
                // Most of the copies of the number are unharmed.
                let copies: Vec<u16> =
                    frame.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                let number = *copies
                    .iter()
                    .max_by_key(|copy| copies.iter().filter(|c| c == copy).count())
                    .expect("a frame has octets");
                let harmed = copies.iter().any(|copy| *copy != number);
                numbers.push(if harmed { number + 10_000 } else { number });
            }
        }
    }

    #[test]
    fn without_faults_nothing_changes() {
        for at_receiver in [true, false] {
            assert_eq!(arrived(FaultConfig::default(), at_receiver), (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_fault_is_about_as_frequent_as_asked() {
        for at_receiver in [true, false] {
            let dropped = arrived(FaultConfig { drop: 0.2, seed: 1, ..Default::default() }, at_receiver);
            assert!((700..900).contains(&dropped.len()), "{}", dropped.len());
            assert!(dropped.is_sorted());

            let doubled = arrived(FaultConfig { duplicate: 0.2, seed: 2, ..Default::default() }, at_receiver);
            assert!((1100..1300).contains(&doubled.len()), "{}", doubled.len());
            assert!(doubled.is_sorted());

            let corrupt = arrived(FaultConfig { corrupt: 0.2, seed: 3, ..Default::default() }, at_receiver);
            assert_eq!(corrupt.len(), 1000);
            let harmed = corrupt.iter().filter(|number| **number >= 10_000).count();
            assert!((100..300).contains(&harmed), "{harmed}");

            let mut swapped =
                arrived(FaultConfig { reorder: 0.2, seed: 4, ..Default::default() }, at_receiver);
            let late = swapped.windows(2).filter(|pair| pair[0] > pair[1]).count();
            assert!((80..300).contains(&late), "{late}");
            swapped.sort_unstable();
            assert_eq!(swapped, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn equal_seeds_make_equal_faults() {
        let config = FaultConfig { seed: 5, drop: 0.1, corrupt: 0.1, duplicate: 0.1, reorder: 0.1 };
        assert_eq!(arrived(config, true), arrived(config, true));
        assert_ne!(arrived(config, true), arrived(FaultConfig { seed: 6, ..config }, true));
    }

    #[test]
    fn the_last_frame_is_not_kept() {
        let (mut a, b) = loopback::pair(10).expect("file descriptors are left");
        let config = FaultConfig { reorder: 1.0, ..Default::default() };
        let mut b = faulty(b, config);
        a.transmitter.transmit_frame(&[1; 60], Offload::default()).expect("b is there");
        drop(a);
        assert_eq!(b.receiver.receive().expect("one frame is left").slots.len(), 1);
        assert!(matches!(b.receiver.receive(), Err(IoError::EndOfInput)));
    }
}
