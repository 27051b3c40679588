//! Next hops, and which addresses are whose.
//!
//! The table is made from a plan and never changes; a new plan makes a new one. Longest prefix first: the router's
//! own addresses, `[[route]]`, lan and wan prefixes, the routes of the wan, the default route by the gateway.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use crate::frame::PortId;
use crate::plan::Plan;

/// Where a packet leaves and whose MAC address it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The port.
    pub port: PortId,
    /// The address to resolve on its link: the destination itself, or the router that leads there.
    pub next_hop: Ipv4Addr,
}

/// Which of the router's own addresses this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Its address on the lan of this index in [`Plan::lans`].
    Lan(usize),
    /// One of its external addresses.
    External,
}

/// What is behind a prefix.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// Neighbors on the link of this port.
    Link(PortId),
    /// A router.
    Via(NextHop),
    /// The router itself, where it can be reached by frames at all.
    Local(Option<PortId>),
}

/// So many prefixes are searched one by one in fewer steps than the trie takes.
const FEW: usize = 16;

/// Routes and own addresses of a plan.
#[derive(Clone, Debug)]
pub struct RouteTable {
    trie: PrefixMap<Ipv4Net, Target>,
    /// What is in the trie, longest prefixes first; none when there are more than [`FEW`].
    few: Vec<(Prefix, Target)>,
    lans: Vec<Prefix>,
    /// The router's own addresses, in order.
    own: Vec<(u32, Local)>,
    /// Network and broadcast addresses of our links, in order.
    broadcasts: Vec<u32>,
}

/// A prefix as bare numbers: what is asked for every packet.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    network: u32,
    mask: u32,
    /// /31 (RFC 3021) and /32 have neither network nor broadcast address.
    has_broadcast: bool,
}

impl Prefix {
    fn new(network: Ipv4Net) -> Prefix {
        Prefix {
            network: network.network().to_bits(),
            mask: network.netmask().to_bits(),
            has_broadcast: network.prefix_len() < 31,
        }
    }

    fn contains(&self, address: u32) -> bool {
        address & self.mask == self.network
    }

    /// Within the prefix, and neither its network nor its broadcast address.
    fn holds_host(&self, address: u32) -> bool {
        let host = address & !self.mask;
        self.contains(address) && (!self.has_broadcast || host != 0 && host != !self.mask)
    }
}

/// Whether a network is part of a lan or of a `[[route]]`.
fn is_inside(plan: &Plan, network: Ipv4Net) -> bool {
    let lans = plan.lans.iter().map(|lan| lan.address.trunc());
    lans.chain(plan.routes.iter().map(|route| route.to)).any(|inside| inside.contains(&network))
}

impl RouteTable {
    /// The routes of `plan`. A `[[route]]` whose next hop is on no lan is left out (the config crate refuses it).
    pub fn from_plan(plan: &Plan) -> RouteTable {
        let mut trie = PrefixMap::new();
        if let Some(next_hop) = plan.wan.gateway {
            trie.insert(Ipv4Net::default(), Target::Via(NextHop { port: PortId::WAN, next_hop }));
        }
        // Before what is inside, which wins over a route to the very same network.
        for route in plan.wan.routes.iter().filter(|route| !is_inside(plan, route.to)) {
            let hop = |next_hop| Target::Via(NextHop { port: PortId::WAN, next_hop });
            trie.insert(route.to.trunc(), route.via.map_or(Target::Link(PortId::WAN), hop));
        }
        for route in &plan.routes {
            if let Some(index) = plan.lans.iter().position(|lan| lan.address.contains(&route.via)) {
                let hop = NextHop { port: PortId::lan(index), next_hop: route.via };
                trie.insert(route.to.trunc(), Target::Via(hop));
            }
        }
        // After the routes: a link's own prefix wins over a route to the very same one.
        if !plan.wan.address.addr().is_unspecified() {
            trie.insert(plan.wan.address.trunc(), Target::Link(PortId::WAN));
        }
        for (index, lan) in plan.lans.iter().enumerate() {
            trie.insert(lan.address.trunc(), Target::Link(PortId::lan(index)));
        }
        let externals = plan.wan.external_addresses().map(|address| (address.to_bits(), Local::External));
        let lans = plan.lans.iter().enumerate();
        let lans = lans.map(|(index, lan)| (lan.address.addr().to_bits(), Local::Lan(index)));
        let mut own: Vec<(u32, Local)> = externals.chain(lans).collect();
        own.sort_by_key(|&(address, _)| address);
        own.dedup_by_key(|&mut (address, _)| address);
        for &(address, local) in &own {
            let port = (plan.host_port && local != Local::External).then_some(PortId::HOST);
            trie.insert(Ipv4Net::from(Ipv4Addr::from_bits(address)), Target::Local(port));
        }

        let links = plan.lans.iter().map(|lan| lan.address).chain([plan.wan.address]);
        let mut broadcasts: Vec<u32> = links
            .filter(|prefix| prefix.prefix_len() < 31)
            .flat_map(|prefix| [prefix.network().to_bits(), prefix.broadcast().to_bits()])
            .chain([u32::MAX])
            .collect();
        broadcasts.sort_unstable();
        let lans = plan.lans.iter().map(|lan| Prefix::new(lan.address)).collect();
        let mut few: Vec<(Ipv4Net, Target)> = trie.iter().map(|(prefix, target)| (prefix, *target)).collect();
        few.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        if few.len() > FEW {
            few.clear();
        }
        let few = few.into_iter().map(|(prefix, target)| (Prefix::new(prefix), target)).collect();
        RouteTable { trie, few, lans, own, broadcasts }
    }

    /// Where a packet to `destination` leaves. The router's own lan addresses lead to [`PortId::HOST`] when the
    /// box is reachable; its other own addresses lead nowhere. Broadcast addresses are not told apart.
    pub fn lookup(&self, destination: Ipv4Addr) -> Option<NextHop> {
        match self.longest_match(destination)? {
            Target::Link(port) | Target::Local(Some(port)) => Some(NextHop { port, next_hop: destination }),
            Target::Via(hop) => Some(hop),
            Target::Local(None) => None,
        }
    }

    #[inline]
    fn longest_match(&self, address: Ipv4Addr) -> Option<Target> {
        if self.few.is_empty() {
            return self.trie.get_lpm(&Ipv4Net::from(address)).map(|(_, target)| *target);
        }
        let found = self.few.iter().find(|(prefix, _)| prefix.contains(address.to_bits()));
        found.map(|(_, target)| *target)
    }

    /// Whether `source` may be the source of a packet from inside that arrived on `port`: on a lan the hosts of its
    /// prefix, and what is behind a `[[route]]` of it (where routes nest, the most specific one counts); from
    /// the box itself its lan addresses. Never on the wan. Does not tell the router's own address on the lan
    /// apart: see [`RouteTable::local`].
    #[inline]
    pub fn is_internal_source(&self, port: PortId, source: Ipv4Addr) -> bool {
        if let Some(lan) = port.lan_index() {
            let Some(prefix) = self.lans.get(lan) else { return false };
            if prefix.contains(source.to_bits()) {
                return prefix.holds_host(source.to_bits());
            }
            matches!(self.longest_match(source), Some(Target::Via(hop)) if hop.port == port)
        } else {
            port == PortId::HOST && matches!(self.local(source), Some(Local::Lan(_)))
        }
    }

    /// Whether `address` is in any lan's prefix.
    #[inline]
    pub fn is_lan_address(&self, address: Ipv4Addr) -> bool {
        self.lans.iter().any(|lan| lan.contains(address.to_bits()))
    }

    /// Which of the router's own addresses this is, if it is one.
    #[inline]
    pub fn local(&self, address: Ipv4Addr) -> Option<Local> {
        let found = self.own.binary_search_by_key(&address.to_bits(), |&(own, _)| own).ok()?;
        Some(self.own[found].1)
    }

    /// Whether `address` is 255.255.255.255, or the network or directed broadcast address of the wan's or a lan's
    /// prefix (RFC 1812 §5.3.5); /31 and /32 have none.
    #[inline]
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.broadcasts.binary_search(&address.to_bits()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Lan, Nat, Route, Timeouts, Wan, WanRoute};

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    fn lan(address: &str) -> Lan {
        Lan { name: String::new(), address: net(address), mtu: 1500, reaches: Vec::new() }
    }

    fn plan() -> Plan {
        Plan {
            wan: Wan {
                address: net("203.0.113.1/24"),
                gateway: Some(ip("203.0.113.2")),
                routes: Vec::new(),
                addresses: vec![ip("198.51.100.1")],
                mtu: 1500,
                ping: true,
            },
            lans: vec![lan("192.168.0.1/24"), lan("192.168.1.0/31"), lan("10.0.0.1/8")],
            routes: vec![
                Route { to: net("172.16.0.0/12"), via: ip("192.168.0.254") },
                Route { to: net("172.16.5.0/24"), via: ip("10.0.0.254") },
                Route { to: net("172.17.0.0/16"), via: ip("192.0.2.1") },
            ],
            host_port: true,
            nat: Nat {
                mapping: Default::default(),
                filtering: Default::default(),
                hairpin: true,
                port_parity: false,
                inbound_refresh: false,
                ports: 1024..=65535,
                max_sessions: 1,
                max_sessions_per_host: 1,
                max_ports_per_host: 1,
                timeouts: Timeouts::default(),
            },
            hosts: Vec::new(),
            forwards: Vec::new(),
            dmz: None,
            services: Vec::new(),
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let table = RouteTable::from_plan(&plan());
        let cases = [
            ("192.0.2.9", PortId::WAN, "203.0.113.2"),
            ("203.0.113.9", PortId::WAN, "203.0.113.9"),
            ("192.168.0.10", PortId::lan(0), "192.168.0.10"),
            ("192.168.1.1", PortId::lan(1), "192.168.1.1"),
            ("10.9.9.9", PortId::lan(2), "10.9.9.9"),
            ("172.16.4.1", PortId::lan(0), "192.168.0.254"),
            ("172.16.5.1", PortId::lan(2), "10.0.0.254"),
            ("172.17.0.1", PortId::lan(0), "192.168.0.254"), // its own route has no next hop on a lan
            ("192.168.0.1", PortId::HOST, "192.168.0.1"),
            ("192.168.1.0", PortId::HOST, "192.168.1.0"),
        ];
        for (destination, port, next_hop) in cases {
            let expected = Some(NextHop { port, next_hop: ip(next_hop) });
            assert_eq!(table.lookup(ip(destination)), expected, "{destination}");
        }
        assert_eq!(table.lookup(ip("203.0.113.1")), None);
        assert_eq!(table.lookup(ip("198.51.100.1")), None);
    }

    #[test]
    fn without_gateway_and_host_there_is_no_way() {
        let mut plan = plan();
        plan.wan.gateway = None;
        plan.host_port = false;
        let table = RouteTable::from_plan(&plan);
        assert_eq!(table.lookup(ip("192.0.2.9")), None);
        assert_eq!(table.lookup(ip("192.168.0.1")), None);
        assert_eq!(table.lookup(ip("192.168.0.2")).map(|hop| hop.port), Some(PortId::lan(0)));
    }

    #[test]
    fn the_gateway_may_lie_outside_of_the_prefix() {
        let mut plan = plan();
        plan.wan.address = net("203.0.113.1/32");
        plan.wan.gateway = Some(ip("198.51.100.254"));
        let table = RouteTable::from_plan(&plan);
        let hop = NextHop { port: PortId::WAN, next_hop: ip("198.51.100.254") };
        assert_eq!(table.lookup(ip("192.0.2.9")), Some(hop));
        assert_eq!(table.lookup(ip("203.0.113.9")), Some(hop));
    }

    #[test]
    fn routes_of_the_wan_lead_elsewhere_outside_and_never_inside() {
        let mut plan = plan();
        let route = |to: &str, via: Option<&str>| WanRoute { to: net(to), via: via.map(ip) };
        plan.wan.routes = vec![
            route("198.18.0.0/15", Some("203.0.113.7")),
            route("198.18.5.0/24", None),
            route("100.64.0.0/10", Some("192.0.2.77")),
            // Around a lan, the lan itself, a part of it; the same with a `[[route]]`.
            route("192.168.0.0/16", Some("203.0.113.7")),
            route("192.168.0.0/24", Some("203.0.113.7")),
            route("192.168.0.128/25", Some("203.0.113.7")),
            route("172.16.0.0/12", Some("203.0.113.7")),
            route("172.16.7.0/24", Some("203.0.113.7")),
            route("203.0.113.128/25", Some("203.0.113.7")),
        ];
        let table = RouteTable::from_plan(&plan);
        let cases = [
            ("198.18.0.1", PortId::WAN, "203.0.113.7"),
            ("198.18.5.1", PortId::WAN, "198.18.5.1"),
            ("100.64.1.1", PortId::WAN, "192.0.2.77"),
            ("192.168.7.1", PortId::WAN, "203.0.113.7"),
            ("192.168.0.200", PortId::lan(0), "192.168.0.200"),
            ("172.16.7.1", PortId::lan(0), "192.168.0.254"),
            ("203.0.113.129", PortId::WAN, "203.0.113.7"),
            ("192.0.2.9", PortId::WAN, "203.0.113.2"),
        ];
        for (destination, port, next_hop) in cases {
            let expected = Some(NextHop { port, next_hop: ip(next_hop) });
            assert_eq!(table.lookup(ip(destination)), expected, "{destination}");
        }
        assert!(!table.is_internal_source(PortId::lan(0), ip("192.168.7.1")));
        // RFC 3442: the default route itself may be on link.
        plan.wan.gateway = None;
        plan.wan.routes = vec![route("0.0.0.0/0", None)];
        let hop = NextHop { port: PortId::WAN, next_hop: ip("192.0.2.9") };
        assert_eq!(RouteTable::from_plan(&plan).lookup(ip("192.0.2.9")), Some(hop));
    }

    #[test]
    fn sources_belong_to_the_lan_that_leads_to_them() {
        let table = RouteTable::from_plan(&plan());
        let cases = [
            (PortId::lan(0), "192.168.0.10", true),
            (PortId::lan(0), "192.168.0.0", false),
            (PortId::lan(0), "192.168.0.255", false),
            (PortId::lan(0), "192.168.1.1", false),
            (PortId::lan(1), "192.168.1.0", true),
            (PortId::lan(1), "192.168.1.1", true),
            (PortId::lan(2), "10.255.255.255", false),
            (PortId::lan(2), "10.0.0.255", true),
            (PortId::lan(0), "172.16.4.1", true),
            (PortId::lan(2), "172.16.4.1", false),
            (PortId::lan(0), "172.16.5.1", false),
            (PortId::lan(2), "172.16.5.1", true),
            (PortId::lan(0), "192.0.2.9", false),
            (PortId::lan(3), "192.168.0.10", false),
            (PortId::HOST, "192.168.0.1", true),
            (PortId::HOST, "203.0.113.1", false),
            (PortId::HOST, "192.168.0.10", false),
            (PortId::WAN, "192.0.2.9", false),
        ];
        for (port, source, expected) in cases {
            assert_eq!(table.is_internal_source(port, ip(source)), expected, "{source} on {port:?}");
        }
    }

    #[test]
    fn own_lan_and_broadcast_addresses() {
        let table = RouteTable::from_plan(&plan());
        assert_eq!(table.local(ip("203.0.113.1")), Some(Local::External));
        assert_eq!(table.local(ip("198.51.100.1")), Some(Local::External));
        assert_eq!(table.local(ip("10.0.0.1")), Some(Local::Lan(2)));
        assert_eq!(table.local(ip("10.0.0.2")), None);
        assert!(table.is_lan_address(ip("10.255.255.255")));
        assert!(table.is_lan_address(ip("192.168.1.1")));
        assert!(!table.is_lan_address(ip("192.168.2.1")));
        assert!(!table.is_lan_address(ip("172.16.5.1")));
        for address in ["255.255.255.255", "203.0.113.0", "203.0.113.255", "10.0.0.0", "192.168.0.255"] {
            assert!(table.is_broadcast(ip(address)), "{address}");
        }
        for address in ["192.168.1.0", "192.168.1.1", "10.0.0.255", "198.51.100.255"] {
            assert!(!table.is_broadcast(ip(address)), "{address}");
        }
    }

    proptest! {
        /// Against a scan over all prefixes for the longest that matches.
        #[test]
        fn agrees_with_a_linear_scan(
            routes in prop::collection::vec((0u32..1 << 16, 8u8..=32), 0..30),
            destinations in prop::collection::vec(0u32..1 << 16, 50),
        ) {
            let mut plan = plan();
            let base = ip("172.16.0.0").to_bits();
            let routes = routes.into_iter().zip(2..).map(|((low, length), host)| Route {
                to: Ipv4Net::new(Ipv4Addr::from_bits(base | low), length).expect("length to 32").trunc(),
                via: Ipv4Addr::new(192, 168, 0, host),
            });
            plan.routes = routes.collect();
            let table = RouteTable::from_plan(&plan);
            for low in destinations {
                let destination = Ipv4Addr::from_bits(base | low);
                // The last of equals wins, as insertion into the trie has it.
                let best = plan.routes.iter().filter(|route| route.to.contains(&destination))
                    .max_by_key(|route| route.to.prefix_len());
                let expected = match best {
                    Some(route) => NextHop { port: PortId::lan(0), next_hop: route.via },
                    None => NextHop { port: PortId::WAN, next_hop: ip("203.0.113.2") },
                };
                prop_assert_eq!(table.lookup(destination), Some(expected));
                prop_assert_eq!(table.is_internal_source(PortId::lan(0), destination), best.is_some());
            }
        }
    }
}
