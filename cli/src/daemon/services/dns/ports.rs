//! UDP ports to the resolvers.
//!
//! Each question goes out by a socket of its own, connected to the resolver, from a port drawn by chance. The forwarder
//! draws the name of that port, which stands for the socket while the question is out; the number on the wire is drawn
//! here. Few questions get a new port each. Many per second share those of before, each for one question at a time and a
//! minute at most: a new port is a new session of the NAT for minutes, and a host may have so many of them and no more.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use genkan_services::dns::UpstreamId;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Ports that may be new at once, and how fast more of them may be.
const NEW_AT_ONCE: u32 = 512;
const NEW_EVERY: Duration = Duration::from_millis(50);
/// How long one may be used.
const OLDEST: Duration = Duration::from_secs(60);
/// Idle ones that are kept, per resolver.
const MOST_IDLE: usize = 256;
/// How often a port is drawn when it is another program's.
const DRAWS: usize = 8;
/// Datagrams that are taken at once.
const BATCH: usize = 64;
/// Batches of one turn.
const BATCHES: usize = 16;
/// The longest datagram that is taken in octets; more than is asked for.
const LONGEST: usize = 4096;

#[derive(Debug)]
struct Poll(Epoll);

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

#[derive(Debug)]
struct Slot {
    socket: UdpSocket,
    upstream: UpstreamId,
    /// The forwarder's name for it while a question is out.
    name: Option<u16>,
    opened: Instant,
}

/// What has come.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// A datagram.
    Datagram(&'a [u8]),
    /// The resolver's machine refused ours.
    Refused,
}

/// All ports.
#[derive(Debug)]
pub(super) struct Ports {
    poll: AsyncFd<Poll>,
    addresses: Vec<SocketAddr>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_name: HashMap<(UpstreamId, u16), usize>,
    idle: Vec<Vec<usize>>,
    new_left: u32,
    refilled: Instant,
}

impl Ports {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel has no means to wait for them.
    pub(super) fn new() -> io::Result<Ports> {
        let poll = Poll(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Poll` owns its descriptor and never has another one"
        )]
        let poll = AsyncFd::new(poll)?;
        Ok(Ports {
            poll,
            addresses: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            idle: Vec::new(),
            new_left: NEW_AT_ONCE,
            refilled: Instant::now(),
        })
    }

    /// Closes all, and goes to these resolvers from now on.
    pub(super) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.slots.clear();
        self.free.clear();
        self.by_name.clear();
        self.idle = vec![Vec::new(); addresses.len()];
        self.addresses = addresses;
    }

    /// Sends a question by the port that is called `name`.
    ///
    /// # Errors
    /// When there is no port, or the kernel does not take the message.
    pub(super) fn send(
        &mut self,
        upstream: UpstreamId,
        name: u16,
        octets: &[u8],
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> io::Result<()> {
        let index = match self.may_be_new(now) {
            true => self.open(upstream, now, random)?,
            false => match self.take_idle(upstream, now, random) {
                Some(index) => index,
                None => self.open(upstream, now, random)?,
            },
        };
        let slot = self.slots[index].as_mut().ok_or(io::ErrorKind::NotFound)?;
        slot.name = Some(name);
        // What was refused to the question before, on this port, is told to this one.
        let sent = slot.socket.send(octets).or_else(|_| slot.socket.send(octets));
        self.by_name.insert((upstream, name), index);
        sent.map(|_| ())
    }

    fn may_be_new(&mut self, now: Instant) -> bool {
        let fresh = now.saturating_duration_since(self.refilled).as_nanos() / NEW_EVERY.as_nanos();
        if fresh > 0 {
            let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
            self.new_left = self.new_left.saturating_add(fresh).min(NEW_AT_ONCE);
            self.refilled = now;
        }
        let may = self.new_left > 0;
        self.new_left = self.new_left.saturating_sub(1);
        may
    }

    fn take_idle(
        &mut self,
        upstream: UpstreamId,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<usize> {
        loop {
            let idle = self.idle.get_mut(usize::from(upstream.0))?;
            if idle.is_empty() {
                return None;
            }
            let index = idle.swap_remove((random() % idle.len() as u64) as usize);
            match &self.slots[index] {
                Some(slot) if now.saturating_duration_since(slot.opened) < OLDEST => return Some(index),
                _ => self.close_slot(index),
            }
        }
    }

    fn open(
        &mut self,
        upstream: UpstreamId,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> io::Result<usize> {
        let address = *self.addresses.get(usize::from(upstream.0)).ok_or(io::ErrorKind::NotFound)?;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let mut outcome = Err(io::ErrorKind::AddrInUse.into());
        for _ in 0..DRAWS {
            // RFC 6056 section 3.2: 1024 to 65535, each equally likely.
            let port = (1024 + random() % 64_512) as u16;
            outcome = socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into());
            if !matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
                break;
            }
        }
        outcome?;
        socket.connect(&address.into())?;
        let socket = UdpSocket::from(socket);
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.poll.get_ref().0.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        self.slots[index] = Some(Slot { socket, upstream, name: None, opened: now });
        Ok(index)
    }

    /// Nothing more is expected at the port that is called `name`.
    pub(super) fn close(&mut self, upstream: UpstreamId, name: u16) {
        let Some(index) = self.by_name.remove(&(upstream, name)) else { return };
        if let Some(slot) = self.slots[index].as_mut() {
            slot.name = None;
        }
        match self.idle.get_mut(usize::from(upstream.0)) {
            Some(idle) if idle.len() < MOST_IDLE => idle.push(index),
            _ => self.close_slot(index),
        }
    }

    fn close_slot(&mut self, index: usize) {
        // With its last descriptor a socket leaves the epoll set (epoll(7)).
        if self.slots[index].take().is_some() {
            self.free.push(index);
        }
    }

    /// Closes idle ports that are too old.
    pub(super) fn tend(&mut self, now: Instant) {
        for upstream in 0..self.idle.len() {
            let (old, young) = std::mem::take(&mut self.idle[upstream]).into_iter().partition(|index| {
                self.slots[*index]
                    .as_ref()
                    .is_none_or(|slot| now.saturating_duration_since(slot.opened) >= OLDEST)
            });
            self.idle[upstream] = young;
            let old: Vec<usize> = old;
            old.into_iter().for_each(|index| self.close_slot(index));
        }
    }

    /// Waits until something may have come.
    pub(super) async fn readable(&self) {
        match self.poll.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes what has come, without waiting. Whether there may be more.
    pub(super) fn take(&mut self, mut heard: impl FnMut(UpstreamId, SocketAddr, u16, Heard<'_>)) -> bool {
        let mut events = [EpollEvent::empty(); BATCH];
        let mut octets = [0; LONGEST];
        for _ in 0..BATCHES {
            let ready = self.poll.get_ref().0.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            if ready == 0 {
                return false;
            }
            for event in &events[..ready] {
                let Some(Some(slot)) = self.slots.get(event.data() as usize) else { continue };
                let what = match slot.socket.recv(&mut octets) {
                    Ok(length) => Heard::Datagram(&octets[..length]),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Heard::Refused,
                    Err(_) => continue,
                };
                // What comes to an idle port is late, or no answer.
                if let (Some(name), Some(address)) =
                    (slot.name, self.addresses.get(usize::from(slot.upstream.0)))
                {
                    heard(slot.upstream, *address, name, what);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: UpstreamId = UpstreamId(0);

    #[test]
    fn few_questions_get_new_ports_and_many_share() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _guard = runtime.enter();
        let mut ports = Ports::new().expect("epoll is there");
        ports.set_addresses(vec![server.local_addr().expect("it is bound")]);
        let mut number = 7_u64;
        let mut random = move || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            number >> 20
        };
        let now = Instant::now();
        let mut seen = std::collections::BTreeSet::new();
        let mut octets = [0; 16];
        for round in 0..2000_u16 {
            ports.send(FIRST, round, b"question", now, &mut random).expect("loopback takes it");
            let (_, from) = server.recv_from(&mut octets).expect("it was sent");
            seen.insert(from.port());
            server.send_to(b"answer", from).expect("loopback takes it");
            let mut answers = Vec::new();
            while answers.is_empty() {
                ports.take(|upstream, _, name, heard| {
                    answers.push((upstream, name, matches!(heard, Heard::Datagram(b"answer"))));
                });
            }
            assert_eq!(answers, [(FIRST, round, true)]);
            ports.close(FIRST, round);
        }
        // Some of the first come twice by chance.
        assert!((NEW_AT_ONCE as usize - 20..=NEW_AT_ONCE as usize).contains(&seen.len()), "{}", seen.len());
        assert!(ports.slots.iter().flatten().count() <= MOST_IDLE);
        ports.tend(now + OLDEST);
        assert_eq!(ports.slots.iter().flatten().count(), 0);
    }
}
