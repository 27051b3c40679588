//! The lease over a restart: `wan-lease.json` in the state folder, whole after a crash at any moment.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use genkan_config::{Loaded, WanFacts};
use genkan_control::atomic_file;
use genkan_engine::{Timestamp, UnixTime};
use genkan_io::sys::clock::since_1970;
use genkan_services::dhcp::client::{Client, ClientIdentifier, Config, SavedLease};
use nix::time::{ClockId, clock_gettime};
use tracing::warn;

use super::offered::Ours;

const NAME: &str = "wan-lease.json";

/// Before this no clock is right, in seconds since 1970: a box without a clock of its own boots in the past.
const PLAUSIBLE: i64 = 1_700_000_000;

/// Goes on while the machine is suspended, as leases do.
pub(super) fn now() -> Timestamp {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Timestamp::ZERO + since_boot
}

/// The wall time, if the clock is plausible.
pub(super) fn wall() -> Option<UnixTime> {
    let seconds = i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX);
    (seconds >= PLAUSIBLE).then_some(UnixTime(seconds))
}

fn path(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// What was saved; nothing when it cannot be read, as after any lost record a server is asked anew.
pub(super) fn load(state: &Path) -> Option<SavedLease> {
    let path = path(state);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(file = %path.display(), %error, "the lease of the wan cannot be read");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| warn!(file = %path.display(), %error, "the lease of the wan is damaged"))
        .ok()
}

/// Puts it on the disk.
pub(super) fn save(state: &Path, lease: &SavedLease) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(lease)?;
    text.push(b'\n');
    atomic_file::write(&path(state), &text, 0o600)
}

/// Takes it away: it is worth nothing any more.
pub(super) fn remove(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(path(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the wan has before a server was asked: the lease of before, while it is valid for certain. A restart drops
/// nothing then.
pub(in crate::daemon) fn known(state: &Path, written: &Loaded) -> Option<WanFacts> {
    written.config.wan_dhcp.as_ref()?;
    let saved = load(state)?;
    let config = Config {
        hardware_address: saved.hardware_address,
        client_identifier: ClientIdentifier::HardwareAddress,
        host_name: None,
        vendor_class: None,
    };
    // It judges the record; nothing is sent.
    let now = now();
    let mut client = Client::new(config, Some(saved), 0, now, wall()).ok()?;
    if !client.resume(now) {
        return None;
    }
    Ours::of(&written.plan).take(client.configuration()?).ok()
}

#[cfg(test)]
mod tests {
    use genkan_services::dhcp::client::Configuration;

    use super::*;

    const TEXT: &str = "[wan]\ndevice = \"eth0\"\naddress = \"dhcp\"\n[[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n";

    fn loaded(text: &str) -> Loaded {
        genkan_config::parse(text, "genkan.toml").expect("no mistakes")
    }

    fn lease(age: i64) -> SavedLease {
        SavedLease {
            hardware_address: [2, 0, 0, 0, 0, 1],
            configuration: Configuration {
                address: "203.0.113.7/24".parse().expect("a prefix"),
                gateway: Some([203, 0, 113, 1].into()),
                routes: Vec::new(),
                mtu: None,
                dns: Vec::new(),
                ntp: Vec::new(),
                domain: None,
            },
            server: [203, 0, 113, 2].into(),
            lease_time: Some(3_600),
            granted_at: wall().map(|wall| wall.0 - age),
        }
    }

    #[test]
    fn a_valid_lease_is_known_at_the_start_and_no_other() {
        let folder = std::env::temp_dir().join(format!("genkan-wan-lease-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let written = loaded(TEXT);
        assert_eq!(known(&folder, &written), None);
        save(&folder, &lease(60)).expect("saved");
        assert_eq!(load(&folder).map(|saved| saved.server), Some([203, 0, 113, 2].into()));
        let facts = known(&folder, &written).expect("a lease");
        assert_eq!(facts.address.to_string(), "203.0.113.7/24");
        // A wan that has an address needs none, and a lan that has it keeps it.
        assert_eq!(known(&folder, &loaded(&TEXT.replace("dhcp", "192.0.2.1/24"))), None);
        assert_eq!(known(&folder, &loaded(&TEXT.replace("192.168.0.1", "203.0.113.1"))), None);
        save(&folder, &lease(3_601)).expect("saved");
        assert_eq!(known(&folder, &written), None);
        std::fs::write(folder.join(NAME), "{").expect("written");
        assert_eq!(known(&folder, &written), None);
        remove(&folder).expect("removed");
        remove(&folder).expect("removed again");
        std::fs::remove_dir_all(&folder).expect("an own folder");
    }
}
