//! A change that waits for its confirmation, and goes back by itself when that does not come.

use std::time::Duration;

use genkan_control::api::{ChangeQuery, ChangeReport, ErrorBody, ErrorCode};
use genkan_control::server::Peer;
use genkan_control::store::Target;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::super::event_loop::Daemon;
use super::super::worker::WorkerEnded;
use super::{Proposal, not_saved, refuse};

/// How long to wait when going back fails, before it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A change that goes back by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The revision before it.
    pub(super) back_to: u64,
    /// When. By the clock that never jumps.
    deadline: Instant,
}

impl Waiting {
    pub(super) fn new(back_to: u64, time: Duration) -> Waiting {
        Waiting { back_to, deadline: Instant::now() + time }
    }

    /// Seconds left, rounded up.
    pub(super) fn seconds_left(&self) -> u64 {
        self.deadline.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000) as u64
    }

    /// Ends when the time is over; without anything that waits, never.
    pub(crate) async fn over(waiting: Option<Waiting>) {
        match waiting {
            Some(waiting) => tokio::time::sleep_until(waiting.deadline).await,
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Keeps the change that waits.
    pub(super) fn confirm(&mut self, options: ChangeQuery, who: Peer) -> Result<ChangeReport, ErrorBody> {
        let revision = self.store.revision();
        if self.waiting.is_none() {
            let text = format!("no change waits for a confirmation; revision {revision} is in force");
            return refuse(ErrorCode::NothingToConfirm, text);
        }
        if options.revision.is_some_and(|other| other != revision) {
            return refuse(ErrorCode::Conflict, format!("it is revision {revision} that waits"));
        }
        let report = ChangeReport {
            config: self.path.display().to_string(),
            revision,
            dry_run: options.dry_run,
            ..ChangeReport::default()
        };
        if !options.dry_run {
            tokio::task::block_in_place(|| self.store.confirm()).map_err(|error| not_saved(&error))?;
            self.waiting = None;
            info!(revision, uid = who.uid, pid = who.pid, "confirmed");
        }
        Ok(report)
    }

    /// Goes back, as no confirmation came.
    pub(crate) async fn go_back(&mut self) -> Result<(), WorkerEnded> {
        let Some(Waiting { back_to, .. }) = self.waiting.take() else { return Ok(()) };
        let unconfirmed = self.store.revision();
        warn!(revision = unconfirmed, back_to, "no confirmation came: going back");
        let outcome = match tokio::task::block_in_place(|| self.propose_back(back_to, unconfirmed)) {
            Ok(proposal) => self.put_in_force(proposal, ChangeQuery::default(), Peer::default()).await?,
            Err(refusal) => Err(refusal),
        };
        let problem = outcome.err().map(|refusal| {
            self.waiting = Some(Waiting::new(back_to, TRY_AGAIN));
            format!("revision {unconfirmed} cannot be taken back: {}", refusal.message.trim_end())
        });
        if self.snapshot().set_problem("confirmation", problem.clone())
            && let Some(problem) = problem
        {
            error!("{problem}");
        }
        Ok(())
    }

    fn propose_back(&self, back_to: u64, unconfirmed: u64) -> Result<Proposal, ErrorBody> {
        let text = self.store.read(back_to).map_err(|error| not_saved(&error))?;
        let name = self.path.display().to_string();
        let loaded = genkan_config::parse(&text, &name).map_err(|errors| ErrorBody {
            code: ErrorCode::ReloadRefused,
            message: genkan_config::render(&errors, false),
        })?;
        // A person who has edited the file since keeps his text; the rules go back all the same.
        let edited = self.store.is_edited().map_err(|error| not_saved(&error))?;
        let target = if edited { Target::HistoryOnly } else { Target::File };
        let what = format!("back to {back_to}: {unconfirmed} was not confirmed");
        Ok(Proposal { loaded, what, target, all_warnings: false, always: true, insists: true })
    }
}
