//! Network devices through AF_XDP sockets: frames go by the kernel's stack altogether.
//!
//! Read first: Documentation/networking/af_xdp.rst. A small eBPF program at the device ([`crate::sys`]'s `bpf`) hands each
//! frame to the socket of the receive queue that it came on; there is a socket for every queue. The kernel's stack never
//! sees them. What the program passes on (frames of a queue that was added later) is kept from the stack by
//! [`crate::isolation`], as with packet sockets.
//!
//! **Modes**, tried in this order, each refusal with its reason: in the driver without copying, in the driver with the
//! kernel copying, in the kernel's common path ("generic", SKB mode). The first needs support of the driver, the second
//! of most, the last works everywhere but loses every frame longer than a chunk: see [`Opened::warning`].
//!
//! **Memory.** Ports that are opened with one [`SharedMemory`] use the same chunks. A frame that arrives at one and
//! leaves by another is not copied by us: its chunk moves from the receive ring of the one to the transmit ring of
//! the other, and from its completion ring back to whoever next needs a chunk to receive into. Each receiver sees the
//! memory at addresses of its own, so that two batches may be held at once. [`chunks`] keeps the books.
//!
//! **What gets lost without virtio headers.** Super-frames do not exist here: those of the engine are cut in software
//! ([`crate::software_offload`]), and a peer on the same machine must not send any. Checksums that a peer on the same
//! machine left to its device are finished on arrival: [`unfinished`]. VLAN tags that a device took off are not told:
//! prepare it with `bare: true` ([`crate::device::DeviceOptions`]); a veth's peer must itself have
//! `tx-vlan-offload` off.
//!
//! xdpilone, the one crate in pure Rust that could be used, has a licence (EUPL-1.2) that asks for more than ours, and
//! counts ring entries without wrapping; the socket interface is small enough to have it here ([`crate::sys`]'s `xdp`).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt};

mod chunks;
mod facts;
mod memory;
mod receiver;
mod transmitter;
mod unfinished;

use facts::Facts;
use memory::{Memory, QueueSocket};
use receiver::{AfXdpReceiver, Inlet};
use transmitter::AfXdpTransmitter;

use crate::error::IoError;
use crate::frame_io::{FrameIo, MAX_BATCH};
use crate::sys::bpf::{Hook, SocketMap};

/// Octets that the kernel keeps free before a frame in its chunk (XDP_PACKET_HEADROOM).
const HEADROOM: u32 = 256;
/// An Ethernet header and two VLAN tags.
const LINK_HEADERS: u32 = 14 + 2 * 4;
/// Sizes of chunks, in octets; the kernel takes none larger than a page.
const CHUNKS: [u32; 2] = [2048, 4096];
/// Chunks that the kernel has to receive into, over all queues of a port: 10 ms at 400,000 frames/s.
const RECEIVE_RING: u32 = 4096;
/// Fewest of them for one queue.
const SHORTEST_RING: u32 = 512;
/// Frames on their way out of a port.
const TRANSMIT_RING: u32 = 2048;
/// Octets of frames that the kernel may have copied for us and not yet sent.
const SEND_BUFFER: usize = 8 << 20;
/// A queue stays busy for a moment after its socket was closed: the kernel takes it down later.
const BUSY_PATIENCE: Duration = Duration::from_millis(1500);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How frames move between a device and our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The driver runs the program, and reads and writes our memory itself.
    ZeroCopy,
    /// The driver runs the program; the kernel copies.
    Native,
    /// The kernel runs the program on its own buffers, and copies (SKB mode).
    Generic,
}

impl Mode {
    const ALL: [Mode; 3] = [Mode::ZeroCopy, Mode::Native, Mode::Generic];

    fn hook(self) -> Hook {
        match self {
            Mode::ZeroCopy | Mode::Native => Hook::Driver,
            Mode::Generic => Hook::Generic,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "native mode, zero-copy",
            Mode::Native => "native mode, copying",
            Mode::Generic => "generic mode, copying",
        })
    }
}

/// Why a mode is not possible on a device.
#[derive(Debug, thiserror::Error)]
#[error("{mode}: {cause}")]
pub struct Refusal {
    /// The mode.
    pub mode: Mode,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the driver ({0}) has none")]
    NoZeroCopy(String),
    #[error("the driver ({0}) runs no XDP programs")]
    NoPrograms(String),
    #[error("{operation}: {source}{}", hint(operation, source))]
    System { operation: &'static str, source: io::Error },
}

const LOAD: &str = "make a map for the XDP program";
const ATTACH: &str = "attach the XDP program";

fn hint(operation: &str, source: &io::Error) -> &'static str {
    match (operation, source.raw_os_error()) {
        (LOAD | ATTACH, Some(libc::EPERM)) => {
            " (bpf(2) wants CAP_BPF and CAP_NET_ADMIN in the initial user namespace)"
        }
        (ATTACH, Some(libc::EBUSY | libc::EEXIST)) => " (another XDP program is attached: ip link show)",
        (ATTACH, Some(libc::ERANGE)) => " (the MTU is too large for it)",
        _ => "",
    }
}

/// Why AF_XDP is not possible on a device.
#[derive(Debug, thiserror::Error)]
pub enum AfXdpError {
    /// As with every back end.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A frame must fit a chunk, and a chunk a page.
    #[error("AF_XDP carries an MTU of up to {greatest} octets, and that of {device} is {mtu}")]
    Mtu {
        /// The device's name.
        device: String,
        /// Its IP MTU in octets.
        mtu: u32,
        /// The greatest possible.
        greatest: u32,
    },
    /// No mode works.
    #[error("no mode of AF_XDP works on {device}: {}", list(refusals))]
    NoMode {
        /// The device's name.
        device: String,
        /// One for each mode that was tried.
        refusals: Vec<Refusal>,
    },
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

/// The greatest IP MTU in octets that AF_XDP carries.
pub const GREATEST_MTU: u32 = CHUNKS[CHUNKS.len() - 1] - HEADROOM - LINK_HEADERS;

/// The program at a device. The kernel takes it off when this is dropped.
struct Program {
    map: SocketMap,
    _link: OwnedFd,
}

/// Memory that the ports of one worker share.
#[derive(Default)]
pub struct SharedMemory {
    /// Ports to make room for at once.
    ports: u32,
    memories: Vec<Weak<Memory>>,
}

impl SharedMemory {
    /// For so many ports: some 13 MiB each, taken when the first is opened. Further ports get memory of their own.
    pub fn new(ports: usize) -> SharedMemory {
        SharedMemory { ports: u32::try_from(ports).unwrap_or(1).clamp(1, 64), memories: Vec::new() }
    }

    /// Frames that had to be copied to be sent, as they lay elsewhere or were sent before.
    pub fn copied_frames(&self) -> u64 {
        self.memories.iter().filter_map(Weak::upgrade).map(|memory| memory.pool().copies).sum()
    }

    /// One with room for `claim` chunks more, made if need be.
    fn find(&mut self, chunk: u32, zero_copy: bool, claim: u32) -> io::Result<Arc<Memory>> {
        self.memories.retain(|memory| memory.strong_count() > 0);
        let fits = |memory: &Arc<Memory>| {
            memory.chunk == chunk && memory.zero_copy == zero_copy && memory.has_room(claim)
        };
        if let Some(memory) = self.memories.iter().filter_map(Weak::upgrade).find(fits) {
            return Ok(memory);
        }
        let memory = Arc::new(Memory::new(chunk, self.ports * claim, zero_copy)?);
        self.memories.push(Arc::downgrade(&memory));
        Ok(memory)
    }
}

/// A port, and how it came about.
pub struct Opened {
    /// Its halves. It takes finished frames only.
    pub io: FrameIo,
    /// How frames move.
    pub mode: Mode,
    /// Why no better mode was taken.
    pub refusals: Vec<Refusal>,
    /// The greatest IP MTU in octets whose packets the memory has room for.
    pub greatest_mtu: u32,
    /// What the administrator should know: in generic mode, that frames may get lost.
    pub warning: Option<String>,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.fmt(f)?;
        if self.refusals.is_empty() { Ok(()) } else { write!(f, "; not in {}", list(&self.refusals)) }
    }
}

/// Octets of the chunks for a device of this MTU.
fn chunk_size(mtu: u32) -> Option<u32> {
    CHUNKS.into_iter().find(|chunk| mtu + LINK_HEADERS + HEADROOM <= *chunk)
}

/// Entries of each receive ring of a device with so many queues.
fn receive_ring(queues: u32) -> u32 {
    (RECEIVE_RING / queues.next_power_of_two()).max(SHORTEST_RING)
}

/// Chunks that one queue can have in all states together: to receive into, on their way out, and held by a batch. A
/// memory that has so many for each of its sockets never lacks a free one.
fn claim(ring: u32, is_first: bool) -> u32 {
    ring + 2 * MAX_BATCH as u32 + if is_first { TRANSMIT_RING } else { 0 }
}

/// Opens both halves of a device, which may be down for now, in the best of the modes.
///
/// # Errors
/// When the device does not exist, its MTU is too large, or no mode works: without CAP_BPF, CAP_NET_ADMIN and
/// CAP_NET_RAW in the initial user namespace none does.
pub fn open(device: &str, memory: &mut SharedMemory, modes: &[Mode]) -> Result<Opened, AfXdpError> {
    let facts = Facts::of(device)?;
    let Some(chunk) = chunk_size(facts.mtu) else {
        return Err(AfXdpError::Mtu { device: device.to_owned(), mtu: facts.mtu, greatest: GREATEST_MTU });
    };
    let mut refusals = Vec::new();
    for mode in Mode::ALL.into_iter().filter(|mode| modes.contains(mode)) {
        match open_in(mode, chunk, &facts, memory) {
            Ok(io) => {
                let warning = (mode == Mode::Generic && facts.joins_stacks()).then(|| {
                    format!(
                        "{device}: frames longer than {} octets are lost in AF_XDP's generic mode: switch TCP and UDP \
                         segmentation offload off at the other end (ethtool -K ... tso off gso off)",
                        chunk - HEADROOM
                    )
                });
                let greatest_mtu = chunk - HEADROOM - LINK_HEADERS;
                return Ok(Opened { io, mode, refusals, greatest_mtu, warning });
            }
            Err(cause) => refusals.push(Refusal { mode, cause }),
        }
    }
    Err(AfXdpError::NoMode { device: device.to_owned(), refusals })
}

/// Every mode, for [`open`].
pub const ALL_MODES: &[Mode] = &Mode::ALL;

/// For `map_err`.
fn system(operation: &'static str) -> impl Fn(io::Error) -> Cause {
    move |source| Cause::System { operation, source }
}

fn open_in(mode: Mode, chunk: u32, facts: &Facts, shared: &mut SharedMemory) -> Result<FrameIo, Cause> {
    let driver = || facts.driver_name().to_owned();
    if mode != Mode::Generic && facts.features.is_some_and(|features| !features.runs_programs()) {
        return Err(Cause::NoPrograms(driver()));
    }
    if mode == Mode::ZeroCopy && facts.features.is_some_and(|features| !features.zero_copy()) {
        return Err(Cause::NoZeroCopy(driver()));
    }
    let map = SocketMap::new(facts.queues).map_err(system(LOAD))?;
    let attach = || map.attach(facts.index, mode.hook());
    let link = patiently(attach).map_err(system(ATTACH))?;
    let program = Arc::new(Program { map, _link: link });

    let ring = receive_ring(facts.queues);
    let claims: u32 = (0..facts.queues).map(|queue| claim(ring, queue == 0)).sum();
    let memory =
        shared.find(chunk, mode == Mode::ZeroCopy, claims).map_err(system("get memory for frames"))?;
    let mut inlets = Vec::new();
    let mut outlet = None;
    for queue in 0..facts.queues {
        let is_first = queue == 0;
        let open = || open_queue(facts.index, queue, ring, is_first, &memory);
        let opened = patiently(open).map_err(system("bind an AF_XDP socket to a queue"))?;
        program.map.set(queue, opened.inlet.socket.as_fd()).map_err(system("give the program a socket"))?;
        if let Some(rings) = opened.transmit {
            let socket = Arc::clone(&opened.inlet.socket);
            outlet = Some(AfXdpTransmitter::new(rings, socket, TRANSMIT_RING, Arc::clone(&program)));
        }
        inlets.push(opened.inlet);
    }
    let transmitter = outlet.expect("a device has at least one queue");
    let readable = readable(&inlets).map_err(system("watch AF_XDP sockets"))?;
    let receiver = AfXdpReceiver::new(inlets, memory, facts.joins_stacks(), readable, program)
        .map_err(system("map the memory for frames"))?;
    Ok(FrameIo::new(receiver, transmitter))
}

/// Tries again for a while what the kernel is still busy with.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + BUSY_PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

/// A bound queue.
struct OpenQueue {
    inlet: Inlet,
    transmit: Option<(crate::sys::xdp::Producer<libc::xdp_desc>, crate::sys::xdp::Consumer<u64>)>,
}

fn open_queue(
    interface: u32,
    queue: u32,
    ring: u32,
    transmits: bool,
    memory: &Arc<Memory>,
) -> io::Result<OpenQueue> {
    let socket = Arc::new(QueueSocket::open(Arc::clone(memory), claim(ring, transmits))?);
    let (fill, receive) = socket.socket().receive_rings(ring)?;
    let transmit = if transmits {
        // Bounded by net.core.wmem_max without CAP_NET_ADMIN in the initial user namespace.
        setsockopt(&socket.as_fd(), sockopt::SndBufForce, &SEND_BUFFER)
            .or_else(|_| setsockopt(&socket.as_fd(), sockopt::SndBuf, &SEND_BUFFER))?;
        Some(socket.socket().transmit_rings(TRANSMIT_RING)?)
    } else {
        socket.socket().completion_ring(MAX_BATCH as u32)?;
        None
    };
    socket.bind(interface, queue)?;
    let mut inlet = Inlet { receive, fill, socket, filled: 0, ring };
    inlet.refill(&mut memory.pool());
    Ok(OpenQueue { inlet, transmit })
}

/// One descriptor for several sockets.
fn readable(inlets: &[Inlet]) -> io::Result<Option<Epoll>> {
    if inlets.len() < 2 {
        return Ok(None);
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for inlet in inlets {
        epoll.add(inlet.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    }
    Ok(Some(epoll))
}

/// What [`advise`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// AF_XDP, in [`Mode::ZeroCopy`].
    AfXdp,
    /// AF_PACKET, for this reason.
    AfPacket(String),
}

/// Which back end suits a device that nothing was asked for: AF_XDP where the driver can do without copies and no
/// super-frames are at stake, else AF_PACKET.
///
/// # Errors
/// When the device does not exist or carries no Ethernet frames.
pub fn advise(device: &str) -> Result<Advice, IoError> {
    Ok(advise_for(&Facts::of(device)?))
}

fn advise_for(facts: &Facts) -> Advice {
    let driver = facts.driver_name();
    let against = match facts.features {
        None => "this kernel does not tell what drivers can do with XDP".to_owned(),
        Some(features) if !features.zero_copy() => {
            format!("the driver ({driver}) has no zero-copy AF_XDP, and a copying one slows TCP streams down")
        }
        Some(_) if facts.joins_stacks() => {
            format!("the driver ({driver}) passes on super-frames, which AF_XDP cannot carry")
        }
        Some(_) if chunk_size(facts.mtu).is_none() => {
            format!("AF_XDP carries an MTU of up to {GREATEST_MTU} octets, and this is {}", facts.mtu)
        }
        Some(_) => return Advice::AfXdp,
    };
    Advice::AfPacket(against)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ethtool::Driver;
    use facts::Features;

    fn facts(driver: &str, bus: &str, features: Option<u64>, mtu: u32) -> Facts {
        let driver = Driver { name: driver.to_owned(), bus: bus.to_owned() };
        Facts { index: 2, mtu, driver, queues: 1, features: features.map(Features::new) }
    }

    #[test]
    fn advice_follows_what_the_device_can_do() {
        let why_not = |facts: &Facts| match advise_for(facts) {
            Advice::AfXdp => String::new(),
            Advice::AfPacket(reason) => reason,
        };
        // BASIC, REDIRECT, NDO_XMIT, XSK_ZEROCOPY.
        let (all, copying) = (Some(0b1111), Some(0b0111));
        let nic = "0000:03:00.0";
        assert_eq!(advise_for(&facts("ice", nic, all, 1500)), Advice::AfXdp);
        assert!(why_not(&facts("ice", nic, copying, 1500)).contains("zero-copy"));
        assert!(why_not(&facts("ice", nic, all, 9000)).contains("MTU of up to 3818 octets"));
        assert!(why_not(&facts("ice", nic, None, 1500)).contains("does not tell"));
        assert!(why_not(&facts("veth", "", copying, 1500)).contains("(veth) has no zero-copy"));
        assert!(why_not(&facts("virtio_net", nic, all, 1500)).contains("super-frames"));
    }

    #[test]
    fn chunks_hold_what_the_mtu_allows() {
        assert_eq!(chunk_size(1500), Some(2048));
        assert_eq!(chunk_size(1770), Some(2048));
        assert_eq!(chunk_size(1771), Some(4096));
        assert_eq!(chunk_size(GREATEST_MTU), Some(4096));
        assert_eq!(chunk_size(GREATEST_MTU + 1), None);
    }

    #[test]
    fn rings_of_many_queues_share_what_one_would_have() {
        assert_eq!([1, 2, 3, 8, 64].map(receive_ring), [4096, 2048, 1024, 512, 512]);
    }

    #[test]
    fn an_absent_device_is_an_error_that_names_it() {
        let error =
            open("genkan-absent", &mut SharedMemory::new(1), ALL_MODES).err().expect("no such device");
        assert!(error.to_string().contains("genkan-absent"), "{error}");
        assert!(advise("genkan-absent").is_err());
        assert!(matches!(advise("lo"), Err(IoError::NotEthernet { .. })));
    }
}
