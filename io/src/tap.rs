//! TAP devices: a network interface whose wire is this process.
//!
//! Read first: Documentation/networking/tuntap.rst. The kernel (or a container, or a virtual machine, to whose network
//! namespace or bridge the device was given) is a host on the other end of the wire, with the device's own MAC
//! address; the router needs one of its own ([`router_mac`]).
//!
//! Each read(2) and write(2) moves one frame behind a virtio header, super-frames and partial checksums as they are.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use genkan_engine::frame::{FrameBatch, Slot};
use genkan_engine::packet::merge::{MAX_FRAMES, Merged};
use genkan_engine::wire::ethernet::MacAddr;

use crate::error::IoError;
use crate::frame_arena::{FrameArena, MAX_FRAME};
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};
use crate::sys::ioctl;
use crate::vnet_header;

/// Memory for a batch: all of it fits the second-level cache.
const ARENA: usize = 512 << 10;

/// What we take over from the kernel: checksums, and TCP super-frames.
const OFFLOADS: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// UDP super-frames, which came later (Linux 6.2) and only as a pair.
const UDP_OFFLOADS: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// A MAC address for the router's end of a TAP device's wire: the device's own with one bit changed, locally
/// administered, the same at every start while the device keeps its own.
pub fn router_mac(device: MacAddr) -> MacAddr {
    let [first, rest @ ..] = device.0;
    let mut mac = [first & !1 | 2, rest[0], rest[1], rest[2], rest[3], rest[4]];
    mac[5] ^= 0x80;
    MacAddr(mac)
}

/// Frames that may wait in a device that is made here for us to read them. The kernel's default of 1,000 is over after
/// 1.4 ms at 700,000 frames/s, and what finds it full is lost; a worker may be kept off its CPU for longer.
const QUEUE_FRAMES: i32 = 4_096;

/// Opens a TAP device with one queue, making it unless it exists. One that was made here ends with both halves; one that
/// is persistent is used as it is, whether with one queue or with one of many.
///
/// # Errors
/// When the name is none, the device is of another kind, in use, or another user's, or without CAP_NET_ADMIN.
pub fn open(device: &str) -> Result<FrameIo, IoError> {
    let queue = match Queue::open(device, SINGLE) {
        // It may have been made by someone else with many queues.
        Err(IoError::Open { device, operation, source }) if source.raw_os_error() == Some(libc::EINVAL) => {
            Queue::open(&device, SINGLE | libc::IFF_MULTI_QUEUE).map_err(|_| IoError::Open {
                device,
                operation,
                source,
            })
        }
        result => result,
    }?;
    queue.into_halves(device)
}

/// Opens a TAP device with several queues, over which the kernel spreads its flows; a pair of halves for each.
///
/// # Errors
/// As [`open`], and when the device exists with a single queue.
pub fn open_queues(device: &str, queues: usize) -> Result<Vec<FrameIo>, IoError> {
    if queues == 1 {
        return Ok(vec![open(device)?]);
    }
    let flags = SINGLE | libc::IFF_MULTI_QUEUE;
    (0..queues).map(|_| Queue::open(device, flags)?.into_halves(device)).collect()
}

const SINGLE: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// What an error of attaching to a device means, in words.
fn attaching(error: &io::Error, exists: bool, flags: i32) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "attach to it: another program has it open",
        Some(libc::EINVAL) if exists && flags & libc::IFF_MULTI_QUEUE != 0 => {
            "attach to it: it is no TAP device, or has a single queue where one for each worker is wanted"
        }
        Some(libc::EINVAL) if exists => "attach to it: it is no TAP device",
        Some(libc::EPERM) if exists => "attach to it: it belongs to another user or user namespace",
        _ if exists => "attach to it",
        _ => "make it",
    }
}

struct Queue {
    file: File,
    capabilities: Capabilities,
}

impl Queue {
    fn open(device: &str, flags: i32) -> Result<Queue, IoError> {
        ioctl::check_name(device)?;
        if device.contains('%') {
            // The kernel would fill in a number, and nobody would find the device.
            return Err(IoError::DeviceName(device.to_owned()));
        }
        let failed = |operation| {
            let device = device.to_owned();
            move |source| IoError::Open { device, operation, source }
        };
        // The device is made in the network namespace in which this file is opened.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(failed("open /dev/net/tun"))?;
        let tun = file.as_fd();
        // Only words and defaults depend on it, so nothing is lost if that changes meanwhile.
        let exists = nix::net::if_::if_nametoindex(device).is_ok();
        ioctl::tun_attach(tun, device, flags)?
            .map_err(|source| failed(attaching(&source, exists, flags))(source))?;
        // A later queue takes over the flags of the first, whatever it asked for.
        let in_force = ioctl::tun_flags(tun).map_err(failed("ask for its flags"))?;
        if in_force & libc::IFF_VNET_HDR == 0 {
            let source = io::Error::new(io::ErrorKind::Unsupported, "another process opened it without them");
            return Err(failed("ask for virtio headers")(source));
        }
        ioctl::tun_set_header_len(tun, vnet_header::LEN).map_err(failed("choose the virtio header"))?;
        let uso = ioctl::tun_set_offload(tun, OFFLOADS | UDP_OFFLOADS).is_ok();
        if !uso {
            ioctl::tun_set_offload(tun, OFFLOADS).map_err(failed("take over checksums and segmentation"))?;
        }
        if !exists {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("open a socket"))?;
            ioctl::set_queue_len(socket.as_fd(), device, QUEUE_FRAMES)?;
        }
        Ok(Queue { file, capabilities: Capabilities { partial_checksum: true, tso: true, uso } })
    }

    fn into_halves(self, device: &str) -> Result<FrameIo, IoError> {
        let second = self.file.try_clone().map_err(|source| IoError::Open {
            device: device.to_owned(),
            operation: "share its descriptor",
            source,
        })?;
        let arena = FrameArena::new(ARENA, vnet_header::LEN);
        Ok(FrameIo::new(
            TapReceiver { file: self.file, arena, lost: 0 },
            TapTransmitter { file: second, capabilities: self.capabilities },
        ))
    }
}

/// What an error of reading from or writing to a TUN or TAP device means.
pub(crate) fn judge(error: io::Error, operation: &'static str) -> Result<(), IoError> {
    match error.raw_os_error() {
        // Nothing waits, or the queue is full.
        Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => Ok(()),
        // It is down.
        Some(libc::EIO) => Ok(()),
        // It was deleted under us.
        Some(libc::EBADFD | libc::ENODEV) => Err(IoError::DeviceGone),
        _ => Err(IoError::System { operation, source: error }),
    }
}

/// The receiving half of a TAP device's queue.
pub struct TapReceiver {
    file: File,
    arena: FrameArena,
    lost: u64,
}

impl FrameReceiver for TapReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        const LONGEST: usize = vnet_header::LEN + MAX_FRAME;
        self.arena.clear();
        while let Some(spare) = self.arena.spare(LONGEST) {
            let length = match (&self.file).read(spare) {
                Ok(length) => length,
                Err(error) => {
                    if let Err(error) = judge(error, "read from a TAP device")
                        && self.arena.is_empty()
                    {
                        return Err(error);
                    }
                    break;
                }
            };
            let Some((header, frame)) = spare[..length].split_first_chunk_mut::<{ vnet_header::LEN }>()
            else {
                self.lost += 1;
                continue;
            };
            let received = vnet_header::parse(header).and_then(|mut received| {
                vnet_header::settle_checksum(frame, &mut received).then_some(received)
            });
            let frame_len = frame.len();
            match received {
                Some(received) => self.arena.commit(vnet_header::LEN, frame_len, received.offload),
                None => self.lost += 1,
            }
        }
        Ok(self.arena.batch())
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        Some(self.file.as_fd().into())
    }

    fn lost_frames(&mut self) -> u64 {
        self.lost
    }
}

/// The transmitting half of a TAP device's queue.
pub struct TapTransmitter {
    file: File,
    capabilities: Capabilities,
}

impl TapTransmitter {
    /// Writes one frame; whether the device took it.
    fn write(&self, parts: &[IoSlice<'_>]) -> Result<bool, IoError> {
        match (&self.file).write_vectored(parts) {
            Ok(_) => Ok(true),
            // A frame that the device does not take; others it may.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => judge(error, "write to a TAP device").map(|()| false),
        }
    }
}

impl FrameTransmitter for TapTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let mut taken = 0;
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            let frame = &memory[slot.offset..slot.offset + slot.len];
            let Some(header) = vnet_header::emit(frame, &slot.offload) else { continue };
            taken += usize::from(self.write(&[IoSlice::new(&header), IoSlice::new(frame)])?);
        }
        Ok(taken)
    }

    fn transmit_merged(&mut self, merged: &Merged<'_>) -> Result<usize, IoError> {
        let mut taken = 0;
        for frame in merged.frames() {
            let Some(header) = vnet_header::emit(frame.start(), frame.offload()) else { continue };
            let (header, start) = (IoSlice::new(&header), IoSlice::new(frame.start()));
            let is_taken = if frame.count() == 1 {
                self.write(&[header, start])?
            } else {
                let mut parts = [IoSlice::new(&[]); 2 + MAX_FRAMES];
                (parts[0], parts[1]) = (header, start);
                for (part, piece) in parts[2..].iter_mut().zip(frame.rest()) {
                    *part = IoSlice::new(piece);
                }
                self.write(&parts[..2 + frame.count()])?
            };
            taken += if is_taken { frame.count() } else { 0 };
        }
        Ok(taken)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_has_a_mac_of_its_own() {
        let device = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let router = router_mac(device);
        assert_ne!(router, device);
        assert!(!router.is_multicast());
        assert_eq!(router.0[0] & 2, 2);
        assert_eq!(router, router_mac(device));
    }

    #[test]
    fn bad_names_are_refused_before_the_kernel_cuts_them() {
        for name in ["", "gkabcdefghijklmno", "a/b", "a b"] {
            assert!(matches!(open(name), Err(IoError::DeviceName(_))), "{name:?}");
        }
    }
}
