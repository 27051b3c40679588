//! The configuration file of Genkan: read, checked, explained, and turned into a [`Plan`].
//!
//! [`load`] and [`parse`] report every mistake of a file at once, each pointing at its text. What they
//! return is complete: the [`Plan`] for the engine, the [`Config`] for the daemon around it (devices, back
//! ends, socket), and the warnings.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use genkan_engine::Plan;
use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_services::dhcp::server::Options;

pub mod ddns;
pub mod diff;
mod dns_files;
pub mod edit;
pub mod error;
pub mod expectations;
pub mod facts;
mod json_schema;
pub mod lab_file;
mod later;
mod lint;
pub mod openings;
mod places;
mod plan;
mod render;
pub mod schedule;
mod schema;
pub mod secrets;
pub mod services;
mod suggest;
mod supposed;
mod syntax;
mod table;
mod validate;
mod value;

use ipnet::Ipv4Net;

use ddns::Ddns;
use error::Report;
use schedule::{Schedule, Zone};
use schema::File;

pub use diff::{Change, Diff, diff};
pub use edit::{Edit, EditError, ForwardKeys, edit};
pub use error::{Code, Diagnostic, Label, Position, Severity, SourceFile, Span};
pub use facts::{Facts, WanFacts, WanRoute};
pub use json_schema::schema_json;
pub use places::Places;
pub use render::{count, json, render};
pub use schema::MOST_SESSIONS;
pub use value::argument::{opening_hours, rate};
pub use value::duration::{duration, humane};
pub use value::log::LogLevel;
pub use value::moment::written as rfc3339;

/// A file without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the daemon around the engine needs.
    pub config: Config,
    /// What the engine needs.
    pub plan: Plan,
    /// Lint, in file order.
    pub warnings: Vec<Diagnostic>,
    /// Where things are written.
    pub places: Places,
}

/// Everything of a configuration that is not the engine's business, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[wan]`.
    pub wan: Device,
    /// `[wan] address = "dhcp"`: a DHCP server gives the wan its address, and everything of `Plan::wan` that belongs
    /// to it.
    pub wan_dhcp: Option<WanDhcp>,
    /// `[[lan]]`, in file order, which is the order of [`Plan::lans`].
    pub lans: Vec<Device>,
    /// `[[lan]] dhcp`, index `i` for `lans[i]`: what its DHCP service hands out. Reservations are the hosts of the plan
    /// that have a MAC address.
    pub dhcp: Vec<Option<Dhcp>>,
    /// `[[relayed]]`, in file order: what is handed out on networks behind relay agents. Their lan has a DHCP service for
    /// their sake even where its own `dhcp` is absent; it then hands out nothing on the lan itself.
    pub relayed: Vec<Relayed>,
    /// `[[host]]`, in file order. Those whose place is known are in [`Plan::hosts`].
    pub hosts: Vec<Host>,
    /// The `[[host]]` that each forward leads to, in file order; `None` where `to` is an address: index `i` is that of
    /// `plan.forwards[i]`.
    pub targets: Vec<Option<String>>,
    /// The `[[host]]` that is the DMZ host; `None` where that is an address, or where there is none.
    pub dmz_host: Option<String>,
    /// `[router] tun`: name of the TUN device through which the box itself is an inside host.
    pub tun: Option<String>,
    /// `[router] workers`: threads that move packets.
    pub workers: u8,
    /// `[router] sandbox`: give up every right that the router has no use for.
    pub sandbox: bool,
    /// `[router] timezone`: the clock of the schedules.
    pub timezone: Zone,
    /// `[[forward]] schedule`, in file order: index `i` is that of `plan.forwards[i]`.
    pub schedules: Vec<Option<Schedule>>,
    /// `[services] socket`: path of the control socket.
    pub socket: PathBuf,
    /// `[services] state`: directory of what survives a restart. systemd's `STATE_DIRECTORY` goes before it.
    pub state: PathBuf,
    /// `[services] save_every`: how often sessions are saved while the router runs; `None`: at its end only.
    pub save_every: Option<Duration>,
    /// `[services] save_budget`: most octets a day that this may write.
    pub save_budget: u64,
    /// `[services] group`: name or number of the group that may use the control socket.
    pub group: Option<String>,
    /// `[log]`: what the router tells while it runs.
    pub log: Log,
    /// `[metrics] listen`: where the counters are told to hosts of a lan.
    pub metrics: Vec<MetricsPort>,
    /// `[dns]`: names, for the lans.
    pub dns: Option<Dns>,
    /// `[[ddns]]`: names outside that follow the wan address.
    pub ddns: Vec<Ddns>,
    /// Names of the forwards that leave the file once they have expired.
    pub temporary: BTreeSet<String>,
}

/// The network device behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `wan`, or the name of the lan.
    pub label: String,
    /// Name of the device, 1 to 15 octets.
    pub device: String,
    /// How frames are read and written.
    pub backend: Backend,
    /// IP MTU in octets, as written; the device's own may be smaller.
    pub mtu: u16,
}

/// How frames are read from and written to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// AF_XDP sockets where the device needs no copies and makes no super-frames, else packet sockets.
    Auto,
    /// Packet sockets on an existing device.
    AfPacket,
    /// AF_XDP sockets on an existing device, or packet sockets where that is not possible.
    AfXdp,
    /// A TAP device that Genkan creates or attaches to.
    Tap,
}

/// A known device of a lan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its MAC address, if written.
    pub mac: Option<MacAddr>,
    /// What it calls itself to DHCP (RFC 2132 section 9.14), from the type octet on; goes before `mac` there.
    pub client_id: Option<Vec<u8>>,
    /// Its internal address, also its DHCP reservation; `None`: wherever it is found.
    pub address: Option<Ipv4Addr>,
    /// Its own filtering behaviour.
    pub filtering: Option<FilteringBehavior>,
    /// Its own mapping behaviour.
    pub mapping: Option<MappingBehavior>,
    /// 1:1 NAT: its external address.
    pub external: Option<Ipv4Addr>,
}

/// What the DHCP client on the wan says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WanDhcp {
    /// `[wan.dhcp] hostname`: the host name that the server is told, one label.
    pub hostname: Option<String>,
    /// `[wan.dhcp] client_id`: 2 to 255 octets that the server knows the router by; `None`: 1 and the MAC address.
    pub client_id: Option<Vec<u8>>,
    /// `[wan.dhcp] vendor_class`: 1 to 255 octets of ASCII that the server is told.
    pub vendor_class: Option<String>,
}

/// What the DHCP service of a lan hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// The addresses of the pool, in the network's prefix; none of them is the router's own.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// How long an address is leased, at least a second.
    pub lease: Duration,
    /// What machines are told beside it. There is one router.
    pub options: Options,
}

/// A network behind a relay agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The network.
    pub network: Ipv4Net,
    /// The lan by which it is reached, an index into [`Config::lans`].
    pub lan: usize,
    /// What is handed out there.
    pub dhcp: Dhcp,
}

/// The DNS service of the lans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// `upstreams`: who is asked, at most 16 and none twice. None: those that the wan's DHCP server gives.
    pub upstreams: Vec<DnsUpstream>,
    /// `strategy`: in what order.
    pub strategy: DnsStrategy,
    /// `tls_ca`: PEM file of the authorities for TLS; `None`: those of the public web.
    pub tls_ca: Option<PathBuf>,
    /// `domain`: that of the lans' names, in lower case.
    pub domain: String,
    /// `public_names`: names of the public DNS that lead to the wan's address.
    pub public_names: Vec<String>,
    /// `cache`: most octets that answers may take.
    pub cache: u64,
    /// `stale`: for how long after their time they may serve; `None`: not at all.
    pub stale: Option<Duration>,
    /// `rebinding_protection`: whether answers that point inside are withheld.
    pub rebinding_protection: bool,
    /// `rebinding_exceptions`: names that may point inside, with all below them.
    pub rebinding_exceptions: Vec<String>,
    /// `block`: files of names that are not to be known.
    pub block: Vec<PathBuf>,
    /// `statistics`: whether clients are counted apart.
    pub statistics: bool,
}

/// A resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsUpstream {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Whether it is spoken to over TLS (RFC 7858).
    pub is_tls: bool,
    /// The name in its certificate; `None`: its address.
    pub name: Option<String>,
}

impl DnsUpstream {
    /// One that is spoken to as every resolver is.
    pub(crate) fn plain(address: Ipv4Addr) -> DnsUpstream {
        DnsUpstream { address: SocketAddrV4::new(address, 53), is_tls: false, name: None }
    }
}

impl std::fmt::Display for DnsUpstream {
    /// As in the file, with its port.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "tls://" } else { "" };
        write!(f, "{scheme}{}", self.address)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, "#{name}"))
    }
}

/// In what order resolvers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsStrategy {
    /// The first that is well; the next when it does not answer.
    Ordered,
    /// All that are well at once.
    Parallel,
}

/// What the router tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `[log] level`: how much.
    pub level: LogLevel,
    /// `[log] format`: how it is written.
    pub format: LogFormat,
    /// `[log] nat_events`: file for the record of translations.
    pub nat_events: Option<PathBuf>,
    /// `[log] nat_destinations`: whether that also says with whom inside hosts speak.
    pub nat_destinations: bool,
}

/// Where the counters are told to hosts of a lan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsPort {
    /// An address of the router's own on a lan, and a port from 1024 on.
    pub listen: SocketAddrV4,
    /// Who is answered: that lan, the lans that reach it, and the networks behind them.
    pub admits: Vec<Ipv4Net>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// To the journal where standard error leads to it, else text.
    Auto,
    /// Lines for people, to standard error.
    Text,
    /// A JSON object on each line, to standard error.
    Json,
    /// Entries with fields, by the journal's own protocol.
    Journald,
}

/// Largest file that is read, in octets. 10,000 forwards need less than half of it.
const MAX_FILE: u64 = 4 << 20;

/// Reads and checks a file.
///
/// # Errors
/// Every mistake of the file, in file order; a single one with [`Code::Unreadable`] when it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => {
            let mut loaded = parse(&text, &name)?;
            dns_files::lint(&mut loaded);
            ddns::lint_files(&mut loaded, path);
            Ok(loaded)
        }
        Err(error) => {
            let mut report = Report::new(Arc::new(SourceFile::new(&name, "")));
            let diagnostic = report.whole_file(Code::Unreadable, format!("cannot read `{name}`: {error}"));
            match error.kind() {
                io::ErrorKind::NotFound => {
                    diagnostic.help("`config/examples/home.toml` is a commented example to start from");
                }
                io::ErrorKind::InvalidData => {
                    diagnostic.note("a configuration is UTF-8 text of at most 4 MiB");
                }
                _ => {}
            }
            Err(report.into_sorted(Severity::Error))
        }
    }
}

/// The text of a configuration file.
///
/// # Errors
/// Also when it is no UTF-8, or longer than 4 MiB.
pub fn read_file(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    // A device or a log taken by mistake must not fill the memory.
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 4 MiB"));
    }
    Ok(text)
}

/// Checks the text of a configuration; `name` is what messages call it.
///
/// # Errors
/// Every mistake of the text, in file order.
pub fn parse(source: &str, name: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let file = Arc::new(SourceFile::new(name, source));
    let mut report = Report::new(Arc::clone(&file));
    let loaded = syntax::parse(&mut report, |tree, complete, report| {
        let file = File::read(tree, report);
        if !complete {
            // What is missing may well be on a line that could not be read, and so may what others refer to.
            report.retain(|diagnostic| diagnostic.code != Code::MissingKey);
            return None;
        }
        let checked = validate::check(&file, report);
        if report.has_errors() {
            return None;
        }
        lint::lint(&file, &checked, report);
        plan::build(&file, checked, Arc::clone(report.file()))
    });
    match loaded.flatten() {
        Some(mut loaded) if !report.has_errors() => {
            loaded.warnings = report.into_sorted(Severity::Warning);
            Ok(loaded)
        }
        _ => Err(report.into_sorted(Severity::Error)),
    }
}
