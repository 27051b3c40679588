//! Fragments: the first decides, the later ones follow it (RFC 4787 §11).

use std::net::SocketAddrV4;

use super::ingress::{destination_of, key_of, source_of};
use super::{Router, decode};
use crate::frame::{Offload, PortId};
use crate::packet::fragment::{FragmentKey, Later};
use crate::packet::parsed::{Kind, Parsed};
use crate::packet::rewrite::{self, Rewrite, Side};
use crate::team::{Stage, WorkerId};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};

/// What the first fragment's fate means for the later ones: its endpoints once translated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentRoute {
    source: SocketAddrV4,
    destination: SocketAddrV4,
    /// The plan under which the first was judged.
    epoch: u32,
    /// The worker that goes on with the packet.
    onward: Option<(WorkerId, Stage)>,
}

impl Router {
    /// A fragment, first or later.
    #[inline(never)]
    pub(super) fn handle_fragment(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        // The fragments after it find no first one.
        let is_later = parsed.kind == Kind::LaterFragment;
        if !self.probes.is_empty() && !is_later && self.answers_probe(now, port, frame, parsed) {
            return Verdict::Consumed;
        }
        if self.stage != Some(Stage::TurnedRound) {
            if let Err(reason) = self.address_sanity(port, parsed) {
                return Verdict::Drop(reason);
            }
            if port == PortId::WAN && !self.nat.settings.is_external(parsed.destination) {
                return Verdict::Drop(DropReason::NotOurs);
            }
        }
        if let Some(handed_over) = self.fragment_elsewhere(port, parsed) {
            return handed_over;
        }
        let (Some(info), Some(key)) = (parsed.fragment, FragmentKey::new(port, parsed)) else {
            return Verdict::Drop(DropReason::FragmentTiny);
        };
        if parsed.kind != Kind::LaterFragment {
            return self.handle_first_fragment(now, key, frame, parsed, offload);
        }
        match self.fragments.handle_later(now, key, info, parsed.ip_payload_len(), frame, *offload) {
            Later::Forward(route) => {
                self.nat.note(|| Step::FollowsFirst);
                self.forward_fragment(now, port, frame, parsed, offload, route)
            }
            Later::Held => {
                self.nat.note(|| Step::WaitsForFirst);
                self.nat.stages.fragments_held += 1;
                Verdict::Consumed
            }
            Later::Drop(reason) => Verdict::Drop(reason),
        }
    }

    fn handle_first_fragment(
        &mut self,
        now: Timestamp,
        key: FragmentKey,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        let Some(info) = parsed.fragment else { return Verdict::Drop(DropReason::FragmentTiny) };
        if let Err(reason) = self.fragments.begin(now, key, info, parsed.ip_payload_len()) {
            return Verdict::Drop(reason);
        }
        let verdict = match parsed.kind {
            Kind::IcmpError | Kind::IcmpOther(_) => Verdict::Drop(DropReason::IcmpType),
            _ if self.stage == Some(Stage::TurnedRound) => {
                self.come_round(now, key.port, frame, parsed, offload)
            }
            _ if self.is_asked_itself(parsed) => self.handle_unknown(now, key.port, frame, parsed, offload),
            _ => {
                let session_key = key_of(key.port, parsed);
                let hash = self.nat.sessions.hash(session_key);
                match self.nat.lookup(now, session_key, hash, None) {
                    Some((id, direction)) => {
                        self.handle_known(now, key.port, frame, parsed, offload, id, direction)
                    }
                    None => self.handle_unknown(now, key.port, frame, parsed, offload),
                }
            }
        };
        let route = match verdict {
            Verdict::Drop(_) => None,
            _ => decode(frame).ok().map(|sent| FragmentRoute {
                source: source_of(&sent),
                destination: destination_of(&sent),
                epoch: self.nat.epoch,
                onward: match verdict {
                    Verdict::HandOver(to, stage) => Some((to, stage)),
                    _ => None,
                },
            }),
        };
        self.fragments.decide(now, key, route);
        // What is released now has been explained when it came in.
        let known = self.nat.steps();
        let mut verdict = verdict;
        let mut handed_over = None;
        while let Some((route, held)) = self.fragments.poll_released() {
            if let Verdict::Transmit(port) = verdict {
                // Before those that follow it, for the sake of whoever has to judge them next.
                self.push_transmit(port, frame.to_vec(), *offload);
                verdict = Verdict::Consumed;
            }
            if let Verdict::HandOver(to, stage) = verdict {
                self.push_hand_over(to, stage, key.port, frame.to_vec(), *offload);
                handed_over = Some(verdict);
                verdict = Verdict::Consumed;
            }
            let mut bytes = held.bytes;
            let verdict = match decode(&bytes) {
                Ok(parsed) => self.forward_fragment(now, key.port, &mut bytes, &parsed, &held.offload, route),
                Err(reason) => Verdict::Drop(reason),
            };
            match verdict {
                Verdict::Transmit(port) => self.push_transmit(port, bytes, held.offload),
                Verdict::Drop(reason) => self.drops[reason as usize] += 1,
                Verdict::HandOver(to, stage) => {
                    self.push_hand_over(to, stage, key.port, bytes, held.offload);
                }
                Verdict::Consumed => {}
            }
        }
        self.nat.forget_steps(known);
        if let Some(verdict) = handed_over {
            self.nat.note(|| Step::HandedOver { verdict });
        }
        self.count_dropped_fragments();
        verdict
    }

    /// Sends a later fragment after its first.
    fn forward_fragment(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        route: FragmentRoute,
    ) -> Verdict {
        if let Some((to, stage)) = route.onward {
            let (protocol, source, destination) = (parsed.protocol, route.source, route.destination);
            if stage == Stage::TurnedRound
                && route.epoch != self.nat.epoch
                && !self.may_still_leave(now, PortId::WAN, protocol, source, destination)
            {
                return Verdict::Drop(DropReason::PlanChanged);
            }
            follow_first(frame, parsed, offload, &route);
            return Verdict::HandOver(to, stage);
        }
        let Some(hop) = self.routes.lookup(*route.destination.ip()) else {
            return Verdict::Drop(DropReason::NoRoute);
        };
        if route.epoch != self.nat.epoch
            && !self.may_still_leave(now, hop.port, parsed.protocol, route.source, route.destination)
        {
            return Verdict::Drop(DropReason::PlanChanged);
        }
        let counts_hop = port != PortId::HOST && hop.port != PortId::HOST;
        if counts_hop && parsed.ttl <= 1 {
            return Verdict::Drop(DropReason::TtlExceeded);
        }
        let mtu = self.ports[hop.port.index()].mtu;
        if parsed.dont_fragment && parsed.packet_len() > usize::from(mtu) {
            return self.refuse_size(now, frame, parsed, mtu);
        }
        follow_first(frame, parsed, offload, &route);
        if counts_hop {
            rewrite::decrement_ttl(frame);
        }
        self.send_out(now, port, frame, offload, None).0
    }

    /// Held fragments that will never be sent.
    pub(super) fn count_dropped_fragments(&mut self) {
        let dropped = self.fragments.take_dropped();
        self.drops[DropReason::FragmentUnmatched as usize] += dropped.unmatched;
        self.drops[DropReason::FragmentLimit as usize] += dropped.limit;
    }
}

/// Gives a later fragment the addresses of its first.
fn follow_first(frame: &mut [u8], parsed: &Parsed, offload: &Offload, route: &FragmentRoute) {
    let changes = [
        (Side::Source, parsed.source, *route.source.ip()),
        (Side::Destination, parsed.destination, *route.destination.ip()),
    ];
    for (side, before, address) in changes {
        if before != address {
            rewrite::apply(frame, parsed, offload, &Rewrite { side, address, port: 0 });
        }
    }
}
