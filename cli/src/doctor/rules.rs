//! What the rules do with a packet: asked of the router's own engine, without any connection.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_config::Loaded;
use genkan_config::openings::{Judgement, Openings};
use genkan_engine::link::route::RouteTable;
use genkan_engine::trail::{ForwardSays, Step};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, Plan, PortId, UnixTime, Verdict};

use super::facts::Ruling;
use crate::simulation::{Outcome, Packet, Simulation};

/// Where the followed packet comes from: an ephemeral port.
const SOURCE_PORT: u16 = 40_000;

/// Addresses of nobody (RFC 5737), of which one at least is far from any network of the plan.
const STRANGERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 77), Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(203, 0, 113, 77)];

/// A configuration at a moment.
pub(super) struct Rules<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) judgement: Judgement,
    pub(super) routes: RouteTable,
    wall: UnixTime,
}

/// What became of a packet for a forward.
pub(super) struct Judged {
    pub(super) ruling: Ruling,
    /// Why an answer would be dropped.
    pub(super) answer: Option<DropReason>,
}

impl<'a> Rules<'a> {
    /// What holds at `wall`.
    pub(super) fn new(loaded: &'a Loaded, wall: UnixTime) -> Rules<'a> {
        let judgement = Openings::new(None, []).judge(loaded, wall);
        let routes = RouteTable::from_plan(&judgement.plan);
        Rules { loaded, judgement, routes, wall }
    }

    fn plan(&self) -> &Plan {
        &self.judgement.plan
    }

    /// A source that the forward admits and that is outside, as far as there is one.
    pub(super) fn stranger(&self, from: &[ipnet::Ipv4Net]) -> Ipv4Addr {
        let admitted = from.iter().map(|network| network.hosts().next().unwrap_or(network.addr()));
        let is_outside = |address: &Ipv4Addr| {
            !self.plan().wan.address.contains(address)
                && self.routes.lookup(*address).is_none_or(|hop| hop.port == PortId::WAN)
        };
        let admits = |address: &Ipv4Addr| from.is_empty() || from.iter().any(|net| net.contains(address));
        let mut strangers = STRANGERS.into_iter().filter(admits).chain(admitted).filter(is_outside);
        strangers.next().unwrap_or(STRANGERS[0])
    }

    /// Follows the first packet of something new to `external`, for the forward at `index`.
    pub(super) fn follow(
        &self,
        index: usize,
        protocol: Protocol,
        source: Ipv4Addr,
        external: SocketAddrV4,
    ) -> Judged {
        let from = (source, Some(SOURCE_PORT));
        let to = (*external.ip(), Some(external.port()));
        let Ok(packet) = Packet::first(protocol, from, to) else {
            return Judged { ruling: Ruling::Dropped(DropReason::NoMapping), answer: None };
        };
        let port = match self.routes.lookup(source) {
            Some(hop) if hop.port.lan_index().is_some() => hop.port,
            _ => PortId::WAN,
        };
        let mut router = Simulation::new(self.plan().clone(), self.wall);
        let outcome = router.send(port, &packet);
        let ruling = self.ruling(index, port, &outcome, external);
        let mut answer = None;
        if ruling == Ruling::Takes
            && let Some((out, sent)) = outcome.left.last()
            && let Some(back) = sent.answer()
            && let Verdict::Drop(reason) = router.send(*out, &back).verdict
        {
            answer = Some(reason);
        }
        Judged { ruling, answer }
    }

    fn ruling(&self, index: usize, port: PortId, outcome: &Outcome, external: SocketAddrV4) -> Ruling {
        let rule = &self.plan().forwards[index];
        // A hairpin asks twice; the last word counts.
        let said = outcome.steps.iter().rev().find_map(|step| match step {
            Step::Forward { rule, says } => Some((rule.0 as usize, *says)),
            _ => None,
        });
        let dropped = match outcome.verdict {
            Verdict::Drop(reason) => Some(reason),
            _ => None,
        };
        match (said, dropped) {
            (_, Some(DropReason::NotOurs)) => Ruling::NotOurs(join(self.plan().wan.external_addresses())),
            (_, Some(DropReason::HairpinOff)) => Ruling::HairpinOff,
            (_, Some(DropReason::NotReachable)) => {
                let lan = port.lan_index().unwrap_or_default();
                let name = self.plan().lans.get(lan).map(|lan| lan.name.clone());
                Ruling::NotReaching(lan, name.unwrap_or_default())
            }
            (Some((other, ForwardSays::To(_))), _) if other != index => {
                let name = self.plan().forwards.get(other).map(|rule| rule.name.clone());
                Ruling::Other(other, name.unwrap_or_default())
            }
            (Some((_, ForwardSays::To(_))), Some(DropReason::NoRoute)) => {
                let routes = self.plan().routes.iter().map(|route| route.to);
                Ruling::Outside(join(self.plan().lans.iter().map(|lan| lan.address.trunc()).chain(routes)))
            }
            (Some((_, ForwardSays::NotFromThere)), _) => Ruling::NotFromThere,
            (Some((_, ForwardSays::Closed)), _) => Ruling::Closed,
            (Some((_, ForwardSays::To(_))), None) => Ruling::Takes,
            (_, reason) => match rule.address {
                Some(only) if only != *external.ip() => Ruling::OtherAddress(only),
                _ => Ruling::Dropped(reason.unwrap_or(DropReason::NoMapping)),
            },
        }
    }
}

pub(super) fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
