//! The running program's part: it starts the new one, gives it everything, and takes it all back if that fails.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_control::api::{ErrorBody, ErrorCode, UpgradeReport};
use genkan_control::server::Peer;
use genkan_control::socket::ControlSocket;
use genkan_io::passage::Passage;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sd_notify::NotifyState;
use tracing::{error, info, warn};

use super::{Lifeline, Message, Offer, STEPS, guardian, memory_file, receive, send};
use crate::daemon::event_loop::{Daemon, Signals};
use crate::daemon::forwarder::KnownNeighbor;
use crate::daemon::heartbeat::Heartbeat;
use crate::daemon::service_manager;
use crate::daemon::sessions::format::{self, Writer};
use crate::daemon::sessions::saving;
use crate::daemon::workers::Paused;
use crate::output::{self, Exit, Failure};

/// How long the new program may take until it is ready.
const UNTIL_READY: Duration = Duration::from_secs(20);

/// How long it may take for each step after that, while no packet moves.
const STEP: Duration = Duration::from_secs(3);

/// How long it may take to end when it no longer listens.
const UNTIL_ENDED: Duration = Duration::from_secs(1);

/// How long to wait until the service manager is told again what it did not take.
const AGAIN: Duration = Duration::from_millis(500);

/// The path of this program, as it was started: a package manager may put another one there.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
}

/// The new program. Dropping it ends it.
struct Successor {
    child: Child,
    passage: Arc<Passage>,
    program: PathBuf,
    /// The end of a lifeline that this process keeps.
    guard: Option<Lifeline>,
    is_free: bool,
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_free {
            self.kill();
        }
    }
}

/// What is left in this process when the new program runs.
pub(crate) struct HandedOver {
    successor: Successor,
    paused: Paused,
}

/// What is left in this process when that has everything.
pub(crate) struct Left {
    successor: Successor,
    /// Whether the service manager knows its process id.
    is_told: bool,
}

impl Successor {
    /// Starts the program, and offers it everything.
    fn start(daemon: &Daemon, socket: &ControlSocket) -> Result<Successor, String> {
        let program = daemon.program.clone();
        let name = program.display();
        let (passage, other) = Passage::pair().map_err(|error| error.to_string())?;
        let mut command = Command::new(&program);
        command.args(["run", "--take-over", "--config"]).arg(&daemon.path);
        command.arg("--socket").arg(socket.path()).stdin(other.into_descriptor());
        // It is for this process's number; without it, whoever has the rest of the environment is meant.
        command.env_remove("WATCHDOG_PID");
        let child = command.spawn().map_err(|error| format!("{name} cannot be run: {error}"))?;
        // Its end is closed here, so that it is noticed when it ends.
        drop(command);
        let guard = None;
        let passage = Arc::new(passage);
        let mut successor = Successor { child, passage, program: program.clone(), guard, is_free: false };
        match successor.offer(daemon, socket) {
            // It has ended; who waits for its word hears that.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Ok(successor)
            }
            Err(error) => Err(format!("{name} takes no offer: {error}")),
            Ok(()) => Ok(successor),
        }
    }

    fn offer(&mut self, daemon: &Daemon, socket: &ControlSocket) -> io::Result<()> {
        let ports = daemon.devices.offers();
        let snapshot = daemon.snapshot();
        let offer = Offer {
            steps: STEPS,
            sessions: format::VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            workers: daemon.loaded.config.workers,
            ports: ports.len(),
            upgrades: snapshot.upgrades() + 1,
            sandbox: snapshot.sandbox(),
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = socket.descriptors().into_iter().flatten().collect();
        descriptors.push(daemon.store.descriptor());
        let fresh = match &daemon.lifeline {
            None if !has_service_manager() => Some(Lifeline::pair()?),
            _ => None,
        };
        let lifeline = daemon.lifeline.as_ref().or(fresh.as_ref().map(|(_, other)| other));
        descriptors.extend(lifeline.map(Lifeline::descriptor));
        send(&self.passage, &Message::Offer(offer), &descriptors)?;
        for (port, descriptors) in ports {
            send(&self.passage, &Message::Port(port), &descriptors)?;
        }
        self.guard = fresh.map(|(guard, _)| guard);
        Ok(())
    }

    /// Its version, once it is ready.
    async fn ready(&mut self) -> Result<String, String> {
        let passage = self.passage.clone();
        let heard = tokio::task::spawn_blocking(move || receive(&passage, UNTIL_READY)).await;
        let name = self.program.display().to_string();
        match heard.map_err(|error| error.to_string())? {
            Ok(Some((Message::Ready { version }, _))) => Ok(version),
            Ok(Some((Message::Refused { text }, _))) => Err(text),
            Ok(None) => Err(format!(
                "{name} ended ({}) without a word: it may be no Genkan, or one that cannot take over; what it printed \
                 is in the router's log",
                self.end().await
            )),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("{name} was not ready within {} s", UNTIL_READY.as_secs()))
            }
            Ok(Some(_)) => Err(format!("{name} said what was not due")),
            Err(error) => Err(format!("{name} cannot be understood: {error}")),
        }
    }

    /// Ends it for certain.
    fn kill(&mut self) {
        // Whatever comes of it: it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it has ended, after it has closed its end of the passage: that comes shortly before.
    async fn end(&mut self) -> String {
        let ended = async {
            loop {
                match self.child.try_wait() {
                    Ok(None) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Ok(Some(status)) => return status.to_string(),
                    Err(error) => return error.to_string(),
                }
            }
        };
        let ended = tokio::time::timeout(UNTIL_ENDED, ended).await;
        ended.unwrap_or_else(|_| "it was still there, and did not listen".to_owned())
    }

    /// The next step is done.
    fn expect(&self, step: &str, is_it: impl Fn(&Message) -> bool) -> Result<Message, String> {
        match receive(&self.passage, STEP) {
            Ok(Some((message, _))) if is_it(&message) => Ok(message),
            Ok(Some((Message::Refused { text }, _))) => Err(text),
            Ok(None) => Err(format!("it ended when it was to {step}; its log may say why")),
            Ok(Some(_)) => Err(format!("it said something else when it was to {step}")),
            Err(error) => Err(format!("it did not {step}: {error}")),
        }
    }
}

fn has_service_manager() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

impl Daemon {
    /// Gives everything to the program at our path. Packets go on through this one when the outcome is a refusal.
    pub(crate) async fn upgrade(
        &mut self,
        who: Peer,
        heartbeat: &mut Heartbeat,
        signals: &mut Signals,
        socket: &ControlSocket,
    ) -> Result<(UpgradeReport, HandedOver), ErrorBody> {
        let outcome = self.try_upgrade(heartbeat, signals, socket).await;
        match outcome {
            Ok((report, handed_over)) => {
                let (from, to, successor) = (&report.from, &report.to, report.pid);
                let (sessions, micros) = (report.sessions, report.pause_micros);
                let (uid, pid) = (who.uid, who.pid);
                info!(
                    uid,
                    pid,
                    from,
                    to,
                    successor,
                    sessions,
                    pause_micros = micros,
                    "another program has taken over"
                );
                Ok((report, handed_over))
            }
            Err(text) => {
                error!(uid = who.uid, pid = who.pid, "upgrade refused, this program goes on: {text}");
                Err(ErrorBody { code: ErrorCode::UpgradeRefused, message: text })
            }
        }
    }

    async fn try_upgrade(
        &mut self,
        heartbeat: &mut Heartbeat,
        signals: &mut Signals,
        socket: &ControlSocket,
    ) -> Result<(UpgradeReport, HandedOver), String> {
        if self.waiting.is_some() {
            return Err("a change waits to be confirmed: confirm it, or let it go back, first".to_owned());
        }
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text != self.store.text()) {
            let path = self.path.display();
            return Err(format!("{path} is not what is in force: `genkan reload` first"));
        }
        self.save_beside(heartbeat).await;
        let mut successor = tokio::task::block_in_place(|| Successor::start(self, socket))?;
        let version = {
            let mut ready = std::pin::pin!(successor.ready());
            loop {
                tokio::select! {
                    outcome = &mut ready => break outcome?,
                    () = heartbeat.due() => heartbeat.beat(&self.control.worker).await,
                    _ = signals.terminate.recv() => return Err(self.ending()),
                    _ = signals.interrupt.recv() => return Err(self.ending()),
                }
            }
        };
        // The new program's services begin with what ours leave in the state folder. Machines of the lans are answered
        // until packets wait.
        self.services.stop_asking().await;
        let began = Instant::now();
        let switched = self.switch(&mut successor).await;
        if switched.is_err() {
            self.services.resume();
        }
        let (paused, sessions, not_taken) = switched?;
        successor.is_free = true;
        let report = UpgradeReport {
            program: self.program.display().to_string(),
            from: env!("CARGO_PKG_VERSION").to_owned(),
            to: version,
            pid: successor.child.id(),
            upgrades: self.snapshot().upgrades() + 1,
            sessions,
            not_taken,
            pause_micros: began.elapsed().as_micros() as u64,
        };
        Ok((report, HandedOver { successor, paused }))
    }

    fn ending(&mut self) -> String {
        self.is_ending = true;
        "the router is ending".to_owned()
    }

    /// Saves the sessions as always, should both programs come to grief.
    async fn save_beside(&mut self, heartbeat: &mut Heartbeat) {
        let (state, header) = (self.keeper.state().to_owned(), saving::header(&self.snapshot().port_names()));
        let worker = self.control.worker.clone();
        let keeper = &mut self.keeper;
        let mut saved = std::pin::pin!(async {
            keeper.finish().await;
            saving::save(state, header, worker.clone()).await
        });
        loop {
            tokio::select! {
                outcome = &mut saved => {
                    if let Err(error) = outcome {
                        warn!(error = output::chain(&error), "sessions are not saved before the upgrade");
                    }
                    return;
                }
                () = heartbeat.due() => heartbeat.beat(&worker).await,
            }
        }
    }

    /// The moment in which no packet moves. When it fails, they move again before this returns.
    async fn switch(&mut self, successor: &mut Successor) -> Result<(Paused, u64, u64), String> {
        let name = self.program.display().to_string();
        let failed = |text: String| format!("{name}: {text}");
        send(&successor.passage, &Message::Begin, &[]).map_err(|error| failed(error.to_string()))?;
        successor.expect("let frames in", |it| matches!(it, Message::Gathering)).map_err(failed)?;
        self.services.stop_answering().await;
        let mut paused = self.workers.pause().await.map_err(|error| failed(error.to_string()))?;
        let outcome = tokio::task::block_in_place(|| self.give(&mut paused, successor));
        match outcome {
            Ok((sessions, not_taken)) => Ok((paused, sessions, not_taken)),
            Err(text) => {
                // It must not move packets beside us, whatever it thinks.
                successor.kill();
                if let Err(error) = self.workers.resume(paused) {
                    error!(%error, "the packet workers cannot go on");
                }
                Err(failed(text))
            }
        }
    }

    fn give(&self, paused: &mut Paused, successor: &Successor) -> Result<(u64, u64), String> {
        let given = self.give_sessions(paused, &successor.passage);
        given.map_err(|error| format!("the sessions cannot be handed over: {error}"))?;
        match successor.expect("move packets", |it| matches!(it, Message::Running { .. }))? {
            Message::Running { sessions, not_taken } => Ok((sessions, not_taken)),
            _ => Err("it does not move packets".to_owned()),
        }
    }

    fn give_sessions(&self, paused: &mut Paused, passage: &Passage) -> io::Result<()> {
        let until = paused.finish();
        let sessions = memory_file("genkan-sessions")?;
        let header = saving::header(&self.snapshot().port_names());
        let mut writer = Writer::new(BufWriter::with_capacity(256 << 10, &sessions), &header)?;
        saving::write_all(&mut writer, &header.written, paused.routers(), paused.now)?;
        writer.finish()?;
        let neighbors = memory_file("genkan-neighbors")?;
        let mut buffered = BufWriter::new(&neighbors);
        serde_json::to_writer(&mut buffered, &known_neighbors(paused))?;
        buffered.flush()?;
        send(passage, &Message::Go { until }, &[sessions.as_fd(), neighbors.as_fd()])
    }

    /// Leaves all that is the new program's now.
    pub(crate) fn leave(mut self, handed_over: HandedOver) -> Left {
        // Our workers count no more; the new program is bound there already.
        drop(std::mem::take(&mut self.metrics));
        let HandedOver { successor, paused } = handed_over;
        let is_told = tell_of(&successor.child);
        self.devices.leave();
        if let Err(error) = send(&successor.passage, &Message::Left, &[]) {
            warn!(%error, "the new program does not listen any more");
        }
        // This closes packet sockets, which takes a while.
        drop(paused);
        self.nat_log.finish();
        Left { successor, is_told }
    }
}

/// The ARP caches of all workers as one.
fn known_neighbors(paused: &Paused) -> Vec<KnownNeighbor> {
    let mut seen = HashSet::new();
    let all = paused.routers().flat_map(|router| router.neighbors());
    let known = all.filter(|it| it.state != "failed").filter_map(|it| {
        let mac = it.mac.filter(|_| seen.insert((it.port, it.address)))?;
        Some(KnownNeighbor { port: it.port.0, address: it.address, mac: mac.0 })
    });
    known.collect()
}

/// Tells the service manager, if there is one, which process it is by now; whether it has taken that.
fn tell_of(program: &Child) -> bool {
    let told = service_manager::tell(&[NotifyState::MainPid(program.id())]);
    told.inspect_err(|error| warn!(%error, "the service manager does not hear of the new process")).is_ok()
}

/// What this process does after [`Daemon::leave`].
pub(crate) async fn afterwards(left: Left, signals: &mut Signals) -> Result<Exit, Failure> {
    let Left { mut successor, mut is_told } = left;
    if let Some(lifeline) = successor.guard.take() {
        return guardian::guard(lifeline, signals).await;
    }
    let program = &mut successor.child;
    // To a service manager that does not know, the end of this process is the end of the service.
    while !is_told {
        if let Ok(Some(status)) = program.try_wait() {
            return Err(Failure::message(format!("the new program has ended: {status}")));
        }
        tokio::time::sleep(AGAIN).await;
        is_told = tell_of(program);
    }
    // Who sent them had not heard yet that they are another process's business.
    for signal in signals.left_over() {
        info!(%signal, to = program.id(), "passed on");
        if let Err(error) = kill(Pid::from_raw(program.id() as i32), signal) {
            warn!(%error, "the new program was not reached");
        }
    }
    Ok(Exit::Done)
}
