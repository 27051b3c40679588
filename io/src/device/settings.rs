//! Settings of devices that we change while we run, and put back afterwards, also after a `kill -9`.
//!
//! Before the first change, what was found is written to a record, one file per device in the state folder. A clean
//! end puts the settings back and deletes the record. A process that was killed leaves it, and the next start puts
//! back what it says ([`restore_leftovers`]). The record is locked (flock(2)) while its writer lives, and the kernel
//! drops the lock of a killed process, so that nobody mistakes a running router's record for a leftover.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{
    DeviceAddress, DeviceError, IN6_ADDR_GEN_MODE_NONE, Link, add_address, find_addresses, find_link,
    refused, remove_address, route_socket, set_address_generation, set_up,
};
use crate::netlink::Netlink;
use crate::sys::ethtool::{self, Feature};

mod datagrams;

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

const PREFIX: &str = "device-";
const SUFFIX: &str = ".json";

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

/// What was found on a device before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    device: String,
    index: u32,
    /// Settings do not survive a reboot, and then are not ours any more.
    boot: String,
    /// The network namespace (inode number): the same name in another one is another device.
    namespace: u64,
    up: bool,
    address_generation: Option<u8>,
    /// IPv6 link-local addresses with their prefix length.
    link_local: Vec<(IpAddr, u8)>,
    /// Features that we switch, with their state before.
    features: BTreeMap<String, bool>,
}

fn boot_id() -> String {
    // Without /proc every record looks as if it were of this boot: then the index has to tell.
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn namespace_id() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino())
}

/// The file of one device's record, locked.
#[derive(Debug)]
struct RecordFile {
    file: Flock<File>,
    path: PathBuf,
}

impl RecordFile {
    fn failed(path: &Path, operation: &'static str) -> impl Fn(io::Error) -> DeviceError {
        move |source| DeviceError::Record { path: path.to_owned(), operation, source }
    }

    /// Opens and locks a file; `None` when someone else holds it.
    fn open(path: &Path) -> Result<Option<RecordFile>, DeviceError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(Self::failed(path, "open the record of device settings"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(RecordFile { file, path: path.to_owned() })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Self::failed(path, "lock the record of device settings")(errno.into())),
        }
    }

    /// What the file says. A record that was not written to its end was followed by no change.
    fn read(&mut self) -> Result<Option<Record>, DeviceError> {
        let failed = Self::failed(&self.path, "read the record of device settings");
        let mut octets = Vec::new();
        self.file.rewind().map_err(&failed)?;
        self.file.read_to_end(&mut octets).map_err(&failed)?;
        Ok(serde_json::from_slice(&octets).ok())
    }

    /// Replaces what the file says; on the disk when this returns.
    fn write(&mut self, record: &Record) -> Result<(), DeviceError> {
        let failed = Self::failed(&self.path, "write the record of device settings");
        let octets = serde_json::to_vec_pretty(record).map_err(|error| failed(error.into()))?;
        self.file.set_len(0).map_err(&failed)?;
        self.file.rewind().map_err(&failed)?;
        self.file.write_all(&octets).map_err(&failed)?;
        self.file.sync_all().map_err(&failed)?;
        // The folder's entry, too.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)
    }

    fn delete(&self) -> Result<(), DeviceError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Self::failed(&self.path, "delete the record of device settings")(error))
            }
            _ => Ok(()),
        }
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
        let path = state.join(format!("{PREFIX}{device}{SUFFIX}"));
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

impl Record {
    /// Whether this is about the device that has its name now.
    fn is_of(&self, link: &Link) -> bool {
        self.is_of_here() && self.index == link.index
    }

    fn is_of_here(&self) -> bool {
        self.boot == boot_id() && self.namespace == namespace_id()
    }

    /// Puts the settings back; whether the device is still there.
    fn put_back(&self) -> Result<bool, DeviceError> {
        let device = &self.device;
        let mut netlink = route_socket(device)?;
        let link = match find_link(&mut netlink, device) {
            Err(DeviceError::NotFound(_)) => return Ok(false),
            result => result?,
        };
        if !self.is_of(&link) {
            return Ok(false);
        }
        let failed = |operation| refused(device, operation);
        let features: Vec<_> = self.features.iter().map(|(name, on)| (name.clone(), *on)).collect();
        set_features(&netlink, device, &features)?;
        if !self.up && link.up {
            set_up(&mut netlink, link.index, false).map_err(failed("switch off"))?;
        }
        if let Some(mode) = self.address_generation.filter(|mode| link.address_generation != Some(*mode)) {
            set_address_generation(&mut netlink, link.index, mode)
                .map_err(failed("put back how IPv6 link-local addresses are made"))?;
        }
        for (address, prefix_len) in &self.link_local {
            let address = DeviceAddress { index: link.index, address: *address, prefix_len: *prefix_len };
            add_address(&mut netlink, &address).map_err(failed("put back an IPv6 link-local address"))?;
        }
        Ok(true)
    }
}

/// Puts back the settings that a killed process left changed; the names of the devices it did so for.
///
/// Records of running processes, of other network namespaces and of devices that are no more are let be.
///
/// # Errors
/// The first failure; the other records have been tended to even so.
pub fn restore_leftovers(state: &Path) -> Result<Vec<String>, DeviceError> {
    let entries = match fs::read_dir(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(RecordFile::failed(state, "read the state folder"))?,
    };
    let mut restored = Vec::new();
    let mut failure = None;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !(name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            continue;
        }
        match restore_leftover(&path) {
            Ok(device) => restored.extend(device),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(restored), Err)
}

fn restore_leftover(path: &Path) -> Result<Option<String>, DeviceError> {
    let Some(mut file) = RecordFile::open(path)? else { return Ok(None) };
    let device = match file.read()? {
        Some(record) if record.boot == boot_id() && record.namespace != namespace_id() => return Ok(None),
        Some(record) if record.is_of_here() => record.put_back()?.then_some(record.device),
        _ => None,
    };
    file.delete()?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            device: "genkan-absent".into(),
            index: 7,
            boot: boot_id(),
            namespace: namespace_id(),
            up: false,
            address_generation: Some(0),
            link_local: vec![("fe80::1".parse().expect("an address"), 64)],
            features: BTreeMap::from([("rx-gro".to_owned(), false)]),
        }
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-settings-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        path
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let state = folder("read");
        let path = state.join("device-x.json");
        let mut file = RecordFile::open(&path).expect("writable").expect("nobody holds it");
        assert_eq!(file.read().expect("readable"), None);
        file.write(&record()).expect("writable");
        file.write(&record()).expect("writable");
        assert_eq!(file.read().expect("readable"), Some(record()));
        assert!(RecordFile::open(&path).expect("readable").is_none(), "it is locked");
        drop(file);
        assert!(RecordFile::open(&path).expect("readable").is_some());
        fs::remove_dir_all(state).expect("ours");
    }

    #[test]
    fn leftovers_that_concern_nobody_are_deleted_or_let_be() {
        let state = folder("leftovers");
        let write = |name: &str, record: &Record| {
            let octets = serde_json::to_vec(record).expect("plain data");
            fs::write(state.join(name), octets).expect("writable");
        };
        write("device-vanished.json", &record());
        write("device-rebooted.json", &Record { boot: "another".into(), ..record() });
        write("device-elsewhere.json", &Record { namespace: 1, ..record() });
        fs::write(state.join("device-cut.json"), "{\"device\":").expect("writable");
        fs::write(state.join("other.json"), "{}").expect("writable");
        assert_eq!(restore_leftovers(&state).expect("nothing to refuse"), [""; 0]);
        let mut left: Vec<_> =
            fs::read_dir(&state).expect("ours").flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["device-elsewhere.json", "other.json"]);
        assert_eq!(
            restore_leftovers(Path::new("/nonexistent/genkan")).expect("no folder, no leftovers"),
            [""; 0]
        );
        fs::remove_dir_all(state).expect("ours");
    }
}
