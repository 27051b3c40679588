//! What the clients of names outside have sent: HTTPS, DNS, STUN, by ordinary sockets over the TUN.
//!
//! A request that certainly did not arrive is told apart from one of which nobody knows: the first costs no patience
//! of the service.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use genkan_services::ddns::{Family, HttpRequest, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use crate::daemon::privileges::why_unreadable;

/// Who is asked for names (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// How services are reached: by the wan, which is of IPv4.
pub(super) const OF_SERVICES: Family = Family::V4;
/// How long each part may take: a name, a connection, TLS, the answer.
const RESOLVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// When a datagram is sent again without an answer, and when it is given up.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(6)];
/// Longest body that is read, in octets.
const MOST_BODY: usize = 64 << 10;
/// Longest file of certificates, in octets.
const MOST_CERTIFICATES: u64 = 1 << 20;
/// Messages up to this length go by UDP first, in octets (RFC 1035 §4.2.1).
const MOST_UDP: usize = 512;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// A name that leads nowhere.
    #[error("the name {0} cannot be resolved: {1}")]
    Resolve(String, io::Error),
    /// Who the name servers are is not known any more.
    #[error(
        "the name {0} cannot be resolved: another {RESOLVER} has taken the place of the one that was there at the start, and \
         the sandbox keeps it out of reach: restart the router, or have that file written in place"
    )]
    Resolver(String),
    /// It has addresses, and none of the kind that is needed.
    #[error("the name {0} has no {kind} address", kind = .1.kind())]
    NoAddress(String, Family),
    /// Nobody there.
    #[error("{0} cannot be reached: {1}")]
    Connect(SocketAddr, io::Error),
    /// The certificate, as a rule.
    #[error("no encryption with {}: {}", .0, tls_words(.1))]
    Tls(String, io::Error),
    /// The file of certificates.
    #[error("{}: no certificates: {reason}", path.display())]
    Certificates {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not a URL that can be asked.
    #[error("the URL is none")]
    Url,
    /// The request may have been received.
    #[error("no answer: {0}")]
    NoAnswer(io::Error),
}

impl TransportError {
    /// Whether it certainly did not arrive.
    pub(super) fn not_sent(&self) -> bool {
        !matches!(self, TransportError::NoAnswer(_))
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// The first 64 KiB.
    pub(super) body: Vec<u8>,
}

/// Why TLS failed, with a hint at what a person can do about it.
fn tls_words(error: &io::Error) -> String {
    let source = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = source else { return error.to_string() };
    let words = match wrong {
        CertificateError::UnknownIssuer => {
            "its certificate is by nobody whom this router trusts (`ca_file` names others)"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "its certificate has expired, or this router's clock is wrong"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        // Whatever else is wrong with one that somebody made himself: mostly that it is marked as an authority's.
        other => return format!("its certificate is not accepted ({other})"),
    };
    words.to_owned()
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| Err(timed_out()))
}

/// The addresses of a name, by the system's resolver.
pub(super) async fn resolve(name: &str, family: Family) -> Result<Vec<IpAddr>, TransportError> {
    let found = within(RESOLVE, tokio::net::lookup_host((name, 0))).await;
    let found = found.map_err(|error| match File::open(RESOLVER).map_err(|error| error.kind()) {
        Err(io::ErrorKind::PermissionDenied) => TransportError::Resolver(name.to_owned()),
        _ => TransportError::Resolve(name.to_owned(), error),
    })?;
    Ok(found.map(|at| at.ip()).filter(|address| Family::of(*address) == family).collect())
}

/// The first address at which somebody answers is taken.
async fn connect(host: &str, port: u16, family: Family) -> Result<TcpStream, TransportError> {
    let mut last = TransportError::NoAddress(host.to_owned(), family);
    for address in resolve(host, family).await? {
        let at = SocketAddr::from((address, port));
        match within(CONNECT, TcpStream::connect(at)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = TransportError::Connect(at, error),
        }
    }
    Err(last)
}

/// Whom to trust: the authorities of a file, and those that Mozilla lists if `and_public`.
pub(super) fn trust(file: Option<&Path>, and_public: bool) -> Result<Arc<ClientConfig>, TransportError> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {}
        Some(path) => {
            let failed = |reason: String| TransportError::Certificates { path: path.to_owned(), reason };
            let unreadable = |error: io::Error| failed(format!("{error}{}", why_unreadable(&error)));
            let length = std::fs::metadata(path).map_err(unreadable)?.len();
            if length > MOST_CERTIFICATES {
                return Err(failed("it is over 1 MiB".to_owned()));
            }
            let text = std::fs::read(path).map_err(unreadable)?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let added = certificate
                    .map_err(|error| error.to_string())
                    .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
                added.map_err(failed)?;
            }
            if roots.is_empty() {
                return Err(failed("it holds none in PEM".to_owned()));
            }
        }
    }
    if and_public {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| TransportError::Tls("anybody".to_owned(), other(error)))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Sends a request over HTTPS, and that over `family`. Redirects are answers like any other.
pub(super) async fn https(
    trust: Arc<ClientConfig>,
    request: &HttpRequest,
    family: Family,
) -> Result<Answered, TransportError> {
    let uri: Uri = request.url.expose().parse().map_err(|_| TransportError::Url)?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or(TransportError::Url)?;
    // An IPv6 address stands in brackets there (RFC 3986 section 3.2.2), and nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server = ServerName::try_from(host.clone()).map_err(|_| TransportError::Url)?;
    let message = message(request, &uri).ok_or(TransportError::Url)?;
    let stream = connect(&host, uri.port_u16().unwrap_or(443), family).await?;
    let stream = within(HANDSHAKE, TlsConnector::from(trust).connect(server, stream)).await;
    let stream = stream.map_err(|error| TransportError::Tls(host, error))?;
    within(ANSWER, exchange(stream, message)).await.map_err(TransportError::NoAnswer)
}

fn message(request: &HttpRequest, uri: &Uri) -> Option<Request<Full<Bytes>>> {
    let method = match request.method {
        Method::Get => hyper::Method::GET,
        Method::Patch => hyper::Method::PATCH,
        Method::Post => hyper::Method::POST,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(method).uri(path);
    builder = builder.header(HOST, uri.authority()?.as_str()).header(CONNECTION, "close");
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        builder = builder.header(*name, value);
    }
    builder.body(Full::new(Bytes::from(request.body.clone()))).ok()
}

async fn exchange(stream: TlsStream<TcpStream>, message: Request<Full<Bytes>>) -> io::Result<Answered> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    let answered = async {
        let response = sender.send_request(message).await.map_err(other)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while body.len() < MOST_BODY
            && let Some(frame) = incoming.frame().await
        {
            if let Some(data) = frame.map_err(other)?.data_ref() {
                body.extend_from_slice(&data[..data.len().min(MOST_BODY - body.len())]);
            }
        }
        Ok(Answered { status, retry_after, body })
    };
    tokio::pin!(answered);
    // The connection is part of this future, so that nothing of it outlives the patience.
    tokio::select! {
        answer = &mut answered => answer,
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(other(error)),
        },
    }
}

/// Asks a DNS server: by UDP, and by TCP what is too long for that, or has an answer that is, or gets none: there are
/// servers, and ways to them, that let TCP alone through.
pub(super) async fn dns(host: &str, port: u16, octets: &[u8]) -> Result<Vec<u8>, TransportError> {
    if octets.len() > MOST_UDP {
        return stream(host, port, octets).await;
    }
    let is_reply = |reply: &[u8]| reply.len() >= 12 && reply[..2] == octets[..2] && reply[2] & 0x80 != 0;
    let udp_is_over = Notify::new();
    let by_udp = async {
        let answer =
            datagram((host, port), OF_SERVICES, octets, is_reply).await.and_then(|reply| {
                match reply[2] & 0x02 {
                    0 => Ok(reply),
                    _ => {
                        Err(TransportError::NoAnswer(other("it is too long for UDP, and TCP does not serve")))
                    }
                }
            });
        udp_is_over.notify_one();
        answer
    };
    let by_tcp = async {
        // A datagram may still be answered when it is repeated. An update that is heard twice says the same twice.
        let _ = timeout(AGAIN[0], udp_is_over.notified()).await;
        stream(host, port, octets).await
    };
    either(by_udp, by_tcp).await
}

/// The first answer of two. Where both fail: the error of the request that may have been received, if one was.
async fn either<T>(
    one: impl Future<Output = Result<T, TransportError>>,
    other: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    tokio::pin!(one, other);
    let (first, is_one) = tokio::select! {
        biased;
        answer = &mut one => (answer, true),
        answer = &mut other => (answer, false),
    };
    let failed = match first {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let second = if is_one { other.await } else { one.await };
    second.map_err(|error| if error.not_sent() { failed } else { error })
}

/// Asks by TCP.
async fn stream(host: &str, port: u16, octets: &[u8]) -> Result<Vec<u8>, TransportError> {
    let mut stream = connect(host, port, OF_SERVICES).await?;
    within(ANSWER, dns_over_tcp(&mut stream, octets)).await.map_err(TransportError::NoAnswer)
}

/// RFC 1035 §4.2.2.
async fn dns_over_tcp(stream: &mut TcpStream, octets: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(octets.len()).map_err(other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(octets);
    stream.write_all(&message).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// Sends a datagram, again if need be, and takes the first that `is_reply` to it from there.
pub(super) async fn datagram(
    (host, port): (&str, u16),
    family: Family,
    octets: &[u8],
    is_reply: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, TransportError> {
    let address = resolve(host, family).await?.into_iter().next();
    let address = address.ok_or_else(|| TransportError::NoAddress(host.to_owned(), family))?;
    let at = SocketAddr::from((address, port));
    let unreachable = |error| TransportError::Connect(at, error);
    let any = match family {
        Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    // A port of the kernel's choice for each question (RFC 5452 §9.2).
    let socket = UdpSocket::bind((any, 0)).await.map_err(unreachable)?;
    socket.connect(at).await.map_err(unreachable)?;
    let mut buffer = vec![0; 65_535];
    for wait in AGAIN {
        socket.send(octets).await.map_err(unreachable)?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if is_reply(&buffer[..length]) {
                    return Ok(length);
                }
            }
        };
        match timeout(wait, answer).await {
            Ok(Ok(length)) => return Ok(buffer[..length].to_vec()),
            // Somebody on the way says so, or there is no such port.
            Ok(Err(error)) => return Err(unreachable(error)),
            Err(_) => {}
        }
    }
    Err(TransportError::NoAnswer(timed_out()))
}

#[cfg(test)]
mod tests {
    use genkan_services::ddns::Secret;

    use super::*;

    #[tokio::test]
    async fn what_did_not_arrive_is_told_apart() {
        // A port that was free a moment ago refuses.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        drop(listener);
        let error = dns("127.0.0.1", port, &[0; 600]).await.expect_err("nobody is there");
        assert!(error.not_sent(), "{error}");
        let error = dns("127.0.0.1", port, &[0; 20]).await.expect_err("nobody is there");
        assert!(error.not_sent(), "{error}");

        // One that takes all and says nothing may have done it; so may one that hangs up in the middle.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it comes");
            let mut octets = vec![0; 602];
            stream.read_exact(&mut octets).await.expect("all of it");
            stream.write_all(&[0, 9, 1, 2]).await.expect("it listens");
        });
        let error = dns("127.0.0.1", port, &[0; 600]).await.expect_err("the answer is cut");
        assert!(!error.not_sent(), "{error}");
        server.await.expect("no panic");

        // No TLS: the request has not been said yet.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it comes");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it listens");
        });
        let request = HttpRequest {
            method: Method::Get,
            url: Secret::new(format!("https://127.0.0.1:{port}/?password=hunter2")),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let error = https(trust(None, true).expect("Mozilla's list"), &request, OF_SERVICES)
            .await
            .expect_err("no TLS");
        assert!(error.not_sent() && !format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        server.await.expect("no panic");
    }

    /// Answers one query by TCP with its own octets, marked as a reply.
    async fn answer_by_tcp(listener: tokio::net::TcpListener) {
        let (mut stream, _) = listener.accept().await.expect("it comes");
        let mut octets = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
        stream.read_exact(&mut octets).await.expect("all of it");
        octets[2] |= 0x80;
        let reply = [&(octets.len() as u16).to_be_bytes()[..], &octets].concat();
        stream.write_all(&reply).await.expect("it listens");
    }

    /// Answers one query by UDP with its own octets, marked as a reply that is cut.
    fn cut_by_udp(udp: &std::net::UdpSocket) {
        let mut buffer = [0; 64];
        let (length, from) = udp.recv_from(&mut buffer).expect("a query");
        buffer[2] |= 0x82;
        udp.send_to(&buffer[..length], from).expect("it listens");
    }

    #[tokio::test]
    async fn tcp_is_asked_where_udp_is_cut_refused_or_silent() {
        let query: Vec<u8> = (0..20).collect();
        for mood in ["cut", "refused", "silent"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("it has one").port();
            let server = tokio::spawn(answer_by_tcp(listener));
            let udp = (mood != "refused").then(|| std::net::UdpSocket::bind(("127.0.0.1", port)));
            let udp = udp.map(|udp| udp.expect("nobody else takes the same number"));
            let cut = udp.as_ref().filter(|_| mood == "cut").map(|udp| udp.try_clone().expect("a copy"));
            let cut = tokio::task::spawn_blocking(move || cut.iter().for_each(cut_by_udp));
            let reply = dns("127.0.0.1", port, &query).await.expect("by TCP");
            assert_eq!((reply[2], &reply[3..]), (query[2] | 0x80, &query[3..]), "{mood}");
            cut.await.expect("no panic");
            server.await.expect("no panic");
        }
        // What may have been received over UDP may have been done, though TCP is refused.
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = udp.local_addr().expect("it has one").port();
        let cut = tokio::task::spawn_blocking(move || cut_by_udp(&udp));
        let error = dns("127.0.0.1", port, &query).await.expect_err("it was cut");
        assert!(!error.not_sent(), "{error}");
        cut.await.expect("no panic");
    }

    #[test]
    fn certificates_of_a_file_that_is_none() {
        let path = std::env::temp_dir().join(format!("genkan-no-certificates-{}", std::process::id()));
        assert!(matches!(trust(Some(&path), true), Err(TransportError::Certificates { .. })));
        std::fs::write(&path, "nothing here\n").expect("it is ours");
        let error = trust(Some(&path), true).expect_err("there is none").to_string();
        std::fs::remove_file(&path).expect("it is ours");
        assert!(error.contains("it holds none in PEM"), "{error}");
    }
}
