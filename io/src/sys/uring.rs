//! Many reads, or many writes, of one file with one system call (io_uring(7)).
//!
//! Every request says RWF_NOWAIT, and the kernel finishes it before the call that submits it returns: nothing is ever
//! under way between two calls, and the memory of the requests is only borrowed for the call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::xdp::Mapping;

const IORING_OP_READ: u8 = 22;
const IORING_OP_WRITE: u8 = 23;
/// Both rings lie in one mapping (Linux 5.4).
const IORING_FEAT_SINGLE_MMAP: u32 = 1;
/// Came with the two operations above (Linux 5.6).
const IORING_FEAT_RW_CUR_POS: u32 = 1 << 3;
const IORING_OFF_SQ_RING: i64 = 0;
const IORING_OFF_SQES: i64 = 0x1000_0000;
const IORING_ENTER_GETEVENTS: u32 = 1;

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    rw_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, which differ in the sixth and seventh field.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    /// Submission: flags. Completion: overflow.
    fifth: u32,
    /// Submission: dropped. Completion: where the entries lie.
    sixth: u32,
    /// Submission: where the array of indices lies. Completion: flags.
    seventh: u32,
    reserved: [u32; 3],
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    submissions: u32,
    completions: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    submission: Offsets,
    completion: Offsets,
}

/// A ring for requests of one kind at a time.
#[derive(Debug)]
pub(crate) struct Uring {
    ring: OwnedFd,
    rings: Mapping,
    requests: Mapping,
    capacity: usize,
    submission_tail: usize,
    submission_head: usize,
    completion_head: usize,
    completion_tail: usize,
    completions: usize,
    completion_mask: u32,
}

impl Uring {
    /// A ring for up to `capacity` requests at once, a power of two.
    ///
    /// # Errors
    /// When the kernel has no io_uring, an old one, or does not let us (`kernel.io_uring_disabled`, seccomp).
    pub(crate) fn new(capacity: u32) -> io::Result<Uring> {
        let mut parameters = Parameters::default();
        // SAFETY: the kernel reads and writes one io_uring_params, which Parameters mirrors.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, capacity, &raw mut parameters) };
        let fd = Errno::result(fd)? as i32;
        // SAFETY: the kernel has just given us this descriptor.
        let ring = unsafe { OwnedFd::from_raw_fd(fd) };
        let Parameters { submissions, completions, features, submission, completion, .. } = parameters;
        let needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_RW_CUR_POS;
        if features & needed != needed || submissions != capacity {
            return Err(Errno::ENOSYS.into());
        }
        let end_of_indices = submission.seventh as usize + submissions as usize * size_of::<u32>();
        let end_of_completions = completion.sixth as usize + completions as usize * size_of::<Completion>();
        let octets = end_of_indices.max(end_of_completions);
        let rings = Mapping::new(ring.as_fd(), octets, IORING_OFF_SQ_RING)?;
        let capacity = submissions as usize;
        let requests = Mapping::new(ring.as_fd(), capacity * size_of::<Request>(), IORING_OFF_SQES)?;
        let ring = Uring {
            ring,
            rings,
            requests,
            capacity,
            submission_tail: submission.tail as usize,
            submission_head: submission.head as usize,
            completion_head: completion.head as usize,
            completion_tail: completion.tail as usize,
            completions: completion.sixth as usize,
            completion_mask: completions - 1,
        };
        for index in 0..submissions {
            // Place n of the ring always means request n.
            ring.word(submission.seventh as usize + index as usize * size_of::<u32>())
                .store(index, Ordering::Relaxed);
        }
        Ok(ring)
    }

    /// Reads once into each buffer, in order: `results` become octets read, or negative error numbers. What
    /// the ring has no room for is not looked at.
    pub(crate) fn read<'a>(
        &mut self,
        file: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a mut [u8]>,
        results: &mut Vec<i32>,
    ) {
        let parts = buffers.map(|buffer| (buffer.as_mut_ptr().cast_const(), buffer.len()));
        // SAFETY: each part is exclusively borrowed for 'a, past this call.
        unsafe { self.run(IORING_OP_READ, file, parts, results) }
    }

    /// Writes each piece, in order; `results` as [`Uring::read`].
    pub(crate) fn write<'a>(
        &mut self,
        file: BorrowedFd<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
        results: &mut Vec<i32>,
    ) {
        let parts = pieces.map(|piece| (piece.as_ptr(), piece.len()));
        // SAFETY: each part is borrowed for 'a, past this call, and the kernel only reads it.
        unsafe { self.run(IORING_OP_WRITE, file, parts, results) }
    }

    /// # Safety
    /// The parts must stay as they are, and be written by nobody else where `opcode` writes to them, during the call.
    unsafe fn run(
        &mut self,
        opcode: u8,
        file: BorrowedFd<'_>,
        parts: impl Iterator<Item = (*const u8, usize)>,
        results: &mut Vec<i32>,
    ) {
        results.clear();
        let head = self.word(self.submission_head).load(Ordering::Acquire);
        let mut tail = head;
        for (address, length) in parts.take(self.capacity) {
            let request = Request {
                opcode,
                fd: file.as_raw_fd(),
                address: address as u64,
                length: u32::try_from(length).unwrap_or(u32::MAX),
                rw_flags: libc::RWF_NOWAIT as u32,
                user_data: results.len() as u64,
                ..Request::default()
            };
            let index = tail as usize & (self.capacity - 1);
            // SAFETY: the mapping has `capacity` requests, page-aligned; all of them are ours, as none is submitted.
            unsafe { self.requests.base().cast::<Request>().add(index).write(request) };
            tail = tail.wrapping_add(1);
            results.push(-libc::EAGAIN);
        }
        self.word(self.submission_tail).store(tail, Ordering::Release);
        let mut finished = 0;
        loop {
            let left = tail.wrapping_sub(self.word(self.submission_head).load(Ordering::Acquire));
            let under_way = results.len() as u32 - left - finished;
            if left == 0 && under_way == 0 {
                return;
            }
            let entered = self.enter(left, if left == 0 { under_way } else { 0 });
            finished += self.reap(results);
            match entered {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) if left > 0 => {
                    // No memory for more requests: take back what the kernel has not taken.
                    tail = self.word(self.submission_head).load(Ordering::Acquire);
                    self.word(self.submission_tail).store(tail, Ordering::Release);
                    results.truncate((tail.wrapping_sub(head)) as usize);
                }
                // The kernel may still write to memory that is about to be somebody else's.
                Err(_) => std::process::abort(),
            }
        }
    }

    fn enter(&self, submit: u32, wait_for: u32) -> nix::Result<i64> {
        let flags = if wait_for > 0 { IORING_ENTER_GETEVENTS } else { 0 };
        let no_signals = std::ptr::null::<libc::sigset_t>();
        // SAFETY: the requests in the ring point to memory that the caller of `run` vouches for.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.ring.as_raw_fd(),
                submit,
                wait_for,
                flags,
                no_signals,
                0usize,
            )
        })
    }

    /// Takes what has been completed; how many.
    fn reap(&mut self, results: &mut [i32]) -> u32 {
        let tail = self.word(self.completion_tail).load(Ordering::Acquire);
        let first = self.word(self.completion_head).load(Ordering::Relaxed);
        let mut head = first;
        while head != tail {
            let index = (head & self.completion_mask) as usize;
            // SAFETY: the offset is the kernel's for its own mapping; entries before the tail are written completely.
            let completion =
                unsafe { self.rings.base().add(self.completions).cast::<Completion>().add(index).read() };
            if let Some(result) = results.get_mut(completion.user_data as usize) {
                *result = completion.result;
            }
            head = head.wrapping_add(1);
        }
        self.word(self.completion_head).store(head, Ordering::Release);
        head.wrapping_sub(first)
    }

    /// A word that the kernel shares with us.
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `offset` is one that the kernel told for this mapping, which lives as long as `self`; both sides
        // access these words atomically.
        unsafe { AtomicU32::from_ptr(self.rings.base().add(offset).cast()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!((size_of::<Request>(), size_of::<Completion>()), (64, 16));
        assert_eq!((size_of::<Offsets>(), size_of::<Parameters>()), (40, 120));
    }

    #[test]
    fn reads_and_writes_in_order_and_never_waits() {
        let Ok(mut ring) = Uring::new(8) else {
            println!("SKIPPED: no io_uring here");
            return;
        };
        let (a, b) = UnixDatagram::pair().expect("sockets");
        let mut results = Vec::new();
        // More often round than the ring is long.
        for round in 0..10u8 {
            let pieces: Vec<Vec<u8>> = (0..5).map(|i| vec![round * 5 + i; 10 + usize::from(i)]).collect();
            ring.write(a.as_fd(), pieces.iter().map(Vec::as_slice), &mut results);
            assert_eq!(results, [10, 11, 12, 13, 14]);
            let mut memory = [0; 7 * 100];
            ring.read(b.as_fd(), memory.chunks_mut(100), &mut results);
            assert_eq!(results, [10, 11, 12, 13, 14, -libc::EAGAIN, -libc::EAGAIN]);
            for (piece, read) in pieces.iter().zip(memory.chunks(100)) {
                assert_eq!(piece[..], read[..piece.len()]);
            }
        }
        // No more than there is room for.
        ring.write(a.as_fd(), [&b"x"[..]; 20].into_iter(), &mut results);
        assert_eq!(results, [1; 8]);
        drop(b);
        ring.write(a.as_fd(), [&b"x"[..]].into_iter(), &mut results);
        assert_eq!(results, [-libc::ECONNREFUSED]);
        ring.write(a.as_fd(), std::iter::empty(), &mut results);
        assert!(results.is_empty());
    }
}
