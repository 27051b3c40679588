//! Questions of the router's own to machines of its links: is somebody there, does something listen, does an answer to
//! an address outside come back? For finding out why a forward does not work.
//!
//! What comes back belongs to no session. It is recognised where packets without a session are looked at, reported, and
//! goes no further: no answer to a probe leaves by any port. That lasts beyond the answer, as some come twice or late.
//! With several workers all of them watch, since the answer may arrive at any; one sends.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::frame::PortId;
use crate::packet::embedded::Embedded;
use crate::packet::parsed::{Kind, Parsed};
use crate::presence::PresenceTable;
use crate::time::Timestamp;
use crate::wire::arp;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::Protocol;
use crate::wire::tcp::TcpFlags;

/// Probes that are watched for at once.
pub const MOST_PROBES: usize = 256;

/// How long answers are watched for, from the question on.
const WATCH: Duration = Duration::from_secs(3);

/// And datagrams, which could open a session of their own if they came later.
const WATCH_UDP: Duration = Duration::from_secs(10);

/// Answers that wait to be polled; more are lost.
const MOST_ANSWERS: usize = 256;

/// A question to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its number, unlike that of any other that is watched for; random, as a TCP sequence number is taken from it.
    pub id: u64,
    /// The link.
    pub port: PortId,
    /// What is asked.
    pub kind: ProbeKind,
    /// Who seems to ask. The port is the identifier of an echo request, and means nothing for ARP.
    pub source: SocketAddrV4,
    /// Who is asked. The port means nothing for ARP and echo requests.
    pub target: SocketAddrV4,
    /// The link address of the target, or of the router that leads there; ARP asks everybody.
    pub to: MacAddr,
}

/// Kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Who has the address (RFC 826)?
    Arp,
    /// A SYN.
    Tcp,
    /// A datagram of a few octets.
    Udp,
    /// An echo request (RFC 792).
    Echo,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The target's link address.
    Arp(MacAddr),
    /// A SYN-ACK. It has been answered by a reset.
    SynAck,
    /// A reset.
    Reset,
    /// A datagram.
    Datagram,
    /// An echo reply.
    EchoReply,
    /// An ICMP error about the question: type and code.
    IcmpError(u8, u8),
    /// No answer: the target asked by ARP for this address, which is not the router's.
    AsksFor(Ipv4Addr),
}

/// The probes that are watched for, and what came back.
#[derive(Debug, Default)]
pub(crate) struct ProbeTable {
    watched: Vec<(Timestamp, Probe)>,
    answers: VecDeque<(u64, ProbeAnswer)>,
    /// Addresses of which is asked whether somebody has them.
    pub(crate) presence: PresenceTable,
}

impl ProbeKind {
    /// How long answers are watched for.
    pub const fn watch(self) -> Duration {
        match self {
            ProbeKind::Udp => WATCH_UDP,
            ProbeKind::Arp | ProbeKind::Tcp | ProbeKind::Echo => WATCH,
        }
    }
}

impl ProbeTable {
    /// Whether there is nothing to compare packets with.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.presence.is_empty()
    }

    /// Watches for answers to a probe; false when there are too many already.
    pub(crate) fn watch(&mut self, now: Timestamp, probe: Probe) -> bool {
        self.forget(now);
        if let Some(known) = self.watched.iter_mut().find(|(_, known)| known.id == probe.id) {
            *known = (now + probe.kind.watch(), probe);
            return true;
        }
        if self.watched.len() >= MOST_PROBES {
            return false;
        }
        self.watched.push((now + probe.kind.watch(), probe));
        true
    }

    fn forget(&mut self, now: Timestamp) {
        self.watched.retain(|(until, _)| *until > now);
    }

    fn report(&mut self, id: u64, answer: ProbeAnswer) {
        if self.answers.len() < MOST_ANSWERS {
            self.answers.push_back((id, answer));
        }
    }

    /// The next answer.
    pub(crate) fn poll(&mut self) -> Option<(u64, ProbeAnswer)> {
        self.answers.pop_front()
    }

    /// Takes note of a packet that came in by `port`. What it answers, if it does.
    pub(crate) fn packet(&mut self, now: Timestamp, port: PortId, parsed: &Parsed) -> Option<ProbeAnswer> {
        self.forget(now);
        let source = SocketAddrV4::new(parsed.source, parsed.source_port);
        let destination = SocketAddrV4::new(parsed.destination, parsed.destination_port);
        let answers = |probe: &Probe| match (probe.kind, parsed.kind) {
            (ProbeKind::Tcp, Kind::Tcp) | (ProbeKind::Udp, Kind::Udp) => {
                (source, destination) == (probe.target, probe.source)
            }
            (ProbeKind::Echo, Kind::IcmpReply) => {
                parsed.source == *probe.target.ip() && destination == probe.source
            }
            _ => false,
        };
        let (_, probe) = self.watched.iter().find(|(_, probe)| probe.port == port && answers(probe))?;
        let answer = match probe.kind {
            ProbeKind::Tcp if parsed.tcp_flags.contains(TcpFlags::RST) => ProbeAnswer::Reset,
            ProbeKind::Tcp => ProbeAnswer::SynAck,
            ProbeKind::Echo => ProbeAnswer::EchoReply,
            ProbeKind::Udp | ProbeKind::Arp => ProbeAnswer::Datagram,
        };
        let id = probe.id;
        self.report(id, answer);
        Some(answer)
    }

    /// Takes note of an ICMP error of this type and code that came in by `port`. Whether it is about a probe.
    pub(crate) fn icmp_error(
        &mut self,
        now: Timestamp,
        port: PortId,
        quoted: &Embedded,
        (kind, code): (u8, u8),
    ) -> bool {
        self.forget(now);
        let source = SocketAddrV4::new(quoted.source, quoted.source_port);
        let destination = SocketAddrV4::new(quoted.destination, quoted.destination_port);
        let is_about = |probe: &Probe| match (probe.kind, quoted.protocol) {
            (ProbeKind::Tcp, Protocol::TCP) | (ProbeKind::Udp, Protocol::UDP) => {
                (source, destination) == (probe.source, probe.target)
            }
            (ProbeKind::Echo, Protocol::ICMP) => {
                source == probe.source && quoted.destination == *probe.target.ip()
            }
            _ => false,
        };
        let found = self.watched.iter().find(|(_, probe)| probe.port == port && is_about(probe));
        let Some(id) = found.map(|(_, probe)| probe.id) else { return false };
        self.report(id, ProbeAnswer::IcmpError(kind, code));
        true
    }

    /// Takes note of an ARP packet that came in by `port`; `is_ours`: its target address is the router's.
    pub(crate) fn arp(&mut self, now: Timestamp, port: PortId, packet: &arp::Repr, is_ours: bool) {
        self.presence.seen(now, port, packet.sender_ip, Some(packet.sender_mac));
        self.forget(now);
        for at in 0..self.watched.len() {
            let (_, probe) = self.watched[at];
            if probe.port != port || packet.sender_ip != *probe.target.ip() {
                continue;
            }
            match (packet.operation, probe.kind) {
                // Whoever says in a request that it has the address, has it as well (RFC 5227 section 2.1.1).
                (_, ProbeKind::Arp) => self.report(probe.id, ProbeAnswer::Arp(packet.sender_mac)),
                // Not when it speaks of itself.
                (arp::Operation::Request, _) if !is_ours && packet.target_ip != packet.sender_ip => {
                    self.report(probe.id, ProbeAnswer::AsksFor(packet.target_ip));
                }
                _ => {}
            }
        }
    }
}
