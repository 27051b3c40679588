//! Packets as people name them: a protocol and two endpoints.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::PacketBuilder;
use genkan_engine::packet::parsed::{Kind, parse_ipv4};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;
use serde::Serialize;

/// Of machines around the router; nothing is decided by it.
const NEIGHBOR: MacAddr = MacAddr([2, 0, 0, 0, 2, 0]);
/// What most systems send.
const TTL: u8 = 64;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Source address.
    pub(crate) source: Ipv4Addr,
    /// Destination address.
    pub(crate) destination: Ipv4Addr,
    /// What is behind the IP header.
    pub(crate) transport: Transport,
}

/// What is behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP, with its two ports.
    Tcp(u16, u16, TcpFlags),
    /// UDP, with its two ports.
    Udp(u16, u16),
    /// An echo request with this identifier (RFC 792).
    EchoRequest(u16),
    /// Its answer.
    EchoReply(u16),
    /// An ICMP error: type and code.
    IcmpError(u8, u8),
    /// Anything else, by number.
    Other(Protocol),
}

/// Why there can be no such packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPacket {
    /// TCP and UDP have ports.
    #[error("{0} has a port on both sides: give --from and --to as ADDRESS:PORT")]
    PortMissing(&'static str),
}

impl Packet {
    /// The first packet of something new: a SYN, a datagram, an echo request with identifier 1.
    pub(crate) fn first(
        protocol: Protocol,
        (source, source_port): (Ipv4Addr, Option<u16>),
        (destination, destination_port): (Ipv4Addr, Option<u16>),
    ) -> Result<Packet, BadPacket> {
        let ports = source_port.zip(destination_port);
        let transport = match protocol {
            Protocol::TCP => {
                let (from, to) = ports.ok_or(BadPacket::PortMissing("tcp"))?;
                Transport::Tcp(from, to, TcpFlags::SYN)
            }
            Protocol::UDP => {
                let (from, to) = ports.ok_or(BadPacket::PortMissing("udp"))?;
                Transport::Udp(from, to)
            }
            Protocol::ICMP => Transport::EchoRequest(source_port.unwrap_or(1)),
            other => Transport::Other(other),
        };
        Ok(Packet { source, destination, transport })
    }

    /// What a willing receiver of it would answer; `None` for errors and answers.
    pub(crate) fn answer(&self) -> Option<Packet> {
        let transport = match self.transport {
            Transport::Tcp(from, to, flags) if flags.contains(TcpFlags::SYN) => {
                Transport::Tcp(to, from, TcpFlags::SYN | TcpFlags::ACK)
            }
            Transport::Tcp(from, to, _) => Transport::Tcp(to, from, TcpFlags::ACK),
            Transport::Udp(from, to) => Transport::Udp(to, from),
            Transport::EchoRequest(identifier) => Transport::EchoReply(identifier),
            Transport::Other(protocol) => Transport::Other(protocol),
            Transport::EchoReply(_) | Transport::IcmpError(..) => return None,
        };
        Some(Packet { source: self.destination, destination: self.source, transport })
    }

    /// The next one of the same side, within what this one has opened; `None` for errors.
    pub(crate) fn next(&self) -> Option<Packet> {
        let transport = match self.transport {
            Transport::Tcp(from, to, _) => Transport::Tcp(from, to, TcpFlags::ACK),
            Transport::IcmpError(..) => return None,
            same => same,
        };
        Some(Packet { transport, ..*self })
    }

    /// Its source endpoint; protocols without ports have port 0.
    pub(crate) fn source_endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.ports().map_or(0, |(from, _)| from))
    }

    /// Its destination endpoint; protocols without ports have port 0.
    pub(crate) fn destination_endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.ports().map_or(0, |(_, to)| to))
    }

    fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(from, to, _) | Transport::Udp(from, to) => Some((from, to)),
            _ => None,
        }
    }

    /// An Ethernet frame of it, to this MAC address.
    pub(crate) fn to_frame(self, to: MacAddr) -> Vec<u8> {
        let Packet { source, destination, transport } = self;
        let builder =
            PacketBuilder::ethernet2(NEIGHBOR.0, to.0).ipv4(source.octets(), destination.octets(), TTL);
        let mut frame = Vec::new();
        // Writing to a vector does not fail, and nothing here is too long.
        let _ = match transport {
            Transport::Tcp(from, to, flags) => {
                let mut builder = builder.tcp(from, to, 1_000, 65_535);
                if flags.contains(TcpFlags::SYN) {
                    builder = builder.syn();
                }
                if flags.contains(TcpFlags::ACK) {
                    builder = builder.ack(2_000);
                }
                if flags.contains(TcpFlags::FIN) {
                    builder = builder.fin();
                }
                if flags.contains(TcpFlags::RST) {
                    builder = builder.rst();
                }
                if flags.contains(TcpFlags::PSH) {
                    builder = builder.psh();
                }
                if flags.contains(TcpFlags::URG) {
                    builder = builder.urg(0);
                }
                builder.write(&mut frame, &[])
            }
            Transport::Udp(from, to) => builder.udp(from, to).write(&mut frame, b"genkan"),
            Transport::EchoRequest(identifier) => {
                builder.icmpv4_echo_request(identifier, 1).write(&mut frame, b"genkan")
            }
            Transport::EchoReply(identifier) => {
                builder.icmpv4_echo_reply(identifier, 1).write(&mut frame, b"genkan")
            }
            Transport::IcmpError(kind, code) => builder.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, &[]),
            Transport::Other(protocol) => builder.write(&mut frame, protocol.0.into(), b"genkan"),
        };
        frame
    }

    /// The IPv4 packet in a frame.
    pub(crate) fn from_frame(frame: &[u8]) -> Option<Packet> {
        // ARP, for one.
        if frame.get(12..14) != Some(&[0x08, 0x00]) {
            return None;
        }
        let parsed = parse_ipv4(frame).ok()?;
        let (from, to) = (parsed.source_port, parsed.destination_port);
        let transport = match parsed.kind {
            Kind::Tcp => Transport::Tcp(from, to, parsed.tcp_flags),
            Kind::Udp => Transport::Udp(from, to),
            Kind::IcmpRequest => Transport::EchoRequest(from),
            Kind::IcmpReply => Transport::EchoReply(to),
            Kind::IcmpError | Kind::IcmpOther(_) => {
                let at = usize::from(parsed.l4);
                Transport::IcmpError(*frame.get(at)?, *frame.get(at + 1)?)
            }
            Kind::Other | Kind::LaterFragment => Transport::Other(parsed.protocol),
        };
        Some(Packet { source: parsed.source, destination: parsed.destination, transport })
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packet { source, destination, transport } = *self;
        let with_ports = |from, to| {
            let (source, destination) = (SocketAddrV4::new(source, from), SocketAddrV4::new(destination, to));
            format!("{source} -> {destination}")
        };
        match transport {
            Transport::Tcp(from, to, flags) => write!(f, "tcp {} [{flags}]", with_ports(from, to)),
            Transport::Udp(from, to) => write!(f, "udp {}", with_ports(from, to)),
            Transport::EchoRequest(identifier) => {
                write!(f, "icmp echo request {identifier} {source} -> {destination}")
            }
            Transport::EchoReply(identifier) => {
                write!(f, "icmp echo reply {identifier} {source} -> {destination}")
            }
            Transport::IcmpError(kind, code) => write!(f, "icmp {kind}/{code} {source} -> {destination}"),
            Transport::Other(protocol) => write!(f, "{protocol} {source} -> {destination}"),
        }
    }
}

impl Serialize for Packet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
