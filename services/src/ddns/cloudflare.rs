//! The Cloudflare API: which zone, which record, then create or change it.

use super::dns_name::DnsName;
use super::entry::Family;
use super::reason::{Reason, Verdict, of_http_status};
use super::request::{HttpRequest, Method, USER_AGENT};
use super::secret::Secret;
use super::template::{Template, percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;

/// Where the API is.
const BASE: &str = "https://api.cloudflare.com/client/v4";
/// Longest body that is read, in octets.
const MAX_BODY: usize = 65_536;
/// The codes of a token that is not accepted.
const BAD_TOKEN: [u32; 5] = [6003, 6103, 6111, 9109, 10_000];

/// An account at Cloudflare, or at what speaks like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloudflare {
    /// Where the API is, if not at Cloudflare: everything before `/zones`.
    pub url: Option<String>,
    /// An API token that may edit the zone's records.
    pub token: Secret,
    /// The zone that all names lie in.
    pub zone: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct ApiError {
    code: u32,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
}

/// An address record as the API lists it.
#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) content: String,
}

fn request(account: &Cloudflare, method: Method, url: String, body: Vec<u8>) -> HttpRequest {
    let authorization = Secret::new(format!("Bearer {}", account.token.expose()));
    let mut headers = vec![("User-Agent", Secret::new(USER_AGENT)), ("Authorization", authorization)];
    if !body.is_empty() {
        headers.push(("Content-Type", Secret::new("application/json")));
    }
    HttpRequest { method, url: Secret::new(url), headers, body }
}

/// Where the zones are.
fn zones(account: &Cloudflare) -> String {
    format!("{}/zones", account.url.as_deref().unwrap_or(BASE).trim_end_matches('/'))
}

fn kind(family: Family) -> &'static str {
    match family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    }
}

/// Asks for the zone's identifier.
pub(super) fn zone_request(account: &Cloudflare) -> HttpRequest {
    let mut url = format!("{}?name=", zones(account));
    percent_encode(&mut url, &account.zone);
    request(account, Method::Get, url, Vec::new())
}

/// Asks for the name's records of a family.
pub(super) fn record_request(account: &Cloudflare, zone: &str, name: &str, family: Family) -> HttpRequest {
    let mut url = format!("{}/{zone}/dns_records?type={}&name=", zones(account), kind(family));
    percent_encode(&mut url, name);
    request(account, Method::Get, url, Vec::new())
}

/// Changes the address of `record`, or creates one.
pub(super) fn write_request(
    account: &Cloudflare,
    zone: &str,
    record: Option<&str>,
    name: &str,
    address: IpAddr,
) -> HttpRequest {
    let family = Family::of(address);
    let (method, url, body) = match record {
        Some(id) => (
            Method::Patch,
            format!("{}/{zone}/dns_records/{id}", zones(account)),
            serde_json::json!({ "content": address.to_string() }),
        ),
        None => (
            Method::Post,
            format!("{}/{zone}/dns_records", zones(account)),
            // A TTL of 1 is the API's word for automatic.
            serde_json::json!({
                "type": kind(family), "name": name, "content": address.to_string(), "ttl": 1, "proxied": false
            }),
        ),
    };
    request(account, method, url, body.to_string().into_bytes())
}

fn result<T: DeserializeOwned>(
    (status, retry_after, body): (u16, Option<&str>, &[u8]),
) -> Result<T, Verdict> {
    let by_status = of_http_status(status, retry_after);
    if let Some(Verdict::Retry { reason: Reason::RateLimited, .. }) = by_status {
        return Err(by_status.unwrap_or(Verdict::retry(Reason::RateLimited)));
    }
    let unintelligible = by_status.unwrap_or(Verdict::retry(Reason::Unintelligible));
    if body.len() > MAX_BODY {
        return Err(unintelligible);
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| unintelligible)?;
    if envelope.errors.iter().any(|e| BAD_TOKEN.contains(&e.code)) {
        return Err(Verdict::Stop(Reason::BadAuth));
    }
    match (by_status, envelope.errors.first()) {
        (Some(stop @ Verdict::Stop(_)), _) => Err(stop),
        (_, Some(error)) => Err(Verdict::retry(Reason::Api(error.code))),
        (Some(verdict), None) => Err(verdict),
        (None, None) if !envelope.success => Err(Verdict::retry(Reason::Unintelligible)),
        (None, None) => serde_json::from_value(envelope.result).map_err(|_| unintelligible),
    }
}

/// Identifiers become part of URLs.
fn identifier(id: String) -> Result<String, Verdict> {
    let fits = (1..=64).contains(&id.len()) && id.bytes().all(|o| o.is_ascii_alphanumeric());
    if fits { Ok(id) } else { Err(Verdict::retry(Reason::Unintelligible)) }
}

/// The zone's identifier.
pub(super) fn zone(answer: (u16, Option<&str>, &[u8])) -> Result<String, Verdict> {
    let zones: Vec<Zone> = result(answer)?;
    let zone = zones.into_iter().next().ok_or(Verdict::Stop(Reason::ZoneNotFound))?;
    identifier(zone.id)
}

/// The name's record, if it has one.
pub(super) fn record(answer: (u16, Option<&str>, &[u8])) -> Result<Option<Record>, Verdict> {
    let mut records: Vec<Record> = result(answer)?;
    if records.len() > 1 {
        return Err(Verdict::Stop(Reason::SeveralRecords));
    }
    let Some(record) = records.pop() else { return Ok(None) };
    Ok(Some(Record { id: identifier(record.id)?, content: record.content }))
}

/// Whether the record is written.
pub(super) fn written(answer: (u16, Option<&str>, &[u8]), address: IpAddr) -> Verdict {
    match result::<Record>(answer) {
        Ok(record) if record.content.parse() == Ok(address) => Verdict::Good { changed: true },
        Ok(_) => Verdict::retry(Reason::OtherAddress),
        Err(verdict) => verdict,
    }
}

/// Whether an account can be used for `names`.
pub(super) fn fits(account: &Cloudflare, names: &[DnsName]) -> Option<bool> {
    let zone = DnsName::parse(&account.zone).ok()?;
    let token = account.token.expose();
    let sendable = !token.is_empty() && token.bytes().all(|o| o.is_ascii_graphic());
    let url = account.url.as_deref().is_none_or(|url| {
        Template::parse(url).is_ok_and(|template| !template.has_placeholders()) && !url.contains(['?', '#'])
    });
    Some(sendable && url && names.iter().all(|name| name.is_within(&zone)))
}
