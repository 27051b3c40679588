//! ARP (RFC 826, RFC 5227): answers for our addresses, what is learnt, what waits for it.

use std::net::Ipv4Addr;

use super::ingress::{destination_of, source_of};
use super::{Router, decode};
use crate::event::Event;
use crate::frame::{Offload, PortId};
use crate::link::neighbor::{HeldFrame, NeighborAction};
use crate::link::route::RouteTable;
use crate::packet::build::{self, IcmpErrorKind};
use crate::packet::rewrite;
use crate::plan::Plan;
use crate::team::{Stage, WorkerId};
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};
use crate::wire::arp;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::icmpv4;

impl Router {
    /// Our addresses on a port: those that ARP is answered for there and nowhere else.
    pub(super) fn addresses_in(plan: &Plan, port: PortId) -> Vec<Ipv4Addr> {
        match port.lan_index() {
            Some(index) => plan.lans.get(index).map(|lan| lan.address.addr()).into_iter().collect(),
            None if port == PortId::WAN => plan.wan.external_addresses().collect(),
            None => Vec::new(),
        }
    }

    pub(super) fn is_ours_on(&self, port: PortId, address: Ipv4Addr) -> bool {
        match port.lan_index() {
            Some(index) => self.plan.lans.get(index).is_some_and(|lan| lan.address.addr() == address),
            None => port == PortId::WAN && self.nat.settings.is_external(address),
        }
    }

    /// Whether somebody at `address` may speak ARP on this link. Outside, the gateway may lie anywhere.
    fn is_on_link(&self, port: PortId, address: Ipv4Addr) -> bool {
        Self::is_on_link_in(&self.plan, &self.routes, port, address)
    }

    fn is_on_link_in(plan: &Plan, routes: &RouteTable, port: PortId, address: Ipv4Addr) -> bool {
        match port.lan_index() {
            Some(index) => plan.lans.get(index).is_some_and(|lan| lan.address.contains(&address)),
            None => port == PortId::WAN && !routes.is_lan_address(address),
        }
    }

    /// Forgets neighbors that by the plan in force are not on the link of their port.
    pub(super) fn forget_strangers(&mut self, now: Timestamp) {
        let (plan, routes) = (&self.plan, &self.routes);
        self.neighbors.retain(|port, address| Self::is_on_link_in(plan, routes, port, address));
        self.pump_neighbors(now);
    }

    /// Whether the sender of an ARP packet speaks of itself, on a link of its own.
    pub(super) fn may_learn_from(&self, port: PortId, packet: &arp::Repr) -> bool {
        let sender = packet.sender_mac;
        port != PortId::HOST
            && !sender.is_multicast()
            && sender != self.ports[port.index()].link.mac
            && !packet.sender_ip.is_unspecified()
            && !self.is_ours_on(port, packet.sender_ip)
            && self.is_on_link(port, packet.sender_ip)
    }

    /// Answers a request in place, learns, watches over our addresses.
    pub(super) fn handle_arp(&mut self, now: Timestamp, port: PortId, frame: &mut [u8]) -> Verdict {
        let Some(packet) = frame.get(ethernet::HEADER_LEN..) else {
            return Verdict::Drop(DropReason::ArpMalformed);
        };
        let Ok(packet) = arp::Repr::parse(packet) else { return Verdict::Drop(DropReason::ArpMalformed) };
        let ours = self.ports[port.index()].link.mac;
        if port == PortId::HOST || packet.sender_mac.is_multicast() || packet.sender_mac == ours {
            return Verdict::Drop(DropReason::ArpMalformed);
        }
        if !self.probes.is_empty() {
            let is_ours = self.is_ours_on(port, packet.target_ip);
            self.probes.arp(now, port, &packet, is_ours);
        }
        if self.is_ours_on(port, packet.sender_ip) {
            // One speaks for all, so that together they do not speak too often.
            let first = self.give(WorkerId::FIRST, Stage::Arrived);
            return match first {
                Some(handed_over) => handed_over,
                None => self.defend(now, port, packet.sender_ip, packet.sender_mac),
            };
        }
        let to_us = self.is_ours_on(port, packet.target_ip);
        let is_probe = packet.sender_ip.is_unspecified();
        if !is_probe {
            if !self.is_on_link(port, packet.sender_ip) {
                return Verdict::Drop(DropReason::ArpNotForUs);
            }
            self.tell_others(now, port, frame);
            if port != PortId::WAN {
                self.sightings.arp(now, port, packet.sender_mac, packet.sender_ip);
            }
            self.neighbors.handle_arp(now, port, &packet, to_us);
            self.pump_neighbors(now);
        }
        match packet.operation {
            arp::Operation::Request if to_us && !self.ports[port.index()].link.up => {
                Verdict::Drop(DropReason::PortDown)
            }
            arp::Operation::Request if to_us => {
                let reply = arp::Repr {
                    operation: arp::Operation::Reply,
                    sender_mac: ours,
                    sender_ip: packet.target_ip,
                    target_mac: packet.sender_mac,
                    target_ip: packet.sender_ip,
                };
                reply.emit(&mut frame[ethernet::HEADER_LEN..]);
                rewrite::set_macs(frame, packet.sender_mac, ours);
                self.nat.stages.arp_replies += 1;
                Verdict::Transmit(port)
            }
            arp::Operation::Reply if to_us => Verdict::Consumed,
            // A gratuitous announcement: its sender speaks of itself.
            _ if packet.sender_ip == packet.target_ip => Verdict::Consumed,
            _ => Verdict::Drop(DropReason::ArpNotForUs),
        }
    }

    /// Somebody else uses an address of ours: say whose it is (RFC 5227 §2.4 (b)), not too often.
    fn defend(&mut self, now: Timestamp, port: PortId, address: Ipv4Addr, mac: MacAddr) -> Verdict {
        if self.conflict_limits[port.index()].take(now) {
            self.push_event(Event::AddressConflict { port, address, mac });
            self.announce(port, &[address]);
        }
        Verdict::Consumed
    }

    /// Gratuitous ARP, so that the link's caches follow us.
    pub(super) fn announce(&mut self, port: PortId, addresses: &[Ipv4Addr]) {
        let link = self.ports[port.index()].link;
        if !link.up || port == PortId::HOST {
            return;
        }
        for &address in addresses {
            self.send_arp_request(port, address, address, None);
        }
    }

    pub(super) fn send_arp_request(
        &mut self,
        port: PortId,
        sender: Ipv4Addr,
        target: Ipv4Addr,
        to: Option<MacAddr>,
    ) {
        let mac = self.ports[port.index()].link.mac;
        let request = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: MacAddr::ZERO,
            target_ip: target,
        };
        let bytes = build::arp_frame(&request, to.unwrap_or(MacAddr::BROADCAST));
        self.nat.stages.arp_requests += 1;
        self.push_transmit(port, bytes, Offload::default());
    }

    /// Carries out what the ARP cache asks for.
    pub(super) fn pump_neighbors(&mut self, now: Timestamp) {
        while let Some(action) = self.neighbors.poll_action() {
            match action {
                NeighborAction::Request { port, target, unicast } => {
                    if let Some(&sender) = Self::addresses_in(&self.plan, port).first() {
                        self.send_arp_request(port, sender, target, unicast);
                    }
                }
                NeighborAction::Release { port, mac, frame } => self.release(now, port, mac, frame),
                NeighborAction::Unreachable { frame, .. } => {
                    self.drops[DropReason::HostUnreachable as usize] += 1;
                    self.tell_unreachable(now, &frame.bytes);
                }
                NeighborAction::Event(event) => self.push_event(event),
            }
        }
    }

    /// Sends a frame whose next hop has answered, unless the plan has changed against it meanwhile.
    fn release(&mut self, now: Timestamp, port: PortId, mac: MacAddr, mut frame: HeldFrame) {
        let is_allowed = frame.epoch == self.nat.epoch
            || decode(&frame.bytes).is_ok_and(|parsed| {
                let (source, destination) = (source_of(&parsed), destination_of(&parsed));
                self.may_still_leave(now, port, parsed.protocol, source, destination)
            });
        let verdict = if is_allowed {
            self.send_to(&mut frame.bytes, &frame.offload, port, mac)
        } else {
            Verdict::Drop(DropReason::PlanChanged)
        };
        match verdict {
            Verdict::Transmit(_) => self.push_transmit(port, frame.bytes, frame.offload),
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
            Verdict::Consumed | Verdict::HandOver(..) => {}
        }
    }

    /// Tells the inside sender of a frame that its next hop does not answer. The frame has been translated
    /// already; an error to its external source finds back through its session. Outside nobody is told.
    pub(super) fn tell_unreachable(&mut self, now: Timestamp, frame: &[u8]) {
        let Ok(parsed) = decode(frame) else { return };
        if self.is_of_service(parsed.protocol, source_of(&parsed)) {
            return;
        }
        let is_inside = || self.routes.lookup(parsed.source).is_some_and(|hop| hop.port != PortId::WAN);
        if self.nat.settings.is_external(parsed.source) || is_inside() {
            let kind = IcmpErrorKind::Unreachable { code: icmpv4::CODE_HOST_UNREACHABLE };
            self.send_icmp_error(now, kind, frame, &parsed);
        }
    }
}
