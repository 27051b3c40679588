//! Tells whether datagrams come to a port in bursts or singly: whether the kernel could merge them before it hands
//! them over, or does so already.
//!
//! A wrapper over a back end's receiver. It looks at a few octets of each frame of a batch and adds up; whoever holds
//! the [`BurstMeter`] reads the sums now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use genkan_engine::frame::{FrameBatch, GsoKind, Slot};
use genkan_engine::wire::{ethernet, ipv4, udp};

use crate::error::IoError;
use crate::frame_io::{FrameReceiver, PollFds};

/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN + udp::HEADER_LEN;
/// Octets of two addresses and two ports.
const FLOW: usize = 12;
/// Version 4, five words of header.
const NO_OPTIONS: u8 = 0x45;

/// UDP datagrams over IPv4 that a port received, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BurstCounts {
    /// All; of a super-frame each segment.
    pub datagrams: u64,
    /// Those that came alone and right behind one of the same flow and length: what could have been merged.
    pub following: u64,
    /// Those that came within a super-frame that another one started: what was merged.
    pub merged: u64,
}

impl BurstCounts {
    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: BurstCounts) -> BurstCounts {
        BurstCounts {
            datagrams: self.datagrams.wrapping_sub(before.datagrams),
            following: self.following.wrapping_sub(before.following),
            merged: self.merged.wrapping_sub(before.merged),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: BurstCounts) -> BurstCounts {
        BurstCounts {
            datagrams: self.datagrams.wrapping_add(other.datagrams),
            following: self.following.wrapping_add(other.following),
            merged: self.merged.wrapping_add(other.merged),
        }
    }

    fn add_batch(&mut self, memory: &[u8], slots: &[Slot]) {
        let mut before: Option<(&[u8; FLOW], usize)> = None;
        for slot in slots {
            let this = flow(&memory[slot.offset..][..slot.len]).map(|flow| (flow, slot.len));
            let last = std::mem::replace(&mut before, this);
            if this.is_none() {
                continue;
            }
            if slot.offload.gso == GsoKind::None {
                self.datagrams += 1;
                self.following += u64::from(last == this);
            } else {
                let segment = usize::from(slot.offload.gso_size).max(1);
                let segments = (slot.len - HEADERS).div_ceil(segment).max(1) as u64;
                self.datagrams += segments;
                self.merged += segments - 1;
            }
        }
    }
}

/// Addresses and ports of a datagram.
fn flow(frame: &[u8]) -> Option<&[u8; FLOW]> {
    let headers = frame.first_chunk::<HEADERS>()?;
    let (ethernet, packet) = headers.split_at(ethernet::HEADER_LEN);
    let udp = ethernet[12..] == ethernet::EtherType::IPV4.0.to_be_bytes()
        && packet[0] == NO_OPTIONS
        && packet[9] == ipv4::Protocol::UDP.0;
    if udp { packet[ipv4::FIELD_SOURCE..].first_chunk() } else { None }
}

/// The sums of one receiver, to be read from any thread.
// Alone on its cache lines: it is written per batch, and nobody else is to wait for that.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct BurstMeter {
    datagrams: AtomicU64,
    following: AtomicU64,
    merged: AtomicU64,
}

impl BurstMeter {
    /// What was received so far. A batch may be half told: the sums are not of one instant.
    pub fn counts(&self) -> BurstCounts {
        BurstCounts {
            datagrams: self.datagrams.load(Ordering::Relaxed),
            following: self.following.load(Ordering::Relaxed),
            merged: self.merged.load(Ordering::Relaxed),
        }
    }

    fn set(&self, counts: BurstCounts) {
        self.datagrams.store(counts.datagrams, Ordering::Relaxed);
        self.following.store(counts.following, Ordering::Relaxed);
        self.merged.store(counts.merged, Ordering::Relaxed);
    }
}

/// A receiver that tells its meter what it received.
pub struct Metered<R> {
    inner: R,
    counts: BurstCounts,
    meter: Arc<BurstMeter>,
}

impl<R: FrameReceiver> Metered<R> {
    /// Wraps a receiver. Its sums start at zero.
    pub fn new(inner: R, meter: Arc<BurstMeter>) -> Metered<R> {
        Metered { inner, counts: BurstCounts::default(), meter }
    }
}

impl<R: FrameReceiver> FrameReceiver for Metered<R> {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        let batch = self.inner.receive()?;
        if !batch.slots.is_empty() {
            self.counts.add_batch(batch.memory, batch.slots);
            self.meter.set(self.counts);
        }
        Ok(batch)
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        self.inner.poll_fds()
    }

    fn lost_frames(&mut self) -> u64 {
        self.inner.lost_frames()
    }

    fn skip_until(&mut self, wall: Duration) -> usize {
        self.inner.skip_until(wall)
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::Offload;

    use super::*;
    use crate::{FrameTransmitter, loopback};

    /// A frame of `protocol` from `port`, with so many octets of payload.
    fn frame(protocol: u8, port: u16, payload: usize) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 1]);
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&[0, 9, 0, 0, 0, 0]);
        frame.resize(frame.len() + payload, 0);
        frame
    }

    fn counted(batches: &[&[(Vec<u8>, Offload)]]) -> BurstCounts {
        let (io, mut sender) = loopback::pair(64).expect("file descriptors");
        let meter = Arc::new(BurstMeter::default());
        let mut receiver = Metered::new(io.receiver, meter.clone());
        for batch in batches {
            for (frame, offload) in *batch {
                assert!(sender.transmitter.transmit_frame(frame, *offload).expect("the other end is there"));
            }
            let received = receiver.receive().expect("the other end is there");
            assert_eq!(received.slots.len(), batch.len());
        }
        meter.counts()
    }

    fn alone(frame: Vec<u8>) -> (Vec<u8>, Offload) {
        (frame, Offload::default())
    }

    #[test]
    fn datagrams_that_could_be_merged_follow_one_of_their_flow_and_length() {
        let [a, b] = [1, 2].map(|port| alone(frame(17, port, 22)));
        let longer = alone(frame(17, 1, 23));
        let tcp = alone(frame(6, 1, 22));
        let burst = [a.clone(), a.clone(), a.clone(), b.clone(), b.clone()];
        assert_eq!(counted(&[&burst]), BurstCounts { datagrams: 5, following: 3, merged: 0 });
        let mixed = [a.clone(), b.clone(), a.clone(), longer, a.clone(), tcp.clone(), a.clone()];
        assert_eq!(counted(&[&mixed]), BurstCounts { datagrams: 6, following: 0, merged: 0 });
        // Over the end of a batch nothing is merged.
        let one = std::slice::from_ref(&a);
        assert_eq!(counted(&[one, one]), BurstCounts { datagrams: 2, following: 0, merged: 0 });
        assert_eq!(counted(&[&[tcp.clone(), tcp]]), BurstCounts::default());
    }

    #[test]
    fn super_frames_count_by_their_segments() {
        let offload = Offload { gso: GsoKind::UdpL4, gso_size: 22, ..Offload::default() };
        let whole = (frame(17, 1, 3 * 22), offload);
        let with_rest = (frame(17, 1, 2 * 22 + 1), offload);
        let single = alone(frame(17, 1, 22));
        let counts = counted(&[&[whole, with_rest, single.clone(), single]]);
        assert_eq!(counts, BurstCounts { datagrams: 8, following: 1, merged: 4 });
    }

    #[test]
    fn short_and_odd_frames_are_passed_over() {
        let whole = frame(17, 1, 22);
        let cut: Vec<_> = (14..HEADERS).map(|length| alone(whole[..length].to_vec())).collect();
        assert_eq!(counted(&[&cut]), BurstCounts::default());
        let mut options = whole.clone();
        options[14] = 0x46;
        let mut ipv6 = whole;
        ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(counted(&[&[alone(options), alone(ipv6)]]), BurstCounts::default());
    }
}
