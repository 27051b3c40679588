//! Names outside that follow the wan address: a task for each `[[ddns]]`, which has one account.
//!
//! The rules (what is sent when, and when not) are those of [`genkan_services::ddns::Client`]; here are its sockets, files
//! and clocks. What a client knows is on the disk before anything is sent, so that neither a restart nor a crash makes it
//! ask a service sooner than that permits.

mod account;
mod source;
mod store;
mod transport;
mod turns;
mod words;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use genkan_config::Loaded;
use genkan_config::ddns::Ddns as Settings;
use genkan_control::api::{DdnsRow, DdnsState, ErrorBody, ErrorCode};
use genkan_control::snapshot::Snapshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::account::Account;
use self::turns::Turns;
use super::Context;

/// What is kept of a name that the configuration has no more is removed after this time, which no service's wait is
/// longer than.
const FORGET: Duration = Duration::from_secs(7 * 86_400);

/// What an account is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    settings: Settings,
    /// The primary address of the wan; unspecified while there is none.
    wan: Ipv4Addr,
    /// Grows when a person wants names to be tried again.
    tries: u64,
    /// No more.
    stop: bool,
}

/// One account at work. It ends when this is dropped.
#[derive(Debug)]
struct Running {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

/// The service.
#[derive(Debug)]
pub(in crate::daemon) struct Ddns {
    context: Context,
    settings: Vec<Settings>,
    wan: Ipv4Addr,
    running: Vec<Running>,
    turns: Arc<Turns>,
    /// Between `stop` and `resume`.
    is_stopped: bool,
}

impl Ddns {
    /// Starts what the configuration asks for.
    pub(in crate::daemon) fn start(context: &Context, loaded: &Loaded) -> Ddns {
        let mut ddns = Ddns {
            context: context.clone(),
            settings: Vec::new(),
            wan: Ipv4Addr::UNSPECIFIED,
            running: Vec::new(),
            turns: Arc::default(),
            is_stopped: false,
        };
        ddns.follow(loaded);
        forget(&context.state, &ddns.settings);
        ddns
    }

    /// Another configuration is in force, or the wan has another address.
    pub(in crate::daemon) fn follow(&mut self, loaded: &Loaded) {
        self.settings.clone_from(&loaded.config.ddns);
        self.wan = loaded.plan.wan.address.addr();
        if self.is_stopped {
            return;
        }
        let snapshot = &self.context.snapshot;
        let mut before = std::mem::take(&mut self.running);
        for settings in &self.settings {
            let id = settings.id();
            let place = before.iter().position(|running| running.wanted.borrow().settings.id() == id);
            let running = match place {
                Some(place) => before.swap_remove(place),
                None => begin(&self.context, &self.turns, settings, self.wan),
            };
            // Also when nothing of it is different: the file of the password may hold another one.
            running.wanted.send_modify(|wanted| {
                wanted.settings = settings.clone();
                wanted.wan = self.wan;
            });
            self.running.push(running);
        }
        for gone in before {
            snapshot.set_ddns(&gone.wanted.borrow().settings.id(), Vec::new());
        }
    }

    /// Has a name tried again, in both families, also one that was stopped or is good, with the others of its account.
    pub(in crate::daemon) fn update(&self, name: &str) -> Result<DdnsRow, ErrorBody> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let has = |running: &&Running| running.wanted.borrow().settings.names.contains(&name);
        let row = self.context.snapshot.ddns().into_iter().find(|row| row.name == name);
        let running: Vec<&Running> = self.running.iter().filter(has).collect();
        let Some(row) = row.filter(|_| !running.is_empty()) else {
            let message = format!("no `[[ddns]]` has the name {name}");
            return Err(ErrorBody { code: ErrorCode::NotFound, message });
        };
        running.iter().for_each(|running| running.wanted.send_modify(|wanted| wanted.tries += 1));
        Ok(DdnsRow { state: DdnsState::Waiting, ..row })
    }

    /// Ends all. Nothing is written to the state folder after that.
    pub(in crate::daemon) async fn stop(&mut self) {
        self.is_stopped = true;
        for running in &self.running {
            running.wanted.send_modify(|wanted| wanted.stop = true);
        }
        for running in self.running.drain(..) {
            // One that has panicked is gone as well.
            let _ = running.task.await;
        }
    }

    /// Goes on after [`Ddns::stop`].
    pub(in crate::daemon) fn resume(&mut self) {
        self.is_stopped = false;
        let begun =
            self.settings.iter().map(|settings| begin(&self.context, &self.turns, settings, self.wan));
        self.running = begun.collect();
    }
}

fn begin(context: &Context, turns: &Arc<Turns>, settings: &Settings, wan: Ipv4Addr) -> Running {
    let first = Wanted { settings: settings.clone(), wan, tries: 0, stop: false };
    let (wanted, heard) = watch::channel(first);
    let snapshot: Arc<Snapshot> = context.snapshot.clone();
    let account = Account::new(snapshot, turns.clone(), &context.state, heard);
    let task = tokio::spawn(account.run());
    Running { wanted, task }
}

/// Removes what was kept of names that have long left the configuration.
fn forget(state: &Path, settings: &[Settings]) {
    let Ok(entries) = std::fs::read_dir(state.join("ddns")) else { return };
    for entry in entries.filter_map(Result::ok) {
        let known = |settings: &Settings| entry.file_name() == settings.id().as_str();
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if !settings.iter().any(known) && age.is_some_and(|age| age > FORGET) {
            // The next start tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
