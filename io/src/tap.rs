//! TAP devices: a network interface whose wire is this process.
//!
//! Read first: Documentation/networking/tuntap.rst. The kernel (or a container, or a virtual machine, to whose network
//! namespace or bridge the device was given) is a host on the other end of the wire, with the device's own MAC
//! address; the router needs one of its own ([`router_mac`]).
//!
//! Each read and each write moves one frame behind a virtio header, super-frames and partial checksums as they are. Where
//! the kernel lets us, a batch of them is one system call ([`crate::sys::uring`]).

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::packet::merge::{MAX_FRAMES, Merged};
use genkan_engine::verdict::Verdict;
use genkan_engine::wire::ethernet::MacAddr;

use crate::error::IoError;
use crate::frame_arena::MAX_FRAME;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, MAX_BATCH, PollFds};
use crate::sys::ioctl;
use crate::sys::uring::Uring;
use crate::vnet_header;

/// Where one frame is read to: the longest one with its header, on cache lines of its own. As the number of lines is odd,
/// the starts of a batch of short frames, all that is touched of their places, lie in different sets of a cache.
const PLACE: usize = (vnet_header::LEN + MAX_FRAME).next_multiple_of(64);

/// Most frames of a batch while they are long: all of it fits the second-level cache.
const LONG_FRAMES: usize = 8;
/// Frames of more octets than this on average are long.
const LONG: usize = 4_096;

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

/// Goes on with the queues of a device that another process has opened, wherever the device is by now, by duplicates of
/// its descriptors; a pair of halves for each. Frames that wait there are this process's now.
///
/// # Errors
/// When one of them is no queue of a TAP device with virtio headers.
pub fn adopt(device: &str, queues: Vec<OwnedFd>) -> Result<Vec<FrameIo>, IoError> {
    queues.into_iter().map(|queue| Queue::attached(queue.into(), device)?.into_halves(device)).collect()
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
        let queue = Queue::attached(file, device)?;
        if !exists {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("open a socket"))?;
            ioctl::set_queue_len(socket.as_fd(), device, QUEUE_FRAMES)?;
        }
        Ok(queue)
    }

    /// A queue whose descriptor is attached to its device.
    fn attached(file: File, device: &str) -> Result<Queue, IoError> {
        let failed = |operation| {
            let device = device.to_owned();
            move |source| IoError::Open { device, operation, source }
        };
        let tun = file.as_fd();
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
        Ok(Queue { file, capabilities: Capabilities { partial_checksum: true, tso: true, uso } })
    }

    fn into_halves(self, device: &str) -> Result<FrameIo, IoError> {
        let second = self.file.try_clone().map_err(|source| IoError::Open {
            device: device.to_owned(),
            operation: "share its descriptor",
            source,
        })?;
        let transmitter = TapTransmitter {
            ring: ring_for(&second),
            file: second,
            capabilities: self.capabilities,
            results: Vec::with_capacity(MAX_BATCH),
        };
        Ok(FrameIo::new(TapReceiver::new(self.file), transmitter))
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

/// A ring for batches of reads or writes of this device, where the kernel lets us have one.
fn ring_for(file: &File) -> Option<Uring> {
    let mut ring = Uring::new(MAX_BATCH as u32).ok()?;
    // A device of an older kernel cannot be told not to wait. Nothing else is said about a frame without a header.
    let mut results = Vec::new();
    ring.write(file.as_fd(), std::iter::once(&[][..]), &mut results);
    (results != [-libc::EOPNOTSUPP]).then_some(ring)
}

/// The result of a read or write as io_uring(7) has it.
fn result_of(result: io::Result<usize>) -> i32 {
    match result {
        Ok(octets) => octets as i32,
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// The receiving half of a TAP device's queue.
pub struct TapReceiver {
    file: File,
    ring: Option<Uring>,
    /// [`MAX_BATCH`] places.
    memory: Vec<u8>,
    slots: Vec<Slot>,
    results: Vec<i32>,
    /// Reads of the next call. One that finds nothing costs a little, too.
    wanted: usize,
    lost: u64,
}

impl TapReceiver {
    fn new(file: File) -> TapReceiver {
        TapReceiver {
            ring: ring_for(&file),
            file,
            memory: vec![0; MAX_BATCH * PLACE],
            slots: Vec::with_capacity(MAX_BATCH),
            results: Vec::with_capacity(MAX_BATCH),
            wanted: 1,
            lost: 0,
        }
    }

    /// Reads one frame into each place, as many as wanted.
    fn read(&mut self) {
        let places = self.memory.chunks_exact_mut(PLACE).take(self.wanted);
        match &mut self.ring {
            Some(ring) if self.wanted > 1 => ring.read(self.file.as_fd(), places, &mut self.results),
            // For a single frame the ring would be dearer.
            _ => {
                self.results.clear();
                for place in places {
                    let result = result_of((&self.file).read(place));
                    self.results.push(result);
                    if result < 0 {
                        break;
                    }
                }
            }
        }
    }

    /// How many frames to ask for after so many came.
    fn next_wanted(&self, frames: usize, octets: usize) -> usize {
        let most = if octets > frames * LONG { LONG_FRAMES } else { MAX_BATCH };
        // Without a ring the first read that finds nothing is the last.
        if self.ring.is_some() { (2 * frames).clamp(1, most) } else { most }
    }
}

/// What the header says that a frame was read with, now as it may be sent again; `None` for a frame that must be
/// dropped.
fn accept(read: &mut [u8]) -> Option<Offload> {
    let (header, frame) = read.split_first_chunk_mut::<{ vnet_header::LEN }>()?;
    let mut received = vnet_header::parse(header)?;
    if !vnet_header::settle_checksum(frame, &mut received) {
        return None;
    }
    vnet_header::normalize(header, &received);
    Some(received.offload)
}

impl FrameReceiver for TapReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.slots.clear();
        self.read();
        let (mut frames, mut octets, mut failure) = (0, 0, None);
        for (index, &result) in self.results.iter().enumerate() {
            let Ok(length) = usize::try_from(result) else {
                let error = io::Error::from_raw_os_error(-result);
                failure = failure.or(judge(error, "read from a TAP device").err());
                continue;
            };
            frames += 1;
            octets += length;
            let start = index * PLACE;
            match accept(&mut self.memory[start..start + length]) {
                Some(offload) => self.slots.push(Slot {
                    offset: start + vnet_header::LEN,
                    len: length - vnet_header::LEN,
                    offload,
                    verdict: Verdict::Consumed,
                }),
                None => self.lost += 1,
            }
        }
        self.wanted = self.next_wanted(frames, octets);
        match failure {
            Some(error) if self.slots.is_empty() => Err(error),
            _ => Ok(FrameBatch { memory: &mut self.memory, slots: &mut self.slots }),
        }
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
    ring: Option<Uring>,
    capabilities: Capabilities,
    results: Vec<i32>,
}

impl TapTransmitter {
    /// Writes one frame; whether the device took it.
    fn write(&self, parts: &[IoSlice<'_>]) -> Result<bool, IoError> {
        taken(result_of((&self.file).write_vectored(parts)))
    }

    /// Writes frames that lie behind their headers; how many the device took.
    fn write_whole(&mut self, frames: &[&[u8]]) -> Result<usize, IoError> {
        match &mut self.ring {
            Some(ring) if frames.len() > 1 => {
                ring.write(self.file.as_fd(), frames.iter().copied(), &mut self.results);
            }
            _ => {
                self.results.clear();
                let write = |frame: &&[u8]| result_of((&self.file).write(frame));
                self.results.extend(frames.iter().map(write));
            }
        }
        self.results.iter().try_fold(0, |sum, &result| Ok(sum + usize::from(taken(result)?)))
    }
}

/// Whether the device took a frame.
fn taken(result: i32) -> Result<bool, IoError> {
    match result {
        0.. => Ok(true),
        // A frame that the device does not take; others it may.
        error if error == -libc::EINVAL => Ok(false),
        error => judge(io::Error::from_raw_os_error(-error), "write to a TAP device").map(|()| false),
    }
}

impl FrameTransmitter for TapTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let (mut whole, mut count, mut taken) = ([&[][..]; MAX_BATCH], 0, 0);
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            let end = slot.offset + slot.len;
            let frame = &memory[slot.offset..end];
            let Some(header) = vnet_header::emit(frame, &slot.offload) else { continue };
            // A frame that came by a TAP device or a ring has the header that it came with before it, which mostly is the
            // one to go with: then there is but one piece to write.
            let before = slot.offset.wrapping_sub(vnet_header::LEN);
            match memory.get(before..end).filter(|piece| piece.starts_with(&header)) {
                Some(piece) => {
                    whole[count] = piece;
                    count += 1;
                }
                None => {
                    // Frames leave in their order.
                    taken += self.write_whole(&whole[..std::mem::take(&mut count)])?;
                    taken += usize::from(self.write(&[IoSlice::new(&header), IoSlice::new(frame)])?);
                }
            }
            if count == MAX_BATCH {
                taken += self.write_whole(&whole[..std::mem::take(&mut count)])?;
            }
        }
        Ok(taken + self.write_whole(&whole[..count])?)
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
