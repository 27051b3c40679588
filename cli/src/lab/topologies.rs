//! Which lab: one of those that come with the program, or one from a file.

use std::io;
use std::path::PathBuf;

use clap::ValueEnum;
use genkan_config::Diagnostic;
use genkan_config::lab_file::{self, Gateway, Host, LabFile, Runs};
use genkan_lab::description::{Description, Kind, Network, Node, Port};
use ipnet::Ipv4Net;

use crate::output::{self, Exit, Failure};

/// The labs that come with the program; see docs/labs.md for their pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// A router, three hosts behind it, the internet in front
    Home,
    /// The provider's box and the home router, a NAT each
    DoubleNat,
    /// A carrier's NAT with 100.64.0.0/10 behind it, homes and customers there
    Cgnat,
    /// A home, and a network for guests
    TwoLans,
    /// Two consoles that want the same port
    TwoConsoles,
    /// Staff, guests and servers, each in a network of its own
    Office,
}

impl Topology {
    /// Its name as typed.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn text(self) -> &'static str {
        match self {
            Topology::Home => include_str!("topologies/home.toml"),
            Topology::DoubleNat => include_str!("topologies/double-nat.toml"),
            Topology::Cgnat => include_str!("topologies/cgnat.toml"),
            Topology::TwoLans => include_str!("topologies/two-lans.toml"),
            Topology::TwoConsoles => include_str!("topologies/two-consoles.toml"),
            Topology::Office => include_str!("topologies/office.toml"),
        }
    }
}

/// What is asked for on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Which {
    /// A lab that comes with the program
    #[arg(long, value_enum, value_name = "TOPOLOGY")]
    pub(crate) topology: Option<Topology>,
    /// A lab from a file
    #[arg(long, value_name = "LAB.toml", conflicts_with = "topology")]
    pub(crate) file: Option<PathBuf>,
}

/// A lab that is to be built.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where it comes from, for people.
    pub(crate) source: String,
    /// The file, read.
    pub(crate) file: LabFile,
    /// The same for the builder.
    pub(crate) description: Description,
}

impl Which {
    /// The lab that is meant.
    pub(crate) fn plan(&self, default: Topology) -> Result<Plan, Failure> {
        let (source, file) = match &self.file {
            Some(path) => (path.display().to_string(), lab_file::load(path)),
            None => {
                let topology = self.topology.unwrap_or(default);
                let name = topology.name();
                (name.clone(), lab_file::parse(topology.text(), &format!("{name}.toml")))
            }
        };
        let file = file.map_err(|mistakes| report(&mistakes))?;
        let description = describe(&file);
        description.check()?;
        Ok(Plan { source, file, description })
    }
}

impl Plan {
    /// The gateways where Genkan runs, in file order.
    pub(crate) fn genkans(&self) -> impl Iterator<Item = &Gateway> {
        self.file.gateways.iter().filter(|gateway| gateway.runs == Runs::Genkan)
    }

    /// The Genkan that people mean when they say none: the one called `router`, else the first.
    pub(crate) fn main_genkan(&self) -> Option<&str> {
        let named = self.genkans().find(|gateway| gateway.name == "router");
        named.or_else(|| self.genkans().next()).map(|gateway| gateway.name.as_str())
    }
}

fn report(mistakes: &[Diagnostic]) -> Failure {
    let color = output::color(&io::stderr());
    Failure::report(Exit::Misuse, genkan_config::render(mistakes, color))
}

/// The file in the builder's terms.
fn describe(file: &LabFile) -> Description {
    let networks = file.networks.iter();
    Description {
        nodes: file.gateways.iter().map(gateway).chain(file.hosts.iter().map(host)).collect(),
        networks: networks.map(|network| Network { name: network.name.clone(), mtu: network.mtu }).collect(),
        adjustable: true,
    }
}

fn gateway(gateway: &Gateway) -> Node {
    let mut node = match gateway.runs {
        Runs::Genkan => Node::router(&gateway.name),
        Runs::Kernel => Node::forwarding(&gateway.name),
        Runs::KernelNat => Node::kernel_nat(&gateway.name, "wan0"),
    };
    // The addresses of a Genkan are its configuration's business.
    let kernel = node.kind != Kind::Genkan;
    for side in gateway.wan.iter().chain(&gateway.lans) {
        node.ports.push(Port {
            device: side.device.clone(),
            network: side.network.clone(),
            addresses: if kernel { side.addresses.clone() } else { Vec::new() },
        });
        if let Some(via) = side.gateway.filter(|_| kernel) {
            node = node.route(Ipv4Net::default(), via);
        }
    }
    node
}

fn host(host: &Host) -> Node {
    let mut node = Node::host(&host.name);
    node.ports.push(Port {
        device: "eth0".to_owned(),
        network: host.network.clone(),
        addresses: host.addresses.clone(),
    });
    match host.gateway {
        Some(via) => node.route(Ipv4Net::default(), via),
        None => node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lab_of_the_program_is_without_mistakes() {
        for topology in Topology::value_variants() {
            let which = Which { topology: Some(*topology), file: None };
            let plan = which.plan(Topology::Home).unwrap_or_else(|error| panic!("{}", error.text()));
            assert!(plan.genkans().count() >= 1, "{topology:?}");
            for gateway in plan.genkans() {
                let loaded = genkan_config::parse(&gateway.config, "lab").expect("it was checked");
                assert_eq!(loaded.warnings, [], "{topology:?} {}", gateway.name);
            }
            for host in &plan.file.hosts {
                assert!(host.gateway.is_some(), "{} has no way out", host.name);
            }
        }
    }
}
