//! Software for what a device leaves to be done: partial checksums and super-frames.
//!
//! Read first: RFC 9293 §3.1 and RFC 768 (checksums), RFC 3168 §6.1.2 (CWR stands on the first segment only),
//! and the virtio specification §5.1.6 (what a partial checksum and a super-frame are).

use super::parsed::{Kind, Parsed, parse_ipv4};
use crate::frame::{GsoKind, Offload};
use crate::verdict::DropReason;
use crate::wire::ethernet;
use crate::wire::ipv4::{self, Protocol};
use crate::wire::tcp::{self, TcpFlags};
use crate::wire::{be16, be32, checksum, udp};

/// Offset of the CRC32c in an SCTP header (RFC 4960 §3.1).
const SCTP_CHECKSUM: usize = 8;

/// Why a frame cannot be finished in software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentationError {
    /// The frame is not what the engine lets out.
    #[error("malformed frame: {}", .0.name())]
    Malformed(DropReason),
    /// The kind of super-frame does not fit the protocol, is not supported, or has segments of 0 octets.
    #[error("super-frame that cannot be segmented")]
    Unsupported,
    /// The protocol has no checksum that could be partial.
    #[error("partial checksum of a protocol without one")]
    NoChecksum,
}

/// Octets of the largest IPv4 packet, header included, that a frame turns into on the link: what is to be
/// compared with an IP MTU.
#[inline]
pub fn largest_segment(parsed: &Parsed, offload: &Offload) -> usize {
    let whole = parsed.packet_len();
    match offload.gso {
        GsoKind::None => whole,
        _ => {
            let headers = usize::from(parsed.payload) - ethernet::HEADER_LEN;
            whole.min(headers + usize::from(offload.gso_size))
        }
    }
}

/// Hands out the finished frames that `frame` stands for, in order, and returns how many: an ordinary frame as
/// it is, with a partial checksum completed; a super-frame cut into segments. `scratch` is where they are
/// made: keep it between calls, it grows to the largest segment.
///
/// Segments have their own IPv4 identification (counted up from the super-frame's), lengths, sequence
/// number and full checksums; FIN and PSH stand on the last only, CWR on the first only. A super-frame that
/// has no partial checksum gets right checksums all the same, except that UDP without checksum stays
/// without.
///
/// # Errors
/// See [`SegmentationError`]; then nothing was handed out.
pub fn segment(
    frame: &[u8],
    offload: &Offload,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(&[u8]),
) -> Result<usize, SegmentationError> {
    if offload.gso == GsoKind::None && !offload.partial_checksum {
        emit(frame);
        return Ok(1);
    }
    let segments = Segments::new(frame, offload)?;
    for index in 0..segments.count {
        scratch.clear();
        segments.append(index, scratch);
        emit(scratch);
    }
    Ok(segments.count)
}

/// As [`segment`], but the finished frames are added to the end of `memory`, one behind the other, and `placed` is
/// told the length of each, in octets: for many that are to leave together.
///
/// # Errors
/// See [`SegmentationError`]; then nothing was added.
pub fn append_segments(
    frame: &[u8],
    offload: &Offload,
    memory: &mut Vec<u8>,
    mut placed: impl FnMut(usize),
) -> Result<usize, SegmentationError> {
    let segments = Segments::new(frame, offload)?;
    for index in 0..segments.count {
        let before = memory.len();
        segments.append(index, memory);
        placed(memory.len() - before);
    }
    Ok(segments.count)
}

/// A frame and what it is to become.
struct Segments<'a> {
    frame: &'a [u8],
    offload: &'a Offload,
    work: Work,
    count: usize,
}

enum Work {
    Nothing,
    /// With the checksum's place in the transport header.
    Checksum(Parsed, usize),
    Cut(Parsed),
}

impl<'a> Segments<'a> {
    fn new(frame: &'a [u8], offload: &'a Offload) -> Result<Segments<'a>, SegmentationError> {
        if offload.gso == GsoKind::None {
            let work = match offload.partial_checksum {
                true => {
                    let (parsed, field) = partial_checksum_place(frame)?;
                    Work::Checksum(parsed, field)
                }
                false => Work::Nothing,
            };
            return Ok(Segments { frame, offload, work, count: 1 });
        }
        let parsed = parse_ipv4(frame).map_err(SegmentationError::Malformed)?;
        let fits = match offload.gso {
            GsoKind::TcpV4 => parsed.kind == Kind::Tcp,
            GsoKind::UdpL4 => parsed.kind == Kind::Udp,
            GsoKind::TcpV6 | GsoKind::None => false,
        };
        if !fits || offload.gso_size == 0 || parsed.fragment.is_some() {
            return Err(SegmentationError::Unsupported);
        }
        let payload = parsed.end as usize - usize::from(parsed.payload);
        // A super-frame without payload is one ordinary packet.
        let count = payload.div_ceil(usize::from(offload.gso_size)).max(1);
        Ok(Segments { frame, offload, work: Work::Cut(parsed), count })
    }

    /// Adds the `index`-th one to the end of `out`.
    fn append(&self, index: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let parsed = match &self.work {
            Work::Nothing => return out.extend_from_slice(self.frame),
            Work::Checksum(parsed, field) => {
                out.extend_from_slice(self.frame);
                return write_checksum(&mut out[start..], parsed, *field);
            }
            Work::Cut(parsed) => parsed,
        };
        let (headers, payload) = self.frame[..parsed.end as usize].split_at(usize::from(parsed.payload));
        let size = usize::from(self.offload.gso_size);
        let rest = &payload[index * size..];
        let part = &rest[..rest.len().min(size)];
        out.reserve(headers.len() + part.len());
        out.extend_from_slice(headers);
        out.extend_from_slice(part);
        finish_segment(&mut out[start..], parsed, self.offload, index, index + 1 == self.count);
    }
}

/// Fits the headers of the `index`-th segment, copied from the super-frame, to what they now stand before.
fn finish_segment(frame: &mut [u8], parsed: &Parsed, offload: &Offload, index: usize, last: bool) {
    let l4 = usize::from(parsed.l4);
    let (headers, segment) = frame.split_at_mut(l4);
    let ip = &mut headers[ethernet::HEADER_LEN..];
    let total_len = (ip.len() + segment.len()) as u16;
    put16(ip, ipv4::FIELD_TOTAL_LEN, total_len);
    // 16-bit identifications wrap.
    let id = be16!(ip, ipv4::FIELD_IDENTIFICATION).wrapping_add(index as u16);
    put16(ip, ipv4::FIELD_IDENTIFICATION, id);
    put16(ip, ipv4::FIELD_CHECKSUM, 0);
    let header_checksum = checksum::finish(checksum::sum(ip));
    put16(ip, ipv4::FIELD_CHECKSUM, header_checksum);

    let len = segment.len() as u16;
    let pseudo = checksum::pseudo_header_sum(parsed.source, parsed.destination, parsed.protocol, len);
    if parsed.kind == Kind::Tcp {
        // At most 65,535 octets lie before the segment.
        let advance = (index * usize::from(offload.gso_size)) as u32;
        let sequence = be32!(segment, tcp::FIELD_SEQUENCE).wrapping_add(advance);
        segment[tcp::FIELD_SEQUENCE..tcp::FIELD_ACKNOWLEDGMENT].copy_from_slice(&sequence.to_be_bytes());
        let mut flags = TcpFlags(segment[tcp::FIELD_FLAGS]);
        if index != 0 {
            flags = flags.without(TcpFlags::CWR);
        }
        if !last {
            flags = flags.without(TcpFlags::FIN | TcpFlags::PSH);
        }
        segment[tcp::FIELD_FLAGS] = flags.0;
        put16(segment, tcp::FIELD_CHECKSUM, 0);
        let value = checksum::finish(pseudo + checksum::sum(segment));
        put16(segment, tcp::FIELD_CHECKSUM, value);
    } else {
        put16(segment, udp::FIELD_LENGTH, len);
        if offload.partial_checksum || be16!(segment, udp::FIELD_CHECKSUM) != 0 {
            put16(segment, udp::FIELD_CHECKSUM, 0);
            let value = ones_for_zero(checksum::finish(pseudo + checksum::sum(segment)));
            put16(segment, udp::FIELD_CHECKSUM, value);
        }
    }
}

/// Completes a partial checksum in place, as a device would: the field holds the sum of the pseudo header,
/// the sum of the segment is added, and the whole inverted. For SCTP, which has no pseudo header, the CRC32c
/// is computed.
///
/// # Errors
/// The frame is malformed, or its protocol has no such checksum; then it is unchanged.
pub fn finish_checksum(frame: &mut [u8]) -> Result<(), SegmentationError> {
    let (parsed, field) = partial_checksum_place(frame)?;
    write_checksum(frame, &parsed, field);
    Ok(())
}

/// Completes the partial checksum at `field` of the transport header.
fn write_checksum(frame: &mut [u8], parsed: &Parsed, field: usize) {
    let segment = &mut frame[usize::from(parsed.l4)..parsed.end as usize];
    if parsed.protocol == Protocol::SCTP {
        return finish_sctp(segment, field);
    }
    let mut value = checksum::finish(checksum::sum(segment));
    if matches!(parsed.protocol, Protocol::UDP | Protocol::UDP_LITE) {
        value = ones_for_zero(value);
    }
    put16(segment, field, value);
}

/// Decodes a frame with a partial checksum, and finds where in the transport header that lies.
fn partial_checksum_place(frame: &[u8]) -> Result<(Parsed, usize), SegmentationError> {
    let parsed = parse_ipv4(frame).map_err(SegmentationError::Malformed)?;
    let (field, octets) = match parsed.protocol {
        _ if parsed.fragment.is_some() => return Err(SegmentationError::NoChecksum),
        Protocol::TCP => (tcp::FIELD_CHECKSUM, 2),
        Protocol::UDP | Protocol::UDP_LITE | Protocol::DCCP => (udp::FIELD_CHECKSUM, 2),
        Protocol::SCTP => (SCTP_CHECKSUM, 4),
        _ => return Err(SegmentationError::NoChecksum),
    };
    if parsed.ip_payload_len() < field + octets {
        return Err(SegmentationError::Malformed(DropReason::TransportTruncated));
    }
    Ok((parsed, field))
}

/// `field` is where the checksum lies.
fn finish_sctp(packet: &mut [u8], field: usize) {
    packet[field..field + 4].fill(0);
    // RFC 4960 Appendix B: the CRC goes out least significant octet first.
    let crc = crc32c(packet);
    packet[field..field + 4].copy_from_slice(&crc.to_le_bytes());
}

/// CRC32c (Castagnoli), reflected, by nibbles: SCTP with partial checksums is rare, a large table is not
/// worth its cache lines.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut nibble = 0;
        while nibble < 16 {
            let mut crc = nibble as u32;
            let mut bit = 0;
            while bit < 4 {
                crc = if crc & 1 != 0 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            table[nibble] = crc;
            nibble += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &octet| {
        let crc = crc ^ u32::from(octet);
        let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        crc >> 4 ^ TABLE[(crc & 15) as usize]
    })
}

/// RFC 768: a computed 0 is sent as ones, since 0 says that there is no checksum.
const fn ones_for_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

fn put16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    //! Properties: a completed partial checksum equals the full one; segments concatenate to the payload,
    //! every one verifies under etherparse, sequence numbers and identifications run on, flags stand where
    //! they belong; all combinations of partial checksum and super-frame.

    use super::*;
    use crate::packet::test_frames::{IP, Spec, Transport, any_spec, assert_checksums, make_partial};
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn offload(gso: GsoKind, gso_size: u16, partial_checksum: bool) -> Offload {
        Offload { partial_checksum, gso, gso_size, ..Offload::default() }
    }

    fn segments(frame: &[u8], offload: &Offload) -> Result<Vec<Vec<u8>>, SegmentationError> {
        let mut out = Vec::new();
        let count = segment(frame, offload, &mut Vec::new(), |frame| out.push(frame.to_vec()))?;
        assert_eq!(count, out.len());
        // Both ways come to the same.
        let (mut memory, mut ends) = (vec![9; 7], vec![7]);
        let appended =
            append_segments(frame, offload, &mut memory, |len| ends.push(ends.last().unwrap() + len));
        assert_eq!(appended, Ok(count));
        assert_eq!((*ends.last().unwrap(), &memory[..7]), (memory.len(), &[9; 7][..]));
        let appended: Vec<_> = ends.windows(2).map(|ends| memory[ends[0]..ends[1]].to_vec()).collect();
        assert_eq!(appended, out);
        Ok(out)
    }

    /// Flags, sequence number and payload of a finished TCP frame.
    fn tcp(frame: &[u8]) -> (TcpFlags, u32, Vec<u8>) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("not TCP") };
        (TcpFlags(tcp.slice()[13]), tcp.sequence_number(), tcp.payload().to_vec())
    }

    #[test]
    fn flags_stand_where_they_belong() {
        // CWR, ACK, PSH, FIN.
        let frame = Spec::tcp(0x99, &[7; 2500]).frame();
        let out = segments(&frame, &offload(GsoKind::TcpV4, 1000, false)).unwrap();
        let seen: Vec<_> = out.iter().map(|frame| tcp(frame)).collect();
        assert_eq!(seen.iter().map(|(flags, ..)| flags.0).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
        assert_eq!(seen.iter().map(|(.., data)| data.len()).collect::<Vec<_>>(), [1000, 1000, 500]);
        let first = 0x0102_0304;
        assert_eq!(seen.iter().map(|(_, sequence, _)| sequence - first).collect::<Vec<_>>(), [0, 1000, 2000]);
        let single = segments(&frame, &offload(GsoKind::TcpV4, 2500, false)).unwrap();
        assert_eq!(single, [frame], "a single segment keeps all flags");
    }

    #[test]
    fn identifications_wrap() {
        let mut spec = Spec::tcp(0x10, &[7; 30]);
        spec.id = 0xffff;
        let out = segments(&spec.frame(), &offload(GsoKind::TcpV4, 10, true)).unwrap();
        let ids: Vec<_> = out.iter().map(|frame| be16!(frame, IP + 4)).collect();
        assert_eq!(ids, [0xffff, 0, 1]);
    }

    #[test]
    fn datagrams_without_checksum_stay_so() {
        let frame = Spec::new(Transport::Udp { checksum: false }, &[7; 25]).frame();
        let out = segments(&frame, &offload(GsoKind::UdpL4, 10, false)).unwrap();
        assert_eq!(out.len(), 3);
        for frame in &out {
            assert_eq!(frame[IP + 26..IP + 28], [0, 0]);
            assert_checksums(frame);
        }
        // With a partial field a 0 is a sum like any other.
        let out = segments(&frame, &offload(GsoKind::UdpL4, 10, true)).unwrap();
        for frame in &out {
            assert_ne!(frame[IP + 26..IP + 28], [0, 0]);
            assert_checksums(frame);
        }
    }

    #[test]
    fn the_largest_super_frame_of_the_smallest_segments() {
        let frame = Spec::tcp(0x10, &vec![7; 65_535 - 40]).frame();
        let out = segments(&frame, &offload(GsoKind::TcpV4, 1, true)).unwrap();
        assert_eq!(out.len(), 65_495);
        assert_eq!(tcp(&out[65_494]).1, 0x0102_0304 + 65_494);
    }

    #[test]
    fn what_cannot_be_segmented() {
        let (tcp, udp) = (Spec::tcp(0x10, &[7; 30]).frame(), Spec::udp(&[7; 30]).frame());
        let unsupported = Err(SegmentationError::Unsupported);
        assert_eq!(segments(&tcp, &offload(GsoKind::UdpL4, 10, true)), unsupported);
        assert_eq!(segments(&udp, &offload(GsoKind::TcpV4, 10, true)), unsupported);
        assert_eq!(segments(&tcp, &offload(GsoKind::TcpV6, 10, true)), unsupported);
        assert_eq!(segments(&tcp, &offload(GsoKind::TcpV4, 0, true)), unsupported);
        let cut = segments(&tcp[..40], &offload(GsoKind::TcpV4, 10, true));
        assert_eq!(cut, Err(SegmentationError::Malformed(DropReason::IpTotalLength)));
    }

    #[test]
    fn foreign_frames_without_offload_pass() {
        let arp = [0xff; 42];
        assert_eq!(segments(&arp, &Offload::default()).unwrap(), [arp]);
    }

    #[test]
    fn protocols_without_a_checksum_of_their_own() {
        let mut gre = Spec::new(Transport::Other(47), &[7; 20]).frame();
        let before = gre.clone();
        assert_eq!(finish_checksum(&mut gre), Err(SegmentationError::NoChecksum));
        assert_eq!(gre, before);
    }

    #[test]
    fn sctp_gets_its_crc() {
        // RFC 3720 §B.4: 32 octets of zeros, of ones, and rising.
        assert_eq!(crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&[0xff; 32]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising).to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
        let mut packet = vec![0x9c, 0x40, 0, 80, 1, 2, 3, 4, 9, 9, 9, 9];
        packet.extend_from_slice(&[7; 21]);
        let mut frame = Spec::new(Transport::Other(132), &packet).frame();
        finish_checksum(&mut frame).unwrap();
        packet[8..12].fill(0);
        assert_eq!(frame[IP + 28..IP + 32], crc32c(&packet).to_le_bytes());
        let mut short = Spec::new(Transport::Other(132), &packet[..11]).frame();
        assert!(finish_checksum(&mut short).is_err());
    }

    #[test]
    fn mtu_checks_see_the_largest_segment() {
        let frame = Spec::tcp(0x10, &[7; 3000]).frame();
        let parsed = parse_ipv4(&frame).unwrap();
        assert_eq!(largest_segment(&parsed, &Offload::default()), 3040);
        assert_eq!(largest_segment(&parsed, &offload(GsoKind::TcpV4, 1460, true)), 1500);
        assert_eq!(largest_segment(&parsed, &offload(GsoKind::TcpV4, 4000, true)), 3040);
        let frame = Spec::udp(&[7; 3000]).frame();
        let parsed = parse_ipv4(&frame).unwrap();
        assert_eq!(largest_segment(&parsed, &offload(GsoKind::UdpL4, 1472, true)), 1500);
    }

    proptest! {
        #[test]
        fn a_completed_partial_checksum_is_the_full_one(spec in any_spec(), padding in 0..4_usize) {
            if !matches!(
                spec.transport,
                Transport::Tcp { .. } | Transport::Udp { checksum: true } | Transport::Other(33 | 136)
            ) {
                return Ok(());
            }
            let finished = spec.frame();
            let mut frame = finished.clone();
            make_partial(&mut frame);
            frame.resize(finished.len() + padding, 0xee);
            let partial = offload(GsoKind::None, 0, true);
            let out = segments(&frame, &partial).unwrap();
            prop_assert_eq!(&out[0][..finished.len()], &finished[..]);
        }

        #[test]
        fn segments_make_up_the_super_frame(
            mut spec in any_spec(),
            is_tcp: bool,
            flags in any::<u8>(),
            gso_size in 1..700_u16,
            payload in proptest::collection::vec(any::<u8>(), 0..3000),
            partial: bool,
            padding in 0..4_usize,
        ) {
            let gso = if is_tcp { GsoKind::TcpV4 } else { GsoKind::UdpL4 };
            spec.payload = payload;
            spec.transport = match spec.transport {
                // SYN+FIN and the like are not let in.
                _ if is_tcp => Transport::Tcp { flags: flags & !0x06 | 0x10, options: vec![1; 12] },
                _ => Transport::Udp { checksum: true },
            };
            let mut frame = spec.frame();
            let original = parse_ipv4(&frame).unwrap();
            if partial {
                make_partial(&mut frame);
            }
            frame.resize(frame.len() + padding, 0xee);
            let offload = offload(gso, gso_size, partial);
            let out = segments(&frame, &offload).unwrap();
            prop_assert_eq!(out.len(), spec.payload.len().div_ceil(usize::from(gso_size)).max(1));

            let mut whole = Vec::new();
            let mut largest = 0;
            for (index, segment) in out.iter().enumerate() {
                assert_checksums(segment);
                // Nothing but what must differ does: the rest is as in the super-frame's headers.
                let parsed = parse_ipv4(segment).unwrap();
                prop_assert_eq!(segment.len(), parsed.end as usize);
                prop_assert_eq!(be16!(segment, IP + 4), spec.id.wrapping_add(index as u16));
                prop_assert_eq!(&segment[..IP + 2], &frame[..IP + 2]);
                prop_assert_eq!(&segment[IP + 6..IP + 10], &frame[IP + 6..IP + 10]);
                let l4 = usize::from(parsed.l4);
                prop_assert_eq!(&segment[IP + 12..l4 + 4], &frame[IP + 12..l4 + 4]);
                if is_tcp {
                    let advance = (index * usize::from(gso_size)) as u32;
                    prop_assert_eq!(be32!(segment, l4 + 4), be32!(frame, l4 + 4).wrapping_add(advance));
                    prop_assert_eq!(&segment[l4 + 8..l4 + 13], &frame[l4 + 8..l4 + 13]);
                    let mut expected = original.tcp_flags;
                    if index > 0 {
                        expected = expected.without(TcpFlags::CWR);
                    }
                    if index + 1 < out.len() {
                        expected = expected.without(TcpFlags::FIN | TcpFlags::PSH);
                    }
                    prop_assert_eq!(parsed.tcp_flags, expected);
                } else {
                    prop_assert_eq!(usize::from(be16!(segment, l4 + 4)), parsed.ip_payload_len());
                }
                whole.extend_from_slice(&segment[usize::from(parsed.payload)..]);
                largest = largest.max(parsed.packet_len());
            }
            prop_assert_eq!(whole, spec.payload);
            prop_assert_eq!(largest, largest_segment(&original, &offload));
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            gso_size in 0..50_u16,
            partial: bool,
        ) {
            let mut copy = bytes.clone();
            let _ = finish_checksum(&mut copy);
            for gso in [GsoKind::None, GsoKind::TcpV4, GsoKind::UdpL4] {
                let _ = segments(&bytes, &offload(gso, gso_size, partial));
            }
        }
    }
}
