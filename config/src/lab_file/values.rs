//! Values that only labs have: names of namespaces, delays, shares, bit rates.

use std::time::Duration;

use toml::de::DeValue;

use crate::value::word::Words;
use crate::value::{Bad, Refusal, Scalar, Text, quoted};

/// Name of a computer or network: 1 to 15 letters, digits and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

const NAME_MAX: usize = 15;

impl Text for Name {
    const TAKES: &'static str = "a name";
    const MANY: &'static str = "names";

    fn parse(text: &str) -> Result<Name, Bad> {
        let accepted = "1 to 15 letters, digits and underscores are accepted";
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty() {
            return Err(Bad::new("it is empty", accepted));
        }
        let tidy: String = text.chars().map(|c| if fits(c) { c } else { '_' }).take(NAME_MAX).collect();
        if let Some(wrong) = text.chars().find(|c| !fits(*c)) {
            return Err(Bad::new(format!("a name in a lab has no `{wrong}`"), accepted).fix(quoted(&tidy)));
        }
        if text.len() > NAME_MAX {
            let what = format!("it is {} octets long, a name in a lab has at most {NAME_MAX}", text.len());
            return Err(Bad::new(what, accepted).fix(quoted(&tidy)));
        }
        if text == "wires" {
            return Err(Bad::new("the lab's switches live under this name", accepted));
        }
        Ok(Name(text.to_owned()))
    }
}

/// What forwards packets at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Genkan.
    Genkan,
    /// The kernel, with source NAT.
    KernelNat,
    /// The kernel, without NAT.
    Kernel,
}

impl Words for Runs {
    const TAKES: &'static str = "what runs at a gateway";
    const MANY: &'static str = "programs";
    const WORDS: &'static [(&'static str, Runs)] =
        &[("genkan", Runs::Genkan), ("kernel-nat", Runs::KernelNat), ("kernel", Runs::Kernel)];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("nft", "kernel-nat"),
        ("nftables", "kernel-nat"),
        ("nat", "kernel-nat"),
        ("linux", "kernel"),
        ("forwarding", "kernel"),
    ];
}

/// A delay on a wire: 0 to [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay(pub(super) Duration);

/// Longer than any way on Earth.
const LONGEST: Duration = Duration::from_secs(10);

/// A share of frames, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(pub(super) u32);

/// A rate in bits per second, from 8 kbit/s to 100 Gbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitRate(pub(super) u64);

const LEAST_RATE: u64 = 8_000;
const MOST_RATE: u64 = 100_000_000_000;

/// A number and its unit. Digits and one point; nothing else is a number here.
fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim().to_lowercase()))
}

impl Text for Delay {
    const TAKES: &'static str = "a delay such as \"20ms\"";
    const MANY: &'static str = "delays such as \"20ms\"";

    fn parse(text: &str) -> Result<Delay, Bad> {
        let accepted = "a number with us, ms or s up to 10s is accepted, such as \"20ms\"";
        let (number, unit) =
            split(text).ok_or_else(|| Bad::new("it is not a delay", accepted).fix("\"20ms\""))?;
        let seconds = match unit.as_str() {
            "us" | "µs" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "" => return Err(Bad::new("it has no unit", accepted).fix(quoted(&format!("{number}ms")))),
            _ => {
                return Err(Bad::new(format!("there is no unit `{unit}`"), accepted)
                    .fix(quoted(&format!("{number}ms"))));
            }
        };
        if seconds > LONGEST.as_secs_f64() {
            return Err(Bad::new("it is too long", accepted).fix("\"10s\""));
        }
        Ok(Delay(Duration::from_secs_f64(seconds)))
    }
}

impl Scalar for Share {
    const TAKES: &'static str = "a share such as \"1%\"";
    const MANY: &'static str = "shares such as \"1%\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Share, Refusal> {
        match value {
            DeValue::String(text) => Ok(share_of(text)?),
            DeValue::Integer(_) | DeValue::Float(_) => {
                Err(Bad::new("it does not say of what", SHARE).fix("\"1%\"").into())
            }
            _ => Err(Refusal::Type),
        }
    }
}

const SHARE: &str = "0% to 100% is accepted, such as \"0.5%\"";

fn share_of(text: &str) -> Result<Share, Bad> {
    let (number, unit) = split(text).ok_or_else(|| Bad::new("it is not a share", SHARE).fix("\"1%\""))?;
    if unit != "%" {
        return Err(Bad::new("it has no `%`", SHARE).fix(quoted(&format!("{number}%"))));
    }
    if number > 100.0 {
        return Err(Bad::new("it is more than all", SHARE).fix("\"100%\""));
    }
    Ok(Share((number * 10_000.0).round() as u32))
}

impl Text for BitRate {
    const TAKES: &'static str = "a rate such as \"10mbit\"";
    const MANY: &'static str = "rates such as \"10mbit\"";

    fn parse(text: &str) -> Result<BitRate, Bad> {
        let accepted =
            "a number with kbit, mbit or gbit from 8kbit to 100gbit is accepted, such as \"10mbit\"";
        let (number, unit) =
            split(text).ok_or_else(|| Bad::new("it is not a rate", accepted).fix("\"10mbit\""))?;
        let factor = match unit.trim_end_matches("/s").trim_end_matches("ps") {
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            _ => {
                let what = if unit.is_empty() {
                    "it has no unit".into()
                } else {
                    format!("there is no unit `{unit}`")
                };
                return Err(Bad::new(what, accepted).fix(quoted(&format!("{number}mbit"))));
            }
        };
        match (number * factor).round() as u64 {
            rate @ LEAST_RATE..=MOST_RATE => Ok(BitRate(rate)),
            0..LEAST_RATE => Err(Bad::new("it is too small", accepted).fix("\"8kbit\"")),
            _ => Err(Bad::new("it is too big", accepted).fix("\"100gbit\"")),
        }
    }
}

/// What is wrong, in one line, for a command line.
fn refusal(bad: &Bad) -> String {
    let fix = bad.fix.as_ref().map(|fix| format!("; write {}", fix.trim_matches('"'))).unwrap_or_default();
    format!("{}: {}{fix}", bad.what, bad.label)
}

/// A delay as people write it, on a command line: `20ms`.
///
/// # Errors
/// One line that says what is wrong and what is accepted.
pub fn delay(text: &str) -> Result<Duration, String> {
    Delay::parse(text).map(|delay| delay.0).map_err(|bad| refusal(&bad))
}

/// A share of frames as people write it, on a command line: `1%`; in millionths.
///
/// # Errors
/// As [`delay`].
pub fn share(text: &str) -> Result<u32, String> {
    share_of(text).map(|share| share.0).map_err(|bad| refusal(&bad))
}

/// A bit rate as people write it, on a command line: `10mbit`; in bits per second.
///
/// # Errors
/// As [`delay`].
pub fn bit_rate(text: &str) -> Result<u64, String> {
    BitRate::parse(text).map(|rate| rate.0).map_err(|bad| refusal(&bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_with_their_units_only() {
        assert_eq!(delay("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(delay("1.5 ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(
            (share("0.5%"), share("100%"), bit_rate("10mbit")),
            (Ok(5_000), Ok(1_000_000), Ok(10_000_000))
        );
        assert_eq!(bit_rate("1.5 Gbit/s"), Ok(1_500_000_000));
        for (wrong, words) in [
            (delay("20").map(drop), "no unit"),
            (delay("11s").map(drop), "too long; write 10s"),
            (delay("-1ms").map(drop), "not a delay"),
            (share("1").map(drop), "write 1%"),
            (share("101%").map(drop), "more than all"),
            (bit_rate("10").map(drop), "write 10mbit"),
            (bit_rate("1kbit").map(drop), "too small"),
        ] {
            let text = wrong.expect_err(words);
            let parts: Vec<_> = words.split("; ").collect();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
