//! Forwards that open what gets attacked, or lead nowhere.

use std::net::Ipv4Addr;

use genkan_engine::plan::PortRange;

use super::ports::all_of;
use crate::error::{Code, Report, Span};
use crate::facts::ABSENT;
use crate::schema::{File, Forward};
use crate::services::SERVICES;
use crate::validate::{Checked, Resolved, Topology, list};
use crate::value::Spanned;
use crate::value::ports::PortSpan;
use crate::value::target::{Machine, Target};

pub(super) fn lint(file: &File, checked: &Checked, topology: &Topology<'_>, report: &mut Report) {
    for (forward, resolved) in file.forwards().zip(&checked.forwards) {
        let Some(resolved) = resolved else { continue };
        let Some(name) = &forward.name else { continue };
        // A device without an address is wherever it is found, on a lan.
        if let Some(to) = &forward.to
            && resolved.to != ABSENT
            && !topology.is_inside(resolved.to)
        {
            let subject = format!("forward `{}` leads", name.value.0);
            outside(&subject, resolved.to, &to.span, topology, report);
        }
        if let Some(to) = &forward.to {
            let subject = format!("forward `{}` leads", name.value.0);
            in_pool(&subject, resolved.to, &to.span, file, report);
            unfound(&subject, to, file, report);
        }
        open_service(forward, resolved, &name.value.0, report);
    }
}

/// Reports a device that only the DHCP service would know, where there is none.
fn unfound(subject: &str, to: &Spanned<Target>, file: &File, report: &mut Report) {
    let Machine::Name(wanted) = &to.value.machine else { return };
    let is_served = file.lan.iter().any(|lan| lan.dhcp.is_some()) || file.relayed().next().is_some();
    let host = file.hosts().find(|host| host.name.as_ref().is_some_and(|name| name.value.0 == *wanted));
    let Some(host) = host.filter(|host| host.mac.is_none() && host.address.is_none() && !is_served) else {
        return;
    };
    let message = format!("{subject} to `{wanted}`, which only DHCP would know, and no lan has `dhcp`");
    let diagnostic = report.warning(Code::TargetOutside, &to.span, message);
    diagnostic.label("nobody finds out where it is");
    if let Some(id) = &host.client_id {
        diagnostic.related(&id.span, "what it calls itself to DHCP");
    }
    diagnostic.help("give the `[[host]]` its `mac` or `address`, or its lan a `dhcp`");
}

/// Reports a target whose address DHCP may give to any machine.
pub(super) fn in_pool(subject: &str, to: Ipv4Addr, span: &Span, file: &File, report: &mut Report) {
    let pools = file.lan.iter().filter_map(|lan| lan.dhcp.as_ref()?.pool.as_ref());
    let mut pools = pools.chain(file.relayed().filter_map(|relayed| relayed.pool.as_ref()));
    let Some(pool) = pools.find(|pool| pool.value.contains(to)) else { return };
    let is_reserved = file.hosts().any(|host| {
        let can_be_known = host.mac.is_some() || host.client_id.is_some();
        can_be_known && host.address.as_ref().is_some_and(|address| address.value.0 == to)
    });
    if is_reserved {
        return;
    }
    report
        .warning(Code::TargetInPool, span, format!("{subject} to {to}, which DHCP may give to any machine"))
        .label("today this machine, tomorrow another")
        .related(&pool.span, "the pool")
        .help("reserve it: a `[[host]]` with this `address` and the machine's `mac`")
        .help("or follow the machine: a `[[host]]` with its `mac` alone, and its name in `to`");
}

/// Reports a target that no lan and no route leads to.
pub(super) fn outside(
    subject: &str,
    to: Ipv4Addr,
    span: &Span,
    topology: &Topology<'_>,
    report: &mut Report,
) {
    let lans = topology.lans.iter().map(|lan| lan.address.trunc().to_string());
    report
        .warning(
            Code::TargetOutside,
            span,
            format!("{subject} to {to}, which is in no lan and behind no route"),
        )
        .label("packets will not get there")
        .help(format!("take an address in {}", list(lans)))
        .help("or add the `[[route]]` that leads there");
}

fn open_service(forward: &Forward, resolved: &Resolved, name: &str, report: &mut Report) {
    let enabled = forward.enabled.as_ref().is_none_or(|enabled| enabled.value);
    let everybody = forward
        .from
        .as_ref()
        .is_none_or(|from| from.value.items.iter().any(|net| net.value.0.prefix_len() == 0));
    let (Some(protocols), true, true) = (&forward.protocol, enabled, everybody) else { return };
    // A service is known by the port it has inside, or by the one it is called at.
    let holds = |port: u16| {
        resolved.ports.iter().any(|range| internal(range).contains(port) || external(range).contains(port))
    };
    let attacked = SERVICES.iter().filter(|service| service.kind.is_attacked_everywhere());
    let mut services: Vec<(&str, u16)> = attacked
        .filter(|service| protocols.value.0.contains(&service.protocol) && holds(service.port))
        .map(|service| (service.name, service.port))
        .collect();
    services.dedup();
    let Some((first, port)) = services.first() else { return };
    let what = match services.len() {
        1 => format!("{first} (port {port})"),
        more => format!("{first} (port {port}) and {} more", more - 1),
    };
    let span = forward.port.as_ref().map_or(&forward.span, |ports| &ports.span);
    let diagnostic =
        report.warning(Code::OpenService, span, format!("forward `{name}` opens {what} to everybody"));
    diagnostic.label("attackers try this service all day, on every address");
    if services.len() > 1 {
        let names: Vec<String> =
            services.iter().map(|(service, port)| format!("{service} ({port})")).collect();
        diagnostic.note(format!("among these ports are {}", all_of(&names)));
    }
    diagnostic.help("admit only those who need it, for example `from = [\"198.51.100.0/24\"]`");
}

/// The external ports of a pair of runs.
pub(super) fn external(range: &PortRange) -> PortSpan {
    PortSpan { first: range.external_first, last: range.external_last }
}

/// The internal ports of a pair of runs.
fn internal(range: &PortRange) -> PortSpan {
    let last = range.internal_first.saturating_add(range.external_last - range.external_first);
    PortSpan { first: range.internal_first, last }
}
