//! The service's thread: what comes in goes through the forwarder, and what it wants done is done, in batches.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_control::api::{DnsFault, DnsReport};
use genkan_control::snapshot::{DnsQuestion, Snapshot};
use genkan_engine::local_datagram::{LocalDatagram, LocalSend};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_services::dns::{Action, Client, ClientTransport, Forwarder, Settings, Transport, UpstreamId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

use self::check::Check;
use super::Command;
use super::clients::{ClientEvent, Clients};
use super::desk::Desk;
use super::lists::{self, Lists, Marks};
use super::ports::{Heard, Ports};
use super::streams::{StreamEvent, Streams};
use super::tls;
use super::told;
use super::wanted::Wanted;
use crate::daemon::limiter::Limiter;
use crate::daemon::local::{BATCH, Speaker};

mod check;
mod health;

/// How often what can wait is done.
const TEND: Duration = Duration::from_secs(5);
/// Batches of queries that are taken before answers have their turn.
const BATCHES: usize = 8;

/// 64 bits at a time of the kernel's randomness.
#[derive(Debug)]
struct Random {
    source: File,
    octets: Box<[u8; 4096]>,
    used: usize,
}

impl Random {
    fn new() -> io::Result<Random> {
        let mut random =
            Random { source: File::open("/dev/urandom")?, octets: Box::new([0; 4096]), used: 4096 };
        random.refill()?;
        Ok(random)
    }

    fn refill(&mut self) -> io::Result<()> {
        self.source.read_exact(&mut *self.octets)?;
        self.used = 0;
        Ok(())
    }

    fn next(&mut self) -> u64 {
        if self.used == self.octets.len() {
            self.refill().expect("/dev/urandom is open and does not end (random(4))");
        }
        let mut eight = [0; 8];
        eight.copy_from_slice(&self.octets[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(eight)
    }
}

/// The service.
pub(super) struct Server {
    desk: Arc<Desk>,
    /// `None`: nothing is answered.
    wanted: Option<Wanted>,
    random: Random,
    ports: Ports,
    /// What came to the ports may not have been taken whole.
    ports_have_more: bool,
    streams: Streams,
    stream_events: Option<mpsc::Receiver<StreamEvent>>,
    clients: Clients,
    client_events: Option<mpsc::Receiver<ClientEvent>>,
    leases: BTreeMap<Ipv4Addr, (MacAddr, String)>,
    reading: Option<JoinHandle<Option<(Marks, Lists)>>>,
    /// What the block list in force was read from.
    marks: Marks,
    actions: Vec<Action>,
    failed: VecDeque<(UpstreamId, Transport)>,
    outgoing: Vec<LocalSend>,
    speaker: Speaker,
    snapshot: Arc<Snapshot>,
    down: Vec<UpstreamId>,
    check: Check,
    /// What is not as it should be, in words.
    problems: BTreeMap<DnsFault, Vec<String>>,
    limiter: Limiter<&'static str>,
}

impl Server {
    /// One that does nothing yet.
    ///
    /// # Errors
    /// When the kernel has no randomness or no means to wait.
    pub(super) fn new(snapshot: Arc<Snapshot>, speaker: Speaker, desk: Arc<Desk>) -> io::Result<Server> {
        let mut random = Random::new()?;
        desk.open(Forwarder::new(&Settings::default(), random.next()).map_err(io::Error::other)?);
        let (streams, stream_events) = Streams::new();
        let (clients, client_events) = Clients::new();
        Ok(Server {
            desk,
            wanted: None,
            random,
            ports: Ports::new()?,
            ports_have_more: false,
            streams,
            stream_events: Some(stream_events),
            clients,
            client_events: Some(client_events),
            leases: BTreeMap::new(),
            reading: None,
            marks: Marks::new(),
            actions: Vec::new(),
            failed: VecDeque::new(),
            outgoing: Vec::new(),
            speaker,
            snapshot,
            down: Vec::new(),
            check: Check::default(),
            problems: BTreeMap::new(),
            limiter: Limiter::new(),
        })
    }

    /// Serves until nobody gives orders any more.
    pub(super) async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Vec<LocalDatagram>>,
        mut orders: mpsc::UnboundedReceiver<Command>,
        mut questions: mpsc::Receiver<DnsQuestion>,
    ) {
        let (Some(mut streams), Some(mut clients)) = (self.stream_events.take(), self.client_events.take())
        else {
            return;
        };
        let mut tend = tokio::time::interval(TEND);
        loop {
            let due = self.desk.state().forwarder.poll_timeout().map(|at| self.desk.instant(at));
            let waits = due.is_some() && !self.ports_have_more;
            let reading = self.reading.as_mut();
            tokio::select! {
                batch = incoming.recv() => {
                    let Some(batch) = batch else { return };
                    self.datagrams(batch);
                    for _ in 1..BATCHES {
                        let Ok(batch) = incoming.try_recv() else { break };
                        self.datagrams(batch);
                    }
                }
                () = self.ports.readable() => {}
                () = std::future::ready(()), if self.ports_have_more => {}
                Some(event) = streams.recv() => self.stream(event),
                Some(event) = clients.recv() => self.client(event),
                order = orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return,
                },
                Some(question) = questions.recv() => self.asked(question),
                read = finished(reading) => {
                    self.reading = None;
                    self.put_lists(read);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if waits => {}
                _ = tend.tick() => self.tend(),
            }
            self.take_answers();
            self.act().await;
            self.end_check();
        }
    }

    /// Queries of the lans.
    fn datagrams(&mut self, batch: Vec<LocalDatagram>) {
        let now = self.desk.now();
        let mut state = self.desk.state();
        for datagram in batch {
            let Some(client) = state.client(&datagram) else { continue };
            let random = &mut || self.random.next();
            state.forwarder.query(now, random, client, &datagram.payload, &mut self.actions);
        }
    }

    /// Answers to our ports, and what has become due meanwhile.
    fn take_answers(&mut self) {
        let Server { desk, ports, random, actions, failed, .. } = self;
        let forwarder = &mut desk.state().forwarder;
        if !forwarder.is_listening() && !self.ports_have_more {
            return;
        }
        let now = desk.now();
        self.ports_have_more = ports.take(|upstream, address, name, heard| {
            let transport = Transport::Udp { port: name };
            match heard {
                Heard::Datagram(octets) => {
                    forwarder.answer(now, &mut || random.next(), address, transport, octets, actions);
                }
                Heard::Refused => failed.push_back((upstream, transport)),
            }
        });
        if forwarder.poll_timeout().is_some_and(|at| at <= now) {
            forwarder.handle_timeout(now, &mut || random.next(), actions);
        }
    }

    fn stream(&mut self, event: StreamEvent) {
        let now = self.desk.now();
        match event {
            StreamEvent::Message(transport, address, octets) => {
                let random = &mut || self.random.next();
                self.desk.state().forwarder.answer(
                    now,
                    random,
                    address,
                    transport,
                    &octets,
                    &mut self.actions,
                );
            }
            StreamEvent::Ended(upstream, transport, number, outcome) => {
                if let Err(error) = outcome {
                    self.tell_failure(upstream, &error);
                }
                if self.streams.ended(upstream, transport, number) {
                    self.failed.push_back((upstream, transport));
                }
            }
        }
    }

    fn client(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected(stream, peer) => self.clients.connected(stream, peer),
            ClientEvent::Gone(number) => self.clients.gone(number),
            ClientEvent::Query(number, address, octets) => {
                let client = Client { address, transport: ClientTransport::Tcp, mark: number };
                let (now, random) = (self.desk.now(), &mut || self.random.next());
                self.desk.state().forwarder.query(now, random, client, &octets, &mut self.actions);
            }
        }
    }

    /// Does what the forwarder wants done.
    async fn act(&mut self) {
        loop {
            let now = Instant::now();
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Reply { client, octets } => self.reply(client, octets),
                    Action::Send { upstream, transport, octets } => {
                        self.send(upstream, transport, octets, now)
                    }
                    Action::Close { upstream, port } => self.ports.close(upstream, port),
                    Action::Event(event) => self.tell(event),
                }
            }
            let Some((upstream, transport)) = self.failed.pop_front() else { break };
            let (at, random) = (self.desk.now(), &mut || self.random.next());
            self.desk.state().forwarder.transport_failed(at, random, upstream, transport, &mut self.actions);
        }
        while !self.outgoing.is_empty() {
            let rest = self.outgoing.split_off(self.outgoing.len().min(BATCH));
            self.speaker.say(std::mem::replace(&mut self.outgoing, rest)).await;
        }
    }

    fn reply(&mut self, client: Client, octets: Vec<u8>) {
        if client.transport == ClientTransport::Tcp {
            return self.clients.reply(client.mark, &octets);
        }
        self.outgoing.extend(self.desk.state().reply(client, octets));
    }

    fn send(&mut self, upstream: UpstreamId, transport: Transport, octets: Vec<u8>, now: Instant) {
        let outcome = match transport {
            Transport::Udp { port } => {
                let random = &mut || self.random.next();
                self.ports.send(upstream, port, &octets, now, random).map_err(|error| error.to_string())
            }
            transport => self.streams.send(upstream, transport, octets),
        };
        if let Err(error) = outcome {
            self.tell_failure(upstream, &error);
            self.failed.push_back((upstream, transport));
        }
    }

    fn follow(&mut self, order: Command) {
        match order {
            Command::Follow(wanted) => self.set(wanted.map(|wanted| *wanted)),
            Command::Pause(reply) => {
                self.set(None);
                // Who waited may have gone.
                let _ = reply.send(());
            }
            Command::Lease(address, device, name) => match name {
                Some(name) => {
                    self.desk.state().forwarder.add_lease(address, device, &name);
                    self.leases.insert(address, (device, name));
                }
                None => {
                    self.desk.state().forwarder.remove_lease(address);
                    self.leases.remove(&address);
                }
            },
        }
    }

    fn set(&mut self, wanted: Option<Wanted>) {
        let settings = wanted.as_ref().map_or_else(Settings::default, Wanted::settings);
        let same_transport =
            |old: &Wanted, new: &Wanted| (&old.upstreams, &old.tls_ca) == (&new.upstreams, &new.tls_ca);
        let transports_stay =
            matches!((&self.wanted, &wanted), (Some(old), Some(new)) if same_transport(old, new));
        let (now, random) = (self.desk.now(), &mut || self.random.next());
        // Questions to upstreams of before end here, those to the new ones wait until these are known.
        let followed = self.desk.state().forwarder.follow(now, random, &settings, &mut self.actions);
        self.problem(DnsFault::Settings, followed.err().map(|error| format!("dns: {error}")));
        if !transports_stay {
            let addresses: Vec<SocketAddr> =
                settings.upstreams.iter().map(|upstream| upstream.address).collect();
            self.ports.set_addresses(addresses);
            let upstreams = wanted.as_ref().map_or(&[][..], |wanted| &wanted.upstreams);
            let connector = if upstreams.iter().any(|upstream| upstream.is_tls) {
                tls::connector(wanted.as_ref().and_then(|wanted| wanted.tls_ca.as_deref()))
            } else {
                Err("no resolver has TLS".to_owned())
            };
            let problem =
                connector.as_ref().err().filter(|_| upstreams.iter().any(|upstream| upstream.is_tls));
            self.problem(
                DnsFault::Tls,
                problem.map(|error| format!("dns: no resolver over TLS can be asked: {error}")),
            );
            self.streams.set_upstreams(upstreams, connector);
            let reports = self.desk.state().forwarder.upstream_reports();
            let down = reports.iter().enumerate().filter(|(_, report)| report.is_down);
            self.down = down.map(|(index, _)| UpstreamId(index as u8)).collect();
        }
        let (addresses, admits) = wanted.as_ref().map_or_else(Default::default, |wanted| {
            let own = wanted.addresses.iter().map(|address| (*address).into());
            (wanted.addresses.clone(), wanted.admits.iter().copied().chain(own).collect::<Vec<_>>())
        });
        let problem = self.clients.listen(&addresses, &admits);
        self.desk.state().addresses = addresses;
        self.problem(DnsFault::Tcp, problem);
        self.wanted = wanted;
        self.set_names();
        self.tell_health();
        self.read_lists();
    }

    fn set_names(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        self.desk.state().forwarder.set_hosts(&wanted.hosts);
        self.desk.state().forwarder.set_split_names(&wanted.split);
        for (address, (device, name)) in &self.leases {
            self.desk.state().forwarder.add_lease(*address, *device, name);
        }
    }

    /// Reads the block lists, unless they are those that are in force or being read.
    fn read_lists(&mut self) {
        let paths = self.wanted.as_ref().map_or_else(Vec::new, |wanted| wanted.block.clone());
        let (marks, seed) = (self.marks.clone(), self.random.next());
        if let Some(reading) = self.reading.take() {
            reading.abort();
        } else if paths.is_empty() && marks.is_empty() {
            return;
        }
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let now = lists::marks(&paths);
            (now != marks).then(|| (now, lists::read(&paths, seed)))
        }));
    }

    fn put_lists(&mut self, read: Option<(Marks, Lists)>) {
        let Some((marks, lists)) = read else { return };
        let Lists { list, skipped, problems } = lists;
        info!(names = list.len(), skipped, files = marks.len(), "block lists");
        self.marks = marks;
        self.desk.state().forwarder.set_block_list(list);
        self.problem(DnsFault::BlockList, problems);
    }

    /// What is not urgent.
    fn tend(&mut self) {
        self.ports.tend(Instant::now());
        if self.clients.is_missing_some() {
            let problem = self.clients.bind_missing();
            self.problem(DnsFault::Tcp, problem);
        }
    }

    fn report(&self) -> DnsReport {
        told::report(&self.desk.state().forwarder, self.desk.now(), self.wanted.as_ref(), &self.problems)
    }
}

/// What a thread that reads has read; never, when none does.
async fn finished<T>(reading: Option<&mut JoinHandle<Option<T>>>) -> Option<T> {
    match reading {
        // One that has been told to stop has nothing.
        Some(reading) => reading.await.ok().flatten(),
        None => std::future::pending().await,
    }
}
