//! Everything that happens beside packets: start, signals, reloads, reports, links, end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use genkan_config::{Facts, Loaded};
use genkan_control::forwards;
use genkan_control::server::{self, ChangeRequest, Control};
use genkan_control::snapshot::Snapshot;
use genkan_control::socket::ControlSocket;
use genkan_control::store::Store;
use genkan_engine::Event;
use genkan_engine::frame::PortId;
use nix::sys::resource::{Resource, getrlimit};
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::changes::{self, Openers, Waiting};
use super::conflicts::{self, Conflicts};
use super::devices::{Change, Devices};
use super::following::Following;
use super::heartbeat::Heartbeat;
use super::limiter::Limiter;
use super::log::Log;
use super::metrics_ports::MetricsPorts;
use super::nat_log::NatLog;
use super::openings::Hours;
use super::privileges::{self, GivenUp};
use super::seen::Seen;
use super::services::{Learned, Services};
use super::sessions::keeper::{Due, Keeper};
use super::sessions::saving::{self, Saved};
use super::state_folder::StateFolder;
use super::upgrade::{self, Call, Calls, HandedOver, Lifeline, Predecessor};
use super::worker::{Report, WorkerEnded};
use super::workers::Workers;
use super::{nat_log, service_manager};
use crate::output::{self, Exit, Failure};

mod signals;
mod starting;

pub(super) use self::signals::Signals;

/// How often devices are looked at even though nothing was heard of them.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long open answers of the API may take when the router ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the router until a signal ends it, or another program takes over. With a predecessor it goes on where that stops.
pub(crate) fn run(
    path: &Path,
    loaded: Loaded,
    socket: &Path,
    mut predecessor: Option<Predecessor>,
) -> Result<Exit, Failure> {
    let log = Log::start(&loaded.config.log);
    let mut socket = match &mut predecessor {
        Some(predecessor) => predecessor.control_socket(socket)?,
        None => ControlSocket::bind_for(socket, loaded.config.group.as_deref())?,
    };
    // Now that the lock is ours, what a killed router left can be settled.
    let shared = predecessor.as_mut().map(Predecessor::history).transpose()?;
    let state = StateFolder::choose(&loaded.config.state, socket.path(), predecessor.is_some());
    let (store, loaded) = changes::open(path, loaded, &state.path, shared)?;
    let listener = socket.take_listener();
    let nat_log = nat_log::folder(&loaded.config.log);
    let named = privileges::named_files(&loaded.config);
    let places =
        privileges::Places { config: path, socket: socket.path(), state: &state.path, nat_log, named };
    // Before the first thread: every one is to be without what is given up here.
    let inherited = predecessor.as_ref().and_then(Predecessor::sandbox).map(privileges::inherited);
    let given_up = inherited.or_else(|| privileges::give_up(&loaded.config, &places));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the event loop", &error))?;
    let outcome = runtime.block_on(async {
        // Before anything is changed: from now on a signal means an orderly end.
        let mut signals = Signals::new().map_err(|error| Failure::new("cannot listen to signals", &error))?;
        let (mut daemon, inputs) = Daemon::start(path, loaded, store, &state, log, predecessor)?;
        socket.own();
        daemon.follow_log();
        daemon.tell_privileges(given_up);
        let (stop, stopped) = oneshot::channel::<()>();
        let control = daemon.control.clone();
        tokio::spawn(forwards::watch(control.snapshot.clone(), control.worker.clone()));
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let limits = server::Limits::within(descriptors);
        let server = listener.map(|listener| {
            tokio::spawn(server::serve(listener, control, limits, async {
                // Told to stop, or the daemon is gone: the same to the server.
                let _ = stopped.await;
            }))
        });
        let outcome = match daemon.run(&mut signals, inputs, &socket).await {
            Ok(Next::HandedOver(handed_over)) => {
                // The other program waits for what is ours.
                let left = daemon.leave(*handed_over);
                last_answers(stop, server).await;
                socket.leave();
                return upgrade::afterwards(left, &mut signals).await;
            }
            Ok(Next::End) => Ok(Exit::Done),
            Err(failure) => Err(failure),
        };
        socket.end();
        last_answers(stop, server).await;
        let ended = daemon.end().await;
        outcome.and_then(|exit| ended.map(|()| exit))
    });
    runtime.shutdown_background();
    outcome
}

/// Tells the API's server to end, and waits until it has. An answer that takes longer is cut off.
async fn last_answers(stop: oneshot::Sender<()>, server: Option<JoinHandle<io::Result<()>>>) {
    drop(stop);
    if let Some(server) = server {
        // Nobody is left to tell of a failure.
        let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    }
}

/// How the event loop has ended.
enum Next {
    End,
    /// To another program.
    HandedOver(Box<HandedOver>),
}

/// What the event loop hears.
struct Inputs {
    reports: mpsc::Receiver<Report>,
    changes: mpsc::Receiver<ChangeRequest>,
    /// What the kernel tells about devices.
    links: mpsc::Receiver<()>,
    /// What the process says that supervisors know, where that is another one.
    calls: Option<Calls>,
    /// What services find out.
    learned: mpsc::Receiver<Learned>,
}

/// The router beside its packet workers.
pub(super) struct Daemon {
    pub(super) path: PathBuf,
    /// What is to be in force, as the file says.
    pub(super) written: Loaded,
    /// What is known beyond that.
    pub(super) facts: Facts,
    /// What is in force: the one with the other.
    pub(super) loaded: Loaded,
    /// Its file, and those before it.
    pub(super) store: Store,
    /// A change that goes back by itself.
    pub(super) waiting: Option<Waiting>,
    pub(super) control: Control,
    pub(super) workers: Workers,
    pub(super) devices: Devices,
    pub(super) keeper: Keeper,
    pub(super) hours: Hours,
    pub(super) following: Following,
    pub(super) services: Services,
    /// Who opened which forward.
    pub(super) openers: Openers,
    pub(super) nat_log: NatLog,
    /// The path of our program.
    pub(super) program: PathBuf,
    /// To the process that supervisors know, where that is another one.
    pub(super) lifeline: Option<Lifeline>,
    /// A signal came while nobody could follow it.
    pub(super) is_ending: bool,
    pub(super) log: Log,
    pub(super) metrics: MetricsPorts,
    /// What a wire can have a worker complain of: about a port, or that it is too much.
    limiter: Limiter<Option<PortId>>,
    seen: Seen,
    conflicts: Conflicts,
}

impl Daemon {
    fn tell_privileges(&self, given_up: Option<GivenUp>) {
        let Some(GivenUp { sandbox, problems }) = given_up else { return };
        self.snapshot().set_sandbox(sandbox);
        for problem in problems {
            self.snapshot().set_problem(&format!("sandbox: {problem}"), Some(problem));
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.control.snapshot
    }

    async fn run(
        &mut self,
        signals: &mut Signals,
        mut inputs: Inputs,
        socket: &ControlSocket,
    ) -> Result<Next, Failure> {
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        look_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tend_bursts = tokio::time::interval(LOOK_AGAIN);

        let mut heartbeat = Heartbeat::new();

        self.look_at_devices().await?;
        self.look_at_clock().await?;
        info!(config = %self.path.display(), socket = %socket.path().display(), "ready");
        tell_systemd(&[NotifyState::Ready]);
        loop {
            let (every, budget) = (self.loaded.config.save_every, self.loaded.config.save_budget);
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => self.reload_by_signal().await?,
                call = heard(inputs.calls.as_ref()) => match call {
                    Call::Terminate => break,
                    Call::Reload => self.reload_by_signal().await?,
                },
                Some(request) = inputs.changes.recv() => match request {
                    ChangeRequest::Upgrade { who, reply } => {
                        match self.upgrade(who, &mut heartbeat, signals, socket).await {
                            Ok((report, handed_over)) => {
                                let _ = reply.send(Ok(report));
                                self.snapshot().set_handed_over();
                                self.snapshot().events.close();
                                return Ok(Next::HandedOver(Box::new(handed_over)));
                            }
                            Err(refusal) => drop(reply.send(Err(refusal))),
                        }
                        if self.is_ending {
                            break;
                        }
                    }
                    request => self.heard_change(request).await?,
                },
                () = Waiting::over(self.waiting) => self.go_back().await?,
                report = inputs.reports.recv() => match report {
                    Some(report) => self.heard(report).await?,
                    None => return Err(WorkerEnded.into()),
                },
                Some(learned) = inputs.learned.recv() => self.learned(learned).await?,
                Some(()) = inputs.links.recv() => self.look_at_devices().await?,
                () = heartbeat.due() => heartbeat.beat(&self.control.worker).await,
                _ = look_again.tick() => {
                    self.look_at_devices().await?;
                    self.look_at_conflicts();
                    self.remove_expired().await?;
                }
                () = tokio::time::sleep_until(self.hours.due().into()) => self.look_at_clock().await?,
                due = self.keeper.due(every, budget) => self.keep(due),
                _ = tend_bursts.tick() => tend_bursts.reset_after(self.devices.tend_bursts(Instant::now())),
            }
        }
        info!("ending");
        self.snapshot().events.close();
        tell_systemd(&[NotifyState::Stopping]);
        Ok(Next::End)
    }

    /// Gives everything back. The worker goes first: it holds the devices' sockets.
    async fn end(mut self) -> Result<(), Failure> {
        let names = self.snapshot().port_names();
        self.services.stop().await;
        let stopped = self.workers.stop().await;
        self.nat_log.finish();
        self.hours.end();
        self.keeper.finish().await;
        if let Ok((routers, now)) = &stopped {
            match saving::save_all(self.keeper.state(), &saving::header(&names), routers, *now) {
                Ok(saved) => info!(sessions = saved.sessions, octets = saved.octets, "sessions saved"),
                Err(error) => warn!(%error, "sessions are not saved"),
            }
        }
        let restored = self.devices.close();
        stopped?;
        restored
    }

    /// Saves sessions when it is time to, and tells how that went.
    fn keep(&mut self, due: Due) {
        let outcome = match due {
            Due::Save => {
                let ports = self.snapshot().port_names();
                return self.keeper.begin(&ports, self.control.worker.clone());
            }
            Due::Saved(outcome) => outcome,
        };
        let problem = match outcome {
            Ok(Saved { sessions, octets }) => {
                debug!(sessions, octets, "sessions saved");
                None
            }
            Err(error) => Some(format!("sessions are not saved: {}", output::chain(&error))),
        };
        if self.snapshot().set_problem("sessions", problem.clone()) {
            match problem {
                Some(problem) => warn!("{problem}"),
                None => info!("sessions are saved again"),
            }
        }
    }

    pub(super) async fn heard(&mut self, report: Report) -> Result<(), WorkerEnded> {
        match report {
            Report::Engine(event) => {
                if let Event::AddressConflict { port, address, mac } = event {
                    let is_claim = self.conflicts.heard(port, address, mac, Instant::now());
                    self.conflicts.tell(&self.control.snapshot);
                    if !is_claim {
                        return Ok(());
                    }
                    if port == PortId::WAN {
                        self.services.wan_conflict(address);
                    }
                }
                self.seen.note(&event, &self.control.snapshot);
            }
            Report::PortGone(port) => {
                warn!(port = self.snapshot().port_name(port), "the device is gone; waiting for its return");
                self.devices.lost(port);
                self.look_at_devices().await?;
            }
            Report::PortFault(port, error) => {
                if let Some(suppressed) = self.limiter.admit(Some(port), Instant::now()) {
                    let (port, error) = (self.snapshot().port_name(port), output::chain(&error));
                    warn!(port, error, suppressed, "frames cannot be moved");
                }
            }
            Report::Lost(count) => {
                if let Some(suppressed) = self.limiter.admit(None, Instant::now()) {
                    warn!(count, suppressed, "reports of the packet worker were lost");
                }
            }
        }
        Ok(())
    }

    fn look_at_conflicts(&mut self) {
        for place in self.conflicts.look(&self.loaded.plan, Instant::now()) {
            conflicts::ask(&self.control.worker, place);
        }
        self.conflicts.tell(&self.control.snapshot);
    }

    /// Compares the devices with what is known about them, and passes on what is new.
    async fn look_at_devices(&mut self) -> Result<(), WorkerEnded> {
        for change in self.devices.look() {
            match change {
                Change::Link(port, link) => {
                    let name = self.snapshot().port_name(port);
                    info!(port = name, up = link.up, mac = %link.mac, mtu = link.mtu, "link changed");
                    // The workers first: who waits for the link may have something to send.
                    self.workers.set_link(port, link).await?;
                    self.snapshot().set_link(port, link);
                }
                Change::Attach(port, halves, link) => {
                    info!(port = self.snapshot().port_name(port), "the device is back");
                    self.workers.attach(port, halves, link).await?;
                    self.snapshot().set_link(port, link);
                }
                Change::Backend(port, backend) => {
                    if self.snapshot().set_backend(port, backend.clone()) {
                        let (port, reason) =
                            (self.snapshot().port_name(port), backend.reason.unwrap_or_default());
                        info!(port, backend = backend.name, reason, "back end");
                    }
                }
                Change::Problem(key, problem) => {
                    if self.snapshot().set_problem(&key, problem.clone()) {
                        match problem {
                            Some(problem) => warn!("{problem}"),
                            None => info!("{key}: well again"),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the guardian says, if there is one.
async fn heard(calls: Option<&Calls>) -> Call {
    match calls {
        Some(calls) => calls.next().await,
        None => std::future::pending().await,
    }
}

/// Tells the service manager, where there is one.
pub(super) fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = service_manager::tell(state) {
        debug!(%error, "the service manager was not told");
    }
}
