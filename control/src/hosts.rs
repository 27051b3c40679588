//! The inside hosts, put together from the configuration, the ARP cache, the leases and the tables of sessions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use genkan_engine::plan::Host;
use genkan_engine::view::HostView;

use crate::api::{HostRow, HostSort, NeighborRow, Page};
use crate::devices::Device;
use crate::leases::Leases;
use crate::request::{CHUNK, WorkerError, WorkerHandle, WorkerRequest};
use crate::snapshot::Snapshot;
use crate::vendors::vendor;

/// At most `limit` inside hosts: by address from the one after `cursor` on, or the first ones of all in another order.
///
/// # Errors
/// [`WorkerError`] when a worker gives no answer.
pub async fn page(
    snapshot: &Snapshot,
    worker: &WorkerHandle,
    cursor: Option<u32>,
    limit: usize,
    sort: Option<HostSort>,
) -> Result<Page<HostRow>, WorkerError> {
    snapshot.refresh_hosts(worker).await?;
    let plan = snapshot.running().plan;
    let wan = snapshot.port_name(genkan_engine::frame::PortId::WAN);
    let neighbors: Vec<NeighborRow> =
        snapshot.neighbors().into_iter().filter(|row| row.port != wan).collect();
    let devices = snapshot.devices.by_address();
    let configured = plan.hosts.iter().map(|host| host.address).filter(|address| !address.is_unspecified());
    let known = configured.chain(neighbors.iter().map(|row| row.address)).chain(devices.keys().copied());
    let known = known.chain(snapshot.leases.addresses(cursor, limit.saturating_add(1)));
    let mut found = Found::new(cursor, known);
    let mut at = Some(0);
    while let Some(cursor) = at {
        let piece = |cursor, reply| WorkerRequest::Hosts { cursor, limit: CHUNK, reply };
        let (views, next) = worker.ask_piece(cursor, piece).await?;
        views.into_iter().for_each(|view| found.add(view));
        at = next;
    }
    let (used, next) = found.first(limit, sort);
    Ok(Page { rows: rows(&plan.hosts, &neighbors, &devices, &snapshot.leases, used), next })
}

/// An inside host, with what all workers know of it.
type Used = (Ipv4Addr, Option<HostView>);

/// The hosts from an address on.
struct Found {
    from: Ipv4Addr,
    hosts: BTreeMap<Ipv4Addr, Option<HostView>>,
}

impl Found {
    /// Those that are known without sessions.
    fn new(cursor: Option<u32>, known: impl Iterator<Item = Ipv4Addr>) -> Found {
        let from = Ipv4Addr::from_bits(cursor.unwrap_or(0));
        Found {
            from,
            hosts: known.filter(|address| *address >= from).map(|address| (address, None)).collect(),
        }
    }

    /// Several workers may know one host: it has sessions without NAT at each.
    fn add(&mut self, view: HostView) {
        if view.address < self.from {
            return;
        }
        let sum = self.hosts.entry(view.address).or_default();
        *sum = Some(match sum {
            None => view,
            Some(sum) => HostView {
                sessions: sum.sessions + view.sessions,
                external_ports: sum.external_ports + view.external_ports,
                octets_per_second_in: sum.octets_per_second_in + view.octets_per_second_in,
                octets_per_second_out: sum.octets_per_second_out + view.octets_per_second_out,
                ..*sum
            },
        });
    }

    /// The first of them, and where to go on: the address of the next one as a number.
    fn first(self, limit: usize, sort: Option<HostSort>) -> (Vec<Used>, Option<u32>) {
        let mut hosts = self.hosts.into_iter();
        let Some(sort) = sort else {
            let first = hosts.by_ref().take(limit).collect();
            return (first, hosts.next().map(|(address, _)| address.to_bits()));
        };
        let key = |(_, view): &Used| match (view, sort) {
            (None, _) => 0,
            (Some(view), HostSort::TrafficMost) => view.octets_per_second_in + view.octets_per_second_out,
            (Some(view), HostSort::SessionsMost) => view.sessions.into(),
        };
        let mut sorted: Vec<Used> = hosts.collect();
        // Among equals by address.
        sorted.sort_by_key(|host| Reverse(key(host)));
        sorted.truncate(limit);
        (sorted, None)
    }
}

fn rows(
    configured: &[Host],
    neighbors: &[NeighborRow],
    devices: &BTreeMap<Ipv4Addr, Device>,
    leases: &Leases,
    hosts: Vec<Used>,
) -> Vec<HostRow> {
    let configured: HashMap<Ipv4Addr, &Host> = configured.iter().map(|host| (host.address, host)).collect();
    let neighbors: HashMap<Ipv4Addr, &NeighborRow> = neighbors.iter().map(|row| (row.address, row)).collect();
    let row = |(address, view): Used| {
        let (host, neighbor) = (configured.get(&address), neighbors.get(&address));
        let as_configured = || host.and_then(|host| host.mac).map(|mac| mac.to_string());
        let lease = leases.get(address);
        let as_leased = || lease.as_ref().and_then(|lease| lease.mac).map(|mac| mac.to_string());
        let mac = neighbor.and_then(|row| row.mac.clone()).or_else(as_configured).or_else(as_leased);
        // Another one may have been at this address before.
        let device = devices.get(&address).filter(|device| mac.as_ref().is_none_or(|mac| *mac == device.mac));
        let mac = mac.or_else(|| device.map(|device| device.mac.clone()));
        let lease = lease.filter(|lease| lease.mac.map(|mac| mac.to_string()) == mac);
        let told = match &lease {
            Some(lease) => lease.name.clone(),
            None => device.and_then(|device| device.name.clone()),
        };
        let vendor = mac.as_ref().and_then(|mac| vendor(mac.parse().ok()?));
        HostRow {
            address,
            name: host.map(|host| host.name.clone()).or(told),
            mac,
            vendor: vendor.map(str::to_owned),
            first_seen: device.map(|device| device.first_seen),
            last_seen: device.map(|device| device.last_seen),
            leased: lease.is_some(),
            port: neighbor.map(|row| row.port.clone()),
            state: neighbor.map(|row| row.state.clone()),
            seen_for_seconds: neighbor.map(|row| row.seen_for_seconds),
            sessions: view.map_or(0, |view| view.sessions.into()),
            external_ports: view.map_or(0, |view| view.external_ports.into()),
            external: host.and_then(|host| host.external).or(view.map(|view| view.external)),
            octets_per_second_in: view.map_or(0, |view| view.octets_per_second_in),
            octets_per_second_out: view.map_or(0, |view| view.octets_per_second_out),
        }
    };
    hosts.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use genkan_engine::wire::ethernet::MacAddr;

    use super::*;
    use crate::api::LeaseState;
    use crate::leases::Lease;

    #[test]
    fn what_each_source_knows_becomes_one_row() {
        let host = |last: u8| Ipv4Addr::new(192, 168, 0, last);
        let configured = crate::snapshot::tests::plan().hosts;
        let nas = configured[0].address;
        let neighbor = |address| NeighborRow {
            port: "home".to_owned(),
            address,
            host: None,
            mac: Some("02:00:00:00:00:07".to_owned()),
            state: "reachable".to_owned(),
            seen_for_seconds: 7,
        };
        let external = Ipv4Addr::new(203, 0, 113, 1);
        let view = |address, sessions, octets_per_second_in| HostView {
            address,
            external,
            sessions,
            external_ports: 1,
            octets_per_second_in,
            octets_per_second_out: 1,
        };
        let neighbors = [neighbor(nas), neighbor(host(50))];
        let device = |last, mac: &str| Device {
            mac: mac.to_owned(),
            address: host(last),
            name: Some("tablet".to_owned()),
            first_seen: 100,
            last_seen: 200,
            leased: false,
        };
        let leases = Leases::default();
        let lease = |mac, name: Option<&str>| Lease {
            lan: "home".to_owned(),
            mac: Some(MacAddr(mac)),
            client_id: None,
            name: name.map(str::to_owned),
            reserved: false,
            ends: SystemTime::now() + Duration::from_secs(600),
            state: LeaseState::Leased,
        };
        leases.change([
            (host(50), Some(lease([2, 0, 0, 0, 0, 0x99], Some("stranger")))),
            (host(60), Some(lease([2, 0, 0, 0, 0, 6], Some("tv")))),
            (host(90), Some(lease([0xb8, 0x27, 0xeb, 0, 0, 1], None))),
        ]);
        // Of the second, another one is there now.
        let devices = [device(90, "b8:27:eb:00:00:01"), device(50, "02:00:00:00:00:99")];
        let devices: BTreeMap<_, _> = devices.into_iter().map(|device| (device.address, device)).collect();
        let page = |cursor, limit, sort| {
            let known =
                configured.iter().map(|host| host.address).chain(neighbors.iter().map(|row| row.address));
            let known = known.chain(leases.addresses(cursor, limit + 1));
            let mut found = Found::new(cursor, known.chain(devices.keys().copied()));
            for view in [view(nas, 3, 5), view(host(77), 1, 90), view(nas, 2, 5)] {
                found.add(view);
            }
            let (used, next) = found.first(limit, sort);
            (rows(&configured, &neighbors, &devices, &leases, used), next)
        };
        let (rows, next) = page(None, 10, None);
        let of = |address| rows.iter().find(|row| row.address == address).expect("listed");
        assert_eq!((rows.len(), next), (5, None));
        let elsewhere = of(host(60));
        assert_eq!(
            (elsewhere.name.as_deref(), elsewhere.leased, elsewhere.last_seen),
            (Some("tv"), true, None)
        );
        assert_eq!(elsewhere.mac.as_deref(), Some("02:00:00:00:00:06"));
        let away = of(host(90));
        assert_eq!((away.name.as_deref(), away.vendor.as_deref()), (None, Some("Raspberry Pi")));
        assert_eq!((away.first_seen, away.last_seen, away.leased), (Some(100), Some(200), true));
        assert_eq!((of(host(50)).vendor.as_deref(), of(host(50)).last_seen), (Some("random"), None));
        assert_eq!((of(host(50)).name.as_deref(), of(host(50)).leased), (None, false), "it is another one's");
        assert_eq!((of(nas).name.as_deref(), of(nas).sessions, of(nas).external_ports), (Some("nas"), 5, 2));
        assert_eq!((of(nas).octets_per_second_in, of(nas).octets_per_second_out), (10, 2));
        assert_eq!(of(nas).mac.as_deref(), Some("02:00:00:00:00:07"), "what ARP says goes first");
        assert_eq!((of(host(50)).sessions, of(host(50)).external), (0, None));
        assert_eq!((of(host(77)).port.as_deref(), of(host(77)).external), (None, Some(external)));

        // Page by page, by address; or the first ones in another order.
        let addresses = |rows: Vec<HostRow>| rows.iter().map(|row| row.address).collect::<Vec<_>>();
        let (first, next) = page(None, 2, None);
        assert_eq!((addresses(first), next), (vec![nas, host(50)], Some(host(60).to_bits())));
        let (last, next) = page(next, 3, None);
        assert_eq!((addresses(last), next), (vec![host(60), host(77), host(90)], None));
        let (busiest, next) = page(None, 1, Some(HostSort::TrafficMost));
        assert_eq!((addresses(busiest), next), (vec![host(77)], None));
        let (by_sessions, _) = page(None, 9, Some(HostSort::SessionsMost));
        assert_eq!(addresses(by_sessions), [nas, host(77), host(50), host(60), host(90)]);
    }
}
