//! Settings of real devices: changed, recorded, put back.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Namespace, add_address, add_veth, delete_link, link, set_down, set_up, until, wire};
use genkan_io::device::{self, DeviceError, DeviceOptions, PreparedDevice, addresses, restore_leftovers};

/// A folder for one test's records, deleted with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("genkan-device-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn records(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, |entries| entries.count())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn prepare(device: &str, state: &Path) -> Result<PreparedDevice, DeviceError> {
    PreparedDevice::prepare(device, state, &DeviceOptions::default())
}

fn link_local(device: &str) -> Vec<IpAddr> {
    let found = addresses(link(device).index).expect("the kernel answers");
    found.into_iter().filter(|address| address.is_link_local()).map(|address| address.address).collect()
}

/// A device that is up, with an IPv6 link-local address of the kernel's.
fn ordinary_device(name: &str, host: &Namespace, peer: &str) -> Vec<IpAddr> {
    add_veth(name, host, peer);
    set_up(name);
    host.run(|| set_up(peer));
    until("a link-local address", || Some(link_local(name)).filter(|found| !found.is_empty()))
}

namespace_tests! {
    fn a_prepared_device_is_up_and_has_no_address() {
        let (host, state) = (Namespace::new(), Folder::new("prepared"));
        add_veth("r0", &host, "h0");
        host.run(|| set_up("h0"));
        assert!(!link("r0").up);
        let prepared = prepare("r0", &state.0).expect("it is fit");
        assert!(link("r0").up);
        assert_eq!(state.records(), 1);
        until("carrier", || link("r0").carrier.then_some(()));
        // An address would be there as soon as there is carrier.
        assert_eq!(link_local("r0"), [] as [IpAddr; 0]);
        assert_eq!(link("r0").address_generation, Some(1));

        prepared.restore().expect("nothing stands against it");
        assert!(!link("r0").up);
        assert_eq!(link("r0").address_generation, Some(0));
        assert_eq!(state.records(), 0);
    }

    fn link_local_addresses_go_and_come_back() {
        let (host, state) = (Namespace::new(), Folder::new("linklocal"));
        let before = ordinary_device("r0", &host, "h0");
        let prepared = prepare("r0", &state.0).expect("it is fit");
        assert_eq!(link_local("r0"), [] as [IpAddr; 0]);
        assert_eq!(prepared.link().name, "r0");
        assert_eq!(prepared.link().kind.as_deref(), Some("veth"));
        // Taking it down and up makes no new one.
        set_down("r0");
        set_up("r0");
        until("carrier", || link("r0").carrier.then_some(()));
        assert_eq!(link_local("r0"), [] as [IpAddr; 0]);
        drop(prepared);
        assert_eq!(link_local("r0"), before);
        assert!(link("r0").up);
        assert_eq!(state.records(), 0);
    }

    fn features_are_switched_and_put_back() {
        let (host, state) = (Namespace::new(), Folder::new("features"));
        wire("r0", &host, "h0");
        let gro = || {
            let output = Command::new("ethtool").args(["-k", "r0"]).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let is_on = |name: &str| text.lines().any(|line| line.trim().starts_with(&format!("{name}: on")));
            Some((is_on("generic-receive-offload"), is_on("rx-udp-gro-forwarding")))
        };
        let Some(before) = gro() else { return println!("SKIPPED: no ethtool to compare with") };
        assert_eq!(before, (false, false), "as veth devices come");
        let chaining = |state: &str| {
            let output = Command::new("ethtool").args(["-k", "r0"]).output().expect("it was there");
            String::from_utf8_lossy(&output.stdout).contains(&format!("rx-gro-list: {state}"))
        };
        let output = Command::new("ethtool").args(["-K", "r0", "rx-gro-list", "on"]).output();
        assert!(output.expect("it was there").status.success() && chaining("on"));
        let prepared = prepare("r0", &state.0).expect("it is fit");
        assert_eq!(gro(), Some((true, false)), "no merging of UDP on a veth");
        assert!(chaining("off"));
        drop(prepared);
        assert_eq!(gro(), Some((false, false)));
        assert!(chaining("on"));
        let prepared = PreparedDevice::prepare("r0", &state.0, &DeviceOptions { merge: false, bare: false });
        assert_eq!(gro(), Some((false, false)));
        drop(prepared);

        let tags = |state: &str| {
            let output = Command::new("ethtool").args(["-k", "r0"]).output().expect("it was there");
            String::from_utf8_lossy(&output.stdout).contains(&format!("rx-vlan-offload: {state}"))
        };
        let output = Command::new("ethtool").args(["-K", "r0", "gro", "on"]).output();
        assert!(output.expect("it was there").status.success() && tags("on"));
        let prepared = PreparedDevice::prepare("r0", &state.0, &DeviceOptions { merge: true, bare: true });
        assert_eq!(gro(), Some((false, false)));
        assert!(tags("off"));
        drop(prepared);
        assert_eq!(gro(), Some((true, false)));
        assert!(tags("on"));
    }

    fn addresses_of_the_kernel_are_refused() {
        let (host, state) = (Namespace::new(), Folder::new("addresses"));
        wire("r0", &host, "h0");
        wire("r1", &host, "h1");
        add_address("r0", Ipv4Addr::new(192, 0, 2, 1), 24);
        add_address("r1", Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 64);
        let error = prepare("r0", &state.0).expect_err("IPv4 is in the way");
        assert!(error.to_string().contains("192.0.2.1/24"), "{error}");
        let error = prepare("r1", &state.0).expect_err("IPv6 is in the way");
        assert!(error.to_string().contains("2001:db8::1/64"), "{error}");
        assert_eq!(state.records(), 0);
    }

    fn unfit_devices_are_refused() {
        let state = Folder::new("unfit");
        assert!(matches!(prepare("absent", &state.0), Err(DeviceError::NotFound(_))));
        assert!(matches!(prepare("lo", &state.0), Err(DeviceError::NotEthernet(_))));
        assert_eq!(state.records(), 0);
    }

    fn two_routers_cannot_have_the_same_device() {
        let (host, state) = (Namespace::new(), Folder::new("twice"));
        wire("r0", &host, "h0");
        let _first = prepare("r0", &state.0).expect("it is fit");
        assert!(matches!(prepare("r0", &state.0), Err(DeviceError::InUse { .. })));
        // And the first one's record is not a leftover.
        assert_eq!(restore_leftovers(&state.0).expect("nothing to do"), [""; 0]);
        assert_eq!(state.records(), 1);
    }

    /// The device is deleted while it is prepared, and another one comes under its name.
    fn a_device_made_again_is_another_one() {
        let (host, state) = (Namespace::new(), Folder::new("again"));
        add_veth("r0", &host, "h0");
        let prepared = prepare("r0", &state.0).expect("it is fit");
        delete_link("r0");
        wire("r0", &host, "h0");
        drop(prepared);
        // The first was down before; the second was not ours to switch off.
        assert!(link("r0").up);
        assert_eq!(state.records(), 0);
        prepare("r0", &state.0).expect("it is fit").restore().expect("nothing stands against it");
    }

    /// kill -9 leaves the settings; the next start puts them back.
    fn a_killed_process_s_settings_are_put_back() {
        let (host, state) = (Namespace::new(), Folder::new("killed"));
        let before = ordinary_device("r0", &host, "h0");
        add_veth("r1", &host, "h1");
        let mut child = Command::new(std::env::current_exe().expect("a running test has a file"))
            .args(["child_process", "--exact", "--nocapture"])
            .env(CHILD, &state.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("prepared"))), "the child prepares");
        assert!(link("r1").up);
        assert_eq!(restore_leftovers(&state.0).expect("it is alive"), [""; 0]);
        child.kill().expect("it runs");
        child.wait().expect("it is ours");

        assert_eq!(link_local("r0"), [] as [IpAddr; 0]);
        assert!(link("r1").up);
        let mut restored = restore_leftovers(&state.0).expect("nothing stands against it");
        restored.sort();
        assert_eq!(restored, ["r0", "r1"]);
        assert_eq!(link_local("r0"), before);
        assert!(link("r0").up && !link("r1").up);
        assert_eq!(state.records(), 0);
    }

    /// Killed, and started again without asking for leftovers: the first state still wins.
    fn a_leftover_record_outlives_a_second_start() {
        let (host, state) = (Namespace::new(), Folder::new("second"));
        let before = ordinary_device("r0", &host, "h0");
        add_veth("r1", &host, "h1");
        let mut child = Command::new(std::env::current_exe().expect("a running test has a file"))
            .args(["child_process", "--exact", "--nocapture"])
            .env(CHILD, &state.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("prepared"))), "the child prepares");
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        let (first, second) = (prepare("r0", &state.0), prepare("r1", &state.0));
        first.expect("it is fit").restore().expect("nothing stands against it");
        second.expect("it is fit").restore().expect("nothing stands against it");
        assert_eq!(link_local("r0"), before);
        assert!(link("r0").up && !link("r1").up);
    }
}

const CHILD: &str = "GENKAN_TEST_STATE";

/// Not a test of its own: the process that other tests kill.
#[test]
fn child_process() {
    if let Some(state) = std::env::var_os(CHILD) {
        let state = Path::new(&state);
        let _devices = ["r0", "r1"].map(|name| prepare(name, state).expect("it is fit"));
        println!("prepared");
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

#[test]
fn listing_works_without_privileges() {
    assert!(device::links().expect("anyone may ask").iter().any(|link| link.name == "lo"));
}
