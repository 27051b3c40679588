//! The first look at a frame: link header, parse, session look-up.

use std::net::SocketAddrV4;

use super::Router;
use crate::frame::{Offload, PortId};
use crate::nat::look_ahead::{Foreseen, Unknown};
use crate::nat::policy::Direction;
use crate::nat::session::{SessionId, SessionKey};
use crate::nat::settings::Refreshed;
use crate::packet::glance::{Glance, glance};
use crate::packet::parsed::{Kind, Parsed, parse_ipv4};
use crate::packet::segmentation;
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::ipv4::Protocol;
use crate::wire::tcp::TcpFlags;

const VLAN_ID: u16 = 0x0fff;
const TAG_LEN: usize = 4;

/// What is known of a frame before its turn in the batch. Small, so that those of a whole batch stay in the L1
/// cache, and filled in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    /// Meaningful for a common packet only, like the rest.
    pub(super) key: SessionKey,
    pub(super) hash: u64,
    pub(super) hint: Option<(SessionId, Direction)>,
    /// Where the packet ends in the frame.
    pub(super) end: u32,
    pub(super) ttl: u8,
    pub(super) protocol: Protocol,
    pub(super) tcp_flags: TcpFlags,
    /// Everything else is found out about only when it is the frame's turn.
    is_common: bool,
}

impl Prepared {
    /// Whether the fields say anything.
    #[inline(always)]
    pub(super) fn is_common(&self) -> bool {
        self.is_common
    }

    /// Octets of the largest IPv4 packet that a common packet, whose frame this is, turns into on the link.
    pub(super) fn largest_segment(&self, frame: &[u8], offload: &Offload) -> usize {
        segmentation::largest_segment(&self.parsed(frame), offload)
    }

    /// A common packet that no session was found for.
    fn unknown(&self) -> Unknown {
        let [a, b, c, d, e, f, g, h] = self.key.addresses();
        let ports = self.key.ports();
        Unknown {
            key: self.key,
            hash: self.hash,
            protocol: self.protocol,
            source: SocketAddrV4::new([a, b, c, d].into(), (ports >> 16) as u16),
            destination: SocketAddrV4::new([e, f, g, h].into(), ports as u16),
        }
    }

    /// All about a common packet, whose frame this is.
    fn parsed(&self, frame: &[u8]) -> Parsed {
        let Prepared { key, end, ttl, protocol, tcp_flags, .. } = *self;
        Glance { addresses: key.addresses(), ports: key.ports(), end, protocol, ttl, tcp_flags }.parsed(frame)
    }

    /// Before a frame has been looked at.
    pub(super) const BLANK: Prepared = Prepared {
        key: SessionKey::BLANK,
        hash: 0,
        hint: None,
        end: 0,
        ttl: 0,
        protocol: Protocol(0),
        tcp_flags: TcpFlags::NONE,
        is_common: false,
    };
}

/// What an uncommon frame is, if it is not dropped at once.
enum Arrived {
    Arp,
    /// To all hosts of the link, and a service of ours hears it.
    ToMany(Parsed),
    /// Fragments, ICMP errors and what else has no session key of its own.
    Special(Parsed),
    Packet(Parsed),
}

/// Cuts off what lies behind `len` octets.
#[inline(always)]
fn shorten(frame: &mut &mut [u8], len: usize) {
    let whole = std::mem::take(frame);
    let len = len.min(whole.len());
    *frame = &mut whole[..len];
}

/// Takes a priority tag (VID 0) off in place. Returns the octets to skip at the front.
#[inline(never)]
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
    /// Decodes a frame, if it is a common one, as far as that needs nothing but the frame.
    #[inline(always)]
    pub(super) fn prepare(&self, port: PortId, frame: &[u8], offload: &Offload, prepared: &mut Prepared) {
        prepared.is_common = false;
        prepared.hint = None;
        let Some(arrival) = self.ports.get(port.index()) else { return };
        // The box has no link address, and its packets lose no hop.
        if port == PortId::HOST
            || offload.vlan_tci.is_some()
            || frame.get(..6) != Some(&arrival.link.mac.0[..])
        {
            return;
        }
        let Some(glance) = glance(frame) else { return };
        prepared.key = SessionKey::of_header(port, glance.protocol, glance.addresses, glance.ports);
        prepared.hash = self.nat.sessions.hash(prepared.key);
        prepared.end = glance.end;
        prepared.ttl = glance.ttl;
        prepared.protocol = glance.protocol;
        prepared.tcp_flags = glance.tcp_flags;
        prepared.is_common = true;
    }

    /// Reads the beginning of the packet's look-up in the index.
    #[inline(always)]
    pub(super) fn touch_index(&self, prepared: &Prepared) -> u64 {
        self.nat.sessions.touch_index(prepared.hash)
    }

    /// Looks the packet up in the index, without a look at the session.
    #[inline(always)]
    pub(super) fn look_ahead(&self, prepared: &mut Prepared) {
        if prepared.is_common {
            prepared.hint = self.nat.sessions.candidate(prepared.hash);
        }
    }

    /// Reads the session that the look-ahead found.
    #[inline(always)]
    pub(super) fn touch_session(&self, prepared: &Prepared) -> u64 {
        prepared.hint.map_or(0, |(id, _)| self.nat.sessions.touch(id))
    }

    /// Reads what the packets will need that no session was found for.
    #[inline(always)]
    pub(super) fn look_ahead_of_first_packets(
        &mut self,
        now: Timestamp,
        port: PortId,
        prepared: &[Prepared],
    ) {
        let is_unknown = |packet: &&Prepared| packet.is_common && packet.hint.is_none();
        // A single one has nothing to wait for meanwhile.
        if prepared.iter().filter(is_unknown).count() > 1 {
            self.foresee(now, port, prepared);
        }
    }

    #[inline(never)]
    fn foresee(&mut self, now: Timestamp, port: PortId, prepared: &[Prepared]) {
        let is_unknown = |packet: &&Prepared| packet.is_common && packet.hint.is_none();
        let unknown = prepared.iter().filter(is_unknown).map(Prepared::unknown);
        let read = if port == PortId::WAN {
            let read = self.nat.look_ahead_inbound(now, unknown);
            self.nat.foreseen_hops().fold(read, |read, hop| read ^ self.neighbors.touch(hop))
        } else {
            self.nat.look_ahead_outbound(unknown)
        };
        std::hint::black_box(read);
    }

    /// Judges a prepared frame and counts. `frame` shrinks when link padding is cut off.
    #[inline(always)]
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        refreshed: &Refreshed,
        port: PortId,
        frame: &mut &mut [u8],
        offload: &Offload,
        prepared: &Prepared,
    ) -> Verdict {
        if prepared.is_common {
            // Not longer than the frame: the end lay inside when the frame was prepared.
            shorten(frame, prepared.end as usize);
            if let Some(out) = self.pass(now, refreshed, frame, offload, prepared) {
                let counters = &mut self.port_counters[out.index()];
                counters.tx_frames += 1;
                counters.tx_octets += frame.len() as u64;
                return Verdict::Transmit(out);
            }
        }
        self.judge_at_length(now, port, frame, offload, prepared)
    }

    /// Judges whatever [`Router::pass`] has not let pass, and counts.
    #[inline(never)]
    pub(super) fn judge_at_length(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: &Offload,
        prepared: &Prepared,
    ) -> Verdict {
        let verdict = if prepared.is_common {
            let parsed = prepared.parsed(frame);
            self.judge_packet(
                now,
                port,
                frame,
                offload,
                &parsed,
                (prepared.key, prepared.hash, prepared.hint),
            )
        } else {
            self.judge_uncommon(now, port, frame, offload)
        };
        match verdict {
            Verdict::Transmit(out) => {
                let counters = &mut self.port_counters[out.index()];
                counters.tx_frames += 1;
                counters.tx_octets += frame.len() as u64;
            }
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
            Verdict::HandOver(..) => self.nat.stages.handed_over += 1,
            Verdict::Consumed => {}
        }
        verdict
    }

    fn judge_uncommon(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut &mut [u8],
        offload: &Offload,
    ) -> Verdict {
        match self.arrive(port, frame, offload) {
            Err(reason) => Verdict::Drop(reason),
            Ok(Arrived::Arp) => self.handle_arp(now, port, frame),
            Ok(Arrived::ToMany(parsed)) => {
                let taken = self.take_local(port, frame, &parsed, offload);
                taken.unwrap_or(Verdict::Drop(DropReason::DestinationNotUnicast))
            }
            Ok(Arrived::Special(parsed)) => {
                shorten(frame, parsed.end as usize);
                self.judge_special(now, port, frame, &parsed, offload)
            }
            Ok(Arrived::Packet(parsed)) => {
                shorten(frame, parsed.end as usize);
                if self.is_asked_itself(&parsed) {
                    // With identifier 0 it would pass for the answer to a query of ours.
                    self.nat.note(|| Step::Unknown);
                    return self.handle_unknown(now, port, frame, &parsed, offload);
                }
                let key = key_of(port, &parsed);
                self.judge_packet(
                    now,
                    port,
                    frame,
                    offload,
                    &parsed,
                    (key, self.nat.sessions.hash(key), None),
                )
            }
        }
    }

    /// A packet that belongs to a session, or might open one.
    fn judge_packet(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        offload: &Offload,
        parsed: &Parsed,
        (key, hash, hint): (SessionKey, u64, Option<(SessionId, Direction)>),
    ) -> Verdict {
        match self.nat.lookup(now, key, hash, hint) {
            Some((id, direction)) => self.handle_known(now, port, frame, parsed, offload, id, direction),
            None => {
                self.nat.note(|| Step::Unknown);
                let foreseen =
                    if hint.is_none() { self.nat.ahead.take(key, hash) } else { Foreseen::of(key, hash) };
                self.handle_foreseen(now, port, frame, parsed, offload, &foreseen)
            }
        }
    }

    /// Decodes any frame as far as that needs nothing but the frame.
    fn arrive(&self, port: PortId, frame: &[u8], offload: &Offload) -> Result<Arrived, DropReason> {
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
            EtherType::ARP => return Ok(Arrived::Arp),
            EtherType::IPV6 => return Err(DropReason::Ipv6NotSupported),
            EtherType::VLAN | EtherType::SERVICE_VLAN => return Err(DropReason::VlanTagged),
            _ => return Err(DropReason::UnknownEthertype),
        }
        let parsed = parse_ipv4(frame)?;
        if !is_ours {
            // RFC 1122 §3.3.6: a link-layer broadcast may carry only what is broadcast or multicast itself.
            let to_many = self.routes.is_broadcast(parsed.destination) || parsed.destination.is_multicast();
            if to_many && self.service_for(port, frame, &parsed).is_some() {
                return Ok(Arrived::ToMany(parsed));
            }
            return Err(if to_many { DropReason::DestinationNotUnicast } else { DropReason::NotOurMac });
        }
        let has_key =
            parsed.fragment.is_none() && !matches!(parsed.kind, Kind::IcmpError | Kind::IcmpOther(_));
        Ok(if has_key { Arrived::Packet(parsed) } else { Arrived::Special(parsed) })
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
