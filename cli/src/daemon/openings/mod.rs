//! Forwards that open and close with the clock: when to look at it, what the workers follow, what is remembered.
//!
//! The rules are in [`genkan_config::openings`]; here are the clocks. A second is the longest that a clock that
//! was set, or a box that slept, goes unnoticed.

mod memory;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use genkan_config::Loaded;
use genkan_config::openings::{Expired, Judgement, Openings, State};
use genkan_control::api::{Closed, ClosedBy};
use genkan_engine::{Event, Plan, UnixTime};
use tracing::warn;

use self::memory::Memory;
use super::event_loop::Daemon;
use super::worker::{Report, WorkerEnded};
use crate::output;

/// How often the clock is looked at when something depends on it.
const LOOK: Duration = Duration::from_secs(1);
/// And when nothing does.
const IDLE_LOOK: Duration = Duration::from_secs(60);
/// How often the time is put on the disk: SD cards wear out.
const KEEP: Duration = Duration::from_secs(3_600);
/// The clock on the wall has gone so far from the monotonic one: it was set, or the box slept.
const JUMP: Duration = Duration::from_millis(500);

/// A clock that was set by more than this may have been set wrong, like one that a router finds at its start: what has
/// expired only by that stays in the file for [`SETTLED`].
const LEAP: Duration = Duration::from_secs(3_600);
/// Time enough for somebody, or something, to set it right.
const SETTLED: Duration = Duration::from_secs(600);

/// Both clocks at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    /// Since 1970.
    pub(super) wall: Duration,
}

impl Now {
    fn read() -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: Instant::now(), wall }
    }

    fn unix(self) -> UnixTime {
        UnixTime(i64::try_from(self.wall.as_secs()).unwrap_or(i64::MAX))
    }

    /// How far the clock on the wall went astray from the monotonic one since `before`.
    fn astray(self, before: Now) -> Duration {
        let expected = before.wall + self.monotonic.saturating_duration_since(before.monotonic);
        self.wall.abs_diff(expected)
    }
}

/// What is open, and since when which clock says so.
#[derive(Debug)]
pub(super) struct Hours {
    openings: Openings,
    memory: Memory,
    plan: Arc<Plan>,
    /// Each forward that a schedule opens and closes, in file order.
    scheduled: Vec<(String, State)>,
    /// Why forwards are closed that are enabled, by name.
    closed: Arc<HashMap<String, Closed>>,
    /// The clocks when the workers got the plan.
    taken: Now,
    /// The clocks when the one on the wall began to go steadily.
    steady: Now,
    /// The next change that the clock brings.
    next: Option<UnixTime>,
    due: Instant,
    kept: Option<(Instant, Vec<Expired>)>,
}

impl Hours {
    /// Begins with what is remembered in the `state` folder.
    pub(super) fn start(state: &Path, loaded: &Loaded) -> Hours {
        Hours::new(state, loaded, Now::read())
    }

    /// The same at a moment of one's own.
    pub(super) fn new(state: &Path, loaded: &Loaded, now: Now) -> Hours {
        let memory = Memory::of(state);
        let mut hours = Hours {
            openings: memory.recall(),
            memory,
            plan: Arc::new(loaded.plan.clone()),
            scheduled: Vec::new(),
            closed: Arc::default(),
            taken: now,
            steady: now,
            next: None,
            due: now.monotonic,
            kept: None,
        };
        hours.judge(loaded, now);
        hours
    }

    /// What the workers are to follow now.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What is known about the clock.
    pub(super) fn openings(&self) -> Openings {
        self.openings.clone()
    }

    /// What they are to follow under a configuration that is about to be in force.
    pub(super) fn follow(&mut self, loaded: &Loaded) -> Arc<Plan> {
        self.judge(loaded, Now::read());
        self.plan.clone()
    }

    /// Why forwards are closed that are enabled, as far as the last look at the clock knew.
    pub(super) fn closed(&self) -> Arc<HashMap<String, Closed>> {
        self.closed.clone()
    }

    /// When to look at the clock again.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What the clock has to show before it is believed, if it shows less.
    pub(super) fn unreached(&self) -> Option<UnixTime> {
        (!self.openings.is_plausible()).then(|| self.openings.floor())
    }

    /// What to say in the status about a clock that cannot be right; nothing when no schedule depends on it.
    pub(super) fn problem(&self) -> Option<String> {
        let floor = self.unreached().filter(|_| !self.scheduled.is_empty())?;
        Some(format!(
            "the clock was later than it is: forwards with a schedule stay closed until it shows {}",
            genkan_config::rfc3339(floor)
        ))
    }

    /// Temporary forwards that may leave the file: their time is over by a clock that can be right. Those whose time came
    /// while the clock went steadily leave at once; those that it was set beyond, or had passed at the start, once it
    /// has gone on like that for [`SETTLED`]. All of them are closed.
    pub(super) fn removable(&self, loaded: &Loaded) -> Vec<String> {
        self.removable_at(loaded, Instant::now())
    }

    fn removable_at(&self, loaded: &Loaded, now: Instant) -> Vec<String> {
        if !self.openings.is_plausible() {
            return Vec::new();
        }
        let is_settled = now.saturating_duration_since(self.steady.monotonic) >= SETTLED;
        let (time, steady_since) = (self.taken.unix(), self.steady.unix());
        // A clock that was set back says that it is not over; it stays closed then, and somebody may prolong it.
        let is_over = |expires: UnixTime| expires <= time && (is_settled || expires > steady_since);
        let expired = self.openings.expired().filter(|(_, expires)| is_over(*expires));
        let is_temporary = |name: &String| loaded.config.temporary.contains(name);
        expired.map(|(name, _)| name.clone()).filter(is_temporary).collect()
    }

    fn judge(&mut self, loaded: &Loaded, now: Now) {
        if now.astray(self.taken) >= LEAP {
            self.steady = now;
        }
        let Judgement { plan, states, opens, next } = self.openings.judge(loaded, now.unix());
        let reasons =
            plan.forwards.iter().zip(states.iter().zip(opens)).filter_map(|(rule, (state, opens))| {
                let by = match state {
                    State::Open | State::Disabled => return None,
                    State::Expired => ClosedBy::Expired,
                    State::OutOfHours => ClosedBy::Schedule,
                    State::ClockUnknown => ClosedBy::Clock,
                    State::Absent => ClosedBy::Absent,
                };
                Some((rule.name.clone(), Closed { by, opens: opens.map(|UnixTime(seconds)| seconds) }))
            });
        self.closed = Arc::new(reasons.collect());
        let rules = plan.forwards.iter().zip(&loaded.config.schedules).zip(states);
        self.scheduled = rules
            .filter(|((_, schedule), _)| schedule.is_some())
            .map(|((rule, _), state)| (rule.name.clone(), state))
            .collect();
        if *self.plan != plan {
            self.plan = Arc::new(plan);
        }
        self.taken = now;
        self.next = next;
        self.set_due(now);
    }

    fn set_due(&mut self, now: Now) {
        let pause = if self.next.is_some() || !self.scheduled.is_empty() { LOOK } else { IDLE_LOOK };
        let left =
            |next: UnixTime| Duration::from_secs(u64::try_from(next.0).unwrap_or(0)).saturating_sub(now.wall);
        self.due = now.monotonic + self.next.map_or(pause, |next| left(next).min(pause));
    }

    /// Looks at the clock. `None`: it brought nothing. Else the workers have to follow the plan, and this is what
    /// opened and closed.
    pub(super) fn look(&mut self, loaded: &Loaded, now: Now) -> Option<Vec<Event>> {
        let set = now.astray(self.taken) >= JUMP;
        if !set && self.next.is_none_or(|next| now.unix() < next) {
            self.set_due(now);
            return None;
        }
        let (plan, before) = (self.plan.clone(), std::mem::take(&mut self.scheduled));
        self.judge(loaded, now);
        // The engine counts to each `expires` by the monotonic clock.
        let expires = || self.plan.forwards.iter().any(|rule| rule.enabled && rule.expires.is_some());
        if Arc::ptr_eq(&plan, &self.plan) && !(set && expires()) {
            return None;
        }
        let turned = before.iter().zip(&self.scheduled).filter(|((_, old), (_, new))| old != new);
        let told = turned.filter_map(|(_, (forward, state))| {
            let forward = forward.clone();
            match state {
                State::Open => Some(Event::ForwardOpened { forward }),
                State::OutOfHours | State::ClockUnknown => Some(Event::ForwardClosed { forward }),
                // The engine tells the first, whoever did the others knows.
                State::Expired | State::Disabled | State::Absent => None,
            }
        });
        Some(told.collect())
    }

    /// Puts what is known on the disk when it is time, or when `now_or_never`.
    pub(super) fn keep(&mut self, now: Now, now_or_never: bool) {
        // A clock that cannot be right must not become what was seen last.
        if !self.openings.is_plausible() {
            return;
        }
        let expired: Vec<Expired> = self.openings.expired().cloned().collect();
        let fresh = self.kept.as_ref().is_some_and(|(at, known)| {
            now.monotonic.saturating_duration_since(*at) < KEEP && *known == expired
        });
        if fresh && !now_or_never {
            return;
        }
        if let Err(error) = self.memory.keep(now.unix(), &expired) {
            warn!(error = output::chain(&error), "the time cannot be kept for the next start");
        }
        // What cannot be written is tried again in an hour.
        self.kept = Some((now.monotonic, expired));
    }

    /// Keeps the time for the next start.
    pub(super) fn end(&mut self) {
        self.keep(Now::read(), true);
    }
}

impl Daemon {
    /// Looks at the clock, and has the workers follow what it brought.
    pub(super) async fn look_at_clock(&mut self) -> Result<(), WorkerEnded> {
        let now = Now::read();
        if let Some(events) = self.hours.look(&self.loaded, now) {
            self.follow_plan(self.hours.plan(), &self.loaded).await?;
            for event in events {
                if let (Event::ForwardOpened { forward }, UnixTime(now)) = (&event, now.unix()) {
                    self.openers.hours_begin(forward, now);
                }
                self.heard(Report::Engine(event)).await?;
            }
            self.snapshot().set_opened(self.openers.told());
        }
        self.snapshot().set_closed(self.hours.closed());
        let problem = self.hours.problem();
        if self.snapshot().set_problem("clock", problem.clone()) {
            match problem {
                Some(problem) => warn!("{problem}"),
                None => tracing::info!("clock: well again"),
            }
        }
        tokio::task::block_in_place(|| self.hours.keep(now, false));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
