//! One revision in the history, and how its file looks: `# genkan {...}` and the text.
//!
//! A history file is itself a configuration: copied over the configuration file it works, without this program's help.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, io_error};

/// Begins the first line.
const MARK: &str = "# genkan ";

/// Who changed what, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Seconds since 1970.
    pub time: i64,
    /// User who asked for it; nobody did what the router does by itself.
    pub uid: Option<u32>,
    /// Process that asked for it.
    pub pid: Option<i32>,
    /// One line.
    pub what: String,
    /// It is taken back unless it is confirmed.
    pub unconfirmed: bool,
}

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; they only ever go up.
    pub revision: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// User who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Process that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was done, in one line.
    pub what: String,
    /// It is taken back unless it is confirmed.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Length of the text.
    pub(super) octets: usize,
}

impl Entry {
    pub(super) fn new(revision: u64, text: &str, about: About) -> Entry {
        let About { time, uid, pid, what, unconfirmed } = about;
        Entry { revision, time, uid, pid, what, unconfirmed, octets: text.len() }
    }

    /// The whole file.
    pub(super) fn file(&self, text: &str) -> Vec<u8> {
        // Numbers and strings always become JSON; a line end in a string becomes `\n`.
        let head = serde_json::to_string(self).unwrap_or_default();
        format!("{MARK}{head}\n{text}").into_bytes()
    }
}

/// Reads a history file.
pub(super) fn read(path: &Path) -> Result<(Entry, String), StoreError> {
    let octets = std::fs::read(path).map_err(io_error(path, "cannot be read"))?;
    let damaged = || StoreError::Damaged { path: path.to_owned() };
    let mut text = String::from_utf8(octets).map_err(|_| damaged())?;
    let end = text.find('\n').ok_or_else(damaged)?;
    let head = text[..end].strip_prefix(MARK).ok_or_else(damaged)?;
    let entry: Entry = serde_json::from_str(head).map_err(|_| damaged())?;
    text.drain(..=end);
    if text.len() == entry.octets { Ok((entry, text)) } else { Err(damaged()) }
}
