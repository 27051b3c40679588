//! Transport checksums that a neighbour's kernel left to a device that never touches the frame.
//!
//! The other end of a veth pair, a bridge full of them or a paravirtual device is no wire: a local stack there leaves TCP
//! and UDP checksums to "the hardware" and stores only the sum of the pseudo header. AF_PACKET tells such frames apart;
//! an AF_XDP socket does not. They are told by what they hold: the field *is* the pseudo header's sum, uninverted, and
//! the checksum does not verify. A frame with a checksum that is merely wrong looks so with a probability of 2^-16, so
//! devices that put bits on a wire, where every frame arrives finished, are not looked at ([`super::Facts`]), and on the
//! others that chance is what is left of "a wrong checksum stays wrong". A finished checksum that happens to equal the
//! sum is right, and left as it is.

use std::net::Ipv4Addr;

use genkan_engine::packet::segmentation::finish_checksum;
use genkan_engine::wire::checksum;
use genkan_engine::wire::ipv4::Protocol;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
/// Offset of the checksum in a TCP header (RFC 9293 §3.1).
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header (RFC 768).
const UDP_CHECKSUM: usize = 6;
/// Octets of an SCTP header, which ends with the CRC32c (RFC 9260 §3.1).
const SCTP_LEN: usize = 12;

/// Finishes the checksum of a frame whose sender left that to a device; whether it did.
#[inline]
pub(super) fn finish(frame: &mut [u8]) -> bool {
    is_unfinished(frame) && finish_checksum(frame).is_ok()
}

fn is_unfinished(frame: &[u8]) -> bool {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_LEN) else { return false };
    let Some(header) = packet.first_chunk::<IPV4_LEN>() else { return false };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // IPv4, and no fragment: what is left to a device is one packet.
    if ethernet[12..14] != [0x08, 0x00] || word(6) & 0x3fff != 0 {
        return false;
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let Some(segment) = packet.get(header_len..usize::from(word(2))) else { return false };
    let protocol = Protocol(header[9]);
    let at = match protocol {
        Protocol::TCP => TCP_CHECKSUM,
        Protocol::UDP => UDP_CHECKSUM,
        // No pseudo header: the field is left zero. (A sender that means zero, RFC 9653, gets a good CRC instead.)
        Protocol::SCTP => return segment.get(SCTP_LEN - 4..SCTP_LEN) == Some(&[0; 4]),
        _ => return false,
    };
    let Some(field) = segment.get(at..at + 2) else { return false };
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let pseudo = checksum::pseudo_header_sum(address(12), address(16), protocol, segment.len() as u16);
    u16::from_be_bytes([field[0], field[1]]) == checksum::fold(pseudo)
        && checksum::finish(pseudo + checksum::sum(segment)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with a TCP or UDP checksum of zero, and where the field lies.
    fn frame(protocol: Protocol, addresses: [u8; 8], payload: &[u8], padding: usize) -> (Vec<u8>, usize) {
        let transport = if protocol == Protocol::TCP { 20 } else { 8 };
        let length = (IPV4_LEN + transport + payload.len()) as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol.0, 0, 0]);
        frame.extend_from_slice(&addresses);
        let sum = checksum::finish(checksum::sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut segment = vec![0; transport];
        segment[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
        let field = if protocol == Protocol::TCP {
            segment[12..14].copy_from_slice(&[0x50, 0x10]);
            TCP_CHECKSUM
        } else {
            segment[4..6].copy_from_slice(&(length - 20).to_be_bytes());
            UDP_CHECKSUM
        };
        frame.extend_from_slice(&segment);
        frame.extend_from_slice(payload);
        frame.resize(frame.len() + padding, 0);
        (frame, 34 + field)
    }

    fn sums(frame: &[u8]) -> (u32, u32) {
        let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
        let segment = &frame[34..end];
        let length = segment.len() as u16;
        let pseudo = checksum::pseudo_header_sum(address(26), address(30), Protocol(frame[23]), length);
        (pseudo, checksum::sum(segment))
    }

    fn put(frame: &mut [u8], at: usize, value: u16) {
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// What a sender's own stack would have stored.
    fn right(frame: &[u8]) -> u16 {
        let (pseudo, segment) = sums(frame);
        let value = checksum::finish(pseudo + segment);
        if value == 0 && frame[23] == Protocol::UDP.0 { 0xffff } else { value }
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP)]
    }

    /// Addresses that no engine refuses on sight.
    fn addresses() -> impl Strategy<Value = [u8; 8]> {
        (0..=255u8, 1..255u8).prop_map(|(a, b)| [192, 0, 2, b, 198, 51, a, 7])
    }

    proptest! {
        /// Left to the device: comes out as if its sender had finished it.
        #[test]
        fn what_was_left_is_finished(
            protocol in protocol(), addresses in addresses(),
            payload in prop::collection::vec(any::<u8>(), 0..200), padding in 0..10usize,
        ) {
            let (mut frame, field) = frame(protocol, addresses, &payload, padding);
            let expected = right(&frame);
            let pseudo = checksum::fold(sums(&frame).0);
            put(&mut frame, field, pseudo);
            // Where both are equal there is nothing to do.
            prop_assert_eq!(finish(&mut frame), pseudo != expected);
            prop_assert_eq!(u16::from_be_bytes([frame[field], frame[field + 1]]), expected);
            prop_assert!(!finish(&mut frame), "once is enough");
        }

        /// A right checksum stays, and so does a wrong one that is not the pseudo header's sum.
        #[test]
        fn everything_else_is_left_alone(
            protocol in protocol(), addresses in addresses(),
            payload in prop::collection::vec(any::<u8>(), 0..200), error in any::<u16>(),
        ) {
            let (mut frame, field) = frame(protocol, addresses, &payload, 0);
            let value = right(&frame) ^ error;
            prop_assume!(error == 0 || value != checksum::fold(sums(&frame).0));
            put(&mut frame, field, value);
            let before = frame.clone();
            prop_assert!(!finish(&mut frame));
            prop_assert_eq!(frame, before);
        }

        #[test]
        fn any_octets_do_no_harm(mut frame in prop::collection::vec(any::<u8>(), 0..80)) {
            finish(&mut frame);
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(&[8, 0]);
                finish(&mut frame);
            }
        }
    }

    #[test]
    fn fragments_and_datagrams_without_checksum_are_left_alone() {
        let (mut fragment, field) = frame(Protocol::UDP, [192, 0, 2, 1, 198, 51, 100, 1], b"payload", 0);
        let pseudo = checksum::fold(sums(&fragment).0);
        put(&mut fragment, field, pseudo);
        fragment[20] = 0x20; // more fragments
        assert!(!finish(&mut fragment));
        let (mut without, _) = frame(Protocol::UDP, [192, 0, 2, 1, 198, 51, 100, 1], b"payload", 0);
        assert!(!finish(&mut without));
    }

    #[test]
    fn an_sctp_packet_without_crc_gets_one() {
        let mut sctp = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        // 20 octets of IPv4 header, 12 of SCTP header, a COOKIE ACK chunk of 4.
        sctp.extend_from_slice(&[
            0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, 132, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1,
        ]);
        let sum = checksum::finish(checksum::sum(&sctp[14..34]));
        sctp[24..26].copy_from_slice(&sum.to_be_bytes());
        sctp.extend_from_slice(&[0x13, 0x88, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 11, 0, 0, 4]);
        assert!(finish(&mut sctp));
        assert_ne!(sctp[42..46], [0; 4]);
        assert!(!finish(&mut sctp));
    }
}
