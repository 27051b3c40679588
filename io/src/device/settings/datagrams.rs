//! Merging of UDP datagrams on arrival where it is switched while the port works, not once beforehand.

use super::{PreparedDevice, UDP_MERGING, features, is_veth, switch_features};
use crate::device::{DeviceError, DeviceOptions, Link, find_link, route_socket};
use crate::netlink::Netlink;
use crate::sys::ethtool::Feature;

impl PreparedDevice {
    /// Whether [`PreparedDevice::merge_datagrams`] is to be used: on a veth, unless its owner had it on anyway.
    pub fn merges_datagrams_by_turns(&self) -> bool {
        is_veth(&self.link) && self.record.features.get(UDP_MERGING) == Some(&false)
    }

    /// Has the kernel merge UDP datagrams on arrival, or not. What was found is put back with the other settings.
    ///
    /// # Errors
    /// When the device is gone, or the kernel refuses.
    pub fn merge_datagrams(&self, on: bool) -> Result<(), DeviceError> {
        let name = &self.link.name;
        if find_link(&mut route_socket(name)?, name)?.index != self.link.index {
            return Err(DeviceError::NotFound(name.clone()));
        }
        switch_features(name, &[(UDP_MERGING.to_owned(), on)]).map(drop)
    }
}

/// Whether UDP merging is off, and may be switched on while it pays.
pub(super) fn by_turns(netlink: &Netlink, link: &Link, options: &DeviceOptions) -> Result<bool, DeviceError> {
    let can = |feature: Feature| feature.name == UDP_MERGING && feature.changeable && !feature.active;
    Ok(options.merge && !options.bare && is_veth(link) && features(netlink, link)?.into_iter().any(can))
}
