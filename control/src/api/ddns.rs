//! Names outside that follow the wan address.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A name of a `[[ddns]]`, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DdnsRow {
    /// The name, without trailing dot.
    pub name: String,
    /// Which of its addresses: a name may have one of each.
    #[serde(default)]
    pub family: DdnsFamily,
    /// Who keeps it, as the configuration calls the service.
    pub provider: String,
    /// How it stands.
    pub state: DdnsState,
    /// The address that it has, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ip")]
    pub address: Option<IpAddr>,
    /// The address that it ought to have; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ip")]
    pub wanted: Option<IpAddr>,
    /// When the service last acknowledged the address, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// When the service is asked again at the earliest, in seconds since 1970; absent when there is nothing to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<i64>,
    /// What kind of trouble it is in, where an update failed or cannot be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<DdnsFault>,
    /// Why it does not have the address, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Updates that the service has acknowledged since the router started.
    pub updates: u64,
    /// Updates that failed since the router started.
    pub failures: u64,
}

/// The kind of address that a name outside has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DdnsFamily {
    /// IPv4, an A record.
    #[default]
    V4,
    /// IPv6, an AAAA record.
    V6,
}

/// How a name outside stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DdnsState {
    /// It has the address.
    Good,
    /// It is about to get it, or there is none to give.
    Waiting,
    /// An update failed, and is tried again.
    Failed,
    /// An update failed, and is not tried again before a person has changed something.
    Stopped,
}

/// Why a name outside could not be updated: who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DdnsFault {
    /// The service does not accept the account, password, token or key, or not for this name.
    Credentials,
    /// The service has no such name, or not as it would have to be.
    Name,
    /// The service has shut out the account or this program.
    Blocked,
    /// The service is out of order, or answers what is no answer.
    Service,
    /// The service cannot be reached.
    Unreachable,
    /// The clocks of router and service differ.
    Clock,
    /// The address is none to be published, or nobody tells it.
    Address,
    /// Something on this machine: a file that cannot be read, a disk that takes nothing.
    Local,
}

impl DdnsFamily {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            DdnsFamily::V4 => "v4",
            DdnsFamily::V6 => "v6",
        }
    }
}

impl DdnsFault {
    /// Every one.
    pub const ALL: [DdnsFault; 8] = [
        DdnsFault::Credentials,
        DdnsFault::Name,
        DdnsFault::Blocked,
        DdnsFault::Service,
        DdnsFault::Unreachable,
        DdnsFault::Clock,
        DdnsFault::Address,
        DdnsFault::Local,
    ];

    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            DdnsFault::Credentials => "credentials",
            DdnsFault::Name => "name",
            DdnsFault::Blocked => "blocked",
            DdnsFault::Service => "service",
            DdnsFault::Unreachable => "unreachable",
            DdnsFault::Clock => "clock",
            DdnsFault::Address => "address",
            DdnsFault::Local => "local",
        }
    }
}

impl DdnsState {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            DdnsState::Good => "good",
            DdnsState::Waiting => "waiting",
            DdnsState::Failed => "failed",
            DdnsState::Stopped => "stopped",
        }
    }
}
