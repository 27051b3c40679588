//! The way out of a worker: each port's transmitter, what is sent through it, and what is counted there.

use genkan_control::api::IoCounters;
use genkan_engine::frame::{Offload, PortId, Slot};
use genkan_engine::verdict::Verdict;
use genkan_engine::{Router, Timestamp};
use genkan_io::{FrameTransmitter, IoError, MAX_BATCH};

use super::forwarder::PortTrouble;
use super::onlookers::Onlookers;

/// Octets of frames that the router made, gathered before they are sent.
const STAGE_OCTETS: usize = 128 << 10;

/// The way out of one port.
pub(super) struct Outlet {
    /// Absent while the port is closed.
    pub(super) transmitter: Option<Box<dyn FrameTransmitter>>,
    /// What was counted; without what receivers and the present transmitter count themselves.
    pub(super) io: IoCounters,
    /// Slots of the current batch that leave here.
    queue: Vec<u16>,
    faulty: bool,
}

/// All ports of a worker.
pub(super) struct Outlets {
    /// By [`PortId::index`].
    pub(super) ports: Vec<Outlet>,
    gathered: Gathered,
}

/// Frames for one port, copied together.
struct Gathered {
    memory: Vec<u8>,
    slots: Vec<Slot>,
    indices: Vec<u16>,
}

impl Outlets {
    /// Without transmitters.
    pub(super) fn new() -> Outlets {
        let outlet = || Outlet {
            transmitter: None,
            io: IoCounters::default(),
            queue: Vec::with_capacity(MAX_BATCH),
            faulty: false,
        };
        let gathered = Gathered {
            memory: Vec::with_capacity(STAGE_OCTETS),
            slots: Vec::with_capacity(MAX_BATCH),
            indices: (0..MAX_BATCH as u16).collect(),
        };
        Outlets { ports: std::iter::repeat_with(outlet).take(PortId::COUNT).collect(), gathered }
    }

    /// Sends the frames of a judged batch, port by port, each in order. Whether some are other workers'.
    pub(super) fn send_judged(
        &mut self,
        memory: &[u8],
        slots: &[Slot],
        troubles: &mut Vec<PortTrouble>,
    ) -> bool {
        const { assert!(PortId::COUNT <= u64::BITS as usize) }
        let (mut used, mut for_others) = (0u64, false);
        for (index, slot) in slots.iter().enumerate() {
            match slot.verdict {
                Verdict::Transmit(port) => {
                    self.ports[port.index()].queue.push(index as u16);
                    used |= 1 << port.index();
                }
                Verdict::HandOver(..) => for_others = true,
                Verdict::Consumed | Verdict::Drop(_) => {}
            }
        }
        while used != 0 {
            let port = PortId(used.trailing_zeros() as u8);
            used &= used - 1;
            let outlet = &mut self.ports[port.index()];
            let queue = std::mem::take(&mut outlet.queue);
            outlet.transmit(port, memory, slots, &queue, troubles);
            outlet.queue = queue;
            outlet.queue.clear();
        }
        for_others
    }

    /// Sends all that the router made, in its order, runs for one port together.
    pub(super) fn send_made(
        &mut self,
        router: &mut Router,
        troubles: &mut Vec<PortTrouble>,
        now: Timestamp,
        onlookers: &mut Option<Box<Onlookers>>,
    ) {
        let mut next = router.poll_transmit();
        while let Some(first) = next {
            let port = first.port;
            self.gathered.clear();
            self.gathered.push(&first.bytes, first.offload);
            next = loop {
                match router.poll_transmit() {
                    Some(more) if more.port == port && self.gathered.has_room(more.bytes.len()) => {
                        self.gathered.push(&more.bytes, more.offload);
                    }
                    other => break other,
                }
            };
            let Gathered { memory, slots, indices } = &self.gathered;
            if let Some(tap) = onlookers.as_mut().and_then(|onlookers| onlookers.tap()) {
                for slot in slots {
                    tap.made(now, port, &memory[slot.offset..slot.offset + slot.len], slot.offload);
                }
            }
            self.ports[port.index()].transmit(port, memory, slots, &indices[..slots.len()], troubles);
        }
    }
}

impl Outlet {
    /// Gives up the transmitter.
    pub(super) fn close(&mut self) {
        if let Some(transmitter) = self.transmitter.take() {
            self.io.tx_merged += transmitter.merged_frames();
        }
    }

    fn transmit(
        &mut self,
        port: PortId,
        memory: &[u8],
        slots: &[Slot],
        indices: &[u16],
        troubles: &mut Vec<PortTrouble>,
    ) {
        let outcome = match &mut self.transmitter {
            Some(transmitter) => transmitter.transmit(memory, slots, indices),
            None => Ok(0),
        };
        match outcome {
            Ok(taken) => {
                self.io.tx_refused += (indices.len() - taken.min(indices.len())) as u64;
                self.faulty = false;
            }
            Err(error) => {
                self.io.tx_errors += 1;
                self.io.tx_refused += indices.len() as u64;
                match error {
                    IoError::DeviceGone | IoError::EndOfInput => {
                        self.close();
                        troubles.push(PortTrouble::Gone(port));
                    }
                    error if !std::mem::replace(&mut self.faulty, true) => {
                        troubles.push(PortTrouble::Fault(port, error));
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Gathered {
    fn clear(&mut self) {
        self.memory.clear();
        self.slots.clear();
    }

    fn has_room(&self, octets: usize) -> bool {
        self.slots.len() < self.indices.len() && self.memory.len() + octets <= STAGE_OCTETS
    }

    fn push(&mut self, frame: &[u8], offload: Offload) {
        let slot = Slot { offset: self.memory.len(), len: frame.len(), offload, verdict: Verdict::Consumed };
        self.slots.push(slot);
        self.memory.extend_from_slice(frame);
    }
}
