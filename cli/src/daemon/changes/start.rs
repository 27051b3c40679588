//! What the last run left, settled before the router starts.

use std::os::fd::OwnedFd;
use std::path::Path;

use genkan_config::Loaded;
use genkan_control::store::{Recovered, Store};
use genkan_engine::UnixTime;
use tracing::{info, warn};

use super::wall_seconds;
use crate::output::{Exit, Failure};

/// Opens the history. The configuration that comes back is the one to run with: another one than was read when a
/// change had to be taken back. `shared`: what another process gives us that has the history.
pub(crate) fn open(
    path: &Path,
    loaded: Loaded,
    state: &Path,
    shared: Option<OwnedFd>,
) -> Result<(Store, Loaded), Failure> {
    let name = path.display().to_string();
    let text = loaded.places.file.text();
    let accepted = |old: &str| genkan_config::parse(old, &name).is_ok();
    let UnixTime(now) = wall_seconds();
    let (store, found) = Store::open_shared(shared, path, state, text, now, accepted)
        .map_err(|error| Failure::new("cannot open the history of changes", &error))?;
    tell(&store, &found);
    if found.reverted.is_none() {
        return Ok((store, loaded));
    }
    match genkan_config::parse(store.text(), &name) {
        Ok(loaded) => Ok((store, loaded)),
        Err(errors) => Err(Failure::report(Exit::Misuse, genkan_config::render(&errors, false))),
    }
}

fn tell(store: &Store, found: &Recovered) {
    let revision = store.revision();
    if let Some(completed) = found.completed {
        info!(revision = completed, "a change that a killed router was within is complete");
    }
    if let Some(undone) = found.undone {
        info!(revision = undone, "a change that a killed router was within is as if it had not been");
    }
    if let Some(reverted) = found.reverted {
        warn!(
            unconfirmed = reverted,
            revision, "a change was never confirmed: the one before it is in force again"
        );
    }
    if found.edited.is_some() {
        info!(revision, "the file was edited by hand since the last run");
    }
    for path in &found.damaged {
        warn!(file = %path.display(), "a file of the history is damaged and was set aside");
    }
}
