//! Values of the file: the types that a key can hold, each with its reader.
//!
//! A reader says in words what it takes, refuses everything else with a [`Bad`] that shows what would work,
//! and goes on after the first mistake of a list.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::error::{Code, Report, Span};

pub(crate) mod address;
pub(crate) mod address_range;
pub(crate) mod argument;
pub(crate) mod ddns;
pub(crate) mod dhcp;
pub(crate) mod dns;
pub(crate) mod duration;
pub(crate) mod listen;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod name;
pub(crate) mod number;
pub(crate) mod octets;
pub(crate) mod ports;
pub(crate) mod rate;
pub(crate) mod saving;
pub(crate) mod schedule;
pub(crate) mod target;
pub(crate) mod word;

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub(crate) value: T,
    /// Its text, quotes included.
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    /// `value`, written at `span`.
    pub(crate) fn new(value: T, span: Span) -> Spanned<T> {
        Spanned { value, span }
    }
}

/// A key of a table: absent, or its value. A value that is wrong was reported and counts as absent.
pub(crate) type Field<T> = Option<Spanned<T>>;

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What is being read, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The whole key: `nat.timeouts.udp`.
    pub(crate) path: &'a str,
    /// Its last part.
    pub(crate) key: &'a str,
    /// A value that would do, as TOML.
    pub(crate) example: &'a str,
    /// The value is an element of the list that the key holds.
    pub(crate) in_list: bool,
}

impl Place<'_> {
    /// How `value` (TOML) would be written here.
    pub(crate) fn written(&self, value: &str) -> String {
        if self.in_list { format!("`{value}`") } else { format!("`{} = {value}`", self.key) }
    }
}

/// A type that a key can hold.
pub(crate) trait Value: Sized {
    /// Reads a value. `None`: it was wrong and `report` says why.
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Self>;
}

/// A type that is one TOML value, not a list.
pub(crate) trait Scalar: Sized {
    /// What is accepted, with an article: `a device name`.
    const TAKES: &'static str;
    /// The plural of that, for "a list of ...".
    const MANY: &'static str;

    /// Reads the value.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal>;
}

/// A scalar that is written as a TOML string.
pub(crate) trait Text: Sized {
    /// As [`Scalar::TAKES`].
    const TAKES: &'static str;
    /// As [`Scalar::MANY`].
    const MANY: &'static str;

    /// Reads the text.
    fn parse(text: &str) -> Result<Self, Bad>;
}

/// Why a scalar is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The TOML type is not the one it takes.
    Type,
    /// The value is not one that it takes.
    Value(Box<Bad>),
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Refusal {
        Refusal::Value(Box::new(bad))
    }
}

impl<T: Text> Scalar for T {
    const TAKES: &'static str = <T as Text>::TAKES;
    const MANY: &'static str = <T as Text>::MANY;

    fn from_toml(value: &DeValue<'_>) -> Result<T, Refusal> {
        match value {
            DeValue::String(text) => Ok(T::parse(text)?),
            _ => Err(Refusal::Type),
        }
    }
}

impl Scalar for bool {
    const TAKES: &'static str = "`true` or `false`";
    const MANY: &'static str = "`true` or `false`";

    fn from_toml(value: &DeValue<'_>) -> Result<bool, Refusal> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(Refusal::Type),
        }
    }
}

impl<T: Scalar> Value for T {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<T> {
        match T::from_toml(value) {
            Ok(value) => Some(value),
            Err(Refusal::Value(bad)) => {
                let fix = working::<T>(bad.fix.clone());
                report_bad(Bad { fix, ..*bad }, span, place, report);
                None
            }
            Err(Refusal::Type) => {
                wrong_type::<T>(value, span, place, report);
                None
            }
        }
    }
}

/// A list. Every element is read; wrong ones are reported and left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T> {
    /// The elements that could be read.
    pub(crate) items: Vec<Spanned<T>>,
    /// No element was left out.
    pub(crate) complete: bool,
}

impl<T: Scalar> Value for List<T> {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Array(array) = value else {
            let message = format!("`{}` takes a list of {}, not {}", place.path, T::MANY, kind(value));
            let fix = if T::from_toml(value).is_ok() {
                format!("write {}", place.written(&format!("[{}]", report.text(span))))
            } else {
                format!("for example {}", place.written(place.example))
            };
            report.error(Code::WrongType, span, message).label("a list is needed here").help(fix);
            return None;
        };
        let place = Place { in_list: true, ..place };
        let mut items = Vec::with_capacity(array.len());
        for element in array.iter() {
            let span = element.span();
            items.extend(
                T::read(element.get_ref(), &span, place, report).map(|value| Spanned::new(value, span)),
            );
        }
        Some(List { complete: items.len() == array.len(), items })
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

/// Why a value is refused, without where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The kind of mistake.
    pub(crate) code: Code,
    /// What is wrong; ends the sentence "`wan.mtu` cannot be 12: ...".
    pub(crate) what: String,
    /// The words beside the underline: what is accepted.
    pub(crate) label: String,
    /// A value that would work, as TOML.
    pub(crate) fix: Option<String>,
    /// More lines of advice.
    pub(crate) help: Vec<String>,
    /// Background.
    pub(crate) note: Option<&'static str>,
    /// First octet of the text that is wrong and the one after the last, where it is not the whole value.
    pub(crate) at: Option<(u16, u16)>,
}

impl Bad {
    /// A refusal: what is wrong, and what is accepted.
    pub(crate) fn new(what: impl Into<String>, label: impl Into<String>) -> Bad {
        Bad {
            code: Code::BadValue,
            what: what.into(),
            label: label.into(),
            fix: None,
            help: Vec::new(),
            note: None,
            at: None,
        }
    }

    /// A value of a later version.
    pub(crate) fn not_yet(what: impl Into<String>, label: impl Into<String>) -> Bad {
        Bad { code: Code::NotYet, ..Bad::new(what, label) }
    }

    /// Shows a value that would work, written as TOML.
    pub(crate) fn fix(mut self, value: impl Into<String>) -> Bad {
        self.fix = Some(value.into());
        self
    }

    /// Points at a part of a value's text, if it lies among the first 64 KiB.
    pub(crate) fn at(mut self, octets: Range<usize>) -> Bad {
        self.at = u16::try_from(octets.start).ok().zip(u16::try_from(octets.end).ok());
        self
    }

    /// Adds a line of advice.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Bad {
        self.help.push(text.into());
        self
    }

    /// Sets the line of background.
    pub(crate) fn note(mut self, text: &'static str) -> Bad {
        self.note = Some(text);
        self
    }
}

/// A fix, or the fix of that one, that is itself accepted.
fn working<T: Scalar>(mut fix: Option<String>) -> Option<String> {
    const MOST: usize = 3;
    for _ in 0..MOST {
        let toml = fix?;
        let read = DeValue::parse(&toml).map(|value| T::from_toml(value.get_ref()));
        fix = match read {
            Ok(Ok(_)) => return Some(toml),
            Ok(Err(Refusal::Value(bad))) => bad.fix,
            _ => None,
        };
    }
    None
}

/// Reports a refused value in its place.
pub(crate) fn report_bad(bad: Bad, span: &Span, place: Place<'_>, report: &mut Report) {
    let yet = if bad.code == Code::NotYet { " yet" } else { "" };
    let message = format!("`{}` cannot be {}{yet}: {}", place.path, shorten(report.text(span)), bad.what);
    let part = bad.at.and_then(|(start, end)| part_of(report.text(span), span, start.into()..end.into()));
    let diagnostic = report.error(bad.code, part.as_ref().unwrap_or(span), message);
    diagnostic.label(bad.label);
    if let Some(fix) = &bad.fix {
        diagnostic.help(format!("write {}", place.written(fix)));
    } else if bad.help.is_empty() {
        diagnostic.help(format!("for example `{} = {}`", place.key, place.example));
    }
    diagnostic.help.extend(bad.help);
    diagnostic.notes.extend(bad.note.map(str::to_owned));
}

/// Where octets of a string's text stand in the file; `None` when escapes or several quotes are in the way.
fn part_of(written: &str, span: &Span, octets: Range<usize>) -> Option<Span> {
    let plain = !written.contains('\\') && !written.starts_with("\"\"\"") && !written.starts_with("'''");
    let inside = written.len().checked_sub(2)?;
    // What is missing at the end is pointed at by the closing quote.
    let end = if octets.is_empty() { octets.end + 1 } else { octets.end };
    (plain && octets.end <= inside).then(|| span.start + 1 + octets.start..span.start + 1 + end)
}

/// Reports a value of the wrong TOML type.
fn wrong_type<T: Scalar>(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) {
    let works = |toml: &String| DeValue::parse(toml).is_ok_and(|value| T::from_toml(value.get_ref()).is_ok());
    // The fix that a person most likely needs: quotes too many or too few, brackets too many.
    let fix = match value {
        DeValue::String(text) => Some(text.to_string()).filter(works),
        DeValue::Array(array) if array.len() == 1 => {
            array.first().map(|element| report.text(&element.span()).to_owned()).filter(works)
        }
        // Nobody calls a thing `true`.
        DeValue::Array(_) | DeValue::Table(_) | DeValue::Boolean(_) => None,
        _ => Some(format!("\"{}\"", report.text(span))).filter(works),
    };
    let help = match fix {
        Some(fix) => format!("write {}", place.written(&fix)),
        None => format!("for example `{} = {}`", place.key, place.example),
    };
    report
        .error(Code::WrongType, span, format!("`{}` takes {}, not {}", place.path, T::TAKES, kind(value)))
        .label(format!("{} is needed here", T::TAKES))
        .help(help);
}

/// A text on one line, at most 48 characters long.
pub(crate) fn shorten(text: &str) -> String {
    let line: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if line.chars().count() <= 48 {
        return line;
    }
    let mut short: String = line.chars().take(45).collect();
    short.push_str("...");
    short
}

/// The TOML type of a value, with an article.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `text` as a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
