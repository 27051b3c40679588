//! The network around the router, and its configuration.

use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::PortId;
use genkan_engine::plan::{ForwardRule, Lan, Nat, Plan, PortRange, Timeouts, Wan};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::wire::ipv4::Protocol;

/// The lan's port.
pub const INSIDE: PortId = PortId::lan(0);
/// The wan's port.
pub const OUTSIDE: PortId = PortId::WAN;
/// Forwards that hairpin sessions go to.
pub const HAIRPIN_FORWARDS: u16 = 64;

/// The external address.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The next hop outside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The router's own address inside.
pub const LAN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// First of the remotes' addresses.
pub const REMOTES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// First of the internal hosts' addresses.
pub const HOSTS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// MAC address of the wan port.
pub const WAN_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
/// MAC address of the lan port.
pub const LAN_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xff]);

/// Idle timeout of UDP sessions here.
pub const UDP_TIMEOUT: Duration = Duration::from_secs(300);

/// The MAC address of a neighbor: made from its IPv4 address.
pub const fn mac_of(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([0x02, 1, a, b, c, d])
}

/// The configuration of a router for so many sessions, with limits per host out of the way.
pub fn plan(max_sessions: u32) -> Plan {
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().expect("a prefix"),
            gateway: Some(GATEWAY),
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        },
        lans: vec![Lan {
            name: "lan".to_owned(),
            address: "10.0.0.1/8".parse().expect("a prefix"),
            mtu: 1500,
            reaches: Vec::new(),
        }],
        routes: Vec::new(),
        host_port: false,
        nat: Nat {
            max_sessions,
            max_sessions_per_host: max_sessions,
            max_ports_per_host: u32::from(u16::MAX),
            timeouts: Timeouts { udp: UDP_TIMEOUT, ..Timeouts::default() },
            ..Nat::default()
        },
        hosts: Vec::new(),
        forwards: Vec::new(),
        dmz: None,
        services: Vec::new(),
    }
}

/// So many forwards of one TCP and UDP port each, from port 1 on, to the internal hosts in turn.
pub fn forwards(count: u16, hosts: u16) -> Vec<ForwardRule> {
    (1..=count)
        .map(|port| ForwardRule {
            name: format!("forward-{port}"),
            protocols: vec![Protocol::TCP, Protocol::UDP],
            ports: vec![PortRange { external_first: port, external_last: port, internal_first: port }],
            to: Ipv4Addr::from_bits(HOSTS.to_bits() + u32::from(port % hosts)),
            address: None,
            from: Vec::new(),
            enabled: true,
            expires: None,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        })
        .collect()
}
