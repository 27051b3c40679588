//! Where the value of a password ends, in whatever it is written: all lines of it are hidden, and in doubt one more.

use std::ops::Range;

use super::{is_known, is_secret};

/// The value behind a key that ends at `at`: between quotes or brackets, or to the end of the line.
pub(super) fn value_behind(text: &str, at: usize, in_url: bool) -> Option<Range<usize>> {
    let rest = &text[at..];
    // The key itself may be in quotes.
    let rest =
        rest.strip_prefix(['"', '\'']).filter(|rest| rest.trim_start().starts_with('=')).unwrap_or(rest);
    let behind = rest.trim_start_matches([' ', '\t']);
    let sign = behind.strip_prefix(['=', ':']);
    let mut value = match sign {
        Some(value) => value.trim_start_matches([' ', '\t']),
        None => Some(behind).filter(|value| value.starts_with(['"', '\'']))?,
    };
    if in_url {
        let (start, line) = (text.len() - value.len(), first_line(value));
        return Some(start..start + line.find(['&', '"', '\'', ' ', '#']).unwrap_or(line.len()));
    }
    if value.is_empty() || value.starts_with(['\n', '\r']) {
        let around = line_around(text, at);
        let is_sign = |c: char| around.starts_with(c) && matches!(c, '+' | '-');
        value = value.trim_start_matches(|c: char| c.is_whitespace() || is_sign(c));
        if is_comment(around) || begins_key(first_line(value)) || begins_table(first_line(value)) {
            return None;
        }
    }
    let start = text.len() - value.len();
    let line = first_line(value);
    let (open, end) = match line.chars().next()? {
        '"' | '\'' => {
            let quotes = quotes(value);
            let end = match quotes.len() {
                _ if let Some(end) = closing_quotes(line) => Ok(end),
                1 if sign.is_none() => Err(line.len()),
                1 => late_quotes(value, is_comment(line_around(text, start))),
                _ => long_quotes(value, is_comment(line_around(text, start))),
            };
            (quotes.len(), end)
        }
        '[' | '{' => {
            let end = closing_bracket(line, false);
            (1, end.or_else(|_| closing_bracket(value, is_comment(line_around(text, start)))))
        }
        _ => (0, Err(bare(line).len())),
    };
    let end = end.map_or_else(|end| end, |end| with_stray(value, line, end, open)).max(open);
    Some(start + open..start + end)
}

/// What a table with this name holds, if the name stands in a header.
pub(super) fn table_below(text: &str, name: Range<usize>) -> Option<Range<usize>> {
    let rest = text[name.end..].trim_start_matches(['"', '\'']);
    let before =
        text[..name.start].trim_end_matches(|c: char| c.is_alphanumeric() || "_-.\"' \t".contains(c));
    let line = before.trim_end_matches('[').trim_end_matches(['+', '-', ' ', '\t']);
    if !rest.starts_with(']') || !before.ends_with('[') || !line.is_empty() && !line.ends_with('\n') {
        return None;
    }
    let start = text.len() - rest.len() + first_line(rest).len();
    let below = &text[start..];
    let lines = below.split_inclusive('\n').take_while(|line| !begins_table(line));
    let start = text.len() - below.trim_start().len();
    let end = below[..lines.map(str::len).sum()].trim_end().len() + text.len() - below.len();
    (start < end).then_some(start..end)
}

fn first_line(text: &str) -> &str {
    text[..text.find('\n').unwrap_or(text.len())].trim_end_matches('\r')
}

fn line_around(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
    first_line(&text[start..])
}

/// What stands on a line of a difference between two texts.
fn unsigned(line: &str) -> &str {
    line.trim_start_matches(['+', '-', ' ', '\t'])
}

fn is_comment(line: &str) -> bool {
    unsigned(line).starts_with('#')
}

/// Where long quotes end that are closed on a line below. What begins in a comment ends with it.
fn long_quotes(value: &str, commented: bool) -> Result<usize, usize> {
    let end = closing_quotes(value);
    let inside = &value[..end.unwrap_or(value.len())];
    let lines = inside.split_inclusive('\n').enumerate();
    let below = |(index, line): &(usize, &str)| *index == 0 || !commented || is_comment(line);
    match lines.take_while(below).map(|(_, line)| line.len()).sum() {
        all if all == inside.len() => end.ok_or(all),
        part => Err(part),
    }
}

/// A value without quotes, and without what closes an inline table around it.
fn bare(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', ',', '}', ']', '"', '\''])
}

/// What is behind the first word of a line, if that is one of a configuration's keys and tables.
fn known_word(line: &str) -> Option<&str> {
    let is_in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let quote = line.chars().next().filter(|c| matches!(c, '"' | '\''));
    let line = &line[quote.map_or(0, char::len_utf8)..];
    let (word, rest) = line.split_at(line.find(|c| !is_in_word(c)).unwrap_or(line.len()));
    let rest = quote.map_or(Some(rest), |quote| rest.strip_prefix(quote))?;
    (!word.is_empty() && (is_known(&word.to_lowercase()) || is_secret(word, false))).then_some(rest)
}

/// Whether a line is the header of a table. A text in brackets is none.
fn begins_table(line: &str) -> bool {
    let name = unsigned(line).trim_start_matches(['#', ' ', '\t']).trim_start_matches('[');
    let is_header = line.contains('[') && !name.starts_with(['"', '\'']);
    is_header && known_word(name).is_some_and(|rest| rest.starts_with([']', '.']))
}

/// Whether a line is a key of a configuration and its value. The end of a text in base64 and a quote are none.
fn begins_key(line: &str) -> bool {
    let line = unsigned(line).trim_start_matches(['#', ' ', '\t']);
    known_word(line).is_some_and(|rest| {
        let value = rest.trim_start().trim_start_matches('.');
        let is_end = |c: char| c.is_whitespace() || "=\"',]}".contains(c);
        value.starts_with(['=', ':', '"', '\'']) && !value.trim_matches(is_end).is_empty()
    })
}

/// The quotes that a value begins with.
fn quotes(value: &str) -> &str {
    let is_long = ["\"\"\"", "'''"].iter().any(|quotes| value.starts_with(quotes));
    &value[..if is_long { 3 } else { 1 }]
}

/// Where the quotes that a text begins with are closed (TOML 1.0, "String").
fn closing_quotes(value: &str) -> Option<usize> {
    let quotes = quotes(value);
    let mut escaped = false;
    for (at, character) in value.char_indices().skip(quotes.len()) {
        if escaped {
            escaped = false;
        } else if character == '\\' && quotes.starts_with('"') {
            escaped = true;
        } else if value[at..].starts_with(quotes) {
            return Some(at);
        }
    }
    None
}

/// Where quotes are closed on a line below, which TOML does not allow, or else what is before the next key.
fn late_quotes(value: &str, commented: bool) -> Result<usize, usize> {
    let mut end = first_line(value).len();
    for (index, line) in value[end..].split_inclusive('\n').enumerate() {
        if begins_key(line) || begins_table(line) || index > 0 && commented && !is_comment(line) {
            break;
        }
        if let Some(at) = line.find(quotes(value)) {
            return Ok(end + at);
        }
        end += line.len();
    }
    Err(value[..end].trim_end().len())
}

/// Where the bracket or brace is closed that a value begins with, or else what is before the next key.
fn closing_bracket(value: &str, commented: bool) -> Result<usize, usize> {
    let (mut depth, mut braces, mut at) = (0_usize, 0_usize, 0);
    while let Some(character) = value[at..].chars().next() {
        let rest = &value[at..];
        let mut length = character.len_utf8();
        match character {
            '"' | '\'' => {
                let quotes = quotes(rest).len();
                let closing = closing_quotes(if quotes > 1 { rest } else { first_line(rest) });
                length = closing.map_or_else(|| first_line(rest).len(), |end| end + quotes);
            }
            '#' => length = first_line(rest).len(),
            '\n' => {
                let next = first_line(&rest[1..]);
                // Between braces there may be any key.
                if begins_table(next) || braces == 0 && begins_key(next) || commented && !is_comment(next) {
                    break;
                }
                if commented {
                    length += next.find('#').map_or(0, |sign| sign + 1);
                }
            }
            '[' => depth += 1,
            '{' => (depth, braces) = (depth + 1, braces + 1),
            ']' | '}' if depth == 1 => return Ok(at),
            ']' => depth -= 1,
            '}' => (depth, braces) = (depth - 1, braces.saturating_sub(1)),
            _ => {}
        }
        at += length;
    }
    Err(value[..at].trim_end().len())
}

/// The end of a value that is closed at `end`, with what cannot stand behind it: that was meant to be in it.
fn with_stray(value: &str, line: &str, end: usize, quotes: usize) -> usize {
    let closed = end + quotes;
    let line = line.get(closed..).unwrap_or_else(|| first_line(&value[closed..]));
    let next = line.trim_start_matches([' ', '\t', '}', ']']);
    let other = next.trim_start_matches([',', ' ', '\t', '}', ']', '{', '[']);
    let is_key = |text: &str| {
        let word = text.split(['=', ':']).next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        word.len() < text.len()
            && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet))
    };
    if other.is_empty()
        || other.starts_with('#')
        || begins_key(other)
        || next.starts_with(',') && is_key(other)
    {
        return end;
    }
    end.max(closed + bare(line).len())
}
