//! What the running router finds out beyond its configuration, and has in force at once.
//!
//! The file stays what a person has written; [`genkan_config::Facts`] say where a server or the devices themselves have
//! put things since. What is in force is always the one with the other.

use std::path::Path;
use std::sync::Arc;

use genkan_config::{Facts, Loaded};
use tracing::error;

use super::changes::running;
use super::event_loop::Daemon;
use super::log;
use super::services::{Learned, dhcp_client, known_hosts, tell_moved};
use super::worker::WorkerEnded;

/// What is known before the router starts, from the `state` folder.
pub(super) fn known(state: &Path, written: &Loaded) -> Facts {
    let mut facts = Facts { wan: dhcp_client::known(state, written), ..Facts::default() };
    known_hosts(state, written, &mut facts);
    facts
}

impl Daemon {
    /// Does what follows from what a service has found out.
    pub(super) async fn learned(&mut self, learned: Learned) -> Result<(), WorkerEnded> {
        match learned {
            Learned::Wan(wan) => drop(self.learn(|facts| facts.wan = wan).await?),
            Learned::Hosts(seen) => self.services.seen(seen),
            Learned::Places { places, moved } => {
                self.learn(|facts| facts.hosts = places).await?;
                for moved in moved {
                    let event = tell_moved(&moved, &self.written);
                    log::tell_event(&event, 0);
                    self.snapshot().events.push(event);
                }
            }
        }
        Ok(())
    }

    /// Something else is known now: has everybody follow it, and tells whether that made a difference.
    pub(super) async fn learn(&mut self, change: impl FnOnce(&mut Facts)) -> Result<bool, WorkerEnded> {
        change(&mut self.facts);
        let loaded = self.written.with(&self.facts);
        if loaded == self.loaded {
            return Ok(false);
        }
        // The box keeps what it had; the packets of others do not wait for that.
        if let Err(message) = self.devices.follow(&loaded.plan) {
            error!("{}", message.trim_end());
        }
        self.loaded = loaded;
        let plan = self.hours.follow(&self.loaded);
        self.follow_plan(&plan, &self.loaded).await?;
        let plan = Arc::new(self.loaded.plan.clone());
        self.snapshot().set_effective(running(&self.path, &self.loaded, plan, self.store.revision()));
        self.snapshot().set_closed(self.hours.closed());
        self.services.follow(&self.loaded);
        Ok(true)
    }
}
