//! What of a lease the router can use.

use std::net::Ipv4Addr;

use genkan_config::{WanFacts, WanRoute};
use genkan_engine::Plan;
use genkan_services::dhcp::client::Configuration;
use ipnet::Ipv4Net;

/// What is ours: no server outside can take it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ours {
    /// What is inside: names in words, and networks.
    networks: Vec<(String, Ipv4Net)>,
    /// `wan.addresses`.
    addresses: Vec<Ipv4Addr>,
}

/// A lease that cannot be used beside what is ours. `what` is the part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It is used inside.
    #[error(
        "the DHCP server on the wan gives {what}, which overlaps {name} ({network}): nothing of it is used; give {name} \
         another network"
    )]
    Overlap { what: String, name: String, network: Ipv4Net },
    /// The router has it already.
    #[error(
        "the DHCP server on the wan gives {what}, which is in `wan.addresses`: nothing of it is used; take it out of there"
    )]
    Further { what: String },
}

impl Ours {
    pub(super) fn of(plan: &Plan) -> Ours {
        let lans = plan.lans.iter().map(|lan| (format!("lan {}", lan.name), lan.address.trunc()));
        let routes = plan.routes.iter().map(|route| (format!("the route to {}", route.to), route.to));
        Ours { networks: lans.chain(routes).collect(), addresses: plan.wan.addresses.clone() }
    }

    /// What a lease comes to. Its routes that lead to something of ours are left out; [`Ours::ignored`] names them.
    ///
    /// # Errors
    /// When its network, or its gateway, is inside, or its address, or its gateway, is one of the wan's further ones.
    pub(super) fn take(&self, lease: &Configuration) -> Result<WanFacts, Refused> {
        let network = lease.address.trunc();
        let found = self.networks.iter().find(|(_, inside)| overlap(network, *inside));
        if let Some((name, inside)) = found {
            let what = lease.address.to_string();
            return Err(Refused::Overlap { what, name: name.clone(), network: *inside });
        }
        let behind = |gateway: &Ipv4Addr| self.networks.iter().find(|(_, inside)| inside.contains(gateway));
        if let Some((gateway, (name, inside))) =
            lease.gateway.and_then(|gateway| Some((gateway, behind(&gateway)?)))
        {
            let what = format!("the gateway {gateway}");
            return Err(Refused::Overlap { what, name: name.clone(), network: *inside });
        }
        if self.addresses.contains(&lease.address.addr()) {
            return Err(Refused::Further { what: lease.address.addr().to_string() });
        }
        if let Some(gateway) = lease.gateway.filter(|gateway| self.addresses.contains(gateway)) {
            return Err(Refused::Further { what: format!("the gateway {gateway}") });
        }
        let routes = lease.routes.iter().map(|route| WanRoute { to: route.to, via: route.via });
        Ok(WanFacts {
            address: lease.address,
            gateway: lease.gateway,
            routes: routes.filter(|route| !self.holds(route)).collect(),
            mtu: lease.mtu,
            dns: lease.dns.clone(),
            ntp: lease.ntp.clone(),
            domain: lease.domain.clone(),
        })
    }

    /// The routes of a lease that are left out.
    pub(super) fn ignored(&self, lease: &Configuration) -> Vec<WanRoute> {
        let routes = lease.routes.iter().map(|route| WanRoute { to: route.to, via: route.via });
        routes.filter(|route| self.holds(route)).collect()
    }

    /// Whether a route leads to a part of something inside, or by it or the router itself.
    fn holds(&self, route: &WanRoute) -> bool {
        route.via.is_some_and(|router| self.addresses.contains(&router))
            || self.networks.iter().any(|(_, inside)| {
                inside.contains(&route.to) || route.via.is_some_and(|router| inside.contains(&router))
            })
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

#[cfg(test)]
mod tests {
    use genkan_services::dhcp::client::Route;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    fn inside() -> Ours {
        let networks = [("lan home", "192.168.0.0/24"), ("the route to 10.20.0.0/16", "10.20.0.0/16")];
        let networks = networks.map(|(name, network)| (name.to_owned(), net(network))).into();
        Ours { networks, addresses: Vec::new() }
    }

    fn lease(address: &str, gateway: Option<&str>) -> Configuration {
        Configuration {
            address: net(address),
            gateway: gateway.map(|gateway| gateway.parse().expect("an address")),
            routes: Vec::new(),
            mtu: Some(1400),
            dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
            ntp: Vec::new(),
            domain: Some("example.net".to_owned()),
        }
    }

    #[test]
    fn a_lease_that_overlaps_something_inside_is_not_taken() {
        for (address, gateway, what) in [
            ("192.168.0.7/24", None, "192.168.0.7/24"),
            ("192.168.0.200/32", None, "192.168.0.200/32"),
            ("192.168.1.7/16", None, "192.168.1.7/16"),
            ("10.20.3.4/24", None, "10.20.3.4/24"),
            ("203.0.113.7/32", Some("192.168.0.1"), "the gateway 192.168.0.1"),
        ] {
            let refused = inside().take(&lease(address, gateway)).expect_err(address);
            assert!(matches!(&refused, Refused::Overlap { what: told, .. } if told == what), "{refused}");
        }
        let taken = inside().take(&lease("192.168.1.7/24", Some("192.168.1.1"))).expect("beside the lan");
        assert_eq!((taken.address, taken.mtu), (net("192.168.1.7/24"), Some(1400)));
        assert_eq!(taken.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
    }

    #[test]
    fn a_lease_of_an_address_that_the_wan_has_besides_is_not_taken() {
        let text = "[wan]\ndevice = \"eth0\"\naddress = \"dhcp\"\naddresses = [\"203.0.113.9\", \"198.51.100.9\"]\n\
                    [[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n";
        let ours = Ours::of(&genkan_config::parse(text, "genkan.toml").expect("no mistakes").plan);
        for (address, gateway, what) in [
            ("203.0.113.9/24", Some("203.0.113.2"), "gives 203.0.113.9, which is in `wan.addresses`"),
            ("198.51.100.9/32", None, "gives 198.51.100.9, which is in `wan.addresses`"),
            (
                "203.0.113.7/24",
                Some("203.0.113.9"),
                "gives the gateway 203.0.113.9, which is in `wan.addresses`",
            ),
        ] {
            let refused = ours.take(&lease(address, gateway)).expect_err(address).to_string();
            assert!(refused.contains(what), "{refused}");
        }
        let taken = ours.take(&lease("203.0.113.7/24", Some("203.0.113.2"))).expect("in the network of one");
        assert_eq!(taken.address, net("203.0.113.7/24"));
        let via = |last| Some(Ipv4Addr::new(203, 0, 113, last));
        let mut lease = lease("203.0.113.7/24", None);
        lease.routes = [2, 9].map(|last| Route { to: net("198.18.0.0/15"), via: via(last) }).into();
        let routes = ours.take(&lease).expect("but for a route").routes;
        assert_eq!(routes.iter().map(|route| route.via).collect::<Vec<_>>(), [via(2)]);
    }

    #[test]
    fn routes_to_what_is_inside_are_left_out() {
        let route = |to: &str, via: Option<Ipv4Addr>| Route { to: net(to), via };
        let gateway = Some(Ipv4Addr::new(203, 0, 113, 2));
        let mut lease = lease("203.0.113.7/24", None);
        lease.routes = vec![
            route("198.18.0.0/15", gateway),
            route("192.168.0.0/25", gateway),
            route("192.168.0.0/16", gateway),
            route("10.20.0.0/16", None),
            route("198.51.100.0/24", Some(Ipv4Addr::new(192, 168, 0, 9))),
        ];
        let taken = inside().take(&lease).expect("no overlap");
        let kept: Vec<Ipv4Net> = taken.routes.iter().map(|route| route.to).collect();
        assert_eq!(kept, [net("198.18.0.0/15"), net("192.168.0.0/16")]);
        assert_eq!(inside().ignored(&lease).len(), 3);
    }
}
