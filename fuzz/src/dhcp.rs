//! Any octets as messages of DHCP clients, with time, probes, a disk and restarts in between.
//!
//! What has to hold: an acknowledgement leaves only when its record is on the disk; while it lasts, and unless its holder
//! gives it up, nobody else is acknowledged the same address, also after a restart from what the disk has; replies are
//! well formed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::time::{Timestamp, UnixTime};
use genkan_services::dhcp::journal::{HEADER, replay};
use genkan_services::dhcp::server::{Batch, Config, Datagram, Now, ProbeOutcome, Server, Subnet};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
const FIXED: usize = 240;
/// What an owner is known by.
const BY_MAC: u8 = 0;
const BY_ID: u8 = 1;

struct World {
    server: Server,
    now: Now,
    config: Config,
    /// What a loss of power leaves.
    disk: Vec<u8>,
    /// Written, but not synced.
    waiting: Vec<Batch>,
    /// Who has been acknowledged which address, and until when at least.
    owners: BTreeMap<Ipv4Addr, (Vec<u8>, Timestamp)>,
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
    let mut world = World { server, now, config, disk, waiting, owners };
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
                self.hear(raw, BROADCAST);
                return rest;
            }
            0xc0..=0xdf => self.pass(Duration::from_secs(1 << (action & 15))),
            0xe0..=0xef => self.sync(),
            0xf0..=0xf3 => self.restart(),
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
        let mut message = vec![1, 1, 6, 0, 0, 0, 0, *who, 0, 0, flags & 0x80, 0];
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
        self.hear(&message, destination);
        rest
    }

    fn hear(&mut self, payload: &[u8], destination: Ipv4Addr) {
        let was: Vec<Ipv4Addr> = self.server.leases().map(|lease| lease.address).collect();
        let source = Ipv4Addr::UNSPECIFIED;
        self.server.handle_datagram(self.now, &Datagram { source, destination, payload });
        // Given up by a message: the server takes that from nobody but the holder.
        let is: Vec<Ipv4Addr> = self.server.leases().map(|lease| lease.address).collect();
        for address in was.into_iter().filter(|address| !is.contains(address)) {
            let holder = self.owners.remove(&address);
            let known = payload.get(28..34);
            if let (Some((owner, until)), Some(mac)) = (holder, known)
                && until > self.now.monotonic
            {
                let by_mac = owner[0] == BY_ID || owner[1..] == *mac;
                assert!(by_mac, "{address} was taken from {owner:?} by {mac:?}");
            }
        }
    }

    /// Everything that the server has said is looked at; every second probe finds nobody.
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
            self.judge(&transmit.payload);
        }
        assert!(self.server.leases().count() <= 19, "as many as the pools have");
    }

    /// The disk has taken everything.
    fn sync(&mut self) {
        for batch in std::mem::take(&mut self.waiting) {
            self.disk.extend(&batch.octets);
            self.server.committed(batch.sequence);
        }
        let told = replay(&self.disk);
        assert_eq!(told.damaged, 0, "our own records can be read");
        while let Some(transmit) = self.server.poll_transmit() {
            if let Some((address, _)) = self.judge(&transmit.payload) {
                let is_held = self.server.leases().any(|lease| lease.address == address);
                let is_kept = told.leases.contains_key(&address);
                assert!(is_kept || !is_held, "{address} is acknowledged and not on the disk");
            }
        }
        if self.disk.len() > 1 << 16 {
            let batch = self.server.snapshot(self.now);
            self.disk = batch.octets;
            self.server.committed(batch.sequence);
        }
    }

    fn restart(&mut self) {
        self.waiting.clear();
        self.server =
            Server::new(self.config.clone(), &replay(&self.disk), self.now, 9).expect("it fits as before");
        for (address, (_, until)) in &self.owners {
            let is_known = self.server.leases().any(|lease| lease.address == *address);
            assert!(*until <= self.now.monotonic || is_known, "{address} is forgotten");
        }
    }

    /// Checks a reply. The address that it acknowledges.
    fn judge(&mut self, reply: &[u8]) -> Option<(Ipv4Addr, Vec<u8>)> {
        assert!((300..=1472).contains(&reply.len()) && reply[0] == 2, "{} octets", reply.len());
        let mut options = BTreeMap::new();
        let mut rest = &reply[FIXED..];
        let mut ended = false;
        while let [code, behind @ ..] = rest {
            match *code {
                0 => rest = behind,
                255 => {
                    ended = true;
                    break;
                }
                code => {
                    let (length, behind) = behind.split_first().expect("an option has a length");
                    let (value, behind) = behind.split_at(usize::from(*length));
                    options.entry(code).or_insert(value);
                    rest = behind;
                }
            }
        }
        assert!(ended, "it has an end");
        let address = Ipv4Addr::new(reply[16], reply[17], reply[18], reply[19]);
        let kind = options.get(&53)?[0];
        assert!([2, 5, 6].contains(&kind), "a server says no {kind}");
        if kind != 5 || address.is_unspecified() {
            return None;
        }
        let client = match options.get(&61) {
            Some(id) => [&[BY_ID], *id].concat(),
            None => [&[BY_MAC], &reply[28..34]].concat(),
        };
        let seconds = u32::from_be_bytes(options[&51].try_into().expect("four octets"));
        if let Some((owner, until)) = self.owners.get(&address) {
            let is_over = *until <= self.now.monotonic;
            assert!(is_over || *owner == client, "{address}: {owner:?} has it, and {client:?} gets it");
        }
        // Its client may have given it up while the acknowledgement waited for the disk.
        if !self.server.leases().any(|lease| lease.address == address) {
            return Some((address, client));
        }
        // The record has waited for the disk meanwhile; how long is not known here.
        let lasts = Duration::from_secs(seconds.into()).saturating_sub(self.since_asked());
        self.owners.insert(address, (client.clone(), self.now.monotonic + lasts));
        Some((address, client))
    }

    /// The longest that a record may have waited here: acknowledgements come when the input syncs, at any time later.
    fn since_asked(&self) -> Duration {
        let oldest = self.server.leases().map(|lease| lease.expires).min();
        let left = oldest.map_or(Duration::ZERO, |at| at.saturating_since(self.now.monotonic));
        Duration::from_secs(600).saturating_sub(left)
    }
}
