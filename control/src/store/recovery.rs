//! What a start finds, and makes of it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{About, Entry, KEPT, Store, StoreError, Target, entry, io_error, lock, make_folder, optional};
use crate::atomic_file;

/// Ending of the name of what was set aside.
const DAMAGED: &str = "damaged";

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The router had ended within a change, whose text was in place already: it is complete.
    pub completed: Option<u64>,
    /// The router had ended within a change that was not in place yet: it is as if it had not been.
    pub undone: Option<u64>,
    /// This revision was never confirmed; the text of the one before it is in place again.
    pub reverted: Option<u64>,
    /// The configuration file had another text than the head: this is its revision.
    pub edited: Option<u64>,
    /// Files that do not hold what was written there, with their new names.
    pub damaged: Vec<PathBuf>,
}

impl Store {
    /// Opens the history in the state folder and settles what the last run left.
    ///
    /// `text` is what `file` holds and has been checked; `accepted` says whether an older text still is a good
    /// configuration. Afterwards [`Store::text`] is what `file` holds.
    ///
    /// # Errors
    /// When the folder is another router's, or cannot be written.
    pub fn open(
        file: &Path,
        state: &Path,
        text: &str,
        time: i64,
        accepted: impl Fn(&str) -> bool,
    ) -> Result<(Store, Recovered), StoreError> {
        Store::open_shared(None, file, state, text, time, accepted)
    }

    /// As [`Store::open`], where another process that has the store lets us go on with it: by a duplicate of its
    /// [`Store::descriptor`]. Nothing is written if it has left all in order and `text` is what it has.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_shared(
        shared: Option<OwnedFd>,
        file: &Path,
        state: &Path,
        text: &str,
        time: i64,
        accepted: impl Fn(&str) -> bool,
    ) -> Result<(Store, Recovered), StoreError> {
        let folder = state.join("history");
        make_folder(&folder)?;
        let lock = shared.map_or_else(|| lock(&folder), |shared| Ok(shared.into()))?;
        let file = file.to_owned();
        let mut store = Store { file, folder, lock, entries: Vec::new(), text: String::new(), highest: 0 };
        let mut found = Recovered::default();
        store.read_entries(&mut found)?;
        store.settle_pending(text, &mut found)?;
        if let Some(head) = store.entries.last() {
            store.text = entry::read(&store.path(head.revision))?.1;
        }
        if store.entries.is_empty() || store.text != text {
            let first = store.entries.is_empty();
            let what = if first { "the first start" } else { "edited by hand, read at a start" };
            let about = About { time, what: what.to_owned(), ..About::default() };
            let pending = store.stage(text, about, Target::HistoryOnly)?;
            let revision = store.commit(pending)?;
            found.edited = (!first).then_some(revision);
        } else if let Some((head, before)) = store.unconfirmed() {
            let unconfirmed = head.revision;
            let what = format!("back to {before}: the router ended before {unconfirmed} was confirmed");
            match store.read(before) {
                Ok(old) if accepted(&old) => {
                    let about = About { time, what, ..About::default() };
                    let pending = store.stage(&old, about, Target::File)?;
                    store.commit(pending)?;
                    found.reverted = Some(unconfirmed);
                }
                // Better the text that is there than none.
                _ => store.confirm()?,
            }
        }
        Ok((store, found))
    }

    /// Fills `entries`. What cannot be read is set aside.
    fn read_entries(&mut self, found: &mut Recovered) -> Result<(), StoreError> {
        let unreadable = || io_error(&self.folder, "cannot be read");
        let mut revisions = Vec::new();
        for file in std::fs::read_dir(&self.folder).map_err(unreadable())? {
            let name = file.map_err(unreadable())?.file_name();
            let Some((number, kind)) = name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
            let Some(revision) = revision(number) else { continue };
            match kind {
                "toml" => revisions.push(revision),
                DAMAGED => {}
                _ => continue,
            }
            // A number that was set aside is not given out again.
            self.highest = self.highest.max(revision);
        }
        revisions.sort_unstable();
        let surplus = revisions.len().saturating_sub(KEPT);
        for revision in revisions.drain(..surplus) {
            // Left by a crash in the midst of forgetting.
            let _ = std::fs::remove_file(self.path(revision));
        }
        for revision in revisions {
            let path = self.path(revision);
            match entry::read(&path) {
                Ok((entry, _)) if entry.revision == revision => self.entries.push(entry),
                // Damaged, on a bad block, no file at all: what is in force lies elsewhere, so it is no reason not to start.
                _ => found.damaged.push(set_aside(&path)?),
            }
        }
        Ok(())
    }

    /// Completes or forgets a change that the last run was within.
    fn settle_pending(&mut self, text: &str, found: &mut Recovered) -> Result<(), StoreError> {
        let path = self.pending_path();
        let pending = match optional(entry::read(&path)) {
            Ok(None) => return Ok(()),
            Ok(Some(pending)) => Some(pending),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        match pending {
            Some((entry, new)) if new == text && entry.revision > self.highest => {
                let to = self.path(entry.revision);
                atomic_file::rename(&path, &to).map_err(io_error(&to, "cannot be put in place"))?;
                found.completed = Some(entry.revision);
                self.highest = entry.revision;
                self.entries.push(entry);
                self.forget_old();
            }
            other => {
                atomic_file::remove_file(&path).map_err(io_error(&path, "cannot be removed"))?;
                found.undone = other.map(|(Entry { revision, .. }, _)| revision);
            }
        }
        Ok(())
    }
}

/// The revision that a file is named after, if this program has named it: not `007` or `+7`, and no number that nobody ever
/// reaches.
fn revision(name: &str) -> Option<u64> {
    let number: u32 = name.parse().ok()?;
    (number.to_string() == name).then_some(number.into())
}

fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let to = path.with_extension(DAMAGED);
    std::fs::rename(path, &to).map_err(io_error(path, "is damaged and cannot be set aside"))?;
    Ok(to)
}
