//! Shared, read-mostly state of the control side.
//!
//! Many readers (API handlers, listings, later the web pages) and few writers (the link monitor, a reload, the
//! refresh of hosts) meet here, none of them on the packet path. Concurrent maps hold what changes piece by piece;
//! the running configuration is replaced as a whole.
//!
//! No reference into a map is held over an `await` or another call on the same map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use genkan_engine::frame::PortId;
use genkan_engine::plan::ForwardRule;
use genkan_engine::router::LinkState;
use genkan_engine::view::NeighborView;
use genkan_engine::{Plan, UnixTime};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::api::{
    Closed, DdnsRow, DnsReport, ForwardRow, NeighborRow, Opened, PortRole, PortStatus, Sandbox, Status,
    Totals, WanLease,
};
use crate::devices::{Devices, wall};
use crate::events::EventLog;
use crate::leases::Leases;
use crate::request::{WorkerError, WorkerHandle, WorkerRequest};

mod ddns;
mod told;

/// Age from which the view of hosts is fetched anew when somebody asks.
const HOSTS_FRESH: Duration = Duration::from_secs(1);

/// How long the DNS service may take to say how it does.
const DNS_PATIENCE: Duration = Duration::from_secs(2);

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

impl PortConfig {
    fn role(&self) -> PortRole {
        match self.id {
            PortId::WAN => PortRole::Wan,
            PortId::HOST => PortRole::Host,
            _ => PortRole::Lan,
        }
    }
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

#[derive(Clone, Debug)]
struct HostEntry {
    view: NeighborView,
    since: Instant,
    round: u64,
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
    sandbox: OnceLock<Sandbox>,
    /// By the entry of the configuration.
    ddns: DashMap<String, Vec<DdnsRow>>,
    hosts: DashMap<(PortId, Ipv4Addr), HostEntry>,
    host_round: AtomicU64,
    hosts_fetched: Mutex<Option<Instant>>,
    dns: OnceLock<mpsc::Sender<oneshot::Sender<DnsReport>>>,
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

    /// Remembers whom to ask about the DNS service.
    pub fn set_dns(&self, asks: mpsc::Sender<oneshot::Sender<DnsReport>>) {
        // There is one in a process.
        let _ = self.dns.set(asks);
    }

    /// How the DNS service does; as if it were off when it does not say so in time.
    pub async fn dns(&self) -> DnsReport {
        let Some(asks) = self.dns.get() else { return DnsReport::default() };
        let (reply, answer) = oneshot::channel();
        let asked = async {
            asks.send(reply).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(DNS_PATIENCE, asked).await.ok().flatten().unwrap_or_default()
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

    /// Remembers what a DHCP server has given to the wan, and when that ends; `None` when none is asked.
    pub fn set_wan_lease(&self, lease: Option<(WanLease, Option<Instant>)>) {
        self.wan_lease.store(lease.map(Arc::new));
    }

    /// What a DHCP server has given to the wan.
    pub fn wan_lease(&self) -> Option<WanLease> {
        let held = self.wan_lease.load_full()?;
        let (lease, ends) = &*held;
        let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()).as_secs());
        Some(WanLease { ends_in_seconds: left, ..lease.clone() })
    }

    /// The state of a port's link, once known.
    pub fn link(&self, port: PortId) -> Option<LinkState> {
        self.links.get(&port).map(|entry| *entry)
    }

    /// Remembers how a port's frames get in and out. Returns whether that is news.
    pub fn set_backend(&self, port: PortId, backend: PortBackend) -> bool {
        self.backends.insert(port, backend.clone()) != Some(backend)
    }

    /// Sets or, with `None`, clears the problem known as `key`. Returns whether that changed anything.
    pub fn set_problem(&self, key: &str, problem: Option<String>) -> bool {
        let is_news = match problem.clone() {
            Some(text) => {
                self.problems.insert(key.to_owned(), text.clone()).is_none_or(|before| before != text)
            }
            None => self.problems.remove(key).is_some(),
        };
        if is_news {
            self.tell_problem(key, problem);
        }
        is_news
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

    /// Puts the whole status together.
    pub fn status(&self, totals: Totals) -> Status {
        let current = self.current.load();
        let plan = &current.running.plan;
        let ports: Vec<PortStatus> =
            current.running.ports.iter().map(|config| self.port_status(plan, config)).collect();
        let wan_up = ports.iter().any(|port| port.role == PortRole::Wan && port.up);
        let inside_up = ports.iter().any(|port| port.role != PortRole::Wan && port.up);
        let mut problems: Vec<String> = self.problems.iter().map(|entry| entry.value().clone()).collect();
        problems.sort_unstable();
        let down = ports.iter().filter(|port| !port.up);
        problems.extend(down.map(|port| format!("{}: {} is down or absent", port.name, port.device)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            config: current.running.config.clone(),
            uptime_seconds: self.uptime().as_secs(),
            forwarding: wan_up && inside_up && plan.wan.primary().is_some(),
            problems,
            ports,
            wan_lease: self.wan_lease(),
            sessions: totals.sessions,
            max_sessions: plan.nat.max_sessions,
            mappings: totals.mappings,
            reloads: self.reloads.load(Ordering::Relaxed),
            workers: current.running.workers,
            revision: current.running.revision,
            upgrades: self.upgrades(),
            sandbox: self.sandbox(),
        }
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
            // One that is nowhere is called by its name.
            let to = match target.filter(|_| rule.to.is_unspecified()) {
                Some(host) => row.to.replacen(&rule.to.to_string(), host, 1),
                None => row.to.clone(),
            };
            let device = target.and_then(|host| devices.get(host).cloned());
            ForwardRow { schedule: running.schedules.get(&rule.name).cloned(), opened, to, device, ..row }
        };
        (running.revision, running.plan.forwards.iter().map(row).collect())
    }

    fn port_status(&self, plan: &Plan, config: &PortConfig) -> PortStatus {
        let link = self.link(config.id);
        let addresses = match config.id.lan_index() {
            Some(index) => plan.lans.get(index).map(|lan| lan.address.to_string()).into_iter().collect(),
            None if config.id == PortId::WAN => {
                let further = plan.wan.addresses.iter().map(Ipv4Addr::to_string);
                let primary = plan.wan.primary().map(|_| plan.wan.address.to_string());
                primary.into_iter().chain(further).collect()
            }
            None => plan.lans.iter().map(|lan| lan.address.addr().to_string()).collect(),
        };
        let backend = self.backends.get(&config.id).map(|backend| backend.clone());
        let backend = backend.unwrap_or(PortBackend { name: config.backend.clone(), reason: None });
        PortStatus {
            name: config.name.clone(),
            role: config.role(),
            device: config.device.clone(),
            backend: backend.name,
            backend_reason: backend.reason,
            up: link.is_some_and(|link| link.up),
            mac: link.map(|link| link.mac.to_string()),
            mtu: link.map(|link| link.mtu),
            addresses,
        }
    }

    /// Makes sure that the view of hosts is at most a second old. Any number of callers cause one request.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker gives no answer.
    pub async fn refresh_hosts(&self, worker: &WorkerHandle) -> Result<(), WorkerError> {
        let mut fetched = self.hosts_fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < HOSTS_FRESH) {
            return Ok(());
        }
        self.look_at_hosts(worker).await?;
        *fetched = Some(Instant::now());
        Ok(())
    }

    /// The same at any age, for who has nobody to show it to: whoever asks next still gets a view of then.
    ///
    /// # Errors
    /// [`WorkerError`] when a worker gives no answer.
    pub async fn look_at_hosts(&self, worker: &WorkerHandle) -> Result<(), WorkerError> {
        let views = worker.ask_all(|reply| WorkerRequest::Neighbors { reply }).await?;
        self.set_hosts(best_known(views.into_iter().flatten()));
        Ok(())
    }

    fn set_hosts(&self, views: Vec<NeighborView>) {
        let round = self.host_round.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        for view in views {
            if let Some(mac) = view.mac.filter(|_| view.port != PortId::WAN && view.state == "reachable") {
                self.devices.seen(mac, view.address, wall());
            }
            let key = (view.port, view.address);
            let known =
                self.hosts.get(&key).filter(|entry| entry.view.mac == view.mac).map(|entry| entry.since);
            self.hosts.insert(key, HostEntry { view, since: known.unwrap_or(now), round });
        }
        self.hosts.retain(|_, entry| entry.round == round);
    }

    /// The ARP cache as last fetched, by port and address.
    pub fn neighbors(&self) -> Vec<NeighborRow> {
        let mut entries: Vec<HostEntry> = self.hosts.iter().map(|entry| entry.value().clone()).collect();
        entries.sort_unstable_by_key(|entry| (entry.view.port, entry.view.address));
        let row = |entry: HostEntry| {
            let host = self.host_name(entry.view.address);
            NeighborRow::new(
                &entry.view,
                self.port_name(entry.view.port),
                host,
                entry.since.elapsed().as_secs(),
            )
        };
        entries.into_iter().map(row).collect()
    }
}

impl Current {
    fn new(running: Running) -> Current {
        let names = running.plan.hosts.iter().map(|host| (host.address, host.name.clone())).collect();
        Current { running, names }
    }
}

/// Each worker has an ARP cache of its own: of each neighbour, the entry that says most.
fn best_known(views: impl Iterator<Item = NeighborView>) -> Vec<NeighborView> {
    const BEST_FIRST: [&str; 5] = ["reachable", "probing", "stale", "incomplete", "failed"];
    let rank = |view: &NeighborView| BEST_FIRST.iter().position(|state| *state == view.state);
    let mut best: BTreeMap<(PortId, Ipv4Addr), NeighborView> = BTreeMap::new();
    for view in views {
        let known = best.entry((view.port, view.address)).or_insert_with(|| view.clone());
        if rank(&view) < rank(known) {
            *known = view;
        }
    }
    best.into_values().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use genkan_engine::plan::{Host, Lan, Nat, Wan};
    use genkan_engine::wire::ethernet::MacAddr;

    use super::*;

    #[test]
    fn of_what_the_workers_know_the_best_is_shown() {
        let view = |address: u8, state, mac: Option<u8>| NeighborView {
            port: PortId::lan(0),
            address: Ipv4Addr::new(192, 168, 0, address),
            mac: mac.map(|octet| MacAddr([2, 0, 0, 0, 0, octet])),
            state,
        };
        let all = [
            view(10, "incomplete", None),
            view(20, "stale", Some(2)),
            view(10, "reachable", Some(1)),
            view(20, "failed", None),
        ];
        assert_eq!(best_known(all.into_iter()), [view(10, "reachable", Some(1)), view(20, "stale", Some(2))]);
    }

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

    fn link(up: bool) -> LinkState {
        LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up }
    }

    #[test]
    fn forwarding_needs_the_wan_and_one_inside_port() {
        let snapshot = Snapshot::new(running());
        let status = snapshot.status(Totals::default());
        assert!(!status.forwarding);
        assert_eq!(status.problems, ["wan: eth0 is down or absent", "home: eth1 is down or absent"]);
        assert_eq!(status.ports[0].addresses, ["203.0.113.1/24", "203.0.113.5"]);

        snapshot.set_link(PortId::WAN, link(true));
        assert!(!snapshot.status(Totals::default()).forwarding);
        snapshot.set_link(PortId::lan(0), link(true));
        let status = snapshot.status(Totals { sessions: 7, mappings: 3 });
        assert!(status.forwarding && status.problems.is_empty());
        assert_eq!((status.sessions, status.mappings, status.max_sessions), (7, 3, 1000));
        snapshot.set_link(PortId::WAN, link(false));
        assert!(!snapshot.status(Totals::default()).forwarding);
    }

    #[test]
    fn problems_come_and_go_by_key() {
        let snapshot = Snapshot::new(running());
        assert!(snapshot.set_problem("address:eth0", Some("eth0: has an address".to_owned())));
        assert!(!snapshot.set_problem("address:eth0", Some("eth0: has an address".to_owned())));
        assert_eq!(snapshot.status(Totals::default()).problems[0], "eth0: has an address");
        assert!(snapshot.set_problem("address:eth0", None));
        assert!(!snapshot.set_problem("address:eth0", None));
    }

    #[test]
    fn hosts_keep_their_first_sight_until_the_mac_changes() {
        let snapshot = Snapshot::new(running());
        let view = |last: u8, mac: u8| NeighborView {
            port: PortId::lan(0),
            address: Ipv4Addr::new(192, 168, 0, last),
            mac: Some(MacAddr([2, 0, 0, 0, 0, mac])),
            state: "reachable",
        };
        snapshot.set_hosts(vec![view(20, 2), view(10, 1)]);
        let first =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        let rows = snapshot.neighbors();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].host.as_deref(), rows[0].port.as_str()), (Some("nas"), "home"));

        snapshot.set_hosts(vec![view(10, 1)]);
        let again =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        assert_eq!(first, again);
        assert_eq!(snapshot.neighbors().len(), 1);
        snapshot.set_hosts(vec![view(10, 9)]);
        let moved =
            snapshot.hosts.get(&(PortId::lan(0), Ipv4Addr::new(192, 168, 0, 10))).expect("there").since;
        assert!(moved >= first);
        assert_eq!(snapshot.neighbors()[0].mac.as_deref(), Some("02:00:00:00:00:09"));
    }
}
