//! A packet as people ask about it, by its words.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;

use crate::simulation::{Packet, Transport};

/// What is said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) protocol: Kind,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    /// Of TCP; a SYN without it.
    pub(crate) flags: Option<Flags>,
    /// Of ICMP; a request without it.
    pub(crate) icmp: Option<Icmp>,
}

/// A protocol by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A SYN, unless --flags says otherwise
    Tcp,
    /// A datagram
    Udp,
    /// An echo request (ping), unless --icmp says otherwise
    Icmp,
    /// IPsec's payload
    Esp,
    /// PPTP's, among others
    Gre,
}

/// An ICMP query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Icmp {
    /// A ping
    EchoRequest,
    /// The answer to one
    EchoReply,
}

/// An address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(crate) Ipv4Addr, pub(crate) Option<u16>);

/// TCP flags by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(TcpFlags);

impl Asked {
    /// The packet.
    ///
    /// # Errors
    /// In words, when there can be none.
    pub(crate) fn packet(&self) -> Result<Packet, String> {
        let Asked { protocol, from, to, flags, icmp } = *self;
        if flags.is_some() && protocol != Kind::Tcp {
            return Err("only TCP has --flags".to_owned());
        }
        if icmp.is_some() && protocol != Kind::Icmp {
            return Err("only ICMP has --icmp".to_owned());
        }
        let packet = Packet::first(protocol.number(), (from.0, from.1), (to.0, to.1));
        let packet = packet.map_err(|error| error.to_string())?;
        let transport = match packet.transport {
            Transport::Tcp(from, to, usual) => Transport::Tcp(from, to, flags.map_or(usual, |flags| flags.0)),
            Transport::EchoRequest(_) if icmp == Some(Icmp::EchoReply) => {
                Transport::EchoReply(to.1.or(from.1).unwrap_or(1))
            }
            other => other,
        };
        Ok(Packet { transport, ..packet })
    }
}

impl Kind {
    fn number(self) -> Protocol {
        match self {
            Kind::Tcp => Protocol::TCP,
            Kind::Udp => Protocol::UDP,
            Kind::Icmp => Protocol::ICMP,
            Kind::Esp => Protocol::ESP,
            Kind::Gre => Protocol::GRE,
        }
    }

    /// Its name, as [`Kind::from_str`] takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Icmp => "icmp",
            Kind::Esp => "esp",
            Kind::Gre => "gre",
        }
    }
}

impl Icmp {
    /// Its name, as [`Icmp::from_str`] takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Icmp::EchoRequest => "echo-request",
            Icmp::EchoReply => "echo-reply",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let all = [Kind::Tcp, Kind::Udp, Kind::Icmp, Kind::Esp, Kind::Gre];
        let found = all.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("protocol: `{text}`; accepted: tcp, udp, icmp, esp, gre"))
    }
}

impl FromStr for Icmp {
    type Err = String;

    fn from_str(text: &str) -> Result<Icmp, String> {
        let found = [Icmp::EchoRequest, Icmp::EchoReply].into_iter().find(|icmp| icmp.name() == text);
        found.ok_or_else(|| format!("icmp: `{text}`; accepted: echo-request, echo-reply"))
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        };
        let wrong =
            || format!("`{text}`; accepted: an IPv4 address with a port, as 198.51.100.7:40000, or without");
        let address = address.parse().map_err(|_| wrong())?;
        let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
        Ok(Endpoint(address, port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(port) => write!(f, "{}:{port}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

const FLAGS: [(&str, TcpFlags); 6] = [
    ("syn", TcpFlags::SYN),
    ("ack", TcpFlags::ACK),
    ("fin", TcpFlags::FIN),
    ("rst", TcpFlags::RST),
    ("psh", TcpFlags::PSH),
    ("urg", TcpFlags::URG),
];

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> =
            FLAGS.iter().filter(|(_, flag)| self.0.contains(*flag)).map(|(name, _)| *name).collect();
        f.write_str(if set.is_empty() { "none".to_owned() } else { set.join(",") }.as_str())
    }
}

impl FromStr for Flags {
    type Err = String;

    fn from_str(text: &str) -> Result<Flags, String> {
        let flag = |name: &str| {
            let found = FLAGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, flag)| *flag).ok_or_else(|| {
                let known = FLAGS.map(|(name, _)| name).join(", ");
                format!("flags: `{name}`; accepted: {known}, joined by commas; or none")
            })
        };
        if text == "none" {
            return Ok(Flags(TcpFlags::NONE));
        }
        let all =
            text.split(',').map(flag).try_fold(TcpFlags::NONE, |all, flag| Ok::<_, String>(all | flag?))?;
        Ok(Flags(all))
    }
}
