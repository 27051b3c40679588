//! Answers about the history.

use genkan_control::api::{DiffQuery, ErrorBody, History, HistoryDiff, HistoryRow, Unconfirmed};
use genkan_control::store::Entry;
use genkan_control::text_diff;

use super::super::event_loop::Daemon;
use super::propose::unread;

impl Daemon {
    /// The last revisions, newest first.
    pub(super) fn history(&self) -> Result<History, ErrorBody> {
        let revision = self.store.revision();
        let row = |entry: &Entry| HistoryRow {
            revision: entry.revision,
            time: entry.time,
            uid: entry.uid,
            pid: entry.pid,
            what: entry.what.clone(),
        };
        let unconfirmed = self.waiting.as_ref().map(|waiting| Unconfirmed {
            revision,
            back_to: waiting.back_to,
            seconds_left: waiting.seconds_left(),
        });
        // What cannot be read is not as we wrote it, either.
        let edited = self.store.is_edited().unwrap_or(true);
        let entries = self.store.entries().iter().rev().map(row).collect();
        Ok(History { revision, unconfirmed, edited, entries })
    }

    /// What is different between two revisions.
    pub(super) fn history_diff(&self, query: DiffQuery) -> Result<HistoryDiff, ErrorBody> {
        let (from, to) = (query.from, query.to.unwrap_or(self.store.revision()));
        let read = |revision| self.store.read(revision).map_err(|error| unread(&error));
        let (old, new) = (read(from)?, read(to)?);
        let parse = |text: &str| genkan_config::parse(text, "");
        let changes = match (parse(&old), parse(&new)) {
            (Ok(old), Ok(new)) => {
                genkan_config::diff(&old, &new).changes.iter().map(ToString::to_string).collect()
            }
            // One of them is of a version that had other keys; the lines tell it.
            _ => Vec::new(),
        };
        let name = |revision| format!("revision {revision}");
        // The line of a changed password is there, and none of its values.
        let text = text_diff::unified(&old, &new, &name(from), &name(to), genkan_config::secrets::hidden);
        Ok(HistoryDiff { from, to, changes, text })
    }
}
