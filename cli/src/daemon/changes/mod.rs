//! The one way by which the running configuration changes, whoever wants it: the API, a signal, the file, the end of a
//! forward's time, a confirmation that did not come.
//!
//! Validate, compare, write down, have all workers follow, put the file in place: as a whole, or not at all. One
//! change at a time: all of them come through the event loop.

mod history;
mod opened;
mod propose;
mod start;
mod waiting;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use genkan_config::{Backend, Device, Diff, Loaded, LogLevel};
use genkan_control::api::{ChangeQuery, ChangeReport, ErrorBody, ErrorCode, LogLevelReport, Opened};
use genkan_control::server::{Change, ChangeRequest, Control, Peer};
use genkan_control::snapshot::{PortConfig, Running};
use genkan_control::store::{About, StoreError, Target};
use genkan_engine::frame::PortId;
use genkan_engine::{Plan, UnixTime};
use sd_notify::NotifyState;
use tracing::{error, info, warn};

pub(super) use self::opened::Openers;
pub(super) use self::start::open;
pub(super) use self::waiting::Waiting;
use super::event_loop::{Daemon, tell_systemd};
use super::nat_log;
use super::worker::WorkerEnded;
use crate::output;

/// A configuration that is to be in force.
struct Proposal {
    loaded: Loaded,
    /// One line for the history, without what is different.
    what: String,
    target: Target,
    /// All warnings are of interest, not only new ones.
    all_warnings: bool,
    /// Follow it even if nothing is different: the kernel's side is set up anew.
    always: bool,
    /// Follow it even if its metrics cannot be told: somebody may be locked out until then.
    insists: bool,
}

/// The outer error is the end of the router.
type Outcome<T> = Result<Result<T, ErrorBody>, WorkerEnded>;

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ErrorBody> {
    Err(ErrorBody { code, message: message.into() })
}

fn not_saved(error: &StoreError) -> ErrorBody {
    ErrorBody { code: ErrorCode::NotSaved, message: output::chain(error) }
}

/// Seconds since 1970 by the clock on the wall, before which no clock says anything.
pub(super) fn wall_seconds() -> UnixTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

impl Daemon {
    /// Does what was asked, and answers.
    pub(super) async fn heard_change(&mut self, request: ChangeRequest) -> Result<(), WorkerEnded> {
        // Whoever asked may have gone; what was done stays done.
        match request {
            ChangeRequest::Change { change, options, who, reply } => {
                let outcome = match change {
                    Change::Reload => self.reload(options, who).await?,
                    change => self.change(change, options, who).await?,
                };
                let _ = reply.send(outcome);
            }
            ChangeRequest::Confirm { options, who, reply } => {
                let _ = reply.send(self.confirm(options, who));
            }
            // The event loop's own.
            ChangeRequest::Upgrade { .. } => {}
            ChangeRequest::LogLevel { set, who, reply } => {
                let _ = reply.send(self.log_level(set, who));
            }
            ChangeRequest::UpdateDdns { name, who, reply } => {
                info!(uid = who.uid, pid = who.pid, name, "a name outside is to be updated");
                let _ = reply.send(self.services.ddns.update(&name));
            }
            ChangeRequest::Audit { query, reply } => self.audit(query, reply).await,
            ChangeRequest::Trace { query, reply } => self.trace(query, reply).await,
            ChangeRequest::Follow { query, who, reply } => {
                self.follow_packets(query, who, reply).await?;
            }
            ChangeRequest::History { reply } => {
                let _ = reply.send(self.history());
            }
            ChangeRequest::Diff { query, reply } => {
                let _ = reply.send(tokio::task::block_in_place(|| self.history_diff(query)));
            }
        }
        Ok(())
    }

    /// How much is logged, from now on as much as `set` says. The configuration has no part in it.
    fn log_level(&mut self, set: Option<String>, who: Peer) -> Result<LogLevelReport, ErrorBody> {
        if let Some(text) = set {
            let level = LogLevel::parse(&text).map_err(|message| ErrorBody {
                code: ErrorCode::BadRequest,
                message: format!("the level cannot be `{text}`: {message}"),
            })?;
            self.log.set(level);
            let level = self.log.level().level;
            info!(uid = who.uid, pid = who.pid, level, "another log level");
        }
        Ok(self.log.level())
    }

    pub(super) async fn reload_by_signal(&mut self) -> Result<(), WorkerEnded> {
        match self.reload(ChangeQuery::default(), Peer::default()).await? {
            Ok(report) => {
                for line in report.warnings.lines().filter(|line| !line.is_empty()) {
                    warn!("{line}");
                }
            }
            Err(body) => {
                for line in body.message.lines().filter(|line| !line.is_empty()) {
                    error!("{line}");
                }
            }
        }
        Ok(())
    }

    /// Reads the file again and follows it as a whole, or not at all.
    async fn reload(&mut self, options: ChangeQuery, who: Peer) -> Outcome<ChangeReport> {
        let monotonic = NotifyState::monotonic_usec_now();
        if let Ok(now) = monotonic {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let outcome = self.change(Change::Reload, options, who).await;
        tell_systemd(&[NotifyState::Ready]);
        match &outcome {
            Ok(Ok(report)) if !report.dry_run => {
                info!(changes = report.changes.len(), "configuration reloaded");
            }
            Ok(Err(_)) => {
                error!(uid = who.uid, pid = who.pid, "reload refused, the old configuration stays in force");
            }
            _ => {}
        }
        outcome
    }

    /// From the wish to the acknowledged change.
    async fn change(&mut self, change: Change, options: ChangeQuery, who: Peer) -> Outcome<ChangeReport> {
        if let Err(refusal) = self.admits(&options) {
            return Ok(Err(refusal));
        }
        // Parsing thousands of forwards takes milliseconds, and the disk may take longer.
        let proposal = match tokio::task::block_in_place(|| self.propose(change)) {
            Ok(proposal) => proposal,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.put_in_force(proposal, options, who).await
    }

    /// Whether now is the time for a change.
    fn admits(&self, options: &ChangeQuery) -> Result<(), ErrorBody> {
        let current = self.store.revision();
        if let Some(against) = options.revision.filter(|revision| *revision != current) {
            return refuse(
                ErrorCode::Conflict,
                format!(
                    "the change was made against revision {against}, but {current} is in force now; \
                     `genkan diff {against}` shows what is different"
                ),
            );
        }
        if let Some(waiting) = self.waiting.as_ref().filter(|_| !options.dry_run) {
            return refuse(
                ErrorCode::AwaitingConfirmation,
                format!(
                    "revision {current} waits for its confirmation and goes back to {} in {} s; \
                     `genkan confirm` keeps it, and then other changes are possible",
                    waiting.back_to,
                    waiting.seconds_left()
                ),
            );
        }
        Ok(())
    }

    /// Compares, writes down, follows, puts in place.
    async fn put_in_force(
        &mut self,
        proposal: Proposal,
        options: ChangeQuery,
        who: Peer,
    ) -> Outcome<ChangeReport> {
        let Proposal { loaded: written, what, target, all_warnings, always, insists } = proposal;
        let diff = genkan_config::diff(&self.written, &written);
        if diff.needs_restart() {
            return Ok(refuse(ErrorCode::ReloadRefused, needs_restart(&diff)));
        }
        let changes: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
        let mut warnings = written.warnings.clone();
        if !all_warnings {
            let known = |message: &str| self.written.warnings.iter().any(|old| old.message == message);
            warnings.retain(|warning| !known(&warning.message));
        }
        let mut report = ChangeReport {
            config: self.path.display().to_string(),
            revision: self.store.revision(),
            changes,
            warnings: genkan_config::render(&warnings, false),
            dry_run: options.dry_run,
            confirm_seconds: None,
        };
        let same_text = written.places.file.text() == self.store.text();
        if options.dry_run || (same_text && !always) {
            return Ok(Ok(report));
        }

        let loaded = written.with(&self.facts);
        let nat_log = match self.nat_log.prepare(&loaded.config.log, loaded.config.workers) {
            Ok(nat_log) => nat_log,
            Err(error) => return Ok(refuse(ErrorCode::ReloadRefused, unwritable(&error))),
        };
        let what = match &report.changes[..] {
            [] => what,
            [only] => format!("{what}: {only}"),
            many => format!("{what}: {} changes", many.len()),
        };
        let UnixTime(time) = wall_seconds();
        let confirm = options.confirm_seconds.filter(|_| !same_text);
        let about = About { time, uid: who.uid, pid: who.pid, what, unconfirmed: confirm.is_some() };
        let summary = about.what.clone();
        let metrics = match self.metrics.bind(&loaded.config.metrics) {
            Ok(bound) => bound,
            // It is a problem then, and no more.
            Err(message) if insists => {
                warn!("{message}");
                Vec::new()
            }
            Err(message) => return Ok(refuse(ErrorCode::ReloadRefused, format!("error: {message}\n"))),
        };
        let pending = match same_text {
            true => None,
            false => {
                let text = written.places.file.text();
                match tokio::task::block_in_place(|| self.store.stage(text, about, target)) {
                    Ok(pending) => Some(pending),
                    Err(error) => return Ok(Err(not_saved(&error))),
                }
            }
        };
        if let Err(message) = self.devices.follow(&loaded.plan) {
            if let Some(pending) = pending {
                self.store.abandon(pending);
            }
            return Ok(refuse(ErrorCode::ReloadRefused, message));
        }
        let plan = Arc::new(loaded.plan.clone());
        let open_now = self.hours.follow(&loaded);
        let started = Instant::now();
        self.follow_plan(&open_now, &loaded).await?;
        let workers_ms = started.elapsed().as_millis() as u64;
        if let Some(pending) = pending {
            let back_to = self.store.revision();
            match tokio::task::block_in_place(|| self.store.commit(pending)) {
                Ok(revision) => report.revision = revision,
                Err(error) => {
                    self.follow_again().await?;
                    return Ok(Err(not_saved(&error)));
                }
            }
            self.waiting = confirm.map(|seconds| Waiting::new(back_to, Duration::from_secs(seconds.into())));
            report.confirm_seconds = confirm;
            info!(revision = report.revision, uid = who.uid, pid = who.pid, workers_ms, "{summary}");
            for change in &report.changes {
                info!("{change}");
            }
        }
        if let Some(prepared) = nat_log {
            self.nat_log.follow(prepared, &self.workers).await?;
        }
        self.snapshot().set_running(running(&self.path, &loaded, plan, report.revision));
        self.snapshot().set_closed(self.hours.closed());
        let change = Opened { since: time, revision: report.revision, uid: who.uid };
        self.openers.follow(&self.written.plan, &written.plan, change);
        self.snapshot().set_opened(self.openers.told());
        let other_log = loaded.config.log != self.loaded.config.log;
        (self.written, self.loaded) = (written, loaded);
        self.services.follow(&self.loaded);
        let Control { snapshot, worker, .. } = &self.control;
        self.metrics.follow(&self.loaded.config.metrics, metrics, snapshot, worker);
        // A reload also ends what was set by request.
        if always || other_log {
            self.follow_log();
        }
        Ok(Ok(report))
    }

    /// Logs as the configuration says.
    pub(super) fn follow_log(&mut self) {
        let problem = self.log.follow(&self.loaded.config.log);
        if self.snapshot().set_problem("log", problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
    }

    /// Back to the configuration that is still the running one.
    async fn follow_again(&mut self) -> Result<(), WorkerEnded> {
        if let Err(message) = self.devices.follow(&self.loaded.plan) {
            error!("{message}");
        }
        let plan = self.hours.follow(&self.loaded);
        self.follow_plan(&plan, &self.loaded).await
    }

    /// Takes forwards out of the file whose time is over.
    pub(super) async fn remove_expired(&mut self) -> Result<(), WorkerEnded> {
        if self.waiting.is_some() || self.loaded.config.temporary.is_empty() {
            return Ok(());
        }
        let names = self.hours.removable(&self.loaded);
        if names.is_empty() {
            return Ok(());
        }
        let proposal = tokio::task::block_in_place(|| self.propose_expiry(names));
        let outcome = match proposal {
            Ok(proposal) => self.put_in_force(proposal, ChangeQuery::default(), Peer::default()).await?,
            Err(refusal) => Err(refusal),
        };
        let problem = outcome
            .err()
            .map(|refusal| format!("expired forwards cannot leave the file: {}", refusal.message.trim_end()));
        if self.snapshot().set_problem("expired forwards", problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
        Ok(())
    }
}

fn unwritable(error: &nat_log::Unwritable) -> String {
    format!(
        "error: {}\nhelp: the sandbox of a running router holds {} and the folder that it was started with\n",
        output::chain(error),
        nat_log::FOLDER
    )
}

fn needs_restart(diff: &Diff) -> String {
    let refused = diff.changes.iter().filter(|change| change.needs_restart);
    let lines = refused.map(|change| {
        format!("error: {}: {}: cannot change while the router runs\n", change.subject, change.text)
    });
    lines.chain(["help: restart the router to use it\n".to_owned()]).collect()
}

/// What the API tells of a configuration.
pub(super) fn running(path: &Path, loaded: &Loaded, plan: Arc<Plan>, revision: u64) -> Running {
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
    Running {
        config: path.display().to_string(),
        plan,
        ports,
        workers: config.workers,
        revision,
        ad_hoc: config.temporary.clone(),
        schedules: loaded
            .plan
            .forwards
            .iter()
            .zip(&config.schedules)
            .filter_map(|(rule, schedule)| Some((rule.name.clone(), schedule.as_ref()?.to_string())))
            .collect(),
        targets: loaded
            .plan
            .forwards
            .iter()
            .zip(&config.targets)
            .filter_map(|(rule, target)| Some((rule.name.clone(), target.clone()?)))
            .collect(),
    }
}
