//! How names outside stand.

use super::Snapshot;
use crate::api::DdnsRow;

impl Snapshot {
    /// Replaces what is known about the names of an entry, which `entry` tells from others; an empty list forgets it.
    pub fn set_ddns(&self, entry: &str, rows: Vec<DdnsRow>) {
        if rows.is_empty() {
            self.ddns.remove(entry);
        } else {
            self.ddns.insert(entry.to_owned(), rows);
        }
    }

    /// All names outside that follow the wan address, in alphabetical order.
    pub fn ddns(&self) -> Vec<DdnsRow> {
        let mut rows: Vec<DdnsRow> = self.ddns.iter().flat_map(|entry| entry.value().clone()).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}
