//! What happened: `GET /v1/events`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Something that happened to the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventRow {
    /// Its number; later events have higher ones, also after a restart with the same state folder.
    pub id: u64,
    /// When it was told: RFC 3339, UTC.
    pub time: String,
    /// What kind of thing it is.
    pub kind: EventKind,
    /// The forward that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
    /// The port that it is about: `wan`, a lan's name, `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The source, inside host or neighbour that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// The whole of it, for people.
    pub message: String,
    /// How many like it went untold since the last one that was told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The router has started.
    Started,
    /// The configuration in force is another one.
    Configuration,
    /// A forward is open from now on.
    ForwardOpened,
    /// A forward is closed from now on, or gone.
    ForwardClosed,
    /// A forward has reached its `expires`.
    ForwardExpired,
    /// The first session through a forward since the router started or the forward was added.
    FirstHit,
    /// A new session through a forward with `log = true`.
    ForwardHit,
    /// A source that the `from` of a forward does not admit.
    SourceRefused,
    /// Another machine uses one of the router's addresses.
    AddressConflict,
    /// A neighbour has another MAC address.
    NeighborMoved,
    /// The device of a `[[host]]` is at another address now, or nowhere; what leads to it has followed.
    HostMoved,
    /// A neighbour does not answer ARP.
    NeighborUnreachable,
    /// A table, a pool of ports or a host's share is used up.
    Limit,
    /// A DHCP server has given the wan an address.
    WanAddressObtained,
    /// The wan has another address, or other routes.
    WanAddressChanged,
    /// The wan has no address any more.
    WanAddressLost,
    /// A DHCP server on the wan gives an address that is used inside.
    WanLeaseRefused,
    /// A port's link came up, went down or changed.
    Link,
    /// A resolver of the DNS service does not answer.
    ResolverDown,
    /// A resolver answers again.
    ResolverUp,
    /// A DNS answer from outside pointed inside and was withheld.
    AnswerWithheld,
    /// A machine was given an address by the DHCP service, or gave it back.
    Lease,
    /// A stranger uses an address of the DHCP service.
    LeaseConflict,
    /// The DHCP service has refused a machine the address that it wanted.
    LeaseRefused,
    /// A name outside has the address now.
    DdnsUpdated,
    /// A name outside could not be updated.
    DdnsFailed,
    /// Something is not as it should be.
    Problem,
    /// A problem is over.
    ProblemOver,
    /// What has no kind of its own yet.
    Other,
}

impl EventKind {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Started => "started",
            EventKind::Configuration => "configuration",
            EventKind::ForwardOpened => "forward-opened",
            EventKind::ForwardClosed => "forward-closed",
            EventKind::ForwardExpired => "forward-expired",
            EventKind::FirstHit => "first-hit",
            EventKind::ForwardHit => "forward-hit",
            EventKind::SourceRefused => "source-refused",
            EventKind::AddressConflict => "address-conflict",
            EventKind::NeighborMoved => "neighbor-moved",
            EventKind::HostMoved => "host-moved",
            EventKind::NeighborUnreachable => "neighbor-unreachable",
            EventKind::Limit => "limit",
            EventKind::WanAddressObtained => "wan-address-obtained",
            EventKind::WanAddressChanged => "wan-address-changed",
            EventKind::WanAddressLost => "wan-address-lost",
            EventKind::WanLeaseRefused => "wan-lease-refused",
            EventKind::Link => "link",
            EventKind::ResolverDown => "resolver-down",
            EventKind::ResolverUp => "resolver-up",
            EventKind::AnswerWithheld => "answer-withheld",
            EventKind::Lease => "lease",
            EventKind::LeaseConflict => "lease-conflict",
            EventKind::LeaseRefused => "lease-refused",
            EventKind::DdnsUpdated => "ddns-updated",
            EventKind::DdnsFailed => "ddns-failed",
            EventKind::Problem => "problem",
            EventKind::ProblemOver => "problem-over",
            EventKind::Other => "other",
        }
    }
}

/// Query of `GET /v1/events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this id. Without it: all that are kept; in a stream, those to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    pub since: Option<u64>,
    /// Most events of one answer, the oldest first; 1,000 by default and 10,000 at most. Means nothing in a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub limit: Option<u32>,
}

/// `GET /v1/events` as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub rows: Vec<EventRow>,
    /// `since` of the next request.
    pub next: u64,
    /// Whether there are more already.
    pub more: bool,
    /// The oldest id that is kept; events between `since` and this one are lost.
    pub oldest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json() {
        for kind in [EventKind::Started, EventKind::FirstHit, EventKind::ProblemOver, EventKind::Other] {
            assert_eq!(serde_json::to_value(kind).expect("json"), kind.name());
        }
    }
}
