//! Events on disk: one JSON line each, in files of bounded size, few of them.
//!
//! `events.jsonl` in the state folder is the newest file; when it is full it becomes `events.jsonl.1`, that becomes
//! `events.jsonl.2`, and the oldest goes. A thread writes, so that a slow disk holds nobody up; without a
//! folder that can be written to the router runs on, and says so once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use genkan_control::api::{EventKind, EventRow};
use genkan_control::events::{EventLog, NewEvent};
use tracing::warn;

/// Name of the newest file.
const NAME: &str = "events.jsonl";
/// Octets from which a file is full: some 5,000 events.
const FULL: u64 = 1 << 20;
/// Older files that are kept.
const OLDER: u32 = 3;
/// Events that may wait for the disk; more are left out of the file, which their ids show.
const WAITING: usize = 1_000;

/// Takes over what earlier runs have told, tells of the start, and writes from now on. The thread ends with
/// [`EventLog::close`].
pub(super) fn start(state: &Path, events: &EventLog) {
    events.restore(read(state));
    let (sink, rows) = sync_channel(WAITING);
    let writer = match Writer::open(state.to_owned()) {
        Ok(writer) => Some(writer),
        Err(error) => {
            warn!(folder = %state.display(), %error, "events are kept in memory only");
            None
        }
    };
    if let Some(writer) = writer {
        let thread = std::thread::Builder::new().name("events".to_owned());
        match thread.spawn(move || writer.write_all(&rows)) {
            Ok(_) => events.set_sink(sink),
            Err(error) => warn!(%error, "no thread to write events: they are kept in memory only"),
        }
    }
    let message = format!("genkan {} has started", env!("CARGO_PKG_VERSION"));
    events.push(NewEvent::new(EventKind::Started, message));
}

/// The events of the files, oldest first. What cannot be read is left out: it is a log.
fn read(state: &Path) -> Vec<EventRow> {
    let mut rows = Vec::new();
    for number in (0..=OLDER).rev() {
        let Ok(file) = File::open(path(state, number)) else { continue };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        rows.extend(lines.filter_map(|line| serde_json::from_str::<EventRow>(&line).ok()));
    }
    rows
}

/// The newest file is number 0.
fn path(state: &Path, number: u32) -> PathBuf {
    match number {
        0 => state.join(NAME),
        _ => state.join(format!("{NAME}.{number}")),
    }
}

struct Writer {
    state: PathBuf,
    file: File,
    octets: u64,
    full: u64,
}

impl Writer {
    fn open(state: PathBuf) -> io::Result<Writer> {
        fs::create_dir_all(&state)?;
        let options = OpenOptions::new().create(true).read(true).append(true).mode(0o640).clone();
        let mut file = options.open(path(&state, 0))?;
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
        Ok(Writer { state, file, octets, full: FULL })
    }

    fn write_all(mut self, rows: &Receiver<EventRow>) {
        let mut failed = false;
        while let Ok(row) = rows.recv() {
            match self.write(&row) {
                Ok(()) => failed = false,
                // Once, not for each event.
                Err(_) if failed => {}
                Err(error) => {
                    warn!(folder = %self.state.display(), %error, "an event could not be written");
                    failed = true;
                }
            }
        }
    }

    fn write(&mut self, row: &EventRow) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        if self.octets > 0 && self.octets + line.len() as u64 > self.full {
            self.rotate()?;
        }
        // One call, so that a crash leaves whole lines but for the last.
        self.file.write_all(&line)?;
        self.octets += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..OLDER).rev() {
            match fs::rename(path(&self.state, number), path(&self.state, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let full = self.full;
        *self = Writer { full, ..Writer::open(self.state.clone())? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-events-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("made");
        path
    }

    fn row(id: u64) -> EventRow {
        let (forward, port, address) = (None, None, None);
        let (time, message) = ("2026-01-01T00:00:00.000Z".to_owned(), format!("event {id}"));
        EventRow { id, time, kind: EventKind::Other, forward, port, address, message, suppressed: 0 }
    }

    #[test]
    fn files_are_bounded_and_few() {
        let state = scratch("rotation");
        let mut writer = Writer { full: 1_000, ..Writer::open(state.clone()).expect("opened") };
        for id in 1..=1_000 {
            writer.write(&row(id)).expect("written");
        }
        let mut names: Vec<String> = fs::read_dir(&state)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
            .inspect(|entry| assert!(entry.metadata().expect("a file").len() <= 1_000))
            .map(|entry| entry.file_name().into_string().expect("text"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["events.jsonl", "events.jsonl.1", "events.jsonl.2", "events.jsonl.3"]);
        let ids: Vec<u64> = read(&state).iter().map(|row| row.id).collect();
        assert!(ids.len() > 20 && ids.is_sorted_by(|a, b| a + 1 == *b) && ids.last() == Some(&1_000));
        fs::remove_dir_all(state).expect("removed");
    }

    #[test]
    fn a_torn_line_costs_only_itself_and_numbers_go_on() {
        let state = scratch("restart");
        let mut writer = Writer::open(state.clone()).expect("opened");
        writer.write(&row(41)).expect("written");
        writer.file.write_all(b"{\"id\": 42, \"ti").expect("written");
        let mut writer = Writer::open(state.clone()).expect("opened");
        writer.write(&row(43)).expect("written");
        let events = EventLog::default();
        start(&state, &events);
        let page = events.page(0, 10);
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [41, 43, 44]);
        assert_eq!(page.rows[2].kind, EventKind::Started);
        events.close();
        fs::remove_dir_all(state).expect("removed");
    }

    #[test]
    fn without_a_folder_events_stay_in_memory() {
        let events = EventLog::default();
        start(Path::new("/proc/genkan/state"), &events);
        assert_eq!(events.page(0, 10).rows.len(), 1);
    }
}
