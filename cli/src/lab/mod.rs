//! Labs on the command line: the demonstration, programs at their computers, labs that stay.
//!
//! * [`topologies`] are the labs that come with the program, and those from files; [`standing`] builds one, [`record`]
//!   is what is known about it afterwards.
//! * [`persistent`] are labs that stay, [`shell`] runs programs in them and in private ones, [`wires`] has
//!   their links delay and lose what passes, [`capture`] listens there.
//! * [`demo`] tells the story; [`screen`] is the paper it is written on.
//! * [`hosts`] are the computers: small servers and clients with real sockets.
//! * [`comparison`] shows one captured packet on both sides of the router.
//! * [`probe`] is ping and traceroute.

pub(crate) mod capture;
mod comparison;
pub(crate) mod demo;
mod hosts;
pub(crate) mod persistent;
mod probe;
pub(crate) mod record;
mod screen;
pub(crate) mod shell;
mod standing;
pub(crate) mod topologies;
pub(crate) mod wires;

use std::path::PathBuf;

use genkan_lab::Topology;

/// Where a lab keeps its files. In a private lab `/run` is its own.
fn directory(name: &str) -> PathBuf {
    PathBuf::from("/run/genkan-lab").join(name)
}

/// This program.
fn binary() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// The shortest configuration that fits the lab.
fn configuration(lab: &Topology) -> String {
    let address = &lab.addresses;
    format!(
        r#"[wan]
device  = "{}"
address = "{}/24"
gateway = "{}"

[[lan]]
name    = "home"
device  = "{}"
address = "{}/24"
"#,
        lab.wan_device, address.wan, address.isp, lab.lan_device, address.lan
    )
}

/// A port forward, as one writes it.
fn web_forward(lab: &Topology) -> String {
    format!(
        r#"[[forward]]
name     = "web"
protocol = "tcp"
port     = 80
to       = "{}:8080"
"#,
        lab.addresses.nas
    )
}
