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
use genkan_io::af_packet::{Gate, Spread};
use genkan_io::af_xdp::SharedMemory;
use genkan_io::device::{self, Link, PreparedDevice};
use genkan_io::host_network::{HostNetwork, HostNetworkConfig};
use genkan_io::isolation::Isolation;
use tracing::{info, warn};

use self::bursts::Bursts;
use self::hand_over::Foreign;
use self::opening::{
    Candidate, OpenError, Opened, Picked, Wish, explain, open_host, open_tap, refuse_addresses,
};
use super::forwarder::PortHalves;
use super::upgrade::Inheritance;
use crate::output::{self, Failure};

mod bursts;
mod hand_over;
mod opening;

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
