//! The lab: what `netns-scripts/topology.sh` builds, with its names and addresses.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::namespace::Namespace;

/// The script itself. It is part of the program, so that a lab can be built where no source tree is.
pub const SCRIPT: &str = include_str!("../../netns-scripts/topology.sh");

/// Why a lab could not be built, or found.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// No shell, or it could not be started.
    #[error("cannot run the shell")]
    Shell(#[source] io::Error),
    /// The script ended with an error; what it said.
    #[error("{0}")]
    Script(String),
    /// The script's `names` lack one that this program wants, or it is no address.
    #[error("topology.sh names no {0}")]
    Name(&'static str),
    /// A namespace cannot be opened.
    #[error("no namespace {0}")]
    Namespace(String, #[source] io::Error),
}

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
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// The addresses of the lab.
        #[derive(Clone, Debug)]
        pub struct Addresses { $($(#[doc = $doc])+ pub $field: Ipv4Addr,)+ }

        impl Addresses {
            fn from_names(names: &HashMap<String, String>) -> Result<Addresses, TopologyError> {
                Ok(Addresses { $($field: {
                    let text = names.get(concat!(stringify!($field), "_address"));
                    text.and_then(|text| text.parse().ok()).ok_or(TopologyError::Name(stringify!($field)))?
                },)+ })
            }
        }
    };
}

named_addresses! {
    /// The router's first external address.
    wan,
    /// Another address of the wan's network, free for 1:1 NAT and `address =`.
    wan_spare,
    /// The provider's router, the default gateway.
    isp,
    /// The provider's router on its far side.
    isp_far,
    /// The internet host.
    remote,
    /// Its second address.
    remote_second,
    /// Its third address.
    remote_third,
    /// The router on the first lan.
    lan,
    /// First host of the first lan.
    nas,
    /// Second host of the first lan.
    laptop,
    /// Third host of the first lan.
    console,
    /// The router on the second lan.
    lan2,
    /// The host of the second lan.
    guest,
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

/// A lab that stands.
#[derive(Debug)]
pub struct Topology {
    prefix: String,
    owned: bool,
    /// Who has which address.
    pub addresses: Addresses,
    /// The router's device towards the provider.
    pub wan_device: String,
    /// The router's device towards the first lan.
    pub lan_device: String,
    /// The router's device towards the second lan.
    pub lan2_device: String,
}

impl Topology {
    /// Builds a lab; dropping the value takes it down.
    ///
    /// # Errors
    /// When the script fails; it has taken down then what it had built.
    pub fn up(prefix: &str, options: &Options) -> Result<Topology, TopologyError> {
        let options = [
            ("--hosts", u16::from(options.hosts)),
            ("--lans", u16::from(options.lans)),
            ("--remote-mtu", options.remote_mtu),
        ];
        let options = options.map(|(name, value)| [name.to_owned(), value.to_string()]).concat();
        run_script("up", prefix, &options)?;
        let mut topology = Topology::find(prefix)?;
        topology.owned = true;
        Ok(topology)
    }

    /// Leaves the lab standing when the value is dropped.
    #[must_use]
    pub fn keep(mut self) -> Topology {
        self.owned = false;
        self
    }

    /// A lab that somebody else has built and will take down.
    ///
    /// # Errors
    /// When the script fails.
    pub fn find(prefix: &str) -> Result<Topology, TopologyError> {
        let names = run_script("names", prefix, &[])?;
        let names: HashMap<String, String> = names
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let name = |key: &'static str| names.get(key).cloned().ok_or(TopologyError::Name(key));
        Ok(Topology {
            prefix: prefix.to_owned(),
            owned: false,
            addresses: Addresses::from_names(&names)?,
            wan_device: name("wan_device")?,
            lan_device: name("lan_device")?,
            lan2_device: name("lan2_device")?,
        })
    }

    /// Takes a lab down, also one that was built by another process.
    ///
    /// # Errors
    /// When a namespace cannot be deleted.
    pub fn down(prefix: &str) -> Result<(), TopologyError> {
        run_script("down", prefix, &[]).map(drop)
    }

    /// What its namespaces' names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The namespace of a host.
    ///
    /// # Errors
    /// When the lab was built without this host.
    pub fn namespace(&self, role: Role) -> Result<Namespace, TopologyError> {
        let name = format!("{}-{}", self.prefix, role.name());
        Namespace::open(&name).map_err(|source| TopologyError::Namespace(name, source))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if self.owned {
            // Nobody is left to be told; and in a sandbox the kernel cleans up anyway.
            let _ = run_script("down", &self.prefix, &[]);
        }
    }
}

fn run_script(action: &str, prefix: &str, options: &[String]) -> Result<String, TopologyError> {
    let output = Command::new("sh")
        .args(["-c", SCRIPT, "topology.sh", action, prefix])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .map_err(TopologyError::Shell)?;
    if !output.status.success() {
        return Err(TopologyError::Script(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_script_is_known() {
        // `names` touches nothing, so this needs no privileges.
        let lab = Topology::find("unit-test").expect("the script prints its names");
        assert_eq!(lab.addresses.wan, Ipv4Addr::new(203, 0, 113, 1));
        assert_eq!(lab.addresses.nas, Ipv4Addr::new(192, 168, 0, 10));
        assert_eq!((lab.wan_device.as_str(), lab.lan_device.as_str()), ("wan0", "lan0"));
    }

    #[test]
    fn a_bad_prefix_is_refused() {
        let error = Topology::find("no/slash").expect_err("a slash would leave /run/netns");
        assert!(matches!(error, TopologyError::Script(text) if text.contains("letters, digits and dashes")));
    }
}
