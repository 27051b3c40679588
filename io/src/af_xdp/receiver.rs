//! The receiving half of an AF_XDP port.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::verdict::Verdict;
use nix::sys::epoll::Epoll;

use super::Program;
use super::memory::{Memory, Pool, QueueSocket};
use super::unfinished;
use crate::error::IoError;
use crate::frame_io::{FrameReceiver, MAX_BATCH, PollFds};
use crate::sys::xdp::{Consumer, Producer, View};

/// One queue of the device.
pub(super) struct Inlet {
    // The rings go before the socket: mapped, they would keep it open.
    pub(super) receive: Consumer<libc::xdp_desc>,
    pub(super) fill: Producer<u64>,
    pub(super) socket: Arc<QueueSocket>,
    /// Chunks that the kernel has to receive into, with frames or without.
    pub(super) filled: u32,
    /// Most of them.
    pub(super) ring: u32,
}

impl Inlet {
    /// Gives the kernel chunks up to the size of the ring. They are there: see [`super::claim`].
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        let before = self.filled;
        // A chunk may come back with a frame before its entry in the ring is given back: it waits for the next time.
        while self.filled < self.ring && self.fill.has_room() {
            let Some(chunk) = pool.chunks.fill(self.socket.id) else { break };
            let pushed = self.fill.push(u64::from(chunk) * u64::from(self.socket.memory.chunk));
            debug_assert!(pushed, "there was room");
            self.filled += 1;
        }
        if self.filled != before {
            self.fill.submit();
        }
    }

    /// Takes frames until the batch is full.
    fn take(&mut self, pool: &mut Pool, batch: &mut Batch) {
        let memory = &self.socket.memory;
        let before = self.filled;
        while batch.slots.len() < MAX_BATCH {
            let Some(frame) = self.receive.pop() else { break };
            self.filled = self.filled.saturating_sub(1);
            let chunk = memory.chunk_of(frame.addr);
            let end = frame.addr.saturating_add(u64::from(frame.len));
            // Not even a kernel that errs makes us hand out what is not ours.
            if !pool.chunks.received(chunk, self.socket.id) {
                batch.lost += 1;
                continue;
            }
            batch.held.push(chunk);
            if frame.len == 0 || memory.chunk_of(end - 1) != chunk {
                batch.lost += 1;
                continue;
            }
            batch.slots.push(Slot {
                offset: frame.addr as usize,
                len: frame.len as usize,
                offload: Offload::default(),
                verdict: Verdict::Consumed,
            });
        }
        if self.filled != before {
            self.receive.release();
        }
    }
}

/// The frames that were handed out last.
struct Batch {
    slots: Vec<Slot>,
    /// Their chunks.
    held: Vec<u32>,
    /// Frames that could not be handed out, since the half was opened.
    lost: u64,
}

/// The receiving half of a device, over a socket for each of its receive queues.
pub(super) struct AfXdpReceiver {
    inlets: Vec<Inlet>,
    /// Which inlet is looked at first next time.
    next: usize,
    memory: Arc<Memory>,
    view: View,
    batch: Batch,
    /// Frames may come unfinished: see [`unfinished`].
    finishes: bool,
    /// Readable when any of several sockets is.
    readable: Option<Epoll>,
    _program: Arc<Program>,
}

impl AfXdpReceiver {
    pub(super) fn new(
        inlets: Vec<Inlet>,
        memory: Arc<Memory>,
        finishes: bool,
        readable: Option<Epoll>,
        program: Arc<Program>,
    ) -> std::io::Result<AfXdpReceiver> {
        let view = memory.view()?;
        let batch =
            Batch { slots: Vec::with_capacity(MAX_BATCH), held: Vec::with_capacity(2 * MAX_BATCH), lost: 0 };
        Ok(AfXdpReceiver { inlets, next: 0, memory, view, batch, finishes, readable, _program: program })
    }

    /// Asked when nothing came: one system call per queue while all is well.
    fn look_after_sockets(&self) -> Result<(), IoError> {
        for inlet in &self.inlets {
            if inlet.socket.stalled.swap(false, Ordering::Relaxed) {
                // Whatever held the frames back shows at the next transmit.
                let _ = inlet.socket.socket().wake_transmit();
            }
            inlet.socket.check()?;
        }
        Ok(())
    }
}

impl FrameReceiver for AfXdpReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        let mut pool = self.memory.pool();
        for chunk in self.batch.held.drain(..) {
            pool.chunks.release(chunk);
        }
        self.batch.slots.clear();
        let count = self.inlets.len();
        for index in (self.next..count).chain(0..self.next) {
            let inlet = &mut self.inlets[index];
            inlet.take(&mut pool, &mut self.batch);
            inlet.refill(&mut pool);
        }
        drop(pool);
        self.next = (self.next + 1) % count;
        for inlet in &self.inlets {
            if inlet.fill.needs_wakeup() {
                inlet.socket.socket().wake_receive();
            }
        }
        if self.batch.slots.is_empty() {
            self.look_after_sockets()?;
        }
        let memory = self.view.memory();
        if self.finishes {
            for slot in &self.batch.slots {
                unfinished::finish(&mut memory[slot.offset..slot.offset + slot.len]);
            }
        }
        Ok(FrameBatch { memory, slots: &mut self.batch.slots })
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        match &self.readable {
            Some(epoll) => Some(epoll.0.as_fd().into()),
            None => self.inlets.first().map(|inlet| inlet.socket.as_fd().into()),
        }
    }

    fn lost_frames(&mut self) -> u64 {
        // A socket that cannot tell has lost nothing that could be told.
        let kernel = self.inlets.iter().map(|inlet| inlet.socket.socket().lost_frames().unwrap_or(0));
        self.batch.lost + kernel.sum::<u64>()
    }
}

impl Drop for AfXdpReceiver {
    fn drop(&mut self) {
        let mut pool = self.memory.pool();
        for chunk in self.batch.held.drain(..) {
            pool.chunks.release(chunk);
        }
        pool.forget_view(self.view.address());
    }
}
