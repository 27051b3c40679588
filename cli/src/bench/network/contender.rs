//! Who is measured: Genkan over one of its back ends, or the kernel's own NAT.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use genkan_io::device::switch_features;
use genkan_lab::topology::{self, Role};
use genkan_lab::{RouterProcess, Topology};

use super::load::tcp::PORT;
use super::{cpu, program, tap};
use crate::bench::report::{KERNEL, KERNEL_TUNED};
use crate::output::Failure;

/// Installs the kernel's NAT. It asks `topology.sh`, beside it, for the lab's names.
const KERNEL_SCRIPT: &str = include_str!("../../../../netns-scripts/kernel-nat.sh");

/// What a tuned kernel has on its ports.
const TUNING: [&str; 2] = ["rx-gro", "rx-udp-gro-forwarding"];

/// How Genkan moves frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Packet sockets on the router's veth devices.
    AfPacket,
    /// TAP devices of the router's, which the hosts have instead of veth devices.
    Tap,
    /// AF_XDP sockets on the router's veth devices.
    AfXdp,
}

impl Backend {
    /// As the configuration calls it.
    fn word(self) -> &'static str {
        match self {
            Backend::AfPacket => "af-packet",
            Backend::Tap => "tap",
            Backend::AfXdp => "af-xdp",
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Genkan.
    Genkan(Backend),
    /// nftables, as the kernel sets its devices up.
    Kernel,
    /// nftables, with GRO for TCP and UDP on its ports.
    KernelTuned,
}

impl Contender {
    /// As the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Genkan(Backend::AfPacket) => "genkan",
            Contender::Genkan(Backend::Tap) => "genkan tap",
            Contender::Genkan(Backend::AfXdp) => "genkan af-xdp",
            Contender::Kernel => KERNEL,
            Contender::KernelTuned => KERNEL_TUNED,
        }
    }

    /// Whether it is the kernel's NAT.
    pub(crate) fn is_kernel(self) -> bool {
        matches!(self, Contender::Kernel | Contender::KernelTuned)
    }
}

/// What the table of sessions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Sessions; `None`: as each contender has it by default.
    pub(crate) sessions: Option<u64>,
}

/// A contender at work.
#[derive(Debug)]
pub(crate) enum Running {
    /// A process.
    Genkan(RouterProcess),
    /// Nothing but rules; its namespace takes them along.
    Kernel,
}

impl Running {
    /// Puts a contender into the router's place.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(
        contender: Contender,
        lab: &Topology,
        directory: &Path,
        room: Room,
    ) -> Result<Running, Failure> {
        let router = lab.namespace(Role::Router)?;
        match contender {
            Contender::Genkan(backend) => {
                let on_tap = backend == Backend::Tap;
                if on_tap {
                    tap::remove_cables(lab)?;
                }
                let config = configuration(lab, backend, room);
                let binary = PathBuf::from("/proc/self/exe");
                let process = RouterProcess::start(&router, &binary, directory, &config)?;
                if on_tap {
                    tap::plug_in(lab)?;
                }
                Ok(Running::Genkan(process))
            }
            Contender::Kernel | Contender::KernelTuned => {
                kernel_nat(lab, directory, &[format!("tcp:{PORT}:{}:{PORT}", lab.addresses.nas)])?;
                if contender == Contender::KernelTuned {
                    let wanted = TUNING.map(|name| (name.to_owned(), true));
                    for device in [&lab.wan_device, &lab.lan_device] {
                        router.run(|| switch_features(device, &wanted))?;
                    }
                }
                if room.sessions.is_some() {
                    // Sessions that are opened now must be there at the end of the measurement.
                    router.run(|| fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "300"))?;
                }
                Ok(Running::Kernel)
            }
        }
    }

    /// What the router's process has said; nothing when it is none.
    pub(crate) fn log(&self) -> String {
        match self {
            Running::Genkan(router) => router.log(),
            Running::Kernel => String::new(),
        }
    }

    /// CPU time that the router's process has used so far, all its threads together; `None` where it is none, or the
    /// kernel does not tell.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        match self {
            Running::Genkan(router) => cpu::of_process(router.pid()),
            Running::Kernel => None,
        }
    }

    /// Sessions in its table.
    ///
    /// # Errors
    /// When it does not tell.
    pub(crate) fn sessions(&self, lab: &Topology) -> Result<u64, Failure> {
        match self {
            Running::Genkan(router) => {
                let mut command = router.command(&["status", "--format", "json"]);
                let text = program::output(None, "genkan", &mut command)?;
                let status: serde_json::Value = serde_json::from_str(&text)?;
                let sessions = status.get("sessions").and_then(serde_json::Value::as_u64);
                sessions.ok_or_else(|| Failure::message("genkan status tells no sessions"))
            }
            Running::Kernel => {
                let count = "/proc/sys/net/netfilter/nf_conntrack_count";
                let text = lab.namespace(Role::Router)?.run(|| fs::read_to_string(count))?;
                Ok(text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?)
            }
        }
    }
}

fn configuration(lab: &Topology, backend: Backend, room: Room) -> String {
    let address = &lab.addresses;
    let backend = backend.word();
    let mut text = format!(
        r#"[wan]
device  = "{}"
address = "{}/24"
gateway = "{}"
backend = "{backend}"

[[lan]]
name    = "home"
device  = "{}"
address = "{}/24"
backend = "{backend}"

[[forward]]
name     = "tcp"
protocol = "tcp"
port     = {PORT}
to       = "{}"
"#,
        lab.wan_device, address.wan, address.isp, lab.lan_device, address.lan, address.nas
    );
    if let Some(sessions) = room.sessions {
        text.push_str(&format!("\n[nat]\nmax_sessions = {sessions}\n"));
    }
    text
}

/// Installs the kernel's NAT in the router's place, with these forwards, as `kernel-nat.sh` takes them.
///
/// # Errors
/// When the kernel refuses, or `nft` is missing.
pub(crate) fn kernel_nat(lab: &Topology, directory: &Path, forwards: &[String]) -> Result<(), Failure> {
    if !program::is_there("nft") {
        return Err(Failure::message(
            "the kernel's NAT is set up by the program 'nft', which is missing (package nftables)",
        ));
    }
    fs::create_dir_all(directory)?;
    for (name, text) in [("topology.sh", topology::SCRIPT), ("kernel-nat.sh", KERNEL_SCRIPT)] {
        let path = directory.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(directory.join("kernel-nat.sh"));
    command.args(["up", lab.prefix()]);
    for forward in forwards {
        command.args(["--forward", forward]);
    }
    program::output(None, "kernel-nat.sh", &mut command)?;
    Ok(())
}
