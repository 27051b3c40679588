//! What the engine tells, in words.

use std::fmt;

use genkan_engine::Event;
use genkan_engine::frame::PortId;
use genkan_engine::wire::ethernet::MacAddr;

/// An event as a sentence; `ports` names the ports.
pub(crate) struct Describe<'a> {
    /// What happened.
    pub(crate) event: &'a Event,
    /// Names of the ports.
    pub(crate) ports: &'a [(PortId, String)],
}

impl Describe<'_> {
    fn port(&self, port: PortId) -> &str {
        self.ports.iter().find(|(id, _)| *id == port).map_or("?", |(_, name)| name)
    }
}

impl fmt::Display for Describe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Event::AddressConflict { port, address, mac } => {
                let port = self.port(*port);
                write!(f, "{port}: {mac} uses {address}, which is this router's")
            }
            Event::NeighborMoved { port, address, old, new } => {
                write!(f, "{}: {address} moved from {old} to {new}", self.port(*port))
            }
            Event::NeighborUnreachable { port, address } => {
                write!(f, "{}: {address} does not answer ARP", self.port(*port))
            }
            Event::PortsExhausted { external, protocol } => {
                write!(f, "no {protocol} port of {external} is left")
            }
            Event::SessionTableFull => f.write_str("the session table is full of live sessions"),
            Event::HostLimit { host } => write!(f, "{host} has reached its limit of sessions"),
            Event::ForwardHit { forward, source, source_port } => {
                write!(f, "forward {forward}: new session from {source}:{source_port}")
            }
            Event::ForwardOpened { forward } => write!(f, "forward {forward} is open: its hours have begun"),
            Event::ForwardClosed { forward } => write!(f, "forward {forward} is closed: its hours are over"),
            Event::ForwardExpired { forward } => write!(f, "forward {forward} has expired and is closed"),
            // Later kinds, until they have words of their own here.
            other => write!(f, "{other:?}"),
        }
    }
}

/// The MAC address that a neighbour had before, of the words for [`Event::NeighborMoved`].
pub(crate) fn moved_from(message: &str) -> Option<MacAddr> {
    let (_, macs) = message.split_once(" moved from ")?;
    macs.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn where_a_neighbour_moved_from_can_be_read() {
        let [old, new] = [[2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 10]].map(MacAddr);
        let event =
            Event::NeighborMoved { port: PortId::WAN, address: Ipv4Addr::new(203, 0, 113, 2), old, new };
        let text = Describe { event: &event, ports: &[] }.to_string();
        assert_eq!(moved_from(&text), Some(old), "{text}");
        assert_eq!(moved_from("home: 192.168.0.10 does not answer ARP"), None);
    }

    #[test]
    fn events_name_their_port() {
        let ports = [(PortId::WAN, "wan".to_owned())];
        let event = Event::AddressConflict {
            port: PortId::WAN,
            address: Ipv4Addr::new(203, 0, 113, 1),
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
        };
        let text = Describe { event: &event, ports: &ports }.to_string();
        assert_eq!(text, "wan: 02:00:00:00:00:09 uses 203.0.113.1, which is this router's");
    }
}
