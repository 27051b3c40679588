//! What would become of a packet, and why: `POST /v1/trace`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A packet that is made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    /// Where it comes in: `wan`, the name of a lan, or `host`.
    #[serde(rename = "in")]
    #[schema(example = "wan")]
    pub port: String,
    /// `tcp`, `udp`, `icmp`, `esp` or `gre`.
    #[schema(pattern = "^(tcp|udp|icmp|esp|gre)$", example = "tcp")]
    pub protocol: String,
    /// Where it comes from: `ADDRESS:PORT`, or an address alone for protocols without ports.
    #[schema(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}(:[0-9]{1,5})?$", example = "198.51.100.7:40000")]
    pub from: String,
    /// Where it goes to.
    #[schema(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}(:[0-9]{1,5})?$", example = "203.0.113.1:80")]
    pub to: String,
    /// TCP flags, as `syn,ack`; a SYN without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z]+(,[A-Za-z]+)*$", example = "syn,ack")]
    pub flags: Option<String>,
    /// `echo-request`, as without it, or `echo-reply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^echo-(request|reply)$", example = "echo-request")]
    pub icmp: Option<String>,
    /// Of the sentences: `en`, as without it, or `ja`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(en|ja)$")]
    pub language: Option<String>,
}

/// All that there is to say about a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceAnswer {
    /// The packet.
    pub packet: String,
    /// Where it comes in.
    pub port: String,
    /// What the router has at this moment that has a part in it; nothing where only the rules of a file were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub now: Vec<TraceLine>,
    /// What was asked on its way.
    pub steps: Vec<TraceLine>,
    /// What became of it.
    pub fate: TraceFate,
    /// Why it was dropped: the name of the counter, and what that means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<TraceLine>,
    /// What left the router because of it.
    pub left: Vec<TraceLeft>,
    /// What would have to be otherwise for it to pass.
    pub remedies: Vec<TraceLine>,
    /// The same for what its receiver would answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub answer: Option<Box<TraceAnswer>>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceFate {
    /// It leaves.
    Forwarded,
    /// It leaves as soon as the next hop has answered ARP.
    Waiting,
    /// The router answers it itself.
    Answered,
    /// The router keeps it: it is for itself (ARP, the answer to a question of its own), or waits for other fragments.
    Kept,
    /// It does not leave.
    Dropped,
}

/// A sentence, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceLine {
    /// What kind of sentence it is: a name that stays.
    pub id: String,
    /// The sentence.
    pub text: String,
    /// `FILE:LINE:COLUMN` of what decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A packet that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceLeft {
    /// Out of which port.
    pub port: String,
    /// What it looks like now.
    pub packet: String,
}
