//! What names and addresses of a lab mean to each other.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::values::{Name, Runs};
use super::{File, Gateway, GatewayTable, Host, LabFile, Link, LinkTable, Network, Side, SideTable};
use crate::error::{Code, Report, Span};
use crate::suggest::closest;
use crate::value::address::{Address, InterfaceAddress};
use crate::value::{Field, List, Spanned, quoted};

/// The lab, as far as it makes sense; what does not is reported.
pub(super) fn check(file: &File, report: &mut Report) -> LabFile {
    let mut names = Seen::default();
    let mut networks = Seen::default();
    for network in file.networks.iter().filter_map(|network| network.name.as_ref()) {
        networks.once(network.value.0.clone(), &network.span, report, || {
            format!("two networks are called `{}`", network.value.0)
        });
    }
    let computers = file.gateways.iter().map(|gateway| &gateway.name);
    for name in computers.chain(file.hosts.iter().map(|host| &host.name)).flatten() {
        names.once(name.value.0.clone(), &name.span, report, || format!("two are called `{}`", name.value.0));
    }
    let mut members = Members { known: networks.0.into_keys().collect(), ..Members::default() };
    let lab = LabFile {
        networks: file
            .networks
            .iter()
            .filter_map(|network| {
                let mtu =
                    network.mtu.as_ref().map_or(1500, |mtu| u16::try_from(mtu.value.0).unwrap_or(u16::MAX));
                Some(Network { name: network.name.as_ref()?.value.0.clone(), mtu })
            })
            .collect(),
        gateways: file.gateways.iter().filter_map(|table| gateway(table, &mut members, report)).collect(),
        hosts: Vec::new(),
        links: Vec::new(),
    };
    let mut hosts = Vec::new();
    for host in &file.hosts {
        let (Some(name), Some(network)) = (&host.name, &host.network) else { continue };
        let addresses = addresses(&host.address, &host.addresses);
        members.join(&name.value.0, network, &addresses, report);
        let addresses: Vec<_> = addresses.into_iter().map(|address| address.value).collect();
        let gateway = host.gateway.as_ref().map(|gateway| gateway.value.0);
        let gateway = gateway.or_else(|| first_gateway(&lab.gateways, &network.value.0));
        let (name, network) = (name.value.0.clone(), network.value.0.clone());
        hosts.push(Host { name, network, addresses, gateway });
    }
    let links = file.links.iter().filter_map(|table| link(table, &members, report)).collect();
    LabFile { hosts, links, ..lab }
}

/// The address of the first gateway that has this network inside; else of the first that is on it at all.
fn first_gateway(gateways: &[Gateway], network: &str) -> Option<Ipv4Addr> {
    let inside = gateways.iter().flat_map(|gateway| &gateway.lans);
    let outside = gateways.iter().filter_map(|gateway| gateway.wan.as_ref());
    let side = inside.chain(outside).find(|side| side.network == network)?;
    side.addresses.first().map(Ipv4Net::addr)
}

/// What there may be only one of.
struct Seen<K>(HashMap<K, Span>);

impl<K> Default for Seen<K> {
    fn default() -> Seen<K> {
        Seen(HashMap::new())
    }
}

impl<K: Hash + Eq> Seen<K> {
    fn once(&mut self, key: K, span: &Span, report: &mut Report, message: impl FnOnce() -> String) {
        if let Some(first) = self.0.get(&key) {
            report
                .error(Code::Conflict, span, message())
                .label("the second one")
                .related(first, "the first one")
                .help("give each its own, or take one of them away");
        } else {
            self.0.insert(key, span.clone());
        }
    }
}

/// Who is on which network.
#[derive(Default)]
struct Members {
    known: Vec<String>,
    addresses: Seen<(String, Ipv4Addr)>,
    /// Network and computer.
    plugged: Vec<(String, String)>,
}

impl Members {
    fn join(
        &mut self,
        who: &str,
        network: &Spanned<Name>,
        addresses: &[Spanned<Ipv4Net>],
        report: &mut Report,
    ) {
        let name = &network.value.0;
        if !self.known.contains(name) {
            let message = format!("there is no network `{name}`");
            let diagnostic =
                report.error(Code::NotFound, &network.span, message).label("it is named nowhere");
            diagnostic.help(match closest(name, self.known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{}`?", quoted(meant)),
                None => format!("add `[[network]]` with `name = {}`", quoted(name)),
            });
            return;
        }
        if self.plugged.contains(&(name.clone(), who.to_owned())) {
            let message = format!("`{who}` is on the network `{name}` twice");
            report.error(Code::Conflict, &network.span, message).label("the second time");
        }
        self.plugged.push((name.clone(), who.to_owned()));
        for address in addresses {
            let ip = address.value.addr();
            self.addresses.once((name.clone(), ip), &address.span, report, || {
                format!("two have the address {ip} on the network `{name}`")
            });
        }
    }

    fn on<'a>(&'a self, network: &'a str) -> impl Iterator<Item = &'a str> {
        self.plugged.iter().filter(move |(on, _)| on == network).map(|(_, who)| who.as_str())
    }

    /// Every name that a link goes by.
    fn links(&self) -> Vec<String> {
        let cables = self.plugged.iter().map(|(network, who)| format!("{network}.{who}"));
        let pairs = self.known.iter().filter(|network| self.on(network).count() == 2).cloned();
        pairs.chain(cables).collect()
    }
}

/// The first address with its prefix, and further ones within it.
fn addresses(first: &Field<InterfaceAddress>, more: &Field<List<Address>>) -> Vec<Spanned<Ipv4Net>> {
    let Some(first) = first else { return Vec::new() };
    let net = first.value.0;
    let more = more.iter().flat_map(|list| &list.value.items).map(|address| {
        // An address of another network is there all the same: a host may stand for many.
        let prefix = if net.contains(&address.value.0) { net.prefix_len() } else { 32 };
        let own = Ipv4Net::new(address.value.0, prefix).unwrap_or(net);
        Spanned::new(own, address.span.clone())
    });
    std::iter::once(Spanned::new(net, first.span.clone())).chain(more).collect()
}

fn side(
    table: &SideTable,
    device: String,
    who: &str,
    members: &mut Members,
    report: &mut Report,
) -> Option<Side> {
    let network = table.network.as_ref()?;
    let addresses = addresses(&table.address, &table.addresses);
    members.join(who, network, &addresses, report);
    Some(Side {
        device,
        network: network.value.0.clone(),
        addresses: addresses.into_iter().map(|address| address.value).collect(),
        gateway: table.gateway.as_ref().map(|gateway| gateway.value.0),
    })
}

fn gateway(table: &GatewayTable, members: &mut Members, report: &mut Report) -> Option<Gateway> {
    let name = table.name.as_ref()?;
    let runs = table.runs.as_ref().map_or(Runs::Genkan, |runs| runs.value.0);
    let who = &name.value.0;
    if runs != Runs::Kernel && !table.has_wan {
        let message = format!("the gateway `{who}` has no `wan`");
        let label = "there is no outside that it could translate to";
        report
            .error(Code::MissingKey, &name.span, message)
            .label(label)
            .help("add `wan = { network = \"internet\", address = \"203.0.113.1/24\" }`");
    }
    if !table.has_lan {
        let message = format!("the gateway `{who}` has no `lan`");
        report
            .error(Code::MissingKey, &name.span, message)
            .label("there is nobody whom it could serve")
            .help("add `lan = [{ network = \"home\", address = \"192.168.0.1/24\" }]`");
    }
    if let Some(rules) = table.rules.as_ref().filter(|_| runs != Runs::Genkan) {
        report
            .error(Code::Conflict, &rules.span, "only a Genkan takes rules")
            .label("the kernel does not read them")
            .help("take them out, or write `runs = \"genkan\"`");
    }
    let wan = table.wan.as_ref().and_then(|wan| side(wan, "wan0".to_owned(), who, members, report));
    let lans = table.lans.iter().enumerate();
    let lans: Vec<_> =
        lans.filter_map(|(number, lan)| side(lan, format!("lan{number}"), who, members, report)).collect();
    let config = match (&wan, runs) {
        (Some(wan), Runs::Genkan) => configuration(table, wan, &lans),
        _ => String::new(),
    };
    Some(Gateway { name: who.clone(), runs, wan, lans, config })
}

/// The configuration of a Genkan with these sides.
fn configuration(table: &GatewayTable, wan: &Side, lans: &[Side]) -> String {
    let mut text = format!("[wan]\ndevice  = {}\n", quoted(&wan.device));
    let [first, more @ ..] = &wan.addresses[..] else { return text };
    // Writing to a String does not fail.
    let _ = writeln!(text, "address = \"{first}\"");
    if let Some(gateway) = wan.gateway {
        let _ = writeln!(text, "gateway = \"{gateway}\"");
    }
    if !more.is_empty() {
        let more: Vec<_> = more.iter().map(|address| format!("\"{}\"", address.addr())).collect();
        let _ = writeln!(text, "addresses = [{}]", more.join(", "));
    }
    for (lan, written) in lans.iter().zip(&table.lans) {
        let [address, ..] = &lan.addresses[..] else { continue };
        let (name, device) = (quoted(&lan.network), quoted(&lan.device));
        let _ = write!(text, "\n[[lan]]\nname    = {name}\ndevice  = {device}\naddress = \"{address}\"\n");
        if let Some(reaches) = &written.reaches {
            let reaches: Vec<_> = reaches.value.items.iter().map(|lan| quoted(&lan.value.0)).collect();
            let _ = writeln!(text, "reaches = [{}]", reaches.join(", "));
        }
    }
    if let Some(rules) = &table.rules {
        let _ = write!(text, "\n{}", rules.value.0.trim_start());
    }
    text
}

fn link(table: &LinkTable, members: &Members, report: &mut Report) -> Option<Link> {
    let name = table.name.as_ref()?;
    let known = members.links();
    if !known.contains(&name.value.0) {
        let message = format!("there is no link `{}`", name.value.0);
        let diagnostic = report.error(Code::NotFound, &name.span, message);
        diagnostic.label("a link is NETWORK.NAME, or NETWORK where two are joined");
        diagnostic.help(match closest(&name.value.0, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{}`?", quoted(meant)),
            None if known.is_empty() => "nothing is on any `[[network]]` of this file".to_owned(),
            None => format!("there are {}", known.join(", ")),
        });
        return None;
    }
    let network = name.value.0.split('.').next().unwrap_or_default();
    let ends: Vec<_> = members.on(network).collect();
    if let Some(from) = table.from.as_ref().filter(|from| !ends.contains(&from.value.0.as_str())) {
        let message = format!("`{}` is not on the network `{network}`", from.value.0);
        let diagnostic = report.error(Code::NotFound, &from.span, message);
        diagnostic.label("somebody who sends there is accepted");
        diagnostic.help(match closest(&from.value.0, ends.iter().copied()) {
            Some(meant) => format!("did you mean `{}`?", quoted(meant)),
            None => format!("there are {}", ends.join(", ")),
        });
    }
    Some(Link {
        name: name.value.0.clone(),
        from: table.from.as_ref().map(|from| from.value.0.clone()),
        delay: table.delay.as_ref().map(|delay| delay.value.0),
        jitter: table.jitter.as_ref().map(|jitter| jitter.value.0),
        loss: table.loss.as_ref().map(|loss| loss.value.0),
        duplicate: table.duplicate.as_ref().map(|duplicate| duplicate.value.0),
        reorder: table.reorder.as_ref().map(|reorder| reorder.value.0),
        rate: table.rate.as_ref().map(|rate| rate.value.0),
        seed: table.seed.as_ref().map(|seed| seed.value.0),
    })
}
