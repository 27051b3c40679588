//! Where the devices of `[[host]]`s are, so that forwards follow them, and who was seen on the lans.
//!
//! [`whereabouts`] has the rules; here are the questions to the wire, the file, and what is told. The workers watch for the
//! devices' ARP packets, the DHCP server tells of its leases; each device is asked for now and then as well, so that the
//! listings know one that is switched off.

mod memory;
mod whereabouts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use genkan_config::{Facts, Loaded};
use genkan_control::api::EventKind;
use genkan_control::devices::wall;
use genkan_control::events::NewEvent;
use genkan_control::request::{WorkerHandle, WorkerRequest};
use genkan_engine::frame::PortId;
use genkan_engine::probe::{Probe, ProbeAnswer, ProbeKind};
use genkan_engine::sightings::Sighting;
use genkan_engine::wire::ethernet::MacAddr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::{info, warn};

use self::memory::{Content, Memory};
pub(crate) use self::whereabouts::Moved;
use self::whereabouts::{Whereabouts, leading_to};
use super::{Context, HostSeen, Learned};
use crate::output;

/// How often a device is asked for while it answers, and how soon after the first silence.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_SOON: Duration = Duration::from_secs(3);
/// How often it is seen to that devices are asked for, and how many at once.
const TICK: Duration = Duration::from_secs(1);
const PER_TICK: usize = 4;
/// Ticks between two looks at the ARP cache, and between two writings of what is not urgent.
const NEIGHBORS_EVERY: u32 = 60;
const KEEP_EVERY: u32 = 600;
/// Questions for an address, and how long an answer to each may take: together well below the second in which a forward is
/// to follow.
const TRIES: u32 = 2;
const WAIT: Duration = Duration::from_millis(200);
/// Time for a second machine to answer for the same address.
const SECOND_MAC: Duration = Duration::from_millis(50);
/// Sightings and answers that may wait.
const WAITING: usize = 256;

/// What is known of devices before the router starts, from the `state` folder.
pub(crate) fn known(state: &Path, written: &Loaded, facts: &mut Facts) {
    let mut whereabouts = Whereabouts::default();
    whereabouts.follow(&written.config.hosts, &Memory::of(state).recall().hosts);
    facts.hosts = whereabouts.places();
}

/// What another place of a device comes to, in words.
pub(crate) fn tell(moved: &Moved, written: &Loaded) -> NewEvent {
    let Moved { host, from, to } = moved;
    let leading = leading_to(written, host);
    let follow = match &leading[..] {
        [] => String::new(),
        leading if to.is_some() => format!(": {} to it", leading.join(", ")),
        leading => format!(": closed is {}", leading.join(", ")),
    };
    let message = match (from, to) {
        (Some(from), Some(to)) => format!("{host} moved from {from} to {to}{follow}"),
        (None, Some(to)) => format!("{host} is at {to}{follow}"),
        (Some(from), None) => format!("{host} is no longer at {from}, and nowhere else{follow}"),
        (None, None) => format!("{host} is nowhere{follow}"),
    };
    NewEvent { address: to.or(*from).map(IpAddr::V4), ..NewEvent::new(EventKind::HostMoved, message) }
}

enum Message {
    Follow(Box<Loaded>),
    Leases(Vec<HostSeen>),
    /// Write down what is known, and nothing more after the answer.
    Stop(oneshot::Sender<()>),
    Resume,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Hosts {
    // Unbounded: the event loop waits for nobody, and what it hears is bounded already.
    inbox: mpsc::UnboundedSender<Message>,
}

impl Hosts {
    /// Starts it.
    pub(crate) fn start(context: &Context, loaded: &Loaded) -> Hosts {
        let (inbox, messages) = mpsc::unbounded_channel();
        tokio::spawn(Task::new(context.clone(), loaded.clone()).run(messages));
        Hosts { inbox }
    }

    /// Another configuration is in force.
    pub(crate) fn follow(&mut self, loaded: &Loaded) {
        self.say(Message::Follow(Box::new(loaded.clone())));
    }

    /// The DHCP server tells of leases.
    pub(crate) fn leases(&mut self, leases: Vec<HostSeen>) {
        self.say(Message::Leases(leases));
    }

    /// Nothing is written to the state folder after this.
    pub(crate) async fn stop(&mut self) {
        let (reply, stopped) = oneshot::channel();
        self.say(Message::Stop(reply));
        // Without an answer there is nobody who could write.
        let _ = stopped.await;
    }

    /// Goes on after [`Hosts::stop`].
    pub(crate) fn resume(&mut self) {
        self.say(Message::Resume);
    }

    fn say(&self, message: Message) {
        // It lives as long as the runtime.
        let _ = self.inbox.send(message);
    }
}

/// Who has answered for an address that was asked for because of a host.
struct Answer {
    host: String,
    address: Ipv4Addr,
    macs: Vec<MacAddr>,
}

struct Task {
    context: Context,
    loaded: Loaded,
    whereabouts: Whereabouts,
    memory: Memory,
    sightings: mpsc::Sender<Sighting>,
    seen: mpsc::Receiver<Sighting>,
    questions: JoinSet<Answer>,
    /// Hosts that somebody is asked because of.
    asking: BTreeSet<String>,
    /// When to ask for each host next.
    due: BTreeMap<String, Instant>,
    /// What the event loop was told; at first, what it has read may be older than ours.
    told: Option<BTreeMap<String, Ipv4Addr>>,
    /// Problems that are told, by host.
    problems: BTreeSet<String>,
    unsaved: bool,
    is_stopped: bool,
}

impl Task {
    fn new(context: Context, loaded: Loaded) -> Task {
        let memory = Memory::of(&context.state);
        let Content { hosts, devices } = memory.recall();
        context.snapshot.devices.restore(devices, wall());
        let mut whereabouts = Whereabouts::default();
        whereabouts.follow(&loaded.config.hosts, &hosts);
        let (sightings, seen) = mpsc::channel(WAITING);
        Task {
            context,
            loaded,
            whereabouts,
            memory,
            sightings,
            seen,
            questions: JoinSet::new(),
            asking: BTreeSet::new(),
            due: BTreeMap::new(),
            told: None,
            problems: BTreeSet::new(),
            unsaved: false,
            is_stopped: false,
        }
    }

    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u32;
        self.look_for_strays().await;
        self.publish().await;
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.heard(message).await,
                    None => return,
                },
                Some(sighting) = self.seen.recv() => {
                    let Sighting { mac, address, .. } = sighting;
                    let host = self.whereabouts.sighted(mac, address, wall());
                    self.note_seen(mac, address);
                    self.ask_because_of(host);
                }
                Some(answer) = self.questions.join_next() => {
                    let Ok(Answer { host, address, macs }) = answer else { continue };
                    self.asking.remove(&host);
                    let soon = self.whereabouts.answered(&host, address, &macs, wall());
                    macs.iter().for_each(|mac| self.note_seen(*mac, address));
                    self.due.insert(host.clone(), Instant::now() + if soon { LOOK_SOON } else { LOOK });
                    self.ask_because_of(Some(host).filter(|host| self.whereabouts.is_open(host, address)));
                }
                _ = ticks.tick() => {
                    tick = tick.wrapping_add(1);
                    self.look(tick).await;
                }
            }
            self.publish().await;
        }
    }

    /// A device that is known to be there has shown itself: the listing of all devices is to know it too.
    fn note_seen(&self, mac: MacAddr, address: Ipv4Addr) {
        if self.whereabouts.is_at(mac, address) {
            self.context.snapshot.devices.seen(mac, address, 0, wall());
        }
    }

    async fn heard(&mut self, message: Message) {
        match message {
            Message::Follow(loaded) => {
                let same = self.loaded.config.hosts == loaded.config.hosts;
                self.loaded = *loaded;
                if !same {
                    let remembered = self.whereabouts.remembered();
                    self.whereabouts.follow(&self.loaded.config.hosts, &remembered);
                    self.look_for_strays().await;
                }
            }
            Message::Leases(leases) => {
                for HostSeen { mac, client_id, address, name, holds, asked } in leases {
                    let (devices, name) = (&self.context.snapshot.devices, name.as_deref());
                    match holds && !asked {
                        true => devices.holds(mac, address, name),
                        false => devices.leased(mac, address, name, holds, wall()),
                    }
                    let id = client_id.as_deref();
                    let host = self.whereabouts.leased(mac, id, address, holds, wall());
                    self.ask_because_of(host);
                }
            }
            Message::Stop(reply) => {
                self.keep().await;
                self.is_stopped = true;
                let _ = reply.send(());
            }
            Message::Resume => self.is_stopped = false,
        }
    }

    /// Hosts that are new may be devices that are known already, and those that are written anew be elsewhere.
    async fn look_for_strays(&mut self) {
        self.watch().await;
        for host in self.whereabouts.rewritten() {
            self.ask_because_of(Some(host));
        }
        for device in self.context.snapshot.devices.all() {
            let Ok(mac) = device.mac.parse() else { continue };
            let host = self.whereabouts.suspect(mac, device.address);
            self.ask_because_of(host);
        }
    }

    /// Has the workers watch for the devices.
    async fn watch(&mut self) {
        let watched: std::sync::Arc<[_]> = self.whereabouts.watched().into();
        let sightings = &self.sightings;
        let request =
            |reply| WorkerRequest::Devices { watched: watched.clone(), sightings: sightings.clone(), reply };
        // A worker that does not answer has more to worry about.
        let _ = self.context.worker.ask_all(request).await;
    }

    /// Asks for the place of a host, unless that is being done.
    fn ask_because_of(&mut self, host: Option<String>) {
        let Some(host) = host.filter(|host| !self.asking.contains(host)) else { return };
        let Some(address) = self.whereabouts.question(&host) else { return };
        let lans = &self.loaded.plan.lans;
        let Some(index) = lans.iter().position(|lan| lan.address.contains(&address)) else {
            // Behind another router nobody answers ARP: what the lease says is all there is.
            self.whereabouts.answered(&host, address, &[], wall());
            return;
        };
        let question = Probe {
            id: rand_id(),
            port: PortId::lan(index),
            kind: ProbeKind::Arp,
            source: SocketAddrV4::new(lans[index].address.addr(), 0),
            target: SocketAddrV4::new(address, 0),
            to: MacAddr::BROADCAST,
        };
        let expected = self.whereabouts.mac(&host);
        let worker = self.context.worker.clone();
        self.asking.insert(host.clone());
        self.questions.spawn(async move {
            let macs = who_has(&worker, question, expected).await;
            Answer { host, address, macs }
        });
    }

    /// What is to be done every second.
    async fn look(&mut self, tick: u32) {
        let now = Instant::now();
        let lans = &self.loaded.plan.lans;
        let is_on_link = |address: &Ipv4Addr| lans.iter().any(|lan| lan.address.contains(address));
        let is_due = |host: &&String| {
            let place = self.whereabouts.question(host);
            self.due.get(*host).is_none_or(|due| *due <= now) && place.as_ref().is_some_and(is_on_link)
        };
        let due: Vec<String> = self.whereabouts.names().filter(is_due).take(PER_TICK).cloned().collect();
        for host in due {
            self.due.insert(host.clone(), now + LOOK);
            self.ask_because_of(Some(host));
        }
        if tick % NEIGHBORS_EVERY == 1 {
            // It is busy; the next look will find out.
            let _ = self.context.snapshot.look_at_hosts(&self.context.worker).await;
        }
        if self.unsaved || tick.is_multiple_of(KEEP_EVERY) {
            self.keep().await;
        }
    }

    /// Tells everybody what is different.
    async fn publish(&mut self) {
        if self.is_stopped {
            return;
        }
        let snapshot = &self.context.snapshot;
        snapshot.devices.set_targets(self.whereabouts.told());
        let mut problems = BTreeSet::new();
        for (host, problem) in self.whereabouts.problems(&self.loaded) {
            let key = format!("host {host}");
            if problem.is_some() {
                problems.insert(key.clone());
            }
            if snapshot.set_problem(&key, problem.clone()) {
                match problem {
                    Some(problem) => warn!("{problem}"),
                    None => info!("{key}: well again"),
                }
            }
        }
        for gone in self.problems.difference(&problems) {
            snapshot.set_problem(gone, None);
        }
        self.problems = problems;
        let places = self.whereabouts.places();
        if self.told.as_ref() == Some(&places) {
            return;
        }
        let moved = self.whereabouts.take_moved();
        // One that has so much to hear is told by the next tick.
        if self.context.learned.try_send(Learned::Places { places: places.clone(), moved }).is_ok() {
            self.told = Some(places);
        }
        self.watch().await;
        // At once, so that the next start knows it; not before the forwards follow, which do not wait for a disk.
        self.unsaved = true;
    }

    async fn keep(&mut self) {
        if self.is_stopped {
            return;
        }
        let content =
            Content { hosts: self.whereabouts.remembered(), devices: self.context.snapshot.devices.all() };
        let memory = self.memory.clone();
        let kept = tokio::task::spawn_blocking(move || memory.keep(&content)).await;
        let error = match kept {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(output::chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        self.unsaved = error.is_some();
        let problem = error.map(|error| format!("the known devices are not saved: {error}"));
        if self.context.snapshot.set_problem("devices", problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
    }
}

/// Asks who has an address. When `expected` answers, nobody else is waited for.
async fn who_has(worker: &WorkerHandle, question: Probe, expected: Option<MacAddr>) -> Vec<MacAddr> {
    let (answers, mut heard) = mpsc::channel(WAITING);
    let mut macs = Vec::new();
    for _ in 0..TRIES {
        let request = |send| {
            let answers = answers.clone();
            move |reply| WorkerRequest::Probe { probe: question, send, answers: answers.clone(), reply }
        };
        if worker.count() > 1 && worker.ask_all(request(false)).await.is_err() {
            break;
        }
        if worker.ask_first(request(true)).await.is_err() {
            break;
        }
        let mut deadline = Instant::now() + WAIT;
        while let Ok(Some(answer)) = timeout_at(deadline, heard.recv()).await {
            let ProbeAnswer::Arp(mac) = answer else { continue };
            if !macs.contains(&mac) {
                macs.push(mac);
            }
            if Some(mac) == expected {
                return macs;
            }
            deadline = deadline.min(Instant::now() + SECOND_MAC);
        }
        if !macs.is_empty() {
            break;
        }
    }
    macs
}

/// Not to be guessed by who might answer in the place of another.
fn rand_id() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
