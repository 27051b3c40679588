//! What a DHCP client says of itself, as a provider wants to hear it, and options that a server is asked for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::name::spell;
use super::number::Number;
use super::octets::Hex;
use super::{Bad, Refusal, Scalar, Text};

/// Most octets of a DHCP option (RFC 2132 section 2).
const MOST: usize = 255;

/// A client identifier (RFC 2132 section 9.14): octets from the type on, as hexadecimal digits with colons or behind
/// `0x`, or any other text, letter by letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(pub(crate) Vec<u8>);

impl Text for ClientId {
    const TAKES: &'static str = "a client identifier";
    const MANY: &'static str = "client identifiers";

    fn parse(text: &str) -> Result<ClientId, Bad> {
        let accepted =
            "2 to 255 octets are accepted, such as \"01:52:54:00:12:34:56\", or as many letters of ASCII";
        let is_digits =
            text.contains(':') && text.bytes().all(|sign| sign == b':' || sign.is_ascii_hexdigit());
        let octets = match is_digits || text.starts_with("0x") {
            true => Hex::parse(text)?.0,
            false => ascii(text, accepted)?,
        };
        match octets.len() {
            2.. => Ok(ClientId(octets)),
            _ => Err(Bad::new("it has one octet, a client identifier has two at least", accepted)),
        }
    }
}

/// A vendor class (RFC 2132 section 9.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VendorClass(pub(crate) String);

impl Text for VendorClass {
    const TAKES: &'static str = "a vendor class";
    const MANY: &'static str = "vendor classes";

    fn parse(text: &str) -> Result<VendorClass, Bad> {
        ascii(text, "1 to 255 letters, digits and signs of ASCII are accepted")?;
        Ok(VendorClass(text.to_owned()))
    }
}

/// The number of an option; 0 and 255 are none (RFC 2132 section 3.1 and 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionCode(pub(crate) u32);

impl Scalar for OptionCode {
    const TAKES: &'static str = "the number of an option";
    const MANY: &'static str = "numbers of options";

    fn from_toml(value: &DeValue<'_>) -> Result<OptionCode, Refusal> {
        match Number::<1, 254>::from_toml(value) {
            Ok(number) => Ok(OptionCode(number.0)),
            // The nearest number is another option.
            Err(Refusal::Value(bad)) => Err(Bad { fix: None, ..*bad }.into()),
            Err(refusal) => Err(refusal),
        }
    }
}

/// What an option holds, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionText(pub(crate) String);

impl Text for OptionText {
    const TAKES: &'static str = "a text";
    const MANY: &'static str = "texts";

    fn parse(text: &str) -> Result<OptionText, Bad> {
        let accepted = "1 to 255 octets of text are accepted";
        if text.is_empty() {
            return Err(Bad::new("it is empty", accepted));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(Bad::new(format!("it has the {}", spell(control)), accepted)
                .help("octets that are no text go into `hex`"));
        }
        match text.len() {
            ..=MOST => Ok(OptionText(text.to_owned())),
            octets => {
                Err(Bad::new(format!("it has {octets} octets, an option has at most {MOST}"), accepted))
            }
        }
    }
}

/// The octets of a text that a server compares letter by letter.
fn ascii(text: &str, accepted: &'static str) -> Result<Vec<u8>, Bad> {
    if text.is_empty() {
        return Err(Bad::new("it is empty", accepted).help("leave it out for the default"));
    }
    if let Some(wrong) = text.chars().find(|sign| !matches!(sign, ' '..='~')) {
        return Err(Bad::new(format!("it has {}, which is not printable ASCII", spell(wrong)), accepted));
    }
    match text.len() {
        ..=MOST => Ok(text.as_bytes().to_vec()),
        octets => Err(Bad::new(format!("it has {octets} octets, an option has at most {MOST}"), accepted)),
    }
}

impl JsonSchema for ClientId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ClientId".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[ -~]{2,}$" })
    }
}

impl JsonSchema for VendorClass {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "VendorClass".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[ -~]{1,255}$" })
    }
}

impl JsonSchema for OptionCode {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "OptionCode".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 254 })
    }
}

impl JsonSchema for OptionText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "OptionText".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_identifiers_are_octets_or_text() {
        let octets = |text: &str| ClientId::parse(text).map(|id| id.0).ok();
        assert_eq!(octets("01:52:54:00:12:34:56"), Some(vec![1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(octets("0xff0001"), Some(vec![255, 0, 1]));
        // Letters that happen to be digits are letters.
        assert_eq!(octets("cafe"), Some(b"cafe".to_vec()));
        assert_eq!(octets("a1b2@skydsl|c3d4"), Some(b"a1b2@skydsl|c3d4".to_vec()));
        for bad in ["", "x", "01:", "01:2", "0x", "0x1", "0x01", "é-box", "a\tb", &"x".repeat(256)] {
            assert_eq!(octets(bad), None, "{bad}");
        }
    }

    #[test]
    fn vendor_classes_are_text() {
        for good in ["sagem", "dslforum.org", "docsis3.0:", &"x".repeat(255)] {
            assert!(VendorClass::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "玄関", "a\n", &"x".repeat(256)] {
            assert!(VendorClass::parse(bad).is_err(), "{bad}");
        }
    }
}
