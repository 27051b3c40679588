//! Properties: after a rewrite every checksum equals full recomputation (etherparse's), partial fields
//! equal the pseudo header's sum; a rewrite and its reverse are identity; a wrong checksum stays wrong.

use super::*;
use crate::packet::parsed::parse_ipv4;
use crate::packet::test_frames::{
    IP, Spec, Transport, any_address, any_spec, assert_checksums, make_partial, refill,
};
use proptest::prelude::*;

const PARTIAL: Offload = Offload {
    partial_checksum: true,
    gso: crate::frame::GsoKind::None,
    gso_size: 0,
    gso_ecn: false,
    vlan_tci: None,
};

fn finished() -> Offload {
    Offload::default()
}

fn any_rewrite() -> impl Strategy<Value = Rewrite> {
    (any::<bool>(), any_address(), any::<u16>()).prop_map(|(source, address, port)| Rewrite {
        side: if source { Side::Source } else { Side::Destination },
        address,
        port,
    })
}

/// Writes the endpoint without looking at any checksum.
fn naive(frame: &mut [u8], parsed: &Parsed, rewrite: &Rewrite) {
    let l4 = usize::from(parsed.l4);
    let (address, port) = match rewrite.side {
        Side::Source => (IP + 12, l4),
        Side::Destination => (IP + 16, l4 + 2),
    };
    frame[address..address + 4].copy_from_slice(&rewrite.address.octets());
    let port = match (parsed.kind, rewrite.side) {
        (Kind::Tcp | Kind::Udp, _) => port,
        (Kind::IcmpRequest, Side::Source) | (Kind::IcmpReply, Side::Destination) => l4 + 4,
        _ => return,
    };
    frame[port..port + 2].copy_from_slice(&rewrite.port.to_be_bytes());
}

#[test]
fn udp_without_checksum_stays_so() {
    let mut frame = Spec::new(Transport::Udp { checksum: false }, b"x").frame();
    let parsed = parse_ipv4(&frame).unwrap();
    let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
    apply(&mut frame, &parsed, &finished(), &rewrite);
    assert_eq!(frame[IP + 26..IP + 28], [0, 0]);
    assert_eq!(frame[IP + 12..IP + 16], [203, 0, 113, 1]);
    assert_eq!(frame[IP + 20..IP + 22], 50_000_u16.to_be_bytes());
    assert_checksums(&frame);
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_written_as_ones() {
    // Turn the source port so that the sum comes to 0xffff: RFC 768 sends the checksum 0 as 0xffff.
    let spec = Spec::udp(b"four");
    let mut frame = spec.frame();
    let checksum = be16!(frame, IP + 26);
    let port = u32::from(spec.source_port) + u32::from(checksum);
    let port = crate::wire::checksum::fold(port);
    let parsed = parse_ipv4(&frame).unwrap();
    let rewrite = Rewrite { side: Side::Source, address: spec.source, port };
    apply(&mut frame, &parsed, &finished(), &rewrite);
    assert_eq!(be16!(frame, IP + 26), 0xffff);
    assert_checksums(&frame);
    let back = Rewrite { side: Side::Source, address: spec.source, port: spec.source_port };
    apply(&mut frame, &parsed, &finished(), &back);
    assert_eq!(frame, spec.frame());
}

#[test]
fn a_partial_udp_field_is_mended_whatever_it_holds() {
    let mut frame = Spec::new(Transport::Udp { checksum: false }, b"x").frame();
    let parsed = parse_ipv4(&frame).unwrap();
    let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
    apply(&mut frame, &parsed, &PARTIAL, &rewrite);
    assert_ne!(frame[IP + 26..IP + 28], [0, 0]);
}

#[test]
fn an_echo_reply_that_becomes_all_zeros_has_the_checksum_of_ones() {
    let mut spec = Spec::icmp(0, &[0; 6]);
    spec.source_port = 5;
    spec.destination_port = 0;
    let mut frame = spec.frame();
    let parsed = parse_ipv4(&frame).unwrap();
    let rewrite = Rewrite { side: Side::Destination, address: spec.destination, port: 0 };
    apply(&mut frame, &parsed, &finished(), &rewrite);
    assert_eq!(be16!(frame, IP + 22), 0xffff);
    assert_checksums(&frame);
    let back = Rewrite { side: Side::Destination, address: spec.destination, port: 5 };
    apply(&mut frame, &parsed, &finished(), &back);
    assert_eq!(frame, spec.frame());
}

#[test]
fn identifiers_change_on_the_requester_s_side_only() {
    for (kind, side) in [(8, Side::Destination), (0, Side::Source)] {
        let spec = Spec::icmp(kind, b"x");
        let mut frame = spec.frame();
        let parsed = parse_ipv4(&frame).unwrap();
        apply(&mut frame, &parsed, &finished(), &Rewrite { side, address: Ipv4Addr::LOCALHOST, port: 9 });
        assert_eq!(be16!(frame, IP + 24), spec.source_port);
        assert_checksums(&frame);
    }
}

#[test]
fn later_fragments_change_their_address_only() {
    let mut frame = Spec::udp(&[7; 24]).frame();
    frame[IP + 7] = 3;
    refill(&mut frame);
    let before = frame.clone();
    let parsed = parse_ipv4(&frame).unwrap();
    let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 50_000 };
    apply(&mut frame, &parsed, &finished(), &rewrite);
    assert_eq!(frame[IP + 12..IP + 16], [203, 0, 113, 1]);
    assert_eq!(frame[IP + 16..], before[IP + 16..]);
    assert_checksums(&frame);
}

#[test]
fn udp_lite_and_dccp_cover_the_addresses_too() {
    for protocol in [136, 33] {
        let mut frame = Spec::new(Transport::Other(protocol), &[1, 2, 3, 4, 0, 16, 0, 0, 9, 9]).frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 1), port: 1 };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(frame[IP + 20..IP + 22], [1, 2], "the port is not touched");
        assert_checksums(&frame);
    }
}

#[test]
fn sctp_gre_and_esp_keep_every_octet_of_their_payload() {
    for protocol in [132, 47, 50, 51, 200] {
        let mut frame = Spec::new(Transport::Other(protocol), &[7; 20]).frame();
        let before = frame.clone();
        let parsed = parse_ipv4(&frame).unwrap();
        let rewrite = Rewrite { side: Side::Destination, address: Ipv4Addr::new(192, 0, 2, 9), port: 1 };
        apply(&mut frame, &parsed, &finished(), &rewrite);
        assert_eq!(frame[IP + 20..], before[IP + 20..]);
        assert_checksums(&frame);
    }
}

#[test]
fn ttl_goes_down_to_zero_and_no_further() {
    let mut spec = Spec::udp(b"");
    spec.ttl = 1;
    let mut frame = spec.frame();
    decrement_ttl(&mut frame);
    assert_eq!(frame[IP + 8], 0);
    assert_checksums(&frame);
    decrement_ttl(&mut frame);
    assert_eq!(frame[IP + 8], 0);
    assert_checksums(&frame);
}

#[test]
fn every_header_checksum_follows_the_ttl() {
    let mut spec = Spec::udp(b"");
    for id in 0..=u16::MAX {
        spec.id = id;
        let mut frame = spec.frame();
        decrement_ttl(&mut frame);
        let ip = ipv4::View::new_checked(&frame[IP..]).unwrap();
        assert!(ip.checksum_is_valid() && ip.checksum() != 0xffff, "identification {id:#x}");
    }
}

#[test]
fn macs_are_written() {
    let mut frame = Spec::udp(b"").frame();
    set_macs(&mut frame, MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
    assert_eq!(frame[..14], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
}

#[test]
fn mss_is_lowered_on_syn_only() {
    // Aligned, and astride two words.
    for options in [vec![2, 4, 0x05, 0xb4], vec![1, 2, 4, 0x05, 0xb4, 1, 1, 0]] {
        for (flags, max, lowered) in
            [(0x02, 1400, true), (0x12, 1400, true), (0x10, 1400, false), (0x02, 1460, false)]
        {
            let transport = Transport::Tcp { flags, options: options.clone() };
            let mut frame = Spec::new(transport, b"odd").frame();
            let before = frame.clone();
            let parsed = parse_ipv4(&frame).unwrap();
            assert_eq!(clamp_mss(&mut frame, &parsed, &finished(), max), lowered);
            assert_checksums(&frame);
            let options = tcp::View::new_checked(&frame[34..]).unwrap().options();
            assert_eq!(tcp::find_mss(options).unwrap().1, if lowered { max } else { 1460 });
            assert_eq!(frame == before, !lowered);
        }
    }
}

#[test]
fn mss_under_a_partial_checksum_leaves_the_field_alone() {
    let transport = Transport::Tcp { flags: 2, options: vec![2, 4, 0x05, 0xb4] };
    let mut frame = Spec::new(transport, b"").frame();
    make_partial(&mut frame);
    let field = be16!(frame, 34 + 16);
    let parsed = parse_ipv4(&frame).unwrap();
    assert!(clamp_mss(&mut frame, &parsed, &PARTIAL, 1000));
    assert_eq!(be16!(frame, 34 + 16), field);
}

#[test]
fn mss_is_never_added() {
    let mut frame = Spec::tcp(0x02, b"").frame();
    let before = frame.clone();
    let parsed = parse_ipv4(&frame).unwrap();
    assert!(!clamp_mss(&mut frame, &parsed, &finished(), 500));
    assert_eq!(frame, before);
}

proptest! {
    #[test]
    fn equals_full_recomputation(spec in any_spec(), rewrites in proptest::collection::vec(any_rewrite(), 1..4)) {
        let mut frame = spec.frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let mut expected = frame.clone();
        for rewrite in &rewrites {
            apply(&mut frame, &parsed, &finished(), rewrite);
            decrement_ttl(&mut frame);
            naive(&mut expected, &parsed, rewrite);
            expected[IP + 8] = expected[IP + 8].saturating_sub(1);
        }
        refill(&mut expected);
        prop_assert_eq!(frame, expected);
    }

    #[test]
    fn replay_is_all_three_in_one(
        mut spec in any_spec(), rewrite in any_rewrite(), any_nat: bool, partial: bool, checksum: u16,
    ) {
        spec.ttl = spec.ttl.max(1);
        let mut frame = spec.frame();
        let parsed = parse_ipv4(&frame).unwrap();
        if parsed.has_options || !matches!(parsed.kind, Kind::Tcp | Kind::Udp) {
            return Ok(());
        }
        // Right, wrong or none.
        let field = usize::from(parsed.l4) + if parsed.kind == Kind::Tcp { 16 } else { 6 };
        if checksum % 4 != 0 {
            frame[field..field + 2].copy_from_slice(&(checksum % 3).wrapping_sub(1).to_be_bytes());
        }
        let mut expected = frame.clone();
        let (to, from) = (MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
        let offload = if partial { PARTIAL } else { finished() };
        if any_nat {
            apply(&mut expected, &parsed, &offload, &rewrite);
        }
        decrement_ttl(&mut expected);
        set_macs(&mut expected, to, from);
        let nat = any_nat.then_some((rewrite.side, rewrite.address, rewrite.port));
        replay(&mut frame, parsed.protocol, partial, nat, to, from);
        prop_assert_eq!(frame, expected);
    }

    #[test]
    fn partial_equals_the_new_pseudo_header(spec in any_spec(), rewrite in any_rewrite()) {
        if !matches!(spec.transport, Transport::Tcp { .. } | Transport::Udp { .. }) {
            return Ok(());
        }
        let mut frame = spec.frame();
        make_partial(&mut frame);
        let parsed = parse_ipv4(&frame).unwrap();
        let mut expected = frame.clone();
        naive(&mut expected, &parsed, &rewrite);
        refill(&mut expected);
        make_partial(&mut expected);
        apply(&mut frame, &parsed, &PARTIAL, &rewrite);
        prop_assert_eq!(frame, expected);
    }

    #[test]
    fn reverse_is_identity(spec in any_spec(), rewrite in any_rewrite()) {
        let original = spec.frame();
        let parsed = parse_ipv4(&original).unwrap();
        let back = match rewrite.side {
            Side::Source => {
                Rewrite { side: Side::Source, address: parsed.source, port: parsed.source_port }
            }
            Side::Destination => {
                Rewrite { side: Side::Destination, address: parsed.destination, port: parsed.destination_port }
            }
        };
        let mut frame = original.clone();
        apply(&mut frame, &parsed, &finished(), &rewrite);
        apply(&mut frame, &parsed, &finished(), &back);
        prop_assert_eq!(frame, original);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong(
        mut spec in any_spec(),
        rewrite in any_rewrite(),
        error in 1..0xffff_u16,
    ) {
        spec.transport = Transport::Tcp { flags: 0x10, options: vec![] };
        let mut frame = spec.frame();
        let parsed = parse_ipv4(&frame).unwrap();
        let field = usize::from(parsed.l4) + 16;
        let wrong = be16!(frame, field).wrapping_add(error);
        // 0 and 0xffff are the same value in ones' complement.
        prop_assume!(wrong % 0xffff != be16!(frame, field) % 0xffff);
        frame[field..field + 2].copy_from_slice(&wrong.to_be_bytes());
        apply(&mut frame, &parsed, &finished(), &rewrite);
        let mut right = frame.clone();
        refill(&mut right);
        prop_assert_ne!(be16!(frame, field) % 0xffff, be16!(right, field) % 0xffff);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), spec in any_spec(), rewrite in any_rewrite()) {
        // Parsed from another frame: wrong use must not panic either.
        let parsed = parse_ipv4(&spec.frame()).unwrap();
        apply(&mut bytes, &parsed, &finished(), &rewrite);
        clamp_mss(&mut bytes, &parsed, &finished(), 500);
        let nat = Some((rewrite.side, rewrite.address, rewrite.port));
        replay(&mut bytes, parsed.protocol, false, nat, MacAddr::ZERO, MacAddr::ZERO);
        decrement_ttl(&mut bytes);
    }
}
