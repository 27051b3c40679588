//! The way out: rewriting by a session, TTL, MTU, next hop.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::ingress::{destination_of, source_of};
use super::slow_path::is_opening_syn;
use super::{Port, Router, decode};
use crate::frame::{GsoKind, Offload, PortId};
use crate::link::neighbor::{HeldFrame, NeighborRef, Resolution};
use crate::nat::policy::Direction;
use crate::nat::session::{Origin, SessionFlags, SessionId};
use crate::packet::build::IcmpErrorKind;
use crate::packet::parsed::{Kind, Parsed};
use crate::packet::rewrite::{self, Rewrite, Side};
use crate::packet::{ip_fragmentation, segmentation};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::tcp::TcpFlags;

/// IPv4 and TCP headers without options: what an MSS leaves out of an MTU.
const TCP_IP_HEADERS: u16 = 40;
/// Link address of the box behind the host TUN, which has none.
const HOST_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);

impl Router {
    /// A packet of a session that is known.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "a frame, its decoding and its session")]
    pub(super) fn handle_known(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        id: SessionId,
        direction: Direction,
    ) -> Verdict {
        let session = &self.nat.sessions[id];
        self.nat.note(|| session.known_step(direction));
        if session.epoch != self.nat.epoch && !self.nat.revalidate(now, id) {
            self.nat.note(|| Step::SessionRevoked);
            return self.handle_orphan(now, port, frame, parsed, offload, direction);
        }
        if parsed.tcp_flags.contains(TcpFlags::SYN)
            && is_opening_syn(parsed)
            && self.nat.sessions[id].tcp.is_closing()
        {
            return self.handle_reopening(now, port, frame, parsed, offload, (id, direction));
        }
        self.forward(now, port, frame, parsed, offload, id, direction)
    }

    /// A packet whose session the plan in force does not allow: judged like any first packet.
    #[cold]
    fn handle_orphan(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        direction: Direction,
    ) -> Verdict {
        let turned_round = direction == Direction::Inbound && self.nat.settings.is_external(parsed.source);
        if turned_round && port != PortId::WAN {
            return self.come_round(now, port, frame, parsed, offload);
        }
        self.handle_unknown(now, port, frame, parsed, offload)
    }

    /// Sends a packet on its session's way. `port` is where it came in.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "a frame, its decoding and its session")]
    pub(super) fn forward(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        parsed: &Parsed,
        offload: &Offload,
        id: SessionId,
        direction: Direction,
    ) -> Verdict {
        let session = &self.nat.sessions[id];
        let (out, hop) = match direction {
            Direction::Outbound => (session.outside_port, session.outside_hop),
            Direction::Inbound => (session.inside_port, session.inside_hop),
        };
        let counts_hop = port != PortId::HOST && out != PortId::HOST;
        if counts_hop && parsed.ttl <= 1 {
            return self.refuse_ttl(now, frame, parsed);
        }
        let rewrite = match direction {
            _ if session.origin == Origin::Routed => None,
            Direction::Outbound => Some(Rewrite {
                side: Side::Source,
                address: session.external_address,
                port: session.external_port,
            }),
            // UDP may leave from port 0, whose sender wants no answer (RFC 768).
            Direction::Inbound if session.internal_port == 0 && parsed.kind == Kind::Udp => {
                return Verdict::Drop(DropReason::PortZero);
            }
            Direction::Inbound => Some(Rewrite {
                side: Side::Destination,
                address: session.internal_address,
                port: session.internal_port,
            }),
        };
        if direction == Direction::Outbound && session.flags.contains(SessionFlags::HAIRPIN) {
            let (address, source_port) = (session.external_address, session.external_port);
            let rewrite = Rewrite { side: Side::Source, address, port: source_port };
            self.nat.note(|| rewritten(parsed, &rewrite));
            self.nat.note(|| Step::TurnedRound);
            self.nat.touch(now, id, direction, parsed);
            rewrite::apply(frame, parsed, offload, &rewrite);
            let turned = Parsed { source: address, source_port, ..*parsed };
            return self.turn_round(now, port, frame, &turned, offload);
        }
        let egress = self.ports[out.index()];
        if !egress.link.up {
            return Verdict::Drop(DropReason::PortDown);
        }
        let octets = segmentation::largest_segment(parsed, offload);
        let too_big = octets > usize::from(egress.mtu);
        if too_big {
            self.nat.note(|| Step::TooLarge { octets, mtu: egress.mtu });
        }
        if too_big && parsed.dont_fragment {
            return self.refuse_size(now, frame, parsed, egress.mtu);
        }
        self.nat.touch(now, id, direction, parsed);
        if self.nat.sessions[id].origin == Origin::Forward {
            self.nat.tally.pass(id, direction, frame.len() - ethernet::HEADER_LEN);
        }
        if let Some(rewrite) = rewrite {
            self.nat.note(|| rewritten(parsed, &rewrite));
            rewrite::apply(frame, parsed, offload, &rewrite);
        }
        if counts_hop {
            rewrite::decrement_ttl(frame);
        }
        if parsed.tcp_flags.contains(TcpFlags::SYN) {
            self.clamp_mss(frame, parsed, offload, port, out);
        }
        let known = match hop {
            _ if out == PortId::HOST => Some(HOST_MAC),
            hop => hop.and_then(|hop| self.neighbors.mac(now, hop)),
        };
        let Some(mac) = known.filter(|_| !too_big) else {
            return self.forward_slowly(now, port, frame, offload, (id, direction, out), too_big);
        };
        self.nat.note(|| Step::NextHop { port: out, mac: Some(mac) });
        rewrite::set_macs(frame, mac, egress.link.mac);
        self.nat.stages.fast_path += 1;
        Verdict::Transmit(out)
    }

    /// A session's next hop has to be found (again), or its packet to be cut up.
    #[inline(never)]
    fn forward_slowly(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &mut [u8],
        offload: &Offload,
        (id, direction, out): (SessionId, Direction, PortId),
        too_big: bool,
    ) -> Verdict {
        let host = self.nat.sessions[id].host;
        let (verdict, hop) = match self.known_neighbor(now, destination_in(frame), out, (direction, host)) {
            Some((hop, mac)) if !too_big => {
                self.nat.note(|| Step::NextHop { port: out, mac: Some(mac) });
                rewrite::set_macs(frame, mac, self.ports[out.index()].link.mac);
                (Verdict::Transmit(out), Some(hop))
            }
            _ => self.send_out(now, port, frame, offload, Some(out)),
        };
        if let Some(session) = self.nat.sessions.get_mut(id) {
            match direction {
                Direction::Outbound => session.outside_hop = hop,
                Direction::Inbound => {
                    session.inside_hop = hop;
                    self.nat.set_hop_of(host, hop);
                }
            }
        }
        verdict
    }

    /// The next hop to a destination by this port, when it has answered already.
    fn known_neighbor(
        &mut self,
        now: Timestamp,
        destination: Ipv4Addr,
        out: PortId,
        (direction, host): (Direction, u32),
    ) -> Option<(NeighborRef, MacAddr)> {
        // Sessions of one host share its next hop, by the plan in force.
        if direction == Direction::Inbound
            && let Some(hop) = self.nat.hop_of(host)
            && let Some(mac) = self.neighbors.mac_on(now, out, hop)
        {
            return Some((hop, mac));
        }
        let route = self.routes.lookup(destination).filter(|hop| hop.port == out && out != PortId::HOST)?;
        if out == PortId::WAN
            && let Some((address, hop)) = self.last_wan_hop
            && address == route.next_hop
            && let Some(mac) = self.neighbors.mac_on(now, out, hop)
        {
            return Some((hop, mac));
        }
        let found = self.neighbors.find(now, out, route.next_hop);
        if out == PortId::WAN {
            self.last_wan_hop = found.map(|(hop, _)| (route.next_hop, hop)).or(self.last_wan_hop);
        }
        found
    }

    /// Sends a finished frame towards its IPv4 destination: route, next hop, fragmentation. `expected` is
    /// the only port that it may leave by.
    pub(super) fn send_out(
        &mut self,
        now: Timestamp,
        inbound_port: PortId,
        frame: &mut [u8],
        offload: &Offload,
        expected: Option<PortId>,
    ) -> (Verdict, Option<NeighborRef>) {
        let destination = destination_in(frame);
        let route =
            self.routes.lookup(destination).filter(|hop| expected.is_none_or(|port| port == hop.port));
        let Some(route) = route else { return (Verdict::Drop(DropReason::NoRoute), None) };
        let egress = self.ports[route.port.index()];
        if !egress.link.up {
            return (Verdict::Drop(DropReason::PortDown), None);
        }
        if route.port == PortId::HOST {
            self.nat.note(|| Step::NextHop { port: route.port, mac: Some(HOST_MAC) });
            return (self.send_to(frame, offload, route.port, HOST_MAC), None);
        }
        match self.neighbors.resolve(now, route.port, route.next_hop) {
            Resolution::Ready(hop, mac) => {
                self.nat.note(|| Step::NextHop { port: route.port, mac: Some(mac) });
                (self.send_to(frame, offload, route.port, mac), Some(hop))
            }
            Resolution::Pending(hop) => {
                self.nat.note(|| Step::NextHop { port: route.port, mac: None });
                let held = HeldFrame {
                    bytes: frame.to_vec(),
                    offload: *offload,
                    inbound_port,
                    epoch: self.nat.epoch,
                };
                let verdict = match self.neighbors.hold(hop, held) {
                    Ok(()) => Verdict::Consumed,
                    Err(reason) => Verdict::Drop(reason),
                };
                if verdict == Verdict::Drop(DropReason::HostUnreachable) {
                    self.tell_unreachable(now, frame);
                }
                self.nat.stages.frames_held += u64::from(verdict == Verdict::Consumed);
                self.pump_neighbors(now);
                (verdict, Some(hop))
            }
            Resolution::Full => (Verdict::Drop(DropReason::NeighborTableFull), None),
        }
    }

    /// Sends a finished frame to a link address, in pieces where the MTU asks for it.
    pub(super) fn send_to(
        &mut self,
        frame: &mut [u8],
        offload: &Offload,
        out: PortId,
        mac: MacAddr,
    ) -> Verdict {
        let Port { link, mtu } = self.ports[out.index()];
        rewrite::set_macs(frame, mac, link.mac);
        let parsed = match decode(frame) {
            Ok(parsed) => parsed,
            Err(reason) => return Verdict::Drop(reason),
        };
        if segmentation::largest_segment(&parsed, offload) <= usize::from(mtu) {
            return Verdict::Transmit(out);
        }
        let mut pieces = Vec::new();
        if !cut_up(frame, offload, mtu, &mut pieces) {
            return Verdict::Drop(DropReason::TransportTruncated);
        }
        self.nat.stages.packets_fragmented += 1;
        for piece in pieces {
            self.push_transmit(out, piece, Offload::default());
        }
        Verdict::Consumed
    }

    #[cold]
    fn refuse_ttl(&mut self, now: Timestamp, frame: &[u8], parsed: &Parsed) -> Verdict {
        self.send_icmp_error(now, IcmpErrorKind::TimeExceeded { code: 0 }, frame, parsed);
        Verdict::Drop(DropReason::TtlExceeded)
    }

    #[cold]
    pub(super) fn refuse_size(&mut self, now: Timestamp, frame: &[u8], parsed: &Parsed, mtu: u16) -> Verdict {
        self.send_icmp_error(now, IcmpErrorKind::FragmentationNeeded { mtu }, frame, parsed);
        Verdict::Drop(DropReason::FragmentationNeeded)
    }

    /// Lowers the MSS of a SYN or SYN-ACK to what both links carry unfragmented.
    fn clamp_mss(&mut self, frame: &mut [u8], parsed: &Parsed, offload: &Offload, port: PortId, out: PortId) {
        if parsed.kind != Kind::Tcp {
            return;
        }
        let mtu = self.ports[port.index()].mtu.min(self.ports[out.index()].mtu);
        let mss = mtu.saturating_sub(TCP_IP_HEADERS);
        let clamped = rewrite::clamp_mss(frame, parsed, offload, mss);
        if clamped {
            self.nat.note(|| Step::MssLowered { mss });
        }
        self.nat.stages.mss_clamped += u64::from(clamped);
    }
}

/// What a rewrite does to a packet.
fn rewritten(parsed: &Parsed, rewrite: &Rewrite) -> Step {
    let before = match rewrite.side {
        Side::Source => source_of(parsed),
        Side::Destination => destination_of(parsed),
    };
    Step::Rewritten { side: rewrite.side, before, after: SocketAddrV4::new(rewrite.address, rewrite.port) }
}

/// Appends the fragments of a frame to `pieces`: a super-frame is cut into its segments first, an unfinished
/// checksum is finished. False when the frame's headers do not allow it.
fn cut_up(frame: &mut [u8], offload: &Offload, mtu: u16, pieces: &mut Vec<Vec<u8>>) -> bool {
    let mut cut =
        |whole: &[u8]| ip_fragmentation::fragment(whole, mtu, |piece| pieces.push(piece.to_vec())).is_ok();
    if offload.gso == GsoKind::None {
        let is_finished = !offload.partial_checksum || segmentation::finish_checksum(frame).is_ok();
        return is_finished && cut(frame);
    }
    let mut all_cut = true;
    let segmented = segmentation::segment(frame, offload, &mut Vec::new(), |segment| all_cut &= cut(segment));
    segmented.is_ok() && all_cut
}

/// The IPv4 destination of a frame that has been parsed before.
pub(super) fn destination_in(frame: &[u8]) -> Ipv4Addr {
    match frame.get(30..34) {
        Some(&[a, b, c, d]) => Ipv4Addr::new(a, b, c, d),
        _ => Ipv4Addr::UNSPECIFIED,
    }
}
