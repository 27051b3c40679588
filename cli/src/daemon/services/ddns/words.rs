//! Why a name outside does not have the address, in words.

use std::time::Duration;

use genkan_config::humane;
use genkan_control::api::DdnsFault;
use genkan_services::ddns::{Reason, TsigError};

/// Who has to do something about it.
pub(super) fn fault(reason: Reason) -> DdnsFault {
    match reason {
        Reason::Tsig(TsigError::BadTime) => DdnsFault::Clock,
        // REFUSED and NOTAUTH: not with this key (RFC 2136 section 3.3).
        Reason::BadAuth
        | Reason::Tsig(_)
        | Reason::Unsigned
        | Reason::Rcode(5 | 9)
        | Reason::HttpStatus(401 | 403) => DdnsFault::Credentials,
        Reason::NoHost
        | Reason::NotFqdn
        | Reason::NumHost
        | Reason::ZoneNotFound
        | Reason::NotInZone
        | Reason::SeveralRecords
        | Reason::Rcode(3 | 6 | 7 | 8 | 10) => DdnsFault::Name,
        Reason::Abuse | Reason::BadAgent | Reason::NotDonator => DdnsFault::Blocked,
        Reason::NotSent | Reason::NoAnswer => DdnsFault::Unreachable,
        Reason::DnsErr
        | Reason::ServiceDown
        | Reason::HttpStatus(_)
        | Reason::RateLimited
        | Reason::Api(_)
        | Reason::OtherAddress
        | Reason::Unintelligible
        | Reason::Rcode(_) => DdnsFault::Service,
    }
}

/// What is to be said of a server's clock that is so many seconds ahead of ours.
pub(super) fn clock(ahead: i64) -> String {
    let difference = humane(Duration::from_secs(ahead.unsigned_abs()));
    let which = if ahead < 0 { "ahead of" } else { "behind" };
    format!("the router's clock is {difference} {which} the server's, by which updates are signed (BADTIME)")
}

/// A sentence without its end; no secret is in it.
pub(super) fn reason(reason: Reason) -> String {
    let words = match reason {
        Reason::BadAuth => "the service does not accept the account, password or token",
        Reason::NotDonator => "the account has not paid for this",
        Reason::NotFqdn => "the service takes full names only",
        Reason::NoHost => "the account has no such name",
        Reason::NumHost => "too many names in one request",
        Reason::Abuse => "the service has blocked this name for too many updates",
        Reason::BadAgent => "the service does not take updates of this program",
        Reason::DnsErr => "the service's own DNS has failed",
        Reason::ServiceDown => "the service is out of order",
        Reason::HttpStatus(status) => return format!("the service answers with HTTP status {status}"),
        Reason::RateLimited => "the service wants fewer requests",
        Reason::Api(code) => return format!("the service answers with error {code}"),
        Reason::ZoneNotFound => "there is no such zone",
        Reason::NotInZone => "the name does not lie in the server's zone",
        Reason::SeveralRecords => "the name has several addresses, and which one to replace is unknown",
        Reason::OtherAddress => "the service has stored another address than the one sent",
        Reason::Unintelligible => "the service's answer is not understood",
        Reason::Rcode(code) => return format!("the server answers {}", rcode(code)),
        Reason::Tsig(error) => return tsig(error),
        Reason::Unsigned => "the server's answer is not signed",
        Reason::NotSent => "the service cannot be reached",
        Reason::NoAnswer => "the service does not answer",
    };
    words.to_owned()
}

/// RFC 1035 §4.1.1, RFC 2136 §2.2.
fn rcode(code: u16) -> String {
    let name = match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED: it takes no updates of this name from here, or not with this key",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH: it does not have this zone, or not this key",
        10 => "NOTZONE",
        other => return format!("with code {other}"),
    };
    name.to_owned()
}

fn tsig(error: TsigError) -> String {
    let words = match error {
        TsigError::BadSig => {
            "the server does not accept the signature (BADSIG): is the secret the same there?"
        }
        TsigError::BadKey => "the server does not know this key (BADKEY)",
        TsigError::BadTime => "the clocks of router and server differ by more than 5 minutes (BADTIME)",
        other => return format!("the server does not accept the signature ({other:?})"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_who_has_to_do_something() {
        for (reason, expected) in [
            (Reason::BadAuth, DdnsFault::Credentials),
            (Reason::Tsig(TsigError::BadSig), DdnsFault::Credentials),
            (Reason::Tsig(TsigError::BadTime), DdnsFault::Clock),
            (Reason::Rcode(5), DdnsFault::Credentials),
            (Reason::Rcode(2), DdnsFault::Service),
            (Reason::HttpStatus(403), DdnsFault::Credentials),
            (Reason::HttpStatus(503), DdnsFault::Service),
            (Reason::Abuse, DdnsFault::Blocked),
            (Reason::ServiceDown, DdnsFault::Service),
            (Reason::NoHost, DdnsFault::Name),
            (Reason::NoAnswer, DdnsFault::Unreachable),
        ] {
            assert_eq!(fault(reason), expected, "{reason:?}");
        }
    }
}
