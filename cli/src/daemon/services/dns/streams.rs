//! Connections to resolvers, over TCP or TLS: one of each kind per resolver, kept while it is used (RFC 7766 section 6.2).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use genkan_config::DnsUpstream;
use genkan_services::dns::{Transport, UpstreamId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(10);
/// Questions that may wait for a connection to take them.
const WAITING: usize = 1024;
/// Events that may wait for the service.
const EVENTS: usize = 256;

/// What became of a connection.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// A message has come.
    Message(Transport, SocketAddr, Vec<u8>),
    /// The connection with this number is no more.
    Ended(UpstreamId, Transport, u64, Result<(), String>),
}

#[derive(Debug)]
struct Connection {
    number: u64,
    questions: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All connections.
pub(super) struct Streams {
    upstreams: Vec<DnsUpstream>,
    /// Why TLS is not possible, or by what it is.
    connector: Result<TlsConnector, String>,
    open: HashMap<(UpstreamId, Transport), Connection>,
    events: mpsc::Sender<StreamEvent>,
    numbers: u64,
}

impl Streams {
    /// None yet, and what happens to them.
    pub(super) fn new() -> (Streams, mpsc::Receiver<StreamEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let connector = Err("not set up".to_owned());
        (Streams { upstreams: Vec::new(), connector, open: HashMap::new(), events, numbers: 0 }, receiver)
    }

    /// Ends all, and goes to these resolvers from now on.
    pub(super) fn set_upstreams(
        &mut self,
        upstreams: &[DnsUpstream],
        connector: Result<TlsConnector, String>,
    ) {
        self.open.clear();
        self.upstreams = upstreams.to_vec();
        self.connector = connector;
    }

    /// Has a message sent, over a connection that is made where there is none.
    ///
    /// # Errors
    /// In words, when there cannot be one.
    pub(super) fn send(
        &mut self,
        upstream: UpstreamId,
        transport: Transport,
        octets: Vec<u8>,
    ) -> Result<(), String> {
        let octets = match self.open.get(&(upstream, transport)) {
            Some(connection) => match connection.questions.try_send(octets) {
                Ok(()) => return Ok(()),
                // It ends just now: another one takes its place.
                Err(mpsc::error::TrySendError::Closed(octets)) => octets,
                Err(mpsc::error::TrySendError::Full(_)) => return Err("too many questions wait".to_owned()),
            },
            None => octets,
        };
        let known = self.upstreams.get(usize::from(upstream.0)).ok_or("no such resolver")?;
        let address = SocketAddr::V4(known.address);
        let tls = match transport {
            Transport::Tls => {
                let name = match &known.name {
                    Some(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string())?,
                    None => ServerName::from(address.ip()),
                };
                Some((self.connector.clone()?, name))
            }
            _ => None,
        };
        let (questions, waiting) = mpsc::channel(WAITING);
        // The channel is new and has room.
        let _ = questions.try_send(octets);
        self.numbers += 1;
        let (number, events) = (self.numbers, self.events.clone());
        let task = tokio::spawn(async move {
            let told = |octets| StreamEvent::Message(transport, address, octets);
            let outcome = converse(address, tls, waiting, &events, told).await;
            let outcome = outcome.map_err(|error| error.to_string());
            // Without the service nobody needs to know.
            let _ = events.send(StreamEvent::Ended(upstream, transport, number, outcome)).await;
        });
        self.open.insert((upstream, transport), Connection { number, questions, task });
        Ok(())
    }

    /// A connection has ended. Whether it was the one in use: what was asked by it is asked otherwise then.
    pub(super) fn ended(&mut self, upstream: UpstreamId, transport: Transport, number: u64) -> bool {
        let is_current =
            self.open.get(&(upstream, transport)).is_some_and(|connection| connection.number == number);
        if is_current {
            self.open.remove(&(upstream, transport));
        }
        is_current
    }
}

async fn converse(
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    questions: mpsc::Receiver<Vec<u8>>,
    events: &mpsc::Sender<StreamEvent>,
    told: impl Fn(Vec<u8>) -> StreamEvent,
) -> io::Result<()> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(slow)??;
    stream.set_nodelay(true)?;
    match tls {
        None => exchange(stream, questions, events, told).await,
        Some((connector, name)) => {
            let stream = timeout(CONNECT, connector.connect(name, stream)).await.map_err(slow)??;
            exchange(stream, questions, events, told).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite,
    mut questions: mpsc::Receiver<Vec<u8>>,
    events: &mpsc::Sender<StreamEvent>,
    told: impl Fn(Vec<u8>) -> StreamEvent,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = async {
        loop {
            // RFC 1035 section 4.2.2: a message behind its length.
            let Ok(length) = timeout(IDLE, reader.read_u16()).await else { return Ok(()) };
            let length = match length {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                length => length?,
            };
            let mut octets = vec![0; usize::from(length)];
            reader.read_exact(&mut octets).await?;
            if events.send(told(octets)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async {
        while let Some(octets) = questions.recv().await {
            writer.write_all(&framed(&octets)).await?;
            writer.flush().await?;
        }
        Ok(())
    };
    // Whichever ends ends the other.
    tokio::select! {
        outcome = reading => outcome,
        outcome = writing => outcome,
    }
}

/// A message behind its length, as one piece (RFC 7766 section 8). Messages are below 65,536 octets.
pub(super) fn framed(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    let octets = &octets[..usize::from(length)];
    [&length.to_be_bytes(), octets].concat()
}
