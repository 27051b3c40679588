//! First look at the captures: which MAC addresses were the router's, and which its neighbours'.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::Plan;
use genkan_engine::frame::PortId;
use genkan_engine::wire::ethernet::{self, EtherType, MacAddr};
use genkan_engine::wire::{arp, ipv4};

use super::neighbors::{Neighbors, made_up_mac, parse_arp};
use super::{Input, ReplayError};

/// An ARP packet that claims one of the router's addresses says more than any number of packets to somewhere.
const CLAIM: u64 = 1_000;

/// What is known about a port from the plan.
struct PortFacts {
    own: Vec<Ipv4Addr>,
    prefix: ipnet::Ipv4Net,
    gateway: Option<Ipv4Addr>,
}

/// Who is who.
pub(crate) struct Observed {
    ports: HashMap<PortId, PortFacts>,
    votes: HashMap<(PortId, MacAddr), u64>,
    neighbors: HashMap<(PortId, Ipv4Addr), MacAddr>,
}

impl Observed {
    pub(crate) fn new(plan: &Plan) -> Observed {
        let wan = PortFacts {
            own: plan.wan.external_addresses().collect(),
            prefix: plan.wan.address.trunc(),
            gateway: plan.wan.gateway,
        };
        let mut ports = HashMap::from([(PortId::WAN, wan)]);
        for (index, lan) in plan.lans.iter().enumerate() {
            let facts =
                PortFacts { own: vec![lan.address.addr()], prefix: lan.address.trunc(), gateway: None };
            ports.insert(PortId::lan(index), facts);
        }
        Observed { ports, votes: HashMap::new(), neighbors: HashMap::new() }
    }

    /// Looks through a file; returns the time of its earliest frame.
    pub(crate) fn read(&mut self, input: &Input) -> Result<Option<Duration>, ReplayError> {
        let wrong = |source| ReplayError::Read { path: input.path.clone(), source };
        let mut file = input.open()?;
        let mut first: Option<Duration> = None;
        while let Some(frame) = file.next_frame().map_err(wrong)? {
            first = Some(first.map_or(frame.timestamp, |first| first.min(frame.timestamp)));
            self.see(input.port, &frame.bytes);
        }
        Ok(first)
    }

    fn see(&mut self, port: PortId, frame: &[u8]) {
        let Some(facts) = self.ports.get(&port) else { return };
        let Ok(link) = ethernet::View::new_checked(frame) else { return };
        if let Some(arp) = parse_arp(frame) {
            if facts.own.contains(&arp.sender_ip) {
                *self.votes.entry((port, arp.sender_mac)).or_default() += CLAIM;
            } else if !arp.sender_ip.is_unspecified() {
                self.neighbors.insert((port, arp.sender_ip), arp.sender_mac);
            }
            if arp.operation == arp::Operation::Reply && facts.own.contains(&arp.target_ip) {
                *self.votes.entry((port, arp.target_mac)).or_default() += 1;
            }
            return;
        }
        if link.ethertype() != EtherType::IPV4 {
            return;
        }
        let Ok(packet) = ipv4::View::new_truncated(link.payload()) else { return };
        let (source, destination) = (packet.source(), packet.destination());
        let ours = |address| facts.own.contains(&address);
        let on_link = |address| facts.prefix.contains(&address);
        // To the router, or through it. On the wan, what leaves for the far side is addressed to the gateway instead.
        let through = port != PortId::WAN && !on_link(destination);
        if link.destination().is_unicast() && !ours(source) && (ours(destination) || through) {
            *self.votes.entry((port, link.destination())).or_default() += 1;
        }
        if ours(source) {
            *self.votes.entry((port, link.source())).or_default() += 1;
        } else if on_link(source) {
            self.neighbors.entry((port, source)).or_insert(link.source());
        } else if let Some(gateway) = facts.gateway {
            self.neighbors.entry((port, gateway)).or_insert(link.source());
        }
    }

    /// The router's MAC address at a port: the one with most evidence, else one made from its IP address.
    pub(crate) fn router_mac(&self, port: PortId) -> MacAddr {
        let of_port = self.votes.iter().filter(|((at, _), votes)| *at == port && **votes > 0);
        // The address itself decides a tie, so that two runs agree.
        let best = of_port.max_by_key(|((_, mac), votes)| (**votes, *mac));
        best.map_or_else(
            || {
                let own = self.ports.get(&port).and_then(|facts| facts.own.first());
                made_up_mac(own.copied().unwrap_or(Ipv4Addr::LOCALHOST))
            },
            |((_, mac), _)| *mac,
        )
    }

    /// Neighbours by port and address, the router itself left out.
    pub(crate) fn neighbors(&self) -> Neighbors {
        let router: HashMap<PortId, MacAddr> =
            self.ports.keys().map(|port| (*port, self.router_mac(*port))).collect();
        let foreign = |((port, _), mac): &(&(PortId, Ipv4Addr), &MacAddr)| router.get(port) != Some(*mac);
        Neighbors(self.neighbors.iter().filter(foreign).map(|(key, mac)| (*key, *mac)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{arp_frame, ipv4_frame, plan};
    use super::*;

    const ROUTER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    const GATEWAY: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 2]);
    const LAPTOP: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 3]);

    #[test]
    fn both_directions_on_the_wan_tell_who_is_who() {
        let mut observed = Observed::new(&plan());
        observed.see(PortId::WAN, &ipv4_frame(ROUTER, GATEWAY, "203.0.113.1", "198.51.100.7"));
        observed.see(PortId::WAN, &ipv4_frame(GATEWAY, ROUTER, "198.51.100.7", "203.0.113.1"));
        // Noise between others on the link.
        for _ in 0..10 {
            observed.see(PortId::WAN, &ipv4_frame(LAPTOP, GATEWAY, "203.0.113.77", "198.51.100.7"));
        }
        assert_eq!(observed.router_mac(PortId::WAN), ROUTER);
        let neighbors = observed.neighbors();
        assert_eq!(neighbors.0.get(&(PortId::WAN, Ipv4Addr::new(203, 0, 113, 2))), Some(&GATEWAY));
        assert_eq!(neighbors.0.get(&(PortId::WAN, Ipv4Addr::new(203, 0, 113, 77))), Some(&LAPTOP));
    }

    #[test]
    fn a_lan_shows_the_router_by_what_goes_through_it() {
        let mut observed = Observed::new(&plan());
        observed.see(PortId::lan(0), &ipv4_frame(LAPTOP, ROUTER, "192.168.0.20", "198.51.100.7"));
        assert_eq!(observed.router_mac(PortId::lan(0)), ROUTER);
        let laptop = (PortId::lan(0), Ipv4Addr::new(192, 168, 0, 20));
        assert_eq!(observed.neighbors().0.get(&laptop), Some(&LAPTOP));
    }

    #[test]
    fn a_claim_by_arp_outweighs_packets() {
        let mut observed = Observed::new(&plan());
        for _ in 0..100 {
            observed.see(PortId::lan(0), &ipv4_frame(LAPTOP, GATEWAY, "192.168.0.20", "198.51.100.7"));
        }
        observed.see(PortId::lan(0), &arp_frame(ROUTER, "192.168.0.1", LAPTOP, "192.168.0.20"));
        assert_eq!(observed.router_mac(PortId::lan(0)), ROUTER);
    }

    #[test]
    fn without_evidence_the_address_gives_the_mac() {
        let observed = Observed::new(&plan());
        assert_eq!(observed.router_mac(PortId::WAN), MacAddr([2, 0, 203, 0, 113, 1]));
    }
}
