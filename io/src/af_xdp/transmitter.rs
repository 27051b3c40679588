//! The transmitting half of an AF_XDP port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use genkan_engine::frame::Slot;
use nix::errno::Errno;

use super::Program;
use super::memory::{Pool, QueueSocket};
use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameTransmitter};
use crate::sys::xdp::{Consumer, Producer};

/// Octets of an Ethernet header: no device sends less.
const SHORTEST: usize = 14;

/// The transmitting half of a device. It sends through the socket of the first queue.
///
/// Frames that lie in the memory of the socket, because another port's receiver handed them out, are sent from where
/// they are; others are copied into a free chunk.
pub(super) struct AfXdpTransmitter {
    // The rings go before the socket: mapped, they would keep it open.
    transmit: Producer<libc::xdp_desc>,
    completion: Consumer<u64>,
    socket: Arc<QueueSocket>,
    /// Frames given to the kernel and not completed.
    outstanding: u32,
    /// Most of them: the entries of each ring.
    ring: u32,
    /// The device was down when last asked.
    down: bool,
    _program: Arc<Program>,
}

/// What came of waking the kernel.
#[derive(PartialEq, Eq)]
enum Woken {
    Sending,
    Down,
}

impl AfXdpTransmitter {
    pub(super) fn new(
        rings: (Producer<libc::xdp_desc>, Consumer<u64>),
        socket: Arc<QueueSocket>,
        ring: u32,
        program: Arc<Program>,
    ) -> AfXdpTransmitter {
        let (transmit, completion) = rings;
        AfXdpTransmitter {
            transmit,
            completion,
            socket,
            outstanding: 0,
            ring,
            down: false,
            _program: program,
        }
    }

    /// Takes back the chunks of frames that were sent.
    fn reap(&mut self, pool: &mut Pool) {
        let before = self.outstanding;
        while let Some(address) = self.completion.pop() {
            if pool.chunks.completed(self.socket.memory.chunk_of(address), self.socket.id) {
                self.outstanding -= 1;
            }
        }
        if self.outstanding != before {
            self.completion.release();
        }
    }

    /// Puts one frame into the transmit ring; `false` when it cannot be sent.
    #[inline]
    fn put(&mut self, pool: &mut Pool, is_own: bool, memory: &[u8], slot: &Slot) -> bool {
        let frame = &memory[slot.offset..slot.offset + slot.len];
        let size = self.socket.memory.chunk as usize;
        if !(SHORTEST..=size).contains(&frame.len()) {
            return false;
        }
        let chunk = self.socket.memory.chunk_of(slot.offset as u64);
        let whole = chunk == self.socket.memory.chunk_of((slot.offset + slot.len - 1) as u64);
        let address = if is_own && whole && pool.chunks.send_held(chunk, self.socket.id) {
            slot.offset
        } else {
            let Some(chunk) = pool.chunks.send_copy(self.socket.id) else { return false };
            let address = chunk as usize * size;
            pool.copies += 1;
            pool.view.memory()[address..address + frame.len()].copy_from_slice(frame);
            address
        };
        let entry = libc::xdp_desc { addr: address as u64, len: frame.len() as u32, options: 0 };
        let pushed = self.transmit.push(entry);
        debug_assert!(pushed, "no more frames are outstanding than the ring has entries");
        self.outstanding += 1;
        true
    }

    /// Has the kernel send what is in the ring.
    fn wake(&mut self) -> Result<Woken, IoError> {
        let mut waiting = self.transmit.waiting();
        // Each call sends some, or gives up one frame, or cannot go on for now.
        let mut calls = waiting;
        while calls > 0 && waiting > 0 && self.transmit.needs_wakeup() {
            calls -= 1;
            let outcome = self.socket.socket().wake_transmit();
            let before = std::mem::replace(&mut waiting, self.transmit.waiting());
            match outcome {
                Ok(()) if self.socket.memory.zero_copy => break,
                // EBUSY: one frame was refused; the kernel may count it as taken only at the next call.
                Ok(()) | Err(Errno::EINTR | Errno::EBUSY) => {}
                // Only so many at once; or no room in the socket's send buffer.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) if waiting == before => {
                    self.socket.stalled.store(true, Ordering::Relaxed);
                    break;
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {}
                Err(Errno::ENETDOWN) => return Ok(Woken::Down),
                Err(Errno::ENXIO | Errno::ENODEV) => {
                    self.socket.set_gone();
                    return Err(IoError::DeviceGone);
                }
                Err(errno) => {
                    return Err(IoError::System { operation: "send frames", source: errno.into() });
                }
            }
        }
        Ok(Woken::Sending)
    }
}

impl FrameTransmitter for AfXdpTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        if self.down {
            // Frames that wait in the ring would come out stale when the link is back: no more than one batch of them.
            self.socket.check()?;
            self.down = self.wake()? == Woken::Down;
            if self.down {
                return Ok(0);
            }
        }
        let shared = Arc::clone(&self.socket.memory);
        let mut pool = shared.pool();
        self.reap(&mut pool);
        let is_own = pool.is_view(memory);
        let mut taken = 0;
        for index in indices {
            // All that follow are lost, as on a wire that is busy.
            if self.outstanding == self.ring {
                break;
            }
            taken += usize::from(self.put(&mut pool, is_own, memory, &slots[usize::from(*index)]));
        }
        drop(pool);
        if taken > 0 {
            self.transmit.submit();
        }
        self.down = self.wake()? == Woken::Down;
        Ok(taken)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
}
