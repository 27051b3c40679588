//! `dhcp` of a `[[lan]]`: what it hands out has to be of that lan.

use ipnet::Ipv4Net;

use crate::error::{Code, Report, Span};
use crate::schema::{Dhcp, File};
use crate::value::address::end_of;

/// Checks all of them.
pub(super) fn check(file: &File, names: &[String], report: &mut Report) {
    for (lan, name) in file.lan.iter().zip(names) {
        if let (Some(dhcp), Some(address)) = (&lan.dhcp, &lan.address) {
            pool(dhcp, name, address.value.0, &address.span, report);
            router(dhcp, name, address.value.0, &address.span, report);
        }
    }
}

fn pool(dhcp: &Dhcp, name: &str, own: Ipv4Net, own_span: &Span, report: &mut Report) {
    let Some(pool) = &dhcp.pool else { return };
    let (range, span) = (pool.value, &pool.span);
    let what = format!("`lan.dhcp.pool` is {}-{}", range.first, range.last);
    let network = own.trunc();
    if !network.contains(&range.first) || !network.contains(&range.last) {
        report
            .error(Code::BadValue, span, format!("{what}, which is not all in lan `{name}`"))
            .label(format!("addresses of {network} are accepted"))
            .related(own_span, "the lan")
            .help("take addresses of this lan, or make its prefix wider");
        return;
    }
    let ends = [range.first, range.last].into_iter();
    if let Some((address, end)) = ends.filter_map(|address| Some((address, end_of(network, address)?))).next()
    {
        report
            .error(Code::BadValue, span, format!("{what}, which holds {address}, the {end} of lan `{name}`"))
            .label("no machine can have that one")
            .related(own_span, format!("{network} is the network"))
            .help("leave it out");
    } else if range.contains(own.addr()) {
        report
            .error(Code::Conflict, span, format!("{what}, which holds {}, the router's own", own.addr()))
            .label("a machine with the router's address would cut off the lan")
            .related(own_span, "the router's")
            .help("begin behind it, or end before it");
    }
}

fn router(dhcp: &Dhcp, name: &str, own: Ipv4Net, own_span: &Span, report: &mut Report) {
    let Some(router) = &dhcp.router else { return };
    let (address, span) = (router.value.0, &router.span);
    if !own.contains(&address) {
        report
            .error(
                Code::BadValue,
                span,
                format!("`lan.dhcp.router` is {address}, which is not in lan `{name}`"),
            )
            .label(format!("an address of {} is accepted", own.trunc()))
            .related(own_span, "the lan")
            .help("leave it out: then machines are told the router's own address");
    }
}
