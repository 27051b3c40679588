//! From text to a TOML tree, with every syntax mistake found and explained.
//!
//! The TOML parser recovers from mistakes, but what it finds after one is often a consequence of it: an open
//! bracket makes a mistake of every line that follows. So only the first is believed. Its line is blanked out,
//! which leaves all other text in its place, and the rest is parsed anew, until nothing is left to find.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use crate::error::{Code, Report, Span};
use crate::secrets;
use crate::value::shorten;

mod headers;
mod values;

use headers::{header, headers, section};
use values::{
    closing, inner, is_date, is_deep, is_key, list, mended, parses, parts, uncommented, with_rest, within,
};

/// After so many mistakes the rest waits for the next run.
const MOST: usize = 50;
/// So much text is parsed in all rounds together, which bounds the work for a file that is no TOML at all. A mistake
/// found counts as [`MISTAKE`] octets.
const MOST_OCTETS: usize = 16 << 20;
const MISTAKE: usize = 64;
/// But so many mistakes are always told.
const FEWEST: usize = 3;

/// Parses the file and hands the tree to `read`, together with whether all of the file is in it. `None`: what is
/// left after all reported mistakes cannot be read either.
pub(crate) fn parse<R>(
    report: &mut Report,
    read: impl FnOnce(&DeTable<'_>, bool, &mut Report) -> R,
) -> Option<R> {
    let file = report.file().clone();
    // The same octets in the same places, but for passwords.
    let (mut text, mut shown) = (file.text().to_owned(), file.shown().to_owned());
    let mut octets = 0;
    for round in 0..MOST {
        if octets > MOST_OCTETS && round >= FEWEST {
            break;
        }
        let blank = {
            let (tree, errors) = DeTable::parse_recoverable(&text);
            octets += text.len() + errors.len() * MISTAKE;
            let first = errors.iter().min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
            match first {
                None => return Some(read(tree.get_ref(), round == 0, report)),
                Some(first) => explain(&shown, tree.get_ref(), first, report),
            }
        };
        let part = text.get(blank.clone()).unwrap_or_default();
        // Where a password began or ended, others may be hidden now.
        let anew = shown.get(blank.clone()) != Some(part)
            || ["\"\"\"", "'''"].iter().any(|quotes| part.contains(quotes));
        if !blank_out(&mut text, blank.clone()) {
            return None;
        }
        blank_out(&mut shown, blank);
        if anew {
            shown = secrets::hidden_too(&text, &shown);
        }
    }
    report.note_last("more mistakes may follow: they are shown when these are mended");
    None
}

/// Replaces everything but line ends by blanks. False when nothing was left to replace.
fn blank_out(text: &mut String, range: Range<usize>) -> bool {
    let Some(part) = text.get(range.clone()) else { return false };
    let blanks: String =
        part.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { char::from(byte) } else { ' ' }).collect();
    if blanks == part {
        return false;
    }
    text.replace_range(range, &blanks);
    true
}

/// One line of the text and where it lies.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, at: usize) -> Line<'a> {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
        let end = text[at..].find('\n').map_or(text.len(), |feed| at + feed);
        Line { start, text: &text[start..end] }
    }

    fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Where a part of the line lies in the file; `part` is a slice of `self.text`.
    fn span_of(&self, part: &str) -> Span {
        let offset = part.as_ptr() as usize - self.text.as_ptr() as usize;
        self.start + offset..self.start + offset + part.len()
    }
}

/// Reports the first mistake of the text, and says which stretch to blank out.
fn explain(text: &str, tree: &DeTable<'_>, error: &Error, report: &mut Report) -> Range<usize> {
    let mut at = error.span().map_or(0, |span| span.start);
    if let Some((open, what)) = unclosed(text, tree)
        && open <= at
    {
        let (sign, closing) = what;
        report
            .error(Code::Syntax, &(open..open + sign.len()), format!("this `{sign}` is never closed"))
            .label(format!("`{closing}` is missing"));
        return list_rest(text, open);
    }
    // At the end of the file the mistake is on the last line that has anything on it.
    if text[floor(text, at)..].trim().is_empty() && Line::at(text, at).text.trim().is_empty() {
        at = text.trim_end().len();
    }
    let line = Line::at(text, at);
    let content = line.text.trim();
    let whole = line.span_of(content);
    if let Some(sign) = ["//", ";", "--"].into_iter().find(|sign| content.starts_with(sign)) {
        report
            .error(Code::Syntax, &(whole.start..whole.start + sign.len()), "this is no comment")
            .label("comments begin with `#`");
        return line.range();
    }
    let inside = in_list(tree, line.start);
    if content.starts_with('[') && !inside {
        header(text, tree, line, content, error, report);
        // What follows would end up in the table before.
        return section(text, line);
    }
    let entries = inner(uncommented(content));
    if !inside && in_braces(text, tree, line.start) && wrong_entry(line, entries, None, error, report) {
        return with_rest(text, line.span_of(entries));
    }
    if inside {
        element(line, content, error, report);
    } else if let Some((key, value)) = content.split_once('=') {
        key_value(text, line, key.trim_end(), value.trim(), error, report);
    } else if let Some((key, value)) = content.split_once(':')
        && is_key(key.trim())
    {
        let fix = format!("{} = {}", key.trim(), mended(value.trim()));
        report
            .error(Code::Syntax, &whole, "a key and its value have a `=` between them")
            .label("no `=` here")
            .help(format!("write `{fix}`"));
    } else {
        report
            .error(
                Code::Syntax,
                &whole,
                format!("`{}` is neither a key with a value nor a table", shorten(content)),
            )
            .label("`key = value` or `[table]` is expected")
            .note(format!("TOML: {}", error.message()));
    }
    with_rest(text, line.range())
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// From the line of an open bracket to the next line that is a key with a value or a header.
fn list_rest(text: &str, open: usize) -> Range<usize> {
    let line = Line::at(text, open);
    let mut end = line.range().end;
    for raw in text[end..].split_inclusive('\n').skip(1) {
        let next = raw.trim_start();
        let header = next.trim_start_matches('[').starts_with(|c: char| c.is_ascii_alphabetic());
        if (next.starts_with('[') && header)
            || next.split_once('=').is_some_and(|(key, _)| is_key(key.trim()))
        {
            break;
        }
        end += raw.len();
    }
    line.start..end
}

/// `key = value` with a mistake in it.
fn key_value(text: &str, line: Line<'_>, key: &str, value: &str, error: &Error, report: &mut Report) {
    let at = error.span().map_or(line.start, |span| span.start);
    let key_span = line.span_of(key);
    if error.message().contains("duplicate") && at >= key_span.end {
        let span = error.span().unwrap_or(key_span);
        let twice = shorten(text.get(span.clone()).unwrap_or_default());
        report
            .error(
                Code::Syntax,
                &span,
                format!("`{twice}` is set twice between the braces of `{}`", shorten(key)),
            )
            .label("the second time")
            .help("take one of them away");
        return;
    }
    if error.message().contains("duplicate") {
        let diagnostic = report.error(Code::Syntax, &key_span, format!("`{}` is set twice", shorten(key)));
        diagnostic.label("the second time");
        if let Some(first) = same_key_before(text, line, key) {
            diagnostic.related(&first, "the first time");
        }
        diagnostic.help("take one of them away");
        return;
    }
    if at < line.span_of(key).end && !key.is_empty() && !is_key(key) {
        report
            .error(Code::Syntax, &line.span_of(key), format!("`{}` is no key", shorten(key)))
            .label("letters, digits, `_` and `-` make a key")
            .note(format!("TOML: {}", error.message()));
        return;
    }
    if key.is_empty() {
        report
            .error(Code::Syntax, &line.span_of(line.text.trim()), "a value without a key")
            .label("a key is missing before the `=`");
        return;
    }
    let bare = uncommented(value);
    if bare.is_empty() {
        no_value(key, &key_span, report);
        return;
    }
    let fix = mended(bare);
    let whole = (bare.starts_with(['[', '{']) && parses(&fix)).then(|| format!("{key} = {fix}"));
    wrong_value(line, key, bare, whole.as_deref(), error, report);
}

fn no_value(key: &str, span: &Span, report: &mut Report) {
    report
        .error(Code::Syntax, span, format!("`{}` has no value", shorten(key)))
        .label("a value is missing behind the `=`");
}

/// A value that is not TOML. `whole`: what to write for all that it is a part of.
fn wrong_value(
    line: Line<'_>,
    key: &str,
    bare: &str,
    whole: Option<&str>,
    error: &Error,
    report: &mut Report,
) {
    if let Some(inside) = within(bare, '{', '}').or(bare.strip_prefix('{'))
        && wrong_entry(line, inside, whole, error, report)
    {
        return;
    }
    let key = shorten(key);
    let span = line.span_of(bare);
    if let Some(rest) = bare.strip_prefix('=') {
        let rest = rest.trim_start_matches(['=', ' ', '\t']);
        report
            .error(Code::Syntax, &(span.start..span.start + 1), "a `=` too many")
            .label("one is enough")
            .help(format!("write `{key} = {}`", mended(rest)));
        return;
    }
    let straight = bare.replace(['“', '”', '„', '‘', '’'], "\"");
    if straight != bare {
        report
            .error(Code::Syntax, &span, format!("the quotes of `{key}` are not straight ones"))
            .label("`\"` is expected")
            .help(format!("write `{key} = {straight}`"));
        return;
    }
    if let Some(quote) = bare.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inner = &bare[1..];
        if !inner.contains(quote) {
            report
                .error(Code::Syntax, &span, format!("the text of `{key}` does not end"))
                .label(format!("the closing `{quote}` is missing"))
                .help(format!("write `{key} = {quote}{}{quote}`", inner.trim_end()));
            return;
        }
        let diagnostic = report.error(Code::Syntax, &span, format!("the value of `{key}` is not TOML"));
        diagnostic.label(error.message());
        if inner.contains('\\') && quote == '"' {
            diagnostic.help("`\\` begins an escape here; write `\\\\`, or put the text in single quotes");
        } else if let Some(slashes) = bare.find("//")
            && parses(bare[..slashes].trim())
        {
            diagnostic.help("comments begin with `#`");
        }
        return;
    }
    if let Some(inside) = within(bare, '[', ']')
        && let Some(entries) = parts(inside).filter_map(|element| within(element, '{', '}')).find(is_wrong)
        && wrong_entry(line, entries, whole, error, report)
    {
        return;
    }
    if bare.starts_with(['[', '{']) {
        let what = if bare.starts_with('[') { "the list" } else { "the table" };
        let diagnostic = report.error(Code::Syntax, &span, format!("{what} of `{key}` is not TOML"));
        match whole {
            Some(whole) => {
                diagnostic.label("texts in a list stand in quotes, with commas between them");
                diagnostic.help(format!("write `{whole}`"));
            }
            None => {
                diagnostic.label(error.message());
            }
        }
        return;
    }
    if is_date(bare) {
        report
            .error(
                Code::Syntax,
                &span,
                format!("the date of `{key}` does not exist, or is not written as TOML takes it"),
            )
            .label(error.message())
            .help(format!("for example `{key} = 2036-12-31T23:59:59Z`"));
        return;
    }
    let fix = mended(bare);
    let diagnostic = report.error(Code::Syntax, &span, format!("the value of `{key}` is not TOML"));
    diagnostic.label(match fix.as_bytes() {
        [b'"', ..] => "text stands in quotes",
        [b't' | b'f', ..] => "`true` or `false` is expected",
        _ => "a number has no leading zeros",
    });
    diagnostic
        .help(whole.map_or_else(|| format!("write `{key} = {fix}`"), |whole| format!("write `{whole}`")));
}

/// Reports the first key of an inline table that has a mistake in it.
fn wrong_entry(
    line: Line<'_>,
    inside: &str,
    whole: Option<&str>,
    error: &Error,
    report: &mut Report,
) -> bool {
    if is_deep(inside) {
        return false;
    }
    let Some(part) = parts(inside).find(is_wrong) else { return false };
    match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some((_, value)) if let Some(next) = without_comma(value) => {
            let at = line.span_of(next).start;
            report
                .error(Code::Syntax, &(at..at), "a comma is missing between two keys in braces")
                .label("`,` is expected before this");
        }
        Some((key, "")) => no_value(key, &line.span_of(key), report),
        Some((key, value)) => wrong_value(line, key, value, whole, error, report),
        None => {
            let message = format!("`{}` is no key with a value", shorten(part));
            let diagnostic = report.error(Code::Syntax, &line.span_of(part), message);
            diagnostic.label("`key = value` is expected");
            if let Some(whole) = whole {
                diagnostic.help(format!("write `{whole}`"));
            }
        }
    }
    true
}

/// The next key behind a value, where no comma stands before it.
fn without_comma(value: &str) -> Option<&str> {
    let (first, next) = value.split_once(char::is_whitespace)?;
    let next = next.trim_start();
    (parses(first) && next.split_once('=').is_some_and(|(key, _)| is_key(key.trim()))).then_some(next)
}

/// Whether what stands between braces is no TOML.
fn is_wrong(inside: &&str) -> bool {
    !parses(&format!("{{{inside}}}"))
}

/// A line of a list that goes over several lines.
fn element(line: Line<'_>, content: &str, error: &Error, report: &mut Report) {
    let bare = uncommented(content);
    let span = line.span_of(bare);
    if error.message().contains("comma") {
        let at = error.span().map_or(span.start, |span| span.start);
        report
            .error(Code::Syntax, &(at..at), "a comma is missing between two values of a list")
            .label("`,` is expected before this");
        return;
    }
    let fix = list(bare.trim_end_matches(']'));
    let wrong = parts(bare).filter_map(|element| within(element, '{', '}')).find(is_wrong);
    if let Some(inside) = wrong {
        let whole = parses(&fix).then(|| fix[1..fix.len() - 1].to_owned());
        wrong_entry(line, inside, whole.as_deref(), error, report);
        return;
    }
    let diagnostic = report.error(Code::Syntax, &span, "a value of this list is not TOML");
    if parses(&fix) && !bare.is_empty() {
        diagnostic.label("texts in a list stand in quotes, with commas between them");
        diagnostic.help(format!("write `{}`", &fix[1..fix.len() - 1]));
    } else {
        diagnostic.label(error.message());
    }
}

/// Whether a place lies inside a list that began before it.
fn in_list(tree: &DeTable<'_>, at: usize) -> bool {
    let mut found = false;
    walk(tree, &mut |value, span| {
        // An array of tables with headers has the span of the first header, which is one line.
        found |= matches!(value, DeValue::Array(_)) && span.contains(&at) && span.start < at;
    });
    found
}

/// Whether a place lies inside an inline table that began before it.
fn in_braces(text: &str, tree: &DeTable<'_>, at: usize) -> bool {
    let mut last = None;
    walk(tree, &mut |value, span| {
        let written = text.get(span.clone()).unwrap_or_default();
        // What ends before the place may have been ended by a mistake.
        let holds = span.contains(&at) || !written.ends_with('}');
        if matches!(value, DeValue::Table(_)) && written.starts_with('{') && span.start < at && holds {
            last = last.max(Some(span.start));
        }
    });
    last.is_some_and(|open| closing(text, open).is_some_and(|end| end >= at))
}

/// The first bracket, brace or long quote that is never closed, and what would close it.
fn unclosed(text: &str, tree: &DeTable<'_>) -> Option<(usize, (&'static str, &'static str))> {
    let mut first: Option<(usize, (&'static str, &'static str))> = None;
    walk(tree, &mut |value, span| {
        // What begins its line is a table header.
        if Line::at(text, span.start).text.trim_start().len()
            == Line::at(text, span.start).range().end - span.start
        {
            return;
        }
        let written = text.get(span.clone()).unwrap_or_default();
        let pair = match value {
            DeValue::Array(_) if written.starts_with('[') && !written.ends_with(']') => ("[", "]"),
            DeValue::Table(_) if written.starts_with('{') && !written.ends_with('}') => ("{", "}"),
            DeValue::String(_) => {
                let long = ["\"\"\"", "'''"].into_iter().find(|quotes| written.starts_with(quotes));
                match long.filter(|quotes| written.len() < 6 || !written.ends_with(quotes)) {
                    Some(quotes) => (quotes, quotes),
                    None => return,
                }
            }
            _ => return,
        };
        if first.is_none_or(|(at, _)| span.start < at) {
            first = Some((span.start, pair));
        }
    });
    // A mistake between them ends what the parser sees of a pair that is closed.
    first.filter(|(open, (sign, _))| !matches!(*sign, "[" | "{") || closing(text, *open).is_none())
}

/// Visits every value of a tree.
fn walk(table: &DeTable<'_>, visit: &mut impl FnMut(&DeValue<'_>, Span)) {
    fn value(node: &toml::Spanned<DeValue<'_>>, visit: &mut dyn FnMut(&DeValue<'_>, Span)) {
        visit(node.get_ref(), node.span());
        match node.get_ref() {
            DeValue::Array(array) => array.iter().for_each(|element| value(element, visit)),
            DeValue::Table(table) => table.values().for_each(|inner| value(inner, visit)),
            _ => {}
        }
    }
    table.values().for_each(|inner| value(inner, visit));
}

/// Where the same key stands before this line, in the same table.
fn same_key_before(text: &str, line: Line<'_>, key: &str) -> Option<Span> {
    let section =
        headers(text).take_while(|header| header.start < line.start).last().map_or(0, |header| header.start);
    let mut start = section;
    for raw in text[section..line.start].split_inclusive('\n') {
        let earlier = Line { start, text: raw.trim_end_matches(['\n', '\r']) };
        if let Some((name, _)) = earlier.text.split_once('=')
            && name.trim() == key
        {
            return Some(earlier.span_of(name.trim()));
        }
        start += raw.len();
    }
    None
}
