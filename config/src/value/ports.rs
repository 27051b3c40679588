//! Ports: a number, a run `"from-to"`, or a list of both.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::number::integer_value;
use super::{Bad, List, Place, Refusal, Scalar, Spanned, Value, quoted, report_bad, shorten};
use crate::error::{Code, Report, Span};

/// A run of ports, never empty, without port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortSpan {
    /// The first port.
    pub(crate) first: u16,
    /// The last port, included.
    pub(crate) last: u16,
}

const ACCEPTED: &str = "a port from 1 to 65535 or a run such as \"10000-10010\" is accepted";

impl PortSpan {
    /// Number of ports.
    pub(crate) fn len(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether a port lies in it.
    pub(crate) fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The ports that lie in both.
    pub(crate) fn overlap(self, other: PortSpan) -> Option<PortSpan> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(PortSpan { first, last })
    }

    /// As a TOML value: `80` or `"80-90"`.
    pub(crate) fn toml(self) -> String {
        if self.first == self.last { self.to_string() } else { quoted(&self.to_string()) }
    }

    /// Reads `80` or `80-90`; each error says what is wrong with the ports, and what would be right.
    pub(crate) fn parse(text: &str) -> Result<PortSpan, Bad> {
        let trimmed = text.trim();
        if trimmed.contains(',') {
            let parts: Result<Vec<String>, Bad> =
                trimmed.split(',').map(|part| PortSpan::parse(part).map(PortSpan::toml)).collect();
            return Err(
                Bad::new("several ports stand in a list", ACCEPTED).fix(format!("[{}]", parts?.join(", ")))
            );
        }
        let Some((first, last)) = trimmed.split_once(['-', '–', '—', ':']) else {
            let port = port(trimmed)?;
            return Ok(PortSpan { first: port, last: port });
        };
        let (first, last) = (port(first.trim())?, port(last.trim())?);
        if first > last {
            let fix = PortSpan { first: last, last: first };
            return Err(Bad::new("its end is before its beginning", ACCEPTED).fix(fix.toml()));
        }
        let span = PortSpan { first, last };
        // A plain hyphen between them.
        if !trimmed.contains('-') {
            return Err(Bad::new("the two ports of a run have a `-` between them", ACCEPTED).fix(span.toml()));
        }
        Ok(span)
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

fn port(text: &str) -> Result<u16, Bad> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let what = match service(text) {
            Some(_) => "ports are numbers".to_owned(),
            None if text.is_empty() => "a port is missing".to_owned(),
            None => format!("`{}` is no port", shorten(text)),
        };
        let bad = Bad::new(what, ACCEPTED);
        return Err(match service(text) {
            Some(port) => bad.help(format!("{text} usually is port {port}")),
            None => bad,
        });
    }
    match text.parse() {
        Ok(0) => Err(zero()),
        Ok(port) => Ok(port),
        Err(_) => Err(too_big(text)),
    }
}

fn zero() -> Bad {
    Bad::new("port 0 cannot be used on a wire", ACCEPTED)
}

fn too_big(text: &str) -> Bad {
    Bad::new(format!("there is no port {}", shorten(text)), ACCEPTED)
}

/// Ports that people write by name.
fn service(name: &str) -> Option<u16> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "dns" | "domain" => 53,
        "http" => 80,
        "pop3" => 110,
        "ntp" => 123,
        "imap" => 143,
        "https" => 443,
        "smb" => 445,
        "imaps" => 993,
        "openvpn" => 1194,
        "rdp" => 3389,
        "wireguard" => 51820,
        _ => return None,
    })
}

impl Scalar for PortSpan {
    const TAKES: &'static str = "a port or a run of ports";
    const MANY: &'static str = "ports or runs of ports";

    fn from_toml(value: &DeValue<'_>) -> Result<PortSpan, Refusal> {
        match value {
            DeValue::String(text) => Ok(PortSpan::parse(text)?),
            DeValue::Integer(integer) => match integer_value(integer).map(u16::try_from) {
                Some(Ok(0)) => Err(zero().into()),
                Some(Ok(port)) => Ok(PortSpan { first: port, last: port }),
                _ => Err(too_big(&integer.to_string()).into()),
            },
            _ => Err(Refusal::Type),
        }
    }
}

/// What a `port` key holds: one run or several, none overlapping another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) Vec<Spanned<PortSpan>>);

impl Value for Ports {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Ports> {
        if let DeValue::String(text) = value
            && text.contains(',')
            && let Err(bad) = PortSpan::parse(text)
        {
            report_bad(bad, span, place, report);
            return None;
        }
        let DeValue::Array(array) = value else {
            let ports = PortSpan::read(value, span, place, report)?;
            return Some(Ports(vec![Spanned::new(ports, span.clone())]));
        };
        if array.is_empty() {
            report_bad(Bad::new("the list is empty", "at least one port is needed"), span, place, report);
            return None;
        }
        let List { items: spans, complete } = List::<PortSpan>::read(value, span, place, report)?;
        // Overlaps are between neighbours once the runs are sorted; the one written later is the mistake.
        let mut sorted: Vec<&Spanned<PortSpan>> = spans.iter().collect();
        sorted.sort_by_key(|ports| (ports.value.first, ports.span.start));
        let mut clean = complete;
        let mut widest: Option<&Spanned<PortSpan>> = None;
        for ports in sorted {
            if let Some(other) = widest
                && let Some(twice) = other.value.overlap(ports.value)
            {
                clean = false;
                let (early, late) =
                    if other.span.start < ports.span.start { (other, ports) } else { (ports, other) };
                report
                    .error(Code::Conflict, &late.span, format!("`{}` names port {twice} twice", place.path))
                    .label("the second time")
                    .related(&early.span, "the first time")
                    .help("take it out of one of them");
            }
            if widest.is_none_or(|other| other.value.last < ports.value.last) {
                widest = Some(ports);
            }
        }
        clean.then_some(Ports(spans))
    }
}

impl JsonSchema for PortSpan {
    fn schema_name() -> Cow<'static, str> {
        "PortSpan".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port, or a run of ports such as \"10000-10010\".",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^ *[0-9]{1,5} *(- *[0-9]{1,5} *)?$" },
            ],
        })
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<PortSpan>();
        json_schema!({
            "description": "A port, a run of ports, or a list of both.",
            "anyOf": [span, { "type": "array", "items": span, "minItems": 1 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, Option<String>) {
        let bad = PortSpan::parse(text).expect_err("refused");
        (bad.what, bad.fix)
    }

    #[test]
    fn takes_ports_and_runs() {
        assert_eq!(PortSpan::parse("80"), Ok(PortSpan { first: 80, last: 80 }));
        assert_eq!(PortSpan::parse("1-65535"), Ok(PortSpan { first: 1, last: 65_535 }));
        assert_eq!(PortSpan::parse("10 - 20"), Ok(PortSpan { first: 10, last: 20 }));
        assert_eq!(PortSpan { first: 1, last: 65_535 }.len(), 65_535);
    }

    #[test]
    fn refuses_with_the_fix() {
        assert_eq!(refused("20-10").1.as_deref(), Some("\"10-20\""));
        assert_eq!(refused("10–20").1.as_deref(), Some("\"10-20\""));
        assert_eq!(refused("10:20").1.as_deref(), Some("\"10-20\""));
        assert_eq!(refused("80,443").1.as_deref(), Some("[80, 443]"));
        assert_eq!(refused("80,8000-8010").1.as_deref(), Some("[80, \"8000-8010\"]"));
        assert_eq!(refused("0").0, "port 0 cannot be used on a wire");
        assert_eq!(refused("0-10").0, "port 0 cannot be used on a wire");
        assert_eq!(refused("65536").0, "there is no port 65536");
        assert_eq!(refused("https").0, "ports are numbers");
        assert_eq!(refused("10-").0, "a port is missing");
        for text in ["", "-", "a-b", "1-2-3", "+80", "80,", ",", "8O"] {
            refused(text);
        }
    }

    #[test]
    fn overlaps() {
        let run = |first, last| PortSpan { first, last };
        assert_eq!(run(10, 20).overlap(run(20, 30)), Some(run(20, 20)));
        assert_eq!(run(10, 20).overlap(run(21, 30)), None);
    }
}
