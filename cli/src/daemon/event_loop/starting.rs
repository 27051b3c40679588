//! The start of everything beside the event loop itself: devices, workers, services.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use genkan_config::Loaded;
use genkan_control::server::Control;
use genkan_control::snapshot::Snapshot;
use genkan_control::store::Store;
use genkan_engine::Team;
use tokio::sync::mpsc;

use super::{Daemon, Inputs};
use crate::daemon::changes::{Openers, running, wall_seconds};
use crate::daemon::conflicts::Conflicts;
use crate::daemon::devices::Devices;
use crate::daemon::following::Following;
use crate::daemon::limiter::Limiter;
use crate::daemon::log::Log;
use crate::daemon::metrics_ports::MetricsPorts;
use crate::daemon::nat_log::NatLog;
use crate::daemon::openings::Hours;
use crate::daemon::seen::Seen;
use crate::daemon::services::{self, Services};
use crate::daemon::sessions::keeper::Keeper;
use crate::daemon::sessions::restoring::{self, Source};
use crate::daemon::state_folder::StateFolder;
use crate::daemon::upgrade::{Lifeline, Predecessor, own_program};
use crate::daemon::worker::Beginning;
use crate::daemon::workers::{Started, Workers};
use crate::daemon::{event_file, facts, watch};
use crate::output::{self, Failure};

/// 128 secret bits.
fn seed() -> io::Result<[u64; 2]> {
    let mut octets = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    let (low, high) = octets.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
    Ok([word(low), word(high)])
}

impl Daemon {
    /// Starts all of it.
    pub(super) fn start(
        path: &Path,
        written: Loaded,
        store: Store,
        state: &StateFolder,
        log: Log,
        mut predecessor: Option<Predecessor>,
    ) -> Result<(Daemon, Inputs), Failure> {
        // Before the first packet, so that a restart drops nothing.
        let facts = facts::known(&state.path, &written);
        let loaded = written.with(&facts);
        let plan = Arc::new(loaded.plan.clone());
        let seed = seed().map_err(|error| Failure::new("/dev/urandom", &error))?;
        // Before the devices are looked at, so that no change falls between.
        let links = watch::devices()?;
        // A port that somebody else has is found before anything is changed.
        let mut metrics = MetricsPorts::default();
        let bound = metrics.bind(&loaded.config.metrics).map_err(Failure::message)?;
        let team = Team::new(loaded.config.workers, seed);
        let workers = loaded.config.workers;
        let inheritance = predecessor.as_mut().map(|predecessor| predecessor.ports(workers)).transpose()?;
        let (mut devices, ports) = Devices::open(&loaded, &team, &state.path, inheritance)?;

        let snapshot = Arc::new(Snapshot::new(running(path, &loaded, plan.clone(), store.revision())));
        event_file::start(&state.path, &snapshot.events);
        snapshot.set_problem("state folder", state.problem.clone());
        for (port, _, link) in &ports {
            snapshot.set_link(*port, *link);
        }
        let state = state.path.clone();
        let hours = Hours::start(&state, &loaded);
        let names = snapshot.port_names();
        let saved = Source::find(&state, &names, &plan.nat.timeouts);
        let is_restoring = saved.is_some() || predecessor.is_some();
        let beginning = Arc::new(OnceLock::new());
        // A predecessor has saved them just now; by what it still does to them they are caught up later.
        let early = saved.as_ref().filter(|_| predecessor.is_some());
        let (nat_log, senders) = NatLog::start(&loaded.config.log, workers)
            .map_err(|error| Failure::message(output::chain(&error)))?;
        let started = Workers::start(&team, hours.plan(), seed, ports, early, &beginning, senders)?;
        let Started { workers, handle, doors, reports, ready, outcomes } = started;
        let beginning_with = match &predecessor {
            Some(predecessor) => {
                // Nothing ever comes; it ends.
                let _ = ready.recv();
                predecessor.take_over(&mut devices, &names)?
            }
            None => Beginning { source: saved, before: None },
        };
        let began = Instant::now();
        let may_go_back = beginning_with.before.is_some();
        // Nobody else sets it.
        let _ = beginning.set(beginning_with);
        let restored: Vec<_> = outcomes.into_iter().collect();
        if let Some(error) = restored.iter().find_map(|it| it.as_ref().err()).filter(|_| may_go_back) {
            return Err(Failure::new("the sessions cannot be taken over", error));
        }
        // Before the one that answers there now leaves.
        metrics.follow(&loaded.config.metrics, bound, &snapshot, &handle);
        let lifeline = predecessor.as_mut().and_then(Predecessor::lifeline);
        if let Some(predecessor) = predecessor {
            snapshot.set_upgrades(predecessor.upgrades());
            let (sessions, not_taken) = restoring::count(&restored);
            predecessor.running(sessions, not_taken);
            devices.settle();
        }
        if is_restoring {
            restoring::tell(&state, restored, began.elapsed());
        }
        let calls = lifeline.as_ref().map(Lifeline::calls).transpose();
        let calls = calls.map_err(|error| Failure::new("cannot listen to the guardian", &error))?;
        let openers = Openers::of(&store, &loaded, wall_seconds().0);
        snapshot.set_opened(openers.told());
        let (changes, change_requests) = mpsc::channel(4);
        // Not before: until now what is in the state folder was another process's.
        let (context, learned) = services::Context::new(&state, &snapshot, &handle);
        let services = Services::start(doors, &context, &loaded);
        let daemon = Daemon {
            path: path.to_owned(),
            written,
            facts,
            loaded,
            store,
            waiting: None,
            control: Control { snapshot, worker: handle, changes },
            workers,
            devices,
            keeper: Keeper::new(&state),
            hours,
            following: Following::new(),
            services,
            openers,
            nat_log,
            program: own_program(),
            lifeline,
            is_ending: false,
            log,
            metrics,
            limiter: Limiter::new(),
            seen: Seen::new(),
            conflicts: Conflicts::default(),
        };
        Ok((daemon, Inputs { reports, changes: change_requests, links, calls, learned }))
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
