//! Names that are known here: hosts of the configuration, DHCP leases, the router; and zones that end here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use genkan_engine::wire::ethernet::MacAddr;
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::{A, AAAA, PTR};

use super::authored;
use super::message::{Body, Query, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_HTTPS, TYPE_PTR, TYPE_SOA, TYPE_SVCB};
use super::name::{self, LowerName};
use super::private_zones::PrivateZones;

/// How long clients may keep what was said about names here, in seconds: leases and addresses move.
const TTL: u32 = 60;
/// The same for what does not exist here, and may in a moment.
const NEGATIVE_TTL: u32 = 10;
/// The same in zones that hold nothing (RFC 6303 section 3).
const EMPTY_ZONE_TTL: u32 = 10_800;
/// Bound of names from leases, above what any pool of a lan holds.
const MAX_LEASES: usize = 65_536;
/// Names by which a device would make others send it their traffic.
const NOT_FOR_LEASES: &[&str] = &["wpad", "isatap", "localhost", "local", "_gateway"];

/// The names of the lans, under one domain.
#[derive(Debug)]
pub(crate) struct LocalNames {
    domain: LowerName,
    zones: PrivateZones,
    hosts: BTreeMap<LowerName, Vec<IpAddr>>,
    /// By address, the name of a host.
    host_pointers: BTreeMap<IpAddr, LowerName>,
    /// By name, the addresses of those who call themselves so: the first has the name, the others wait for it.
    leases: BTreeMap<LowerName, Vec<Ipv4Addr>>,
    /// By address, the name of a lease, also of one that waits for it, and the device.
    lease_pointers: BTreeMap<Ipv4Addr, (LowerName, MacAddr)>,
    /// Names of the public DNS whose server is inside.
    split: BTreeMap<LowerName, Ipv4Addr>,
}

fn is(kind: u16, wanted: u16) -> bool {
    kind == wanted || kind == TYPE_ANY
}

/// Whether `label` may stand for a device: letters, digits and inner hyphens (RFC 1123 section 2.1).
fn is_host_label(label: &str) -> bool {
    !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

impl LocalNames {
    /// None yet, under `domain`.
    pub(crate) fn new(domain: &[u8]) -> LocalNames {
        LocalNames {
            domain: domain.into(),
            zones: PrivateZones::new(domain),
            hosts: BTreeMap::new(),
            host_pointers: BTreeMap::new(),
            leases: BTreeMap::new(),
            lease_pointers: BTreeMap::new(),
            split: BTreeMap::new(),
        }
    }

    /// Another domain: the names have to be set anew.
    pub(crate) fn set_domain(&mut self, domain: &[u8]) {
        if *domain != *self.domain {
            *self = LocalNames::new(domain);
        }
    }

    /// A name without a dot lies in the domain.
    fn qualified(&self, text: &str) -> Option<LowerName> {
        let name = name::from_text(text)?;
        if name::labels(&name) > 1 { Some(name) } else { name::join(&name, &self.domain) }
    }

    /// Puts these hosts in place of those before: name and addresses. A lease's name that is now a host's is the host's.
    pub(crate) fn set_hosts(&mut self, hosts: &[(String, Vec<IpAddr>)]) {
        self.hosts.clear();
        self.host_pointers.clear();
        for (text, addresses) in hosts {
            let Some(name) = self.qualified(text) else { continue };
            for address in addresses {
                self.host_pointers.entry(*address).or_insert_with(|| name.clone());
            }
            self.hosts.entry(name).or_default().extend(addresses);
        }
    }

    /// Puts these names of the public DNS in place of those before.
    pub(crate) fn set_split(&mut self, names: &[(String, Ipv4Addr)]) {
        let known = names.iter().filter_map(|(text, address)| Some((name::from_text(text)?, *address)));
        self.split = known.collect();
    }

    /// A device calls itself `host_name` at `address`. Of a name with dots the first label counts. Whether it has the name
    /// there now: not, when it is no host name, another's already, or one that is never given. A device that has gone to
    /// another lan has two leases for a while: its name goes with it.
    pub(crate) fn add_lease(&mut self, address: Ipv4Addr, device: MacAddr, host_name: &str) -> bool {
        let label = host_name.split('.').next().unwrap_or("");
        let lower = label.to_ascii_lowercase();
        let is_fit = is_host_label(label) && !NOT_FOR_LEASES.contains(&lower.as_str());
        let name = self.qualified(label).filter(|name| is_fit && !self.hosts.contains_key(name));
        if name.is_none() || self.lease_pointers.get(&address).map(|(known, _)| known) != name.as_ref() {
            self.remove_lease(address);
        }
        let Some(name) = name.filter(|_| self.lease_pointers.len() < MAX_LEASES) else { return false };
        let bearers = self.leases.entry(name.clone()).or_default();
        if self.lease_pointers.insert(address, (name, device)).is_none() {
            let first = bearers.first().and_then(|first| self.lease_pointers.get(first));
            let is_own = first.is_some_and(|(_, other)| *other == device);
            bearers.insert(if is_own { 0 } else { bearers.len() }, address);
        }
        bearers.first() == Some(&address)
    }

    /// The lease of `address` has ended.
    pub(crate) fn remove_lease(&mut self, address: Ipv4Addr) {
        let Some((name, _)) = self.lease_pointers.remove(&address) else { return };
        if let Some(bearers) = self.leases.get_mut(&name) {
            bearers.retain(|bearer| *bearer != address);
            if bearers.is_empty() {
                self.leases.remove(&name);
            }
        }
    }

    /// The answer to a question that is not for upstreams. `name` is the question's in lower case.
    pub(crate) fn answer(&self, query: &Query, name: &[u8]) -> Option<Body> {
        let kind = query.kind();
        if let Some(addresses) = self.addresses(name) {
            return Some(self.address_records(query, &addresses, &self.domain));
        }
        if let Some(address) = self.split.get(name) {
            return match kind {
                TYPE_A => Some(self.address_records(query, &[IpAddr::V4(*address)], name)),
                // Its hints may name the external address.
                TYPE_HTTPS | TYPE_SVCB => Some(authored::nothing(&query.question, true, name, NEGATIVE_TTL)),
                _ => None,
            };
        }
        if name::suffixes(name).last() == Some(b"\x09localhost\0") {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Some(self.address_records(query, &loopback, b"\x09localhost\0"));
        }
        if let Some(zone) = self.zones.of(name) {
            return Some(self.in_zone(query, name, zone));
        }
        // Names without a dot are of the lan, but for what validators ask about top-level domains.
        let single =
            name::labels(name) == 1 && matches!(kind, TYPE_A | TYPE_AAAA | TYPE_HTTPS | TYPE_SVCB | TYPE_ANY);
        if single {
            let known = name::join(name, &self.domain).and_then(|full| self.addresses(&full));
            return Some(match known {
                Some(addresses) => self.address_records(query, &addresses, name),
                None => authored::nothing(&query.question, false, name, NEGATIVE_TTL),
            });
        }
        let pointer = self.pointer(name)?;
        is(kind, TYPE_PTR).then(|| self.pointer_record(query, pointer))
    }

    fn addresses(&self, name: &[u8]) -> Option<Vec<IpAddr>> {
        let lease = || self.leases.get(name)?.first().map(|address| vec![IpAddr::V4(*address)]);
        self.hosts.get(name).cloned().or_else(lease)
    }

    fn pointer(&self, reverse: &[u8]) -> Option<&LowerName> {
        let address = address_of(reverse)?;
        let lease = || match address {
            IpAddr::V4(v4) => {
                let (name, _) = self.lease_pointers.get(&v4)?;
                Some(name).filter(|name| self.leases[*name].first() == Some(&v4))
            }
            IpAddr::V6(_) => None,
        };
        self.host_pointers.get(&address).or_else(lease)
    }

    fn pointer_record(&self, query: &Query, name: &[u8]) -> Body {
        let data = authored::to_name(name).map(|name| RData::PTR(PTR(name)));
        authored::records(&query.question, TTL, data.into_iter().collect())
    }

    /// The addresses that were asked for; when there are none of that kind, that, under `zone`.
    fn address_records(&self, query: &Query, addresses: &[IpAddr], zone: &[u8]) -> Body {
        let wanted = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => is(query.kind(), TYPE_A).then_some(RData::A(A(*v4))),
            IpAddr::V6(v6) => is(query.kind(), TYPE_AAAA).then_some(RData::AAAA(AAAA(*v6))),
        });
        let wanted: Vec<RData> = wanted.collect();
        if wanted.is_empty() {
            return authored::nothing(&query.question, true, zone, NEGATIVE_TTL);
        }
        authored::records(&query.question, TTL, wanted)
    }

    fn in_zone(&self, query: &Query, name: &[u8], zone: &[u8]) -> Body {
        let pointer = self.pointer(name);
        if let Some(pointer) = pointer.filter(|_| is(query.kind(), TYPE_PTR)) {
            return self.pointer_record(query, pointer);
        }
        let ttl = if *zone == *self.domain || is_reverse(zone) { NEGATIVE_TTL } else { EMPTY_ZONE_TTL };
        if name == zone && is(query.kind(), TYPE_SOA) {
            return authored::zone_itself(&query.question, zone, ttl);
        }
        // What is shorter than an address has names below it, or may.
        let exists = name == zone || pointer.is_some() || is_reverse(zone) && address_of(name).is_none();
        authored::nothing(&query.question, exists, zone, ttl)
    }
}

const IN_ADDR: &[u8] = b"\x07in-addr\x04arpa\0";
const IP6: &[u8] = b"\x03ip6\x04arpa\0";

fn is_reverse(name: &[u8]) -> bool {
    name::suffixes(name).any(|suffix| suffix == IN_ADDR || suffix == IP6)
}

/// The address whose reverse name this is (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn address_of(name: &[u8]) -> Option<IpAddr> {
    let labels: Vec<&[u8]> =
        name::suffixes(name).map(|suffix| &suffix[1..1 + usize::from(suffix[0])]).collect();
    let (tail, digits) = (labels.len().checked_sub(2)?, labels.len() - 2);
    let text = |label: &&[u8]| std::str::from_utf8(label).ok().map(str::to_owned);
    match (labels[tail], labels[tail + 1]) {
        (b"in-addr", b"arpa") if digits == 4 => {
            let octets: Option<Vec<u8>> =
                labels[..4].iter().rev().map(|label| text(label)?.parse().ok()).collect();
            <[u8; 4]>::try_from(octets?).ok().map(|octets| Ipv4Addr::from(octets).into())
        }
        (b"ip6", b"arpa") if digits == 32 => {
            let mut number = 0_u128;
            for label in labels[..32].iter().rev() {
                let digit = char::from(*label.first().filter(|_| label.len() == 1)?).to_digit(16)?;
                number = number << 4 | u128::from(digit);
            }
            Some(Ipv6Addr::from(number).into())
        }
        _ => None,
    }
}
