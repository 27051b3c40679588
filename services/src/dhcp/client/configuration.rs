//! What a lease says about the wan (RFC 2132, RFC 3442).

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, DhcpOptions, OptionCode};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::Ignored;

/// Every host takes datagrams of this size (RFC 791 section 3.1): a lower option 26 is a mistake or an attack.
const MINIMUM_MTU: u16 = 576;

/// What a server says about the wan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Our address with the length of its prefix; /32 when the server names no netmask.
    pub address: Ipv4Net,
    /// The default router; may lie outside of the prefix, then it is on the link all the same.
    pub gateway: Option<Ipv4Addr>,
    /// The other routes, in the server's order (option 121, else 33).
    pub routes: Vec<Route>,
    /// IP MTU of the link in octets (option 26), at least 576.
    pub mtu: Option<u16>,
    /// DNS servers in the order of preference (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers in the order of preference (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// The domain of our names (option 15), without a final dot.
    pub domain: Option<String>,
}

/// A route of option 121 or 33.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destinations, host bits zero.
    pub to: Ipv4Net,
    /// The next hop; `None`: they are on the link (RFC 3442, router 0.0.0.0).
    pub via: Option<Ipv4Addr>,
}

impl Configuration {
    /// From the options of an answer that gives `address`. Lengths were checked before.
    pub(super) fn from_options(address: Ipv4Addr, options: &DhcpOptions) -> Result<Configuration, Ignored> {
        let prefix_len = match options.get(OptionCode::SubnetMask) {
            Some(DhcpOption::SubnetMask(mask)) => prefix_len(*mask).ok_or(Ignored::Netmask)?,
            _ => 32,
        };
        let address = Ipv4Net::new(address, prefix_len).map_err(|_| Ignored::Netmask)?;
        let mut configuration = Configuration {
            address,
            gateway: None,
            routes: Vec::new(),
            mtu: match options.get(OptionCode::InterfaceMtu) {
                Some(DhcpOption::InterfaceMtu(mtu)) if *mtu >= MINIMUM_MTU => Some(*mtu),
                _ => None,
            },
            dns: match options.get(OptionCode::DomainNameServer) {
                Some(DhcpOption::DomainNameServer(servers)) => servers_of(servers),
                _ => Vec::new(),
            },
            ntp: match options.get(OptionCode::NtpServers) {
                Some(DhcpOption::NtpServers(servers)) => servers_of(servers),
                _ => Vec::new(),
            },
            domain: match options.get(OptionCode::DomainName) {
                Some(DhcpOption::DomainName(name)) => domain(name),
                _ => None,
            },
        };
        configuration.take_routes(options);
        configuration.check()?;
        Ok(configuration)
    }

    fn take_routes(&mut self, options: &DhcpOptions) {
        let own = self.address.addr();
        let is_router = |router: &Ipv4Addr| is_unicast(*router) && *router != own;
        // RFC 3442: who sends 121 has 3 and 33 ignored.
        if let Some(DhcpOption::ClasslessStaticRoute(routes)) = options.get(OptionCode::ClasslessStaticRoute)
        {
            for (to, via) in routes {
                let to = to.trunc();
                match Some(*via).filter(|via| !via.is_unspecified()) {
                    Some(router) if !is_router(&router) => {}
                    Some(router) if to.prefix_len() == 0 => {
                        self.gateway.get_or_insert(router);
                    }
                    via => self.routes.push(Route { to, via }),
                }
            }
            return;
        }
        if let Some(DhcpOption::Router(routers)) = options.get(OptionCode::Router) {
            self.gateway = routers.iter().copied().find(is_router);
        }
        if let Some(DhcpOption::StaticRoutingTable(routes)) = options.get(OptionCode::StaticRoutingTable) {
            // RFC 2132 section 5.8: no default route in this option.
            let routes = routes.iter().filter(|(to, via)| !to.is_unspecified() && is_router(via));
            self.routes.extend(routes.map(|(to, via)| Route { to: classful(*to), via: Some(*via) }));
        }
    }

    /// Whether the machine may use this, for what comes from a server and for what comes from a file.
    pub(super) fn check(&self) -> Result<(), Ignored> {
        let own = self.address.addr();
        let has_broadcast = self.address.prefix_len() <= 30;
        if !is_unicast(own)
            || has_broadcast && (own == self.address.network() || own == self.address.broadcast())
        {
            return Err(Ignored::Address);
        }
        let mut routers =
            self.gateway.iter().chain(self.routes.iter().filter_map(|route| route.via.as_ref()));
        if routers.any(|router| !is_unicast(*router) || *router == own) {
            return Err(Ignored::Router);
        }
        Ok(())
    }
}

/// Whether a host may have this address: not of 0/8, 127/8, 224/4 or 240/4.
pub(super) fn is_unicast(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The length of a contiguous netmask that is not zero.
fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    (bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8)
}

/// The servers that can be asked: access concentrators whose own uplink is down announce 0.0.0.0.
fn servers_of(servers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    servers.iter().copied().filter(|server| is_unicast(*server)).collect()
}

/// Option 33 knows classes only (RFC 2132 section 5.8): a network of its class, or a host.
fn classful(to: Ipv4Addr) -> Ipv4Net {
    let class = match to.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    };
    let network = Ipv4Net::new_assert(to, class);
    if network.network() == to { network } else { Ipv4Net::new_assert(to, 32) }
}

/// A domain name of letters, digits, hyphens and underscores (RFC 1035 section 2.3.4 for the lengths); `None` for
/// anything else, since others put it into files.
fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches('\0');
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_owned())
}
