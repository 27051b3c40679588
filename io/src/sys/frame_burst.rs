//! Frames out of one buffer by sendmmsg(2): what a load generator needs, and a router does not.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use genkan_engine::frame::{GsoKind, Offload};

use super::packet_socket;
use crate::error::IoError;
use crate::vnet_header::{self, VnetHeader};

/// Socket buffer, in octets: some thousand small frames. What the kernel allows may be less.
const SEND_BUFFER: i32 = 4 << 20;

/// A buffer of equally long frames, and a packet socket that sends them in their order.
pub struct FrameBurst {
    socket: OwnedFd,
    /// The frames, each behind its virtio header where there are such headers.
    memory: Vec<u8>,
    header_len: usize,
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
        FrameBurst::with_header(device, frame_len, count, &[])
    }

    /// The same for super-frames of UDP over IPv4 without options, each of which the kernel cuts into datagrams with
    /// `segment` octets of payload (UDP_SEGMENT of `udp(7)`), at the latest before a device that does not do it
    /// itself (`tx-udp-segmentation`). Lengths in their headers are those of the super-frame; the UDP checksum field
    /// holds the sum of the pseudo-header, not inverted.
    ///
    /// # Errors
    /// As [`FrameBurst::open`].
    ///
    /// # Panics
    /// When `frame_len`, `count` or `segment` is 0.
    pub fn open_segmented(
        device: &str,
        frame_len: usize,
        count: usize,
        segment: u16,
    ) -> Result<FrameBurst, IoError> {
        assert!(segment > 0, "a datagram has some payload");
        FrameBurst::with_header(device, frame_len, count, &segmentation_header(segment))
    }

    fn with_header(
        device: &str,
        frame_len: usize,
        count: usize,
        header: &[u8],
    ) -> Result<FrameBurst, IoError> {
        assert!(frame_len > 0 && count > 0, "a burst has frames");
        let at = |operation| move |source| IoError::Open { device: device.to_owned(), operation, source };
        super::ioctl::check_name(device)?;
        let interface = nix::net::if_::if_nametoindex(device).map_err(|errno| at("look up")(errno.into()))?;
        let socket = packet_socket::open().map_err(at("open a packet socket"))?;
        let set = |option| packet_socket::set_option(socket.as_fd(), libc::SOL_SOCKET, option, SEND_BUFFER);
        set(libc::SO_SNDBUFFORCE).or_else(|_| set(libc::SO_SNDBUF)).map_err(at("enlarge the send buffer"))?;
        if !header.is_empty() {
            packet_socket::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
                .map_err(at("switch virtio headers on"))?;
        }
        // Protocol 0: this socket receives nothing.
        packet_socket::bind(socket.as_fd(), interface, 0).map_err(at("bind a packet socket"))?;
        Ok(FrameBurst {
            socket,
            memory: [header, &vec![0; frame_len]].concat().repeat(count),
            header_len: header.len(),
            frame_len,
            parts: Vec::with_capacity(count),
            messages: Vec::with_capacity(count),
        })
    }

    /// The frames, to be written.
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let header_len = self.header_len;
        self.memory.chunks_exact_mut(header_len + self.frame_len).map(move |slot| &mut slot[header_len..])
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
        let slot_len = self.header_len + self.frame_len;
        let memory = &self.memory[first * slot_len..end * slot_len];
        self.parts.clear();
        self.messages.clear();
        self.parts.extend(
            memory
                .chunks_exact(slot_len)
                .map(|slot| libc::iovec { iov_base: slot.as_ptr().cast_mut().cast(), iov_len: slot.len() }),
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
            // a slot in `self.memory`. Both stay as they are during the call. The kernel only reads through them,
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

/// The virtio header of a UDP super-frame that is cut into datagrams with `segment` octets of payload each.
fn segmentation_header(segment: u16) -> VnetHeader {
    // Ethernet, IPv4 and UDP header, as far as it decides where the checksum lies.
    let mut headers = [0; 14 + 20 + 8];
    headers[12..14].copy_from_slice(&[0x08, 0x00]); // IPv4
    headers[14] = 0x45; // version 4, five words of header
    headers[23] = 17; // UDP
    let offload =
        Offload { partial_checksum: true, gso: GsoKind::UdpL4, gso_size: segment, ..Offload::default() };
    vnet_header::emit(&headers, &offload).expect("the headers are UDP's over IPv4")
}

impl std::fmt::Debug for FrameBurst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameBurst").field("frame_len", &self.frame_len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_frames_say_how_they_are_cut() {
        let fields = |header: VnetHeader| {
            let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
            (header[0], header[1], [2, 4, 6, 8].map(field))
        };
        // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4; hdr_len, gso_size, csum_start, csum_offset.
        assert_eq!(fields(segmentation_header(18)), (1, 5, [42, 18, 34, 6]));
    }
}
