//! Labs as TOML: the file of `genkan lab up --file`, read, checked, explained.
//!
//! Mistakes in them are told like those of a configuration: all at once, each pointing at its text.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::de::DeTable;

use crate::error::{Code, Diagnostic, Report, Severity, SourceFile};
use crate::json_schema::Keys;
use crate::schema::Mtu;
use crate::table::{Grammar, Table};
use crate::value::address::{Address, InterfaceAddress};
use crate::value::number::Number;
use crate::value::word::Word;
use crate::value::{Field, List, Text, Value};
use crate::{read_file, syntax};

mod check;
mod values;

use values::{BitRate, Delay, Name, Share};
pub use values::{Runs, bit_rate, delay, share};

/// A file of a lab.
static LABS: Grammar = Grammar {
    what: "a lab",
    keys,
    either: &[],
    later: |_, _| None,
    synonyms: &[
        ("", &["net", "lan", "switch", "bridge"], "network"),
        ("", &["router", "box", "nat"], "gateway"),
        ("", &["node", "computer", "machine", "client"], "host"),
        ("", &["cable", "wire", "emulation", "netem"], "link"),
        ("gateway", &["router", "program", "kind", "type"], "runs"),
        ("gateway", &["config", "forwards", "configuration"], "rules"),
        ("gateway", &["external", "internet", "uplink"], "wan"),
        ("gateway", &["internal", "lans"], "lan"),
        ("host", &["net", "lan", "on"], "network"),
        ("host", &["ip"], "address"),
        ("host", &["router", "via", "gw"], "gateway"),
        ("link", &["latency"], "delay"),
        ("link", &["drop"], "loss"),
        ("link", &["bandwidth", "speed"], "rate"),
        ("link", &["direction"], "from"),
    ],
};

const LINK: &[&str] = &["name", "from", "delay", "jitter", "loss", "duplicate", "reorder", "rate", "seed"];

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let tables: [(&str, &[&str]); 7] = [
            ("", &["network", "gateway", "host", "link"]),
            ("network", &["name", "mtu"]),
            ("gateway", &["name", "runs", "wan", "lan", "rules"]),
            ("gateway.wan", &["network", "address", "addresses", "gateway"]),
            ("gateway.lan", &["network", "address", "reaches"]),
            ("host", &["name", "network", "address", "addresses", "gateway"]),
            ("link", LINK),
        ];
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        tables.into_iter().map(|(table, keys)| (table.to_owned(), owned(keys))).collect()
    })
}

/// A lab without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabFile {
    /// `[[network]]`.
    pub networks: Vec<Network>,
    /// `[[gateway]]`.
    pub gateways: Vec<Gateway>,
    /// `[[host]]`.
    pub hosts: Vec<Host>,
    /// `[[link]]`.
    pub links: Vec<Link>,
}

/// `[[network]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// 1 to 15 letters, digits and underscores.
    pub name: String,
    /// IP MTU in octets.
    pub mtu: u16,
}

/// `[[gateway]]`: a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// As that of a network.
    pub name: String,
    /// What forwards there.
    pub runs: Runs,
    /// Its side towards the internet.
    pub wan: Option<Side>,
    /// Its other sides.
    pub lans: Vec<Side>,
    /// The configuration of a Genkan there; empty at others.
    pub config: String,
}

/// A side of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The device there: `wan0`, `lan0`, `lan1`, ...
    pub device: String,
    /// The network.
    pub network: String,
    /// The gateway's addresses there.
    pub addresses: Vec<Ipv4Net>,
    /// The next router, on the side towards the internet.
    pub gateway: Option<Ipv4Addr>,
}

/// `[[host]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As that of a network.
    pub name: String,
    /// The network that it is on.
    pub network: String,
    /// Its addresses.
    pub addresses: Vec<Ipv4Net>,
    /// Its default route; without one in the file the first gateway of its network, if there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// `[[link]]`: what a wire does to frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// `NETWORK.NAME`, or `NETWORK` where two are joined.
    pub name: String,
    /// Only what this computer sends, or gets from everybody else of the network.
    pub from: Option<String>,
    /// How long a frame is under way.
    pub delay: Option<Duration>,
    /// How much longer or shorter than that at most.
    pub jitter: Option<Duration>,
    /// Share of frames that are lost, in millionths.
    pub loss: Option<u32>,
    /// Share that come twice.
    pub duplicate: Option<u32>,
    /// Share that come after the next one.
    pub reorder: Option<u32>,
    /// Bits per second.
    pub rate: Option<u64>,
    /// Seed of the choices.
    pub seed: Option<u32>,
}

/// The file as written.
struct File {
    networks: Vec<NetworkTable>,
    gateways: Vec<GatewayTable>,
    hosts: Vec<HostTable>,
    links: Vec<LinkTable>,
}

struct NetworkTable {
    name: Field<Name>,
    mtu: Field<Mtu>,
}

struct SideTable {
    network: Field<Name>,
    address: Field<InterfaceAddress>,
    addresses: Field<List<Address>>,
    gateway: Field<Address>,
    reaches: Field<List<crate::value::name::LanPattern>>,
}

struct GatewayTable {
    name: Field<Name>,
    runs: Field<Word<Runs>>,
    /// Whether there is one, be it right or wrong.
    has_wan: bool,
    wan: Option<SideTable>,
    has_lan: bool,
    lans: Vec<SideTable>,
    rules: Field<Rules>,
}

struct HostTable {
    name: Field<Name>,
    network: Field<Name>,
    address: Field<InterfaceAddress>,
    addresses: Field<List<Address>>,
    gateway: Field<Address>,
}

struct LinkTable {
    name: Field<LinkName>,
    from: Field<Name>,
    delay: Field<Delay>,
    jitter: Field<Delay>,
    loss: Field<Share>,
    duplicate: Field<Share>,
    reorder: Field<Share>,
    rate: Field<BitRate>,
    seed: Field<Number<0, { u32::MAX }>>,
}

/// The rest of a Genkan's configuration, as text.
struct Rules(String);

impl Text for Rules {
    const TAKES: &'static str = "a part of a configuration";
    const MANY: &'static str = "parts of configurations";

    fn parse(text: &str) -> Result<Rules, crate::value::Bad> {
        Ok(Rules(text.to_owned()))
    }
}

/// `NETWORK.NAME` or `NETWORK`; looked up later.
struct LinkName(String);

impl Text for LinkName {
    const TAKES: &'static str = "a link such as \"home.nas\"";
    const MANY: &'static str = "links";

    fn parse(text: &str) -> Result<LinkName, crate::value::Bad> {
        Ok(LinkName(text.to_owned()))
    }
}

impl NetworkTable {
    fn read(mut table: Table<'_, '_>) -> NetworkTable {
        let read =
            NetworkTable { name: table.required("name", "\"home\""), mtu: table.optional("mtu", "1500") };
        table.finish();
        read
    }
}

impl SideTable {
    fn wan(mut table: Table<'_, '_>) -> SideTable {
        let read = SideTable {
            network: table.required("network", "\"internet\""),
            address: table.required("address", "\"203.0.113.1/24\""),
            addresses: table.optional("addresses", "[\"203.0.113.5\"]"),
            gateway: table.optional("gateway", "\"203.0.113.2\""),
            reaches: None,
        };
        table.finish();
        read
    }

    fn lan(mut table: Table<'_, '_>) -> SideTable {
        let read = SideTable {
            network: table.required("network", "\"home\""),
            address: table.required("address", "\"192.168.0.1/24\""),
            addresses: None,
            gateway: None,
            reaches: table.optional("reaches", "[\"*\"]"),
        };
        table.finish();
        read
    }
}

impl File {
    fn read(root: &DeTable<'_>, report: &mut Report) -> File {
        let mut top = Table::top(&LABS, root, report);
        let file = File {
            networks: top.tables("network", "network", NetworkTable::read),
            gateways: top.tables("gateway", "gateway", |mut table| {
                let gateway = GatewayTable {
                    has_wan: table.has("wan"),
                    has_lan: table.has("lan"),
                    name: table.required("name", "\"router\""),
                    runs: table.optional("runs", "\"genkan\""),
                    wan: table.table("gateway.wan", "wan", SideTable::wan),
                    lans: table.tables("gateway.lan", "lan", SideTable::lan),
                    rules: table.optional("rules", "'''...'''"),
                };
                table.finish();
                gateway
            }),
            hosts: top.tables("host", "host", |mut table| {
                let host = HostTable {
                    name: table.required("name", "\"nas\""),
                    network: table.required("network", "\"home\""),
                    address: table.required("address", "\"192.168.0.10/24\""),
                    addresses: table.optional("addresses", "[\"192.168.0.11\"]"),
                    gateway: table.optional("gateway", "\"192.168.0.1\""),
                };
                table.finish();
                host
            }),
            links: top.tables("link", "link", LinkTable::read),
        };
        top.finish();
        file
    }
}

impl LinkTable {
    fn read(mut table: Table<'_, '_>) -> LinkTable {
        fn part<T: Value>(table: &mut Table<'_, '_>, key: &'static str, example: &str) -> Field<T> {
            table.optional(key, example)
        }
        let link = LinkTable {
            name: table.required("name", "\"home.nas\""),
            from: part(&mut table, "from", "\"nas\""),
            delay: part(&mut table, "delay", "\"20ms\""),
            jitter: part(&mut table, "jitter", "\"2ms\""),
            loss: part(&mut table, "loss", "\"1%\""),
            duplicate: part(&mut table, "duplicate", "\"0.1%\""),
            reorder: part(&mut table, "reorder", "\"0.5%\""),
            rate: part(&mut table, "rate", "\"10mbit\""),
            seed: part(&mut table, "seed", "1"),
        };
        table.finish();
        link
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Every mistake of the file, in file order; a single one with [`Code::Unreadable`] when it cannot be read.
pub fn load(path: &Path) -> Result<LabFile, Vec<Diagnostic>> {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => parse(&text, &name),
        Err(error) => {
            let mut report = Report::new(Arc::new(SourceFile::new(&name, "")));
            report.whole_file(Code::Unreadable, format!("cannot read `{name}`: {error}"));
            Err(report.into_sorted(Severity::Error))
        }
    }
}

/// Checks the text of a lab; `name` is what messages call it.
///
/// # Errors
/// Every mistake of the text, in file order; after those, every one of the configurations that come of it.
pub fn parse(source: &str, name: &str) -> Result<LabFile, Vec<Diagnostic>> {
    let mut report = Report::new(Arc::new(SourceFile::new(name, source)));
    let lab = syntax::parse(&mut report, |tree, complete, report| {
        let file = File::read(tree, report);
        complete.then(|| check::check(&file, report))
    });
    let lab = match lab.flatten() {
        Some(lab) if !report.has_errors() => lab,
        _ => return Err(report.into_sorted(Severity::Error)),
    };
    let mut mistakes = Vec::new();
    for gateway in lab.gateways.iter().filter(|gateway| gateway.runs == Runs::Genkan) {
        let name = format!("{name} (configuration of {})", gateway.name);
        mistakes.extend(crate::parse(&gateway.config, &name).err().into_iter().flatten());
    }
    if mistakes.is_empty() { Ok(lab) } else { Err(mistakes) }
}
