//! Which rules of a configuration a test has touched.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use genkan_config::Loaded;
use genkan_engine::trail::{Leaving, Step};
use genkan_engine::{Plan, PortId};
use serde::Serialize;

use crate::simulation::Outcome;

/// What was touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    forwards: BTreeSet<usize>,
    lans: BTreeSet<usize>,
    routes: BTreeSet<usize>,
    hosts: BTreeSet<usize>,
    dmz: bool,
}

/// A rule that can be touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    /// `forward`, `dmz`, `host`, `route` or `lan`.
    pub(crate) kind: &'static str,
    /// How it is told from others of its kind.
    pub(crate) name: String,
    /// `FILE:LINE:COLUMN`.
    pub(crate) place: String,
    /// Whether a test touches it.
    pub(crate) covered: bool,
}

impl Coverage {
    /// Notes what a packet that came in by `port` has touched.
    pub(crate) fn note(&mut self, plan: &Plan, port: PortId, outcome: &Outcome) {
        self.lans.extend(port.lan_index());
        self.lans.extend(outcome.left.iter().filter_map(|(port, _)| port.lan_index()));
        for step in &outcome.steps {
            match step {
                Step::Forward { rule, .. } | Step::Leaves { by: Leaving::Forward(rule), .. } => {
                    self.forwards.insert(rule.0 as usize);
                }
                Step::Dmz { .. } => self.dmz = true,
                Step::OneToOne { external, .. } => {
                    self.hosts.extend(plan.hosts.iter().position(|host| host.external == Some(*external)));
                }
                Step::Opened { internal, remote, .. } | Step::Known { internal, remote, .. } => {
                    for address in [*internal.ip(), *remote.ip()] {
                        self.host(plan, address);
                        self.route(plan, address);
                    }
                }
                _ => {}
            }
        }
    }

    fn host(&mut self, plan: &Plan, address: Ipv4Addr) {
        self.hosts.extend(plan.hosts.iter().position(|host| host.address == address));
    }

    fn route(&mut self, plan: &Plan, address: Ipv4Addr) {
        let holding = plan.routes.iter().enumerate().filter(|(_, route)| route.to.contains(&address));
        let longest = holding.max_by_key(|(_, route)| route.to.prefix_len());
        self.routes.extend(longest.map(|(index, _)| index));
    }

    /// Every rule of the configuration.
    pub(crate) fn rules(&self, loaded: &Loaded) -> Vec<Rule> {
        let plan = &loaded.plan;
        let rule = |kind: &'static str, index: usize, key: &str, name: String, covered: bool| {
            let span = loaded.places.key(kind, index, key).unwrap_or_default();
            let position = loaded.places.position(&span);
            let place = format!("{}:{}:{}", loaded.places.file.name(), position.line, position.column);
            Rule { kind, name, place, covered }
        };
        let mut rules = Vec::new();
        for (index, forward) in plan.forwards.iter().enumerate() {
            let covered = self.forwards.contains(&index);
            rules.push(rule("forward", index, "name", forward.name.clone(), covered));
        }
        if let Some(to) = plan.dmz {
            rules.push(rule("dmz", 0, "to", to.to_string(), self.dmz));
        }
        for (index, host) in plan.hosts.iter().enumerate() {
            let at = loaded.config.host_at(&host.name).unwrap_or(index);
            rules.push(rule("host", at, "name", host.name.clone(), self.hosts.contains(&index)));
        }
        for (index, route) in plan.routes.iter().enumerate() {
            rules.push(rule("route", index, "to", route.to.to_string(), self.routes.contains(&index)));
        }
        for (index, lan) in plan.lans.iter().enumerate() {
            rules.push(rule("lan", index, "name", lan.name.clone(), self.lans.contains(&index)));
        }
        rules
    }
}
