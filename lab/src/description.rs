//! What a lab is made of, as data: computers and routers, the networks between them, and who is on which.
//!
//! ```
//! use genkan_lab::description::{Description, Node};
//!
//! let mut lab = Description::default();
//! lab.network("internet").network("home");
//! lab.node(Node::router("router").port("wan0", "internet", &[]).port("lan0", "home", &[]));
//! // One computer may stand for many on its side: it answers for every address that it has.
//! lab.node(Node::host("outside").port("eth0", "internet", &["203.0.113.2/24", "198.51.100.7/32"]));
//! lab.node(Node::host("nas").port("eth0", "home", &["192.168.0.10/24"]).gateway("192.168.0.1"));
//! lab.check().expect("every name is used as it is meant");
//! ```
//!
//! [`crate::lab::Lab::up`] builds it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Name of the namespace that holds the bridges, and with [`Description::adjustable`] one end of every cable.
pub const WIRES: &str = "wires";

/// Longest name of a device, octets (IFNAMSIZ, less the zero at its end).
const DEVICE_LENGTH: usize = 15;

/// A whole lab.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Hosts and routers.
    pub nodes: Vec<Node>,
    /// What they are joined by.
    pub networks: Vec<Network>,
    /// Every cable leads through the namespace [`WIRES`], where an emulator may be put into it while the lab runs.
    /// Without it, a network of two is one cable from device to device, which is the fastest.
    pub adjustable: bool,
}

/// A computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// 1 to 15 letters, digits and underscores; the namespace is called `PREFIX-NAME`.
    pub name: String,
    /// What it does with packets for others.
    pub kind: Kind,
    /// Its devices.
    pub ports: Vec<Port>,
    /// Its routes beyond the networks that it is on.
    pub routes: Vec<Route>,
}

/// What a computer does with packets for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing.
    Host,
    /// Whatever a router in userspace does. The kernel gets no addresses; those of its ports are ignored.
    Genkan,
    /// The kernel forwards them as they are.
    Forwarding,
    /// The kernel forwards them, with source NAT at one device (wants the program `nft`).
    KernelNat {
        /// The device towards outside; its first address is what everybody else leaves from.
        external: String,
        /// What comes in from there all the same.
        forwards: Vec<KernelForward>,
    },
}

/// A port forward of the kernel's NAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelForward {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// External port.
    pub port: u16,
    /// Inside host.
    pub to: Ipv4Addr,
    /// Its port.
    pub to_port: u16,
}

/// A device of a computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, 1 to 15 octets.
    pub device: String,
    /// The network that it is plugged into.
    pub network: String,
    /// Its addresses, each with the length of the network's prefix.
    pub addresses: Vec<Ipv4Net>,
}

/// A route of a computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub to: Ipv4Net,
    /// The next router, on a network of this computer.
    pub via: Ipv4Addr,
}

/// A cable where two are joined, a switch where it is any other number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 1 to 15 letters, digits and underscores.
    pub name: String,
    /// IP MTU in octets.
    pub mtu: u16,
}

/// The way from one port of a computer into its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// `NETWORK.NODE`.
    pub name: String,
    /// The computer.
    pub node: String,
    /// Its device.
    pub device: String,
    /// The network.
    pub network: String,
    /// The other end, in [`WIRES`].
    pub wire: String,
    /// The bridge there.
    pub bridge: String,
}

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// A name that no namespace or device can have.
    #[error("'{0}' is no name: 1 to 15 letters, digits and underscores are")]
    Name(String),
    /// Two of a kind share a name.
    #[error("there are two called '{0}'")]
    Twice(String),
    /// A port is plugged into a network that there is not.
    #[error("'{node}' is on the network '{network}', which there is not")]
    NoNetwork {
        /// The computer.
        node: String,
        /// The missing network.
        network: String,
    },
}

impl Description {
    /// Adds a network with an MTU of 1500.
    pub fn network(&mut self, name: &str) -> &mut Description {
        self.networks.push(Network { name: name.to_owned(), mtu: 1500 });
        self
    }

    /// Adds a computer.
    pub fn node(&mut self, node: Node) -> &mut Description {
        self.nodes.push(node);
        self
    }

    /// The computer of this name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Names of the namespaces, without the prefix.
    pub fn namespaces(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        if self.networks.iter().any(|network| self.has_bridge(&network.name)) {
            names.push(WIRES);
        }
        names
    }

    /// Whether a network is a bridge rather than a cable.
    pub fn has_bridge(&self, network: &str) -> bool {
        self.adjustable || self.on(network).count() != 2
    }

    /// Who is on a network, in the order of the nodes.
    pub fn on<'a>(&'a self, network: &'a str) -> impl Iterator<Item = (&'a Node, &'a Port)> {
        let ports = self.nodes.iter().flat_map(|node| node.ports.iter().map(move |port| (node, port)));
        ports.filter(move |(_, port)| port.network == network)
    }

    /// The cables that end at a bridge.
    pub fn cables(&self) -> Vec<Cable> {
        let mut cables = Vec::new();
        for (number, network) in
            self.networks.iter().enumerate().filter(|(_, net)| self.has_bridge(&net.name))
        {
            for (end, (node, port)) in self.on(&network.name).enumerate() {
                cables.push(Cable {
                    name: format!("{}.{}", network.name, node.name),
                    node: node.name.clone(),
                    device: port.device.clone(),
                    network: network.name.clone(),
                    wire: format!("w{number}p{end}"),
                    bridge: bridge(number),
                });
            }
        }
        cables
    }

    /// Looks whether every name is one, is there once, and means something.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), DescriptionError> {
        let mut seen = BTreeSet::from([WIRES]);
        for name in self.nodes.iter().map(|node| node.name.as_str()) {
            is_name(name)?;
            if !seen.insert(name) {
                return Err(DescriptionError::Twice(name.to_owned()));
            }
        }
        let mut networks = BTreeSet::new();
        for name in self.networks.iter().map(|network| network.name.as_str()) {
            is_name(name)?;
            if !networks.insert(name) {
                return Err(DescriptionError::Twice(name.to_owned()));
            }
        }
        for node in &self.nodes {
            let (mut devices, mut plugged) = (BTreeSet::from(["lo"]), BTreeSet::new());
            for port in &node.ports {
                if port.device.is_empty()
                    || port.device.len() > DEVICE_LENGTH
                    || !port.device.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
                {
                    return Err(DescriptionError::Name(port.device.clone()));
                }
                if !devices.insert(port.device.as_str()) || !plugged.insert(port.network.as_str()) {
                    return Err(DescriptionError::Twice(format!("{} of {}", port.device, node.name)));
                }
                if !networks.contains(port.network.as_str()) {
                    let (node, network) = (node.name.clone(), port.network.clone());
                    return Err(DescriptionError::NoNetwork { node, network });
                }
            }
        }
        Ok(())
    }
}

/// The bridge of the network with this number.
pub(crate) fn bridge(number: usize) -> String {
    format!("net{number}")
}

/// Whether a computer or network can be called so. A dash would make `PREFIX-NAME` ambiguous.
fn is_name(name: &str) -> Result<(), DescriptionError> {
    let fits = (1..=DEVICE_LENGTH).contains(&name.len());
    match fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        true => Ok(()),
        false => Err(DescriptionError::Name(name.to_owned())),
    }
}

impl Node {
    fn new(name: &str, kind: Kind) -> Node {
        Node { name: name.to_owned(), kind, ports: Vec::new(), routes: Vec::new() }
    }

    /// An ordinary computer.
    pub fn host(name: &str) -> Node {
        Node::new(name, Kind::Host)
    }

    /// The namespace of a router in userspace: devices without addresses.
    pub fn router(name: &str) -> Node {
        Node::new(name, Kind::Genkan)
    }

    /// A router that is the kernel's, without NAT.
    pub fn forwarding(name: &str) -> Node {
        Node::new(name, Kind::Forwarding)
    }

    /// The kernel's own NAT, with `external` as the device towards outside.
    pub fn kernel_nat(name: &str, external: &str) -> Node {
        Node::new(name, Kind::KernelNat { external: external.to_owned(), forwards: Vec::new() })
    }

    /// Gives it a device in a network, with addresses such as `192.168.0.10/24`.
    ///
    /// # Panics
    /// When one is no address with its prefix length.
    #[must_use]
    pub fn port(mut self, device: &str, network: &str, addresses: &[&str]) -> Node {
        let addresses = addresses.iter().map(|text| {
            text.parse().unwrap_or_else(|_| panic!("'{text}' is no address with a prefix length"))
        });
        self.ports.push(Port {
            device: device.to_owned(),
            network: network.to_owned(),
            addresses: addresses.collect(),
        });
        self
    }

    /// Gives it a default route.
    ///
    /// # Panics
    /// When `via` is no address.
    #[must_use]
    pub fn gateway(self, via: &str) -> Node {
        let via = via.parse().unwrap_or_else(|_| panic!("'{via}' is no address"));
        self.route(Ipv4Net::default(), via)
    }

    /// Gives it a route.
    #[must_use]
    pub fn route(mut self, to: Ipv4Net, via: Ipv4Addr) -> Node {
        self.routes.push(Route { to, via });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Description {
        let mut lab = Description::default();
        lab.network("wan").network("home");
        lab.node(Node::router("router").port("wan0", "wan", &[]).port("lan0", "home", &[]));
        lab.node(Node::host("isp").port("eth0", "wan", &["203.0.113.2/24"]));
        lab.node(Node::host("nas").port("eth0", "home", &["192.168.0.10/24"]).gateway("192.168.0.1"));
        lab
    }

    #[test]
    fn a_network_of_two_is_a_cable_until_it_is_to_be_adjustable() {
        let mut lab = three();
        assert_eq!((lab.check(), lab.cables()), (Ok(()), vec![]));
        assert_eq!(lab.namespaces(), ["router", "isp", "nas"]);
        lab.node(Node::host("laptop").port("eth0", "home", &["192.168.0.20/24"]));
        let names: Vec<_> = lab.cables().into_iter().map(|cable| cable.name).collect();
        assert_eq!(names, ["home.router", "home.nas", "home.laptop"]);
        assert_eq!(lab.namespaces().last(), Some(&WIRES));
        lab.adjustable = true;
        assert_eq!(lab.cables().len(), 5);
        assert!(lab.cables().iter().all(|cable| cable.wire.len() <= DEVICE_LENGTH));
    }

    #[test]
    fn names_that_do_not_fit_are_told() {
        type Spoil = fn(&mut Description);
        let mistakes: [(Spoil, &str); 7] = [
            (|lab| lab.nodes[1].name = "i-sp".into(), "'i-sp' is no name"),
            (|lab| lab.nodes[1].name = "sixteen_letters_".into(), "is no name"),
            (|lab| lab.nodes[1].name = "router".into(), "two called 'router'"),
            (|lab| lab.nodes[1].name = WIRES.into(), "two called 'wires'"),
            (|lab| lab.networks[1].name = "wan".into(), "two called 'wan'"),
            (|lab| lab.nodes[0].ports[1].device = "wan0".into(), "wan0 of router"),
            (|lab| lab.nodes[2].ports[0].network = "hom".into(), "'nas' is on the network 'hom'"),
        ];
        for (spoil, words) in mistakes {
            let mut lab = three();
            spoil(&mut lab);
            let error = lab.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
