//! Many frames out with one sendmmsg(2), each from where it lies, gathered with its header if that lies elsewhere.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// What to do about a frame that the kernel refused.
pub(crate) enum Refused {
    /// Lose this one and go on with the next.
    Skip,
    /// Lose this one and all that follow.
    Stop,
}

/// A frame to be sent.
pub(crate) struct Outgoing<'a, const H: usize, R> {
    /// The header, unless it lies before the frame in `start`: the kernel takes a message of one part faster than one of
    /// two.
    pub(crate) header: Option<[u8; H]>,
    /// The frame's octets, at least the first ones.
    pub(crate) start: &'a [u8],
    /// Where the others lie.
    pub(crate) rest: R,
    /// As how many it counts.
    pub(crate) count: usize,
}

/// Reusable message headers for up to a batch of frames.
pub(crate) struct SendBatch<const H: usize> {
    headers: Vec<[u8; H]>,
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
    counts: Vec<usize>,
}

// SAFETY: the pointers in `parts` and `messages` are used only during one call of `send`, which fills them anew.
unsafe impl<const H: usize> Send for SendBatch<H> {}

impl<const H: usize> SendBatch<H> {
    /// Empty.
    pub(crate) fn new() -> SendBatch<H> {
        SendBatch { headers: Vec::new(), parts: Vec::new(), messages: Vec::new(), counts: Vec::new() }
    }

    /// Sends each frame behind its header to where the socket is bound, without waiting; the sum of the counts of
    /// those that were taken. `refused` judges each refusal.
    pub(crate) fn send<'a, R: Iterator<Item = &'a [u8]>>(
        &mut self,
        socket: BorrowedFd<'_>,
        frames: impl Iterator<Item = Outgoing<'a, H, R>>,
        mut refused: impl FnMut(Errno) -> Refused,
    ) -> usize {
        self.headers.clear();
        self.parts.clear();
        self.messages.clear();
        self.counts.clear();
        let part = |octets: &[u8]| libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        };
        for Outgoing { header, start, rest, count } in frames {
            let first = self.parts.len();
            if let Some(header) = header {
                self.headers.push(header);
                // The place is not known yet.
                self.parts.push(libc::iovec { iov_base: std::ptr::null_mut(), iov_len: H });
            }
            self.parts.push(part(start));
            self.parts.extend(rest.map(part));
            // SAFETY: mmsghdr is plain data, for which all zeroes (no name, no control data) is a value.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iovlen = self.parts.len() - first;
            self.messages.push(message);
            self.counts.push(count);
        }
        // Only now do headers and parts keep their places.
        let (mut headers, mut parts) = (self.headers.iter_mut(), &mut self.parts[..]);
        for message in &mut self.messages {
            let (of_this, others) = parts.split_at_mut(message.msg_hdr.msg_iovlen);
            if let Some(first) = of_this.first_mut().filter(|first| first.iov_base.is_null())
                && let Some(header) = headers.next()
            {
                first.iov_base = header.as_mut_ptr().cast();
            }
            message.msg_hdr.msg_iov = of_this.as_mut_ptr();
            parts = others;
        }
        let (mut next, mut taken) = (0, 0);
        while next < self.messages.len() {
            let rest = &mut self.messages[next..];
            // SAFETY: `rest` holds as many messages as said; each points to its parts in `self.parts`, which point to a
            // header in `self.headers` and to octets that live for 'a, past this call. The kernel only reads through
            // them, and writes the `msg_len` of `rest`.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match Errno::result(sent) {
                Ok(sent) => {
                    // At least one: an error of the first message is returned as such.
                    let end = next + sent.max(1) as usize;
                    taken += self.counts[next..next + sent as usize].iter().sum::<usize>();
                    next = end;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => match refused(errno) {
                    Refused::Skip => next += 1,
                    Refused::Stop => break,
                },
            }
        }
        taken
    }
}
