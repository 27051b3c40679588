//! What of a lease the router can use.

use std::net::Ipv4Addr;

use genkan_config::{WanFacts, WanRoute};
use genkan_engine::Plan;
use genkan_services::dhcp::client::Configuration;
use ipnet::Ipv4Net;

/// What is inside: no server outside can take it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    /// Names in words, and networks.
    networks: Vec<(String, Ipv4Net)>,
}

/// A lease that cannot be used beside what is inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the DHCP server on the wan gives {what}, which overlaps {name} ({network}): nothing of it is used; give {name} another \
     network"
)]
pub(super) struct Overlap {
    /// The part of the lease.
    what: String,
    name: String,
    network: Ipv4Net,
}

impl Inside {
    pub(super) fn of(plan: &Plan) -> Inside {
        let lans = plan.lans.iter().map(|lan| (format!("lan {}", lan.name), lan.address.trunc()));
        let routes = plan.routes.iter().map(|route| (format!("the route to {}", route.to), route.to));
        Inside { networks: lans.chain(routes).collect() }
    }

    /// What a lease comes to. Its routes that lead to something inside are left out; [`Inside::ignored`] names them.
    ///
    /// # Errors
    /// When its network, or its gateway, is inside.
    pub(super) fn take(&self, lease: &Configuration) -> Result<WanFacts, Overlap> {
        let network = lease.address.trunc();
        let found = self.networks.iter().find(|(_, inside)| overlap(network, *inside));
        if let Some((name, inside)) = found {
            return Err(Overlap { what: lease.address.to_string(), name: name.clone(), network: *inside });
        }
        let behind = |gateway: &Ipv4Addr| self.networks.iter().find(|(_, inside)| inside.contains(gateway));
        if let Some((gateway, (name, inside))) =
            lease.gateway.and_then(|gateway| Some((gateway, behind(&gateway)?)))
        {
            let what = format!("the gateway {gateway}");
            return Err(Overlap { what, name: name.clone(), network: *inside });
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

    /// Whether a route leads to a part of something inside, or by it.
    fn holds(&self, route: &WanRoute) -> bool {
        self.networks.iter().any(|(_, inside)| {
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

    fn inside() -> Inside {
        let networks = [("lan home", "192.168.0.0/24"), ("the route to 10.20.0.0/16", "10.20.0.0/16")];
        Inside { networks: networks.map(|(name, network)| (name.to_owned(), net(network))).into() }
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
            let overlap = inside().take(&lease(address, gateway)).expect_err(address);
            assert_eq!(overlap.what, what);
        }
        let taken = inside().take(&lease("192.168.1.7/24", Some("192.168.1.1"))).expect("beside the lan");
        assert_eq!((taken.address, taken.mtu), (net("192.168.1.7/24"), Some(1400)));
        assert_eq!(taken.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
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
