//! Frames with right lengths and checksums, made without the code that is under test.

use genkan_engine::packet::parsed::{Kind, Parsed};
use genkan_engine::wire::ipv4::Protocol;

const IP: usize = 14;

/// RFC 1071, word by word.
fn sum(bytes: &[u8], start: u64) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo header's sum, for the protocols whose checksum covers it.
fn pseudo(ip: &[u8], protocol: u8, len: usize) -> u64 {
    match protocol {
        1 => 0,
        _ => u64::from(sum(&ip[12..20], 0)) + u64::from(protocol) + len as u64,
    }
}

/// Where the checksum lies in the transport header.
fn field_of(protocol: u8) -> Option<usize> {
    match protocol {
        1 => Some(2),
        6 => Some(16),
        17 | 33 | 136 => Some(6),
        _ => None,
    }
}

/// Makes the EtherType, the IPv4 version, lengths and all checksums of a frame right, as far as its length
/// allows. Fragments keep their transport checksum.
pub(crate) fn refill_checksums(frame: &mut [u8]) {
    if frame.len() < IP + 20 {
        return;
    }
    frame[12..14].copy_from_slice(&[0x08, 0]);
    let ip = &mut frame[IP..];
    let len = ip.len().min(65_535);
    let ip = &mut ip[..len];
    let header_len = (usize::from(ip[0] & 15) * 4).clamp(20, 60).min(len) & !3;
    ip[0] = 0x40 | (header_len / 4) as u8;
    ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    ip[10..12].fill(0);
    let checksum = !sum(&ip[..header_len], 0);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let (protocol, is_fragment) = (ip[9], ip[6] & 0x3f != 0 || ip[7] != 0);
    let segment_len = len - header_len;
    let pseudo = pseudo(ip, protocol, segment_len);
    let segment = &mut ip[header_len..];
    // An error's quoted packet first: the outer checksum covers it.
    if protocol == 1 && segment_len >= 28 && matches!(segment[0], 3 | 11 | 12) {
        let quoted = &mut segment[8..];
        let quoted_header = (usize::from(quoted[0] & 15) * 4).clamp(20, 60).min(quoted.len()) & !3;
        quoted[0] = 0x40 | (quoted_header / 4) as u8;
        quoted[10..12].fill(0);
        let checksum = !sum(&quoted[..quoted_header], 0);
        quoted[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    let Some(field) = field_of(protocol) else { return };
    if is_fragment || segment_len < field + 2 {
        return;
    }
    if protocol == 17 && segment_len >= 8 {
        segment[4..6].copy_from_slice(&(segment_len as u16).to_be_bytes());
    }
    segment[field..field + 2].fill(0);
    let checksum = match !sum(segment, pseudo) {
        0 if protocol == 17 => 0xffff,
        checksum => checksum,
    };
    segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether the transport checksum of an unfragmented packet is right; true where there is none.
pub(crate) fn transport_checksum_is_right(frame: &[u8], parsed: &Parsed) -> bool {
    let ip = &frame[IP..parsed.end as usize];
    let segment = &frame[usize::from(parsed.l4)..parsed.end as usize];
    let Some(field) = field_of(parsed.protocol.0).filter(|field| segment.len() >= field + 2) else {
        return true;
    };
    if parsed.kind == Kind::LaterFragment {
        return true;
    }
    if parsed.protocol == Protocol::UDP && segment[field..field + 2] == [0, 0] {
        return true;
    }
    sum(segment, pseudo(ip, parsed.protocol.0, segment.len())) == 0xffff
}

/// A packet to be made into a frame.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) fragment_word: u16,
    pub(crate) identification: u16,
    pub(crate) transport: Vec<u8>,
}

impl Packet {
    /// The frame, checksums right.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(IP + 20 + self.transport.len());
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0]);
        frame.extend(self.identification.to_be_bytes());
        frame.extend(self.fragment_word.to_be_bytes());
        frame.extend([self.ttl, self.protocol, 0, 0]);
        frame.extend(self.source.to_be_bytes());
        frame.extend(self.destination.to_be_bytes());
        frame.extend(&self.transport);
        refill_checksums(&mut frame);
        frame
    }
}

/// An ARP packet in a broadcast frame.
pub(crate) fn arp(
    is_reply: bool,
    sender_mac: [u8; 6],
    sender: u32,
    target_mac: [u8; 6],
    target: u32,
) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(sender_mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1 + u8::from(is_reply)]);
    frame.extend(sender_mac);
    frame.extend(sender.to_be_bytes());
    frame.extend(target_mac);
    frame.extend(target.to_be_bytes());
    frame
}
