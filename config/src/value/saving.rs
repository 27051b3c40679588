//! How often something is written to the disk, and how much: `"5m"` or `"never"`, `"256 MiB"`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::duration::Humane;
use super::{Bad, Refusal, Scalar, quoted};

/// An interval, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Option<Duration>);

impl Scalar for Interval {
    const TAKES: &'static str = "a duration such as \"5m\", or \"never\"";
    const MANY: &'static str = "durations such as \"5m\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Interval, Refusal> {
        match value {
            DeValue::String(text) if matches!(text.trim(), "never" | "0" | "0s") => Ok(Interval(None)),
            value => Humane::from_toml(value).map(|Humane(duration)| Interval(Some(duration))),
        }
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let duration = generator.subschema_for::<Humane>();
        json_schema!({
            "description": "A duration, or never.",
            "anyOf": [duration, { "enum": ["never", "0", "0s"] }],
        })
    }
}

/// A number of octets, at least 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) u64);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// More than any disk takes in a day.
const MOST: u64 = 1_024 * GIB;
const ACCEPTED: &str = "a whole number of MiB or GiB is accepted, such as \"256 MiB\"";

impl Scalar for Octets {
    const TAKES: &'static str = "a size such as \"256 MiB\"";
    const MANY: &'static str = "sizes such as \"256 MiB\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Octets, Refusal> {
        match value {
            DeValue::String(text) => Ok(parse(text.trim())?),
            DeValue::Integer(number) => Err(in_mebibytes(number.as_str()).into()),
            _ => Err(Refusal::Type),
        }
    }
}

fn parse(text: &str) -> Result<Octets, Bad> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let bad = || Bad::new("it is not a size", ACCEPTED);
    if number.is_empty() {
        return Err(bad());
    }
    let factor = match unit.trim() {
        "MiB" => MIB,
        "GiB" => GIB,
        "" => return Err(in_mebibytes(number)),
        other => {
            return Err(match other.to_ascii_lowercase().as_str() {
                "m" | "mb" | "mib" => bad().fix(quoted(&format!("{number} MiB"))),
                "g" | "gb" | "gib" => bad().fix(quoted(&format!("{number} GiB"))),
                _ => bad(),
            });
        }
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(0) => Err(Bad::new("it is no room at all", "1 MiB to 1024 GiB is accepted").fix("\"1 MiB\"")),
        Some(octets) if octets <= MOST => Ok(Octets(octets)),
        _ => Err(Bad::new("it is too big", "1 MiB to 1024 GiB is accepted").fix("\"1024 GiB\"")),
    }
}

/// Small numbers are meant as MiB; of large ones nobody knows.
fn in_mebibytes(number: &str) -> Bad {
    let bad = Bad::new("it has no unit", ACCEPTED);
    match number.parse::<u64>() {
        Ok(1..=65_536) => bad.fix(quoted(&format!("{number} MiB"))),
        _ => bad,
    }
}

/// A size in the form that the file takes: `256 MiB`.
pub(crate) fn size(octets: u64) -> String {
    if octets >= GIB && octets.is_multiple_of(GIB) {
        format!("{} GiB", octets / GIB)
    } else {
        format!("{} MiB", octets / MIB)
    }
}

impl JsonSchema for Octets {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size: a whole number of MiB or GiB.",
            "type": "string",
            "pattern": "^ *[0-9]+ *(MiB|GiB) *$",
            "examples": [quoted("256 MiB").trim_matches('"')],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Scalar>(toml: &str) -> Result<T, Option<String>> {
        let value = DeValue::parse(toml).expect("valid TOML");
        T::from_toml(value.get_ref()).map_err(|refusal| match refusal {
            Refusal::Type => None,
            Refusal::Value(bad) => bad.fix,
        })
    }

    #[test]
    fn an_interval_may_be_never() {
        for never in ["\"never\"", "\"0\"", "\"0s\""] {
            assert_eq!(read(never), Ok(Interval(None)), "{never}");
        }
        assert_eq!(read("\"5m\""), Ok(Interval(Some(Duration::from_secs(300)))));
        assert_eq!(read::<Interval>("300"), Err(Some("\"5m\"".to_owned())));
        assert_eq!(read::<Interval>("false"), Err(None));
        assert!(read::<Interval>("\"always\"").is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(read("\"256 MiB\""), Ok(Octets(256 << 20)));
        assert_eq!(read("\"1GiB\""), Ok(Octets(1 << 30)));
        for (bad, fix) in [
            ("\"0 MiB\"", "\"1 MiB\""),
            ("\"2000 GiB\"", "\"1024 GiB\""),
            ("\"99999999999999999999 GiB\"", "\"1024 GiB\""),
            ("\"18446744073709551615 GiB\"", "\"1024 GiB\""),
            ("\"256\"", "\"256 MiB\""),
            ("\"256 MB\"", "\"256 MiB\""),
            ("\"4MB\"", "\"4 MiB\""),
            ("\"1 g\"", "\"1 GiB\""),
            ("4", "\"4 MiB\""),
        ] {
            assert_eq!(read::<Octets>(bad), Err(Some(fix.to_owned())), "{bad}");
        }
        for bad in ["\"\"", "\"MiB\"", "\"512 KiB\"", "4194304", "-4"] {
            assert_eq!(read::<Octets>(bad), Err(None), "{bad}");
        }
        for text in ["1 MiB", "256 MiB", "1 GiB", "1025 MiB"] {
            assert_eq!(parse(text).map(|Octets(octets)| size(octets)).ok().as_deref(), Some(text));
        }
    }
}
