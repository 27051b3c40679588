//! Finds out whether addresses are in use, many at a time: asks twice, and takes silence for no.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use genkan_control::request::{CHUNK, WorkerError, WorkerHandle, WorkerRequest};
use genkan_engine::frame::PortId;
use genkan_engine::presence::Presence;
use genkan_services::dhcp::server::ProbeOutcome;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Between the first question and the second: radio cards that sleep miss one.
const AGAIN: Duration = Duration::from_millis(250);
/// From the second question on. The server waits for five seconds, clients for three or four.
const LAST: Duration = Duration::from_millis(350);
/// Signs of life that may wait to be looked at.
const QUEUE: usize = 1024;

/// Addresses of a lan.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) port: PortId,
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// What has come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) port: PortId,
    pub(super) address: Ipv4Addr,
    pub(super) outcome: ProbeOutcome,
}

/// Questions that were asked at one time.
#[derive(Debug)]
struct Round {
    due: Instant,
    is_last: bool,
    port: PortId,
    addresses: Vec<Ipv4Addr>,
}

#[derive(Debug)]
struct Prober {
    worker: WorkerHandle,
    seen: mpsc::Sender<Presence>,
    /// In the order in which they are due, of the first and of the second question.
    rounds: [VecDeque<Round>; 2],
    open: BTreeSet<(PortId, Ipv4Addr)>,
    answers: mpsc::UnboundedSender<Answer>,
}

/// Starts it; it ends when nobody can ask any more. The server bounds how many questions are open.
pub(super) fn start(
    worker: WorkerHandle,
) -> (mpsc::UnboundedSender<Question>, mpsc::UnboundedReceiver<Answer>) {
    let (ask, questions) = mpsc::unbounded_channel();
    let (answers, answered) = mpsc::unbounded_channel();
    let (seen, signs) = mpsc::channel(QUEUE);
    let prober = Prober { worker, seen, rounds: Default::default(), open: BTreeSet::new(), answers };
    tokio::spawn(prober.run(questions, signs));
    (ask, answered)
}

impl Prober {
    async fn run(
        mut self,
        mut questions: mpsc::UnboundedReceiver<Question>,
        mut signs: mpsc::Receiver<Presence>,
    ) {
        loop {
            let due = self.rounds.iter().filter_map(|rounds| Some(rounds.front()?.due)).min();
            tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => self.ask_first(question, &mut questions).await,
                    None => return,
                },
                Some(presence) = signs.recv() => self.saw(&presence),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.next_round().await,
            }
        }
    }

    /// Asks a question, with those that wait behind it.
    async fn ask_first(&mut self, first: Question, questions: &mut mpsc::UnboundedReceiver<Question>) {
        let mut all = vec![first];
        while let Ok(question) = questions.try_recv() {
            match all.iter_mut().find(|known| known.port == question.port) {
                Some(known) => known.addresses.extend(question.addresses),
                None => all.push(question),
            }
        }
        for Question { port, addresses } in all {
            self.open.extend(addresses.iter().map(|address| (port, *address)));
            self.ask(port, &addresses).await;
            let due = Instant::now() + AGAIN;
            self.rounds[0].push_back(Round { due, is_last: false, port, addresses });
        }
    }

    /// A round is over.
    async fn next_round(&mut self) {
        let now = Instant::now();
        for which in 0..2 {
            while let Some(mut round) = self.rounds[which].pop_front_if(|round| round.due <= now) {
                let open = &self.open;
                round.addresses.retain(|address| open.contains(&(round.port, *address)));
                if round.is_last {
                    round.addresses.into_iter().for_each(|address| {
                        self.answer(round.port, address, ProbeOutcome::Free);
                    });
                } else if !round.addresses.is_empty() {
                    self.ask(round.port, &round.addresses).await;
                    let due = Instant::now() + LAST;
                    self.rounds[1].push_back(Round { due, is_last: true, ..round });
                }
            }
        }
    }

    fn saw(&mut self, presence: &Presence) {
        self.answer(presence.port, presence.address, ProbeOutcome::InUse(presence.mac));
    }

    fn answer(&mut self, port: PortId, address: Ipv4Addr, outcome: ProbeOutcome) {
        if self.open.remove(&(port, address)) {
            // Nobody is left to be told: the service has ended.
            let _ = self.answers.send(Answer { port, address, outcome });
        }
    }

    /// Has all workers watch, then the first one ask. A worker that does not answer is somebody else's trouble.
    async fn ask(&self, port: PortId, addresses: &[Ipv4Addr]) {
        for addresses in addresses.chunks(CHUNK as usize) {
            if let Err(error) = self.ask_some(port, addresses.into()).await {
                tracing::debug!(%error, "addresses are not probed");
            }
        }
    }

    async fn ask_some(&self, port: PortId, addresses: Arc<[Ipv4Addr]>) -> Result<(), WorkerError> {
        let request = |send| {
            let (addresses, answers) = (addresses.clone(), self.seen.clone());
            move |reply| WorkerRequest::Presence {
                port,
                addresses: addresses.clone(),
                send,
                answers: answers.clone(),
                reply,
            }
        };
        if self.worker.count() > 1 {
            self.worker.ask_all(request(false)).await?;
        }
        self.worker.ask_first(request(true)).await?;
        Ok(())
    }
}
