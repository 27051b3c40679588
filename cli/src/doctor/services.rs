//! Facts about the services of the running router.

use std::net::{IpAddr, Ipv4Addr};

use genkan_config::Loaded;
use genkan_config::ddns::Ddns;
use genkan_control::api::{DdnsRow, DdnsState, WanLease};
use tokio::task::JoinSet;

use super::facts::{Dns, Name, Services};
use super::gather::{Live, seconds_since_1970};
use super::{boxed, names};
use crate::commands::ddns::family;

/// Most names that are looked up.
const MOST_NAMES: usize = 16;

/// How the services do; of names outside only where one forward is asked about. `None`: no router runs.
pub(super) async fn services(loaded: &Loaded, live: Option<&Live>, is_of_one: bool) -> Option<Services> {
    let live = live?;
    let mut services = Services { is_of_one, ..Services::default() };
    services.missing = missing(loaded, live);
    services.names = names(loaded, live).await;
    if is_of_one {
        services.missing.retain(|(table, ..)| *table == "ddns");
        return Some(services);
    }
    let has_none = |lease: &WanLease| lease.address.is_none() || lease.refused.is_some();
    services.dns = live.dns.enabled.then(|| Dns {
        resolvers: live.dns.upstreams.iter().map(|row| (row.resolver.clone(), row.up)).collect(),
        is_answered: live.dns.upstreams.iter().any(|row| row.answered > 0),
        problems: live.dns.problems.clone(),
        no_lease: live.status.wan_lease.as_ref().is_some_and(has_none),
    });
    let position = |lan: &str| loaded.plan.lans.iter().position(|known| known.name == lan);
    services.dhcp = live.dhcp.iter().map(|row| (position(&row.lan), row.clone())).collect();
    Some(services)
}

/// What the file asks for and the router does not do.
fn missing(loaded: &Loaded, live: &Live) -> Vec<(&'static str, usize, String)> {
    let mut missing = Vec::new();
    for (index, entry) in loaded.config.ddns.iter().enumerate() {
        let is_unknown =
            |name: &&String| !live.ddns.iter().any(|row| entry.family == family(row) && row.name == **name);
        let unknown = entry.names.iter().filter(is_unknown);
        missing.extend(unknown.map(|name| ("ddns", index, entry.family.called(name))));
    }
    if loaded.config.dns.is_some() && !live.dns.enabled {
        missing.push(("dns", 0, "[dns]".to_owned()));
    }
    for (index, (lan, dhcp)) in loaded.plan.lans.iter().zip(&loaded.config.dhcp).enumerate() {
        if dhcp.is_some() && !live.dhcp.iter().any(|row| row.lan == lan.name) {
            missing.push(("lan", index, format!("dhcp ({})", lan.name)));
        }
    }
    missing
}

/// Whether a `[[ddns]]` of the file is that of a listed name.
fn is_of(entry: &Ddns, row: &DdnsRow) -> bool {
    entry.family == family(row) && entry.names.contains(&row.name)
}

async fn names(loaded: &Loaded, live: &Live) -> Vec<Name> {
    let now = seconds_since_1970();
    let mut asked = JoinSet::new();
    let good = live.ddns.iter().enumerate().filter(|(_, row)| row.state == DdnsState::Good);
    for (index, row) in good.take(MOST_NAMES) {
        let (name, family, server) = (row.name.clone(), family(row), own_server(loaded, live, row));
        asked.spawn(async move {
            let found = match server {
                Some(server) => names::by_service(server, &name, family).await,
                None => names::by_system(&name, family).await,
            };
            (index, found)
        });
    }
    let name = |row: &DdnsRow| Name {
        row: row.clone(),
        entry: loaded.config.ddns.iter().position(|entry| is_of(entry, row)),
        resolved: Vec::new(),
        age: row.since.map(|since| now - since),
    };
    let mut names: Vec<Name> = live.ddns.iter().map(name).collect();
    while let Some(answer) = asked.join_next().await {
        if let Ok((index, found)) = answer {
            names[index].resolved = outside(loaded, found);
        }
    }
    names
}

/// Where the router's own DNS service is to be asked for a name: unless it gives an address inside for that.
fn own_server(loaded: &Loaded, live: &Live, row: &DdnsRow) -> Option<Ipv4Addr> {
    let is_inside = |public: &String| public.split(' ').next() == Some(row.name.as_str());
    if !live.dns.enabled
        || boxed::is_elsewhere(live.status.pid)
        || live.dns.public_names.iter().any(is_inside)
    {
        return None;
    }
    loaded.plan.lans.first().map(|lan| lan.address.addr())
}

/// What a resolver tells hosts inside about their own server is nothing about the outside.
fn outside(loaded: &Loaded, found: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_inside = |address: &IpAddr| match address {
        IpAddr::V4(v4) => loaded.plan.lans.iter().any(|lan| lan.address.contains(v4)),
        IpAddr::V6(_) => false,
    };
    if found.iter().any(is_inside) { Vec::new() } else { found }
}
