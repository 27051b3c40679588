//! Datagrams for UDP services of the router's own, which sit behind the engine: what comes in for them is taken out by
//! [`Router::poll_local_datagram`](crate::Router::poll_local_datagram), what they say goes in by
//! [`Router::send_local_datagram`](crate::Router::send_local_datagram).
//!
//! Each worker queues what it comes to judge; a service asks them all, and speaks through any of them. None of these
//! datagrams has a session.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::frame::PortId;
use crate::plan::LocalService;
use crate::verdict::DropReason;
use crate::wire::ethernet::MacAddr;

/// Datagrams of one service that wait to be polled, per worker.
pub const MOST_WAITING: usize = 256;

/// A UDP service of the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Service {
    /// On the wan: hears what a server says to our link address, also while the wan has no address (RFC 2131 §4.1).
    DhcpClient,
    /// On a lan: hears its hosts, also those without an address, and relays behind it (RFC 2131, RFC 1542 §4).
    DhcpServer,
    /// On a lan: hears its hosts at each lan address of the router.
    Dns,
}

impl Service {
    /// Number of services: arrays indexed by service have this length.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them.
    pub const ALL: [Service; 3] = [Service::DhcpClient, Service::DhcpServer, Service::Dns];

    /// The UDP port that it hears and speaks from.
    pub const fn udp_port(self) -> u16 {
        match self {
            Service::DhcpClient => 68,
            Service::DhcpServer => 67,
            Service::Dns => 53,
        }
    }

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Service::DhcpClient => "dhcp-client",
            Service::DhcpServer => "dhcp-server",
            Service::Dns => "dns",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A datagram that has come in for a service. Its checksum was right, or there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDatagram {
    /// Whose it is.
    pub service: Service,
    /// Where it came in.
    pub port: PortId,
    /// The link address that it came from: the sender's, or that of the router or relay before us.
    pub mac: MacAddr,
    /// Who sent it; from 0.0.0.0 by who has no address yet.
    pub source: SocketAddrV4,
    /// What it was sent to: an address of ours, a broadcast address, or one that a server offers us.
    pub destination: SocketAddrV4,
    /// What is behind the UDP header; at most the MTU of the link.
    pub payload: Vec<u8>,
}

/// What a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSend {
    /// Which one: it speaks from [`Service::udp_port`].
    pub service: Service,
    /// The only port that it may leave by.
    pub port: PortId,
    /// An address of ours on that side. 0.0.0.0 for a DHCP client without one.
    pub source: Ipv4Addr,
    /// To whom. 255.255.255.255 and the link's own broadcast address go to everybody there.
    pub destination: SocketAddrV4,
    /// The link address, for whom ARP would not find: who has no address yet. `None`: by route and ARP.
    pub to: Option<MacAddr>,
    /// What goes behind the UDP header.
    pub payload: Vec<u8>,
}

/// Which services are on where, and what waits for them.
#[derive(Debug)]
pub(crate) struct LocalDatagrams {
    /// By [`PortId::index`], one bit per service.
    on: [u8; PortId::COUNT],
    waiting: [VecDeque<LocalDatagram>; Service::COUNT],
}

impl LocalDatagrams {
    pub(crate) fn new(services: &[LocalService]) -> LocalDatagrams {
        let mut datagrams = LocalDatagrams { on: [0; PortId::COUNT], waiting: Default::default() };
        datagrams.apply(services);
        datagrams
    }

    /// Takes the services of a new plan. What waits for one that is off now is forgotten.
    pub(crate) fn apply(&mut self, services: &[LocalService]) {
        self.on = [0; PortId::COUNT];
        for LocalService { service, port } in services {
            if let Some(on) = self.on.get_mut(port.index()) {
                *on |= service.bit();
            }
        }
        let on = self.on;
        for waiting in &mut self.waiting {
            waiting.retain(|datagram| on[datagram.port.index()] & datagram.service.bit() != 0);
        }
    }

    /// Whether a service is on at a port.
    pub(crate) fn is_on(&self, port: PortId, service: Service) -> bool {
        self.on.get(port.index()).is_some_and(|on| on & service.bit() != 0)
    }

    /// The service that is on at `port` and hears this UDP port.
    pub(crate) fn at(&self, port: PortId, udp_port: u16) -> Option<Service> {
        let hears = |service: &Service| service.udp_port() == udp_port && self.is_on(port, *service);
        Service::ALL.into_iter().find(hears)
    }

    pub(crate) fn push(&mut self, datagram: LocalDatagram) -> Result<(), DropReason> {
        let waiting = &mut self.waiting[datagram.service as usize];
        if waiting.len() >= MOST_WAITING {
            return Err(DropReason::LocalQueueFull);
        }
        waiting.push_back(datagram);
        Ok(())
    }

    pub(crate) fn waiting(&self, service: Service) -> usize {
        self.waiting[service as usize].len()
    }

    pub(crate) fn poll(&mut self, service: Service) -> Option<LocalDatagram> {
        self.waiting[service as usize].pop_front()
    }
}
