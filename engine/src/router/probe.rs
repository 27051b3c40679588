//! Questions of the router's own, and what comes back; see [`crate::probe`] and [`crate::presence`].

use std::net::Ipv4Addr;

use super::Router;
use crate::frame::{Offload, PortId};
use crate::packet::build;
use crate::packet::embedded::Embedded;
use crate::packet::parsed::{Kind, Parsed};
use crate::presence::{ECHO_IDENTIFIER, Presence};
use crate::probe::{Probe, ProbeAnswer, ProbeKind};
use crate::sightings::{Sighting, Watched};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::icmpv4;

impl Router {
    /// Watches for answers to `probe`, and lets none of them leave; sends it too, if `send` and the link is up. False when
    /// too many are watched for ([`MOST_PROBES`](crate::probe::MOST_PROBES)), or there is no such link.
    pub fn probe(&mut self, now: Timestamp, probe: Probe, send: bool) -> bool {
        let Some(port) = self.ports.get(probe.port.index()) else { return false };
        let is_up = port.link.up;
        if probe.port == PortId::HOST || !self.probes.watch(now, probe) {
            return false;
        }
        if send && is_up {
            self.send_probe(&probe);
        }
        true
    }

    /// What came back to the probes, in the order in which it arrived at this worker.
    pub fn poll_probe(&mut self) -> Option<(u64, ProbeAnswer)> {
        self.probes.poll()
    }

    /// Watches whether somebody at or behind a lan has this address, and asks, if `send` and the link is up. False when too
    /// many are watched for ([`MOST_WATCHED`](crate::presence::MOST_WATCHED)), or the address is not there.
    pub fn ask_presence(&mut self, now: Timestamp, port: PortId, address: Ipv4Addr, send: bool) -> bool {
        let Some(own) = port.lan_index().and_then(|index| self.plan.lans.get(index)).map(|lan| lan.address)
        else {
            return false;
        };
        let is_there = self.routes.lookup(address).is_some_and(|hop| hop.port == port);
        if !is_there || own.addr() == address || !self.probes.presence.watch(now, port, address) {
            return false;
        }
        if send && self.ports[port.index()].link.up {
            match own.contains(&address) {
                true => self.send_arp_request(port, own.addr(), address, None),
                false => self.send_own_echo(now, own.addr(), address),
            }
        }
        true
    }

    /// The next address that somebody has, of those that were asked for.
    pub fn poll_presence(&mut self) -> Option<Presence> {
        self.probes.presence.poll()
    }

    /// Watches for these devices on the lans from now on, and for no others. How many of them it watches for.
    pub fn watch_devices(&mut self, watched: &[Watched]) -> usize {
        self.sightings.watch(watched)
    }

    /// The next sighting of a device that is watched for, or of another one at its address.
    pub fn poll_sighting(&mut self) -> Option<Sighting> {
        self.sightings.poll()
    }

    fn send_own_echo(&mut self, now: Timestamp, from: Ipv4Addr, to: Ipv4Addr) {
        self.send_own(now, build::echo_request(from, to, ECHO_IDENTIFIER), None);
    }

    fn send_probe(&mut self, probe: &Probe) {
        let Probe { id, port, kind, source, target, to } = *probe;
        let packet = match kind {
            ProbeKind::Arp => return self.send_arp_request(port, *source.ip(), *target.ip(), None),
            ProbeKind::Tcp => build::syn(source, target, id as u32),
            ProbeKind::Udp => build::datagram(source, target, b"genkan"),
            ProbeKind::Echo => build::echo_request(*source.ip(), *target.ip(), source.port()),
        };
        self.send_on_link(port, &packet, to);
    }

    /// Sends an IPv4 packet to a link address.
    fn send_on_link(&mut self, port: PortId, packet: &[u8], to: MacAddr) {
        let bytes = build::with_ethernet(packet, to, self.ports[port.index()].link.mac);
        self.push_transmit(port, bytes, Offload::default());
    }

    /// Whether a packet without a session answers a probe. A connection that it offers is refused.
    pub(super) fn answers_probe(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &[u8],
        parsed: &Parsed,
    ) -> bool {
        let is_echo = parsed.kind == Kind::IcmpReply && parsed.destination_port == ECHO_IDENTIFIER;
        if is_echo && self.probes.presence.seen(now, port, parsed.source, None) {
            self.nat.note(|| Step::AnswersProbe);
            return true;
        }
        let Some(answer) = self.probes.packet(now, port, parsed) else { return false };
        self.nat.note(|| Step::AnswersProbe);
        if answer == ProbeAnswer::SynAck
            && let Some(reset) = build::tcp_reset(parsed, frame)
            && let Ok(header) = ethernet::Repr::parse(frame)
        {
            self.send_on_link(port, &reset, header.source);
        }
        true
    }

    /// Whether an ICMP error is about a probe.
    pub(super) fn errs_about_probe(
        &mut self,
        now: Timestamp,
        port: PortId,
        frame: &[u8],
        parsed: &Parsed,
    ) -> bool {
        let Ok(quoted) = Embedded::parse(frame, parsed) else { return false };
        let at = usize::from(parsed.l4);
        let Some(&[kind, code]) = frame.get(at + icmpv4::FIELD_TYPE..=at + icmpv4::FIELD_CODE) else {
            return false;
        };
        let is_about = self.probes.icmp_error(now, port, &quoted, (kind, code));
        if is_about {
            self.nat.note(|| Step::AnswersProbe);
        }
        is_about
    }
}

#[cfg(test)]
mod tests;
