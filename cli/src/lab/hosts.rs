//! The computers of the lab: servers that remember whom they saw, clients that ask them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use genkan_lab::Namespace;

/// How long a client waits for an answer that is to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// How long a client waits for an answer that is not to come.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// Whom a server has seen. It goes on until the program ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitors(Arc<Mutex<Vec<SocketAddr>>>);

impl Visitors {
    fn note(&self, visitor: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(visitor);
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
    }
}

/// Starts a web server with one page.
pub(crate) fn web_server(host: &Namespace, port: u16, page: &str) -> io::Result<Visitors> {
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let visitors = Visitors::default();
    let book = visitors.clone();
    let page: Arc<str> = page.into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A visitor who left again is none.
            let Ok(mut stream) = stream else { continue };
            if let Ok(visitor) = stream.peer_addr() {
                book.note(visitor);
            }
            let page = Arc::clone(&page);
            thread::spawn(move || serve(&mut stream, &page));
        }
    });
    Ok(visitors)
}

fn serve(stream: &mut TcpStream, page: &str) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 16 * 1024 {
        match stream.read(&mut buffer)? {
            0 => break,
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    let length = page.len() + 1;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}\n"
    )
}

/// Fetches `http://TO/` and returns the page.
pub(crate) fn fetch(host: &Namespace, to: SocketAddrV4, limit: Duration) -> io::Result<String> {
    let mut stream = host.run(|| TcpStream::connect_timeout(&to.into(), limit))?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", to.ip())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, page)) => Ok(page.trim_end().to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Starts a server that sends every datagram back.
pub(crate) fn echo_server(host: &Namespace, port: u16) -> io::Result<Visitors> {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let visitors = Visitors::default();
    let book = visitors.clone();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, visitor)) = socket.recv_from(&mut buffer) {
            book.note(visitor);
            // A lost answer shows at the asker.
            let _ = socket.send_to(&buffer[..length], visitor);
        }
    });
    Ok(visitors)
}

/// Sends a datagram and waits for its echo; returns the sender's own endpoint.
pub(crate) fn echo(host: &Namespace, to: SocketAddrV4) -> io::Result<SocketAddr> {
    let socket = host.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        io::Result::Ok(socket)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 16];
    match socket.recv(&mut buffer)? {
        5 if buffer.starts_with(b"hello") => socket.local_addr(),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What a knock at a TCP port brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// Somebody opened.
    Open,
    /// A reset or an ICMP error: nobody is there, but the house exists.
    Refused,
    /// Nothing at all.
    Silence,
}

/// Knocks at several ports at the same time.
pub(crate) fn knock(host: &Namespace, address: Ipv4Addr, ports: &[u16]) -> Vec<Knock> {
    thread::scope(|scope| {
        let knocks: Vec<_> = ports
            .iter()
            .map(|&port| {
                let to = SocketAddr::from((address, port));
                scope.spawn(move || match host.run(|| TcpStream::connect_timeout(&to, SILENCE)) {
                    Ok(_) => Knock::Open,
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => Knock::Silence,
                    Err(_) => Knock::Refused,
                })
            })
            .collect();
        knocks.into_iter().map(|knock| knock.join().unwrap_or(Knock::Refused)).collect()
    })
}
