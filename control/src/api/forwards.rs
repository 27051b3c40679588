//! What has passed through forwards.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a forward has seen since the router started, or since it was added; a reload keeps it. Part of
/// [`ForwardRow`](super::ForwardRow).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ForwardCounts {
    /// Sessions that it has admitted and that live: those that count for its `max_sessions`.
    pub sessions: u64,
    /// Sessions that it has admitted, and connections that were opened anew on one.
    pub hits: u64,
    /// Packets of sources that no open forward of the port admits, counted for the first of them.
    pub refused: u64,
    /// Packets that were to open a session when there were `max_sessions` of them.
    pub limited: u64,
    /// Packets that were to open a session when their source had opened as many as `max_new_per_source` lets it.
    pub braked: u64,
    /// Packets towards the target.
    pub packets_in: u64,
    /// Their octets from the IP header on.
    pub octets_in: u64,
    /// Answers of the target.
    pub packets_out: u64,
    /// Their octets from the IP header on.
    pub octets_out: u64,
    /// When the first hit was, in seconds since 1970.
    pub first_hit: Option<i64>,
    /// When the last hit was, in seconds since 1970.
    pub last_hit: Option<i64>,
    /// Where the last hit came from.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub last_source: Option<Ipv4Addr>,
    /// Who was refused last.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub last_refused: Option<Ipv4Addr>,
    /// Who came too fast last.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub last_braked: Option<Ipv4Addr>,
    /// Who came most often: at most eight of each worker, those with most hits first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_sources: Vec<SourceHits>,
}

/// How often a source has opened a session through a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceHits {
    /// It.
    #[schema(value_type = String, format = Ipv4)]
    pub source: Ipv4Addr,
    /// So often at most.
    pub hits: u64,
    /// How many of these may be those of others, which are not remembered any more.
    #[serde(default)]
    pub surplus: u64,
}
