//! Answers from outside that point inside: an attacker's name would make a browser talk to a device of the lan as if that
//! were the attacker's own site.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::answer::Answer;
use super::message::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB, u16_at};
use super::name::{self, LowerName};

/// Keys of service parameters that hold addresses (RFC 9460 section 7.3).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// Names that may point inside, with all below them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions(BTreeSet<LowerName>);

impl Exceptions {
    /// From names as text; those that are none stand for nothing.
    pub(crate) fn new(names: &[String]) -> Exceptions {
        Exceptions(names.iter().filter_map(|text| name::from_text(text)).collect())
    }

    /// Whether `name`, in lower case, or one that it lies under is among them.
    pub(crate) fn contain(&self, name: &[u8]) -> bool {
        name::suffixes(name).any(|suffix| self.0.contains(suffix))
    }
}

/// The first address inside that `answer` names, in records of addresses or hints of services.
pub(crate) fn internal_address(answer: &Answer<'_>) -> Option<IpAddr> {
    answer.records.iter().find_map(|record| {
        let data = answer.data(record);
        match record.kind {
            TYPE_A => v4(data).filter(|address| is_internal(*address)),
            TYPE_AAAA => v6(data).filter(|address| is_internal(*address)),
            TYPE_SVCB | TYPE_HTTPS => hints(data).into_iter().find(|address| is_internal(*address)),
            _ => None,
        }
    })
}

fn v4(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into())
}

fn v6(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// The addresses of a service's parameters (RFC 9460 section 2.2); none of what is malformed.
fn hints(data: &[u8]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let Some(target) = data.get(2..).and_then(name::length) else { return addresses };
    let mut rest = &data[2 + target..];
    while let (Some(key), Some(length)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let end = 4 + usize::from(length);
        let Some(value) = rest.get(4..end) else { break };
        match key {
            IPV4_HINT => addresses.extend(value.chunks_exact(4).filter_map(v4)),
            IPV6_HINT => addresses.extend(value.chunks_exact(16).filter_map(v6)),
            _ => {}
        }
        rest = &rest[end..];
    }
    addresses
}

/// Whether an address is of a lan, of the machine that reads it, or of none: private, shared, link-local, loopback,
/// unspecified; also such an IPv4 address inside an IPv6 one.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // 0.0.0.0/8 reaches the machine itself on some systems; 100.64.0.0/10 is RFC 6598.
            let shared = first == 100 && second & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || first == 0 || shared
        }
        IpAddr::V6(v6) => {
            let embedded = match v6.segments() {
                // Mapped, compatible, and RFC 6052's well-known prefix.
                [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
                }
                _ => None,
            };
            let own = v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local();
            own || embedded.is_some_and(|v4| is_internal(v4.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_inside_in_all_their_forms() {
        for inside in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.1.1",
            "100.64.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:192.168.0.1",
            "::192.168.0.1",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(is_internal(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "203.0.113.1",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "64:ff9b::203.0.113.1",
            "::ffff:198.51.100.1",
        ] {
            assert!(!is_internal(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn hints_are_found_behind_other_parameters() {
        // priority 1, target "."; alpn (1) "h2"; ipv4hint (4): 198.51.100.7, 192.168.0.1
        let data = b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x08\xc6\x33\x64\x07\xc0\xa8\0\x01";
        assert_eq!(hints(data), ["198.51.100.7", "192.168.0.1"].map(|text| text.parse::<IpAddr>().unwrap()));
        for cut in 0..data.len() {
            assert!(hints(&data[..cut]).len() <= 2);
        }
    }

    #[test]
    fn exceptions_hold_for_what_is_below_them() {
        let exceptions = Exceptions::new(&["Plex.direct".to_owned(), "not a name".to_owned()]);
        assert!(exceptions.contain(&name::from_text("a.plex.direct").unwrap()));
        assert!(!exceptions.contain(&name::from_text("notplex.direct").unwrap()));
    }
}
