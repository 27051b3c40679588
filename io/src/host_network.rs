//! The kernel's side of the host TUN: addresses and routes by which the Linux box reaches the networks inside, and
//! the internet where it has no other way.
//!
//! Each lan address stands on the TUN as /32: the box owns it, but no prefix comes with it. A route for each lan leads
//! into the TUN with that lan's address as source, so that the router knows the box by it. The default route is only
//! for a box that has none, and gives way to any that comes later.
//!
//! A TUN device ends with the process that made it, and addresses and routes with the device: nothing is left to undo
//! after a `kill -9`.

use std::net::{IpAddr, Ipv4Addr};

use genkan_engine::plan::Plan;
use ipnet::Ipv4Net;
use nix::errno::Errno;

use crate::device::{self, DeviceAddress, DeviceError, refused};
use crate::netlink::{Netlink, NetlinkError, Request, as_u32, attribute};

/// Metric of the default route: later than what DHCP clients and network managers set.
const DEFAULT_ROUTE_METRIC: u32 = 30_000;
/// `struct rtmsg`, in octets.
const ROUTE_HEADER_LEN: usize = 12;
/// Of the AF_INET part of IFLA_AF_SPEC (linux/if_link.h).
const IFLA_INET_CONF: u16 = 1;
/// linux/ip.h.
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
/// RFC 3704 §2.4: a source is fine if there is any route to it.
const RP_FILTER_LOOSE: u32 = 2;

/// What the box is to have on the TUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNetworkConfig {
    /// The router's address on each lan, with the lan's prefix.
    pub lans: Vec<Ipv4Net>,
    /// Networks behind routers of lans, and the lan address to speak from.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// IP MTU in octets.
    pub mtu: u16,
}

impl HostNetworkConfig {
    /// What a plan asks for.
    pub fn from_plan(plan: &Plan) -> HostNetworkConfig {
        let source =
            |via| plan.lans.iter().find(|lan| lan.address.contains(&via)).map(|lan| lan.address.addr());
        HostNetworkConfig {
            lans: plan.lans.iter().map(|lan| lan.address).collect(),
            routes: plan
                .routes
                .iter()
                .filter_map(|route| Some((route.to.trunc(), source(route.via)?)))
                .collect(),
            mtu: plan.wan.mtu,
        }
    }

    /// In the order in which the kernel takes it.
    fn items(&self, default_route: bool) -> Vec<Item> {
        let mut items: Vec<Item> = self.lans.iter().map(|lan| Item::Address(lan.addr())).collect();
        let lans = self.lans.iter().filter(|lan| lan.prefix_len() < 32);
        items.extend(lans.map(|lan| Item::Route { to: lan.trunc(), source: lan.addr(), metric: 0 }));
        items.extend(self.routes.iter().map(|(to, source)| Item::Route {
            to: *to,
            source: *source,
            metric: 0,
        }));
        if let Some(first) = self.lans.first().filter(|_| default_route) {
            let (to, source) = (Ipv4Net::default(), first.addr());
            items.push(Item::Route { to, source, metric: DEFAULT_ROUTE_METRIC });
        }
        let mut unique = Vec::new();
        for item in items {
            if !unique.contains(&item) {
                unique.push(item);
            }
        }
        unique
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Address(Ipv4Addr),
    Route { to: Ipv4Net, source: Ipv4Addr, metric: u32 },
}

/// The addresses and routes on the TUN; dropping takes them off.
#[derive(Debug)]
pub struct HostNetwork {
    netlink: Netlink,
    device: String,
    index: u32,
    items: Vec<Item>,
}

impl HostNetwork {
    /// Switches the TUN on and gives it what `config` says, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the device does not exist or the kernel refuses; then nothing is left of it.
    pub fn configure(device: &str, config: &HostNetworkConfig) -> Result<HostNetwork, DeviceError> {
        let mut netlink = device::route_socket(device)?;
        let index = device::find_link(&mut netlink, device)?.index;
        let failed = |operation| refused(device, operation);
        // Without IPv6 there is nothing to switch off.
        let _ = device::set_address_generation(&mut netlink, index, device::IN6_ADDR_GEN_MODE_NONE);
        allow_any_source(&mut netlink, index).map_err(failed("loosen its reverse path filter"))?;
        device::set_up(&mut netlink, index, true).map_err(failed("switch on"))?;
        let mut network = HostNetwork { netlink, device: device.to_owned(), index, items: Vec::new() };
        network.update(config)?;
        Ok(network)
    }

    /// Changes what differs from before, and leaves the rest alone.
    ///
    /// # Errors
    /// When the kernel refuses; what was done by then stays.
    pub fn update(&mut self, config: &HostNetworkConfig) -> Result<(), DeviceError> {
        let device = self.device.clone();
        let failed = |operation| refused(&device, operation);
        set_mtu(&mut self.netlink, self.index, config.mtu).map_err(failed("set the MTU"))?;
        let has_other =
            has_other_default_route(&mut self.netlink, self.index).map_err(failed("list routes"))?;
        let wanted = config.items(!has_other);
        // Routes before the addresses that they speak from.
        for item in self.items.clone().into_iter().rev().filter(|item| !wanted.contains(item)) {
            self.change(item, false).map_err(failed("take an address or route off"))?;
        }
        for item in wanted.into_iter().filter(|item| !self.items.contains(item)).collect::<Vec<_>>() {
            self.change(item, true).map_err(failed("add an address or route"))?;
        }
        Ok(())
    }

    /// Leaves everything as it is, for whoever configures it next.
    pub fn leave(mut self) {
        self.items.clear();
    }

    /// Whether the box's default route leads into the TUN.
    pub fn has_default_route(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Route { to, .. } if to.prefix_len() == 0))
    }

    fn change(&mut self, item: Item, add: bool) -> Result<(), NetlinkError> {
        match item {
            Item::Address(address) => {
                let address =
                    DeviceAddress { index: self.index, address: IpAddr::V4(address), prefix_len: 32 };
                if add {
                    device::add_address(&mut self.netlink, &address)?;
                } else {
                    device::remove_address(&mut self.netlink, &address)?;
                }
            }
            Item::Route { to, source, metric } => {
                match self.netlink.request(route_request(self.index, to, source, metric, add)) {
                    // Gone already, with its source address.
                    Err(error) if !add && error.errno() == Some(Errno::ESRCH) => {}
                    result => result?,
                }
            }
        }
        if add {
            self.items.push(item);
        } else {
            self.items.retain(|other| *other != item);
        }
        Ok(())
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        for item in self.items.clone().into_iter().rev() {
            // The device may be gone, and everything with it.
            let _ = self.change(item, false);
        }
    }
}

/// `struct rtmsg` for IPv4.
fn route_header(prefix_len: u8, scope: u8) -> [u8; ROUTE_HEADER_LEN] {
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = libc::AF_INET as u8;
    header[1] = prefix_len;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = scope;
    header[7] = libc::RTN_UNICAST;
    header
}

fn route_request(index: u32, to: Ipv4Net, source: Ipv4Addr, metric: u32, add: bool) -> Request {
    let (kind, flags) = if add {
        (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE)
    } else {
        (libc::RTM_DELROUTE, 0)
    };
    let mut request = Request::new(kind, flags, &route_header(to.prefix_len(), libc::RT_SCOPE_LINK));
    if to.prefix_len() > 0 {
        request.attribute(libc::RTA_DST, &to.network().octets());
    }
    request
        .attribute(libc::RTA_OIF, &index.to_ne_bytes())
        .attribute(libc::RTA_PREFSRC, &source.octets())
        .attribute(libc::RTA_PRIORITY, &metric.to_ne_bytes());
    request
}

/// Whether the main table has a default route that leads elsewhere than to the device `index`.
fn has_other_default_route(netlink: &mut Netlink, index: u32) -> Result<bool, NetlinkError> {
    let request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &route_header(0, 0));
    Ok(netlink.query(request)?.iter().any(|route| {
        let Some((header, attributes)) = route.body.split_first_chunk::<ROUTE_HEADER_LEN>() else {
            return false;
        };
        let is_default = i32::from(header[0]) == libc::AF_INET
            && header[1] == 0
            && header[4] == libc::RT_TABLE_MAIN
            && header[7] == libc::RTN_UNICAST;
        is_default && attribute(attributes, libc::RTA_OIF).and_then(as_u32) != Some(index)
    }))
}

fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u16) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &device::link_header(index, 0, 0));
    request.attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    netlink.request(request)
}

/// Packets from everywhere come through the TUN, also where the box has a default route of its own: a strict reverse
/// path filter would drop them.
fn allow_any_source(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &device::link_header(index, 0, 0));
    request.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET as u16, |inet| {
            inet.nest(IFLA_INET_CONF, |settings| {
                settings.attribute(IPV4_DEVCONF_RP_FILTER, &RP_FILTER_LOOSE.to_ne_bytes());
            });
        });
    });
    netlink.request(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a prefix")
    }

    #[test]
    fn each_lan_has_an_address_and_a_route() {
        let config = HostNetworkConfig {
            lans: vec![net("192.168.0.1/24"), net("192.168.1.1/32")],
            routes: vec![(net("10.20.0.0/16"), Ipv4Addr::new(192, 168, 0, 1))],
            mtu: 1500,
        };
        let source = Ipv4Addr::new(192, 168, 0, 1);
        let mut expected = vec![
            Item::Address(source),
            Item::Address(Ipv4Addr::new(192, 168, 1, 1)),
            Item::Route { to: net("192.168.0.0/24"), source, metric: 0 },
            Item::Route { to: net("10.20.0.0/16"), source, metric: 0 },
        ];
        assert_eq!(config.items(false), expected);
        expected.push(Item::Route { to: net("0.0.0.0/0"), source, metric: DEFAULT_ROUTE_METRIC });
        assert_eq!(config.items(true), expected);
        assert_eq!(HostNetworkConfig::default().items(true), []);
    }
}
