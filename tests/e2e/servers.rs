//! Small servers that say whom they see.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_lab::Namespace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::fixture::PATIENCE;

/// How long a server may sleep before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(10);

/// A server; dropping it ends it.
pub(crate) struct Server {
    ending: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<SocketAddrV4>>>,
    worker: Option<JoinHandle<()>>,
}

impl Server {
    /// A TCP server at `port` of every address of the host. It greets with a line that names the peer as the server
    /// sees it, and sends back whatever it gets.
    pub(crate) fn tcp(host: &Namespace, port: u16) -> Server {
        Server::tcp_with(host, port, |stream, peer| {
            writeln!(stream, "{peer}")?;
            let mut buffer = [0; 16 * 1024];
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => stream.write_all(&buffer[..length])?,
                }
            }
        })
    }

    /// An HTTP server that answers every request with `body`.
    pub(crate) fn http(host: &Namespace, port: u16, body: &'static str) -> Server {
        Server::tcp_with(host, port, move |stream, _| {
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => request.extend_from_slice(&buffer[..length]),
                }
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        })
    }

    /// A TCP server that does `serve` with every connection, on a thread each.
    pub(crate) fn tcp_with(
        host: &Namespace,
        port: u16,
        serve: impl Fn(&mut TcpStream, SocketAddrV4) -> io::Result<()> + Send + Sync + Clone + 'static,
    ) -> Server {
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        let listener = listener.expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let patience = PollTimeout::try_from(NAP).expect("it is short");
        Server::start(move |ending, seen| {
            while !ending.load(Ordering::Acquire) {
                let Ok((mut stream, SocketAddr::V4(peer))) = listener.accept() else {
                    // Whatever comes of it, it is tried again.
                    let _ = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], patience);
                    continue;
                };
                seen.lock().expect("no server panics").push(peer);
                let serve = serve.clone();
                thread::spawn(move || {
                    stream.set_nonblocking(false).expect("a stream can block");
                    // The peer may go away at any time.
                    let _ = serve(&mut stream, peer);
                });
            }
        })
    }

    /// A UDP server at `port` of every address of the host. It answers each datagram with a line that names the
    /// sender as the server sees it, and the datagram.
    pub(crate) fn udp(host: &Namespace, port: u16) -> Server {
        Server::udp_at(host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
    }

    /// The same at one address of the host, from which its answers come then.
    pub(crate) fn udp_at(host: &Namespace, address: SocketAddrV4) -> Server {
        Server::udp_with(host, address, |datagram, peer| {
            [peer.to_string().as_bytes(), b"\n", datagram].concat()
        })
    }

    /// A UDP server that sends back what `answer` says.
    pub(crate) fn udp_with(
        host: &Namespace,
        address: SocketAddrV4,
        answer: impl Fn(&[u8], SocketAddrV4) -> Vec<u8> + Send + 'static,
    ) -> Server {
        Server::udp_after(host, address, Duration::ZERO, answer)
    }

    /// The same, but each answer comes only after `delay`, give or take [`NAP`].
    pub(crate) fn udp_after(
        host: &Namespace,
        address: SocketAddrV4,
        delay: Duration,
        answer: impl Fn(&[u8], SocketAddrV4) -> Vec<u8> + Send + 'static,
    ) -> Server {
        let socket = host.run(|| UdpSocket::bind(address)).expect("the port is free");
        socket.set_read_timeout(Some(NAP)).expect("the timeout is not zero");
        Server::start(move |ending, seen| {
            let mut buffer = vec![0; 65_536];
            let mut answers = VecDeque::new();
            while !ending.load(Ordering::Acquire) {
                if let Ok((length, SocketAddr::V4(peer))) = socket.recv_from(&mut buffer) {
                    seen.lock().expect("no server panics").push(peer);
                    answers.push_back((Instant::now() + delay, answer(&buffer[..length], peer), peer));
                }
                while let Some((_, answer, peer)) = answers.pop_front_if(|(due, ..)| *due <= Instant::now()) {
                    // An answer that cannot be sent is missed by the test.
                    let _ = socket.send_to(&answer, peer);
                }
            }
        })
    }

    fn start(work: impl FnOnce(&AtomicBool, &Mutex<Vec<SocketAddrV4>>) + Send + 'static) -> Server {
        let ending = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (end, all) = (Arc::clone(&ending), Arc::clone(&seen));
        let worker = thread::spawn(move || work(&end, &all));
        Server { ending, seen, worker: Some(worker) }
    }

    /// Everybody who has connected or sent a datagram, in order.
    pub(crate) fn seen(&self) -> Vec<SocketAddrV4> {
        self.seen.lock().expect("no server panics").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(worker) = self.worker.take() {
            // Its panic has been printed.
            let _ = worker.join();
        }
    }
}

/// A TCP connection from a host.
pub(crate) fn connect(host: &Namespace, to: impl Into<SocketAddr> + Send) -> io::Result<TcpStream> {
    connect_within(host, to, PATIENCE)
}

/// A TCP connection from a host, within `limit`. Reading from it fails after [`PATIENCE`].
pub(crate) fn connect_within(
    host: &Namespace,
    to: impl Into<SocketAddr> + Send,
    limit: Duration,
) -> io::Result<TcpStream> {
    let stream = host.run(|| TcpStream::connect_timeout(&to.into(), limit))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The greeting of [`Server::tcp`]: this connection's client as the server sees it.
#[track_caller]
pub(crate) fn greeting(stream: &mut TcpStream) -> SocketAddrV4 {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("the server greets");
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line);
    line.trim().parse().unwrap_or_else(|error| panic!("{line:?} is no endpoint: {error}"))
}

/// Sends `text` and waits until all of it has come back.
#[track_caller]
pub(crate) fn exchange(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).expect("the connection is open");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("the server echoes");
    assert!(back == text, "what came back is not what was sent");
}

/// A UDP socket at a host, at `port` (0: any).
pub(crate) fn udp(host: &Namespace, port: u16) -> UdpSocket {
    host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).expect("the port is free")
}

/// Asks a [`Server::udp`] and returns how it saw the asker; `None` when nothing came back within `limit`.
#[track_caller]
pub(crate) fn ask(
    socket: &UdpSocket,
    server: SocketAddrV4,
    text: &[u8],
    limit: Duration,
) -> Option<SocketAddrV4> {
    socket.send_to(text, server).expect("there is a route");
    receive(socket, limit, |answer, from| {
        let end = answer.iter().position(|&byte| byte == b'\n')?;
        assert_eq!(from, server, "the answer has another sender");
        if &answer[end + 1..] != text {
            return None;
        }
        std::str::from_utf8(&answer[..end]).ok()?.parse().ok()
    })
}

/// The first datagram of which `pick` makes something, within `limit`.
pub(crate) fn receive<T>(
    socket: &UdpSocket,
    limit: Duration,
    pick: impl Fn(&[u8], SocketAddrV4) -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).expect("the timeout is not zero");
        if let Ok((length, SocketAddr::V4(from))) = socket.recv_from(&mut buffer)
            && let Some(found) = pick(&buffer[..length], from)
        {
            return Some(found);
        }
    }
}
