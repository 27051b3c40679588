//! What changes of the shared state come to, as events.

use genkan_engine::Plan;
use genkan_engine::frame::PortId;
use genkan_engine::router::LinkState;

use super::Snapshot;
use crate::api::EventKind;
use crate::events::NewEvent;

impl Snapshot {
    pub(super) fn tell_configuration(&self, before: &Plan, after: &Plan) {
        let message = if before == after {
            "the configuration was read again: the engine follows the same"
        } else {
            "another configuration is in force"
        };
        self.events.push(NewEvent::new(EventKind::Configuration, message));
        self.events.plan_changed(before, after);
    }

    pub(super) fn tell_link(&self, port: PortId, before: Option<LinkState>, link: LinkState) {
        if before == Some(link) {
            return;
        }
        let name = self.port_name(port);
        let state = if link.up { "up" } else { "down" };
        let message = format!("{name}: the link is {state}, MAC address {}, MTU {}", link.mac, link.mtu);
        self.events.push(NewEvent { port: Some(name), ..NewEvent::new(EventKind::Link, message) });
    }

    pub(super) fn tell_problem(&self, key: &str, problem: Option<String>) {
        let event = match problem {
            Some(text) => NewEvent::new(EventKind::Problem, text),
            None => NewEvent::new(EventKind::ProblemOver, format!("{key}: well again")),
        };
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use genkan_engine::wire::ethernet::MacAddr;

    use super::super::tests::{plan, running};
    use super::*;

    #[test]
    fn links_problems_and_configurations_are_told_once() {
        let snapshot = Snapshot::new(running());
        let link = LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true };
        snapshot.set_link(PortId::WAN, link);
        snapshot.set_link(PortId::WAN, link);
        snapshot.set_problem("sysctl", Some("it is wrong".to_owned()));
        snapshot.set_problem("sysctl", Some("it is wrong".to_owned()));
        snapshot.set_problem("sysctl", None);
        snapshot.set_problem("sysctl", None);
        let mut after = running();
        after.plan = Arc::new(Plan { dmz: Some([192, 168, 0, 9].into()), ..plan() });
        snapshot.set_running(after);
        let told: Vec<String> = snapshot.events.page(0, 10).rows.into_iter().map(|row| row.message).collect();
        let expected = [
            "wan: the link is up, MAC address 02:00:00:00:00:01, MTU 1500",
            "it is wrong",
            "sysctl: well again",
            "another configuration is in force",
        ];
        assert_eq!(told, expected);
    }
}
