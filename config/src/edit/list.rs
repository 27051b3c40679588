//! Forwards in a list of inline tables, often one to a line, with comments above and behind.
//!
//! To the TOML tree, what stands between two values belongs to the latter of them. To people, what stands on the line of
//! the former is about that.

use toml_edit::{Array, InlineTable, RawString, Value};

/// Puts a table behind the others, on a line of its own where they have theirs.
pub(super) fn push(array: &mut Array, table: InlineTable) {
    let before = array.iter().last().map(above).unwrap_or_default();
    let Some((_, lines)) = before.rsplit_once('\n') else { return array.push(table) };
    let indent = lines.to_owned();
    let after = text(Some(array.trailing()));
    let (behind, rest) = split(&after);
    let mut value = Value::from(table);
    value.decor_mut().set_prefix(format!("{behind}\n{indent}"));
    array.set_trailing(if rest.is_empty() { "\n" } else { rest });
    array.push_formatted(value);
}

/// Takes a value out with the comments above it and behind it.
pub(super) fn remove(array: &mut Array, place: usize) {
    let above_it = above(&array.remove(place));
    // About the value before.
    let (kept, own) = split(&above_it);
    let after = match array.get(place) {
        Some(next) => above(next),
        None => text(Some(array.trailing())),
    };
    let (_, rest) = split(&after);
    let is_last = place == array.len();
    let between = match (rest.is_empty(), own.is_empty()) {
        (false, _) => format!("{kept}{rest}"),
        // The list ends on the line of its last value.
        (true, _) if is_last && kept.trim().is_empty() => after.clone(),
        (true, _) if is_last => format!("{kept}\n"),
        // All on one line.
        (true, true) => kept.to_owned(),
        (true, false) => format!("{kept}\n{}", own.rsplit('\n').next().unwrap_or_default()),
    };
    match array.get_mut(place) {
        Some(next) => next.decor_mut().set_prefix(between),
        None => array.set_trailing(between),
    }
}

fn above(value: &Value) -> String {
    text(value.decor().prefix())
}

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

/// What stands on the line of the value before, and all from its line end on.
fn split(between: &str) -> (&str, &str) {
    between.split_at(between.find('\n').unwrap_or(between.len()))
}
