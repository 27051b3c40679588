//! Answers of services that keep names: of the right form around octets of the input, and honest ones.

use genkan_services::ddns::{Ask, DnsRequest, HttpRequest, Method};
use ring::hmac;

/// The key that DNS servers and the client share.
pub(crate) const KEY: &str = "genkan-key";
/// In base64, and what that is.
pub(crate) const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
const SECRET_OCTETS: &[u8] = b"secret-secret-secret-secret";

const HEADER: usize = 12;
const UPDATE: u8 = 5;
const ARCOUNT: std::ops::Range<usize> = 10..12;
/// Algorithm and key as names on the wire.
const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";
const KEY_NAME: &[u8] = b"\x0agenkan-key\0";
/// Class ANY and a TTL of nothing.
const ANY: &[u8] = &[0, 255, 0, 0, 0, 0];

/// What update services say, one each of those that mean something, and the beginnings of JSON.
const WORDS: [&str; 25] = [
    "good ",
    "nochg ",
    "badauth",
    "!donator",
    "notfqdn",
    "nohost",
    "numhost",
    "abuse",
    "badagent",
    "dnserr",
    "911",
    "OK",
    "KO",
    "Updated",
    "203.0.113.1",
    "127.0.0.1",
    "\n",
    " ",
    "{\"success\":true,\"errors\":[],\"result\":",
    "[{\"id\":\"a1\",\"content\":\"203.0.113.1\"}]",
    "{\"id\":\"a1\",\"content\":\"203.0.113.2\"}",
    "}",
    "{\"success\":false,\"errors\":[{\"code\":10000}]}",
    "{\"id\":\"../x?y\",\"content\":\"\"}",
    "2001:db8::1",
];

/// A body of words that the input chooses, and octets of its own between them.
pub(crate) fn body(data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for octet in data {
        match WORDS.get(usize::from(*octet) / 10) {
            Some(word) => body.extend(word.bytes()),
            None => body.push(*octet),
        }
    }
    body
}

/// Whether a DNS message is an update, and so signed where there is a key.
pub(crate) fn is_update(request: &DnsRequest) -> bool {
    request.octets[2] >> 3 & 15 == UPDATE
}

/// The reply to a request: its header and question, these flags and counts, and records of the input.
pub(crate) fn reply(request: &DnsRequest, flags: [u8; 2], counts: [u8; 3], records: &[u8]) -> Vec<u8> {
    let name = request.octets[HEADER..].iter().position(|octet| *octet == 0).expect("it asks for a name");
    let mut octets = request.octets[..HEADER + name + 5].to_vec();
    octets[2] = octets[2] & 0x78 | 0x80 | flags[0];
    octets[3] = flags[1];
    octets[4..HEADER].copy_from_slice(&[0, 1, 0, counts[0], 0, counts[1], 0, counts[2]]);
    octets.extend_from_slice(records);
    octets
}

/// When a request was signed, in seconds since 1970: of the record at its end, before the fudge, the MAC and what follows.
pub(crate) fn signed_at(request: &DnsRequest) -> i64 {
    let end = request.octets.len() - 42;
    request.octets[end - 6..end].iter().fold(0, |time, octet| time << 8 | i64::from(*octet))
}

/// What a server says, signed, whose clock is at `time` and that does not take the request's (RFC 8945 §5.2.3).
pub(crate) fn bad_time(request: &DnsRequest, time: i64) -> Vec<u8> {
    const NOTAUTH: u8 = 9;
    let other = [&18u16.to_be_bytes()[..], &6u16.to_be_bytes(), &(time as u64).to_be_bytes()[2..]].concat();
    sign_with(reply(request, [0, NOTAUTH], [0, 0, 0], &[]), request, signed_at(request), &other)
}

/// Signs a reply as the server would (RFC 8945 §5.3) at this unix time.
pub(crate) fn sign(reply: Vec<u8>, request: &DnsRequest, time: i64) -> Vec<u8> {
    sign_with(reply, request, time, &[0, 0, 0, 0])
}

/// The same with an error and other data, as they stand at the end of the record.
fn sign_with(mut reply: Vec<u8>, request: &DnsRequest, time: i64, error: &[u8]) -> Vec<u8> {
    // The record at the end: the MAC, original ID, error, and nothing else.
    let mac = &request.octets[request.octets.len() - 38..request.octets.len() - 6];
    let time = [&(time as u64).to_be_bytes()[2..], &300u16.to_be_bytes()].concat();
    let variables = [KEY_NAME, ANY, ALGORITHM, &time, error].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET_OCTETS);
    let signed = hmac::sign(&key, &[&32u16.to_be_bytes(), mac, &reply, &variables].concat());
    let data = [ALGORITHM, &time, &32u16.to_be_bytes(), signed.as_ref(), &reply[..2], error].concat();
    reply.extend([KEY_NAME, &[0, 250], ANY, &(data.len() as u16).to_be_bytes(), &data].concat());
    let count = u16::from_be_bytes([reply[ARCOUNT.start], reply[ARCOUNT.start + 1]]) + 1;
    reply[ARCOUNT].copy_from_slice(&count.to_be_bytes());
    reply
}

/// What a service says that does as it is told.
pub(crate) fn honest_body(request: &HttpRequest, address: &str) -> Vec<u8> {
    let record = format!(r#"{{"id":"r1","content":"{address}"}}"#);
    let result = match request.method {
        Method::Get if !request.url.expose().contains("/zones") => {
            return format!("good {address}\ngood {address}\nOK").into_bytes();
        }
        Method::Get if request.url.expose().contains("/dns_records") => "[]".to_owned(),
        Method::Get => r#"[{"id":"z1"}]"#.to_owned(),
        Method::Patch | Method::Post => record,
    };
    format!(r#"{{"success":true,"errors":[],"result":{result}}}"#).into_bytes()
}

/// What a DNS server says that does as it is told and takes the request's time; signed where the question is.
pub(crate) fn honest_reply(request: &DnsRequest, has_key: bool, time: i64) -> Vec<u8> {
    // The zone, example.org, in the authority section; its SOA has no data, which nobody looks at.
    let zone = b"\x07example\x03org\0\0\x06\0\x01\0\0\0\0\0\0";
    match (is_update(request), has_key) {
        (true, true) => sign(reply(request, [0, 0], [0, 0, 0], &[]), request, time),
        (true, false) => reply(request, [0, 0], [0, 0, 0], &[]),
        (false, _) => reply(request, [4, 0], [0, 1, 0], zone),
    }
}

/// What identifies a request: asked twice, it is the same.
pub(crate) fn identity(ask: &Ask) -> Option<Vec<u8>> {
    match ask {
        Ask::Http(request) => Some([request.url.expose().as_bytes(), &request.body].concat()),
        // Signatures differ: the question and the rest of the first kilobit.
        Ask::Dns(request) => Some(request.octets[2..request.octets.len().min(128)].to_vec()),
        // Resolvers are not the service.
        Ask::Resolve { .. } => None,
    }
}
