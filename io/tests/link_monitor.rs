//! Notifications about real devices.

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::{
    Namespace, add_address, add_veth, delete_link, link, no_ipv6, set_down, set_mac, set_mtu, set_up, until,
};
use genkan_io::device::Link;
use genkan_io::link_monitor::{LinkEvent, LinkMonitor};
use nix::poll::{PollFd, PollFlags, poll};

/// Waits for an event that is what is looked for.
fn next<T>(monitor: &mut LinkMonitor, what: &str, mut wanted: impl FnMut(&LinkEvent) -> Option<T>) -> T {
    until(what, || {
        poll(&mut [PollFd::new(monitor.poll_fd(), PollFlags::POLLIN)], 100u8).expect("poll works");
        monitor.events().expect("the socket works").iter().find_map(&mut wanted)
    })
}

fn changed(event: &LinkEvent, is: impl Fn(&Link) -> bool) -> Option<Link> {
    match event {
        LinkEvent::Changed(link) if link.name == "r0" && is(link) => Some(link.clone()),
        _ => None,
    }
}

namespace_tests! {
    fn every_change_is_told() {
        let host = Namespace::new();
        let mut monitor = LinkMonitor::new().expect("netlink is always there");
        add_veth("r0", &host, "h0");
        no_ipv6("r0");
        let found = next(&mut monitor, "the device", |event| changed(event, |_| true));
        assert_eq!(found.index, link("r0").index);

        set_up("r0");
        next(&mut monitor, "up", |event| changed(event, |link| link.up && !link.carrier));
        host.run(|| set_up("h0"));
        let up = next(&mut monitor, "carrier", |event| changed(event, |link| link.carrier));
        assert!(up.state().up);
        set_mtu("r0", 1400);
        next(&mut monitor, "the MTU", |event| changed(event, |link| link.mtu == 1400));
        let mac = [2, 0, 0, 1, 2, 3];
        set_mac("r0", mac);
        next(&mut monitor, "the MAC address", |event| changed(event, |link| link.mac.0 == mac));
        let address = Ipv4Addr::new(192, 0, 2, 1);
        add_address("r0", address, 24);
        next(&mut monitor, "the address", |event| match event {
            LinkEvent::AddressAdded(added) if added.address == IpAddr::V4(address) => {
                assert_eq!((added.index, added.prefix_len), (found.index, 24));
                Some(())
            }
            _ => None,
        });
        host.run(|| set_down("h0"));
        let down = next(&mut monitor, "no carrier", |event| changed(event, |link| !link.carrier));
        assert!(!down.state().up);

        delete_link("r0");
        next(&mut monitor, "the end", |event| match event {
            LinkEvent::Removed(link) if link.index == found.index => Some(()),
            _ => None,
        });
        // Again under the same name: another number.
        add_veth("r0", &host, "h0");
        let second = next(&mut monitor, "the new device", |event| changed(event, |_| true));
        assert_ne!(second.index, found.index);
    }

    /// More changes than the socket can hold.
    fn lost_events_are_told() {
        let host = Namespace::new();
        add_veth("r0", &host, "h0");
        let mut monitor = LinkMonitor::new().expect("netlink is always there");
        until("a full socket", || {
            for mtu in [1400, 1500] {
                set_mtu("r0", mtu);
            }
            // Only look now and then.
            (0..2000).for_each(|round| set_mtu("r0", 1400 + round % 100));
            monitor.events().expect("an overrun is no error").contains(&LinkEvent::Overrun).then_some(())
        });
        // And it goes on.
        set_mtu("r0", 1234);
        next(&mut monitor, "the MTU", |event| changed(event, |link| link.mtu == 1234));
    }
}
