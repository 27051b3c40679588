//! Questions to the packet worker.
//!
//! The worker owns its router and never shares it. It takes requests from a bounded channel between two batches and
//! answers each with one bounded piece of a table, so that neither a listing nor a slow reader can hold up packets:
//! the reply channel takes the answer without waiting, whether or not anybody still listens.

use std::sync::Arc;
use std::time::Duration;

use genkan_engine::Router;
use genkan_engine::Timestamp;
use genkan_engine::counters::Counters;
use genkan_engine::frame::PortId;
use genkan_engine::view::{MappingView, NeighborView, SessionView};
use tokio::sync::{mpsc, oneshot};

use crate::api::{IoCounters, Totals};

/// Most rows that one request may ask of the worker: some ten microseconds of its time.
pub const CHUNK: u32 = 256;

/// Requests that may wait for the worker; the next one waits outside.
pub const QUEUE: usize = 32;

/// How long the control side waits for an answer. The worker answers within microseconds unless it has died.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One question to the worker.
#[derive(Debug)]
pub enum WorkerRequest {
    /// Sizes of the tables.
    Totals {
        /// Where the answer goes.
        reply: oneshot::Sender<Totals>,
    },
    /// All counters.
    Counters {
        /// Where the answer goes.
        reply: oneshot::Sender<Box<CounterSet>>,
    },
    /// A piece of the session table.
    Sessions {
        /// Table position to start from.
        cursor: u32,
        /// Most rows; more than [`CHUNK`] is cut to it.
        limit: u32,
        /// Where the answer goes: rows, and where to go on.
        reply: oneshot::Sender<(Vec<SessionView>, Option<u32>)>,
    },
    /// A piece of the mapping table.
    Mappings {
        /// Table position to start from.
        cursor: u32,
        /// Most rows; more than [`CHUNK`] is cut to it.
        limit: u32,
        /// Where the answer goes: rows, and where to go on.
        reply: oneshot::Sender<(Vec<MappingView>, Option<u32>)>,
    },
    /// The ARP cache.
    Neighbors {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<NeighborView>>,
    },
}

/// Counters of the engine and of the I/O around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSet {
    /// The engine's.
    pub engine: Counters,
    /// The I/O layer's, by [`PortId::index`].
    pub io: [IoCounters; PortId::COUNT],
}

impl WorkerRequest {
    /// Answers from the worker's own router. Called by the worker between two batches.
    pub fn answer(self, router: &Router, io: &[IoCounters; PortId::COUNT], now: Timestamp) {
        // A reply that nobody waits for any more is no error: the asker gave up.
        match self {
            WorkerRequest::Totals { reply } => {
                let totals = Totals { sessions: router.session_count(), mappings: router.mapping_count() };
                let _ = reply.send(totals);
            }
            WorkerRequest::Counters { reply } => {
                let _ = reply.send(Box::new(CounterSet { engine: router.counters(), io: *io }));
            }
            WorkerRequest::Sessions { cursor, limit, reply } => {
                let _ = reply.send(router.sessions(now, cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Mappings { cursor, limit, reply } => {
                let _ = reply.send(router.mappings(cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Neighbors { reply } => {
                let _ = reply.send(router.neighbors());
            }
        }
    }
}

/// The control side's end of the channel.
#[derive(Clone)]
pub struct WorkerHandle {
    sender: mpsc::Sender<WorkerRequest>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerHandle").field("closed", &self.sender.is_closed()).finish_non_exhaustive()
    }
}

/// Why the worker gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Its thread has ended.
    #[error("the packet worker has ended")]
    Ended,
    /// It is alive but did not answer.
    #[error("the packet worker did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// A channel to a worker. `wake` is called after each request, to get the worker out of its sleep.
pub fn channel(wake: Arc<dyn Fn() + Send + Sync>) -> (WorkerHandle, mpsc::Receiver<WorkerRequest>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (WorkerHandle { sender, wake }, receiver)
}

impl WorkerHandle {
    /// Sends the request that `make` builds around a reply channel, and waits for the answer.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker has ended or stays silent for [`PATIENCE`].
    pub async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> WorkerRequest,
    ) -> Result<T, WorkerError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.sender.send(make(reply)).await.map_err(|_| WorkerError::Ended)?;
            (self.wake)();
            answer.await.map_err(|_| WorkerError::Ended)
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(WorkerError::Silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ended_worker_is_an_error_at_once() {
        let (handle, receiver) = channel(Arc::new(|| ()));
        drop(receiver);
        let answer = handle.ask(|reply| WorkerRequest::Totals { reply }).await;
        assert_eq!(answer, Err(WorkerError::Ended));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_worker_is_given_up() {
        let (handle, _receiver) = channel(Arc::new(|| ()));
        let answer = handle.ask(|reply| WorkerRequest::Totals { reply }).await;
        assert_eq!(answer, Err(WorkerError::Silent));
    }
}
