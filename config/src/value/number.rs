//! Whole numbers with bounds.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::{DeInteger, DeValue};

use super::{Bad, Refusal, Scalar};

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Scalar for Number<MIN, MAX> {
    const TAKES: &'static str = "a number";
    const MANY: &'static str = "numbers";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let DeValue::Integer(integer) = value else { return Err(Refusal::Type) };
        let number = integer_value(integer);
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (MIN..=MAX).contains(&number) => Ok(Number(number)),
            _ => {
                // What cannot be read as a number at all is taken for a huge one.
                let (what, nearest) = match number {
                    Some(number) if number < i128::from(MIN) => ("it is too small", MIN),
                    _ => ("it is too big", MAX),
                };
                let bounds = format!("{} to {} is accepted", grouped(MIN), grouped(MAX));
                Err(Bad::new(what, bounds).fix(grouped(nearest)).into())
            }
        }
    }
}

/// The value of a TOML integer, whatever its base.
pub(crate) fn integer_value(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number with `_` between groups of three digits, as TOML allows: `1_000_000`.
pub(crate) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Number<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Number{MIN}To{MAX}").into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<u32, String> {
        let value = DeValue::parse(toml).expect("valid TOML");
        match Number::<68, 65_535>::from_toml(value.get_ref()) {
            Ok(number) => Ok(number.0),
            Err(Refusal::Type) => Err("type".to_owned()),
            Err(Refusal::Value(bad)) => Err(format!("{}; {}; {:?}", bad.what, bad.label, bad.fix)),
        }
    }

    #[test]
    fn takes_its_bounds_in_every_base() {
        assert_eq!(read("68"), Ok(68));
        assert_eq!(read("65_535"), Ok(65_535));
        assert_eq!(read("0xff"), Ok(255));
    }

    #[test]
    fn refuses_what_lies_outside() {
        let small = "it is too small; 68 to 65_535 is accepted; Some(\"68\")";
        let big = "it is too big; 68 to 65_535 is accepted; Some(\"65_535\")";
        assert_eq!(read("67"), Err(small.to_owned()));
        assert_eq!(read("-1"), Err(small.to_owned()));
        assert_eq!(read("65536"), Err(big.to_owned()));
        assert_eq!(read("99999999999999999999999999999999999999999999999999"), Err(big.to_owned()));
        assert_eq!(read("1500.0"), Err("type".to_owned()));
    }

    #[test]
    fn groups_digits() {
        assert_eq!(grouped(9999), "9999");
        assert_eq!(grouped(10_000), "10_000");
        assert_eq!(grouped(1_000_000), "1_000_000");
    }
}
