//! The devices of the lans over time: who was seen when, under which name, and where the machines of `[[host]]`s are.
//!
//! ARP and DHCP tell of devices as they come; what they told is kept here, and in the state folder by the daemon, so that
//! `genkan hosts` knows machines that are switched off now. Never more than [`MOST`]: who was not seen for longest goes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use genkan_engine::wire::ethernet::MacAddr;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Devices that are remembered.
pub const MOST: usize = 4096;

/// Seconds after which a device is forgotten that nobody has seen since: two months, and a week for an address that a device
/// made up, as it will come back with another one.
const FORGET: i64 = 60 * 24 * 3_600;
const FORGET_RANDOM: i64 = 7 * 24 * 3_600;

/// A device that was seen on a lan. Times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its link address, as text.
    pub mac: String,
    /// Where it was last.
    pub address: Ipv4Addr,
    /// What it calls itself to DHCP, by its last lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was seen for the first time.
    pub first_seen: i64,
    /// And last.
    pub last_seen: i64,
    /// Whether it has a lease of this router for the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leased: bool,
}

/// Whether a device that something leads to is where that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// It answers, or nobody has asked yet.
    Present,
    /// It does not answer at the address that it had last.
    Silent,
    /// It is nowhere: what leads to it is closed.
    Absent,
}

/// Where the device of a `[[host]]` is, as told with what leads to it. Times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetDevice {
    /// Name of the `[[host]]`.
    pub host: String,
    /// Whether it is there.
    pub state: DeviceState,
    /// When it was seen last; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<i64>,
    /// Where that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub last_address: Option<Ipv4Addr>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Devices {
    known: Mutex<BTreeMap<MacAddr, Device>>,
    targets: ArcSwap<BTreeMap<String, TargetDevice>>,
}

/// Seconds since 1970 by the clock on the wall.
pub fn wall() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Whether a device has made its link address up (IEEE 802c: the bit for locally administered addresses).
pub fn is_random(mac: MacAddr) -> bool {
    mac.0[0] & 2 != 0
}

impl Devices {
    fn known(&self) -> MutexGuard<'_, BTreeMap<MacAddr, Device>> {
        // Nothing in here panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device has shown itself at an address, `ago` seconds before `now`. What is known of later goes before that.
    pub fn seen(&self, mac: MacAddr, address: Ipv4Addr, ago: i64, now: i64) {
        Self::note_unless_older(self.known(), mac, address, ago, now);
    }

    /// A device has said so without being asked: as anybody can, no other device is forgotten for one that is new.
    pub fn heard(&self, mac: MacAddr, address: Ipv4Addr, ago: i64, now: i64) {
        let known = self.known();
        if known.len() < MOST || known.contains_key(&mac) {
            Self::note_unless_older(known, mac, address, ago, now);
        }
    }

    /// A device has got a lease for an address, with the name that it has told; or, with `holds` false, has it no longer.
    pub fn leased(&self, mac: MacAddr, address: Ipv4Addr, name: Option<&str>, holds: bool, now: i64) {
        if !holds {
            if let Some(device) = self.known().get_mut(&mac).filter(|device| device.address == address) {
                device.leased = false;
            }
            return;
        }
        let mut known = Self::note(self.known(), mac, address, now);
        if let Some(device) = known.get_mut(&mac) {
            device.leased = true;
            device.name = name.map(str::to_owned);
        }
    }

    /// A device holds a lease that was known before, as after a start or a reload: it was not seen by that.
    pub fn holds(&self, mac: MacAddr, address: Ipv4Addr, name: Option<&str>) {
        if let Some(device) = self.known().get_mut(&mac).filter(|device| device.address == address) {
            device.leased = true;
            device.name = name.map(str::to_owned);
        }
    }

    fn note_unless_older(
        known: MutexGuard<'_, BTreeMap<MacAddr, Device>>,
        mac: MacAddr,
        address: Ipv4Addr,
        ago: i64,
        now: i64,
    ) {
        let at = now.saturating_sub(ago);
        let is_older = known.get(&mac).is_some_and(|device| {
            // In whole seconds, what was heard just before a lease may seem to be of the second after it.
            let leased_elsewhere = device.leased && device.address != address;
            let least = device.last_seen.saturating_add(if leased_elsewhere { 2 } else { 0 });
            // A time to come was told by a clock that was wrong.
            at < least && device.last_seen <= now
        });
        if !is_older {
            drop(Self::note(known, mac, address, at));
        }
    }

    fn note(
        mut known: MutexGuard<'_, BTreeMap<MacAddr, Device>>,
        mac: MacAddr,
        address: Ipv4Addr,
        now: i64,
    ) -> MutexGuard<'_, BTreeMap<MacAddr, Device>> {
        if known.len() >= MOST && !known.contains_key(&mac) {
            let oldest = known.iter().min_by_key(|(_, device)| device.last_seen).map(|(mac, _)| *mac);
            oldest.and_then(|mac| known.remove(&mac));
        }
        let device = known.entry(mac).or_insert_with(|| Device {
            mac: mac.to_string(),
            address,
            name: None,
            first_seen: now,
            last_seen: now,
            leased: false,
        });
        device.leased &= device.address == address;
        device.address = address;
        device.last_seen = now;
        known
    }

    /// Begins with what an earlier run has seen. `now`: what is too long ago is forgotten.
    pub fn restore(&self, devices: impl IntoIterator<Item = Device>, now: i64) {
        let mut known = self.known();
        for device in devices.into_iter().take(MOST) {
            let Ok(mac) = device.mac.parse::<MacAddr>() else { continue };
            let forget = if is_random(mac) { FORGET_RANDOM } else { FORGET };
            if now.saturating_sub(device.last_seen) < forget {
                known.entry(mac).or_insert(device);
            }
        }
    }

    /// All devices, by link address.
    pub fn all(&self) -> Vec<Device> {
        self.known().values().cloned().collect()
    }

    /// By address, of several devices that were there the one that was seen last.
    pub fn by_address(&self) -> BTreeMap<Ipv4Addr, Device> {
        let mut all = self.all();
        all.sort_by_key(|device| device.last_seen);
        all.into_iter().map(|device| (device.address, device)).collect()
    }

    /// Says where the devices of `[[host]]`s are, by the hosts' names.
    pub fn set_targets(&self, targets: BTreeMap<String, TargetDevice>) {
        self.targets.store(Arc::new(targets));
    }

    /// Where the devices of `[[host]]`s are, as far as they can be known wherever they are; by the hosts' names.
    pub fn targets(&self) -> Arc<BTreeMap<String, TargetDevice>> {
        self.targets.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAS: MacAddr = MacAddr([0, 0, 0, 0, 0, 1]);

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 0, last)
    }

    #[test]
    fn a_device_keeps_its_first_day_and_its_name() {
        let devices = Devices::default();
        devices.leased(NAS, address(10), Some("nas"), true, 100);
        devices.seen(NAS, address(10), 0, 200);
        devices.leased(NAS, address(10), Some("nas"), true, 300);
        let expected = Device {
            mac: NAS.to_string(),
            address: address(10),
            name: Some("nas".to_owned()),
            first_seen: 100,
            last_seen: 300,
            leased: true,
        };
        assert_eq!(devices.all(), std::slice::from_ref(&expected));
        devices.seen(NAS, address(11), 0, 400);
        assert!(!devices.all()[0].leased, "it has another address now");
        devices.leased(NAS, address(11), None, true, 500);
        devices.leased(NAS, address(10), None, false, 600);
        assert!(devices.all()[0].leased, "that was the old one");
        devices.leased(NAS, address(11), None, false, 700);
        assert_eq!((devices.all()[0].leased, devices.all()[0].last_seen), (false, 500));
        let restored = Devices::default();
        restored.restore([expected.clone()], 400);
        assert_eq!(restored.all(), std::slice::from_ref(&expected));
        assert_eq!(restored.by_address()[&address(10)], expected);
    }

    #[test]
    fn a_device_has_the_name_of_its_last_lease() {
        let devices = Devices::default();
        devices.leased(NAS, address(10), Some("printer"), true, 100);
        devices.leased(NAS, address(10), None, false, 200);
        assert_eq!(devices.all()[0].name.as_deref(), Some("printer"), "it is switched off");
        devices.leased(NAS, address(11), None, true, 300);
        assert_eq!(devices.all()[0].name, None);
    }

    #[test]
    fn what_a_device_says_unasked_counts_unless_more_is_known() {
        let devices = Devices::default();
        let last = || (devices.all()[0].address, devices.all()[0].first_seen, devices.all()[0].last_seen);
        devices.heard(NAS, address(10), 40, 100);
        assert_eq!(last(), (address(10), 60, 60));
        devices.heard(NAS, address(10), 5, 130);
        assert_eq!(last(), (address(10), 60, 125));
        devices.seen(NAS, address(11), 0, 200);
        devices.heard(NAS, address(10), 75, 200);
        assert_eq!(last(), (address(11), 60, 200), "it has moved meanwhile");
        // The clock was an hour ahead.
        devices.seen(NAS, address(11), 0, 4_000);
        devices.heard(NAS, address(11), 10, 400);
        assert_eq!(last(), (address(11), 60, 390));
    }

    /// Its ARP entry at the address of before lives on for a while, and an ARP packet of just before the lease may seem to
    /// be of the second after it.
    #[test]
    fn a_lease_is_newer_than_what_was_heard_before_it() {
        let devices = Devices::default();
        let last = || (devices.all()[0].address, devices.all()[0].last_seen, devices.all()[0].leased);
        devices.seen(NAS, address(208), 0, 90);
        devices.leased(NAS, address(50), None, true, 100);
        for (ago, now) in [(0, 100), (0, 101), (5, 104), (20, 120)] {
            devices.seen(NAS, address(208), ago, now);
            devices.heard(NAS, address(208), ago, now);
            assert_eq!(last(), (address(50), 100, true), "{ago} s before {now}");
        }
        devices.seen(NAS, address(50), 0, 101);
        assert_eq!(last(), (address(50), 101, true));
        devices.seen(NAS, address(208), 10, 113);
        assert_eq!(last(), (address(208), 103, false), "it has gone there");
    }

    #[test]
    fn a_lease_that_is_told_again_is_no_sight_of_its_device() {
        let devices = Devices::default();
        devices.holds(NAS, address(10), Some("nas"));
        assert_eq!(devices.all(), [], "nobody has seen it");
        devices.leased(NAS, address(10), Some("printer"), true, 100);
        devices.holds(NAS, address(10), None);
        let known = || devices.all().remove(0);
        assert_eq!((known().last_seen, known().name, known().leased), (100, None, true));
        devices.seen(NAS, address(11), 0, 200);
        devices.holds(NAS, address(10), Some("nas"));
        assert_eq!((known().last_seen, known().address, known().leased), (200, address(11), false));
        devices.seen(NAS, address(10), 0, 300);
        devices.holds(NAS, address(10), Some("nas"));
        assert_eq!((known().name.as_deref(), known().leased), (Some("nas"), true));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let devices = Devices::default();
        for index in 0..MOST as u32 + 10 {
            let [a, b, c, d] = index.to_be_bytes();
            devices.seen(MacAddr([0, 0, a, b, c, d]), Ipv4Addr::from_bits(index), 0, i64::from(index));
        }
        devices.heard(MacAddr([0, 1, 0, 0, 0, 1]), address(10), 0, 9_999);
        let all = devices.all();
        assert_eq!((all.len(), all[0].last_seen), (MOST, 10));
        let restored = Devices::default();
        let at = |mac: &str, last_seen| Device { mac: mac.to_owned(), last_seen, ..all[0].clone() };
        let (day, now) = (24 * 3_600, 100 * 24 * 3_600);
        let found = [
            at("00:00:00:00:00:01", now - 59 * day),
            at("00:00:00:00:00:02", now - 61 * day),
            at("02:00:00:00:00:01", now - 8 * day),
            at("nonsense", now),
        ];
        restored.restore(found.clone(), now);
        assert_eq!(restored.all(), found[..1]);
    }
}
