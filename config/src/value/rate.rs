//! Rates as people write them: `"20/min"`.

use std::borrow::Cow;
use std::time::Duration;

use genkan_engine::plan::Rate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::number::integer_value;
use super::{Bad, Refusal, Scalar, quoted};

/// So many per second, minute or hour: 1 to [`MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerTime(pub(crate) Rate);

/// More new sessions than a router opens in a second.
const MOST: u32 = 1_000_000;
/// Units in seconds.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3_600)];
const ACCEPTED: &str = "a number per s, min or h is accepted, such as \"20/min\"";

impl Scalar for PerTime {
    const TAKES: &'static str = "a rate such as \"20/min\"";
    const MANY: &'static str = "rates such as \"20/min\"";

    fn from_toml(value: &DeValue<'_>) -> Result<PerTime, Refusal> {
        match value {
            DeValue::String(text) => Ok(parse(text)?),
            DeValue::Integer(integer) => Err(no_time(integer_value(integer)).into()),
            _ => Err(Refusal::Type),
        }
    }
}

fn no_time(count: Option<i128>) -> Bad {
    let count = count.and_then(|count| u32::try_from(count).ok()).filter(|count| (1..=MOST).contains(count));
    let fix = quoted(&format!("{}/min", count.unwrap_or(20)));
    Bad::new("it does not say in which time", ACCEPTED).fix(fix)
}

/// Reads the text.
pub(super) fn parse(text: &str) -> Result<PerTime, Bad> {
    let unreadable = || Bad::new("it is not a rate", ACCEPTED).fix("\"20/min\"");
    let trimmed = text.trim();
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, rest) = trimmed.split_at(digits_end);
    let rest = rest.trim_start();
    if digits.is_empty() {
        return Err(unreadable());
    }
    // What does not fit is taken for a huge one.
    let count = digits.parse().unwrap_or(i128::MAX);
    let Some(unit) = rest.strip_prefix('/').or_else(|| rest.strip_prefix("per ")) else {
        return Err(if rest.is_empty() { no_time(Some(count)) } else { unreadable() });
    };
    let unit = match unit.trim().to_lowercase().as_str() {
        "s" | "sec" | "second" => "s",
        "min" | "m" | "minute" => "min",
        "h" | "hr" | "hour" => "h",
        other => {
            let what = if other.is_empty() {
                "it does not say in which time".to_owned()
            } else {
                format!("`{other}` is not a time that it takes")
            };
            return Err(Bad::new(what, ACCEPTED));
        }
    };
    let nearest = |count: u32| quoted(&format!("{count}/{unit}"));
    let count = match u32::try_from(count) {
        Ok(0) => {
            let bad = Bad::new("it would admit nobody", "at least 1 is needed").fix(nearest(1));
            return Err(bad.help("to close a forward, write `enabled = false`"));
        }
        Ok(count) if count <= MOST => count,
        _ => return Err(Bad::new("it is too many", "up to 1_000_000 is accepted").fix(nearest(MOST))),
    };
    let seconds = UNITS.iter().find(|(name, _)| *name == unit).map_or(60, |(_, seconds)| *seconds);
    let found = Rate { count, per: Duration::from_secs(seconds) };
    // One way to write it.
    if found.to_string() != text {
        return Err(Bad::new("it is not written the way this file takes it", ACCEPTED)
            .fix(quoted(&found.to_string())));
    }
    Ok(PerTime(found))
}

impl JsonSchema for PerTime {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "So many per second, minute or hour.",
            "type": "string",
            "pattern": "^[1-9][0-9]{0,6}/(s|min|h)$",
            "examples": ["20/min", "5/s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (String, Option<String>) {
        let bad = parse(text).expect_err("not a rate");
        (bad.what, bad.fix)
    }

    #[test]
    fn takes_and_writes_what_people_write() {
        for (text, count, seconds) in [("20/min", 20, 60), ("1/s", 1, 1), ("1000000/h", MOST, 3_600)] {
            let expected = Rate { count, per: Duration::from_secs(seconds) };
            assert_eq!(parse(text), Ok(PerTime(expected)));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn refuses_with_a_fix_that_works() {
        for (text, fix) in [
            ("20/minute", "\"20/min\""),
            ("20/m", "\"20/min\""),
            ("20 / min", "\"20/min\""),
            ("20 per minute", "\"20/min\""),
            ("020/min", "\"20/min\""),
            ("5/sec", "\"5/s\""),
            ("5/Hour", "\"5/h\""),
            ("0/s", "\"1/s\""),
            ("1000001/s", "\"1000000/s\""),
            ("99999999999999999999999999999999999999999999/h", "\"1000000/h\""),
            ("20", "\"20/min\""),
            ("2000000", "\"20/min\""),
            ("many", "\"20/min\""),
            ("20x", "\"20/min\""),
            ("", "\"20/min\""),
        ] {
            assert_eq!(refusal(text).1.as_deref(), Some(fix), "{text}");
            assert!(parse(fix.trim_matches('"')).is_ok(), "{fix}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(refusal("20").0, "it does not say in which time");
        assert_eq!(refusal("20/").0, "it does not say in which time");
        assert_eq!(refusal("20/day"), ("`day` is not a time that it takes".to_owned(), None));
        assert_eq!(refusal("0/min").0, "it would admit nobody");
        assert_eq!(refusal("-1/min").0, "it is not a rate");
    }
}
