//! What happened that a person may want to know. Rate-limited where a wire could cause it.

use std::net::Ipv4Addr;

use crate::frame::PortId;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::Protocol;

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another machine uses one of our addresses.
    AddressConflict {
        /// Where it was seen.
        port: PortId,
        /// The address.
        address: Ipv4Addr,
        /// Who claims it.
        mac: MacAddr,
    },
    /// A neighbour's MAC address changed.
    NeighborMoved {
        /// Where.
        port: PortId,
        /// Whose.
        address: Ipv4Addr,
        /// Before.
        old: MacAddr,
        /// Now.
        new: MacAddr,
    },
    /// A neighbour does not answer ARP.
    NeighborUnreachable {
        /// Where.
        port: PortId,
        /// Who.
        address: Ipv4Addr,
    },
    /// No external port was left for an inside host.
    PortsExhausted {
        /// Which external address.
        external: Ipv4Addr,
        /// Which protocol.
        protocol: Protocol,
    },
    /// The table of sessions is full of live ones.
    SessionTableFull,
    /// An inside host has reached its limit of sessions.
    HostLimit {
        /// Who.
        host: Ipv4Addr,
    },
    /// A forward with `log = true` took a new session.
    ForwardHit {
        /// The forward's name.
        forward: String,
        /// Where from.
        source: Ipv4Addr,
        /// Its source port.
        source_port: u16,
    },
    /// A forward's schedule opened it.
    ForwardOpened {
        /// The forward's name.
        forward: String,
    },
    /// A forward's schedule closed it, with its sessions.
    ForwardClosed {
        /// The forward's name.
        forward: String,
    },
    /// A forward reached its `expires`.
    ForwardExpired {
        /// The forward's name.
        forward: String,
    },
}
