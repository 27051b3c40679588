//! The computers around the router: one for the outside and one for each lan, with every address that a test names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;

use genkan_config::Loaded;
use genkan_config::expectations::{Endpoint, Expect, TestFile, port_of};
use genkan_config::facts::ABSENT;
use genkan_engine::PortId;
use genkan_lab::description::{Description, Node, Port};
use genkan_lab::{Lab, Namespace};
use ipnet::Ipv4Net;

use crate::output::Failure;
use crate::rule_tests::judge::others;
use crate::rule_tests::world::nth;

/// A lab for the tests of one file.
pub(super) struct Site {
    /// Keeps it standing.
    _lab: Lab,
    namespaces: BTreeMap<u8, Namespace>,
    addresses: BTreeMap<u8, BTreeSet<Ipv4Addr>>,
    /// Of each configuration, whether its devices are those of the first.
    fits: Vec<bool>,
    usable: bool,
}

/// Name of the computer at a port.
fn name(port: PortId) -> String {
    match port.lan_index() {
        Some(index) => format!("inside{index}"),
        None if port == PortId::WAN => "outside".to_owned(),
        None => "router".to_owned(),
    }
}

impl Site {
    /// Builds it.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(super) fn build(file: &TestFile) -> Result<Site, Failure> {
        let first = &file.configurations[0];
        let fits = file.configurations.iter().map(|other| devices(other) == devices(first)).collect();
        let addresses = addresses(file);
        let wan = first.plan.wan.address;
        // The outside has to have an address on the link, as the next hop of everything.
        let gateway = first.plan.wan.gateway.filter(|gateway| wan.contains(gateway));
        let mut description = Description::default();
        let mut router = Node::router("router");
        description.network("wan");
        router.ports.push(port(&first.config.wan.device, "wan", Vec::new()));
        let mut outside = Node::host("outside").gateway(&wan.addr().to_string());
        outside.ports.push(port("eth0", "wan", on_link(wan, gateway, &addresses, PortId::WAN)));
        let mut nodes = vec![outside];
        for (index, (lan, device)) in first.plan.lans.iter().zip(&first.config.lans).enumerate() {
            let network = format!("lan{index}");
            description.network(&network);
            router.ports.push(port(&device.device, &network, Vec::new()));
            let mut inside = Node::host(&name(PortId::lan(index))).gateway(&lan.address.addr().to_string());
            let spare = spare(lan.address);
            inside.ports.push(port(
                "eth0",
                &network,
                on_link(lan.address, spare, &addresses, PortId::lan(index)),
            ));
            nodes.push(inside);
        }
        description.node(router);
        nodes.into_iter().for_each(|node| {
            description.node(node);
        });
        let lab = Lab::up("test", &description)?;
        let mut namespaces = BTreeMap::new();
        let lans = (0..first.plan.lans.len()).map(PortId::lan);
        for port in [PortId::WAN, PortId::HOST].into_iter().chain(lans) {
            let namespace = lab.namespace(&name(port))?;
            if port != PortId::HOST {
                // Whoever asks by ARP does so with an address of the link.
                namespace.run(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_announce", "2"))?;
            }
            namespaces.insert(port.0, namespace);
        }
        Ok(Site { _lab: lab, namespaces, addresses, fits, usable: gateway.is_some() })
    }

    /// Where the machines at a port are.
    pub(super) fn namespace(&self, port: PortId) -> Option<&Namespace> {
        self.namespaces.get(&port.0)
    }

    /// The ports at which there are machines.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortId> {
        self.namespaces.keys().map(|port| PortId(*port)).filter(|port| *port != PortId::HOST)
    }

    /// Whether the machine at a port has this address.
    pub(super) fn is_at(&self, port: PortId, address: Ipv4Addr) -> bool {
        self.addresses.get(&port.0).is_some_and(|addresses| addresses.contains(&address))
    }

    /// Whether a router with this configuration can run here.
    pub(super) fn fits(&self, configuration: usize) -> bool {
        self.fits.get(configuration).copied().unwrap_or(false)
    }

    /// Whether the outside has an address on the link.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }
}

fn port(device: &str, network: &str, addresses: Vec<Ipv4Net>) -> Port {
    Port { device: device.to_owned(), network: network.to_owned(), addresses }
}

/// The devices and the prefixes on them.
fn devices(loaded: &Loaded) -> Vec<(&str, Ipv4Net)> {
    let lans = loaded.config.lans.iter().zip(&loaded.plan.lans);
    let lans = lans.map(|(device, lan)| (device.device.as_str(), lan.address));
    [(loaded.config.wan.device.as_str(), loaded.plan.wan.address)].into_iter().chain(lans).collect()
}

/// An address of the link that nobody needs: some machine has to be on it where only machines behind it are named.
fn spare(link: Ipv4Net) -> Option<Ipv4Addr> {
    link.hosts().rfind(|host| *host != link.addr())
}

/// Addresses with the prefix of the link where they are on it, else alone; one of the link comes first.
fn on_link(
    link: Ipv4Net,
    first: Option<Ipv4Addr>,
    addresses: &BTreeMap<u8, BTreeSet<Ipv4Addr>>,
    port: PortId,
) -> Vec<Ipv4Net> {
    let all = addresses.get(&port.0).into_iter().flatten().copied().filter(|address| Some(*address) != first);
    let with_prefix = |address: Ipv4Addr| {
        let prefix = if link.contains(&address) { link.prefix_len() } else { 32 };
        Ipv4Net::new(address, prefix).unwrap_or_default()
    };
    first.into_iter().chain(all).map(with_prefix).collect()
}

/// Every address that a test names, by the port behind which it is.
fn addresses(file: &TestFile) -> BTreeMap<u8, BTreeSet<Ipv4Addr>> {
    let mut found: BTreeMap<u8, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    let mut add = |port: PortId, address: Ipv4Addr| {
        found.entry(port.0).or_default().insert(address);
    };
    for loaded in &file.configurations {
        let plan = &loaded.plan;
        let forwards = plan.forwards.iter().map(|forward| forward.to);
        let hosts = plan.hosts.iter().map(|host| host.address);
        let routes = plan.routes.iter().map(|route| route.via);
        let all = forwards.chain(hosts).chain(routes).chain(plan.dmz);
        for address in all.filter(|address| *address != ABSENT) {
            add(port_of(loaded, address), address);
        }
        plan.wan.gateway.into_iter().for_each(|gateway| add(PortId::WAN, gateway));
    }
    for step in file.tests.iter().flat_map(|test| &test.steps) {
        let loaded = &file.configurations[step.configuration];
        let flow = &step.flow;
        for source in 0..step.sources {
            add(flow.port, nth(flow, source, 0).from.address);
        }
        let mut remote = |endpoint: Endpoint| {
            let port = port_of(loaded, endpoint.address);
            // What lies outside and is sent to from outside is to be routed to the router: nobody else has it.
            if port != flow.port {
                add(port, endpoint.address);
            }
        };
        remote(flow.to);
        match step.expect {
            Expect::Reaches(reached) => {
                if let Some(target) = reached.target {
                    add(port_of(loaded, target.address), target.address);
                }
            }
            Expect::Behaves { .. } => others(flow).into_iter().for_each(remote),
            _ => {}
        }
    }
    // The router's own are at nobody else.
    for loaded in &file.configurations {
        let lans = loaded.plan.lans.iter().map(|lan| lan.address.addr());
        for own in loaded.plan.wan.external_addresses().chain(lans) {
            found.values_mut().for_each(|addresses| {
                addresses.remove(&own);
            });
        }
    }
    found.remove(&PortId::HOST.0);
    found
}
