//! Simulated machines on the links: they own an address, answer ARP and, when asked to, pings, and keep
//! what arrives.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Offload, PortId, Timestamp};

use super::craft::echo_reply;
use super::packet::{Packet, Payload};

/// A handle to a machine of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// The router port on whose side it is.
    pub port: PortId,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Host {
    /// An endpoint of this machine.
    pub const fn at(self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
    }
}

/// The MAC address of the machine with this address: 02:00 and the four octets.
pub fn mac_of(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([0x02, 0x00, a, b, c, d])
}

/// The router's MAC address at a port.
pub const fn router_mac(port: PortId) -> MacAddr {
    MacAddr([0x02, 0xff, 0, 0, 0, port.0])
}

/// A packet as it reached a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// Decoded.
    pub packet: Packet,
    /// What was left for a device to finish.
    pub offload: Offload,
}

/// The machine behind a [`Host`].
#[derive(Debug)]
pub(super) struct Machine {
    /// Its MAC address on the link, or that of the router that it is behind.
    pub(super) link_mac: MacAddr,
    /// Answers ARP for its address.
    pub(super) answers_arp: bool,
    /// Answers echo requests.
    pub(super) echoes: bool,
    /// What has arrived and was not looked at.
    pub(super) inbox: VecDeque<Received>,
}

impl Machine {
    /// One behind another router (`remote`) does not own `link_mac`, so it does not answer ARP.
    pub(super) fn new(link_mac: MacAddr, remote: bool) -> Machine {
        Machine { link_mac, answers_arp: !remote, echoes: false, inbox: VecDeque::new() }
    }

    /// Keeps what arrived; the answer, if this machine gives one by itself.
    pub(super) fn take(&mut self, received: Received) -> Option<Packet> {
        let packet = &received.packet;
        if self.echoes && packet.icmp_kind() == Some((8, 0)) {
            let Payload::Icmp { rest, data, .. } = &packet.payload else { return None };
            let reply = echo_reply(packet.destination, packet.source, packet.identifier());
            return Some(reply.rest(*rest).data(data));
        }
        self.inbox.push_back(received);
        None
    }
}
