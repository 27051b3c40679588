//! AF_XDP sockets: their options, their four rings, and the memory whose chunks the rings pass around.
//!
//! Read first: Documentation/networking/af_xdp.rst, linux/if_xdp.h. Each ring has one producer and one consumer, of which
//! the kernel is one. Both count entries without end, modulo 2^32; the number of entries is a power of two. The producer
//! stores its count after the entries, with release order, and the consumer loads it with acquire order before them; the
//! other way round for the consumer's count.
//!
//! Which chunk belongs to whom is not known here: [`crate::af_xdp`] keeps the books.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Memory without a name that any number of [`View`]s show.
#[derive(Debug)]
pub(crate) struct Area {
    file: OwnedFd,
    octets: usize,
}

impl Area {
    /// `octets` must be a multiple of the page size.
    pub(crate) fn new(octets: usize) -> io::Result<Area> {
        let file = memfd_create("genkan-frames", MFdFlags::MFD_CLOEXEC)?;
        let length = i64::try_from(octets).map_err(|_| io::Error::from(Errno::ENOMEM))?;
        nix::unistd::ftruncate(&file, length)?;
        Ok(Area { file, octets })
    }

    /// Maps the area once more, at addresses of its own.
    pub(crate) fn view(&self) -> io::Result<View> {
        Mapping::new(self.file.as_fd(), self.octets, 0).map(View)
    }
}

/// A mapping of a file, given back when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    octets: usize,
}

// SAFETY: the mapping is owned by this value alone and is as good from one thread as from another.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(file: BorrowedFd<'_>, octets: usize, offset: i64) -> io::Result<Mapping> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::Error::from(Errno::ENOMEM))?;
        Ok(Mapping { base, octets })
    }

    /// Where it starts.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.octets) };
    }
}

/// One mapping of an [`Area`]. The octets may change under the reader's eyes, where a chunk is the kernel's or is
/// written through another view; that a frame keeps still is the book-keeping's work.
#[derive(Debug)]
pub(crate) struct View(Mapping);

impl View {
    /// All of it.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is as long as said, lives as long as `self`, and every octet is a value. These
        // addresses are lent out by this value alone.
        unsafe { std::slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.octets) }
    }

    /// Where it begins, to be compared.
    pub(crate) fn address(&self) -> usize {
        self.0.base.as_ptr() as usize
    }
}

/// What a ring carries.
pub(crate) trait Entry: Copy {}
/// A chunk, by the offset of its first octet in the area.
impl Entry for u64 {}
/// A frame in its chunk.
impl Entry for libc::xdp_desc {}

/// Which ring of a socket.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Receive,
    Transmit,
    Fill,
    Completion,
}

impl Kind {
    fn option(self) -> i32 {
        match self {
            Kind::Receive => libc::XDP_RX_RING,
            Kind::Transmit => libc::XDP_TX_RING,
            Kind::Fill => libc::XDP_UMEM_FILL_RING,
            Kind::Completion => libc::XDP_UMEM_COMPLETION_RING,
        }
    }

    fn page_offset(self) -> i64 {
        match self {
            Kind::Receive => libc::XDP_PGOFF_RX_RING,
            Kind::Transmit => libc::XDP_PGOFF_TX_RING,
            Kind::Fill => libc::XDP_UMEM_PGOFF_FILL_RING as i64,
            Kind::Completion => libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64,
        }
    }

    fn place(self, offsets: &libc::xdp_mmap_offsets) -> &libc::xdp_ring_offset {
        match self {
            Kind::Receive => &offsets.rx,
            Kind::Transmit => &offsets.tx,
            Kind::Fill => &offsets.fr,
            Kind::Completion => &offsets.cr,
        }
    }
}

/// A ring as both ends see it. While it is mapped, its socket stays open in the kernel.
#[derive(Debug)]
struct Ring<T> {
    mapping: Mapping,
    /// Offsets in the mapping.
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    /// Number of entries, a power of two.
    size: u32,
    entry: PhantomData<T>,
}

impl<T: Entry> Ring<T> {
    /// Gives a socket a ring of `size` entries, and maps it.
    fn make(socket: &Socket, kind: Kind, size: u32) -> io::Result<Ring<T>> {
        assert!(size.is_power_of_two(), "the counts of both ends run modulo 2^32");
        socket.set(kind.option(), &size)?;
        // SAFETY: plain data, for which all zeroes is a value.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        socket.option(libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let place = kind.place(&offsets);
        let entries = place.desc as usize;
        let octets = entries + size as usize * size_of::<T>();
        let mapping = Mapping::new(socket.0.as_fd(), octets, kind.page_offset())?;
        let ring = Ring {
            mapping,
            producer: place.producer as usize,
            consumer: place.consumer as usize,
            flags: place.flags as usize,
            entries,
            size,
            entry: PhantomData,
        };
        let fits = |offset: usize| offset.is_multiple_of(4) && offset + 4 <= octets;
        let good = [ring.producer, ring.consumer, ring.flags].into_iter().all(fits);
        if good && entries.is_multiple_of(align_of::<T>()) { Ok(ring) } else { Err(Errno::EPROTO.into()) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the offset was checked when the ring was made; the mapping lives as long as `self`, and both ends
        // access these words atomically.
        unsafe { self.mapping.base.add(offset).cast::<AtomicU32>().as_ref() }
    }

    fn entry(&self, count: u32) -> NonNull<T> {
        let index = (count & (self.size - 1)) as usize;
        // SAFETY: `size` entries lie in the mapping from `entries` on, and the index is below `size`.
        unsafe { self.mapping.base.add(self.entries).cast::<T>().add(index) }
    }

    fn needs_wakeup(&self) -> bool {
        self.word(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that we write: fill or transmit.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    /// Entries written, [`Producer::submit`]ted or not.
    written: u32,
    /// What the kernel had taken when last looked at.
    taken: u32,
}

impl<T: Entry> Producer<T> {
    fn new(ring: Ring<T>) -> Producer<T> {
        Producer { ring, written: 0, taken: 0 }
    }

    /// Writes an entry; `false` when the ring is full. The kernel sees it after [`Producer::submit`].
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> bool {
        if self.written.wrapping_sub(self.taken) >= self.ring.size {
            self.taken = self.ring.word(self.ring.consumer).load(Ordering::Acquire);
            if self.written.wrapping_sub(self.taken) >= self.ring.size {
                return false;
            }
        }
        // SAFETY: an entry of the ring that the kernel has taken, so it is ours to write.
        unsafe { self.ring.entry(self.written).write(entry) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Whether an entry can be written. The kernel tells late which ones it has taken.
    #[inline]
    pub(crate) fn has_room(&mut self) -> bool {
        self.written.wrapping_sub(self.taken) < self.ring.size || self.waiting() < self.ring.size
    }

    /// Shows the kernel what was written.
    #[inline]
    pub(crate) fn submit(&mut self) {
        self.ring.word(self.ring.producer).store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub(crate) fn waiting(&mut self) -> u32 {
        self.taken = self.ring.word(self.ring.consumer).load(Ordering::Acquire);
        self.written.wrapping_sub(self.taken)
    }

    /// Whether the kernel looks at the ring only when told.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// A ring that we read: receive or completion.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    /// Entries read.
    read: u32,
    /// What the kernel had written when last looked at.
    written: u32,
}

impl<T: Entry> Consumer<T> {
    fn new(ring: Ring<T>) -> Consumer<T> {
        Consumer { ring, read: 0, written: 0 }
    }

    /// The next entry, if there is one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.read == self.written {
            self.written = self.ring.word(self.ring.producer).load(Ordering::Acquire);
            if self.read == self.written {
                return None;
            }
        }
        // SAFETY: an entry that the kernel has written and we have not released; every bit pattern is a value of T.
        let entry = unsafe { self.ring.entry(self.read).read() };
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Lets the kernel write over what was read.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.ring.word(self.ring.consumer).store(self.read, Ordering::Release);
    }
}

/// How a socket moves frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Binding<'a> {
    /// The driver uses our memory itself.
    ZeroCopy,
    /// The kernel copies between its memory and ours.
    Copy,
    /// As this bound socket, whose memory is used.
    As(&'a Socket),
}

/// An AF_XDP socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Close-on-exec; nothing of it waits.
    pub(crate) fn open() -> io::Result<Socket> {
        // SAFETY: no pointers are passed.
        let fd =
            Errno::result(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// XDP_UMEM_REG: makes the area of `view` the memory of this socket, in chunks of `chunk` octets.
    ///
    /// The kernel pins the pages, which the area's other views show as well; it writes to chunks that are put into
    /// its rings, at any time, so nobody takes octets of a view for constant.
    pub(crate) fn register(&self, view: &View, chunk: u32) -> io::Result<()> {
        let registration = libc::xdp_umem_reg {
            addr: view.address() as u64,
            len: view.0.octets as u64,
            chunk_size: chunk,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::XDP_UMEM_REG, &registration)
    }

    /// Where chunks are given to the kernel to receive into, and where their frames arrive.
    pub(crate) fn receive_rings(&self, size: u32) -> io::Result<(Producer<u64>, Consumer<libc::xdp_desc>)> {
        let fill = Producer::new(Ring::make(self, Kind::Fill, size)?);
        Ok((fill, Consumer::new(Ring::make(self, Kind::Receive, size)?)))
    }

    /// Where frames are put to be sent, and where their chunks come back.
    pub(crate) fn transmit_rings(&self, size: u32) -> io::Result<(Producer<libc::xdp_desc>, Consumer<u64>)> {
        let transmit = Producer::new(Ring::make(self, Kind::Transmit, size)?);
        Ok((transmit, self.completion_ring(size)?))
    }

    /// Which every socket must have, also one that never sends.
    pub(crate) fn completion_ring(&self, size: u32) -> io::Result<Consumer<u64>> {
        Ok(Consumer::new(Ring::make(self, Kind::Completion, size)?))
    }

    /// Takes part in a device's queue.
    pub(crate) fn bind(&self, interface: u32, queue: u32, binding: Binding<'_>) -> io::Result<()> {
        let (flags, shared) = match binding {
            Binding::ZeroCopy => (libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP, 0),
            Binding::Copy => (libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP, 0),
            Binding::As(owner) => (libc::XDP_SHARED_UMEM, owner.0.as_raw_fd() as u32),
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: shared,
        };
        let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: `address` is live and `length` is its size.
        Errno::result(unsafe {
            libc::bind(self.0.as_raw_fd(), std::ptr::from_ref(&address).cast::<libc::sockaddr>(), length)
        })?;
        Ok(())
    }

    /// Has the kernel look at the transmit ring.
    pub(crate) fn wake_transmit(&self) -> Result<(), Errno> {
        // SAFETY: an empty message from and to nowhere.
        let sent = unsafe {
            libc::sendto(self.0.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        Errno::result(sent).map(drop)
    }

    /// Has the kernel look at the fill ring.
    pub(crate) fn wake_receive(&self) {
        let (nothing, nowhere) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: nothing is received into an empty buffer, and nobody's address is asked for. What it returns says
        // nothing about frames.
        unsafe {
            libc::recvfrom(self.0.as_raw_fd(), nothing, 0, libc::MSG_DONTWAIT, nowhere, std::ptr::null_mut())
        };
    }

    /// Frames that the kernel could not hand over, since the socket was opened.
    pub(crate) fn lost_frames(&self) -> io::Result<u64> {
        // SAFETY: plain data, for which all zeroes is a value.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        self.option(libc::XDP_STATISTICS, &mut statistics)?;
        Ok(statistics.rx_dropped + statistics.rx_ring_full)
    }

    fn set<T>(&self, option: i32, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        let value = std::ptr::from_ref(value).cast::<libc::c_void>();
        // SAFETY: `value` is live and `length` is its size; the kernel only reads it.
        Errno::result(unsafe { libc::setsockopt(self.0.as_raw_fd(), libc::SOL_XDP, option, value, length) })?;
        Ok(())
    }

    fn option<T>(&self, option: i32, value: &mut T) -> io::Result<()> {
        let mut length = size_of::<T>() as libc::socklen_t;
        let value = std::ptr::from_mut(value).cast::<libc::c_void>();
        let length = std::ptr::from_mut(&mut length);
        // SAFETY: `value` is live, exclusively ours, and `length` is its size; `T` is the option's plain structure.
        Errno::result(unsafe { libc::getsockopt(self.0.as_raw_fd(), libc::SOL_XDP, option, value, length) })?;
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
