//! Devices that go from one process to another while packets flow.
//!
//! The process that has them offers its descriptors. The other one opens what it needs beside them, without touching the
//! devices, and lets nothing in. When the first has stopped, the other one makes its own what was not its business before:
//! the settings, which are already as they have to be, and the record of how they were.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::af_xdp::Advice;
use genkan_io::device::{self, DeviceOptions, PreparedDevice};
use genkan_io::host_network::HostNetwork;
use genkan_io::isolation::Isolation;
use genkan_io::{FrameIo, IoError, host_tun, tap};
use tracing::warn;

use super::bursts::Bursts;
use super::opening::{Candidate, OpenError, Opened, Picked, halves, host_halves, refuse_addresses, tap_port};
use super::{Devices, Hold, Kind, Port, spread};
use crate::daemon::forwarder::PortHalves;
use crate::daemon::upgrade::PortOffer;
use crate::output;

/// How packet sockets are called in [`PortOffer::backend`].
const AF_PACKET: &str = "af-packet";

/// The kind of device where bursts matter.
const VETH: &str = "veth";

/// What is still another process's.
pub(super) enum Foreign {
    /// A device with packet sockets of ours.
    Device { isolation: OwnedFd, bursts: Option<Bursts> },
    /// Addresses and routes of a TUN device that we have a descriptor of.
    Host { tun: OwnedFd },
}

impl Devices {
    /// What another process is told and given to go on with these devices.
    pub(crate) fn offers(&self) -> Vec<(PortOffer, Vec<BorrowedFd<'_>>)> {
        let mut offers = Vec::new();
        for port in &self.ports {
            let descriptors = match &port.hold {
                Some(Hold::Device { isolation, .. }) => vec![isolation.descriptor()],
                Some(Hold::Tap { queues }) => queues.iter().map(AsFd::as_fd).collect(),
                Some(Hold::Host { tun, .. }) => vec![tun.as_fd()],
                Some(Hold::Foreign(_)) | None => continue,
            };
            let backend = port.picked.as_ref().map(|picked| &picked.backend);
            let link = port.known.unwrap_or(LinkState { mac: MacAddr::ZERO, mtu: 0, up: false });
            let offer = PortOffer {
                device: port.device.clone(),
                backend: backend.map(|backend| backend.name.clone()).unwrap_or_default(),
                reason: backend.and_then(|backend| backend.reason.clone()),
                shortfall: port.picked.as_ref().and_then(|picked| picked.shortfall.clone()),
                mac: link.mac.0,
                mtu: link.mtu,
            };
            offers.push((offer, descriptors));
        }
        offers
    }

    /// Leaves the devices as they are to a process that has taken the offers.
    pub(crate) fn leave(self) {
        for port in self.ports {
            match port.hold {
                Some(Hold::Device { prepared, isolation, .. }) => {
                    prepared.leave();
                    isolation.leave();
                }
                Some(Hold::Host { network, .. }) => network.leave(),
                Some(Hold::Tap { .. } | Hold::Foreign(_)) | None => {}
            }
        }
    }

    /// Lets frames into the ports that another process still has; they wait there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn let_in(&mut self) -> Result<(), IoError> {
        self.gates.drain(..).try_for_each(af_packet::Gate::open)
    }

    /// Makes the devices that another process has left our own. What cannot be had is opened anew, as if the device had
    /// come back.
    pub(crate) fn settle(&mut self) {
        for port in &mut self.ports {
            let Some(Hold::Foreign(foreign)) = port.hold.take_if(|hold| matches!(hold, Hold::Foreign(_)))
            else {
                continue;
            };
            let settled = match foreign {
                Foreign::Device { isolation, bursts } => {
                    let isolation = Isolation::adopt(&port.device, isolation);
                    PreparedDevice::prepare(&port.device, &self.state, &DeviceOptions::default()).map(
                        |prepared| {
                            let bursts = bursts.and_then(|bursts| bursts.begin(&prepared));
                            Hold::Device { prepared: prepared.into(), isolation, bursts }
                        },
                    )
                }
                Foreign::Host { tun } => {
                    let Kind::Host(config) = &port.kind else { continue };
                    let network = HostNetwork::configure(&port.device, config);
                    network.map(|network| Hold::Host { network, tun })
                }
            };
            match settled {
                Ok(hold) => port.hold = Some(hold),
                Err(error) => {
                    warn!(device = port.device, error = output::chain(&error), "not taken over; opened anew");
                }
            }
        }
    }

    /// Opens a port beside another process's; `None` when there is no room for both.
    pub(super) fn open_foreign(
        &mut self,
        port: &mut Port,
    ) -> Result<Option<(Vec<PortHalves>, LinkState)>, OpenError> {
        let workers = self.team.workers();
        let Some(mut inherited) = self.inheritance.take(&port.device) else {
            // The other process does not have it either.
            return Ok(None);
        };
        let link = LinkState { mac: MacAddr(inherited.offer.mac), mtu: inherited.offer.mtu, up: true };
        let opened = match &port.kind {
            Kind::Device(wish) => {
                let candidate =
                    Candidate { name: &port.device, wish: *wish, spread: spread(port.id, &self.team) };
                let packet_sockets = inherited.offer.backend == AF_PACKET
                    || matches!(candidate.advice(workers)?, Advice::AfPacket(_));
                if !packet_sockets {
                    // AF_XDP: the device's queue has room for one.
                    self.inheritance.put(inherited);
                    return Ok(None);
                }
                let Some(isolation) = inherited.descriptors.pop() else { return Ok(None) };
                let found = device::link(&port.device)?;
                refuse_addresses(&found)?;
                let options = AfPacketOptions::default();
                let (ios, gate) =
                    af_packet::open_workers_shut(&port.device, &options, workers, candidate.spread)?;
                self.gates.push(gate);
                let ios = ios.into_iter().map(FrameIo::with_merging);
                let halves = ios.map(halves).collect();
                let (halves, bursts) = if found.kind.as_deref() == Some(VETH) {
                    let (halves, bursts) = Bursts::meter(halves);
                    (halves, Some(bursts))
                } else {
                    (halves, None)
                };
                let PortOffer { reason, shortfall, .. } = inherited.offer;
                let picked = Picked { shortfall, ..Picked::because(AF_PACKET, reason) };
                let hold = Hold::Foreign(Foreign::Device { isolation, bursts });
                Opened { halves, link: found.state(), hold, picked }
            }
            Kind::Tap => tap_port(tap::adopt(&port.device, inherited.descriptors)?, link)?,
            Kind::Host(_) => {
                let Some(tun) = inherited.descriptors.pop() else { return Ok(None) };
                let duplicate = tun
                    .try_clone()
                    .map_err(|source| IoError::System { operation: "duplicate a descriptor", source })?;
                let halves = host_halves(host_tun::adopt(duplicate), workers);
                let hold = Hold::Foreign(Foreign::Host { tun });
                Opened { halves, link, hold, picked: Picked::plain("host-tun") }
            }
        };
        port.hold = Some(opened.hold);
        port.picked = Some(opened.picked);
        port.known = Some(opened.link);
        Ok(Some((opened.halves, opened.link)))
    }
}
