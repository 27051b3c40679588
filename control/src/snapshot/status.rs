//! The status: ports, sizes of the tables, and what is not as it should be.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use genkan_engine::Plan;
use genkan_engine::frame::PortId;

use super::{PortBackend, PortConfig, Snapshot};
use crate::api::{AddressConflict, PortRole, PortStatus, Status, Totals};

impl PortConfig {
    fn role(&self) -> PortRole {
        match self.id {
            PortId::WAN => PortRole::Wan,
            PortId::HOST => PortRole::Host,
            _ => PortRole::Lan,
        }
    }
}

impl Snapshot {
    /// Sets or, with `None`, clears the problem known as `key`. Returns whether that changed anything.
    pub fn set_problem(&self, key: &str, problem: Option<String>) -> bool {
        let is_news = match problem.clone() {
            Some(text) => {
                self.problems.insert(key.to_owned(), text.clone()).is_none_or(|before| before != text)
            }
            None => self.problems.remove(key).is_some(),
        };
        if is_news {
            self.tell_problem(key, problem);
        }
        is_news
    }

    /// Remembers which of the router's own addresses other machines use.
    pub fn set_conflicts(&self, conflicts: Vec<AddressConflict>) {
        self.conflicts.store(Arc::new(conflicts));
    }

    /// Puts the whole status together.
    pub fn status(&self, totals: Totals) -> Status {
        let current = self.current.load();
        let plan = &current.running.plan;
        let ports: Vec<PortStatus> =
            current.running.ports.iter().map(|config| self.port_status(plan, config)).collect();
        let wan_up = ports.iter().any(|port| port.role == PortRole::Wan && port.up);
        let inside_up = ports.iter().any(|port| port.role != PortRole::Wan && port.up);
        let mut problems: Vec<String> = self.problems.iter().map(|entry| entry.value().clone()).collect();
        problems.sort_unstable();
        let down = ports.iter().filter(|port| !port.up);
        problems.extend(down.map(|port| format!("{}: {} is down or absent", port.name, port.device)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            config: current.running.config.clone(),
            uptime_seconds: self.uptime().as_secs(),
            forwarding: wan_up && inside_up && plan.wan.primary().is_some(),
            problems,
            conflicts: self.conflicts.load().to_vec(),
            ports,
            wan_lease: self.wan_lease(),
            sessions: totals.sessions,
            max_sessions: plan.nat.max_sessions,
            mappings: totals.mappings,
            reloads: self.reloads.load(Ordering::Relaxed),
            workers: current.running.workers,
            revision: current.running.revision,
            upgrades: self.upgrades(),
            sandbox: self.sandbox(),
        }
    }

    fn port_status(&self, plan: &Plan, config: &PortConfig) -> PortStatus {
        let link = self.link(config.id);
        let addresses = match config.id.lan_index() {
            Some(index) => plan.lans.get(index).map(|lan| lan.address.to_string()).into_iter().collect(),
            None if config.id == PortId::WAN => {
                let further = plan.wan.addresses.iter().map(Ipv4Addr::to_string);
                let primary = plan.wan.primary().map(|_| plan.wan.address.to_string());
                primary.into_iter().chain(further).collect()
            }
            None => plan.lans.iter().map(|lan| lan.address.addr().to_string()).collect(),
        };
        let backend = self.backends.get(&config.id).map(|backend| backend.clone());
        let backend = backend.unwrap_or(PortBackend { name: config.backend.clone(), reason: None });
        PortStatus {
            name: config.name.clone(),
            role: config.role(),
            device: config.device.clone(),
            backend: backend.name,
            backend_reason: backend.reason,
            up: link.is_some_and(|link| link.up),
            mac: link.map(|link| link.mac.to_string()),
            mtu: link.map(|link| link.mtu),
            addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use genkan_engine::router::LinkState;
    use genkan_engine::wire::ethernet::MacAddr;

    use super::super::tests::running;
    use super::*;

    fn link(up: bool) -> LinkState {
        LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up }
    }

    #[test]
    fn forwarding_needs_the_wan_and_one_inside_port() {
        let snapshot = Snapshot::new(running());
        let status = snapshot.status(Totals::default());
        assert!(!status.forwarding);
        assert_eq!(status.problems, ["wan: eth0 is down or absent", "home: eth1 is down or absent"]);
        assert_eq!(status.ports[0].addresses, ["203.0.113.1/24", "203.0.113.5"]);

        snapshot.set_link(PortId::WAN, link(true));
        assert!(!snapshot.status(Totals::default()).forwarding);
        snapshot.set_link(PortId::lan(0), link(true));
        let status = snapshot.status(Totals { sessions: 7, mappings: 3 });
        assert!(status.forwarding && status.problems.is_empty());
        assert_eq!((status.sessions, status.mappings, status.max_sessions), (7, 3, 1000));
        snapshot.set_link(PortId::WAN, link(false));
        assert!(!snapshot.status(Totals::default()).forwarding);
    }

    #[test]
    fn problems_come_and_go_by_key() {
        let snapshot = Snapshot::new(running());
        assert!(snapshot.set_problem("address:eth0", Some("eth0: has an address".to_owned())));
        assert!(!snapshot.set_problem("address:eth0", Some("eth0: has an address".to_owned())));
        assert_eq!(snapshot.status(Totals::default()).problems[0], "eth0: has an address");
        assert!(snapshot.set_problem("address:eth0", None));
        assert!(!snapshot.set_problem("address:eth0", None));
    }
}
