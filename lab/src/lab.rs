//! Building a lab from its description.
//!
//! Everything is made in namespaces without a name, and named at the end: a program that is killed while it builds
//! leaves nothing behind, since the kernel takes a namespace away that nobody holds.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use genkan_io::netlink::{Netlink, NetlinkError};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::description::{Cable, Description, DescriptionError, KernelForward, Kind, Node, WIRES, bridge};
use crate::devices::{self, End, LOOPBACK};
use crate::namespace::Namespace;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// Longest prefix of namespace names.
const PREFIX_LENGTH: usize = 16;

/// Why a lab could not be built, found or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The description contradicts itself.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A prefix that no namespace can have.
    #[error("a prefix is 1 to {PREFIX_LENGTH} letters, digits and dashes, not '{0}'")]
    Prefix(String),
    /// There is a lab of this name.
    #[error("a lab called '{0}' is up already")]
    Taken(String),
    /// There is no such computer, or no such lab.
    #[error("no namespace {0}")]
    Missing(String, #[source] io::Error),
    /// A device, address or route could not be made.
    #[error("cannot {step} at {node}")]
    Network {
        /// What was tried.
        step: &'static str,
        /// At which computer.
        node: String,
        /// What the kernel said.
        #[source]
        source: NetlinkError,
    },
    /// Something else could not be done.
    #[error("cannot {step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `nft` refused the rules of a kernel's NAT; what it said.
    #[error("the kernel's NAT cannot be set up: {0}")]
    Nat(String),
}

fn system<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> LabError {
    move |source| LabError::System { step, source: source.into() }
}

/// A lab that stands. Dropping it takes it down, unless it is to stay.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    description: Description,
    namespaces: BTreeMap<String, Namespace>,
    owned: bool,
}

/// A namespace that is being furnished.
struct Site {
    file: File,
    netlink: Netlink,
    /// Index of the next device.
    next: u32,
}

impl Lab {
    /// Builds a lab whose namespaces are called `PREFIX-NODE`. Its routers in userspace are the caller's to start.
    ///
    /// # Errors
    /// When the description is wrong, the name is taken, or the kernel refuses something; nothing is left then.
    pub fn up(prefix: &str, description: &Description) -> Result<Lab, LabError> {
        description.check()?;
        check_prefix(prefix)?;
        let names = description.namespaces();
        if names.iter().any(|name| name_file(prefix, name).exists()) {
            return Err(LabError::Taken(prefix.to_owned()));
        }
        let mut sites = BTreeMap::new();
        for name in names {
            sites.insert(name.to_owned(), Site::make(description.find(name))?);
        }
        furnish(description, &mut sites)?;
        prepare_names()?;
        let mut lab = Lab {
            prefix: prefix.to_owned(),
            description: description.clone(),
            namespaces: BTreeMap::new(),
            owned: true,
        };
        for (name, site) in sites {
            publish(&name_file(prefix, &name), &site.file, prefix)?;
            let namespace = Namespace::of(format!("{prefix}-{name}"), site.file);
            lab.namespaces.insert(name, namespace);
        }
        lab.set_up_nat()?;
        Ok(lab)
    }

    /// A lab that another process has built from this description.
    ///
    /// # Errors
    /// When a namespace of it is missing.
    pub fn find(prefix: &str, description: &Description) -> Result<Lab, LabError> {
        check_prefix(prefix)?;
        let mut namespaces = BTreeMap::new();
        for name in description.namespaces() {
            let full = format!("{prefix}-{name}");
            let namespace = Namespace::open(&full).map_err(|source| LabError::Missing(full, source))?;
            namespaces.insert(name.to_owned(), namespace);
        }
        let (prefix, description) = (prefix.to_owned(), description.clone());
        Ok(Lab { prefix, description, namespaces, owned: false })
    }

    /// Leaves the lab standing when the value is dropped.
    #[must_use]
    pub fn keep(mut self) -> Lab {
        self.owned = false;
        self
    }

    /// Takes the names of a lab away; the kernel removes each namespace once no process is in it.
    ///
    /// # Errors
    /// The first name that could not be removed; the others are gone. A name that is not there is no error.
    pub fn down(prefix: &str, description: &Description) -> Result<(), LabError> {
        check_prefix(prefix)?;
        let results: Vec<_> =
            description.namespaces().into_iter().map(|name| withdraw(&name_file(prefix, name))).collect();
        results.into_iter().collect::<io::Result<()>>().map_err(system("remove a namespace"))
    }

    /// What its namespaces' names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What it is made of.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The namespace of a computer, or of [`WIRES`].
    ///
    /// # Errors
    /// When there is no such computer in this lab.
    pub fn namespace(&self, name: &str) -> Result<Namespace, LabError> {
        self.namespaces.get(name).cloned().ok_or_else(|| {
            LabError::Missing(format!("{}-{name}", self.prefix), io::ErrorKind::NotFound.into())
        })
    }

    /// Changes the IP MTU of a cable, at both of its ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mtu(&self, cable: &Cable, mtu: u16) -> Result<(), LabError> {
        for (node, device) in [(cable.node.as_str(), &cable.device), (WIRES, &cable.wire)] {
            let change = || {
                let index = genkan_io::device::link(device).map_err(io::Error::other)?.index;
                let mut netlink = Netlink::route().map_err(io::Error::other)?;
                devices::set_mtu(&mut netlink, index, mtu).map_err(io::Error::other)
            };
            self.namespace(node)?.run(change).map_err(system("change the MTU"))?;
        }
        Ok(())
    }

    fn set_up_nat(&self) -> Result<(), LabError> {
        for node in &self.description.nodes {
            if let Kind::KernelNat { external, forwards } = &node.kind {
                nat(&self.namespace(&node.name)?, node, external, forwards)?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned {
            // What was not published yet is gone with its last holder; others' names are not touched.
            for name in self.namespaces.keys() {
                let _ = withdraw(&name_file(&self.prefix, name));
            }
        }
    }
}

impl Site {
    /// A namespace with its loopback on, and the settings that `node` needs.
    fn make(node: Option<&Node>) -> Result<Site, LabError> {
        let kind = node.map(|node| &node.kind);
        let forwards = matches!(kind, Some(Kind::Forwarding | Kind::KernelNat { .. }));
        let inside = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(system("make a network namespace"))?;
            let file = File::open("/proc/thread-self/ns/net").map_err(system("open a network namespace"))?;
            if forwards {
                let switch = fs::write("/proc/sys/net/ipv4/ip_forward", "1");
                switch.map_err(system("let the kernel forward"))?;
            }
            // Everybody may ping without privileges, the way distributions set it up; some containers forbid it.
            let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
            let netlink =
                Netlink::route().map_err(|source| network("open a socket", "a namespace", source))?;
            Ok::<_, LabError>((file, netlink))
        });
        let (file, netlink) = inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut site = Site { file, netlink, next: LOOPBACK + 1 };
        let up = devices::set_up(&mut site.netlink, LOOPBACK);
        up.map_err(|source| network("switch the loopback on", "a namespace", source))?;
        Ok(site)
    }

    fn take_index(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

fn network(step: &'static str, node: &str, source: NetlinkError) -> LabError {
    LabError::Network { step, node: node.to_owned(), source }
}

fn site<'a>(sites: &'a mut BTreeMap<String, Site>, name: &str) -> &'a mut Site {
    sites.get_mut(name).unwrap_or_else(|| unreachable!("a namespace was made for {name}"))
}

/// Bridges, cables, addresses and routes.
fn furnish(description: &Description, sites: &mut BTreeMap<String, Site>) -> Result<(), LabError> {
    let cables = description.cables();
    // Of each port: its computer, its device's index.
    let mut ports: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (number, net) in description.networks.iter().enumerate() {
        if !description.has_bridge(&net.name) {
            let ends: Vec<_> = description.on(&net.name).collect();
            let [(near, near_port), (far, far_port)] = ends[..] else { unreachable!("two are joined") };
            let indices =
                join(sites, (&near.name, &near_port.device), (&far.name, &far_port.device), net.mtu)?;
            ports.insert((near.name.clone(), near_port.device.clone()), indices.0);
            ports.insert((far.name.clone(), far_port.device.clone()), indices.1);
            continue;
        }
        let wires = site(sites, WIRES);
        let bridge_index = wires.take_index();
        devices::add_bridge(&mut wires.netlink, &bridge(number), bridge_index)
            .map_err(|source| network("make a bridge", WIRES, source))?;
        for cable in cables.iter().filter(|cable| cable.network == net.name) {
            let indices = join(sites, (&cable.node, &cable.device), (WIRES, &cable.wire), net.mtu)?;
            ports.insert((cable.node.clone(), cable.device.clone()), indices.0);
            let wires = &mut site(sites, WIRES).netlink;
            devices::be_quiet(wires, indices.1);
            devices::set_bridge(wires, indices.1, bridge_index)
                .and_then(|()| devices::set_up(wires, indices.1))
                .map_err(|source| network("plug a cable in", WIRES, source))?;
        }
    }
    for node in &description.nodes {
        let netlink = &mut site(sites, &node.name).netlink;
        for port in &node.ports {
            let index = ports[&(node.name.clone(), port.device.clone())];
            // What a router's own ports speak is its business.
            if node.kind != Kind::Genkan {
                devices::be_quiet(netlink, index);
                for address in &port.addresses {
                    devices::add_address(netlink, index, *address)
                        .map_err(|source| network("add an address", &node.name, source))?;
                }
            }
            devices::set_up(netlink, index)
                .map_err(|source| network("switch a device on", &node.name, source))?;
        }
        for route in node.routes.iter().filter(|_| node.kind != Kind::Genkan) {
            devices::add_route(netlink, route.to, route.via)
                .map_err(|source| network("add a route", &node.name, source))?;
        }
    }
    Ok(())
}

/// Lays a cable between two devices, each given by its namespace and its name; their indices.
fn join(
    sites: &mut BTreeMap<String, Site>,
    near: (&str, &str),
    far: (&str, &str),
    mtu: u16,
) -> Result<(u32, u32), LabError> {
    let (near_index, far_index) = (site(sites, near.0).take_index(), site(sites, far.0).take_index());
    let far_file = site(sites, far.0).file.try_clone().map_err(system("hold a network namespace"))?;
    let ends = (End { device: near.1, index: near_index }, End { device: far.1, index: far_index });
    devices::add_cable(&mut site(sites, near.0).netlink, &ends.0, &ends.1, far_file.as_fd(), mtu)
        .map_err(|source| network("lay a cable", near.0, source))?;
    Ok((near_index, far_index))
}

fn check_prefix(prefix: &str) -> Result<(), LabError> {
    let fits = (1..=PREFIX_LENGTH).contains(&prefix.len()) && !prefix.starts_with('-');
    match fits && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        true => Ok(()),
        false => Err(LabError::Prefix(prefix.to_owned())),
    }
}

fn name_file(prefix: &str, name: &str) -> PathBuf {
    Path::new(NAMES).join(format!("{prefix}-{name}"))
}

/// Makes the directory of names one whose mounts show everywhere, as `ip netns` does.
fn prepare_names() -> Result<(), LabError> {
    fs::create_dir_all(NAMES).map_err(system("write to /run/netns"))?;
    let nothing: Option<&str> = None;
    let share = || mount(nothing, NAMES, nothing, MsFlags::MS_SHARED | MsFlags::MS_REC, nothing);
    match share() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => mount(Some(NAMES), NAMES, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
            .and_then(|()| share())
            .map_err(system("share /run/netns")),
        result => result.map_err(system("share /run/netns")),
    }
}

/// Gives a namespace its name.
fn publish(name: &Path, namespace: &File, prefix: &str) -> Result<(), LabError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o444).open(name) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(LabError::Taken(prefix.to_owned()));
        }
        Err(error) => return Err(system("name a network namespace")(error)),
    }
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let nothing: Option<&str> = None;
    mount(Some(source.as_str()), name, nothing, MsFlags::MS_BIND, nothing).map_err(|errno| {
        let _ = fs::remove_file(name);
        system("name a network namespace")(errno)
    })
}

/// Takes a name away, if it is there.
fn withdraw(name: &Path) -> io::Result<()> {
    // A name that is no mount point was left by a kill between the two steps of giving it.
    let _ = umount2(name, MntFlags::MNT_DETACH);
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The rules of a home router's NAT, as `netns-scripts/kernel-nat.sh` has them.
fn nat(
    namespace: &Namespace,
    node: &Node,
    external: &str,
    forwards: &[KernelForward],
) -> Result<(), LabError> {
    let ports = node.ports.iter().filter(|port| port.device == external);
    let address = ports.flat_map(|port| &port.addresses).next();
    let address = address.ok_or_else(|| LabError::Nat(format!("{external} has no address")))?.addr();
    let forwards: String = forwards
        .iter()
        .map(|KernelForward { protocol, port, to, to_port }| {
            format!("    ip daddr {address} {protocol} dport {port} dnat to {to}:{to_port}\n")
        })
        .collect();
    let rules = format!(
        "table ip nat_lab {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
{forwards}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname {external} snat to {address}
    ct status dnat iifname != {external} snat to {address}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop
    oifname {external} tcp flags syn tcp option maxseg size set rt mtu
    ct state established,related accept
    ct status dnat accept
    iifname != {external} oifname {external} accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop
    ct state established,related accept
    iifname != {external} accept
    icmp type echo-request accept
  }}
}}
"
    );
    let mut command = Command::new("nft");
    // An ordinary user's PATH lacks the directories where it lives.
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = namespace.start(&mut command).map_err(system("start nft"))?;
    let mut input = child.stdin.take().expect("it is a pipe");
    // Where nft has ended early, its status tells.
    let _ = input.write_all(rules.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(system("run nft"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(LabError::Nat(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
