//! Changes to the text of a configuration that leave everything else as a person wrote it: comments, order, blanks.
//!
//! The result is checked by the very same [`parse`] as any file, so a change that makes no sense is refused with
//! errors that point at the lines of the text that it would have made.

use std::fmt;

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::error::{Code, Diagnostic};
use crate::suggest::closest;
use crate::{Loaded, MAX_FILE, parse};

mod forward_keys;
mod line_ends;
mod list;
mod removal;

pub use forward_keys::ForwardKeys;
use forward_keys::Setting;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Writes a `[[forward]]` behind the others.
    AddForward {
        /// Its name, not yet taken.
        name: String,
        /// What it says.
        keys: ForwardKeys,
    },
    /// Gives keys of a forward other values.
    ChangeForward {
        /// Its name.
        name: String,
        /// What they are to say.
        keys: ForwardKeys,
    },
    /// Takes a forward out, with the comment right above it.
    RemoveForward {
        /// Its name.
        name: String,
    },
    /// Sets `to` of `[dmz]`, which is written if it is not there.
    SetDmz {
        /// The machine: address or name.
        to: String,
    },
    /// Takes `[dmz]` out. No error when there is none.
    ClearDmz,
    /// Takes out forwards whose time is over. Names that are gone already are no error.
    RemoveExpired {
        /// Their names.
        names: Vec<String>,
    },
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is no such forward.
    NotFound {
        /// The name asked for.
        name: String,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// The name is taken.
    Exists {
        /// The name.
        name: String,
    },
    /// The text that would come out is no good configuration; the mistakes point into it.
    Refused(Vec<Diagnostic>),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::NotFound { name, suggestion: None } => {
                write!(f, "there is no forward called `{name}` (`genkan forward list` shows them)")
            }
            EditError::NotFound { name, suggestion: Some(guess) } => {
                write!(f, "there is no forward called `{name}`; did you mean `{guess}`?")
            }
            EditError::Exists { name } => write!(f, "there is already a forward called `{name}`"),
            EditError::Refused(diagnostics) => f.write_str(&crate::render(diagnostics, false)),
        }
    }
}

impl std::error::Error for EditError {}

/// Makes a change in the text of a configuration, which messages call `name`. Returns the checked result; its text is
/// `places.file`.
///
/// # Errors
/// [`EditError`].
pub fn edit(text: &str, name: &str, edit: &Edit) -> Result<Loaded, EditError> {
    let mut document: DocumentMut = match text.parse() {
        Ok(document) => document,
        // Not TOML: the checks say it better.
        Err(_) => return Err(refused(text, name)),
    };
    apply(&mut document, edit)?;
    let edited = line_ends::as_before(text, document.to_string());
    let loaded = parse(&edited, name).map_err(EditError::Refused)?;
    if edited.len() as u64 > MAX_FILE {
        let mut report = crate::error::Report::new(loaded.places.file);
        report.whole_file(Code::Unreadable, "the file would become longer than 4 MiB");
        return Err(EditError::Refused(report.into_sorted(crate::Severity::Error)));
    }
    Ok(loaded)
}

fn refused(text: &str, name: &str) -> EditError {
    EditError::Refused(parse(text, name).err().unwrap_or_default())
}

fn apply(document: &mut DocumentMut, edit: &Edit) -> Result<(), EditError> {
    match edit {
        Edit::AddForward { name, keys } => add(document, name, keys),
        Edit::ChangeForward { name, keys } => {
            let forward = forward_mut(document, name)?;
            for (key, setting) in keys.settings() {
                match setting {
                    Setting::Default(_) if !forward.contains_key(key) => {}
                    Setting::To(value) | Setting::Default(value) => set(forward, key, value),
                    Setting::Away => {
                        forward.remove(key);
                    }
                }
            }
            Ok(())
        }
        Edit::RemoveForward { name } => {
            let index = position(document, name)?;
            removal::forward(document, index);
            Ok(())
        }
        Edit::SetDmz { to } => {
            set_dmz(document, to);
            Ok(())
        }
        Edit::ClearDmz => {
            removal::dmz(document);
            Ok(())
        }
        Edit::RemoveExpired { names } => {
            for name in names {
                if let Ok(index) = position(document, name) {
                    removal::forward(document, index);
                }
            }
            Ok(())
        }
    }
}

/// All forwards, whether written as tables or as a list of inline tables.
fn forwards(document: &DocumentMut) -> Vec<&dyn TableLike> {
    match document.get("forward") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| table as &dyn TableLike).collect(),
        Some(Item::Value(Value::Array(array))) => {
            let tables = array.iter().filter_map(Value::as_inline_table);
            tables.map(|table| table as &dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

fn name_of<'t>(forward: &&'t dyn TableLike) -> Option<&'t str> {
    forward.get("name").and_then(Item::as_str)
}

fn position(document: &DocumentMut, name: &str) -> Result<usize, EditError> {
    let forwards = forwards(document);
    let names: Vec<&str> = forwards.iter().map(|forward| name_of(forward).unwrap_or_default()).collect();
    names.iter().position(|known| *known == name).ok_or_else(|| EditError::NotFound {
        name: name.to_owned(),
        suggestion: closest(name, names.iter().copied()).map(str::to_owned),
    })
}

fn forward_mut<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut dyn TableLike, EditError> {
    let index = position(document, name)?;
    let not_found = || EditError::NotFound { name: name.to_owned(), suggestion: None };
    match document.get_mut("forward") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.get_mut(index).map(|table| table as &mut dyn TableLike).ok_or_else(not_found)
        }
        Some(Item::Value(Value::Array(array))) => array
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .nth(index)
            .map(|table| table as &mut dyn TableLike)
            .ok_or_else(not_found),
        _ => Err(not_found()),
    }
}

/// Gives a key a value. The comment behind the old one stays.
fn set(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            let blanks = take_blanks(table);
            table.insert(key, Item::Value(value));
            if let Some(blanks) = blanks
                && let Some(new) = table.get_mut(key).and_then(Item::as_value_mut)
            {
                new.decor_mut().set_suffix(blanks);
            }
        }
    }
}

/// Takes away the blanks between the last value of an inline table and its brace.
fn take_blanks(table: &mut dyn TableLike) -> Option<String> {
    let (_, last) = table.iter_mut().last()?;
    let decor = last.as_value_mut()?.decor_mut();
    let blanks =
        decor.suffix()?.as_str().filter(|text| !text.is_empty() && text.trim().is_empty())?.to_owned();
    decor.set_suffix("");
    Some(blanks)
}

fn add(document: &mut DocumentMut, name: &str, keys: &ForwardKeys) -> Result<(), EditError> {
    if position(document, name).is_ok() {
        return Err(EditError::Exists { name: name.to_owned() });
    }
    let written = |(key, setting)| match setting {
        Setting::To(value) => Some((key, value)),
        Setting::Default(_) | Setting::Away => None,
    };
    let keys =
        [("name", Value::from(name))].into_iter().chain(keys.settings().into_iter().filter_map(written));
    match document.entry("forward").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new())) {
        Item::ArrayOfTables(tables) => {
            let mut table = Table::new();
            for (key, value) in keys {
                table.insert(key, Item::Value(value));
            }
            tables.push(table);
        }
        Item::Value(Value::Array(array)) => list::push(array, keys.collect::<InlineTable>()),
        // Of another type: the checks have refused such a file.
        _ => {}
    }
    Ok(())
}

fn set_dmz(document: &mut DocumentMut, to: &str) {
    let dmz = document.entry("dmz").or_insert_with(|| Item::Table(Table::new()));
    if let Some(table) = dmz.as_table_like_mut() {
        set(table, "to", Value::from(to));
    }
}
