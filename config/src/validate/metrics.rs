//! `[metrics]`: the router answers at its own addresses on lans, and at no others.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use crate::error::{Code, Report, Span};
use crate::schema::File;
use crate::validate::{Topology, list};

/// Checks `listen`.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) {
    let Some(listen) = file.metrics.as_ref().and_then(|metrics| metrics.listen.as_ref()) else { return };
    if !topology.tun {
        report
            .error(Code::Conflict, &listen.span, "`metrics.listen` without `router.tun`: the box is on no lan")
            .label("nobody could reach it there")
            .help("add `[router]`, and below it `tun = \"genkan0\"`: the box is reachable at its lan addresses then");
    }
    let mut seen: HashMap<SocketAddrV4, &Span> = HashMap::new();
    for place in &listen.value.0 {
        let at = place.value.0;
        if !topology.is_own_lan_address(*at.ip()) {
            let own = topology.lans.iter().map(|lan| SocketAddrV4::new(lan.address.addr(), at.port()));
            let what = match topology.external(*at.ip()) {
                Some(_) => "is an address of the wan, from which nobody is answered",
                None => "is not an address of the router's own on a lan",
            };
            report
                .error(
                    Code::BadValue,
                    &place.span,
                    format!("`metrics.listen` cannot be {at}: {} {what}", at.ip()),
                )
                .label(format!("{} is accepted", list(own.map(|own| format!("\"{own}\"")))));
        } else if let Some(first) = seen.get(&at) {
            report
                .error(Code::Conflict, &place.span, format!("`metrics.listen` lists {at} twice"))
                .label("the second time")
                .related(first, "the first time")
                .help("take one of them away");
        } else {
            seen.insert(at, &place.span);
        }
    }
}
