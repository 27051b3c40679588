//! Findings about the services: each from what the running router tells of it.

use genkan_control::api::{DdnsFault, DdnsState, DhcpFault, DhcpRow, DnsFault};

use super::{Cause, Found};
use crate::commands::ddns::called;
use crate::doctor::cause::Step;
use crate::doctor::facts::{Dns, Name, Services};

/// Seconds for which a resolver may still have an address of before: mostly the largest TTL of names that change.
const CACHED: i64 = 3_600;

/// The services that there are, and whether they are known to be well where nothing is found.
pub(crate) fn there(services: &Services) -> Vec<(Step, bool)> {
    let there = [
        (!services.names.is_empty()).then_some((Step::Ddns, true)),
        services
            .dns
            .as_ref()
            .map(|dns| (Step::Dns, dns.resolvers.iter().any(|resolver| resolver.answers == Some(true)))),
        (!services.dhcp.is_empty()).then_some((Step::Dhcp, true)),
    ];
    there.into_iter().flatten().collect()
}

/// What is wrong about them.
pub(super) fn of_services(services: &Services) -> Vec<Found> {
    let mut all = Vec::new();
    for (table, index, what) in &services.missing {
        let found = Found::new(Cause::ServiceNotLoaded, [("service", what.clone())]);
        // Packets of forwards are no worse off.
        let found = found.at(table, *index, "names").doubt_if(true);
        all.push(found.commands(["genkan reload".to_owned()]));
    }
    all.extend(services.names.iter().filter_map(of_name));
    all.extend(services.dns.iter().flat_map(of_dns));
    all.extend(services.dhcp.iter().flat_map(|(lan, row)| of_dhcp(*lan, row)));
    // Who uses the address itself gets to the one forward that is asked about.
    all.into_iter().map(|found| found.doubt_if(services.is_of_one)).collect()
}

fn of_name(name: &Name) -> Option<Found> {
    let row = &name.row;
    let about = |cause, arguments: Vec<(&'static str, String)>| {
        let mut found = Found::new(cause, [("name", called(row)), ("provider", row.provider.clone())]);
        found.arguments.extend(arguments);
        match name.entry {
            Some(entry) => found.at("ddns", entry, "names"),
            None => found,
        }
    };
    if let Some(fault) = row.fault {
        let cause = match fault {
            DdnsFault::Credentials => Cause::DdnsCredentials,
            DdnsFault::Name => Cause::DdnsName,
            DdnsFault::Blocked => Cause::DdnsBlocked,
            DdnsFault::Service => Cause::DdnsService,
            DdnsFault::Unreachable => Cause::DdnsUnreachable,
            DdnsFault::Clock => Cause::DdnsClock,
            DdnsFault::Address => Cause::DdnsAddress,
            DdnsFault::Local => Cause::DdnsLocal,
        };
        let known = row.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let why = row.reason.clone().unwrap_or_default();
        let found = about(cause, vec![("why", why), ("address", known)]);
        // It has the address that was the right one last.
        let found = found.doubt_if(row.state == DdnsState::Good);
        return Some(match row.state {
            DdnsState::Stopped => found.commands([format!("genkan ddns update {}", row.name)]),
            _ => found,
        });
    }
    let wanted = row.wanted.filter(|_| row.state == DdnsState::Good)?;
    if name.resolved.is_empty() || name.resolved.contains(&wanted) {
        return None;
    }
    let found = name.resolved.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let found = about(Cause::DdnsElsewhere, vec![("found", found), ("wanted", wanted.to_string())]);
    // Cloudflare answers with its own addresses for records that it proxies.
    let is_proxy = row.provider == "cloudflare";
    Some(found.doubt_if(is_proxy || name.age.is_none_or(|age| age < CACHED)))
}

fn of_dns(dns: &Dns) -> Vec<Found> {
    let mut all = Vec::new();
    for problem in &dns.problems {
        let (cause, key, is_doubtful) = match problem.fault {
            // The wan's own cause says the rest.
            DnsFault::NoResolver => (Cause::DnsNoResolver, "upstreams", dns.no_lease),
            DnsFault::Silent => (Cause::DnsSilent, "upstreams", false),
            DnsFault::Tls => (Cause::DnsTls, "tls_ca", false),
            DnsFault::Settings => (Cause::DnsSettings, "upstreams", false),
            DnsFault::Tcp => (Cause::DnsTcp, "upstreams", true),
            DnsFault::BlockList => (Cause::DnsBlockList, "block", true),
        };
        let found = Found::new(cause, [("why", problem.text.clone())]).at("dns", 0, key);
        let add = "upstreams = [\"9.9.9.9\"]".to_owned();
        all.push(match cause {
            Cause::DnsNoResolver => found.doubt_if(is_doubtful).commands(["[dns]".to_owned(), add]),
            _ => found.doubt_if(is_doubtful),
        });
    }
    let down = dns.resolvers.iter().filter(|resolver| resolver.answers == Some(false));
    let down: Vec<String> = down.map(|resolver| resolver.name.clone()).collect();
    if !down.is_empty() && down.len() == dns.resolvers.len() {
        // The service itself says so only once it is sure.
        if !dns.problems.iter().any(|problem| problem.fault == DnsFault::Silent) {
            let why = format!("no resolver answers ({})", down.join(", "));
            all.push(Found::new(Cause::DnsSilent, [("why", why)]).at("dns", 0, "upstreams"));
        }
    } else if !down.is_empty() {
        let found = Found::new(Cause::DnsResolverDown, [("resolvers", down.join(", "))]);
        all.push(found.at("dns", 0, "upstreams").doubt_if(true));
    }
    all
}

fn of_dhcp(lan: Option<usize>, row: &DhcpRow) -> Vec<Found> {
    let about = |cause, argument: (&'static str, String)| {
        let found = Found::new(cause, [("lan", row.lan.clone()), argument]);
        match lan {
            Some(lan) => found.at("lan", lan, "dhcp"),
            None => found,
        }
    };
    let mut all = Vec::new();
    if let Some(fault) = row.fault {
        let cause = match fault {
            DhcpFault::NotServed => Cause::DhcpNotServed,
            DhcpFault::Disk => Cause::DhcpDisk,
        };
        all.push(about(cause, ("why", row.reason.clone().unwrap_or_default())));
    }
    if !row.exhausted.is_empty() {
        all.push(about(Cause::DhcpExhausted, ("networks", row.exhausted.join(", "))));
    }
    if let Some(server) = row.other_server {
        all.push(about(Cause::DhcpOtherServer, ("server", server.to_string())));
    }
    all
}

#[cfg(test)]
mod tests;
