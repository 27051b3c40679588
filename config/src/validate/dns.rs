//! `[dns]`: who can be asked, and that nobody asks himself.

use std::collections::HashMap;

use crate::error::{Code, Report};
use crate::schema::File;
use crate::validate::Topology;
use crate::value::address::WanAddress;

/// Most resolvers (`MAX_UPSTREAMS` of the service).
const MOST: usize = 16;

/// Checks the table.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) {
    let Some(dns) = &file.dns else { return };
    if !topology.tun {
        report
            .error(Code::Conflict, &dns.span, "`[dns]` without `router.tun`: the box is on no lan")
            .label("queries over TCP come to the box, and the resolvers are asked from there")
            .help("add `[router]`, and below it `tun = \"genkan0\"`");
    }
    let Some(upstreams) = &dns.upstreams else {
        let wan = file.wan.as_ref().and_then(|wan| wan.address.as_ref());
        // An address that was refused may have been meant as `dhcp`.
        if dns.means_upstreams || wan.is_none_or(|address| address.value == WanAddress::Dhcp) {
            return;
        }
        report
            .error(Code::MissingKey, &dns.span, "`dns.upstreams` is missing")
            .label("nobody says which resolvers to ask")
            .help("add `upstreams = [\"9.9.9.9\"]`, or the resolvers of your provider")
            .help("or take those of the provider, by `address = \"dhcp\"` in `[wan]`")
            .help("or over TLS `upstreams = [\"tls://9.9.9.9#dns.quad9.net\"]`");
        return;
    };
    let items = &upstreams.value.items;
    if items.is_empty() && upstreams.value.complete {
        report
            .error(Code::BadValue, &upstreams.span, "`dns.upstreams` cannot be []: nobody would be asked")
            .label("one resolver at least is needed")
            .help("for example `upstreams = [\"9.9.9.9\"]`");
    }
    if items.len() > MOST {
        report
            .error(
                Code::BadValue,
                &upstreams.span,
                format!("`dns.upstreams` cannot have {} resolvers", items.len()),
            )
            .label(format!("at most {MOST} are accepted"))
            .help("two or three are plenty");
    }
    let mut seen = HashMap::new();
    for item in items {
        let at = item.value.0.address;
        let own = topology.is_own_lan_address(*at.ip()) || topology.external(*at.ip()).is_some();
        if own && at.port() == 53 {
            report
                .error(
                    Code::BadValue,
                    &item.span,
                    format!("`dns.upstreams` cannot be {}: that is the router's own address", at.ip()),
                )
                .label("it would ask itself")
                .help("name another resolver, such as \"9.9.9.9\"");
        }
        if let Some(first) = seen.insert((at, item.value.0.is_tls), &item.span) {
            report
                .error(Code::Conflict, &item.span, format!("`dns.upstreams` lists {at} twice"))
                .label("the second time")
                .related(first, "the first time")
                .help("take one of them away");
        }
    }
}
