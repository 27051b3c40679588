//! Read-only views of the tables, for listings.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::frame::PortId;
use crate::time::Timestamp;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::Protocol;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its protocol.
    pub protocol: Protocol,
    /// Inside endpoint; ports are ICMP identifiers on the requester's side and 0 on the other, 0 for protocols without
    /// ports.
    pub internal: SocketAddrV4,
    /// External endpoint; equals `internal` where there is no NAT.
    pub external: SocketAddrV4,
    /// The far endpoint.
    pub remote: SocketAddrV4,
    /// `outbound`, `forward`, `inbound`, `dmz`, `one-to-one` or `routed`.
    pub origin: &'static str,
    /// The remote endpoint sent the first packet.
    pub is_inbound: bool,
    /// The forward that admitted it.
    pub forward: Option<String>,
    /// The TCP state's name, `answered` or `unanswered`.
    pub state: &'static str,
    /// Idle time left.
    pub expires_in: Duration,
}

/// What lets a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What opened its session, as [`SessionView::origin`].
    pub origin: &'static str,
    /// The forward that admitted it.
    pub forward: Option<&'a str>,
    /// It goes against the direction in which the session was opened.
    pub is_answer: bool,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// Its protocol.
    pub protocol: Protocol,
    /// Inside endpoint.
    pub internal: SocketAddrV4,
    /// External endpoint.
    pub external: SocketAddrV4,
    /// `dynamic` or `forward`.
    pub kind: &'static str,
    /// Sessions that use it.
    pub sessions: u32,
}

/// One entry of the ARP cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Where.
    pub port: PortId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// `incomplete`, `reachable`, `stale`, `probing` or `failed`.
    pub state: &'static str,
    /// When it last said its MAC address by ARP; means nothing without one.
    pub heard: Timestamp,
}

/// What has passed through a forward since the router started, or the forward was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardView {
    /// Its name.
    pub name: String,
    /// Sessions that it has admitted and that live; those that both sides have closed do not.
    pub sessions: u32,
    /// Sessions that it has admitted, and connections that were opened anew on one.
    pub hits: u64,
    /// Packets from sources that neither it, the first of its port, nor any other open one of that port admits.
    pub refused: u64,
    /// Packets that were to open a session when it had as many as it may have.
    pub limited: u64,
    /// Packets that were to open a session when their source had opened as many lately as it may.
    pub braked: u64,
    /// Packets towards its target.
    pub packets_in: u64,
    /// Their octets from the IP header on.
    pub octets_in: u64,
    /// Packets from its target, answers of its sessions.
    pub packets_out: u64,
    /// Their octets from the IP header on.
    pub octets_out: u64,
    /// How long ago the first hit was.
    pub first_hit: Option<Duration>,
    /// How long ago the last hit was.
    pub last_hit: Option<Duration>,
    /// Where the last hit came from.
    pub last_source: Option<Ipv4Addr>,
    /// Who was refused last.
    pub last_refused: Option<Ipv4Addr>,
    /// Who came too fast last.
    pub last_braked: Option<Ipv4Addr>,
    /// Who came most often: source, hits, and how many of these may be others'.
    pub top_sources: Vec<(Ipv4Addr, u32, u32)>,
}

/// An internal host that has sessions or mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Its address.
    pub address: Ipv4Addr,
    /// The external address that its mappings share.
    pub external: Ipv4Addr,
    /// Its sessions.
    pub sessions: u32,
    /// Dynamic external ports that it holds, of all protocols.
    pub external_ports: u32,
    /// Octets per second that came for it by the wan lately, Ethernet headers included: an estimate.
    pub octets_per_second_in: u64,
    /// Octets per second that it sent by the wan.
    pub octets_per_second_out: u64,
}
