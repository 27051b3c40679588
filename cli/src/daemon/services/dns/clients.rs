//! Clients over TCP: kernel sockets at the router's lan addresses, which are on the host TUN.
//!
//! Whoever connects is of a network inside, or the box itself. Connections are few and short (RFC 7766 section 6.2.3): so
//! many together, so many of one client, closed when nothing is asked for a while.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::streams::framed;

const PORT: u16 = 53;
const BACKLOG: u32 = 64;
/// Connections at once, and of one client.
const MOST: usize = 256;
const MOST_PER_CLIENT: usize = 32;
/// How long a connection may be silent, and how long a client may take to take an answer.
const IDLE: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_secs(5);
/// Answers that may wait for a client to take them; with more it is not listened to.
const UNREAD: usize = 64;
/// What may wait for the service.
const WAITING: usize = 256;

/// What clients do.
#[derive(Debug)]
pub(super) enum ClientEvent {
    /// Somebody has connected.
    Connected(TcpStream, SocketAddr),
    /// A message has come by the connection with this number.
    Query(u32, SocketAddr, Vec<u8>),
    /// The connection with this number is no more.
    Gone(u32),
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    replies: mpsc::Sender<Vec<u8>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Debug)]
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All connections of clients.
#[derive(Debug)]
pub(super) struct Clients {
    wanted: Vec<Ipv4Addr>,
    listeners: HashMap<Ipv4Addr, Listener>,
    admits: Arc<[Ipv4Net]>,
    connections: HashMap<u32, Connection>,
    numbers: u32,
    events: mpsc::Sender<ClientEvent>,
}

impl Clients {
    /// None yet, and what they do.
    pub(super) fn new() -> (Clients, mpsc::Receiver<ClientEvent>) {
        let (events, receiver) = mpsc::channel(WAITING);
        let clients = Clients {
            wanted: Vec::new(),
            listeners: HashMap::new(),
            admits: Arc::default(),
            connections: HashMap::new(),
            numbers: 0,
            events,
        };
        (clients, receiver)
    }

    /// Listens at these addresses, to those of these networks. Returns in words what is missing.
    pub(super) fn listen(&mut self, addresses: &[Ipv4Addr], admits: &[Ipv4Net]) -> Option<String> {
        self.wanted = addresses.to_vec();
        self.admits = admits.into();
        self.listeners.retain(|address, _| addresses.contains(address));
        if addresses.is_empty() {
            self.connections.clear();
        }
        self.bind_missing()
    }

    /// Whether some address is not listened at.
    pub(super) fn is_missing_some(&self) -> bool {
        self.listeners.len() < self.wanted.len()
    }

    /// Tries again what is missing.
    pub(super) fn bind_missing(&mut self) -> Option<String> {
        let mut problem = None;
        for address in self.wanted.clone() {
            if self.listeners.contains_key(&address) {
                continue;
            }
            match bind(address) {
                Ok(listener) => {
                    let task = tokio::spawn(accept(listener, self.events.clone()));
                    self.listeners.insert(address, Listener(task));
                }
                Err(error) => {
                    let reason = match error.kind() {
                        io::ErrorKind::AddrInUse => "another program has this port".to_owned(),
                        io::ErrorKind::PermissionDenied => {
                            "the router gave up the right to low ports at its start; a restart brings it back"
                                .to_owned()
                        }
                        _ => error.to_string(),
                    };
                    problem = Some(format!("DNS over TCP is not answered at {address}: {reason}"));
                }
            }
        }
        problem
    }

    /// Takes a connection, if there is room for it and it is from inside.
    pub(super) fn connected(&mut self, stream: TcpStream, peer: SocketAddr) {
        let IpAddr::V4(address) = peer.ip() else { return };
        let own = self.connections.values().filter(|connection| connection.peer == peer.ip()).count();
        let admitted = self.admits.iter().any(|network| network.contains(&address));
        if !admitted || self.connections.len() >= MOST || own >= MOST_PER_CLIENT {
            return;
        }
        let _ = stream.set_nodelay(true);
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        let (reader, writer) = stream.into_split();
        let (replies, unread) = mpsc::channel(UNREAD);
        let (ears, mouth) = (self.events.clone(), self.events.clone());
        let full = replies.clone();
        let tasks = [
            tokio::spawn(async move {
                hear(reader, number, peer, &full, &ears).await;
                let _ = ears.send(ClientEvent::Gone(number)).await;
            }),
            tokio::spawn(async move {
                speak(writer, unread).await;
                let _ = mouth.send(ClientEvent::Gone(number)).await;
            }),
        ];
        self.connections.insert(number, Connection { peer: peer.ip(), replies, tasks });
    }

    /// Has a reply sent. A client that has left, or that takes nothing, gets none.
    pub(super) fn reply(&self, number: u32, octets: &[u8]) {
        if let Some(connection) = self.connections.get(&number) {
            let _ = connection.replies.try_send(framed(octets));
        }
    }

    /// A connection has ended.
    pub(super) fn gone(&mut self, number: u32) {
        self.connections.remove(&number);
    }
}

/// The address is the kernel's own; it may be bound before it is there, and while another process of ours answers there.
fn bind(address: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(address, PORT)))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, events: mpsc::Sender<ClientEvent>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if events.send(ClientEvent::Connected(stream, peer)).await.is_err() {
                    return;
                }
            }
            // Descriptors are used up, for a while.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn hear(
    mut reader: OwnedReadHalf,
    number: u32,
    peer: SocketAddr,
    replies: &mpsc::Sender<Vec<u8>>,
    events: &mpsc::Sender<ClientEvent>,
) {
    loop {
        let Ok(Ok(length)) = timeout(IDLE, reader.read_u16()).await else { return };
        let mut octets = vec![0; usize::from(length)];
        let Ok(Ok(_)) = timeout(IDLE, reader.read_exact(&mut octets)).await else { return };
        // Room for the answer first.
        let Ok(Ok(_)) = timeout(STUCK, replies.reserve()).await else { return };
        if events.send(ClientEvent::Query(number, peer, octets)).await.is_err() {
            return;
        }
    }
}

async fn speak(mut writer: OwnedWriteHalf, mut unread: mpsc::Receiver<Vec<u8>>) {
    while let Some(octets) = unread.recv().await {
        let Ok(Ok(())) = timeout(STUCK, writer.write_all(&octets)).await else { return };
    }
}
