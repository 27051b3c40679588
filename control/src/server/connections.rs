//! Connections: how many there may be, and how long one may keep the router waiting for what it wants to say.
//!
//! Each is a descriptor of the process, which has some 1,000 of them and needs its own to write files and to hear from the
//! kernel. So whoever connects too often is told so, and who says nothing is let go.

use std::future::{Future, ready};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::{Control, Failure, Peer, routes};
use crate::api::ErrorCode;

/// Most octets of a request's body.
const LONGEST_BODY: usize = 2 << 20;

/// Connections that there may be however few descriptors there are.
const FEWEST: usize = 16;

/// Those that are only told that there are too many, at once; what comes beyond is closed without a word.
const TURNED_AWAY: usize = 32;

/// After an error of the listener that does not pass by itself, such as a process without descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections are granted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most at once.
    pub connections: usize,
    /// For the head of a request, from the moment of the connection or of the last answer.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
}

impl Limits {
    /// For a process that may have so many descriptors: at most a quarter of them are for connections.
    pub fn within(descriptors: u64) -> Limits {
        let usual = Limits::default();
        let quarter = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        Limits { connections: usual.connections.min(quarter).max(FEWEST), ..usual }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 256, head: Duration::from_secs(30), body: Duration::from_secs(30) }
    }
}

/// Serves the API until `shutdown` completes and open answers are out.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    control: Control,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let served =
        routes(control).layer(middleware::from_fn(move |request, next| whole(limits.body, request, next)));
    let too_many = Routes::new().fallback(move || ready(too_many(limits.connections)));
    let kinds = [
        (served, Arc::new(Semaphore::new(limits.connections))),
        (too_many, Arc::new(Semaphore::new(TURNED_AWAY))),
    ];
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let found =
            kinds.iter().find_map(|(routes, room)| Some((routes, room.clone().try_acquire_owned().ok()?)));
        let Some((routes, permit)) = found else { continue };
        let connection = graceful.watch(connection(stream, routes.clone(), limits.head));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a connection has failed");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn connection(
    stream: UnixStream,
    routes: Routes,
    head: Duration,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let peer = Peer::of(&stream);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        // It is always ready, as `Routes` says.
        routes.clone().call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
}

/// Waits for all of a request before it is looked at, but not for long.
async fn whole(patience: Duration, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (status, message) = match tokio::time::timeout(patience, to_bytes(body, LONGEST_BODY)).await {
        Ok(Ok(octets)) => return next.run(Request::from_parts(head, Body::from(octets))).await,
        Ok(Err(_)) => {
            let message = format!("the body is longer than {} MiB, or broke off", LONGEST_BODY >> 20);
            (StatusCode::PAYLOAD_TOO_LARGE, message)
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", patience.as_secs());
            (StatusCode::REQUEST_TIMEOUT, message)
        }
    };
    Failure::new(status, ErrorCode::BadRequest, message).into_response()
}

fn too_many(most: usize) -> Response {
    let message = format!("{most} programs are connected to the router, more than that cannot be");
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TooManyConnections, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let connections = |descriptors| Limits::within(descriptors).connections;
        assert_eq!([0, 256, 1_024, 20_000, u64::MAX].map(connections), [16, 64, 256, 256, 256]);
    }
}
