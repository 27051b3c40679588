//! Any octets as messages of DHCP clients, with time, probes, a disk and restarts in between.
//!
//! What has to hold, exactly:
//! - An acknowledgement leaves when its record is on the disk, and while the lease is in force that it tells of: of that
//!   client, and for as long as it says, counted from when the client asked (RFC 2131 §4.4.1).
//! - Until then, unless that client gives it up (RELEASE, DECLINE, REQUEST of another one under the name that it has
//!   there), nobody else is acknowledged the same address, and the server knows of it, also after a restart from what the
//!   disk has, torn anywhere behind what was synced.
//! - A client without an identifier that says one from now on, at the same link-layer address, is the same one.
//! - Replies are well formed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::time::{Timestamp, UnixTime};
use genkan_services::dhcp::journal::{HEADER, replay};
use genkan_services::dhcp::lease::ClientKey;
use genkan_services::dhcp::server::{Batch, Config, Datagram, LeaseView, Now, ProbeOutcome, Server, Subnet};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
const FIXED: usize = 240;
const XID: std::ops::Range<usize> = 4..8;
/// Octets of the file from which on it is written anew.
const FULL: usize = 2048;
/// What an owner is known by.
const BY_MAC: u8 = 0;
const BY_ID: u8 = 1;

/// Who has been acknowledged an address, and until when at least.
struct Owner {
    client: Vec<u8>,
    mac: Vec<u8>,
    until: Timestamp,
}

struct World {
    server: Server,
    now: Now,
    config: Config,
    /// What a loss of power leaves for certain.
    disk: Vec<u8>,
    /// Written, but not synced.
    waiting: Vec<Batch>,
    owners: BTreeMap<Ipv4Addr, Owner>,
    /// When each message came; its place in here is its transaction ID.
    asked: Vec<Timestamp>,
}

/// Lets a server live through what the input says.
///
/// # Panics
/// On a bug.
pub fn check(octets: &[u8]) {
    let [shape, rest @ ..] = octets else { return };
    let mut local = Subnet::new("192.0.2.0/24".parse().expect("a network"));
    local.pool = Some(Ipv4Addr::new(192, 0, 2, 100)..=Ipv4Addr::new(192, 0, 2, 100 + shape % 16));
    local.lease_time = 600;
    local.stock = 2;
    local.probe = shape & 16 != 0;
    let mut relayed = Subnet::new("198.51.100.0/24".parse().expect("a network"));
    relayed.pool = Some(Ipv4Addr::new(198, 51, 100, 10)..=Ipv4Addr::new(198, 51, 100, 12));
    let mut config = Config::new(SERVER, local);
    config.relayed = vec![relayed];
    let now = Now { monotonic: Timestamp::from_secs(100), wall: UnixTime(1_700_000_000) };
    let server = Server::new(config.clone(), &replay(&[]), now, 7).expect("it fits");
    let (disk, waiting, owners) = (HEADER.to_vec(), Vec::new(), BTreeMap::new());
    let mut world = World { server, now, config, disk, waiting, owners, asked: Vec::new() };
    let mut rest = rest;
    while let [action, behind @ ..] = rest {
        rest = world.act(*action, behind);
        world.settle();
    }
}

impl World {
    /// Does one thing; what is left of the input is returned.
    fn act<'a>(&mut self, action: u8, rest: &'a [u8]) -> &'a [u8] {
        match action {
            0..=0x9f => return self.message(action, rest),
            0xa0..=0xbf => {
                let (length, rest) = rest.split_first().map_or((0, rest), |(length, rest)| (*length, rest));
                let (raw, rest) = rest.split_at(rest.len().min(2 * usize::from(length)));
                self.hear(raw.to_vec(), BROADCAST);
                return rest;
            }
            0xc0..=0xdf => self.pass(Duration::from_secs(1 << (action & 15))),
            0xe0..=0xe7 => self.sync(usize::MAX),
            0xe8..=0xef => self.sync(1),
            0xf0..=0xf3 => self.restart(action & 3),
            _ => self.pass(Duration::from_millis(100)),
        }
        rest
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall.0 += time.as_secs() as i64;
        self.server.handle_timeout(self.now);
    }

    /// A message as clients make them: who, what and about which address the input says, and some options as it likes.
    fn message<'a>(&mut self, action: u8, rest: &'a [u8]) -> &'a [u8] {
        let [who, about, flags, rest @ ..] = rest else { return &[] };
        let kind = action % 9;
        let address = Ipv4Addr::new(192, 0, 2, 100 + about % 18);
        let mut message = vec![1, 1, 6, 0, 0, 0, 0, 0, 0, 0, flags & 0x80, 0];
        let ciaddr = if flags & 1 != 0 { address } else { Ipv4Addr::UNSPECIFIED };
        let giaddr = if flags & 2 != 0 { Ipv4Addr::new(198, 51, 100, 1) } else { Ipv4Addr::UNSPECIFIED };
        for address in [ciaddr, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, giaddr] {
            message.extend(address.octets());
        }
        message.extend([2, 0, 0, 0, 0, who % 24]);
        message.resize(236, 0);
        message.extend([99, 130, 83, 99, 53, 1, kind]);
        if flags & 4 != 0 {
            message.extend([50, 4]);
            message.extend(address.octets());
        }
        if flags & 8 != 0 {
            message.extend([54, 4]);
            message.extend(SERVER.octets());
        }
        if flags & 16 != 0 {
            message.extend([61, 3, 0, 1, who % 24]);
        }
        let (options, rest) = rest.split_at(rest.len().min(usize::from(action >> 4)));
        message.extend(options);
        message.push(255);
        let destination = if flags & 32 != 0 { SERVER } else { BROADCAST };
        self.hear(message, destination);
        rest
    }

    fn hear(&mut self, mut payload: Vec<u8>, destination: Ipv4Addr) {
        if let Some(xid) = payload.get_mut(XID) {
            xid.copy_from_slice(&(self.asked.len() as u32).to_be_bytes());
            self.asked.push(self.now.monotonic);
        }
        let source = Ipv4Addr::UNSPECIFIED;
        self.server.handle_datagram(self.now, &Datagram { source, destination, payload: &payload });
        self.owners.retain(|address, owner| {
            let (client, lease) = (owner.client.clone(), self.server.lease(*address));
            let known = lease.map(|lease| key(&lease));
            if owner.until <= self.now.monotonic {
                return known.is_some();
            }
            if known.as_ref() == Some(&client) {
                return true;
            }
            // Given up by a message, or said to be that of an identifier: the server takes that from nobody but the holder.
            let says = |part: &[u8]| payload.windows(part.len()).any(|octets| octets == part);
            assert!(
                says(&[53, 1, 3]) || known.is_none() && (says(&[53, 1, 7]) || says(&[53, 1, 4])),
                "{address} is taken from {client:?} by {payload:?}"
            );
            let is_by_mac = client[0] == BY_MAC;
            let by_holder = if is_by_mac { payload[28..34] == client[1..] } else { says(&client[1..]) };
            assert!(by_holder, "{address} is given up by another than {client:?}: {payload:?}");
            assert!(known.is_none() || is_by_mac, "{address} goes from {client:?} to {known:?}");
            owner.client = known.clone().unwrap_or_default();
            known.is_some()
        });
    }

    /// Everything that the server has said is looked at; 192.0.2.103 is a stranger's.
    fn settle(&mut self) {
        while let Some(probe) = self.server.poll_probe() {
            let outcome = match probe.address.octets()[3] {
                103 => ProbeOutcome::InUse(None),
                _ => ProbeOutcome::Free,
            };
            self.server.handle_probe(self.now, probe.address, outcome);
        }
        self.waiting.extend(self.server.poll_records());
        while self.server.poll_event().is_some() {}
        while let Some(transmit) = self.server.poll_transmit() {
            let acknowledged = self.judge(&transmit.payload);
            assert_eq!(acknowledged, None, "acknowledged before it is on the disk");
        }
        assert!(self.server.leases().count() <= 19, "as many as the pools have");
    }

    /// The disk has taken so many batches; when the file has grown, it is written anew.
    fn sync(&mut self, batches: usize) {
        for batch in self.waiting.drain(..batches.min(self.waiting.len())) {
            self.disk.extend(&batch.octets);
            self.server.committed(batch.sequence);
        }
        let told = replay(&self.disk);
        assert_eq!(told.damaged, 0, "our own records can be read");
        while let Some(transmit) = self.server.poll_transmit() {
            if let Some(address) = self.judge(&transmit.payload) {
                assert!(told.leases.contains_key(&address), "{address} is acknowledged and not on the disk");
            }
        }
        if self.disk.len() > FULL && self.waiting.is_empty() {
            self.write_anew();
        }
    }

    fn write_anew(&mut self) {
        let batch = self.server.snapshot(self.now);
        self.disk = batch.octets;
        self.server.committed(batch.sequence);
    }

    /// The power fails: of what was written and not synced, so many quarters of the first batch are on the disk.
    fn restart(&mut self, quarters: u8) {
        if let Some(batch) = self.waiting.first() {
            self.disk.extend(&batch.octets[..batch.octets.len() * usize::from(quarters) / 4]);
        }
        self.waiting.clear();
        self.server =
            Server::new(self.config.clone(), &replay(&self.disk), self.now, 9).expect("it fits as before");
        for (address, Owner { client, mac, until }) in &mut self.owners {
            let is_over = *until <= self.now.monotonic;
            let known = self.server.lease(*address);
            // That it has said an identifier may have been lost.
            if known.is_some_and(|lease| key(&lease) == by_mac(mac)) {
                *client = by_mac(mac);
            }
            let is_known = known.is_some_and(|lease| key(&lease) == *client && lease.expires >= *until);
            assert!(is_over || is_known, "{address} of {client:?} is forgotten: {known:?}");
        }
        self.write_anew();
    }

    /// Checks a reply. The address that it acknowledges.
    fn judge(&mut self, reply: &[u8]) -> Option<Ipv4Addr> {
        assert!((300..=1472).contains(&reply.len()) && reply[0] == 2, "{} octets", reply.len());
        let options = options(&reply[FIXED..]);
        let address = Ipv4Addr::new(reply[16], reply[17], reply[18], reply[19]);
        let kind = options.get(&53)?[0];
        assert!([2, 5, 6].contains(&kind), "a server says no {kind}");
        if kind != 5 || address.is_unspecified() {
            return None;
        }
        let client = match options.get(&61) {
            Some(id) => [&[BY_ID], *id].concat(),
            None => by_mac(&reply[28..34]),
        };
        let number = |octets: &[u8]| u32::from_be_bytes(octets.try_into().expect("four octets"));
        let asked = self.asked[number(&reply[XID]) as usize];
        let until = asked + Duration::from_secs(number(options[&51]).into());
        let lease = self.server.lease(address);
        let is_in_force = lease.is_some_and(|lease| key(&lease) == client && lease.expires >= until);
        assert!(is_in_force, "{address} is acknowledged to {client:?} until {until:?}: {lease:?}");
        let before = self.owners.get(&address).filter(|owner| owner.until > self.now.monotonic);
        assert!(
            before.is_none_or(|owner| owner.client == client),
            "{address} is given to {client:?} as well"
        );
        // The acknowledgement of a shorter lease may get lost.
        let until = before.map_or(until, |owner| owner.until.max(until));
        self.owners.insert(address, Owner { client, mac: reply[28..34].to_vec(), until });
        Some(address)
    }
}

/// How the holder of a lease is known.
fn key(lease: &LeaseView<'_>) -> Vec<u8> {
    match lease.client {
        ClientKey::Identifier(id) => [&[BY_ID], &id[..]].concat(),
        ClientKey::Hardware(hardware) => by_mac(&hardware.chaddr()[..6]),
    }
}

fn by_mac(mac: &[u8]) -> Vec<u8> {
    [&[BY_MAC], mac].concat()
}

/// The first of each kind.
fn options(mut rest: &[u8]) -> BTreeMap<u8, &[u8]> {
    let mut options = BTreeMap::new();
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [255, ..] => return options,
            [code, length, behind @ ..] => {
                let (value, behind) = behind.split_at(usize::from(*length));
                options.entry(*code).or_insert(value);
                rest = behind;
            }
            _ => panic!("the options have no end"),
        }
    }
}
