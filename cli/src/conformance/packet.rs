//! IPv4 packets, made and read octet by octet: what hosts of a probe send and see.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader, UdpHeader,
};

/// TTL of everything that hosts send.
const TTL: u8 = 64;

/// A TCP segment without its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) data: Vec<u8>,
}

/// One packet, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Where a fragment belongs, in octets, a multiple of eight.
    pub(crate) offset: u16,
    pub(crate) protocol: IpNumber,
    /// A multiple of four octets.
    pub(crate) options: Vec<u8>,
    /// Everything behind the IP header.
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpNumber, payload: Vec<u8>) -> Packet {
        Packet {
            source,
            destination,
            ttl: TTL,
            identification: 7,
            dont_fragment: false,
            more_fragments: false,
            offset: 0,
            protocol,
            options: Vec::new(),
            payload,
        }
    }

    /// A datagram with its checksum.
    pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Packet {
        let (source, destination) = (from.ip().octets(), to.ip().octets());
        let header = UdpHeader::without_ipv4_checksum(from.port(), to.port(), data.len());
        let mut header = header.expect("probes send no more than a packet holds");
        header.checksum = header.calc_checksum_ipv4_raw(source, destination, data).expect("as above");
        Packet::new(*from.ip(), *to.ip(), IpNumber::UDP, [&header.to_bytes()[..], data].concat())
    }

    /// A TCP segment with its checksum.
    pub(crate) fn tcp(from: SocketAddrV4, to: SocketAddrV4, segment: &Segment) -> Packet {
        let mut header = TcpHeader::new(from.port(), to.port(), segment.sequence, 64_000);
        header.acknowledgment_number = segment.acknowledgment;
        (header.syn, header.ack, header.fin, header.rst) =
            (segment.syn, segment.ack, segment.fin, segment.rst);
        let (source, destination) = (from.ip().octets(), to.ip().octets());
        let checksum = header.calc_checksum_ipv4_raw(source, destination, &segment.data);
        header.checksum = checksum.expect("probes send no more than a packet holds");
        let payload = [&header.to_bytes()[..], &segment.data].concat();
        Packet::new(*from.ip(), *to.ip(), IpNumber::TCP, payload)
    }

    /// An ICMP message with its checksum; `rest` are the octets 4 to 7.
    pub(crate) fn icmp(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        (kind, code): (u8, u8),
        rest: [u8; 4],
        body: &[u8],
    ) -> Packet {
        let raw = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest };
        let header = Icmpv4Header::with_checksum(raw, body);
        Packet::new(source, destination, IpNumber::ICMP, [&header.to_bytes()[..], body].concat())
    }

    /// An echo request.
    pub(crate) fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Packet {
        let [high, low] = identifier.to_be_bytes();
        Packet::icmp(source, destination, (8, 0), [high, low, 0, 1], b"genkan")
    }

    /// What answers it.
    pub(crate) fn echo_reply(&self) -> Packet {
        let rest = [self.payload[4], self.payload[5], self.payload[6], self.payload[7]];
        Packet::icmp(self.destination, self.source, (0, 0), rest, &self.payload[8..])
    }

    /// An ICMP error about a packet, which is quoted to so many octets behind its IP header.
    pub(crate) fn error(source: Ipv4Addr, kind: (u8, u8), about: &Packet, quoted: usize) -> Packet {
        let mut quote = about.to_bytes();
        quote.truncate(about.header_length() + quoted);
        Packet::icmp(source, about.source, kind, [0; 4], &quote)
    }

    /// The length of its IP header, octets.
    pub(crate) fn header_length(&self) -> usize {
        Ipv4Header::MIN_LEN + self.options.len()
    }

    /// It as it goes over a wire, with the header's checksum.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = Ipv4Header {
            total_len: u16::try_from(self.header_length() + self.payload.len()).unwrap_or(u16::MAX),
            identification: self.identification,
            dont_fragment: self.dont_fragment,
            more_fragments: self.more_fragments,
            fragment_offset: IpFragOffset::try_new(self.offset / 8).unwrap_or(IpFragOffset::ZERO),
            time_to_live: self.ttl,
            protocol: self.protocol,
            source: self.source.octets(),
            destination: self.destination.octets(),
            options: Ipv4Options::try_from(&self.options[..]).unwrap_or_default(),
            ..Ipv4Header::default()
        };
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], &self.payload].concat()
    }

    /// A packet from the wire, or from within an ICMP error, where it may be cut.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Packet> {
        let (header, rest) = Ipv4Header::from_slice(bytes).ok()?;
        let length = usize::from(header.total_len).saturating_sub(header.header_len());
        Some(Packet {
            source: header.source.into(),
            destination: header.destination.into(),
            ttl: header.time_to_live,
            identification: header.identification,
            dont_fragment: header.dont_fragment,
            more_fragments: header.more_fragments,
            offset: header.fragment_offset.value() * 8,
            protocol: header.protocol,
            options: header.options.to_vec(),
            payload: rest[..rest.len().min(length)].to_vec(),
        })
    }

    fn word(&self, at: usize) -> u16 {
        self.payload.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// Source address and port (UDP, TCP).
    pub(crate) fn from(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.word(0))
    }

    /// Destination address and port (UDP, TCP).
    pub(crate) fn to(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.word(2))
    }

    /// The identifier of an ICMP query.
    pub(crate) fn identifier(&self) -> u16 {
        self.word(4)
    }

    /// Type and code, if it is ICMP.
    pub(crate) fn icmp_kind(&self) -> Option<(u8, u8)> {
        (self.protocol == IpNumber::ICMP && self.payload.len() >= 8)
            .then(|| (self.payload[0], self.payload[1]))
    }

    /// The packet that an ICMP error quotes.
    pub(crate) fn quoted(&self) -> Option<Packet> {
        let is_error = matches!(self.icmp_kind(), Some((3 | 4 | 5 | 11 | 12, _)));
        if is_error { Packet::from_bytes(&self.payload[8..]) } else { None }
    }

    /// The TCP segment in it.
    pub(crate) fn segment(&self) -> Option<Segment> {
        if self.protocol != IpNumber::TCP {
            return None;
        }
        let (header, data) = TcpHeader::from_slice(&self.payload).ok()?;
        Some(Segment {
            sequence: header.sequence_number,
            acknowledgment: header.acknowledgment_number,
            syn: header.syn,
            ack: header.ack,
            fin: header.fin,
            rst: header.rst,
            data: data.to_vec(),
        })
    }

    /// What the application sent.
    pub(crate) fn data(&self) -> &[u8] {
        let header = match self.protocol {
            IpNumber::TCP => usize::from(self.payload.get(12).map_or(0, |octet| octet >> 4)) * 4,
            _ => 8,
        };
        self.payload.get(header..).unwrap_or_default()
    }

    /// Whether this is the other one as a device passes it on: everything but addresses, ports, identifiers and
    /// checksums.
    pub(crate) fn is_copy_of(&self, other: &Packet) -> bool {
        if self.protocol != other.protocol {
            return false;
        }
        match (self.segment(), other.segment()) {
            (Some(one), Some(two)) => one == two,
            _ => self.icmp_kind() == other.icmp_kind() && self.data() == other.data(),
        }
    }

    /// Whether the checksum of the transport header is what it should be. False for fragments.
    pub(crate) fn checksum_is_right(&self) -> bool {
        let (source, destination) = (self.source.octets(), self.destination.octets());
        match self.protocol {
            IpNumber::TCP => TcpHeader::from_slice(&self.payload).is_ok_and(|(header, data)| {
                header.calc_checksum_ipv4_raw(source, destination, data) == Ok(header.checksum)
            }),
            IpNumber::UDP => UdpHeader::from_slice(&self.payload).is_ok_and(|(header, data)| {
                header.calc_checksum_ipv4_raw(source, destination, data) == Ok(header.checksum)
            }),
            IpNumber::ICMP => Sum16BitWords::new().add_slice(&self.payload).ones_complement() == 0,
            _ => true,
        }
    }

    /// Cuts it into fragments with at most so many octets of payload each, a multiple of eight.
    pub(crate) fn fragments(&self, size: usize) -> Vec<Packet> {
        let count = self.payload.len().div_ceil(size);
        let cut = self.payload.chunks(size).enumerate();
        cut.map(|(index, part)| Packet {
            more_fragments: index + 1 < count,
            offset: u16::try_from(index * size).expect("a packet has at most 65,535 octets"),
            payload: part.to_vec(),
            ..self.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 100), 5000);
    const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 53);

    fn every_kind() -> [Packet; 4] {
        let datagram = Packet::udp(A, B, b"genkan");
        [
            Packet::tcp(A, B, &Segment { sequence: 1, syn: true, data: b"x".to_vec(), ..Segment::default() }),
            Packet::echo_request(*A.ip(), *B.ip(), 7),
            Packet::icmp(*B.ip(), *A.ip(), (11, 0), [0, 32, 0, 0], &datagram.to_bytes()),
            datagram,
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        for packet in every_kind() {
            let packet =
                Packet { options: vec![1, 1, 1, 0], identification: 9, dont_fragment: true, ..packet };
            assert_eq!(Packet::from_bytes(&packet.to_bytes()), Some(packet));
        }
    }

    #[test]
    fn wrong_checksums_are_seen() {
        for mut packet in every_kind() {
            assert!(packet.checksum_is_right(), "{packet:?}");
            let last = packet.payload.len() - 1;
            packet.payload[last] ^= 1;
            assert!(!packet.checksum_is_right(), "{packet:?}");
        }
    }

    #[test]
    fn a_translated_packet_is_a_copy_and_another_one_is_not() {
        let datagram = Packet::udp(A, B, b"genkan");
        assert!(Packet::udp(B, A, b"genkan").is_copy_of(&datagram));
        assert!(!Packet::udp(A, B, b"Genkan").is_copy_of(&datagram));
        let segment = |sequence| Packet::tcp(A, B, &Segment { sequence, syn: true, ..Segment::default() });
        assert!(segment(1).is_copy_of(&segment(1)) && !segment(1).is_copy_of(&segment(2)));
        assert!(!segment(1).is_copy_of(&datagram));
    }

    #[test]
    fn an_error_quotes_and_fragments_make_a_whole() {
        let datagram = Packet::udp(A, B, &[5; 1000]);
        let quoted = Packet::error(*B.ip(), (3, 3), &datagram, 8).quoted().expect("an error");
        assert_eq!((quoted.from(), quoted.to(), quoted.payload.len()), (A, B, 8));
        let parts = datagram.fragments(400);
        let places: Vec<_> = parts.iter().map(|part| (part.offset, part.more_fragments)).collect();
        assert_eq!(places, [(0, true), (400, true), (800, false)]);
        let whole: Vec<u8> = parts.into_iter().flat_map(|part| part.payload).collect();
        assert_eq!(whole, datagram.payload);
    }
}
