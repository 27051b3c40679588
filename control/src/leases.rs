//! The leases of the DHCP service: written by the service, read by everybody else.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use genkan_engine::wire::ethernet::MacAddr;

use crate::api::{DhcpFault, DhcpRow, LeaseRow, LeaseState, Page};

/// Who has an address, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The lan whose service has given it: its name.
    pub lan: String,
    /// The client's MAC address, where it is on Ethernet.
    pub mac: Option<MacAddr>,
    /// What the client identifies itself by (option 61), where it does.
    pub client_id: Option<Box<[u8]>>,
    /// The name that it goes by, one label.
    pub name: Option<String>,
    /// Whether it is kept for this client by a `[[host]]`.
    pub reserved: bool,
    /// When it ends.
    pub ends: SystemTime,
    /// Whether a client has it, or a stranger.
    pub state: LeaseState,
}

/// What the service of a lan has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Addresses that any client may get.
    pub size: u32,
    /// Those that nobody has or was promised.
    pub free: u32,
    /// Messages of clients, by kind.
    pub received: Vec<(&'static str, u64)>,
    /// Replies, by kind.
    pub sent: Vec<(&'static str, u64)>,
    /// Messages that got no answer, or not the one they asked for, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Addresses that were found in use by strangers.
    pub conflicts: u64,
    /// Networks in which a client got none, and there still is none.
    pub exhausted: Vec<String>,
    /// Another server whose offer a client has taken lately.
    pub other_server: Option<Ipv4Addr>,
}

/// All leases, by address.
#[derive(Debug, Default)]
pub struct Leases {
    by_address: RwLock<BTreeMap<Ipv4Addr, Lease>>,
    /// By the name of the lan.
    pools: RwLock<BTreeMap<String, Pool>>,
    /// Why a lan's service gives nothing, by the name of the lan.
    troubles: RwLock<BTreeMap<String, (DhcpFault, String)>>,
}

impl Leases {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Ipv4Addr, Lease>> {
        // Nothing in here panics half-way.
        self.by_address.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Ipv4Addr, Lease>> {
        self.by_address.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes leases: `None` for one that has ended.
    pub fn change(&self, changes: impl IntoIterator<Item = (Ipv4Addr, Option<Lease>)>) {
        let mut leases = self.write();
        for (address, lease) in changes {
            match lease {
                Some(lease) => _ = leases.insert(address, lease),
                None => _ = leases.remove(&address),
            }
        }
    }

    /// Replaces all leases of a lan.
    pub fn replace(&self, lan: &str, of_lan: impl IntoIterator<Item = (Ipv4Addr, Lease)>) {
        let mut leases = self.write();
        leases.retain(|_, lease| lease.lan != lan);
        leases.extend(of_lan);
    }

    /// Forgets a lan that has no service any more.
    pub fn forget(&self, lan: &str) {
        self.replace(lan, []);
        self.pools.write().unwrap_or_else(PoisonError::into_inner).remove(lan);
        self.set_trouble(lan, None);
    }

    /// Tells why the service of a lan gives nothing, or that it does.
    pub fn set_trouble(&self, lan: &str, trouble: Option<(DhcpFault, String)>) {
        let mut troubles = self.troubles.write().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => _ = troubles.insert(lan.to_owned(), trouble),
            None => _ = troubles.remove(lan),
        }
    }

    /// How the service of each lan does, by the names of the lans.
    pub fn services(&self) -> Vec<DhcpRow> {
        let mut troubles = self.troubles.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut pools = self.pools();
        let is_unknown = |lan: &&String| !pools.iter().any(|(known, ..)| known == *lan);
        let unserved: Vec<String> = troubles.keys().filter(is_unknown).cloned().collect();
        pools.extend(unserved.into_iter().map(|lan| (lan, Pool::default(), 0)));
        pools.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        let row = |(lan, pool, leases): (String, Pool, usize)| {
            let (fault, reason) = troubles.remove(&lan).unzip();
            DhcpRow {
                pool: pool.size,
                free: pool.free,
                leases: leases as u64,
                exhausted: pool.exhausted,
                conflicts: pool.conflicts,
                other_server: pool.other_server,
                fault,
                reason,
                lan,
            }
        };
        pools.into_iter().map(row).collect()
    }

    /// Tells what the service of a lan has counted.
    pub fn set_pool(&self, lan: &str, pool: Pool) {
        self.pools.write().unwrap_or_else(PoisonError::into_inner).insert(lan.to_owned(), pool);
    }

    /// What each lan's service has counted, and how many leases it has given.
    pub fn pools(&self) -> Vec<(String, Pool, usize)> {
        let (leases, now) = (self.read(), SystemTime::now());
        let mut count = BTreeMap::<&str, usize>::new();
        for lease in leases.values().filter(|lease| lease.is_held(now)) {
            *count.entry(&lease.lan).or_default() += 1;
        }
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools
            .iter()
            .map(|(lan, pool)| (lan.clone(), pool.clone(), count.get(lan.as_str()).copied().unwrap_or(0)))
            .collect()
    }

    /// Who has this address now.
    pub fn get(&self, address: Ipv4Addr) -> Option<Lease> {
        self.read().get(&address).filter(|lease| lease.is_held(SystemTime::now())).cloned()
    }

    /// What was told last of this address, also when it has ended.
    pub fn last(&self, address: Ipv4Addr) -> Option<Lease> {
        self.read().get(&address).cloned()
    }

    /// Every lease in force, by address.
    pub fn all(&self) -> Vec<(Ipv4Addr, Lease)> {
        let now = SystemTime::now();
        let leases = self.read();
        let held = leases.iter().filter(|(_, lease)| lease.is_held(now));
        held.map(|(address, lease)| (*address, lease.clone())).collect()
    }

    /// The addresses of at most `limit` leases in force, from `cursor` on: an address as a number.
    pub fn addresses(&self, cursor: Option<u32>, limit: usize) -> Vec<Ipv4Addr> {
        let (leases, now) = (self.read(), SystemTime::now());
        let from = Ipv4Addr::from_bits(cursor.unwrap_or(0));
        let held = leases.range(from..).filter(|(_, lease)| lease.is_held(now));
        held.take(limit).map(|(address, _)| *address).collect()
    }

    /// At most `limit` rows, by address from `cursor` on: an address as a number.
    pub fn page(&self, cursor: Option<u32>, limit: usize) -> Page<LeaseRow> {
        let (leases, now) = (self.read(), SystemTime::now());
        let from = Ipv4Addr::from_bits(cursor.unwrap_or(0));
        let mut lasting = leases.range(from..).filter(|(_, lease)| lease.ends > now);
        let rows = lasting.by_ref().take(limit).map(|(address, lease)| row(*address, lease, now)).collect();
        Page { rows, next: lasting.next().map(|(address, _)| address.to_bits()) }
    }
}

impl Lease {
    fn is_held(&self, now: SystemTime) -> bool {
        self.state == LeaseState::Leased && self.ends > now
    }
}

fn row(address: Ipv4Addr, lease: &Lease, now: SystemTime) -> LeaseRow {
    let ends = jiff::Timestamp::try_from(lease.ends).unwrap_or(jiff::Timestamp::MAX);
    LeaseRow {
        address,
        lan: lease.lan.clone(),
        name: lease.name.clone(),
        mac: lease.mac.map(|mac| mac.to_string()),
        client_id: lease.client_id.as_ref().map(|id| hex(id)),
        reserved: lease.reserved,
        state: lease.state,
        ends: format!("{ends:.0}"),
        ends_in_seconds: lease.ends.duration_since(now).unwrap_or_default().as_secs(),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lease(lan: &str, seconds: u64, state: LeaseState) -> Lease {
        Lease {
            lan: lan.to_owned(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
            client_id: Some(Box::new([0xff, 0x0a])),
            name: Some("tv".to_owned()),
            reserved: false,
            ends: SystemTime::now() + Duration::from_secs(seconds),
            state,
        }
    }

    #[test]
    fn pages_go_on_after_the_last_address_and_leave_out_what_has_ended() {
        let leases = Leases::default();
        let address = |last| Ipv4Addr::new(192, 168, 0, last);
        let rows = [(1, 600), (2, 0), (3, 600), (4, 600)];
        leases.change(rows.map(|(n, time)| (address(n), Some(lease("home", time, LeaseState::Leased)))));
        leases.change([(address(9), Some(lease("guests", 600, LeaseState::Resting)))]);
        let page = leases.page(None, 2);
        let of = |page: &Page<LeaseRow>| page.rows.iter().map(|row| row.address).collect::<Vec<_>>();
        assert_eq!((of(&page), page.next), (vec![address(1), address(3)], Some(address(4).to_bits())));
        let page = leases.page(page.next, 10);
        assert_eq!((of(&page), page.next), (vec![address(4), address(9)], None));
        assert_eq!(page.rows[0].client_id.as_deref(), Some("ff0a"));
        assert!((590..=600).contains(&page.rows[0].ends_in_seconds), "{:?}", page.rows[0]);

        assert!(leases.get(address(1)).is_some());
        assert!(leases.get(address(2)).is_none() && leases.get(address(9)).is_none());
        leases.set_pool("home", Pool { size: 7, ..Pool::default() });
        assert_eq!(leases.pools(), [("home".to_owned(), Pool { size: 7, ..Pool::default() }, 3)]);
        let trouble = |text: &str| Some((DhcpFault::Disk, text.to_owned()));
        leases.set_trouble("guests", Some((DhcpFault::NotServed, "cannot be read".to_owned())));
        leases.set_trouble("home", trouble("full"));
        let services = leases.services();
        assert_eq!(services.iter().map(|row| row.lan.as_str()).collect::<Vec<_>>(), ["guests", "home"]);
        assert_eq!((services[0].fault, services[0].pool), (Some(DhcpFault::NotServed), 0));
        assert_eq!(
            (services[1].reason.as_deref(), services[1].pool, services[1].leases),
            (Some("full"), 7, 3)
        );
        leases.set_trouble("home", None);
        assert_eq!(leases.services()[1].fault, None);
        leases.change([(address(1), None)]);
        leases.forget("guests");
        assert_eq!(leases.services().len(), 1);
        assert_eq!(of(&leases.page(None, 10)), [address(3), address(4)]);
    }
}
