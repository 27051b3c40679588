//! A new configuration in place of the running one: as a whole, or not at all.

use std::path::Path;
use std::sync::Arc;

use genkan_config::{Backend, Device, Loaded};
use genkan_control::api::ReloadReport;
use genkan_control::snapshot::{PortConfig, Running};
use genkan_engine::Plan;
use genkan_engine::frame::PortId;
use sd_notify::NotifyState;
use tracing::{error, info, warn};

use super::event_loop::{Daemon, tell_systemd};
use super::worker::WorkerEnded;

impl Daemon {
    pub(super) async fn reload_by_signal(&mut self) -> Result<(), WorkerEnded> {
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
    pub(super) async fn reload(&mut self) -> Result<Result<ReloadReport, String>, WorkerEnded> {
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

/// What the API tells of a configuration.
pub(super) fn running(path: &Path, loaded: &Loaded, plan: Arc<Plan>) -> Running {
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
