//! Asks a running router.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::api::{
    CountersReport, DdnsRow, DhcpRow, DnsReport, ErrorBody, ErrorCode, HostQuery, HostRow, LeaseQuery,
    LeaseRow, LogLevelReport, MappingQuery, MappingRow, NeighborRow, NewLogLevel, NewProbe, Page,
    ProbeReport, SessionQuery, SessionRow, Status,
};

mod capture;
mod changes;
mod events;
mod follow;
mod lines;

/// How long one exchange may take; a reload reads files and talks to the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the router gave no answer, or which.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody behind it.
    #[error("no router answers at {} (is `genkan run` running? another one is named with --socket)", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket's mode does not admit us.
    #[error("no permission for {}: its owner and group may control the router", socket.display())]
    Permission {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection failed otherwise.
    #[error("cannot talk to the router at {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// HTTP went wrong.
    #[error("the router's answer broke off")]
    Http(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("the router did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The router refused.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The answer was not what this version understands.
    #[error("the router's answer is not understood; does another version of it run? ({0})")]
    Answer(String),
}

impl ClientError {
    /// The router lives and says no, as opposed to: it could not be asked.
    pub fn is_refusal(&self, code: ErrorCode) -> bool {
        matches!(self, ClientError::Refused(body) if body.code == code)
    }
}

/// A client of one router.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the router behind `socket`; connects at each request.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The socket that it asks.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.request(Method::GET, "/v1/status").await
    }

    /// `GET /v1/dns`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dns(&self) -> Result<DnsReport, ClientError> {
        self.request(Method::GET, "/v1/dns").await
    }

    /// `POST /v1/dns/check`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn check_dns(&self) -> Result<DnsReport, ClientError> {
        self.request(Method::POST, "/v1/dns/check").await
    }

    /// One page of `GET /v1/sessions`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self, query: &SessionQuery) -> Result<Page<SessionRow>, ClientError> {
        self.request(Method::GET, &with_query("/v1/sessions", query)).await
    }

    /// One page of `GET /v1/mappings`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mappings(&self, query: &MappingQuery) -> Result<Page<MappingRow>, ClientError> {
        self.request(Method::GET, &with_query("/v1/mappings", query)).await
    }

    /// `GET /v1/neighbors`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn neighbors(&self) -> Result<Vec<NeighborRow>, ClientError> {
        self.request(Method::GET, "/v1/neighbors").await
    }

    /// One page of `GET /v1/hosts`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hosts(&self, query: &HostQuery) -> Result<Page<HostRow>, ClientError> {
        self.request(Method::GET, &with_query("/v1/hosts", query)).await
    }

    /// `GET /v1/dhcp`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dhcp(&self) -> Result<Vec<DhcpRow>, ClientError> {
        self.request(Method::GET, "/v1/dhcp").await
    }

    /// One page of `GET /v1/leases`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leases(&self, query: &LeaseQuery) -> Result<Page<LeaseRow>, ClientError> {
        self.request(Method::GET, &with_query("/v1/leases", query)).await
    }

    /// `GET /v1/counters`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn counters(&self) -> Result<CountersReport, ClientError> {
        self.request(Method::GET, "/v1/counters").await
    }

    /// `GET /v1/ddns`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ddns(&self) -> Result<Vec<DdnsRow>, ClientError> {
        self.request(Method::GET, "/v1/ddns").await
    }

    /// `POST /v1/ddns/{name}/update`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_ddns(&self, name: &str) -> Result<DdnsRow, ClientError> {
        let mut path = "/v1/ddns/".to_owned();
        changes::escape(name, &mut path);
        self.request(Method::POST, &(path + "/update")).await
    }

    /// `GET /v1/log-level`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log_level(&self) -> Result<LogLevelReport, ClientError> {
        self.request(Method::GET, "/v1/log-level").await
    }

    /// `PUT /v1/log-level`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_log_level(&self, level: &str) -> Result<LogLevelReport, ClientError> {
        let body = NewLogLevel { level: level.to_owned() };
        self.send(Method::PUT, "/v1/log-level", Some(&body)).await
    }

    /// `POST /v1/probes`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn probe(&self, probe: &NewProbe) -> Result<ProbeReport, ClientError> {
        self.send(Method::POST, "/v1/probes", Some(probe)).await
    }

    async fn request<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        self.send(method, path, None::<&()>).await
    }

    /// [`Client::request`] with a body of JSON. Asks again when another program has taken over meanwhile, which has done
    /// nothing about it yet.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?,
            None => Vec::new(),
        };
        loop {
            let exchange = self.exchange(method.clone(), path, body.clone());
            let (status, body) =
                tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| ClientError::TimedOut)??;
            if status.is_success() {
                return serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()));
            }
            match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(body) if body.code == ErrorCode::HandedOver => {}
                Ok(refusal) => return Err(ClientError::Refused(refusal)),
                Err(_) => return Err(ClientError::Answer(format!("HTTP status {status}"))),
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.connect_error(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its end shows in the request's own outcome.
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "genkan")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        drop(sender);
        connection.abort();
        Ok((status, body))
    }

    /// Hands an answer that is a stream to `each`, piece by piece, until that says false or the stream ends.
    async fn listen(
        &self,
        path: &str,
        accept: &str,
        mut each: impl FnMut(&[u8]) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.connect_error(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path)
            .header(hyper::header::HOST, "genkan")
            .header(hyper::header::ACCEPT, accept)
            .body(Empty::<Bytes>::new())
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let text = body.collect().await?.to_bytes();
            return Err(serde_json::from_slice(&text).map_or_else(
                |_| ClientError::Answer(format!("HTTP status {status}")),
                ClientError::Refused,
            ));
        }
        while let Some(frame) = body.frame().await {
            let Ok(octets) = frame?.into_data() else { continue };
            if !each(&octets)? {
                break;
            }
        }
        drop(sender);
        connection.abort();
        Ok(())
    }

    fn connect_error(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
            io::ErrorKind::PermissionDenied => ClientError::Permission { socket },
            _ => ClientError::Connect { socket, source },
        }
    }
}

/// A query of numbers and words. Words may have any character; what is not plain is escaped (RFC 3986 §2.1).
fn with_query(path: &str, query: &impl Serialize) -> String {
    let mut text = String::from(path);
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else { return text };
    let mut separator = '?';
    for (name, value) in fields {
        text.push(separator);
        text.push_str(&name);
        text.push('=');
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        changes::escape(&value, &mut text);
        separator = '&';
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::api::SessionSort;

    #[test]
    fn queries_become_text() {
        assert_eq!(with_query("/v1/sessions", &SessionQuery::default()), "/v1/sessions");
        let query = SessionQuery {
            cursor: Some(7),
            protocol: Some("tcp&limit=1".to_owned()),
            address: Some(Ipv4Addr::new(192, 168, 0, 10)),
            sort: Some(SessionSort::ExpiresLast),
            ..SessionQuery::default()
        };
        let expected =
            "/v1/sessions?address=192%2E168%2E0%2E10&cursor=7&protocol=tcp%26limit%3D1&sort=expires-last";
        assert_eq!(with_query("/v1/sessions", &query), expected);
    }

    #[tokio::test]
    async fn no_router_is_said_plainly() {
        let client = Client::new("/nonexistent/genkan.sock");
        let error = client.status().await.expect_err("nobody is there");
        assert!(matches!(error, ClientError::NotRunning { .. }));
        assert!(error.to_string().contains("/nonexistent/genkan.sock"));
    }
}
