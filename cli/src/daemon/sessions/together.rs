//! Workers that put sessions back side by side, and go on together: all with their sessions, or all without.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use genkan_engine::{Router, RouterConfig, Team};

use super::format::Unreadable;
use super::restoring::Outcome;

/// What one worker has of it.
#[derive(Clone)]
pub(crate) struct Together {
    /// The halves of a hairpin may be at two workers, and each is judged by whether the other is there: nobody goes on
    /// before all have theirs.
    all_back: Arc<Barrier>,
    broken: Arc<AtomicBool>,
    /// In the place of the one in which a broken router has left its traces.
    fresh: Arc<Team>,
    outcomes: mpsc::Sender<Outcome>,
}

impl Together {
    /// For so many workers. `fresh`: a team like theirs, to which nothing has happened. What comes of it at each worker
    /// is to be received.
    pub(crate) fn new(workers: usize, fresh: Arc<Team>) -> (Together, mpsc::Receiver<Outcome>) {
        let (outcomes, receiver) = mpsc::channel();
        let all_back = Arc::new(Barrier::new(workers));
        (Together { all_back, broken: Arc::default(), fresh, outcomes }, receiver)
    }

    /// One worker's router, which `make` makes and `restore` fills. If that panics at any worker, all of them start
    /// with empty ones: a defect met by some session must not keep the router from starting, now or ever again.
    pub(crate) fn restored(
        self,
        config: RouterConfig,
        make: impl Fn(RouterConfig) -> Router,
        restore: impl FnOnce(&mut Router) -> Outcome,
    ) -> Router {
        let mut router = make(config.clone());
        // Nobody looks at a router that a panic has left half-way.
        let outcome = catch_unwind(AssertUnwindSafe(|| restore(&mut router)));
        if outcome.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        self.all_back.wait();
        let broken = self.broken.load(Ordering::Acquire);
        if broken {
            router = make(RouterConfig { team: self.fresh, ..config });
        }
        let outcome = outcome.ok().filter(|_| !broken).unwrap_or(Err(Unreadable::Defect));
        // The control side waits for it.
        let _ = self.outcomes.send(outcome);
        router
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use genkan_engine::nat::saved::Restored;
    use genkan_engine::{Timestamp, UnixTime, WorkerId};

    use super::super::tests::session;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(9);

    /// Three workers put five hundred sessions back, and this one panics half-way.
    fn start(panics_at: Option<u8>) -> (Vec<Router>, Vec<Outcome>) {
        let team = Team::new(3, [1, 2]);
        let (together, outcomes) = Together::new(3, Team::new(3, [1, 2]));
        let plan = Arc::new(crate::replay::tests::plan());
        let sessions: Vec<_> = (0..500).map(session).collect();
        let restore = |worker: u8, router: &mut Router| {
            let mut sum = Restored::default();
            for (number, piece) in sessions.chunks(100).enumerate() {
                assert!(panics_at != Some(worker) || number < 3, "a defect");
                sum += router.restore(NOW, Duration::ZERO, piece);
            }
            Ok(sum)
        };
        let routers = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|worker| {
                let (plan, team) = (plan.clone(), team.clone());
                let config = RouterConfig { plan, seed: [3, 4], team, worker: WorkerId(worker) };
                let together = together.clone();
                scope.spawn(move || {
                    let make = |config| Router::new(config, NOW, UnixTime(0));
                    together.restored(config, make, |router| restore(worker, router))
                })
            });
            threads.map(|thread| thread.join().expect("it starts whatever happens")).into()
        });
        drop(together);
        (routers, outcomes.into_iter().collect())
    }

    #[test]
    fn each_takes_its_own() {
        let (routers, outcomes) = start(None);
        assert_eq!(routers.iter().map(Router::session_count).sum::<u32>(), 500);
        let restored = outcomes.into_iter().map(|outcome| outcome.expect("all is well").restored);
        assert_eq!(restored.sum::<u64>(), 500);
    }

    #[test]
    fn a_panic_at_one_lets_all_start_empty() {
        let (mut routers, outcomes) = start(Some(1));
        assert_eq!(outcomes.len(), 3);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Unreadable::Defect))));
        assert!(routers.iter().all(|router| router.session_count() == 0));
        // Nothing of what was half done is left: every port and every session can be had.
        let sessions: Vec<_> = (0..500).map(session).collect();
        let again = routers.iter_mut().map(|router| router.restore(NOW, Duration::ZERO, &sessions).restored);
        assert_eq!(again.sum::<u64>(), 500);
    }
}
