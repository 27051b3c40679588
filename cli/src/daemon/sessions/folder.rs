//! The file of sessions in the state folder: written beside and renamed, and set aside when it cannot be used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use genkan_io::sys::clock::since_1970;
use tracing::warn;

use super::format::{Header, Writer};

/// Its name.
pub(crate) const NAME: &str = "sessions.snap";
/// Where it is written.
const FRESH: &str = "sessions.snap.new";
/// What comes before the time in the names of those set aside.
const BAD: &str = "sessions.snap.bad-";
/// How many of those are kept: enough to look into it, and no disk is filled.
const BAD_KEPT: usize = 3;

/// The file while it is written. It takes the place of the old one in [`Fresh::put_in_place`], or not at all.
pub(crate) struct Fresh {
    folder: PathBuf,
    pub(crate) writer: Writer<BufWriter<File>>,
}

impl Fresh {
    /// Begins a new file, in a folder that is made where it is missing.
    ///
    /// # Errors
    /// When the kernel refuses; so everywhere here.
    pub(crate) fn begin(folder: &Path, header: &Header) -> io::Result<Fresh> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Who talks to whom is nobody's business.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(folder.join(FRESH))?;
        let writer = Writer::new(BufWriter::with_capacity(64 << 10, file), header)?;
        Ok(Fresh { folder: folder.to_owned(), writer })
    }

    /// Ends the file and has it take the place of the old one, on the disk when this returns. Returns its sessions and
    /// its octets.
    pub(crate) fn put_in_place(self) -> io::Result<(u64, u64)> {
        let (out, sessions, octets) = self.writer.finish()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(self.folder.join(FRESH), self.folder.join(NAME))?;
        File::open(&self.folder)?.sync_all()?;
        Ok((sessions, octets))
    }
}

/// Opens the file, if there is one.
pub(crate) fn open(folder: &Path) -> io::Result<Option<File>> {
    match File::open(folder.join(NAME)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the file where it is in nobody's way, and forgets the oldest of those that were put there before. Returns its new
/// path.
pub(crate) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    set_aside_at(folder, since_1970())
}

fn set_aside_at(folder: &Path, now: Duration) -> io::Result<PathBuf> {
    let aside = folder.join(format!("{BAD}{}", now.as_secs()));
    fs::rename(folder.join(NAME), &aside)?;
    let mut older: Vec<(u64, PathBuf)> = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let time = entry.file_name().to_str()?.strip_prefix(BAD)?.parse().ok()?;
            Some((time, entry.path()))
        })
        .collect();
    older.sort_unstable();
    for (_, path) in older.iter().rev().skip(BAD_KEPT) {
        if let Err(error) = fs::remove_file(path) {
            warn!(path = %path.display(), %error, "cannot remove");
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_few_damaged_ones_are_kept() {
        let folder = std::env::temp_dir().join(format!("genkan-aside-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        fs::write(folder.join("sessions.snap.bad-old"), "somebody else's").expect("written");
        for time in 1..=5 {
            fs::write(folder.join(NAME), "damaged").expect("written");
            set_aside_at(&folder, Duration::from_secs(time)).expect("renamed");
        }
        let mut left: Vec<String> = fs::read_dir(&folder)
            .expect("it is there")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("ours"))
            .collect();
        left.sort();
        let kept: Vec<String> = ["3", "4", "5", "old"].map(|end| format!("{BAD}{end}")).into();
        assert_eq!(left, kept);
        assert!(open(&folder).expect("the folder is readable").is_none());
        fs::remove_dir_all(&folder).expect("ours");
    }
}
