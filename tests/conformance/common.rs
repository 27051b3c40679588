//! The scene that most tests start from.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::Plan;
use genkan_tests::lab::plan::EXTERNAL;
use genkan_tests::lab::{Host, Lab};

/// How late a timeout may be noticed: expiry is sorted into slots of time, never early.
pub(crate) const LATE: Duration = Duration::from_secs(3);

/// A moment before something is due.
pub(crate) const MOMENT: Duration = Duration::from_millis(10);

/// A home router with changes to the plan, a machine inside and one outside.
pub(crate) fn scene(change: impl FnOnce(&mut Plan)) -> (Lab, Host, Host) {
    let mut lab = Lab::with(change);
    let pc = lab.lan_host("192.168.0.100");
    let web = lab.wan_host("198.51.100.7");
    (lab, pc, web)
}

/// The scene of [`scene`] without changes.
pub(crate) fn home() -> (Lab, Host, Host) {
    scene(|_| {})
}

/// A port of the router's primary external address.
pub(crate) const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// An address.
pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// An endpoint.
pub(crate) fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().expect("an endpoint")
}

/// Seconds.
pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
