//! What a running router has dropped, by reason.

use std::collections::HashMap;
use std::path::Path;

use genkan_control::client::Client;
use genkan_engine::DropReason;
use tokio::runtime::Runtime;

use crate::output::Failure;

/// What machines say by themselves, whatever a test does.
const NOISE: [DropReason; 4] = [
    DropReason::Ipv6NotSupported,
    DropReason::UnknownEthertype,
    DropReason::ArpNotForUs,
    DropReason::DestinationNotUnicast,
];

/// Counts drops from a moment on.
pub(super) struct Drops {
    client: Client,
    runtime: Runtime,
    before: HashMap<String, u64>,
}

impl Drops {
    /// Those of the router behind a control socket.
    ///
    /// # Errors
    /// When the event loop cannot be started.
    pub(super) fn of(socket: &Path) -> Result<Drops, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new("cannot start the event loop", &error))?;
        Ok(Drops { client: Client::new(socket), runtime, before: HashMap::new() })
    }

    fn read(&self) -> Result<HashMap<String, u64>, Failure> {
        let report = self.runtime.block_on(self.client.counters())?;
        Ok(report.drops.into_iter().map(|row| (row.name, row.value)).collect())
    }

    /// What was dropped until now does not count.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.before = self.read()?;
        Ok(())
    }

    /// What was dropped since.
    pub(super) fn since(&self) -> Result<Option<DropReason>, Failure> {
        let now = self.read()?;
        let rose = |reason: &&DropReason| now.get(reason.name()) > self.before.get(reason.name());
        Ok(DropReason::ALL.iter().filter(|reason| !NOISE.contains(reason)).find(rose).copied())
    }
}
