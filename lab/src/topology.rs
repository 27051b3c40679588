//! The lab of the tests and the demonstration: what `netns-scripts/topology.sh` builds for shell users, with its names
//! and addresses.

use std::net::Ipv4Addr;

use crate::description::{Description, Node};
use crate::lab::{Lab, LabError};
use crate::namespace::Namespace;

/// The script itself. It is part of the program for other scripts that ask it for the names.
pub const SCRIPT: &str = include_str!("../../netns-scripts/topology.sh");

/// What to build; see the script's head for the picture.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Hosts on the first lan, 1 to 3. One host hangs on the router directly, more of them on a bridge.
    pub hosts: u8,
    /// Lans, 1 or 2.
    pub lans: u8,
    /// IP MTU of the link between the provider and the remote host, octets.
    pub remote_mtu: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options { hosts: 3, lans: 1, remote_mtu: 1500 }
    }
}

macro_rules! named_addresses {
    ($($(#[doc = $doc:literal])+ $field:ident = $address:expr,)+) => {
        /// The addresses of the lab.
        #[derive(Clone, Debug)]
        pub struct Addresses { $($(#[doc = $doc])+ pub $field: Ipv4Addr,)+ }

        impl Default for Addresses {
            fn default() -> Addresses {
                Addresses { $($field: Ipv4Addr::from($address),)+ }
            }
        }

        #[cfg(test)]
        impl Addresses {
            /// Each with its name in the script.
            fn named(&self) -> Vec<(&'static str, Ipv4Addr)> {
                vec![$((concat!(stringify!($field), "_address"), self.$field),)+]
            }
        }
    };
}

named_addresses! {
    /// The router's first external address.
    wan = [203, 0, 113, 1],
    /// Another address of the wan's network, free for 1:1 NAT and `address =`.
    wan_spare = [203, 0, 113, 5],
    /// The provider's router, the default gateway.
    isp = [203, 0, 113, 2],
    /// The provider's router on its far side.
    isp_far = [198, 51, 100, 1],
    /// The internet host.
    remote = [198, 51, 100, 7],
    /// Its second address.
    remote_second = [198, 51, 100, 8],
    /// Its third address.
    remote_third = [198, 51, 100, 9],
    /// The router on the first lan.
    lan = [192, 168, 0, 1],
    /// First host of the first lan.
    nas = [192, 168, 0, 10],
    /// Second host of the first lan.
    laptop = [192, 168, 0, 20],
    /// Third host of the first lan.
    console = [192, 168, 0, 50],
    /// The router on the second lan.
    lan2 = [192, 168, 1, 1],
    /// The host of the second lan.
    guest = [192, 168, 1, 10],
}

/// A host of the lab. Which of them exist depends on [`Options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The internet host.
    Remote,
    /// The provider's router.
    Isp,
    /// The router under test.
    Router,
    /// First host of the first lan.
    Nas,
    /// Second host of the first lan.
    Laptop,
    /// Third host of the first lan.
    Console,
    /// The host of the second lan.
    Guest,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 7] =
        [Role::Remote, Role::Isp, Role::Router, Role::Nas, Role::Laptop, Role::Console, Role::Guest];

    /// Its name in the script and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Remote => "remote",
            Role::Isp => "isp",
            Role::Router => "router",
            Role::Nas => "nas",
            Role::Laptop => "laptop",
            Role::Console => "console",
            Role::Guest => "guest",
        }
    }
}

/// A lab that stands. Dropping it takes it down.
#[derive(Debug)]
pub struct Topology {
    lab: Lab,
    /// Who has which address.
    pub addresses: Addresses,
    /// The router's device towards the provider.
    pub wan_device: String,
    /// The router's device towards the first lan.
    pub lan_device: String,
    /// The router's device towards the second lan.
    pub lan2_device: String,
}

const WAN_DEVICE: &str = "wan0";
const LAN_DEVICE: &str = "lan0";
const LAN2_DEVICE: &str = "lan1";

impl Topology {
    /// Builds a lab; dropping the value takes it down.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up(prefix: &str, options: &Options) -> Result<Topology, LabError> {
        let addresses = Addresses::default();
        let lab = Lab::up(prefix, &describe(options, &addresses))?;
        let [wan_device, lan_device, lan2_device] = [WAN_DEVICE, LAN_DEVICE, LAN2_DEVICE].map(str::to_owned);
        Ok(Topology { lab, addresses, wan_device, lan_device, lan2_device })
    }

    /// What its namespaces' names begin with.
    pub fn prefix(&self) -> &str {
        self.lab.prefix()
    }

    /// The namespace of a host.
    ///
    /// # Errors
    /// When the lab was built without this host.
    pub fn namespace(&self, role: Role) -> Result<Namespace, LabError> {
        self.lab.namespace(role.name())
    }
}

/// The picture at the head of the script, as data.
fn describe(options: &Options, address: &Addresses) -> Description {
    let far = [address.remote, address.remote_second, address.remote_third].map(|far| format!("{far}/24"));
    let far: Vec<_> = far.iter().map(String::as_str).collect();
    let with_prefix = |address: Ipv4Addr| format!("{address}/24");
    let mut lab = Description::default();
    lab.network("far").network("wan").network("home");
    lab.networks[0].mtu = options.remote_mtu;
    let remote = Node::host(Role::Remote.name()).port("eth0", "far", &far);
    lab.node(remote.gateway(&address.isp_far.to_string()));
    let isp = Node::forwarding(Role::Isp.name()).port("eth0", "wan", &[&with_prefix(address.isp)]);
    lab.node(isp.port("eth1", "far", &[&with_prefix(address.isp_far)]));
    let mut router =
        Node::router(Role::Router.name()).port(WAN_DEVICE, "wan", &[]).port(LAN_DEVICE, "home", &[]);
    if options.lans > 1 {
        lab.network("guests");
        router = router.port(LAN2_DEVICE, "guests", &[]);
        let guest = Node::host(Role::Guest.name()).port("eth0", "guests", &[&with_prefix(address.guest)]);
        lab.node(guest.gateway(&address.lan2.to_string()));
    }
    lab.node(router);
    let hosts = [(Role::Nas, address.nas), (Role::Laptop, address.laptop), (Role::Console, address.console)];
    for (role, own) in hosts.into_iter().take(options.hosts.into()) {
        let host = Node::host(role.name()).port("eth0", "home", &[&with_prefix(own)]);
        lab.node(host.gateway(&address.lan.to_string()));
    }
    lab
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_says_the_same_names() {
        // `names` touches nothing, so this needs no privileges.
        let output = Command::new("sh").args(["-c", SCRIPT, "topology.sh", "names", "unit-test"]).output();
        let output = output.expect("there is a shell");
        let said = String::from_utf8(output.stdout).expect("names are ASCII");
        let said: Vec<_> = said.lines().filter_map(|line| line.split_once('=')).collect();
        for (name, address) in Addresses::default().named() {
            assert!(said.contains(&(name, &address.to_string())), "{name}={address} is not in {said:?}");
        }
        for role in Role::ALL {
            assert!(said.contains(&(role.name(), &format!("unit-test-{}", role.name()))), "{said:?}");
        }
        let devices = [("wan_device", WAN_DEVICE), ("lan_device", LAN_DEVICE), ("lan2_device", LAN2_DEVICE)];
        assert!(devices.iter().all(|device| said.contains(device)), "{said:?}");
    }

    #[test]
    fn every_shape_is_a_whole_lab() {
        for (hosts, lans) in [(1, 1), (2, 1), (3, 2)] {
            let options = Options { hosts, lans, ..Options::default() };
            let lab = describe(&options, &Addresses::default());
            assert_eq!(lab.check(), Ok(()));
            assert_eq!(lab.has_bridge("home"), hosts > 1);
            assert!(!lab.has_bridge("wan") && !lab.has_bridge("far"));
        }
    }
}
