//! How an account's names stand, for the log, events, problems and listings.

use genkan_control::api::{DdnsFamily, DdnsFault, DdnsRow, DdnsState, EventKind};
use genkan_control::events::NewEvent;
use genkan_services::ddns::{Event, Family, NameStatus, Now, Reason};
use tracing::{info, warn};

use super::{Account, Ready};
use crate::daemon::changes::wall_seconds;
use crate::daemon::services::ddns::{source, words};

impl Account {
    /// What the client says of requests: to the log and as events.
    pub(super) fn tell_events(&mut self) {
        let family = self.wanted.settings.family;
        let Ok(ready) = &mut self.ready else { return };
        while let Some(event) = ready.client.poll_event() {
            match event {
                Event::Updated { name, address, changed } => {
                    self.counts.entry(name.clone()).or_default().updates += 1;
                    let message = if changed {
                        format!("{name} has {address} now")
                    } else {
                        format!("{name} has {address} already")
                    };
                    info!("{message}");
                    self.snapshot.events.push(NewEvent {
                        address: Some(address),
                        ..NewEvent::new(EventKind::DdnsUpdated, message)
                    });
                }
                Event::Failed { name, reason, stopped } => {
                    self.counts.entry(name.clone()).or_default().failures += 1;
                    let again = if stopped {
                        format!(
                            "; not tried again before the configuration changes or `genkan ddns update {name}`"
                        )
                    } else {
                        String::new()
                    };
                    let (_, reason) = in_words(reason, self.detail.as_ref());
                    let name = family.called(&name);
                    let message = format!("{name} is not updated: {reason}{again}");
                    warn!("{message}");
                    self.snapshot.events.push(NewEvent::new(EventKind::DdnsFailed, message));
                }
            }
        }
    }

    /// Tells how the names stand.
    pub(super) fn show(&self) {
        let settings = &self.wanted.settings;
        let now = self.now();
        let address = self.address();
        let row = |name: &String, status: Option<NameStatus<'_>>| {
            let counts = self.counts.get(name).copied().unwrap_or_default();
            let mut row = DdnsRow {
                name: name.clone(),
                family: match settings.family {
                    Family::V4 => DdnsFamily::V4,
                    Family::V6 => DdnsFamily::V6,
                },
                provider: settings.provider.to_owned(),
                state: DdnsState::Waiting,
                address: None,
                wanted: address.as_ref().ok().copied(),
                since: None,
                next_attempt: None,
                fault: None,
                reason: None,
                updates: counts.updates,
                failures: counts.failures,
            };
            match (&self.ready, status) {
                (Ok(ready), Some(status)) => self.fill(&mut row, &status, ready, now, address.as_ref().err()),
                (Err(reason), _) => {
                    (row.state, row.reason) = (DdnsState::Failed, Some(reason.clone()));
                    row.fault = Some(DdnsFault::Local);
                }
                (Ok(_), None) => {}
            }
            row
        };
        let rows: Vec<DdnsRow> = match &self.ready {
            Ok(ready) => {
                let names: Vec<NameStatus<'_>> = ready.client.status().collect();
                names.into_iter().map(|status| row(&status.name.to_owned(), Some(status))).collect()
            }
            Err(_) => settings.names.iter().map(|name| row(name, None)).collect(),
        };
        for row in &rows {
            let what = match row.state {
                DdnsState::Failed | DdnsState::Stopped => Some("is not updated"),
                // Somebody who is asked for the address does not answer any more.
                DdnsState::Good => row.fault.map(|_| "may have an old address"),
                DdnsState::Waiting => row.fault.map(|_| "waits"),
            };
            let reason = row.reason.as_deref().unwrap_or_default();
            let name = settings.family.called(&row.name);
            let problem = what.map(|what| format!("ddns: {name} {what}: {reason}"));
            self.snapshot.set_problem(&format!("ddns {name}"), problem);
        }
        self.snapshot.set_ddns(&settings.id(), rows);
    }

    fn fill(
        &self,
        row: &mut DdnsRow,
        status: &NameStatus<'_>,
        ready: &Ready,
        now: Now,
        no_address: Option<&String>,
    ) {
        row.address = status.address;
        row.since = status.since.map(|at| at.0).filter(|_| row.address.is_some());
        let (fault, failure) = status.failure.map(|reason| in_words(reason, self.detail.as_ref())).unzip();
        let settings = &self.wanted.settings;
        let is_asked = source::every(&settings.source).is_some();
        (row.state, row.fault, row.reason) = match (status, no_address) {
            (NameStatus { stopped: true, .. }, _) => (DdnsState::Stopped, fault, failure),
            // Nothing is wrong as long as the wan or the source has just not told.
            (_, Some(reason))
                if self.wanted.wan.is_unspecified()
                    || (self.asking.told.is_none() && self.asking.failures == 0 && is_asked) =>
            {
                (DdnsState::Waiting, None, Some(reason.clone()))
            }
            (_, Some(reason)) => (DdnsState::Failed, Some(DdnsFault::Address), Some(reason.clone())),
            (NameStatus { good: true, .. }, None) => {
                let source = self.asking.problem.clone().map(|problem| (DdnsFault::Address, problem));
                let clock = || Some((DdnsFault::Clock, words::clock(ready.client.server_clock_ahead(now)?)));
                let (fault, reason) = source.or_else(clock).unzip();
                (DdnsState::Good, fault, reason)
            }
            (NameStatus { failure: Some(_), .. }, None) => (DdnsState::Failed, fault, failure),
            _ if ready.client.waits_for_clock() => {
                let reason = "the clock is not set, and signatures need it".to_owned();
                (DdnsState::Waiting, Some(DdnsFault::Clock), Some(reason))
            }
            _ => (DdnsState::Waiting, None, None),
        };
        let wait = match no_address {
            None => ready.client.poll_timeout(now).map(|at| at.saturating_since(now.at)),
            // The source is asked before that.
            Some(_) => self.until_asked(),
        };
        if let (DdnsState::Waiting | DdnsState::Failed, Some(wait)) = (row.state, wait) {
            row.next_attempt = Some(wall_seconds().0.saturating_add_unsigned(wait.as_secs()));
        }
    }
}

/// What kind of trouble it is, and in words; `detail` where a request was not sent, or not answered.
fn in_words(reason: Reason, detail: Option<&(DdnsFault, String)>) -> (DdnsFault, String) {
    match (reason, detail) {
        (Reason::NotSent | Reason::NoAnswer, Some(detail)) => detail.clone(),
        _ => (words::fault(reason), words::reason(reason)),
    }
}
