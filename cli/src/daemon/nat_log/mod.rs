//! The record of translations (`[log] nat_events`): one JSON line for each event, by a thread of its own, in files of
//! bounded size. docs/nat-log.md says what is in it.
//!
//! ```text
//!  engine: bounded buffer --worker, after each round--> ring of each worker --thread, by time--> file
//! ```
//! Nobody waits: what finds no room is counted, and the count becomes a line.

mod line;
mod sender;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use genkan_config::Log;
use genkan_engine::nat::event_log::Detail;

pub(super) use self::sender::Sender;
use self::writer::Writer;
use super::rotating_file::{Bounds, RotatingFile};
use super::worker::WorkerEnded;
use super::workers::Workers;

/// The folder that is for such files, and can be written to even if it is named after the start only.
pub(super) const FOLDER: &str = "/var/log/genkan";

/// Some 300,000 lines in each file, 1 GiB in all.
const BOUNDS: Bounds = Bounds { full: 64 << 20, older: 15 };

/// What of `[log]` is about it; `None`: off.
type Wanted = Option<(PathBuf, Detail)>;

fn wanted(log: &Log) -> Wanted {
    let detail = if log.nat_destinations { Detail::Sessions } else { Detail::Endpoints };
    Some((log.nat_events.clone()?, detail))
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("log.nat_events: {path}")]
pub(super) struct Unwritable {
    path: String,
    #[source]
    source: io::Error,
}

/// What is in force.
#[derive(Debug)]
pub(super) struct NatLog {
    wanted: Wanted,
    writer: Option<JoinHandle<()>>,
}

/// What another configuration wants, with its file open. Ends by itself if nothing comes of it.
#[derive(Debug)]
pub(super) struct Prepared {
    log: NatLog,
    /// One for each worker; none if it is off.
    senders: Vec<Sender>,
}

impl Prepared {
    fn new(wanted: Wanted, workers: u8) -> Result<Prepared, Unwritable> {
        let Some((path, detail)) = &wanted else {
            return Ok(Prepared { log: NatLog { wanted, writer: None }, senders: Vec::new() });
        };
        let unwritable = |source| Unwritable { path: path.display().to_string(), source };
        let file = RotatingFile::open(path, BOUNDS).map_err(unwritable)?;
        let (senders, writer) = Writer::start(file, *detail, workers).map_err(unwritable)?;
        Ok(Prepared { log: NatLog { wanted, writer: Some(writer) }, senders })
    }
}

impl NatLog {
    /// As the configuration wants it at the start; with a sender for each worker, unless it is off.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn start(log: &Log, workers: u8) -> Result<(NatLog, Vec<Sender>), Unwritable> {
        let Prepared { log, senders } = Prepared::new(wanted(log), workers)?;
        Ok((log, senders))
    }

    /// What another configuration wants; `None`: the same.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn prepare(&self, log: &Log, workers: u8) -> Result<Option<Prepared>, Unwritable> {
        let wanted = wanted(log);
        if wanted == self.wanted { Ok(None) } else { Prepared::new(wanted, workers).map(Some) }
    }

    /// Does as was prepared. What the workers have told before is in the old file then.
    ///
    /// # Errors
    /// When a worker has ended.
    pub(super) async fn follow(&mut self, prepared: Prepared, workers: &Workers) -> Result<(), WorkerEnded> {
        workers.log_nat_events(prepared.senders).await?;
        let before = std::mem::replace(self, prepared.log);
        tokio::task::block_in_place(|| before.finish());
        Ok(())
    }

    /// Waits until everything is written. The workers must have let their senders go.
    pub(super) fn finish(self) {
        if let Some(writer) = self.writer {
            // A panic of its own has been told.
            let _ = writer.join();
        }
    }
}

/// The folder of the file that a configuration names.
pub(super) fn folder(log: &Log) -> Option<&Path> {
    log.nat_events.as_deref()?.parent()
}
