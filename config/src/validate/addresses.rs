//! Prefixes and addresses: of the wan, of the lans, of routes.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Code, Report, Span};
use crate::schema::{File, Wan};
use crate::validate::{LanView, Topology};
use crate::value::address::end_of;

/// Checks all of them.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) {
    overlaps(topology, report);
    if let Some(wan) = &file.wan {
        match topology.wan_dhcp {
            Some(span) => dhcp_gives_it(wan, span, report),
            None => gateway(wan, topology, report),
        }
        further(wan, topology, report);
    }
    routes(file, topology, report);
}

/// No address may be on two links.
fn overlaps(topology: &Topology<'_>, report: &mut Report) {
    let wan = topology.wan.iter().map(|(net, span)| ("the wan".to_owned(), *net, *span));
    let lans = topology.lans.iter().map(|lan| (format!("lan `{}`", lan.name), lan.address, lan.span));
    let nets: Vec<(String, Ipv4Net, &Span)> = wan.chain(lans).collect();
    let taken: Vec<Ipv4Net> =
        nets.iter().map(|(_, net, _)| *net).chain(topology.routes.iter().copied()).collect();
    for (index, (name, net, span)) in nets.iter().enumerate() {
        for (other_name, other, other_span) in &nets[..index] {
            if !overlap(*net, *other) {
                continue;
            }
            let how = match net.prefix_len().cmp(&other.prefix_len()) {
                std::cmp::Ordering::Equal => "the same network as",
                std::cmp::Ordering::Greater => "a part of",
                std::cmp::Ordering::Less => "a network that holds",
            };
            let diagnostic = report.error(
                Code::Conflict,
                span,
                format!("{name} ({}) and {other_name} ({}) overlap", net.trunc(), other.trunc()),
            );
            diagnostic
                .label(format!("this is {how} {}", other.trunc()))
                .related(other_span, format!("{other_name} is here"));
            if let Some(free) = free_net(net.prefix_len(), &taken) {
                diagnostic.help(format!("a free network for a lan is `address = \"{free}\"`"));
            }
            if name.starts_with("lan") && other_name == "the wan" {
                diagnostic
                    .note("a router in front of this one often uses the same network: change the one inside");
            }
        }
    }
}

/// Whether two networks share an address.
pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The router's address in a private network of this size that nothing else uses.
fn free_net(prefix: u8, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let (base, count) = match prefix {
        0..=7 => return None,
        8..=23 => (Ipv4Addr::new(10, 0, 0, 0), 1_u32 << (prefix - 8)),
        _ => (Ipv4Addr::new(192, 168, 0, 0), 256),
    };
    // Small networks are spread a /24 apart, which is easier to read.
    let step = 1_u32 << (32 - u32::from(prefix.min(24)));
    (0..count).find_map(|index| {
        let first = Ipv4Addr::from(u32::from(base) + index * step);
        let net = Ipv4Net::new(first, prefix).ok()?;
        if taken.iter().any(|other| overlap(net, *other)) {
            return None;
        }
        let own = if prefix < 31 { u32::from(first) + 1 } else { u32::from(first) };
        Ipv4Net::new(Ipv4Addr::from(own), prefix).ok()
    })
}

/// What has no place beside `address = "dhcp"`.
fn dhcp_gives_it(wan: &Wan, dhcp: &Span, report: &mut Report) {
    if let Some(gateway) = &wan.gateway {
        report
            .error(Code::Conflict, &gateway.span, "`wan.gateway` beside `address = \"dhcp\"`")
            .label("the lease names the gateway")
            .related(dhcp, "the address comes with its gateway")
            .help("take it out; what the lease says is in `genkan status`");
    }
}

fn gateway(wan: &Wan, topology: &Topology<'_>, report: &mut Report) {
    if let (Some(dhcp), Some(address)) = (&wan.dhcp, &wan.address) {
        report
            .error(Code::Conflict, &dhcp.span, "`[wan.dhcp]` beside a fixed address")
            .label("nothing would read it")
            .related(&address.span, "no DHCP server is asked")
            .help("take it out, or write `address = \"dhcp\"`");
    }
    let Some(gateway) = &wan.gateway else {
        if let Some((net, span)) = topology.wan
            && net.prefix_len() == 32
        {
            report
                .error(
                    Code::MissingKey,
                    span,
                    "`wan.gateway` is missing: a /32 has no neighbours, nothing could be reached",
                )
                .label("with this prefix length a gateway is needed")
                .help("add `gateway = \"...\"` to `[wan]`, the address of the provider's router")
                .help("or write the prefix length that the provider gave you");
        }
        return;
    };
    let (address, span) = (gateway.value.0, &gateway.span);
    if let Some(own) = topology.external(address) {
        report
            .error(Code::Conflict, span, format!("`wan.gateway` is {address}, which is our own address"))
            .label("the address of the provider's router is needed")
            .related(own, "ours")
            .help("`ip route` on a machine that works there shows it behind `default via`");
    } else if let Some(lan) = topology.lan_of(address) {
        report
            .error(
                Code::Conflict,
                span,
                format!("`wan.gateway` {address} is in the network of lan `{}`", lan.name),
            )
            .label("the gateway is outside, on the wan's link")
            .related(lan.span, format!("{} is inside", lan.address.trunc()))
            .help("take the address of the provider's router");
    } else if let Some((net, wan_span)) = topology.wan
        && let Some(end) = end_of(net, address)
    {
        report
            .error(Code::BadValue, span, format!("`wan.gateway` is {address}, the {end} of the wan"))
            .label("no machine has this address")
            .related(wan_span, format!("{} is the network", net.trunc()))
            .help("take the address of the provider's router");
    }
}

/// `wan.addresses`.
fn further(wan: &Wan, topology: &Topology<'_>, report: &mut Report) {
    let mut seen: HashMap<Ipv4Addr, &Span> = HashMap::new();
    if let Some((net, span)) = topology.wan {
        seen.insert(net.addr(), span);
    }
    for item in wan.addresses.iter().flat_map(|list| &list.value.items) {
        let (address, span) = (item.value.0, &item.span);
        if let Some(first) = seen.get(&address) {
            report
                .error(
                    Code::Conflict,
                    span,
                    format!("`wan.addresses` lists {address}, which is there already"),
                )
                .label("the second time")
                .related(first, "the first time")
                .help("take it out of the list");
            continue;
        }
        seen.insert(address, span);
        if let Some(lan) = topology.lan_of(address) {
            report
                .error(
                    Code::Conflict,
                    span,
                    format!("`wan.addresses` lists {address}, which is in the network of lan `{}`", lan.name),
                )
                .label("an external address is outside of every lan")
                .related(lan.span, format!("{} is inside", lan.address.trunc()))
                .help("take it out of the list");
        } else if let Some((net, wan_span)) = topology.wan
            && let Some(end) = end_of(net, address)
        {
            report
                .error(Code::BadValue, span, format!("`wan.addresses` lists {address}, the {end} of the wan"))
                .label("no machine has this address")
                .related(wan_span, format!("{} is the network", net.trunc()))
                .help("take it out of the list");
        }
    }
}

fn routes(file: &File, topology: &Topology<'_>, report: &mut Report) {
    let mut seen: HashMap<Ipv4Net, &Span> = HashMap::new();
    for route in file.routes() {
        if let Some(to) = &route.to {
            let (net, span) = (to.value.0, &to.span);
            route_target(net, span, topology, report);
            if let Some(first) = seen.get(&net) {
                report
                    .error(Code::Conflict, span, format!("there are two routes to {net}"))
                    .label("the second one")
                    .related(first, "the first one")
                    .help("take one of them away");
            } else {
                seen.insert(net, span);
            }
        }
        if let Some(via) = &route.via {
            route_via(via.value.0, &via.span, topology, report);
        }
    }
}

fn route_target(net: Ipv4Net, span: &Span, topology: &Topology<'_>, report: &mut Report) {
    if net.prefix_len() == 0 {
        report
            .error(Code::Conflict, span, "a `[[route]]` to 0.0.0.0/0 would turn the internet inside")
            .label("a network inside is needed here")
            .help("the way to the internet is `gateway` in `[wan]`");
        return;
    }
    if let Some(lan) = topology.lans.iter().find(|lan| overlap(lan.address, net)) {
        report
            .error(Code::Conflict, span, format!("the route to {net} overlaps lan `{}`", lan.name))
            .label("a network behind a router shares no address with a lan")
            .related(lan.span, format!("{} is here", lan.address.trunc()))
            .help("make the route narrower, or take it away if that lan is what it is for");
    } else if let Some((wan, wan_span)) = topology.wan
        && overlap(wan, net)
    {
        report
            .error(Code::Conflict, span, format!("the route to {net} overlaps the wan"))
            .label("a network inside shares no address with the wan")
            .related(wan_span, format!("{} is here", wan.trunc()))
            .help("make the route narrower");
    } else if let Some((address, address_span)) =
        topology.external.iter().find(|(address, _)| net.contains(address))
    {
        report
            .error(Code::Conflict, span, format!("the route to {net} holds our external address {address}"))
            .label("a network inside holds no external address")
            .related(address_span, "this one")
            .help("make the route narrower");
    }
}

fn route_via(via: Ipv4Addr, span: &Span, topology: &Topology<'_>, report: &mut Report) {
    let Some(lan) = topology.lan_of(via) else {
        // Without any lan to compare with, something else was reported.
        if !topology.lans.is_empty() {
            let lans = topology.lans.iter().map(|lan: &LanView<'_>| lan.address.trunc().to_string());
            report
                .error(Code::NotFound, span, format!("`route.via` is {via}, which is in no lan"))
                .label(format!("an address in {} is accepted", super::list(lans)))
                .help("take the address that the other router has on the lan");
        }
        return;
    };
    if lan.address.addr() == via {
        report
            .error(Code::Conflict, span, format!("`route.via` is {via}, which is our own address"))
            .label("the address of the other router is needed")
            .related(lan.span, "ours")
            .help("take the address that the other router has on the lan");
    } else if let Some(end) = end_of(lan.address, via) {
        report
            .error(Code::BadValue, span, format!("`route.via` is {via}, the {end} of lan `{}`", lan.name))
            .label("no machine has this address")
            .related(lan.span, format!("{} is the network", lan.address.trunc()))
            .help("take the address that the other router has on the lan");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a net")
    }

    #[test]
    fn proposes_free_networks() {
        let taken = [net("192.168.0.0/24"), net("192.168.1.0/24"), net("10.0.0.0/9")];
        assert_eq!(free_net(24, &taken), Some(net("192.168.2.1/24")));
        assert_eq!(free_net(28, &taken), Some(net("192.168.2.1/28")));
        assert_eq!(free_net(16, &taken), Some(net("10.128.0.1/16")));
        assert_eq!(free_net(32, &taken), Some(net("192.168.2.0/32")));
        assert_eq!(free_net(8, &taken), None);
        assert_eq!(free_net(24, &[net("192.168.0.0/16")]), None);
        assert_eq!(free_net(1, &[]), None);
    }
}
