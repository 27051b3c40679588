//! What machines are told beside their address: each part has to fit its option, and to arrive as it is written.

use std::collections::HashMap;

use ipnet::Ipv4Net;

use super::Network;
use crate::error::{Code, Report, Span};
use crate::schema::{Told, ToldOption};
use crate::value::address::{Address, end_of};
use crate::value::{List, Spanned};

/// Most octets of an option (RFC 2132 section 2); clients need not read one in several parts (RFC 3396).
const MOST: usize = 255;
/// Octets of an address.
const ADDRESS: usize = 4;

/// Options that have a key of their own, and what that is; or that the server makes by itself.
const KEYS: &[(u32, &str)] = &[
    (1, ""),
    (3, "router"),
    (6, "dns"),
    (12, ""),
    (15, "domain"),
    (26, "mtu"),
    (28, ""),
    (42, "ntp"),
    (43, "vendor"),
    (50, ""),
    (51, "lease"),
    (52, ""),
    (53, ""),
    (54, ""),
    (55, ""),
    (56, ""),
    (57, ""),
    (58, ""),
    (59, ""),
    (61, ""),
    (81, ""),
    (82, ""),
    (121, "routes"),
    (249, "routes"),
];

/// Checks them.
pub(super) fn told(told: &Told, network: &Network<'_>, report: &mut Report) {
    let table = network.table;
    addresses(told.dns.as_ref(), &format!("{table}.dns"), "name servers", report);
    addresses(told.ntp.as_ref(), &format!("{table}.ntp"), "time servers", report);
    room_for_routes(told, table, report);
    let mut seen: HashMap<Ipv4Net, &Span> = HashMap::new();
    for route in told.routes.iter().flatten() {
        if let Some(to) = &route.to {
            let (net, span) = (to.value.0, &to.span);
            if let Some(first) = seen.insert(net, span) {
                report
                    .error(Code::Conflict, span, format!("`{table}.routes` has two ways to {net}"))
                    .label("the second one")
                    .related(first, "the first one")
                    .help("take one of them away");
            }
        }
        if let Some(via) = &route.via {
            next_hop(via, network, report);
        }
    }
    let mut seen: HashMap<u32, &Span> = HashMap::new();
    for option in told.options.iter().flatten() {
        let Some(code) = &option.code else { continue };
        let number = code.value.0;
        if let Some((_, key)) = KEYS.iter().find(|(known, _)| *known == number) {
            let diagnostic = report.error(
                Code::Conflict,
                &code.span,
                format!("option {number} is none for `{table}.options`"),
            );
            match *key {
                "" => diagnostic.label("the router makes this one by itself").help("leave it out"),
                key => {
                    diagnostic.label("it has a key of its own").help(format!("write it as `{table}.{key}`"))
                }
            };
        } else if let Some(first) = seen.insert(number, &code.span) {
            report
                .error(Code::Conflict, &code.span, format!("`{table}.options` has option {number} twice"))
                .label("the second time")
                .related(first, "the first time")
                .help("take one of them away");
        }
        one_of(option, table, number, report);
    }
}

fn next_hop(via: &Spanned<Address>, network: &Network<'_>, report: &mut Report) {
    let Network { table, name, short, prefix, span: own_span, .. } = network;
    let (address, span) = (via.value.0, &via.span);
    if !prefix.contains(&address) {
        report
            .error(Code::BadValue, span, format!("`{table}.routes.via` is {address}, which is not in {name}"))
            .label(format!("an address of {prefix} is accepted"))
            .related(own_span, *short)
            .help("machines can only send to a next hop on their own network");
    } else if let Some(end) = end_of(*prefix, address) {
        report
            .error(Code::BadValue, span, format!("`{table}.routes.via` is {address}, the {end} of {name}"))
            .label("no router has this address")
            .related(own_span, format!("{prefix} is the network"))
            .help("take the address that the next hop has");
    }
}

/// All of a list stand in one option.
fn addresses(list: Option<&Spanned<List<Address>>>, path: &str, what: &str, report: &mut Report) {
    let Some(list) = list else { return };
    let (count, most) = (list.value.items.len(), MOST / ADDRESS);
    if count > most {
        report
            .error(Code::BadValue, &list.span, format!("`{path}` has {count} {what}, an option holds {most}"))
            .label(format!("{most} at most are accepted"))
            .help("machines ask the first two or three only");
    }
}

/// All of them stand in one option, the way out before them unless one of them is (RFC 3442).
fn room_for_routes(told: &Told, table: &str, report: &mut Report) {
    let size = |net: Ipv4Net| 1 + usize::from(net.prefix_len().div_ceil(8)) + ADDRESS;
    let routes = || told.routes.iter().flatten().filter_map(|route| route.to.as_ref());
    let has_default = routes().any(|to| to.value.0.prefix_len() == 0);
    let mut octets = if has_default { 0 } else { size(Ipv4Net::default()) };
    let mut fitting = 0;
    let mut first = None;
    for to in routes() {
        octets += size(to.value.0);
        match octets {
            ..=MOST => fitting += 1,
            _ => first = first.or(Some(&to.span)),
        }
    }
    if let Some(span) = first {
        report
            .error(
                Code::BadValue,
                span,
                format!("`{table}.routes` takes {octets} octets, an option holds {MOST}"),
            )
            .label(format!("the first {fitting} fit, this one does not"))
            .help("name larger networks that hold several of them");
    }
}

fn one_of(option: &ToldOption, table: &str, number: u32, report: &mut Report) {
    match (&option.text, &option.hex) {
        (Some(text), Some(hex)) => {
            report
                .error(Code::Conflict, &hex.span, format!("option {number} is both text and octets"))
                .label("one of the two is needed")
                .related(&text.span, "the other")
                .help("take one of them away");
        }
        (None, None) if !option.holds_something => {
            report
                .error(
                    Code::MissingKey,
                    &option.span,
                    format!("`{table}.options` has nothing in option {number}"),
                )
                .label("this table needs `text` or `hex`")
                .help("add `text = \"boot/image\"`, or `hex = \"01:02\"`");
        }
        _ => {}
    }
}
