//! The network devices behind the ports: opened, watched, opened again when they come back, put back at the end.

use std::path::{Path, PathBuf};

use genkan_config::{Backend, Loaded};
use genkan_engine::Plan;
use genkan_engine::frame::PortId;
use genkan_engine::router::LinkState;
use genkan_io::device::{self, DeviceAddress, DeviceError, DeviceOptions, Link, PreparedDevice};
use genkan_io::isolation::{Isolation, IsolationError};
use genkan_io::{FrameIo, IoError, af_packet};
use tracing::{info, warn};

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
    #[error("{0} is not there yet in this version")]
    NotYet(&'static str),
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
    Attach(PortId, Box<FrameIo>, LinkState),
    /// The problem of this name is as follows, or over.
    Problem(String, Option<String>),
}

/// An open port.
pub(crate) type OpenPort = (PortId, FrameIo, LinkState);

/// Holds of the kernel on one device. Fields are dropped in this order: settings come back while the kernel is still
/// kept away.
struct Hold {
    prepared: PreparedDevice,
    _isolation: Isolation,
}

struct Port {
    id: PortId,
    device: String,
    backend: Backend,
    hold: Option<Hold>,
    known: Option<LinkState>,
}

/// All devices of a router.
pub(crate) struct Devices {
    state: PathBuf,
    ports: Vec<Port>,
}

impl Devices {
    /// Opens every device of the configuration. When one cannot be opened, those before it are put back.
    ///
    /// # Errors
    /// What is wrong with the first device that cannot be a port.
    pub(crate) fn open(loaded: &Loaded) -> Result<(Devices, Vec<OpenPort>), Failure> {
        let config = &loaded.config;
        let state = state_directory(&config.state);
        match device::restore_leftovers(&state) {
            Ok(restored) if restored.is_empty() => {}
            Ok(restored) => info!(devices = restored.join(" "), "put back what a killed router had changed"),
            Err(error) => {
                warn!(error = output::chain(&error), "cannot put back what a killed router had changed")
            }
        }
        let mut devices = Devices { state, ports: Vec::new() };
        let lans = config.lans.iter().enumerate().map(|(index, lan)| (PortId::lan(index), lan));
        let mut open = Vec::new();
        if config.tun.is_some() {
            return Err(explain("[router] tun", &OpenError::NotYet("the host TUN")));
        }
        for (id, configured) in std::iter::once((PortId::WAN, &config.wan)).chain(lans) {
            let (device, backend) = (configured.device.clone(), configured.backend);
            let mut port = Port { id, device, backend, hold: None, known: None };
            let (io, link) = port.open(&devices.state).map_err(|error| explain(&configured.label, &error))?;
            open.push((id, io, link));
            devices.ports.push(port);
        }
        Ok((devices, open))
    }

    /// Remembers that a port's device is gone, as its receiver found out.
    pub(crate) fn lost(&mut self, port: PortId) {
        if let Some(port) = self.ports.iter_mut().find(|it| it.id == port) {
            port.hold = None;
        }
    }

    /// Prepares the box itself for another plan: its lan addresses.
    ///
    /// # Errors
    /// A report of what the kernel refused; nothing is changed then.
    pub(crate) fn follow(&mut self, plan: &Plan) -> Result<(), String> {
        let _ = plan;
        Ok(())
    }

    /// Compares all devices with what is known about them. Devices that are back are opened.
    pub(crate) fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for port in &mut self.ports {
            port.look(&self.state, &mut changes);
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
            let Some(Hold { prepared, _isolation }) = port.hold else { continue };
            if let Err(error) = prepared.restore() {
                failed.push(format!("{}: {}", port.device, output::chain(&error)));
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::message(format!("not put back: {}", failed.join("; "))))
        }
    }
}

impl Port {
    fn open(&mut self, state: &Path) -> Result<(FrameIo, LinkState), OpenError> {
        let found = device::link(&self.device)?;
        // Looked at before the kernel is kept away: this may be the device that somebody logged in through.
        refuse_addresses(&found)?;
        let isolation = Isolation::new(&self.device)?;
        let prepared = PreparedDevice::prepare(&self.device, state, &DeviceOptions::default())?;
        let io = match self.backend {
            Backend::AfPacket => af_packet::open(&self.device, &af_packet::AfPacketOptions::default())?,
            Backend::Tap => return Err(OpenError::NotYet("the tap back end")),
        };
        let link = prepared.link().state();
        self.hold = Some(Hold { prepared, _isolation: isolation });
        self.known = Some(link);
        Ok((io, link))
    }

    fn look(&mut self, state: &Path, changes: &mut Vec<Change>) {
        let found = device::link(&self.device);
        let same = match (&found, &self.hold) {
            (Ok(found), Some(hold)) => found.index == hold.prepared.link().index,
            _ => false,
        };
        if same && let Ok(found) = &found {
            let link = found.state();
            if self.known.replace(link) != Some(link) {
                changes.push(Change::Link(self.id, link));
            }
            let problem = refuse_addresses(found).err().map(|error| output::chain(&error));
            changes.push(Change::Problem(self.problem_key(), problem));
            return;
        }
        // Gone, or another device of the same name.
        self.hold = None;
        if let Some(known) = self.known.filter(|known| known.up) {
            let down = LinkState { up: false, ..known };
            self.known = Some(down);
            changes.push(Change::Link(self.id, down));
        }
        let problem = match self.open(state) {
            Ok((io, link)) => {
                changes.push(Change::Attach(self.id, Box::new(io), link));
                None
            }
            // That it is down is said anyway.
            Err(error) if error.is_absent() => None,
            Err(error) => Some(output::chain(&error)),
        };
        changes.push(Change::Problem(self.problem_key(), problem));
    }

    fn problem_key(&self) -> String {
        format!("device {}", self.device)
    }
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
