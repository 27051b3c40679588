//! Names that the DNS service does not give, or that hide others, and resolvers that are none.

use std::net::Ipv4Addr;

use crate::error::{Code, Report};
use crate::schema::{Dns, File, Told};
use crate::validate::Topology;

/// Domains of everybody, beside those of countries, which all have two letters (ISO 3166-1).
const PUBLIC: [&str; 9] = ["arpa", "biz", "com", "edu", "gov", "info", "int", "net", "org"];

pub(super) fn lint(file: &File, topology: &Topology<'_>, report: &mut Report) {
    match &file.dns {
        Some(dns) => {
            domain(dns, report);
            hosts(file, report);
        }
        None => {
            for lan in &file.lan {
                if let (Some(dhcp), Some(address)) = (&lan.dhcp, &lan.address) {
                    told(&dhcp.told, "lan.dhcp", &[address.value.0.addr()], topology, report);
                }
            }
            let own: Vec<Ipv4Addr> = topology.lans.iter().map(|lan| lan.address.addr()).collect();
            for relayed in file.relayed() {
                told(&relayed.told, "relayed", &own, topology, report);
            }
        }
    }
}

/// What is below the domain, and unknown here, is unknown.
fn domain(dns: &Dns, report: &mut Report) {
    let Some(domain) = &dns.domain else { return };
    let name = domain.value.0.as_str();
    let is_country = name.len() == 2 && name.bytes().all(|octet| octet.is_ascii_lowercase());
    if is_country || PUBLIC.contains(&name) {
        report
            .warning(
                Code::DnsName,
                &domain.span,
                format!("`dns.domain` is `{name}`, below which others have names"),
            )
            .label("none of theirs is found any more")
            .help("write `domain = \"home.arpa\"`, or a domain of your own");
    }
}

/// A `[[host]]` may have a name that is for listings and `to` only.
fn hosts(file: &File, report: &mut Report) {
    for name in file.hosts().filter_map(|host| host.name.as_ref()).filter(|name| !name.value.0.is_ascii()) {
        let message = format!("host `{}` has a name that the DNS does not hold", name.value.0);
        report
            .warning(Code::DnsName, &name.span, message)
            .label("nobody finds it by this name")
            .help("take letters of a to z and digits, or its `xn--` form");
    }
}

fn told(told: &Told, table: &str, own: &[Ipv4Addr], topology: &Topology<'_>, report: &mut Report) {
    let Some(dns) = &told.dns else { return };
    let Some(item) = dns.value.items.iter().find(|item| own.contains(&item.value.0)) else { return };
    let message = format!("`{table}.dns` names the router itself, and there is no `[dns]`");
    let diagnostic = report.warning(Code::NoResolver, &item.span, message);
    diagnostic.label("nobody answers there").help("add `[dns]`, or name another resolver");
    if topology.tun {
        diagnostic.note("unless a resolver that the box itself runs listens at this address");
    }
}
