//! Many frames out with one sendmmsg(2), each gathered from a header and the frame where it lies.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// What to do about a frame that the kernel refused.
pub(crate) enum Refused {
    /// Lose this one and go on with the next.
    Skip,
    /// Lose this one and all that follow.
    Stop,
}

/// Reusable message headers for up to a batch of frames.
pub(crate) struct SendBatch<const H: usize> {
    headers: Vec<[u8; H]>,
    parts: Vec<[libc::iovec; 2]>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `parts` and `messages` are used only during one call of `send`, which fills them anew.
unsafe impl<const H: usize> Send for SendBatch<H> {}

impl<const H: usize> SendBatch<H> {
    /// Empty.
    pub(crate) fn new() -> SendBatch<H> {
        SendBatch { headers: Vec::new(), parts: Vec::new(), messages: Vec::new() }
    }

    /// Sends each frame behind its header to where the socket is bound, without waiting; how many were taken.
    /// `refused` judges each refusal.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        frames: impl Iterator<Item = ([u8; H], &'a [u8])>,
        mut refused: impl FnMut(Errno) -> Refused,
    ) -> usize {
        self.headers.clear();
        self.parts.clear();
        self.messages.clear();
        for (header, frame) in frames {
            self.headers.push(header);
            self.parts.push([
                libc::iovec { iov_base: std::ptr::null_mut(), iov_len: H },
                libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
            ]);
        }
        // Only now do headers and parts keep their places.
        for (header, parts) in self.headers.iter_mut().zip(&mut self.parts) {
            parts[0].iov_base = header.as_mut_ptr().cast();
            // SAFETY: mmsghdr is plain data, for which all zeroes (no name, no control data) is a value.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
            self.messages.push(message);
        }
        let (mut next, mut taken) = (0, 0);
        while next < self.messages.len() {
            let rest = &mut self.messages[next..];
            // SAFETY: `rest` holds as many messages as said; each points to two parts in `self.parts`, which point
            // to a header in `self.headers` and to a frame that lives for 'a, past this call. The kernel only
            // reads through them, and writes the `msg_len` of `rest`.
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
                    next += sent.max(1) as usize;
                    taken += sent as usize;
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
