//! Questions to machines on the router's links: `POST /v1/probes`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/probes`: ask a machine behind a lan, with one or two packets. The gateway can be asked by `arp`, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProbe {
    /// The machine.
    #[schema(value_type = String, format = Ipv4, example = "192.168.0.10")]
    pub target: Ipv4Addr,
    /// What is asked. ARP goes before everything else.
    pub kind: ProbeKind,
    /// The port of `tcp` and `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65_535)]
    pub port: Option<u16>,
    /// Who seems to ask.
    #[serde(default)]
    pub from: ProbeSource,
}

/// What a machine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Who has this address?
    Arp,
    /// A SYN; if a SYN-ACK comes, a reset follows.
    Tcp,
    /// A datagram.
    Udp,
    /// An echo request.
    Echo,
}

/// Who seems to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeSource {
    /// The router, by its address on that lan.
    #[default]
    Router,
    /// An address outside that is nobody's (RFC 5737): the answer has to come by the machine's default gateway.
    Outside,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeReport {
    /// Whom ARP asked for: the target, or the router that leads there.
    #[schema(value_type = String, format = Ipv4)]
    pub next_hop: Ipv4Addr,
    /// On which port: a lan's name, or `wan`.
    pub port: String,
    /// MAC addresses that answered, in order; with `arp` all within a moment, else one.
    pub macs: Vec<String>,
    /// What came back, other than by ARP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ProbeAnswer>,
    /// Type and code of an ICMP error (RFC 792).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<[u8; 2]>,
    /// Addresses, none of them the router's, that the target asked for by ARP meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub asked_for: Vec<Ipv4Addr>,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeAnswer {
    /// Somebody listens.
    SynAck,
    /// Nobody does.
    Reset,
    /// A datagram.
    Datagram,
    /// An echo reply.
    EchoReply,
    /// An ICMP error.
    IcmpError,
    /// Nothing, to two questions.
    Silence,
}
