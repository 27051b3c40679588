//! Octets as hexadecimal digits: `"01:52:54:00:12:34:56"`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bad, Text};

/// 1 to 255 octets, what an option of DHCP holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

/// Most octets of a DHCP option (RFC 2132 section 2).
const MOST: usize = 255;
const ACCEPTED: &str =
    "hexadecimal digits are accepted, two for each octet, such as \"01:52:54:00:12:34:56\"";

impl Text for Hex {
    const TAKES: &'static str = "octets as hexadecimal digits";
    const MANY: &'static str = "octets as hexadecimal digits";

    fn parse(text: &str) -> Result<Hex, Bad> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // With separators, each octet stands for itself: `1:2` is not 0x12.
        let parts: Vec<&str> = match digits.contains([':', '-', ' ']) {
            true => digits.split([':', '-', ' ']).collect(),
            false => {
                digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or("")).collect()
            }
        };
        let octet = |part: &&str| {
            let two_digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(part, 16).ok().filter(|_| two_digits)
        };
        let octets: Option<Vec<u8>> = parts.iter().map(octet).collect();
        match octets {
            _ if digits.is_empty() => Err(Bad::new("it is empty", ACCEPTED)),
            None => Err(Bad::new("it is not all pairs of hexadecimal digits", ACCEPTED)),
            Some(octets) if octets.len() > MOST => Err(Bad::new(
                format!("it has {} octets, an option has at most {MOST}", octets.len()),
                ACCEPTED,
            )),
            Some(octets) => Ok(Hex(octets)),
        }
    }
}

impl JsonSchema for Hex {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Hex".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0x)?[0-9A-Fa-f]{2}([: -]?[0-9A-Fa-f]{2})*$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_pairs_of_digits() {
        for text in ["0152540012", "01:52:54:00:12", "01-52-54-00-12", "01 52 54 00 12", "0x0152540012"] {
            assert_eq!(Hex::parse(text), Ok(Hex(vec![1, 0x52, 0x54, 0, 0x12])), "{text}");
        }
        for text in ["", "0x", "1", "1:2", "012", "01:", "0g", "+1", "é", "01::02"] {
            assert!(Hex::parse(text).is_err(), "{text}");
        }
        assert!(Hex::parse(&"00".repeat(255)).is_ok());
        assert!(Hex::parse(&"00".repeat(256)).is_err());
    }
}
