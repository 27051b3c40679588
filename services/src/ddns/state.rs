//! What outlives a restart.

use super::reason::Reason;
use genkan_engine::UnixTime;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Longest wait that is believed of a stored state.
const MAX_WAIT: Duration = Duration::from_secs(2 * 86_400);

/// What is known about a name's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Known {
    /// Never touched: what is there can be looked up.
    #[default]
    Nothing,
    /// An update was sent and not acknowledged. Looking it up would not help: resolvers keep old answers.
    InDoubt,
    /// This address was acknowledged, or found.
    Has(IpAddr),
}

/// A name in a stored state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredName {
    pub(super) known: Known,
    /// When it was acknowledged, in seconds since 1970.
    pub(super) at: Option<i64>,
    pub(super) failure: Option<Reason>,
    pub(super) stopped: bool,
    /// Whether nobody knows how old the record is.
    pub(super) found: bool,
}

/// The state of a [`super::Client`], to be kept over restarts. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of the configuration that it belongs to.
    pub(super) configuration: u16,
    /// Rounds in a row that failed.
    pub(super) failures: u32,
    /// No request before, in seconds since 1970; unknown when the clock was not plausible.
    pub(super) not_before: Option<i64>,
    /// Seconds that were left to wait when this was made.
    pub(super) wait: u32,
    /// In the order of the configuration.
    pub(super) names: Vec<StoredName>,
}

impl State {
    /// Whether both say the same, `other` at an earlier time: what is left to wait shrinks by itself.
    pub fn says_as(&self, other: &State) -> bool {
        let wait = match (self.not_before, other.not_before) {
            (Some(now), Some(before)) if self.wait == 0 => before <= now,
            // Each is rounded to seconds by itself.
            (Some(one), Some(two)) => one.abs_diff(two) <= 1,
            (None, None) => self.wait == 0 && other.wait == 0,
            _ => false,
        };
        let rest = |state: &State| State { not_before: None, wait: 0, ..state.clone() };
        wait && rest(self) == rest(other)
    }

    /// What is left to wait. Without a plausible clock on both sides: all of it once more.
    pub(super) fn remaining(&self, wall: Option<UnixTime>) -> Duration {
        let all = Duration::from_secs(self.wait.into()).min(MAX_WAIT);
        match (self.not_before, wall) {
            (Some(not_before), Some(now)) => {
                let left = u64::try_from(not_before.saturating_sub(now.0)).unwrap_or(0);
                Duration::from_secs(left).min(all)
            }
            _ => all,
        }
    }
}
