//! What a reflector does with a message: a function of the message, its sender, the clock and what is under way. No
//! sockets here; [`super::service`] has them.
//!
//! The rules that keep it from being of use to anybody else than its askers:
//! * No answer is longer than its request, so nobody is flooded more by way of it than without it.
//! * Whoever has no token gets one, and nothing else. It comes to the address that was given as the asker's, so only who
//!   receives there can go on.
//! * What is tried is one port, at the very address of the asker; never at one that is not of the public internet.
//! * What it costs is bounded for each source and in all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::limits::{Limit, Rate};
use super::stun::{self, Class, Message, Transaction, Writer, attribute};
use super::token::Mint;

/// Ports that are being tried, at once.
pub(crate) const MOST_PROBES: usize = 256;

/// How long the answer of a port is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Messages without a token. Who asks for others gets the others' allowance only.
const STRANGERS: (Rate, Rate) = (rate(20, 100), rate(2_000, 1));
/// Binding requests with a token.
const BINDINGS: (Rate, Rate) = (rate(60, 50), rate(5_000, 1));
/// Ports to be tried.
const PROBES: (Rate, Rate) = (rate(32, 1_000), rate(200, 20));
/// TCP connections.
const CONNECTIONS: (Rate, Rate) = (rate(8, 3_000), rate(64, 50));

const fn rate(burst: u32, milliseconds: u64) -> Rate {
    Rate { burst, interval: Duration::from_millis(milliseconds) }
}

/// Where a reflector is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Its first address and port. The address may be 0.0.0.0.
    pub(crate) first: SocketAddrV4,
    /// Its other port.
    pub(crate) other_port: u16,
    /// Its other address, if it has one.
    pub(crate) other_address: Option<Ipv4Addr>,
}

/// One of the up to four endpoints of a reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// At the other address.
    pub(crate) other_address: bool,
    /// At the other port.
    pub(crate) other_port: bool,
}

impl Places {
    /// Every one.
    pub(crate) fn all(&self) -> impl Iterator<Item = Place> {
        let addresses = [Some(false), self.other_address.map(|_| true)].into_iter().flatten();
        addresses
            .flat_map(|other_address| [false, true].map(|other_port| Place { other_address, other_port }))
    }

    /// Where one is.
    pub(crate) fn endpoint(&self, place: Place) -> SocketAddrV4 {
        let address = self.other_address.filter(|_| place.other_address).unwrap_or(*self.first.ip());
        SocketAddrV4::new(address, if place.other_port { self.other_port } else { self.first.port() })
    }
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// As a datagram to this place, at this address of ours: one of many where the place has none of its own.
    Datagram(Place, Ipv4Addr),
    /// Over this TCP connection.
    Connection(u64),
}

/// What a port is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// A connection is begun.
    Tcp,
    /// A datagram is sent.
    Udp,
}

impl Protocol {
    /// IANA's number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// What a port did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It took the connection, or answered the datagram.
    Open,
    /// A TCP reset or an ICMP error came back.
    Closed,
    /// Nothing came back. Of a UDP port that says less: what listens there need not answer strangers.
    Filtered,
}

impl Outcome {
    const ALL: [Outcome; 3] = [Outcome::Open, Outcome::Closed, Outcome::Filtered];

    fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The outcome of this number.
    pub(crate) fn of_number(number: u8) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.number() == number)
    }
}

/// A port that is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Which, for [`Server::probed`].
    pub(crate) id: u64,
    /// With what.
    pub(crate) protocol: Protocol,
    /// Where: at the asker's address.
    pub(crate) target: SocketAddrV4,
    /// The datagram is to be a binding request of this transaction, so that the asker knows it.
    pub(crate) transaction: Transaction,
}

/// What is to be done about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Answer it.
    Answer(Answer),
    /// Try a port, and say what came of it.
    Probe(Probe),
    /// Nothing.
    Ignore(Refusal),
}

/// An answer on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Out of this place, or over this connection.
    pub(crate) way: Way,
    /// To whom.
    pub(crate) to: SocketAddrV4,
    /// What.
    pub(crate) octets: Vec<u8>,
}

/// Why a message is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its sender is at no public address, or at one of ours.
    Address,
    /// It is no request, or none that is known here.
    Malformed,
    /// Its answer would be longer than itself.
    TooShort,
    /// Its sender, or everybody together, has asked too much.
    Limited,
    /// That port is being tried already for this question.
    UnderWay,
}

impl Refusal {
    /// For the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Address => "address",
            Refusal::Malformed => "malformed",
            Refusal::TooShort => "too_short",
            Refusal::Limited => "limited",
            Refusal::UnderWay => "under_way",
        }
    }
}

/// A port that is being tried, and for whom.
#[derive(Debug)]
struct Pending {
    id: u64,
    room: usize,
}

/// Who asked what.
type Question = (Way, SocketAddrV4, Transaction);

/// The reflector.
#[derive(Debug)]
pub(crate) struct Server {
    places: Places,
    any_address: bool,
    mint: Mint,
    strangers: Limit,
    bindings: Limit,
    probes: Limit,
    connections: Limit,
    pending: HashMap<Question, Pending>,
    next_id: u64,
}

impl Server {
    /// One at these places. `any_address`: also for askers at addresses that are not of the public internet. The key is
    /// secret.
    pub(crate) fn new(places: Places, any_address: bool, key: [u8; 16]) -> Server {
        let limit = |(per_source, in_all): (Rate, Rate)| Limit::new(key, per_source, in_all);
        Server {
            places,
            any_address,
            mint: Mint::new(key),
            strangers: limit(STRANGERS),
            bindings: limit(BINDINGS),
            probes: limit(PROBES),
            connections: limit(CONNECTIONS),
            pending: HashMap::new(),
            next_id: 0,
        }
    }

    /// Whether a connection from there may stay.
    pub(crate) fn connected(&mut self, now: Duration, from: Ipv4Addr) -> Result<(), Refusal> {
        self.serves(from)?;
        self.connections.admits(now, from).then_some(()).ok_or(Refusal::Limited)
    }

    /// Judges a message that came at `now`, counted from the start.
    pub(crate) fn message(&mut self, now: Duration, way: Way, from: SocketAddrV4, octets: &[u8]) -> Action {
        self.judge(now, way, from, octets).unwrap_or_else(Action::Ignore)
    }

    /// The port was tried: what came of it, and how long that took. Returns what the asker is told.
    pub(crate) fn probed(&mut self, id: u64, outcome: Outcome, round_trip: Duration) -> Option<Answer> {
        let question =
            self.pending.iter().find(|(_, pending)| pending.id == id).map(|(question, _)| *question)?;
        let room = self.pending.remove(&question)?.room;
        let (way, to, transaction) = question;
        let micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX).to_be_bytes();
        let result = [&[outcome.number(), 0, 0, 0][..], &micros].concat();
        let answer = Writer::new(Class::Success, stun::PROBE, &transaction)
            .with_mapped(to)
            .with(attribute::PROBE_RESULT, &result);
        fitting(way, to, answer, room).ok()
    }

    fn judge(
        &mut self,
        now: Duration,
        way: Way,
        from: SocketAddrV4,
        octets: &[u8],
    ) -> Result<Action, Refusal> {
        self.serves(*from.ip())?;
        let request = Message::parse(octets).filter(|message| message.class == Class::Request);
        let request = request.filter(|message| matches!(message.method, stun::BINDING | stun::PROBE));
        let request = request.filter(|_| from.port() != 0).ok_or(Refusal::Malformed)?;
        let (address, room) = (*from.ip(), octets.len());
        let token = request.attribute(attribute::NONCE).unwrap_or_default();
        if !self.mint.is_good(now, address, token) {
            let answer = Writer::new(Class::Error, request.method, &request.transaction)
                .with_error(stun::STALE_NONCE)
                .with(attribute::NONCE, &self.mint.token(now, address));
            let answer = fitting(way, from, answer, room)?;
            return self
                .strangers
                .admits(now, address)
                .then_some(Action::Answer(answer))
                .ok_or(Refusal::Limited);
        }
        match request.method {
            stun::BINDING => {
                let answer = self.binding(way, from, &request, room)?;
                self.bindings.admits(now, address).then_some(Action::Answer(answer)).ok_or(Refusal::Limited)
            }
            _ => self.probe(now, way, from, &request, room),
        }
    }

    /// The answer to a binding request (RFC 5780 §6.1).
    fn binding(
        &self,
        way: Way,
        from: SocketAddrV4,
        request: &Message<'_>,
        room: usize,
    ) -> Result<Answer, Refusal> {
        let unknown = |(kind, _): &(u16, &[u8])| {
            *kind < 0x8000
                && ![attribute::CHANGE_REQUEST, attribute::NONCE, attribute::PADDING].contains(kind)
        };
        let change = request.number(attribute::CHANGE_REQUEST).unwrap_or(0);
        let change_address = change & stun::CHANGE_ADDRESS != 0;
        let change_port = change & stun::CHANGE_PORT != 0;
        let way = match way {
            Way::Datagram(place, own) => {
                let place = Place {
                    other_address: place.other_address ^ change_address,
                    other_port: place.other_port ^ change_port,
                };
                Way::Datagram(place, if change_address { *self.places.endpoint(place).ip() } else { own })
            }
            connection => connection,
        };
        let impossible = match way {
            Way::Datagram(..) => change_address && self.places.other_address.is_none(),
            Way::Connection(_) => change != 0,
        };
        if impossible || request.attributes().any(|it| unknown(&it)) {
            let answer =
                Writer::new(Class::Error, request.method, &request.transaction).with_error(stun::BAD_REQUEST);
            return fitting(way, from, answer, room);
        }
        let mut answer = Writer::new(Class::Success, stun::BINDING, &request.transaction).with_mapped(from);
        if let Way::Datagram(place, own) = way {
            let origin = SocketAddrV4::new(own, self.places.endpoint(place).port());
            answer = answer.with_endpoint(attribute::RESPONSE_ORIGIN, origin);
            answer = match self.places.other_address {
                Some(address) => {
                    let other = SocketAddrV4::new(address, self.places.other_port);
                    answer.with_endpoint(attribute::OTHER_ADDRESS, other)
                }
                // RFC 5780 §7.4: OTHER-ADDRESS is for those who have one.
                None => answer.with(attribute::OTHER_PORT, &self.places.other_port.to_be_bytes()),
            };
        }
        fitting(way, from, answer, room)
    }

    fn probe(
        &mut self,
        now: Duration,
        way: Way,
        from: SocketAddrV4,
        request: &Message<'_>,
        room: usize,
    ) -> Result<Action, Refusal> {
        let (protocol, port) = match request.attribute(attribute::PROBE_TARGET) {
            Some([protocol, 0, p, q]) => (*protocol, u16::from_be_bytes([*p, *q])),
            _ => return Err(Refusal::Malformed),
        };
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|it| it.number() == protocol);
        let protocol = protocol.filter(|_| port != 0).ok_or(Refusal::Malformed)?;
        let question = (way, from, request.transaction);
        if self.pending.contains_key(&question) {
            return Err(Refusal::UnderWay);
        }
        if self.pending.len() >= MOST_PROBES || !self.probes.admits(now, *from.ip()) {
            return Err(Refusal::Limited);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(question, Pending { id, room });
        let target = SocketAddrV4::new(*from.ip(), port);
        Ok(Action::Probe(Probe { id, protocol, target, transaction: request.transaction }))
    }

    fn serves(&self, address: Ipv4Addr) -> Result<(), Refusal> {
        let ours = address == *self.places.first.ip() || Some(address) == self.places.other_address;
        let served = !ours && (is_public(address) || self.any_address && may_be_a_host(address));
        served.then_some(()).ok_or(Refusal::Address)
    }
}

/// An answer, unless it is longer than its request.
fn fitting(way: Way, to: SocketAddrV4, answer: Writer, room: usize) -> Result<Answer, Refusal> {
    let octets = answer.finish();
    if octets.len() > room { Err(Refusal::TooShort) } else { Ok(Answer { way, to, octets }) }
}

/// Whether an address is one of a host at all, loopback included.
fn may_be_a_host(address: Ipv4Addr) -> bool {
    !(address.octets()[0] == 0 || address.is_multicast() || address.octets()[0] >= 240)
}

/// Whether an address is one of the public internet (IANA's registry of special-purpose addresses, RFC 6890).
pub(crate) fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => (64..128).contains(&b),
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => a >= 224,
    };
    !special
}

#[cfg(test)]
mod tests;
