//! The client with its clock, its datagrams and its link.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_config::{WanFacts, humane};
use genkan_control::api::{EventKind, WanLease, WanLeaseState};
use genkan_control::events::NewEvent;
use genkan_engine::Timestamp;
use genkan_engine::frame::PortId;
use genkan_engine::local_datagram::{LocalDatagram, LocalSend, Service};
use genkan_services::dhcp::client::{
    Client, ClientIdentifier, Config, Configuration, Event, Ignored, Lost, Phase, Transmit,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::offered::Refused;
use super::{Context, Settings, probe, record};
use crate::daemon::local::Door;
use crate::daemon::services::Learned;

/// The longest sleep: tokio's clock stands still while the machine is suspended, and leases run on.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A link is up this long without an address before that is a problem.
const PATIENCE: Duration = Duration::from_secs(10);

/// DEFEND_INTERVAL (RFC 5227 section 1.1): who claims the address twice within it keeps it.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// DHCP servers hear this port.
const SERVER_PORT: u16 = 67;

/// Outcomes of probes that may wait.
const PROBES: usize = 4;

/// An address, and whether somebody else has it.
type Probed = (Ipv4Addr, bool);

/// What comes to the client.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) door: Door,
    /// Addresses that somebody else was seen to use.
    pub(super) conflicts: mpsc::Receiver<Ipv4Addr>,
}

/// The client of the wan, while it runs.
pub(super) struct Task {
    context: Context,
    settings: watch::Receiver<Settings>,
    inputs: Inputs,
    client: Option<Identified>,
    /// Outcomes of probes.
    probed: mpsc::Receiver<Probed>,
    to_probed: mpsc::Sender<Probed>,
    /// What the rest of the router has been told last; nothing before the first time.
    told: Option<Option<WanFacts>>,
    /// A lease that is held and cannot be used.
    refused: Option<Refused>,
    /// What a server gives and somebody else has, since the last address that was taken.
    taken: Option<Ipv4Addr>,
    /// Why the last answer of a server was no use; nothing after one that was.
    useless: Option<Ignored>,
    /// The last claim of somebody else.
    defended: Option<(Ipv4Addr, Instant)>,
    /// Since when a link is there and no address.
    without: Option<Instant>,
}

/// A client, and who it says that it is.
struct Identified {
    client: Client,
    config: Config,
    link_is_up: bool,
}

impl Task {
    pub(super) fn new(context: Context, settings: watch::Receiver<Settings>, inputs: Inputs) -> Task {
        let (to_probed, probed) = mpsc::channel(PROBES);
        Task {
            context,
            settings,
            inputs,
            client: None,
            probed,
            to_probed,
            told: None,
            refused: None,
            taken: None,
            useless: None,
            defended: None,
            without: None,
        }
    }

    /// Until `stop` comes, or its sender goes. Gives back what it worked with.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Inputs {
        let mut links = self.context.snapshot.watch_links();
        loop {
            self.follow().await;
            self.settle().await;
            let sleep = self.sleep();
            tokio::select! {
                _ = &mut stop => return self.inputs,
                changed = self.settings.changed() => if changed.is_err() { return self.inputs },
                // Its sender lives as long as the snapshot, which we hold.
                _ = links.changed() => {}
                Some(batch) = self.inputs.door.incoming.recv() => self.heard(batch),
                Some((address, is_taken)) = self.probed.recv() => self.probe_is_over(address, is_taken),
                Some(address) = self.inputs.conflicts.recv() => self.claimed(address),
                () = tokio::time::sleep(sleep) => {
                    if let Some(this) = &mut self.client {
                        this.client.handle_timeout(record::now());
                    }
                }
            }
        }
    }

    /// Has the client that the settings and the link ask for.
    async fn follow(&mut self) {
        let dhcp = self.settings.borrow_and_update().dhcp.clone();
        let link = self.context.snapshot.link(PortId::WAN);
        // Before the device was seen, nobody knows who the client is; the lease of before stays.
        let (Some(dhcp), Some(link)) = (&dhcp, link) else {
            if dhcp.is_none() {
                self.client = None;
            }
            return;
        };
        let now = record::now();
        let config = Config {
            hardware_address: link.mac.0,
            client_identifier: match &dhcp.client_id {
                Some(octets) => ClientIdentifier::Octets(octets.clone()),
                None => ClientIdentifier::HardwareAddress,
            },
            host_name: dhcp.hostname.clone(),
            vendor_class: dhcp.vendor_class.clone().map(String::into_bytes),
        };
        if self.client.as_ref().is_none_or(|this| this.config != config) {
            let saved = match &self.client {
                Some(before) => before.client.saved_lease(now, record::wall()),
                None => tokio::task::block_in_place(|| record::load(&self.context.state)),
            };
            let before = self.client.as_ref().and_then(|this| this.client.configuration());
            let before = before.map(|lease| lease.address.addr());
            let seed = RandomState::new().build_hasher().finish();
            self.client = match Client::new(config.clone(), saved, seed, now, record::wall()) {
                Ok(mut client) => {
                    if client.resume(now)
                        && let Some(lease) = client.configuration()
                    {
                        let message =
                            format!("wan: {} as before, until a server says otherwise", lease.address);
                        self.tell(EventKind::WanAddressObtained, message, Some(lease.address.addr()));
                    }
                    Some(Identified { client, config, link_is_up: false })
                }
                Err(error) => {
                    // The configuration was checked for it.
                    warn!(%error, "the DHCP client cannot start");
                    None
                }
            };
            let has_one = self.client.as_ref().is_some_and(|this| this.client.configuration().is_some());
            if let Some(address) = before.filter(|_| !has_one) {
                let message =
                    format!("wan: {address} is lost: the router has another name for DHCP servers now");
                self.tell(EventKind::WanAddressLost, message, Some(address));
            }
        }
        if let Some(this) = &mut self.client
            && this.link_is_up != link.up
        {
            this.link_is_up = link.up;
            this.client.handle_link(now, link.up);
        }
    }

    /// Sends, acts on events, tells.
    async fn settle(&mut self) {
        while let Some(this) = &mut self.client {
            if let Some(Transmit { source, destination, octets }) = this.client.poll_transmit() {
                let say = LocalSend {
                    service: Service::DhcpClient,
                    port: PortId::WAN,
                    source,
                    destination: SocketAddrV4::new(destination, SERVER_PORT),
                    to: None,
                    payload: octets,
                };
                self.inputs.door.speaker.say(vec![say]).await;
            } else if let Some(event) = this.client.poll_event() {
                self.happened(event);
            } else {
                break;
            }
        }
        self.tell_what_is().await;
    }

    fn happened(&mut self, event: Event) {
        let Some(this) = &mut self.client else { return };
        match event {
            Event::Probe { address } => {
                let in_use = this.client.configuration().map(|lease| lease.address.addr());
                if in_use == Some(address) {
                    // It is ours already, and watched over.
                    this.client.handle_address_free(record::now(), address);
                    return;
                }
                let (worker, outcome) = (self.context.worker.clone(), self.to_probed.clone());
                tokio::spawn(async move {
                    let is_taken = probe::is_taken(&worker, address).await;
                    // Nobody waits for it any more.
                    let _ = outcome.send((address, is_taken)).await;
                });
            }
            Event::Bound(lease) => {
                self.taken = None;
                self.save();
                // One that cannot be used is told of where it is judged.
                if self.settings.borrow().ours.take(&lease).is_ok() {
                    let message = format!("wan: {}", self.in_words(&lease));
                    self.tell(EventKind::WanAddressObtained, message, Some(lease.address.addr()));
                }
            }
            Event::Changed { before, after } => {
                self.taken = None;
                self.save();
                let message = if before.address == after.address {
                    format!("wan: the lease has changed: {}", self.in_words(&after))
                } else {
                    format!("wan: {}, before it was {}", self.in_words(&after), before.address)
                };
                if self.refused.is_none() && self.settings.borrow().ours.take(&after).is_ok() {
                    self.tell(EventKind::WanAddressChanged, message, Some(after.address.addr()));
                }
            }
            Event::Renewed => self.save(),
            Event::Lost { why } => {
                if why != Lost::Expired {
                    self.forget();
                }
                let why = match why {
                    Lost::Expired => "its lease is over and no server has renewed it",
                    Lost::Refused => "a DHCP server has taken it back",
                    Lost::Conflict => "another machine uses it",
                    Lost::Released => "it was given back",
                };
                let address = self.told.as_ref().and_then(Option::as_ref).map(|wan| wan.address.addr());
                let message = match address {
                    Some(address) => format!("wan: {address} is lost: {why}"),
                    None => format!("wan: the lease is lost: {why}"),
                };
                self.tell(EventKind::WanAddressLost, message, address);
            }
        }
    }

    fn heard(&mut self, batch: Vec<LocalDatagram>) {
        let Some(this) = &mut self.client else { return };
        for datagram in batch {
            if datagram.source.port() != SERVER_PORT {
                continue;
            }
            match this.client.handle_datagram(record::now(), &datagram.payload) {
                Ok(()) => self.useless = None,
                Err(why) => {
                    debug!(from = %datagram.source.ip(), %why, "no answer of a DHCP server for us");
                    self.useless = Some(why).filter(Ignored::is_for_us).or(self.useless);
                }
            }
        }
    }

    fn probe_is_over(&mut self, address: Ipv4Addr, is_taken: bool) {
        let Some(this) = &mut self.client else { return };
        if is_taken {
            warn!(%address, "another machine on the wan has the address that the DHCP server gives");
            this.client.handle_conflict(record::now(), address);
            self.taken = Some(address);
        } else {
            this.client.handle_address_free(record::now(), address);
        }
    }

    /// Somebody else claims an address. The engine has defended it; who claims it again soon keeps it (RFC 5227 section
    /// 2.4 (b)).
    fn claimed(&mut self, address: Ipv4Addr) {
        let Some(this) = &mut self.client else { return };
        let again =
            self.defended.is_some_and(|(before, at)| before == address && at.elapsed() < DEFEND_INTERVAL);
        self.defended = Some((address, Instant::now()));
        if again {
            this.client.handle_conflict(record::now(), address);
            self.taken = Some(address);
        }
    }

    /// Tells the rest of the router what the wan has, if that is something else than before.
    async fn tell_what_is(&mut self) {
        let is_on = self.settings.borrow().dhcp.is_some();
        if is_on && self.client.is_none() {
            // Nobody knows yet.
            return;
        }
        let lease = self.client.as_ref().and_then(|this| this.client.configuration());
        let ours = self.settings.borrow().ours.clone();
        let judged = lease.map(|lease| (ours.take(lease), ours.ignored(lease)));
        let (usable, refused) = match judged {
            Some((Ok(facts), ignored)) => {
                if self.told.as_ref().and_then(Option::as_ref) != Some(&facts) {
                    for route in ignored {
                        warn!(to = %route.to, "the lease names a route to something of ours: it is ignored");
                    }
                }
                (Some(facts), None)
            }
            Some((Err(reason), _)) => (None, Some(reason)),
            None => (None, None),
        };
        if refused != self.refused {
            let obtained =
                lease.map(|lease| (lease.address.addr(), format!("wan: {}", self.in_words(lease))));
            match (&refused, obtained) {
                (Some(reason), _) => self.tell(EventKind::WanLeaseRefused, format!("wan: {reason}"), None),
                (None, Some((address, message))) => {
                    self.tell(EventKind::WanAddressObtained, message, Some(address));
                }
                (None, None) => {}
            }
            self.refused = refused;
        }
        if (is_on || self.told.is_some()) && self.told.as_ref() != Some(&usable) {
            self.told = Some(usable.clone());
            // The event loop ends later than we do.
            let _ = self.context.learned.send(Learned::Wan(usable)).await;
        }
        self.show(is_on);
    }

    /// Puts the lease into the status, and what is wrong about it.
    fn show(&mut self, is_on: bool) {
        let Some(this) = self.client.as_ref().filter(|_| is_on) else {
            self.without = None;
            self.context.snapshot.set_wan_lease(None);
            self.context.snapshot.set_problem("wan address", None);
            return;
        };
        let lease = this.client.configuration();
        let usable = lease.is_some() && self.refused.is_none();
        match usable || !this.link_is_up {
            true => self.without = None,
            false => drop(self.without.get_or_insert_with(Instant::now)),
        }
        let problem = if let Some(reason) = &self.refused {
            Some(format!("wan: {reason}"))
        } else if let Some(address) = self.taken.filter(|_| !usable && this.link_is_up) {
            Some(format!(
                "wan: no address: the DHCP server gives {address}, which another machine there uses"
            ))
        } else if self.without.is_some_and(|since| since.elapsed() >= PATIENCE) {
            let device = &self.settings.borrow().device;
            Some(match self.useless {
                Some(why) => format!(
                    "wan: no address yet: what the DHCP server on {device} answers cannot be used: {why}"
                ),
                None => format!("wan: no address yet: no DHCP server on {device} has given one"),
            })
        } else {
            None
        };
        let now = record::now();
        let ends = this.client.expires().filter(|ends| *ends != Timestamp::MAX);
        let ends = ends.map(|ends| Instant::now() + ends.saturating_since(now));
        let lease = WanLease {
            state: state(this.client.phase(), this.link_is_up),
            address: lease.map(|lease| lease.address.to_string()),
            gateway: lease.and_then(|lease| lease.gateway),
            routes: lease.into_iter().flat_map(|lease| &lease.routes).map(route).collect(),
            mtu: lease.and_then(|lease| lease.mtu),
            dns: lease.map(|lease| lease.dns.clone()).unwrap_or_default(),
            domain: lease.and_then(|lease| lease.domain.clone()),
            server: this.client.server(),
            ends_in_seconds: None,
            taken: self.taken,
            refused: self.refused.as_ref().map(ToString::to_string),
        };
        self.context.snapshot.set_wan_lease(Some((lease, ends)));
        self.context.snapshot.set_problem("wan address", problem);
    }

    fn save(&mut self) {
        let Some(this) = &self.client else { return };
        let Some(lease) = this.client.saved_lease(record::now(), record::wall()) else { return };
        self.kept(|state| record::save(state, &lease));
    }

    fn forget(&mut self) {
        self.kept(record::remove);
    }

    fn kept(&self, keep: impl FnOnce(&std::path::Path) -> io::Result<()>) {
        let outcome = tokio::task::block_in_place(|| keep(&self.context.state));
        let problem =
            outcome.err().map(|error| format!("the lease of the wan cannot be kept over a restart: {error}"));
        if self.context.snapshot.set_problem("wan lease", problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
    }

    /// `203.0.113.7/24 by DHCP from 203.0.113.2 for 1h`.
    fn in_words(&self, lease: &Configuration) -> String {
        let client = self.client.as_ref().map(|this| &this.client);
        let server = client.and_then(Client::server).map(|server| format!(" from {server}"));
        let time = match client.and_then(Client::expires) {
            Some(Timestamp::MAX) | None => " for ever".to_owned(),
            Some(ends) => {
                let left = ends.saturating_since(record::now()).as_secs_f64().round();
                format!(" for {}", humane(Duration::from_secs(left as u64)))
            }
        };
        let gateway = lease.gateway.map(|gateway| format!(", gateway {gateway}"));
        format!(
            "{} by DHCP{}{time}{}",
            lease.address,
            server.unwrap_or_default(),
            gateway.unwrap_or_else(|| ", no gateway".to_owned())
        )
    }

    fn tell(&self, kind: EventKind, message: String, address: Option<Ipv4Addr>) {
        match kind {
            EventKind::WanAddressLost | EventKind::WanLeaseRefused => warn!("{message}"),
            _ => info!("{message}"),
        }
        let port = Some(self.context.snapshot.port_name(PortId::WAN));
        let address = address.map(IpAddr::V4);
        self.context.snapshot.events.push(NewEvent { port, address, ..NewEvent::new(kind, message) });
    }

    /// Until the client, or the patience with it, wants something.
    fn sleep(&self) -> Duration {
        let now = record::now();
        let due = self.client.as_ref().and_then(|this| this.client.poll_timeout());
        let due = due.map(|due| due.saturating_since(now));
        let patience = self.without.map(|since| PATIENCE.saturating_sub(since.elapsed()));
        let patience = patience.filter(|left| !left.is_zero());
        due.into_iter().chain(patience).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }
}

fn state(phase: Phase, link_is_up: bool) -> WanLeaseState {
    match phase {
        Phase::Idle if !link_is_up => WanLeaseState::NoLink,
        Phase::Idle | Phase::Init | Phase::Selecting => WanLeaseState::Selecting,
        Phase::Requesting => WanLeaseState::Requesting,
        Phase::Rebooting => WanLeaseState::Rebooting,
        Phase::Probing => WanLeaseState::Probing,
        Phase::Bound => WanLeaseState::Bound,
        Phase::Renewing => WanLeaseState::Renewing,
        Phase::Rebinding => WanLeaseState::Rebinding,
    }
}

fn route(route: &genkan_services::dhcp::client::Route) -> String {
    match route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => format!("{} on the link", route.to),
    }
}
