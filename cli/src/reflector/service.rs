//! The sockets of a reflector: datagrams and connections to [`Server`], its answers back, and ports tried.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::{cmsg_space, libc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::server::{
    Action, Answer, Outcome, PATIENCE, Place, Places, Probe, Protocol, Refusal, Server, Way,
};
use super::stun::{self, Class, Writer};
use super::{confine, random};
use crate::output::Failure;

/// TCP connections at once.
const MOST_CONNECTIONS: usize = 128;

/// How long a connection may last.
const LIFE: Duration = Duration::from_secs(15);

/// How long after the first datagram to a port another one follows.
const AGAIN: Duration = Duration::from_millis(700);

/// How often it is told what was done.
const REPORT: Duration = Duration::from_secs(60);

/// What was done since the last report.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    answers: u64,
    probes: u64,
    ignored: u64,
}

struct Service {
    server: Mutex<Server>,
    tally: Mutex<Tally>,
    places: Places,
    sockets: HashMap<Place, UdpSocket>,
    started: Instant,
}

/// Is a reflector until SIGTERM or SIGINT. To be called while the process has one thread.
pub(crate) fn run(places: Places, any_address: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("cannot start the event loop", &error))?;
    runtime.block_on(serve(places, any_address))
}

async fn serve(places: Places, any_address: bool) -> Result<(), Failure> {
    // Before anybody can see that it is there, and end it.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut sockets = HashMap::new();
    for place in places.all() {
        let endpoint = places.endpoint(place);
        let socket = UdpSocket::bind(endpoint).await;
        let socket = socket.map_err(|error| Failure::new(&format!("UDP {endpoint}"), &error))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        sockets.insert(place, socket);
    }
    let listener = TcpListener::bind(places.first).await;
    let listener = listener.map_err(|error| Failure::new(&format!("TCP {}", places.first), &error))?;
    let key = random().map_err(|error| Failure::new("/dev/urandom", &error))?;
    // The event loop has no thread but this one.
    let confined = confine::confine();
    let confined =
        confined.map_err(|error| Failure::message(format!("cannot give up privileges: {error}")))?;
    let service = Arc::new(Service {
        server: Mutex::new(Server::new(places, any_address, key)),
        tally: Mutex::default(),
        places,
        sockets,
        started: Instant::now(),
    });
    let other_address = places.other_address.map(tracing::field::display);
    info!(listen = %places.first, other_port = places.other_port, other_address, confined, "reflector");
    if any_address {
        warn!("--lab: askers at private addresses are served too; not for a machine on the internet");
    }
    for place in places.all() {
        tokio::spawn(datagrams(Arc::clone(&service), place));
    }
    tokio::spawn(connections(Arc::clone(&service), listener));
    tokio::spawn(reports(Arc::clone(&service)));
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("ended by a signal");
    Ok(())
}

impl Service {
    fn with_server<T>(&self, work: impl FnOnce(&mut Server, Duration) -> T) -> T {
        // One thread: nobody has panicked while holding it.
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut server, self.started.elapsed())
    }

    fn count(&self, work: impl FnOnce(&mut Tally)) {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn ignored(&self, from: SocketAddrV4, refusal: Refusal) {
        self.count(|tally| tally.ignored += 1);
        debug!(%from, reason = refusal.name(), "ignored");
    }

    /// Tries a port.
    async fn probe(&self, probe: Probe) -> Option<Answer> {
        let begun = Instant::now();
        let outcome = match timeout(PATIENCE, self.attempt(probe)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Filtered,
        };
        let took = begun.elapsed();
        self.count(|tally| tally.probes += 1);
        let (protocol, microseconds) = (probe.protocol.name(), took.as_micros() as u64);
        info!(target = %probe.target, protocol, ?outcome, microseconds, "probe");
        self.with_server(|server, _| server.probed(probe.id, outcome, took))
    }

    async fn attempt(&self, probe: Probe) -> Outcome {
        // As a stranger, if there is an address that the asker has not spoken to.
        let own = SocketAddr::from((self.places.other_address.unwrap_or(*self.places.first.ip()), 0));
        let outcome = match probe.protocol {
            Protocol::Tcp => begin_connection(own, probe.target).await.map(drop),
            Protocol::Udp => send_datagram(own, &probe).await,
        };
        match outcome {
            Ok(()) => Outcome::Open,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => Outcome::Closed,
                _ => Outcome::Filtered,
            },
        }
    }
}

async fn begin_connection(own: SocketAddr, target: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(own)?;
    socket.connect(target.into()).await
}

async fn send_datagram(own: SocketAddr, probe: &Probe) -> io::Result<()> {
    let socket = UdpSocket::bind(own).await?;
    socket.connect(probe.target).await?;
    let datagram = Writer::new(Class::Request, stun::BINDING, &probe.transaction).finish();
    socket.send(&datagram).await?;
    let mut octets = [0; 1];
    if let Ok(received) = timeout(AGAIN, socket.recv(&mut octets)).await {
        return received.map(drop);
    }
    socket.send(&datagram).await?;
    socket.recv(&mut octets).await.map(drop)
}

/// Takes the datagrams of one place.
async fn datagrams(service: Arc<Service>, place: Place) {
    let mut octets = [0; stun::LONGEST + 1];
    loop {
        let (length, from, own) = match receive(&service.sockets[&place], &mut octets).await {
            Ok(received) => received,
            Err(error) => {
                warn!(%error, "cannot receive");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let way = Way::Datagram(place, own);
        match service.with_server(|server, now| server.message(now, way, from, &octets[..length])) {
            Action::Answer(answer) => send(&service, &answer),
            // As many of these as the server lets be.
            Action::Probe(probe) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    if let Some(answer) = service.probe(probe).await {
                        send(&service, &answer);
                    }
                });
            }
            Action::Ignore(refusal) => service.ignored(from, refusal),
        }
    }
}

fn send(service: &Service, answer: &Answer) {
    if let Way::Datagram(place, own) = answer.way {
        service.count(|tally| tally.answers += 1);
        // A datagram that the kernel cannot take now is one that got lost: who wants an answer asks again.
        let _ = send_from(&service.sockets[&place], own, answer);
    }
}

/// A datagram: its length, its sender, and the address of ours that it came to. A socket bound to all of them gets it at
/// any, and an asker behind a NAT hears the answer from that one only.
async fn receive(socket: &UdpSocket, octets: &mut [u8]) -> io::Result<(usize, SocketAddrV4, Ipv4Addr)> {
    let mut receive = || {
        let (mut room, mut into) = (cmsg_space!(libc::in_pktinfo), [IoSliceMut::new(octets)]);
        let message =
            recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut into, Some(&mut room), MsgFlags::empty())?;
        let own = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
            }
            _ => None,
        });
        let from = message.address.ok_or(io::ErrorKind::InvalidData)?;
        Ok((message.bytes, from.into(), own.unwrap_or(Ipv4Addr::UNSPECIFIED)))
    };
    socket.async_io(Interest::READABLE, &mut receive).await
}

/// Sends a datagram from this address of ours.
fn send_from(socket: &UdpSocket, own: Ipv4Addr, answer: &Answer) -> io::Result<usize> {
    let address = |address: Ipv4Addr| libc::in_addr { s_addr: u32::from(address).to_be() };
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: address(own),
        ipi_addr: address(Ipv4Addr::UNSPECIFIED),
    };
    let (octets, to) = ([IoSlice::new(&answer.octets)], SockaddrIn::from(answer.to));
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    socket.try_io(Interest::WRITABLE, || {
        Ok(sendmsg(socket.as_raw_fd(), &octets, &control, MsgFlags::empty(), Some(&to))?)
    })
}

/// Takes connections.
async fn connections(service: Arc<Service>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut number = 0;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok((stream, SocketAddr::V4(from))) => (stream, from),
            Ok(_) => continue,
            Err(error) => {
                warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let judged = service.with_server(|server, now| server.connected(now, *from.ip()));
        let place = Arc::clone(&places).try_acquire_owned().map_err(|_| Refusal::Limited);
        match judged.and(place) {
            Ok(place) => {
                number += 1;
                let (service, number) = (Arc::clone(&service), number);
                tokio::spawn(async move {
                    // It may break off at any time.
                    let _ = timeout(LIFE, converse(&service, stream, from, number)).await;
                    drop(place);
                });
            }
            Err(refusal) => service.ignored(from, refusal),
        }
    }
}

/// Answers the messages of a connection, one after the other (RFC 8489 §6.2.2: their headers say how long they are).
async fn converse(
    service: &Arc<Service>,
    mut stream: TcpStream,
    from: SocketAddrV4,
    number: u64,
) -> io::Result<()> {
    let mut octets = [0; stun::LONGEST];
    loop {
        stream.read_exact(&mut octets[..stun::HEADER]).await?;
        let end = stun::HEADER + usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        let Some(rest) = octets.get_mut(stun::HEADER..end) else { return Ok(()) };
        stream.read_exact(rest).await?;
        let way = Way::Connection(number);
        let answer = match service.with_server(|server, now| server.message(now, way, from, &octets[..end])) {
            Action::Answer(answer) => answer,
            // On a task of its own, so that it comes to its end when the connection does not.
            Action::Probe(probe) => {
                let service = Arc::clone(service);
                let answer = tokio::spawn(async move { service.probe(probe).await });
                let Ok(Some(answer)) = answer.await else { return Ok(()) };
                answer
            }
            Action::Ignore(refusal) => {
                service.ignored(from, refusal);
                return Ok(());
            }
        };
        service.count(|tally| tally.answers += 1);
        stream.write_all(&answer.octets).await?;
    }
}

/// Says now and then what was done, if anything was.
async fn reports(service: Arc<Service>) {
    loop {
        sleep(REPORT).await;
        let tally = std::mem::take(&mut *service.tally.lock().unwrap_or_else(PoisonError::into_inner));
        if tally.answers + tally.probes + tally.ignored > 0 {
            info!(answers = tally.answers, probes = tally.probes, ignored = tally.ignored, "last minute");
        }
    }
}
