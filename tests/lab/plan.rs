//! Plans for tests: one home network, to be changed field by field.
//!
//! ```text
//! 198.51.100.0/24, 192.0.2.0/24 -- gateway 203.0.113.2 -- wan 203.0.113.1/24 [router] 192.168.0.1/24 -- lan "home"
//!                                                                                     192.168.1.1/24 -- lan "guest"
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use genkan_engine::plan::{ForwardRule, Host, Lan, Nat, Plan, PortRange, Wan};
use genkan_engine::wire::ipv4::Protocol;

/// The router's primary external address in [`home`].
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// A further external address, for tests that need two.
pub const EXTERNAL_2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// The next hop outside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Two lans that reach each other not, no rules, the documented defaults everywhere else except for a
/// small table.
pub fn home() -> Plan {
    let lan = |name: &str, address: &str| Lan {
        name: name.into(),
        address: address.parse().expect("a prefix"),
        mtu: 1500,
        reaches: Vec::new(),
    };
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().expect("a prefix"),
            gateway: Some(GATEWAY),
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        },
        lans: vec![lan("home", "192.168.0.1/24"), lan("guest", "192.168.1.1/24")],
        routes: Vec::new(),
        host_port: false,
        nat: Nat {
            max_sessions: 4096,
            max_sessions_per_host: 4096,
            max_ports_per_host: 4096,
            ..Nat::default()
        },
        hosts: Vec::new(),
        forwards: Vec::new(),
        dmz: None,
        services: Vec::new(),
    }
}

/// A forward of `ports` (`"80"`, `"10000-10010"`, `"80,443"`) of `protocol` (`"tcp"`, `"udp"`, `"tcp+udp"`)
/// to `to` (`"192.168.0.10:8080"`, or without a port: the same ports). Open to everybody on every address.
pub fn forward(name: &str, protocol: &str, ports: &str, to: &str) -> ForwardRule {
    let (to, internal): (Ipv4Addr, Option<u16>) = match to.parse::<SocketAddrV4>() {
        Ok(endpoint) => (*endpoint.ip(), Some(endpoint.port())),
        Err(_) => (to.parse().expect("an address"), None),
    };
    let ports = ports.split(',').map(|part| {
        let range = port_range(part);
        PortRange {
            external_first: *range.start(),
            external_last: *range.end(),
            internal_first: internal.unwrap_or(*range.start()),
        }
    });
    ForwardRule {
        name: name.into(),
        protocols: protocol.split('+').map(self::protocol).collect(),
        ports: ports.collect(),
        to,
        address: None,
        from: Vec::new(),
        enabled: true,
        expires: None,
        log: false,
        max_sessions: None,
        max_new_per_source: None,
    }
}

/// A host entry that only says what address it has.
pub fn host_entry(name: &str, address: &str) -> Host {
    Host {
        name: name.into(),
        mac: None,
        address: address.parse().expect("an address"),
        filtering: None,
        mapping: None,
        external: None,
    }
}

fn port_range(text: &str) -> RangeInclusive<u16> {
    let port = |text: &str| text.parse::<u16>().expect("a port");
    match text.split_once('-') {
        Some((first, last)) => port(first)..=port(last),
        None => port(text)..=port(text),
    }
}

fn protocol(name: &str) -> Protocol {
    match name {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        other => panic!("{other:?} is neither tcp nor udp"),
    }
}
