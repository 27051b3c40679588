//! Packets of other workers: what is handed over, and what comes in that way.
//!
//! A frame goes from where it arrived to its owner ([`Stage::Arrived`]); from there once more when only a worker
//! on the way could tell whose it is ([`Stage::Assigned`]); and for a hairpin to the owner of its other side
//! ([`Stage::TurnedRound`]). A stage is never followed by itself, so nothing goes round in circles: a worker that is
//! not the owner either, as its plan is newer or older, judges the packet all the same.

use std::net::SocketAddrV4;

use super::ingress::{destination_of, source_of};
use super::slow_path::is_opening_syn;
use super::{MAX_TRANSMITS, Router, decode};
use crate::frame::{FrameBatch, Offload, PortId, Slot};
use crate::nat::mapping::pool_index;
use crate::packet::parsed::{Kind, Parsed};
use crate::team::{HandOver, Stage, WorkerId};
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};
use crate::wire::arp;
use crate::wire::ethernet;
use crate::wire::ipv4::Protocol;

impl Router {
    /// Takes frames that other workers have handed over, all of them of the same `stage` and `port`; otherwise
    /// as [`Router::handle_batch`]. They were counted as received where they arrived.
    pub fn handle_handed_over(&mut self, now: Timestamp, port: PortId, stage: Stage, batch: FrameBatch<'_>) {
        self.stage = Some(stage);
        match stage {
            Stage::Arrived | Stage::Assigned => {
                let before = self.port_counters.get(port.index()).copied();
                self.handle_batch(now, port, batch);
                if let (Some(before), Some(counters)) = (before, self.port_counters.get_mut(port.index())) {
                    (counters.rx_frames, counters.rx_octets) = (before.rx_frames, before.rx_octets);
                }
            }
            Stage::TurnedRound | Stage::Own | Stage::Overheard => {
                let FrameBatch { memory, slots } = batch;
                for slot in slots {
                    let Slot { offset, len, offload, .. } = *slot;
                    let frame = memory.get_mut(offset..offset.saturating_add(len)).unwrap_or_default();
                    slot.verdict = self.take_half_done(now, port, stage, frame, &offload);
                    self.count(slot.verdict, len);
                }
                self.stage = None;
                self.pump_neighbors(now);
            }
        }
        self.stage = None;
    }

    pub(super) fn take_half_done(
        &mut self,
        now: Timestamp,
        port: PortId,
        stage: Stage,
        frame: &mut [u8],
        offload: &Offload,
    ) -> Verdict {
        if port.index() >= self.ports.len() {
            return Verdict::Drop(DropReason::PortDown);
        }
        if stage == Stage::Overheard {
            self.overhear(now, port, frame);
            return Verdict::Consumed;
        }
        let parsed = match decode(frame) {
            Ok(parsed) => parsed,
            Err(reason) => return Verdict::Drop(reason),
        };
        match (stage, parsed.kind) {
            (Stage::Own, _) => self
                .translate_icmp_error(now, None, port, frame, &parsed, offload)
                .unwrap_or_else(Verdict::Drop),
            _ if parsed.fragment.is_some() => self.handle_fragment(now, port, frame, &parsed, offload),
            (_, Kind::IcmpError) => self
                .translate_icmp_error(now, Some(port), PortId::WAN, frame, &parsed, offload)
                .unwrap_or_else(Verdict::Drop),
            _ => self.come_round(now, port, frame, &parsed, offload),
        }
    }

    /// Frames for other workers besides those of a batch, in order. To be passed on before the batch's own.
    pub fn poll_hand_over(&mut self) -> Option<HandOver> {
        self.hand_overs.pop_front()
    }

    /// Counts a frame that the caller could not pass on to another worker.
    pub fn hand_over_failed(&mut self) {
        self.drops[DropReason::HandOverFull as usize] += 1;
    }

    pub(super) fn push_hand_over(
        &mut self,
        to: WorkerId,
        stage: Stage,
        port: PortId,
        bytes: Vec<u8>,
        offload: Offload,
    ) {
        if self.hand_overs.len() >= MAX_TRANSMITS {
            self.drops[DropReason::TransmitQueueFull as usize] += 1;
            return;
        }
        if stage != Stage::Overheard {
            self.nat.stages.handed_over += 1;
        }
        self.hand_overs.push_back(HandOver { to, stage, port, bytes, offload });
    }

    /// Gives a frame to its owner, if that is another worker.
    pub(super) fn give(&self, to: WorkerId, stage: Stage) -> Option<Verdict> {
        let member = self.member.as_ref()?;
        (to != member.id && self.stage < Some(stage)).then_some(Verdict::HandOver(to, stage))
    }

    /// Whether this worker speaks for the whole router.
    pub(super) fn is_first(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.id == WorkerId::FIRST)
    }

    /// The worker that a packet without a session here belongs to, when it is another one. The packet's addresses
    /// are possible ones.
    #[inline]
    pub(super) fn elsewhere(&self, now: Timestamp, port: PortId, parsed: &Parsed) -> Option<Verdict> {
        self.member.as_ref()?;
        if self.stage >= Some(Stage::Assigned) {
            return None;
        }
        // That it belongs to another one although it was handed to this one, the worker before could not know. Of
        // a fragment from outside this one alone knows the ports.
        let is_later_stage = self.stage.is_some() || parsed.fragment.is_some();
        let stage = if is_later_stage { Stage::Assigned } else { Stage::Arrived };
        if self.is_asked_itself(parsed) {
            return None;
        }
        if port != PortId::WAN {
            let owner = self.nat.owner_from_inside(parsed.protocol, parsed.source, parsed.destination)?;
            return self.give(owner, stage);
        }
        let (source, external) = (source_of(parsed), destination_of(parsed));
        let owner = self.nat.owner_from_outside(now, parsed.protocol, source, external, false);
        let to_owner = owner.and_then(|owner| self.give(owner, stage));
        if !is_later_stage && to_owner.is_some() {
            // Who asks for the session there, if it has none.
            return to_owner;
        }
        let by_session = self.owner_by_session(parsed);
        by_session.and_then(|owner| self.give(owner, Stage::Assigned)).or(to_owner)
    }

    /// The worker that has the session of a packet from outside, or turned round, although no rule says so.
    fn owner_by_session(&self, parsed: &Parsed) -> Option<WorkerId> {
        let is_opening = parsed.kind == Kind::Tcp && is_opening_syn(parsed);
        let (source, external) = (source_of(parsed), destination_of(parsed));
        self.nat.owner_by_session(parsed.protocol, source, external, is_opening)
    }

    /// As [`Router::elsewhere`], of a packet that the hairpin has turned round.
    pub(super) fn elsewhere_round(&self, now: Timestamp, parsed: &Parsed) -> Option<Verdict> {
        self.member.as_ref()?;
        let (source, external) = (source_of(parsed), destination_of(parsed));
        let by_rule = || self.nat.owner_from_outside(now, parsed.protocol, source, external, true);
        // The session first: from a worker that has none it could not be brought on.
        self.give(self.owner_by_session(parsed).or_else(by_rule)?, Stage::TurnedRound)
    }

    /// As either of them: of a packet whose session here is over.
    pub(super) fn elsewhere_again(&self, now: Timestamp, port: PortId, parsed: &Parsed) -> Option<Verdict> {
        if port == PortId::WAN {
            self.elsewhere(now, port, parsed)
        } else {
            self.elsewhere_round(now, parsed)
        }
    }

    /// Who looks after a fragment. From inside, and of a protocol without ports, its addresses say whose it is;
    /// from outside that takes the ports, and one worker has to see all fragments of the packet for them.
    pub(super) fn fragment_elsewhere(&self, port: PortId, parsed: &Parsed) -> Option<Verdict> {
        let member = self.member.as_ref()?;
        let (source, destination, protocol) = (parsed.source, parsed.destination, parsed.protocol);
        let owner = if port != PortId::WAN {
            self.nat.owner_from_inside(protocol, source, destination)?
        } else if pool_index(protocol).is_none() {
            member.of_remote(source)
        } else {
            member.of_fragments(source, destination, parsed.fragment?.id, protocol)
        };
        self.give(owner, Stage::Arrived)
    }

    /// Who can translate an ICMP error, about a packet of `protocol` from `source` to `destination`, that no
    /// session here is about. `came_in` and `port` as in [`Router::translate_icmp_error`].
    pub(super) fn error_elsewhere(
        &self,
        now: Timestamp,
        came_in: Option<PortId>,
        port: PortId,
        quoted: (Protocol, SocketAddrV4, SocketAddrV4),
    ) -> Option<Verdict> {
        self.member.as_ref()?;
        // What we say ourselves inside is about a session of this worker.
        if came_in.is_none() && port != PortId::WAN {
            return None;
        }
        let (protocol, source, destination) = quoted;
        let owner = if port == PortId::WAN {
            let by_rule =
                || self.nat.owner_from_outside(now, protocol, destination, source, came_in != Some(port));
            self.nat.owner_by_session(protocol, destination, source, false).or_else(by_rule)?
        } else {
            self.nat.owner_from_inside(protocol, *destination.ip(), *source.ip())?
        };
        match came_in {
            None => self.give(owner, Stage::Own),
            Some(came_in) if came_in != port => self.give(owner, Stage::TurnedRound),
            Some(_) => self.give(owner, Stage::Arrived),
        }
    }

    /// Lets the other workers know of an ARP packet from this link.
    pub(super) fn tell_others(&mut self, now: Timestamp, port: PortId, frame: &[u8]) {
        let Some(member) = &self.member else { return };
        if !self.told_limit.take(now) {
            return;
        }
        for other in member.others() {
            self.push_hand_over(other, Stage::Overheard, port, frame.to_vec(), Offload::default());
        }
    }

    /// Learns from an ARP packet that another worker has judged.
    fn overhear(&mut self, now: Timestamp, port: PortId, frame: &[u8]) {
        let packet = frame.get(ethernet::HEADER_LEN..).and_then(|packet| arp::Repr::parse(packet).ok());
        if let Some(packet) = packet.filter(|packet| self.may_learn_from(port, packet)) {
            let to_us = self.is_ours_on(port, packet.target_ip);
            self.neighbors.handle_arp(now, port, &packet, to_us);
        }
    }

    /// Counts what became of a frame.
    pub(super) fn count(&mut self, verdict: Verdict, len: usize) {
        match verdict {
            Verdict::Transmit(out) => {
                let counters = &mut self.port_counters[out.index()];
                counters.tx_frames += 1;
                counters.tx_octets += len as u64;
            }
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
            Verdict::HandOver(..) => self.nat.stages.handed_over += 1,
            Verdict::Consumed => {}
        }
    }
}
