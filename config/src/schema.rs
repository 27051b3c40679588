//! The file as written: one type per table, each key with its place in the text.
//!
//! The doc comments and `default`s below are what `genkan schema` prints as JSON Schema; a test sets every
//! documented default in a file and expects that nothing changes.

use genkan_engine::WorkerId;
use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use schemars::JsonSchema;
use toml::de::DeTable;

use crate::Backend;
use crate::error::{Code, Report, Span};
use crate::schedule::Zone;
use crate::table::{CONFIGURATION, Table};
use crate::value::address::{Address, InterfaceAddress, Mac, Network, WanAddress};
use crate::value::name::{AbsolutePath, DeviceName, HostName, Label, LanPattern, SocketPath};
use crate::value::number::Number;
use crate::value::octets::Hex;
use crate::value::saving::{Interval, Octets};
use crate::value::word::Word;
use crate::value::{Field, List};

mod ddns;
mod dhcp;
mod dns;
mod forward;
mod log;
mod metrics;
mod nat;
mod wan_dhcp;

pub(crate) use ddns::{Ddns, SECRETS};
pub(crate) use dhcp::{Dhcp, Relayed, Told, ToldOption, ToldRoute};
pub(crate) use dns::Dns;
pub(crate) use forward::{Dmz, Forward};
pub(crate) use log::Log;
pub(crate) use metrics::Metrics;
pub(crate) use nat::{Nat, Timeouts};
pub(crate) use wan_dhcp::WanDhcp;

/// IP MTU in octets: from what every host has to take (RFC 791) to the longest IPv4 packet.
pub(crate) type Mtu = Number<576, 65_535>;
/// The largest number of sessions that a configuration may name: 16 Mi.
pub const MOST_SESSIONS: u32 = 16_777_216;
/// Sessions.
pub(crate) type Sessions = Number<1, MOST_SESSIONS>;
/// Ports of one address and protocol.
pub(crate) type PortCount = Number<1, 65_535>;
/// Threads.
pub(crate) type Workers = Number<1, { WorkerId::MAX as u32 }>;

/// A configuration of the Genkan router.
#[derive(Debug, JsonSchema)]
#[schemars(title = "Genkan configuration", deny_unknown_fields)]
pub(crate) struct File {
    /// The outside.
    #[schemars(required)]
    pub(crate) wan: Option<Wan>,
    /// The networks inside, at least one.
    #[schemars(required, length(min = 1, max = 32))]
    pub(crate) lan: Vec<Lan>,
    /// Networks behind a router on a lan.
    pub(crate) route: Option<Vec<Route>>,
    /// Networks behind relay agents, whose machines get their addresses from the DHCP service here.
    pub(crate) relayed: Option<Vec<Relayed>>,
    /// The box that runs Genkan, as one more internal host.
    pub(crate) router: Option<RouterTable>,
    /// Address translation.
    pub(crate) nat: Option<Nat>,
    /// Known devices of the lans.
    pub(crate) host: Option<Vec<Host>>,
    /// Port forwards, tried in file order; those that name `address` go first.
    pub(crate) forward: Option<Vec<Forward>>,
    /// The inside host that gets what no mapping and no forward takes.
    pub(crate) dmz: Option<Dmz>,
    /// Names outside that follow the wan address.
    pub(crate) ddns: Option<Vec<Ddns>>,
    /// The programs around the router.
    pub(crate) services: Option<Services>,
    /// What the router tells while it runs.
    pub(crate) log: Option<Log>,
    /// The counters for Prometheus, from a lan.
    pub(crate) metrics: Option<Metrics>,
    /// The DNS service; without it there is none.
    pub(crate) dns: Option<Dns>,
}

/// The outside.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Wan {
    /// A network device (VLAN sub-interfaces too) on which the kernel has no address.
    #[schemars(required)]
    pub(crate) device: Field<DeviceName>,
    /// How frames are read and written: `af-packet` and `af-xdp` use an existing device, `tap` creates a TAP device or
    /// attaches to one. `af-xdp` goes by the kernel's stack, and gives way to `af-packet` where it is not possible;
    /// `auto` takes it where the driver works without copies on a real wire, else `af-packet`. `genkan status` says
    /// what was taken and why.
    #[schemars(extend("default" = "auto"))]
    pub(crate) backend: Field<Word<Backend>>,
    /// The primary external address and the prefix of the link, or `dhcp`: a DHCP server gives them, with the gateway.
    #[schemars(required)]
    pub(crate) address: Field<WanAddress>,
    /// What the DHCP client says of itself, with `address = "dhcp"`.
    pub(crate) dhcp: Option<WanDhcp>,
    /// Next hop for everything that is not on the link. May lie outside the prefix: then it is reached by ARP
    /// on the link. Without it only the link is reached. Not with `address = "dhcp"`: the lease names it.
    pub(crate) gateway: Field<Address>,
    /// Further external addresses.
    #[schemars(extend("default" = []))]
    pub(crate) addresses: Field<List<Address>>,
    /// IP MTU in octets; the device's own may be smaller, and so may that of a DHCP lease.
    #[schemars(extend("default" = 1500))]
    pub(crate) mtu: Field<Mtu>,
    /// Whether echo requests from outside are answered.
    #[schemars(extend("default" = true))]
    pub(crate) ping: Field<bool>,
}

/// A network inside.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Lan {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// `mtu` is there, even if refused.
    #[schemars(skip)]
    pub(crate) means_mtu: bool,
    /// Its name in listings and in `reaches`; without it, the name of its device.
    pub(crate) name: Field<Label>,
    /// A network device on which the kernel has no address.
    #[schemars(required)]
    pub(crate) device: Field<DeviceName>,
    /// As in `[wan]`.
    #[schemars(extend("default" = "auto"))]
    pub(crate) backend: Field<Word<Backend>>,
    /// The router's own address on this network, with its prefix.
    #[schemars(required)]
    pub(crate) address: Field<InterfaceAddress>,
    /// IP MTU in octets; the device's own may be smaller.
    #[schemars(extend("default" = 1500))]
    pub(crate) mtu: Field<Mtu>,
    /// Other lans that its hosts may open sessions to, also by hairpin: names, or `*` for all.
    /// With an empty list they reach the wan only.
    #[schemars(extend("default" = ["*"]))]
    pub(crate) reaches: Field<List<LanPattern>>,
    /// The DHCP service; without it there is none on this network.
    pub(crate) dhcp: Option<Dhcp>,
}

/// A network behind a router on a lan.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Route {
    /// The network. Of several that hold an address, the one with the longest prefix counts.
    #[schemars(required)]
    pub(crate) to: Field<Network>,
    /// Its next hop, an address of a lan.
    #[schemars(required)]
    pub(crate) via: Field<Address>,
}

/// The box that runs Genkan.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RouterTable {
    /// `tun` is there, even if refused.
    #[schemars(skip)]
    pub(crate) means_tun: bool,
    /// Name of a TUN device through which the box is reachable at the lan addresses. Without it the box is not
    /// reachable through Genkan.
    pub(crate) tun: Field<DeviceName>,
    /// Threads that forward. Only 1 in this version.
    #[schemars(extend("default" = 1, "maximum" = 1))]
    pub(crate) workers: Field<Workers>,
    /// Whether the router gives up, at its start, every right that it has no use for: capabilities, files, system
    /// calls. What that comes to says `genkan status`.
    #[schemars(extend("default" = true))]
    pub(crate) sandbox: Field<bool>,
    /// Time zone of the schedules, by its name in the IANA database; `local` is that of the box.
    #[schemars(extend("default" = "local"))]
    pub(crate) timezone: Field<Zone>,
}

/// A known device of a lan.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Host {
    /// Its name, for listings and for `to`.
    #[schemars(required)]
    pub(crate) name: Field<HostName>,
    /// Its MAC address: by that it is known, wherever it is, and gets `address` from DHCP.
    pub(crate) mac: Field<Mac>,
    /// What it calls itself to DHCP (RFC 2132 section 9.14), in hexadecimal digits from the type octet on; goes before
    /// `mac` there.
    pub(crate) client_id: Field<Hex>,
    /// Its internal address, also its DHCP reservation; without it forwards follow the device to wherever it is.
    pub(crate) address: Field<Address>,
    /// Its own mapping behaviour; without it that of `[nat]`.
    pub(crate) mapping: Field<Word<MappingBehavior>>,
    /// Its own filtering behaviour; without it that of `[nat]`.
    pub(crate) filtering: Field<Word<FilteringBehavior>>,
    /// 1:1 NAT: all its traffic leaves from this one of `wan.addresses`, and all ports of that and pings to it come in.
    pub(crate) external: Field<Address>,
}

/// The programs around the router.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Services {
    /// Path of the control socket.
    #[schemars(extend("default" = "/run/genkan/control.sock"))]
    pub(crate) socket: Field<SocketPath>,
    /// Directory of what survives a restart; systemd's `STATE_DIRECTORY` goes before it.
    #[schemars(extend("default" = "/var/lib/genkan"))]
    pub(crate) state: Field<AbsolutePath>,
    /// How often the sessions are saved, besides at the end: what a `kill -9` or a power cut may cost. `never` saves
    /// at the end only.
    #[schemars(extend("default" = "5m"))]
    pub(crate) save_every: Field<Interval>,
    /// Most octets a day that periodic saving may write; beyond that it becomes rarer. Kind to SD cards.
    #[schemars(extend("default" = "256 MiB"))]
    pub(crate) save_budget: Field<Octets>,
    /// Group that may use the control socket, beside its owner: name or number. Without it, the group that the router
    /// runs as.
    pub(crate) group: Field<Label>,
}

impl File {
    /// Reads the whole file.
    pub(crate) fn read(root: &DeTable<'_>, report: &mut Report) -> File {
        let mut top = Table::top(&CONFIGURATION, root, report);
        let wan = top.table("wan", "wan", Wan::read);
        let lan = top.tables("lan", "lan", Lan::read);
        let file = File {
            wan,
            lan,
            route: Some(top.tables("route", "route", Route::read)),
            relayed: Some(top.tables("relayed", "relayed", Relayed::read)),
            router: top.table("router", "router", RouterTable::read),
            nat: top.table("nat", "nat", Nat::read),
            host: Some(top.tables("host", "host", Host::read)),
            forward: Some(top.tables("forward", "forward", Forward::read)),
            dmz: top.table("dmz", "dmz", Dmz::read),
            ddns: Some(top.tables("ddns", "ddns", Ddns::read)),
            services: top.table("services", "services", Services::read),
            log: top.table("log", "log", Log::read),
            metrics: top.table("metrics", "metrics", Metrics::read),
            dns: top.table("dns", "dns", Dns::read),
        };
        top.finish();
        if !root.contains_key("wan") {
            report
                .whole_file(Code::MissingKey, "the table `[wan]` is missing: there is no outside")
                .help("add `[wan]`, and below it `device = \"eth0\"` and `address = \"203.0.113.1/24\"`");
        }
        // `lan = []` is as good as none.
        let lans = root.get("lan").map(|lan| lan.get_ref());
        if lans.is_none_or(|lans| lans.as_array().is_some_and(|array| array.is_empty())) {
            report
                .whole_file(Code::MissingKey, "the table `[[lan]]` is missing: there is no inside")
                .help("add `[[lan]]`, and below it `device = \"eth1\"` and `address = \"192.168.0.1/24\"`");
        }
        file
    }

    /// `[[route]]`.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> + Clone {
        self.route.iter().flatten()
    }

    /// `[[relayed]]`.
    pub(crate) fn relayed(&self) -> impl Iterator<Item = &Relayed> + Clone {
        self.relayed.iter().flatten()
    }

    /// `[[host]]`.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> + Clone {
        self.host.iter().flatten()
    }

    /// `[[ddns]]`.
    pub(crate) fn ddns(&self) -> impl Iterator<Item = &Ddns> + Clone {
        self.ddns.iter().flatten()
    }

    /// `[[forward]]`.
    pub(crate) fn forwards(&self) -> impl Iterator<Item = &Forward> + Clone {
        self.forward.iter().flatten()
    }
}

impl Wan {
    fn read(mut t: Table<'_, '_>) -> Wan {
        let wan = Wan {
            device: t.required("device", "\"eth0\""),
            backend: t.optional("backend", "\"auto\""),
            address: t.required("address", "\"203.0.113.1/24\""),
            dhcp: t.table("wan.dhcp", "dhcp", WanDhcp::read),
            gateway: t.optional("gateway", "\"203.0.113.2\""),
            addresses: t.optional("addresses", "[\"203.0.113.5\"]"),
            mtu: t.optional("mtu", "1500"),
            ping: t.optional("ping", "true"),
        };
        t.finish();
        wan
    }
}

impl Lan {
    fn read(mut t: Table<'_, '_>) -> Lan {
        let lan = Lan {
            span: t.span(),
            means_mtu: t.is_meant("mtu"),
            name: t.optional("name", "\"home\""),
            device: t.required("device", "\"eth1\""),
            backend: t.optional("backend", "\"auto\""),
            address: t.required("address", "\"192.168.0.1/24\""),
            mtu: t.optional("mtu", "1500"),
            reaches: t.optional("reaches", "[\"*\"]"),
            dhcp: t.table("lan.dhcp", "dhcp", Dhcp::read),
        };
        t.finish();
        lan
    }
}

impl Route {
    fn read(mut t: Table<'_, '_>) -> Route {
        let route =
            Route { to: t.required("to", "\"10.20.0.0/16\""), via: t.required("via", "\"192.168.0.254\"") };
        t.finish();
        route
    }
}

impl RouterTable {
    fn read(mut t: Table<'_, '_>) -> RouterTable {
        let router = RouterTable {
            means_tun: t.is_meant("tun"),
            tun: t.optional("tun", "\"genkan0\""),
            workers: t.optional("workers", "1"),
            sandbox: t.optional("sandbox", "true"),
            timezone: t.optional("timezone", "\"Asia/Tokyo\""),
        };
        t.finish();
        router
    }
}

impl Host {
    fn read(mut t: Table<'_, '_>) -> Host {
        let ways = [
            ("address", "\"192.168.0.10\""),
            ("mac", "\"52:54:00:12:34:56\""),
            ("client_id", "\"01:52:54:00:12:34:56\""),
        ];
        // What can be known wherever it is needs no place.
        if !ways.iter().any(|(key, _)| t.is_meant(key)) {
            t.misses_all(&ways);
        }
        let host = Host {
            name: t.required("name", "\"nas\""),
            mac: t.optional("mac", "\"52:54:00:12:34:56\""),
            client_id: t.optional("client_id", "\"01:52:54:00:12:34:56\""),
            address: t.optional("address", "\"192.168.0.10\""),
            mapping: t.optional("mapping", "\"endpoint-independent\""),
            filtering: t.optional("filtering", "\"endpoint-independent\""),
            external: t.optional("external", "\"203.0.113.5\""),
        };
        t.finish();
        host
    }
}

impl Services {
    fn read(mut t: Table<'_, '_>) -> Services {
        let services = Services {
            socket: t.optional("socket", "\"/run/genkan/control.sock\""),
            state: t.optional("state", "\"/var/lib/genkan\""),
            save_every: t.optional("save_every", "\"5m\""),
            save_budget: t.optional("save_budget", "\"256 MiB\""),
            group: t.optional("group", "\"netadmin\""),
        };
        t.finish();
        services
    }
}
