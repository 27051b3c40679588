//! A device between an inside and an outside, and what hosts on both sides do there.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use genkan_lab::topology::Role;
use genkan_lab::{Namespace, Options, Topology};

use super::device::{Defaults, Device, FORWARD, Running, Variant};
use super::finding::{Finding, not_met};
use super::packet::{Packet, Segment};
use super::wire::{Host, Wire};
use crate::output::Failure;

/// The device's external address.
pub(crate) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Its second one, where it has one.
pub(crate) const EXTERNAL_SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// An inside host, and the external address that it has for itself, where that is chosen.
pub(crate) const ONE_TO_ONE: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(192, 168, 0, 98), Ipv4Addr::new(203, 0, 113, 6));

/// The inside host that the forward leads to.
pub(crate) const FORWARD_TARGET: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 99);

/// Its internal address.
pub(crate) const INTERNAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// The router on the wan behind which everybody outside lives.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

/// IP MTU of the wan, octets.
pub(crate) const WAN_MTU: usize = 1400;

/// How long a packet may lie about after one that was sent later has arrived.
const GRACE: Duration = Duration::from_millis(40);

/// A port that outside hosts listen at, as it were.
pub(crate) const SERVICE: u16 = 3478;

/// What is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A datagram.
    Udp,
    /// A SYN.
    Tcp,
}

/// A device with hosts on both sides.
pub(crate) struct Site {
    inside: Wire,
    outside: Wire,
    running: Running,
    /// The inside computer that stands for a real one, with a kernel and sockets.
    pub(crate) nas: Namespace,
    /// The same outside, on the wan itself.
    pub(crate) isp: Namespace,
    /// Where that one is.
    pub(crate) isp_address: Ipv4Addr,
    next_inside: AtomicU16,
    next_outside: AtomicU16,
    next_token: AtomicU32,
    next_port: AtomicU16,
    /// Two hosts between which packets pass, each way.
    marker: Option<(Host, Host, u16)>,
    target: Option<Host>,
    alone: Option<Host>,
    _lab: Topology,
}

impl Site {
    /// Builds the lab and puts the device into it.
    ///
    /// # Errors
    /// When either fails.
    pub(crate) fn build(device: Device, variant: Variant) -> Result<Site, Failure> {
        let prefix = format!("{}-{variant:?}", device.name()).to_lowercase();
        let lab = Topology::up(&prefix, &Options { hosts: 1, ..Options::default() })?;
        let running = device.set_up(&lab, variant)?;
        let (nas, isp) = (lab.namespace(Role::Nas)?, lab.namespace(Role::Isp)?);
        let mut site = Site {
            inside: Wire::open(&nas, "eth0", INTERNAL, None)?,
            outside: Wire::open(&isp, "eth0", EXTERNAL, Some(GATEWAY))?,
            running,
            nas,
            isp,
            isp_address: lab.addresses.isp,
            next_inside: AtomicU16::new(100),
            next_outside: AtomicU16::new(10),
            next_token: AtomicU32::new(0),
            next_port: AtomicU16::new(20_000),
            marker: None,
            target: None,
            alone: None,
            _lab: lab,
        };
        let hosts = (site.inside_host(), site.outside_host(), site.inside_host_at(FORWARD_TARGET));
        let (Ok(inner), Ok(outer), Ok(target)) = hosts else {
            return Err(Failure::message(format!("{} does not answer ARP", device.name())));
        };
        site.marker = Some((inner, outer, site.port()));
        site.target = Some(target);
        site.alone = site.inside_host_at(ONE_TO_ONE.0).ok();
        Ok(site)
    }

    /// The timeouts that the device comes with.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.running.defaults
    }

    /// Whether the device takes a lan whose addresses are those of its wan.
    pub(crate) fn takes_overlap(&self) -> bool {
        self.running.takes_overlap
    }

    /// A new inside host.
    pub(crate) fn inside_host(&self) -> Result<Host, Finding> {
        let number = self.next_inside.fetch_add(1, Ordering::Relaxed);
        let last = u8::try_from(number).expect("fewer hosts than the lan has addresses");
        self.inside_host_at(Ipv4Addr::new(192, 168, 0, last))
    }

    /// The inside host with this address.
    pub(crate) fn inside_host_at(&self, address: Ipv4Addr) -> Result<Host, Finding> {
        self.inside.host(address).map_err(|error| no_arp(&error))
    }

    /// A new outside host; no two of them share an address, and no probe meets those of another one.
    pub(crate) fn outside_host(&self) -> Result<Host, Finding> {
        let number = self.next_outside.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        self.outside.host(Ipv4Addr::new(198, 18, high, low)).map_err(|error| no_arp(&error))
    }

    /// A port that no other probe uses.
    pub(crate) fn port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }

    /// The payload of a packet, never the same twice.
    pub(crate) fn token(&self) -> Vec<u8> {
        format!("genkan {:08}", self.next_token.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// The first sequence number of a connection, far from any other one's: hosts that several probes share tell
    /// segments apart by it.
    pub(crate) fn sequence(&self) -> u32 {
        1_000 + 1_000 * self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns when everything that was sent before has gone through the device or will never: packets that follow in
    /// both directions have gone through.
    pub(crate) fn settle(&self) -> Result<(), Finding> {
        let Some((inner, outer, port)) = &self.marker else { return Ok(()) };
        let token = self.token();
        let seen = self.pass_out(inner, &Packet::udp(inner.at(*port), outer.at(SERVICE), &token), outer)?;
        outer.send(&Packet::udp(seen.to(), seen.from(), &token));
        inner.wait(|packet| packet.data() == token).ok_or_else(|| not_met("no answer passes at all"))?;
        std::thread::sleep(GRACE);
        Ok(())
    }

    /// Sends a packet from inside, and what of it arrives at `to`.
    pub(crate) fn pass_out(&self, from: &Host, packet: &Packet, to: &Host) -> Result<Packet, Finding> {
        from.send(packet);
        let arrived = to.wait(|seen| seen.is_copy_of(packet));
        arrived.ok_or_else(|| not_met("a packet from inside does not get out"))
    }

    /// Sends a packet that may be refused, and what of it arrives.
    pub(crate) fn tried(&self, from: &Host, packet: &Packet, to: &Host) -> Result<Option<Packet>, Finding> {
        from.send(packet);
        self.settle()?;
        Ok(to.take(|seen| seen.is_copy_of(packet)))
    }

    /// Sends a packet, and whether something `wanted` arrives at a host.
    pub(crate) fn brings(
        &self,
        sender: &Host,
        packet: &Packet,
        at: &Host,
        wanted: impl Fn(&Packet) -> bool,
    ) -> Result<Option<Packet>, Finding> {
        sender.send(packet);
        self.settle()?;
        Ok(at.take(wanted))
    }

    /// The first packet of something: a datagram, a SYN. Never the same twice.
    pub(crate) fn first(&self, kind: Kind, from: SocketAddrV4, to: SocketAddrV4) -> Packet {
        let token = self.token();
        match kind {
            Kind::Udp => Packet::udp(from, to, &token),
            Kind::Tcp => {
                let sequence = self.sequence();
                Packet::tcp(from, to, &Segment { sequence, syn: true, ..Segment::default() })
            }
        }
    }

    /// Sends the first packet of something from inside; the endpoint that it comes from outside.
    pub(crate) fn mapped(
        &self,
        kind: Kind,
        (from, port): (&Host, u16),
        (to, to_port): (&Host, u16),
    ) -> Result<SocketAddrV4, Finding> {
        let packet = self.first(kind, from.at(port), to.at(to_port));
        Ok(self.pass_out(from, &packet, to)?.from())
    }

    /// Whether the first packet of something arrives at this host, and as what.
    pub(crate) fn arrives(
        &self,
        kind: Kind,
        (sender, port): (&Host, u16),
        to: SocketAddrV4,
        at: &Host,
    ) -> Result<Option<Packet>, Finding> {
        self.tried(sender, &self.first(kind, sender.at(port), to), at)
    }

    /// The external address that belongs to one inside host alone, where that was chosen, and that host.
    pub(crate) fn one_to_one(&self) -> Result<(Ipv4Addr, &Host), Finding> {
        let alone = self.alone.as_ref().ok_or_else(|| not_met("no such host"))?;
        Ok((ONE_TO_ONE.1, alone))
    }

    /// The forward: its external endpoint, the host that it leads to, and the endpoint there.
    pub(crate) fn forward(&self) -> Result<(SocketAddrV4, &Host, SocketAddrV4), Finding> {
        let (external, internal) = FORWARD;
        let target = self.target.as_ref().ok_or_else(|| not_met("the forward leads nowhere"))?;
        Ok((SocketAddrV4::new(EXTERNAL, external), target, target.at(internal)))
    }
}

impl Host {
    /// One of its endpoints.
    pub(crate) fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
    }
}

fn no_arp(error: &io::Error) -> Finding {
    not_met(error.to_string())
}
