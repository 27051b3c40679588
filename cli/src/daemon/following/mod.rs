//! Real packets, explained as they are judged, for whoever follows them: `GET /v1/trace`.
//!
//! ```text
//!  worker:  Followers ──── bounded rings: steps, before, after ────>  Telling  ─> lines ─> client
//!           explain frames in place of judging them plainly          (a thread)
//! ```
//!
//! While somebody follows, [`Router::explain_slot`](genkan_engine::Router::explain_slot) judges the frames of a worker one
//! by one, which comes to the same as a batch of them. The steps that it noted are what happened: no packet is judged
//! twice. Whoever has been told of [`PER_SECOND`](follower::PER_SECOND) packets within a second, or has its ring full,
//! has the rest counted, and once that holds for all who follow, batches are judged as ever.
//!
//! - [`follower`]: the worker's end;
//! - [`telling`]: words, and the two halves of a hairpin that is two workers' work;
//! - [`rulebook`]: the file that a packet was judged by, through reloads.

mod follower;
mod rulebook;
mod telling;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use genkan_config::Loaded;
use genkan_control::api::{ErrorBody, ErrorCode, FollowLine, FollowQuery};
use genkan_control::server::{Peer, Reply};
use genkan_engine::Plan;
use tokio::sync::{Semaphore, mpsc};

pub(crate) use self::follower::{Follower, Followers, judge_plainly};
use self::follower::{Records, Wanted};
use self::rulebook::{Rulebook, Rules};
use self::telling::Telling;
use super::changes::wall_seconds;
use super::event_loop::Daemon;
use super::worker::WorkerEnded;
use crate::trace::Scene;
use crate::words::Language;

/// How many may follow packets at once.
const MOST: usize = 4;
/// Lines that may wait for one that listens.
const LINES_AHEAD: usize = 64;

/// What those who follow packets have together.
#[derive(Debug)]
pub(super) struct Following {
    /// One each.
    seats: Arc<Semaphore>,
    rulebook: Arc<Rulebook>,
}

impl Following {
    pub(super) fn new() -> Following {
        Following { seats: Arc::new(Semaphore::new(MOST)), rulebook: Arc::default() }
    }
}

fn refusal(code: ErrorCode, message: impl Into<String>) -> ErrorBody {
    ErrorBody { code, message: message.into() }
}

impl Daemon {
    /// Lets somebody follow packets.
    pub(super) async fn follow_packets(
        &self,
        query: FollowQuery,
        peer: Peer,
        reply: Reply<mpsc::Receiver<FollowLine>>,
    ) -> Result<(), WorkerEnded> {
        let rules = self.rules(&self.loaded);
        let asked = match asked(&query, &rules) {
            Ok(asked) => asked,
            Err(message) => {
                let _ = reply.send(Err(refusal(ErrorCode::BadRequest, message)));
                return Ok(());
            }
        };
        let Ok(seat) = self.following.seats.clone().try_acquire_owned() else {
            let message = format!("{MOST} follow packets already; there can be no more at once");
            let _ = reply.send(Err(refusal(ErrorCode::TooManyFollow, message)));
            return Ok(());
        };
        self.following.rulebook.put(self.hours.plan(), rules);
        let ends = (0..self.workers.count()).map(|_| Follower::new(asked.wanted.clone()));
        let (followers, records): (Vec<Follower>, Vec<Records>) = ends.unzip();
        self.workers.add_followers(followers).await?;
        let (lines, listener) = mpsc::channel(LINES_AHEAD);
        let telling = Telling {
            records,
            rulebook: self.following.rulebook.clone(),
            snapshot: self.control.snapshot.clone(),
            language: asked.language,
            lines,
            left: query.count.unwrap_or(u64::MAX),
            peer,
            _seat: seat,
        };
        let (port, filter) = (query.port.as_deref().unwrap_or("any"), query.filter.as_deref().unwrap_or(""));
        tracing::info!(uid = peer.uid, pid = peer.pid, port, filter, "packets are followed");
        match std::thread::Builder::new().name("follow".to_owned()).spawn(|| telling.run()) {
            Ok(_) => drop(reply.send(Ok(listener))),
            Err(error) => {
                let message = format!("cannot start a thread: {error}");
                let _ = reply.send(Err(refusal(ErrorCode::WorkerUnavailable, message)));
            }
        }
        Ok(())
    }

    /// Has all workers follow a plan, which is made of `loaded`, and waits until they do.
    pub(super) async fn follow_plan(&self, plan: &Arc<Plan>, loaded: &Loaded) -> Result<(), WorkerEnded> {
        if self.following.seats.available_permits() < MOST {
            // Before the first packet that is judged by it.
            self.following.rulebook.put(plan, self.rules(loaded));
        } else {
            self.following.rulebook.clear();
        }
        self.workers.follow(plan).await
    }

    fn rules(&self, loaded: &Loaded) -> Rules {
        let wall = wall_seconds();
        let judgement = self.hours.openings().judge(loaded, wall);
        Rules { loaded: loaded.clone(), judgement, wall }
    }
}

/// What is asked for.
struct Asked {
    wanted: Wanted,
    language: Language,
}

fn asked(query: &FollowQuery, rules: &Rules) -> Result<Asked, String> {
    let FollowQuery { port, filter, count, language } = query;
    let filter = filter.as_deref().unwrap_or_default().parse();
    let filter = filter.map_err(|error| format!("the filter is not understood {error}"))?;
    let scene = Scene::running(&rules.loaded, rules.judgement.clone(), rules.wall);
    let port = port.as_deref().map(|name| scene.known_port(name)).transpose()?;
    if *count == Some(0) {
        return Err("count is 0; accepted: 1 or more".to_owned());
    }
    let language = language.as_deref().map_or(Some(Language::English), Language::of_code);
    let language = language.ok_or("language: accepted: en, ja")?;
    Ok(Asked { wanted: Wanted { filter, port }, language })
}
