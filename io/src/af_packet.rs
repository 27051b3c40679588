//! Network devices through packet sockets: what every kind of Linux device can do.
//!
//! Read first: packet(7), Documentation/networking/packet_mmap.rst. One device has four sockets: three that
//! receive through memory-mapped rings, one that sends.
//!
//! **Three rings.** Ordinary frames and the super-frames of TSO and GRO (up to 64 KiB whatever the MTU) want slots of
//! very different sizes: a slot too small cuts the frame, and large ones for all would be few and cold in the cache.
//! So the sockets form a fanout group whose classic BPF program ([`fanout`]) sends each frame, by its length, to the ring of
//! thousands of slots for frames up to the MTU, to a ring of 16 KiB slots, or to one with room for a 64 KiB packet in
//! each slot. Rings need no socket buffer, which a process without privileges could not enlarge. Frames are handed
//! out by their time of arrival: see `next_ring` below.
//!
//! TPACKET_V2, not V3: V3 wakes its reader only when a block of frames is full or has timed out, milliseconds later.
//!
//! The rings see every frame before the kernel's own stack does, and it sees them too: [`crate::isolation`] keeps
//! it from answering.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use genkan_engine::frame::{FrameBatch, Slot};
use genkan_engine::packet::merge::Merged;
use genkan_engine::verdict::Verdict;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use crate::classic_bpf::return_value;
use crate::error::IoError;
use crate::frame_arena::MAX_FRAME;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, MAX_BATCH, PollFds};
use crate::sys::ioctl;
use crate::sys::packet_socket;
use crate::sys::ring::{RingShape, RxRings, SlotHeader};
use crate::sys::send_batch::{Outgoing, Refused, SendBatch};
use crate::vnet_header;

mod fanout;
mod gate;

pub use self::fanout::Spread;
use self::fanout::{RINGS, join_group};
pub use self::gate::Gate;

/// Octets at the start of each slot before the frame: `tpacket2_hdr` (32), `sockaddr_ll` (20), rounded up to a
/// multiple of 16 with the link header, the virtio header (10) and [`RESERVE`]; less the link header.
const SLOT_HEADER: u32 = 80 + vnet_header::LEN as u32 + RESERVE - 14;
/// Puts the IP header on a multiple of 32 octets, so that Ethernet, IP and UDP headers share one cache line.
const RESERVE: u32 = 6;
/// Headers beyond the MTU that an ordinary frame may have: Ethernet and two VLAN tags.
const LINK_HEADERS: u32 = 14 + 2 * 4;
/// Slots start on cache lines. With an odd number of lines per slot, the headers of a batch spread over all cache
/// sets instead of competing for a few.
const CACHE_LINE: u32 = 64;

/// A worker looks at empty rings some ten million times a second while it waits for more frames, too often for a
/// system call each.
const LOOKS_PER_CHECK: u32 = 64;

/// Longest frame for the middle ring, in octets.
const MEDIUM_FRAME: u32 = 16 << 10;

/// How much memory the rings of one device have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfPacketOptions {
    /// Memory for frames up to the MTU, in octets. Default 8 MiB: some 4,700 frames of a 1500-octet MTU, 10 ms at
    /// 470,000 frames/s.
    pub small_ring: u32,
    /// Memory for frames up to 16 KiB, in octets. Default 8 MiB: 480 super-frames, 4.8 ms at 100,000 frames/s.
    pub medium_ring: u32,
    /// Memory for longer frames, in octets. Default 9 MiB: 135 super-frames, 5 ms at 14 Gbit/s.
    pub large_ring: u32,
    /// Socket buffer for frames on their way out, in octets. Default 4 MiB; without CAP_NET_ADMIN in the initial
    /// user namespace `net.core.wmem_max` bounds it. Queueing discipline and device bound the queue behind it.
    pub send_buffer: u32,
}

impl Default for AfPacketOptions {
    fn default() -> Self {
        AfPacketOptions {
            small_ring: 8 << 20,
            medium_ring: 8 << 20,
            large_ring: 9 << 20,
            send_buffer: 4 << 20,
        }
    }
}

impl AfPacketOptions {
    /// For each of several workers.
    fn shared_by(&self, workers: u8) -> AfPacketOptions {
        let part = |octets: u32, least: u32| (octets / u32::from(workers.max(1))).max(least.min(octets));
        AfPacketOptions {
            small_ring: part(self.small_ring, 2 << 20),
            medium_ring: part(self.medium_ring, 1 << 20),
            large_ring: part(self.large_ring, 2 << 20),
            ..*self
        }
    }
}

/// Opens both halves of a device, which may be down for now. The sockets follow the device, not the name.
///
/// # Errors
/// When the device does not exist, or without CAP_NET_RAW in the user namespace of the network namespace.
pub fn open(device: &str, options: &AfPacketOptions) -> Result<FrameIo, IoError> {
    Ok(FrameIo::new(AfPacketReceiver::open(device, options)?, AfPacketTransmitter::open(device, options)?))
}

/// Opens a device for several workers, 1 to 64, over which the kernel spreads its frames; a pair of halves for each.
/// They share the memory for the rings that `options` says, with room for a gap of scheduling in each.
///
/// # Errors
/// As [`open`].
pub fn open_workers(
    device: &str,
    options: &AfPacketOptions,
    workers: u8,
    spread: Spread,
) -> Result<Vec<FrameIo>, IoError> {
    let (ios, gate) = open_workers_shut(device, options, workers, spread)?;
    gate.open()?;
    Ok(ios)
}

/// As [`open_workers`], but nothing comes in before the gate is opened.
///
/// # Errors
/// As [`open`].
pub fn open_workers_shut(
    device: &str,
    options: &AfPacketOptions,
    workers: u8,
    spread: Spread,
) -> Result<(Vec<FrameIo>, Gate), IoError> {
    let receivers = AfPacketReceiver::open_group(device, &options.shared_by(workers), workers, spread)?;
    let gate = Gate::of(device, &receivers)?;
    let ios = receivers
        .into_iter()
        .map(|receiver| Ok(FrameIo::new(receiver, AfPacketTransmitter::open(device, options)?)));
    Ok((ios.collect::<Result<_, IoError>>()?, gate))
}

/// For `map_err` while a device is opened.
fn opening<'a>(device: &'a str, operation: &'static str) -> impl Fn(io::Error) -> IoError + 'a {
    move |source| IoError::Open { device: device.to_owned(), operation, source }
}

fn interface_index(device: &str) -> Result<u32, IoError> {
    ioctl::check_name(device)?;
    nix::net::if_::if_nametoindex(device).map_err(|errno| IoError::Open {
        device: device.to_owned(),
        operation: "look up",
        source: errno.into(),
    })
}

/// Takes an error off a socket; whether it says that the device is down or gone.
fn take_down_error(socket: BorrowedFd<'_>) -> Result<bool, IoError> {
    match getsockopt(&socket, sockopt::SocketError).map(Errno::from_raw) {
        Ok(errno) => Ok(matches!(errno, Errno::ENETDOWN | Errno::ENXIO)),
        Err(errno) => {
            Err(IoError::System { operation: "ask a packet socket for errors", source: errno.into() })
        }
    }
}

/// A ring of `octets` of memory whose slots hold frames of at least `frame` octets.
fn shape(frame: u32, block: u32, octets: u32) -> RingShape {
    let lines = (SLOT_HEADER + frame).div_ceil(CACHE_LINE) | 1;
    RingShape { slot: lines * CACHE_LINE, block, blocks: (octets / block).max(1) }
}

/// The rings for a device of this MTU, from small slots to large ones.
fn shapes(mtu: u32, options: &AfPacketOptions) -> [RingShape; RINGS] {
    // Devices with an MTU of up to 64 KiB have ordinary frames of every size.
    let ordinary = mtu.clamp(1280, 9216) + LINK_HEADERS;
    [
        shape(ordinary, 64 << 10, options.small_ring),
        shape(MEDIUM_FRAME, 256 << 10, options.medium_ring),
        shape(MAX_FRAME as u32, 1 << 20, options.large_ring),
    ]
}

/// The longest frame, in octets without the Ethernet header, that a ring's slots hold.
fn longest_packet(shape: &RingShape) -> u32 {
    shape.slot - SLOT_HEADER - 14
}

/// The receiving half of a device.
pub struct AfPacketReceiver {
    // Declared before the sockets, so that the rings are unmapped before the kernel frees them.
    rings: RxRings<RINGS>,
    sockets: [OwnedFd; RINGS],
    shapes: [RingShape; RINGS],
    interface: u32,
    /// An error said so, and no frame came since.
    down: bool,
    /// Times the rings were found empty since the device was looked at.
    empty_looks: u32,
    slots: Vec<Slot>,
    lost: u64,
}

impl AfPacketReceiver {
    /// Opens a device for receiving.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(device: &str, options: &AfPacketOptions) -> Result<AfPacketReceiver, IoError> {
        let mut one = Self::open_group(device, options, 1, Spread::DestinationPort)?;
        Gate::of(device, &one)?.open()?;
        Ok(one.remove(0))
    }

    /// Opens a device for several workers, with a filter that keeps everything out.
    fn open_group(
        device: &str,
        options: &AfPacketOptions,
        workers: u8,
        spread: Spread,
    ) -> Result<Vec<AfPacketReceiver>, IoError> {
        let at = |operation| opening(device, operation);
        let interface = interface_index(device)?;
        let receivers = (0..workers.max(1))
            .map(|_| Self::open_rings(device, interface, options))
            .collect::<Result<Vec<_>, _>>()?;
        // A socket must be bound before it can join the group: until the group is whole, no frame may pass.
        let sockets = || receivers.iter().flat_map(|receiver| &receiver.sockets).map(AsFd::as_fd);
        let mut group = None;
        for socket in sockets() {
            packet_socket::set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &[return_value(0)])
                .map_err(at("filter frames"))?;
            packet_socket::bind(socket, interface, libc::ETH_P_ALL as u16)
                .map_err(at("bind a packet socket"))?;
            group = Some(join_group(socket, group).map_err(at("join packet sockets to a group"))?);
        }
        let first = &receivers[0];
        let longest = [longest_packet(&first.shapes[0]), longest_packet(&first.shapes[1])];
        packet_socket::set_program(
            first.sockets[0].as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT_DATA,
            &fanout::program(longest, workers, spread),
        )
        .map_err(at("distribute frames"))?;
        Ok(receivers)
    }

    /// Sockets with rings that nothing comes into yet.
    fn open_rings(
        device: &str,
        interface: u32,
        options: &AfPacketOptions,
    ) -> Result<AfPacketReceiver, IoError> {
        let at = |operation| opening(device, operation);
        let open = || packet_socket::open().map_err(at("open a packet socket"));
        let sockets = [open()?, open()?, open()?];
        if ioctl::hardware_type(sockets[0].as_fd(), device)? != libc::ARPHRD_ETHER {
            return Err(IoError::NotEthernet { device: device.to_owned() });
        }
        let shapes = shapes(ioctl::mtu(sockets[0].as_fd(), device)?, options);
        for (ring, socket) in sockets.iter().enumerate() {
            let fd = socket.as_fd();
            let set = |option, value| packet_socket::set_option(fd, libc::SOL_PACKET, option, value);
            // All of these must be set before the ring is made.
            set(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as i32)
                .map_err(at("choose TPACKET_V2"))?;
            set(libc::PACKET_VNET_HDR, 1).map_err(at("ask for virtio headers"))?;
            set(libc::PACKET_RESERVE, RESERVE as i32).map_err(at("align the ring's frames"))?;
            shapes[ring].install(fd).map_err(at("make a receive ring"))?;
        }
        let rings = RxRings::map(std::array::from_fn(|ring| (sockets[ring].as_fd(), shapes[ring])))
            .map_err(at("map the receive rings"))?;
        let slots = Vec::with_capacity(MAX_BATCH);
        Ok(AfPacketReceiver {
            rings,
            sockets,
            shapes,
            interface,
            down: false,
            empty_looks: 0,
            slots,
            lost: 0,
        })
    }

    /// Asked now and then when the rings are empty: one system call while all is well. An error makes the sockets
    /// readable, so that a worker that would sleep comes back for it.
    ///
    /// A device that goes down shows as an error of the sockets, which must be taken off or they stay readable. One
    /// that is deleted goes down first, and the deletion itself then shows nowhere: so while it is down its existence
    /// is asked for. ([`crate::link_monitor`] is what wakes a waiting worker.)
    fn check_device(&mut self) -> Result<(), IoError> {
        // Errors are told unasked.
        let mut polled =
            self.sockets.each_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::empty()));
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(IoError::System { operation: "poll", source: errno.into() }),
        }
        for (socket, polled) in self.sockets.iter().zip(&polled) {
            if polled.revents().is_some_and(|events| events.contains(PollFlags::POLLERR)) {
                self.down |= take_down_error(socket.as_fd())?;
            }
        }
        if self.down && ioctl::device_name(self.sockets[0].as_fd(), self.interface).is_err() {
            return Err(IoError::DeviceGone);
        }
        Ok(())
    }

    /// Which ring holds the frame that arrived first.
    ///
    /// The kernel fills the rings in the order of arrival (for frames of one flow, which come one after the other
    /// from one CPU). A ring found empty says nothing about a moment later, so a frame is handed out only after all
    /// other rings were looked at *since* the frame was seen: whatever came before it is visible there by then.
    #[inline]
    fn next_ring(&self) -> Option<(usize, SlotHeader)> {
        let mut first: Option<(usize, SlotHeader)> = None;
        let (mut ring, mut looked_at) = (0, 0);
        while looked_at < RINGS {
            match self.rings.peek(ring) {
                Some(header) if first.is_none_or(|(_, first)| header.time < first.time) => {
                    first = Some((ring, header));
                    looked_at = 1;
                }
                _ => looked_at += 1,
            }
            ring = if ring + 1 == RINGS { 0 } else { ring + 1 };
        }
        first
    }
}

/// Reads a slot's headers; `None` for a frame that must be dropped: cut, or a kind of super-frame nobody asked for.
#[inline]
fn slot_of(memory: &mut [u8], header: &SlotHeader) -> Option<Slot> {
    if header.captured < header.length {
        return None;
    }
    let (before, rest) = memory.split_at_mut_checked(header.frame)?;
    let frame = rest.get_mut(..header.captured)?;
    let before = before.last_chunk_mut::<{ vnet_header::LEN }>()?;
    let mut received = vnet_header::parse(before)?;
    if received.checksum.is_some() && !vnet_header::settle_checksum(frame, &mut received) {
        return None;
    }
    vnet_header::normalize(before, &received);
    let mut offload = received.offload;
    if header.status & libc::TP_STATUS_VLAN_VALID != 0 {
        offload.vlan_tci = Some(header.vlan_tci);
    }
    Some(Slot { offset: header.frame, len: frame.len(), offload, verdict: Verdict::Consumed })
}

impl FrameReceiver for AfPacketReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.rings.release_all();
        self.slots.clear();
        while self.slots.len() < MAX_BATCH {
            let Some((ring, header)) = self.next_ring() else { break };
            self.rings.take(ring);
            if header.packet_type == libc::PACKET_OUTGOING {
                continue;
            }
            match slot_of(self.rings.memory(), &header) {
                Some(slot) => self.slots.push(slot),
                None => self.lost += 1,
            }
        }
        if !self.slots.is_empty() {
            self.down = false;
        } else if self.down || self.empty_looks >= LOOKS_PER_CHECK {
            self.empty_looks = 0;
            self.check_device()?;
        } else {
            self.empty_looks += 1;
        }
        Ok(FrameBatch { memory: self.rings.memory(), slots: &mut self.slots })
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        Some(self.sockets.each_ref().map(AsFd::as_fd).into())
    }

    fn skip_until(&mut self, wall: Duration) -> usize {
        let mut skipped = 0;
        self.slots.clear();
        self.rings.release_all();
        let is_older = |(_, header): &(usize, SlotHeader)| {
            let (seconds, nanoseconds) = header.time;
            Duration::new(seconds.into(), nanoseconds) <= wall
        };
        while let Some((ring, _)) = self.next_ring().filter(is_older) {
            self.rings.take(ring);
            self.rings.release_all();
            skipped += 1;
        }
        skipped
    }

    fn lost_frames(&mut self) -> u64 {
        for socket in &self.sockets {
            // A socket that cannot tell has lost nothing that could be told.
            self.lost += u64::from(packet_socket::take_lost_frames(socket.as_fd()).unwrap_or(0));
        }
        self.lost
    }
}

/// The transmitting half of a device.
///
/// Frames go through the device's queueing discipline, and the kernel finishes in software what the device cannot
/// do itself: everything the engine hands out is taken.
pub struct AfPacketTransmitter {
    socket: OwnedFd,
    batch: SendBatch<{ vnet_header::LEN }>,
    uso: bool,
}

impl AfPacketTransmitter {
    /// Opens a device for sending.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(device: &str, options: &AfPacketOptions) -> Result<AfPacketTransmitter, IoError> {
        let at = |operation| opening(device, operation);
        let interface = interface_index(device)?;
        let socket = packet_socket::open().map_err(at("open a packet socket"))?;
        let fd = socket.as_fd();
        packet_socket::set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
            .map_err(at("ask for virtio headers"))?;
        let size = i32::try_from(options.send_buffer).unwrap_or(i32::MAX);
        let set = |option| packet_socket::set_option(fd, libc::SOL_SOCKET, option, size);
        set(libc::SO_SNDBUFFORCE).or_else(|_| set(libc::SO_SNDBUF)).map_err(at("enlarge the send buffer"))?;
        // Protocol 0: this socket receives nothing.
        packet_socket::bind(fd, interface, 0).map_err(at("bind a packet socket"))?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        let uso = release.is_ok_and(|release| release_number(&release) >= Some(FIRST_WITH_USO));
        Ok(AfPacketTransmitter { socket, batch: SendBatch::new(), uso })
    }
}

/// The first kernel that takes a virtio header with VIRTIO_NET_HDR_GSO_UDP_L4; older ones refuse the frame.
const FIRST_WITH_USO: (u32, u32) = (6, 2);

/// The first two numbers of a kernel's release: "6.18.44-generic".
fn release_number(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A frame with its virtio header, or nothing where the frame cannot be sent as its slot says.
#[inline]
fn outgoing<'a>(memory: &'a [u8], slot: &Slot) -> Option<Whole<'a>> {
    let end = slot.offset + slot.len;
    let frame = &memory[slot.offset..end];
    let header = vnet_header::emit(frame, &slot.offload)?;
    // A frame of a ring has the header that it came with before it, which mostly is the one to go with.
    let before = slot.offset.wrapping_sub(vnet_header::LEN);
    let (header, start) = match memory.get(before..end) {
        Some(whole) if whole.starts_with(&header) => (None, whole),
        _ => (Some(header), frame),
    };
    Some(Outgoing { header, start, rest: std::iter::empty(), count: 1 })
}

/// A frame that lies in one piece.
type Whole<'a> = Outgoing<'a, { vnet_header::LEN }, std::iter::Empty<&'a [u8]>>;

impl AfPacketTransmitter {
    fn send<'a, R: Iterator<Item = &'a [u8]>>(
        &mut self,
        frames: impl Iterator<Item = Outgoing<'a, { vnet_header::LEN }, R>>,
    ) -> Result<usize, IoError> {
        let mut gone = false;
        let taken = self.batch.send(self.socket.as_fd(), frames, |errno| match errno {
            // The buffer is full, or the link is down: so it will be for the rest.
            Errno::EAGAIN | Errno::ENETDOWN => Refused::Stop,
            Errno::ENXIO | Errno::ENODEV => {
                gone = true;
                Refused::Stop
            }
            // ENOBUFS (a full queue of this flow), EMSGSIZE, EINVAL, ...: a matter of this frame.
            _ => Refused::Skip,
        });
        if gone { Err(IoError::DeviceGone) } else { Ok(taken) }
    }
}

impl FrameTransmitter for AfPacketTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        self.send(indices.iter().filter_map(|index| outgoing(memory, &slots[usize::from(*index)])))
    }

    fn transmit_merged(&mut self, merged: &Merged<'_>) -> Result<usize, IoError> {
        self.send(merged.frames().filter_map(|frame| {
            let header = vnet_header::emit(frame.start(), frame.offload())?;
            let (start, rest, count) = (frame.start(), frame.rest(), frame.count());
            Some(Outgoing { header: Some(header), start, rest, count })
        }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { uso: self.uso, ..Capabilities::ALL }
    }
}

impl std::fmt::Debug for AfPacketReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AfPacketReceiver")
            .field("interface", &self.interface)
            .field("sockets", &self.sockets.each_ref().map(AsRawFd::as_raw_fd))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_what_is_sent_to_them() {
        let shapes = shapes(1500, &AfPacketOptions::default());
        assert_eq!(shapes[0].slot, 27 * 64);
        for (shape, frame) in shapes.iter().zip([1500 + LINK_HEADERS, MEDIUM_FRAME, MAX_FRAME as u32]) {
            assert!(shape.slot - SLOT_HEADER >= frame);
            assert_eq!(shape.slot % 128, 64, "an odd number of cache lines");
            assert!(shape.block / shape.slot >= 15);
        }
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release_number("6.18.44-generic\n"), Some((6, 18)));
        assert!(
            release_number("5.15.0") < Some(FIRST_WITH_USO) && release_number("10.0") > Some(FIRST_WITH_USO)
        );
        assert_eq!(release_number("6.x"), None);
        assert!(release_number("") < Some(FIRST_WITH_USO));
    }

    #[test]
    fn jumbo_frames_are_ordinary_up_to_a_point() {
        for mtu in [9000, 16_000, 65_535] {
            let shapes = shapes_for(mtu);
            assert!(shapes[0].slot < shapes[1].slot && shapes[1].slot < shapes[2].slot);
        }
        assert!(shapes_for(9000)[0].slot >= 9000 + LINK_HEADERS + SLOT_HEADER);
    }

    fn shapes_for(mtu: u32) -> [RingShape; RINGS] {
        shapes(mtu, &AfPacketOptions::default())
    }

    #[test]
    fn an_absent_device_is_an_error_that_names_it() {
        let error = open("genkan-absent", &AfPacketOptions::default()).expect_err("no such device");
        assert!(error.to_string().contains("genkan-absent"), "{error}");
        assert!(matches!(
            open("much-too-long-a-name", &AfPacketOptions::default()),
            Err(IoError::DeviceName(_))
        ));
    }
}
