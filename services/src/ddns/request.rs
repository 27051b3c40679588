//! What the client asks the caller to do, and what came of it.

use super::entry::Family;
use super::secret::Secret;
use std::net::IpAddr;

/// What it is, on what, which version: the form that the services ask for.
pub(super) const USER_AGENT: &str = concat!("Genkan/Linux-", env!("CARGO_PKG_VERSION"));

/// Names a request of one [`super::Client`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub(super) u64);

/// Something to do for the client. Exactly one outcome is expected back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the outcome.
    pub id: RequestId,
    /// What to do.
    pub ask: Ask,
}

/// The kinds of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Over TLS with the certificate verified; redirects are not followed.
    Http(HttpRequest),
    /// To a DNS server.
    Dns(DnsRequest),
    /// Look up the addresses of a name with an ordinary resolver.
    Resolve {
        /// Without trailing dot.
        name: String,
        /// A or AAAA.
        family: Family,
    },
}

/// Request methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// PATCH
    Patch,
    /// POST
    Post,
}

/// An HTTPS request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Its method.
    pub method: Method,
    /// Absolute, scheme https.
    pub url: Secret,
    /// To be sent besides those that HTTP itself wants.
    pub headers: Vec<(&'static str, Secret)>,
    /// Empty with GET.
    pub body: Vec<u8>,
}

/// A DNS message for a server. By TCP when the reply to UDP is truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRequest {
    /// Name or address of the server.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// The whole message, without the length that TCP puts in front.
    pub octets: Vec<u8>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// An HTTP response.
    Http {
        /// Its status.
        status: u16,
        /// The value of its Retry-After field.
        retry_after: Option<&'a str>,
        /// Its body, or the first 64 KiB of it.
        body: &'a [u8],
    },
    /// A DNS message from the server that was asked.
    Dns(&'a [u8]),
    /// What the resolver found; empty when the name has no such record.
    Addresses(&'a [IpAddr]),
    /// Nothing reached the other side: its name did not resolve, no connection, no TLS.
    NotSent,
    /// It was sent, or partly, and no answer came.
    NoAnswer,
}
