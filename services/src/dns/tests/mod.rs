//! The forwarder as a whole, on virtual time, with upstreams that this file plays.

mod hostile;
mod names;
mod upstreams;

use std::net::SocketAddr;
use std::time::Duration;

use genkan_engine::Timestamp;
use genkan_engine::rng::Rng;
use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn upstream(last: u8) -> Upstream {
    Upstream { address: ([203, 0, 113, last], 53).into(), protocol: Protocol::Plain }
}

fn client(last: u8) -> Client {
    Client { address: ([192, 168, 0, last], 40_000).into(), transport: ClientTransport::Udp, mark: 7 }
}

/// A message that went to an upstream.
#[derive(Clone, Debug)]
struct Sent {
    upstream: UpstreamId,
    transport: Transport,
    octets: Vec<u8>,
}

impl Sent {
    fn message(&self) -> Message {
        Message::from_vec(&self.octets).unwrap()
    }

    /// A response to it, with its identifier and question.
    fn response(&self, rcode: ResponseCode) -> Message {
        let asked = self.message();
        let mut response = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        response.metadata.response_code = rcode;
        response.add_queries(asked.queries);
        response.edns = asked.edns;
        response
    }

    fn response_a(&self, ttl: u32, address: [u8; 4]) -> Message {
        let mut response = self.response(ResponseCode::NoError);
        let owner = response.queries[0].name().clone();
        response.add_answer(Record::from_rdata(owner, ttl, RData::A(A(address.into()))));
        response
    }

    fn response_nx(&self, ttl: u32, minimum: u32) -> Message {
        let mut response = self.response(ResponseCode::NXDomain);
        let soa = SOA::new(name("example."), name("x.example."), 1, 2, 3, 4, minimum);
        response.add_authority(Record::from_rdata(name("example."), ttl, RData::SOA(soa)));
        response
    }
}

/// A forwarder, its time and randomness, and what came out of it.
struct Bench {
    forwarder: Forwarder,
    upstreams: Vec<Upstream>,
    now: Timestamp,
    rng: Rng,
    sent: Vec<Sent>,
    replies: Vec<(Client, Vec<u8>)>,
    closed: Vec<u16>,
    events: Vec<Event>,
}

impl Bench {
    fn new(settings: &Settings) -> Bench {
        Bench {
            forwarder: Forwarder::new(settings, 99).unwrap(),
            upstreams: settings.upstreams.clone(),
            now: Timestamp::from_secs(1000),
            rng: Rng::new(5),
            sent: Vec::new(),
            replies: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
        }
    }

    /// With two plain upstreams, asked in order.
    fn plain() -> Bench {
        Bench::new(&Settings { upstreams: vec![upstream(1), upstream(2)], ..Settings::default() })
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply { client, octets } => self.replies.push((client, octets)),
                Action::Send { upstream, transport, octets } => {
                    self.sent.push(Sent { upstream, transport, octets })
                }
                Action::Close { port, .. } => self.closed.push(port),
                Action::Event(event) => self.events.push(event),
            }
        }
    }

    fn query_octets(&mut self, client: Client, octets: &[u8]) {
        let mut actions = Vec::new();
        let rng = &mut self.rng;
        self.forwarder.query(self.now, &mut || rng.next_u64(), client, octets, &mut actions);
        self.note(actions);
    }

    fn query(&mut self, client: Client, id: u16, text: &str, kind: RecordType) {
        self.query_octets(client, &query(id, text, kind).to_vec().unwrap());
    }

    fn answer_octets(&mut self, source: SocketAddr, transport: Transport, octets: &[u8]) {
        let mut actions = Vec::new();
        let rng = &mut self.rng;
        self.forwarder.answer(self.now, &mut || rng.next_u64(), source, transport, octets, &mut actions);
        self.note(actions);
    }

    /// An answer from where the question went.
    fn answer(&mut self, sent: &Sent, response: &Message) {
        let source = self.upstreams[usize::from(sent.upstream.0)].address;
        self.answer_octets(source, sent.transport, &response.to_vec().unwrap());
    }

    fn follow(&mut self, settings: &Settings) {
        let mut actions = Vec::new();
        let rng = &mut self.rng;
        self.forwarder.follow(self.now, &mut || rng.next_u64(), settings, &mut actions).unwrap();
        self.note(actions);
    }

    fn check(&mut self) {
        let mut actions = Vec::new();
        let rng = &mut self.rng;
        self.forwarder.check_upstreams(self.now, &mut || rng.next_u64(), &mut actions);
        self.note(actions);
    }

    fn transport_failed(&mut self, sent: &Sent) {
        let mut actions = Vec::new();
        let rng = &mut self.rng;
        let (upstream, transport) = (sent.upstream, sent.transport);
        self.forwarder.transport_failed(self.now, &mut || rng.next_u64(), upstream, transport, &mut actions);
        self.note(actions);
    }

    /// Lets time pass, stopping where the forwarder wants to be called.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.forwarder.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut actions = Vec::new();
            let rng = &mut self.rng;
            self.forwarder.handle_timeout(self.now, &mut || rng.next_u64(), &mut actions);
            self.note(actions);
        }
        self.now = end;
    }

    fn last_sent(&self) -> Sent {
        self.sent.last().unwrap().clone()
    }

    /// The only reply since the last look.
    fn reply(&mut self) -> Message {
        assert_eq!(self.replies.len(), 1);
        Message::from_vec(&self.replies.pop().unwrap().1).unwrap()
    }

    /// Asks, has the upstream answer with `address`, and drops the reply.
    fn learn(&mut self, text: &str, ttl: u32, address: [u8; 4]) {
        self.query(client(1), 1, text, RecordType::A);
        let sent = self.last_sent();
        self.answer(&sent, &sent.response_a(ttl, address));
        self.reply();
    }
}

fn query(id: u16, text: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(name(text), kind));
    message
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
