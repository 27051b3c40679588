//! Devices, addresses and routes of a namespace, by rtnetlink(7).
//!
//! A netlink socket keeps the namespace in which it was opened, so one thread can speak for all of them.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use genkan_io::netlink::{Netlink, NetlinkError, Request};
use ipnet::Ipv4Net;
use nix::libc;

/// Index of the loopback device in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Attributes and values that libc does not name (linux/veth.h, linux/if_link.h).
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// One end of a cable, before it exists.
pub(crate) struct End<'a> {
    /// Name of the device.
    pub(crate) device: &'a str,
    /// Its index, chosen beforehand so that nobody has to ask for it.
    pub(crate) index: u32,
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Makes a veth pair, one end where the socket is, the other in `far`, both with this MTU.
pub(crate) fn add_cable(
    netlink: &mut Netlink,
    near: &End<'_>,
    far: &End<'_>,
    far_namespace: BorrowedFd<'_>,
    mtu: u16,
) -> Result<(), NetlinkError> {
    let mtu = u32::from(mtu).to_ne_bytes();
    let mut request = Request::new(libc::RTM_NEWLINK, CREATE, &link_header(near.index, 0, 0));
    request.text(libc::IFLA_IFNAME, near.device).attribute(libc::IFLA_MTU, &mtu).nest(
        libc::IFLA_LINKINFO,
        |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.octets(&link_header(far.index, 0, 0));
                    peer.text(libc::IFLA_IFNAME, far.device).attribute(libc::IFLA_MTU, &mtu);
                    peer.attribute(libc::IFLA_NET_NS_FD, &far_namespace.as_raw_fd().to_ne_bytes());
                });
            });
        },
    );
    netlink.request(request)
}

/// Makes a veth pair with both ends where the socket is.
pub(crate) fn add_pair(netlink: &mut Netlink, near: &str, far: &str, mtu: u32) -> Result<(), NetlinkError> {
    let mtu = mtu.to_ne_bytes();
    let mut request = Request::new(libc::RTM_NEWLINK, CREATE, &link_header(0, 0, 0));
    request.text(libc::IFLA_IFNAME, near).attribute(libc::IFLA_MTU, &mtu).nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |peer| {
                peer.octets(&link_header(0, 0, 0));
                peer.text(libc::IFLA_IFNAME, far).attribute(libc::IFLA_MTU, &mtu);
            });
        });
    });
    netlink.request(request)
}

/// Removes a device, and its peer.
pub(crate) fn remove(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    netlink.request(Request::new(libc::RTM_DELLINK, 0, &link_header(index, 0, 0)))
}

/// Changes the IP MTU of a device.
pub(crate) fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u16) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &link_header(index, 0, 0));
    request.attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    netlink.request(request)
}

/// Makes a bridge and switches it on.
pub(crate) fn add_bridge(netlink: &mut Netlink, name: &str, index: u32) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_NEWLINK, CREATE, &link_header(index, 0, 0));
    request.text(libc::IFLA_IFNAME, name).nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "bridge");
    });
    netlink.request(request)?;
    be_quiet(netlink, index);
    set_up(netlink, index)
}

/// No IPv6 link-local addresses: the wire stays silent unless somebody means to speak. Without IPv6 it is so anyway.
pub(crate) fn be_quiet(netlink: &mut Netlink, index: u32) {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &link_header(index, 0, 0));
    request.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |inet6| {
            inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
    let _ = netlink.request(request);
}

/// Switches a device on.
pub(crate) fn set_up(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let up = libc::IFF_UP as u32;
    netlink.request(Request::new(libc::RTM_NEWLINK, 0, &link_header(index, up, up)))
}

/// Makes a device a port of a bridge; 0: of none.
pub(crate) fn set_bridge(netlink: &mut Netlink, index: u32, bridge: u32) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &link_header(index, 0, 0));
    request.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
    netlink.request(request)
}

/// Gives a device an address.
pub(crate) fn add_address(netlink: &mut Netlink, index: u32, address: Ipv4Net) -> Result<(), NetlinkError> {
    let mut header = [0; 8];
    header[..2].copy_from_slice(&[libc::AF_INET as u8, address.prefix_len()]);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let octets = address.addr().octets();
    let mut request = Request::new(libc::RTM_NEWADDR, CREATE, &header);
    request.attribute(libc::IFA_LOCAL, &octets).attribute(libc::IFA_ADDRESS, &octets);
    netlink.request(request)
}

/// Adds a route over a router that is on a network of the namespace.
pub(crate) fn add_route(netlink: &mut Netlink, to: Ipv4Net, via: Ipv4Addr) -> Result<(), NetlinkError> {
    let mut header = [0; 12];
    header[..2].copy_from_slice(&[libc::AF_INET as u8, to.prefix_len()]);
    header[4..8].copy_from_slice(&[
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    ]);
    let mut request = Request::new(libc::RTM_NEWROUTE, CREATE, &header);
    if to.prefix_len() > 0 {
        request.attribute(libc::RTA_DST, &to.network().octets());
    }
    request.attribute(libc::RTA_GATEWAY, &via.octets());
    netlink.request(request)
}
