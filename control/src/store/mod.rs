//! The configuration file together with the history of its texts, so that both tell the same after a crash at any
//! moment.
//!
//! `<state>/history/` holds a file for each of the last [`KEPT`] revisions, `12.toml`: a first line that says who, when
//! and what ([`Entry`]), then the text. The newest is the head; its text is the one in the configuration file, unless a
//! person has edited that since.
//!
//! A change goes in these steps, each of them on the disk before the next:
//!
//! 1. [`Store::stage`]: the new entry as `pending.toml`, and the new text beside the configuration file;
//! 2. the caller has the workers follow it;
//! 3. [`Store::commit`]: the configuration file is replaced, by a rename;
//! 4. `pending.toml` becomes `13.toml`, by a rename. Only now it is acknowledged.
//!
//! [`Store::open`] finds a crash between them by what is there: with `pending.toml` and its text in the configuration
//! file the change is completed; with `pending.toml` and another text it is forgotten. A head that still waits for its
//! confirmation is taken back. A configuration file with any other text was edited by hand, and becomes a revision.

mod entry;
mod recovery;

#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use self::entry::{About, Entry};
pub use self::recovery::Recovered;
use crate::atomic_file::{self, Staged};

/// Revisions that are kept.
pub const KEPT: usize = 50;

/// Permission bits of a history file: texts of configurations may name passwords one day.
const MODE: u32 = 0o600;

/// What goes wrong with the file and its history.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another router has the same state folder.
    #[error("{}: another router keeps its history there; give this one another state folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The history has no such revision.
    #[error("there is no revision {revision} in the history (it has {first} to {last})")]
    NotFound {
        /// The revision asked for.
        revision: u64,
        /// The oldest one.
        first: u64,
        /// The newest one.
        last: u64,
    },
    /// A file does not hold what was written there.
    #[error("{}: damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{}: {action}", path.display())]
    Io {
        /// The path concerned.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A change could not be written, nor what was there before be put back.
    #[error("{}: neither written nor put back; the next start of the router settles it", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Why it was not written.
        source: Box<StoreError>,
    },
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.to_owned(), action, source }
}

/// The configuration file and its history. One process has it.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    folder: PathBuf,
    /// Locked until the last duplicate of it is closed.
    lock: File,
    /// Oldest first; not empty once it is open.
    entries: Vec<Entry>,
    /// The head's.
    text: String,
    /// The highest revision that ever was, damaged ones included.
    highest: u64,
}

/// A change that is written but not in force.
#[derive(Debug)]
pub struct Pending {
    entry: Entry,
    text: String,
    /// Absent where the configuration file already has the text, or is left alone.
    staged: Option<Staged>,
}

/// What a change does to the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It gets the new text.
    File,
    /// It stays as it is: the text comes from there, or a person has edited it.
    HistoryOnly,
}

impl Store {
    /// What keeps others away: whoever has a duplicate of it may open the store, too, to go on with it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// The head's revision.
    pub fn revision(&self) -> u64 {
        self.entries.last().map_or(0, |head| head.revision)
    }

    /// The head's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All revisions, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The head, when it waits for its confirmation, and the revision to go back to.
    pub fn unconfirmed(&self) -> Option<(&Entry, u64)> {
        match &self.entries[..] {
            [.., before, head] if head.unconfirmed => Some((head, before.revision)),
            _ => None,
        }
    }

    /// The text of a revision.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn read(&self, revision: u64) -> Result<String, StoreError> {
        match (self.entries.first(), self.entries.last()) {
            (_, Some(head)) if head.revision == revision => Ok(self.text.clone()),
            (Some(first), Some(last)) if !self.entries.iter().any(|entry| entry.revision == revision) => {
                Err(StoreError::NotFound { revision, first: first.revision, last: last.revision })
            }
            _ => entry::read(&self.path(revision)).map(|(_, text)| text),
        }
    }

    /// Whether the configuration file has another text than the head: a person has edited it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_edited(&self) -> Result<bool, StoreError> {
        let read = || match std::fs::metadata(&self.file)?.is_file() {
            true => std::fs::read(&self.file),
            // Reading a pipe may never end.
            false => Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")),
        };
        let octets = read().map_err(io_error(&self.file, "cannot be read"))?;
        Ok(octets != self.text.as_bytes())
    }

    /// Writes a change down without a trace of it in the configuration file yet. Dropping it needs [`Store::abandon`].
    ///
    /// # Errors
    /// When it cannot be written; nothing has changed then.
    pub fn stage(&self, text: &str, about: About, target: Target) -> Result<Pending, StoreError> {
        let entry = Entry::new(self.highest + 1, text, about);
        let pending = self.pending_path();
        let staged = match target {
            Target::HistoryOnly => None,
            Target::File => {
                let stage = atomic_file::stage(&self.file, text.as_bytes(), mode_of(&self.file));
                Some(stage.map_err(io_error(&self.file, "cannot be written"))?)
            }
        };
        atomic_file::write(&pending, &entry.file(text), MODE)
            .map_err(io_error(&pending, "cannot be written"))?;
        Ok(Pending { entry, text: text.to_owned(), staged })
    }

    /// Forgets a staged change.
    pub fn abandon(&self, pending: Pending) {
        drop(pending);
        // What stays is recognised at the next start: its text is not the configuration file's.
        if let Err(error) = atomic_file::remove_file(&self.pending_path()) {
            tracing::warn!(%error, "a change that was given up could not be removed from the history folder");
        }
    }

    /// Makes a staged change the head and puts its text in place; returns its revision.
    ///
    /// # Errors
    /// When that fails. The old text is in place then, unless it is [`StoreError::Torn`].
    pub fn commit(&mut self, pending: Pending) -> Result<u64, StoreError> {
        let Pending { entry, text, staged } = pending;
        let (from, to) = (self.pending_path(), self.path(entry.revision));
        let touched = staged.is_some();
        let written =
            staged.map_or(Ok(()), Staged::commit).map_err(io_error(&self.file, "cannot be written"));
        let recorded = written
            .and_then(|()| atomic_file::rename(&from, &to).map_err(io_error(&to, "cannot be put in place")));
        if let Err(error) = recorded {
            return Err(self.take_back(&to, touched, error));
        }
        let revision = entry.revision;
        self.highest = revision;
        self.entries.push(entry);
        self.text = text;
        self.forget_old();
        Ok(revision)
    }

    /// The failed half of a commit undone.
    fn take_back(&self, entry: &Path, touched: bool, error: StoreError) -> StoreError {
        let back = || {
            atomic_file::remove_file(&self.pending_path())?;
            atomic_file::remove_file(entry)?;
            if touched {
                atomic_file::write(&self.file, self.text.as_bytes(), mode_of(&self.file))?;
            }
            Ok::<(), io::Error>(())
        };
        match back() {
            Ok(()) => error,
            Err(_) => StoreError::Torn { path: self.file.clone(), source: Box::new(error) },
        }
    }

    /// The head stays, whatever happens: it no longer waits for its confirmation.
    ///
    /// # Errors
    /// When that cannot be written; it still waits then.
    pub fn confirm(&mut self) -> Result<(), StoreError> {
        let Some(head) = self.entries.last() else { return Ok(()) };
        let confirmed = Entry { unconfirmed: false, ..head.clone() };
        let path = self.path(confirmed.revision);
        atomic_file::write(&path, &confirmed.file(&self.text), MODE)
            .map_err(io_error(&path, "cannot be written"))?;
        if let Some(head) = self.entries.last_mut() {
            *head = confirmed;
        }
        Ok(())
    }

    fn forget_old(&mut self) {
        let many = self.entries.len().saturating_sub(KEPT);
        for entry in self.entries.drain(..many).collect::<Vec<_>>() {
            // A file too many does no harm, and goes at the next start.
            let _ = std::fs::remove_file(self.path(entry.revision));
        }
    }

    fn path(&self, revision: u64) -> PathBuf {
        self.folder.join(format!("{revision}.toml"))
    }

    fn pending_path(&self) -> PathBuf {
        self.folder.join("pending.toml")
    }
}

fn mode_of(file: &Path) -> u32 {
    std::fs::metadata(file).map_or(MODE, |found| found.permissions().mode() & 0o7777)
}

fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(io_error(folder, "cannot be made"))
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&path);
    let file = file.map_err(io_error(&path, "cannot be opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(&path, "cannot be locked")(error)),
    }
}

/// Not there is no error.
fn optional<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
