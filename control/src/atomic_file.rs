//! Files that are whole after a crash at any moment: the old text or the new one, never a part of either.
//!
//! The new text goes to a file beside, that is flushed to the disk, takes the old one's place by a rename, and the
//! folder is flushed as well. The file beside has a fixed name, so what a crash left is found and removed by the next
//! write; there is one writer per file, the router that has the lock on its control socket.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// End of the name of the file beside.
const SUFFIX: &str = ".genkan-new";

/// Puts `octets` at `path`, with these permission bits, in one step. When it returns, they are on the disk.
///
/// A symbolic link stays one: what it points to is replaced. The owner of a replaced file stays, as far as this
/// process may give files away.
///
/// # Errors
/// When a step fails. Unless it was the very last one, the flush of the folder, `path` is as it was.
pub fn write(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    stage(path, octets, mode)?.commit()
}

/// A new text beside its place, flushed. All that could well fail is done: a rename puts it in place. Dropped, it goes.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    beside: PathBuf,
}

/// The first half of [`write()`].
///
/// # Errors
/// When a step fails; `path` is as it was.
pub fn stage(path: &Path, octets: &[u8], mode: u32) -> io::Result<Staged> {
    let path = match std::fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let beside = beside(&path)?;
    remove(&beside)?;
    // From here on it is removed when a step fails.
    let staged = Staged { path, beside };
    write_beside(&staged.beside, &staged.path, octets, mode)?;
    Ok(staged)
}

impl Staged {
    /// The second half of [`write()`].
    ///
    /// # Errors
    /// When the rename fails, with the old text in place, or the flush of the folder, with the new one.
    pub fn commit(self) -> io::Result<()> {
        std::fs::rename(&self.beside, &self.path)?;
        sync_folder(&self.path)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Only tidiness; the next write would do it. After the commit there is nothing.
        let _ = remove(&self.beside);
    }
}

/// Gives a file another name in the same folder. When it returns, that is on the disk.
///
/// # Errors
/// When the rename or the flush of the folder fails.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_folder(to)
}

/// Removes a file for good: when it returns, that is on the disk. A file that is not there is no error.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_file(path: &Path) -> io::Result<()> {
    remove(path)?;
    sync_folder(path)
}

fn write_beside(beside: &Path, path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(octets)?;
    if let Ok(old) = std::fs::metadata(path) {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // A router without CAP_CHOWN cannot; the text matters more.
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
    }
    // After the change of owner, which takes bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(SUFFIX);
    Ok(path.with_file_name(hidden))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A rename or a removal is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-atomic-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = std::fs::read_dir(folder).expect("readable");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }

    #[test]
    fn text_and_mode_are_replaced_and_leftovers_go() {
        let folder = folder("replace");
        let path = folder.join("home.toml");
        write(&path, b"one", 0o640).expect("written");
        // What a crash before the rename leaves.
        std::fs::write(beside(&path).expect("a name"), "torn and longer than the rest").expect("left");
        write(&path, b"two", 0o600).expect("written again");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(names(&folder), ["home.toml"]);
        std::fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn a_failed_write_leaves_the_old_text() {
        let folder = folder("fail");
        let path = folder.join("home.toml");
        write(&path, b"one", 0o644).expect("written");
        // The name beside is taken by what cannot be removed as a file.
        std::fs::create_dir_all(beside(&path).expect("a name").join("in the way")).expect("made");
        write(&path, b"two", 0o644).expect_err("no place for the new text");
        assert_eq!(std::fs::read(&path).expect("read"), b"one");
        write(Path::new("/"), b"", 0o644).expect_err("no file");
        write(&folder.join("absent/home.toml"), b"", 0o644).expect_err("no folder");
        std::fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn what_is_staged_shows_when_it_is_committed() {
        let folder = folder("stage");
        let path = folder.join("home.toml");
        write(&path, b"one", 0o644).expect("written");
        drop(stage(&path, b"two", 0o644).expect("staged"));
        assert_eq!(names(&folder), ["home.toml"]);
        let staged = stage(&path, b"three", 0o644).expect("staged");
        assert_eq!(std::fs::read(&path).expect("read"), b"one");
        staged.commit().expect("in place");
        assert_eq!(std::fs::read(&path).expect("read"), b"three");
        std::fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = folder("link");
        let (target, link) = (folder.join("real.toml"), folder.join("home.toml"));
        write(&target, b"one", 0o644).expect("written");
        std::os::unix::fs::symlink("real.toml", &link).expect("linked");
        write(&link, b"two", 0o644).expect("written through the link");
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(std::fs::read(&target).expect("read"), b"two");
        std::fs::remove_dir_all(folder).expect("cleaned");
    }

    #[test]
    fn removal_is_content_with_nothing() {
        let folder = folder("remove");
        let path = folder.join("pending");
        write(&path, b"x", 0o600).expect("written");
        remove_file(&path).expect("removed");
        remove_file(&path).expect("nothing to remove");
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).expect("cleaned");
    }
}
