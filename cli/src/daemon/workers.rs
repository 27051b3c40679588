//! All packet workers of the router: what concerns every one of them is done by every one.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use genkan_control::request::{self, WorkerHandle};
use genkan_engine::frame::PortId;
use genkan_engine::router::LinkState;
use genkan_engine::{Plan, Router, RouterConfig, Team, Timestamp, WorkerId};
use genkan_io::Clock;
use genkan_io::sys::clock::since_1970;
use tokio::sync::mpsc;

use super::devices::OpenPort;
use super::exchange::Exchange;
use super::following::Follower;
use super::forwarder::PortHalves;
use super::local::{self, Doors};
use super::nat_log;
use super::poller::Waker;
use super::sessions::restoring::{Outcome, Source};
use super::sessions::together::Together;
use super::worker::{Beginning, Command, Loop, Report, Restore, Worker, WorkerConfig, WorkerEnded};
use crate::output::Failure;

/// Reports that may wait for the control side; more are counted and lost.
const REPORTS: usize = 256;

/// The control side's hold on the workers.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    clock: Clock,
}

/// What the control side gets when the workers start.
pub(crate) struct Started {
    pub(crate) workers: Workers,
    /// For the API's questions.
    pub(crate) handle: WorkerHandle,
    /// For the UDP services of the router's own.
    pub(crate) doors: Doors,
    /// What the workers tell by themselves.
    pub(crate) reports: mpsc::Receiver<Report>,
    /// Ends, without anything, when the workers wait for what to begin with.
    pub(crate) ready: std::sync::mpsc::Receiver<Infallible>,
    /// What came of putting sessions back, by worker; it ends when all have begun.
    pub(crate) outcomes: std::sync::mpsc::Receiver<Outcome>,
}

/// Workers that have stopped, with all that they had.
pub(crate) struct Paused {
    workers: Vec<Loop>,
    /// The time on their clock.
    pub(crate) now: Timestamp,
}

/// Most rounds of what still waits when workers stop.
const LAST_ROUNDS: u32 = 64;

impl Paused {
    /// Deals with the frames that still wait, also between workers. Returns the wall time until which nothing waits any
    /// more, since 1970. Under a flood, which does not end, some may be left.
    pub(crate) fn finish(&mut self) -> Duration {
        let mut until = since_1970();
        for _ in 0..LAST_ROUNDS {
            if self.workers.iter_mut().map(Loop::round).sum::<usize>() == 0 {
                break;
            }
            until = since_1970();
        }
        until
    }

    /// Their routers.
    pub(crate) fn routers(&self) -> impl Iterator<Item = &Router> {
        self.workers.iter().map(Loop::router)
    }
}

impl Workers {
    /// Starts the workers of a team, each with its halves of the ports and, if there are any, one of the senders. They put
    /// back what is there early, and begin with the first packet as soon as it is set what to begin with.
    ///
    /// # Errors
    /// When a thread or an eventfd cannot be made.
    pub(crate) fn start(
        team: &Arc<Team>,
        plan: &Arc<Plan>,
        seed: [u64; 2],
        ports: Vec<OpenPort>,
        early: Option<&Source>,
        beginning: &Arc<OnceLock<Beginning>>,
        nat_log: Vec<nat_log::Sender>,
    ) -> Result<Started, Failure> {
        let wakers: Vec<Waker> = (0..team.workers())
            .map(|_| Waker::new())
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::new("cannot make an eventfd", &error))?;
        let mut shares: Vec<Vec<(PortId, PortHalves, LinkState)>> =
            wakers.iter().map(|_| Vec::new()).collect();
        for (port, halves, link) in ports {
            for (share, halves) in shares.iter_mut().zip(halves) {
                share.push((port, halves, link));
            }
        }
        let clock = Clock::start();
        let (reports, report_receiver) = mpsc::channel(REPORTS);
        let (is_ready, ready) = std::sync::mpsc::channel();
        let (together, outcomes) = Together::new(wakers.len(), Team::new(team.workers(), seed));
        let (mut workers, mut channels) = (Vec::new(), Vec::new());
        let exchanges = Exchange::between(&wakers);
        let (ends, doors) = local::ways(&wakers);
        let mut nat_log = nat_log.into_iter();
        let parts = wakers.into_iter().zip(exchanges).zip(shares).zip(ends);
        for (id, (((waker, exchange), ports), local)) in parts.enumerate() {
            let (channel, requests) = request::channel({
                let waker = waker.clone();
                Arc::new(move || waker.wake())
            });
            let worker = WorkerId(id as u8);
            // Each draws its own ports; what must come out equal comes from the team.
            let seed =
                [seed[0] ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), seed[1].rotate_left(id as u32)];
            let router = RouterConfig { plan: plan.clone(), seed, team: team.clone(), worker };
            let restore = Restore {
                early: early.cloned(),
                is_ready: is_ready.clone(),
                beginning: beginning.clone(),
                together: together.clone(),
            };
            let reports = reports.clone();
            let nat_log = nat_log.next();
            let config = WorkerConfig {
                router,
                restore,
                ports,
                exchange,
                reports,
                nat_log,
                local,
                requests,
                waker,
                clock,
            };
            let started = Worker::start(config)
                .map_err(|error| Failure::new("cannot start a packet worker", &error))?;
            workers.push(started);
            channels.push(channel);
        }
        drop(together);
        Ok(Started {
            workers: Workers { workers, clock },
            handle: WorkerHandle::of_all(channels),
            doors,
            reports: report_receiver,
            ready,
            outcomes,
        })
    }

    /// Has every worker follow a plan, and waits until all do.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) async fn follow(&self, plan: &Arc<Plan>) -> Result<(), WorkerEnded> {
        self.command_all(|| Command::Plan(plan.clone())).await
    }

    /// Tells every worker about a link.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) async fn set_link(&self, port: PortId, link: LinkState) -> Result<(), WorkerEnded> {
        self.command_all(|| Command::Link(port, link)).await
    }

    /// Gives every worker its halves of a port that is there again.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) async fn attach(
        &self,
        port: PortId,
        halves: Vec<PortHalves>,
        link: LinkState,
    ) -> Result<(), WorkerEnded> {
        for (worker, halves) in self.workers.iter().zip(halves) {
            worker.command(Command::Attach(port, halves, link)).await?;
        }
        Ok(())
    }

    /// Gives each worker one of these to tell events of translation to, or none.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) async fn log_nat_events(&self, senders: Vec<nat_log::Sender>) -> Result<(), WorkerEnded> {
        let mut senders = senders.into_iter();
        for worker in &self.workers {
            worker.command(Command::LogNatEvents(senders.next())).await?;
        }
        Ok(())
    }

    /// Gives each worker one of these, who follows packets there.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) async fn add_followers(&self, followers: Vec<Follower>) -> Result<(), WorkerEnded> {
        for (worker, follower) in self.workers.iter().zip(followers) {
            worker.command(Command::Follow(Box::new(follower))).await?;
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    async fn command_all(&self, make: impl Fn() -> Command) -> Result<(), WorkerEnded> {
        // All at once: while some follow and others do not yet, frames go to and fro for nothing.
        let done: Vec<_> = self.workers.iter().map(|worker| worker.command(make())).collect();
        for command in done {
            command.await?;
        }
        Ok(())
    }

    /// Ends all threads and returns what they had: to go on with [`Workers::resume`], or for good.
    ///
    /// # Errors
    /// When one had ended before, by a panic.
    pub(crate) async fn pause(&mut self) -> Result<Paused, WorkerEnded> {
        let mut paused = Vec::new();
        for worker in &mut self.workers {
            paused.push(worker.pause().await?);
        }
        Ok(Paused { workers: paused, now: self.clock.now() })
    }

    /// Has them go on where they were paused.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub(crate) fn resume(&mut self, paused: Paused) -> std::io::Result<()> {
        self.workers.iter_mut().zip(paused.workers).try_for_each(|(worker, paused)| worker.resume(paused))
    }

    /// Ends all threads, gives their ports back to the kernel, and returns their routers with the time on their clock.
    ///
    /// # Errors
    /// When one had ended before, by a panic.
    pub(crate) async fn stop(self) -> Result<(Vec<Router>, Timestamp), WorkerEnded> {
        let mut outcomes = Vec::new();
        for worker in self.workers {
            outcomes.push(worker.stop().await);
        }
        let routers = outcomes.into_iter().collect::<Result<_, _>>()?;
        Ok((routers, self.clock.now()))
    }
}
