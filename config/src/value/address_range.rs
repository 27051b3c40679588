//! Runs of addresses: `"192.168.0.100-192.168.0.199"`.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::address::{plain, single};
use super::{Bad, Text, quoted};

/// From one address to another, both included. The first may stand behind the last, until it is known where both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
}

/// What is accepted.
pub(crate) const ACCEPTED: &str =
    "the first and the last address are accepted, such as \"192.168.0.100-192.168.0.199\"";

impl AddressRange {
    /// Whether an address is one of them.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// How many they are, none if it ends before it begins.
    pub(crate) fn count(&self) -> u64 {
        (u64::from(self.last.to_bits()) + 1).saturating_sub(u64::from(self.first.to_bits()))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Text for AddressRange {
    const TAKES: &'static str = "a range of addresses such as \"192.168.0.100-192.168.0.199\"";
    const MANY: &'static str = "ranges of addresses such as \"192.168.0.100-192.168.0.199\"";

    fn parse(text: &str) -> Result<AddressRange, Bad> {
        let Some((first, last)) = text.split_once('-') else {
            return Err(Bad::new("it has no `-` between a first and a last address", ACCEPTED));
        };
        let both = (plain(first, ACCEPTED), plain(last, ACCEPTED));
        // The fix of an address is no fix of the whole.
        let meant = |end: &Result<Ipv4Addr, Bad>| match end {
            Ok(address) => Some(*address),
            Err(bad) => bad.fix.as_deref()?.trim_matches('"').parse().ok(),
        };
        let range = meant(&both.0).zip(meant(&both.1)).map(|(first, last)| AddressRange { first, last });
        let refused = |bad: Bad| Bad { fix: range.map(|range| quoted(&range.to_string())), ..bad };
        let (first, last) = match both {
            (Ok(first), Ok(last)) => (first, last),
            // What is not to be mended is the mistake to tell.
            (Err(first), Err(last)) if first.fix.is_some() => return Err(refused(last)),
            (Err(bad), _) | (_, Err(bad)) => return Err(refused(bad)),
        };
        single(first)?;
        single(last)?;
        Ok(AddressRange { first, last })
    }
}

impl JsonSchema for AddressRange {
    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        const DOTTED: &str = "[0-9]{1,3}(\\.[0-9]{1,3}){3}";
        json_schema!({
            "description": "A first and a last IPv4 address.",
            "type": "string",
            "pattern": format!("^{DOTTED}-{DOTTED}$"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_both_ends() {
        let range = AddressRange::parse("192.168.0.100-192.168.0.199").unwrap();
        let holds = |text: &str| range.contains(text.parse().unwrap());
        assert!(holds("192.168.0.100") && holds("192.168.0.199"));
        assert!(!holds("192.168.0.99") && !holds("192.168.0.200"));
        assert!(AddressRange::parse("192.168.0.7-192.168.0.7").is_ok());
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let fix = |text: &str| AddressRange::parse(text).unwrap_err().fix;
        for text in [
            "192.168.0.100 - 192.168.0.199",
            "192.168.0.100-192.168.0.199 ",
            "192.168.0.100 -192.168.000.199",
        ] {
            assert_eq!(fix(text).as_deref(), Some("\"192.168.0.100-192.168.0.199\""), "{text}");
        }
        assert_eq!(fix("192.168.0.100 - 199"), None);
        for text in ["", "-", "192.168.0.1", "192.168.0.0/24", "192.168.0.1-", "1-2-3", "224.0.0.1-224.0.0.9"]
        {
            assert!(AddressRange::parse(text).is_err(), "{text}");
        }
    }
}
