//! What a client keeps up to date, and with whom.

use super::cloudflare::{self, Cloudflare};
use super::dns_name::{DnsName, DnsNameError};
use super::providers::{Answers, Provider};
use super::secret::Secret;
use super::template::{Template, TemplateError};
use super::tsig::TsigKey;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;

/// Most names of one entry.
const MAX_NAMES: usize = 32;

/// The kind of address that an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// What people call it.
    pub fn kind(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// What a name is called for people, who may have it in both families: IPv4 is what one expects.
    pub fn called(self, name: &str) -> String {
        match self {
            Family::V4 => name.to_owned(),
            Family::V6 => format!("{name} (IPv6)"),
        }
    }
}

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// None, or over 32.
    #[error("1 to 32 names are wanted")]
    Names,
    /// One of them is no domain name.
    #[error("name number {index}: {error}")]
    Name {
        /// Counted from 0.
        index: usize,
        /// What is wrong.
        error: DnsNameError,
    },
    /// One of them has a single label.
    #[error("name number {index} is not fully qualified")]
    NotFqdn {
        /// Counted from 0.
        index: usize,
    },
    /// The service has no update of this family.
    #[error("the service does not know this address family")]
    Family,
    /// The URL.
    #[error("the URL: {0}")]
    Url(#[from] TemplateError),
    /// The service is not told which name, so several names need several entries.
    #[error("the URL has no {{names}}, so only one name is possible")]
    NamesNotInUrl,
    /// Basic authentication has no place for it.
    #[error("the user name contains a colon or control characters")]
    Username,
    /// It goes into the User-Agent field.
    #[error("the contact has spaces, or signs that no address of mail has")]
    Contact,
    /// The token cannot be sent, the zone is no domain name, or a name lies outside of it.
    #[error("the zone does not hold every name, or the token has spaces")]
    Cloudflare,
    /// The zone is no domain name, or a name lies outside of it.
    #[error("the zone does not hold every name")]
    Zone,
    /// The interval is not 30 seconds to a day.
    #[error("the least interval is 30 seconds to a day")]
    Interval,
}

/// An update service over HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where to.
    pub url: Template,
    /// User name and password go into an Authorization field (RFC 7617).
    pub basic: bool,
    /// May be empty.
    pub username: String,
    /// Password or token.
    pub password: Secret,
    /// An address of mail for the service's operators, told with every update.
    pub contact: Option<String>,
    /// How the service answers.
    pub answers: Answers,
    /// Most names of one request.
    pub names_per_request: usize,
    /// Between updates, at least.
    pub min_interval: Duration,
    /// After which a name is sent again though nothing changed.
    pub refresh: Option<Duration>,
}

impl Http {
    /// A well-known service.
    ///
    /// # Errors
    ///
    /// [`EntryError::Family`] when it has no update of that family.
    pub fn of_provider(
        provider: &Provider,
        family: Family,
        username: String,
        password: Secret,
    ) -> Result<Http, EntryError> {
        Ok(Http {
            url: Template::parse(provider.url(family).ok_or(EntryError::Family)?)?,
            basic: provider.basic,
            username,
            password,
            contact: None,
            answers: provider.answers,
            names_per_request: provider.names_per_request,
            min_interval: Duration::from_secs(provider.min_interval.into()),
            refresh: provider.refresh_days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
        })
    }

    /// Any service that takes dyndns2 updates: one name per request, five minutes between updates, Basic
    /// authentication when there is a user name.
    ///
    /// # Errors
    ///
    /// [`EntryError::Url`]
    pub fn custom(url: &str, username: String, password: Secret) -> Result<Http, EntryError> {
        Ok(Http {
            url: Template::parse(url)?,
            basic: !username.is_empty(),
            username,
            password,
            contact: None,
            answers: Answers::Dyndns2,
            names_per_request: 1,
            min_interval: Duration::from_secs(300),
            refresh: None,
        })
    }
}

/// A DNS server that takes updates (RFC 2136).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsUpdate {
    /// Its name or address: the primary server of the zone.
    pub server: String,
    /// 53 as a rule.
    pub port: u16,
    /// Asked of the server when not given.
    pub zone: Option<String>,
    /// Without it updates are not signed.
    pub key: Option<TsigKey>,
    /// Of the records, in seconds.
    pub ttl: u32,
}

/// Who keeps the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// An update service over HTTPS.
    Http(Http),
    /// The Cloudflare API.
    Cloudflare(Cloudflare),
    /// A DNS server.
    DnsUpdate(DnsUpdate),
}

impl Service {
    /// Between rounds of requests that succeed, at least. A DNS server is one's own, or paid for, and minds nothing.
    pub fn min_interval(&self) -> Duration {
        match self {
            Service::Http(http) => http.min_interval,
            Service::Cloudflare(_) => Duration::from_secs(60),
            Service::DnsUpdate(_) => Duration::from_secs(2),
        }
    }

    /// After a failure, or a request whose answer nobody saw, at least; never below [`Self::min_interval`].
    pub fn back_off(&self) -> Duration {
        self.min_interval().max(Duration::from_secs(30))
    }

    /// How long an address must stay before it is sent, so that a burst of changes makes one update: longer where the
    /// next one has to wait long.
    pub fn settle(&self) -> Duration {
        match self {
            Service::Http(_) => Duration::from_secs(5),
            Service::Cloudflare(_) => Duration::from_secs(1),
            // The whole way to the record is to take less than two seconds.
            Service::DnsUpdate(_) => Duration::from_millis(500),
        }
    }

    /// After which a name is sent again though nothing changed.
    pub fn refresh(&self) -> Option<Duration> {
        match self {
            Service::Http(http) => http.refresh,
            Service::Cloudflare(_) | Service::DnsUpdate(_) => None,
        }
    }
}

/// Some names of one account, and the family of address that they follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) names: Vec<String>,
    pub(super) wire_names: Vec<DnsName>,
    pub(super) family: Family,
    pub(super) service: Service,
}

impl Entry {
    /// Checks everything that can be checked without asking the service.
    ///
    /// # Errors
    ///
    /// See [`EntryError`].
    pub fn new(names: &[String], family: Family, service: Service) -> Result<Entry, EntryError> {
        if !(1..=MAX_NAMES).contains(&names.len()) {
            return Err(EntryError::Names);
        }
        let mut wire_names = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let name = DnsName::parse(name).map_err(|error| EntryError::Name { index, error })?;
            if name.labels() < 2 {
                return Err(EntryError::NotFqdn { index });
            }
            wire_names.push(name);
        }
        match &service {
            Service::Http(http) => {
                if !(30..=86_400).contains(&http.min_interval.as_secs()) {
                    return Err(EntryError::Interval);
                }
                let unsendable = |c: char| c == ':' || c.is_control();
                if names.len() > 1 && !http.url.has_names() {
                    return Err(EntryError::NamesNotInUrl);
                }
                if http.basic && http.username.contains(unsendable) {
                    return Err(EntryError::Username);
                }
                let graphic = |text: &String| text.bytes().all(|o| o.is_ascii_graphic());
                if !http.contact.as_ref().is_none_or(graphic) {
                    return Err(EntryError::Contact);
                }
            }
            Service::Cloudflare(account) => {
                if cloudflare::fits(account, &wire_names) != Some(true) {
                    return Err(EntryError::Cloudflare);
                }
            }
            Service::DnsUpdate(DnsUpdate { zone: Some(zone), .. }) => {
                let zone = DnsName::parse(zone).map_err(|_| EntryError::Zone)?;
                if !wire_names.iter().all(|name| name.is_within(&zone)) {
                    return Err(EntryError::Zone);
                }
            }
            Service::DnsUpdate(_) => {}
        }
        let names = names.iter().map(|n| n.strip_suffix('.').unwrap_or(n).to_ascii_lowercase()).collect();
        Ok(Entry { names, wire_names, family, service })
    }

    /// Tells one configuration from another. Sixteen bits, so that nothing can be learned from it about a password;
    /// one change of 65,536 goes unnoticed.
    pub(super) fn digest(&self) -> u16 {
        let mut hasher = SipHasher13::new();
        let mut part = |octets: &[u8]| {
            hasher.write_u64(octets.len() as u64);
            hasher.write(octets);
        };
        for name in &self.wire_names {
            part(name.wire());
        }
        part(&[self.family as u8]);
        match &self.service {
            Service::Http(http) => {
                http.url.text().for_each(|text| part(text.as_bytes()));
                part(http.username.as_bytes());
                part(http.password.expose().as_bytes());
            }
            Service::Cloudflare(account) => {
                part(account.url.as_deref().unwrap_or("").as_bytes());
                part(account.zone.as_bytes());
                part(account.token.expose().as_bytes());
            }
            Service::DnsUpdate(server) => {
                part(server.server.as_bytes());
                part(&server.port.to_be_bytes());
                part(server.zone.as_deref().unwrap_or("").as_bytes());
                if let Some(key) = &server.key {
                    key.digest_into(part);
                }
            }
        }
        (hasher.finish() & 0xffff) as u16
    }
}
