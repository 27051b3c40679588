//! What a server is told.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use genkan_engine::wire::ethernet::MacAddr;
use ipnet::Ipv4Net;

/// Addresses of the largest pool: their states are kept in memory.
pub const MAX_POOL: u32 = 131_072;

/// The server of one lan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The router's address on the lan: server identifier (option 54).
    pub address: Ipv4Addr,
    /// The network of the lan itself.
    pub local: Subnet,
    /// Networks behind relay agents (RFC 2131 §4.1), told apart by giaddr or link selection (RFC 3527).
    pub relayed: Vec<Subnet>,
    /// Known clients of any of these networks.
    pub reservations: Vec<Reservation>,
    /// Addresses of machines that do not ask for one: no client gets them.
    pub taken: Vec<Ipv4Addr>,
    /// Their names: no client gets these either.
    pub taken_names: Vec<String>,
    /// Messages per second that are taken from one link-layer address.
    pub messages_per_client: u32,
}

/// A network whose clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The network; its mask is option 1.
    pub prefix: Ipv4Net,
    /// Addresses for everybody, first and last; without it only reservations are served.
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    /// Seconds; a client may ask for less, down to a minute.
    pub lease_time: u32,
    /// Seconds for which an address rests that is in use by a stranger (DECLINE, or an answered probe).
    pub rest_time: u32,
    /// Whether addresses are probed before they are offered (RFC 2131 §3.1 item 2).
    pub probe: bool,
    /// Probed addresses that are kept ready when it is quiet; grows up to 8192 with the demand.
    pub stock: usize,
    /// What clients are told.
    pub options: Options,
}

impl Subnet {
    /// A network without a pool: leases of a day, addresses rest for ten minutes, sixteen are kept probed.
    pub fn new(prefix: Ipv4Net) -> Subnet {
        let options = Options::default();
        Subnet { prefix, pool: None, lease_time: 86_400, rest_time: 600, probe: true, stock: 16, options }
    }
}

/// Options of the replies. Empty ones are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Default routers (3).
    pub routers: Vec<Ipv4Addr>,
    /// DNS servers (6).
    pub dns: Vec<Ipv4Addr>,
    /// Domain name (15), also of the names in option 81.
    pub domain: Option<String>,
    /// NTP servers (42).
    pub ntp: Vec<Ipv4Addr>,
    /// IP MTU of the link in octets (26).
    pub mtu: Option<u16>,
    /// Static routes (121, RFC 3442). Whoever takes them ignores option 3, so the first router is added as default route
    /// unless there is one.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Vendor specific information (43) as octets.
    pub vendor: Vec<u8>,
    /// Others by number, sent to those who ask for them.
    pub others: Vec<(u8, Vec<u8>)>,
}

/// A client that always gets the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Who, whatever client identifier it sends: boot loader and system of one machine send different ones.
    pub mac: Option<MacAddr>,
    /// Who, whatever MAC address it has.
    pub identifier: Option<Vec<u8>>,
    /// Its address, in or out of the pool.
    pub address: Ipv4Addr,
    /// Its name, whatever it calls itself.
    pub name: Option<String>,
}

/// What cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// First and last address of the pool are not in order within the network.
    #[error("the pool is not a range of addresses of {0}")]
    PoolOutsidePrefix(Ipv4Net),
    /// More than [`MAX_POOL`] addresses.
    #[error("the pool of {0} has more than {MAX_POOL} addresses")]
    PoolTooLarge(Ipv4Net),
    /// Two networks overlap.
    #[error("{0} and {1} overlap")]
    Overlap(Ipv4Net, Ipv4Net),
}

impl Config {
    /// A server of one network without relay agents and reservations, taking ten messages per second of a client.
    pub fn new(address: Ipv4Addr, local: Subnet) -> Config {
        Config {
            address,
            local,
            relayed: Vec::new(),
            reservations: Vec::new(),
            taken: Vec::new(),
            taken_names: Vec::new(),
            messages_per_client: 10,
        }
    }

    /// All networks; the local one comes first.
    pub(super) fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        std::iter::once(&self.local).chain(&self.relayed)
    }

    pub(super) fn subnet(&self, index: usize) -> &Subnet {
        index.checked_sub(1).and_then(|index| self.relayed.get(index)).unwrap_or(&self.local)
    }

    /// # Errors
    /// See [`ConfigError`].
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (index, subnet) in self.subnets().enumerate() {
            let prefix = subnet.prefix;
            if let Some(other) = self.subnets().skip(index + 1).find(|other| overlap(prefix, other.prefix)) {
                return Err(ConfigError::Overlap(prefix, other.prefix));
            }
            let Some(pool) = &subnet.pool else { continue };
            if !(prefix.contains(pool.start()) && prefix.contains(pool.end()) && pool.start() <= pool.end()) {
                return Err(ConfigError::PoolOutsidePrefix(prefix));
            }
            if u32::from(*pool.end()) - u32::from(*pool.start()) >= MAX_POOL {
                return Err(ConfigError::PoolTooLarge(prefix));
            }
        }
        Ok(())
    }

    /// Addresses of a network that its pool must not give to everybody.
    pub(super) fn excluded(&self, subnet: &Subnet) -> BTreeSet<Ipv4Addr> {
        let mut excluded = BTreeSet::from([self.address]);
        excluded.extend(self.reservations.iter().map(|reservation| reservation.address));
        excluded.extend(&self.taken);
        excluded.extend(&subnet.options.routers);
        // A /31 or /32 has neither (RFC 3021).
        if subnet.prefix.prefix_len() < 31 {
            excluded.extend([subnet.prefix.network(), subnet.prefix.broadcast()]);
        }
        excluded
    }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}
