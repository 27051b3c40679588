//! `dhcp` of a `[[lan]]` and `[[relayed]]`: what is handed out has to be of the network that it is handed out on.

use std::net::Ipv4Addr;

use genkan_services::dhcp::server::MAX_POOL;
use ipnet::Ipv4Net;

use super::Topology;
use super::addresses::overlap;
use crate::error::{Code, Report, Span};
use crate::plan::MTU;
use crate::schema::{Dhcp, File, Lan, Relayed};
use crate::value::Spanned;
use crate::value::address::{Address, end_of};
use crate::value::address_range::{self, AddressRange};

mod told;

use told::told;

/// A network that addresses are handed out on.
struct Network<'f> {
    /// Where its keys are: `lan.dhcp`, `relayed`.
    table: &'static str,
    /// What it is called in sentences, and beside its text.
    name: String,
    short: &'static str,
    prefix: Ipv4Net,
    span: &'f Span,
    /// Nobody else can have this one.
    router: Option<(Ipv4Addr, &'f Span)>,
    /// What makes a pool fit that does not.
    wider: &'static str,
}

/// Checks all of them.
pub(super) fn check(file: &File, names: &[String], topology: &Topology<'_>, report: &mut Report) {
    for (lan, name) in file.lan.iter().zip(names) {
        if let (Some(dhcp), Some(address)) = (&lan.dhcp, &lan.address) {
            let own = address.value.0;
            let network = Network {
                table: "lan.dhcp",
                name: format!("lan `{name}`"),
                short: "the lan",
                prefix: own.trunc(),
                span: &address.span,
                router: Some((own.addr(), &address.span)),
                wider: "take addresses of this lan, or make its prefix wider",
            };
            pool(dhcp.pool.as_ref(), &network, report);
            router(dhcp.router.as_ref(), &network, report);
            told(&dhcp.told, &network, report);
            mtu(lan, dhcp, report);
        } else if let Some(pool) = lan.dhcp.as_ref().and_then(|dhcp| dhcp.pool.as_ref()) {
            order("lan.dhcp", pool, report);
        }
    }
    let mut before: Vec<(Ipv4Net, &Span)> = Vec::new();
    for relayed in file.relayed() {
        let network = relayed.network.as_ref().map(|network| (network.value.0, &network.span));
        match network.filter(|(prefix, span)| stands_alone(*prefix, span, &before, topology, report)) {
            Some((prefix, span)) => below(relayed, prefix, span, report),
            None => relayed.pool.iter().for_each(|pool| order("relayed", pool, report)),
        }
        before.extend(network);
    }
}

/// The router takes no longer packets than those of the lan.
fn mtu(lan: &Lan, dhcp: &Dhcp, report: &mut Report) {
    let Some(told) = &dhcp.told.mtu else { return };
    let most = match &lan.mtu {
        Some(mtu) => mtu.value.0,
        None if lan.means_mtu => return,
        None => u32::from(MTU),
    };
    let number = told.value.0;
    if number > most {
        let message = format!("`lan.dhcp.mtu` is {number}, and `lan.mtu` {most}");
        let diagnostic = report.error(Code::Conflict, &told.span, message);
        diagnostic.label("machines would send packets that the router does not take");
        if let Some(mtu) = &lan.mtu {
            diagnostic.related(&mtu.span, "that of the lan");
        }
        diagnostic.help(format!("write `mtu = {most}`"));
        diagnostic.help(format!("or give the `[[lan]]` itself `mtu = {number}`, if its device takes that"));
    }
}

fn below(relayed: &Relayed, prefix: Ipv4Net, span: &Span, report: &mut Report) {
    let network = Network {
        table: "relayed",
        name: format!("network {prefix}"),
        short: "the network",
        prefix,
        span,
        router: relayed.router.as_ref().map(|router| (router.value.0, &router.span)),
        wider: "take addresses of this network",
    };
    pool(relayed.pool.as_ref(), &network, report);
    router(relayed.router.as_ref(), &network, report);
    told(&relayed.told, &network, report);
}

/// Whether a relayed network is nobody else's, and is led to.
fn stands_alone(
    prefix: Ipv4Net,
    span: &Span,
    before: &[(Ipv4Net, &Span)],
    topology: &Topology<'_>,
    report: &mut Report,
) -> bool {
    let what = format!("`relayed.network` is {prefix}");
    if prefix.prefix_len() > 30 || prefix.prefix_len() == 0 {
        report
            .error(Code::BadValue, span, format!("{what}, which is no network of machines"))
            .label("a prefix length from 1 to 30 is accepted")
            .help("for example `network = \"10.20.0.0/24\"`");
    } else if let Some(lan) = topology.lans.iter().find(|lan| overlap(lan.address, prefix)) {
        report
            .error(Code::Conflict, span, format!("{what}, which overlaps lan `{}`", lan.name))
            .label("a network behind a relay agent is none of ours")
            .related(lan.span, format!("{} is here", lan.address.trunc()))
            .help("machines of that lan get their addresses by its own `dhcp`");
    } else if let Some((wan, wan_span)) = topology.wan.filter(|(wan, _)| overlap(*wan, prefix)) {
        report
            .error(Code::Conflict, span, format!("{what}, which overlaps the wan"))
            .label("a network inside shares no address with the wan")
            .related(wan_span, format!("{} is here", wan.trunc()))
            .help("take the network that the relay agent is on");
    } else if let Some((other, first)) = before.iter().find(|(other, _)| overlap(*other, prefix)) {
        report
            .error(Code::Conflict, span, format!("{what}, which overlaps the relayed network {other}"))
            .label("the second one")
            .related(first, "the first one")
            .help("each address can be handed out by one table only");
    } else if !topology.routes.iter().any(|route| route.contains(&prefix)) {
        report
            .error(Code::NotFound, span, format!("{what}, and no `[[route]]` leads there"))
            .label("answers would not find the relay agent")
            .help(format!(
                "add `[[route]]` with `to = \"{prefix}\"` and `via`, the router behind which it is"
            ));
    } else {
        return true;
    }
    false
}

fn pool(pool: Option<&Spanned<AddressRange>>, network: &Network<'_>, report: &mut Report) {
    let Some(pool) = pool else { return };
    let Network { table, name, short, prefix, span: own_span, router, wider } = network;
    let (range, span) = (pool.value, &pool.span);
    if range.first > range.last {
        backwards(table, pool, Some(network), report);
        return;
    }
    let what = format!("`{table}.pool` is {range}");
    let instead = |otherwise: &str| {
        usable(range, network)
            .map_or_else(|| otherwise.to_owned(), |range| format!("write `pool = \"{range}\"`"))
    };
    if !prefix.contains(&range.first) || !prefix.contains(&range.last) {
        report
            .error(Code::BadValue, span, format!("{what}, which is not all in {name}"))
            .label(format!("addresses of {prefix} are accepted"))
            .related(own_span, *short)
            .help(*wider);
        return;
    }
    let most = u64::from(MAX_POOL);
    if range.count() > most {
        report
            .error(Code::BadValue, span, format!("{what}, which are {} addresses", range.count()))
            .label(format!("{most} addresses at most are accepted"))
            .help(instead("take fewer"));
    }
    let ends = [range.first, range.last].into_iter();
    if let Some((address, end)) = ends.filter_map(|address| Some((address, end_of(*prefix, address)?))).next()
    {
        report
            .error(Code::BadValue, span, format!("{what}, which holds {address}, the {end} of {name}"))
            .label("no machine can have that one")
            .related(own_span, format!("{prefix} is the network"))
            .help(instead("leave it out"));
    } else if let Some((router, router_span)) = router.filter(|(router, _)| range.contains(*router)) {
        report
            .error(Code::Conflict, span, format!("{what}, which holds {router}, the router's own"))
            .label(format!("a machine with the router's address would cut off {short}"))
            .related(router_span, "the router's")
            .help(instead("begin behind it, or end before it"));
    }
}

/// Checks a pool of a network that is not known.
fn order(table: &str, pool: &Spanned<AddressRange>, report: &mut Report) {
    if pool.value.first > pool.value.last {
        backwards(table, pool, None, report);
    }
}

/// Reports a pool that ends before it begins.
fn backwards(table: &str, pool: &Spanned<AddressRange>, network: Option<&Network<'_>>, report: &mut Report) {
    let AddressRange { first, last } = pool.value;
    let turned = AddressRange { first: last, last: first };
    let help = match network.and_then(|network| usable(turned, network)) {
        Some(range) => format!("write `pool = \"{range}\"`"),
        None => "write the lower address first".to_owned(),
    };
    let message = format!("`{table}.pool` cannot be \"{}\": it ends before it begins", pool.value);
    report.error(Code::BadValue, &pool.span, message).label(address_range::ACCEPTED).help(help);
}

/// What of a range machines of a network can have; of the parts before and behind the router the larger.
fn usable(range: AddressRange, network: &Network<'_>) -> Option<AddressRange> {
    let (first, last) = (network.prefix.network().to_bits(), network.prefix.broadcast().to_bits());
    let ends = u32::from(network.prefix.prefix_len() < 31);
    let first = range.first.to_bits().max(first + ends);
    let last = range.last.to_bits().min(last - ends);
    let parts = match network.router.map(|(router, _)| router.to_bits()) {
        Some(router) if (first..=last).contains(&router) => {
            [(first, router - 1), (router.saturating_add(1), last)]
        }
        _ => [(first, last), (1, 0)],
    };
    let (first, last) =
        parts.into_iter().filter(|(first, last)| first <= last).max_by_key(|(first, last)| last - first)?;
    let last = last.min(first.saturating_add(MAX_POOL - 1));
    Some(AddressRange { first: Ipv4Addr::from_bits(first), last: Ipv4Addr::from_bits(last) })
}

fn router(router: Option<&Spanned<Address>>, network: &Network<'_>, report: &mut Report) {
    let Some(router) = router else { return };
    let Network { table, name, short, prefix, span: own_span, .. } = network;
    let (address, span) = (router.value.0, &router.span);
    if !prefix.contains(&address) {
        let diagnostic = report.error(
            Code::BadValue,
            span,
            format!("`{table}.router` is {address}, which is not in {name}"),
        );
        diagnostic.label(format!("an address of {prefix} is accepted")).related(own_span, *short);
        diagnostic.help(match *table {
            "relayed" => "take the address that the relay agent, or the router there, has on that network",
            _ => "leave it out: then machines are told the router's own address",
        });
    } else if let Some(end) = end_of(*prefix, address) {
        report
            .error(Code::BadValue, span, format!("`{table}.router` is {address}, the {end} of {name}"))
            .label("no router has this address")
            .related(own_span, format!("{prefix} is the network"))
            .help("take the address that the router has there");
    }
}
