//! `[[host]]`: known devices.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::error::{Code, Report, Span};
use crate::plan::DOMAIN;
use crate::schema::File;
use crate::validate::Topology;
use crate::value::Spanned;
use crate::value::address::{Address, end_of};

/// Checks all of them.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) {
    let mut names = HashMap::new();
    let mut macs = HashMap::new();
    let mut identifiers = HashMap::new();
    let mut addresses = HashMap::new();
    let mut externals = HashMap::new();
    let domain = file.dns.as_ref().map(|dns| dns.domain.as_ref().map_or(DOMAIN, |domain| &domain.value.0));
    for host in file.hosts() {
        if let Some(name) = &host.name {
            let text = name.value.0.as_str();
            let lower = text.to_lowercase();
            // With a DNS service both of `nas` and `nas.home.arpa` would be that one.
            let below = domain.and_then(|domain| lower.strip_suffix(domain)?.strip_suffix('.'));
            let key = below.filter(|label| !label.contains('.')).unwrap_or(&lower).to_owned();
            once(&mut names, key, &name.span, report, || match below {
                Some(label) => {
                    format!("two hosts are called `{label}` in the DNS: `{text}` is below `dns.domain`")
                }
                None => format!("two hosts are called `{text}`"),
            });
        }
        if let Some(mac) = &host.mac {
            once(&mut macs, mac.value.0, &mac.span, report, || {
                format!("two hosts have the MAC address {}", mac.value.0)
            });
        }
        if let Some(id) = &host.client_id {
            once(&mut identifiers, id.value.0.as_slice(), &id.span, report, || {
                "two hosts have the same `client_id`".to_owned()
            });
        }
        if let Some(address) = &host.address {
            let ip = address.value.0;
            once(&mut addresses, ip, &address.span, report, || format!("two hosts have the address {ip}"));
            internal(address, file, topology, report);
        }
        if let Some(external) = &host.external {
            let ip = external.value.0;
            once(&mut externals, ip, &external.span, report, || {
                format!("two hosts have the external address {ip}")
            });
            one_to_one(ip, &external.span, topology, report);
        }
    }
}

/// Reports what is there for the second time.
fn once<'f, K: std::hash::Hash + Eq>(
    seen: &mut HashMap<K, &'f Span>,
    key: K,
    span: &'f Span,
    report: &mut Report,
    message: impl FnOnce() -> String,
) {
    if let Some(first) = seen.get(&key) {
        report
            .error(Code::Conflict, span, message())
            .label("the second one")
            .related(first, "the first one")
            .help("give each its own, or take one of them away");
    } else {
        seen.insert(key, span);
    }
}

/// A host's own address has to be one that a machine inside can have.
fn internal(address: &Spanned<Address>, file: &File, topology: &Topology<'_>, report: &mut Report) {
    let (ip, span) = (address.value.0, &address.span);
    if let Some(lan) = topology.lan_of(ip) {
        if lan.address.addr() == ip {
            report
                .error(Code::Conflict, span, format!("`host.address` is {ip}, which is the router's own"))
                .label("another address of this lan is needed")
                .related(lan.span, "the router's")
                .help("the box itself needs no `[[host]]`; for another machine take its own address");
        } else if let Some(end) = end_of(lan.address, ip) {
            report
                .error(
                    Code::BadValue,
                    span,
                    format!("`host.address` is {ip}, the {end} of lan `{}`", lan.name),
                )
                .label("no machine has this address")
                .related(lan.span, format!("{} is the network", lan.address.trunc()))
                .help("take the address that the machine has");
        }
    } else if let Some((net, net_span, end)) = file.relayed().find_map(|relayed| {
        let network = relayed.network.as_ref()?;
        Some((network.value.0, &network.span, end_of(network.value.0, ip)?))
    }) {
        report
            .error(Code::BadValue, span, format!("`host.address` is {ip}, the {end} of {net}"))
            .label("no machine has this address")
            .related(net_span, "the relayed network")
            .help("take the address that the machine has");
    } else if !topology.is_inside(ip) && !topology.lans.is_empty() {
        let lans = topology.lans.iter().map(|lan| lan.address.trunc().to_string());
        report
            .error(
                Code::NotFound,
                span,
                format!("`host.address` is {ip}, which is in no lan and behind no route"),
            )
            .label(format!("an address in {} is accepted", super::list(lans)))
            .help("take the address that the machine has on a lan, or add the `[[route]]` that leads there");
    }
}

/// `external` has to be one of ours that nothing else needs.
fn one_to_one(ip: Ipv4Addr, span: &Span, topology: &Topology<'_>, report: &mut Report) {
    let Some(ours) = topology.external(ip) else {
        super::forwards::not_external("host.external", ip, span, topology, report);
        return;
    };
    if topology.wan.is_some_and(|(primary, _)| primary.addr() == ip) {
        report
            .error(Code::Conflict, span, format!("`host.external` is {ip}, the primary address of the wan"))
            .label("1:1 NAT needs an address of its own: everybody else leaves from this one")
            .related(ours, "the primary address")
            .help("take one of `wan.addresses`")
            .help("or give the host all ports that nobody else needs: `[dmz]` with `to = ...`");
    }
}
