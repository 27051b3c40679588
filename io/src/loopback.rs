//! An in-memory wire: what goes in at one end comes out at the other, offload marks included.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::IoError;
use crate::frame_arena::FrameArena;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};

/// One direction of the wire.
struct Direction {
    queue: Mutex<Queue>,
    /// Its count is above 0 while the queue is not empty, or its sender is gone.
    readable: EventFd,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Vec<u8>, Offload)>,
    capacity: usize,
    lost: u64,
    closed: bool,
}

impl Direction {
    fn new(capacity: usize) -> io::Result<Arc<Direction>> {
        let readable = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Arc::new(Direction { queue: Mutex::new(Queue { capacity, ..Queue::default() }), readable }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A queue of frames has no invariant that a panicking test could have left broken.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self) -> Result<(), IoError> {
        match self.readable.write(1) {
            // A full counter is readable as well.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(IoError::System { operation: "signal a loopback", source: errno.into() }),
        }
    }
}

/// The receiving half of one end of a loopback.
pub struct LoopbackReceiver {
    direction: Arc<Direction>,
    arena: FrameArena,
}

/// The transmitting half of one end of a loopback.
pub struct LoopbackTransmitter {
    direction: Arc<Direction>,
    capabilities: Capabilities,
}

/// A wire that takes partial checksums and super-frames, with room for `capacity` frames in each direction;
/// more are lost.
///
/// # Errors
/// When the process has no file descriptor left.
pub fn pair(capacity: usize) -> io::Result<(FrameIo, FrameIo)> {
    pair_with(capacity, Capabilities::ALL)
}

/// A wire whose ends say that they take only what `capabilities` names. (They take everything: a test may
/// want to see what a wrapper let through.)
///
/// # Errors
/// As [`pair`].
pub fn pair_with(capacity: usize, capabilities: Capabilities) -> io::Result<(FrameIo, FrameIo)> {
    let (there, back) = (Direction::new(capacity)?, Direction::new(capacity)?);
    let end = |inward: &Arc<Direction>, outward: &Arc<Direction>| {
        FrameIo::new(
            LoopbackReceiver { direction: Arc::clone(inward), arena: FrameArena::new(512 << 10, 0) },
            LoopbackTransmitter { direction: Arc::clone(outward), capabilities },
        )
    };
    Ok((end(&back, &there), end(&there, &back)))
}

impl FrameReceiver for LoopbackReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.arena.clear();
        let mut queue = self.direction.lock();
        while let Some((frame, offload)) = queue.frames.pop_front() {
            if !self.arena.push(&frame, offload) {
                queue.frames.push_front((frame, offload));
                break;
            }
        }
        if queue.frames.is_empty() && !queue.closed {
            match self.direction.readable.read() {
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => {
                    return Err(IoError::System {
                        operation: "read a loopback's signal",
                        source: errno.into(),
                    });
                }
            }
        }
        if self.arena.is_empty() && queue.closed {
            return Err(IoError::EndOfInput);
        }
        drop(queue);
        Ok(self.arena.batch())
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        Some(self.direction.readable.as_fd().into())
    }

    fn lost_frames(&mut self) -> u64 {
        self.direction.lock().lost
    }
}

impl FrameTransmitter for LoopbackTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let mut queue = self.direction.lock();
        let mut taken = 0;
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            if queue.frames.len() == queue.capacity {
                queue.lost += 1;
                continue;
            }
            let frame = memory[slot.offset..slot.offset + slot.len].to_vec();
            queue.frames.push_back((frame, slot.offload));
            taken += 1;
        }
        if taken > 0 {
            self.direction.signal()?;
        }
        Ok(taken)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl Drop for LoopbackTransmitter {
    fn drop(&mut self) {
        self.direction.lock().closed = true;
        // Nobody is left to tell when the wake-up itself fails.
        let _ = self.direction.signal();
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::frame::GsoKind;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::frame_io::MAX_BATCH;

    fn readable(io: &FrameIo) -> bool {
        let fds = io.receiver.poll_fds().expect("a loopback can be waited for");
        let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::ZERO).expect("poll works") == 1
    }

    #[test]
    fn frames_cross_in_order_with_their_offload() {
        let (mut a, mut b) = pair(1000).expect("file descriptors are left");
        let marks =
            Offload { partial_checksum: true, gso: GsoKind::TcpV4, gso_size: 1448, ..Offload::default() };
        for i in 0..100u8 {
            let offload = if i == 7 { marks } else { Offload::default() };
            assert!(a.transmitter.transmit_frame(&[i; 60], offload).expect("b is there"));
        }
        assert!(readable(&b) && !readable(&a));
        let mut seen = 0u8;
        loop {
            let batch = b.receiver.receive().expect("a is there");
            if batch.slots.is_empty() {
                break;
            }
            assert!(batch.slots.len() <= MAX_BATCH);
            for slot in batch.slots.iter() {
                assert_eq!(batch.memory[slot.offset..slot.offset + slot.len], [seen; 60]);
                assert_eq!(slot.offload.gso == GsoKind::TcpV4, seen == 7);
                seen += 1;
            }
        }
        assert_eq!(seen, 100);
        assert!(!readable(&b));
    }

    #[test]
    fn a_full_wire_loses_frames_and_counts_them() {
        let (mut a, mut b) = pair(2).expect("file descriptors are left");
        let slots =
            [Slot { offset: 0, len: 60, offload: Offload::default(), verdict: Default::default() }; 3];
        assert_eq!(a.transmitter.transmit(&[0; 60], &slots, &[0, 1, 2]).expect("b is there"), 2);
        assert_eq!(b.receiver.lost_frames(), 1);
    }

    #[test]
    fn the_end_is_told_after_the_last_frame() {
        let (mut a, mut b) = pair(2).expect("file descriptors are left");
        a.transmitter.transmit_frame(&[1; 60], Offload::default()).expect("b is there");
        drop(a);
        assert!(readable(&b));
        assert_eq!(b.receiver.receive().expect("one frame waits").slots.len(), 1);
        assert!(readable(&b));
        assert!(matches!(b.receiver.receive(), Err(IoError::EndOfInput)));
    }
}
