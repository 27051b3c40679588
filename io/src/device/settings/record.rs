//! The record of how a device was found, and what it takes to put it back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::set_features;
use crate::device::{
    DeviceAddress, DeviceError, Link, add_address, find_link, refused, route_socket, set_address_generation,
    set_up,
};

const PREFIX: &str = "device-";
const SUFFIX: &str = ".json";

/// Where the record of a device is, in the folder `state`.
pub(super) fn path(state: &Path, device: &str) -> PathBuf {
    state.join(format!("{PREFIX}{device}{SUFFIX}"))
}

/// What was found on a device before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) device: String,
    pub(super) index: u32,
    /// Settings do not survive a reboot, and then are not ours any more.
    pub(super) boot: String,
    /// The network namespace (inode number): the same name in another one is another device.
    pub(super) namespace: u64,
    pub(super) up: bool,
    pub(super) address_generation: Option<u8>,
    /// IPv6 link-local addresses with their prefix length.
    pub(super) link_local: Vec<(IpAddr, u8)>,
    /// Features that we switch, with their state before.
    pub(super) features: BTreeMap<String, bool>,
}

pub(super) fn boot_id() -> String {
    // Without /proc every record looks as if it were of this boot: then the index has to tell.
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

pub(super) fn namespace_id() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino())
}

/// The file of one device's record, locked.
#[derive(Debug)]
pub(super) struct RecordFile {
    file: Flock<File>,
    path: PathBuf,
}

impl RecordFile {
    pub(super) fn failed(path: &Path, operation: &'static str) -> impl Fn(io::Error) -> DeviceError {
        move |source| DeviceError::Record { path: path.to_owned(), operation, source }
    }

    /// Opens and locks a file; `None` when someone else holds it.
    pub(super) fn open(path: &Path) -> Result<Option<RecordFile>, DeviceError> {
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
    pub(super) fn read(&mut self) -> Result<Option<Record>, DeviceError> {
        let failed = Self::failed(&self.path, "read the record of device settings");
        let mut octets = Vec::new();
        self.file.rewind().map_err(&failed)?;
        self.file.read_to_end(&mut octets).map_err(&failed)?;
        Ok(serde_json::from_slice(&octets).ok())
    }

    /// Replaces what the file says; on the disk when this returns.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), DeviceError> {
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

    pub(super) fn delete(&self) -> Result<(), DeviceError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Self::failed(&self.path, "delete the record of device settings")(error))
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// Whether this is about the device that has its name now.
    pub(super) fn is_of(&self, link: &Link) -> bool {
        self.is_of_here() && self.index == link.index
    }

    fn is_of_here(&self) -> bool {
        self.boot == boot_id() && self.namespace == namespace_id()
    }

    /// Puts the settings back; whether the device is still there.
    pub(super) fn put_back(&self) -> Result<bool, DeviceError> {
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
