//! The network devices behind the ports: opened, watched, opened again when they come back, put back at the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_config::{Backend, Loaded};
use genkan_control::snapshot::PortBackend;
use genkan_engine::frame::PortId;
use genkan_engine::router::LinkState;
use genkan_engine::team::HostSpread;
use genkan_engine::{Plan, Team};
use genkan_io::af_packet::{self, AfPacketOptions, Gate, Spread};
use genkan_io::af_xdp::{self, Advice, AfXdpError, Mode, SharedMemory};
use genkan_io::device::{self, DeviceAddress, DeviceError, DeviceOptions, Link, PreparedDevice};
use genkan_io::host_network::{HostNetwork, HostNetworkConfig};
use genkan_io::host_tun::{HostTunReceiver, HostTunTransmitter};
use genkan_io::isolation::{Isolation, IsolationError};
use genkan_io::netlink::NetlinkError;
use genkan_io::software_offload::SoftwareOffload;
use genkan_io::{FrameIo, FrameReceiver, IoError, host_tun, tap};
use tracing::{info, warn};

use self::bursts::Bursts;
use self::hand_over::Foreign;
use super::forwarder::PortHalves;
use super::suggest;
use super::upgrade::{Inheritance, InheritedPort};
use crate::output::{self, Failure};

mod bursts;
mod hand_over;

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
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
    /// How a port's frames get in and out.
    Backend(PortId, PortBackend),
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
    Device(Wish),
    /// From a TAP device that is the wire to somebody else's kernel.
    Tap,
    /// From the box itself.
    Host(HostNetworkConfig),
}

/// What the configuration wants of an existing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    AfPacket,
    AfXdp,
    /// What suits it.
    Any,
}

/// How a device was opened.
struct Picked {
    backend: PortBackend,
    /// Why that is not what was asked for.
    shortfall: Option<String>,
    /// The greatest IP MTU in octets that it works with.
    greatest_mtu: u32,
}

impl Picked {
    /// The only way there is.
    fn plain(name: &str) -> Picked {
        Picked::because(name, None)
    }

    fn because(name: &str, reason: Option<String>) -> Picked {
        let backend = PortBackend { name: name.to_owned(), reason };
        Picked { backend, shortfall: None, greatest_mtu: u32::MAX }
    }
}

/// What has to be given back to the kernel.
enum Hold {
    /// Fields are dropped in this order: settings come back while the kernel is still kept away.
    Device { prepared: Box<PreparedDevice>, isolation: Isolation, bursts: Option<Bursts> },
    /// A device that is there as long as its descriptors. It may be in another network namespace by now, where we
    /// cannot see it.
    Tap { queues: Vec<OwnedFd> },
    /// Addresses and routes, and the TUN device that has them.
    Host { network: HostNetwork, tun: OwnedFd },
    /// What is still another process's; [`Devices::settle`] makes it ours.
    Foreign(Foreign),
}

struct Port {
    id: PortId,
    device: String,
    kind: Kind,
    hold: Option<Hold>,
    picked: Option<Picked>,
    known: Option<LinkState>,
}

/// All devices of a router.
pub(crate) struct Devices {
    state: PathBuf,
    team: Arc<Team>,
    ports: Vec<Port>,
    /// Of the ports with AF_XDP.
    memory: SharedMemory,
    /// What another process gives us.
    inheritance: Inheritance,
    /// Of the ports that are open but let nothing in yet.
    gates: Vec<Gate>,
}

impl Devices {
    /// Opens every device of the configuration. When one cannot be opened, those before it are put back.
    ///
    /// With an inheritance nothing is done to a device that the process which still has it would notice. Ports that it
    /// leaves no room for are not open yet. [`Devices::let_in`] and [`Devices::settle`] do the rest.
    ///
    /// # Errors
    /// What is wrong with the first device that cannot be a port.
    pub(crate) fn open(
        loaded: &Loaded,
        team: &Arc<Team>,
        state: &Path,
        inheritance: Option<Inheritance>,
    ) -> Result<(Devices, Vec<OpenPort>), Failure> {
        let config = &loaded.config;
        let state = state.to_owned();
        let is_foreign = inheritance.is_some();
        // What the other process has changed is to stay as it is.
        let leftovers = if is_foreign { Ok(Vec::new()) } else { device::restore_leftovers(&state) };
        match leftovers {
            Ok(restored) if restored.is_empty() => {}
            Ok(restored) => info!(devices = restored.join(" "), "put back what a killed router had changed"),
            Err(error) => {
                warn!(error = output::chain(&error), "cannot put back what a killed router had changed");
            }
        }
        let by_xdp = |backend| matches!(backend, Backend::Auto | Backend::AfXdp);
        let on_xdp = std::iter::once(&config.wan).chain(&config.lans).filter(|it| by_xdp(it.backend)).count();
        let memory = SharedMemory::new(on_xdp);
        let mut devices = Devices {
            state,
            team: team.clone(),
            ports: Vec::new(),
            memory,
            inheritance: inheritance.unwrap_or_default(),
            gates: Vec::new(),
        };
        let lans = config.lans.iter().enumerate().map(|(index, lan)| (PortId::lan(index), lan));
        let mut open = Vec::new();
        for (id, configured) in std::iter::once((PortId::WAN, &config.wan)).chain(lans) {
            let kind = match configured.backend {
                Backend::Auto => Kind::Device(Wish::Any),
                Backend::AfPacket => Kind::Device(Wish::AfPacket),
                Backend::AfXdp => Kind::Device(Wish::AfXdp),
                Backend::Tap => Kind::Tap,
            };
            open.extend(devices.add(id, &configured.label, &configured.device, kind, is_foreign)?);
        }
        // Last: the box is not to send anything before there is somewhere to send it to.
        if let Some(tun) = &config.tun {
            let kind = Kind::Host(HostNetworkConfig::from_plan(&loaded.plan));
            open.extend(devices.add(PortId::HOST, "[router] tun", tun, kind, is_foreign)?);
        }
        Ok((devices, open))
    }

    fn add(
        &mut self,
        id: PortId,
        label: &str,
        device: &str,
        kind: Kind,
        is_foreign: bool,
    ) -> Result<Option<OpenPort>, Failure> {
        let mut port = Port { id, device: device.to_owned(), kind, hold: None, picked: None, known: None };
        let opened = if is_foreign {
            self.open_foreign(&mut port)
        } else {
            port.open(&self.state, &self.team, &mut self.memory, &mut self.inheritance).map(Some)
        };
        let opened = opened.map_err(|error| explain(label, &error))?;
        self.ports.push(port);
        Ok(opened.map(|(halves, link)| (id, halves, link)))
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
            if let Some(Hold::Host { network, .. }) = &mut port.hold
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
            port.look(&self.state, &self.team, &mut self.memory, &mut self.inheritance, &mut changes);
            port.tell_backend(&mut changes);
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
            let Some(Hold::Device { prepared, isolation: _isolation, .. }) = port.hold else { continue };
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
    fn open(
        &mut self,
        state: &Path,
        team: &Team,
        memory: &mut SharedMemory,
        inheritance: &mut Inheritance,
    ) -> Result<(Vec<PortHalves>, LinkState), OpenError> {
        let Opened { halves, mut link, hold, picked } = match &self.kind {
            Kind::Device(wish) => {
                let device = Candidate { name: &self.device, wish: *wish, spread: spread(self.id, team) };
                device.open(state, team.workers(), memory, inheritance.take(&self.device))?
            }
            Kind::Tap => open_tap(&self.device, team.workers())?,
            Kind::Host(config) => open_host(&self.device, config, team.workers())?,
        };
        if let (Kind::Tap, Some(known)) = (&self.kind, self.known) {
            // A made-up address need not change because the device was made anew.
            link.mac = known.mac;
        }
        self.hold = Some(hold);
        self.picked = Some(picked);
        self.known = Some(link);
        Ok((halves, link))
    }

    fn look(
        &mut self,
        state: &Path,
        team: &Team,
        memory: &mut SharedMemory,
        inheritance: &mut Inheritance,
        changes: &mut Vec<Change>,
    ) {
        match &self.hold {
            Some(Hold::Device { prepared, .. }) => {
                // Another device of the same name is not this one.
                let index = prepared.link().index;
                if let Some(found) = device::link(&self.device).ok().filter(|found| found.index == index) {
                    return self.compare(&found, changes);
                }
            }
            // As long as their receiver does not say otherwise.
            Some(Hold::Tap { .. } | Hold::Host { .. } | Hold::Foreign(_)) => return,
            None => {}
        }
        self.hold = None;
        if let Some(known) = self.known.filter(|known| known.up) {
            let down = LinkState { up: false, ..known };
            self.known = Some(down);
            changes.push(Change::Link(self.id, down));
        }
        let problem = match self.open(state, team, memory, inheritance) {
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

    /// Says how the device works, for as long as it is open.
    fn tell_backend(&self, changes: &mut Vec<Change>) {
        let Some(picked) = self.picked.as_ref().filter(|_| self.hold.is_some()) else { return };
        changes.push(Change::Backend(self.id, picked.backend.clone()));
        let mtu = self.known.map_or(0, |link| u32::from(link.mtu));
        let problem = if mtu > picked.greatest_mtu {
            let (device, backend, greatest) = (&self.device, &picked.backend.name, picked.greatest_mtu);
            Some(format!(
                "{device}: its MTU is {mtu} by now, and {backend} was opened for up to {greatest} octets: longer \
                 packets are lost until the router is started anew"
            ))
        } else {
            picked.shortfall.clone()
        };
        changes.push(Change::Problem(format!("backend of {}", self.device), problem));
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

/// What opening a port gives.
struct Opened {
    halves: Vec<PortHalves>,
    link: LinkState,
    hold: Hold,
    picked: Picked,
}

/// An existing device that is to become a port.
struct Candidate<'a> {
    name: &'a str,
    wish: Wish,
    spread: Spread,
}

impl Candidate<'_> {
    fn open(
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

    fn advice(&self, workers: u8) -> Result<Advice, IoError> {
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

fn open_tap(device: &str, workers: u8) -> Result<Opened, OpenError> {
    let ios = if workers == 1 { vec![tap::open(device)?] } else { tap::open_queues(device, workers.into())? };
    let found = device::link(device)?;
    let link = LinkState { mac: tap::router_mac(found.mac), up: true, ..found.state() };
    tap_port(ios, link)
}

fn tap_port(ios: Vec<FrameIo>, link: LinkState) -> Result<Opened, OpenError> {
    let queues = ios.iter().map(|io| descriptor(&*io.receiver)).collect::<Result<_, _>>()?;
    // Each frame is a system call, and no GRO of the kernel came before us.
    let halves = ios.into_iter().map(FrameIo::with_merging).map(halves).collect();
    Ok(Opened { halves, link, hold: Hold::Tap { queues }, picked: Picked::plain("tap") })
}

/// A duplicate of the descriptor that a receiver has of its device.
fn descriptor(receiver: &dyn FrameReceiver) -> Result<OwnedFd, IoError> {
    let found = receiver.poll_fds().and_then(|all| all.iter().next()).ok_or(IoError::EndOfInput)?;
    found
        .try_clone_to_owned()
        .map_err(|source| IoError::System { operation: "duplicate the descriptor of a device", source })
}

fn open_host(device: &str, config: &HostNetworkConfig, workers: u8) -> Result<Opened, OpenError> {
    let opened = host_tun::open_halves(device)?;
    let tun = descriptor(&opened.0)?;
    let halves = host_halves(opened, workers);
    let network = HostNetwork::configure(device, config)?;
    let link = LinkState { mac: host_tun::ROUTER_MAC, mtu: config.mtu, up: true };
    Ok(Opened { halves, link, hold: Hold::Host { network, tun }, picked: Picked::plain("host-tun") })
}

fn host_halves(opened: (HostTunReceiver, HostTunTransmitter), workers: u8) -> Vec<PortHalves> {
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

fn explain(label: &str, error: &OpenError) -> Failure {
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
