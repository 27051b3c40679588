//! What is examined: Genkan or the kernel's own NAT, put into the router's place. Whatever differs between them is
//! here; a probe does not know which of them it faces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use genkan_engine::plan::Timeouts;
use genkan_lab::topology::Role;
use genkan_lab::{RouterProcess, Topology};
use nix::sys::utsname::uname;

use super::site::{EXTERNAL_SECOND, FORWARD_TARGET, GATEWAY, ONE_TO_ONE, WAN_MTU};
use crate::bench::kernel_nat;
use crate::output::Failure;

/// Who is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Device {
    /// This program, as `genkan run` runs it
    Genkan,
    /// nftables: masquerading, destination NAT, connection tracking
    Kernel,
}

/// How it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// As it comes, with a forward; the wan's MTU is smaller than the lan's.
    Plain,
    /// Every timeout a few seconds.
    Brief,
    /// What can be chosen, chosen: two external addresses and one for a host alone,
    /// endpoint-independent filtering, port parity, limits per host.
    Chosen,
}

/// A forward that every variant has, TCP and UDP: the external port and the internal one.
pub(crate) const FORWARD: (u16, u16) = (8000, 80);

/// Seconds that [`Variant::Brief`] has for a datagram, a query, a connection that opens or closes.
pub(crate) const BRIEF: u64 = 3;

/// And for an established connection.
pub(crate) const BRIEF_ESTABLISHED: u64 = 8;

/// External ports that [`Variant::Chosen`] gives a host at most, for each protocol.
pub(crate) const PORTS_PER_HOST: u16 = 12;

/// Sessions that it gives a host at most.
pub(crate) const SESSIONS_PER_HOST: u16 = 24;

/// A timeout as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Timeout {
    /// As the device calls it.
    pub(crate) name: String,
    /// Seconds.
    pub(crate) seconds: u64,
}

/// Of each kind, the shortest timeout that a session can meet.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) udp: Timeout,
    pub(crate) icmp: Timeout,
    pub(crate) established: Timeout,
    /// A connection that one side has closed.
    pub(crate) half_closed: Timeout,
    /// One that opens, or that both sides have closed.
    pub(crate) transitory: Timeout,
    /// One that was reset.
    pub(crate) reset: Timeout,
}

/// A device at work.
pub(crate) struct Running {
    pub(crate) defaults: Defaults,
    /// Whether it takes a lan whose addresses are those of its wan.
    pub(crate) takes_overlap: bool,
    /// Ends with the value; the kernel's rules go with their namespace.
    _process: Option<RouterProcess>,
}

impl Device {
    /// As the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Device::Genkan => "genkan",
            Device::Kernel => "kernel",
        }
    }

    /// Which version of it there is.
    pub(crate) fn version(self) -> String {
        match self {
            Device::Genkan => format!("genkan {}", env!("CARGO_PKG_VERSION")),
            Device::Kernel => {
                let release = uname().map(|name| name.release().to_string_lossy().into_owned());
                format!("Linux {}", release.unwrap_or_default())
            }
        }
    }

    /// Puts it into the router's place.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn set_up(self, lab: &Topology, variant: Variant) -> Result<Running, Failure> {
        let directory = PathBuf::from("/run/genkan-conformance").join(lab.prefix());
        fs::create_dir_all(&directory)?;
        for device in [&lab.wan_device, &lab.lan_device] {
            let mtu = if *device == lab.wan_device { WAN_MTU } else { 1500 };
            run(lab, "ip", &["link", "set", device, "mtu", &mtu.to_string(), "up"])?;
        }
        match self {
            Device::Genkan => genkan(lab, variant, &directory),
            Device::Kernel => kernel(lab, variant, &directory),
        }
    }
}

fn genkan(lab: &Topology, variant: Variant, directory: &Path) -> Result<Running, Failure> {
    let router = lab.namespace(Role::Router)?;
    let timeouts = |directory: &Path| -> Result<Timeouts, Failure> {
        let loaded = genkan_config::load(&directory.join("plain.toml"));
        Ok(loaded.map_err(|_| Failure::message("the lab's configuration has errors"))?.plan.nat.timeouts)
    };
    fs::write(directory.join("plain.toml"), configuration(lab, Variant::Plain))?;
    let defaults = timeouts(directory)?;
    let timeout = |key: &str, value: std::time::Duration| Timeout {
        name: format!("nat.timeouts.{key}"),
        seconds: value.as_secs(),
    };
    let overlap = configuration(lab, variant).replace(&lab.addresses.lan.to_string(), "203.0.113.129");
    fs::write(directory.join("overlap.toml"), overlap)?;
    let process =
        RouterProcess::start(&router, Path::new("/proc/self/exe"), directory, &configuration(lab, variant))?;
    Ok(Running {
        defaults: Defaults {
            udp: timeout("udp", defaults.udp),
            icmp: timeout("icmp", defaults.icmp),
            established: timeout("tcp_established", defaults.tcp_established),
            half_closed: timeout("tcp_established", defaults.tcp_established),
            transitory: timeout("tcp_transitory", defaults.tcp_transitory),
            reset: timeout("tcp_transitory", defaults.tcp_transitory),
        },
        takes_overlap: genkan_config::load(&directory.join("overlap.toml")).is_ok(),
        _process: Some(process),
    })
}

fn configuration(lab: &Topology, variant: Variant) -> String {
    let address = &lab.addresses;
    let (external, internal) = FORWARD;
    let addresses = match variant {
        Variant::Chosen => format!("addresses = [\"{EXTERNAL_SECOND}\", \"{}\"]\n", ONE_TO_ONE.1),
        Variant::Plain | Variant::Brief => String::new(),
    };
    let rest = match variant {
        Variant::Plain => String::new(),
        Variant::Brief => format!(
            "[nat.timeouts]\nudp = \"{BRIEF}s\"\ntcp_transitory = \"{BRIEF}s\"\nicmp = \"{BRIEF}s\"\n\
             tcp_established = \"{BRIEF_ESTABLISHED}s\"\n"
        ),
        Variant::Chosen => format!(
            "[nat]\nfiltering = \"endpoint-independent\"\nport_parity = true\n\
             max_ports_per_host = {PORTS_PER_HOST}\nmax_sessions_per_host = {SESSIONS_PER_HOST}\n\
             [[host]]\nname = \"alone\"\naddress = \"{}\"\nexternal = \"{}\"\n",
            ONE_TO_ONE.0, ONE_TO_ONE.1
        ),
    };
    format!(
        r#"[wan]
device  = "{}"
address = "{}/24"
gateway = "{GATEWAY}"
mtu     = {WAN_MTU}
{addresses}
[[lan]]
name    = "home"
device  = "{}"
address = "{}/24"

[[forward]]
name     = "web"
protocol = ["tcp", "udp"]
port     = {external}
to       = "{FORWARD_TARGET}:{internal}"

{rest}"#,
        lab.wan_device, address.wan, lab.lan_device, address.lan
    )
}

/// Its timeouts, by the end of their names.
const KERNEL_TIMEOUTS: [&str; 12] = [
    "udp_timeout",
    "udp_timeout_stream",
    "icmp_timeout",
    "tcp_timeout_established",
    "tcp_timeout_unacknowledged",
    "tcp_timeout_syn_sent",
    "tcp_timeout_syn_recv",
    "tcp_timeout_fin_wait",
    "tcp_timeout_close_wait",
    "tcp_timeout_last_ack",
    "tcp_timeout_time_wait",
    "tcp_timeout_close",
];

fn kernel(lab: &Topology, variant: Variant, directory: &Path) -> Result<Running, Failure> {
    let (external, internal) = FORWARD;
    let forward = |protocol| format!("{protocol}:{external}:{FORWARD_TARGET}:{internal}");
    let forwards = ["tcp", "udp"].map(forward);
    kernel_nat(lab, directory, &forwards)?;
    run(lab, "ip", &["route", "replace", "default", "via", &GATEWAY.to_string()])?;
    let router = lab.namespace(Role::Router)?;
    let path = |name: &str| format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    let read = |name: &str| -> Result<Timeout, Failure> {
        let text = fs::read_to_string(path(name))?;
        let seconds = text.trim().parse().map_err(|_| Failure::message("a timeout is no number"))?;
        Ok(Timeout { name: format!("nf_conntrack_{name}"), seconds })
    };
    let shortest = |names: &[&str]| -> Result<Timeout, Failure> {
        let all = router.run(|| names.iter().map(|name| read(name)).collect::<Result<Vec<_>, _>>())?;
        let shortest = all.into_iter().min_by_key(|timeout| timeout.seconds);
        shortest.ok_or_else(|| Failure::message("a timeout is missing"))
    };
    let defaults = Defaults {
        udp: shortest(&["udp_timeout", "udp_timeout_stream"])?,
        icmp: shortest(&["icmp_timeout"])?,
        established: shortest(&["tcp_timeout_established"])?,
        half_closed: shortest(&["tcp_timeout_fin_wait", "tcp_timeout_close_wait"])?,
        transitory: shortest(&[
            "tcp_timeout_syn_sent",
            "tcp_timeout_syn_recv",
            "tcp_timeout_last_ack",
            "tcp_timeout_time_wait",
        ])?,
        reset: shortest(&["tcp_timeout_close"])?,
    };
    match variant {
        Variant::Plain => {}
        Variant::Brief => router.run(|| -> Result<(), Failure> {
            for name in KERNEL_TIMEOUTS {
                let long = ["established", "unacknowledged"].iter().any(|state| name.ends_with(state));
                let seconds = if long { BRIEF_ESTABLISHED } else { BRIEF };
                fs::write(path(name), seconds.to_string())?;
            }
            Ok(())
        })?,
        Variant::Chosen => {
            let (host, its_own) = ONE_TO_ONE;
            for address in [EXTERNAL_SECOND, its_own] {
                run(lab, "ip", &["address", "add", &format!("{address}/24"), "dev", &lab.wan_device])?;
            }
            // Each inside address with one external address: every other one with the second.
            let paired = format!(
                "insert rule ip nat_lab postrouting oifname {} snat to ip saddr & 0.0.0.1 \
                 map {{ 0.0.0.0 : {}, 0.0.0.1 : {EXTERNAL_SECOND} }}",
                lab.wan_device, lab.addresses.wan
            );
            let out = format!(
                "insert rule ip nat_lab postrouting oifname {} ip saddr {host} snat to {its_own}",
                lab.wan_device
            );
            let inward = format!("insert rule ip nat_lab prerouting ip daddr {its_own} dnat to {host}");
            for rule in [paired, out, inward] {
                run(lab, "nft", &[&rule])?;
            }
        }
    }
    let takes_overlap = run(lab, "ip", &["address", "add", "203.0.113.129/24", "dev", &lab.lan_device]);
    if takes_overlap.is_ok() {
        run(lab, "ip", &["address", "delete", "203.0.113.129/24", "dev", &lab.lan_device])?;
    }
    Ok(Running { defaults, takes_overlap: takes_overlap.is_ok(), _process: None })
}

/// Runs a program in the router's namespace.
fn run(lab: &Topology, program: &'static str, arguments: &[&str]) -> Result<(), Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = lab.namespace(Role::Router)?.output(&mut command);
    let output = output.map_err(|error| Failure::new(&format!("cannot run '{program}'"), &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::message(format!("{program}: {}", said.trim())));
    }
    Ok(())
}
