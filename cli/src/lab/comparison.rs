//! One packet on both sides of the router, field by field.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{Ipv4HeaderSlice, SlicedPacket, TcpSlice, TransportSlice};

/// What matters of a TCP packet over IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    ethernet_destination: String,
    ethernet_source: String,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    ttl: u8,
    ip_checksum: u16,
    ip_checksum_right: bool,
    tcp_checksum: u16,
    tcp_checksum_right: bool,
    /// The sequence number, which no NAT changes: how the same packet is found on the other side.
    sequence: u32,
}

impl Packet {
    /// Reads a TCP SYN of a new connection; `None` for every other frame.
    pub(crate) fn from_syn(frame: &[u8]) -> Option<Packet> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let ethernet = sliced.link.as_ref()?.to_header()?.ethernet2()?;
        let ip = sliced.net.as_ref()?.ipv4_ref()?.header();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
        if !tcp.syn() || tcp.ack() {
            return None;
        }
        let (tcp_checksum, tcp_checksum_right) = tcp_checksum(&ip, tcp)?;
        Some(Packet {
            ethernet_destination: mac(ethernet.destination),
            ethernet_source: mac(ethernet.source),
            source: SocketAddrV4::new(ip.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(ip.destination_addr(), tcp.destination_port()),
            ttl: ip.ttl(),
            ip_checksum: ip.header_checksum(),
            ip_checksum_right: ip.to_header().calc_header_checksum() == ip.header_checksum(),
            tcp_checksum,
            tcp_checksum_right,
            sequence: tcp.sequence_number(),
        })
    }

    /// Whether this is the same segment.
    pub(crate) fn is_same_segment(&self, other: &Packet) -> bool {
        self.sequence == other.sequence
    }

    /// Where it goes.
    pub(crate) fn destination(&self) -> SocketAddrV4 {
        self.destination
    }

    /// Where it comes from.
    pub(crate) fn source(&self) -> SocketAddrV4 {
        self.source
    }

    /// Whether the router left it in order: one TTL less than `before`, checksums right.
    pub(crate) fn is_in_order_after(&self, before: &Packet) -> bool {
        self.ttl + 1 == before.ttl
            && [before, self].iter().all(|side| side.ip_checksum_right && side.tcp_checksum_right)
    }

    /// The fields and their values.
    fn rows(&self) -> [(&'static str, String); 7] {
        [
            ("to MAC", self.ethernet_destination.clone()),
            ("from MAC", self.ethernet_source.clone()),
            ("source", self.source.to_string()),
            ("destination", self.destination.to_string()),
            ("TTL", self.ttl.to_string()),
            ("IP checksum", format!("0x{:04x}", self.ip_checksum)),
            ("TCP checksum", format!("0x{:04x}", self.tcp_checksum)),
        ]
    }
}

/// The table of both sides, a line each; `strong` marks what the router has changed.
pub(crate) fn table(before: &Packet, after: &Packet, strong: impl Fn(&str) -> String) -> Vec<String> {
    let mut lines = vec![format!("{:14}{:23}{:3}{}", "", "on the wan", "", "on the lan")];
    for ((field, old), (_, new)) in before.rows().into_iter().zip(after.rows()) {
        lines.push(match old == new {
            true => format!("{field:14}{old:23}{:3}{new}", ""),
            false => format!("{field:14}{old:23}→  {}", strong(&new)),
        });
    }
    lines
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// The checksum as it is on a wire, and whether the field is right. Between namespaces there is no wire: the
/// sender leaves the sum to a card that does not exist, and the field holds only the sum over the pseudo header
/// (RFC 9293 §3.1), not inverted. Then it is finished here.
fn tcp_checksum(ip: &Ipv4HeaderSlice<'_>, tcp: &TcpSlice<'_>) -> Option<(u16, bool)> {
    let header = tcp.to_header();
    let finished = header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), tcp.payload()).ok()?;
    let length = u16::try_from(tcp.slice().len()).ok()?;
    let partial = pseudo_header_sum(ip.source_addr(), ip.destination_addr(), length);
    Some((finished, [finished, partial].contains(&tcp.checksum())))
}

fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> u16 {
    const TCP: u32 = 6;
    let halves = |address: Ipv4Addr| (address.to_bits() >> 16) + (address.to_bits() & 0xffff);
    let sum = halves(source) + halves(destination) + TCP + u32::from(length);
    let sum = (sum & 0xffff) + (sum >> 16);
    // The carry of the carry.
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn syn(source: [u8; 4], destination: [u8; 4], port: u16, ttl: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source, destination, ttl)
            .tcp(40_000, port, 77, 65_535)
            .syn()
            .write(&mut frame, &[])
            .expect("a vector takes everything");
        frame
    }

    #[test]
    fn both_sides_of_a_forward() {
        let before = Packet::from_syn(&syn([198, 51, 100, 7], [203, 0, 113, 1], 80, 63)).expect("a SYN");
        let after = Packet::from_syn(&syn([198, 51, 100, 7], [192, 168, 0, 10], 8080, 62)).expect("a SYN");
        assert!(after.is_same_segment(&before) && after.is_in_order_after(&before));
        let lines = table(&before, &after, str::to_owned);
        assert!(
            lines.iter().any(|line| line.contains("203.0.113.1:80") && line.contains("→  192.168.0.10:8080"))
        );
        assert!(lines.iter().any(|line| line.starts_with("source") && !line.contains('→')));
    }

    #[test]
    fn checksums_finished_partial_and_wrong() {
        let mut frame = syn([198, 51, 100, 7], [203, 0, 113, 1], 80, 63);
        let finished = Packet::from_syn(&frame).expect("a SYN");
        let partial = pseudo_header_sum(Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 1), 20);
        frame[14 + 20 + 16..][..2].copy_from_slice(&partial.to_be_bytes());
        let left_to_the_card = Packet::from_syn(&frame).expect("a SYN");
        assert_eq!(left_to_the_card.tcp_checksum, finished.tcp_checksum);
        assert!(left_to_the_card.tcp_checksum_right);
        frame[14 + 20 + 16] ^= 1;
        assert!(!Packet::from_syn(&frame).expect("a SYN").tcp_checksum_right);
    }

    #[test]
    fn other_frames_are_none() {
        assert_eq!(Packet::from_syn(&[]), None);
        assert_eq!(Packet::from_syn(&[0; 60]), None);
    }
}
