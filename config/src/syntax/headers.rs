//! Table headers that are none, or that name a table that is there already.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::values::is_key;
use super::{Line, same_key_before};
use crate::error::{Code, Report, Span};
use crate::table::brackets;
use crate::value::shorten;

/// A table header that is none, or that is there twice.
pub(super) fn header(
    text: &str,
    tree: &DeTable<'_>,
    line: Line<'_>,
    content: &str,
    error: &Error,
    report: &mut Report,
) {
    let name = content.trim_start_matches('[');
    let name = name.split([']', '#', '=']).next().unwrap_or_default().trim();
    let span = line.span_of(content.split('#').next().unwrap_or(content).trim_end());
    if let Some((table, braces)) = above_in_braces(text, tree, line, name) {
        below_braces(name, table, &span, &braces, report);
        return;
    }
    if error.message().contains("duplicate") {
        let diagnostic = report.error(Code::Syntax, &span, format!("the table `{name}` is there twice"));
        diagnostic.label("the second time");
        let first = headers(text).find(|first| first.start < line.start && header_name(first.text) == name);
        let key = name.rsplit('.').next().unwrap_or(name);
        let first = first.map(|first| first.span_of(first.text.trim()));
        if let Some(first) = first.or_else(|| same_key_before(text, line, key)) {
            diagnostic.related(&first, "the first time");
        }
        diagnostic.help(match brackets(name).as_str() {
            both if both.starts_with("[[") => format!("write every one of them as `{both}`"),
            _ => "put the keys of both into one table".to_owned(),
        });
        return;
    }
    let diagnostic = report.error(Code::Syntax, &span, format!("`{}` is no table header", shorten(content)));
    diagnostic.label("a name in brackets, alone on its line, is expected");
    if is_key(name) {
        diagnostic.help(format!("write `{}`", brackets(name)));
    } else {
        diagnostic.note(format!("TOML: {}", error.message()));
    }
}

/// The table of a header, or one that it is below, that stands in braces already: its name and its place.
fn above_in_braces<'n>(
    text: &str,
    tree: &DeTable<'_>,
    line: Line<'_>,
    name: &'n str,
) -> Option<(&'n str, Span)> {
    let mut table = tree;
    let mut end = 0;
    for part in name.split('.') {
        end += part.len() + 1;
        let mut node = table.get(part.trim())?;
        if let DeValue::Array(array) = node.get_ref()
            && let Some(last) = array.iter().rfind(|element| element.span().start < line.start)
        {
            node = last;
        }
        if text.get(node.span())?.starts_with('{') {
            return Some((&name[..end - 1], node.span()));
        }
        table = node.get_ref().as_table()?;
    }
    None
}

fn below_braces(name: &str, table: &str, span: &Span, braces: &Span, report: &mut Report) {
    let diagnostic =
        report.error(Code::Syntax, span, format!("the table `{table}` is there already, in braces"));
    diagnostic.label("what it holds stands between the braces").related(braces, "here");
    match name.strip_prefix(table).map(|below| below.trim_start_matches('.')) {
        Some(key) if is_key(key) && !key.contains('.') => {
            let value = if brackets(name).starts_with("[[") { "[{ ... }]" } else { "{ ... }" };
            diagnostic.help(format!("add `{key} = {value}` between them, with the keys of this table"));
        }
        _ => {
            diagnostic.help("put the keys of this table between them");
        }
    }
    diagnostic.help(format!("or write that one as `{}` too, and its keys below it", brackets(table)));
}

/// Lines that look like headers.
pub(super) fn headers(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    text.split_inclusive('\n').filter_map(move |raw| {
        let line = Line { start, text: raw.trim_end_matches(['\n', '\r']) };
        start += raw.len();
        line.text.trim_start().starts_with('[').then_some(line)
    })
}

fn header_name(line: &str) -> &str {
    line.trim().trim_start_matches('[').split(']').next().unwrap_or_default().trim()
}

/// From a header to the next one.
pub(super) fn section(text: &str, line: Line<'_>) -> Range<usize> {
    let end = headers(text).find(|next| next.start > line.start).map_or(text.len(), |next| next.start);
    line.start..end
}
