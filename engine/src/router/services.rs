//! Datagrams for services of the router's own, and what these say; see [`crate::local_datagram`].

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Router;
use super::ingress::{destination_of, source_of};
use crate::frame::{GsoKind, Offload, PortId};
use crate::link::route::Local;
use crate::local_datagram::{LocalDatagram, LocalSend, Service};
use crate::packet::build;
use crate::packet::parsed::{Kind, Parsed};
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::ipv4::{self, Protocol};
use crate::wire::{checksum, udp};

/// A BOOTP message of a server (RFC 951 §3), and where its fields lie.
const BOOTREPLY: u8 = 2;
const FIELD_CHADDR: usize = 28;

impl Router {
    /// How many datagrams wait for a service of the router's own; at most [`MOST_WAITING`] here.
    ///
    /// [`MOST_WAITING`]: crate::local_datagram::MOST_WAITING
    pub fn local_datagrams(&self, service: Service) -> usize {
        self.local.waiting(service)
    }

    /// The next datagram that came in for a service of the router's own, in order.
    pub fn poll_local_datagram(&mut self, service: Service) -> Option<LocalDatagram> {
        self.local.poll(service)
    }

    /// Sends what a service says. It leaves by [`Router::poll_transmit`], at once or when ARP has found its way; with
    /// DF set, so nobody has to tell its fragments apart.
    ///
    /// # Errors
    /// Why nothing was sent, counted like any drop: [`DropReason::PlanChanged`] when the service is off there or the
    /// source is no address of ours on that side, [`DropReason::FragmentationNeeded`] when the packet is longer than
    /// the MTU, [`DropReason::PortDown`], [`DropReason::NoRoute`], and what ARP may say.
    pub fn send_local_datagram(&mut self, now: Timestamp, datagram: &LocalSend) -> Result<(), DropReason> {
        let sent = self.say(now, datagram);
        match sent {
            Ok(()) => self.nat.stages.local_sent += 1,
            Err(reason) => self.drops[reason as usize] += 1,
        }
        self.pump_neighbors(now);
        sent
    }

    fn say(&mut self, now: Timestamp, datagram: &LocalSend) -> Result<(), DropReason> {
        let LocalSend { service, port, source, destination, to, payload } = datagram;
        let (service, port, source) = (*service, *port, *source);
        if !self.local.is_on(port, service) || !self.may_say(port, service, source) {
            return Err(DropReason::PlanChanged);
        }
        let egress = self.ports[port.index()];
        if !egress.link.up {
            return Err(DropReason::PortDown);
        }
        if ipv4::MIN_HEADER_LEN + udp::HEADER_LEN + payload.len() > usize::from(egress.mtu) {
            return Err(DropReason::FragmentationNeeded);
        }
        let packet = build::datagram(SocketAddrV4::new(source, service.udp_port()), *destination, payload);
        let to = to.or_else(|| self.is_everybody_on(port, *destination.ip()).then_some(MacAddr::BROADCAST));
        if let Some(mac) = to {
            let bytes = build::with_ethernet(&packet, mac, egress.link.mac);
            self.push_transmit(port, bytes, Offload::default());
            return Ok(());
        }
        let mut bytes = build::with_ethernet(&packet, MacAddr::ZERO, MacAddr::ZERO);
        let offload = Offload::default();
        match self.send_out(now, PortId::HOST, &mut bytes, &offload, Some(port)).0 {
            Verdict::Transmit(port) => self.push_transmit(port, bytes, offload),
            Verdict::Drop(reason) => return Err(reason),
            Verdict::Consumed | Verdict::HandOver(..) => {}
        }
        Ok(())
    }

    fn may_say(&self, port: PortId, service: Service, source: Ipv4Addr) -> bool {
        match self.routes.local(source) {
            Some(Local::Lan(_)) => port != PortId::WAN,
            Some(Local::External) => port == PortId::WAN,
            None => service == Service::DhcpClient && source.is_unspecified(),
        }
    }

    /// Whether a datagram from this endpoint of ours is a service's: it has no session, and nobody to be told.
    pub(super) fn is_of_service(&self, protocol: Protocol, source: SocketAddrV4) -> bool {
        let is_on = |port| self.local.at(port, source.port()).is_some();
        protocol == Protocol::UDP
            && match self.routes.local(*source.ip()) {
                Some(Local::External) => is_on(PortId::WAN),
                Some(Local::Lan(_)) => (0..self.plan.lans.len()).map(PortId::lan).any(is_on),
                None => false,
            }
    }

    /// A packet without a session that a service of the router takes; `None` when none does.
    #[cold]
    pub(super) fn take_local(
        &mut self,
        port: PortId,
        frame: &[u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Option<Verdict> {
        let service = self.service_for(port, frame, parsed)?;
        self.nat.note(|| Step::TakenByService { service });
        Some(match self.take_for(service, port, frame, parsed, offload) {
            Ok(()) => Verdict::Consumed,
            Err(reason) => Verdict::Drop(reason),
        })
    }

    /// Which service a packet is for.
    pub(super) fn service_for(&self, port: PortId, frame: &[u8], parsed: &Parsed) -> Option<Service> {
        let service = self.local.at(port, parsed.destination_port).filter(|_| parsed.kind == Kind::Udp)?;
        let header = ethernet::Repr::parse(frame).ok().filter(|header| !header.source.is_multicast())?;
        let is_ours = header.destination == self.ports[port.index()].link.mac;
        let to_everybody = self.is_everybody_on(port, parsed.destination);
        let to_us = is_ours && matches!(self.routes.local(parsed.destination), Some(Local::Lan(_)));
        let from_inside =
            self.routes.local(parsed.source).is_none() && self.routes.is_internal_source(port, parsed.source);
        let is_for_it = match service {
            Service::DhcpServer => {
                // Who is rebinding asks everybody from the address that it has, of whatever network (RFC 2131 table 4).
                let is_foreign = is_single(parsed.source)
                    && self.routes.local(parsed.source).is_none()
                    && !self.nat.settings.is_external(parsed.source);
                let asks_everybody = to_everybody && (parsed.source.is_unspecified() || is_foreign);
                asks_everybody || (to_everybody || to_us) && from_inside
            }
            Service::Dns => to_us && from_inside,
            Service::DhcpClient => {
                (is_ours && is_single(parsed.destination) || to_everybody)
                    && is_single(parsed.source)
                    && !self.nat.settings.is_external(parsed.source)
                    && self.is_reply_to_us(port, frame, parsed)
            }
        };
        is_for_it.then_some(service)
    }

    /// Whether an address means all hosts of a port's link.
    fn is_everybody_on(&self, port: PortId, address: Ipv4Addr) -> bool {
        let prefix = port.lan_index().and_then(|lan| Some(self.plan.lans.get(lan)?.address));
        address.is_broadcast()
            || prefix.is_some_and(|prefix| prefix.prefix_len() < 31 && prefix.broadcast() == address)
    }

    /// Whether a BOOTP message answers who has our link address (RFC 951 §3); which of the requests, the service knows.
    fn is_reply_to_us(&self, port: PortId, frame: &[u8], parsed: &Parsed) -> bool {
        let mac = self.ports[port.index()].link.mac;
        let message = frame.get(usize::from(parsed.payload)..).unwrap_or_default();
        message.first() == Some(&BOOTREPLY) && message.get(FIELD_CHADDR..FIELD_CHADDR + 6) == Some(&mac.0)
    }

    fn take_for(
        &mut self,
        service: Service,
        port: PortId,
        frame: &[u8],
        parsed: &Parsed,
        offload: &Offload,
    ) -> Result<(), DropReason> {
        // Whoever asks us sends less than any MTU; to put together what does not would need memory of a flooder's choice.
        if parsed.fragment.is_some() {
            return Err(DropReason::LocalFragment);
        }
        let datagram = frame.get(usize::from(parsed.l4)..parsed.end as usize).unwrap_or_default();
        let header = udp::View::new_checked(datagram).map_err(|_| DropReason::TransportTruncated)?;
        let mac = ethernet::Repr::parse(frame).map_err(|_| DropReason::FrameTruncated)?.source;
        let mut push = |payload: &[u8]| {
            let (source, destination) = (source_of(parsed), destination_of(parsed));
            let payload = payload.to_vec();
            let taken = self.local.push(LocalDatagram { service, port, mac, source, destination, payload });
            self.nat.stages.local_received += u64::from(taken.is_ok());
            taken
        };
        if offload.gso != GsoKind::None {
            // Several datagrams behind one header, made on this machine or checked by the device that joined them.
            let size = usize::from(offload.gso_size).max(1);
            return header.payload().chunks(size).try_for_each(push);
        }
        let length = usize::from(header.length());
        let datagram = datagram.get(..length).ok_or(DropReason::TransportTruncated)?;
        if header.checksum() != 0 && !offload.partial_checksum {
            let sum = checksum::pseudo_header_sum(
                parsed.source,
                parsed.destination,
                Protocol::UDP,
                header.length(),
            );
            if checksum::finish(sum + checksum::sum(datagram)) != 0 {
                return Err(DropReason::LocalChecksum);
            }
        }
        push(datagram.get(udp::HEADER_LEN..).unwrap_or_default())
    }
}

/// Whether an address can be one machine's.
fn is_single(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..=255)
}
