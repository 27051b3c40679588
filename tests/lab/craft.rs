//! Packets in one line: constructors with the values that tests seldom care about, and changes for chaining.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::packet::{Checksum, Flags, Packet, Payload};

fn with(source: Ipv4Addr, destination: Ipv4Addr, payload: Payload) -> Packet {
    Packet {
        source,
        destination,
        ttl: 64,
        tos: 0,
        id: 0,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        options: Vec::new(),
        payload,
    }
}

/// A UDP datagram.
pub fn udp(source: SocketAddrV4, destination: SocketAddrV4) -> Packet {
    let payload = Payload::Udp {
        source: source.port(),
        destination: destination.port(),
        checksum: Checksum::Right,
        data: b"data".to_vec(),
    };
    with(*source.ip(), *destination.ip(), payload)
}

/// A TCP segment without data.
pub fn tcp(source: SocketAddrV4, destination: SocketAddrV4, flags: Flags) -> Packet {
    let payload = Payload::Tcp {
        source: source.port(),
        destination: destination.port(),
        seq: 1000,
        ack: if flags.contains(Flags::ACK) { 5000 } else { 0 },
        flags,
        window: 65_535,
        options: Vec::new(),
        checksum: Checksum::Right,
        data: Vec::new(),
    };
    with(*source.ip(), *destination.ip(), payload)
}

/// An ICMP message of any type (RFC 792).
pub fn icmp(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, code: u8) -> Packet {
    let payload = Payload::Icmp { kind, code, rest: [0; 4], checksum: Checksum::Right, data: Vec::new() };
    with(source, destination, payload)
}

/// An ICMP echo request.
pub fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Packet {
    let [high, low] = identifier.to_be_bytes();
    icmp(source, destination, 8, 0).rest([high, low, 0, 1]).data(b"ping")
}

/// An ICMP echo reply.
pub fn echo_reply(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Packet {
    let [high, low] = identifier.to_be_bytes();
    icmp(source, destination, 0, 0).rest([high, low, 0, 1]).data(b"ping")
}

/// An ICMP error that quotes the first octets of an IP packet (RFC 792; RFC 1812 §4.3.2.3 lets it quote more).
pub fn icmp_error(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, code: u8, quoted: &[u8]) -> Packet {
    icmp(source, destination, kind, code).data(quoted)
}

/// A packet of any protocol.
pub fn raw(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, data: &[u8]) -> Packet {
    with(source, destination, Payload::Raw { protocol, data: data.to_vec() })
}

/// Changes to a packet, one field each, for chaining.
impl Packet {
    /// Replaces what follows the transport header.
    pub fn data(mut self, bytes: &[u8]) -> Packet {
        match &mut self.payload {
            Payload::Udp { data, .. }
            | Payload::Tcp { data, .. }
            | Payload::Icmp { data, .. }
            | Payload::Raw { data, .. } => *data = bytes.to_vec(),
        }
        self
    }

    /// Sets the TTL.
    pub fn ttl(mut self, ttl: u8) -> Packet {
        self.ttl = ttl;
        self
    }

    /// Sets the identification.
    pub fn id(mut self, id: u16) -> Packet {
        self.id = id;
        self
    }

    /// Sets DF.
    pub fn dont_fragment(mut self) -> Packet {
        self.dont_fragment = true;
        self
    }

    /// Sets the IP options.
    pub fn options(mut self, options: &[u8]) -> Packet {
        self.options = options.to_vec();
        self
    }

    /// Sets the state of the transport checksum.
    pub fn with_checksum(mut self, state: Checksum) -> Packet {
        match &mut self.payload {
            Payload::Udp { checksum, .. }
            | Payload::Tcp { checksum, .. }
            | Payload::Icmp { checksum, .. } => {
                *checksum = state;
            }
            Payload::Raw { .. } => panic!("a raw payload has no checksum that the lab knows"),
        }
        self
    }

    /// Sets octets 4 to 8 of an ICMP message.
    pub fn rest(mut self, octets: [u8; 4]) -> Packet {
        match &mut self.payload {
            Payload::Icmp { rest, .. } => *rest = octets,
            _ => panic!("only ICMP has a rest of header"),
        }
        self
    }

    /// Sets TCP sequence and acknowledgment numbers.
    pub fn numbers(mut self, sequence: u32, acknowledgment: u32) -> Packet {
        match &mut self.payload {
            Payload::Tcp { seq, ack, .. } => (*seq, *ack) = (sequence, acknowledgment),
            _ => panic!("only TCP has sequence numbers"),
        }
        self
    }

    /// Sets TCP options (padded with "end of options" to a multiple of 4 octets).
    pub fn tcp_options(mut self, bytes: &[u8]) -> Packet {
        match &mut self.payload {
            Payload::Tcp { options, .. } => {
                *options = bytes.to_vec();
                options.resize(bytes.len().next_multiple_of(4), 0);
            }
            _ => panic!("only TCP has TCP options"),
        }
        self
    }

    /// Announces an MSS.
    pub fn mss(self, mss: u16) -> Packet {
        let [high, low] = mss.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// The packet with `payload` octets of IP payload per fragment (a multiple of 8), in order.
    pub fn fragments(&self, payload: usize) -> Vec<Packet> {
        assert!(payload.is_multiple_of(8) && payload > 0);
        let whole = self.to_ip();
        let body = &whole[20 + self.options.len()..];
        let count = body.len().div_ceil(payload);
        body.chunks(payload)
            .enumerate()
            .map(|(index, chunk)| Packet {
                more_fragments: index + 1 < count || self.more_fragments,
                fragment_offset: self.fragment_offset + (index * payload) as u16,
                payload: Payload::Raw { protocol: self.protocol(), data: chunk.to_vec() },
                ..self.clone()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> SocketAddrV4 {
        text.parse().expect("an endpoint")
    }

    #[test]
    fn fragments_cover_the_packet() {
        let whole = udp(endpoint("192.0.2.1:1"), endpoint("192.0.2.2:2")).data(&[7; 40]);
        let parts = whole.fragments(16);
        assert_eq!(parts.iter().map(|part| part.payload_data().len()).collect::<Vec<_>>(), [16, 16, 16]);
        assert_eq!(parts.iter().map(|part| part.more_fragments).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(
            parts.iter().flat_map(|part| part.payload_data().to_vec()).collect::<Vec<_>>(),
            whole.to_ip()[20..]
        );
    }
}
