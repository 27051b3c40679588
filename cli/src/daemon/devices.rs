//! The network devices behind the ports: opened, watched, opened again when they come back, put back at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_config::{Backend, Loaded};
use genkan_engine::frame::PortId;
use genkan_engine::router::LinkState;
use genkan_engine::team::HostSpread;
use genkan_engine::{Plan, Team};
use genkan_io::af_packet::{self, AfPacketOptions, Spread};
use genkan_io::device::{self, DeviceAddress, DeviceError, DeviceOptions, Link, PreparedDevice};
use genkan_io::host_network::{HostNetwork, HostNetworkConfig};
use genkan_io::isolation::{Isolation, IsolationError};
use genkan_io::software_offload::SoftwareOffload;
use genkan_io::{FrameIo, FrameReceiver, IoError, host_tun, tap};
use tracing::{info, warn};

use super::forwarder::PortHalves;
use super::suggest;
use crate::output::{self, Failure};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl OpenError {
    fn is_absent(&self) -> bool {
        matches!(
            self,
            OpenError::Device(DeviceError::NotFound(_)) | OpenError::Isolation(IsolationError::NotFound(_))
        )
    }
}

/// What [`Devices::look`] found.
pub(crate) enum Change {
    /// A link is other than it was.
    Link(PortId, LinkState),
    /// A device is back, and open.
    Attach(PortId, Vec<PortHalves>, LinkState),
    /// The problem of this name is as follows, or over.
    Problem(String, Option<String>),
}

/// An open port, with halves for each worker.
pub(crate) type OpenPort = (PortId, Vec<PortHalves>, LinkState);

/// How a port gets its frames.
#[derive(Clone, Debug)]
enum Kind {
    /// From an existing device.
    Device,
    /// From a TAP device that is the wire to somebody else's kernel.
    Tap,
    /// From the box itself.
    Host(HostNetworkConfig),
}

/// What has to be given back to the kernel.
enum Hold {
    /// Fields are dropped in this order: settings come back while the kernel is still kept away.
    Device { prepared: PreparedDevice, _isolation: Isolation },
    /// A device that is there as long as its descriptor. It may be in another network namespace by now, where we
    /// cannot see it.
    Tap,
    /// Addresses and routes.
    Host(HostNetwork),
}

struct Port {
    id: PortId,
    device: String,
    kind: Kind,
    hold: Option<Hold>,
    known: Option<LinkState>,
}

/// All devices of a router.
pub(crate) struct Devices {
    state: PathBuf,
    team: Arc<Team>,
    ports: Vec<Port>,
}

impl Devices {
    /// Opens every device of the configuration. When one cannot be opened, those before it are put back.
    ///
    /// # Errors
    /// What is wrong with the first device that cannot be a port.
    pub(crate) fn open(loaded: &Loaded, team: &Arc<Team>) -> Result<(Devices, Vec<OpenPort>), Failure> {
        let config = &loaded.config;
        let state = state_directory(&config.state);
        match device::restore_leftovers(&state) {
            Ok(restored) if restored.is_empty() => {}
            Ok(restored) => info!(devices = restored.join(" "), "put back what a killed router had changed"),
            Err(error) => {
                warn!(error = output::chain(&error), "cannot put back what a killed router had changed");
            }
        }
        let mut devices = Devices { state, team: team.clone(), ports: Vec::new() };
        let lans = config.lans.iter().enumerate().map(|(index, lan)| (PortId::lan(index), lan));
        let mut open = Vec::new();
        for (id, configured) in std::iter::once((PortId::WAN, &config.wan)).chain(lans) {
            let kind = match configured.backend {
                Backend::AfPacket => Kind::Device,
                Backend::Tap => Kind::Tap,
            };
            open.push(devices.add(id, &configured.label, &configured.device, kind)?);
        }
        // Last: the box is not to send anything before there is somewhere to send it to.
        if let Some(tun) = &config.tun {
            let kind = Kind::Host(HostNetworkConfig::from_plan(&loaded.plan));
            open.push(devices.add(PortId::HOST, "[router] tun", tun, kind)?);
        }
        Ok((devices, open))
    }

    fn add(&mut self, id: PortId, label: &str, device: &str, kind: Kind) -> Result<OpenPort, Failure> {
        let mut port = Port { id, device: device.to_owned(), kind, hold: None, known: None };
        let (halves, link) = port.open(&self.state, &self.team).map_err(|error| explain(label, &error))?;
        self.ports.push(port);
        Ok((id, halves, link))
    }

    /// Remembers that a port's device is gone, as its receiver found out.
    pub(crate) fn lost(&mut self, port: PortId) {
        if let Some(port) = self.ports.iter_mut().find(|it| it.id == port) {
            port.hold = None;
        }
    }

    /// Gives the box itself the addresses and routes of another plan.
    ///
    /// # Errors
    /// A report of what the kernel refused; the old ones are in force then.
    pub(crate) fn follow(&mut self, plan: &Plan) -> Result<(), String> {
        let config = HostNetworkConfig::from_plan(plan);
        for port in &mut self.ports {
            let Kind::Host(before) = &mut port.kind else { continue };
            if let Some(Hold::Host(network)) = &mut port.hold
                && let Err(error) = network.update(&config)
            {
                let mut text = format!("error: {}: {}\n", port.device, output::chain(&error));
                if let Err(error) = network.update(before) {
                    text.push_str(&format!("error: and back: {}\n", output::chain(&error)));
                }
                return Err(text);
            }
            *before = config.clone();
        }
        Ok(())
    }

    /// Compares all devices with what is known about them. Devices that are back are opened.
    pub(crate) fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for port in &mut self.ports {
            port.look(&self.state, &self.team, &mut changes);
        }
        changes
    }

    /// Puts everything back. The ports must be closed by now.
    ///
    /// # Errors
    /// What could not be put back; the record in the state folder stays for the next start.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let mut failed = Vec::new();
        for port in self.ports {
            let Some(Hold::Device { prepared, _isolation }) = port.hold else { continue };
            if let Err(error) = prepared.restore() {
                failed.push(format!("{}: {}", port.device, output::chain(&error)));
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::message(format!("not put back: {}", failed.join("; "))))
    }
}

impl Port {
    fn open(&mut self, state: &Path, team: &Team) -> Result<(Vec<PortHalves>, LinkState), OpenError> {
        let (halves, mut link, hold) = match &self.kind {
            Kind::Device => open_device(&self.device, state, team.workers(), spread(self.id, team))?,
            Kind::Tap => open_tap(&self.device, team.workers())?,
            Kind::Host(config) => open_host(&self.device, config, team.workers())?,
        };
        if let (Kind::Tap, Some(known)) = (&self.kind, self.known) {
            // A made-up address need not change because the device was made anew.
            link.mac = known.mac;
        }
        self.hold = Some(hold);
        self.known = Some(link);
        Ok((halves, link))
    }

    fn look(&mut self, state: &Path, team: &Team, changes: &mut Vec<Change>) {
        match &self.hold {
            Some(Hold::Device { prepared, .. }) => {
                // Another device of the same name is not this one.
                let index = prepared.link().index;
                if let Some(found) = device::link(&self.device).ok().filter(|found| found.index == index) {
                    return self.compare(&found, changes);
                }
            }
            // As long as their receiver does not say otherwise.
            Some(Hold::Tap | Hold::Host(_)) => return,
            None => {}
        }
        self.hold = None;
        if let Some(known) = self.known.filter(|known| known.up) {
            let down = LinkState { up: false, ..known };
            self.known = Some(down);
            changes.push(Change::Link(self.id, down));
        }
        let problem = match self.open(state, team) {
            Ok((halves, link)) => {
                changes.push(Change::Attach(self.id, halves, link));
                None
            }
            // That it is down is said anyway.
            Err(error) if error.is_absent() => None,
            Err(error) => Some(output::chain(&error)),
        };
        changes.push(Change::Problem(self.problem_key(), problem));
    }

    fn compare(&mut self, found: &Link, changes: &mut Vec<Change>) {
        let link = found.state();
        if self.known.replace(link) != Some(link) {
            changes.push(Change::Link(self.id, link));
        }
        let problem = refuse_addresses(found).err().map(|error| output::chain(&error));
        changes.push(Change::Problem(self.problem_key(), problem));
    }

    fn problem_key(&self) -> String {
        format!("device {}", self.device)
    }
}

/// How the kernel spreads a device's frames over the workers.
fn spread(port: PortId, team: &Team) -> Spread {
    if port == PortId::WAN {
        return Spread::DestinationPort;
    }
    let HostSpread { multiplier, addend } = team.host_spread();
    Spread::Source { multiplier, addend }
}

type Opened = (Vec<PortHalves>, LinkState, Hold);

fn open_device(device: &str, state: &Path, workers: u8, spread: Spread) -> Result<Opened, OpenError> {
    let found = device::link(device)?;
    // Looked at before the kernel is kept away: this may be the device that somebody logged in through.
    refuse_addresses(&found)?;
    let isolation = Isolation::new(device)?;
    let prepared = PreparedDevice::prepare(device, state, &DeviceOptions::default())?;
    let ios = af_packet::open_workers(device, &AfPacketOptions::default(), workers, spread)?;
    let link = prepared.link().state();
    Ok((ios.into_iter().map(halves).collect(), link, Hold::Device { prepared, _isolation: isolation }))
}

fn open_tap(device: &str, workers: u8) -> Result<Opened, OpenError> {
    let ios = if workers == 1 { vec![tap::open(device)?] } else { tap::open_queues(device, workers.into())? };
    let found = device::link(device)?;
    let link = LinkState { mac: tap::router_mac(found.mac), up: true, ..found.state() };
    // Each frame is a system call, and no GRO of the kernel came before us.
    let merging = ios.into_iter().map(FrameIo::with_merging);
    Ok((merging.map(halves).collect(), link, Hold::Tap))
}

fn open_host(device: &str, config: &HostNetworkConfig, workers: u8) -> Result<Opened, OpenError> {
    let (receiver, transmitter) = host_tun::open_halves(device)?;
    // The device has one queue: the first worker takes from it what the box sends.
    let mut receiver: Option<Box<dyn FrameReceiver>> = Some(Box::new(receiver));
    let halves = (0..workers).map(|_| PortHalves {
        receiver: receiver.take(),
        transmitter: Box::new(SoftwareOffload::new(transmitter.clone())),
    });
    let halves = halves.collect();
    let network = HostNetwork::configure(device, config)?;
    let link = LinkState { mac: host_tun::ROUTER_MAC, mtu: config.mtu, up: true };
    Ok((halves, link, Hold::Host(network)))
}

/// The engine takes every port for one that finishes checksums and cuts super-frames.
fn halves(io: FrameIo) -> PortHalves {
    let FrameIo { receiver, transmitter } = io.with_software_offload();
    PortHalves { receiver: Some(receiver), transmitter }
}

fn refuse_addresses(link: &Link) -> Result<(), DeviceError> {
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

/// systemd's folder for our state goes before the configured one. It may name several; the first is the main one.
fn state_directory(configured: &Path) -> PathBuf {
    let given = std::env::var("STATE_DIRECTORY").ok();
    let first = given.as_deref().and_then(|list| list.split(':').find(|path| !path.is_empty()));
    first.map_or_else(|| configured.to_owned(), PathBuf::from)
}

fn explain(label: &str, error: &OpenError) -> Failure {
    let mut text = format!("{label}: {}", output::chain(error));
    if let OpenError::Device(DeviceError::NotFound(name)) = error
        && let Some(suggestion) = suggest::suggestion(name, &suggest::device_names())
    {
        text.push_str(&format!("\nhelp: {suggestion}"));
    }
    if not_permitted(error) {
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
        if error.downcast_ref::<nix::Error>() == Some(&nix::Error::EPERM) {
            return true;
        }
        next = error.source();
    }
    false
}
