//! What the fuzz targets do with their input, callable without a fuzzer: `tests/replay.rs` runs the kept
//! corpus through it.

mod timeline;

pub use timeline::Timeline;

use genkan_engine::packet::build::{self, IcmpErrorKind};
use genkan_engine::packet::embedded::{self, Embedded};
use genkan_engine::packet::rewrite::{self, Rewrite, Side};
use genkan_engine::packet::{Kind, ip_fragmentation, parse_ipv4, segmentation};
use genkan_engine::wire::{arp, pretty_print};
use genkan_engine::{GsoKind, Offload};
use std::net::Ipv4Addr;

/// Every parser and rewriter over octets that nobody has looked at. The first two octets choose offloads.
///
/// # Panics
/// On a bug.
pub fn parse(bytes: &[u8]) {
    let [kind, size, frame @ ..] = bytes else { return };
    let offload = Offload {
        partial_checksum: kind & 1 != 0,
        gso: [GsoKind::None, GsoKind::TcpV4, GsoKind::UdpL4, GsoKind::TcpV6][usize::from(kind >> 1 & 3)],
        gso_size: u16::from(*size) * 7,
        gso_ecn: kind & 8 != 0,
        vlan_tci: None,
    };
    let text = pretty_print::frame(frame).to_string();
    assert!(text.len() < 64 * 1024, "a line per header, not per octet");
    if frame.len() >= 14 {
        let _ = arp::Repr::parse(&frame[14..]);
    }
    let mut scratch = Vec::new();
    let mut emitted = 0;
    let _ = segmentation::segment(frame, &offload, &mut scratch, |piece| emitted += piece.len());
    assert!(emitted <= 80 * (frame.len() + 1) + 64 * 1024, "{emitted} octets out of {}", frame.len());
    if frame.len() < 14 || frame[12..14] != [8, 0] {
        return;
    }
    let Ok(parsed) = parse_ipv4(frame) else { return };
    let (l4, payload, end) = (usize::from(parsed.l4), usize::from(parsed.payload), parsed.end as usize);
    assert!(34 <= l4 && l4 <= payload && payload <= end && end <= frame.len(), "{parsed:?}");

    let mtu = 68 + u16::from(*size) * 8;
    let _ = ip_fragmentation::fragment(&frame[..end], mtu, |piece| {
        assert!(piece.len() <= 14 + usize::from(mtu));
        parse_ipv4(piece).expect("a piece is a packet");
    });

    let mut copy = frame[..end].to_vec();
    let there = |side, address| Rewrite { side, address, port: 4711 };
    let (source, destination) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(192, 168, 0, 9));
    rewrite::apply(&mut copy, &parsed, &offload, &there(Side::Source, source));
    rewrite::apply(&mut copy, &parsed, &offload, &there(Side::Destination, destination));
    let again = parse_ipv4(&copy).expect("a rewritten packet is still one");
    assert_eq!((again.source, again.destination), (source, destination));
    if parsed.ttl > 1 {
        rewrite::decrement_ttl(&mut copy);
        parse_ipv4(&copy).expect("its header sum is right");
    }
    let _ = rewrite::clamp_mss(&mut copy, &parsed, &offload, 1414);
    let _ = build::tcp_reset(&parsed, &copy);
    if parsed.kind == Kind::IcmpRequest {
        build::echo_reply_in_place(&mut copy);
    }
    if build::may_answer(&parsed) {
        let error = build::icmp_error(
            IcmpErrorKind::TimeExceeded { code: 0 },
            &frame[14..end],
            source,
            parsed.source,
        );
        assert!(error.len() <= 576);
    }
    if parsed.kind == Kind::IcmpError
        && let Ok(quoted) = Embedded::parse(frame, &parsed)
    {
        let mut copy = frame[..end].to_vec();
        let was_right = embedded::verify_checksum(&copy, &parsed);
        embedded::translate(&mut copy, &parsed, &quoted, there(Side::Source, source));
        embedded::translate(&mut copy, &parsed, &quoted, there(Side::Destination, destination));
        assert_eq!(embedded::verify_checksum(&copy, &parsed), was_right);
    }
}

/// Any text as a configuration: mistakes are told, never a panic; what passes makes a router.
///
/// # Panics
/// On a bug.
pub fn config(text: &str) {
    match genkan_config::parse(text, "fuzz.toml") {
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            let rendered = genkan_config::render(&mistakes, false);
            assert!(!rendered.is_empty());
            let _ = genkan_config::json(&mistakes);
        }
        Ok(loaded) => {
            let _ = genkan_config::render(&loaded.warnings, true);
            let mut plan = loaded.plan;
            // Tables are sized at the start: not a million entries for every input.
            plan.nat.max_sessions = plan.nat.max_sessions.min(64);
            genkan_tests::lab::Lab::new(plan).advance(std::time::Duration::from_secs(60));
        }
    }
}
