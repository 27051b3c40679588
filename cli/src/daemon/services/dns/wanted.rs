//! What the service is to do, as a configuration says.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use genkan_config::{DnsStrategy, DnsUpstream, Loaded};
use genkan_engine::Plan;
use genkan_services::ddns::Family;
use genkan_services::dns::{
    ForwardTarget, MAX_UPSTREAMS, Protocol, Settings, Strategy, Upstream, direct_target,
};
use ipnet::Ipv4Net;

/// The router's own name, unless a host has it.
const OWN_NAME: &str = "router";

/// What the service is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Upstreams as they are written, for listings; in the order of the settings.
    pub(super) upstreams: Vec<DnsUpstream>,
    pub(super) strategy: DnsStrategy,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) domain: String,
    pub(super) cache: usize,
    pub(super) stale: Duration,
    pub(super) rebinding_protection: bool,
    pub(super) rebinding_exceptions: Vec<String>,
    pub(super) block: Vec<PathBuf>,
    pub(super) statistics: bool,
    /// The router's addresses on the lans.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// Who may connect: networks inside.
    pub(super) admits: Vec<Ipv4Net>,
    /// Names of the lans.
    pub(super) hosts: Vec<(String, Vec<IpAddr>)>,
    /// Names of the outside whose server is inside.
    pub(super) split: Vec<(String, Ipv4Addr)>,
}

impl Wanted {
    /// What a configuration in force asks for; `None`: no service.
    pub(super) fn of(loaded: &Loaded) -> Option<Wanted> {
        let (dns, plan) = (loaded.config.dns.as_ref()?, &loaded.plan);
        let addresses: Vec<Ipv4Addr> = plan.lans.iter().map(|lan| lan.address.addr()).collect();
        let lans = plan.lans.iter().map(|lan| lan.address.trunc());
        let target = inside(plan);
        // An IPv6 address of its own has nothing to do with the wan's.
        let followed = loaded.config.ddns.iter().filter(|ddns| ddns.family == Family::V4);
        let followed = followed.flat_map(|ddns| &ddns.names);
        let names = dns.public_names.iter().chain(followed).filter(|name| !name.starts_with("*."));
        let split = target.into_iter().flat_map(|to| names.clone().map(move |name| (name.clone(), to)));
        Some(Wanted {
            upstreams: dns.upstreams.iter().take(MAX_UPSTREAMS).cloned().collect(),
            strategy: dns.strategy,
            tls_ca: dns.tls_ca.clone(),
            domain: dns.domain.clone(),
            cache: usize::try_from(dns.cache).unwrap_or(usize::MAX),
            stale: dns.stale.unwrap_or_default(),
            rebinding_protection: dns.rebinding_protection,
            rebinding_exceptions: dns.rebinding_exceptions.clone(),
            block: dns.block.clone(),
            statistics: dns.statistics,
            admits: lans.chain(plan.routes.iter().map(|route| route.to)).collect(),
            hosts: hosts(loaded, &addresses),
            addresses,
            split: split.collect(),
        })
    }

    pub(super) fn settings(&self) -> Settings {
        let upstream = |upstream: &DnsUpstream| Upstream {
            address: upstream.address.into(),
            protocol: if upstream.is_tls { Protocol::Tls } else { Protocol::Plain },
        };
        Settings {
            upstreams: self.upstreams.iter().map(upstream).collect(),
            strategy: match self.strategy {
                DnsStrategy::Ordered => Strategy::Ordered,
                DnsStrategy::Parallel => Strategy::Parallel,
            },
            domain: self.domain.clone(),
            cache_octets: self.cache,
            stale: self.stale,
            rebinding_protection: self.rebinding_protection,
            rebinding_exceptions: self.rebinding_exceptions.clone(),
            client_statistics: self.statistics,
            ..Settings::default()
        }
    }
}

/// Every `[[host]]`, also one that is nowhere: nobody else is to have its name meanwhile.
fn hosts(loaded: &Loaded, own: &[Ipv4Addr]) -> Vec<(String, Vec<IpAddr>)> {
    let known = loaded.plan.hosts.iter().filter(|host| !host.address.is_unspecified());
    let mut hosts: Vec<(String, Vec<IpAddr>)> =
        known.map(|host| (host.name.clone(), vec![IpAddr::V4(host.address)])).collect();
    hosts.extend(loaded.config.hosts.iter().map(|host| (host.name.clone(), Vec::new())));
    if !loaded.config.hosts.iter().any(|host| host.name.eq_ignore_ascii_case(OWN_NAME)) {
        hosts.push((OWN_NAME.to_owned(), own.iter().copied().map(IpAddr::V4).collect()));
    }
    hosts
}

/// The machine that stands for the wan's address inside: the only one that forwards and the DMZ lead to, with the ports
/// unchanged.
fn inside(plan: &Plan) -> Option<Ipv4Addr> {
    let external = plan.wan.address.addr();
    let of_address = plan
        .forwards
        .iter()
        .filter(|rule| rule.enabled && rule.address.is_none_or(|address| address == external));
    let target = |rule: &genkan_engine::plan::ForwardRule| ForwardTarget {
        address: rule.to,
        same_ports: rule.ports.iter().all(|range| range.external_first == range.internal_first),
    };
    let dmz = plan.dmz.map(|address| ForwardTarget { address, same_ports: true });
    let targets: Vec<ForwardTarget> = of_address.map(target).chain(dmz).collect();
    direct_target(&targets).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rest: &str) -> Wanted {
        let text = format!(
            "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\naddresses = [\"203.0.113.5\"]\n\
             [[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n[router]\ntun = \"genkan0\"\n\
             [dns]\nupstreams = [\"192.0.2.53\"]\npublic_names = [\"www.example.net\"]\n{rest}"
        );
        let loaded = genkan_config::parse(&text, "test.toml").expect("no mistakes");
        Wanted::of(&loaded).expect("it is on")
    }

    const WEB: &str =
        "[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = [80, 443]\nto = \"192.168.0.10\"\n";

    #[test]
    fn public_names_stand_for_the_only_machine_that_serves_them() {
        let split = |rest: &str| wanted(rest).split;
        assert_eq!(split(""), []);
        let direct = [("www.example.net".to_owned(), Ipv4Addr::new(192, 168, 0, 10))];
        assert_eq!(split(WEB), direct);
        let other =
            "[[forward]]\nname = \"ssh\"\nprotocol = \"tcp\"\nport = 2222\nto = \"192.168.0.10:22\"\n";
        assert_eq!(split(&format!("{WEB}{other}")), [], "another port");
        assert_eq!(split(&format!("{WEB}{other}enabled = false\n")), direct);
        assert_eq!(split(&format!("{WEB}{other}address = \"203.0.113.5\"\n")), direct, "another address");
        assert_eq!(split(&format!("{WEB}[dmz]\nto = \"192.168.0.11\"\n")), [], "the rest goes elsewhere");
        assert_eq!(split(&format!("{WEB}[dmz]\nto = \"192.168.0.10\"\n")), direct);
    }

    #[test]
    fn names_of_ddns_stand_for_it_too_unless_they_have_ipv6_alone() {
        let entry = |name: &str, rest: &str| {
            format!("[[ddns]]\nprovider = \"duckdns\"\ntoken = \"0a1b\"\nnames = [\"{name}\"]\n{rest}")
        };
        let v6 = "family = \"v6\"\nsource = \"https://ip6.example.com/\"\n";
        let rules =
            [WEB, &entry("a.example.org", ""), &entry("a.example.org", v6), &entry("b.example.org", v6)];
        let names: Vec<String> = wanted(&rules.concat()).split.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["www.example.net", "a.example.org"]);
    }

    #[test]
    fn the_router_has_a_name_unless_a_host_has_it() {
        let own = |wanted: Wanted| {
            let (_, addresses) =
                wanted.hosts.iter().find(|(name, _)| name == "router").cloned().expect("known");
            addresses
        };
        assert_eq!(own(wanted("")), [IpAddr::from([192, 168, 0, 1])]);
        let host = "[[host]]\nname = \"router\"\naddress = \"192.168.0.2\"\n";
        assert_eq!(own(wanted(host)), [IpAddr::from([192, 168, 0, 2])]);
        // Wherever that is: not the router, nor whoever calls itself so.
        let host = "[[host]]\nname = \"router\"\nmac = \"02:00:00:00:00:09\"\n";
        assert!(own(wanted(host)).is_empty());
    }
}
