//! Frames as text, one line per header; for traces and failed tests. Takes whatever bytes there are.
//!
//! ```text
//! ethernet 52:54:00:00:00:02 > 52:54:00:00:00:01 ipv4
//! ipv4 203.0.113.9 > 192.168.0.10 icmp, length 56, ttl 64, id 0x0000, DF
//! icmp destination unreachable, code 3
//!   ipv4 192.168.0.10 > 203.0.113.9 udp, length 100, ttl 1, id 0x1234
//!   udp 40000 > 53, length 80, checksum 0xbeef, 0 octets of payload
//! ```

use std::fmt;
use std::net::Ipv6Addr;

use super::arp::{self, Operation};
use super::ethernet::{self, EtherType};
use super::ipv4::{self, Protocol};
use super::{ParseError, be16, icmpv4, tcp, udp};

/// Octets of an IPv6 header (RFC 8200 §3).
const IPV6_HEADER_LEN: usize = 40;

/// A packet quoted in a packet quoted in a packet is not shown: no host sends such.
const MAX_QUOTES: usize = 1;

/// Most VLAN tags shown.
const MAX_TAGS: usize = 4;

/// An Ethernet frame, to be shown with `{}`: several lines, without a newline at the end.
pub fn frame(bytes: &[u8]) -> impl fmt::Display + '_ {
    Text { bytes, write: write_frame }
}

/// An IPv4 packet, to be shown likewise.
pub fn ipv4_packet(bytes: &[u8]) -> impl fmt::Display + '_ {
    Text { bytes, write: |f, bytes| write_ipv4(f, bytes, 0) }
}

struct Text<'a> {
    bytes: &'a [u8],
    write: fn(&mut fmt::Formatter<'_>, &[u8]) -> fmt::Result,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.write)(f, self.bytes)
    }
}

fn write_frame(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let Ok(view) = ethernet::View::new_checked(bytes) else {
        return write!(f, "ethernet: cut short, {} octets", bytes.len());
    };
    write!(f, "ethernet {} > {}", view.source(), view.destination())?;
    let (mut ethertype, mut payload) = (view.ethertype(), view.payload());
    for _ in 0..MAX_TAGS {
        if ethertype != EtherType::VLAN && ethertype != EtherType::SERVICE_VLAN {
            break;
        }
        let Some((tag, rest)) = payload.split_first_chunk::<4>() else {
            return write!(f, " {ethertype}: tag cut short");
        };
        write!(f, " {ethertype} {}", be16!(tag, 0) & 0x0fff)?;
        (ethertype, payload) = (EtherType(be16!(tag, 2)), rest);
    }
    write!(f, " {ethertype}")?;
    match ethertype {
        EtherType::IPV4 => {
            writeln!(f)?;
            write_ipv4(f, payload, 0)
        }
        EtherType::ARP => {
            writeln!(f)?;
            write_arp(f, payload)
        }
        EtherType::IPV6 => {
            writeln!(f)?;
            write_ipv6(f, payload)
        }
        _ => write!(f, ", {} octets of payload", payload.len()),
    }
}

fn write_arp(f: &mut fmt::Formatter<'_>, packet: &[u8]) -> fmt::Result {
    match arp::Repr::parse(packet) {
        Ok(arp) => match arp.operation {
            Operation::Request => {
                write!(f, "arp who has {}, tell {} at {}", arp.target_ip, arp.sender_ip, arp.sender_mac)
            }
            Operation::Reply => write!(
                f,
                "arp {} is at {}, to {} at {}",
                arp.sender_ip, arp.sender_mac, arp.target_ip, arp.target_mac
            ),
        },
        Err(error) => write_error(f, "arp", error, packet),
    }
}

fn write_ipv6(f: &mut fmt::Formatter<'_>, packet: &[u8]) -> fmt::Result {
    let Some(header) = packet.first_chunk::<IPV6_HEADER_LEN>() else {
        return write_error(f, "ipv6", ParseError::Truncated, packet);
    };
    let address = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| header[at + i]));
    write!(
        f,
        "ipv6 {} > {}, next header {}, payload length {}, hop limit {}",
        address(8),
        address(24),
        header[6],
        be16!(header, 4),
        header[7]
    )
}

/// `depth` is the number of ICMP errors around this packet, and the indentation.
fn write_ipv4(f: &mut fmt::Formatter<'_>, bytes: &[u8], depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    let ip = match ipv4::View::new_truncated(bytes) {
        Ok(ip) => ip,
        Err(error) => {
            f.write_str(&indent)?;
            return write_error(f, "ipv4", error, bytes);
        }
    };
    write!(
        f,
        "{indent}ipv4 {} > {} {}, length {}, ttl {}, id {:#06x}",
        ip.source(),
        ip.destination(),
        ip.protocol(),
        ip.total_len(),
        ip.ttl(),
        ip.identification()
    )?;
    let word = ip.fragment_word();
    if word & ipv4::DONT_FRAGMENT != 0 {
        f.write_str(", DF")?;
    }
    let (offset, more) = ((word & ipv4::FRAGMENT_OFFSET) * 8, word & ipv4::MORE_FRAGMENTS != 0);
    if offset != 0 || more {
        write!(f, ", fragment at {offset}{}", if more { ", more follow" } else { "" })?;
    }
    if ip.tos() != 0 {
        write!(f, ", tos {:#04x}", ip.tos())?;
    }
    if !ip.options().is_empty() {
        write!(f, ", {} octets of options", ip.options().len())?;
    }
    if !ip.checksum_is_valid() {
        f.write_str(", wrong header checksum")?;
    }
    if ip.packet().len() < usize::from(ip.total_len()) {
        write!(f, ", {} octets are here", ip.packet().len())?;
    }
    if offset != 0 {
        return Ok(());
    }
    let segment = ip.payload();
    match ip.protocol() {
        Protocol::TCP => {
            write!(f, "\n{indent}")?;
            write_tcp(f, segment)
        }
        Protocol::UDP => {
            write!(f, "\n{indent}")?;
            write_udp(f, segment)
        }
        Protocol::ICMP => {
            write!(f, "\n{indent}")?;
            write_icmp(f, segment, depth)
        }
        _ => Ok(()),
    }
}

fn write_tcp(f: &mut fmt::Formatter<'_>, segment: &[u8]) -> fmt::Result {
    let tcp = match tcp::View::new_checked(segment) {
        Ok(tcp) => tcp,
        Err(error) => return write_ports_and_error(f, "tcp", error, segment),
    };
    write!(f, "tcp {} > {} {}", tcp.source_port(), tcp.destination_port(), tcp.flags())?;
    write!(f, ", seq {}, ack {}, win {}", tcp.sequence(), tcp.acknowledgment(), tcp.window())?;
    if let Some((_, mss)) = tcp::find_mss(tcp.options()) {
        write!(f, ", mss {mss}")?;
    }
    write!(f, ", checksum {:#06x}, {} octets of payload", tcp.checksum(), tcp.payload().len())
}

fn write_udp(f: &mut fmt::Formatter<'_>, datagram: &[u8]) -> fmt::Result {
    let udp = match udp::View::new_checked(datagram) {
        Ok(udp) => udp,
        Err(error) => return write_ports_and_error(f, "udp", error, datagram),
    };
    write!(f, "udp {} > {}, length {}", udp.source_port(), udp.destination_port(), udp.length())?;
    write!(f, ", checksum {:#06x}, {} octets of payload", udp.checksum(), udp.payload().len())
}

fn write_icmp(f: &mut fmt::Formatter<'_>, message: &[u8], depth: usize) -> fmt::Result {
    let icmp = match icmpv4::View::new_checked(message) {
        Ok(icmp) => icmp,
        Err(error) => return write_error(f, "icmp", error, message),
    };
    let name = match icmp.icmp_type() {
        icmpv4::ECHO_REPLY => "echo reply",
        icmpv4::DESTINATION_UNREACHABLE => "destination unreachable",
        icmpv4::SOURCE_QUENCH => "source quench",
        icmpv4::REDIRECT => "redirect",
        icmpv4::ECHO_REQUEST => "echo request",
        icmpv4::TIME_EXCEEDED => "time exceeded",
        icmpv4::PARAMETER_PROBLEM => "parameter problem",
        icmpv4::TIMESTAMP_REQUEST => "timestamp request",
        icmpv4::TIMESTAMP_REPLY => "timestamp reply",
        icmpv4::INFORMATION_REQUEST => "information request",
        icmpv4::INFORMATION_REPLY => "information reply",
        icmpv4::ADDRESS_MASK_REQUEST => "address mask request",
        icmpv4::ADDRESS_MASK_REPLY => "address mask reply",
        other => return write!(f, "icmp type {other}, code {}", icmp.code()),
    };
    if !icmpv4::is_error(icmp.icmp_type()) {
        write!(f, "icmp {name}, id {}, seq {}", icmp.identifier(), icmp.sequence())?;
        return write!(f, ", checksum {:#06x}, {} octets of data", icmp.checksum(), icmp.payload().len());
    }
    write!(f, "icmp {name}, code {}", icmp.code())?;
    if icmp.icmp_type() == icmpv4::DESTINATION_UNREACHABLE && icmp.code() == icmpv4::CODE_FRAGMENTATION_NEEDED
    {
        write!(f, ", mtu {}", icmp.mtu())?;
    }
    if icmp.payload().is_empty() || depth >= MAX_QUOTES {
        return write!(f, ", {} octets quoted", icmp.payload().len());
    }
    writeln!(f)?;
    write_ipv4(f, icmp.payload(), depth + 1)
}

/// A segment whose header is cut still shows its ports, as quoted ones do.
fn write_ports_and_error(
    f: &mut fmt::Formatter<'_>,
    header: &str,
    error: ParseError,
    bytes: &[u8],
) -> fmt::Result {
    match bytes.first_chunk::<4>() {
        Some(ports) => {
            write!(f, "{header} {} > {}: {error}, {} octets", be16!(ports, 0), be16!(ports, 2), bytes.len())
        }
        None => write_error(f, header, error, bytes),
    }
}

fn write_error(f: &mut fmt::Formatter<'_>, header: &str, error: ParseError, bytes: &[u8]) -> fmt::Result {
    write!(f, "{header}: {error}, {} octets", bytes.len())
}

#[cfg(test)]
mod tests {
    //! Property: any bytes are shown, and any cut of a frame is.

    use super::*;
    use crate::packet::test_frames::{IP, Spec, Transport, any_spec};
    use proptest::prelude::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        frame(bytes).to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_syn() {
        let spec = Spec::new(Transport::Tcp { flags: 2, options: vec![2, 4, 5, 0xb4] }, b"");
        assert_eq!(
            lines(&spec.frame()),
            [
                "ethernet 52:54:00:00:00:02 > 52:54:00:00:00:01 ipv4",
                "ipv4 192.168.0.10 > 198.51.100.7 tcp, length 44, ttl 64, id 0x1234, DF",
                "tcp 40000 > 80 SYN, seq 16909060, ack 84281096, win 64240, mss 1460, checksum 0x05a4, 0 octets of payload",
            ]
        );
    }

    #[test]
    fn an_error_shows_what_it_quotes() {
        let quoted = Spec::udp(&[7; 100]).frame();
        let error = Spec::new(Transport::Icmp { kind: 11, code: 0 }, &quoted[IP..IP + 28]).frame();
        assert_eq!(
            lines(&error)[2..],
            [
                "icmp time exceeded, code 0",
                "  ipv4 192.168.0.10 > 198.51.100.7 udp, length 128, ttl 64, id 0x1234, DF, 28 octets are here",
                "  udp 40000 > 80, length 108, checksum 0x1839, 0 octets of payload",
            ]
        );
        let nested = Spec::new(Transport::Icmp { kind: 3, code: 4 }, &error[IP..]).frame();
        assert_eq!(lines(&nested).last().unwrap(), "  icmp time exceeded, code 0, 28 octets quoted");
    }

    #[test]
    fn other_kinds() {
        let last = |bytes: &[u8]| lines(bytes).pop().unwrap();
        let ping = Spec::icmp(8, b"data").frame();
        assert_eq!(last(&ping), "icmp echo request, id 40000, seq 80, checksum 0x82ac, 4 octets of data");
        let mut wrong = Spec::new(Transport::Other(47), b"").frame();
        wrong[IP + 10] ^= 1;
        wrong[IP + 6] = 0x20;
        assert_eq!(
            last(&wrong),
            "ipv4 192.168.0.10 > 198.51.100.7 gre, length 20, ttl 64, id 0x1234, fragment at 0, more follow, \
             wrong header checksum"
        );
        assert_eq!(last(&ping[..40]), "icmp: cut short, 6 octets");
        assert_eq!(last(&Spec::tcp(2, b"").frame()[..50]), "tcp 40000 > 80: cut short, 16 octets");
        assert_eq!(last(&ping[..20]), "ipv4: cut short, 6 octets");
        assert_eq!(last(&ping[..9]), "ethernet: cut short, 9 octets");
        let mut tagged = ping.clone();
        tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
        assert_eq!(lines(&tagged)[0], "ethernet 52:54:00:00:00:02 > 52:54:00:00:00:01 vlan 7 ipv4");
        assert_eq!(last(&tagged), last(&ping));
        let mut request = vec![0xff; 14 + 28];
        request[12..14].copy_from_slice(&[8, 6]);
        request[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(last(&request), "arp who has 255.255.255.255, tell 255.255.255.255 at ff:ff:ff:ff:ff:ff");
        let mut ipv6 = vec![0; 14 + 40];
        ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
        ipv6[20] = 58;
        assert_eq!(last(&ipv6), "ipv6 :: > ::, next header 58, payload length 0, hop limit 0");
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..4_usize) {
            let ethertype = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][kind];
            if let Some(field) = bytes.get_mut(12..14) {
                field.copy_from_slice(&ethertype);
            }
            prop_assert!(!frame(&bytes).to_string().is_empty());
            prop_assert!(!ipv4_packet(&bytes).to_string().is_empty());
        }

        #[test]
        fn any_cut_is_shown(spec in any_spec(), cut: prop::sample::Index) {
            let bytes = spec.frame();
            let text = frame(&bytes[..cut.index(bytes.len())]).to_string();
            prop_assert!(!text.ends_with('\n') && text.lines().all(|line| !line.is_empty()));
        }
    }
}
