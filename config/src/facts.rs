//! What a configuration leaves open and the running router finds out: the address of the wan where a server gives it,
//! and where the devices of the `[[host]]`s are.
//!
//! The file says who a forward leads to; where that machine is may change by the hour. [`Loaded::with`] puts what is
//! known into a configuration, which then is what the engine follows; the written one stays as it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use genkan_engine::plan;
pub use genkan_engine::plan::WanRoute;
use ipnet::Ipv4Net;

use crate::{Config, DnsUpstream, Host, Loaded};

/// What is known at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the network outside has given to the wan; `None`: nothing, or no longer.
    pub wan: Option<WanFacts>,
    /// Where the devices of `[[host]]`s are, by their names; [`ABSENT`]: nowhere, also not where it is written. What is
    /// written holds for the others.
    pub hosts: BTreeMap<String, Ipv4Addr>,
}

/// What the network outside has given to the wan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WanFacts {
    /// The primary external address and its prefix.
    pub address: Ipv4Net,
    /// Next hop for what is not on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Networks with a next hop of their own.
    pub routes: Vec<WanRoute>,
    /// IP MTU in octets.
    pub mtu: Option<u16>,
    /// Name servers, the best first.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers, the best first.
    pub ntp: Vec<Ipv4Addr>,
    /// The domain of the link's names.
    pub domain: Option<String>,
}

/// The address of a target that is nowhere at the moment.
pub const ABSENT: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

impl Loaded {
    /// The configuration with what is known: what is to be in force. What the file says about the wan goes before what a
    /// server says, but for the MTU, of which the smaller one holds.
    #[must_use]
    pub fn with(&self, facts: &Facts) -> Loaded {
        let mut loaded = self.clone();
        let wan = &mut loaded.plan.wan;
        if let Some(given) = facts.wan.as_ref().filter(|_| wan.address.addr().is_unspecified()) {
            wan.address = given.address;
            wan.gateway = wan.gateway.or(given.gateway);
            wan.routes.clone_from(&given.routes);
            wan.mtu = given.mtu.map_or(wan.mtu, |mtu| mtu.min(wan.mtu));
        }
        if let (Some(dns), Some(given)) = (&mut loaded.config.dns, &facts.wan)
            && dns.upstreams.is_empty()
        {
            let mut left: BTreeSet<&Ipv4Addr> = given.dns.iter().collect();
            let once = given.dns.iter().filter(|address| left.remove(address));
            dns.upstreams = once.map(|address| DnsUpstream::plain(*address)).collect();
        }
        let places = self.places_of_hosts(facts);
        loaded.plan.hosts = self.config.hosts.iter().filter_map(|host| in_plan(host, &places)).collect();
        let place = |name: &String| places.get(name.as_str()).copied();
        for (rule, target) in loaded.plan.forwards.iter_mut().zip(&self.config.targets) {
            if let Some(name) = target {
                rule.to = place(name).unwrap_or(ABSENT);
            }
        }
        if let Some(name) = &self.config.dmz_host {
            loaded.plan.dmz = place(name);
        }
        loaded
    }

    /// Where each `[[host]]` is, as far as that is known. No two of them are at one address: a device that was seen there
    /// goes before one that is only written there.
    fn places_of_hosts(&self, facts: &Facts) -> BTreeMap<&str, Ipv4Addr> {
        let mut places = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for host in &self.config.hosts {
            // Without anything to know it by, a device is where the file says.
            let seen = facts.hosts.get(&host.name).filter(|_| host.can_be_found());
            if let Some(address) = seen.copied().filter(|address| self.can_hold(*address))
                && taken.insert(address)
            {
                places.insert(host.name.as_str(), address);
            }
        }
        for host in &self.config.hosts {
            // Not even where it is written, as somebody has found out.
            let is_absent = host.can_be_found() && facts.hosts.get(&host.name) == Some(&ABSENT);
            if let Some(address) = host.address.filter(|_| !is_absent)
                && !places.contains_key(host.name.as_str())
                && taken.insert(address)
            {
                places.insert(&host.name, address);
            }
        }
        places
    }

    /// Whether a machine inside can have an address.
    fn can_hold(&self, address: Ipv4Addr) -> bool {
        let plan = &self.plan;
        match plan.lans.iter().find(|lan| lan.address.contains(&address)) {
            Some(lan) => {
                lan.address.addr() != address && crate::value::address::end_of(lan.address, address).is_none()
            }
            None => plan.routes.iter().any(|route| route.to.contains(&address)),
        }
    }
}

impl Config {
    /// Which `[[host]]` of the file, from 0, has this name. The plan leaves out those that are nowhere, so that places there
    /// are others.
    pub fn host_at(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }
}

impl Host {
    /// Whether the file says how to know the device, wherever it is.
    pub fn can_be_found(&self) -> bool {
        self.mac.is_some() || self.client_id.is_some()
    }
}

fn in_plan(host: &Host, places: &BTreeMap<&str, Ipv4Addr>) -> Option<plan::Host> {
    let place = places.get(host.name.as_str()).copied();
    Some(plan::Host {
        name: host.name.clone(),
        mac: host.mac,
        // Nobody else is to have an external address of its own meanwhile.
        address: place.or(host.external.map(|_| ABSENT))?,
        filtering: host.filtering,
        mapping: host.mapping,
        external: host.external,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(wan: &str, rest: &str) -> Loaded {
        let text = format!(
            "[wan]\ndevice = \"eth0\"\n{wan}\n[[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n{rest}"
        );
        crate::parse(&text, "test.toml").expect("a good file")
    }

    const STATIC: &str = "address = \"203.0.113.1/24\"";
    const NAS: &str = "[[host]]\nname = \"nas\"\nmac = \"52:54:00:12:34:56\"\naddress = \"192.168.0.10\"\n\
        [[host]]\nname = \"printer\"\naddress = \"192.168.0.11\"\n\
        [[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas:8080\"\n\
        [[forward]]\nname = \"print\"\nprotocol = \"tcp\"\nport = 631\nto = \"printer\"\n\
        [[forward]]\nname = \"fixed\"\nprotocol = \"tcp\"\nport = 81\nto = \"192.168.0.10\"\n\
        [dmz]\nto = \"nas\"\n";

    fn seen(hosts: &[(&str, [u8; 4])]) -> Facts {
        let hosts = hosts.iter().map(|(name, address)| ((*name).to_owned(), (*address).into()));
        Facts { hosts: hosts.collect(), ..Facts::default() }
    }

    fn targets(loaded: &Loaded) -> Vec<Ipv4Addr> {
        let forwards = loaded.plan.forwards.iter().map(|rule| rule.to);
        forwards.chain(loaded.plan.dmz).collect()
    }

    #[test]
    fn nothing_known_changes_nothing() {
        let written = loaded(STATIC, NAS);
        assert_eq!(written.with(&Facts::default()), written);
    }

    #[test]
    fn forwards_follow_devices_that_can_be_known() {
        let written = loaded(STATIC, NAS);
        let moved = written.with(&seen(&[("nas", [192, 168, 0, 77]), ("printer", [192, 168, 0, 78])]));
        let [nas, printer, fixed] =
            [[192, 168, 0, 77], [192, 168, 0, 11], [192, 168, 0, 10]].map(Ipv4Addr::from);
        assert_eq!(targets(&moved), [nas, printer, fixed, nas]);
        assert_eq!(moved.plan.hosts[0].address, nas);
        assert_eq!(moved.config, written.config);
    }

    #[test]
    fn no_machine_can_be_where_none_can_be() {
        let written = loaded(STATIC, NAS);
        for address in [[192, 168, 0, 1], [192, 168, 0, 0], [192, 168, 0, 255], [192, 168, 1, 7]] {
            assert_eq!(written.with(&seen(&[("nas", address)])), written, "{address:?}");
        }
    }

    #[test]
    fn a_device_may_be_gone_from_where_it_is_written() {
        let gone = loaded(STATIC, NAS).with(&seen(&[("nas", [0; 4]), ("printer", [0; 4])]));
        let [printer, fixed] = [[192, 168, 0, 11], [192, 168, 0, 10]].map(Ipv4Addr::from);
        assert_eq!(targets(&gone), [ABSENT, printer, fixed]);
    }

    #[test]
    fn who_is_seen_at_an_address_goes_before_who_is_written_there() {
        let rest = NAS.replace("\"printer\"\naddress", "\"printer\"\nmac = \"52:54:00:12:34:57\"\naddress");
        let written = loaded(STATIC, &rest);
        let taken = written.with(&seen(&[("printer", [192, 168, 0, 10])]));
        let printer = Ipv4Addr::new(192, 168, 0, 10);
        assert_eq!(targets(&taken), [ABSENT, printer, printer]);
        assert_eq!(taken.plan.dmz, None);
        assert_eq!(taken.plan.hosts.len(), 1);
        let exchanged = written.with(&seen(&[("printer", [192, 168, 0, 10]), ("nas", [192, 168, 0, 11])]));
        assert_eq!(targets(&exchanged)[..2], [Ipv4Addr::new(192, 168, 0, 11), printer]);
    }

    #[test]
    fn what_is_given_to_a_wan_with_an_address_is_not_taken() {
        let written = loaded(STATIC, "");
        let given = WanFacts {
            address: "198.51.100.7/24".parse().expect("a network"),
            gateway: Some(Ipv4Addr::new(198, 51, 100, 1)),
            routes: vec![WanRoute { to: "192.0.2.0/24".parse().expect("a network"), via: None }],
            mtu: Some(1400),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
        };
        let facts = Facts { wan: Some(given), ..Facts::default() };
        assert_eq!(written.with(&facts), written);
        let mut open = written.clone();
        open.plan.wan.address = "0.0.0.0/32".parse().expect("a network");
        let with = open.with(&facts);
        assert_eq!(with.plan.wan.address.to_string(), "198.51.100.7/24");
        assert_eq!((with.plan.wan.gateway, with.plan.wan.mtu), (Some(Ipv4Addr::new(198, 51, 100, 1)), 1400));
        assert_eq!(with.plan.wan.routes.len(), 1);
    }
}
