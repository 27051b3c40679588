//! The server of one lan: its rules are in the services crate; here is what connects them with file, wire and clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use genkan_control::api::LeaseState;
use genkan_control::leases::{Lease, Pool};
use genkan_engine::local_datagram::{LocalDatagram, LocalSend, Service};
use genkan_engine::time::{Timestamp, UnixTime};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_services::dhcp::journal;
use genkan_services::dhcp::lease::ClientKey;
use genkan_services::dhcp::server::{
    Config, ConfigError, Datagram, Delivery, LeaseView, Now, ProbeOutcome, Server, Transmit,
};
use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::disk::{self, Disk, Written};
use super::prober::Question;
use super::settings::Settings;

/// Before a file that could not be written is written again.
const RETRY: Duration = Duration::from_secs(1);
/// How long it counts that a client has taken the offer of another server.
const LATELY: Duration = Duration::from_secs(600);
/// A file grows to a multiple of what it began with before it is written anew, but at least to this many octets.
const LEAST_FULL: u64 = 1 << 20;
const GROWTH: u64 = 4;

const TO_SERVERS: u16 = 67;
const TO_CLIENTS: u16 = 68;

/// Why a lan is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum LanError {
    /// Without it nobody knows which addresses are somebody's.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The networks and pools do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The server of one lan.
#[derive(Debug)]
pub(super) struct LanServer {
    /// Of its file, as the disk knows it.
    pub(super) id: u64,
    pub(super) settings: Settings,
    pub(super) server: Server,
    path: PathBuf,
    is_writing: bool,
    /// The file is in an unknown state, and is to be written anew then.
    retry: Option<Instant>,
    /// Octets of the file, and from when on it is written anew.
    length: u64,
    full: u64,
    /// Something has happened that is to be counted.
    pub(super) has_news: bool,
    /// Networks in which a client got no address, and there still is none.
    exhausted: BTreeSet<usize>,
    /// Another server whose offer a client has taken, and when.
    other_server: Option<(Ipv4Addr, Instant)>,
}

/// Both clocks.
pub(super) fn now(origin: Instant) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { monotonic: Timestamp::ZERO + origin.elapsed(), wall: UnixTime(wall.as_secs() as i64) }
}

impl LanServer {
    /// Reads the file of leases, and begins a new one with what it tells.
    pub(super) async fn open(
        id: u64,
        settings: Settings,
        state: &Path,
        origin: Instant,
        disk: &Disk,
    ) -> Result<LanServer, LanError> {
        let path = disk::path(state, &settings.name);
        let (to_read, lans, config) = (path.clone(), settings.lans.clone(), settings.config.clone());
        let read = tokio::task::spawn_blocking(move || {
            take_over(&to_read, &lans, &config)?;
            disk::read(&to_read)
        });
        let read = read.await;
        let octets = read
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| LanError::Unreadable(path.clone(), error))?;
        let replay = journal::replay(&octets);
        let (lan, lost) = (&settings.name, replay.damaged);
        if lost > 0 && replay.kept == 0 {
            tracing::warn!(lan, file = %path.display(), "no file of leases that can be read: it is put aside");
            let aside = path.clone();
            let moved = tokio::task::spawn_blocking(move || disk::put_aside(&aside)).await;
            moved
                .map_err(io::Error::other)
                .flatten()
                .map_err(|error| LanError::Unreadable(path.clone(), error))?;
        } else if lost > 0 {
            tracing::warn!(lan, octets = lost, "the end of the file of leases was not whole");
        }
        let server = Server::new(settings.config.clone(), &replay, now(origin), super::random())?;
        let mut lan = LanServer {
            id,
            settings,
            server,
            path,
            is_writing: false,
            retry: None,
            length: 0,
            full: 0,
            has_news: true,
            exhausted: BTreeSet::new(),
            other_server: None,
        };
        lan.write_anew(now(origin), disk);
        Ok(lan)
    }

    /// Follows other settings.
    pub(super) fn follow(&mut self, settings: Settings, origin: Instant) -> Result<(), ConfigError> {
        if settings.config != self.settings.config {
            self.server.reconfigure(now(origin), settings.config.clone())?;
            // They may be other ones, or in another order.
            self.exhausted.clear();
        }
        self.settings = settings;
        self.has_news = true;
        Ok(())
    }

    pub(super) fn hear(&mut self, datagram: &LocalDatagram, origin: Instant) {
        let (source, destination) = (*datagram.source.ip(), *datagram.destination.ip());
        let payload = &datagram.payload;
        self.server.handle_datagram(now(origin), &Datagram { source, destination, payload });
        self.has_news = true;
    }

    pub(super) fn probed(&mut self, address: Ipv4Addr, outcome: ProbeOutcome, origin: Instant) {
        self.server.handle_probe(now(origin), address, outcome);
    }

    /// What is to be asked about addresses.
    pub(super) fn question(&mut self) -> Option<Question> {
        let addresses: Vec<_> =
            std::iter::from_fn(|| self.server.poll_probe()).map(|probe| probe.address).collect();
        (!addresses.is_empty()).then_some(Question { port: self.settings.port, addresses })
    }

    /// The next reply.
    pub(super) fn say(&mut self) -> Option<LocalSend> {
        let Transmit { delivery, payload } = self.server.poll_transmit()?;
        let (address, udp_port, to) = match delivery {
            Delivery::Relay(address) => (address, TO_SERVERS, None),
            Delivery::Unicast(address) => (address, TO_CLIENTS, None),
            Delivery::Hardware(mac, address) => (address, TO_CLIENTS, Some(mac)),
            Delivery::Broadcast => (Ipv4Addr::BROADCAST, TO_CLIENTS, None),
        };
        Some(LocalSend {
            service: Service::DhcpServer,
            port: self.settings.port,
            source: self.settings.config.address,
            destination: SocketAddrV4::new(address, udp_port),
            to,
            payload,
        })
    }

    fn write_anew(&mut self, now: Now, disk: &Disk) {
        let batch = self.server.snapshot(now);
        self.is_writing = true;
        self.full = LEAST_FULL.max(GROWTH * batch.octets.len() as u64);
        disk.replace(self.id, &self.path, batch.octets, batch.sequence);
    }

    /// Gives what there is to the disk, unless that is busy with what it was given before.
    pub(super) fn write(&mut self, origin: Instant, disk: &Disk) {
        if self.is_writing || self.retry.is_some_and(|at| at > Instant::now()) {
            return;
        }
        if self.retry.is_some() || self.length > self.full {
            self.write_anew(now(origin), disk);
        } else if let Some(batch) = self.server.poll_records() {
            self.is_writing = true;
            disk.append(self.id, batch.octets, batch.sequence);
        }
    }

    /// The last words before somebody else reads the file.
    pub(super) fn write_last(&mut self, disk: &Disk) {
        if let Some(batch) = self.server.poll_records() {
            disk.append(self.id, batch.octets, batch.sequence);
        }
    }

    /// A write is done. Why it is not, where it is not.
    pub(super) fn written(&mut self, written: Written) -> Option<io::Error> {
        self.is_writing = false;
        match written.outcome {
            Ok(length) => {
                self.length = length;
                self.retry = None;
                self.server.committed(written.sequence);
                None
            }
            Err(error) => {
                self.retry = Some(Instant::now() + RETRY);
                Some(error)
            }
        }
    }

    /// Whether the last write that is known of has come to the disk.
    pub(super) fn is_on_disk(&self) -> bool {
        self.retry.is_none()
    }

    /// When something is to be done without being asked.
    pub(super) fn due(&self, origin: Instant) -> Option<Instant> {
        let timeout = self.server.poll_timeout().map(|at| origin + at.saturating_since(Timestamp::ZERO));
        let retry = self.retry.filter(|_| !self.is_writing);
        let other = self.other_server.map(|(_, at)| at + LATELY);
        timeout.into_iter().chain(retry).chain(other).min()
    }

    /// A client of a network got no address, as there is none.
    pub(super) fn exhausted(&mut self, subnet: usize) {
        self.exhausted.insert(subnet);
    }

    /// A client has taken the offer of another server.
    pub(super) fn other_server(&mut self, server: Ipv4Addr) {
        self.other_server = Some((server, Instant::now()));
    }

    pub(super) fn tick(&mut self, origin: Instant) {
        let now = now(origin);
        if self.server.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            self.server.handle_timeout(now);
            self.has_news = true;
        }
        if self.other_server.take_if(|(_, at)| at.elapsed() >= LATELY).is_some() {
            self.has_news = true;
        }
    }

    /// A lease as others see it.
    pub(super) fn view(&self, lease: &LeaseView<'_>, now: Now) -> Lease {
        Lease {
            lan: self.settings.name.clone(),
            mac: lease.hardware.mac(),
            client_id: match lease.client {
                ClientKey::Identifier(id) => Some(id.clone()),
                ClientKey::Hardware(_) => None,
            },
            name: lease.name.map(str::to_owned),
            reserved: lease.reserved,
            ends: ends(lease.expires, now),
            state: LeaseState::Leased,
        }
    }

    /// An address that nobody gets, as others see it.
    pub(super) fn resting(&self, until: Timestamp, mac: Option<MacAddr>, now: Now) -> Lease {
        Lease {
            lan: self.settings.name.clone(),
            mac,
            client_id: None,
            name: None,
            reserved: false,
            ends: ends(until, now),
            state: LeaseState::Resting,
        }
    }

    /// All of them.
    pub(super) fn views(&self, now: Now) -> BTreeMap<Ipv4Addr, Lease> {
        let leases = self.server.leases().map(|lease| (lease.address, self.view(&lease, now)));
        let resting = self.server.resting().map(|(address, until)| (address, self.resting(until, None, now)));
        leases.chain(resting).collect()
    }

    /// What was counted.
    pub(super) fn pool(&mut self) -> Pool {
        let (size, free) = self.server.pooled();
        self.exhausted.retain(|subnet| self.server.pooled_in(*subnet).1 == 0);
        let config = &self.settings.config;
        let networks = [&config.local].into_iter().chain(&config.relayed).map(|subnet| subnet.prefix);
        let is_exhausted = |(subnet, _): &(usize, Ipv4Net)| self.exhausted.contains(subnet);
        let counters = self.server.counters();
        Pool {
            size,
            free,
            received: counters.received().collect(),
            sent: counters.sent().collect(),
            dropped: counters.dropped().collect(),
            conflicts: counters.conflicts,
            exhausted: networks
                .enumerate()
                .filter(is_exhausted)
                .map(|(_, prefix)| prefix.to_string())
                .collect(),
            other_server: self.other_server.map(|(server, _)| server),
        }
    }
}

/// A lan that has another name now goes on with the leases that it had under the old one: a lan without a file takes
/// that of a lan that is no more, if there are leases of its own networks in it.
fn take_over(path: &Path, lans: &[String], config: &Config) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let networks = || std::iter::once(&config.local).chain(&config.relayed);
    let is_here = |address: &Ipv4Addr| networks().any(|network| network.prefix.contains(address));
    for old in disk::of_others(path, lans)? {
        if journal::replay(&disk::read(&old)?).leases.keys().any(is_here) {
            tracing::info!(from = %old.display(), to = %path.display(), "the lan has another name: its leases are taken along");
            return disk::rename(&old, path);
        }
    }
    Ok(())
}

fn ends(at: Timestamp, now: Now) -> SystemTime {
    SystemTime::now() + at.saturating_since(now.monotonic)
}
