//! Cuts an IPv4 packet into fragments for a smaller MTU (RFC 791 §3.2, RFC 1812 §5.2.6, §5.3.1).

use crate::packet::parsed::parse_ipv4;
use crate::verdict::DropReason;
use crate::wire::ethernet;
use crate::wire::ipv4::{self, OPTION_COPIED, OPTION_END, OPTION_NOP};
use crate::wire::{be16, checksum};

/// Why a packet is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentationError {
    /// The frame is not what the engine lets out.
    #[error("malformed frame: {}", .0.name())]
    Malformed(DropReason),
    /// DF is set: the sender is to be told instead.
    #[error("the packet is not to be fragmented")]
    DontFragment,
    /// The MTU does not hold the header and 8 octets.
    #[error("the MTU is too small for any fragment")]
    MtuTooSmall,
}

/// Hands out the fragments of `frame`, as Ethernet frames whose packets are at most `mtu` octets (IP MTU), in
/// order, and returns how many. One that fits is handed out as it is. `frame` has finished checksums and is
/// no super-frame; it may be a fragment itself, and is then cut further. Options go into every fragment
/// only if their type says so (RFC 791 §3.1).
///
/// # Errors
/// See [`FragmentationError`]; then nothing was handed out.
pub fn fragment(frame: &[u8], mtu: u16, mut emit: impl FnMut(&[u8])) -> Result<usize, FragmentationError> {
    const IP: usize = ethernet::HEADER_LEN;
    let parsed = parse_ipv4(frame).map_err(FragmentationError::Malformed)?;
    let mtu = usize::from(mtu);
    if parsed.packet_len() <= mtu {
        emit(frame);
        return Ok(1);
    }
    if parsed.dont_fragment {
        return Err(FragmentationError::DontFragment);
    }
    let (headers, payload) = frame[..parsed.end as usize].split_at(usize::from(parsed.l4));
    let options = &headers[IP + ipv4::MIN_HEADER_LEN..];
    // RFC 791 §3.2: every fragment but the last carries whole units of 8 octets.
    let room = mtu.saturating_sub(headers.len() - IP) & !7;
    if room == 0 {
        return Err(FragmentationError::MtuTooSmall);
    }
    let base = parsed.fragment.map_or(0, |info| info.offset);
    let more_after = parsed.fragment.is_some_and(|info| info.more);

    let mut later_headers = headers[..IP + ipv4::MIN_HEADER_LEN].to_vec();
    copy_options(options, &mut later_headers);
    let later_ihl = (later_headers.len() - IP) / 4;
    later_headers[IP] = 0x40 | later_ihl as u8;

    let mut out = Vec::with_capacity(IP + mtu);
    let (mut at, mut count) = (0, 0);
    while at < payload.len() {
        let headers = if at == 0 { headers } else { &later_headers };
        let header_len = headers.len() - IP;
        // What fits whole goes as it is; a fragment before others is cut to units of 8. Headers of later
        // fragments are never longer than the first, whose room is known not to be 0.
        let rest = &payload[at..];
        let len = if header_len + rest.len() <= mtu { rest.len() } else { (mtu - header_len) & !7 };
        let more = more_after || at + len < payload.len();
        out.clear();
        out.extend_from_slice(headers);
        out.extend_from_slice(&rest[..len]);
        let ip = &mut out[IP..IP + header_len];
        put16(ip, ipv4::FIELD_TOTAL_LEN, (header_len + len) as u16);
        // The reserved bit stays as it came; DF is not set. Offsets fit: the parser has seen the end.
        let reserved = be16!(ip, ipv4::FIELD_FRAGMENT) & 0x8000;
        let offset = (usize::from(base) + at) as u16 / 8;
        let flag = if more { ipv4::MORE_FRAGMENTS } else { 0 };
        put16(ip, ipv4::FIELD_FRAGMENT, reserved | flag | offset);
        put16(ip, ipv4::FIELD_CHECKSUM, 0);
        let value = checksum::finish(checksum::sum(ip));
        put16(ip, ipv4::FIELD_CHECKSUM, value);
        emit(&out);
        at += len;
        count += 1;
    }
    Ok(count)
}

/// Appends the options that go into every fragment, padded to whole words. The parser has walked them.
fn copy_options(options: &[u8], to: &mut Vec<u8>) {
    let mut rest = options;
    while let Some(&kind) = rest.first() {
        let len = match kind {
            OPTION_END => break,
            OPTION_NOP => 1,
            _ => usize::from(*rest.get(1).unwrap_or(&0)).max(2),
        };
        let Some((option, after)) = rest.split_at_checked(len) else { break };
        if kind & OPTION_COPIED != 0 {
            to.extend_from_slice(option);
        }
        rest = after;
    }
    // The Ethernet header is no whole number of words.
    while !(to.len() - ethernet::HEADER_LEN).is_multiple_of(4) {
        to.push(OPTION_END);
    }
}

fn put16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    //! Properties: fragments reassemble (in etherparse) to the original payload, fit the MTU, and have right
    //! header checksums; a fragment cut again reassembles likewise.

    use super::*;
    use crate::packet::parsed::{FragmentInfo, Parsed};
    use crate::packet::test_frames::{Spec, Transport, any_spec, assert_checksums, refill};
    use etherparse::SlicedPacket;
    use etherparse::defrag::IpDefragPool;
    use proptest::prelude::*;

    const IP: usize = 14;

    fn fragments(frame: &[u8], mtu: u16) -> Result<Vec<Vec<u8>>, FragmentationError> {
        let mut out = Vec::new();
        let count = fragment(frame, mtu, |frame| out.push(frame.to_vec()))?;
        assert_eq!(count, out.len());
        Ok(out)
    }

    fn infos(frames: &[Vec<u8>]) -> Vec<(u16, usize, bool)> {
        let info = |parsed: Parsed| {
            let FragmentInfo { offset, more, .. } = parsed.fragment.unwrap();
            (offset, parsed.ip_payload_len(), more)
        };
        frames.iter().map(|frame| info(parse_ipv4(frame).unwrap())).collect()
    }

    fn datagram(len: usize) -> Spec {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        Spec { dont_fragment: false, ..Spec::udp(&payload) }
    }

    #[test]
    fn a_datagram_over_a_small_link() {
        let frame = datagram(2992).frame();
        let out = fragments(&frame, 1500).unwrap();
        assert_eq!(infos(&out), [(0, 1480, true), (1480, 1480, true), (2960, 40, false)]);
        assert_eq!(out[1][IP + 4..IP + 6], frame[IP + 4..IP + 6], "identification stays");
        assert_eq!(out[2][..IP + 2], frame[..IP + 2], "MAC addresses and TOS too");
        // 1492 - 20 = 1472 = 184 * 8; 1490 - 20 = 1470 is cut down to 1464.
        assert_eq!(infos(&fragments(&frame, 1490).unwrap())[0], (0, 1464, true));
    }

    #[test]
    fn what_fits_goes_as_it_is() {
        let frame = datagram(1472).frame();
        assert_eq!(fragments(&frame, 1500).unwrap(), vec![frame]);
        let df = Spec::udp(&[0; 1472]).frame();
        assert_eq!(fragments(&df, 1500).unwrap(), vec![df], "DF is no matter then");
    }

    #[test]
    fn what_is_not_cut() {
        let df = Spec::udp(&[0; 1473]).frame();
        assert_eq!(fragments(&df, 1500), Err(FragmentationError::DontFragment));
        let frame = datagram(100).frame();
        assert_eq!(fragments(&frame, 27), Err(FragmentationError::MtuTooSmall));
        assert_eq!(fragments(&frame, 28).unwrap().len(), 14);
        let cut = fragments(&frame[..30], 28);
        assert_eq!(cut, Err(FragmentationError::Malformed(DropReason::IpTotalLength)));
    }

    #[test]
    fn a_fragment_is_cut_further() {
        let whole = datagram(2992).frame();
        let first = fragments(&whole, 1500).unwrap();
        assert_eq!(infos(&fragments(&first[1], 1000).unwrap()), [(1480, 976, true), (2456, 504, true)]);
        let last = datagram(2000).frame();
        let last = &fragments(&last, 1500).unwrap()[1];
        assert_eq!(infos(&fragments(last, 500).unwrap()), [(1480, 480, true), (1960, 48, false)]);
    }

    #[test]
    fn options_are_copied_by_their_flag() {
        let mut spec = datagram(100);
        // Timestamp (type 68: not copied), padding, router alert (148: copied).
        spec.ip_options = vec![68, 8, 5, 0, 0, 0, 0, 0, 1, 148, 4, 0, 0, 0, 0, 0];
        let out = fragments(&spec.frame(), 92).unwrap();
        assert_eq!(out[0][IP + 20..IP + 36], spec.ip_options);
        for later in &out[1..] {
            assert_eq!(later[IP], 0x46);
            assert_eq!(later[IP + 20..IP + 24], [148, 4, 0, 0]);
        }
        // 92 - 36 = 56; 92 - 24 = 68, cut to 64, which just takes the rest of the 108 octets.
        assert_eq!(infos(&out), [(0, 56, true), (56, 52, false)]);
    }

    proptest! {
        #[test]
        fn fragments_reassemble(
            mut spec in any_spec(),
            payload in proptest::collection::vec(any::<u8>(), 0..3000),
            mtu in 68..1500_u16,
            second_mtu in 68..1500_u16,
            padding in 0..4_usize,
        ) {
            spec.dont_fragment = false;
            // etherparse wants ICMP timestamps to be of their one length.
            if let Transport::Icmp { kind, .. } = &mut spec.transport {
                *kind = 8;
            }
            spec.payload.extend_from_slice(&payload);
            let mut frame = spec.frame();
            let len = frame.len();
            let l4 = IP + 20 + spec.ip_options.len();
            frame.resize(len + padding, 0xee);
            // A first fragment too tiny for its own transport header would be refused on its way.
            let (mtu, second_mtu) = (mtu.max((l4 - IP + 64) as u16), second_mtu.max((l4 - IP + 64) as u16));
            let mut out = Vec::new();
            for piece in fragments(&frame, mtu).unwrap() {
                out.extend(fragments(&piece, second_mtu).unwrap());
            }
            let mut pool = IpDefragPool::<(), ()>::new();
            let mut whole = None;
            for piece in &out {
                if out.len() > 1 {
                    prop_assert!(piece.len() - IP <= usize::from(mtu.min(second_mtu)));
                    assert_checksums(piece);
                }
                let sliced = SlicedPacket::from_ethernet(piece).unwrap();
                prop_assert!(whole.is_none());
                whole = pool.process_sliced_packet(&sliced, (), ()).unwrap();
            }
            if out.len() == 1 {
                prop_assert_eq!(&out[0], &frame);
            } else {
                prop_assert_eq!(&whole.unwrap().payload[..], &frame[l4..len]);
            }
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 34..200), mtu: u16) {
            bytes[IP] = 0x45;
            let total = (bytes.len() - IP) as u16;
            bytes[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
            bytes[IP + 9] = 47;
            refill(&mut bytes);
            let _ = fragments(&bytes, mtu % 200);
        }
    }
}
