//! The small parts of a line: words, numbers, durations.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

/// What stands between spaces.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A decimal number.
///
/// # Errors
/// When it is none, or too large.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number, or too large"))
}

/// An IPv4 address.
///
/// # Errors
/// When it is none.
pub(crate) fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IPv4 address"))
}

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration such as `2h4m`, `30s` or `500ms`.
///
/// # Errors
/// When it is none.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 2h4m, 30s or 500ms");
    let (mut rest, mut total) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (count, unit_and_more) = rest.split_at(digits);
        let letters = unit_and_more.find(|letter: char| letter.is_ascii_digit());
        let (unit, more) = unit_and_more.split_at(letters.unwrap_or(unit_and_more.len()));
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total += count.parse::<u64>().map_err(|_| wrong())? * milliseconds;
        rest = more;
    }
    Ok(Duration::from_millis(total))
}

/// What [`parse_duration`] reads; parts under a millisecond are left out.
pub(crate) fn duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, milliseconds) in UNITS {
        if left >= milliseconds {
            text.push_str(&format!("{}{name}", left / milliseconds));
            left %= milliseconds;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
