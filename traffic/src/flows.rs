//! Which endpoints the n-th session has.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::PortId;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::wire::tcp::TcpFlags;

use crate::Template;
use crate::network::{EXTERNAL, HAIRPIN_FORWARDS, HOSTS, INSIDE, LAN_MAC, REMOTES, WAN_MAC};

/// Most mappings: with endpoint-independent mapping each has an external port of its own.
const MAX_MAPPINGS: u32 = 61_440;
/// Most internal hosts: each is a neighbor of the lan port.
const MAX_HOSTS: u32 = 1_024;
/// Sessions per internal host, until there are [`MAX_HOSTS`].
const SESSIONS_PER_HOST: u32 = 60;
/// The first internal port. Every mapping has its own, so that the external one is the same.
const FIRST_PORT: u16 = 2_048;
/// Addresses in 198.18.0.0/15.
const REMOTE_ADDRESSES: u32 = 1 << 17;

/// What the sessions carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, established by a full handshake.
    Tcp,
    /// UDP, answered.
    Udp,
    /// Echo requests and replies.
    Icmp,
}

impl Transport {
    /// Its protocol number.
    pub const fn protocol(self) -> Protocol {
        match self {
            Transport::Tcp => Protocol::TCP,
            Transport::Udp => Protocol::UDP,
            Transport::Icmp => Protocol::ICMP,
        }
    }

    /// For the names of benches.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Icmp => "icmp",
        }
    }
}

/// The three endpoints of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Inside.
    pub internal: SocketAddrV4,
    /// As seen from outside; its port is the internal one.
    pub external: SocketAddrV4,
    /// Outside; port 0 for ICMP.
    pub remote: SocketAddrV4,
}

/// So many sessions, spread over hosts, mappings and remotes.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    transport: Transport,
    count: u32,
    mappings: u32,
    hosts: u32,
}

impl Flows {
    /// `count` sessions; at most some millions.
    pub fn new(transport: Transport, count: u32) -> Flows {
        let mappings = count.clamp(1, MAX_MAPPINGS);
        let hosts = (mappings / SESSIONS_PER_HOST).clamp(1, MAX_HOSTS);
        Flows { transport, count, mappings, hosts }
    }

    /// `count` sessions of as many internal endpoints; beyond the number of ports, not all can have a mapping at
    /// once.
    pub fn with_mappings(transport: Transport, count: u32) -> Flows {
        Flows { transport, count, mappings: count, hosts: MAX_HOSTS }
    }

    /// What they carry.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many external ports they use.
    pub const fn mappings(&self) -> u32 {
        self.mappings
    }

    /// The internal hosts' addresses.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (0..self.hosts).map(host)
    }

    /// The endpoints of the session of that number, from 0; numbers beyond `count` go on in the same way.
    #[inline]
    pub fn endpoints(&self, number: u32) -> Endpoints {
        let (mapping, remote) = (number % self.mappings, number / self.mappings);
        let port = FIRST_PORT.wrapping_add(mapping as u16).max(1);
        // An odd stride visits every address once, so no mapping has the same remote twice.
        let remote = (remote * 1_021 + mapping) % REMOTE_ADDRESSES;
        let remote_port = if self.transport == Transport::Icmp { 0 } else { 443 };
        Endpoints {
            internal: SocketAddrV4::new(host(mapping % self.hosts), port),
            external: SocketAddrV4::new(EXTERNAL, port),
            remote: SocketAddrV4::new(Ipv4Addr::from_bits(REMOTES.to_bits() + remote), remote_port),
        }
    }
}

impl Flows {
    /// The sessions' frames that come in by `port`: of `len` octets, with these TCP flags.
    pub fn template(&self, port: PortId, len: usize, flags: TcpFlags) -> Template {
        let mac = if port == INSIDE { LAN_MAC } else { WAN_MAC };
        Template::new(self.transport, len, mac, flags, port == INSIDE)
    }

    /// Writes the frame of session `number` that comes in by `port`.
    #[inline]
    pub fn write(&self, template: &Template, port: PortId, number: u32, frame: &mut [u8]) {
        let endpoints = self.endpoints(number);
        if port == INSIDE {
            template.write(frame, endpoints.internal, endpoints.remote);
        } else {
            template.write(frame, endpoints.remote, endpoints.external);
        }
    }

    /// Writes the frame of session `number` from its opener to a forward of the router's own.
    #[inline]
    pub fn write_hairpin(&self, template: &Template, number: u32, frame: &mut [u8]) {
        let target = SocketAddrV4::new(EXTERNAL, 1 + number as u16 % HAIRPIN_FORWARDS);
        template.write(frame, self.endpoints(number).internal, target);
    }
}

fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(HOSTS.to_bits() + number)
}

/// Session numbers in an order that no prefetcher foresees: a full-period generator over `0..count`.
#[derive(Clone, Debug)]
pub struct Shuffle {
    count: u32,
    mask: u32,
    state: u32,
}

impl Shuffle {
    /// Every number below `count` (at least 1), then again.
    pub fn new(count: u32) -> Shuffle {
        Shuffle { count, mask: count.next_power_of_two() - 1, state: 0 }
    }
}

impl Iterator for Shuffle {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            // Hull and Dobell: multiplier 1 modulo 4 and an odd increment have the full period 2^k.
            self.state = self.state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f) & self.mask;
            // The low bits of such a generator are regular: take them in reverse order.
            let number =
                if self.mask == 0 { 0 } else { self.state.reverse_bits() >> self.mask.leading_zeros() };
            if number < self.count {
                return Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_sessions_have_the_same_endpoints() {
        for count in [1, 60, 1_000, 65_536, 300_000] {
            let flows = Flows::new(Transport::Udp, count);
            let all: HashSet<_> = (0..count)
                .map(|number| flows.endpoints(number))
                .map(|endpoints| (endpoints.internal, endpoints.remote))
                .collect();
            assert_eq!(all.len(), count as usize);
            let hosts: HashSet<_> = flows.hosts().collect();
            assert!((0..count).all(|number| hosts.contains(flows.endpoints(number).internal.ip())));
        }
    }

    #[test]
    fn a_shuffle_visits_every_number_once() {
        for count in [1, 2, 1_000, 65_536] {
            let mut seen: Vec<_> = Shuffle::new(count).take(count as usize).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
