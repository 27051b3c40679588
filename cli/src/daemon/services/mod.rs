//! What the router does for its lans beside forwarding. The rules are in the services crate; here are the sockets, files
//! and clocks.
//!
//! A service lives as long as the process: another configuration switches it on and off. Datagrams come to it and leave
//! by its [`Door`](super::local::Door). What it finds out about the world goes to the event loop as [`Learned`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_config::Loaded;
use genkan_control::request::WorkerHandle;
use genkan_control::snapshot::Snapshot;
use genkan_engine::Event;
use tokio::sync::mpsc;

use super::local::Doors;

/// Findings that may wait for the event loop.
const LEARNED: usize = 256;

/// What a service has found out.
#[derive(Debug)]
pub(super) enum Learned {
    /// Something to be told.
    Event(Event),
}

/// What all services have of the rest of the router.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The folder for what outlives the process.
    pub(super) state: PathBuf,
    pub(super) snapshot: Arc<Snapshot>,
    /// For questions to the packet workers.
    pub(super) worker: WorkerHandle,
    pub(super) learned: mpsc::Sender<Learned>,
}

impl Context {
    /// The context, and what the event loop hears.
    pub(super) fn new(
        state: &Path,
        snapshot: &Arc<Snapshot>,
        worker: &WorkerHandle,
    ) -> (Context, mpsc::Receiver<Learned>) {
        let (learned, heard) = mpsc::channel(LEARNED);
        let context =
            Context { state: state.to_owned(), snapshot: snapshot.clone(), worker: worker.clone(), learned };
        (context, heard)
    }
}

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    /// Of services that nobody has yet.
    _doors: Doors,
}

impl Services {
    /// Starts those that the configuration asks for.
    pub(super) fn start(doors: Doors, context: &Context, loaded: &Loaded) -> Services {
        let _ = (context, loaded);
        Services { _doors: doors }
    }

    /// Another configuration is in force, or something was found out that changes what is.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        let _ = loaded;
    }

    /// Ends all. Nothing is written to the state folder after that: another process may have it.
    pub(super) async fn stop(&mut self) {}

    /// Goes on after [`Services::stop`]: nobody has taken over.
    pub(super) fn resume(&mut self) {}
}
