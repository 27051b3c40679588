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
pub(crate) enum Outgoing<'a, const H: usize> {
    /// The header lies right before the frame. The kernel takes a message of one part faster than one of two.
    Whole(&'a [u8]),
    /// The header, and the frame.
    Parts([u8; H], &'a [u8]),
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
        frames: impl Iterator<Item = Outgoing<'a, H>>,
        mut refused: impl FnMut(Errno) -> Refused,
    ) -> usize {
        self.headers.clear();
        self.parts.clear();
        self.messages.clear();
        let part = |octets: &[u8]| libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        };
        for frame in frames {
            let (header, parts) = match frame {
                Outgoing::Whole(whole) => ([0; H], [part(whole), part(&[])]),
                Outgoing::Parts(header, frame) => (header, [part(&header), part(frame)]),
            };
            self.headers.push(header);
            self.parts.push(parts);
        }
        // Only now do headers and parts keep their places.
        for (header, parts) in self.headers.iter_mut().zip(&mut self.parts) {
            let whole = parts[1].iov_len == 0;
            if !whole {
                parts[0].iov_base = header.as_mut_ptr().cast();
            }
            // SAFETY: mmsghdr is plain data, for which all zeroes (no name, no control data) is a value.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = if whole { 1 } else { 2 };
            self.messages.push(message);
        }
        let (mut next, mut taken) = (0, 0);
        while next < self.messages.len() {
            let rest = &mut self.messages[next..];
            // SAFETY: `rest` holds as many messages as said; each points to one or two parts in `self.parts`, which
            // point to a header in `self.headers` and to octets that live for 'a, past this call. The kernel only
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
