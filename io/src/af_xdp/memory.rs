//! The memory that frames lie in, and the sockets that share it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::chunks::{Chunks, Leftover, SocketId};
use crate::error::IoError;
use crate::sys::xdp::{Area, Binding, Socket, View};

/// Memory of one or more ports, in chunks of one size.
pub(super) struct Memory {
    area: Area,
    /// Octets of a chunk, a power of two.
    pub(super) chunk: u32,
    /// Drivers use the memory themselves: all of its sockets do so, or none.
    pub(super) zero_copy: bool,
    /// Taken once per batch and half.
    pool: Mutex<Pool>,
}

/// What the users of a memory share.
pub(super) struct Pool {
    pub(super) chunks: Chunks,
    /// Through which the kernel knows the memory, and through which copies are written.
    pub(super) view: View,
    /// Addresses of the receivers' views.
    views: Vec<usize>,
    /// Chunks that are not spoken for.
    unclaimed: u32,
    sockets: u16,
    /// Frames that were copied into the memory to be sent.
    pub(super) copies: u64,
    bound: Vec<Weak<QueueSocket>>,
}

impl Memory {
    pub(super) fn new(chunk: u32, count: u32, zero_copy: bool) -> io::Result<Memory> {
        let area = Area::new(chunk as usize * count as usize)?;
        let view = area.view()?;
        let pool = Pool {
            chunks: Chunks::new(count),
            view,
            views: Vec::new(),
            unclaimed: count,
            sockets: 0,
            copies: 0,
            bound: Vec::new(),
        };
        Ok(Memory { area, chunk, zero_copy, pool: Mutex::new(pool) })
    }

    /// A panic elsewhere cannot have left the books half-written: each step is one assignment.
    #[inline]
    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk that an offset lies in.
    #[inline]
    pub(super) fn chunk_of(&self, offset: u64) -> u32 {
        u32::try_from(offset >> self.chunk.trailing_zeros()).unwrap_or(u32::MAX)
    }

    /// Whether `claim` chunks are left for another port.
    pub(super) fn has_room(&self, claim: u32) -> bool {
        self.pool().unclaimed >= claim
    }

    /// A receiver's own mapping, whose frames [`Pool::is_view`] knows.
    pub(super) fn view(&self) -> io::Result<View> {
        let view = self.area.view()?;
        self.pool().views.push(view.address());
        Ok(view)
    }
}

impl Pool {
    /// Whether this is a receiver's view of the memory.
    pub(super) fn is_view(&mut self, memory: &[u8]) -> bool {
        self.views.contains(&(memory.as_ptr() as usize)) && self.view.memory().len() == memory.len()
    }

    pub(super) fn forget_view(&mut self, address: usize) {
        self.views.retain(|view| *view != address);
    }
}

/// A socket on one queue of a device. Closed when both halves of the port have dropped it and their rings.
pub(super) struct QueueSocket {
    /// `None` only while it is dropped.
    socket: Option<Socket>,
    pub(super) id: SocketId,
    pub(super) memory: Arc<Memory>,
    claim: u32,
    gone: AtomicBool,
    /// Frames wait in the transmit ring for a reason that passes by itself.
    pub(super) stalled: AtomicBool,
}

impl QueueSocket {
    /// A socket that has `claim` chunks for itself, in all states together.
    ///
    /// # Errors
    /// When the kernel has no AF_XDP, or the memory no room.
    pub(super) fn open(memory: Arc<Memory>, claim: u32) -> io::Result<QueueSocket> {
        let socket = Socket::open()?;
        let mut pool = memory.pool();
        let next = pool.sockets.checked_add(1).filter(|_| pool.unclaimed >= claim);
        let next = next.ok_or(io::Error::from(Errno::ENOBUFS))?;
        let id = SocketId(pool.sockets);
        pool.sockets = next;
        pool.unclaimed -= claim;
        drop(pool);
        Ok(QueueSocket {
            socket: Some(socket),
            id,
            memory,
            claim,
            gone: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("taken only by drop")
    }

    /// Takes part in a queue of a device: with a bound socket of the same memory if there is one, which the kernel
    /// wants, else on its own account.
    pub(super) fn bind(self: &Arc<Self>, interface: u32, queue: u32) -> io::Result<()> {
        let others: Vec<Arc<QueueSocket>> =
            self.memory.pool().bound.iter().filter_map(Weak::upgrade).collect();
        let own = if self.memory.zero_copy { Binding::ZeroCopy } else { Binding::Copy };
        // A socket whose device went away is bound no more.
        let partner = others.iter().find(|other| !other.gone.load(Ordering::Relaxed));
        let binding = match partner {
            Some(partner) => Binding::As(partner.socket()),
            None => {
                self.socket().register(&self.memory.pool().view, self.memory.chunk)?;
                own
            }
        };
        self.socket().bind(interface, queue, binding)?;
        let mut pool = self.memory.pool();
        pool.bound.retain(|other| other.strong_count() > 0);
        pool.bound.push(Arc::downgrade(self));
        Ok(())
    }

    /// Whether the device is still there; costs a system call.
    pub(super) fn check(&self) -> Result<(), IoError> {
        if !self.gone.load(Ordering::Relaxed) {
            match getsockopt(&self.as_fd(), sockopt::SocketError) {
                // The only error that such a socket ever gets: its device was unregistered.
                Ok(0) => return Ok(()),
                Ok(_) => self.gone.store(true, Ordering::Relaxed),
                Err(errno) => {
                    return Err(IoError::System {
                        operation: "ask an AF_XDP socket for errors",
                        source: errno.into(),
                    });
                }
            }
        }
        Err(IoError::DeviceGone)
    }

    /// The kernel said that the socket has no device any more.
    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl AsFd for QueueSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Drop for QueueSocket {
    fn drop(&mut self) {
        // From here on the kernel neither takes nor gives chunks: close(2) waits for those who are at it.
        drop(self.socket.take());
        // A device that went away took its driver's work with it.
        let gone = self.gone.load(Ordering::Relaxed);
        let leftover = if self.memory.zero_copy && !gone { Leftover::Retire } else { Leftover::Free };
        let mut pool = self.memory.pool();
        pool.chunks.closed(self.id, leftover);
        if leftover == Leftover::Free {
            pool.unclaimed += self.claim;
        }
    }
}
