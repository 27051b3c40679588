//! The rules, each with its reason.

use genkan_config::Code;
use genkan_config::openings::State;
use genkan_config::services::{self, Kind};
use genkan_control::api::{AuditFinding, AuditRisk, ForwardRow};
use genkan_engine::plan::ForwardRule;

use super::{Facts, found};
use crate::words::Words;

/// External ports of one forward from which on they are many.
const MANY_PORTS: u32 = 100;
/// Unused for so long, it is not needed.
const UNUSED: i64 = 30 * DAY;
const DAY: i64 = 86_400;

/// What a forward is called that was to be there for a while.
const TEMPORARY: [&str; 5] = ["test", "temp", "tmp", "try", "debug"];

/// Whether a forward is open to all sources.
pub(super) fn admits_everybody(rule: &ForwardRule) -> bool {
    rule.from.is_empty() || rule.from.iter().any(|network| network.prefix_len() == 0)
}

impl Facts<'_> {
    pub(super) fn findings(
        &self,
        at: usize,
        rule: &ForwardRule,
        row: Option<&ForwardRow>,
        words: &Words,
    ) -> Vec<AuditFinding> {
        let mut findings = Vec::new();
        if let Some(State::Disabled | State::Expired) = self.states.get(at) {
            // It opens nothing, whatever it says.
            findings.push(found("leftover", AuditRisk::Low, &[], words));
            return findings;
        }
        let is_open_to_all = admits_everybody(rule);
        let mut kinds: Vec<(Kind, &str, u16)> =
            services::of_forward(rule).map(|service| (service.kind, service.name, service.port)).collect();
        kinds.sort_unstable();
        kinds.dedup_by_key(|(kind, ..)| *kind);
        for (kind, service, port) in kinds {
            let risk = match kind {
                _ if !is_open_to_all => AuditRisk::Low,
                // Keys keep passwords from being tried, and updates mostly come in time.
                Kind::Login | Kind::Admin => AuditRisk::Medium,
                _ => AuditRisk::High,
            };
            let arguments = [("service", service.to_owned()), ("port", port.to_string())];
            findings.push(found(kind.name(), risk, &arguments, words));
        }
        let ports = rule.ports.iter().map(|range| u32::from(range.external_last - range.external_first) + 1);
        let ports = ports.sum::<u32>();
        if ports >= MANY_PORTS {
            let risk = if is_open_to_all { AuditRisk::Medium } else { AuditRisk::Low };
            findings.push(found("many-ports", risk, &[("ports", ports.to_string())], words));
        }
        if is_open_to_all {
            findings.push(found("no-from", AuditRisk::Low, &[], words));
        }
        if rule.expires.is_none() && is_temporary(&rule.name) {
            findings.push(found("temporary", AuditRisk::Medium, &[], words));
        }
        if let Some(days) = row.and_then(|row| self.unused_days(row)) {
            findings.push(found("unused", AuditRisk::Medium, &[("days", days.to_string())], words));
        }
        if self.is_shadowed(&rule.name) {
            findings.push(found("shadowed", AuditRisk::Low, &[], words));
        }
        findings
    }

    /// For how many days a forward has not been used, as far as anybody has counted, if for long.
    fn unused_days(&self, row: &ForwardRow) -> Option<i64> {
        let counted = self.running.map(|(_, counted)| self.now - counted)?;
        let opened = row.opened.map_or(counted, |opened| opened.since);
        let since = row.counts.last_hit.unwrap_or(counted.max(opened));
        let idle = self.now - since;
        (idle >= UNUSED).then_some(idle / DAY)
    }

    fn is_shadowed(&self, name: &str) -> bool {
        let subject = format!("forward `{name}` ");
        let mut warnings = self.loaded.warnings.iter();
        warnings.any(|warning| warning.code == Code::Shadowed && warning.message.starts_with(&subject))
    }
}

/// Whether a word of the name says so.
fn is_temporary(name: &str) -> bool {
    let words = name.split(|letter: char| !letter.is_ascii_alphabetic());
    words.map(str::to_ascii_lowercase).any(|word| TEMPORARY.contains(&word.as_str()))
}
