//! What the router says itself: echo replies, ICMP errors, resets.

use std::net::Ipv4Addr;

use super::{Router, decode};
use crate::frame::{Offload, PortId};
use crate::packet::build::{self, IcmpErrorKind};
use crate::packet::parsed::{Kind, Parsed};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::icmpv4;

impl Router {
    /// Whether a packet is an ICMP query that the router itself is asked, by one of its addresses. What the external
    /// address of a 1:1 host is asked, that host is asked (RFC 5508 REQ-7).
    pub(super) fn is_asked_itself(&self, parsed: &Parsed) -> bool {
        parsed.kind == Kind::IcmpRequest
            && self.routes.local(parsed.destination).is_some()
            && self.nat.settings.one_to_one_host(parsed.destination).is_none()
    }

    /// An echo request to one of our addresses, answered in place to whoever handed it over.
    pub(super) fn echo_to_us(
        &mut self,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        allowed: bool,
    ) -> Verdict {
        if frame.get(usize::from(parsed.l4)) != Some(&icmpv4::ECHO_REQUEST) {
            return Verdict::Drop(DropReason::IcmpType);
        }
        if !allowed {
            return Verdict::Drop(DropReason::PingOff);
        }
        if !self.ports[port.index()].link.up {
            return Verdict::Drop(DropReason::PortDown);
        }
        build::echo_reply_in_place(frame);
        self.nat.stages.echo_replies += 1;
        Verdict::Transmit(port)
    }

    /// Sends an ICMP error about `frame` to its source, within the rate limit. When the source is an external
    /// address of ours, the packet was translated already, and so the error is translated back.
    pub(super) fn send_icmp_error(
        &mut self,
        now: Timestamp,
        kind: IcmpErrorKind,
        frame: &[u8],
        parsed: &Parsed,
    ) {
        if !build::may_answer(parsed) {
            return;
        }
        let port_of = |address| self.routes.lookup(address).map(|hop| hop.port);
        // An answer would come from where the packet was going: from outside, or after a hairpin from inside.
        let was_translated = self.nat.settings.is_external(parsed.source);
        let back_from = was_translated.then(|| port_of(parsed.destination).unwrap_or(PortId::WAN));
        let out = if was_translated { Some(PortId::WAN) } else { port_of(parsed.source) };
        let Some(source) = out.and_then(|port| self.address_towards(port)) else { return };
        if !self.icmp_limit.take(now) {
            self.nat.stages.icmp_errors_suppressed += 1;
            return;
        }
        let quoted = &frame[ethernet::HEADER_LEN..parsed.end as usize];
        let packet = build::icmp_error(kind, quoted, source, parsed.source);
        self.nat.stages.icmp_errors_sent += 1;
        self.nat.note(|| Step::IcmpErrorSent { kind: kind.type_and_code(), to: parsed.source });
        self.send_own(now, packet, back_from);
    }

    /// Tells an inside host that its TCP connection is unknown (RFC 9293 §3.5.2).
    pub(super) fn send_reset(&mut self, now: Timestamp, frame: &[u8], parsed: &Parsed) {
        let Some(packet) = build::tcp_reset(parsed, frame) else { return };
        if self.reset_limit.take(now) {
            self.nat.stages.resets_sent += 1;
            self.nat.note(|| Step::ResetSent { to: parsed.source });
            self.send_own(now, packet, None);
        }
    }

    /// Sends an IPv4 packet that we made. `back_from`: it goes to an external address of ours, on the way that
    /// an error from a machine behind this port would take.
    pub(super) fn send_own(&mut self, now: Timestamp, packet: Vec<u8>, back_from: Option<PortId>) {
        let mut bytes = build::with_ethernet(&packet, MacAddr::ZERO, MacAddr::ZERO);
        let offload = Offload::default();
        let verdict = if let Some(port) = back_from {
            match decode(&bytes) {
                Ok(parsed) => self
                    .translate_icmp_error(now, None, port, &mut bytes, &parsed, &offload)
                    .unwrap_or_else(Verdict::Drop),
                Err(reason) => Verdict::Drop(reason),
            }
        } else {
            self.send_out(now, PortId::HOST, &mut bytes, &offload, None).0
        };
        match verdict {
            Verdict::Transmit(port) => self.push_transmit(port, bytes, offload),
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
            Verdict::HandOver(to, stage) => self.push_hand_over(to, stage, PortId::WAN, bytes, offload),
            Verdict::Consumed => {}
        }
    }

    /// Our address as seen from what lies behind a port.
    pub(super) fn address_towards(&self, port: PortId) -> Option<Ipv4Addr> {
        match port {
            PortId::HOST => Self::addresses_in(&self.plan, PortId::lan(0)).first().copied(),
            _ => Self::addresses_in(&self.plan, port).first().copied(),
        }
    }
}
