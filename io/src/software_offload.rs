//! Does in software what a transmitter's device cannot: completes partial checksums and cuts super-frames.
//!
//! The engine takes every port for one that can do both. This wrapper stands before those that cannot, so that the
//! work is done last and only where it is needed.

use genkan_engine::frame::{GsoKind, Offload, Slot};
use genkan_engine::packet::segmentation;
use genkan_engine::verdict::Verdict;

use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameIo, FrameTransmitter, MAX_BATCH};

/// Octets of finished frames that are gathered before they are sent: with a batch of ordinary frames of an MTU of
/// 1,500 octets they are sent together, and stay in the cache.
const GATHERED: usize = 128 << 10;

/// A transmitter that takes everything, over one that does not.
pub struct SoftwareOffload<T> {
    inner: T,
    capabilities: Capabilities,
    /// Finished frames on their way to `inner`.
    memory: Vec<u8>,
    slots: Vec<Slot>,
    indices: [u16; MAX_BATCH],
}

impl<T: FrameTransmitter> SoftwareOffload<T> {
    /// Wraps a transmitter.
    pub fn new(inner: T) -> SoftwareOffload<T> {
        let capabilities = inner.capabilities();
        SoftwareOffload {
            inner,
            capabilities,
            memory: Vec::new(),
            slots: Vec::new(),
            indices: std::array::from_fn(|index| index as u16),
        }
    }

    fn can_send(&self, offload: &Offload) -> bool {
        let can_segment = match offload.gso {
            GsoKind::None => true,
            GsoKind::TcpV4 => self.capabilities.tso,
            GsoKind::UdpL4 => self.capabilities.uso,
            GsoKind::TcpV6 => false,
        };
        can_segment && (self.capabilities.partial_checksum || !offload.partial_checksum)
    }

    /// Finishes frames and sends what comes of them, many together; how many of the frames were taken.
    fn finish<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a [u8], &'a Offload)>,
    ) -> Result<usize, IoError> {
        let (mut taken, mut gathered) = (0, 0);
        for (frame, offload) in frames {
            let (memory, slots) = (&mut self.memory, &mut self.slots);
            let mut offset = memory.len();
            let made = segmentation::append_segments(frame, offload, memory, |len| {
                slots.push(Slot { offset, len, offload: Offload::default(), verdict: Verdict::Consumed });
                offset += len;
            });
            // Else it is not what the engine lets out; no device would make sense of it either.
            gathered += usize::from(made.is_ok());
            if self.slots.len() >= MAX_BATCH || self.memory.len() >= GATHERED {
                taken += self.send(gathered)?;
                gathered = 0;
            }
        }
        Ok(taken + self.send(gathered)?)
    }

    /// Sends what was gathered, which stands for so many frames; how many of them were taken.
    fn send(&mut self, frames: usize) -> Result<usize, IoError> {
        let mut lost = 0;
        for slots in self.slots.chunks(MAX_BATCH) {
            lost += slots.len() - self.inner.transmit(&self.memory, slots, &self.indices[..slots.len()])?;
        }
        self.memory.clear();
        self.slots.clear();
        Ok(frames.saturating_sub(lost))
    }
}

impl<T: FrameTransmitter> FrameTransmitter for SoftwareOffload<T> {
    /// Each segment of a super-frame that was not taken counts as a frame that was not, up to all of those that were
    /// finished with it.
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let slot = |index: &u16| &slots[usize::from(*index)];
        let mut taken = 0;
        let mut rest = indices;
        while !rest.is_empty() {
            // What needs nothing goes on together from where it lies, and so does what needs something, in order.
            let is_ready = |index: &u16| self.can_send(&slot(index).offload);
            let ready = rest.iter().position(|index| !is_ready(index)).unwrap_or(rest.len());
            let (now, after) = rest.split_at(ready);
            let unready = after.iter().position(is_ready).unwrap_or(after.len());
            let (then, after) = after.split_at(unready);
            if !now.is_empty() {
                taken += self.inner.transmit(memory, slots, now)?;
            }
            // What an error left.
            self.memory.clear();
            self.slots.clear();
            taken += self.finish(then.iter().map(|index| {
                let Slot { offset, len, offload, .. } = slot(index);
                (&memory[*offset..offset + len], offload)
            }))?;
            rest = after;
        }
        Ok(taken)
    }

    fn merged_frames(&self) -> u64 {
        self.inner.merged_frames()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

impl FrameIo {
    /// A port that takes everything the engine may hand out: wrapped where its device needs it, else as it is.
    pub fn with_software_offload(self) -> FrameIo {
        if self.transmitter.capabilities() == Capabilities::ALL {
            return self;
        }
        FrameIo { receiver: self.receiver, transmitter: Box::new(SoftwareOffload::new(self.transmitter)) }
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::packet::parsed::parse_ipv4;
    use genkan_engine::wire::{checksum, ipv4::Protocol};

    use super::*;
    use crate::loopback;

    /// An IPv4 frame whose transport checksum is partial.
    fn frame(protocol: Protocol, payload: usize) -> Vec<u8> {
        let (source, destination) = ([192, 0, 2, 1], [198, 51, 100, 1]);
        let transport = if protocol == Protocol::TCP { 20 } else { 8 };
        let length = (transport + payload) as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let mut header = vec![0x45, 0];
        header.extend_from_slice(&(20 + length).to_be_bytes());
        header.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol.0, 0, 0]);
        header.extend_from_slice(&source);
        header.extend_from_slice(&destination);
        let sum = checksum::finish(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&header);
        let mut segment = vec![0; transport + payload];
        segment[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
        let field = if protocol == Protocol::TCP {
            segment[12..14].copy_from_slice(&[0x50, 0x10]);
            16
        } else {
            segment[4..6].copy_from_slice(&length.to_be_bytes());
            6
        };
        for (i, octet) in segment[transport..].iter_mut().enumerate() {
            *octet = i as u8;
        }
        let pseudo = checksum::pseudo_header_sum(source.into(), destination.into(), protocol, length);
        segment[field..field + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
        frame.extend_from_slice(&segment);
        frame
    }

    fn is_finished(frame: &[u8]) -> bool {
        let parsed = parse_ipv4(frame).expect("a whole packet");
        let segment = &frame[usize::from(parsed.l4)..parsed.end as usize];
        let pseudo = checksum::pseudo_header_sum(
            parsed.source,
            parsed.destination,
            parsed.protocol,
            segment.len() as u16,
        );
        checksum::finish(pseudo + checksum::sum(segment)) == 0
    }

    const PARTIAL: Offload =
        Offload { partial_checksum: true, gso: GsoKind::None, gso_size: 0, gso_ecn: false, vlan_tci: None };

    /// Sends frames of all kinds through the wrapper; what arrives.
    fn sent_over(capabilities: Capabilities) -> Vec<(Vec<u8>, Offload)> {
        let (a, mut b) = loopback::pair_with(10_000, capabilities).expect("file descriptors are left");
        let mut a = a.with_software_offload();
        assert_eq!(a.transmitter.capabilities(), Capabilities::ALL);
        let frames = [
            (frame(Protocol::UDP, 10), Offload::default()),
            (frame(Protocol::UDP, 10), PARTIAL),
            (frame(Protocol::TCP, 60_000), Offload { gso: GsoKind::TcpV4, gso_size: 500, ..PARTIAL }),
            (frame(Protocol::UDP, 11), Offload::default()),
            (frame(Protocol::UDP, 2_500), Offload { gso: GsoKind::UdpL4, gso_size: 1000, ..PARTIAL }),
            (frame(Protocol::UDP, 12), Offload::default()),
        ];
        let (mut memory, mut slots) = (Vec::new(), Vec::new());
        for (frame, offload) in &frames {
            let (offset, len) = (memory.len(), frame.len());
            slots.push(Slot { offset, len, offload: *offload, verdict: Verdict::Consumed });
            memory.extend_from_slice(frame);
        }
        let taken = a.transmitter.transmit(&memory, &slots, &[0, 1, 2, 3, 4, 5]).expect("b is there");
        assert_eq!(taken, 6);
        let mut arrived = Vec::new();
        loop {
            let batch = b.receiver.receive().expect("a is there");
            if batch.slots.is_empty() {
                return arrived;
            }
            for slot in batch.slots.iter() {
                arrived.push((batch.memory[slot.offset..slot.offset + slot.len].to_vec(), slot.offload));
            }
        }
    }

    #[test]
    fn everything_is_finished_for_a_device_that_can_do_nothing() {
        let arrived = sent_over(Capabilities::NONE);
        let lengths: Vec<usize> = arrived.iter().map(|(frame, _)| frame.len()).collect();
        let mut expected = vec![52, 52];
        expected.extend([14 + 40 + 500; 120]);
        expected.extend([53, 1042, 1042, 542, 54]);
        assert_eq!(lengths, expected);
        assert!(arrived.iter().all(|(_, offload)| *offload == Offload::default()));
        // All but those that came unfinished and unmarked.
        let finished = arrived.iter().filter(|(frame, _)| is_finished(frame)).count();
        assert_eq!(finished, arrived.len() - 3);
    }

    #[test]
    fn what_the_device_can_do_is_left_to_it() {
        let arrived = sent_over(Capabilities { partial_checksum: true, tso: true, uso: false });
        let lengths: Vec<usize> = arrived.iter().map(|(frame, _)| frame.len()).collect();
        assert_eq!(lengths, [52, 52, 60_054, 53, 1042, 1042, 542, 54]);
        assert_eq!(arrived[1].1, PARTIAL);
        assert_eq!(arrived[2].1.gso, GsoKind::TcpV4);
        assert!(is_finished(&arrived[4].0));
        assert_eq!(sent_over(Capabilities::ALL).len(), 6);
    }

    /// Takes the first frames of every call, and remembers how many there were in each.
    struct Counting {
        calls: Vec<usize>,
        takes: usize,
    }

    impl FrameTransmitter for Counting {
        fn transmit(&mut self, _: &[u8], _: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
            self.calls.push(indices.len());
            Ok(indices.len().min(self.takes))
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities::NONE
        }
    }

    #[test]
    fn what_needs_work_leaves_together() {
        let mut port = SoftwareOffload::new(Counting { calls: Vec::new(), takes: usize::MAX });
        let frame = frame(Protocol::UDP, 100);
        let slot = |offload| Slot { offset: 0, len: frame.len(), offload, verdict: Verdict::Consumed };
        let (partial, ready) = (slot(PARTIAL), slot(Offload::default()));
        let slots = [&[partial; 30][..], &[ready; 4], &[partial; 20]].concat();
        let indices: Vec<u16> = (0..slots.len() as u16).collect();
        assert_eq!(port.transmit(&frame, &slots, &indices).expect("it takes all"), 54);
        assert_eq!(port.inner.calls, [30, 4, 20]);

        // 13 super-frames of 5 segments make one call too many.
        let cut = slot(Offload { gso: GsoKind::UdpL4, gso_size: 20, ..PARTIAL });
        port.inner.calls.clear();
        assert_eq!(port.transmit(&frame, &[cut; 13], &indices[..13]).expect("it takes all"), 13);
        assert_eq!(port.inner.calls, [64, 1]);
        port.inner.takes = 60;
        assert_eq!(port.transmit(&frame, &[cut; 13], &indices[..13]).expect("it takes some"), 13 - 4);
        port.inner.takes = 0;
        assert_eq!(port.transmit(&frame, &slots, &indices).expect("it takes none"), 0);
        assert_eq!(port.transmit(&frame, &[cut; 13], &indices[..13]).expect("it takes none"), 0);
    }

    #[test]
    fn a_frame_that_contradicts_its_marks_is_not_taken() {
        let (a, mut b) = loopback::pair_with(10, Capabilities::NONE).expect("file descriptors are left");
        let mut a = a.with_software_offload();
        let nonsense = Offload { gso: GsoKind::UdpL4, gso_size: 100, ..PARTIAL };
        let taken = a.transmitter.transmit_frame(&frame(Protocol::TCP, 1000), nonsense);
        assert!(!taken.expect("b is there"));
        assert_eq!(b.receiver.receive().expect("a is there").slots.len(), 0);
    }
}
