//! Shared, read-mostly state of the control side.
//!
//! Many readers (API handlers, listings, later the web pages) and few writers (the link monitor, a reload, the
//! refresh of hosts) meet here, none of them on the packet path. Concurrent maps hold what changes piece by piece;
//! the running configuration is replaced as a whole.
//!
//! No reference into a map is held over an `await` or another call on the same map.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use genkan_engine::frame::PortId;
use genkan_engine::plan::ForwardRule;
use genkan_engine::router::LinkState;
use genkan_engine::{Plan, UnixTime};
use tokio::sync::{Mutex, mpsc, watch};

use crate::api::{AddressConflict, Closed, DdnsRow, ForwardRow, Opened, Sandbox, WanLease};
use crate::devices::Devices;
use crate::events::EventLog;
use crate::leases::Leases;

mod hosts;
mod services;

pub use services::DnsQuestion;
mod status;
mod told;

/// A configured port: what the plan does not say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Its id in the engine.
    pub id: PortId,
    /// `wan`, the lan's name, or `host`.
    pub name: String,
    /// The network device.
    pub device: String,
    /// How frames are to get in and out.
    pub backend: String,
}

/// How a port's frames get in and out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBackend {
    /// `af-packet`, `af-xdp`, ...
    pub name: String,
    /// Why it is this one, where that was to be found out.
    pub reason: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Running {
    /// Path of its file.
    pub config: String,
    /// What the engine follows.
    pub plan: Arc<Plan>,
    /// Every port, the wan first.
    pub ports: Vec<PortConfig>,
    /// Packet workers.
    pub workers: u8,
    /// Its number in the history.
    pub revision: u64,
    /// Names of the forwards that leave the file once they have expired.
    pub ad_hoc: BTreeSet<String>,
    /// Schedules of the forwards that have one, by name.
    pub schedules: HashMap<String, String>,
    /// Names of the `[[host]]`s that forwards lead to, by the forwards' names.
    pub targets: HashMap<String, String>,
}

/// Names of the inside hosts and the running configuration, looked up together.
#[derive(Debug)]
struct Current {
    running: Running,
    names: HashMap<Ipv4Addr, String>,
}

/// The control side's state. One per router, shared by reference.
#[derive(Debug)]
pub struct Snapshot {
    started: Instant,
    current: ArcSwap<Current>,
    /// By name: forwards that are enabled and closed.
    closed: ArcSwap<HashMap<String, Closed>>,
    /// By name: who opened a forward.
    opened: ArcSwap<HashMap<String, Opened>>,
    reloads: AtomicU32,
    upgrades: AtomicU32,
    is_handed_over: AtomicBool,
    links: DashMap<PortId, LinkState>,
    link_changes: watch::Sender<()>,
    /// The lease of the wan, and when it ends.
    wan_lease: ArcSwapOption<(WanLease, Option<Instant>)>,
    backends: DashMap<PortId, PortBackend>,
    problems: DashMap<String, String>,
    conflicts: ArcSwap<Vec<AddressConflict>>,
    sandbox: OnceLock<Sandbox>,
    /// By the entry of the configuration.
    ddns: DashMap<String, Vec<DdnsRow>>,
    hosts: DashMap<(PortId, Ipv4Addr), hosts::HostEntry>,
    host_round: AtomicU64,
    hosts_fetched: Mutex<Option<Instant>>,
    dns: OnceLock<mpsc::Sender<DnsQuestion>>,
    /// Who was seen on the lans.
    pub devices: Devices,
    /// What happened lately.
    pub events: EventLog,
    /// Who has which address of the DHCP service.
    pub leases: Leases,
}

impl Snapshot {
    /// The state of a router that has just started with this configuration; all links are down yet.
    pub fn new(running: Running) -> Snapshot {
        Snapshot {
            started: Instant::now(),
            current: ArcSwap::from_pointee(Current::new(running)),
            closed: ArcSwap::default(),
            opened: ArcSwap::default(),
            reloads: AtomicU32::new(0),
            upgrades: AtomicU32::new(0),
            is_handed_over: AtomicBool::new(false),
            links: DashMap::new(),
            link_changes: watch::Sender::new(()),
            wan_lease: ArcSwapOption::empty(),
            backends: DashMap::new(),
            problems: DashMap::new(),
            conflicts: ArcSwap::default(),
            sandbox: OnceLock::new(),
            ddns: DashMap::new(),
            hosts: DashMap::new(),
            host_round: AtomicU64::new(0),
            hosts_fetched: Mutex::new(None),
            dns: OnceLock::new(),
            devices: Devices::default(),
            events: EventLog::default(),
            leases: Leases::default(),
        }
    }

    /// Replaces the running configuration after a successful reload.
    pub fn set_running(&self, running: Running) {
        let plan = running.plan.clone();
        let before = self.current.swap(Arc::new(Current::new(running)));
        self.tell_configuration(&before.running.plan, &plan);
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces the running configuration by what has come of the same one, as something was found out.
    pub fn set_effective(&self, running: Running) {
        self.current.store(Arc::new(Current::new(running)));
    }

    /// How often another program has taken over.
    pub fn upgrades(&self) -> u32 {
        self.upgrades.load(Ordering::Relaxed)
    }

    /// Tells how often another program has taken over.
    pub fn set_upgrades(&self, upgrades: u32) {
        self.upgrades.store(upgrades, Ordering::Relaxed);
    }

    /// Whether another program has taken over from this one.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// Tells that another program has taken over from this one.
    pub fn set_handed_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// The running configuration.
    pub fn running(&self) -> Running {
        self.current.load().running.clone()
    }

    /// Name of the inside host with this address, where the configuration gives one.
    pub fn host_name(&self, address: Ipv4Addr) -> Option<String> {
        self.current.load().names.get(&address).cloned()
    }

    /// Name of a port for listings.
    pub fn port_name(&self, port: PortId) -> String {
        let current = self.current.load();
        let known = current.running.ports.iter().find(|config| config.id == port);
        known.map_or_else(|| format!("port-{}", port.index()), |config| config.name.clone())
    }

    /// Ids and names of all ports, the wan first.
    pub fn port_names(&self) -> Vec<(PortId, String)> {
        self.current.load().running.ports.iter().map(|config| (config.id, config.name.clone())).collect()
    }

    /// Remembers the state of a port's link.
    pub fn set_link(&self, port: PortId, link: LinkState) {
        let before = self.links.insert(port, link);
        self.tell_link(port, before, link);
        self.link_changes.send_replace(());
    }

    /// Tells when the state of some link has been set.
    pub fn watch_links(&self) -> watch::Receiver<()> {
        self.link_changes.subscribe()
    }

    /// The state of a port's link, once known.
    pub fn link(&self, port: PortId) -> Option<LinkState> {
        self.links.get(&port).map(|entry| *entry)
    }

    /// Remembers how a port's frames get in and out. Returns whether that is news.
    pub fn set_backend(&self, port: PortId, backend: PortBackend) -> bool {
        self.backends.insert(port, backend.clone()) != Some(backend)
    }

    /// Remembers what the process has given up, which is final.
    pub fn set_sandbox(&self, sandbox: Sandbox) {
        // A second call would say the same.
        let _ = self.sandbox.set(sandbox);
    }

    /// What the process has given up.
    pub fn sandbox(&self) -> Option<Sandbox> {
        self.sandbox.get().cloned()
    }

    /// Says why forwards are closed that are enabled, by their names.
    pub fn set_closed(&self, closed: Arc<HashMap<String, Closed>>) {
        self.closed.store(closed);
    }

    /// Says who opened forwards, and when, by their names.
    pub fn set_opened(&self, opened: Arc<HashMap<String, Opened>>) {
        self.opened.store(opened);
    }

    /// How long the router has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The forwards in file order, and the revision that they are of.
    pub fn forwards(&self) -> (u64, Vec<ForwardRow>) {
        let current = self.current.load();
        let running = &current.running;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime(now.as_secs() as i64);
        let (closed, opened) = (self.closed.load(), self.opened.load());
        let devices = self.devices.targets();
        let row = |rule: &ForwardRule| {
            let closed = closed.get(&rule.name).copied();
            let row = ForwardRow::new(rule, running.ad_hoc.contains(&rule.name), now, closed);
            let opened = opened.get(&rule.name).filter(|_| row.open).copied();
            let target = running.targets.get(&rule.name);
            let device = target.and_then(|host| devices.get(host).cloned());
            let row = row.naming(rule, target);
            ForwardRow { schedule: running.schedules.get(&rule.name).cloned(), opened, device, ..row }
        };
        (running.revision, running.plan.forwards.iter().map(row).collect())
    }
}

impl Current {
    fn new(running: Running) -> Current {
        let names = running.plan.hosts.iter().map(|host| (host.address, host.name.clone())).collect();
        Current { running, names }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use genkan_engine::plan::{Host, Lan, Nat, Wan};

    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            wan: Wan {
                address: "203.0.113.1/24".parse().expect("a prefix"),
                gateway: Some(Ipv4Addr::new(203, 0, 113, 2)),
                routes: Vec::new(),
                addresses: vec![Ipv4Addr::new(203, 0, 113, 5)],
                mtu: 1500,
                ping: true,
            },
            lans: vec![Lan {
                name: "home".to_owned(),
                address: "192.168.0.1/24".parse().expect("a prefix"),
                mtu: 1500,
                reaches: Vec::new(),
            }],
            routes: Vec::new(),
            host_port: false,
            nat: Nat {
                max_sessions: 1000,
                max_sessions_per_host: 1000,
                max_ports_per_host: 1000,
                ..Nat::default()
            },
            hosts: vec![Host {
                name: "nas".to_owned(),
                mac: None,
                address: Ipv4Addr::new(192, 168, 0, 10),
                filtering: None,
                mapping: None,
                external: None,
            }],
            forwards: Vec::new(),
            dmz: None,
            services: Vec::new(),
        }
    }

    pub(crate) fn running() -> Running {
        let port = |id, name: &str, device: &str| PortConfig {
            id,
            name: name.to_owned(),
            device: device.to_owned(),
            backend: "loopback".to_owned(),
        };
        Running {
            workers: 1,
            revision: 1,
            ad_hoc: BTreeSet::new(),
            schedules: HashMap::new(),
            targets: HashMap::new(),
            config: "/etc/genkan.toml".to_owned(),
            plan: Arc::new(plan()),
            ports: vec![port(PortId::WAN, "wan", "eth0"), port(PortId::lan(0), "home", "eth1")],
        }
    }
}
