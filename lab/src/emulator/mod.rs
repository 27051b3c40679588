//! The link emulator: a program between two devices that delays, loses, doubles, reorders and slows down what passes.
//!
//! A cable of an adjustable lab ends at a bridge in the namespace [`WIRES`](crate::description::WIRES). A [`Splice`] takes
//! that end off the bridge, plugs another pair of devices in instead, and carries frames between the two by packet
//! sockets, through a [`Wire`] for each direction. Dropping it puts the cable back.
//!
//! Super-frames are cut into what a real wire would carry before anything happens to them.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_engine::Verdict;
use genkan_engine::frame::{GsoKind, Offload, Slot};
use genkan_engine::packet::segmentation;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::netlink::{Netlink, NetlinkError};
use genkan_io::{FrameIo, IoError, MAX_BATCH, device};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::time::TimeSpec;

use crate::description::Cable;
use crate::devices;

mod wire;

pub use wire::{Counts, Impairments, LONGEST_QUEUE, MOST_FRAMES, REORDER_WAIT, Wire};

/// Memory of the rings of a device: a tenth of a second at 1 Gbit/s, and some super-frames.
const OPTIONS: AfPacketOptions =
    AfPacketOptions { small_ring: 16 << 20, medium_ring: 2 << 20, large_ring: 4 << 20, send_buffer: 4 << 20 };

/// How soon it is seen that the thread that carries frames has ended.
const END_SEEN: Duration = Duration::from_millis(50);

/// Which way a frame goes on a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the computer into its network.
    Outward,
    /// From the network to the computer.
    Inward,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Outward, Direction::Inward];
}

/// Why a cable cannot be emulated.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// A device is missing.
    #[error(transparent)]
    Device(#[from] device::DeviceError),
    /// The devices cannot be joined as needed.
    #[error("cannot rearrange the lab's switches")]
    Network(#[from] NetlinkError),
    /// Frames cannot be read or written.
    #[error(transparent)]
    Frames(#[from] IoError),
    /// Something else could not be had.
    #[error("cannot start the emulator")]
    System(#[from] io::Error),
}

/// A frame on its way.
type Frame = (Vec<u8>, Offload);

/// What the thread that carries frames is told, and tells.
#[derive(Debug, Default)]
struct Shared {
    settings: Mutex<[Impairments; 2]>,
    /// How often the settings were changed, and with how many of these changes frames are carried.
    changes: AtomicU64,
    followed: Mutex<u64>,
    follows: Condvar,
    counts: Mutex<[Counts; 2]>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cable with an emulator in it.
#[derive(Debug)]
pub struct Splice {
    cable: Cable,
    shared: Arc<Shared>,
    /// A word here has the thread look at what has changed; its end ends the thread.
    call: UnixStream,
    carrier: Option<JoinHandle<()>>,
}

/// Names of the pair that goes between the emulator and the bridge.
fn pair(cable: &Cable) -> [String; 2] {
    [format!("e{}", cable.wire), format!("b{}", cable.wire)]
}

impl Splice {
    /// Puts an emulator into a cable, in the network namespace of the calling thread. It does nothing to frames yet.
    ///
    /// # Errors
    /// When a device is missing or the kernel refuses; the cable is then as it was.
    pub fn new(cable: &Cable) -> Result<Splice, SpliceError> {
        let mut netlink = Netlink::route()?;
        let wire = device::link(&cable.wire)?;
        let bridge = device::link(&cable.bridge)?.index;
        let [near, far] = pair(cable);
        // Left by an emulator that was killed.
        if let Ok(left) = device::link(&near) {
            devices::remove(&mut netlink, left.index)?;
        }
        devices::add_pair(&mut netlink, &near, &far, wire.mtu)?;
        let prepared = (|| {
            let [near_index, far_index] = [device::link(&near)?.index, device::link(&far)?.index];
            for index in [near_index, far_index] {
                devices::be_quiet(&mut netlink, index);
                devices::set_up(&mut netlink, index)?;
            }
            devices::set_bridge(&mut netlink, far_index, bridge)?;
            devices::set_bridge(&mut netlink, wire.index, 0)?;
            let ports = [af_packet::open(&cable.wire, &OPTIONS)?, af_packet::open(&near, &OPTIONS)?];
            let (call, called) = UnixStream::pair()?;
            called.set_nonblocking(true)?;
            Ok::<_, SpliceError>((ports, call, called))
        })();
        let (ports, call, called) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                restore(cable);
                return Err(error);
            }
        };
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let carrier = thread::Builder::new()
            .name(cable.name.clone())
            .spawn(move || Carrier::new(ports, told, called).carry());
        let mut splice = Splice { cable: cable.clone(), shared, call, carrier: None };
        splice.carrier = Some(carrier?);
        Ok(splice)
    }

    /// Changes one direction while frames pass. It counts for every frame that is sent after the return.
    pub fn set(&self, direction: Direction, impairments: Impairments) {
        let Shared { settings, changes, followed, follows, .. } = &*self.shared;
        locked(settings)[direction as usize] = impairments;
        let change = changes.fetch_add(1, Ordering::Release) + 1;
        // A thread that has ended needs no word.
        let _ = (&self.call).write(b"!");
        let mut at = locked(followed);
        while *at < change && !self.is_over() {
            (at, _) = follows.wait_timeout(at, END_SEEN).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What happens to frames of one direction, and what has become of them.
    pub fn state(&self, direction: Direction) -> (Impairments, Counts) {
        let settings = locked(&self.shared.settings)[direction as usize];
        (settings, locked(&self.shared.counts)[direction as usize])
    }

    /// Whether the devices are gone, and with them the lab.
    pub fn is_over(&self) -> bool {
        self.carrier.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        // The other end reads the end of it.
        let _ = self.call.shutdown(std::net::Shutdown::Both);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
        restore(&self.cable);
    }
}

/// Plugs a cable back into its bridge. Where that fails the lab is going away.
fn restore(cable: &Cable) {
    let back = || -> Result<(), SpliceError> {
        let mut netlink = Netlink::route()?;
        let [near, _] = pair(cable);
        devices::remove(&mut netlink, device::link(&near)?.index)?;
        let (wire, bridge) = (device::link(&cable.wire)?.index, device::link(&cable.bridge)?.index);
        Ok(devices::set_bridge(&mut netlink, wire, bridge)?)
    };
    let _ = back();
}

/// The thread that carries frames.
struct Carrier {
    ports: [FrameIo; 2],
    /// By direction.
    wires: [Wire<Frame>; 2],
    shared: Arc<Shared>,
    called: UnixStream,
    start: Instant,
    memory: Vec<u8>,
    slots: Vec<Slot>,
}

impl Carrier {
    fn new(ports: [FrameIo; 2], shared: Arc<Shared>, called: UnixStream) -> Carrier {
        let wires = [(); 2].map(|()| Wire::new(Impairments::default()));
        let (memory, slots) = (Vec::new(), Vec::new());
        Carrier { ports, wires, shared, called, start: Instant::now(), memory, slots }
    }

    /// Carries frames until it is told to end, or a device is gone.
    fn carry(mut self) {
        // Wake-ups are to be exact to less than the 50 us by which the kernel may delay them.
        let _ = prctl::set_timerslack(1);
        let mut followed = 0;
        while let Ok(busy) = self.move_frames() {
            if busy {
                *locked(&self.shared.counts) = [self.wires[0].counts(), self.wires[1].counts()];
            } else if !self.wait() {
                return;
            }
            let changes = self.shared.changes.load(Ordering::Acquire);
            if changes != followed {
                followed = changes;
                let settings = *locked(&self.shared.settings);
                self.wires.iter_mut().zip(settings).for_each(|(wire, settings)| wire.set(settings));
                *locked(&self.shared.followed) = followed;
                self.shared.follows.notify_all();
            }
        }
    }

    /// Takes in what has come and sends what is due; whether there was anything.
    fn move_frames(&mut self) -> Result<bool, IoError> {
        let mut busy = false;
        for (port, wire) in self.ports.iter_mut().zip(&mut self.wires) {
            let batch = port.receiver.receive()?;
            let now = self.start.elapsed();
            for slot in batch.slots.iter() {
                busy = true;
                let frame = &batch.memory[slot.offset..slot.offset + slot.len];
                if slot.offload.gso == GsoKind::None {
                    wire.push(now, (frame.to_vec(), slot.offload), frame.len());
                    continue;
                }
                // What cannot be cut is nothing that a real wire could carry.
                let _ = segmentation::segment(frame, &slot.offload, &mut self.memory, |segment| {
                    wire.push(now, (segment.to_vec(), Offload::default()), segment.len());
                });
            }
        }
        let now = self.start.elapsed();
        let [first, second] = &mut self.ports;
        for (wire, out) in self.wires.iter_mut().zip([second, first]) {
            loop {
                self.memory.clear();
                self.slots.clear();
                while self.slots.len() < MAX_BATCH
                    && let Some((frame, offload)) = wire.pop(now)
                {
                    let offset = self.memory.len();
                    self.memory.extend_from_slice(&frame);
                    self.slots.push(Slot { offset, len: frame.len(), offload, verdict: Verdict::Consumed });
                }
                if self.slots.is_empty() {
                    break;
                }
                busy = true;
                let indices: [u16; MAX_BATCH] = std::array::from_fn(|index| index as u16);
                out.transmitter.transmit(&self.memory, &self.slots, &indices[..self.slots.len()])?;
            }
        }
        Ok(busy)
    }

    /// Sleeps until a frame comes, one is due, or somebody calls; false when that was the end.
    fn wait(&mut self) -> bool {
        let due = self.wires.iter().filter_map(Wire::next_due).min();
        let timeout = due.map(|due| TimeSpec::from(due.saturating_sub(self.start.elapsed())));
        let mut fds = vec![PollFd::new(self.called.as_fd(), PollFlags::POLLIN)];
        let ports = self.ports.iter().filter_map(|port| port.receiver.poll_fds());
        let ports: Vec<_> = ports.flat_map(|fds| fds.iter().collect::<Vec<_>>()).collect();
        fds.extend(ports.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
        let mut words = [0; 16];
        match io::Read::read(&mut self.called, &mut words) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
