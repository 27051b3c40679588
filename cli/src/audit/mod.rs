//! What a configuration opens to the outside, what is known of its use, and which of it is a risk, by plain rules.

mod rules;

use genkan_config::Loaded;
use genkan_config::facts::ABSENT;
use genkan_config::openings::State;
use genkan_control::api::{
    AuditFinding, AuditKind, AuditOpening, AuditReport, AuditRisk, ClosedBy, ForwardRow,
};
use genkan_engine::plan::ForwardRule;

use crate::words::Words;

/// What is looked at.
pub(crate) struct Facts<'a> {
    pub(crate) loaded: &'a Loaded,
    /// Of each forward, in file order.
    pub(crate) states: &'a [State],
    /// What the running router knows of the forwards, and for how many seconds it has counted.
    pub(crate) running: Option<(&'a [ForwardRow], i64)>,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Facts<'_> {
    /// All openings, the riskiest first.
    pub(crate) fn audit(&self, words: &Words) -> AuditReport {
        let plan = &self.loaded.plan;
        let forwards = plan.forwards.iter().enumerate().map(|(at, rule)| self.forward(at, rule, words));
        let mut openings: Vec<AuditOpening> = forwards.collect();
        if let Some(dmz) = plan.dmz {
            let to = dmz.to_string();
            let commands = vec!["genkan dmz clear".to_owned()];
            openings.push(self.whole(
                AuditKind::Dmz,
                to.clone(),
                to,
                self.place("dmz", 0, "to"),
                commands,
                words,
            ));
        }
        for host in &plan.hosts {
            let Some(external) = host.external else { continue };
            let is_absent = host.address == ABSENT;
            let name = if host.name.is_empty() { host.address.to_string() } else { host.name.clone() };
            let to = match is_absent {
                true => external.to_string(),
                false => format!("{external} -> {}", host.address),
            };
            let place = self.loaded.config.host_at(&host.name);
            let place = place.and_then(|at| self.place("host", at, "external"));
            let whole = self.whole(AuditKind::OneToOne, name, to, place, Vec::new(), words);
            openings.push(AuditOpening { closed_by: is_absent.then_some(ClosedBy::Absent), ..whole });
        }
        // Stable: what is equally risky stays in the order of the file.
        openings.sort_by_key(|opening| std::cmp::Reverse(opening.risk));
        let unknown = match self.running {
            Some(_) => Vec::new(),
            None => vec![found("offline", AuditRisk::None, &[], words)],
        };
        AuditReport { at: self.now, openings, unknown }
    }

    fn forward(&self, at: usize, rule: &ForwardRule, words: &Words) -> AuditOpening {
        let row = self.running.and_then(|(rows, _)| rows.iter().find(|row| row.name == rule.name));
        // Also of a router that does not run, the words of a listing.
        let shown = ForwardRow::new(rule, false, genkan_engine::UnixTime(self.now), None);
        let closed_by = match self.states.get(at) {
            Some(State::Disabled) => Some(ClosedBy::Disabled),
            Some(State::Expired) => Some(ClosedBy::Expired),
            Some(State::OutOfHours) => Some(ClosedBy::Schedule),
            Some(State::ClockUnknown) => Some(ClosedBy::Clock),
            Some(State::Absent) => Some(ClosedBy::Absent),
            Some(State::Open) | None => None,
        };
        let mut findings = self.findings(at, rule, row, words);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.risk));
        let name = &rule.name;
        let mut commands = vec![format!("genkan forward remove {name}")];
        if rules::admits_everybody(rule) {
            commands.push(format!("genkan forward change {name} --from ADDRESS/PREFIX"));
        }
        AuditOpening {
            kind: AuditKind::Forward,
            name: name.clone(),
            risk: worst(&findings),
            protocols: shown.protocols,
            ports: shown.ports,
            to: shown.to,
            from: shown.from,
            closed_by,
            opened: row.and_then(|row| row.opened),
            hits: row.map(|row| row.counts.hits),
            last_hit: row.and_then(|row| row.counts.last_hit),
            sources: row.map(|row| row.counts.top_sources.clone()).unwrap_or_default(),
            expires: shown.expires,
            schedule: self.loaded.config.schedules.get(at).cloned().flatten().map(|it| it.to_string()),
            findings,
            commands,
            place: self.place("forward", at, "name"),
        }
    }

    /// A host of which everything is open.
    fn whole(
        &self,
        kind: AuditKind,
        name: String,
        to: String,
        place: Option<String>,
        commands: Vec<String>,
        words: &Words,
    ) -> AuditOpening {
        let id = if kind == AuditKind::Dmz { "dmz" } else { "one-to-one" };
        AuditOpening {
            kind,
            name,
            risk: AuditRisk::High,
            protocols: Vec::new(),
            ports: Vec::new(),
            to,
            from: Vec::new(),
            closed_by: None,
            opened: None,
            hits: None,
            last_hit: None,
            sources: Vec::new(),
            expires: None,
            schedule: None,
            findings: vec![found(id, AuditRisk::High, &[], words)],
            commands,
            place,
        }
    }

    fn place(&self, table: &str, index: usize, key: &str) -> Option<String> {
        let places = &self.loaded.places;
        let position = places.position(&places.key(table, index, key)?);
        Some(format!("{}:{}:{}", places.file.name(), position.line, position.column))
    }
}

fn found(id: &str, risk: AuditRisk, arguments: &[(&str, String)], words: &Words) -> AuditFinding {
    AuditFinding { id: id.to_owned(), risk, text: words.say(&format!("audit-{id}"), arguments) }
}

fn worst(findings: &[AuditFinding]) -> AuditRisk {
    findings.iter().map(|finding| finding.risk).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
