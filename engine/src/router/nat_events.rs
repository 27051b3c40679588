//! Events of translation, where somebody keeps a record of them.

use super::Router;
use crate::nat::event_log::{Detail, EventLog, NatEvent};

impl Router {
    /// Which events of translation are noted from now on; at first none are. Those that wait are forgotten.
    pub fn log_nat_events(&mut self, detail: Option<Detail>) {
        self.nat.event_log = detail.map(|detail| Box::new(EventLog::new(detail)));
    }

    /// Takes the oldest events that have been noted, `most` of them. To be called after every call that may bring some
    /// about, as not many may wait.
    pub fn take_nat_events(&mut self, most: usize) -> impl Iterator<Item = NatEvent> {
        self.nat.event_log.iter_mut().flat_map(move |log| log.take(most))
    }

    /// How many events there was no room for since they are noted.
    pub fn nat_events_lost(&self) -> u64 {
        self.nat.event_log.as_ref().map_or(0, |log| log.lost())
    }
}
