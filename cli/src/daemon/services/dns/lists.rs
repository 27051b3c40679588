//! Block lists: read line by line, beside the service, and put together whole.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use genkan_services::dns::{BlockList, BlockListBuilder};

use crate::daemon::privileges::why_unreadable;

/// Most names of all lists together; 8 octets each, and twice that for a moment.
const MOST_NAMES: usize = 1_000_000;
/// Most octets of a file that are read: lists of a million names have some 30 MB.
const MOST_OCTETS: u64 = 256 << 20;
/// Most octets of a line that are kept; no name is longer than 255.
const MOST_LINE: usize = 4096;

/// What tells one content of the files from another.
pub(super) type Marks = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// How the files are now.
pub(super) fn marks(paths: &[PathBuf]) -> Marks {
    let mark = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.iter().map(|path| (path.clone(), mark(path))).collect()
}

/// What was read.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) list: BlockList,
    /// Lines and words that are no names.
    pub(super) skipped: u64,
    /// What could not be read, in words.
    pub(super) problems: Vec<String>,
}

/// Reads all files. What cannot be read is left out, and told.
pub(super) fn read(paths: &[PathBuf], seed: u64) -> Lists {
    let mut builder = BlockListBuilder::new(MOST_NAMES, seed);
    let mut problems = Vec::new();
    for path in paths {
        if let Err(problem) = read_file(path, &mut builder) {
            problems.push(format!("the block list {} {problem}", path.display()));
        }
    }
    Lists { skipped: builder.skipped(), list: builder.finish(), problems }
}

fn read_file(path: &Path, builder: &mut BlockListBuilder) -> Result<(), String> {
    let unreadable = |error: &io::Error| format!("cannot be read: {error}{}", why_unreadable(error));
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let mut reader = BufReader::with_capacity(64 << 10, file.take(MOST_OCTETS));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(MOST_LINE as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(&error))? == 0 {
            return Ok(());
        }
        let Ok(text) = str::from_utf8(&line) else { continue };
        builder.line(text).map_err(|error| format!("is not read to its end: {error}"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_together_and_what_is_missing_is_told() {
        let folder = std::env::temp_dir().join(format!("genkan-lists-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let paths = [folder.join("hosts"), folder.join("none"), folder.join("domains")];
        fs::write(&paths[0], b"0.0.0.0 ads.example.net\n\xff\n").expect("it is ours");
        fs::write(&paths[2], "# comment\ntracker.example\n").expect("it is ours");
        let before = marks(&paths);
        let Lists { list, problems, .. } = read(&paths, 1);
        assert_eq!((list.len(), problems.len()), (2, 1));
        assert!(problems[0].contains("none cannot be read"), "{problems:?}");
        assert_eq!(marks(&paths), before);
        fs::write(&paths[2], "# comment\ntracker.example\nother.example\n").expect("it is ours");
        assert_ne!(marks(&paths), before);
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
