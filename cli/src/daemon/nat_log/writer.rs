//! The thread that writes.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use genkan_engine::nat::event_log::Detail;
use genkan_io::sys::clock::since_1970;
use tracing::warn;

use super::line;
use super::sender::{Dated, Drain, Sender, ring};
use crate::daemon::rotating_file::RotatingFile;

/// How long it lets events gather: so often it is woken at most, and so far lines of different workers may be out of order.
const REST: Duration = Duration::from_millis(10);

/// Octets of lines that are written at once.
const CHUNK: usize = 64 << 10;

/// All that the thread has.
pub(super) struct Writer {
    file: RotatingFile,
    detail: Detail,
    drains: Vec<Drain>,
    /// Scratch: the events of all workers.
    events: Vec<Dated>,
    /// Scratch: their lines.
    text: Vec<u8>,
    /// Events that could not be written to the file.
    unwritten: u64,
    /// How many were missing when that was told last.
    told: u64,
    failed: bool,
}

impl Writer {
    /// Starts the thread, with as many senders. It ends when they are gone and all is written.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        file: RotatingFile,
        detail: Detail,
        workers: u8,
    ) -> io::Result<(Vec<Sender>, JoinHandle<()>)> {
        let (unattended, drains): (Vec<_>, Vec<_>) = (0..workers).map(|_| ring()).unzip();
        let writer = Writer::new(file, detail, drains);
        let thread = thread::Builder::new().name("nat-log".to_owned()).spawn(move || writer.run())?;
        let attended = unattended.into_iter().map(|end| end.attended(detail, thread.thread().clone()));
        Ok((attended.collect(), thread))
    }

    fn new(file: RotatingFile, detail: Detail, drains: Vec<Drain>) -> Writer {
        let (events, text) = (Vec::new(), Vec::new());
        Writer { file, detail, drains, events, text, unwritten: 0, told: 0, failed: false }
    }

    fn run(mut self) {
        loop {
            // In this order: what was pushed before the end is there once the end is seen.
            let is_over = self.drains.iter().all(Drain::is_abandoned);
            if self.write_waiting() {
                if !is_over {
                    thread::sleep(REST);
                }
            } else if is_over {
                return;
            } else {
                thread::park();
            }
        }
    }

    /// Writes what waits; whether there was anything.
    fn write_waiting(&mut self) -> bool {
        for drain in &mut self.drains {
            let waiting = drain.ring.slots();
            self.events.extend((0..waiting).map_while(|_| drain.ring.pop().ok()));
        }
        if self.events.is_empty() {
            return false;
        }
        self.events.sort_by_key(|(time, _)| *time);
        let events = std::mem::take(&mut self.events);
        let mut lines = 0;
        for (time, kind) in &events {
            line::event(&mut self.text, *time, kind, self.detail);
            lines += 1;
            if self.text.len() >= CHUNK {
                self.flush(std::mem::take(&mut lines));
            }
        }
        self.flush(lines);
        self.events = events;
        self.events.clear();
        self.tell_missing();
        true
    }

    /// Writes so many lines.
    fn flush(&mut self, lines: u64) {
        match self.file.write(&self.text) {
            Ok(()) => self.failed = false,
            Err(error) => {
                self.unwritten += lines;
                // Once, not for each chunk.
                if !std::mem::replace(&mut self.failed, true) {
                    warn!(file = %self.file.path().display(), %error, "NAT events could not be written");
                }
            }
        }
        self.text.clear();
    }

    /// Events that are missing are to be known as such: by a line, and now and then by the log.
    fn tell_missing(&mut self) {
        let missing = self.unwritten + self.drains.iter().map(Drain::lost).sum::<u64>();
        if missing == self.told || self.failed {
            return;
        }
        line::not_sent(&mut self.text, since_1970(), missing);
        self.flush(0);
        // The first of a series, then ever more rarely.
        if missing.ilog2() != self.told.max(1).ilog2() || self.told == 0 {
            warn!(missing, file = %self.file.path().display(), "NAT events are missing in the record");
        }
        self.told = missing;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::Ordering;

    use genkan_engine::nat::event_log::NatEventKind;
    use serde_json::Value;

    use super::super::sender::Unattended;
    use super::*;
    use crate::daemon::rotating_file::Bounds;

    struct Scene {
        path: PathBuf,
        workers: Vec<Unattended>,
        writer: Writer,
    }

    impl Scene {
        fn new(name: &str) -> Scene {
            let path = std::env::temp_dir().join(format!("genkan-nat-log-{}-{name}", std::process::id()));
            let file = RotatingFile::open(&path, Bounds { full: 1 << 20, older: 0 }).expect("opened");
            let (workers, drains): (Vec<_>, Vec<_>) = (0..2).map(|_| ring()).unzip();
            Scene { path, workers, writer: Writer::new(file, Detail::Endpoints, drains) }
        }

        /// A worker notes something at this second, which it also says.
        fn note(&mut self, worker: usize, second: u32) {
            let event = (Duration::from_secs(second.into()), NatEventKind::SessionLimit { limit: second });
            self.workers[worker].ring.push(event).expect("there is room");
        }

        /// This field of all lines.
        fn written(&self, field: &str) -> Vec<u64> {
            let text = fs::read_to_string(&self.path).expect("it is there");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
            lines.filter_map(|line| line[field].as_u64()).collect()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    #[test]
    fn events_of_several_workers_are_written_by_time() {
        let mut scene = Scene::new("order");
        for (worker, second) in [(0, 1), (0, 4), (1, 2), (1, 3), (0, 5)] {
            scene.note(worker, second);
        }
        assert!(scene.writer.write_waiting());
        assert_eq!(scene.written("maxSessionEntries"), [1, 2, 3, 4, 5]);
        assert_eq!(scene.written("observationTimeMilliseconds"), [1000, 2000, 3000, 4000, 5000]);
        assert!(!scene.writer.write_waiting());
    }

    #[test]
    fn what_is_missing_is_told_once() {
        let mut scene = Scene::new("missing");
        scene.workers[1].lost.store(7, Ordering::Relaxed);
        for second in 1..=2 {
            scene.note(0, second);
            scene.writer.write_waiting();
        }
        assert_eq!(scene.written("notSentFlowTotalCount"), [7]);
        // In the place of the file there is something else for a while.
        fs::remove_file(&scene.path).expect("it is there");
        fs::create_dir(&scene.path).expect("the name is free");
        scene.note(0, 3);
        scene.note(1, 4);
        scene.writer.write_waiting();
        fs::remove_dir(&scene.path).expect("it is empty");
        scene.note(0, 5);
        scene.writer.write_waiting();
        assert_eq!(scene.written("maxSessionEntries"), [5]);
        assert_eq!(scene.written("notSentFlowTotalCount"), [9]);
    }

    #[test]
    fn the_thread_ends_with_its_last_sender_and_leaves_nothing_out() {
        let mut scene = Scene::new("end");
        scene.note(0, 1);
        let Scene { path, workers, writer } = &mut scene;
        let (file, drains) =
            (RotatingFile::open(path, Bounds { full: 1 << 20, older: 0 }), &mut writer.drains);
        let writer = Writer::new(file.expect("opened"), Detail::Endpoints, std::mem::take(drains));
        let thread = thread::spawn(move || writer.run());
        let by = thread.thread().clone();
        drop(workers.drain(..).map(|end| end.attended(Detail::Endpoints, by.clone())).collect::<Vec<_>>());
        thread.join().expect("it does not panic");
        assert_eq!(scene.written("maxSessionEntries"), [1]);
    }
}
