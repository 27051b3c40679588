//! Events on disk: one JSON line each, in files of bounded size, few of them.
//!
//! `events.jsonl` in the state folder is the newest file. A thread writes, so that a slow disk holds nobody up; without a
//! folder that can be written to the router runs on, and says so once.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use genkan_control::api::{EventKind, EventRow};
use genkan_control::events::{EventLog, NewEvent};
use tracing::warn;

use super::rotating_file::{Bounds, RotatingFile, numbered};

/// Name of the newest file.
const NAME: &str = "events.jsonl";
/// Some 5,000 events in each file.
const BOUNDS: Bounds = Bounds { full: 1 << 20, older: 3 };
/// Events that may wait for the disk; more are left out of the file, which their ids show.
const WAITING: usize = 1_000;

/// Takes over what earlier runs have told, tells of the start, and writes from now on. The thread ends with
/// [`EventLog::close`].
pub(super) fn start(state: &Path, events: &EventLog) {
    events.restore(read(state));
    let (sink, rows) = sync_channel(WAITING);
    match RotatingFile::open(&state.join(NAME), BOUNDS) {
        Ok(file) => {
            let thread = std::thread::Builder::new().name("events".to_owned());
            match thread.spawn(move || write_all(file, &rows)) {
                Ok(_) => events.set_sink(sink),
                Err(error) => warn!(%error, "no thread to write events: they are kept in memory only"),
            }
        }
        Err(error) => warn!(folder = %state.display(), %error, "events are kept in memory only"),
    }
    let message = format!("genkan {} has started", env!("CARGO_PKG_VERSION"));
    events.push(NewEvent::new(EventKind::Started, message));
}

/// The events of the files, oldest first. What cannot be read is left out: it is a log.
fn read(state: &Path) -> Vec<EventRow> {
    let mut rows = Vec::new();
    for number in (0..=BOUNDS.older).rev() {
        let Ok(file) = File::open(numbered(&state.join(NAME), number)) else { continue };
        // Octets, not text: what a crash or a bad disk has left in the midst costs no more than its own line.
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        rows.extend(lines.filter_map(|line| serde_json::from_slice::<EventRow>(&line).ok()));
    }
    rows
}

fn write_all(mut file: RotatingFile, rows: &Receiver<EventRow>) {
    let mut failed = false;
    while let Ok(row) = rows.recv() {
        match write(&mut file, &row) {
            Ok(()) => failed = false,
            // Once, not for each event.
            Err(_) if failed => {}
            Err(error) => {
                warn!(file = %file.path().display(), %error, "an event could not be written");
                failed = true;
            }
        }
    }
}

fn write(file: &mut RotatingFile, row: &EventRow) -> io::Result<()> {
    let mut line = serde_json::to_vec(row)?;
    line.push(b'\n');
    file.write(&line)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

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
    fn all_files_are_read_in_order() {
        let state = scratch("rotation");
        let bounds = Bounds { full: 1_000, ..BOUNDS };
        let mut file = RotatingFile::open(&state.join(NAME), bounds).expect("opened");
        for id in 1..=1_000 {
            write(&mut file, &row(id)).expect("written");
        }
        let ids: Vec<u64> = read(&state).iter().map(|row| row.id).collect();
        assert!(ids.len() > 20 && ids.is_sorted_by(|a, b| a + 1 == *b) && ids.last() == Some(&1_000));
        fs::remove_dir_all(state).expect("removed");
    }

    #[test]
    fn a_torn_line_costs_only_itself_and_numbers_go_on() {
        let state = scratch("restart");
        let open = || RotatingFile::open(&state.join(NAME), BOUNDS).expect("opened");
        let mut file = open();
        write(&mut file, &row(41)).expect("written");
        file.write(b"\xff\xfe\0 no text at all\n").expect("written");
        file.write(b"{\"id\": 42, \"ti").expect("written");
        write(&mut open(), &row(43)).expect("written");
        let events = EventLog::default();
        start(&state, &events);
        let page = events.page(0, 10);
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [41, 43, 44]);
        assert_eq!(page.rows[2].kind, EventKind::Started);
        // The thread that writes would make the folder again.
        let deadline = Instant::now() + Duration::from_secs(10);
        while read(&state).last().map(|row| row.id) != Some(44) {
            assert!(Instant::now() < deadline, "the beginning was not written");
            std::thread::yield_now();
        }
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
