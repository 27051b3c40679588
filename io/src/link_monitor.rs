//! Tells when devices come, go and change, and when the kernel gets addresses on them.

use std::os::fd::BorrowedFd;

use crate::device::{DeviceAddress, Link};
use crate::netlink::{Message, Netlink, NetlinkError};

/// Something about a device of the network namespace, ours or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A device appeared, or something about it changed: up or down, carrier, MAC address, MTU, name.
    Changed(Link),
    /// A device was deleted, or moved to another network namespace.
    Removed(Link),
    /// The kernel has an address on a device.
    AddressAdded(DeviceAddress),
    /// The kernel has it no more.
    AddressRemoved(DeviceAddress),
    /// Events were lost: ask for everything anew.
    Overrun,
}

/// A subscription to the kernel's notifications (rtnetlink(7)).
///
/// Subscribe first and ask for the state after ([`crate::device::link`]), so that no change falls between.
#[derive(Debug)]
pub struct LinkMonitor {
    netlink: Netlink,
}

impl LinkMonitor {
    /// Subscribes in the calling thread's network namespace.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn new() -> Result<LinkMonitor, NetlinkError> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        Ok(LinkMonitor { netlink: Netlink::route_notifications(groups as u32)? })
    }

    /// Readable when [`LinkMonitor::events`] has something to tell.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }

    /// What happened since the last call, in order; never blocks.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn events(&mut self) -> Result<Vec<LinkEvent>, NetlinkError> {
        let mut events = Vec::new();
        loop {
            match self.netlink.notifications() {
                Ok(messages) if messages.is_empty() => return Ok(events),
                Ok(messages) => events.extend(messages.iter().filter_map(event)),
                Err(NetlinkError::Overrun) => events.push(LinkEvent::Overrun),
                Err(error) => return Err(error),
            }
        }
    }
}

fn event(message: &Message) -> Option<LinkEvent> {
    match message.kind {
        libc::RTM_NEWLINK => Link::from_message(message).map(LinkEvent::Changed),
        libc::RTM_DELLINK => Link::from_message(message).map(LinkEvent::Removed),
        libc::RTM_NEWADDR => DeviceAddress::from_message(message).map(LinkEvent::AddressAdded),
        libc::RTM_DELADDR => DeviceAddress::from_message(message).map(LinkEvent::AddressRemoved),
        _ => None,
    }
}
