//! The virtio network header that packet sockets and TAP devices put before a frame.
//!
//! Read first: Virtual I/O Device (VIRTIO) Version 1.2, §5.1.6 (`struct virtio_net_hdr`), and linux/virtio_net.h.
//! Ten octets, in the host's byte order on both interfaces:
//!
//! ```text
//!   0: flags      1: gso_type   2-3: hdr_len
//!   4-5: gso_size   6-7: csum_start   8-9: csum_offset
//! ```

use genkan_engine::frame::{GsoKind, Offload};
use genkan_engine::packet::segmentation::finish_checksum;
use genkan_engine::wire::checksum;

/// Octets of the header.
pub(crate) const LEN: usize = 10;

/// The header as octets.
pub(crate) type VnetHeader = [u8; LEN];

/// The transport checksum is partial: to be summed from `csum_start` on and stored at `csum_offset` from there.
const FLAG_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Beside a TCP type: the segments carry ECN (RFC 3168).
const GSO_ECN: u8 = 0x80;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Where the checksum lies in a TCP header (RFC 9293 §3.1).
const TCP_CHECKSUM: usize = 16;
/// Where the checksum lies in a UDP header (RFC 768).
const UDP_CHECKSUM: usize = 6;
const UDP_HEADER_LEN: usize = 8;
const PROTOCOL_SCTP: u8 = 132;
/// Where the checksum lies in an SCTP header (RFC 9260 §3.1).
const SCTP_CHECKSUM: usize = 8;

/// A header as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// What the engine needs to know.
    pub(crate) offload: Offload,
    /// Where a partial checksum's sum starts and, from there, where it is stored; offsets into the frame.
    pub(crate) checksum: Option<(usize, usize)>,
}

/// Reads a header. `None` for kinds of super-frames that nobody asked for (UFO, ...): such a frame must be dropped.
pub(crate) fn parse(header: &VnetHeader) -> Option<Received> {
    let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let gso = match header[1] & !GSO_ECN {
        GSO_NONE => GsoKind::None,
        GSO_TCPV4 => GsoKind::TcpV4,
        GSO_TCPV6 => GsoKind::TcpV6,
        GSO_UDP_L4 => GsoKind::UdpL4,
        _ => return None,
    };
    // Flag 2 (DATA_VALID) says that the checksum is verified: nothing is left to do, and it must not be sent.
    let partial_checksum = header[0] & FLAG_NEEDS_CSUM != 0;
    let is_super_frame = gso != GsoKind::None;
    Some(Received {
        offload: Offload {
            partial_checksum,
            gso,
            gso_size: if is_super_frame { field(4) } else { 0 },
            gso_ecn: is_super_frame && header[1] & GSO_ECN != 0,
            vlan_tci: None,
        },
        checksum: partial_checksum.then(|| (usize::from(field(6)), usize::from(field(8)))),
    })
}

/// Makes a received header of an ordinary frame, the frame checked by [`settle_checksum`], what [`emit`] makes for it.
/// Where the header lies right before the frame, both can be sent as they lie.
pub(crate) fn normalize(header: &mut VnetHeader, received: &Received) {
    if received.offload.gso == GsoKind::None && received.checksum.is_none() {
        *header = [0; LEN];
    }
}

/// Where the transport header of an IPv4 frame starts and where its checksum field lies from there.
fn checksum_place(frame: &[u8]) -> Option<(usize, usize)> {
    if frame.get(12..14)? != ETHERTYPE_IPV4 {
        return None;
    }
    let ip = &frame[ETHERNET_LEN..];
    let start = ETHERNET_LEN + usize::from(ip.first()? & 0x0f) * 4;
    match *ip.get(9)? {
        PROTOCOL_TCP => Some((start, TCP_CHECKSUM)),
        PROTOCOL_UDP => Some((start, UDP_CHECKSUM)),
        _ => None,
    }
}

/// Makes a received frame what the engine takes it for: a partial checksum is that of the frame's own TCP or UDP
/// header. Another one (a tunnel's inner packet, IPv6) is finished here. `false` if the frame contradicts its header.
pub(crate) fn settle_checksum(frame: &mut [u8], received: &mut Received) -> bool {
    let Some((start, offset)) = received.checksum else { return true };
    if checksum_place(frame) == Some((start, offset)) {
        return start + offset + 2 <= frame.len();
    }
    if offset == SCTP_CHECKSUM && frame.get(ETHERNET_LEN + 9) == Some(&PROTOCOL_SCTP) {
        // A CRC32c, which no virtio header can ask for: whoever took it on would add up an Internet checksum.
        received.checksum = None;
        received.offload.partial_checksum = false;
        return received.offload.gso == GsoKind::None && finish_checksum(frame).is_ok();
    }
    // Segments of a tunnel would each need an inner checksum of their own.
    let is_super_frame = received.offload.gso != GsoKind::None;
    let Some(summed) = frame.get_mut(start..).filter(|_| !is_super_frame) else { return false };
    let checksum = checksum::finish(checksum::sum(summed));
    let Some(field) = summed.get_mut(offset..offset + 2) else { return false };
    // Zero means "no checksum" in UDP (RFC 768), and ffff equals it in ones' complement elsewhere.
    field.copy_from_slice(&(if checksum == 0 { 0xffff } else { checksum }).to_be_bytes());
    received.checksum = None;
    received.offload.partial_checksum = false;
    true
}

/// The header to send before a frame. `None` when the frame's headers do not bear out what `offload` says.
pub(crate) fn emit(frame: &[u8], offload: &Offload) -> Option<VnetHeader> {
    let mut header = [0; LEN];
    if !offload.partial_checksum && offload.gso == GsoKind::None {
        return Some(header);
    }
    let mut set = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    let (start, offset) = checksum_place(frame)?;
    if offload.partial_checksum {
        if start + offset + 2 > frame.len() {
            return None;
        }
        set(6, u16::try_from(start).ok()?);
        set(8, u16::try_from(offset).ok()?);
    }
    let kind = match offload.gso {
        GsoKind::None => GSO_NONE,
        GsoKind::TcpV4 => {
            let transport_len = usize::from(frame.get(start + 12)? >> 4) * 4;
            set(2, u16::try_from(start + transport_len).ok()?);
            set(4, offload.gso_size);
            GSO_TCPV4 | if offload.gso_ecn { GSO_ECN } else { 0 }
        }
        GsoKind::UdpL4 => {
            set(2, u16::try_from(start + UDP_HEADER_LEN).ok()?);
            set(4, offload.gso_size);
            GSO_UDP_L4
        }
        GsoKind::TcpV6 => return None,
    };
    header[0] = if offload.partial_checksum { FLAG_NEEDS_CSUM } else { 0 };
    header[1] = kind;
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 frame with the given protocol, 20 octets of IP header and room for a TCP header of 32.
    fn frame(protocol: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 32];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        frame[14] = 0x45;
        frame[14 + 9] = protocol;
        frame[34 + 12] = 0x80; // data offset 8 words
        frame
    }

    /// flags, type, hdr_len, gso_size, csum_start, csum_offset
    fn header(flags: u8, kind: u8, fields: [u16; 4]) -> VnetHeader {
        let mut header = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (i, field) in fields.into_iter().enumerate() {
            header[2 + 2 * i..4 + 2 * i].copy_from_slice(&field.to_ne_bytes());
        }
        header
    }

    #[test]
    fn a_finished_frame_has_an_empty_header() {
        assert_eq!(emit(&frame(6), &Offload::default()), Some([0; LEN]));
        assert_eq!(parse(&[0; LEN]).map(|received| received.offload), Some(Offload::default()));
    }

    #[test]
    fn tcp_super_frame_there_and_back() {
        let wire = header(1, 0x81, [66, 1448, 34, 16]);
        let received = parse(&wire).expect("a known kind");
        assert_eq!(received.checksum, Some((34, 16)));
        let expected = Offload {
            partial_checksum: true,
            gso: GsoKind::TcpV4,
            gso_size: 1448,
            gso_ecn: true,
            vlan_tci: None,
        };
        assert_eq!(received.offload, expected);
        assert_eq!(emit(&frame(6), &expected), Some(wire));
    }

    #[test]
    fn udp_super_frame_there_and_back() {
        let wire = header(1, 5, [42, 1000, 34, 6]);
        let received = parse(&wire).expect("a known kind");
        assert_eq!((received.offload.gso, received.offload.gso_size), (GsoKind::UdpL4, 1000));
        assert_eq!(emit(&frame(17), &received.offload), Some(wire));
    }

    #[test]
    fn verified_is_not_passed_on_and_is_not_partial() {
        // Flag 2 is DATA_VALID.
        let received = parse(&header(2, 0, [0; 4])).expect("an ordinary frame");
        assert_eq!(received.offload, Offload::default());
        assert_eq!(received.checksum, None);
    }

    #[test]
    fn other_kinds_and_contradictions_are_refused() {
        assert_eq!(parse(&header(1, 3, [42, 1000, 34, 6])), None); // UFO
        let partial = Offload { partial_checksum: true, ..Offload::default() };
        assert_eq!(emit(&frame(1), &partial), None); // ICMP
        assert_eq!(emit(&frame(6)[..40], &partial), None); // too short for the field
        assert_eq!(emit(&[0; 10], &partial), None);
        let tcp_v6 = Offload { gso: GsoKind::TcpV6, ..partial };
        assert_eq!(emit(&frame(6), &tcp_v6), None);
    }

    #[test]
    fn sctp_gets_its_crc_on_arrival() {
        let mut sctp = frame(132);
        let length = (sctp.len() - 14) as u16;
        sctp[16..18].copy_from_slice(&length.to_be_bytes());
        sctp[22] = 64;
        sctp[26..34].copy_from_slice(&[192, 0, 2, 1, 198, 51, 100, 1]);
        let sum = checksum::finish(checksum::sum(&sctp[14..34]));
        sctp[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut finished = sctp.clone();
        finish_checksum(&mut finished).expect("a whole packet");
        let mut received = parse(&header(1, 0, [0, 0, 34, 8])).expect("an ordinary frame");
        assert!(settle_checksum(&mut sctp, &mut received));
        assert_eq!(sctp, finished);
        assert!(!received.offload.partial_checksum);
    }

    #[test]
    fn a_partial_checksum_of_something_else_is_finished() {
        // An inner UDP header at 50, whose checksum field holds the partial sum 0x1234; the rest is zero.
        let mut tunnel = frame(17);
        tunnel[56..58].copy_from_slice(&[0x12, 0x34]);
        let mut received = parse(&header(1, 0, [0, 0, 50, 6])).expect("an ordinary frame");
        assert!(settle_checksum(&mut tunnel, &mut received));
        assert_eq!(tunnel[56..58], (!0x1234u16).to_be_bytes());
        assert!(!received.offload.partial_checksum);

        // The frame's own is left alone.
        let mut own = parse(&header(1, 0, [0, 0, 34, 6])).expect("an ordinary frame");
        let mut udp = frame(17);
        assert!(settle_checksum(&mut udp, &mut own));
        assert_eq!(udp, frame(17));
        assert!(own.offload.partial_checksum);

        for (kind, fields) in [(0, [0, 0, 9000, 6]), (0, [0, 0, 50, 9000]), (1, [0, 1448, 50, 6])] {
            let mut contradiction = parse(&header(1, kind, fields)).expect("a known kind");
            assert!(!settle_checksum(&mut frame(17), &mut contradiction), "{fields:?}");
        }
    }
}
