//! Questions to the packet worker.
//!
//! The worker owns its router and never shares it. It takes requests from a bounded channel between two batches and
//! answers each with one bounded piece of a table, so that neither a listing nor a slow reader can hold up packets:
//! the reply channel takes the answer without waiting, whether or not anybody still listens.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::Router;
use genkan_engine::Timestamp;
use genkan_engine::WorkerId;
use genkan_engine::counters::Counters;
use genkan_engine::frame::PortId;
use genkan_engine::nat::saved::SavedSession;
use genkan_engine::presence::Presence;
use genkan_engine::probe::{Probe, ProbeAnswer};
use genkan_engine::router::Excerpt;
use genkan_engine::sightings::{Sighting, Watched};
use genkan_engine::view::{ForwardView, HostView, MappingView, NeighborView, SessionView};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::api::{IoCounters, Totals};
use crate::capture::Tap;

/// Most rows that one request may ask of the worker: some ten microseconds of its time.
pub const CHUNK: u32 = 256;

/// Requests that may wait for the worker; the next one waits outside.
pub const QUEUE: usize = 32;

/// Probes that may begin in a second, and be under way.
pub const PROBES_PER_SECOND: usize = 16;

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
    /// A piece of the session table, with what it takes to put it back.
    Save {
        /// Table position to start from.
        cursor: u32,
        /// Most rows; more than [`CHUNK`] is cut to it.
        limit: u32,
        /// Where the answer goes: rows, and where to go on.
        reply: oneshot::Sender<(Vec<SavedSession>, Option<u32>)>,
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
    /// What some of the forwards have counted.
    Forwards {
        /// Position in the plan to start from.
        cursor: u32,
        /// Most rows; more than [`CHUNK`] is cut to it.
        limit: u32,
        /// Where the answer goes: rows, and where to go on.
        reply: oneshot::Sender<(Vec<ForwardView>, Option<u32>)>,
    },
    /// A piece of the table of internal hosts.
    Hosts {
        /// Table position to start from.
        cursor: u32,
        /// Most rows; more than [`CHUNK`] is cut to it.
        limit: u32,
        /// Where the answer goes: rows, and where to go on.
        reply: oneshot::Sender<(Vec<HostView>, Option<u32>)>,
    },
    /// The ARP cache.
    Neighbors {
        /// Where the answer goes, with the worker's time.
        reply: oneshot::Sender<(Timestamp, Vec<NeighborView>)>,
    },
    /// What decides about a frame.
    Excerpt {
        /// Where it comes in.
        port: PortId,
        /// The frame; its link addresses do not matter.
        frame: Vec<u8>,
        /// What all workers have told of [`Excerpt::turns_round_from`]; nothing the first time.
        turns_round_from: Vec<SocketAddrV4>,
        /// Where the answer goes, with the worker's time.
        reply: oneshot::Sender<(Timestamp, Box<Excerpt>)>,
    },
    /// Watch for answers to a question of the router's own, and ask it. What moves the packets does so.
    Probe {
        /// The question.
        probe: Probe,
        /// Ask it, besides watching.
        send: bool,
        /// Where answers go, as long as somebody takes them.
        answers: mpsc::Sender<ProbeAnswer>,
        /// Whether it watches.
        reply: oneshot::Sender<bool>,
    },
    /// Watch whether somebody has these addresses, and ask. What moves the packets does so.
    Presence {
        /// A lan.
        port: PortId,
        /// At most [`CHUNK`] of them.
        addresses: Arc<[Ipv4Addr]>,
        /// Ask, besides watching.
        send: bool,
        /// Where signs of life go, in place of any earlier asker.
        answers: mpsc::Sender<Presence>,
        /// How many of them are watched for.
        reply: oneshot::Sender<usize>,
    },
    /// Watch for these devices, and for no others. What moves the packets does so.
    Devices {
        /// At most [`MOST_DEVICES`](genkan_engine::sightings::MOST_DEVICES) of them.
        watched: Arc<[Watched]>,
        /// Where sightings go, in place of any earlier listener.
        sightings: mpsc::Sender<Sighting>,
        /// How many of them are watched for.
        reply: oneshot::Sender<usize>,
    },
    /// Let this tap see all packets, in place of any other. What moves the packets does so, not the router.
    Capture {
        /// The tap.
        tap: Box<Tap>,
        /// Where it is told that it sees them.
        reply: oneshot::Sender<()>,
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

impl CounterSet {
    /// Of all workers together.
    pub fn sum<'a>(sets: impl Iterator<Item = &'a CounterSet>) -> CounterSet {
        let mut sum = CounterSet { engine: Counters::default(), io: [IoCounters::default(); PortId::COUNT] };
        for set in sets {
            sum.engine += set.engine.clone();
            for (sum, io) in sum.io.iter_mut().zip(set.io) {
                *sum += io;
            }
        }
        sum
    }
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
            WorkerRequest::Save { cursor, limit, reply } => {
                let _ = reply.send(router.save(now, cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Mappings { cursor, limit, reply } => {
                let _ = reply.send(router.mappings(cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Forwards { cursor, limit, reply } => {
                let _ = reply.send(router.forwards(now, cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Hosts { cursor, limit, reply } => {
                let _ = reply.send(router.hosts(now, cursor, limit.min(CHUNK)));
            }
            WorkerRequest::Neighbors { reply } => {
                let _ = reply.send((now, router.neighbors()));
            }
            WorkerRequest::Excerpt { port, frame, turns_round_from, reply } => {
                let _ = reply.send((now, Box::new(router.excerpt(now, port, &frame, &turns_round_from))));
            }
            // Who cannot do it gives no answer.
            WorkerRequest::Capture { .. }
            | WorkerRequest::Probe { .. }
            | WorkerRequest::Presence { .. }
            | WorkerRequest::Devices { .. } => {}
        }
    }
}

/// The control side's end of one worker's channel.
#[derive(Clone)]
pub struct WorkerChannel {
    sender: mpsc::Sender<WorkerRequest>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The control side's hold on all packet workers.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    workers: Arc<[WorkerChannel]>,
    /// Held by the capture that runs.
    capture: Arc<Semaphore>,
    /// One for each probe of the last second.
    probes: Arc<Semaphore>,
}

impl std::fmt::Debug for WorkerChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerChannel").field("closed", &self.sender.is_closed()).finish_non_exhaustive()
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
pub fn channel(wake: Arc<dyn Fn() + Send + Sync>) -> (WorkerChannel, mpsc::Receiver<WorkerRequest>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (WorkerChannel { sender, wake }, receiver)
}

/// Bits of a listing's cursor that are a position in one worker's table; those above are the worker.
const POSITION_BITS: u32 = 26;

const _: () = assert!(WorkerId::MAX as u32 <= 1 << (u32::BITS - POSITION_BITS));

impl WorkerHandle {
    /// The workers of a router, in the order of their numbers.
    pub fn of_all(workers: Vec<WorkerChannel>) -> WorkerHandle {
        let probes = Arc::new(Semaphore::new(2 * PROBES_PER_SECOND));
        WorkerHandle { workers: workers.into(), capture: Arc::new(Semaphore::new(1)), probes }
    }

    /// The right to one probe, which is given back a second later, or when this is dropped if that is later. Waits for it
    /// for [`PATIENCE`]; `None` when so many ask that there is none by then.
    pub async fn begin_probe(&self) -> Option<OwnedSemaphorePermit> {
        let asked = tokio::time::timeout(PATIENCE, self.probes.clone().acquire_many_owned(2)).await;
        let mut permits = asked.ok()?.ok()?;
        let one_second = permits.split(1);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(one_second);
        });
        Some(permits)
    }

    /// Asks the first worker alone.
    ///
    /// # Errors
    /// [`WorkerError`] when it has ended or stays silent for [`PATIENCE`].
    pub async fn ask_first<T>(
        &self,
        make: impl Fn(oneshot::Sender<T>) -> WorkerRequest,
    ) -> Result<T, WorkerError> {
        self.workers.first().ok_or(WorkerError::Ended)?.ask(make).await
    }

    /// The right to capture, which one at a time has until it drops it; `None` while another has it.
    pub fn begin_capture(&self) -> Option<OwnedSemaphorePermit> {
        self.capture.clone().try_acquire_owned().ok()
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Asks every worker the same, and waits for all answers; in the order of the workers.
    ///
    /// # Errors
    /// [`WorkerError`] when one of them has ended or stays silent for [`PATIENCE`].
    pub async fn ask_all<T>(
        &self,
        make: impl Fn(oneshot::Sender<T>) -> WorkerRequest,
    ) -> Result<Vec<T>, WorkerError> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in self.workers.iter() {
            answers.push(worker.ask(&make).await?);
        }
        Ok(answers)
    }

    /// A piece of a listing that goes through the tables of all workers, one after the other: `make` gets the position
    /// in the worker's table and the reply channel. Returns the rows, and the cursor to go on from.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker asked has ended or stays silent for [`PATIENCE`].
    pub async fn ask_piece<T>(
        &self,
        cursor: u32,
        make: impl FnOnce(u32, oneshot::Sender<(Vec<T>, Option<u32>)>) -> WorkerRequest,
    ) -> Result<(Vec<T>, Option<u32>), WorkerError> {
        let (index, position) = (cursor >> POSITION_BITS, cursor & ((1 << POSITION_BITS) - 1));
        let Some(worker) = self.workers.get(index as usize) else { return Ok((Vec::new(), None)) };
        let (rows, next) = worker.ask(|reply| make(position, reply)).await?;
        let next_worker = || {
            let next = index + 1;
            ((next as usize) < self.workers.len()).then_some(next << POSITION_BITS)
        };
        Ok((rows, next.map(|position| index << POSITION_BITS | position).or_else(next_worker)))
    }
}

impl WorkerChannel {
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

    /// A worker with a table of `rows` sessions' positions, of which it answers `limit` at a time.
    fn worker_with(rows: std::ops::Range<u32>) -> WorkerChannel {
        let (channel, mut requests) = channel(Arc::new(|| ()));
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                if let WorkerRequest::Sessions { cursor, limit, reply } = request {
                    let end = (cursor + limit).min(rows.len() as u32);
                    let _ = reply.send((Vec::new(), (end < rows.len() as u32).then_some(end)));
                }
            }
        });
        channel
    }

    #[tokio::test]
    async fn a_listing_goes_through_the_tables_of_all_workers() {
        let handle = WorkerHandle::of_all(vec![worker_with(0..5), worker_with(0..0), worker_with(0..3)]);
        let (mut cursor, mut asked) = (Some(0), Vec::new());
        while let Some(at) = cursor {
            asked.push((at >> POSITION_BITS, at & ((1 << POSITION_BITS) - 1)));
            let piece = |cursor, reply| WorkerRequest::Sessions { cursor, limit: 2, reply };
            cursor = handle.ask_piece(at, piece).await.expect("they live").1;
        }
        assert_eq!(asked, [(0, 0), (0, 2), (0, 4), (1, 0), (2, 0), (2, 2)]);
        // A cursor that no listing gave out.
        let piece = |cursor, reply| WorkerRequest::Sessions { cursor, limit: 2, reply };
        let beyond = handle.ask_piece(3 << POSITION_BITS, piece).await.expect("they live");
        assert_eq!(beyond, (Vec::new(), None));
    }

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
