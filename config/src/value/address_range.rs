//! Runs of addresses: `"192.168.0.100-192.168.0.199"`.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::address::{plain, single};
use super::{Bad, Text, quoted};

/// From one address to another, both included, the first not behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
}

const ACCEPTED: &str = "the first and the last address are accepted, such as \"192.168.0.100-192.168.0.199\"";

impl AddressRange {
    /// Whether an address is one of them.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// How many they are, at least one.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }
}

impl Text for AddressRange {
    const TAKES: &'static str = "a range of addresses such as \"192.168.0.100-192.168.0.199\"";
    const MANY: &'static str = "ranges of addresses such as \"192.168.0.100-192.168.0.199\"";

    fn parse(text: &str) -> Result<AddressRange, Bad> {
        let Some((first, last)) = text.split_once('-') else {
            return Err(Bad::new("it has no `-` between a first and a last address", ACCEPTED));
        };
        let (first, last) = (plain(first, ACCEPTED)?, plain(last, ACCEPTED)?);
        single(first)?;
        single(last)?;
        if first > last {
            return Err(
                Bad::new("it ends before it begins", ACCEPTED).fix(quoted(&format!("{last}-{first}")))
            );
        }
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
        assert_eq!(fix("192.168.0.199-192.168.0.100").as_deref(), Some("\"192.168.0.100-192.168.0.199\""));
        for text in ["", "-", "192.168.0.1", "192.168.0.0/24", "192.168.0.1-", "1-2-3", "224.0.0.1-224.0.0.9"]
        {
            assert!(AddressRange::parse(text).is_err(), "{text}");
        }
    }
}
