//! The DHCP service of the lans: a server for each that has one.
//!
//! One task has all servers, since they share the door; a thread writes their files ([`disk`]), and another task finds out
//! whether addresses are in use ([`prober`]). An acknowledgement leaves when its lease is on the disk. While the disk takes
//! nothing there are no new leases, and `genkan status` says so; renewals are not answered either, and machines go on with
//! the leases that they have.

mod disk;
mod lan;
mod prober;
mod settings;
mod telling;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use genkan_config::Loaded;
use genkan_control::api::DhcpFault;
use genkan_control::snapshot::Snapshot;
use genkan_engine::local_datagram::{LocalDatagram, LocalSend};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::disk::{Disk, Written};
use self::lan::{LanServer, now};
use self::prober::{Answer, Question};
use self::settings::Settings;
use self::telling::Telling;
use super::Context;
use crate::daemon::local::{BATCH, Door};
use crate::output;

/// Batches of datagrams that are judged before anything is written or sent.
const BATCHES: usize = 4;
/// Before a lan whose file could not be read is looked at again.
const RETRY: Duration = Duration::from_secs(5);
/// What is found out about devices is gathered for so long.
const PASS_ON: Duration = Duration::from_millis(30);
/// How often counters are told.
const COUNT: Duration = Duration::from_millis(500);

/// What the task is to do.
#[derive(Debug)]
enum Command {
    Follow(Vec<Settings>),
    Stop(oneshot::Sender<()>),
    Resume(Vec<Settings>),
}

/// The service.
#[derive(Debug)]
pub(in crate::daemon) struct DhcpServer {
    commands: mpsc::UnboundedSender<Command>,
    settings: Vec<Settings>,
}

impl DhcpServer {
    /// Starts the servers of the lans that have one.
    pub(in crate::daemon) fn start(door: Door, context: &Context, loaded: &Loaded) -> DhcpServer {
        let (commands, heard) = mpsc::unbounded_channel();
        let settings = settings::of(loaded);
        // The task lasts as long as the commands.
        let _ = commands.send(Command::Resume(settings.clone()));
        let (questions, answers) = prober::start(context.worker.clone());
        let task = Task {
            context: context.clone(),
            origin: Instant::now(),
            wanted: Vec::new(),
            serving: None,
            questions,
            telling: Telling::new(),
            next_id: 0,
            look_again: None,
            count: None,
            pass_on: None,
        };
        tokio::spawn(task.run(door, heard, answers));
        DhcpServer { commands, settings }
    }

    /// Another configuration is in force.
    pub(in crate::daemon) fn follow(&mut self, loaded: &Loaded) {
        let settings = settings::of(loaded);
        if settings != self.settings {
            self.settings.clone_from(&settings);
            let _ = self.commands.send(Command::Follow(settings));
        }
    }

    /// Ends all servers. When this returns, all they know is in their files, which another process may read.
    pub(in crate::daemon) async fn stop(&mut self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).is_ok() {
            // A task that is gone writes nothing.
            let _ = stopped.await;
        }
    }

    /// Goes on after [`DhcpServer::stop`] with what the files tell.
    pub(in crate::daemon) fn resume(&mut self) {
        let _ = self.commands.send(Command::Resume(self.settings.clone()));
    }
}

/// Not to be guessed: which addresses come first is nobody's business.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The servers and their thread, while they are not stopped.
#[derive(Debug)]
struct Serving {
    disk: Disk,
    lans: Vec<LanServer>,
}

#[derive(Debug)]
struct Task {
    context: Context,
    /// Of the servers' monotonic clock.
    origin: Instant,
    wanted: Vec<Settings>,
    serving: Option<Serving>,
    questions: mpsc::UnboundedSender<Question>,
    telling: Telling,
    next_id: u64,
    /// A lan is not served that should be.
    look_again: Option<Instant>,
    /// When counters are to be told.
    count: Option<Instant>,
    /// When those who follow devices are to be told.
    pass_on: Option<Instant>,
}

impl Task {
    async fn run(
        mut self,
        mut door: Door,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut answers: mpsc::UnboundedReceiver<Answer>,
    ) {
        loop {
            let due = self.due();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some(batch) = door.incoming.recv() => {
                    self.hear(&batch);
                    for _ in 1..BATCHES {
                        let Ok(batch) = door.incoming.try_recv() else { break };
                        self.hear(&batch);
                    }
                }
                Some(written) = written(&mut self.serving) => self.written(written),
                Some(answer) = answers.recv() => {
                    self.probed(answer);
                    while let Ok(answer) = answers.try_recv() {
                        self.probed(answer);
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.tick().await,
            }
            let mut said = self.pump();
            while !said.is_empty() {
                let rest = said.split_off(said.len().min(BATCH));
                door.speaker.say(std::mem::replace(&mut said, rest)).await;
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Follow(settings) => {
                let before = std::mem::replace(&mut self.wanted, settings);
                let stays = |name: &String| self.wanted.iter().any(|settings| settings.name == *name);
                // Also those that could not be served.
                for gone in before.into_iter().map(|settings| settings.name).filter(|name| !stays(name)) {
                    self.telling.found(&gone, &BTreeMap::new(), &self.context.snapshot);
                    telling::forget(&self.context.snapshot, &gone);
                    self.context.snapshot.set_problem(&key(&gone), None);
                }
                self.follow().await;
            }
            Command::Resume(settings) => {
                self.wanted = settings;
                match Disk::start() {
                    Ok(disk) => self.serving = Some(Serving { disk, lans: Vec::new() }),
                    Err(error) => {
                        for settings in &self.wanted {
                            let reason = format!("DHCP is not served: no thread to write leases: {error}");
                            let fault = (DhcpFault::NotServed, reason);
                            trouble(&self.context.snapshot, &settings.name, Some(fault));
                        }
                    }
                }
                self.follow().await;
            }
            Command::Stop(done) => {
                if let Some(mut serving) = self.serving.take() {
                    for lan in &mut serving.lans {
                        lan.write_last(&serving.disk);
                    }
                    serving.disk.finish().await;
                }
                // Whoever asked may be gone.
                let _ = done.send(());
            }
        }
    }

    /// Brings the servers in line with what is wanted.
    async fn follow(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        let snapshot = &self.context.snapshot;
        self.look_again = None;
        let (disk, wanted) = (&serving.disk, &self.wanted);
        serving.lans.retain(|lan| {
            let stays = wanted.iter().any(|settings| settings.name == lan.settings.name);
            if !stays {
                disk.close(lan.id);
                info!(lan = lan.settings.name, "DHCP is not served any more");
            }
            stays
        });
        for settings in self.wanted.clone() {
            let name = settings.name.clone();
            let known = serving.lans.iter_mut().find(|lan| lan.settings.name == name);
            let outcome = match known {
                Some(lan) => lan.follow(settings, self.origin).map_err(Into::into),
                None => {
                    self.next_id += 1;
                    let opened =
                        LanServer::open(self.next_id, settings, &self.context.state, self.origin, disk).await;
                    opened.map(|lan| {
                        info!(lan = name, leases = lan.server.leases().count(), "DHCP is served");
                        serving.lans.push(lan);
                    })
                }
            };
            match outcome {
                Ok(()) => {
                    let Some(lan) = serving.lans.iter_mut().find(|lan| lan.settings.name == name) else {
                        continue;
                    };
                    telling::count(snapshot, &name, lan.pool());
                    let views = lan.views(now(self.origin));
                    self.telling.found(&name, &views, snapshot);
                    snapshot.leases.replace(&name, views);
                    // Of the disk only a write is news.
                    if lan.is_on_disk() {
                        trouble(snapshot, &name, None);
                    }
                }
                Err(error) => {
                    let reason = format!("DHCP is not served: {}", output::chain(&error));
                    trouble(snapshot, &name, Some((DhcpFault::NotServed, reason)));
                    self.look_again = Some(Instant::now() + RETRY);
                }
            }
        }
    }

    fn hear(&mut self, batch: &[LocalDatagram]) {
        let Some(serving) = &mut self.serving else { return };
        for datagram in batch {
            if let Some(lan) = serving.lans.iter_mut().find(|lan| lan.settings.port == datagram.port) {
                lan.hear(datagram, self.origin);
            }
        }
    }

    fn probed(&mut self, answer: Answer) {
        let Some(serving) = &mut self.serving else { return };
        if let Some(lan) = serving.lans.iter_mut().find(|lan| lan.settings.port == answer.port) {
            lan.probed(answer.address, answer.outcome, self.origin);
        }
    }

    fn written(&mut self, written: Written) {
        let Some(serving) = &mut self.serving else { return };
        let Some(lan) = serving.lans.iter_mut().find(|lan| lan.id == written.id) else { return };
        let name = lan.settings.name.clone();
        let fault = lan.written(written).map(|error| {
            let error = output::chain(&error);
            let reason =
                format!("leases cannot be written to the disk, so that no machine gets one: {error}");
            (DhcpFault::Disk, reason)
        });
        let is_well = fault.is_none();
        if trouble(&self.context.snapshot, &name, fault) && is_well {
            info!(lan = name, "leases are written again");
        }
    }

    fn due(&self) -> Option<Instant> {
        let lans = self.serving.iter().flat_map(|serving| &serving.lans);
        lans.filter_map(|lan| lan.due(self.origin))
            .chain(self.look_again)
            .chain(self.count)
            .chain(self.pass_on)
            .min()
    }

    async fn tick(&mut self) {
        let at = Instant::now();
        if self.pass_on.is_some_and(|due| due <= at) {
            self.pass_on = (!self.telling.pass_on(&self.context.learned)).then(|| at + PASS_ON);
        }
        if self.look_again.is_some_and(|due| due <= at) {
            self.follow().await;
        }
        let Some(serving) = &mut self.serving else {
            self.count = None;
            return;
        };
        for lan in &mut serving.lans {
            lan.tick(self.origin);
        }
        if self.count.is_some_and(|due| due <= at) {
            self.count = None;
            for lan in serving.lans.iter_mut().filter(|lan| lan.has_news) {
                lan.has_news = false;
                let pool = lan.pool();
                telling::count(&self.context.snapshot, &lan.settings.name, pool);
            }
        }
    }

    /// Hands on what the servers have to say. Replies are returned.
    fn pump(&mut self) -> Vec<LocalSend> {
        let mut said = Vec::new();
        let Some(serving) = &mut self.serving else { return said };
        for lan in &mut serving.lans {
            if let Some(question) = lan.question() {
                // The prober lasts as long as this.
                let _ = self.questions.send(question);
            }
            lan.write(self.origin, &serving.disk);
            said.extend(std::iter::from_fn(|| lan.say()));
            self.telling.tell(lan, &self.context.snapshot, now(self.origin));
            if lan.has_news && self.count.is_none() {
                self.count = Some(Instant::now() + COUNT);
            }
        }
        if self.pass_on.is_none() && self.telling.has_seen() {
            self.pass_on = Some(Instant::now() + PASS_ON);
        }
        said
    }
}

/// The key of a lan's problem.
fn key(lan: &str) -> String {
    format!("dhcp:{lan}")
}

/// Tells why a lan's machines get nothing, or that they do. Returns whether that is news.
fn trouble(snapshot: &Snapshot, lan: &str, fault: Option<(DhcpFault, String)>) -> bool {
    let problem = fault.as_ref().map(|(_, reason)| format!("{lan}: {reason}"));
    let is_news = snapshot.set_problem(&key(lan), problem.clone());
    if let (true, Some(problem)) = (is_news, problem) {
        warn!("{problem}");
    }
    snapshot.leases.set_trouble(lan, fault);
    is_news
}

async fn written(serving: &mut Option<Serving>) -> Option<Written> {
    match serving {
        Some(serving) => serving.disk.written.recv().await,
        None => std::future::pending().await,
    }
}
