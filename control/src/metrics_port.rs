//! `GET /metrics` at a TCP port of a lan, and nothing else of the API: HTTP/1.1, one request on each connection.
//!
//! Whoever is on the lan may ask, so that everything has a bound: the connections at once, those of one source, the
//! time until a request is there, the time in all, and the octets of a request.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::metrics;
use crate::request::WorkerError;

/// Connections at once; more are closed at once.
const CONNECTIONS: usize = 16;
/// Those of one source.
const OF_ONE_SOURCE: usize = 4;
/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may take from its beginning to its end.
const ALL: Duration = Duration::from_secs(15);
/// Octets of a request, the least that hyper can do with.
const REQUEST_OCTETS: usize = 8192;
/// What is said beside metrics.
const PLAIN: &str = "text/plain; charset=utf-8";
/// How long to wait when no connection can be accepted, which is when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers there with what `answers` gives, to those whom `admits` admits, until the future is dropped, and with it every
/// connection.
pub async fn serve<A, F>(listener: TcpListener, admits: impl Fn(Ipv4Addr) -> bool, answers: A)
where
    A: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<String, WorkerError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut open: Vec<(Ipv4Addr, AbortHandle)> = Vec::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                debug!(%error, "no connection is accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        let peer = match peer {
            IpAddr::V4(peer) if admits(peer) => peer,
            // A forward or the DMZ may lead here from anywhere.
            peer => {
                debug!(%peer, "asks for metrics, but is on none of the lans that may");
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|(_, task)| !task.is_finished());
        let of_peer = open.iter().filter(|(other, _)| *other == peer).count();
        if open.len() < CONNECTIONS && of_peer < OF_ONE_SOURCE {
            open.push((peer, tasks.spawn(connection(stream, answers.clone()))));
        }
    }
}

/// One connection: a request, an answer.
async fn connection<A, F>(stream: TcpStream, answers: A)
where
    A: Fn() -> F,
    F: Future<Output = Result<String, WorkerError>>,
{
    let service = service_fn(async |request: Request<Incoming>| {
        let (status, kind, text) = match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET) => match answers().await {
                Ok(text) => (StatusCode::OK, metrics::CONTENT_TYPE, text),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{error}\n")),
            },
            ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "only /metrics is here\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(REQUEST_OCTETS)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever the other side does wrong is its own affair.
    let _ = timeout(ALL, connection).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    /// A port of its own, that answers with "many\n"; `admits` says whether this machine may ask.
    async fn port(admits: bool) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        tokio::spawn(serve(listener, move |_| admits, async || Ok("many\n".to_owned())));
        address
    }

    /// What comes back for this, until the other side closes.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // Too much is refused before its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn only_metrics_are_told() {
        let port = port(true).await;
        let answer = ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/openmetrics-text") && answer.ends_with("\r\nmany\n")
        );
        for (request, status) in [
            ("GET /v1/status", "404"),
            ("GET /metrics/", "404"),
            ("GET /", "404"),
            ("POST /metrics", "405"),
            ("HEAD /metrics", "405"),
            ("DELETE /v1/dmz", "404"),
        ] {
            let answer = ask(port, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
        let answer = ask(port, "nonsense\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * REQUEST_OCTETS));
        assert!(!ask(port, &long).await.contains("many"));
    }

    #[tokio::test]
    async fn others_are_closed_at_once() {
        let port = port(false).await;
        assert_eq!(ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_closed() {
        let port = port(true).await;
        let began = Instant::now();
        assert!(!ask(port, "GET /metrics HTTP/1.1\r\nHost:").await.contains("many"));
        assert!(began.elapsed() >= REQUEST && began.elapsed() < ALL, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn one_source_does_not_get_all_connections() {
        let port = port(true).await;
        let mut held = Vec::new();
        for _ in 0..OF_ONE_SOURCE {
            held.push(TcpStream::connect(port).await.expect("it listens"));
        }
        assert_eq!(ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await, "", "one too many");
        // An answer brings a place back.
        let mut first = held.swap_remove(0);
        first.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is open");
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.expect("it is answered");
        assert!(answer.ends_with("many\n"), "{answer}");
        let answer = ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.ends_with("many\n"), "{answer}");
    }
}
