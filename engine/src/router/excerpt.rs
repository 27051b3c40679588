//! One packet against the state of a router that goes on, without changing it: [`Router::excerpt`] reads out what decides
//! about the packet, and [`Router::of_excerpts`] makes a router of it that exists for this packet and is asked by
//! [`Router::explain`], like any other.
//!
//! Not looked at: fragments that wait for others, and an ARP cache or a table of hosts that is full.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::ingress::{destination_of, source_of};
use super::{Port, Router, RouterConfig};
use crate::frame::PortId;
use crate::link::neighbor::NeighborExcerpt;
use crate::nat::excerpt::{Asked, NatExcerpt, ROOM};
use crate::packet::embedded::Embedded;
use crate::packet::parsed::{Kind, Parsed, parse_ipv4};
use crate::plan::Plan;
use crate::rate_limit::TokenBucket;
use crate::router::LinkState;
use crate::time::{Timestamp, UnixTime};

/// A secret of a router that lives for a packet and whose tables hold what another one has let in: it needs none.
const SEED: [u64; 2] = [1, 2];

/// What of a worker's state decides about one packet.
#[derive(Debug)]
pub struct Excerpt {
    plan: Arc<Plan>,
    nat: NatExcerpt,
    neighbors: Vec<NeighborExcerpt>,
    /// Frames that wait for neighbors, and their octets.
    held: (usize, usize),
    ports: [Port; PortId::COUNT],
    icmp_limit: TokenBucket,
    reset_limit: TokenBucket,
}

impl Excerpt {
    /// Sessions that the worker has.
    pub fn sessions_in_all(&self) -> u32 {
        self.nat.sessions_in_all
    }

    /// Where a packet that turns round may leave from, as far as the worker knows. Another worker has the receiver's
    /// session, by an endpoint that only this one knows: in a team, all are asked once more with the endpoints of all.
    pub fn turns_round_from(&self) -> &[SocketAddrV4] {
        &self.nat.turns_round_from
    }

    /// The plan under which it was taken.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

/// What the NAT is asked about a frame, if it is one that it hears of: of an ICMP error, the packet that would answer the
/// quoted one.
fn asked(port: PortId, frame: &[u8]) -> Option<Asked> {
    let packet = parse_ipv4(frame).ok()?;
    let Parsed { protocol, .. } = packet;
    let (source, destination) = (source_of(&packet), destination_of(&packet));
    if packet.kind != Kind::IcmpError {
        return Some(Asked { port, protocol, source, destination });
    }
    let quoted = Embedded::parse(frame, &packet).ok()?;
    let source = SocketAddrV4::new(quoted.destination, quoted.destination_port);
    let destination = SocketAddrV4::new(quoted.source, quoted.source_port);
    Some(Asked { port, protocol: quoted.protocol, source, destination })
}

impl Router {
    /// Reads out what decides about an Ethernet frame that comes in by `port`. Changes nothing, and takes some ten
    /// microseconds however many sessions there are (`benches/excerpt.rs`). In a team every worker is asked, since any
    /// may have a part in it, and again with what [`Excerpt::turns_round_from`] has told of all, unless that is nothing.
    pub fn excerpt(
        &self,
        now: Timestamp,
        port: PortId,
        frame: &[u8],
        turns_round_from: &[SocketAddrV4],
    ) -> Excerpt {
        let asked = asked(port, frame);
        let nat =
            asked.map_or_else(NatExcerpt::default, |asked| self.nat.excerpt(now, &asked, turns_round_from));
        let mut addresses = nat.addresses();
        addresses.extend(asked.iter().flat_map(|asked| [*asked.source.ip(), *asked.destination.ip()]));
        // Whom an ICMP error comes from, or is about, is told in the name of others.
        addresses.extend(parse_ipv4(frame).iter().flat_map(|packet| [packet.source, packet.destination]));
        let hops = addresses.into_iter().filter_map(|address| self.routes.lookup(address));
        let mut neighbors: Vec<(PortId, _)> = hops.map(|hop| (hop.port, hop.next_hop)).collect();
        neighbors.sort_unstable();
        neighbors.dedup();
        let neighbors = neighbors.into_iter().filter_map(|(port, ip)| self.neighbors.excerpt(port, ip));
        Excerpt {
            plan: self.plan.clone(),
            nat,
            neighbors: neighbors.collect(),
            held: self.neighbors.held(),
            ports: self.ports,
            icmp_limit: self.icmp_limit.clone(),
            reset_limit: self.reset_limit.clone(),
        }
    }

    /// A router in which one packet fares as it would where these excerpts come from, one from every worker, taken for
    /// this packet and at this time. `None` when there are none, or when they were not taken under one plan.
    pub fn of_excerpts(now: Timestamp, wall: UnixTime, excerpts: Vec<Excerpt>) -> Option<Router> {
        let first = excerpts.first()?;
        if excerpts.iter().any(|other| !Arc::ptr_eq(&other.plan, &first.plan) && other.plan != first.plan) {
            return None;
        }
        let mut plan = Plan::clone(&first.plan);
        // The limits per host and per forward go by counts that come along; this one only sizes the tables.
        let sessions: u32 = excerpts.iter().map(|excerpt| excerpt.nat.len()).sum();
        plan.nat.max_sessions = sessions + ROOM;
        let mut router = Router::new(RouterConfig::alone(Arc::new(plan), SEED), now, wall);
        for (port, Port { link, mtu }) in first.ports.into_iter().enumerate() {
            router.ports[port] = Port { link, mtu };
        }
        router.icmp_limit = first.icmp_limit.clone();
        router.reset_limit = first.reset_limit.clone();
        let mut parts = Vec::new();
        let mut held = (0, 0);
        for excerpt in excerpts {
            for neighbor in excerpt.neighbors {
                router.neighbors.put_back(now, neighbor);
            }
            held = held.max(excerpt.held);
            parts.push(excerpt.nat);
        }
        router.neighbors.set_held(held);
        router.nat.take_excerpts(parts);
        Some(router)
    }

    /// The state of a port's link.
    pub fn link(&self, port: PortId) -> Option<LinkState> {
        self.ports.get(port.index()).map(|port| port.link)
    }
}
