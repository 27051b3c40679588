//! What happened: `GET /v1/events`.

use std::net::IpAddr;

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
    /// The source, inside host or neighbour that it is about, or the address of a name outside; that may be one of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ip")]
    pub address: Option<IpAddr>,
    /// The whole of it, for people.
    pub message: String,
    /// How many like it went untold since the last one that was told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// Kinds of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum EventKind { $($(#[doc = $doc])+ $kind,)+ }

        impl EventKind {
            /// Every one.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$kind,)+];

            /// Its name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$kind => $name,)+ }
            }
        }
    };
}

kinds! {
    /// The router has started.
    Started = "started",
    /// The configuration in force is another one.
    Configuration = "configuration",
    /// A forward is open from now on.
    ForwardOpened = "forward-opened",
    /// A forward is closed from now on, or gone.
    ForwardClosed = "forward-closed",
    /// A forward has reached its `expires`.
    ForwardExpired = "forward-expired",
    /// The first session through a forward since the router started or the forward was added.
    FirstHit = "first-hit",
    /// A new session through a forward with `log = true`.
    ForwardHit = "forward-hit",
    /// A source that the `from` of a forward does not admit.
    SourceRefused = "source-refused",
    /// Another machine uses one of the router's addresses.
    AddressConflict = "address-conflict",
    /// A neighbour has another MAC address.
    NeighborMoved = "neighbor-moved",
    /// The device of a `[[host]]` is at another address now, or nowhere; what leads to it has followed.
    HostMoved = "host-moved",
    /// A neighbour does not answer ARP.
    NeighborUnreachable = "neighbor-unreachable",
    /// A table, a pool of ports or a host's share is used up.
    Limit = "limit",
    /// A DHCP server has given the wan an address.
    WanAddressObtained = "wan-address-obtained",
    /// The wan has another address, or other routes.
    WanAddressChanged = "wan-address-changed",
    /// The wan has no address any more.
    WanAddressLost = "wan-address-lost",
    /// A DHCP server on the wan gives an address that is used inside.
    WanLeaseRefused = "wan-lease-refused",
    /// A port's link came up, went down or changed.
    Link = "link",
    /// A resolver of the DNS service does not answer.
    ResolverDown = "resolver-down",
    /// A resolver answers again.
    ResolverUp = "resolver-up",
    /// A DNS answer from outside pointed inside and was withheld.
    AnswerWithheld = "answer-withheld",
    /// A machine was given an address by the DHCP service, or gave it back.
    Lease = "lease",
    /// A stranger uses an address of the DHCP service.
    LeaseConflict = "lease-conflict",
    /// The DHCP service has refused a machine the address that it wanted.
    LeaseRefused = "lease-refused",
    /// A name outside has the address now.
    DdnsUpdated = "ddns-updated",
    /// A name outside could not be updated.
    DdnsFailed = "ddns-failed",
    /// Something is not as it should be.
    Problem = "problem",
    /// A problem is over.
    ProblemOver = "problem-over",
    /// What has no kind of its own yet.
    Other = "other",
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
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("json"), kind.name());
        }
    }

    #[test]
    fn the_documentation_names_every_kind() {
        let text = include_str!("../../../docs/events.md");
        for kind in EventKind::ALL {
            assert!(text.contains(&format!("`{}`", kind.name())), "{}", kind.name());
        }
    }
}
