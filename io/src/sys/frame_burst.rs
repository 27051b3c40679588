//! Frames out of one buffer by sendmmsg(2): what a load generator needs, and a router does not.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::packet_socket;
use crate::error::IoError;

/// Socket buffer, in octets: some thousand small frames. What the kernel allows may be less.
const SEND_BUFFER: i32 = 4 << 20;

/// A buffer of equally long frames, and a packet socket that sends them in their order.
pub struct FrameBurst {
    socket: OwnedFd,
    memory: Vec<u8>,
    frame_len: usize,
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `parts` and `messages` are used only during one call of `send`, which fills them anew.
unsafe impl Send for FrameBurst {}

impl FrameBurst {
    /// Opens `device`, of the calling thread's network namespace, for bursts of up to `count` frames of `frame_len`
    /// octets each (Ethernet header included, no FCS). The frames are zeroes until they are written.
    ///
    /// # Errors
    /// When there is no such device, or without CAP_NET_RAW.
    ///
    /// # Panics
    /// When `frame_len` or `count` is 0.
    pub fn open(device: &str, frame_len: usize, count: usize) -> Result<FrameBurst, IoError> {
        assert!(frame_len > 0 && count > 0, "a burst has frames");
        let at = |operation| move |source| IoError::Open { device: device.to_owned(), operation, source };
        super::ioctl::check_name(device)?;
        let interface = nix::net::if_::if_nametoindex(device).map_err(|errno| at("look up")(errno.into()))?;
        let socket = packet_socket::open().map_err(at("open a packet socket"))?;
        let set = |option| packet_socket::set_option(socket.as_fd(), libc::SOL_SOCKET, option, SEND_BUFFER);
        set(libc::SO_SNDBUFFORCE).or_else(|_| set(libc::SO_SNDBUF)).map_err(at("enlarge the send buffer"))?;
        // Protocol 0: this socket receives nothing.
        packet_socket::bind(socket.as_fd(), interface, 0).map_err(at("bind a packet socket"))?;
        Ok(FrameBurst {
            socket,
            memory: vec![0; frame_len * count],
            frame_len,
            parts: Vec::with_capacity(count),
            messages: Vec::with_capacity(count),
        })
    }

    /// The frames, to be written.
    pub fn frames_mut(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.memory.chunks_exact_mut(self.frame_len)
    }

    /// Sends the frames from `first` up to but not including `end`, without waiting, and returns how many the kernel
    /// took. It takes no more when a queue is full.
    ///
    /// # Errors
    /// When the device is down or gone.
    ///
    /// # Panics
    /// When there are fewer than `end` frames.
    pub fn send(&mut self, first: usize, end: usize) -> Result<usize, IoError> {
        let memory = &self.memory[first * self.frame_len..end * self.frame_len];
        self.parts.clear();
        self.messages.clear();
        self.parts.extend(
            memory.chunks_exact(self.frame_len).map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            }),
        );
        // Only now do the parts keep their places.
        self.messages.extend(self.parts.iter_mut().map(|part| {
            // SAFETY: mmsghdr is plain data, for which all zeroes (no name, no control data) is a value.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        }));
        let mut taken = 0;
        while taken < self.messages.len() {
            let rest = &mut self.messages[taken..];
            // SAFETY: `rest` holds as many messages as said; each points to one part in `self.parts`, which points to
            // a frame in `self.memory`. Both stay as they are during the call. The kernel only reads through them,
            // and writes the `msg_len` of `rest`.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match Errno::result(sent) {
                Ok(sent) => taken += sent as usize,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Err(errno) => return Err(IoError::system("sendmmsg")(errno.into())),
            }
        }
        Ok(taken)
    }
}

impl std::fmt::Debug for FrameBurst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameBurst").field("frame_len", &self.frame_len).finish_non_exhaustive()
    }
}
