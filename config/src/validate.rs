//! Checks that need more than one key: what may not be twice, what has to exist elsewhere, what has to fit.
//!
//! The reader has already refused values that are wrong by themselves. A key that it refused counts as absent
//! here, so that one mistake is reported once.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use genkan_engine::plan::PortRange;
use ipnet::Ipv4Net;

use crate::error::{Report, Span};
use crate::schema::{File, Host};
use crate::value::address::WanAddress;

mod addresses;
mod ddns;
mod devices;
mod dhcp;
mod dns;
mod forwards;
mod hosts;
mod metrics;

/// What the checks found out on their way.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Name of each lan.
    pub(crate) lan_names: Vec<String>,
    /// For each lan, the lans it may open sessions to, ascending.
    pub(crate) reaches: Vec<Vec<usize>>,
    /// For each forward, where it leads; `None` where an error was reported.
    pub(crate) forwards: Vec<Option<Resolved>>,
    /// The DMZ host.
    pub(crate) dmz: Option<Ipv4Addr>,
}

/// A forward with names looked up and ports paired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The target's address.
    pub(crate) to: Ipv4Addr,
    /// External runs and where they lead, in the order written.
    pub(crate) ports: Vec<PortRange>,
}

/// Runs all checks.
pub(crate) fn check(file: &File, report: &mut Report) -> Checked {
    let lan_names = devices::check(file, report);
    let reaches = devices::reaches(file, &lan_names, report);
    let topology = Topology::new(file, &lan_names);
    addresses::check(file, &topology, report);
    hosts::check(file, &topology, report);
    dhcp::check(file, &lan_names, &topology, report);
    dns::check(file, &topology, report);
    metrics::check(file, &topology, report);
    ddns::check(file, &topology, report);
    let forwards = forwards::check(file, &topology, report);
    let dmz = forwards::dmz(file, &topology, report);
    Checked { lan_names, reaches, forwards, dmz }
}

/// Which addresses are where.
#[derive(Debug)]
pub(crate) struct Topology<'f> {
    /// The wan's prefix, where it is written.
    pub(crate) wan: Option<(Ipv4Net, &'f Span)>,
    /// Where it says that DHCP gives the primary external address.
    pub(crate) wan_dhcp: Option<&'f Span>,
    /// All external addresses that are written, the primary first.
    pub(crate) external: Vec<(Ipv4Addr, &'f Span)>,
    /// No external address is missing because it could not be read.
    pub(crate) external_complete: bool,
    /// The lans whose address could be read.
    pub(crate) lans: Vec<LanView<'f>>,
    /// Networks behind routers on lans.
    pub(crate) routes: Vec<Ipv4Net>,
    /// Hosts by name; the first of each name.
    hosts: HashMap<&'f str, &'f Host>,
    /// Names of hosts, in file order.
    host_names: Vec<&'f str>,
    /// The box itself is an inside host, or was meant to be.
    pub(crate) tun: bool,
}

/// One lan.
#[derive(Debug)]
pub(crate) struct LanView<'f> {
    /// Its name.
    pub(crate) name: String,
    /// The router's address and the prefix.
    pub(crate) address: Ipv4Net,
    /// Where the address is written.
    pub(crate) span: &'f Span,
}

impl<'f> Topology<'f> {
    pub(crate) fn new(file: &'f File, lan_names: &[String]) -> Topology<'f> {
        let wan = file.wan.as_ref().and_then(|wan| wan.address.as_ref());
        let further = file.wan.as_ref().and_then(|wan| wan.addresses.as_ref());
        let fixed = wan.and_then(|address| Some((address.value.fixed()?, &address.span)));
        let external = fixed
            .map(|(net, span)| (net.addr(), span))
            .into_iter()
            .chain(
                further.into_iter().flat_map(|list| &list.value.items).map(|item| (item.value.0, &item.span)),
            )
            .collect();
        let lans = file.lan.iter().zip(lan_names).filter_map(|(lan, name)| {
            let address = lan.address.as_ref()?;
            Some(LanView { name: name.clone(), address: address.value.0, span: &address.span })
        });
        let mut hosts = HashMap::new();
        let mut host_names = Vec::new();
        for host in file.hosts() {
            if let Some(name) = &host.name {
                host_names.push(name.value.0.as_str());
                hosts.entry(name.value.0.as_str()).or_insert(host);
            }
        }
        Topology {
            wan: fixed,
            wan_dhcp: wan.filter(|address| address.value == WanAddress::Dhcp).map(|address| &address.span),
            external,
            external_complete: wan.is_some() && further.is_none_or(|list| list.value.complete),
            lans: lans.collect(),
            routes: file.routes().filter_map(|route| route.to.as_ref()).map(|to| to.value.0).collect(),
            hosts,
            host_names,
            tun: file.router.as_ref().is_some_and(|router| router.means_tun),
        }
    }

    /// The lan whose prefix holds an address.
    pub(crate) fn lan_of(&self, address: Ipv4Addr) -> Option<&LanView<'f>> {
        self.lans.iter().find(|lan| lan.address.contains(&address))
    }

    /// Whether a lan or a route leads to an address.
    pub(crate) fn is_inside(&self, address: Ipv4Addr) -> bool {
        self.lan_of(address).is_some() || self.routes.iter().any(|route| route.contains(&address))
    }

    /// Whether an address is the router's own on a lan.
    pub(crate) fn is_own_lan_address(&self, address: Ipv4Addr) -> bool {
        self.lans.iter().any(|lan| lan.address.addr() == address)
    }

    /// Where an external address is written.
    pub(crate) fn external(&self, address: Ipv4Addr) -> Option<&'f Span> {
        self.external.iter().find(|(external, _)| *external == address).map(|(_, span)| *span)
    }

    /// How many external addresses there are when DHCP has given one.
    pub(crate) fn external_count(&self) -> usize {
        self.external.len() + usize::from(self.wan_dhcp.is_some())
    }

    /// The external addresses, for "is accepted".
    pub(crate) fn external_list(&self) -> String {
        list(self.external.iter().map(|(address, _)| address.to_string()))
    }
}

/// `a, b or c`; long lists end in "...".
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut items: Vec<String> = items.into_iter().take(SHOWN + 1).collect();
    if items.len() > SHOWN {
        items.truncate(SHOWN);
        return format!("{}, ...", items.join(", "));
    }
    match items.pop() {
        None => "none".to_owned(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} or {last}", items.join(", ")),
    }
}
