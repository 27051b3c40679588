//! Frames written fast, and batches of them.

use std::net::SocketAddrV4;

use genkan_engine::router::Pass;
use genkan_engine::wire::checksum;
use genkan_engine::wire::ethernet::{self, MacAddr};
use genkan_engine::wire::ipv4::{self, Protocol};
use genkan_engine::wire::tcp::{self, TcpFlags};
use genkan_engine::wire::{icmpv4, udp};
use genkan_engine::{FrameBatch, Offload, PortId, Router, Slot, Timestamp, Verdict};

use crate::{BATCH, Transport};

/// Where the transport header starts.
const L4: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN;
/// Octets between the frames of a batch.
const STRIDE: usize = 2_048;

/// A frame but for its addresses and ports.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    transport: Transport,
    is_request: bool,
    /// Sum of the IPv4 header without addresses and checksum.
    header_sum: u32,
    /// Sum of the pseudo header and the segment without addresses, ports and checksum.
    segment_sum: u32,
}

impl Template {
    /// A frame of `len` octets without FCS, to the MAC address `to`. `flags` are those of TCP;
    /// `is_request` distinguishes the two kinds of ICMP echo.
    ///
    /// # Panics
    /// When `len` is too small for the headers.
    pub fn new(transport: Transport, len: usize, to: MacAddr, flags: TcpFlags, is_request: bool) -> Template {
        let mut bytes = vec![0; len];
        bytes[..6].copy_from_slice(&to.0);
        bytes[6..12].copy_from_slice(&[0x02, 1, 0, 0, 0, 1]);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        let (ip, segment) = bytes[ethernet::HEADER_LEN..].split_at_mut(ipv4::MIN_HEADER_LEN);
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((len - ethernet::HEADER_LEN) as u16).to_be_bytes());
        ip[6] = 0x40; // don't fragment
        ip[8] = 64; // TTL
        ip[9] = transport.protocol().0;
        segment[tcp::MIN_HEADER_LEN..].iter_mut().zip(0_u8..=255).for_each(|(octet, value)| *octet = value);
        match transport {
            Transport::Tcp => {
                segment[tcp::FIELD_DATA_OFFSET] = 5 << 4;
                segment[tcp::FIELD_DATA_OFFSET + 1] = flags.0;
                segment[14..16].copy_from_slice(&[0xff, 0xff]); // window
            }
            Transport::Udp => segment[4..6].copy_from_slice(&((len - L4) as u16).to_be_bytes()),
            Transport::Icmp => {
                segment[0] = if is_request { icmpv4::ECHO_REQUEST } else { icmpv4::ECHO_REPLY };
            }
        }
        let pseudo = match transport {
            Transport::Icmp => 0,
            _ => u32::from(transport.protocol().0) + (len - L4) as u32,
        };
        Template {
            header_sum: checksum::sum(ip),
            segment_sum: checksum::sum(segment) + pseudo,
            bytes,
            transport,
            is_request,
        }
    }

    /// Octets of the frame.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a frame has headers.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole frame between two endpoints.
    pub fn frame(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
        let mut frame = self.bytes.clone();
        self.write(&mut frame, source, destination);
        frame
    }

    /// Writes the headers to the front of `frame`, which holds a frame of this template, checksums right. The
    /// identifier of an ICMP query is the requester's port.
    #[inline]
    pub fn write(&self, frame: &mut [u8], source: SocketAddrV4, destination: SocketAddrV4) {
        let headers = self.bytes.len().min(L4 + tcp::MIN_HEADER_LEN);
        frame[..headers].copy_from_slice(&self.bytes[..headers]);
        frame[26..30].copy_from_slice(&source.ip().octets());
        frame[30..34].copy_from_slice(&destination.ip().octets());
        let words = |address: u32| (address >> 16) + (address & 0xffff);
        let addresses = words(source.ip().to_bits()) + words(destination.ip().to_bits());
        frame[24..26].copy_from_slice(&checksum::finish(self.header_sum + addresses).to_be_bytes());
        let (ports, field) = match self.transport {
            Transport::Tcp => (addresses, tcp::FIELD_CHECKSUM),
            Transport::Udp => (addresses, udp::FIELD_CHECKSUM),
            Transport::Icmp => (0, icmpv4::FIELD_CHECKSUM),
        };
        let sum = self.segment_sum + ports;
        let segment = &mut frame[L4..];
        let sum = if self.transport == Transport::Icmp {
            let identifier = if self.is_request { source.port() } else { destination.port() };
            segment[4..6].copy_from_slice(&identifier.to_be_bytes());
            sum + u32::from(identifier)
        } else {
            segment[..2].copy_from_slice(&source.port().to_be_bytes());
            segment[2..4].copy_from_slice(&destination.port().to_be_bytes());
            sum + u32::from(source.port()) + u32::from(destination.port())
        };
        segment[field..field + 2].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    }
}

/// Frames in one memory area, with their slots.
#[derive(Clone, Debug)]
pub struct Batch {
    memory: Vec<u8>,
    slots: Vec<Slot>,
    len: usize,
}

impl Batch {
    /// A batch of [`BATCH`] frames of this template.
    pub fn new(template: &Template) -> Batch {
        Batch::with_frames(template, BATCH)
    }

    /// A batch of so many frames.
    pub fn with_frames(template: &Template, frames: usize) -> Batch {
        let mut memory = vec![0; frames * STRIDE];
        for frame in memory.chunks_exact_mut(STRIDE) {
            frame[..template.len()].copy_from_slice(&template.bytes);
        }
        let slot = Slot { offset: 0, len: 0, offload: Offload::default(), verdict: Verdict::Consumed };
        Batch { memory, slots: vec![slot; frames], len: template.len() }
    }

    /// Makes the slots whole again and lets `write` write each frame's headers.
    #[inline]
    pub fn fill(&mut self, mut write: impl FnMut(&mut [u8])) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.offset = index * STRIDE;
            slot.len = self.len;
            slot.verdict = Verdict::Consumed;
            write(&mut self.memory[slot.offset..slot.offset + slot.len]);
        }
    }

    /// Hands the batch to the router.
    #[inline]
    pub fn handle(&mut self, router: &mut Router, now: Timestamp, port: PortId) {
        router.handle_batch(now, port, FrameBatch { memory: &mut self.memory, slots: &mut self.slots });
    }

    /// As [`Batch::handle`], with an observer of the passes.
    #[inline]
    pub fn handle_observed(
        &mut self,
        router: &mut Router,
        now: Timestamp,
        port: PortId,
        done: impl FnMut(Pass),
    ) {
        let batch = FrameBatch { memory: &mut self.memory, slots: &mut self.slots };
        router.handle_batch_observed(now, port, batch, done);
    }

    /// Hands the frames to the router one by one.
    #[inline]
    pub fn handle_singly(&mut self, router: &mut Router, now: Timestamp, port: PortId) {
        for slot in &mut self.slots {
            let mut frame = &mut self.memory[slot.offset..slot.offset + slot.len];
            slot.verdict = router.handle_frame(now, port, &mut frame, slot.offload);
        }
    }

    /// The memory area and the slots that point into it, as a transmitter gets them.
    pub fn parts(&self) -> (&[u8], &[Slot]) {
        (&self.memory, &self.slots)
    }

    /// What became of the frames.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.slots.iter().map(|slot| slot.verdict)
    }

    /// The frames as they are now.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> + '_ {
        self.slots.iter().map(|slot| &self.memory[slot.offset..slot.offset + slot.len])
    }
}

/// The protocols here have ports or identifiers at these places: source port, or the identifier.
pub fn source_port(frame: &[u8]) -> u16 {
    let at = if frame[23] == Protocol::ICMP.0 { L4 + 4 } else { L4 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use genkan_engine::packet::parsed::parse_ipv4;

    #[test]
    fn checksums_are_right() {
        let (a, b) = ("10.1.0.1:2048".parse().unwrap(), "198.18.0.9:443".parse().unwrap());
        for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
            for len in [60, 64, 512, 1_500] {
                let template = Template::new(transport, len, MacAddr::ZERO, TcpFlags::ACK, true);
                let frame = template.frame(a, b);
                let parsed = parse_ipv4(&frame).expect("a right frame");
                assert_eq!((parsed.end as usize, parsed.source_port), (len, 2_048));
                let segment = &frame[L4..];
                let pseudo = match transport {
                    Transport::Icmp => 0,
                    _ => checksum::pseudo_header_sum(
                        *a.ip(),
                        *b.ip(),
                        transport.protocol(),
                        segment.len() as u16,
                    ),
                };
                assert_eq!(checksum::fold(checksum::sum(segment) + pseudo), 0xffff);
            }
        }
    }
}
