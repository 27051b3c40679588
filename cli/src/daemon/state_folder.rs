//! The folder of what outlives the process, and what takes its place where nothing can be written there.
//!
//! A disk that was damaged comes back read-only, and a log has filled another: the household behind the router is to be
//! online all the same. What cannot be kept over a reboot is kept beside the control socket then, in memory on most
//! machines, and `genkan status` says so.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use genkan_control::atomic_file;
use tracing::{info, warn};

/// Name of the folder that takes its place. While it is there, what it holds is newer than what the state folder holds: it
/// comes at once, with a copy, and goes at once, when everything was brought back.
const INSTEAD: &str = "state-until-reboot";

/// What of it is not whole yet, or not needed any more.
const PART: &str = "part";

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
    /// copy of what it holds. Who takes over from another program stays where that is still writing.
    pub(super) fn choose(configured: &Path, socket: &Path, takes_over: bool) -> StateFolder {
        let given = std::env::var("STATE_DIRECTORY").ok();
        let first = given.as_deref().and_then(|list| list.split(':').find(|path| !path.is_empty()));
        StateFolder::of(first.map_or(configured, Path::new), &socket.with_file_name(INSTEAD), takes_over)
    }

    fn of(wanted: &Path, instead: &Path, takes_over: bool) -> StateFolder {
        let there = || StateFolder { path: wanted.to_owned(), problem: None };
        let aside = |error: &str| {
            let problem = format!(
                "{}: {error}: what is to survive lies in {} and is lost with a reboot",
                wanted.display(),
                instead.display()
            );
            warn!("{problem}");
            StateFolder { path: instead.to_owned(), problem: Some(problem) }
        };
        let is_aside = instead.exists();
        if takes_over {
            return if is_aside { aside("it took nothing at the start") } else { there() };
        }
        if is_aside {
            let back = try_out(wanted).and_then(|()| come_back(instead, wanted));
            return back.map_or_else(|error| aside(&error.to_string()), |()| there());
        }
        let error = match try_out(wanted) {
            Err(error) if is_of_the_disk(&error) => error,
            // What else is wrong is for somebody to set right, and is told by who needs it.
            _ => return there(),
        };
        if let Err(error) = go_aside(wanted, instead) {
            warn!(folder = %instead.display(), %error, "cannot take the place of the state folder");
            return there();
        }
        aside(&error.to_string())
    }
}

/// Makes the folder that takes the other one's place: all of it, or nothing.
fn go_aside(wanted: &Path, instead: &Path) -> io::Result<()> {
    let part = cleared(instead)?;
    let made = try_out(&part).and_then(|()| copy(wanted, &part)).and_then(|()| fs::rename(&part, instead));
    // Half of a copy is of no use, and may lie in memory.
    made.inspect_err(|_| drop(fs::remove_dir_all(&part)))
}

/// Takes everything back from it.
fn come_back(instead: &Path, wanted: &Path) -> io::Result<()> {
    let part = cleared(instead)?;
    bring(instead, wanted)?;
    // It may just have filled up with that.
    try_out(wanted)?;
    fs::rename(instead, &part)?;
    info!(folder = %wanted.display(), "has room again: what was kept elsewhere is back");
    // Only tidiness; the next one does it.
    let _ = fs::remove_dir_all(part);
    Ok(())
}

/// The name of what is not whole; there is nothing of this name.
fn cleared(instead: &Path) -> io::Result<PathBuf> {
    let part = instead.with_extension(PART);
    match fs::remove_dir_all(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(part),
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

/// Copies the files of a folder and of those in it. What cannot be read is lost.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                DirBuilder::new().recursive(true).mode(0o700).create(&new)?;
                copy(&old, &new)?;
            }
            Ok(kind) if kind.is_file() => {
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

/// Puts the files of a folder and of those in it into the place of older ones. Each of them is whole at any moment.
fn bring(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (new, old) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.metadata()?;
        if kind.is_dir() {
            bring(&new, &old)?;
        } else if kind.is_file() {
            let octets = fs::read(&new)?;
            if fs::read(&old).ok().as_ref() != Some(&octets) {
                atomic_file::write(&old, &octets, kind.permissions().mode())?;
            }
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
        let chosen = StateFolder::of(&folder.join("state"), &folder.join("instead"), false);
        assert!(chosen.path.ends_with("state") && chosen.problem.is_none(), "{chosen:?}");
        assert_eq!(fs::read_dir(&chosen.path).expect("it is made").count(), 0, "no trace of the trial");
        assert!(!folder.join("instead").exists());
        // A file in its place is somebody's mistake.
        let chosen = StateFolder::of(Path::new("/proc/version"), &folder.join("instead"), false);
        assert!(chosen.path == Path::new("/proc/version") && chosen.problem.is_none(), "{chosen:?}");
        fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn what_was_kept_elsewhere_comes_back() {
        let folder = scratch("back");
        let (state, instead) = (folder.join("state"), folder.join("instead"));
        for (path, text) in [("clock", "one"), ("history/1.toml", "one"), ("left", "alone")] {
            let path = state.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, text).expect("written");
        }
        let of = |takes_over| StateFolder::of(&state, &instead, takes_over);
        let at = |path: &str| fs::read_to_string(state.join(path)).expect("it is there");
        for (before, after) in [("one", "two"), ("two", "three")] {
            go_aside(&state, &instead).expect("there is room");
            assert_eq!(fs::read_to_string(instead.join("clock")).expect("copied"), before);
            fs::write(instead.join("clock"), after).expect("written");
            fs::write(instead.join("history/2.toml"), after).expect("written");
            // Another program is still writing there.
            let chosen = of(true);
            assert!(chosen.path == instead && chosen.problem.is_some(), "{chosen:?}");
            assert_eq!(at("clock"), before);
            let chosen = of(false);
            assert!(chosen.path == state && chosen.problem.is_none(), "{chosen:?}");
            let now = ["clock", "history/1.toml", "history/2.toml", "left"].map(at);
            assert_eq!(now, [after, "one", after, "alone"]);
            assert_eq!(fs::read_dir(&folder).expect("it is ours").count(), 1, "nothing is left of it");
        }
        // A copy that was not finished is none.
        fs::create_dir_all(instead.with_extension(PART)).expect("made");
        fs::write(instead.with_extension(PART).join("clock"), "half").expect("written");
        assert_eq!(of(false).path, state);
        assert_eq!(at("clock"), "three");
        fs::remove_dir_all(folder).expect("cleaned");
    }
}
