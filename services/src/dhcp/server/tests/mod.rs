mod exchange;
mod history;
mod known_by;
mod load;
mod options;
mod reboot;
mod relay;
mod stock;

use std::net::Ipv4Addr;

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};
use genkan_engine::time::{Timestamp, UnixTime};

use super::*;
use crate::dhcp::journal::{HEADER, replay};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const WALL: i64 = 1_800_000_000;

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn at(seconds: u64) -> Now {
    Now { monotonic: Timestamp::from_secs(seconds), wall: UnixTime(WALL + seconds as i64) }
}

/// 192.0.2.0/24 with a pool of 100 to 109.
fn config() -> Config {
    let mut subnet = Subnet::new("192.0.2.0/24".parse().unwrap());
    subnet.pool = Some(host(100)..=host(109));
    subnet.lease_time = 3600;
    subnet.options.routers = vec![ROUTER];
    Config::new(ROUTER, subnet)
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// A client's message, written octet by octet.
#[derive(Clone)]
struct Ask {
    kind: MessageType,
    mac: MacAddr,
    flags: u16,
    ciaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    destination: Ipv4Addr,
    options: Vec<(u8, Vec<u8>)>,
}

impl Ask {
    fn new(kind: MessageType, n: u8) -> Ask {
        let (ciaddr, giaddr, destination) = (NONE, NONE, Ipv4Addr::BROADCAST);
        Ask { kind, mac: mac(n), flags: 0, ciaddr, giaddr, destination, options: Vec::new() }
    }
    fn discover(n: u8) -> Ask {
        Ask::new(MessageType::Discover, n)
    }
    fn selecting(n: u8, address: Ipv4Addr) -> Ask {
        Ask::new(MessageType::Request, n).server(ROUTER).requested(address)
    }
    fn init_reboot(n: u8, address: Ipv4Addr) -> Ask {
        Ask::new(MessageType::Request, n).requested(address)
    }
    fn renewing(n: u8, address: Ipv4Addr) -> Ask {
        Ask { destination: ROUTER, ..Ask::rebinding(n, address) }
    }
    fn rebinding(n: u8, address: Ipv4Addr) -> Ask {
        Ask { ciaddr: address, ..Ask::new(MessageType::Request, n) }
    }
    fn release(n: u8, address: Ipv4Addr) -> Ask {
        Ask { ciaddr: address, destination: ROUTER, ..Ask::new(MessageType::Release, n) }.server(ROUTER)
    }
    fn decline(n: u8, address: Ipv4Addr) -> Ask {
        Ask::new(MessageType::Decline, n).server(ROUTER).requested(address)
    }
    fn option(mut self, code: u8, value: &[u8]) -> Ask {
        self.options.push((code, value.to_vec()));
        self
    }
    fn server(self, address: Ipv4Addr) -> Ask {
        self.option(54, &address.octets())
    }
    fn requested(self, address: Ipv4Addr) -> Ask {
        self.option(50, &address.octets())
    }
    fn payload(&self) -> Vec<u8> {
        let mut octets = vec![1, 1, 6, 0, 0xaa, 0xbb, 0xcc, self.mac.0[5], 0, 0];
        octets.extend(self.flags.to_be_bytes());
        octets.extend([self.ciaddr, NONE, NONE, self.giaddr].iter().flat_map(|address| address.octets()));
        octets.extend(self.mac.0);
        octets.resize(236, 0);
        octets.extend([99, 130, 83, 99, 53, 1, self.kind.into()]);
        for (code, value) in &self.options {
            octets.extend([*code, value.len() as u8]);
            octets.extend(value);
        }
        octets.push(255);
        octets
    }
}

/// A server whose records are written at once and whose probes are all answered by nobody, unless told otherwise.
struct Bench {
    server: Server,
    file: Vec<u8>,
    now: u64,
    in_use: BTreeMap<Ipv4Addr, MacAddr>,
    probed: Vec<Ipv4Addr>,
    events: Vec<Event>,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let server = Server::new(config, &Replay::default(), at(1), 7).unwrap();
        let (file, in_use) = (HEADER.to_vec(), BTreeMap::new());
        let mut bench = Bench { server, file, now: 1, in_use, probed: Vec::new(), events: Vec::new() };
        bench.settle();
        bench
    }

    fn settle(&mut self) {
        loop {
            while let Some(Probe { address, .. }) = self.server.poll_probe() {
                self.probed.push(address);
                let outcome = match self.in_use.get(&address) {
                    Some(mac) => ProbeOutcome::InUse(Some(*mac)),
                    None => ProbeOutcome::Free,
                };
                self.server.handle_probe(at(self.now), address, outcome);
            }
            while let Some(event) = self.server.poll_event() {
                self.events.push(event);
            }
            let Some(batch) = self.server.poll_records() else { break };
            self.file.extend(batch.octets);
            self.server.committed(batch.sequence);
        }
    }

    /// All answers to one message.
    fn ask(&mut self, ask: Ask) -> Vec<(Delivery, v4::Message)> {
        let payload = ask.payload();
        let datagram = Datagram { source: ask.ciaddr, destination: ask.destination, payload: &payload };
        self.server.handle_datagram(at(self.now), &datagram);
        self.settle();
        let mut answers = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            answers.push((transmit.delivery, decode(&transmit.payload)));
        }
        answers
    }

    fn answer(&mut self, ask: Ask) -> (Delivery, v4::Message) {
        let mut answers = self.ask(ask);
        assert_eq!(answers.len(), 1, "{answers:?} {:?}", self.events);
        answers.remove(0)
    }

    fn kind(&mut self, ask: Ask) -> Option<MessageType> {
        let answers = self.ask(ask);
        assert!(answers.len() <= 1);
        answers.first().and_then(|(_, message)| message.opts().msg_type())
    }

    /// Four messages; the address that the client has then.
    fn lease(&mut self, n: u8) -> Ipv4Addr {
        let offered = self.answer(Ask::discover(n)).1.yiaddr();
        let (_, ack) = self.answer(Ask::selecting(n, offered));
        assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), offered));
        offered
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        self.server.handle_timeout(at(self.now));
        self.settle();
    }

    /// As after kill -9: only the file is left.
    fn restart(&mut self, config: Config) {
        let told = replay(&self.file);
        assert_eq!(told.damaged, 0);
        self.server = Server::new(config, &told, at(self.now), 9).unwrap();
        self.settle();
    }
}

fn decode(payload: &[u8]) -> v4::Message {
    assert!(payload.len() >= 300);
    v4::Message::decode(&mut Decoder::new(payload)).unwrap()
}

/// The codes of the options in the order in which they stand.
fn codes(payload: &[u8]) -> Vec<u8> {
    let mut rest = &payload[240..];
    let mut codes = Vec::new();
    while let [code, len, behind @ ..] = rest {
        if *code == 255 {
            break;
        }
        codes.push(*code);
        rest = &behind[usize::from(*len)..];
    }
    codes
}

fn option(message: &v4::Message, code: OptionCode) -> Option<DhcpOption> {
    message.opts().get(code).cloned()
}
