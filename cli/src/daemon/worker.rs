//! A packet worker: one thread that owns a router and its share of the ports.
//!
//! A round takes a batch from each port; then time, commands and questions get their turn, and when there was
//! nothing to do the thread sleeps. Everything that reaches it from outside comes through bounded channels.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use genkan_control::api::IoCounters;
use genkan_control::request::WorkerRequest;
use genkan_engine::event::Event;
use genkan_engine::frame::PortId;
use genkan_engine::nat::saved::Restored;
use genkan_engine::plan::Plan;
use genkan_engine::router::LinkState;
use genkan_engine::{Router, RouterConfig, WorkerId};
use genkan_io::IoError;
use genkan_io::sys::clock::Clock;
use tokio::sync::{mpsc, oneshot};

use super::exchange::Exchange;
use super::following::Follower;
use super::forwarder::{Forwarder, KnownNeighbor, PortHalves, PortTrouble};
use super::local::WorkerEnd;
use super::nat_log;
use super::placement::Placement;
use super::poller::{Poller, Spin, Waker};
use super::priority::Priority;
use super::probes::Askers;
use super::sessions::restoring::Source;
use super::sessions::together::Together;

/// Commands and questions taken between two rounds, so that a flood of them cannot stall packets.
const REQUESTS_PER_ROUND: usize = 4;

/// Longest sleep of one worker among several: what the others want of it (room in a full table) wakes nobody.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// What the control side has the worker do. Each is answered when it is done.
pub(crate) enum Command {
    /// Follow this plan from now on.
    Plan(Arc<Plan>),
    /// A link changed.
    Link(PortId, LinkState),
    /// A port's device is there: use it.
    Attach(PortId, PortHalves, LinkState),
    /// Tell events of translation to this one from now on, or to nobody.
    LogNatEvents(Option<nat_log::Sender>),
    /// Let somebody follow packets.
    Follow(Box<Follower>),
    /// End.
    Stop,
}

/// What the worker tells by itself.
#[derive(Debug)]
pub(crate) enum Report {
    /// The engine has something to say.
    Engine(Event),
    /// A port was closed: its device is gone.
    PortGone(PortId),
    /// A port has failed calls.
    PortFault(PortId, IoError),
    /// So many reports were lost before this one, as nobody took them in time.
    Lost(u64),
}

/// What the workers begin with.
#[derive(Default)]
pub(crate) struct Beginning {
    /// Sessions to put back.
    pub(crate) source: Option<Source>,
    /// What another process, which had these ports until now, knew and did.
    pub(crate) before: Option<Before>,
}

/// What a process that has stopped for us leaves to the workers.
pub(crate) struct Before {
    /// It has dealt with the frames that arrived at this wall time (since 1970) or before.
    pub(crate) until: Duration,
    /// Its ARP cache.
    pub(crate) neighbors: Vec<KnownNeighbor>,
}

/// When and how a worker begins.
pub(crate) struct Restore {
    /// Sessions as another process had them some time ago, which has gone on with them.
    pub(crate) early: Option<Source>,
    /// Gone when those are there, and all else that needs no packets.
    pub(crate) is_ready: std::sync::mpsc::Sender<Infallible>,
    /// It may be there later than the worker.
    pub(crate) beginning: Arc<OnceLock<Beginning>>,
    /// With whom.
    pub(crate) together: Together,
}

/// What a worker is made from.
pub(crate) struct WorkerConfig {
    /// The router's.
    pub(crate) router: RouterConfig,
    /// What comes before the first packet.
    pub(crate) restore: Restore,
    /// Its share of the ports that are there.
    pub(crate) ports: Vec<(PortId, PortHalves, LinkState)>,
    /// Its ends of the rings to the other workers.
    pub(crate) exchange: Exchange,
    /// Where its reports go.
    pub(crate) reports: mpsc::Sender<Report>,
    /// Where events of translation go, if anywhere.
    pub(crate) nat_log: Option<nat_log::Sender>,
    /// Its end of the ways to and from the UDP services of the router's own.
    pub(crate) local: WorkerEnd,
    /// Questions of the API.
    pub(crate) requests: mpsc::Receiver<WorkerRequest>,
    /// What ends the worker's sleep.
    pub(crate) waker: Waker,
    /// The clock.
    pub(crate) clock: Clock,
}

/// The control side's hold on the worker.
pub(crate) struct Worker {
    commands: mpsc::Sender<(Command, oneshot::Sender<()>)>,
    waker: Waker,
    /// Absent while it does not run.
    thread: Option<JoinHandle<Loop>>,
}

/// The worker's thread has ended, which it does only when told, or by a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet worker has ended unexpectedly")]
pub(crate) struct WorkerEnded;

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(crate) fn start(config: WorkerConfig) -> io::Result<Worker> {
        let (commands, command_receiver) = mpsc::channel(8);
        let waker = config.waker.clone();
        let name = thread_name(config.router.worker);
        let run = move || Loop::new(config, command_receiver).run();
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Worker { commands, waker, thread: Some(thread) })
    }

    /// Has the worker do something, and waits until it is done.
    ///
    /// # Errors
    /// When its thread has ended.
    pub(crate) async fn command(&self, command: Command) -> Result<(), WorkerEnded> {
        let (done, finished) = oneshot::channel();
        self.commands.send((command, done)).await.map_err(|_| WorkerEnded)?;
        self.waker.wake();
        finished.await.map_err(|_| WorkerEnded)
    }

    /// Ends the thread, gives its ports back to the kernel, and returns its router.
    ///
    /// # Errors
    /// When it had ended before, by a panic.
    pub(crate) async fn stop(mut self) -> Result<Router, WorkerEnded> {
        self.pause().await.map(|paused| paused.forwarder.into_router())
    }

    /// Ends the thread and returns all that it had: to go on with [`Worker::resume`], or for good.
    ///
    /// # Errors
    /// When it had ended before, by a panic.
    pub(crate) async fn pause(&mut self) -> Result<Loop, WorkerEnded> {
        let told = self.command(Command::Stop).await;
        let thread = self.thread.take().ok_or(WorkerEnded)?;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        told?;
        joined.map_err(|_| WorkerEnded)?.map_err(|_| WorkerEnded)
    }

    /// Goes on where it was paused.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(crate) fn resume(&mut self, mut paused: Loop) -> io::Result<()> {
        let name = thread_name(paused.id);
        let run = move || {
            paused.placement = Placement::new(paused.id, paused.workers);
            paused.priority = Priority::new();
            paused.run()
        };
        self.thread = Some(std::thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }
}

fn thread_name(worker: WorkerId) -> String {
    format!("packets-{}", worker.0)
}

/// All that a worker's thread has.
pub(crate) struct Loop {
    id: WorkerId,
    workers: u8,
    /// `None`: however long.
    longest_sleep: Option<Duration>,
    forwarder: Forwarder,
    clock: Clock,
    poller: Poller,
    waker: Waker,
    spin: Spin,
    priority: Priority,
    placement: Placement,
    commands: mpsc::Receiver<(Command, oneshot::Sender<()>)>,
    requests: mpsc::Receiver<WorkerRequest>,
    reports: mpsc::Sender<Report>,
    nat_log: Option<nat_log::Sender>,
    local: WorkerEnd,
    reports_lost: u64,
    probes: Askers,
    links: [Option<LinkState>; PortId::COUNT],
}

impl Loop {
    fn new(config: WorkerConfig, commands: mpsc::Receiver<(Command, oneshot::Sender<()>)>) -> Loop {
        let id = config.router.worker;
        let workers = config.router.team.workers();
        let clock = config.clock;
        let make = |config| Router::new(config, clock.now(), clock.wall());
        let Restore { early, is_ready, beginning, together } = config.restore;
        // All have begun when the last of these is gone.
        let has_begun = together.clone();
        let router = together.restored(config.router, make, |router| {
            let early = early.map(|source| source.restore(router, clock.now()));
            drop(is_ready);
            let Beginning { source, before } = beginning.wait();
            match source {
                Some(source) if before.is_some() => source.catch_up(router, clock.now()),
                Some(source) => source.restore(router, clock.now()),
                None => early.unwrap_or_else(|| Ok(Restored::default())),
            }
        });
        let placement = Placement::new(id, workers);
        let mut worker = Loop {
            id,
            workers,
            longest_sleep: (workers > 1).then_some(LOOK_AROUND),
            forwarder: Forwarder::new(router, config.exchange),
            clock,
            poller: Poller::new(config.waker.clone()),
            waker: config.waker,
            spin: Spin::new(placement.has_spare()),
            placement,
            priority: Priority::new(),
            commands,
            requests: config.requests,
            reports: config.reports,
            nat_log: None,
            local: config.local,
            reports_lost: 0,
            probes: Askers::default(),
            links: [None; PortId::COUNT],
        };
        for (port, halves, link) in config.ports {
            worker.attach(port, halves, link);
        }
        if let Some(Before { until, neighbors }) = beginning.get().and_then(|it| it.before.as_ref()) {
            worker.forwarder.skip_until(*until);
            worker.forwarder.introduce(worker.clock.now(), &worker.links, neighbors);
        }
        // Now: what was put back has been told by who began it.
        worker.log_nat_events(config.nat_log);
        drop(has_begun);
        worker
    }

    /// Takes a batch from every port, outside of the worker's thread; returns how many frames there were.
    pub(crate) fn round(&mut self) -> usize {
        let clock = self.clock;
        let frames = self.forwarder.round(|| clock.now());
        self.pass_on_nat_events();
        frames
    }

    /// The router, for questions.
    pub(crate) fn router(&self) -> &Router {
        self.forwarder.router()
    }

    fn attach(&mut self, port: PortId, halves: PortHalves, link: LinkState) {
        self.links[port.index()] = Some(link);
        self.forwarder.attach(self.clock.now(), port, halves, link);
    }

    fn run(mut self) -> Loop {
        loop {
            let clock = self.clock;
            let frames = self.forwarder.round(|| clock.now());
            let now = self.clock.now();
            self.forwarder.handle_timeout(now);
            self.pass_on_nat_events();
            self.report_troubles();
            self.probes.pass_on(self.forwarder.router_mut());
            self.local.pass_on(&mut self.forwarder, now);
            if self.local.send(&mut self.forwarder, now) {
                continue;
            }
            while let Some(event) = self.forwarder.router_mut().poll_event() {
                self.report(Report::Engine(event));
            }
            match self.take_requests() {
                Turn::Stop => return self,
                Turn::Busy => continue,
                Turn::Idle => {}
            }
            self.priority.received(frames);
            self.placement.look(now);
            if frames > 0 {
                self.spin.found();
            } else if self.spin.should_sleep(now) {
                let due = self.forwarder.router().poll_timeout();
                let pause = due.map(|due| due.saturating_since(self.clock.now()));
                let longest = self.longest_sleep.into_iter().chain(self.local.longest_sleep());
                let pause = pause.into_iter().chain(longest).min();
                if pause.is_none_or(|pause| !pause.is_zero()) {
                    self.priority.rest();
                    self.waker.fall_asleep();
                    // From here on the others wake us; before, they might have seen us awake.
                    if !self.forwarder.has_handed_over() && self.local.is_empty() {
                        self.forwarder.wait(&self.poller, pause);
                    }
                    self.waker.awake();
                }
            }
        }
    }

    fn take_requests(&mut self) -> Turn {
        let mut turn = Turn::Idle;
        for _ in 0..REQUESTS_PER_ROUND {
            let Ok((command, done)) = self.commands.try_recv() else { break };
            turn = Turn::Busy;
            let now = self.clock.now();
            match command {
                Command::Plan(plan) => {
                    self.forwarder.router_mut().apply_plan(now, self.clock.wall(), plan);
                    self.forwarder.send_made(now);
                }
                Command::Link(port, link) => {
                    self.links[port.index()] = Some(link);
                    self.forwarder.set_link(now, port, link);
                }
                Command::Attach(port, halves, link) => self.attach(port, halves, link),
                Command::LogNatEvents(sender) => self.log_nat_events(sender),
                Command::Follow(mut follower) => {
                    follower.set_epoch(self.clock.epoch());
                    self.forwarder.add_follower(*follower);
                }
                Command::Stop => turn = Turn::Stop,
            }
            // Whoever asked may have given up waiting.
            let _ = done.send(());
            if matches!(turn, Turn::Stop) {
                return turn;
            }
        }
        for _ in 0..REQUESTS_PER_ROUND {
            let Ok(request) = self.requests.try_recv() else { break };
            turn = Turn::Busy;
            let request = match request {
                WorkerRequest::Capture { mut tap, reply } => {
                    tap.set_epoch(self.clock.epoch());
                    self.forwarder.set_tap(tap);
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(());
                    continue;
                }
                WorkerRequest::Probe { probe, send, answers, reply } => {
                    let watches = self.forwarder.router_mut().probe(self.clock.now(), probe, send);
                    self.forwarder.send_made(self.clock.now());
                    if watches {
                        self.probes.add(probe.id, answers);
                    }
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(watches);
                    continue;
                }
                WorkerRequest::Presence { port, addresses, send, answers, reply } => {
                    let (now, router) = (self.clock.now(), self.forwarder.router_mut());
                    let ask = |address: &&Ipv4Addr| router.ask_presence(now, port, **address, send);
                    let watched = addresses.iter().filter(ask).count();
                    self.forwarder.send_made(now);
                    self.probes.watch_presence(answers);
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(watched);
                    continue;
                }
                WorkerRequest::Devices { watched, sightings, reply } => {
                    let count = self.forwarder.router_mut().watch_devices(&watched);
                    self.probes.watch_devices(sightings);
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(count);
                    continue;
                }
                request => request,
            };
            let io = match request {
                // Costs system calls.
                WorkerRequest::Counters { .. } => self.forwarder.io_counters(),
                _ => [IoCounters::default(); PortId::COUNT],
            };
            request.answer(self.forwarder.router(), &io, self.clock.now());
        }
        turn
    }

    fn log_nat_events(&mut self, sender: Option<nat_log::Sender>) {
        self.pass_on_nat_events();
        let detail = sender.as_ref().map(nat_log::Sender::detail);
        self.forwarder.router_mut().log_nat_events(detail);
        self.nat_log = sender;
    }

    fn pass_on_nat_events(&mut self) {
        if let Some(sender) = &mut self.nat_log {
            sender.take_from(self.forwarder.router_mut(), self.clock);
        }
    }

    fn report_troubles(&mut self) {
        for trouble in self.forwarder.take_troubles() {
            match trouble {
                PortTrouble::Gone(port) => {
                    // Both halves may tell; the second finds the port closed.
                    if let Some(link) = self.links[port.index()].take() {
                        self.forwarder.detach(self.clock.now(), port, link);
                        // A device is gone for all workers alike; one tells of it.
                        if self.id == WorkerId::FIRST {
                            self.report(Report::PortGone(port));
                        }
                    }
                }
                PortTrouble::Fault(port, error) => self.report(Report::PortFault(port, error)),
            }
        }
    }

    /// Never waits: packets come first.
    fn report(&mut self, report: Report) {
        if self.reports_lost > 0 && self.reports.try_send(Report::Lost(self.reports_lost)).is_ok() {
            self.reports_lost = 0;
        }
        if self.reports.try_send(report).is_err() {
            self.reports_lost += 1;
        }
    }
}

enum Turn {
    Idle,
    Busy,
    Stop,
}
