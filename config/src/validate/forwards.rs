//! `[[forward]]` and `[dmz]`: names looked up, ports paired.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use genkan_engine::local_datagram::Service;
use genkan_engine::plan::PortRange;
use genkan_engine::wire::ipv4::Protocol;

use crate::error::{Code, Report, Span};
use crate::facts::ABSENT;
use crate::schema::{File, Forward};
use crate::suggest::closest;
use crate::validate::{Resolved, Topology, list};
use crate::value::address::end_of;
use crate::value::ports::{PortSpan, Ports};
use crate::value::target::Machine;
use crate::value::{Spanned, quoted};

/// Checks all forwards; the result has an element for each.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) -> Vec<Option<Resolved>> {
    let mut names: HashMap<&str, &Span> = HashMap::new();
    let mut resolved = Vec::new();
    for forward in file.forwards() {
        if let Some(name) = &forward.name {
            if let Some(first) = names.get(name.value.0.as_str()) {
                report
                    .error(Code::Conflict, &name.span, format!("two forwards are called `{}`", name.value.0))
                    .label("the second one")
                    .related(first, "the first one")
                    .help(
                        "give each its own name: `genkan forward remove NAME` has to know which one is meant",
                    );
            } else {
                names.insert(&name.value.0, &name.span);
            }
        }
        if let Some(address) = &forward.address
            && topology.external(address.value.0).is_none()
        {
            not_external("forward.address", address.value.0, &address.span, topology, report);
        }
        if let Some(from) = &forward.from
            && from.value.items.is_empty()
            && from.value.complete
        {
            report
                .error(Code::BadValue, &from.span, "`forward.from` is an empty list, which admits nobody")
                .label("at least one network is needed")
                .help("leave `from` out to admit everybody, or write `enabled = false` to admit nobody");
        }
        if let (Some(temporary), None) = (&forward.temporary, &forward.expires)
            && temporary.value
        {
            report
                .error(Code::Conflict, &temporary.span, "`forward.temporary` without `expires`")
                .label("when is it over?")
                .help("add `expires = 2036-12-31T23:59:59Z` with the right time, or leave `temporary` out");
        }
        let leads = resolve(forward, topology, report);
        if let (Some(dhcp), Some(leads)) = (topology.wan_dhcp, &leads) {
            not_the_client(forward, leads, dhcp, report);
        }
        resolved.push(leads);
    }
    resolved
}

/// The DHCP client hears UDP port 68 of every external address: servers answer to whichever they offer.
fn not_the_client(forward: &Forward, leads: &Resolved, dhcp: &Span, report: &mut Report) {
    let client = Service::DhcpClient.udp_port();
    let (Some(port), Some(protocol)) = (&forward.port, &forward.protocol) else { return };
    let takes = |range: &PortRange| (range.external_first..=range.external_last).contains(&client);
    if protocol.value.0.contains(&Protocol::UDP) && leads.ports.iter().any(takes) {
        report
            .error(
                Code::Conflict,
                &port.span,
                format!("`forward.port` holds UDP port {client}, which is the DHCP client's"),
            )
            .label("what comes in there never reaches a machine inside")
            .related(dhcp, "the wan gets its address by DHCP")
            .help(format!("leave {client} out, or write `protocol = \"tcp\"`"));
    }
}

fn resolve(forward: &Forward, topology: &Topology<'_>, report: &mut Report) -> Option<Resolved> {
    let to = forward.to.as_ref()?;
    let address = machine("forward.to", &to.value.machine, &to.span, topology, report);
    let ports = forward.port.as_ref().and_then(|ports| pair(ports, to.value.ports, &to.span, report));
    Some(Resolved { to: address?, ports: ports? })
}

/// The DMZ host's address.
pub(super) fn dmz(file: &File, topology: &Topology<'_>, report: &mut Report) -> Option<Ipv4Addr> {
    let to = file.dmz.as_ref()?.to.as_ref()?;
    machine("dmz.to", &to.value.0, &to.span, topology, report)
}

/// Looks up a target and checks that packets can be sent there.
fn machine(
    key: &str,
    machine: &Machine,
    span: &Span,
    topology: &Topology<'_>,
    report: &mut Report,
) -> Option<Ipv4Addr> {
    let address = match machine {
        Machine::Address(address) => *address,
        Machine::Name(name) => {
            let Some(host) = topology.hosts.get(name.as_str()) else {
                let diagnostic = report.error(
                    Code::NotFound,
                    span,
                    format!("`{key}` names `{name}`, but there is no such `[[host]]`"),
                );
                if topology.host_names.is_empty() {
                    diagnostic.label("there is no `[[host]]` in this file");
                } else {
                    let names = topology.host_names.iter().map(|name| format!("`{name}`"));
                    diagnostic.label(format!("known hosts: {}", list(names)));
                }
                diagnostic.help(match closest(name, topology.host_names.iter().copied()) {
                    Some(guess) => format!("did you mean `{guess}`?"),
                    None => format!(
                        "add a `[[host]]` with `name = {}` and its `address`, or write the address here",
                        quoted(name)
                    ),
                });
                return None;
            };
            // Its address was checked where it is written. Where it is not, the device is found when the router runs.
            let address = host.address.as_ref().map(|address| address.value.0);
            return address.or((host.mac.is_some() || host.client_id.is_some()).then_some(ABSENT));
        }
    };
    if let Some(ours) = topology.external(address) {
        report
            .error(Code::Conflict, span, format!("`{key}` leads to {address}, an external address of this router"))
            .label("the address of a machine inside is needed")
            .related(ours, "ours")
            .help("inside machines have addresses of a `[[lan]]`; for the box itself take its lan address, with `tun` in `[router]`");
        return None;
    }
    let Some(lan) = topology.lan_of(address) else { return Some(address) };
    if let Some(end) = end_of(lan.address, address) {
        report
            .error(
                Code::BadValue,
                span,
                format!("`{key}` leads to {address}, the {end} of lan `{}`", lan.name),
            )
            .label("no machine has this address")
            .related(lan.span, format!("{} is the network", lan.address.trunc()))
            .help("take the address of the machine that the packets are for");
        return None;
    }
    if topology.is_own_lan_address(address) && !topology.tun {
        report
            .error(
                Code::Conflict,
                span,
                format!("`{key}` leads to {address}, the router's own address on lan `{}`", lan.name),
            )
            .label("without `router.tun` the box itself cannot be reached")
            .related(lan.span, "the router's address")
            .help("add `[router]` with `tun = \"genkan0\"`, or take the address of another machine");
        return None;
    }
    Some(address)
}

/// Pairs external with internal ports.
fn pair(
    ports: &Spanned<Ports>,
    to: Option<PortSpan>,
    to_span: &Span,
    report: &mut Report,
) -> Option<Vec<PortRange>> {
    let external = &ports.value.0;
    let range = |external: PortSpan, internal_first: u16| PortRange {
        external_first: external.first,
        external_last: external.last,
        internal_first,
    };
    let Some(to) = to else {
        return Some(external.iter().map(|ports| range(ports.value, ports.value.first)).collect());
    };
    let [only] = &external[..] else {
        report
            .error(
                Code::Conflict,
                to_span,
                format!("`forward.to` names port {to}, but `forward.port` is a list"),
            )
            .label("which port of the list is meant?")
            .related(&ports.span, "the list")
            .help("leave the port out of `to`: then every port stays the same")
            .help("or write one `[[forward]]` for each port that changes");
        return None;
    };
    let only = only.value;
    if to.len() > 1 && to.len() != only.len() {
        let fitting = u32::from(to.first) + only.len() - 1;
        let diagnostic = report.error(
            Code::Conflict,
            to_span,
            format!("`forward.port` is {} and `forward.to` is {}", count(only), count(to)),
        );
        diagnostic
            .label("as many ports as `port` has are needed")
            .related(&ports.span, format!("{only} here"));
        if only.len() == 1 {
            diagnostic.help(format!("end `to` with `:{}`", to.first));
        } else if fitting <= u32::from(u16::MAX) {
            diagnostic.help(format!("end `to` with `:{}-{fitting}`, or just `:{}`", to.first, to.first));
        }
        return None;
    }
    if u32::from(to.first) + only.len() - 1 > u32::from(u16::MAX) {
        report
            .error(
                Code::BadValue,
                to_span,
                format!("{} from port {} on would go beyond port 65535", count(only), to.first),
            )
            .label(format!("at most port {} is accepted here", u32::from(u16::MAX) + 1 - only.len()))
            .related(&ports.span, format!("{only} here"))
            .help(format!("end `to` with `:{}`", u32::from(u16::MAX) + 1 - only.len()));
        return None;
    }
    Some(vec![range(only, to.first)])
}

/// `80 (1 port)`, `10-12 (3 ports)`.
fn count(ports: PortSpan) -> String {
    match ports.len() {
        1 => format!("{ports} (1 port)"),
        many => format!("{ports} ({many} ports)"),
    }
}

/// Reports an address that should be one of ours.
pub(super) fn not_external(
    key: &str,
    address: Ipv4Addr,
    span: &Span,
    topology: &Topology<'_>,
    report: &mut Report,
) {
    // It may be the one that could not be read, which was reported.
    if !topology.external_complete {
        return;
    }
    let diagnostic = report.error(
        Code::NotFound,
        span,
        format!("`{key}` is {address}, which is no external address of this router"),
    );
    diagnostic.label(match &topology.external[..] {
        [] => "one of `wan.addresses` is accepted, and there are none".to_owned(),
        _ => format!("{} is accepted", topology.external_list()),
    });
    if let Some(dhcp) = topology.wan_dhcp {
        diagnostic.related(dhcp, "the address that DHCP gives cannot be named: it changes");
        if key == "forward.address" {
            diagnostic.help("leave `address` out: then the forward is open on the address of the lease too");
        }
    }
    if topology.is_inside(address) {
        diagnostic.help(match key {
            "forward.address" => {
                "the machine inside belongs into `to`; `address` is the one that the outside sees"
            }
            _ => "the address that the outside sees is needed here",
        });
    } else {
        diagnostic.help(format!("if it is yours, add `\"{address}\"` to `addresses` in `[wan]`"));
    }
}
