//! Frames for tests, made and checked by etherparse, so that they share no code with what they test.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, TcpHeader, UdpHeader};
use proptest::prelude::*;

/// Offset of the IPv4 header.
pub(crate) const IP: usize = 14;

/// What a test frame carries.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp { flags: u8, options: Vec<u8> },
    Udp { checksum: bool },
    Icmp { kind: u8, code: u8 },
    Other(u8),
}

/// A frame to be built.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// Port, or ICMP identifier.
    pub(crate) source_port: u16,
    /// Port, or ICMP sequence number.
    pub(crate) destination_port: u16,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    /// A whole number of 4-octet words.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

impl Spec {
    /// 192.168.0.10:40000 to 198.51.100.7:80 (or identifier 40000, sequence number 80).
    pub(crate) fn new(transport: Transport, payload: &[u8]) -> Spec {
        Spec {
            source: Ipv4Addr::new(192, 168, 0, 10),
            destination: Ipv4Addr::new(198, 51, 100, 7),
            source_port: 40_000,
            destination_port: 80,
            ttl: 64,
            id: 0x1234,
            dont_fragment: true,
            ip_options: Vec::new(),
            transport,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn udp(payload: &[u8]) -> Spec {
        Spec::new(Transport::Udp { checksum: true }, payload)
    }

    pub(crate) fn tcp(flags: u8, payload: &[u8]) -> Spec {
        Spec::new(Transport::Tcp { flags, options: Vec::new() }, payload)
    }

    pub(crate) fn icmp(kind: u8, payload: &[u8]) -> Spec {
        Spec::new(Transport::Icmp { kind, code: 0 }, payload)
    }

    /// The Ethernet frame with all checksums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (ports, others) = (self.source_port.to_be_bytes(), self.destination_port.to_be_bytes());
        let mut segment = Vec::new();
        let protocol = match &self.transport {
            Transport::Tcp { flags, options } => {
                let mut tcp = TcpHeader::new(self.source_port, self.destination_port, 0x0102_0304, 0xfaf0);
                tcp.acknowledgment_number = 0x0506_0708;
                tcp.set_options_raw(options).unwrap();
                segment.extend_from_slice(&tcp.to_bytes());
                segment[13] = *flags;
                IpNumber::TCP
            }
            Transport::Udp { checksum } => {
                segment.extend_from_slice(&ports);
                segment.extend_from_slice(&others);
                segment.extend_from_slice(&(8 + self.payload.len() as u16).to_be_bytes());
                segment.extend_from_slice(if *checksum { &[0xff, 0xff] } else { &[0, 0] });
                IpNumber::UDP
            }
            Transport::Icmp { kind, code } => {
                segment.extend_from_slice(&[*kind, *code, 0, 0]);
                segment.extend_from_slice(&ports);
                segment.extend_from_slice(&others);
                IpNumber::ICMP
            }
            Transport::Other(protocol) => IpNumber(*protocol),
        };
        segment.extend_from_slice(&self.payload);
        let mut ip =
            Ipv4Header::new(0, self.ttl, protocol, self.source.octets(), self.destination.octets()).unwrap();
        ip.identification = self.id;
        ip.dont_fragment = self.dont_fragment;
        ip.options = self.ip_options[..].try_into().unwrap();
        ip.set_payload_len(segment.len()).unwrap();
        let mut frame = vec![0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x08, 0x00];
        frame.extend_from_slice(&ip.to_bytes());
        frame.extend_from_slice(&segment);
        refill(&mut frame);
        frame
    }
}

/// Computes every checksum of a frame from scratch; those that a fragment or a foreign protocol hides, and
/// UDP's 0, stay.
pub(crate) fn refill(frame: &mut [u8]) {
    refill_packet(&mut frame[IP..]);
}

/// As [`refill`], from the IPv4 header on.
pub(crate) fn refill_packet(packet: &mut [u8]) {
    let (ip, _) = Ipv4Header::from_slice(packet).unwrap();
    packet[10..12].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
    if ip.is_fragmenting_payload() {
        return;
    }
    let segment = &mut packet[ip.header_len()..usize::from(ip.total_len)];
    match ip.protocol {
        IpNumber::TCP => {
            let (tcp, payload) = TcpHeader::from_slice(segment).unwrap();
            let checksum = tcp.calc_checksum_ipv4_raw(ip.source, ip.destination, payload).unwrap();
            segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
        IpNumber::UDP if segment[6..8] != [0, 0] => {
            let (udp, _) = UdpHeader::from_slice(segment).unwrap();
            let payload = &segment[8..usize::from(udp.length)];
            let checksum = udp.calc_checksum_ipv4_raw(ip.source, ip.destination, payload).unwrap();
            segment[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        IpNumber::ICMP => {
            // Not by its ICMP types, which want timestamps and errors to be well-formed.
            segment[2..4].fill(0);
            let sum = Sum16BitWords::new().add_slice(segment).ones_complement();
            segment[2..4].copy_from_slice(&sum.to_ne_bytes());
        }
        // UDP-Lite that covers everything, and DCCP likewise, which has no rule against a checksum of 0.
        IpNumber(136) | IpNumber(33) => {
            segment[6..8].fill(0);
            let sum = Sum16BitWords::new()
                .add_4bytes(ip.source)
                .add_4bytes(ip.destination)
                .add_2bytes([0, ip.protocol.0])
                .add_2bytes((segment.len() as u16).to_be_bytes())
                .add_slice(segment);
            let checksum = match ip.protocol {
                IpNumber(33) => sum.ones_complement(),
                _ => sum.to_ones_complement_with_no_zero(),
            };
            segment[6..8].copy_from_slice(&checksum.to_ne_bytes());
        }
        _ => {}
    }
}

/// Replaces a TCP or UDP checksum with the partial one: the uninverted sum of the pseudo header.
pub(crate) fn make_partial(frame: &mut [u8]) {
    let (ip, segment) = Ipv4Header::from_slice(&frame[IP..]).unwrap();
    let sum = Sum16BitWords::new()
        .add_4bytes(ip.source)
        .add_4bytes(ip.destination)
        .add_2bytes([0, ip.protocol.0])
        .add_2bytes((segment.len() as u16).to_be_bytes());
    let partial = !u16::from_be(sum.ones_complement());
    let field = IP + ip.header_len() + if ip.protocol == IpNumber::TCP { 16 } else { 6 };
    frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
}

/// Every checksum of the frame is the one computed from scratch.
pub(crate) fn assert_checksums(frame: &[u8]) {
    let mut expected = frame.to_vec();
    refill(&mut expected);
    assert_eq!(frame, expected, "a checksum differs from full recomputation");
}

/// Any address that is no field of zeros, so that the UDP or TCP sum has real addresses.
pub(crate) fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

/// Any frame that the parser takes: every kind of transport, with and without options, odd lengths too.
pub(crate) fn any_spec() -> impl Strategy<Value = Spec> {
    let flags = prop_oneof![Just(0x02), Just(0x12), Just(0x10), Just(0x18), Just(0x11), Just(0x04)];
    let transport = prop_oneof![
        (flags, 0..=10_usize)
            .prop_map(|(flags, words)| Transport::Tcp { flags, options: vec![1; words * 4] }),
        Just(Transport::Udp { checksum: true }),
        Just(Transport::Udp { checksum: false }),
        prop_oneof![Just(8_u8), Just(0), Just(13), Just(14)]
            .prop_map(|kind| Transport::Icmp { kind, code: 0 }),
        prop_oneof![Just(47_u8), Just(50), Just(132), Just(33), Just(136)].prop_map(Transport::Other),
    ];
    let options = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec![148, 4, 0, 0]),
        1 => Just(vec![1, 1, 1, 1, 68, 8, 5, 0, 0, 0, 0, 0]),
    ];
    (
        (any_address(), any_address(), 1..=u16::MAX, 1..=u16::MAX),
        (2..=u8::MAX, any::<u16>(), any::<bool>()),
        options,
        transport,
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(
            |(
                (source, destination, source_port, destination_port),
                (ttl, id, df),
                ip_options,
                transport,
                mut payload,
            )| {
                match transport {
                    // etherparse wants exactly the three timestamps.
                    Transport::Icmp { kind: 13 | 14, .. } => payload.resize(12, 7),
                    // Up to the checksum.
                    Transport::Other(33 | 136) if payload.len() < 8 => payload.resize(8, 7),
                    _ => {}
                }
                Spec {
                    source,
                    destination,
                    source_port,
                    destination_port,
                    ttl,
                    id,
                    dont_fragment: df,
                    ip_options,
                    transport,
                    payload,
                }
            },
        )
}
