//! Any bytes as a frame, through everything that decodes, rewrites, cuts up or shows frames.

use std::net::Ipv4Addr;

use genkan_engine::frame::GsoKind;
use genkan_engine::packet::build::{self, IcmpErrorKind};
use genkan_engine::packet::embedded::{self, Embedded};
use genkan_engine::packet::parsed::{Kind, Parsed, parse_ipv4};
use genkan_engine::packet::rewrite::{self, Rewrite, Side};
use genkan_engine::packet::{ip_fragmentation, segmentation};
use genkan_engine::wire::{arp, ethernet, pretty_print};
use genkan_engine::{DropReason, Offload};

use crate::frame::{refill_checksums, transport_checksum_is_right};

/// Decodes, rewrites, cuts and shows; and checks that what was well formed before is so afterwards. The first
/// two octets choose what is done to the frame that follows.
///
/// # Panics
/// On a bug.
pub fn check(octets: &[u8]) {
    let [kind, size, frame @ ..] = octets else { return };
    let offload = Offload {
        partial_checksum: kind & 1 != 0,
        gso: [GsoKind::None, GsoKind::TcpV4, GsoKind::UdpL4, GsoKind::TcpV6][usize::from(kind >> 1 & 3)],
        gso_size: u16::from(*size) * 7,
        gso_ecn: kind & 8 != 0,
        vlan_tci: None,
    };
    let side = if kind & 16 == 0 { Side::Source } else { Side::Destination };
    let mut frame = frame.to_vec();
    if kind & 32 != 0 {
        refill_checksums(&mut frame);
    }
    let text = pretty_print::frame(&frame).to_string();
    assert!(text.len() < 64 * 1024, "a line per header, not per octet");
    let _ = arp::Repr::parse(frame.get(ethernet::HEADER_LEN..).unwrap_or_default());
    let mut emitted = 0;
    let _ = segmentation::segment(&frame, &offload, &mut Vec::new(), |piece| emitted += piece.len());
    assert!(emitted <= 80 * (frame.len() + 1) + 64 * 1024, "{emitted} octets out of {}", frame.len());
    if frame.get(12..14) != Some(&[0x08, 0x00]) {
        return;
    }
    let Ok(parsed) = parse_ipv4(&frame) else { return };
    let (l4, payload, end) = (usize::from(parsed.l4), usize::from(parsed.payload), parsed.end as usize);
    assert!(34 <= l4 && l4 <= payload && payload <= end && end <= frame.len(), "{parsed:?}");
    frame.truncate(end);
    let rewrite = Rewrite { side, address: Ipv4Addr::new(203, 0, 113, *size), port: 4_711 };
    rewritten(&frame, &parsed, &offload, &rewrite);
    quoted(&frame, &parsed, rewrite);
    segmented(&frame, &parsed, &offload);
    fragmented(&frame, &parsed, 68 + u16::from(*size) * 8);
    answered(&frame, &parsed);
}

fn rewritten(frame: &[u8], parsed: &Parsed, offload: &Offload, rewrite: &Rewrite) {
    let mut changed = frame.to_vec();
    rewrite::apply(&mut changed, parsed, offload, rewrite);
    rewrite::decrement_ttl(&mut changed);
    rewrite::clamp_mss(&mut changed, parsed, offload, rewrite.port);
    let again = parse_ipv4(&changed).expect("a rewrite leaves a frame well formed");
    let address = if rewrite.side == Side::Source { again.source } else { again.destination };
    assert_eq!((address, again.kind, again.end), (rewrite.address, parsed.kind, parsed.end));
    // Of octets that are all zero, 0 and 0xffff are both the sum: a difference cannot tell a right checksum from a
    // wrong one.
    let tells = |frame: &[u8]| frame[usize::from(parsed.l4)..].iter().any(|&octet| octet != 0);
    if !offload.partial_checksum && parsed.fragment.is_none() && tells(frame) && tells(&changed) {
        assert_eq!(transport_checksum_is_right(frame, parsed), transport_checksum_is_right(&changed, &again));
    }
}

fn quoted(frame: &[u8], parsed: &Parsed, rewrite: Rewrite) {
    let Ok(embedded) = Embedded::parse(frame, parsed) else { return };
    let mut changed = frame.to_vec();
    embedded::translate(&mut changed, parsed, &embedded, rewrite);
    let again = Embedded::parse(&changed, parsed).expect("a translation leaves an error well formed");
    let address = if rewrite.side == Side::Source { again.source } else { again.destination };
    assert_eq!(address, rewrite.address);
}

fn segmented(frame: &[u8], parsed: &Parsed, offload: &Offload) {
    let largest = segmentation::largest_segment(parsed, offload);
    let (mut payload, mut pieces, mut flagless) = (0, 0, false);
    let count = segmentation::segment(frame, offload, &mut Vec::new(), |segment| {
        let piece = match parse_ipv4(segment) {
            Ok(piece) => piece,
            // A super-frame with FIN or PSH alone has segments without any flag.
            Err(reason) => {
                assert_eq!(reason, DropReason::TcpFlags);
                flagless = true;
                return;
            }
        };
        assert!(piece.packet_len() <= largest);
        // A partial checksum of an ordinary frame is finished from whatever the field holds.
        let has_full_sum = match offload.gso {
            GsoKind::TcpV4 => true,
            GsoKind::UdpL4 => offload.partial_checksum,
            GsoKind::None | GsoKind::TcpV6 => false,
        };
        assert!(!has_full_sum || transport_checksum_is_right(segment, &piece));
        payload += piece.end as usize - usize::from(piece.payload);
        pieces += 1;
    });
    if let Ok(count) = count
        && !flagless
    {
        assert_eq!((count, payload), (pieces, parsed.end as usize - usize::from(parsed.payload)));
    }
}

fn fragmented(frame: &[u8], parsed: &Parsed, mtu: u16) {
    let mut covered = 0;
    let count = ip_fragmentation::fragment(frame, mtu, |fragment| {
        let piece = match parse_ipv4(fragment) {
            Ok(piece) => piece,
            // A first fragment without the whole transport header is right all the same; nobody lets it in.
            Err(reason) => {
                assert_eq!(reason.name(), "fragment_tiny");
                return;
            }
        };
        assert!(piece.packet_len() <= usize::from(mtu).max(68));
        covered += piece.ip_payload_len();
    });
    assert!(count.is_err() || covered <= parsed.ip_payload_len());
}

fn answered(frame: &[u8], parsed: &Parsed) {
    let (source, destination) = (parsed.destination, parsed.source);
    if build::may_answer(parsed) {
        for kind in
            [IcmpErrorKind::TimeExceeded { code: 0 }, IcmpErrorKind::FragmentationNeeded { mtu: 1280 }]
        {
            let packet = build::icmp_error(kind, &frame[ethernet::HEADER_LEN..], source, destination);
            assert!(packet.len() <= 576);
            let bytes = build::with_ethernet(&packet, ethernet::MacAddr::ZERO, ethernet::MacAddr::ZERO);
            let error = parse_ipv4(&bytes).expect("our own errors are well formed");
            assert!(embedded::verify_checksum(&bytes, &error));
        }
    }
    if let Some(packet) = build::tcp_reset(parsed, frame) {
        let bytes = build::with_ethernet(&packet, ethernet::MacAddr::ZERO, ethernet::MacAddr::ZERO);
        let reset = parse_ipv4(&bytes).expect("our own resets are well formed");
        assert!(transport_checksum_is_right(&bytes, &reset));
    }
    if parsed.kind == Kind::IcmpRequest && parsed.fragment.is_none() {
        let mut reply = frame.to_vec();
        build::echo_reply_in_place(&mut reply);
        parse_ipv4(&reply).expect("our own replies are well formed");
    }
}
