//! Well-known update services, as data.

use super::entry::Family;
use super::reason::{Reason, Verdict};

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The return codes of dyndns2, a line per name.
    Dyndns2,
    /// The status alone: 2xx is success.
    Status,
    /// Words anywhere in the body; the first of the table that is there counts.
    Words(&'static [(&'static str, Verdict)]),
}

/// A service that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// What the configuration calls it.
    pub id: &'static str,
    /// Template of the URL for IPv4, see [`super::Template`].
    pub url_v4: Option<&'static str>,
    /// The same for IPv6.
    pub url_v6: Option<&'static str>,
    /// User name and password go into an Authorization field (RFC 7617).
    pub basic: bool,
    /// How it answers.
    pub answers: Answers,
    /// Most names of one request.
    pub names_per_request: usize,
    /// Seconds between updates, at least.
    pub min_interval: u32,
    /// Days after which a name is sent again though its address did not change, since the service forgets names.
    pub refresh_days: Option<u32>,
}

impl Provider {
    /// The URL's template for a family.
    pub fn url(&self, family: Family) -> Option<&'static str> {
        match family {
            Family::V4 => self.url_v4,
            Family::V6 => self.url_v6,
        }
    }
}

const GOOD: Verdict = Verdict::Good { changed: true };
const UNCHANGED: Verdict = Verdict::Good { changed: false };

const FREEDNS: Answers = Answers::Words(&[
    ("has not changed", UNCHANGED),
    ("Updated", GOOD),
    ("ERROR: Invalid update URL", Verdict::Stop(Reason::BadAuth)),
    ("ERROR: Unable to locate this record", Verdict::Stop(Reason::BadAuth)),
]);
const DUCKDNS: Answers = Answers::Words(&[("OK", GOOD), ("KO", Verdict::Stop(Reason::BadAuth))]);
const MYDNS: Answers = Answers::Words(&[
    ("notify OK", GOOD),
    ("login_status = 1", GOOD),
    ("login_status = 0", Verdict::Stop(Reason::BadAuth)),
]);

/// Every known service.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        id: "dyndns",
        url_v4: Some("https://members.dyndns.org/v3/update?hostname={names}&myip={address}"),
        url_v6: Some("https://members.dyndns.org/v3/update?hostname={names}&myip={address}"),
        basic: true,
        answers: Answers::Dyndns2,
        names_per_request: 20,
        min_interval: 600,
        refresh_days: Some(25),
    },
    Provider {
        id: "noip",
        url_v4: Some("https://dynupdate.no-ip.com/nic/update?hostname={names}&myip={address}"),
        url_v6: None,
        basic: true,
        answers: Answers::Dyndns2,
        names_per_request: 20,
        min_interval: 300,
        refresh_days: Some(25),
    },
    Provider {
        id: "duckdns",
        url_v4: Some("https://www.duckdns.org/update?domains={names}&token={password}&ip={address}"),
        url_v6: Some("https://www.duckdns.org/update?domains={names}&token={password}&ipv6={address}"),
        basic: false,
        answers: DUCKDNS,
        names_per_request: 20,
        min_interval: 300,
        refresh_days: None,
    },
    Provider {
        id: "freedns",
        url_v4: Some("https://freedns.afraid.org/dynamic/update.php?{password}&address={address}"),
        url_v6: Some("https://freedns.afraid.org/dynamic/update.php?{password}&address={address}"),
        basic: false,
        answers: FREEDNS,
        names_per_request: 1,
        min_interval: 300,
        refresh_days: None,
    },
    Provider {
        id: "dynu",
        url_v4: Some("https://api.dynu.com/nic/update?hostname={names}&myip={address}"),
        url_v6: Some("https://api.dynu.com/nic/update?hostname={names}&myip=no&myipv6={address}"),
        basic: true,
        answers: Answers::Dyndns2,
        names_per_request: 20,
        min_interval: 300,
        refresh_days: None,
    },
    Provider {
        id: "desec",
        url_v4: Some("https://update.dedyn.io/?hostname={names}&myipv4={address}&myipv6=preserve"),
        url_v6: Some("https://update.dedyn.io/?hostname={names}&myipv6={address}&myipv4=preserve"),
        basic: true,
        answers: Answers::Dyndns2,
        names_per_request: 1,
        min_interval: 90,
        refresh_days: None,
    },
    Provider {
        id: "he",
        url_v4: Some("https://dyn.dns.he.net/nic/update?hostname={names}&password={password}&myip={address}"),
        url_v6: Some("https://dyn.dns.he.net/nic/update?hostname={names}&password={password}&myip={address}"),
        basic: false,
        answers: Answers::Dyndns2,
        names_per_request: 1,
        min_interval: 300,
        refresh_days: None,
    },
    Provider {
        id: "mydns-jp",
        url_v4: Some("https://www.mydns.jp/directip.html?MID={username}&PWD={password}&IPV4ADDR={address}"),
        url_v6: Some("https://www.mydns.jp/directip.html?MID={username}&PWD={password}&IPV6ADDR={address}"),
        basic: false,
        answers: MYDNS,
        names_per_request: 1,
        min_interval: 300,
        // A name that is not notified for a week is taken out.
        refresh_days: Some(1),
    },
];

/// The service that the configuration calls `id`.
pub fn provider(id: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|p| p.id == id)
}
