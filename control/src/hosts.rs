//! The inside hosts, put together from the configuration, the ARP cache and the tables of sessions.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use genkan_engine::plan::Host;
use genkan_engine::view::HostView;

use crate::api::{HostRow, NeighborRow};
use crate::request::{CHUNK, WorkerError, WorkerHandle, WorkerRequest};
use crate::snapshot::Snapshot;

/// All inside hosts, by address.
///
/// # Errors
/// [`WorkerError`] when a worker gives no answer.
pub async fn all(snapshot: &Snapshot, worker: &WorkerHandle) -> Result<Vec<HostRow>, WorkerError> {
    snapshot.refresh_hosts(worker).await?;
    let mut used = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let piece = |cursor, reply| WorkerRequest::Hosts { cursor, limit: CHUNK, reply };
        let (views, next) = worker.ask_piece(at, piece).await?;
        used.extend(views);
        cursor = next;
    }
    let plan = snapshot.running().plan;
    let wan = snapshot.port_name(genkan_engine::frame::PortId::WAN);
    let neighbors = snapshot.neighbors().into_iter().filter(|row| row.port != wan);
    Ok(merge(&plan.hosts, neighbors, used))
}

fn merge(
    configured: &[Host],
    neighbors: impl Iterator<Item = NeighborRow>,
    used: Vec<HostView>,
) -> Vec<HostRow> {
    let mut rows: BTreeMap<Ipv4Addr, HostRow> = BTreeMap::new();
    let blank = |address| HostRow {
        address,
        name: None,
        mac: None,
        port: None,
        state: None,
        seen_for_seconds: None,
        sessions: 0,
        external_ports: 0,
        external: None,
    };
    for host in configured {
        let row = rows.entry(host.address).or_insert_with(|| blank(host.address));
        row.name = Some(host.name.clone());
        row.mac = host.mac.map(|mac| mac.to_string());
        row.external = host.external;
    }
    for neighbor in neighbors {
        let row = rows.entry(neighbor.address).or_insert_with(|| blank(neighbor.address));
        row.mac = neighbor.mac.or(row.mac.take());
        row.port = Some(neighbor.port);
        row.state = Some(neighbor.state);
        row.seen_for_seconds = Some(neighbor.seen_for_seconds);
    }
    // Several workers may know one host: it has sessions without NAT at each.
    for view in used {
        let row = rows.entry(view.address).or_insert_with(|| blank(view.address));
        row.sessions += u64::from(view.sessions);
        row.external_ports += u64::from(view.external_ports);
        row.external = row.external.or(Some(view.external));
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let view = |address, sessions| HostView { address, external, sessions, external_ports: 1 };
        let used = vec![view(nas, 3), view(host(77), 1), view(nas, 2)];
        let rows = merge(&configured, [neighbor(nas), neighbor(host(50))].into_iter(), used);
        let of = |address| rows.iter().find(|row| row.address == address).expect("listed");
        assert_eq!(rows.len(), 3);
        assert_eq!((of(nas).name.as_deref(), of(nas).sessions, of(nas).external_ports), (Some("nas"), 5, 2));
        assert_eq!(of(nas).mac.as_deref(), Some("02:00:00:00:00:07"), "what ARP says goes first");
        assert_eq!((of(host(50)).sessions, of(host(50)).external), (0, None));
        assert_eq!((of(host(77)).port.as_deref(), of(host(77)).external), (None, Some(external)));
    }
}
