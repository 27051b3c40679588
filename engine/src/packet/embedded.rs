//! The packet quoted inside an ICMP error, possibly cut, and its translation together with the error.
//!
//! Read first: RFC 5508 §4 (what a NAT does with errors), RFC 792 and RFC 1812 §4.3.2.3 (how much is
//! quoted), RFC 4884 (extensions behind the quoted packet).
//!
//! ```text
//! 0          14           l4         l4+8 = ip                                end
//! +----------+------------+----------+------------------+---------------------+--------------------
//! | Ethernet | outer IPv4 | ICMP     | quoted IPv4      | quoted transport,   | padding and
//! |          |            | error    | with options     | 8 octets or more    | RFC 4884 extensions
//! +----------+------------+----------+------------------+---------------------+--------------------
//! ```

use std::net::Ipv4Addr;

use super::parsed::{Kind, Parsed};
use super::rewrite::{Rewrite, Side};
use crate::verdict::DropReason;
use crate::wire::checksum::{self, Delta};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::{be16, be32, icmpv4, tcp, udp};

/// Octets of the quoted transport header that hold ports or identifier (RFC 792: every error quotes them).
const MIN_TRANSPORT: usize = 8;

/// Quoted octets at least, when RFC 4884 extensions follow (§4); a smaller length field comes from hosts
/// that left garbage in what was an unused octet.
const MIN_WITH_EXTENSIONS: usize = 128;

/// A quoted packet, decoded. Offsets are in octets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Where the quoted IPv4 header starts.
    pub ip: u16,
    /// Where the quoted transport header starts.
    pub l4: u16,
    /// Where the quoted packet ends, be it by its own length, by the cut, or where extensions start.
    pub end: u32,
    /// Its source address.
    pub source: Ipv4Addr,
    /// Its destination address.
    pub destination: Ipv4Addr,
    /// Its protocol number.
    pub protocol: Protocol,
    /// Its source port; the identifier of an ICMP request; 0 for everything else without ports.
    pub source_port: u16,
    /// Its destination port; the identifier of an ICMP reply; 0 for everything else without ports.
    pub destination_port: u16,
    /// What it is: never an ICMP error.
    pub kind: Kind,
    /// It is a fragment other than the first, and so shows no ports.
    pub is_fragment_later: bool,
}

impl Embedded {
    /// Decodes the packet that the ICMP error `outer` quotes. The checksum of the quoted transport is not
    /// looked at (RFC 5508 REQ-3c).
    ///
    /// # Errors
    /// - [`DropReason::IcmpChecksum`]: the error's own checksum is wrong (RFC 5508 REQ-3).
    /// - [`DropReason::IcmpErrorMalformed`]: `outer` is no error; the quoted header is malformed or its
    ///   checksum wrong (REQ-3a); fewer than 8 octets of TCP, UDP or ICMP are quoted; an error is quoted.
    pub fn parse(frame: &[u8], outer: &Parsed) -> Result<Embedded, DropReason> {
        const MALFORMED: DropReason = DropReason::IcmpErrorMalformed;
        let message = frame.get(usize::from(outer.l4)..outer.end as usize).ok_or(MALFORMED)?;
        let icmp = icmpv4::View::new_checked(message).map_err(|_| MALFORMED)?;
        if outer.kind != Kind::IcmpError {
            return Err(MALFORMED);
        }
        if !verify_checksum(frame, outer) {
            return Err(DropReason::IcmpChecksum);
        }
        let mut quoted = icmp.payload();
        // RFC 5508 REQ-3d: neither padding nor extensions are part of the quoted packet.
        if icmp.quoted_len() >= MIN_WITH_EXTENSIONS {
            quoted = quoted.get(..icmp.quoted_len()).unwrap_or(quoted);
        }
        let ip = ipv4::View::new_truncated(quoted).map_err(|_| MALFORMED)?;
        if !ip.checksum_is_valid() {
            return Err(MALFORMED);
        }
        let start = usize::from(outer.l4) + icmpv4::HEADER_LEN;
        let transport = ip.payload();
        let mut embedded = Embedded {
            // At most 14 + 60 + 8 + 60.
            ip: start as u16,
            l4: (start + ip.header_len()) as u16,
            end: (start + ip.packet().len()) as u32,
            source: ip.source(),
            destination: ip.destination(),
            protocol: ip.protocol(),
            source_port: 0,
            destination_port: 0,
            kind: Kind::Other,
            is_fragment_later: ip.fragment_word() & ipv4::FRAGMENT_OFFSET != 0,
        };
        if embedded.is_fragment_later {
            embedded.kind = Kind::LaterFragment;
            return Ok(embedded);
        }
        if !matches!(embedded.protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP) {
            return Ok(embedded);
        }
        let header: &[u8; MIN_TRANSPORT] = transport.first_chunk().ok_or(MALFORMED)?;
        if embedded.protocol == Protocol::ICMP {
            let identifier = be16!(header, icmpv4::FIELD_IDENTIFIER);
            match icmpv4::classify(header[icmpv4::FIELD_TYPE]) {
                icmpv4::Class::Request => {
                    embedded.kind = Kind::IcmpRequest;
                    embedded.source_port = identifier;
                }
                icmpv4::Class::Reply => {
                    embedded.kind = Kind::IcmpReply;
                    embedded.destination_port = identifier;
                }
                // RFC 1122 §3.2.2: nobody sends an error about an error.
                _ => return Err(MALFORMED),
            }
        } else {
            embedded.kind = if embedded.protocol == Protocol::TCP { Kind::Tcp } else { Kind::Udp };
            embedded.source_port = be16!(header, tcp::FIELD_SOURCE_PORT);
            embedded.destination_port = be16!(header, tcp::FIELD_DESTINATION_PORT);
        }
        Ok(embedded)
    }
}

/// The checksum of an ICMP message is right, or cannot be known: a fragment holds only part of what it
/// covers.
pub fn verify_checksum(frame: &[u8], parsed: &Parsed) -> bool {
    match frame.get(usize::from(parsed.l4)..parsed.end as usize) {
        Some(message) => parsed.fragment.is_some() || checksum::sum(message) == 0xffff,
        None => false,
    }
}

/// Replaces address and port of one side of the quoted packet. The quoted IPv4 header checksum, the quoted
/// transport checksum where the quote holds all of it, and the checksum of the error are mended by the
/// difference; RFC 4884 lengths and extensions stay. The outer addresses are for
/// [`super::rewrite::apply`].
///
/// `outer` and `embedded` are of this very frame, but only for what is where: earlier rewrites of it do no
/// harm.
pub fn translate(frame: &mut [u8], outer: &Parsed, embedded: &Embedded, quoted: Rewrite) {
    let (start, ip, l4) = (usize::from(outer.l4), usize::from(embedded.ip), usize::from(embedded.l4));
    let Some(bytes) = frame.get_mut(..embedded.end as usize) else { return };
    // All offsets below are even from the start of the ICMP message, so that words of the inner sums are
    // words of the outer one.
    let Some(header) = bytes.get_mut(ip..).and_then(|bytes| bytes.first_chunk_mut::<20>()) else { return };
    let field = match quoted.side {
        Side::Source => ipv4::FIELD_SOURCE,
        Side::Destination => ipv4::FIELD_DESTINATION,
    };
    let address = Delta::address(Ipv4Addr::from_bits(be32!(header, field)), quoted.address);
    header[field..field + 4].copy_from_slice(&quoted.address.octets());
    let mut outer_delta = address;
    outer_delta = outer_delta.and(update(header, ipv4::FIELD_CHECKSUM, |old| address.apply(old)));

    let Some(transport) = bytes.get_mut(l4..) else { return };
    let port_field = match (embedded.kind, quoted.side) {
        (Kind::Tcp | Kind::Udp, Side::Source) => Some(tcp::FIELD_SOURCE_PORT),
        (Kind::Tcp | Kind::Udp, Side::Destination) => Some(tcp::FIELD_DESTINATION_PORT),
        (Kind::IcmpRequest, Side::Source) | (Kind::IcmpReply, Side::Destination) => {
            Some(icmpv4::FIELD_IDENTIFIER)
        }
        _ => None,
    };
    let port = port_field.map_or(Delta::NONE, |field| update(transport, field, |_| quoted.port));
    outer_delta = outer_delta.and(port);
    let pseudo = address.and(port);
    outer_delta = outer_delta.and(match (embedded.kind, embedded.protocol) {
        (Kind::Tcp, _) => update(transport, tcp::FIELD_CHECKSUM, |old| pseudo.apply(old)),
        (Kind::Udp, _) => update(transport, udp::FIELD_CHECKSUM, |old| apply_udp(pseudo, old)),
        (Kind::IcmpRequest | Kind::IcmpReply, _) => {
            update(transport, icmpv4::FIELD_CHECKSUM, |old| port.apply(old))
        }
        (Kind::Other, Protocol::UDP_LITE) => {
            update(transport, udp::FIELD_CHECKSUM, |old| apply_udp(address, old))
        }
        (Kind::Other, Protocol::DCCP) => update(transport, udp::FIELD_CHECKSUM, |old| address.apply(old)),
        _ => Delta::NONE,
    });
    let Some(message) = frame.get_mut(start..) else { return };
    let _ = update(message, icmpv4::FIELD_CHECKSUM, |old| outer_delta.apply(old));
}

/// RFC 768: no checksum stays none, a computed 0 is ones.
fn apply_udp(delta: Delta, old: u16) -> u16 {
    match old {
        0 => 0,
        _ => match delta.apply(old) {
            0 => 0xffff,
            new => new,
        },
    }
}

/// Changes the word at `offset`, if `bytes` reach that far, and returns the change of any sum over it.
fn update(bytes: &mut [u8], offset: usize, change: impl FnOnce(u16) -> u16) -> Delta {
    let Some(word) = bytes.get_mut(offset..).and_then(|bytes| bytes.first_chunk_mut::<2>()) else {
        return Delta::NONE;
    };
    let old = u16::from_be_bytes(*word);
    let new = change(old);
    *word = new.to_be_bytes();
    Delta::word(old, new)
}

#[cfg(test)]
mod tests {
    //! Properties: for a quote cut anywhere from its 8th transport octet on, every checksum that is inside
    //! equals full recomputation after translation; translation and its reverse are identity; any bytes
    //! are judged without a panic.

    use super::*;
    use crate::packet::parsed::parse_ipv4;
    use crate::packet::test_frames::{IP, Spec, Transport, any_address, any_spec, refill, refill_packet};
    use proptest::prelude::*;

    /// Where the quoted IPv4 header lies when the outer header has no options.
    const QUOTED: usize = 14 + 20 + 8;

    /// An ICMP error about `quoted`, from a router on the way.
    fn error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
        let mut spec = Spec::new(Transport::Icmp { kind, code }, quoted);
        spec.source = Ipv4Addr::new(198, 51, 100, 254);
        spec.destination = Ipv4Addr::new(203, 0, 113, 1);
        (spec.source_port, spec.destination_port) = (0, 0);
        spec.frame()
    }

    fn parse(frame: &[u8]) -> Result<Embedded, DropReason> {
        Embedded::parse(frame, &parse_ipv4(frame).unwrap())
    }

    #[test]
    fn a_quoted_datagram_decodes() {
        #[rustfmt::skip]
        let quoted = [
            0x46, 0x00,             // version 4, 6 words
            0x00, 0x24,             // total length 36, of which 32 are quoted
            0x00, 0x01,             // identification
            0x00, 0x00,             // no fragment
            0x01, 0x11,             // TTL 1, UDP
            0xbe, 0x87,             // header checksum
            203, 0, 113, 1,         // source
            198, 51, 100, 7,        // destination
            148, 4, 0, 0,           // router alert
            0x9c, 0x40,             // source port 40000
            0x00, 0x35,             // destination port 53
            0x00, 0x0c,             // length 12
            0x00, 0x00,             // no checksum
        ];
        let frame = error(icmpv4::TIME_EXCEEDED, 0, &quoted);
        let embedded = parse(&frame).unwrap();
        let expected = Embedded {
            ip: 42,
            l4: 66,
            end: 74,
            source: Ipv4Addr::new(203, 0, 113, 1),
            destination: Ipv4Addr::new(198, 51, 100, 7),
            protocol: Protocol::UDP,
            source_port: 40_000,
            destination_port: 53,
            kind: Kind::Udp,
            is_fragment_later: false,
        };
        assert_eq!(embedded, expected);
        for cut in 1..quoted.len() {
            let frame = error(icmpv4::TIME_EXCEEDED, 0, &quoted[..quoted.len() - cut]);
            assert_eq!(parse(&frame), Err(DropReason::IcmpErrorMalformed), "{cut} octets short");
        }
    }

    #[test]
    fn identifiers_of_quoted_queries() {
        let ports = |kind| {
            let embedded = parse(&error(3, 1, &Spec::icmp(kind, b"").frame()[IP..])).unwrap();
            (embedded.kind, embedded.source_port, embedded.destination_port)
        };
        assert_eq!(ports(8), (Kind::IcmpRequest, 40_000, 0));
        assert_eq!(ports(0), (Kind::IcmpReply, 0, 40_000));
        let about_an_error = error(3, 1, &error(3, 1, &Spec::udp(b"").frame()[IP..])[IP..]);
        assert_eq!(parse(&about_an_error), Err(DropReason::IcmpErrorMalformed));
    }

    #[test]
    fn wrong_checksums_are_refused() {
        let mut frame = error(3, 3, &Spec::udp(b"").frame()[IP..]);
        frame[QUOTED + 1] ^= 1;
        assert_eq!(parse(&frame), Err(DropReason::IcmpChecksum));
        refill(&mut frame);
        assert_eq!(parse(&frame), Err(DropReason::IcmpErrorMalformed), "quoted header checksum");
        let query = Spec::icmp(8, &Spec::udp(b"").frame()[IP..]).frame();
        assert_eq!(parse(&query), Err(DropReason::IcmpErrorMalformed), "not an error");
    }

    #[test]
    fn the_checksum_of_a_fragmented_error_is_not_known() {
        // 8 + 28 + 12 octets: a multiple of 8, as a first fragment must be.
        let mut frame = error(3, 3, &Spec::udp(&[1; 12]).frame()[IP..]);
        frame[IP + 6] = 0x20;
        frame[IP + 22] ^= 0xff;
        refill(&mut frame);
        let parsed = parse_ipv4(&frame).unwrap();
        assert!(parsed.fragment.is_some() && verify_checksum(&frame, &parsed));
        assert!(Embedded::parse(&frame, &parsed).is_ok());
    }

    #[test]
    fn later_fragments_show_no_ports() {
        let mut quoted = Spec::udp(&[1; 16]).frame();
        quoted[IP + 7] = 3;
        refill(&mut quoted);
        let embedded = parse(&error(11, 1, &quoted[IP..])).unwrap();
        assert!(embedded.is_fragment_later);
        assert_eq!((embedded.kind, embedded.source_port), (Kind::LaterFragment, 0));
    }

    #[test]
    fn extensions_are_no_part_of_the_quoted_packet() {
        // A TCP packet of 130 octets, quoted up to octet 128, then an extension structure.
        let mut quoted = Spec::tcp(0x10, &[7; 90]).frame()[IP..][..128].to_vec();
        quoted.extend_from_slice(&[0x20, 0, 0xdf, 0xff]);
        let mut frame = error(11, 0, &quoted);
        assert_eq!(parse(&frame).unwrap().end as usize, QUOTED + 130, "length not told");
        frame[IP + 20 + 5] = 32;
        refill(&mut frame);
        let embedded = parse(&frame).unwrap();
        assert_eq!(embedded.end as usize, QUOTED + 128);

        // A packet of 40 octets, padded with zeros to 128 as RFC 4884 §4 wants.
        let mut quoted = Spec::udp(&[7; 12]).frame()[IP..].to_vec();
        quoted.resize(128, 0);
        quoted.extend_from_slice(&[0x20, 0, 0xdf, 0xff]);
        let mut frame = error(11, 0, &quoted);
        frame[IP + 20 + 5] = 32;
        refill(&mut frame);
        assert_eq!(parse(&frame).unwrap().end as usize, QUOTED + 40);

        // A length that no RFC 4884 sender writes.
        frame[IP + 20 + 5] = 5;
        refill(&mut frame);
        assert_eq!(parse(&frame).unwrap().end as usize, QUOTED + 40);
    }

    #[test]
    fn quoted_udp_without_checksum_stays_so() {
        let mut frame = error(3, 3, &Spec::new(Transport::Udp { checksum: false }, b"odd").frame()[IP..]);
        let (outer, embedded) = (parse_ipv4(&frame).unwrap(), parse(&frame).unwrap());
        let quoted = Rewrite { side: Side::Source, address: Ipv4Addr::new(192, 0, 2, 1), port: 9 };
        translate(&mut frame, &outer, &embedded, quoted);
        assert_eq!(frame[QUOTED + 26..QUOTED + 28], [0, 0]);
        assert!(verify_checksum(&frame, &outer));
    }

    fn any_rewrite() -> impl Strategy<Value = Rewrite> {
        (any::<bool>(), any_address(), any::<u16>()).prop_map(|(source, address, port)| Rewrite {
            side: if source { Side::Source } else { Side::Destination },
            address,
            port,
        })
    }

    fn any_quoted() -> impl Strategy<Value = (Spec, prop::sample::Index)> {
        // All zeros but for the checksum: the one message of two checksums, see wire::checksum.
        let spec = any_spec().prop_filter("ICMP reply of zeros", |spec| {
            !matches!(spec.transport, Transport::Icmp { kind: 0, .. })
                || spec.payload.iter().any(|&octet| octet != 0)
        });
        (spec, any::<prop::sample::Index>())
    }

    proptest! {
        #[test]
        fn translation_equals_full_recomputation(
            (spec, cut) in any_quoted(),
            rewrite in any_rewrite(),
        ) {
            let whole = spec.frame()[IP..].to_vec();
            let header_len = usize::from(whole[0] & 0xf) * 4;
            let shortest = (header_len + 8).min(whole.len());
            let len = shortest + cut.index(whole.len() - shortest + 1);
            let original = error(11, 0, &whole[..len]);
            let (outer, embedded) = (parse_ipv4(&original).unwrap(), parse(&original).unwrap());

            let mut frame = original.clone();
            translate(&mut frame, &outer, &embedded, rewrite);

            // The same change in the whole packet, every checksum from scratch, then quoted and cut.
            let mut quoted = whole.clone();
            let (address, port) = match rewrite.side {
                Side::Source => (12, header_len),
                Side::Destination => (16, header_len + 2),
            };
            quoted[address..address + 4].copy_from_slice(&rewrite.address.octets());
            let port = match (embedded.kind, rewrite.side) {
                (Kind::Tcp | Kind::Udp, _) => Some(port),
                (Kind::IcmpRequest, Side::Source) | (Kind::IcmpReply, Side::Destination) => {
                    Some(header_len + 4)
                }
                _ => None,
            };
            if let Some(port) = port {
                quoted[port..port + 2].copy_from_slice(&rewrite.port.to_be_bytes());
            }
            refill_packet(&mut quoted);
            // Half a checksum cannot be mended: it stays.
            if embedded.kind == Kind::Tcp && len == header_len + 17 {
                quoted[len - 1] = whole[len - 1];
            }
            prop_assert_eq!(&frame, &error(11, 0, &quoted[..len]));

            // And back.
            let back = match rewrite.side {
                Side::Source => {
                    Rewrite { side: Side::Source, address: embedded.source, port: embedded.source_port }
                }
                Side::Destination => Rewrite {
                    side: Side::Destination,
                    address: embedded.destination,
                    port: embedded.destination_port,
                },
            };
            translate(&mut frame, &outer, &embedded, back);
            prop_assert_eq!(frame, original);
        }

        #[test]
        fn any_quoted_bytes_are_judged(
            mut quoted in proptest::collection::vec(any::<u8>(), 0..100),
            plausible: bool,
            rewrite in any_rewrite(),
        ) {
            if plausible && quoted.len() >= 20 {
                quoted[0] = 0x45;
                quoted[10..12].fill(0);
                let checksum = checksum::finish(checksum::sum(&quoted[..20]));
                quoted[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            let mut frame = error(3, 1, &quoted);
            let outer = parse_ipv4(&frame).unwrap();
            if let Ok(embedded) = Embedded::parse(&frame, &outer) {
                prop_assert!(embedded.ip < embedded.l4 && u32::from(embedded.l4) <= embedded.end);
                prop_assert!(embedded.end <= outer.end);
                translate(&mut frame, &outer, &embedded, rewrite);
                prop_assert!(verify_checksum(&frame, &outer));
            }
        }
    }
}
