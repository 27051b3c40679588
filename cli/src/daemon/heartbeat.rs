//! Life signs for the service manager: a ping for its watchdog while the event loop and all packet workers answer, and
//! now and then a line of how the router does (sd_notify(3): WATCHDOG, STATUS).

use std::time::{Duration, Instant};

use genkan_control::api::Totals;
use genkan_control::request::{CounterSet, WorkerError, WorkerHandle, WorkerRequest};
use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

use super::event_loop::tell_systemd;
use crate::output;

/// How often the service manager is told how the router does.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Pings in the time within which one has to come.
const PINGS: u32 = 3;

/// Kept by the event loop, which is itself among what has to live.
pub(super) struct Heartbeat {
    /// `None` without a service manager.
    tick: Option<Interval>,
    watched: bool,
    is_silent: bool,
    /// When a line was due last, and the frames that had come by then.
    told: Option<(Instant, u64)>,
}

impl Heartbeat {
    /// As the service manager wants it, by the environment.
    pub(super) fn new() -> Heartbeat {
        let manager = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Heartbeat::with(manager, sd_notify::watchdog_enabled())
    }

    fn with(manager: bool, watchdog: Option<Duration>) -> Heartbeat {
        let period = watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / PINGS));
        // An interval may not be 0.
        let mut tick = interval(period.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Heartbeat { tick: manager.then_some(tick), watched: watchdog.is_some(), is_silent: false, told: None }
    }

    /// Waits until it is time for [`Heartbeat::beat`].
    pub(super) async fn due(&mut self) {
        match &mut self.tick {
            Some(tick) => drop(tick.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Asks all workers, and tells the service manager when all have answered.
    pub(super) async fn beat(&mut self, workers: &WorkerHandle) {
        match self.pulse(workers).await {
            Ok(status) => {
                if std::mem::take(&mut self.is_silent) {
                    warn!("the packet workers answer again");
                }
                if self.watched {
                    tell_systemd(&[NotifyState::Watchdog]);
                }
                if let Some(status) = status {
                    tell_systemd(&[NotifyState::Status(&status)]);
                }
            }
            Err(error) if !std::mem::replace(&mut self.is_silent, true) => {
                error!(%error, "no life sign for the watchdog");
            }
            Err(_) => {}
        }
    }

    /// Whether all workers answer, with a line of status when that is due.
    async fn pulse(&mut self, workers: &WorkerHandle) -> Result<Option<String>, WorkerError> {
        let totals = workers.ask_all(|reply| WorkerRequest::Totals { reply }).await?;
        let now = Instant::now();
        let before = self.told;
        // Ticks are not that exact.
        if before.is_some_and(|(then, _)| now - then + Duration::from_millis(100) < STATUS_EVERY) {
            return Ok(None);
        }
        let sets = workers.ask_all(|reply| WorkerRequest::Counters { reply }).await?;
        let frames =
            CounterSet::sum(sets.iter().map(|set| &**set)).engine.ports.iter().map(|it| it.rx_frames).sum();
        self.told = Some((now, frames));
        let rate = before.map(|(then, before)| per_second(frames, before, now - then));
        let sessions = totals.into_iter().fold(Totals::default(), Totals::plus).sessions;
        Ok(Some(line(sessions, rate)))
    }
}

fn per_second(now: u64, before: u64, time: Duration) -> u64 {
    (now.saturating_sub(before) as f64 / time.as_secs_f64()).round() as u64
}

fn line(sessions: u32, rate: Option<u64>) -> String {
    let sessions = format!("{} sessions", output::grouped(sessions.into()));
    match rate {
        Some(rate) => format!("{sessions}, {} packets/s", output::grouped(rate)),
        None => sessions,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use genkan_control::request;

    use super::*;

    #[tokio::test]
    async fn a_stalled_worker_means_no_life_sign() {
        // One answers, the other one takes the question and then nothing comes.
        let (lively, mut questions) = request::channel(Arc::new(|| ()));
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                match question {
                    WorkerRequest::Totals { reply } => drop(reply.send(Totals { sessions: 7, mappings: 0 })),
                    WorkerRequest::Counters { reply } => {
                        let none = CounterSet::sum(std::iter::empty());
                        let _ = reply.send(Box::new(none));
                    }
                    other => panic!("nobody asks {other:?}"),
                }
            }
        });
        let (stalled, _questions) = request::channel(Arc::new(|| ()));
        let mut heartbeat = Heartbeat::with(true, Some(Duration::from_secs(3)));
        let both = WorkerHandle::of_all(vec![lively.clone(), stalled]);
        assert_eq!(heartbeat.pulse(&both).await, Err(WorkerError::Silent));
        let alive = WorkerHandle::of_all(vec![lively]);
        assert_eq!(heartbeat.pulse(&alive).await, Ok(Some("7 sessions".to_owned())));
        assert_eq!(heartbeat.pulse(&alive).await, Ok(None), "a ping needs no line each time");
    }

    #[test]
    fn the_line_says_how_the_router_does() {
        assert_eq!(
            line(1_234, Some(per_second(30_000, 10_000, Duration::from_secs(10)))),
            "1,234 sessions, 2,000 packets/s"
        );
    }
}
