//! A file of lines that does not grow without bound: when it is full it becomes `NAME.1`, that becomes `NAME.2`, and the
//! oldest goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Octets from which a file is full.
    pub(super) full: u64,
    /// Older files beside the newest.
    pub(super) older: u32,
}

/// The newest of the files, open for writing.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    bounds: Bounds,
    file: File,
    octets: u64,
    /// Writing has failed: the last line may be torn.
    is_torn: bool,
}

/// The newest file is number 0.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.to_owned(),
        _ => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}

impl RotatingFile {
    /// Goes on with the file at this path, or makes it, and its folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &Path, bounds: Bounds) -> io::Result<RotatingFile> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let options = OpenOptions::new().create(true).read(true).append(true).mode(0o640).clone();
        let mut file = options.open(path)?;
        let mut octets = file.metadata()?.len();
        let mut last = [b'\n'];
        if octets > 0 {
            file.read_exact_at(&mut last, octets - 1)?;
        }
        if last != *b"\n" {
            // A crash has torn the last line: the next one is to be whole.
            file.write_all(b"\n")?;
            octets += 1;
        }
        Ok(RotatingFile { path: path.to_owned(), bounds, file, octets, is_torn: false })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines. In one call, so that a crash leaves whole lines but for the last.
    ///
    /// # Errors
    /// When they cannot be written, all of them; the next lines may be.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn || !self.is_in_place() {
            *self = RotatingFile::open(&self.path, self.bounds)?;
        }
        if self.octets > 0 && self.octets + lines.len() as u64 > self.bounds.full {
            self.rotate()?;
        }
        self.file.write_all(lines).inspect_err(|_| self.is_torn = true)?;
        self.octets += lines.len() as u64;
        Ok(())
    }

    /// Whether nobody has moved or removed the file meanwhile, as logrotate(8) does.
    fn is_in_place(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let ours = self.file.metadata().map(identity).ok();
        ours.is_some() && fs::metadata(&self.path).map(identity).ok() == ours
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..self.bounds.older).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = RotatingFile::open(&self.path, self.bounds)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let folder = std::env::temp_dir().join(format!("genkan-rotation-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).expect("made");
            Scratch(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("lines")
        }

        fn text(&self, number: u32) -> String {
            fs::read_to_string(numbered(&self.path(), number)).unwrap_or_default()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const SMALL: Bounds = Bounds { full: 10, older: 2 };

    #[test]
    fn files_are_bounded_and_few() {
        let scratch = Scratch::new("bounds");
        let mut file = RotatingFile::open(&scratch.path(), SMALL).expect("opened");
        for lines in ["1\n", "22222222\n", "3\n4\n", "55555555\n", "6\n", "this alone is too long\n", "7\n"] {
            file.write(lines.as_bytes()).expect("written");
        }
        let texts = [0, 1, 2, 3].map(|number| scratch.text(number));
        assert_eq!(texts, ["7\n", "this alone is too long\n", "6\n", ""]);
        assert_eq!(fs::read_dir(&scratch.0).expect("a folder").count(), 3);
    }

    #[test]
    fn what_was_there_stays_and_a_torn_line_is_ended() {
        let scratch = Scratch::new("torn");
        fs::write(scratch.path(), "whole\nto").expect("written");
        let mut file = RotatingFile::open(&scratch.path(), Bounds { full: 100, older: 1 }).expect("opened");
        file.write(b"next\n").expect("written");
        assert_eq!(scratch.text(0), "whole\nto\nnext\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let scratch = Scratch::new("moved");
        let mut file = RotatingFile::open(&scratch.path(), SMALL).expect("opened");
        file.write(b"1\n").expect("written");
        fs::rename(scratch.path(), scratch.0.join("elsewhere")).expect("moved");
        file.write(b"2\n").expect("written");
        fs::remove_file(scratch.path()).expect("removed");
        file.write(b"3\n").expect("written");
        assert_eq!(scratch.text(0), "3\n");
    }
}
