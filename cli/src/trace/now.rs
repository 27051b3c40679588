//! What a running router has at a moment that has a part in what becomes of a packet.

use genkan_engine::frame::PortId;
use genkan_engine::view::{HostView, MappingView, NeighborView, SessionView};

use super::running::Moment;
use super::telling::Said;
use super::{Line, Scene};
use crate::words::Words;

/// Rows of each table: an excerpt has a handful.
const ROWS: u32 = 64;

impl Scene<'_> {
    /// All that there is at a moment for one packet, which comes in by `port`.
    pub(super) fn now(&self, moment: &Moment, port: PortId, words: &Words) -> Vec<Line> {
        let &Moment { ref router, now, sessions } = moment;
        let mut said = Vec::new();
        if router.link(port).is_none_or(|link| !link.up) {
            said.push(Said::with("now-link-down", [("port", self.port_name(port).to_owned())]));
        }
        let (rows, _) = router.sessions(now, 0, ROWS);
        said.extend(rows.iter().map(session_said));
        let (rows, _) = router.mappings(0, ROWS);
        said.extend(rows.iter().map(mapping_said));
        let (rows, _) = router.hosts(now, 0, ROWS);
        said.extend(rows.iter().map(|host| self.host_said(host)));
        let mut neighbors = router.neighbors();
        neighbors.sort_by_key(|neighbor| (neighbor.port, neighbor.address));
        said.extend(neighbors.iter().map(|neighbor| self.neighbor_said(neighbor)));
        let most = self.loaded.plan.nat.max_sessions;
        let arguments = [("sessions", sessions.to_string()), ("most", most.to_string())];
        said.push(Said::with("now-sessions", arguments).at("nat", 0, "max_sessions"));
        said.into_iter().map(|said| self.spoken(said, words)).collect()
    }

    fn host_said(&self, host: &HostView) -> Said {
        let nat = &self.loaded.plan.nat;
        let arguments = [
            ("host", host.address.to_string()),
            ("sessions", host.sessions.to_string()),
            ("most", nat.max_sessions_per_host.to_string()),
            ("ports", host.external_ports.to_string()),
            ("external", host.external.to_string()),
        ];
        Said::with("now-host", arguments)
    }

    fn neighbor_said(&self, neighbor: &NeighborView) -> Said {
        let (port, address) = (self.port_name(neighbor.port).to_owned(), neighbor.address.to_string());
        match (neighbor.mac, neighbor.state) {
            (Some(mac), _) => {
                let arguments = [("port", port), ("address", address), ("mac", mac.to_string())];
                Said::with("now-neighbor", arguments)
            }
            (None, "failed") => Said::with("now-neighbor-silent", [("port", port), ("address", address)]),
            (None, _) => Said::with("now-neighbor-asked", [("port", port), ("address", address)]),
        }
    }
}

fn session_said(session: &SessionView) -> Said {
    let arguments = [
        ("protocol", session.protocol.to_string()),
        ("internal", session.internal.to_string()),
        ("external", session.external.to_string()),
        ("remote", session.remote.to_string()),
        ("state", session.state.to_owned()),
        ("left", format!("{:#}", jiff::SignedDuration::from_secs(session.expires_in.as_secs() as i64))),
    ];
    Said::with("now-session", arguments)
}

fn mapping_said(mapping: &MappingView) -> Said {
    let arguments = [
        ("protocol", mapping.protocol.to_string()),
        ("internal", mapping.internal.to_string()),
        ("external", mapping.external.to_string()),
        ("sessions", mapping.sessions.to_string()),
    ];
    Said::with("now-mapping", arguments)
}
