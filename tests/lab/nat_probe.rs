//! Finds out from outside what kind of NAT this is, in the way of RFC 5780 §4.3 and §4.4: two remote
//! addresses with two ports each.

use std::net::SocketAddrV4;

use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};

use super::craft::udp;
use super::{Host, Lab};

/// What the prober found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// RFC 4787 §4.1.
    pub mapping: MappingBehavior,
    /// RFC 4787 §5.
    pub filtering: FilteringBehavior,
    /// The first mapping kept the internal port.
    pub port_preserved: bool,
}

/// Probes with UDP from `inside`, local ports `port` and `port + 1`, which must not have sent before.
///
/// # Panics
/// When a probe from inside does not come out.
#[track_caller]
pub fn probe(lab: &mut Lab, inside: Host, port: u16) -> Behavior {
    let near = lab.wan_host("198.51.100.201");
    let far = lab.wan_host("192.0.2.202");
    let mapped = |lab: &mut Lab, local: u16, server: Host, server_port: u16| -> SocketAddrV4 {
        lab.pass(inside, udp(inside.at(local), server.at(server_port)), server).from()
    };
    let first = mapped(lab, port, near, 3478);
    let other_address = mapped(lab, port, far, 3478);
    let other_port = mapped(lab, port, far, 3479);
    let mapping = match (first == other_address, other_address == other_port) {
        (true, true) => MappingBehavior::EndpointIndependent,
        (false, true) => MappingBehavior::AddressDependent,
        _ => MappingBehavior::AddressAndPortDependent,
    };

    let external = mapped(lab, port + 1, near, 3478);
    let mut admits = |server: Host, server_port: u16| {
        lab.send(server, udp(server.at(server_port), external));
        let admitted = !lab.received(inside).is_empty();
        lab.take_drops();
        lab.quiet();
        admitted
    };
    let filtering = match (admits(far, 3479), admits(near, 3479), admits(near, 3478)) {
        (true, true, true) => FilteringBehavior::EndpointIndependent,
        (false, true, true) => FilteringBehavior::AddressDependent,
        (false, false, true) => FilteringBehavior::AddressAndPortDependent,
        odd => panic!("no known filtering: stranger, other port, same endpoint admitted: {odd:?}"),
    };
    Behavior { mapping, filtering, port_preserved: first.port() == port }
}
