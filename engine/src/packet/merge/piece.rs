//! One frame as a candidate: what of it must be equal, and what must run on, for it to join others.

use std::net::Ipv4Addr;

use crate::frame::{GsoKind, Offload};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::tcp::{self, TcpFlags};
use crate::wire::{be16, be32, checksum, ethernet, udp};

/// Offset of the IPv4 header.
const IP: usize = ethernet::HEADER_LEN;
/// Offset of the transport header: frames with IP options are left alone.
pub(super) const L4: usize = IP + ipv4::MIN_HEADER_LEN;
/// Octets of the longest header that a frame may have here: Ethernet, IPv4, TCP with 40 octets of options.
pub const MAX_HEADER: usize = L4 + 60;
/// Octets of the shortest: Ethernet, IPv4, UDP.
pub(super) const MIN_HEADER: usize = L4 + udp::HEADER_LEN;

/// Longest super-frame in octets, Ethernet header included. Linux takes longer frames than this (its
/// `GSO_LEGACY_MAX_SIZE`, which counts the Ethernet header) apart again before it sends them on.
const MAX_SUPER_FRAME: usize = 65_535;
/// Most datagrams of a super-frame: `UDP_MAX_SEGMENTS` of Linux before 6.9, 128 since.
const MAX_DATAGRAMS: u16 = 64;

/// What may be merged for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// TCP segments: the port takes TCP super-frames.
    pub tcp: bool,
    /// UDP datagrams: the port takes UDP super-frames.
    pub udp: bool,
}

/// A frame that may be joined with others of its flow, as far as it can be seen from itself. Its checksums are not
/// verified yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Octets before the payload.
    pub(super) headers: u16,
    /// Octets of payload, at least 1.
    payload: u16,
    /// Octets of payload per segment. An ordinary frame is one segment.
    size: u16,
    /// Segments.
    count: u16,
    /// Whether it came as a super-frame.
    is_super: bool,
    /// IPv4 identification, of the first segment.
    id: u16,
    /// TCP sequence number.
    sequence: u32,
    /// TCP PSH.
    push: bool,
}

impl Piece {
    /// Looks at a frame of TCP or UDP over IPv4 without options that is no fragment.
    pub(super) fn of(frame: &[u8], offload: &Offload, kinds: Kinds) -> Option<Piece> {
        let header: &[u8; MIN_HEADER] = frame.first_chunk()?;
        // With link padding, or a part missing, it is not exactly one packet.
        if frame.len() != IP + usize::from(be16!(header, IP + ipv4::FIELD_TOTAL_LEN))
            || offload.vlan_tci.is_some()
            || offload.gso_ecn
        {
            return None;
        }
        let (is_tcp, kind) = match Protocol(header[IP + ipv4::FIELD_PROTOCOL]) {
            Protocol::TCP if kinds.tcp => (true, GsoKind::TcpV4),
            Protocol::UDP if kinds.udp => (false, GsoKind::UdpL4),
            _ => return None,
        };
        let is_super = offload.gso != GsoKind::None;
        if is_super && (offload.gso != kind || !offload.partial_checksum || offload.gso_size == 0) {
            return None;
        }
        let headers = if is_tcp {
            let tcp: &[u8; tcp::MIN_HEADER_LEN] = frame[L4..].first_chunk()?;
            // Any other flag says something about this segment or to this moment.
            if TcpFlags(tcp[tcp::FIELD_FLAGS]).without(TcpFlags::PSH) != TcpFlags::ACK {
                return None;
            }
            let len = usize::from(tcp[tcp::FIELD_DATA_OFFSET] >> 4) * 4;
            if len < tcp::MIN_HEADER_LEN {
                return None;
            }
            L4 + len
        } else {
            let udp = &header[L4..];
            if usize::from(be16!(udp, udp::FIELD_LENGTH)) != frame.len() - L4 {
                return None;
            }
            // RFC 768: no checksum, and it must not get one.
            if !offload.partial_checksum && be16!(udp, udp::FIELD_CHECKSUM) == 0 {
                return None;
            }
            MIN_HEADER
        };
        let payload = frame.len().checked_sub(headers).filter(|octets| *octets > 0)?;
        // Both below 65,536, as the total length is.
        let (headers, payload) = (headers as u16, payload as u16);
        let (size, count) = match is_super {
            true => (offload.gso_size, payload.div_ceil(offload.gso_size)),
            false => (payload, 1),
        };
        Some(Piece {
            headers,
            payload,
            size,
            count,
            is_super,
            id: be16!(header, IP + ipv4::FIELD_IDENTIFICATION),
            sequence: if is_tcp { be32!(header, L4 + tcp::FIELD_SEQUENCE) } else { 0 },
            push: is_tcp && TcpFlags(frame[L4 + tcp::FIELD_FLAGS]).contains(TcpFlags::PSH),
        })
    }
}

/// How the identifications of a super-frame's segments run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// There is one frame only.
    Unknown,
    /// Each is one more than the one before, as [`crate::packet::segmentation`] and Linux write them.
    Counted,
    /// All are equal, of datagrams that may not be fragmented: see [`super`].
    Equal,
}

/// Frames that are to become one, from the first on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    first: Piece,
    /// Octets of payload so far.
    payload: usize,
    /// Segments so far.
    count: u16,
    ids: Ids,
    /// Whether more may follow: the last piece was full and had no PSH.
    open: bool,
    push: bool,
}

impl Group {
    /// A group of one frame.
    pub(super) fn new(first: Piece) -> Group {
        Group {
            first,
            payload: usize::from(first.payload),
            count: first.count,
            ids: Ids::Unknown,
            open: first.is_full(first.size),
            push: first.push,
        }
    }

    /// Octets before the payload, the same in every piece.
    pub(super) fn headers(&self) -> usize {
        usize::from(self.first.headers)
    }

    /// Octets of payload per segment.
    pub(super) fn size(&self) -> u16 {
        self.first.size
    }

    /// Takes a piece of the same flow in, if it goes on where the last one ended and differs from the first in nothing
    /// that segmentation would not bring back. `head` is the first frame, `frame` that of the piece. The piece's
    /// checksums, and the first's, are not looked at.
    pub(super) fn admits(&self, head: &[u8], frame: &[u8], piece: &Piece) -> Option<Ids> {
        let fits = if piece.is_super { piece.size == self.first.size } else { piece.size <= self.first.size };
        let is_tcp = frame[IP + ipv4::FIELD_PROTOCOL] == Protocol::TCP.0;
        if !self.open
            || !fits
            || piece.headers != self.first.headers
            || self.headers() + self.payload + usize::from(piece.payload) > MAX_SUPER_FRAME
            || !is_tcp && self.count + piece.count > MAX_DATAGRAMS
            || is_tcp && piece.sequence != self.first.sequence.wrapping_add(self.payload as u32)
            || !headers_agree(&head[..self.headers()], &frame[..self.headers()], is_tcp)
        {
            return None;
        }
        let may_equal = !self.first.is_super
            && !piece.is_super
            && be16!(head, IP + ipv4::FIELD_FRAGMENT) & ipv4::DONT_FRAGMENT != 0;
        let counted = piece.id == self.first.id.wrapping_add(self.count);
        let equal = piece.id == self.first.id && may_equal;
        match self.ids {
            Ids::Unknown | Ids::Counted if counted => Some(Ids::Counted),
            Ids::Unknown | Ids::Equal if equal => Some(Ids::Equal),
            _ => None,
        }
    }

    /// Adds a piece that was admitted.
    pub(super) fn add(&mut self, piece: &Piece, ids: Ids) {
        self.ids = ids;
        self.payload += usize::from(piece.payload);
        self.count += piece.count;
        self.open = piece.is_full(self.first.size);
        self.push = piece.push;
    }

    /// Writes the headers of the whole to `out`; how many octets they have.
    pub(super) fn write_headers(&self, head: &[u8], out: &mut [u8; MAX_HEADER]) -> usize {
        let headers = self.headers();
        let out = &mut out[..headers];
        out.copy_from_slice(&head[..headers]);
        let segment_len = (headers - L4 + self.payload) as u16;
        let (ip, transport) = out[IP..].split_at_mut(L4 - IP);
        put16(ip, ipv4::FIELD_TOTAL_LEN, ipv4::MIN_HEADER_LEN as u16 + segment_len);
        put16(ip, ipv4::FIELD_CHECKSUM, 0);
        let checksum = checksum::finish(checksum::sum(ip));
        put16(ip, ipv4::FIELD_CHECKSUM, checksum);
        let partial = checksum::fold(pseudo_header_sum(head, segment_len));
        if ip[ipv4::FIELD_PROTOCOL] == Protocol::TCP.0 {
            if self.push {
                transport[tcp::FIELD_FLAGS] |= TcpFlags::PSH.0;
            }
            put16(transport, tcp::FIELD_CHECKSUM, partial);
        } else {
            put16(transport, udp::FIELD_LENGTH, segment_len);
            put16(transport, udp::FIELD_CHECKSUM, partial);
        }
        headers
    }
}

impl Piece {
    /// Whether another may follow it in a super-frame of segments of `size` octets.
    fn is_full(&self, size: u16) -> bool {
        // The division is for super-frames.
        (self.payload == size || self.payload.is_multiple_of(size)) && !self.push
    }
}

/// Whether two headers of equal length differ only in lengths, identification, sequence number, PSH and checksums.
/// Addresses and ports are known to be equal.
fn headers_agree(a: &[u8], b: &[u8], is_tcp: bool) -> bool {
    const FLAGS: usize = L4 + tcp::FIELD_FLAGS;
    const WINDOW_END: usize = L4 + tcp::FIELD_CHECKSUM;
    const URGENT: usize = WINDOW_END + 2;
    // MAC addresses, EtherType, version, header length, TOS; flags, TTL, protocol.
    let until_length = IP + ipv4::FIELD_TOTAL_LEN;
    let flags_to_protocol = IP + ipv4::FIELD_FRAGMENT..IP + ipv4::FIELD_CHECKSUM;
    if a[..until_length] != b[..until_length] || a[flags_to_protocol.clone()] != b[flags_to_protocol] {
        return false;
    }
    // Acknowledgment number, header length with the reserved bits; window; urgent pointer, options.
    !is_tcp
        || a[L4 + tcp::FIELD_ACKNOWLEDGMENT..FLAGS] == b[L4 + tcp::FIELD_ACKNOWLEDGMENT..FLAGS]
            && a[FLAGS + 1..WINDOW_END] == b[FLAGS + 1..WINDOW_END]
            && a[URGENT..] == b[URGENT..]
}

/// Whether both checksums of a piece's frame are as this engine and any other stack would write them: a wrong one must
/// stay wrong, and a right one in another form (RFC 1624 §3: ones for zero) would not come back.
pub(super) fn checksums_are_right(frame: &[u8], offload: &Offload) -> bool {
    let Some(header) = frame.first_chunk::<MIN_HEADER>() else { return false };
    let ip: &[u8; ipv4::MIN_HEADER_LEN] = header[IP..].first_chunk().expect("shorter than both headers");
    if checksum::sum_header(ip) != 0xffff || be16!(ip, ipv4::FIELD_CHECKSUM) == 0xffff {
        return false;
    }
    let is_tcp = ip[ipv4::FIELD_PROTOCOL] == Protocol::TCP.0;
    let transport = &frame[L4..];
    let field = if is_tcp { tcp::FIELD_CHECKSUM } else { udp::FIELD_CHECKSUM };
    let Some(stored) = transport.get(field..field + 2) else { return false };
    let stored = be16!(stored, 0);
    let pseudo = pseudo_header_sum(header, transport.len() as u16);
    if offload.partial_checksum {
        return stored == checksum::fold(pseudo);
    }
    checksum::fold(pseudo + checksum::sum(transport)) == 0xffff && (!is_tcp || stored != 0xffff)
}

/// `header` starts with an Ethernet and an IPv4 header; `len` is that of transport header and payload.
fn pseudo_header_sum(header: &[u8], len: u16) -> u32 {
    let ip = &header[IP..];
    let address = |field: usize| Ipv4Addr::from_bits(be32!(ip, field));
    let protocol = Protocol(ip[ipv4::FIELD_PROTOCOL]);
    checksum::pseudo_header_sum(address(ipv4::FIELD_SOURCE), address(ipv4::FIELD_DESTINATION), protocol, len)
}

fn put16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}
