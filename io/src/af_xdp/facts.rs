//! What is known about a device before AF_XDP is tried on it.

use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::IoError;
use crate::netlink::{Message, Netlink, NetlinkError, Request, attribute};
use crate::sys::{ethtool, ioctl};

/// The family "netdev" of generic netlink (Documentation/netlink/specs/netdev.yaml).
const NETDEV_FAMILY: &str = "netdev";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// NETDEV_XDP_ACT_*: what a driver can do with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features(u64);

impl Features {
    #[cfg(test)]
    pub(super) fn new(bits: u64) -> Features {
        Features(bits)
    }
    /// Runs programs, and follows their verdict to redirect frames.
    pub(super) fn runs_programs(self) -> bool {
        self.0 & 0b11 == 0b11
    }
    /// AF_XDP without copying.
    pub(super) fn zero_copy(self) -> bool {
        self.0 & 0b1000 != 0
    }
}

/// A device as AF_XDP sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) index: u32,
    /// IP MTU in octets.
    pub(super) mtu: u32,
    pub(super) driver: ethtool::Driver,
    /// Receive queues in use.
    pub(super) queues: u32,
    /// `None`: the kernel does not tell (before Linux 6.3).
    pub(super) features: Option<Features>,
}

/// Drivers of devices that hand over another kernel's frames as they are, and yet sit on some bus.
const PARAVIRTUAL: [&str; 5] = ["virtio_net", "vmxnet3", "xen_netfront", "hv_netvsc", "netvsc"];

impl Facts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When the device does not exist or carries no Ethernet frames.
    pub(super) fn of(device: &str) -> Result<Facts, IoError> {
        ioctl::check_name(device)?;
        let failed = |operation| {
            move |errno: nix::Error| IoError::Open {
                device: device.to_owned(),
                operation,
                source: errno.into(),
            }
        };
        let index = nix::net::if_::if_nametoindex(device).map_err(failed("look up"))?;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(failed("open a socket to ask about it"))?;
        if ioctl::hardware_type(socket.as_fd(), device)? != libc::ARPHRD_ETHER {
            return Err(IoError::NotEthernet { device: device.to_owned() });
        }
        Ok(Facts {
            index,
            mtu: ioctl::mtu(socket.as_fd(), device)?,
            // Devices without these have no name for their driver, and one queue.
            driver: ethtool::driver(socket.as_fd(), device).unwrap_or_default(),
            queues: ethtool::receive_queues(socket.as_fd(), device).unwrap_or(1).max(1),
            features: features(index).ok().flatten(),
        })
    }

    /// Whether frames may come straight from another kernel's stack: as super-frames, and with unfinished checksums.
    /// A device on a bus whose driver is not known to pass them on puts bits on a wire.
    pub(super) fn joins_stacks(&self) -> bool {
        let bus = self.driver.bus.as_str();
        bus.is_empty() || bus == "N/A" || PARAVIRTUAL.contains(&self.driver.name.as_str())
    }

    /// The driver, for people.
    pub(super) fn driver_name(&self) -> &str {
        if self.driver.name.is_empty() { "unknown" } else { &self.driver.name }
    }
}

/// struct genlmsghdr: command, version, 16 bits reserved.
fn generic(kind: u16, command: u8) -> Request {
    Request::new(kind, 0, &[command, 1, 0, 0])
}

fn features(index: u32) -> Result<Option<Features>, NetlinkError> {
    let mut netlink = Netlink::generic()?;
    let mut ask_family = generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    ask_family.text(CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
    let answers = netlink.query(ask_family)?;
    let find = |answers: &[Message], kind| {
        let bodies = answers.iter().filter_map(|answer| answer.body.get(4..));
        bodies.filter_map(|body| attribute(body, kind)).map(<[u8]>::to_vec).next()
    };
    let family = find(&answers, CTRL_ATTR_FAMILY_ID)
        .and_then(|value| value.first_chunk().map(|octets| u16::from_ne_bytes(*octets)));
    let Some(family) = family else { return Ok(None) };
    let mut ask_device = generic(family, NETDEV_CMD_DEV_GET);
    ask_device.attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let features = find(&netlink.query(ask_device)?, NETDEV_A_DEV_XDP_FEATURES);
    let bits = features.and_then(|value| value.first_chunk().map(|octets| u64::from_ne_bytes(*octets)));
    Ok(bits.map(Features))
}
