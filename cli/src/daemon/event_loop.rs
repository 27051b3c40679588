//! Everything that happens beside packets: start, signals, reloads, reports, links, end.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_config::{Backend, Device, Loaded};
use genkan_control::api::ReloadReport;
use genkan_control::server::{self, Control, ReloadRequest};
use genkan_control::snapshot::{PortConfig, Running, Snapshot};
use genkan_control::socket::ControlSocket;
use genkan_engine::frame::PortId;
use genkan_engine::{Event, Plan, Team};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;

use super::devices::{Change, Devices};
use super::limiter::Limiter;
use super::watch;
use super::worker::{Report, WorkerEnded};
use super::workers::{Started, Workers};
use crate::events::Describe;
use crate::output::{self, Exit, Failure};

/// How often devices are looked at even though nothing was heard of them.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long open answers of the API may take when the router ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the router until a signal ends it.
pub(crate) fn run(path: &Path, loaded: Loaded, socket: &Path) -> Result<Exit, Failure> {
    start_log();
    let mut socket = ControlSocket::bind(socket)?;
    let listener = socket.take_listener();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the event loop", &error))?;
    let outcome = runtime.block_on(async {
        // Before anything is changed: from now on a signal means an orderly end.
        let mut signals = Signals::new().map_err(|error| Failure::new("cannot listen to signals", &error))?;
        let (mut daemon, inputs) = Daemon::start(path, loaded)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let control = daemon.control.clone();
        let server = listener.map(|listener| {
            tokio::spawn(server::serve(listener, control, async {
                // Told to stop, or the daemon is gone: the same to the server.
                let _ = stopped.await;
            }))
        });
        let outcome = daemon.run(&mut signals, inputs, socket.path()).await;
        drop(stop);
        if let Some(server) = server {
            // An answer that takes longer is cut off.
            let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
        }
        let ended = daemon.end().await;
        outcome.and_then(|exit| ended.map(|()| exit))
    });
    runtime.shutdown_background();
    drop(socket);
    outcome
}

fn start_log() {
    let filter = EnvFilter::try_from_env("GENKAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(output::color(&io::stderr()));
    // The journal has its own clock.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    // It fails only when a log is there already.
    let _ = if to_journal { log.without_time().try_init() } else { log.try_init() };
}

/// 128 secret bits.
fn seed() -> io::Result<[u64; 2]> {
    let mut octets = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    let (low, high) = octets.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
    Ok([word(low), word(high)])
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What the event loop hears.
struct Inputs {
    reports: mpsc::Receiver<Report>,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// What the kernel tells about devices.
    links: mpsc::Receiver<()>,
}

struct Daemon {
    path: PathBuf,
    loaded: Loaded,
    control: Control,
    workers: Workers,
    devices: Devices,
    limiter: Limiter<Discriminant<Event>>,
}

impl Daemon {
    fn start(path: &Path, loaded: Loaded) -> Result<(Daemon, Inputs), Failure> {
        let plan = Arc::new(loaded.plan.clone());
        let seed = seed().map_err(|error| Failure::new("/dev/urandom", &error))?;
        // Before the devices are looked at, so that no change falls between.
        let links = watch::devices()?;
        let team = Team::new(loaded.config.workers, seed);
        let (devices, ports) = Devices::open(&loaded, &team)?;

        let snapshot = Arc::new(Snapshot::new(running(path, &loaded, plan.clone())));
        for (port, _, link) in &ports {
            snapshot.set_link(*port, *link);
        }
        let Started { workers, handle, reports } = Workers::start(&team, &plan, seed, ports)?;
        let (reload, reloads) = mpsc::channel(4);
        let daemon = Daemon {
            path: path.to_owned(),
            loaded,
            control: Control { snapshot, worker: handle, reload },
            workers,
            devices,
            limiter: Limiter::new(),
        };
        Ok((daemon, Inputs { reports, reloads, links }))
    }

    fn snapshot(&self) -> &Snapshot {
        &self.control.snapshot
    }

    async fn run(
        &mut self,
        signals: &mut Signals,
        mut inputs: Inputs,
        socket: &Path,
    ) -> Result<Exit, Failure> {
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        look_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        self.look_at_devices().await?;
        info!(config = %self.path.display(), socket = %socket.display(), "ready");
        tell_systemd(&[NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => self.reload_by_signal().await?,
                Some(request) = inputs.reloads.recv() => {
                    let outcome = self.reload().await?;
                    // Whoever asked may have gone.
                    let _ = request.reply.send(outcome);
                }
                report = inputs.reports.recv() => match report {
                    Some(report) => self.heard(report).await?,
                    None => return Err(WorkerEnded.into()),
                },
                Some(()) = inputs.links.recv() => self.look_at_devices().await?,
                _ = look_again.tick() => self.look_at_devices().await?,
            }
        }
        info!("ending");
        tell_systemd(&[NotifyState::Stopping]);
        Ok(Exit::Done)
    }

    /// Gives everything back. The worker goes first: it holds the devices' sockets.
    async fn end(self) -> Result<(), Failure> {
        let stopped = self.workers.stop().await;
        let restored = self.devices.close();
        stopped?;
        restored
    }

    async fn heard(&mut self, report: Report) -> Result<(), WorkerEnded> {
        match report {
            Report::Engine(event) => {
                if let Some(suppressed) = self.limiter.admit(discriminant(&event), Instant::now()) {
                    log_event(&event, &self.snapshot().port_names(), suppressed);
                }
            }
            Report::PortGone(port) => {
                warn!(port = self.snapshot().port_name(port), "the device is gone; waiting for its return");
                self.devices.lost(port);
                self.look_at_devices().await?;
            }
            Report::PortFault(port, error) => {
                let error = output::chain(&error);
                warn!(port = self.snapshot().port_name(port), error, "frames cannot be moved");
            }
            Report::Lost(count) => warn!(count, "reports of the packet worker were lost"),
        }
        Ok(())
    }

    /// Compares the devices with what is known about them, and passes on what is new.
    async fn look_at_devices(&mut self) -> Result<(), WorkerEnded> {
        for change in self.devices.look() {
            match change {
                Change::Link(port, link) => {
                    let name = self.snapshot().port_name(port);
                    info!(port = name, up = link.up, mac = %link.mac, mtu = link.mtu, "link changed");
                    self.snapshot().set_link(port, link);
                    self.workers.set_link(port, link).await?;
                }
                Change::Attach(port, halves, link) => {
                    info!(port = self.snapshot().port_name(port), "the device is back");
                    self.snapshot().set_link(port, link);
                    self.workers.attach(port, halves, link).await?;
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

    async fn reload_by_signal(&mut self) -> Result<(), WorkerEnded> {
        match self.reload().await? {
            Ok(report) => {
                for line in report.warnings.lines().filter(|line| !line.is_empty()) {
                    warn!("{line}");
                }
            }
            Err(text) => {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    error!("{line}");
                }
            }
        }
        Ok(())
    }

    /// Reads the file again and follows it as a whole, or not at all. The inner error is the text that `check` prints.
    async fn reload(&mut self) -> Result<Result<ReloadReport, String>, WorkerEnded> {
        let monotonic = NotifyState::monotonic_usec_now();
        if let Ok(now) = monotonic {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let outcome = self.try_reload().await;
        tell_systemd(&[NotifyState::Ready]);
        match &outcome {
            Ok(Ok(report)) => info!(changes = report.changes.len(), "configuration reloaded"),
            Ok(Err(_)) => error!("reload refused, the old configuration stays in force"),
            Err(_) => {}
        }
        outcome
    }

    async fn try_reload(&mut self) -> Result<Result<ReloadReport, String>, WorkerEnded> {
        let path = self.path.clone();
        let loaded = match tokio::task::spawn_blocking(move || genkan_config::load(&path)).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(errors)) => return Ok(Err(genkan_config::render(&errors, false))),
            Err(error) => return Ok(Err(format!("error: reading the configuration failed: {error}"))),
        };
        let diff = genkan_config::diff(&self.loaded, &loaded);
        if diff.needs_restart() {
            let refused = diff.changes.iter().filter(|change| change.needs_restart);
            let lines = refused.map(|change| {
                format!("error: {}: {}: cannot change while the router runs\n", change.subject, change.text)
            });
            return Ok(Err(lines.chain(["help: restart the router to use it\n".to_owned()]).collect()));
        }
        if let Err(text) = self.devices.follow(&loaded.plan) {
            return Ok(Err(text));
        }
        let changes: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
        for change in &changes {
            info!("{change}");
        }
        let plan = Arc::new(loaded.plan.clone());
        self.workers.follow(&plan).await?;
        self.snapshot().set_running(running(&self.path, &loaded, plan));
        let warnings = genkan_config::render(&loaded.warnings, false);
        self.loaded = loaded;
        Ok(Ok(ReloadReport { config: self.path.display().to_string(), changes, warnings }))
    }
}

fn running(path: &Path, loaded: &Loaded, plan: Arc<Plan>) -> Running {
    let config = &loaded.config;
    let port = |id, device: &Device| PortConfig {
        id,
        name: device.label.clone(),
        device: device.device.clone(),
        backend: match device.backend {
            Backend::Auto => "auto".to_owned(),
            Backend::AfPacket => "af-packet".to_owned(),
            Backend::AfXdp => "af-xdp".to_owned(),
            Backend::Tap => "tap".to_owned(),
        },
    };
    let mut ports = vec![port(PortId::WAN, &config.wan)];
    ports.extend(config.lans.iter().enumerate().map(|(index, lan)| port(PortId::lan(index), lan)));
    ports.extend(config.tun.iter().map(|tun| PortConfig {
        id: PortId::HOST,
        name: "host".to_owned(),
        device: tun.clone(),
        backend: "host-tun".to_owned(),
    }));
    Running { config: path.display().to_string(), plan, ports, workers: config.workers }
}

fn log_event(event: &Event, ports: &[(PortId, String)], suppressed: u64) {
    let text = Describe { event, ports };
    let more = if suppressed > 0 { format!(" (and {suppressed} like it before)") } else { String::new() };
    match event {
        Event::ForwardHit { .. } | Event::ForwardExpired { .. } => info!("{text}{more}"),
        _ => warn!("{text}{more}"),
    }
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ() {
        assert_ne!(seed().expect("/dev/urandom is there"), seed().expect("/dev/urandom is there"));
    }
}
