//! The scene that most tests start from.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::Plan;
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, host_entry};
use genkan_tests::lab::{Host, Lab, Packet};

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

/// A home router with a host that has [`EXTERNAL_2`] for itself, that host, and a machine outside.
pub(crate) fn one_to_one() -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| {
        plan.wan.addresses.push(EXTERNAL_2);
        let mut nas = host_entry("nas", "192.168.0.10");
        nas.external = Some(EXTERNAL_2);
        plan.hosts.push(nas);
    });
    let nas = lab.lan_host("192.168.0.10");
    (lab, nas, web)
}

/// The packet that fragments make.
pub(crate) fn join(mut parts: Vec<Packet>) -> Packet {
    parts.sort_by_key(|part| part.fragment_offset);
    let data = parts.iter().flat_map(|part| part.payload_data().to_vec()).collect::<Vec<_>>();
    let mut whole = parts[0].clone().data(&data);
    whole.more_fragments = false;
    Packet::parse(&whole.to_ip()).expect("fragments of one packet")
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
