//! What must hold in the small world, whatever happens.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use genkan_engine::frame::Transmit;
use genkan_engine::packet::parsed::parse_ipv4;
use genkan_engine::packet::segmentation;
use genkan_engine::view::SessionView;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{Plan, PortId, Router, Timestamp};

use crate::frame::transport_checksum_is_right;

/// Frames that one step may make the router send: fragments of the largest packet at the smallest MTU, as
/// often as fragments of it are held.
const MAX_TRANSMITS: usize = 4_096;
/// More than any table here holds.
const ALL: u32 = 10_000;

/// What the router should know.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    up: [bool; PortId::COUNT],
    /// The largest number of sessions that plans have allowed for what is open now.
    max_sessions: u32,
}

impl World {
    pub(crate) fn new(plan: Arc<Plan>) -> World {
        World { max_sessions: plan.nat.max_sessions, plan, up: [false; PortId::COUNT] }
    }

    pub(crate) fn link(&mut self, port: PortId, up: bool) {
        self.up[port.index()] = up;
    }

    /// A plan that allows fewer sessions does not end any.
    pub(crate) fn change(&mut self, plan: Arc<Plan>, open: u32) {
        self.max_sessions = plan.nat.max_sessions.max(open);
        self.plan = plan;
    }

    /// A frame that leaves; in answer to one that came in by `from`, if the router did not make it otherwise.
    pub(crate) fn check_sent(&self, sent: &Transmit, from: Option<PortId>) {
        let is_up = self.up[sent.port.index()] || from == Some(sent.port);
        assert!(is_up, "a frame for {:?}, which is down", sent.port);
        assert!(sent.bytes.len() >= 14);
        match sent.bytes[12..14] {
            [0x08, 0x06] => return,
            [0x08, 0x00] => {}
            _ => panic!("neither ARP nor IPv4 leaves"),
        }
        let parsed = parse_ipv4(&sent.bytes).unwrap_or_else(|reason| {
            // Cut up by us, where the MTU is too small for a whole transport header.
            assert_eq!(reason.name(), "fragment_tiny");
            genkan_engine::packet::parsed::Parsed::BLANK
        });
        if parsed.end == 0 {
            return;
        }
        let externals = || self.plan.wan.external_addresses();
        if sent.port == PortId::WAN {
            assert!(externals().any(|own| own == parsed.source), "{} leaves by the wan", parsed.source);
            return;
        }
        let ours = self.plan.lans.iter().map(|lan| lan.address);
        let behind = self.plan.routes.iter().map(|route| route.to);
        let is_inside = ours.clone().chain(behind).any(|net| net.contains(&parsed.destination));
        assert!(is_inside, "{} is not inside, but {:?} is where it leaves", parsed.destination, sent.port);
        // What came in too large for its link may go back as large.
        if let Some(index) = sent.port.lan_index()
            && from != Some(sent.port)
        {
            let lan = &self.plan.lans[index];
            let largest = segmentation::largest_segment(&parsed, &sent.offload);
            assert!(largest <= usize::from(lan.mtu), "{largest} octets for an MTU of {}", lan.mtu);
        }
    }

    /// What came in with a right transport checksum leaves with one.
    pub(crate) fn check_checksum(&self, before: &[u8], sent: &Transmit) {
        let (Ok(came), Ok(left)) = (parse_ipv4(before), parse_ipv4(&sent.bytes)) else { return };
        if sent.offload.partial_checksum || came.fragment.is_some() {
            return;
        }
        let was_right = transport_checksum_is_right(before, &came);
        assert!(
            !was_right || transport_checksum_is_right(&sent.bytes, &left),
            "a transport checksum is spoilt"
        );
    }

    pub(crate) fn check_transmits(&self, count: usize) {
        assert!(count <= MAX_TRANSMITS, "{count} frames at once");
    }

    /// What holds at any time.
    pub(crate) fn check(&self, router: &mut Router, now: Timestamp) {
        let count = router.session_count();
        assert!(count <= self.max_sessions, "{count} sessions, at most {}", self.max_sessions);
        let (mappings, _) = router.mappings(0, ALL);
        let mut owners = BTreeMap::new();
        for mapping in &mappings {
            let owner = owners.insert((mapping.protocol, mapping.external), mapping.internal);
            assert_eq!(owner, None, "two mappings have {}", mapping.external);
        }
        let (sessions, _) = router.sessions(now, 0, ALL);
        let mut outside = BTreeMap::new();
        let mut inside = BTreeMap::new();
        for session in sessions.iter().filter(|session| session.origin != "routed") {
            let key = (session.protocol, session.remote);
            assert_eq!(outside.insert((key, session.external), session.internal), None, "{session:?}");
            assert_eq!(inside.insert((key, session.internal), session.external), None, "{session:?}");
        }
    }

    /// What holds once every session has been judged by the plan in force.
    pub(crate) fn check_settled(&self, router: &Router, now: Timestamp) {
        let (mappings, _) = router.mappings(0, ALL);
        let owners: BTreeMap<(Protocol, SocketAddrV4), SocketAddrV4> =
            mappings.iter().map(|mapping| ((mapping.protocol, mapping.external), mapping.internal)).collect();
        let (sessions, _) = router.sessions(now, 0, ALL);
        let mut per_host: BTreeMap<_, u32> = BTreeMap::new();
        for session in &sessions {
            *per_host.entry(*session.internal.ip()).or_default() += 1;
            if session.origin == "routed" {
                continue;
            }
            assert!(
                self.plan.wan.external_addresses().any(|own| own == *session.external.ip()),
                "{session:?}"
            );
            let owner = owners.get(&(session.protocol, session.external));
            assert!(owner.is_none_or(|owner| *owner == session.internal), "{owner:?} owns {session:?}");
            self.check_origin(session, owner.is_some());
        }
        let mapped: u32 = mappings.iter().map(|mapping| mapping.sessions).sum();
        assert!(mapped <= router.session_count());
        assert!(mappings.iter().all(|mapping| mapping.sessions > 0), "a mapping without sessions");
    }

    fn check_origin(&self, session: &SessionView, is_mapped: bool) {
        let has_ports = matches!(session.protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP);
        match session.origin {
            "outbound" | "inbound" => assert!(is_mapped || !has_ports, "no mapping: {session:?}"),
            "dmz" => assert_eq!(Some(*session.internal.ip()), self.plan.dmz, "{session:?}"),
            "forward" => {
                let points_there =
                    |rule: &genkan_engine::plan::ForwardRule| rule.to == *session.internal.ip();
                assert!(self.plan.forwards.iter().any(points_there), "{session:?}");
            }
            "one-to-one" => {
                let own = |host: &genkan_engine::plan::Host| host.external == Some(*session.external.ip());
                assert!(self.plan.hosts.iter().any(own), "{session:?}");
            }
            _ => {}
        }
    }
}
