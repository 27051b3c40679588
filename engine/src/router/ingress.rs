//! The first look at a frame: link header, parse, session look-up.

use std::net::SocketAddrV4;

use super::Router;
use crate::frame::{Offload, PortId};
use crate::nat::policy::Direction;
use crate::nat::session::{SessionId, SessionKey};
use crate::packet::parsed::{Kind, Parsed, parse_ipv4};
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType, MacAddr};

const VLAN_ID: u16 = 0x0fff;
const TAG_LEN: usize = 4;

/// What is known of a frame before its turn in the batch. One flat value that is filled in place: moving
/// it about costs more than parsing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    step: Step,
    /// Meaningful from [`Step::Special`] on.
    parsed: Parsed,
    /// Meaningful for [`Step::Packet`], like the rest.
    key: SessionKey,
    hash: u64,
    hint: Option<(SessionId, Direction)>,
}

/// What comes next for a frame.
#[derive(Clone, Copy, Debug)]
enum Step {
    Drop(DropReason),
    Arp,
    /// Fragments, ICMP errors and what else has no session key of its own.
    Special,
    Packet,
}

impl Prepared {
    /// Before a frame has been looked at.
    pub(super) const BLANK: Prepared = Prepared {
        step: Step::Drop(DropReason::FrameTruncated),
        parsed: Parsed::BLANK,
        key: SessionKey::BLANK,
        hash: 0,
        hint: None,
    };

    /// Octets of the frame once link padding is cut off.
    #[inline]
    pub(super) fn len_without_padding(&self, frame_len: usize) -> usize {
        match self.step {
            Step::Drop(_) | Step::Arp => frame_len,
            Step::Special | Step::Packet => frame_len.min(self.parsed.end as usize),
        }
    }
}

/// Takes a priority tag (VID 0) off in place. Returns the octets to skip at the front.
pub(super) fn untag_priority(frame: &mut [u8]) -> usize {
    match frame {
        [.., _]
            if frame.len() >= ethernet::HEADER_LEN + TAG_LEN
                && u16::from_be_bytes([frame[12], frame[13]]) == EtherType::VLAN.0
                && u16::from_be_bytes([frame[14], frame[15]]) & VLAN_ID == 0 =>
        {
            frame.copy_within(0..12, TAG_LEN);
            TAG_LEN
        }
        _ => 0,
    }
}

/// The session key of a packet that came in by `port`.
#[inline]
pub(super) fn key_of(port: PortId, parsed: &Parsed) -> SessionKey {
    SessionKey::new(port, parsed.protocol, source_of(parsed), destination_of(parsed))
}

#[inline]
pub(super) fn source_of(parsed: &Parsed) -> SocketAddrV4 {
    SocketAddrV4::new(parsed.source, parsed.source_port)
}

#[inline]
pub(super) fn destination_of(parsed: &Parsed) -> SocketAddrV4 {
    SocketAddrV4::new(parsed.destination, parsed.destination_port)
}

impl Router {
    /// Parses a frame as far as that needs nothing but the frame.
    #[inline]
    pub(super) fn prepare(&self, port: PortId, frame: &[u8], offload: &Offload, prepared: &mut Prepared) {
        prepared.step = match self.next_step(port, frame, offload, prepared) {
            Ok(step) => step,
            Err(reason) => Step::Drop(reason),
        };
    }

    #[inline]
    fn next_step(
        &self,
        port: PortId,
        frame: &[u8],
        offload: &Offload,
        prepared: &mut Prepared,
    ) -> Result<Step, DropReason> {
        let header = frame.first_chunk::<{ ethernet::HEADER_LEN }>().ok_or(DropReason::FrameTruncated)?;
        let Some(arrival) = self.ports.get(port.index()) else { return Err(DropReason::PortDown) };
        if offload.vlan_tci.is_some_and(|tci| tci & VLAN_ID != 0) {
            return Err(DropReason::VlanTagged);
        }
        let destination = MacAddr([header[0], header[1], header[2], header[3], header[4], header[5]]);
        let is_ours = port == PortId::HOST || destination == arrival.link.mac;
        if !is_ours && !destination.is_multicast() {
            return Err(DropReason::NotOurMac);
        }
        match EtherType(u16::from_be_bytes([header[12], header[13]])) {
            EtherType::IPV4 => {}
            EtherType::ARP => return Ok(Step::Arp),
            EtherType::IPV6 => return Err(DropReason::Ipv6NotSupported),
            EtherType::VLAN | EtherType::SERVICE_VLAN => return Err(DropReason::VlanTagged),
            _ => return Err(DropReason::UnknownEthertype),
        }
        prepared.parsed = parse_ipv4(frame)?;
        let parsed = &prepared.parsed;
        if !is_ours {
            // RFC 1122 §3.3.6: a link-layer broadcast may carry only what is broadcast or multicast itself.
            let to_many = self.routes.is_broadcast(parsed.destination) || parsed.destination.is_multicast();
            return Err(if to_many { DropReason::DestinationNotUnicast } else { DropReason::NotOurMac });
        }
        let has_key =
            parsed.fragment.is_none() && !matches!(parsed.kind, Kind::IcmpError | Kind::IcmpOther(_));
        if !has_key {
            return Ok(Step::Special);
        }
        prepared.key = key_of(port, parsed);
        prepared.hash = self.nat.sessions.hash(prepared.key);
        prepared.hint = None;
        Ok(Step::Packet)
    }

    /// Looks the packet up in the index, without a look at the session.
    #[inline]
    pub(super) fn look_ahead(&self, prepared: &mut Prepared) {
        if matches!(prepared.step, Step::Packet) {
            prepared.hint = self.nat.sessions.candidate(prepared.hash);
        }
    }

    /// Touches the session that the look-ahead found.
    #[inline]
    pub(super) fn warm(&self, prepared: &Prepared) -> bool {
        prepared.hint.is_some_and(|candidate| self.nat.sessions.confirm(candidate, prepared.key))
    }

    /// Judges a prepared frame and counts.
    #[inline]
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        offload: &Offload,
        prepared: &Prepared,
    ) -> Verdict {
        if let Some(counters) = self.port_counters.get_mut(port.index()) {
            counters.rx_frames += 1;
            counters.rx_octets += frame.len() as u64;
        }
        let parsed = &prepared.parsed;
        let len = prepared.len_without_padding(frame.len());
        let frame = &mut frame[..len];
        let verdict = match prepared.step {
            Step::Drop(reason) => Verdict::Drop(reason),
            Step::Arp => self.handle_arp(now, port, frame),
            Step::Special => self.judge_special(now, port, frame, parsed, offload),
            Step::Packet => match self.nat.lookup(now, prepared.key, prepared.hash, prepared.hint) {
                Some((id, direction)) => self.handle_known(now, port, frame, parsed, offload, id, direction),
                None => self.handle_unknown(now, port, frame, parsed, offload),
            },
        };
        match verdict {
            Verdict::Transmit(out) => {
                let counters = &mut self.port_counters[out.index()];
                counters.tx_frames += 1;
                counters.tx_octets += len as u64;
            }
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
            Verdict::Consumed | Verdict::HandOver(..) => {}
        }
        verdict
    }

    /// Packets that are not looked up by their own addresses and ports alone.
    fn judge_special(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Verdict {
        match parsed.kind {
            _ if parsed.fragment.is_some() => self.handle_fragment(now, port, frame, parsed, offload),
            Kind::IcmpError => self.handle_icmp_error(now, port, frame, parsed, offload),
            _ => Verdict::Drop(DropReason::IcmpType),
        }
    }
}
