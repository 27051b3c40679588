//! Does in software what a transmitter's device cannot: completes partial checksums and cuts super-frames.
//!
//! The engine takes every port for one that can do both. This wrapper stands before those that cannot, so that the
//! work is done last and only where it is needed.

use genkan_engine::frame::{GsoKind, Offload, Slot};
use genkan_engine::packet::segmentation;
use genkan_engine::verdict::Verdict;

use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameIo, FrameTransmitter, MAX_BATCH};

/// A transmitter that takes everything, over one that does not.
pub struct SoftwareOffload<T> {
    inner: T,
    capabilities: Capabilities,
    /// Finished frames on their way to `inner`.
    memory: Vec<u8>,
    slots: Vec<Slot>,
    indices: Vec<u16>,
    /// Where segments are made.
    scratch: Vec<u8>,
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
            indices: Vec::new(),
            scratch: Vec::new(),
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

    /// Finishes one frame and sends what comes of it; whether all of it was taken.
    fn finish(&mut self, frame: &[u8], offload: &Offload) -> Result<bool, IoError> {
        self.memory.clear();
        self.slots.clear();
        let (memory, slots) = (&mut self.memory, &mut self.slots);
        let made = segmentation::segment(frame, offload, &mut self.scratch, |segment| {
            slots.push(Slot {
                offset: memory.len(),
                len: segment.len(),
                offload: Offload::default(),
                verdict: Verdict::Consumed,
            });
            memory.extend_from_slice(segment);
        });
        if made.is_err() {
            // Not what the engine lets out; no device would make sense of it either.
            return Ok(false);
        }
        let mut taken = 0;
        for slots in self.slots.chunks(MAX_BATCH) {
            self.indices.clear();
            self.indices.extend(0..slots.len() as u16);
            taken += self.inner.transmit(&self.memory, slots, &self.indices)?;
        }
        Ok(taken == self.slots.len())
    }
}

impl<T: FrameTransmitter> FrameTransmitter for SoftwareOffload<T> {
    /// A super-frame of which a segment was not taken counts as not taken.
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let mut taken = 0;
        let mut rest = indices;
        while !rest.is_empty() {
            // What needs nothing goes on together, in order.
            let ready = rest
                .iter()
                .position(|index| !self.can_send(&slots[usize::from(*index)].offload))
                .unwrap_or(rest.len());
            if ready > 0 {
                taken += self.inner.transmit(memory, slots, &rest[..ready])?;
            }
            rest = &rest[ready..];
            if let Some((index, after)) = rest.split_first() {
                let slot = &slots[usize::from(*index)];
                let frame = &memory[slot.offset..slot.offset + slot.len];
                taken += usize::from(self.finish(frame, &slot.offload)?);
                rest = after;
            }
        }
        Ok(taken)
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
