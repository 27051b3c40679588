//! The inside hosts as ARP sees them, fetched when somebody asks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use genkan_engine::Timestamp;
use genkan_engine::frame::PortId;
use genkan_engine::view::NeighborView;

use super::Snapshot;
use crate::api::NeighborRow;
use crate::devices::wall;
use crate::request::{WorkerError, WorkerHandle, WorkerRequest};

/// Age from which the view of hosts is fetched anew when somebody asks.
const HOSTS_FRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct HostEntry {
    view: NeighborView,
    since: Instant,
    round: u64,
}

impl Snapshot {
    /// Makes sure that the view of hosts is at most a second old. Any number of callers cause one request.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker gives no answer.
    pub async fn refresh_hosts(&self, worker: &WorkerHandle) -> Result<(), WorkerError> {
        let mut fetched = self.hosts_fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < HOSTS_FRESH) {
            return Ok(());
        }
        self.look_at_hosts(worker).await?;
        *fetched = Some(Instant::now());
        Ok(())
    }

    /// The same at any age, for who has nobody to show it to: whoever asks next still gets a view of then.
    ///
    /// # Errors
    /// [`WorkerError`] when a worker gives no answer.
    pub async fn look_at_hosts(&self, worker: &WorkerHandle) -> Result<(), WorkerError> {
        let known = worker.ask_all(|reply| WorkerRequest::Neighbors { reply }).await?;
        for (now, views) in &known {
            self.note_devices(*now, views);
        }
        self.set_hosts(best_known(known.into_iter().flat_map(|(_, views)| views)));
        Ok(())
    }

    /// Remembers the devices that a worker has heard of; `now` is its time.
    fn note_devices(&self, now: Timestamp, views: &[NeighborView]) {
        let wall = wall();
        for view in views.iter().filter(|view| view.port != PortId::WAN) {
            let Some(mac) = view.mac else { continue };
            // Not now, also when it is reachable: it may have left since.
            let ago = i64::try_from(now.saturating_since(view.heard).as_secs()).unwrap_or(i64::MAX);
            if view.state == "reachable" {
                self.devices.seen(mac, view.address, ago, wall);
            } else {
                // It may only talk to others of its lan: then nothing has made it answer.
                self.devices.heard(mac, view.address, ago, wall);
            }
        }
    }

    fn set_hosts(&self, views: Vec<NeighborView>) {
        let round = self.host_round.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        for view in views {
            let key = (view.port, view.address);
            let known =
                self.hosts.get(&key).filter(|entry| entry.view.mac == view.mac).map(|entry| entry.since);
            self.hosts.insert(key, HostEntry { view, since: known.unwrap_or(now), round });
        }
        self.hosts.retain(|_, entry| entry.round == round);
    }

    /// The ARP cache as last fetched, by port and address.
    pub fn neighbors(&self) -> Vec<NeighborRow> {
        let mut entries: Vec<HostEntry> = self.hosts.iter().map(|entry| entry.value().clone()).collect();
        entries.sort_unstable_by_key(|entry| (entry.view.port, entry.view.address));
        let row = |entry: HostEntry| {
            let host = self.host_name(entry.view.address);
            NeighborRow::new(
                &entry.view,
                self.port_name(entry.view.port),
                host,
                entry.since.elapsed().as_secs(),
            )
        };
        entries.into_iter().map(row).collect()
    }
}

/// Each worker has an ARP cache of its own: of each neighbour, the entry that says most.
fn best_known(views: impl Iterator<Item = NeighborView>) -> Vec<NeighborView> {
    const BEST_FIRST: [&str; 5] = ["reachable", "probing", "stale", "incomplete", "failed"];
    let rank = |view: &NeighborView| BEST_FIRST.iter().position(|state| *state == view.state);
    let mut best: BTreeMap<(PortId, Ipv4Addr), NeighborView> = BTreeMap::new();
    for view in views {
        let known = best.entry((view.port, view.address)).or_insert_with(|| view.clone());
        if rank(&view) < rank(known) {
            *known = view;
        }
    }
    best.into_values().collect()
}

#[cfg(test)]
mod tests {
    use genkan_engine::wire::ethernet::MacAddr;

    use super::super::tests::running;
    use super::*;

    #[test]
    fn of_what_the_workers_know_the_best_is_shown() {
        let view = |address: u8, state, mac: Option<u8>| NeighborView {
            port: PortId::lan(0),
            address: Ipv4Addr::new(192, 168, 0, address),
            mac: mac.map(|octet| MacAddr([2, 0, 0, 0, 0, octet])),
            state,
            heard: Timestamp::ZERO,
        };
        let all = [
            view(10, "incomplete", None),
            view(20, "stale", Some(2)),
            view(10, "reachable", Some(1)),
            view(20, "failed", None),
        ];
        assert_eq!(best_known(all.into_iter()), [view(10, "reachable", Some(1)), view(20, "stale", Some(2))]);
    }

    #[test]
    fn a_device_that_only_asks_for_the_router_was_seen() {
        let snapshot = Snapshot::new(running());
        let view = |address: u8, state, heard| NeighborView {
            port: PortId::lan(0),
            address: Ipv4Addr::new(192, 168, 0, address),
            mac: Some(MacAddr([2, 0, 0, 0, 0, address])),
            state,
            heard: Timestamp::from_secs(heard),
        };
        let before = wall();
        let outside = NeighborView { port: PortId::WAN, ..view(30, "stale", 100) };
        let nobody = NeighborView { mac: None, ..view(40, "incomplete", 100) };
        let views = [view(10, "stale", 60), view(20, "reachable", 60), outside, nobody];
        snapshot.note_devices(Timestamp::from_secs(100), &views);
        let passed = wall() - before;
        let ago: Vec<_> = snapshot.devices.all().iter().map(|device| wall() - device.last_seen).collect();
        assert_eq!(ago.len(), 2, "{ago:?}");
        assert!(ago.iter().all(|ago| (40..=40 + passed).contains(ago)), "{ago:?}");
    }

    #[test]
    fn hosts_keep_their_first_sight_until_the_mac_changes() {
        let snapshot = Snapshot::new(running());
        let view = |last: u8, mac: u8| NeighborView {
            port: PortId::lan(0),
            address: Ipv4Addr::new(192, 168, 0, last),
            mac: Some(MacAddr([2, 0, 0, 0, 0, mac])),
            state: "reachable",
            heard: Timestamp::ZERO,
        };
        snapshot.set_hosts(vec![view(20, 2), view(10, 1)]);
        let first =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        let rows = snapshot.neighbors();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].host.as_deref(), rows[0].port.as_str()), (Some("nas"), "home"));

        snapshot.set_hosts(vec![view(10, 1)]);
        let again =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        assert_eq!(first, again);
        assert_eq!(snapshot.neighbors().len(), 1);
        snapshot.set_hosts(vec![view(10, 9)]);
        let moved =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        assert!(moved >= first);
        assert_eq!(snapshot.neighbors()[0].mac.as_deref(), Some("02:00:00:00:00:09"));
    }
}
