//! Zones whose questions nobody outside can answer, and none of whose business they are.

use std::collections::BTreeSet;

use super::name::{self, LowerName};

/// Where a name lies.
#[derive(Clone, Debug)]
pub(crate) struct PrivateZones(BTreeSet<LowerName>);

const REVERSE: &[&str] = &[
    // RFC 6303 section 4.1, 4.2
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    // RFC 6303 section 4.4, 4.5, 4.6
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
];

const FORWARD: &[&str] = &[
    // RFC 6761 section 6; RFC 6762 (multicast), RFC 7686, RFC 8375, RFC 9476, RFC 9462 section 6.4; reserved by ICANN in 2024
    "test",
    "localhost",
    "invalid",
    "local",
    "onion",
    "home.arpa",
    "alt",
    "resolver.arpa",
    "internal",
];

impl PrivateZones {
    /// All of them, and `domain`.
    pub(crate) fn new(domain: &[u8]) -> PrivateZones {
        let fixed = REVERSE.iter().chain(FORWARD).map(|text| (*text).to_owned());
        // RFC 1918 and, as RFC 7793 has it, RFC 6598.
        let ranges = (16..32).map(|second| format!("{second}.172.in-addr.arpa"));
        let shared = (64..128).map(|second| format!("{second}.100.in-addr.arpa"));
        // RFC 6303 section 4.3: :: and ::1.
        let single = (0..2).map(|last| format!("{last}.{}ip6.arpa", "0.".repeat(31)));
        let mut zones: BTreeSet<LowerName> = fixed
            .chain(ranges)
            .chain(shared)
            .chain(single)
            .filter_map(|text| name::from_text(&text))
            .collect();
        zones.insert(domain.into());
        PrivateZones(zones)
    }

    /// The zone that `name`, in lower case, lies in or is the apex of.
    pub(crate) fn of<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        name::suffixes(name).find(|suffix| self.0.contains(*suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_private_zones_are_found() {
        let zones = PrivateZones::new(&name::from_text("lan").unwrap());
        let zone = |text: &str| {
            let name = name::from_text(text).unwrap();
            zones.of(&name).map(<[u8]>::to_vec)
        };
        for (name, apex) in [
            ("1.0.168.192.in-addr.arpa", "168.192.in-addr.arpa"),
            ("5.4.31.172.in-addr.arpa", "31.172.in-addr.arpa"),
            ("10.in-addr.arpa", "10.in-addr.arpa"),
            ("1.0.127.100.in-addr.arpa", "127.100.in-addr.arpa"),
            ("nas.lan", "lan"),
            ("x.home.arpa", "home.arpa"),
            ("_dns.resolver.arpa", "resolver.arpa"),
        ] {
            assert_eq!(zone(name), name::from_text(apex).map(Vec::from), "{name}");
        }
        for public in [
            "1.0.32.172.in-addr.arpa",
            "1.100.in-addr.arpa",
            "example.net",
            "arpa",
            "8.8.8.8.in-addr.arpa",
            "plan",
        ] {
            assert_eq!(zone(public), None, "{public}");
        }
    }
}
