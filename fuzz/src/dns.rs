//! Any octets as queries, answers and names of the DNS forwarder.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use genkan_engine::Timestamp;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_services::dns::{
    Action, BlockListBuilder, Client, ClientTransport, Forwarder, Protocol, Settings, Strategy, Transport,
    Upstream, UpstreamId,
};

/// Octets that answers may take in here: little, so that some have to go.
const CACHE: usize = 4096;
/// Questions that may wait.
const WAITING: usize = 8;
/// The largest datagram that a client is sent.
const LARGEST: usize = 1232;

struct Sent {
    upstream: UpstreamId,
    transport: Transport,
    octets: Vec<u8>,
}

struct World {
    forwarder: Forwarder,
    now: Timestamp,
    numbers: u64,
    upstreams: Vec<Upstream>,
    sent: Vec<Sent>,
    open: BTreeSet<u16>,
    /// Queries taken, and replies sent.
    queries: u64,
    replies: u64,
}

fn settings(choice: u8) -> Settings {
    let upstream = |last: u8| Upstream {
        address: ([203, 0, 113, last], 53).into(),
        protocol: if last & 1 == 0 { Protocol::Plain } else { Protocol::Tls },
    };
    Settings {
        upstreams: (0..choice % 4).map(upstream).collect(),
        strategy: if choice & 4 == 0 { Strategy::Ordered } else { Strategy::Parallel },
        domain: if choice & 8 == 0 { "home.arpa" } else { "lan" }.to_owned(),
        cache_octets: if choice & 16 == 0 { CACHE } else { CACHE / 4 },
        stale: Duration::from_secs(if choice & 32 == 0 { 86_400 } else { 0 }),
        rebinding_protection: choice & 64 == 0,
        max_waiting: WAITING,
        client_statistics: choice & 128 == 0,
        ..Settings::default()
    }
}

/// Takes the input as a run of steps: what happens, how long what follows is, and that.
///
/// # Panics
/// On a bug.
pub fn check(octets: &[u8]) {
    let settings = settings(2);
    let mut world = World {
        forwarder: Forwarder::new(&settings, 7).expect("they are right"),
        now: Timestamp::from_secs(1),
        numbers: 1,
        upstreams: settings.upstreams,
        sent: Vec::new(),
        open: BTreeSet::new(),
        queries: 0,
        replies: 0,
    };
    let mut rest = octets;
    while let [what, length, more @ ..] = rest {
        let (data, after) = more.split_at(more.len().min(usize::from(*length)));
        world.step(*what, data);
        rest = after;
    }
    // Whatever was asked, everybody has been told within the deadline, and nothing is left open.
    world.pass(Duration::from_secs(6));
    assert_eq!(world.forwarder.outstanding(), 0, "questions without an end");
    // Those who were not the first to answer are heard for a while longer.
    world.pass(Duration::from_secs(3));
    assert!(world.open.is_empty(), "ports without an end: {:?}", world.open);
    assert_eq!(world.forwarder.poll_timeout(), None);
}

impl World {
    fn step(&mut self, what: u8, data: &[u8]) {
        let choice = what >> 3;
        match what & 7 {
            0 => self.query(choice, data),
            1 => self.query(choice, &plain_query(choice, data)),
            2 => self.answer(choice, data, false),
            3 => self.answer(choice, data, true),
            4 => self.pass(Duration::from_millis(u64::from(choice) * u64::from(choice) * 50)),
            5 => self.fail(choice),
            6 => self.names(choice, data),
            _ => self.follow(data.first().copied().unwrap_or(choice)),
        }
        assert!(self.forwarder.outstanding() <= WAITING);
        assert!(self.forwarder.cache_use().0 <= CACHE);
        assert!(self.replies <= self.queries, "a reply that nobody asked for");
    }

    fn random(numbers: &mut u64) -> u64 {
        *numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *numbers >> 7
    }

    fn query(&mut self, choice: u8, octets: &[u8]) {
        let transport = if choice & 1 == 0 { ClientTransport::Udp } else { ClientTransport::Tcp };
        let address: SocketAddr = ([192, 168, 0, choice >> 1 & 3], 4_000).into();
        let client = Client { address, transport, mark: u32::from(choice) };
        self.queries += 1;
        let mut actions = Vec::new();
        let numbers = &mut self.numbers;
        self.forwarder.query(self.now, &mut || World::random(numbers), client, octets, &mut actions);
        self.note(actions);
    }

    /// An answer to something that was asked; `whole`: header and question as they have to be, records of the input.
    fn answer(&mut self, choice: u8, data: &[u8], whole: bool) {
        let Some(index) = self.sent.len().checked_sub(1 + usize::from(choice & 7)) else { return };
        let sent = &self.sent[index];
        let Some(upstream) = self.upstreams.get(usize::from(sent.upstream.0)) else { return };
        let (source, transport) = (upstream.address, sent.transport);
        let mut octets = data.to_vec();
        if whole {
            let end = 12 + sent.octets[12..].iter().position(|octet| *octet == 0).unwrap_or(0) + 5;
            octets = sent.octets[..end.min(sent.octets.len())].to_vec();
            octets[2] |= 0x80;
            octets[4..12].copy_from_slice(&[0, 1, 0, choice >> 3 & 1, 0, choice >> 4 & 1, 0, 0]);
            octets.extend_from_slice(data);
        } else if octets.len() >= 2 {
            octets[..2].copy_from_slice(&sent.octets[..2]);
        }
        let mut actions = Vec::new();
        let numbers = &mut self.numbers;
        let random = &mut || World::random(numbers);
        self.forwarder.answer(self.now, random, source, transport, &octets, &mut actions);
        self.note(actions);
    }

    fn fail(&mut self, choice: u8) {
        let Some(index) = self.sent.len().checked_sub(1 + usize::from(choice)) else { return };
        let (upstream, transport) = (self.sent[index].upstream, self.sent[index].transport);
        let mut actions = Vec::new();
        let numbers = &mut self.numbers;
        let random = &mut || World::random(numbers);
        self.forwarder.transport_failed(self.now, random, upstream, transport, &mut actions);
        self.note(actions);
    }

    fn names(&mut self, choice: u8, data: &[u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        let address = Ipv4Addr::new(192, 168, 0, choice);
        match choice % 5 {
            0 => drop(self.forwarder.add_lease(address, MacAddr([2, 0, 0, 0, 0, choice % 3]), &text)),
            1 => self.forwarder.remove_lease(address),
            2 => self.forwarder.set_hosts(&[(text, vec![IpAddr::V4(address)])]),
            3 => self.forwarder.set_split_names(&[(text, address)]),
            _ => {
                let mut builder = BlockListBuilder::new(4, 1);
                let _ = text.lines().try_for_each(|line| builder.line(line));
                self.forwarder.set_block_list(builder.finish());
            }
        }
    }

    fn follow(&mut self, choice: u8) {
        let settings = settings(choice);
        let mut actions = Vec::new();
        let numbers = &mut self.numbers;
        let random = &mut || World::random(numbers);
        self.forwarder.follow(self.now, random, &settings, &mut actions).expect("they are right");
        if self.upstreams != settings.upstreams {
            self.sent.clear();
            self.upstreams = settings.upstreams;
        }
        self.note(actions);
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut calls = 0;
        while let Some(at) = self.forwarder.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut actions = Vec::new();
            let numbers = &mut self.numbers;
            self.forwarder.handle_timeout(self.now, &mut || World::random(numbers), &mut actions);
            self.note(actions);
            calls += 1;
            assert!(calls < 10_000, "it does not come to rest");
        }
        self.now = end;
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply { client, octets } => {
                    self.replies += 1;
                    let largest = match client.transport {
                        ClientTransport::Udp => LARGEST,
                        ClientTransport::Tcp => usize::from(u16::MAX),
                    };
                    assert!((12..=largest).contains(&octets.len()), "{} octets", octets.len());
                    assert!(octets[2] & 0x80 != 0, "a reply is a response");
                }
                Action::Send { upstream, transport, octets } => {
                    if let Transport::Udp { port } = transport {
                        assert!(port >= 1024 && self.open.insert(port), "port {port} is in use");
                        assert!(octets.len() <= 512, "a question is short");
                    }
                    self.sent.push(Sent { upstream, transport, octets });
                }
                Action::Close { port, .. } => assert!(self.open.remove(&port), "port {port} was not open"),
                Action::Event(_) => {}
            }
        }
    }
}

/// A query as stub resolvers send it, with a label of the input.
fn plain_query(choice: u8, data: &[u8]) -> Vec<u8> {
    let label = &data[..data.len().min(63)];
    let kind = [1, 28, 12, 65, 255, 16, 6, 2][usize::from(choice >> 1 & 7)];
    let mut octets = vec![0, choice, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    if !label.is_empty() {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label);
    }
    octets.extend_from_slice(b"\x07example\0\0");
    octets.extend_from_slice(&[kind, 0, 1]);
    octets
}
