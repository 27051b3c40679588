//! The DNS service: `GET /v1/dns`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the DNS service does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DnsReport {
    /// Whether there is one; without it all else is empty.
    pub enabled: bool,
    /// The domain of the lans' names.
    pub domain: String,
    /// The resolvers, in the order in which they are asked.
    pub upstreams: Vec<DnsUpstreamRow>,
    /// Answers that are kept.
    pub cache: DnsCache,
    /// Queries of all clients.
    pub queries: DnsQueries,
    /// Questions that resolvers are being asked.
    pub waiting: u64,
    /// What came from clients and was no query.
    pub malformed: u64,
    /// What came from resolvers' addresses and answered no question of ours.
    pub ignored_answers: u64,
    /// Answers withheld, since they pointed inside.
    pub rebinding: u64,
    /// Names that the block lists have.
    pub blocked_names: u64,
    /// Public names for which hosts inside get the server's own address: name and address.
    pub public_names: Vec<String>,
    /// Queries by client; empty unless `dns.statistics` is on.
    pub clients: Vec<DnsClientRow>,
    /// What is not as it should be.
    #[serde(default)]
    pub problems: Vec<DnsProblem>,
}

/// Something about the DNS service that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsProblem {
    /// What it is about.
    pub fault: DnsFault,
    /// The whole of it, for people.
    pub text: String,
}

/// What a problem of the DNS service is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsFault {
    /// No resolver is configured, and the wan has not told any.
    NoResolver,
    /// No resolver answers.
    Silent,
    /// The settings are not those of the configuration.
    Settings,
    /// Nothing can be asked over TLS: the authorities cannot be read.
    Tls,
    /// Queries over TCP are not answered.
    Tcp,
    /// A block list is not in force, or not whole.
    BlockList,
}

impl DnsFault {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            DnsFault::NoResolver => "no-resolver",
            DnsFault::Silent => "silent",
            DnsFault::Settings => "settings",
            DnsFault::Tls => "tls",
            DnsFault::Tcp => "tcp",
            DnsFault::BlockList => "block-list",
        }
    }
}

/// A resolver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DnsUpstreamRow {
    /// As in the configuration, with its port.
    pub resolver: String,
    /// Whether it answers.
    pub up: bool,
    /// Messages that it was sent.
    pub asked: u64,
    /// Answers of its that counted.
    pub answered: u64,
    /// Time-outs, failed connections, and errors of its own.
    pub failed: u64,
    /// How long its answers take, a moving average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// How long ago it answered last, in seconds; not there when it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_seconds_ago: Option<f64>,
    /// How long that answer took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_in_ms: Option<f64>,
    /// How long ago it last failed to answer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_seconds_ago: Option<f64>,
}

/// Answers that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsCache {
    /// How many.
    pub answers: u64,
    /// Octets that they are charged with.
    pub octets: u64,
    /// Most of these.
    pub limit: u64,
}

/// Queries by what became of them; those that are in none of the others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsQueries {
    /// All that were well-formed.
    pub queries: u64,
    /// Answered from names of the lans and private zones.
    pub local: u64,
    /// Answered as not existing, by a block list.
    pub blocked: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Answered from the cache, past its time.
    pub stale: u64,
    /// Answered by a resolver.
    pub forwarded: u64,
    /// Answered SERVFAIL: no resolver had an answer.
    pub failed: u64,
    /// Answered REFUSED: too many wait, or recursion was not wanted.
    pub refused: u64,
    /// Not answered: the client waits for this answer already.
    pub repeated: u64,
}

/// Queries of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsClientRow {
    /// Its address.
    pub address: String,
    /// What it asked.
    #[serde(flatten)]
    pub queries: DnsQueries,
}
