//! Settings of devices that we change while we run, and put back afterwards, also after a `kill -9`.
//!
//! Before the first change, what was found is written to a record, one file per device in the state folder. A clean
//! end puts the settings back and deletes the record. A process that was killed leaves it, and the next start puts
//! back what it says ([`restore_leftovers`]). The record is locked (flock(2)) while its writer lives, and the kernel
//! drops the lock of a killed process, so that nobody mistakes a running router's record for a leftover.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use self::record::{Record, RecordFile, boot_id, namespace_id};
use super::{
    DeviceAddress, DeviceError, IN6_ADDR_GEN_MODE_NONE, Link, find_addresses, find_link, refused,
    remove_address, route_socket, set_address_generation, set_up,
};
use crate::netlink::Netlink;
use crate::sys::ethtool::{self, Feature};

mod datagrams;
mod record;

pub use self::record::restore_leftovers;

/// Merges packets for the local stack only: the merged ones cannot be cut again faithfully.
const LARGE_RECEIVE_OFFLOAD: &str = "rx-lro";
/// Chains packets of a flow without merging them, which no virtio header can describe.
const CHAINING: &str = "rx-gro-list";
/// Merge packets of a flow into super-frames that are cut again faithfully on their way out.
const MERGING: [&str; 2] = ["rx-gro", UDP_MERGING];
/// Does so for UDP. Not switched on for a veth beforehand: there the kernel handles each datagram as it is sent, and the
/// way through GRO costs every one of them a fifth of the rate, with nothing to merge. What it gains there are the bursts
/// that a host's own kernel cut from one send (UDP_SEGMENT): [`PreparedDevice::merge_datagrams`] is for while they come.
const UDP_MERGING: &str = "rx-udp-gro-forwarding";
/// The kind of device of which two are the ends of a cable.
const VETH: &str = "veth";
/// Take VLAN tags off arriving frames and tell them apart from the frame.
const UNTAGGING: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// How a device is to be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Let the kernel merge packets of a flow into super-frames on arrival (GRO), TCP and UDP. Default on: with hosts
    /// that do not make super-frames themselves it multiplies the throughput, and it changes no packet.
    pub merge: bool,
    /// Hand over frames as they were on the wire: GRO is switched off, and VLAN tags stay in the frames. Default off: for
    /// back ends that are told neither of super-frames nor of tags. Goes before `merge`.
    pub bare: bool,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        DeviceOptions { merge: true, bare: false }
    }
}

/// A device with the settings that a port needs. Dropping it puts the old ones back.
#[derive(Debug)]
pub struct PreparedDevice {
    link: Link,
    record: Record,
    file: RecordFile,
    restored: bool,
}

impl PreparedDevice {
    /// Checks that a device can be a port, and makes it one: up, no IPv6 link-local addresses, LRO off, and what
    /// `options` say. Changed settings are recorded in the folder `state` first.
    ///
    /// When a device comes back after [`crate::IoError::DeviceGone`], drop the old value before preparing anew.
    ///
    /// # Errors
    /// When the device does not exist, is no Ethernet device, belongs to another one, carries addresses of the
    /// kernel, is used by another Genkan, or a setting is refused. What was changed by then is put back.
    pub fn prepare(
        device: &str,
        state: &Path,
        options: &DeviceOptions,
    ) -> Result<PreparedDevice, DeviceError> {
        let mut netlink = route_socket(device)?;
        let link = find_link(&mut netlink, device)?;
        let link_local = check(&mut netlink, &link)?;
        let wanted = wanted_features(&netlink, &link, options)?;

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .map_err(RecordFile::failed(state, "make the state folder"))?;
        let path = record::path(state, device);
        let Some(mut file) = RecordFile::open(&path)? else {
            return Err(DeviceError::InUse { device: device.to_owned(), path });
        };
        let mut record = Record {
            device: device.to_owned(),
            index: link.index,
            boot: boot_id(),
            namespace: namespace_id(),
            up: link.up,
            address_generation: link.address_generation,
            link_local: link_local.iter().map(|address| (address.address, address.prefix_len)).collect(),
            features: wanted.iter().map(|(name, on)| (name.clone(), !on)).collect(),
        };
        if datagrams::by_turns(&netlink, &link, options)? {
            record.features.insert(UDP_MERGING.to_owned(), false);
        }
        // A leftover that nobody has put back yet knows better what was there at first.
        if let Some(leftover) = file.read()?.filter(|leftover| leftover.is_of(&link)) {
            record.up = leftover.up;
            record.address_generation = leftover.address_generation;
            record.link_local = leftover.link_local;
            record.features.extend(leftover.features);
        }
        file.write(&record)?;
        let mut prepared = PreparedDevice { link, record, file, restored: false };
        prepared.apply(&mut netlink, &link_local, &wanted)?;
        Ok(prepared)
    }

    /// The device as it is now prepared; [`crate::link_monitor`] tells of later changes.
    pub fn link(&self) -> &Link {
        &self.link
    }

    fn apply(
        &mut self,
        netlink: &mut Netlink,
        link_local: &[DeviceAddress],
        wanted: &[(String, bool)],
    ) -> Result<(), DeviceError> {
        let (name, index) = (self.link.name.clone(), self.link.index);
        let failed = |operation| refused(&name, operation);
        // Before the device comes up, or the kernel makes an address and asks for routers with it.
        if self.link.address_generation.is_some_and(|mode| mode != IN6_ADDR_GEN_MODE_NONE) {
            set_address_generation(netlink, index, IN6_ADDR_GEN_MODE_NONE)
                .map_err(failed("switch off IPv6 link-local addresses"))?;
        }
        for address in link_local {
            remove_address(netlink, address).map_err(failed("remove an IPv6 link-local address"))?;
        }
        set_features(netlink, &name, wanted)?;
        if !self.link.up {
            set_up(netlink, index, true).map_err(failed("switch on"))?;
        }
        self.link = find_link(netlink, &name)?;
        Ok(())
    }

    /// Puts the old settings back and deletes the record.
    ///
    /// # Errors
    /// When a setting is refused, or the record cannot be deleted. Dropping does the same but cannot tell.
    pub fn restore(mut self) -> Result<(), DeviceError> {
        self.restore_once()
    }

    /// Leaves the device as it is, and the record for whoever prepares it next.
    pub fn leave(mut self) {
        self.restored = true;
    }

    fn restore_once(&mut self) -> Result<(), DeviceError> {
        if std::mem::replace(&mut self.restored, true) {
            return Ok(());
        }
        self.record.put_back()?;
        self.file.delete()
    }
}

impl Drop for PreparedDevice {
    fn drop(&mut self) {
        // On an error the record stays, for the next start.
        let _ = self.restore_once();
    }
}

/// Refuses devices that cannot be a port; gives the link-local addresses that have to go.
fn check(netlink: &mut Netlink, link: &Link) -> Result<Vec<DeviceAddress>, DeviceError> {
    if link.hardware_type != libc::ARPHRD_ETHER {
        return Err(DeviceError::NotEthernet(link.name.clone()));
    }
    if let Some(master) = link.master {
        let master = crate::sys::ioctl::device_name(netlink.as_fd(), master)
            .unwrap_or_else(|_| format!("device {master}"));
        return Err(DeviceError::Enslaved { device: link.name.clone(), master });
    }
    let found = find_addresses(netlink, link.index).map_err(refused(&link.name, "list its addresses"))?;
    let (link_local, others): (Vec<_>, Vec<_>) = found.into_iter().partition(DeviceAddress::is_link_local);
    if others.is_empty() {
        Ok(link_local)
    } else {
        Err(DeviceError::AddressesPresent { device: link.name.clone(), addresses: others })
    }
}

fn features(netlink: &Netlink, link: &Link) -> Result<Vec<Feature>, DeviceError> {
    match ethtool::features(netlink.as_fd(), &link.name) {
        // A driver without such features.
        Err(error) if ethtool::is_unsupported(&error) => Ok(Vec::new()),
        result => Ok(result?),
    }
}

fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some(VETH)
}

/// Features that are not as they should be, and what they should be.
fn wanted_features(
    netlink: &Netlink,
    link: &Link,
    options: &DeviceOptions,
) -> Result<Vec<(String, bool)>, DeviceError> {
    let mut wanted = Vec::new();
    for feature in features(netlink, link)? {
        let is_lro = feature.name == LARGE_RECEIVE_OFFLOAD;
        if (is_lro || feature.name == CHAINING) && feature.active {
            if is_lro && !feature.changeable {
                return Err(DeviceError::LargeReceiveOffload(link.name.clone()));
            }
            wanted.push((feature.name, false));
            continue;
        }
        let merges = MERGING.contains(&feature.name.as_str());
        let untags = UNTAGGING.contains(&feature.name.as_str());
        let wish = match options {
            DeviceOptions { bare: true, .. } => (merges || untags).then_some(false),
            DeviceOptions { merge: true, .. } if is_veth(link) && feature.name == UDP_MERGING => None,
            DeviceOptions { merge: true, .. } => merges.then_some(true),
            _ => None,
        };
        if let Some(on) = wish.filter(|on| *on != feature.active && feature.changeable) {
            wanted.push((feature.name, on));
        }
    }
    Ok(wanted)
}

/// Whether a feature of a device of the calling thread's network namespace is in force, by the kernel's name for it
/// ("rx-lro"). One that the device lacks is not.
///
/// # Errors
/// When there is no such device.
pub fn is_feature_on(device: &str, name: &str) -> Result<bool, DeviceError> {
    let netlink = route_socket(device)?;
    let features = ethtool::features(netlink.as_fd(), device)?;
    Ok(features.iter().any(|feature| feature.name == name && feature.active))
}

/// Switches features of a device of the calling thread's network namespace, by the kernel's names for them
/// ("rx-gro"), and keeps no record: for devices that are nobody else's. Features that the device lacks are passed over.
/// Returns those that were otherwise before, as they were.
///
/// # Errors
/// When there is no such device, or it may not be changed.
pub fn switch_features(device: &str, wanted: &[(String, bool)]) -> Result<Vec<(String, bool)>, DeviceError> {
    let netlink = route_socket(device)?;
    let features = ethtool::features(netlink.as_fd(), device)?;
    let differs = |(name, on): &&(String, bool)| {
        features.iter().any(|feature| feature.name == *name && feature.active != *on && feature.changeable)
    };
    let changed: Vec<(String, bool)> = wanted.iter().filter(differs).cloned().collect();
    set_features(&netlink, device, &changed)?;
    Ok(changed.into_iter().map(|(name, on)| (name, !on)).collect())
}

fn set_features(netlink: &Netlink, device: &str, wanted: &[(String, bool)]) -> Result<(), DeviceError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let features = ethtool::features(netlink.as_fd(), device)?;
    for (name, on) in wanted {
        let found = features.iter().position(|feature| feature.name == *name && feature.active != *on);
        if let Some(index) = found {
            ethtool::set_feature(netlink.as_fd(), device, index, features.len(), *on)?;
        }
    }
    Ok(())
}
