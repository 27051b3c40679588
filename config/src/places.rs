//! Where the parts of a configuration are written, for messages that name the line that decided something.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::error::{Position, SourceFile, Span};

/// The text of a configuration without errors, and where in it things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The file.
    pub file: Arc<SourceFile>,
}

impl Places {
    /// Where the value of a key is: `key` of the table `[table]`, or of the `index`-th (from 0) `[[table]]`. Where the
    /// file leaves the key out, the table; where it leaves the table out, nothing. Reads the text again: for messages,
    /// not for every packet.
    pub fn key(&self, table: &str, index: usize, key: &str) -> Option<Span> {
        let tree = DeTable::parse(self.file.text()).ok()?;
        let found = tree.get_ref().get(table)?;
        let found = match found.get_ref() {
            DeValue::Array(tables) => tables.get(index)?,
            _ => found,
        };
        match found.get_ref() {
            DeValue::Table(keys) => Some(keys.get(key).map_or(found.span(), |value| value.span())),
            _ => None,
        }
    }

    /// Line and column of a span's start.
    pub fn position(&self, span: &Span) -> Position {
        self.file.position(span.start)
    }
}
