//! The files of leases, written by a thread of their own: a slow disk holds up acknowledgements, and nothing else.
//!
//! One file per lan, in the folder `dhcp` of the state folder. What comes while the disk is busy goes to it together
//! (group commit). After a failed write nobody knows what the file holds: a whole new one takes its place.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use genkan_control::atomic_file;
use tokio::sync::{mpsc, oneshot};

/// The folder of all files.
const FOLDER: &str = "dhcp";
const EXTENSION: &str = "leases";
const MODE: u32 = 0o600;

/// What the thread is to do, in this order.
#[derive(Debug)]
enum Job {
    /// Add to the file.
    Append { id: u64, octets: Vec<u8>, sequence: u64 },
    /// Put a new one in its place.
    Replace { id: u64, path: PathBuf, octets: Vec<u8>, sequence: u64 },
    /// Nobody writes to it any more.
    Close { id: u64 },
    /// Tell that everything before is done.
    Barrier(oneshot::Sender<()>),
}

/// What has become of a write.
#[derive(Debug)]
pub(super) struct Written {
    /// Which file.
    pub(super) id: u64,
    /// Of the last record.
    pub(super) sequence: u64,
    /// Octets that the file has now, all of them on the disk.
    pub(super) outcome: io::Result<u64>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: Sender<Job>,
    pub(super) written: mpsc::UnboundedReceiver<Written>,
}

impl Disk {
    /// Starts it; it ends with this.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(super) fn start() -> io::Result<Disk> {
        let (jobs, receiver) = channel();
        // At most one write per lan is under way.
        let (sender, written) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("leases".to_owned());
        thread.spawn(move || work(&receiver, &sender))?;
        Ok(Disk { jobs, written })
    }

    fn give(&self, job: Job) {
        // It ends with us, and no job makes it panic.
        let _ = self.jobs.send(job);
    }

    pub(super) fn append(&self, id: u64, octets: Vec<u8>, sequence: u64) {
        self.give(Job::Append { id, octets, sequence });
    }

    pub(super) fn replace(&self, id: u64, path: &Path, octets: Vec<u8>, sequence: u64) {
        self.give(Job::Replace { id, path: path.to_owned(), octets, sequence });
    }

    pub(super) fn close(&self, id: u64) {
        self.give(Job::Close { id });
    }

    /// Waits until everything that was given is done.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        self.give(Job::Barrier(done));
        // A thread that is gone does nothing any more either.
        let _ = finished.await;
    }
}

fn work(jobs: &Receiver<Job>, written: &mpsc::UnboundedSender<Written>) {
    let mut files = HashMap::new();
    while let Ok(job) = jobs.recv() {
        let (id, sequence, outcome) = match job {
            Job::Append { id, octets, sequence } => (id, sequence, append(&mut files, id, &octets)),
            Job::Replace { id, path, octets, sequence } => {
                files.remove(&id);
                let replaced = replace(&path, &octets);
                let outcome = replaced.map(|file| {
                    files.insert(id, (file, octets.len() as u64));
                    octets.len() as u64
                });
                (id, sequence, outcome)
            }
            Job::Close { id } => {
                files.remove(&id);
                continue;
            }
            Job::Barrier(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if written.send(Written { id, sequence, outcome }).is_err() {
            return;
        }
    }
}

fn append(files: &mut HashMap<u64, (File, u64)>, id: u64, octets: &[u8]) -> io::Result<u64> {
    let (file, length) = files.get_mut(&id).ok_or(ErrorKind::NotFound)?;
    let outcome = file.write_all(octets).and_then(|()| file.sync_data());
    match outcome {
        Ok(()) => {
            *length += octets.len() as u64;
            Ok(*length)
        }
        Err(error) => {
            files.remove(&id);
            Err(error)
        }
    }
}

fn replace(path: &Path, octets: &[u8]) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    atomic_file::write(path, octets, MODE)?;
    OpenOptions::new().append(true).open(path)
}

/// The file of a lan.
pub(super) fn path(state: &Path, lan: &str) -> PathBuf {
    state.join(FOLDER).join(format!("{lan}.{EXTENSION}"))
}

/// What it holds; nothing if there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// The files beside this one that belong to none of these lans, in the order of their names.
///
/// # Errors
/// When the folder is there and cannot be read.
pub(super) fn of_others(path: &Path, lans: &[String]) -> io::Result<Vec<PathBuf>> {
    let folder = match path.parent().map(fs::read_dir) {
        Some(Ok(folder)) => folder,
        Some(Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => return Ok(Vec::new()),
    };
    let mut files = Vec::new();
    for entry in folder {
        let file = entry?.path();
        let is_of_one =
            |lan: &String| file.file_name() == path.with_file_name(format!("{lan}.{EXTENSION}")).file_name();
        if file.extension().is_some_and(|extension| extension == EXTENSION) && !lans.iter().any(is_of_one) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Gives a file another name, for good.
///
/// # Errors
/// When it cannot be renamed.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    atomic_file::rename(from, to)
}

/// Puts a file aside that is of no use here, but may be to somebody: one of another version.
///
/// # Errors
/// When it cannot be renamed.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    atomic_file::rename(path, &path.with_extension("leases.unreadable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_to_be_written_is_there_and_a_failure_is_told() {
        let folder = std::env::temp_dir().join(format!("genkan-leases-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        let path = path(&folder, "home");
        assert!(read(&path).expect("none yet").is_empty());
        let mut disk = Disk::start().expect("a thread");
        disk.append(1, b"lost".to_vec(), 1);
        disk.replace(1, &path, b"one".to_vec(), 2);
        disk.append(1, b"two".to_vec(), 3);
        disk.finish().await;
        let mut told = Vec::new();
        while let Ok(written) = disk.written.try_recv() {
            told.push((written.sequence, written.outcome.ok()));
        }
        assert_eq!(told, [(1, None), (2, Some(3)), (3, Some(6))]);
        assert_eq!(read(&path).expect("it is there"), b"onetwo");
        // A disk that is full.
        disk.replace(2, Path::new("/dev/full/x"), b"one".to_vec(), 1);
        disk.finish().await;
        assert!(disk.written.try_recv().expect("told").outcome.is_err());
        put_aside(&path).expect("renamed");
        assert!(read(&path).expect("none").is_empty());
        fs::remove_dir_all(folder).expect("cleaned");
    }
}
