//! Facts about the services of the running router.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use genkan_config::Loaded;
use genkan_config::ddns::Ddns;
use genkan_control::api::{DdnsRow, DdnsState, DnsUpstreamRow, WanLease};
use tokio::task::JoinSet;

use super::facts::{Dns, Name, Resolver, Services};
use super::gather::{Live, seconds_since_1970};
use super::{boxed, names};
use crate::commands::ddns::family;

/// Most names that are looked up.
const MOST_NAMES: usize = 16;
/// Seconds for which it is still now: resolvers that were asked in the last five are not asked again, and may take three.
const NOW: f64 = 10.0;

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
    // Of a router that says nothing any more the next finding tells.
    let asked = if live.dns.enabled { live.client.check_dns().await.ok() } else { None };
    let dns = asked.as_ref().unwrap_or(&live.dns);
    services.dns = dns.enabled.then(|| Dns {
        resolvers: dns.upstreams.iter().map(resolver).collect(),
        problems: dns.problems.clone(),
        no_lease: live.status.wan_lease.as_ref().is_some_and(has_none),
    });
    let position = |lan: &str| loaded.plan.lans.iter().position(|known| known.name == lan);
    services.dhcp = live.dhcp.iter().map(|row| (position(&row.lan), row.clone())).collect();
    Some(services)
}

fn resolver(row: &DnsUpstreamRow) -> Resolver {
    let now = |ago: Option<f64>| ago.filter(|ago| *ago <= NOW);
    let (answered, failed) = (now(row.answered_seconds_ago), now(row.failed_seconds_ago));
    let has_answered = answered.is_some_and(|answered| failed.is_none_or(|failed| answered <= failed));
    let answers = match has_answered {
        // It said something, and yet gives no answers.
        true => Some(row.up),
        false => failed.map(|_| false),
    };
    let after = row.answered_in_ms.filter(|_| has_answered);
    let after = after.map(|milliseconds| Duration::from_secs_f64(milliseconds.max(0.0) / 1000.0));
    Resolver { name: row.resolver.clone(), answers, after }
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
