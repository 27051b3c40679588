//! The address that an account's names ought to have, and who is asked for it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Account, random};
use crate::daemon::changes::wall_seconds;
use crate::daemon::services::ddns::source;
use crate::daemon::services::ddns::store::{Told, Trouble};

/// What is known of a source other than the wan.
#[derive(Debug)]
pub(super) struct Asking {
    /// What it said last.
    pub(super) told: Option<Told>,
    /// When it is asked again.
    pub(super) at: Instant,
    /// Questions in a row that were not answered.
    pub(super) failures: u32,
    /// Why the last one was not.
    pub(super) problem: Option<String>,
}

impl Asking {
    pub(super) fn new() -> Asking {
        Asking { told: None, at: Instant::now(), failures: 0, problem: None }
    }
}

impl Account {
    /// What a source has told a run before this one holds as long as it would have in that, and so does that it did not.
    pub(super) fn recall_source(&mut self) {
        let settings = &self.wanted.settings;
        let (Some(every), Some(saved)) = (source::every(&settings.source), &self.saved) else { return };
        let (wan, name, now) = (self.wanted.wan, settings.source.to_string(), self.now().wall);
        // By a clock that was set meanwhile it may be any time.
        let until = |at: i64| now.and_then(|now| u64::try_from(at - now.0).ok()).map(Duration::from_secs);
        let mut wait = None;
        if let Some(told) = saved.told.as_ref().filter(|told| told.source == name) {
            let next = until(told.at.saturating_add_unsigned(every.as_secs()));
            wait = next.filter(|wait| told.wan == wan && *wait <= every);
            self.asking.told = Some(told.clone());
        }
        if let Some(trouble) = saved.trouble.as_ref().filter(|trouble| trouble.source == name) {
            wait = until(trouble.again).filter(|wait| trouble.wan == wan && *wait <= every);
            (self.asking.failures, self.asking.problem) = (trouble.failures, Some(trouble.problem.clone()));
        }
        self.asking.at = Instant::now() + wait.unwrap_or_default();
    }

    /// How long the source is not asked; `None`: there is none, or no way to it.
    pub(super) fn until_asked(&self) -> Option<Duration> {
        let is_asked =
            source::every(&self.wanted.settings.source).is_some() && !self.wanted.wan.is_unspecified();
        is_asked.then(|| self.asking.at.saturating_duration_since(Instant::now()))
    }

    /// What is to be kept of a source that does not answer.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let Asking { at, failures, problem, .. } = &self.asking;
        let wait = at.saturating_duration_since(Instant::now()).as_secs();
        Some(Trouble {
            source: self.wanted.settings.source.to_string(),
            wan: self.wanted.wan,
            failures: *failures,
            problem: problem.clone()?,
            again: wall_seconds().0.saturating_add_unsigned(wait),
        })
    }

    /// Asks somebody outside for the address, if it is time to. False: nobody wants to know any more.
    pub(super) async fn ask_source(&mut self) -> bool {
        let settings = self.wanted.settings.clone();
        let (Some(every), Ok(ready)) = (source::every(&settings.source), &self.ready) else { return true };
        if self.wanted.wan.is_unspecified() || Instant::now() < self.asking.at {
            return true;
        }
        let random = random::<12>().unwrap_or_default();
        let answer = tokio::select! {
            answer = source::ask(&settings, ready.trusted.source.clone(), random) => answer,
            // What is wanted now may be something else.
            changed = self.heard.changed() => {
                if changed.is_ok() {
                    self.follow();
                }
                return changed.is_ok();
            }
        };
        match answer {
            Ok(address) => {
                let at = wall_seconds().0;
                let told = Told { source: settings.source.to_string(), wan: self.wanted.wan, address, at };
                self.asking.told = Some(told);
                (self.asking.failures, self.asking.problem) = (0, None);
                self.asking.at = Instant::now() + every;
            }
            Err(error) => {
                self.asking.failures += 1;
                self.asking.at = Instant::now() + source::again(&settings.source, self.asking.failures);
                self.asking.problem = Some(format!("the address is not known: {error}"));
            }
        }
        // Only spares a question after a restart.
        let _ = self.keep();
        true
    }

    /// The address that the names ought to have, or in words why there is none.
    pub(super) fn address(&self) -> Result<IpAddr, String> {
        let settings = &self.wanted.settings;
        if self.wanted.wan.is_unspecified() {
            return Err("the wan has no address yet".to_owned());
        }
        let address = match (source::every(&settings.source), &self.asking.told) {
            (None, _) => IpAddr::V4(self.wanted.wan),
            (Some(_), Some(told)) => told.address,
            (Some(_), None) => {
                let problem = self.asking.problem.clone();
                return Err(problem.unwrap_or_else(|| "the address is being asked for".to_owned()));
            }
        };
        source::publishable(address, settings.allow_private).map(|()| address)
    }
}
