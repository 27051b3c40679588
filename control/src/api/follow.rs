//! Real packets, explained as they are judged: `GET /v1/trace`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::TraceAnswer;

/// Which packets are to be explained. The answer is a stream of [`FollowLine`]s, each on a line of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    /// Only packets that came in or left by this port, by its name; without it by any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Only packets that this filter wants, as they came in or as they left; a part of the language of pcap-filter(7).
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Ends after so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub count: Option<u64>,
    /// Of the sentences: `en`, as without it, or `ja`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// What is told while packets are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FollowLine {
    /// From now on every packet is looked at.
    Following,
    /// A packet was judged.
    Packet(Box<FollowedPacket>),
    /// Packets that were wanted came too fast to be explained.
    Lost {
        /// How many, since this was said last.
        packets: u64,
    },
    /// Nothing follows.
    End {
        /// Why.
        by: FollowEnd,
    },
}

/// Why packets are followed no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FollowEnd {
    /// As many packets have been explained as were asked for.
    Count,
    /// The router ends.
    RouterEnds,
    /// Another program has taken over: the same request goes to that one.
    HandedOver,
}

/// A real packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowedPacket {
    /// When it was judged (RFC 3339).
    pub time: String,
    /// What became of it.
    #[serde(flatten)]
    pub told: TraceAnswer,
}
