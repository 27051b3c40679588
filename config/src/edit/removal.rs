//! Taking tables out without taking out comments that are about something else.
//!
//! To the TOML tree, all comments above a header belong to that table. To people, only those right above it do; what
//! stands before a blank line is the heading of a section. So is what stands above the first of several.

use toml_edit::visit_mut::{VisitMut, visit_table_mut};
use toml_edit::{Decor, DocumentMut, Item, RawString, Table, Value};

use super::list;

/// Takes a `[[forward]]` out.
pub(super) fn forward(document: &mut DocumentMut, index: usize) {
    match document.get_mut("forward") {
        Some(Item::ArrayOfTables(tables)) => {
            let heading = index == 0 && tables.len() > 1;
            let table = tables.remove(index);
            if tables.is_empty() {
                document.remove("forward");
            }
            keep_comments(document, &table, heading);
        }
        Some(Item::Value(Value::Array(array))) => {
            let place = |(place, value): (usize, &Value)| value.is_inline_table().then_some(place);
            let found = array.iter().enumerate().filter_map(place).nth(index);
            if let Some(place) = found {
                list::remove(array, place);
            }
        }
        _ => {}
    }
}

/// Takes `[dmz]` out. Comments above it stay: where there is only one, they explain what it is.
pub(super) fn dmz(document: &mut DocumentMut) {
    if let Some(Item::Table(table)) = document.remove("dmz") {
        keep_comments(document, &table, true);
    }
}

/// Puts the comments above a table that was taken out above what follows it.
fn keep_comments(document: &mut DocumentMut, table: &Table, all: bool) {
    let text = prefix(table.decor());
    let kept = if all { text } else { &text[..heading_end(text)] };
    if kept.trim().is_empty() {
        return;
    }
    let mut next = Next { after: table.position(), found: None };
    next.visit_document_mut(document);
    match next.found {
        Some(position) => Put { position, text: kept }.visit_document_mut(document),
        None => {
            let trailing = format!("{kept}{}", document.trailing().as_str().unwrap_or_default());
            document.set_trailing(trailing);
        }
    }
}

fn prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(RawString::as_str).unwrap_or_default()
}

/// Where the last blank line of the comments above a header ends.
fn heading_end(text: &str) -> usize {
    let (mut end, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim().is_empty() {
            end = at;
        }
    }
    end
}

/// Looks for the first table behind a place.
struct Next {
    after: Option<isize>,
    found: Option<isize>,
}

impl VisitMut for Next {
    fn visit_table_mut(&mut self, table: &mut Table) {
        let later = table.position().filter(|position| Some(*position) > self.after);
        self.found = match (self.found, later) {
            (Some(found), Some(later)) => Some(found.min(later)),
            (found, later) => found.or(later),
        };
        visit_table_mut(self, table);
    }
}

/// Puts text above the header of the table at a place.
struct Put<'t> {
    position: isize,
    text: &'t str,
}

impl VisitMut for Put<'_> {
    fn visit_table_mut(&mut self, table: &mut Table) {
        if table.position() == Some(self.position) && !table.is_dotted() {
            let text = format!("{}{}", self.text, prefix(table.decor()));
            table.decor_mut().set_prefix(text);
        }
        visit_table_mut(self, table);
    }
}
