//! Hosts whose only device is the router's TAP: the router makes it, then it is moved to the host.

use std::process::Command;

use genkan_lab::Topology;
use genkan_lab::topology::Role;

use super::program::{self, ProgramError};
use super::stage::DEVICE;

/// Takes the lab's own cables off the router, whose names its TAP devices are to have.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn remove_cables(lab: &Topology) -> Result<(), ProgramError> {
    for device in [&lab.wan_device, &lab.lan_device] {
        ip(lab, Role::Router, &["link", "delete", device])?;
    }
    Ok(())
}

/// Gives the running router's TAP devices to the hosts, and the hosts their addresses.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn plug_in(lab: &Topology) -> Result<(), ProgramError> {
    let address = &lab.addresses;
    for (device, host, own, gateway) in [
        (&lab.lan_device, Role::Nas, address.nas, Some(address.lan)),
        (&lab.wan_device, Role::Isp, address.isp, None),
    ] {
        let namespace = format!("{}-{}", lab.prefix(), host.name());
        ip(lab, Role::Router, &["link", "set", device, "netns", &namespace])?;
        ip(lab, host, &["link", "set", device, "name", DEVICE])?;
        ip(lab, host, &["link", "set", DEVICE, "addrgenmode", "none"])?;
        ip(lab, host, &["link", "set", DEVICE, "up"])?;
        ip(lab, host, &["address", "add", &format!("{own}/24"), "dev", DEVICE])?;
        if let Some(gateway) = gateway {
            ip(lab, host, &["route", "add", "default", "via", &gateway.to_string()])?;
        }
    }
    Ok(())
}

fn ip(lab: &Topology, role: Role, arguments: &[&str]) -> Result<(), ProgramError> {
    let namespace = format!("{}-{}", lab.prefix(), role.name());
    let mut command = Command::new("ip");
    program::output(None, "ip", command.args(["-n", &namespace]).args(arguments)).map(drop)
}
