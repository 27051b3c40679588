//! Why a name does not have the address.

use super::tsig::TsigError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why an update did not succeed. Carries nothing that the service wrote, which could contain a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The service does not accept the account, password, token or key.
    BadAuth,
    /// `!donator`: asks for what the account has not paid for.
    NotDonator,
    /// `notfqdn`: not a fully-qualified name.
    NotFqdn,
    /// `nohost`: the name does not exist in this account.
    NoHost,
    /// `numhost`: too many names in one request.
    NumHost,
    /// `abuse`: blocked for too many updates.
    Abuse,
    /// `badagent`, or `good 127.0.0.1`: the service does not take updates of this client.
    BadAgent,
    /// `dnserr`: the service's own DNS failed.
    DnsErr,
    /// `911`: the service is out of order.
    ServiceDown,
    /// An HTTP status that says failure.
    HttpStatus(u16),
    /// HTTP status 429.
    RateLimited,
    /// An error code of the Cloudflare API.
    Api(u32),
    /// No zone of that name in the account, or none found in the DNS.
    ZoneNotFound,
    /// The name does not lie in the zone.
    NotInZone,
    /// The name has several addresses, so which one to replace is unknown.
    SeveralRecords,
    /// The service says that it stored another address than the one sent.
    OtherAddress,
    /// An answer that is not of the expected form.
    Unintelligible,
    /// A DNS response code other than NOERROR (RFC 1035 §4.1.1, RFC 2136 §2.2).
    Rcode(u16),
    /// The server or this side does not accept the signature.
    Tsig(TsigError),
    /// The reply to a signed request is not signed.
    Unsigned,
    /// The request did not reach the service.
    NotSent,
    /// No answer came.
    NoAnswer,
}

impl Reason {
    /// Whether it concerns the account and so every name of the entry.
    pub(super) fn is_of_account(self) -> bool {
        matches!(
            self,
            Reason::BadAuth | Reason::NotDonator | Reason::Abuse | Reason::BadAgent | Reason::ZoneNotFound
        )
    }
}

/// What an answer means for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The name has the address.
    Good {
        /// Whether it was another before.
        changed: bool,
    },
    /// Try again later, not before `floor`.
    Retry {
        /// Why.
        reason: Reason,
        /// From the answer on.
        floor: Duration,
    },
    /// Useless until a person has changed something.
    Stop(Reason),
}

impl Verdict {
    pub(super) fn retry(reason: Reason) -> Verdict {
        Verdict::Retry { reason, floor: Duration::ZERO }
    }
}

/// Longest wait that an answer can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// Wait after a status of 403.
const FORBIDDEN: Duration = Duration::from_secs(3600);

/// What the HTTP status alone says; `None` for 2xx, where the body decides. `retry_after` is the header's value, of
/// which the form in seconds is understood (RFC 9110 §10.2.3).
pub(super) fn of_http_status(status: u16, retry_after: Option<&str>) -> Option<Verdict> {
    let floor = retry_after
        .and_then(|text| text.trim().parse().ok())
        .map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    match status {
        200..=299 => None,
        401 => Some(Verdict::Stop(Reason::BadAuth)),
        // Said of bad accounts as well as by whatever protects a service from too much traffic.
        403 => Some(Verdict::Retry { reason: Reason::HttpStatus(status), floor: floor.max(FORBIDDEN) }),
        429 => Some(Verdict::Retry { reason: Reason::RateLimited, floor }),
        _ => Some(Verdict::Retry { reason: Reason::HttpStatus(status), floor }),
    }
}
