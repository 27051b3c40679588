//! An honest service of each kind, and a client that talks to it on virtual time.

use crate::ddns::dns_message::{self, TYPE_A, TYPE_AAAA, TYPE_SOA, TsigRecord};
use crate::ddns::dns_name::DnsName;
use crate::ddns::tsig;
use crate::ddns::*;
use genkan_engine::{Timestamp, UnixTime};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What a person with a clock sees at the start of the virtual time.
pub(super) const EPOCH: i64 = 1_800_000_000;
pub(super) const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";

pub(super) fn at(seconds: u64) -> Now {
    Now { at: Timestamp::from_secs(seconds), wall: Some(UnixTime(EPOCH + seconds as i64)) }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn key(algorithm: TsigAlgorithm) -> TsigKey {
    TsigKey::new("genkan-key", algorithm, SECRET).unwrap()
}

/// An outcome that owns its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Http(u16, Vec<u8>),
    Dns(Vec<u8>),
    Addresses(Vec<IpAddr>),
    NotSent,
    Lost,
}

impl Answer {
    pub(super) fn text(body: &str) -> Answer {
        Answer::Http(200, body.as_bytes().to_vec())
    }

    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Answer::Http(status, body) => Outcome::Http { status: *status, retry_after: None, body },
            Answer::Dns(octets) => Outcome::Dns(octets),
            Answer::Addresses(addresses) => Outcome::Addresses(addresses),
            Answer::NotSent => Outcome::NotSent,
            Answer::Lost => Outcome::NoAnswer,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) records: BTreeMap<String, IpAddr>,
    /// Updates that it has seen.
    pub(super) updates: usize,
    /// Seconds that its clock is ahead of the client's.
    pub(super) ahead: i64,
}

fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            octets.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).unwrap()
}

pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| decoded(v))
}

fn text_of(name: &DnsName) -> String {
    let mut labels = Vec::new();
    let mut rest = name.wire();
    while rest[0] != 0 {
        let (label, next) = rest[1..].split_at(rest[0].into());
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        rest = next;
    }
    labels.join(".")
}

fn record_type(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "A" } else { "AAAA" }
}

impl Server {
    pub(super) fn respond(&mut self, ask: &Ask, now: Now) -> Answer {
        match ask {
            Ask::Resolve { name, family } => {
                let found = self.records.get(name).copied().into_iter();
                Answer::Addresses(found.filter(|address| Family::of(*address) == *family).collect())
            }
            Ask::Http(request) if request.url.expose().contains("/client/v4/") => self.cloudflare(request),
            Ask::Http(request) => {
                let url = request.url.expose();
                let address: IpAddr = parameter(url, "myip").unwrap().parse().unwrap();
                self.updates += 1;
                let lines = parameter(url, "hostname")
                    .unwrap()
                    .split(',')
                    .map(|name| {
                        let old = self.records.insert(name.to_owned(), address);
                        format!("{} {address}\n", if old == Some(address) { "nochg" } else { "good" })
                    })
                    .collect::<String>();
                Answer::text(&lines)
            }
            Ask::Dns(request) => self.dns(&request.octets, now),
        }
    }

    fn cloudflare(&mut self, request: &HttpRequest) -> Answer {
        let url = request.url.expose();
        assert!(request.headers.contains(&("Authorization", Secret::new("Bearer token"))));
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let name = match request.method {
            Method::Get if !url.contains("dns_records") => {
                assert_eq!(parameter(url, "name").as_deref(), Some("example.com"));
                return Answer::text(
                    r#"{"success":true,"errors":[],"result":[{"id":"0abc","name":"example.com"}]}"#,
                );
            }
            Method::Get => {
                let name = parameter(url, "name").unwrap();
                let kind = parameter(url, "type");
                let is_asked = |address: &&IpAddr| kind.as_deref() == Some(record_type(**address));
                let record = self.records.get(&name).filter(is_asked).map(|address| {
                    serde_json::json!({ "id": name.replace('.', "x"), "content": address.to_string() })
                });
                let found: Vec<_> = record.into_iter().collect();
                let body = serde_json::json!({ "success": true, "errors": [], "result": found });
                return Answer::Http(200, body.to_string().into_bytes());
            }
            Method::Post => body["name"].as_str().unwrap().to_owned(),
            Method::Patch => {
                let id = url.rsplit('/').next().unwrap();
                self.records.keys().find(|name| name.replace('.', "x") == id).unwrap().clone()
            }
        };
        let address: IpAddr = body["content"].as_str().unwrap().parse().unwrap();
        assert!(request.method == Method::Patch || body["type"] == record_type(address), "{body}");
        self.records.insert(name, address);
        self.updates += 1;
        let body = serde_json::json!({
            "success": true, "errors": [], "result": { "id": "1", "content": address.to_string() }
        });
        Answer::Http(200, body.to_string().into_bytes())
    }

    fn dns(&mut self, octets: &[u8], now: Now) -> Answer {
        let (name, at) = DnsName::read(octets, 12).unwrap();
        let kind = u16::from_be_bytes([octets[at], octets[at + 1]]);
        let mut reply = octets[..at + 4].to_vec();
        reply[2] |= 0x84;
        reply[6..12].fill(0);
        if octets[2] & 0x78 == 0 {
            let zone = DnsName::parse("example.com").unwrap();
            match self.records.get(&text_of(&name)) {
                Some(IpAddr::V4(v4)) if kind == TYPE_A => {
                    dns_message::record(&mut reply, &name, kind, 1, 60, &v4.octets());
                    reply[7] = 1;
                }
                Some(IpAddr::V6(v6)) if kind == TYPE_AAAA => {
                    dns_message::record(&mut reply, &name, kind, 1, 60, &v6.octets());
                    reply[7] = 1;
                }
                _ => {
                    dns_message::record(&mut reply, &zone, TYPE_SOA, 1, 60, &[0; 22]);
                    reply[9] = 1;
                }
            }
            return Answer::Dns(reply);
        }
        // Pairs of a deletion and an addition, as this crate writes them, then the TSIG record.
        let mut at = at + 4;
        let mut records = self.records.clone();
        for i in 0..u16::from_be_bytes([octets[8], octets[9]]) {
            let (name, head) = DnsName::read(octets, at).unwrap();
            let length = usize::from(u16::from_be_bytes([octets[head + 8], octets[head + 9]]));
            at = head + 10 + length;
            if i % 2 == 1 {
                let data = &octets[head + 10..at];
                let address = match u16::from_be_bytes([octets[head], octets[head + 1]]) {
                    TYPE_A => IpAddr::from(<[u8; 4]>::try_from(data).unwrap()),
                    TYPE_AAAA => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()),
                    other => panic!("a record of type {other}"),
                };
                records.insert(text_of(&name), address);
            }
        }
        let (mac, signed_at) = (mac_of(octets, at), time_of(octets, at));
        let clock = UnixTime(now.wall.unwrap().0 + self.ahead);
        if clock.0.abs_diff(signed_at.0) > 300 {
            reply[3] |= 9;
            sign_error(&mut reply, &mac, signed_at, 18, &clock.0.to_be_bytes()[2..]);
            return Answer::Dns(reply);
        }
        self.records = records;
        self.updates += 1;
        sign_reply(&mut reply, &mac, clock, 0);
        Answer::Dns(reply)
    }
}

/// The MAC of the TSIG record of hmac-sha256 that begins at `at`.
pub(super) fn mac_of(octets: &[u8], at: usize) -> Vec<u8> {
    let (_, head) = DnsName::read(octets, at).unwrap();
    let (_, data) = DnsName::read(octets, head + 10).unwrap();
    octets[data + 10..data + 42].to_vec()
}

/// When a request was signed, by its TSIG record.
fn time_of(octets: &[u8], at: usize) -> UnixTime {
    let (_, head) = DnsName::read(octets, at).unwrap();
    let (_, data) = DnsName::read(octets, head + 10).unwrap();
    UnixTime(octets[data..data + 6].iter().fold(0, |time, octet| time << 8 | i64::from(*octet)))
}

/// The MAC of a signed update of one or two names, and when it was signed.
pub(super) fn signature(octets: &[u8]) -> (Vec<u8>, UnixTime) {
    let (_, zone) = DnsName::read(octets, 12).unwrap();
    let mut at = zone + 4;
    for _ in 0..u16::from_be_bytes([octets[8], octets[9]]) {
        let (_, head) = DnsName::read(octets, at).unwrap();
        at = head + 10 + usize::from(u16::from_be_bytes([octets[head + 8], octets[head + 9]]));
    }
    (mac_of(octets, at), time_of(octets, at))
}

/// Signs as a server does (RFC 8945 §5.3): the request's MAC goes in front.
pub(super) fn sign_reply(reply: &mut Vec<u8>, request_mac: &[u8], time: UnixTime, error: u16) {
    sign_error(reply, request_mac, time, error, &[]);
}

/// The same, with more to say about the error.
pub(super) fn sign_error(reply: &mut Vec<u8>, request_mac: &[u8], time: UnixTime, error: u16, other: &[u8]) {
    let secret = super::super::base64::decode(SECRET).unwrap();
    let signer = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let mut covered = (request_mac.len() as u16).to_be_bytes().to_vec();
    covered.extend_from_slice(request_mac);
    covered.extend_from_slice(reply);
    covered.extend_from_slice(DnsName::parse("genkan-key").unwrap().wire());
    covered.extend_from_slice(&[0, 255, 0, 0, 0, 0]);
    covered.extend_from_slice(DnsName::parse("hmac-sha256").unwrap().wire());
    covered.extend_from_slice(&time.0.to_be_bytes()[2..]);
    covered.extend_from_slice(&300u16.to_be_bytes());
    covered.extend_from_slice(&error.to_be_bytes());
    covered.extend_from_slice(&(other.len() as u16).to_be_bytes());
    covered.extend_from_slice(other);
    let mac = ring::hmac::sign(&signer, &covered);
    let record = TsigRecord {
        start: reply.len(),
        key: DnsName::parse("genkan-key").unwrap(),
        algorithm: DnsName::parse("hmac-sha256").unwrap(),
        time: time.0 as u64,
        fudge: 300,
        mac: mac.as_ref(),
        original_id: u16::from_be_bytes([reply[0], reply[1]]),
        error,
        other,
    };
    tsig::append(reply, &record);
}

/// Which service a test client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dyndns2,
    OneByOne,
    Cloudflare,
    Dns,
}

pub(super) fn entry(kind: Kind) -> Entry {
    entry_of(kind, Family::V4)
}

pub(super) fn entry_of(kind: Kind, family: Family) -> Entry {
    let names = ["a.example.com".to_owned(), "b.example.com".to_owned()];
    let http = |per_request| {
        let url = "https://dyn.example.net/nic/update?hostname={names}&myip={address}";
        let mut http = Http::custom(url, "user".into(), Secret::new("pass")).unwrap();
        http.names_per_request = per_request;
        http.refresh = Some(Duration::from_secs(25 * 86_400));
        Service::Http(http)
    };
    let service = match kind {
        Kind::Dyndns2 => http(20),
        Kind::OneByOne => http(1),
        Kind::Cloudflare => Service::Cloudflare(Cloudflare {
            url: None,
            token: Secret::new("token"),
            zone: "example.com".into(),
        }),
        Kind::Dns => Service::DnsUpdate(DnsUpdate {
            server: "ns.example.com".into(),
            port: 53,
            zone: None,
            key: Some(key(TsigAlgorithm::HmacSha256)),
            ttl: 60,
        }),
    };
    Entry::new(&names, family, service).unwrap()
}

/// Lets the client run until nothing is asked any more at `now`, answering honestly; gives what was asked.
pub(super) fn run(client: &mut Client, server: &mut Server, now: Now) -> Vec<Ask> {
    let mut asked = Vec::new();
    for _ in 0..20 {
        let Some(request) = client.poll(now, 7) else {
            if client.poll_timeout(now).is_some_and(|t| t <= now.at) {
                continue;
            }
            break;
        };
        let answer = server.respond(&request.ask, now);
        client.answer(now, request.id, &answer.outcome(), 0);
        asked.push(request.ask);
    }
    asked
}
