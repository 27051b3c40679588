//! The folder of what outlives the process, and what takes its place where nothing can be written there.
//!
//! A disk that was damaged comes back read-only, and a log has filled another: the household behind the router is to be
//! online all the same. What cannot be kept over a reboot is kept beside the control socket then, in memory on most
//! machines, and `genkan status` says so.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

/// Name of the folder that takes its place.
const INSTEAD: &str = "state-until-reboot";

/// What a start writes at once is below this: a configuration of some hundred forwards.
const ROOM: usize = 64 << 10;

/// Where this run keeps what is to outlive it.
#[derive(Debug)]
pub(super) struct StateFolder {
    pub(super) path: PathBuf,
    /// Why that is not where it should be.
    pub(super) problem: Option<String>,
}

impl StateFolder {
    /// The folder of the configuration, or that of systemd; where it takes nothing, one beside the control socket with a
    /// copy of what it holds.
    pub(super) fn choose(configured: &Path, socket: &Path) -> StateFolder {
        let given = std::env::var("STATE_DIRECTORY").ok();
        let first = given.as_deref().and_then(|list| list.split(':').find(|path| !path.is_empty()));
        StateFolder::of(first.map_or(configured, Path::new), &socket.with_file_name(INSTEAD))
    }

    fn of(wanted: &Path, instead: &Path) -> StateFolder {
        let kept = |path: &Path, problem| StateFolder { path: path.to_owned(), problem };
        let error = match try_out(wanted) {
            Err(error) if is_of_the_disk(&error) => error,
            // What else is wrong is for somebody to set right, and is told by who needs it.
            _ => return kept(wanted, None),
        };
        if let Err(error) = try_out(instead).and_then(|()| copy(wanted, instead)) {
            warn!(folder = %instead.display(), %error, "cannot take the place of the state folder");
            return kept(wanted, None);
        }
        let problem = format!(
            "{}: {error}: what is to survive lies in {} and is lost with a reboot",
            wanted.display(),
            instead.display()
        );
        warn!("{problem}");
        kept(instead, Some(problem))
    }
}

fn is_of_the_disk(error: &io::Error) -> bool {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

/// Whether a start has room for what it writes.
fn try_out(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("trial");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(&[0; ROOM]));
    // One that could not be made is not there.
    let _ = fs::remove_file(&path);
    written
}

/// Copies the files of a folder and of those in it. What is there already is newer: it stays. What cannot be read is lost.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                DirBuilder::new().recursive(true).mode(0o700).create(&new)?;
                copy(&old, &new)?;
            }
            Ok(kind) if kind.is_file() && !new.exists() => {
                if let Err(error) = fs::copy(&old, &new) {
                    warn!(file = %old.display(), %error, "cannot be copied");
                    let _ = fs::remove_file(&new);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-state-folder-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        path
    }

    #[test]
    fn a_folder_that_takes_something_is_the_one() {
        let folder = scratch("good");
        let chosen = StateFolder::of(&folder.join("state"), &folder.join("instead"));
        assert!(chosen.path.ends_with("state") && chosen.problem.is_none(), "{chosen:?}");
        assert_eq!(fs::read_dir(&chosen.path).expect("it is made").count(), 0, "no trace of the trial");
        assert!(!folder.join("instead").exists());
        // A file in its place is somebody's mistake.
        let chosen = StateFolder::of(Path::new("/proc/version"), &folder.join("instead"));
        assert!(chosen.path == Path::new("/proc/version") && chosen.problem.is_none(), "{chosen:?}");
        fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn what_is_newer_stays() {
        let folder = scratch("copy");
        let (from, to) = (folder.join("from"), folder.join("to"));
        for (path, text) in [("from/clock", "old"), ("from/history/1.toml", "one"), ("to/clock", "new")] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, text).expect("written");
        }
        copy(&from, &to).expect("there is room");
        assert_eq!(fs::read_to_string(to.join("clock")).expect("there"), "new");
        assert_eq!(fs::read_to_string(to.join("history/1.toml")).expect("there"), "one");
        fs::remove_dir_all(folder).expect("cleaned");
    }
}
