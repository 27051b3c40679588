//! Asking a reflector: over UDP, and over TCP where UDP does not get through.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::server::{Outcome, PATIENCE, Protocol};
use super::stun::{self, Class, Message, Transaction, Writer, attribute};
use super::{PORT, random};

/// Long enough for every answer of a reflector, which is never longer than the request.
const ROOM: usize = 80;

/// How long the first answer may take, and how often it is asked for.
const FIRST: (Duration, u32) = (Duration::from_millis(400), 5);

/// How long a port of a reflector over TCP may take to answer.
const CONNECT: Duration = Duration::from_secs(3);

/// Why a reflector cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no such host.
    #[error("{0} has no IPv4 address")]
    Unknown(String),
    /// No socket, no randomness.
    #[error("cannot ask")]
    Io(#[from] io::Error),
    /// No route leads there.
    #[error(
        "{0} cannot be reached from this machine: no route leads there. The router's own box has one with `[router] tun` only; ask from a host behind it"
    )]
    NoRoute(SocketAddrV4),
    /// It does not answer.
    #[error(
        "{0} does not answer, neither over UDP nor over TCP: is `genkan reflector` running there, and does a firewall let it be reached?"
    )]
    Silent(SocketAddrV4),
}

/// The endpoint of `HOST[:PORT]`.
///
/// # Errors
/// When the name has no address of IPv4.
pub(crate) fn find(host: &str) -> Result<SocketAddrV4, AskError> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| AskError::Unknown(host.to_owned()))?),
        None => (host, PORT),
    };
    let found = (name, port).to_socket_addrs().map_err(|_| AskError::Unknown(name.to_owned()))?;
    let v4 = |address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    };
    found.filter_map(v4).next().ok_or_else(|| AskError::Unknown(name.to_owned()))
}

/// Something to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Which endpoint of the reflector.
    to: SocketAddrV4,
    /// From where the answer is to come: bits of CHANGE-REQUEST.
    change: u32,
    /// Which port to try; else the question is who one is.
    target: Option<(Protocol, u16)>,
    /// At least so many octets.
    length: usize,
}

impl Question {
    /// Who am I, as seen at this endpoint?
    pub(crate) fn who_am_i(to: SocketAddrV4) -> Question {
        Question { to, change: 0, target: None, length: ROOM }
    }

    /// The same, to be answered from elsewhere.
    pub(crate) fn answered_from(self, change: u32) -> Question {
        Question { change, ..self }
    }

    /// The same, by a datagram of so many octets, up to [`stun::LONGEST`].
    pub(crate) fn of_length(self, length: usize) -> Question {
        Question { length: length.clamp(ROOM, stun::LONGEST), ..self }
    }

    fn octets(&self, transaction: &Transaction, token: &[u8]) -> Vec<u8> {
        let method = if self.target.is_some() { stun::PROBE } else { stun::BINDING };
        let mut writer = Writer::new(Class::Request, method, transaction);
        if !token.is_empty() {
            writer = writer.with(attribute::NONCE, token);
        }
        if self.change != 0 {
            writer = writer.with(attribute::CHANGE_REQUEST, &self.change.to_be_bytes());
        }
        if let Some((protocol, port)) = self.target {
            let [p, q] = port.to_be_bytes();
            writer = writer.with(attribute::PROBE_TARGET, &[protocol.number(), 0, p, q]);
        }
        writer.padded(self.length).finish()
    }
}

/// What a reflector says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// The asker as seen.
    pub(crate) mapped: SocketAddrV4,
    /// The reflector's other address and port.
    pub(crate) other: Option<SocketAddrV4>,
    /// The other port of one that has no other address.
    pub(crate) other_port: Option<u16>,
    /// What the port did, and after what time.
    pub(crate) tried: Option<(Outcome, Duration)>,
    /// From the question to the answer.
    pub(crate) round_trip: Duration,
}

/// Someone who asks a reflector.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where the reflector is.
    pub(crate) server: SocketAddrV4,
    /// What it said first.
    pub(crate) first: Reply,
    /// Datagrams come through.
    pub(crate) udp: bool,
    token: Vec<u8>,
    /// Between a question and asking it again.
    interval: Duration,
}

/// A port of one's own address as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tried {
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
    /// The external port.
    pub(crate) port: u16,
    /// What it did; `None` when the reflector did not say.
    pub(crate) outcome: Option<Outcome>,
    /// How long that took, in microseconds.
    #[serde(rename = "round_trip_microseconds", skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip: Option<u64>,
}

impl Client {
    /// Gets a token from a reflector.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn meet(server: SocketAddrV4) -> Result<Client, AskError> {
        let mut token = Vec::new();
        let (interval, times) = FIRST;
        let who = [Question::who_am_i(server)];
        let answers = ask(&socket()?, &who, &mut token, interval, times)?;
        let udp = answers[0].is_some();
        let first = match answers[0] {
            Some(reply) => reply,
            None => converse(server, &who[0], &mut token).map_err(|error| match error.kind() {
                ErrorKind::NetworkUnreachable => AskError::NoRoute(server),
                _ => AskError::Silent(server),
            })?,
        };
        // Three times the way there and back is enough for one that takes as long again.
        let interval = (first.round_trip * 3).clamp(Duration::from_millis(300), Duration::from_millis(600));
        Ok(Client { server, first, udp, token, interval })
    }

    /// Asks all of it at once from one socket. An answer that did not come is `None`.
    pub(crate) fn ask(
        &mut self,
        socket: &UdpSocket,
        questions: &[Question],
    ) -> Result<Vec<Option<Reply>>, AskError> {
        Ok(ask(socket, questions, &mut self.token, self.interval, 3)?)
    }

    /// Has ports of one's own address tried.
    pub(crate) fn try_ports(&mut self, ports: &[(Protocol, u16)]) -> Result<Vec<Tried>, AskError> {
        let to = self.server;
        let questions: Vec<Question> =
            ports.iter().map(|target| Question { target: Some(*target), ..Question::who_am_i(to) }).collect();
        let replies = if self.udp {
            ask(&socket()?, &questions, &mut self.token, PATIENCE + self.interval * 3, 3)?
        } else {
            questions.iter().map(|question| converse(to, question, &mut self.token).ok()).collect()
        };
        let tried = ports.iter().zip(replies).map(|((protocol, port), reply)| {
            let tried = reply.and_then(|reply| reply.tried);
            Tried {
                protocol: *protocol,
                port: *port,
                outcome: tried.map(|(outcome, _)| outcome),
                round_trip: tried
                    .filter(|(outcome, _)| *outcome != Outcome::Filtered)
                    .map(|(_, took)| took.as_micros() as u64),
            }
        });
        Ok(tried.collect())
    }

    /// How long to wait for something that has no answer by itself, and how often to send it.
    pub(crate) fn patience(&self) -> (Duration, u32) {
        (self.interval, 3)
    }
}

/// A socket with a port of its own.
pub(crate) fn socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

/// The address from which this machine sends there.
pub(crate) fn own_address(to: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = socket()?;
    socket.connect(to)?;
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(*address.ip()),
        SocketAddr::V6(_) => Ok(Ipv4Addr::UNSPECIFIED),
    }
}

/// A datagram of `socket`, before `deadline`. ICMP errors about what was sent before are passed over.
pub(crate) fn receive<'a>(
    socket: &UdpSocket,
    deadline: Instant,
    room: &'a mut [u8],
) -> io::Result<Option<&'a [u8]>> {
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        else {
            return Ok(None);
        };
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(room) {
            Ok((length, _)) => return Ok(Some(&room[..length])),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}

/// Asks up to `times`, `interval` apart, whatever is not answered yet.
fn ask(
    socket: &UdpSocket,
    questions: &[Question],
    token: &mut Vec<u8>,
    interval: Duration,
    times: u32,
) -> io::Result<Vec<Option<Reply>>> {
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for question in questions {
        waiting.push((random::<12>()?, question, begun));
    }
    let mut replies = vec![None; questions.len()];
    let mut room = [0; stun::LONGEST];
    for time in 1..=times {
        for ((transaction, question, sent), _) in
            waiting.iter_mut().zip(&replies).filter(|(_, it)| it.is_none())
        {
            *sent = Instant::now();
            send(socket, question, transaction, token);
        }
        let deadline = begun + interval * time;
        while replies.iter().any(Option::is_none) {
            let Some(octets) = receive(socket, deadline, &mut room)? else { break };
            let Some(message) = Message::parse(octets) else { continue };
            let asked = waiting.iter_mut().zip(&mut replies);
            let asked = asked.filter(|((transaction, ..), _)| *transaction == message.transaction);
            for ((transaction, question, sent), reply) in asked {
                match read(&message, sent.elapsed()) {
                    Heard::Reply(it) => *reply = Some(it),
                    Heard::Token(other) if other != *token => {
                        *token = other;
                        *sent = Instant::now();
                        send(socket, question, transaction, token);
                    }
                    Heard::Token(_) | Heard::Other => {}
                }
            }
        }
    }
    Ok(replies)
}

/// A way that is not there now, or a firewall of this machine, is the same as something that loses datagrams.
fn send(socket: &UdpSocket, question: &Question, transaction: &Transaction, token: &[u8]) {
    let _ = socket.send_to(&question.octets(transaction, token), question.to);
}

/// Asks one question over a connection of its own.
fn converse(server: SocketAddrV4, question: &Question, token: &mut Vec<u8>) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&server.into(), CONNECT)?;
    stream.set_read_timeout(Some(PATIENCE + CONNECT))?;
    stream.set_nodelay(true)?;
    let transaction = random()?;
    // With the token that there is, and with the one that comes instead.
    for _ in 0..2 {
        let sent = Instant::now();
        stream.write_all(&question.octets(&transaction, token))?;
        let mut room = [0; stun::LONGEST];
        stream.read_exact(&mut room[..stun::HEADER])?;
        let end = stun::HEADER + usize::from(u16::from_be_bytes([room[2], room[3]]));
        let rest = room.get_mut(stun::HEADER..end).ok_or(ErrorKind::InvalidData)?;
        stream.read_exact(rest)?;
        let message = Message::parse(&room[..end]).ok_or(ErrorKind::InvalidData)?;
        match read(&message, sent.elapsed()) {
            Heard::Reply(reply) => return Ok(reply),
            Heard::Token(other) => *token = other,
            Heard::Other => break,
        }
    }
    Err(ErrorKind::InvalidData.into())
}

/// What an answer is.
enum Heard {
    Reply(Reply),
    Token(Vec<u8>),
    Other,
}

fn read(message: &Message<'_>, round_trip: Duration) -> Heard {
    match (message.class, message.mapped(), message.attribute(attribute::NONCE)) {
        (Class::Success, Some(mapped), _) => {
            let result = message.attribute(attribute::PROBE_RESULT);
            let tried = result.and_then(|value| match *value {
                [outcome, _, _, _, a, b, c, d] => {
                    let took = Duration::from_micros(u64::from(u32::from_be_bytes([a, b, c, d])));
                    Some((Outcome::of_number(outcome)?, took))
                }
                _ => None,
            });
            let other_port = message.attribute(attribute::OTHER_PORT);
            Heard::Reply(Reply {
                mapped,
                other: message.endpoint(attribute::OTHER_ADDRESS),
                other_port: other_port.and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?))),
                tried,
                round_trip,
            })
        }
        (Class::Error, _, Some(token)) if message.error_code() == Some(stun::STALE_NONCE) => {
            Heard::Token(token.to_vec())
        }
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_port_of_stun_unless_it_says_otherwise() {
        for (text, endpoint) in [
            ("192.0.2.1", Some("192.0.2.1:3478")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("", None),
        ] {
            let found = find(text).ok().map(|found| found.to_string());
            assert_eq!(found.as_deref(), endpoint, "{text:?}");
        }
    }
}
