//! Durations as people write them: `"5m"`, `"2h4m"`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::number::integer_value;
use super::{Bad, Refusal, Scalar, argument, quoted};

/// A duration in whole seconds, from one second to [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Humane(pub(crate) Duration);

/// Nothing in a router lasts longer than a year.
const LONGEST: u64 = 365 * DAY;
const DAY: u64 = 86_400;
/// Units, largest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', DAY), ('h', 3_600), ('m', 60), ('s', 1)];
const ACCEPTED: &str = "numbers with the units d, h, m, s are accepted, such as \"2h4m\"";

impl Scalar for Humane {
    const TAKES: &'static str = "a duration such as \"5m\"";
    const MANY: &'static str = "durations such as \"5m\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Humane, Refusal> {
        match value {
            DeValue::String(text) => Ok(parse(text)?),
            DeValue::Integer(integer) => {
                let seconds = integer_value(integer).and_then(|seconds| u64::try_from(seconds).ok());
                Err(no_unit(seconds).into())
            }
            _ => Err(Refusal::Type),
        }
    }
}

/// A duration in the form that the file takes: `2h4m`.
pub fn humane(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, length) in UNITS {
        let count = seconds / length;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
        seconds %= length;
    }
    out
}

/// A duration as people write it, on a command line: `2h4m`.
///
/// # Errors
/// One line that says what is wrong and what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Ok(Humane(duration)) => Ok(duration),
        Err(bad) => Err(argument::refusal(&bad)),
    }
}

fn no_unit(seconds: Option<u64>) -> Bad {
    let bad = Bad::new("it has no unit", ACCEPTED);
    match seconds.filter(|seconds| (1..=LONGEST).contains(seconds)) {
        Some(seconds) => {
            bad.fix(quoted(&humane(Duration::from_secs(seconds)))).help(format!("that is {seconds} seconds"))
        }
        None => bad.fix("\"5m\""),
    }
}

fn parse(text: &str) -> Result<Humane, Bad> {
    let parts = split(text)?;
    if let [(number, unit)] = parts[..]
        && unit.is_empty()
    {
        return Err(no_unit(number.parse().ok()));
    }
    let mut total: f64 = 0.0;
    let mut exact = true;
    let mut previous = u64::MAX;
    for (number, unit) in parts {
        let (length, abbreviated) = unit_length(unit)?;
        let count: f64 = number.parse().map_err(|_| unreadable())?;
        // Each unit at most once, largest first, whole numbers: one way to write a duration.
        exact &= abbreviated && length < previous && !number.contains('.');
        previous = length;
        total += count * length as f64;
    }
    // A float is exact far beyond a year of seconds.
    if total > LONGEST as f64 {
        return Err(Bad::new("it is longer than a year", "up to \"365d\" is accepted").fix("\"365d\""));
    }
    let seconds = total as u64;
    if seconds as f64 != total {
        let fix = quoted(&humane(Duration::from_secs(seconds.max(1))));
        return Err(Bad::new("a second is the smallest step", ACCEPTED).fix(fix));
    }
    if seconds == 0 {
        return Err(Bad::new("it is no time at all", "at least one second is needed").fix("\"1s\""));
    }
    let duration = Duration::from_secs(seconds);
    if !exact {
        return Err(
            Bad::new("it is not written the way this file takes it", ACCEPTED).fix(quoted(&humane(duration)))
        );
    }
    Ok(Humane(duration))
}

fn unreadable() -> Bad {
    Bad::new("it is not a duration", ACCEPTED)
}

/// `2h 4m` into `("2", "h"), ("4", "m")`.
fn split(text: &str) -> Result<Vec<(&str, &str)>, Bad> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        // More than one part per unit is no duration; the bound also ends long nonsense early.
        if number.is_empty() || parts.len() == UNITS.len() {
            return Err(unreadable());
        }
        parts.push((number, unit));
        rest = after.trim_start();
    }
    if parts.is_empty() { Err(unreadable()) } else { Ok(parts) }
}

/// Seconds of a unit, and whether it is written with its one letter.
fn unit_length(unit: &str) -> Result<(u64, bool), Bad> {
    if let Some((_, length)) = UNITS.iter().find(|(letter, _)| unit.chars().eq([*letter])) {
        return Ok((*length, true));
    }
    let length = match unit.to_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "ms" | "us" | "ns" | "msec" | "millis" | "milliseconds" => {
            return Err(Bad::new("a second is the smallest step", ACCEPTED).fix("\"1s\""));
        }
        "" => return Err(Bad::new("a number has no unit", ACCEPTED)),
        _ => return Err(Bad::new(format!("`{unit}` is no unit of time"), ACCEPTED)),
    };
    Ok((length, false))
}

impl JsonSchema for Humane {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: numbers with the units d, h, m, s, largest first.",
            "type": "string",
            "pattern": "^(?=.*[0-9]) *([0-9]+ *d)? *([0-9]+ *h)? *([0-9]+ *m)? *([0-9]+ *s)? *$",
            "examples": ["5m", "2h4m", "60s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> u64 {
        parse(text).expect("a duration").0.as_secs()
    }

    fn refusal(text: &str) -> (String, Option<String>) {
        let bad = parse(text).expect_err("not a duration");
        (bad.what, bad.fix)
    }

    #[test]
    fn takes_what_people_write() {
        assert_eq!(seconds("5m"), 300);
        assert_eq!(seconds("2h4m"), 7_440);
        assert_eq!(seconds("2h 4m"), 7_440);
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("1d2h3m4s"), 93_784);
        assert_eq!(seconds("365d"), LONGEST);
    }

    #[test]
    fn refuses_with_a_fix_that_works() {
        for (text, fix) in [
            ("5min", "\"5m\""),
            ("5 minutes", "\"5m\""),
            ("4m2h", "\"2h4m\""),
            ("1.5h", "\"1h30m\""),
            ("1m1m", "\"2m\""),
            ("2w", "\"14d\""),
            ("5M", "\"5m\""),
            ("0s", "\"1s\""),
            ("1.5s", "\"1s\""),
            ("500ms", "\"1s\""),
            ("366d", "\"365d\""),
            ("99999999999999999999999d", "\"365d\""),
        ] {
            assert_eq!(refusal(text).1.as_deref(), Some(fix), "{text}");
            assert!(parse(fix.trim_matches('"')).is_ok(), "{fix}");
        }
    }

    #[test]
    fn asks_for_the_unit() {
        assert_eq!(refusal("300"), ("it has no unit".to_owned(), Some("\"5m\"".to_owned())));
        assert_eq!(refusal("2h4").0, "a number has no unit");
        assert_eq!(refusal("5x").0, "`x` is no unit of time");
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["", " ", "m", "-5m", "five minutes", "5m!", "1s1s1s1s1s", "1..5h"] {
            assert_eq!(refusal(text).0, "it is not a duration", "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["1s", "5m", "2h4m", "1d", "1d1s"] {
            assert_eq!(humane(Duration::from_secs(seconds(text))), text);
        }
        assert_eq!(humane(Duration::ZERO), "0s");
    }

    #[test]
    fn command_lines_are_told_in_one_line() {
        assert_eq!(duration("2h4m"), Ok(Duration::from_secs(7_440)));
        let error = duration("90").expect_err("no unit");
        assert!(error.starts_with("it has no unit: ") && error.ends_with("; write 1m30s"), "{error}");
    }
}
