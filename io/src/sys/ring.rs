//! Receive rings of packet sockets (TPACKET_V2), mapped side by side into one memory area.
//!
//! Read first: Documentation/networking/packet_mmap.rst. A ring is an array of slots. Each begins with a
//! `tpacket2_hdr` whose status word says who owns the slot: the kernel (0) or we (bit `TP_STATUS_USER`). The
//! kernel stores the status after the frame, with a write barrier between; a load with acquire order pairs with it.
//! We give a slot back by storing 0 with release order.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::sys::packet_socket;

/// Shape of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    /// Octets of a slot; a multiple of 16.
    pub(crate) slot: u32,
    /// Octets of a block of slots; a multiple of the page size. Slots do not cross blocks.
    pub(crate) block: u32,
    /// Number of blocks.
    pub(crate) blocks: u32,
}

impl RingShape {
    fn slots_per_block(self) -> u32 {
        self.block / self.slot
    }
    fn slots(self) -> u32 {
        self.slots_per_block() * self.blocks
    }
    fn octets(self) -> usize {
        self.block as usize * self.blocks as usize
    }

    /// Makes a socket's receive ring of this shape.
    pub(crate) fn install(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        packet_socket::set_rx_ring(
            socket,
            &libc::tpacket_req {
                tp_block_size: self.block,
                tp_block_nr: self.blocks,
                tp_frame_size: self.slot,
                tp_frame_nr: self.slots(),
            },
        )
    }
}

/// The slots of one ring in turn.
#[derive(Debug)]
struct Cursor {
    shape: RingShape,
    /// Where the ring starts in the memory area.
    start: usize,
    block: u32,
    slot: u32,
}

impl Cursor {
    /// Offset of the current slot in the memory area.
    fn offset(&self) -> usize {
        self.start
            + self.block as usize * self.shape.block as usize
            + self.slot as usize * self.shape.slot as usize
    }

    fn advance(&mut self) {
        self.slot += 1;
        if self.slot == self.shape.slots_per_block() {
            self.slot = 0;
            self.block += 1;
            if self.block == self.shape.blocks {
                self.block = 0;
            }
        }
    }
}

/// What the kernel says about a frame in a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotHeader {
    /// `TP_STATUS_*` bits.
    pub(crate) status: u32,
    /// Offset of the frame in the memory area. A virtio header, if asked for, lies right before it.
    pub(crate) frame: usize,
    /// Octets of the frame in the slot.
    pub(crate) captured: usize,
    /// Octets of the frame as it arrived.
    pub(crate) length: usize,
    /// Wall time of arrival, seconds and nanoseconds.
    pub(crate) time: (u32, u32),
    /// Tag taken off by the device; valid with `TP_STATUS_VLAN_VALID`.
    pub(crate) vlan_tci: u16,
    /// `PACKET_*`: whom the frame was for.
    pub(crate) packet_type: u8,
}

/// Receive rings of `N` sockets in one mapping.
pub(crate) struct RxRings<const N: usize> {
    base: NonNull<u8>,
    length: usize,
    /// The next slot to look at.
    cursors: [Cursor; N],
    /// The first slot not yet given back to the kernel.
    held: [Cursor; N],
    held_count: [u32; N],
}

// SAFETY: the mapping is owned by this value alone and is as good from one thread as from another; all access to
// it goes through `&mut self`.
unsafe impl<const N: usize> Send for RxRings<N> {}

impl<const N: usize> RxRings<N> {
    /// Maps the rings that [`RingShape::install`] made.
    pub(crate) fn map(sockets: [(BorrowedFd<'_>, RingShape); N]) -> io::Result<RxRings<N>> {
        let length = sockets.iter().map(|(_, shape)| shape.octets()).sum();
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let area = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(area.cast::<u8>()).ok_or(io::Error::from(Errno::ENOMEM))?;
        let mut start = 0;
        let starts = sockets.each_ref().map(|(_, shape)| {
            let this = start;
            start += shape.octets();
            this
        });
        let cursor = |ring: usize| Cursor { shape: sockets[ring].1, start: starts[ring], block: 0, slot: 0 };
        // From here on, dropping `rings` unmaps the area.
        let rings = RxRings {
            base,
            length,
            cursors: std::array::from_fn(cursor),
            held: std::array::from_fn(cursor),
            held_count: [0; N],
        };
        for (ring, (socket, shape)) in sockets.iter().enumerate() {
            // SAFETY: `start..start + octets` lies inside the area reserved above, which is ours to overlay.
            let mapped = unsafe {
                libc::mmap(
                    base.as_ptr().add(starts[ring]).cast::<libc::c_void>(),
                    shape.octets(),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    socket.as_fd().as_raw_fd(),
                    0,
                )
            };
            if mapped == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(rings)
    }

    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: cursors stay inside the mapping; slots are multiples of 16 octets, so the word is aligned; the
        // word is only ever accessed atomically, here and by the kernel.
        unsafe { AtomicU32::from_ptr(self.base.add(slot).cast::<u32>().as_ptr()) }
    }

    /// The next frame of a ring, if the kernel has put one there. It stays the next until [`RxRings::take`].
    #[inline]
    pub(crate) fn peek(&self, ring: usize) -> Option<SlotHeader> {
        if self.held_count[ring] == self.cursors[ring].shape.slots() {
            // All slots are ours: the next one has been taken already.
            return None;
        }
        let slot = self.cursors[ring].offset();
        let status = self.status(slot).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the header, and the address after it, lie inside the slot, which lies inside the mapping; they are
        // plain data, aligned as the slot is; we own the slot, so the kernel does not write to it.
        let (header, address) = unsafe {
            let header = self.base.add(slot).cast::<libc::tpacket2_hdr>();
            (header.read(), header.add(1).cast::<libc::sockaddr_ll>().read())
        };
        Some(SlotHeader {
            status,
            frame: slot + usize::from(header.tp_mac),
            captured: header.tp_snaplen as usize,
            length: header.tp_len as usize,
            time: (header.tp_sec, header.tp_nsec),
            vlan_tci: header.tp_vlan_tci,
            packet_type: address.sll_pkttype,
        })
    }

    /// Keeps the frame that [`RxRings::peek`] showed, until the next [`RxRings::release_all`].
    #[inline]
    pub(crate) fn take(&mut self, ring: usize) {
        self.cursors[ring].advance();
        self.held_count[ring] += 1;
    }

    /// Gives all slots taken so far back to the kernel.
    pub(crate) fn release_all(&mut self) {
        for ring in 0..N {
            for _ in 0..std::mem::take(&mut self.held_count[ring]) {
                let slot = self.held[ring].offset();
                self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
                self.held[ring].advance();
            }
        }
    }

    /// The whole area, to which the offsets of [`SlotHeader`] point.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable, writable, `length` long, lives as long as `self`, and is borrowed
        // exclusively. The kernel writes only to slots that it owns: nobody reads or writes those through this
        // slice, as no frame of a batch lies in them, and no reference made before a `release_all` outlives it.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl<const N: usize> Drop for RxRings<N> {
    fn drop(&mut self) {
        // SAFETY: exactly the area that `map` reserved, to which no reference is left.
        unsafe { libc::munmap(self.base.as_ptr().cast::<libc::c_void>(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_skips_the_rest_of_a_block() {
        let shape = RingShape { slot: 1728, block: 4096, blocks: 3 };
        assert_eq!((shape.slots_per_block(), shape.slots(), shape.octets()), (2, 6, 12_288));
        let mut cursor = Cursor { shape, start: 100, block: 0, slot: 0 };
        let mut offsets = Vec::new();
        for _ in 0..7 {
            offsets.push(cursor.offset() - 100);
            cursor.advance();
        }
        assert_eq!(offsets, [0, 1728, 4096, 5824, 8192, 9920, 0]);
    }
}
