//! When sessions are saved while the router runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use genkan_control::request::WorkerHandle;
use genkan_engine::PortId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::saving::{SaveError, Saved, header, pause, save};

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// It is time to save.
    Save,
    /// What was begun has ended.
    Saved(Result<Saved, SaveError>),
}

/// Saves now and then, one file at a time.
pub(crate) struct Keeper {
    state: PathBuf,
    running: Option<JoinHandle<Result<Saved, SaveError>>>,
    /// When the last one ended, and what it wrote.
    last: (Instant, u64),
}

impl Keeper {
    /// Nothing is saved yet.
    pub(crate) fn new(state: &Path) -> Keeper {
        Keeper { state: state.to_owned(), running: None, last: (Instant::now(), 0) }
    }

    /// The state folder.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Waits for what is due; may be dropped at any time. `every` and `budget` as in the configuration.
    pub(crate) async fn due(&mut self, every: Option<Duration>, budget: u64) -> Due {
        if let Some(running) = &mut self.running {
            let outcome = running.await.unwrap_or(Err(SaveError::Ended));
            self.running = None;
            let octets = outcome.as_ref().map_or(self.last.1, |saved| saved.octets);
            self.last = (Instant::now(), octets);
            return Due::Saved(outcome);
        }
        let Some(every) = every else { return std::future::pending().await };
        let (ended, octets) = self.last;
        tokio::time::sleep_until(ended + pause(every, budget, octets)).await;
        Due::Save
    }

    /// Begins to save.
    pub(crate) fn begin(&mut self, ports: &[(PortId, String)], workers: WorkerHandle) {
        self.running = Some(tokio::spawn(save(self.state.clone(), header(ports), workers)));
    }

    /// Waits until nothing is written any more.
    pub(crate) async fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            // Whatever came of it: what is saved next goes before it.
            let _ = running.await;
        }
    }
}
