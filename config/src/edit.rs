//! Changes to the text of a configuration that leave everything else as a person wrote it: comments, order, blanks.
//!
//! The result is checked by the very same [`parse`] as any file, so a change that makes no sense is refused with
//! errors that point at the lines of the text that it would have made.

use std::fmt;

use toml_edit::{Array, ArrayOfTables, Datetime, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::error::{Code, Diagnostic};
use crate::suggest::closest;
use crate::{Loaded, MAX_FILE, parse};

mod removal;

/// A forward to be written, in the words of the file; what they mean is checked afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewForward {
    /// Its name, not yet taken.
    pub name: String,
    /// `tcp`, `udp`.
    pub protocols: Vec<String>,
    /// External ports and runs of them: `80`, `10000-10010`.
    pub ports: Vec<String>,
    /// The inside machine: address or name, with or without a port.
    pub to: String,
    /// Only this external address.
    pub address: Option<String>,
    /// Only these sources; empty for everybody.
    pub from: Vec<String>,
    /// Whether it is open.
    pub enabled: bool,
    /// Closed from then on: a date and time with its offset.
    pub expires: Option<String>,
    /// It leaves the file once it has expired.
    pub temporary: bool,
    /// Log every new session.
    pub log: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Writes a `[[forward]]` behind the others.
    AddForward(NewForward),
    /// Takes a forward out, with the comment right above it.
    RemoveForward {
        /// Its name.
        name: String,
    },
    /// Sets `enabled`.
    EnableForward {
        /// Name of the forward.
        name: String,
        /// The value.
        enabled: bool,
    },
    /// Sets or takes away `expires`.
    ExpireForward {
        /// Name of the forward.
        name: String,
        /// A date and time with its offset; `None`: it stays open.
        expires: Option<String>,
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
    let mut edited = document.to_string();
    if text.contains("\r\n") {
        // New lines, and some old ones, come with a bare line feed.
        edited = edited.replace("\r\n", "\n").replace('\n', "\r\n");
    }
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
        Edit::AddForward(forward) => add(document, forward),
        Edit::RemoveForward { name } => {
            let index = position(document, name)?;
            removal::forward(document, index);
            Ok(())
        }
        Edit::EnableForward { name, enabled } => {
            let forward = forward_mut(document, name)?;
            if !*enabled || forward.contains_key("enabled") {
                set(forward, "enabled", Value::from(*enabled));
            }
            Ok(())
        }
        Edit::ExpireForward { name, expires } => {
            let forward = forward_mut(document, name)?;
            match expires {
                Some(text) => set(forward, "expires", moment(text)),
                None => {
                    forward.remove("expires");
                }
            }
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
            table.insert(key, Item::Value(value));
        }
    }
}

/// What is no date stays text, and the checks say what is wrong with it.
fn moment(text: &str) -> Value {
    match text.parse::<Datetime>() {
        Ok(datetime) => Value::from(datetime),
        Err(_) => Value::from(text),
    }
}

/// One value alone, several as a list.
fn one_or_many(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values.into_iter().collect::<Array>()),
    }
}

fn port(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text),
    }
}

fn add(document: &mut DocumentMut, forward: &NewForward) -> Result<(), EditError> {
    if position(document, &forward.name).is_ok() {
        return Err(EditError::Exists { name: forward.name.clone() });
    }
    let texts = |list: &[String]| list.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    let mut keys: Vec<(&str, Value)> = vec![
        ("name", Value::from(forward.name.as_str())),
        ("protocol", one_or_many(texts(&forward.protocols))),
        ("port", one_or_many(forward.ports.iter().map(|text| port(text)).collect())),
        ("to", Value::from(forward.to.as_str())),
    ];
    if let Some(address) = &forward.address {
        keys.push(("address", Value::from(address.as_str())));
    }
    if !forward.from.is_empty() {
        keys.push(("from", Value::Array(texts(&forward.from).into_iter().collect())));
    }
    if !forward.enabled {
        keys.push(("enabled", Value::from(false)));
    }
    if let Some(expires) = &forward.expires {
        keys.push(("expires", moment(expires)));
    }
    if forward.temporary {
        keys.push(("temporary", Value::from(true)));
    }
    if forward.log {
        keys.push(("log", Value::from(true)));
    }
    match document.entry("forward").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new())) {
        Item::ArrayOfTables(tables) => {
            let mut table = Table::new();
            for (key, value) in keys {
                table.insert(key, Item::Value(value));
            }
            tables.push(table);
        }
        Item::Value(Value::Array(array)) => array.push(keys.into_iter().collect::<InlineTable>()),
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
