//! How a port is opened: with which back end, what that gives, and why it could not be.

use std::os::fd::OwnedFd;
use std::path::Path;

use genkan_control::snapshot::PortBackend;
use genkan_engine::router::LinkState;
use genkan_io::af_packet::{self, AfPacketOptions, Spread};
use genkan_io::af_xdp::{self, Advice, AfXdpError, Mode, SharedMemory};
use genkan_io::device::{self, DeviceAddress, DeviceError, DeviceOptions, Link, PreparedDevice};
use genkan_io::host_network::{HostNetwork, HostNetworkConfig};
use genkan_io::host_tun::{HostTunReceiver, HostTunTransmitter};
use genkan_io::isolation::{Isolation, IsolationError};
use genkan_io::netlink::NetlinkError;
use genkan_io::software_offload::SoftwareOffload;
use genkan_io::{FrameIo, FrameReceiver, IoError, host_tun, tap};

use super::Hold;
use super::bursts::Bursts;
use crate::daemon::forwarder::PortHalves;
use crate::daemon::suggest;
use crate::daemon::upgrade::InheritedPort;
use crate::output::{self, Failure};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    AfXdp(#[from] AfXdpError),
}

impl OpenError {
    pub(super) fn is_absent(&self) -> bool {
        matches!(
            self,
            OpenError::Device(DeviceError::NotFound(_)) | OpenError::Isolation(IsolationError::NotFound(_))
        )
    }
}

/// What the configuration wants of an existing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    AfPacket,
    AfXdp,
    /// What suits it.
    Any,
}

/// How a device was opened.
pub(super) struct Picked {
    pub(super) backend: PortBackend,
    /// Why that is not what was asked for.
    pub(super) shortfall: Option<String>,
    /// The greatest IP MTU in octets that it works with.
    pub(super) greatest_mtu: u32,
}

impl Picked {
    /// The only way there is.
    pub(super) fn plain(name: &str) -> Picked {
        Picked::because(name, None)
    }

    pub(super) fn because(name: &str, reason: Option<String>) -> Picked {
        let backend = PortBackend { name: name.to_owned(), reason };
        Picked { backend, shortfall: None, greatest_mtu: u32::MAX }
    }
}

/// What opening a port gives.
pub(super) struct Opened {
    pub(super) halves: Vec<PortHalves>,
    pub(super) link: LinkState,
    pub(super) hold: Hold,
    pub(super) picked: Picked,
}

/// An existing device that is to become a port.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    pub(super) wish: Wish,
    pub(super) spread: Spread,
}

impl Candidate<'_> {
    pub(super) fn open(
        &self,
        state: &Path,
        workers: u8,
        memory: &mut SharedMemory,
        inherited: Option<InheritedPort>,
    ) -> Result<Opened, OpenError> {
        let found = device::link(self.name)?;
        // Looked at before the kernel is kept away: this may be the device that somebody logged in through.
        refuse_addresses(&found)?;
        let isolation = match inherited.and_then(|mut port| port.descriptors.pop()) {
            Some(descriptor) => Isolation::adopt(self.name, descriptor),
            None => Isolation::new(self.name)?,
        };
        let against = match self.advice(workers)? {
            Advice::AfPacket(reason) => reason,
            Advice::AfXdp => match self.open_af_xdp(state, memory)? {
                Ok((io, prepared, picked)) => {
                    let link = prepared.link().state();
                    let hold = Hold::Device { prepared: prepared.into(), isolation, bursts: None };
                    return Ok(Opened { halves: vec![halves(io)], link, hold, picked });
                }
                Err(reason) => reason,
            },
        };
        let prepared = PreparedDevice::prepare(self.name, state, &DeviceOptions::default())?;
        let ios = af_packet::open_workers(self.name, &AfPacketOptions::default(), workers, self.spread)?;
        let link = prepared.link().state();
        let shortfall = (self.wish == Wish::AfXdp).then(|| {
            format!(
                "{}: backend = \"af-xdp\" is not possible, packet sockets are used instead: {against}",
                self.name
            )
        });
        let reason = (self.wish != Wish::AfPacket).then_some(against);
        let picked = Picked { shortfall, ..Picked::because("af-packet", reason) };
        // Each frame out is a walk through the kernel, and GRO on arrival saw few of those that follow each other.
        let merging = ios.into_iter().map(FrameIo::with_merging);
        let (halves, bursts) = Bursts::watch(&prepared, merging.map(halves).collect());
        let hold = Hold::Device { prepared: prepared.into(), isolation, bursts };
        Ok(Opened { halves, link, hold, picked })
    }

    pub(super) fn advice(&self, workers: u8) -> Result<Advice, IoError> {
        match self.wish {
            Wish::AfPacket => Ok(Advice::AfPacket(String::new())),
            // A worker would need a queue of its own to send by.
            Wish::AfXdp | Wish::Any if workers > 1 => {
                Ok(Advice::AfPacket(format!("AF_XDP works with one worker, and there are {workers}")))
            }
            Wish::AfXdp => Ok(Advice::AfXdp),
            Wish::Any => af_xdp::advise(self.name),
        }
    }

    /// The inner error is why it is not possible, in words.
    fn open_af_xdp(
        &self,
        state: &Path,
        memory: &mut SharedMemory,
    ) -> Result<Result<(FrameIo, PreparedDevice, Picked), String>, OpenError> {
        let bare = DeviceOptions { bare: true, ..DeviceOptions::default() };
        let prepared = PreparedDevice::prepare(self.name, state, &bare)?;
        let modes = if self.wish == Wish::Any { &[Mode::ZeroCopy][..] } else { af_xdp::ALL_MODES };
        match af_xdp::open(self.name, memory, modes) {
            Ok(opened) => {
                let reason = Some(opened.to_string());
                let picked = Picked {
                    shortfall: opened.warning,
                    greatest_mtu: opened.greatest_mtu,
                    ..Picked::because("af-xdp", reason)
                };
                Ok(Ok((opened.io, prepared, picked)))
            }
            Err(AfXdpError::Io(error)) => Err(error.into()),
            Err(refusal) => Ok(Err(refusal.to_string())),
        }
    }
}

pub(super) fn open_tap(device: &str, workers: u8) -> Result<Opened, OpenError> {
    let ios = if workers == 1 { vec![tap::open(device)?] } else { tap::open_queues(device, workers.into())? };
    let found = device::link(device)?;
    let link = LinkState { mac: tap::router_mac(found.mac), up: true, ..found.state() };
    tap_port(ios, link)
}

pub(super) fn tap_port(ios: Vec<FrameIo>, link: LinkState) -> Result<Opened, OpenError> {
    let queues = ios.iter().map(|io| descriptor(&*io.receiver)).collect::<Result<_, _>>()?;
    // Each frame is a system call, and no GRO of the kernel came before us.
    let halves = ios.into_iter().map(FrameIo::with_merging).map(halves).collect();
    Ok(Opened { halves, link, hold: Hold::Tap { queues }, picked: Picked::plain("tap") })
}

/// A duplicate of the descriptor that a receiver has of its device.
pub(super) fn descriptor(receiver: &dyn FrameReceiver) -> Result<OwnedFd, IoError> {
    let found = receiver.poll_fds().and_then(|all| all.iter().next()).ok_or(IoError::EndOfInput)?;
    found
        .try_clone_to_owned()
        .map_err(|source| IoError::System { operation: "duplicate the descriptor of a device", source })
}

pub(super) fn open_host(device: &str, config: &HostNetworkConfig, workers: u8) -> Result<Opened, OpenError> {
    let opened = host_tun::open_halves(device)?;
    let tun = descriptor(&opened.0)?;
    let halves = host_halves(opened, workers);
    let network = HostNetwork::configure(device, config)?;
    let link = LinkState { mac: host_tun::ROUTER_MAC, mtu: config.mtu, up: true };
    Ok(Opened { halves, link, hold: Hold::Host { network, tun }, picked: Picked::plain("host-tun") })
}

pub(super) fn host_halves(opened: (HostTunReceiver, HostTunTransmitter), workers: u8) -> Vec<PortHalves> {
    let (receiver, transmitter) = opened;
    // The device has one queue: the first worker takes from it what the box sends.
    let mut receiver: Option<Box<dyn FrameReceiver>> = Some(Box::new(receiver));
    let halves = (0..workers).map(|_| PortHalves {
        receiver: receiver.take(),
        transmitter: Box::new(SoftwareOffload::new(transmitter.clone())),
    });
    halves.collect()
}

/// The engine takes every port for one that finishes checksums and cuts super-frames.
pub(super) fn halves(io: FrameIo) -> PortHalves {
    let FrameIo { receiver, transmitter } = io.with_software_offload();
    PortHalves { receiver: Some(receiver), transmitter }
}

pub(super) fn refuse_addresses(link: &Link) -> Result<(), DeviceError> {
    let addresses = device::addresses(link.index).map_err(|source| DeviceError::Netlink {
        device: link.name.clone(),
        operation: "list its addresses",
        source,
    })?;
    let addresses: Vec<DeviceAddress> =
        addresses.into_iter().filter(|address| !address.is_link_local()).collect();
    if addresses.is_empty() {
        return Ok(());
    }
    Err(DeviceError::AddressesPresent { device: link.name.clone(), addresses })
}

pub(super) fn explain(label: &str, error: &OpenError) -> Failure {
    let mut text = format!("{label}: {}", output::chain(error));
    if let OpenError::Device(DeviceError::NotFound(name)) = error
        && let Some(suggestion) = suggest::suggestion(name, &suggest::device_names())
    {
        text.push_str(&format!("\nhelp: {suggestion}"));
    }
    // A file in somebody else's folder is another matter than a device.
    let is_file = matches!(error, OpenError::Device(DeviceError::Record { .. }));
    if !is_file && not_permitted(error) {
        text.push_str(
            "\nhelp: the router wants CAP_NET_ADMIN and CAP_NET_RAW: run it as root, or in a namespace",
        );
    }
    Failure::message(text)
}

/// Whether anywhere among the causes the kernel said EPERM.
fn not_permitted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        let netlink = error.downcast_ref::<NetlinkError>().and_then(NetlinkError::errno);
        if netlink == Some(nix::Error::EPERM)
            || error.downcast_ref::<nix::Error>() == Some(&nix::Error::EPERM)
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn who_may_not_touch_devices_is_told_what_it_takes() {
        let (device, errno, message) = ("eth0".to_owned(), nix::Error::EPERM, String::new());
        let refused = IsolationError::Refused { device, source: NetlinkError::Refused { errno, message } };
        let failure = explain("wan", &OpenError::Isolation(refused));
        assert!(failure.text().contains("run it as root"), "{}", failure.text());
        let (path, source) = (PathBuf::from("/var/lib/genkan/device-eth0.json"), nix::Error::EACCES.into());
        let record = DeviceError::Record { path, operation: "open the record of device settings", source };
        let failure = explain("wan", &OpenError::Device(record));
        assert!(!failure.text().contains("root"), "{}", failure.text());
    }
}
