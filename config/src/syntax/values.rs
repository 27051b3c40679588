//! Pieces of text that were meant as TOML values, and what they were meant to be.

use std::ops::Range;

use toml::de::DeValue;

use crate::value::quoted;

/// So many brackets and braces inside each other are looked into.
const DEEPEST: usize = 8;

/// Follows the quotes of a text, sign by sign.
#[derive(Default)]
struct Quotes(Option<char>);

impl Quotes {
    /// Whether a sign belongs to a quoted text, its quotes included.
    fn are_around(&mut self, character: char) -> bool {
        match (self.0, character) {
            (None, '"' | '\'') => self.0 = Some(character),
            (None, _) => return false,
            (Some(open), close) if open == close => self.0 = None,
            (Some(_), _) => {}
        }
        true
    }
}

/// A bare key, dots allowed.
pub(super) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A value without the comment behind it; a `#` inside quotes is none.
pub(super) fn uncommented(value: &str) -> &str {
    let mut quotes = Quotes::default();
    for (at, character) in value.char_indices() {
        if !quotes.are_around(character) && character == '#' {
            return value[..at].trim_end();
        }
    }
    // An unclosed quote has swallowed the comment too.
    if quotes.0.is_some() { value.split(" #").next().unwrap_or(value).trim_end() } else { value.trim_end() }
}

/// Whether a text is meant as a date: four digits, two digits, two digits.
pub(super) fn is_date(text: &str) -> bool {
    let shape: Vec<usize> =
        text.splitn(3, '-').map(|part| part.bytes().take_while(u8::is_ascii_digit).count()).collect();
    matches!(shape[..], [4, 1..=2, 1..=2])
}

pub(super) fn parses(value: &str) -> bool {
    DeValue::parse(value).is_ok()
}

/// What a person most likely meant by a text that is no TOML value; what is in brackets or braces in it too.
pub(super) fn mended(text: &str) -> String {
    if parses(text) {
        return text.to_owned();
    }
    if is_deep(text) {
        return quoted(text);
    }
    if let Some(inside) = within(text, '[', ']') {
        return list(inside);
    }
    if let Some(inside) = within(text, '{', '}') {
        let entries: Vec<String> = parts(inside).map(entry).collect();
        return format!("{{ {} }}", entries.join(", "));
    }
    // What goes on below is mended there.
    if text.starts_with(['[', '{']) {
        return text.to_owned();
    }
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" => return "true".to_owned(),
        "false" | "no" | "off" => return "false".to_owned(),
        _ => {}
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        // Leading zeros.
        return match text.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        };
    }
    quoted(text)
}

/// `a, 1` becomes `["a", 1]`.
pub(super) fn list(inside: &str) -> String {
    let mut elements: Vec<&str> = parts(inside).collect();
    if let [only] = elements[..]
        && !only.starts_with(['[', '{'])
    {
        elements = only.split_whitespace().collect();
    }
    format!("[{}]", elements.into_iter().map(mended).collect::<Vec<_>>().join(", "))
}

/// `a = b` or `a: b` becomes `a = "b"`.
fn entry(part: &str) -> String {
    let colon = || part.split_once(':').filter(|(key, _)| is_key(key.trim()));
    match part.split_once('=').or_else(colon) {
        // With a comma missing there are two.
        Some((_, value))
            if value.contains(['"', '\''])
                && !value.trim().starts_with(['[', '{'])
                && !parses(value.trim()) =>
        {
            part.to_owned()
        }
        Some((key, value)) => format!("{} = {}", key.trim(), mended(value.trim())),
        None => part.to_owned(),
    }
}

/// Whether brackets and braces are nested as in no configuration.
pub(super) fn is_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|octet| {
        match octet {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

/// What stands between an opening and a closing sign.
pub(super) fn within(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// What stands between the commas that are in no quotes, brackets or braces.
pub(super) fn parts(inside: &str) -> impl Iterator<Item = &str> {
    let (mut quotes, mut depth) = (Quotes::default(), 0_usize);
    inside
        .split(move |character| {
            if quotes.are_around(character) {
                return false;
            }
            match character {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// What stands before the first bracket or brace that closes one of a line before.
pub(super) fn inner(text: &str) -> &str {
    let (mut quotes, mut depth) = (Quotes::default(), 0_usize);
    let end = text.char_indices().find(|(_, character)| {
        if quotes.are_around(*character) {
            return false;
        }
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' if depth == 0 => return true,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        false
    });
    end.map_or(text, |(end, _)| text[..end].trim_end())
}

/// The range up to where the first bracket or brace is closed that it leaves open, with the comma there: the rest of that
/// would be no TOML.
pub(super) fn with_rest(text: &str, range: Range<usize>) -> Range<usize> {
    let open = text.get(range.clone()).and_then(left_open).map(|open| range.start + open);
    let Some(end) = open.and_then(|open| closing(text, open)).filter(|end| *end >= range.end) else {
        return range;
    };
    let comma = text[end + 1..].starts_with(',');
    range.start..end + 1 + usize::from(comma)
}

/// The first bracket or brace of a line that is not closed on it.
fn left_open(line: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quotes = Quotes::default();
    for (at, character) in line.char_indices() {
        if quotes.are_around(character) {
            continue;
        }
        match character {
            '#' => break,
            '[' | '{' => open.push(at),
            ']' | '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.first().copied()
}

/// Where the bracket or brace at `open` is closed.
pub(super) fn closing(text: &str, open: usize) -> Option<usize> {
    let opening = text.get(open..)?.chars().next()?;
    let closing = if opening == '{' { '}' } else { ']' };
    let (mut depth, mut quotes, mut comment) = (0_usize, Quotes::default(), false);
    for (at, character) in text.char_indices().skip_while(|(at, _)| *at < open) {
        if character == '\n' {
            (quotes, comment) = (Quotes::default(), false);
        } else if comment || quotes.are_around(character) {
            continue;
        } else if character == '#' {
            comment = true;
        } else if character == opening {
            depth += 1;
        } else if character == closing {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}
