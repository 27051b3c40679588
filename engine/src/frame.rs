//! Frames as the I/O layer hands them over: bytes in one shared memory area, and one [`Slot`] each.
//!
//! Every port speaks Ethernet here. The host TUN, which has no link layer, gets a made-up Ethernet
//! header from its back end, so that the engine has one kind of frame.

use crate::verdict::Verdict;

/// A port of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u8);

impl PortId {
    /// The outside.
    pub const WAN: PortId = PortId(0);
    /// The box itself, through the host TUN.
    pub const HOST: PortId = PortId(1);
    /// Most `[[lan]]` tables a plan may have.
    pub const MAX_LANS: usize = 32;
    /// Number of port ids: arrays indexed by port have this length.
    pub const COUNT: usize = 2 + Self::MAX_LANS;

    /// The port of the `index`-th `[[lan]]` (from 0).
    pub const fn lan(index: usize) -> PortId {
        PortId(2 + index as u8)
    }
    /// Which `[[lan]]` this is, if it is one.
    pub const fn lan_index(self) -> Option<usize> {
        if self.0 >= 2 { Some(self.0 as usize - 2) } else { None }
    }
    /// For arrays of length [`PortId::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What kind of super-frame a frame is: many segments behind one header, to be cut by a device or by
/// [`crate::packet::segmentation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// An ordinary frame.
    #[default]
    None,
    /// TCP over IPv4; segments are sequence-numbered.
    TcpV4,
    /// TCP over IPv6 (counted and dropped for now).
    TcpV6,
    /// UDP datagrams of equal size, one header each after segmentation.
    UdpL4,
}

/// What the sender left for the device to finish (the `virtio_net_hdr` facts, host byte order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum field holds only the uninverted pseudo-header sum ("partial").
    /// Where it starts and where the field lies is known from the headers, so offsets are not kept.
    pub partial_checksum: bool,
    /// Kind of super-frame.
    pub gso: GsoKind,
    /// Payload octets per segment when `gso` is not `None`; the transport header is not counted.
    pub gso_size: u16,
    /// The super-frame carries TCP CWR: only the first segment may keep it (VIRTIO_NET_HDR_GSO_ECN).
    pub gso_ecn: bool,
    /// A VLAN tag that the device took off (the 16-bit TCI).
    pub vlan_tci: Option<u16>,
}

/// One frame of a batch: where it lies in the memory area and what was decided about it.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// First octet of the Ethernet header in the memory area.
    pub offset: usize,
    /// Octets of the frame, without FCS. The engine may lower it (link padding is cut off).
    pub len: usize,
    /// What is left to finish.
    pub offload: Offload,
    /// Filled in by the engine.
    pub verdict: Verdict,
}

/// A batch of frames of one port: one memory area (a ring, a pool of buffers) and a slot per frame.
#[derive(Debug)]
pub struct FrameBatch<'a> {
    /// The area that the slots point into.
    pub memory: &'a mut [u8],
    /// The frames, in order of arrival.
    pub slots: &'a mut [Slot],
}

/// A frame that the engine made or held, for the caller to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it leaves.
    pub port: PortId,
    /// The Ethernet frame, without FCS.
    pub bytes: Vec<u8>,
    /// What is left for the device to finish.
    pub offload: Offload,
}
