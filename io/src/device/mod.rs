//! What the kernel knows about network devices, and the settings of ours that it must have while we run.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use nix::errno::Errno;

use crate::netlink::{Message, Netlink, NetlinkError, Request, as_text, as_u32, attribute};

mod settings;

pub use settings::{DeviceOptions, PreparedDevice, is_feature_on, restore_leftovers, switch_features};

/// Why a device cannot be used, or asked about.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no device of this name in this network namespace.
    #[error("device {0}: no such device")]
    NotFound(String),
    /// It does not carry Ethernet frames.
    #[error("device {0} is not an Ethernet device")]
    NotEthernet(String),
    /// It is a member of a bridge, bond or VRF, which takes its frames.
    #[error("device {device} belongs to {master}: use {master} itself, or take {device} out of it")]
    Enslaved {
        /// The device's name.
        device: String,
        /// The name of what it belongs to.
        master: String,
    },
    /// The kernel itself speaks IP on it, so that box and router would both answer.
    #[error(
        "device {device}: the kernel holds {} on it; remove it (ip address del ... dev {device}, and from \
         whatever configures the network) or give Genkan another device",
        addresses.iter().map(DeviceAddress::to_string).collect::<Vec<_>>().join(", ")
    )]
    AddressesPresent {
        /// The device's name.
        device: String,
        /// What was found.
        addresses: Vec<DeviceAddress>,
    },
    /// Another running Genkan with the same state folder uses it.
    #[error("device {device}: another running Genkan uses it ({})", path.display())]
    InUse {
        /// The device's name.
        device: String,
        /// The record that the other one holds.
        path: std::path::PathBuf,
    },
    /// The kernel refused something.
    #[error("device {device}: {operation}: {source}")]
    Netlink {
        /// The device's name.
        device: String,
        /// What was tried, in words.
        operation: &'static str,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// A feature could not be switched.
    #[error(transparent)]
    Feature(#[from] crate::error::IoError),
    /// LRO merges packets in a way that cannot be undone, and this device's cannot be switched off.
    #[error("device {0}: large receive offload (LRO) cannot be switched off")]
    LargeReceiveOffload(String),
    /// The record of changed settings could not be kept.
    #[error("{}: {operation}: {source}", path.display())]
    Record {
        /// The file.
        path: std::path::PathBuf,
        /// What was tried, in words.
        operation: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

pub(crate) fn refused<'a>(
    device: &'a str,
    operation: &'static str,
) -> impl Fn(NetlinkError) -> DeviceError + 'a {
    move |source| DeviceError::Netlink { device: device.to_owned(), operation, source }
}

/// A network device as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it, never used twice while the network namespace lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `ARPHRD_*`: 1 is Ethernet.
    pub hardware_type: u16,
    /// Its MAC address; zeroes for devices that have none of 6 octets.
    pub mac: MacAddr,
    /// Its IP MTU in octets.
    pub mtu: u32,
    /// Switched on by the administrator.
    pub up: bool,
    /// The other end is there.
    pub carrier: bool,
    /// Index of the bridge, bond or VRF that it is a member of.
    pub master: Option<u32>,
    /// How the kernel makes IPv6 link-local addresses for it (`IN6_ADDR_GEN_MODE_*`); `None` without IPv6.
    pub address_generation: Option<u8>,
    /// What kind of virtual device it is, as `ip -details link` says: "veth", "vlan", "bridge", ...
    pub kind: Option<String>,
}

impl Link {
    /// What the engine wants to know.
    pub fn state(&self) -> LinkState {
        LinkState {
            mac: self.mac,
            mtu: u16::try_from(self.mtu).unwrap_or(u16::MAX),
            up: self.up && self.carrier,
        }
    }

    /// Reads an RTM_NEWLINK or RTM_DELLINK message.
    pub(crate) fn from_message(message: &Message) -> Option<Link> {
        let (header, attributes) = message.body.split_first_chunk::<LINK_HEADER_LEN>()?;
        if i32::from(header[0]) != libc::AF_UNSPEC {
            // About membership in a bridge (AF_BRIDGE), not about the device.
            return None;
        }
        let flags = as_u32(&header[8..])?;
        let mac = attribute(attributes, libc::IFLA_ADDRESS).and_then(|octets| octets.try_into().ok());
        Some(Link {
            index: as_u32(&header[4..])?,
            name: as_text(attribute(attributes, libc::IFLA_IFNAME)?),
            hardware_type: u16::from_ne_bytes([header[2], header[3]]),
            mac: MacAddr(mac.unwrap_or_default()),
            mtu: attribute(attributes, libc::IFLA_MTU).and_then(as_u32).unwrap_or(0),
            up: flags & libc::IFF_UP as u32 != 0,
            carrier: attribute(attributes, libc::IFLA_CARRIER).is_some_and(|value| value == [1]),
            master: attribute(attributes, libc::IFLA_MASTER).and_then(as_u32),
            address_generation: attribute(attributes, libc::IFLA_AF_SPEC)
                .and_then(|families| attribute(families, libc::AF_INET6 as u16))
                .and_then(|inet6| attribute(inet6, IFLA_INET6_ADDR_GEN_MODE))
                .and_then(|mode| mode.first().copied()),
            kind: attribute(attributes, libc::IFLA_LINKINFO)
                .and_then(|info| attribute(info, IFLA_INFO_KIND))
                .map(as_text),
        })
    }
}

/// An IP address that the kernel holds on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAddress {
    /// The device's index.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Octets of the network part, in bits.
    pub prefix_len: u8,
}

impl DeviceAddress {
    /// Whether it is an IPv6 link-local address, which the kernel makes by itself.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }

    /// Reads an RTM_NEWADDR or RTM_DELADDR message.
    pub(crate) fn from_message(message: &Message) -> Option<DeviceAddress> {
        let (header, attributes) = message.body.split_first_chunk::<ADDRESS_HEADER_LEN>()?;
        // On point-to-point links IFA_ADDRESS is the other end, and IFA_LOCAL ours.
        let octets =
            attribute(attributes, libc::IFA_LOCAL).or_else(|| attribute(attributes, libc::IFA_ADDRESS))?;
        let address = match octets.len() {
            4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
            16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
            _ => return None,
        };
        Some(DeviceAddress { index: as_u32(&header[4..])?, address, prefix_len: header[1] })
    }
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Octets of `struct ifinfomsg`.
const LINK_HEADER_LEN: usize = 16;
/// Octets of `struct ifaddrmsg`.
const ADDRESS_HEADER_LEN: usize = 8;
/// Of IFLA_LINKINFO (linux/if_link.h).
const IFLA_INFO_KIND: u16 = 1;
/// Of the AF_INET6 part of IFLA_AF_SPEC (linux/if_link.h).
pub(crate) const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// The kernel makes no link-local address.
pub(crate) const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// `struct ifinfomsg` for one device: switches `change` to `flags`.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_LEN] {
    let mut header = [0; LINK_HEADER_LEN];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// `struct ifaddrmsg`.
pub(crate) fn address_header(family: i32, prefix_len: u8, scope: u8, index: u32) -> [u8; ADDRESS_HEADER_LEN] {
    let mut header = [0; ADDRESS_HEADER_LEN];
    header[0] = family as u8;
    header[1] = prefix_len;
    header[3] = scope;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// The octets of an address.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A socket to ask about devices of the calling thread's network namespace.
pub(crate) fn route_socket(device: &str) -> Result<Netlink, DeviceError> {
    Netlink::route().map_err(refused(device, "talk to the kernel"))
}

/// Looks a device up by its name.
///
/// # Errors
/// [`DeviceError::NotFound`], or when the kernel cannot be asked.
pub fn link(name: &str) -> Result<Link, DeviceError> {
    find_link(&mut route_socket(name)?, name)
}

pub(crate) fn find_link(netlink: &mut Netlink, name: &str) -> Result<Link, DeviceError> {
    crate::sys::ioctl::check_name(name)?;
    let mut request = Request::new(libc::RTM_GETLINK, 0, &link_header(0, 0, 0));
    request.text(libc::IFLA_IFNAME, name);
    match netlink.query(request) {
        Ok(answers) => {
            answers.iter().find_map(Link::from_message).ok_or_else(|| DeviceError::NotFound(name.to_owned()))
        }
        Err(error) if error.errno() == Some(Errno::ENODEV) => Err(DeviceError::NotFound(name.to_owned())),
        Err(error) => Err(refused(name, "look up")(error)),
    }
}

/// All devices.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn links() -> Result<Vec<Link>, NetlinkError> {
    let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &link_header(0, 0, 0));
    Ok(Netlink::route()?.query(request)?.iter().filter_map(Link::from_message).collect())
}

/// The kernel's IPv4 and IPv6 addresses on a device.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn addresses(index: u32) -> Result<Vec<DeviceAddress>, NetlinkError> {
    find_addresses(&mut Netlink::route()?, index)
}

pub(crate) fn find_addresses(netlink: &mut Netlink, index: u32) -> Result<Vec<DeviceAddress>, NetlinkError> {
    let header = address_header(libc::AF_UNSPEC, 0, 0, 0);
    let answers = netlink.query(Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header))?;
    let all = answers.iter().filter_map(DeviceAddress::from_message);
    Ok(all.filter(|address| address.index == index).collect())
}

/// Adds an address to a device.
pub(crate) fn add_address(netlink: &mut Netlink, address: &DeviceAddress) -> Result<(), NetlinkError> {
    change_address(netlink, libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, address)
}

/// Removes an address from a device; one that is not there is no error.
pub(crate) fn remove_address(netlink: &mut Netlink, address: &DeviceAddress) -> Result<(), NetlinkError> {
    match change_address(netlink, libc::RTM_DELADDR, 0, address) {
        Err(error) if error.errno() == Some(Errno::EADDRNOTAVAIL) => Ok(()),
        result => result,
    }
}

fn change_address(
    netlink: &mut Netlink,
    kind: u16,
    flags: i32,
    address: &DeviceAddress,
) -> Result<(), NetlinkError> {
    let family = if address.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let scope = if address.is_link_local() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let header = address_header(family, address.prefix_len, scope, address.index);
    let mut request = Request::new(kind, flags, &header);
    request
        .attribute(libc::IFA_LOCAL, &octets(address.address))
        .attribute(libc::IFA_ADDRESS, &octets(address.address));
    netlink.request(request)
}

/// Switches a device on or off.
pub(crate) fn set_up(netlink: &mut Netlink, index: u32, up: bool) -> Result<(), NetlinkError> {
    let flag = libc::IFF_UP as u32;
    let header = link_header(index, if up { flag } else { 0 }, flag);
    netlink.request(Request::new(libc::RTM_NEWLINK, 0, &header))
}

/// Tells how the kernel is to make IPv6 link-local addresses.
pub(crate) fn set_address_generation(
    netlink: &mut Netlink,
    index: u32,
    mode: u8,
) -> Result<(), NetlinkError> {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &link_header(index, 0, 0));
    request.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |inet6| {
            inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[mode]);
        });
    });
    netlink.request(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_known() {
        let lo = link("lo").expect("every network namespace has it");
        assert_eq!((lo.name.as_str(), lo.hardware_type), ("lo", libc::ARPHRD_LOOPBACK));
        assert!(links().expect("the kernel answers").contains(&lo));
    }

    #[test]
    fn an_absent_device_is_told_apart() {
        assert!(matches!(link("genkan-absent"), Err(DeviceError::NotFound(_))));
        assert!(matches!(link("far-too-long-a-name"), Err(DeviceError::Feature(_))));
        assert_eq!(addresses(u32::MAX).expect("the kernel answers"), []);
    }

    #[test]
    fn addresses_are_listed_in_the_error() {
        let address = |text: &str, prefix_len| DeviceAddress {
            index: 1,
            address: text.parse().expect("an address"),
            prefix_len,
        };
        let error = DeviceError::AddressesPresent {
            device: "eth0".into(),
            addresses: vec![address("192.0.2.1", 24), address("2001:db8::1", 64)],
        };
        assert!(error.to_string().contains("192.0.2.1/24, 2001:db8::1/64"), "{error}");
        assert!(address("fe80::1", 64).is_link_local() && !address("2001:db8::1", 64).is_link_local());
    }
}
