//! IPv4 packets as a test wants to write and compare them: every field in the open, checksums right
//! unless said otherwise. Bytes are made and judged with etherparse, so the engine's own wire code is
//! not its own judge.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, TcpHeader};

use super::sum;

/// TCP flags (RFC 9293 §3.1), as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Flags = Flags(0x10);
    /// Congestion window reduced.
    pub const CWR: Flags = Flags(0x80);
    /// Answer to a SYN.
    pub const SYN_ACK: Flags = Flags(0x12);
    /// End of data, with the acknowledgment that every segment of a connection carries.
    pub const FIN_ACK: Flags = Flags(0x11);
    /// Reset with an acknowledgment.
    pub const RST_ACK: Flags = Flags(0x14);

    const LETTERS: [(u8, char); 8] =
        [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (16, 'A'), (32, 'U'), (64, 'E'), (128, 'C')];

    /// Is every bit of `other` set?
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Reads what `Display` writes, for example `SA`.
    pub fn parse(text: &str) -> Option<Flags> {
        if text == "none" {
            return Some(Flags(0));
        }
        let mut bits = 0;
        for letter in text.chars() {
            bits |= Self::LETTERS.iter().find(|&&(_, known)| known == letter)?.0;
        }
        Some(Flags(bits))
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        Self::LETTERS
            .iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The state of a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    Right,
    /// UDP without a checksum (RFC 768: the field is 0).
    None,
    /// Left to the device: the field holds the uninverted sum of the pseudo header.
    Partial,
    /// Wrong by this much, in ones' complement; a NAT that updates incrementally keeps the difference.
    Off(u16),
}

/// What an IPv4 packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// State of its checksum.
        checksum: Checksum,
        /// What follows the header.
        data: Vec<u8>,
    },
    /// A TCP segment.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
        /// Flags.
        flags: Flags,
        /// Window.
        window: u16,
        /// Options, padded to a multiple of 4 octets.
        options: Vec<u8>,
        /// State of its checksum.
        checksum: Checksum,
        /// What follows the header.
        data: Vec<u8>,
    },
    /// An ICMP message.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Octets 4 to 8: identifier and sequence number, next-hop MTU, pointer, ...
        rest: [u8; 4],
        /// State of its checksum.
        checksum: Checksum,
        /// What follows: echoed data or the quoted packet.
        data: Vec<u8>,
    },
    /// Any other protocol, and fragments.
    Raw {
        /// IP protocol number.
        protocol: u8,
        /// What follows the IP header.
        data: Vec<u8>,
    },
}

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN, the second octet.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// The DF bit.
    pub dont_fragment: bool,
    /// The MF bit.
    pub more_fragments: bool,
    /// Fragment offset in octets.
    pub fragment_offset: u16,
    /// IP options, padded to a multiple of 4 octets.
    pub options: Vec<u8>,
    /// What it carries.
    pub payload: Payload,
}

impl Packet {
    /// Its IP protocol number.
    pub fn protocol(&self) -> u8 {
        match self.payload {
            Payload::Udp { .. } => 17,
            Payload::Tcp { .. } => 6,
            Payload::Icmp { .. } => 1,
            Payload::Raw { protocol, .. } => protocol,
        }
    }

    /// Whether this is a fragment, the first one included.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Source port (ICMP: the identifier of an echo message; others 0).
    pub fn source_port(&self) -> u16 {
        match &self.payload {
            Payload::Udp { source, .. } | Payload::Tcp { source, .. } => *source,
            Payload::Icmp { .. } => self.identifier(),
            Payload::Raw { protocol: 6 | 17, data } if self.fragment_offset == 0 && data.len() >= 4 => {
                u16::from_be_bytes([data[0], data[1]])
            }
            Payload::Raw { .. } => 0,
        }
    }

    /// Destination port (ICMP: the identifier of an echo message; others 0).
    pub fn destination_port(&self) -> u16 {
        match &self.payload {
            Payload::Udp { destination, .. } | Payload::Tcp { destination, .. } => *destination,
            Payload::Icmp { .. } => self.identifier(),
            Payload::Raw { protocol: 6 | 17, data } if self.fragment_offset == 0 && data.len() >= 4 => {
                u16::from_be_bytes([data[2], data[3]])
            }
            Payload::Raw { .. } => 0,
        }
    }

    /// Source address and [`Packet::source_port`].
    pub fn from(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.source_port())
    }

    /// Destination address and [`Packet::destination_port`].
    pub fn to(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.destination_port())
    }

    /// The identifier of an ICMP query message, 0 for anything else.
    pub fn identifier(&self) -> u16 {
        match &self.payload {
            Payload::Icmp { kind: 0 | 8 | 13..=18, rest, .. } => u16::from_be_bytes([rest[0], rest[1]]),
            _ => 0,
        }
    }

    /// TCP flags; none for anything else.
    pub fn flags(&self) -> Flags {
        match self.payload {
            Payload::Tcp { flags, .. } => flags,
            _ => Flags(0),
        }
    }

    /// ICMP type and code, for ICMP.
    pub fn icmp_kind(&self) -> Option<(u8, u8)> {
        match self.payload {
            Payload::Icmp { kind, code, .. } => Some((kind, code)),
            _ => None,
        }
    }

    /// What the transport header is followed by; for raw payloads all of it.
    pub fn payload_data(&self) -> &[u8] {
        match &self.payload {
            Payload::Udp { data, .. }
            | Payload::Tcp { data, .. }
            | Payload::Icmp { data, .. }
            | Payload::Raw { data, .. } => data,
        }
    }

    /// State of the transport checksum; `Right` where there is none to judge.
    pub fn checksum(&self) -> Checksum {
        match self.payload {
            Payload::Udp { checksum, .. }
            | Payload::Tcp { checksum, .. }
            | Payload::Icmp { checksum, .. } => checksum,
            Payload::Raw { .. } => Checksum::Right,
        }
    }

    /// The MSS that its TCP options announce (RFC 9293 §3.7.1).
    pub fn announced_mss(&self) -> Option<u16> {
        let Payload::Tcp { options, .. } = &self.payload else { return None };
        let mut rest = options.as_slice();
        loop {
            match *rest {
                [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
                [1, ref tail @ ..] => rest = tail,
                [kind, len, ..] if kind > 1 && len >= 2 && usize::from(len) <= rest.len() => {
                    rest = &rest[usize::from(len)..];
                }
                _ => return None,
            }
        }
    }

    /// The IP packet, header checksum filled in.
    pub fn to_ip(&self) -> Vec<u8> {
        let mut header = Ipv4Header {
            dscp: IpDscp::try_new(self.tos >> 2).expect("six bits"),
            ecn: IpEcn::try_new(self.tos & 3).expect("two bits"),
            identification: self.id,
            dont_fragment: self.dont_fragment,
            more_fragments: self.more_fragments,
            fragment_offset: IpFragOffset::try_new(self.fragment_offset / 8).expect("13 bits"),
            time_to_live: self.ttl,
            protocol: IpNumber(self.protocol()),
            source: self.source.octets(),
            destination: self.destination.octets(),
            options: self.options[..].try_into().expect("IP options are a multiple of 4 octets, at most 40"),
            ..Ipv4Header::default()
        };
        let transport = self.transport_bytes();
        header.set_payload_len(transport.len()).expect("a packet of at most 65,535 octets");
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&transport);
        bytes
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let (mut bytes, field, checksum) = match &self.payload {
            Payload::Udp { source, destination, checksum, data } => {
                let length = u16::try_from(8 + data.len()).expect("a datagram of at most 65,535 octets");
                let mut bytes =
                    [source.to_be_bytes(), destination.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
                bytes.extend_from_slice(data);
                (bytes, 6, *checksum)
            }
            Payload::Tcp { source, destination, seq, ack, flags, window, options, checksum, data } => {
                let mut header = TcpHeader::new(*source, *destination, *seq, *window);
                header.acknowledgment_number = *ack;
                header.set_options_raw(options).expect("TCP options of at most 40 octets");
                let mut bytes = header.to_bytes().to_vec();
                bytes[13] = flags.0;
                bytes.extend_from_slice(data);
                (bytes, 16, *checksum)
            }
            Payload::Icmp { kind, code, rest, checksum, data } => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(data);
                (bytes, 2, *checksum)
            }
            Payload::Raw { data, .. } => return data.clone(),
        };
        let pseudo = self.pseudo_sum(bytes.len());
        let value = match checksum {
            Checksum::None => 0,
            Checksum::Partial => pseudo,
            Checksum::Right => self.finished(!sum::add(pseudo, sum::of(&bytes))),
            Checksum::Off(by) => sum::add(!sum::add(pseudo, sum::of(&bytes)), !by),
        };
        bytes[field..field + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    /// RFC 768: a computed UDP checksum of 0 is sent as 0xffff.
    fn finished(&self, value: u16) -> u16 {
        if value == 0 && self.protocol() == 17 { 0xffff } else { value }
    }

    /// Folded sum of the pseudo header; 0 for ICMP, which has none.
    fn pseudo_sum(&self, length: usize) -> u16 {
        if self.protocol() == 1 {
            return 0;
        }
        let length = u16::try_from(length).expect("a packet of at most 65,535 octets");
        let words = [
            sum::of(&self.source.octets()),
            sum::of(&self.destination.octets()),
            u16::from(self.protocol()),
            length,
        ];
        words.into_iter().fold(0, sum::add)
    }

    /// Reads an IP packet. Octets behind the total length are refused.
    ///
    /// # Errors
    /// Says what does not fit: the IP header must be right in every way. A transport header that does
    /// not fit its lengths makes the payload `Raw`.
    pub fn parse(bytes: &[u8]) -> Result<Packet, String> {
        let (header, _) = Ipv4Header::from_slice(bytes).map_err(|error| error.to_string())?;
        if usize::from(header.total_len) != bytes.len() {
            return Err(format!("IP total length {} in {} octets", header.total_len, bytes.len()));
        }
        if header.calc_header_checksum() != header.header_checksum {
            return Err(format!(
                "IP header checksum {:04x}, right is {:04x}",
                header.header_checksum,
                header.calc_header_checksum()
            ));
        }
        let body = &bytes[header.header_len()..];
        let protocol = header.protocol.0;
        let mut packet = Packet {
            source: header.source.into(),
            destination: header.destination.into(),
            ttl: header.time_to_live,
            tos: bytes[1],
            id: header.identification,
            dont_fragment: header.dont_fragment,
            more_fragments: header.more_fragments,
            fragment_offset: header.fragment_offset.value() * 8,
            options: header.options.to_vec(),
            payload: Payload::Raw { protocol, data: body.to_vec() },
        };
        if !packet.is_fragment()
            && let Some(payload) = packet.parse_payload(protocol, body)
        {
            packet.payload = payload;
        }
        Ok(packet)
    }

    fn parse_payload(&self, protocol: u8, body: &[u8]) -> Option<Payload> {
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let judge = |field: usize| {
            let pseudo = self.pseudo_sum(body.len());
            let total = sum::add(pseudo, sum::of(body));
            if total == 0xffff {
                Checksum::Right
            } else if word(field) == pseudo {
                Checksum::Partial
            } else {
                Checksum::Off(!total)
            }
        };
        match protocol {
            17 if body.len() >= 8 && usize::from(word(4)) == body.len() => Some(Payload::Udp {
                source: word(0),
                destination: word(2),
                checksum: if word(6) == 0 { Checksum::None } else { judge(6) },
                data: body[8..].to_vec(),
            }),
            6 if body.len() >= 20 => {
                let end = usize::from(body[12] >> 4) * 4;
                let options = body.get(20..end)?;
                let double = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
                // Reserved bits and the urgent pointer have no field here: such a segment stays raw.
                if body[12] & 0x0f != 0 || word(18) != 0 {
                    return None;
                }
                Some(Payload::Tcp {
                    source: word(0),
                    destination: word(2),
                    seq: double(4),
                    ack: double(8),
                    flags: Flags(body[13]),
                    window: word(14),
                    options: options.to_vec(),
                    checksum: judge(16),
                    data: body[end..].to_vec(),
                })
            }
            1 if body.len() >= 8 => Some(Payload::Icmp {
                kind: body[0],
                code: body[1],
                rest: [body[4], body[5], body[6], body[7]],
                checksum: judge(2),
                data: body[8..].to_vec(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::craft::{echo_request, icmp_error, raw, tcp, udp};
    use super::*;

    fn endpoint(text: &str) -> SocketAddrV4 {
        text.parse().expect("an endpoint")
    }

    #[test]
    fn bytes_and_back() {
        let (a, b) = (endpoint("192.0.2.1:1000"), endpoint("198.51.100.7:53"));
        let packets = [
            udp(a, b),
            udp(a, b).with_checksum(Checksum::None),
            udp(a, b).with_checksum(Checksum::Partial),
            udp(a, b).with_checksum(Checksum::Off(0x1234)),
            udp(a, b).dont_fragment().id(7).ttl(1).options(&[7, 3, 4, 0]),
            tcp(a, b, Flags::SYN).mss(1460),
            tcp(a, b, Flags(0)).with_checksum(Checksum::Off(1)),
            echo_request(*a.ip(), *b.ip(), 0xabcd),
            icmp_error(*a.ip(), *b.ip(), 3, 4, &udp(a, b).to_ip()),
            raw(*a.ip(), *b.ip(), 50, &[1, 2, 3]),
        ];
        for packet in packets {
            assert_eq!(Packet::parse(&packet.to_ip()).as_ref(), Ok(&packet));
        }
    }
}
