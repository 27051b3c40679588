//! DHCP clients made by hand.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use genkan_lab::Namespace;

use crate::fixture::PATIENCE;

/// A client made by hand, at a host that has another address: it asks to be answered by broadcast.
pub(crate) struct Client {
    socket: UdpSocket,
    mac: [u8; 6],
    id: Vec<u8>,
    /// Of the last message.
    pub(crate) xid: u32,
}

/// A message of the server.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: u8,
    pub(crate) xid: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) options: BTreeMap<u8, Vec<u8>>,
}

/// Kinds of messages (RFC 2132 section 9.6).
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;
pub(crate) const RELEASE: u8 = 7;
pub(crate) const INFORM: u8 = 8;

/// The router.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Transaction IDs of clients begin here, and are so far apart.
const FIRST_XID: u32 = 0x1000;
const NEXT_XID: u32 = 0x10_0000;

/// A socket that broadcasts.
pub(crate) fn socket(host: &Namespace, port: u16) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).expect("the port is free");
    socket.set_broadcast(true).expect("it is UDP");
    socket
}

impl Client {
    pub(crate) fn new(socket: &UdpSocket, number: u32) -> Client {
        let [a, b, c, d] = number.to_be_bytes();
        // RFC 4361 §6.1: 255, IAID, DUID; as systemd-networkd makes it.
        let id = [&[255, a, b, c, d, 0, 2, 0, 0, 0xab, 0x11][..], &number.to_be_bytes(), &[7; 4]].concat();
        let socket = socket.try_clone().expect("there are descriptors");
        Client { socket, mac: [2, 0xdc, a, b, c, d], id, xid: FIRST_XID + number }
    }

    /// One that goes on for the program that has had a device, known by the device's MAC address.
    pub(crate) fn of_device(socket: &UdpSocket, mac: &str) -> Client {
        let octets: Vec<u8> =
            mac.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("an octet")).collect();
        let mac = octets.try_into().expect("six octets");
        let socket = socket.try_clone().expect("there are descriptors");
        Client { socket, mac, id: [&[1][..], &mac].concat(), xid: FIRST_XID }
    }

    /// The number of the client whose transaction it is; for the first million clients.
    pub(crate) fn number(xid: u32) -> Option<u32> {
        (xid % NEXT_XID).checked_sub(FIRST_XID)
    }

    pub(crate) fn message(
        &self,
        kind: u8,
        ciaddr: Ipv4Addr,
        giaddr: Ipv4Addr,
        options: &[(u8, &[u8])],
    ) -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.xid.to_be_bytes());
        message.extend([0, 0, 0x80, 0]);
        for address in [ciaddr, NOBODY, NOBODY, giaddr] {
            message.extend(address.octets());
        }
        message.extend(self.mac);
        message.resize(236, 0);
        message.extend([99, 130, 83, 99, 53, 1, kind, 61, self.id.len() as u8]);
        message.extend(&self.id);
        message.extend([55, 6, 1, 3, 6, 12, 15, 121]);
        for (code, value) in options {
            message.extend([*code, value.len() as u8]);
            message.extend(*value);
        }
        message.push(255);
        message
    }

    pub(crate) fn send(&mut self, kind: u8, ciaddr: Ipv4Addr, to: Ipv4Addr, options: &[(u8, &[u8])]) {
        self.xid = self.xid.wrapping_add(NEXT_XID);
        let message = self.message(kind, ciaddr, NOBODY, options);
        self.socket.send_to(&message, (to, 67)).expect("the link is up");
    }

    /// The answer to the last message, if one comes in time.
    pub(crate) fn hear(&self, patience: Duration) -> Option<Reply> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 1500];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("it is not zero");
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // An error about what was sent before.
                Err(_) => continue,
            };
            if let Some(reply) = reply(&buffer[..length]).filter(|reply| reply.xid == self.xid) {
                return Some(reply);
            }
        }
        None
    }

    /// Asks again and again, as clients do, until it is answered.
    pub(crate) fn ask(&mut self, kind: u8, ciaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Reply {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(kind, ciaddr, Ipv4Addr::BROADCAST, options);
            if let Some(reply) = self.hear(Duration::from_secs(1)) {
                return reply;
            }
        }
        panic!("no answer");
    }

    /// The four messages.
    pub(crate) fn lease(&mut self) -> Ipv4Addr {
        let offer = self.ask(DISCOVER, NOBODY, &[]);
        assert_eq!(offer.kind, OFFER);
        let address = offer.address.octets();
        let ack = self.ask(REQUEST, NOBODY, &[(50, &address), (54, &SERVER.octets())]);
        assert_eq!((ack.kind, ack.address), (ACK, offer.address), "{ack:?}");
        ack.address
    }

    /// Its identifier as listings have it.
    pub(crate) fn hex_id(&self) -> String {
        self.id.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Reads a message of the server; `None` when it is none.
pub(crate) fn reply(message: &[u8]) -> Option<Reply> {
    if message.len() <= 240 || message[0] != 2 {
        return None;
    }
    let mut options = BTreeMap::new();
    let mut rest = &message[240..];
    while let [code, length, behind @ ..] = rest {
        if *code == 255 {
            break;
        }
        if *code == 0 {
            rest = &rest[1..];
            continue;
        }
        let (value, behind) = behind.split_at(usize::from(*length));
        options.insert(*code, value.to_vec());
        rest = behind;
    }
    let kind = options.get(&53).and_then(|value| value.first()).copied().unwrap_or(0);
    let address = Ipv4Addr::new(message[16], message[17], message[18], message[19]);
    let xid = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    Some(Reply { kind, xid, address, options })
}

/// Clients without end, from a thread of their own, as long as it goes on. Who was told to have which address.
pub(crate) fn crowd(socket: &UdpSocket, first: u32, goes_on: impl Fn() -> bool) -> Vec<(Ipv4Addr, u32)> {
    let mut given = Vec::new();
    let mut number = first;
    while goes_on() {
        number += 1;
        let mut client = Client::new(socket, number);
        client.send(DISCOVER, NOBODY, Ipv4Addr::BROADCAST, &[]);
        let Some(offer) = client.hear(Duration::from_millis(300)) else { continue };
        let address = offer.address.octets();
        client.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &[(50, &address), (54, &SERVER.octets())]);
        let ack = client.hear(Duration::from_millis(300)).filter(|ack| ack.kind == ACK);
        given.extend(ack.map(|ack| (ack.address, number)));
    }
    given
}
