//! The reverse of [`segmentation`](super::segmentation): frames that follow each other in a flow become one super-frame.
//!
//! Read first: RFC 9293 §3.1 and RFC 768 (headers), RFC 6864 §4.1 (identification of atomic datagrams), the virtio
//! specification §5.1.6 (super-frames). A super-frame costs a device, and the stack of the host behind it, about as much
//! as one frame.
//!
//! **What is merged.** Frames of one batch with the same addresses, ports and protocol, TCP or UDP, each in the place
//! where the one before it ended, so that segmentation brings back the same frames octet by octet:
//! - everything in the headers is equal, TCP options octet by octet included, but for lengths, checksums and the fields
//!   that segmentation writes: sequence numbers run on, and identifications count up by one;
//! - all payloads are equally long, the last may be shorter; none is empty;
//! - TCP flags are ACK, and PSH on the last;
//! - checksums are all partial or all finished, and right: a wrong one must reach its receiver as it is. A UDP datagram
//!   without checksum must not get one;
//! - no fragment, no IP options, no VLAN tag.
//!
//! One difference is allowed, as Linux's GRO allows it: the identifications of frames with DF may all be equal (Linux
//! sends UDP datagrams with DF and 0), and a segmented super-frame counts them up. These are atomic datagrams, whose
//! identification "all devices that examine IPv4 headers MUST ignore" (RFC 6864 §4.1).
//!
//! A frame that came as a super-frame is taken like the segments that it stands for.
//!
//! **Order.** A frame joins a super-frame only while no other frame of its flow came after that. Whatever cannot be
//! merged ends the super-frame of its flow, and a fragment, which may be of any flow, ends all. So frames of a flow keep
//! their order; frames of different flows may pass each other within the batch.
//!
//! **Cost.** The headers of a frame are looked at in full only once another frame of its flow was seen in the same batch,
//! the checksum over its payload only when everything else fits. Flows that are not found in the small table of open
//! ones are merely not merged.

mod piece;
#[cfg(test)]
mod tests;

use crate::frame::{GsoKind, Offload, Slot};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::{be16, be32, ethernet};

use piece::{Group, L4, MIN_HEADER, Piece};
pub use piece::{Kinds, MAX_HEADER};

/// Most frames of one [`Merger::merge`].
pub const MAX_FRAMES: usize = 64;

/// Flows that may be open. Two places are looked at for each, so that a few flows seldom displace each other.
const FLOWS: usize = 64;
const _: () = assert!(FLOWS.is_power_of_two() && MAX_FRAMES <= u64::BITS as usize);

/// Finds frames of a batch that can leave as one. Keep it between batches: its memory is made once.
#[derive(Debug)]
pub struct Merger {
    flows: [OpenFlow; FLOWS],
    /// Flows of another stamp are not open any more.
    stamp: u32,
    /// By the position of a group's first frame, valid where `groups_at` says so.
    groups: [Option<Group>; MAX_FRAMES],
    /// Positions of frames that others were added to.
    groups_at: u64,
    /// Positions of frames that were added to another.
    added: u64,
    /// The position of the next frame of the same super-frame; the last one's is not valid.
    next: [u8; MAX_FRAMES],
    last: [u8; MAX_FRAMES],
    /// What is to be sent, and the slots of that in order.
    frames: Vec<MergedFrame>,
    order: Vec<u16>,
}

/// A flow whose last frame may be followed by more.
#[derive(Clone, Copy, Debug)]
struct OpenFlow {
    key: FlowKey,
    stamp: u32,
    /// Position of the frame that others join.
    head: u8,
}

/// Five-tuple as it lies in the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FlowKey {
    addresses: u64,
    ports: u32,
    protocol: Protocol,
}

impl FlowKey {
    fn place(self) -> usize {
        // A multiplication to twice the width, folded, mixes all bits. Whoever makes flows collide only keeps them from
        // being merged.
        let ports = u64::from(self.ports) ^ 0x9e37_79b9_7f4a_7c15;
        let wide = u128::from(self.addresses ^ 0xa076_1d64_78bd_642f) * u128::from(ports);
        (wide as u64 ^ (wide >> 64) as u64) as usize % FLOWS
    }
}

/// What a frame is to the table of flows.
enum Seen {
    /// TCP or UDP, whole.
    Flow(FlowKey),
    /// It may belong to any flow.
    Unknown,
    /// It belongs to no flow that is merged.
    Other,
}

#[inline]
fn look_at(frame: &[u8]) -> Seen {
    const IP: usize = ethernet::HEADER_LEN;
    let Some(header) = frame.first_chunk::<MIN_HEADER>() else {
        return if ethernet_type_is_ipv4(frame) { Seen::Unknown } else { Seen::Other };
    };
    if !ethernet_type_is_ipv4(header) {
        return Seen::Other;
    }
    let fragment = be16!(header, IP + ipv4::FIELD_FRAGMENT);
    if header[IP] != 0x45 || fragment & (ipv4::MORE_FRAGMENTS | ipv4::FRAGMENT_OFFSET) != 0 {
        return Seen::Unknown;
    }
    let protocol = Protocol(header[IP + ipv4::FIELD_PROTOCOL]);
    if protocol != Protocol::TCP && protocol != Protocol::UDP {
        return Seen::Other;
    }
    let source = be32!(header, IP + ipv4::FIELD_SOURCE);
    let destination = be32!(header, IP + ipv4::FIELD_DESTINATION);
    Seen::Flow(FlowKey {
        addresses: u64::from(source) << 32 | u64::from(destination),
        ports: be32!(header, L4),
        protocol,
    })
}

#[inline]
fn ethernet_type_is_ipv4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00])
}

/// A frame to be sent: one of the batch, or several behind headers of their own.
#[derive(Clone, Copy, Debug)]
struct MergedFrame {
    headers: [u8; MAX_HEADER],
    /// Octets of `headers`, and how many of each slot they stand for; 0: the one slot as it is.
    header_len: u8,
    offload: Offload,
    /// Where its slots start in the order, and how many they are.
    first: u8,
    count: u8,
}

impl Default for Merger {
    fn default() -> Self {
        Merger::new()
    }
}

impl Merger {
    /// Nothing seen.
    pub fn new() -> Merger {
        let key = FlowKey { addresses: 0, ports: 0, protocol: Protocol(0) };
        Merger {
            flows: [OpenFlow { key, stamp: 0, head: 0 }; FLOWS],
            stamp: 0,
            groups: [None; MAX_FRAMES],
            groups_at: 0,
            added: 0,
            next: [0; MAX_FRAMES],
            last: [0; MAX_FRAMES],
            frames: Vec::with_capacity(MAX_FRAMES),
            order: Vec::with_capacity(MAX_FRAMES),
        }
    }

    /// Finds what of the frames `slots[i]`, for each `i` of `indices`, in that order, can leave as one. `None`: nothing,
    /// each is to be sent by itself.
    ///
    /// # Panics
    /// With more than [`MAX_FRAMES`] indices, when one of them is outside `slots`, or a slot outside `memory`.
    pub fn merge<'a>(
        &'a mut self,
        memory: &'a [u8],
        slots: &'a [Slot],
        indices: &[u16],
        kinds: Kinds,
    ) -> Option<Merged<'a>> {
        assert!(indices.len() <= MAX_FRAMES, "{} frames", indices.len());
        self.close_all();
        self.groups_at = 0;
        self.added = 0;
        for (position, index) in indices.iter().enumerate() {
            let slot = &slots[usize::from(*index)];
            let key = match look_at(octets(memory, slot)) {
                Seen::Flow(key) => key,
                Seen::Unknown => {
                    self.close_all();
                    continue;
                }
                Seen::Other => continue,
            };
            let place = key.place();
            let flow = [place, place ^ 1].into_iter().find(|place| {
                let flow = &self.flows[*place];
                flow.stamp == self.stamp && flow.key == key
            });
            if let Some(place) = flow {
                let head = usize::from(self.flows[place].head);
                let head_slot = &slots[usize::from(indices[head])];
                if !self.add(memory, head_slot, head, slot, position, kinds) {
                    self.flows[place].head = position as u8;
                }
            } else {
                let is_free = |place: &usize| self.flows[*place].stamp != self.stamp;
                let place = [place, place ^ 1].into_iter().find(is_free).unwrap_or(place);
                self.flows[place] = OpenFlow { key, stamp: self.stamp, head: position as u8 };
            }
        }
        if self.added == 0 {
            return None;
        }
        self.lay_out(memory, slots, indices);
        Some(Merged { memory, slots, frames: &self.frames, order: &self.order })
    }

    /// From here on no frame joins those before.
    fn close_all(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            // Flows of 2^32 batches ago would be open again.
            self.flows.iter_mut().for_each(|flow| flow.stamp = 0);
            self.stamp = 1;
        }
    }

    /// Adds the frame at `position` to the one at `head` of the same flow, if they can be merged.
    fn add(
        &mut self,
        memory: &[u8],
        head_slot: &Slot,
        head: usize,
        slot: &Slot,
        position: usize,
        kinds: Kinds,
    ) -> bool {
        let (head_frame, frame) = (octets(memory, head_slot), octets(memory, slot));
        if head_slot.offload.partial_checksum != slot.offload.partial_checksum {
            return false;
        }
        let Some(piece) = Piece::of(frame, &slot.offload, kinds) else { return false };
        let is_first = self.groups_at & 1 << head == 0;
        if is_first {
            let Some(first) = Piece::of(head_frame, &head_slot.offload, kinds) else { return false };
            self.groups[head] = Some(Group::new(first));
            self.last[head] = head as u8;
        }
        let Some(group) = &mut self.groups[head] else { return false };
        let Some(ids) = group.admits(head_frame, frame, &piece) else { return false };
        if is_first && !piece::checksums_are_right(head_frame, &head_slot.offload)
            || !piece::checksums_are_right(frame, &slot.offload)
        {
            return false;
        }
        group.add(&piece, ids);
        self.next[usize::from(self.last[head])] = position as u8;
        self.last[head] = position as u8;
        self.groups_at |= 1 << head;
        self.added |= 1 << position;
        true
    }

    /// Puts together what is to be sent, each frame in the place of its first.
    fn lay_out(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) {
        self.frames.clear();
        self.order.clear();
        for (position, index) in indices.iter().enumerate() {
            if self.added & 1 << position != 0 {
                continue;
            }
            let slot = &slots[usize::from(*index)];
            let first = self.order.len();
            self.order.push(*index);
            let mut frame = MergedFrame {
                headers: [0; MAX_HEADER],
                header_len: 0,
                offload: slot.offload,
                first: first as u8,
                count: 1,
            };
            if self.groups_at & 1 << position != 0
                && let Some(group) = &self.groups[position]
            {
                let mut at = position;
                while at != usize::from(self.last[position]) {
                    at = usize::from(self.next[at]);
                    self.order.push(indices[at]);
                }
                frame.count = (self.order.len() - first) as u8;
                let head = octets(memory, slot);
                frame.header_len = group.write_headers(head, &mut frame.headers) as u8;
                let is_tcp = head[ethernet::HEADER_LEN + ipv4::FIELD_PROTOCOL] == Protocol::TCP.0;
                frame.offload = Offload {
                    partial_checksum: true,
                    gso: if is_tcp { GsoKind::TcpV4 } else { GsoKind::UdpL4 },
                    gso_size: group.size(),
                    ..Offload::default()
                };
            }
            self.frames.push(frame);
        }
    }
}

fn octets<'a>(memory: &'a [u8], slot: &Slot) -> &'a [u8] {
    &memory[slot.offset..slot.offset + slot.len]
}

/// Frames to be sent, some of which lie in several slots.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    memory: &'a [u8],
    slots: &'a [Slot],
    frames: &'a [MergedFrame],
    order: &'a [u16],
}

impl<'a> Merged<'a> {
    /// The frames, in the order in which they are to be sent; at most [`MAX_FRAMES`].
    pub fn frames(&self) -> impl ExactSizeIterator<Item = FrameView<'a>> {
        let Merged { memory, slots, frames, order } = *self;
        frames.iter().map(move |frame| {
            let first = usize::from(frame.first);
            FrameView { memory, slots, frame, order: &order[first..first + usize::from(frame.count)] }
        })
    }
}

/// One of [`Merged::frames`].
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    memory: &'a [u8],
    slots: &'a [Slot],
    frame: &'a MergedFrame,
    order: &'a [u16],
}

impl<'a> FrameView<'a> {
    /// What is left for the device to finish.
    pub fn offload(&self) -> &'a Offload {
        &self.frame.offload
    }

    /// How many frames of the batch it stands for.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Its octets from the Ethernet header on, at least the headers.
    pub fn start(&self) -> &'a [u8] {
        match self.frame.header_len {
            0 => octets(self.memory, &self.slots[usize::from(self.order[0])]),
            len => &self.frame.headers[..usize::from(len)],
        }
    }

    /// What follows on [`FrameView::start`], piece by piece; nothing for a frame that was not merged.
    pub fn rest(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let FrameView { memory, slots, frame, order } = *self;
        let order = if frame.header_len == 0 { &[] } else { order };
        order.iter().map(move |index| {
            let slot = &slots[usize::from(*index)];
            &octets(memory, slot)[usize::from(frame.header_len)..]
        })
    }
}
