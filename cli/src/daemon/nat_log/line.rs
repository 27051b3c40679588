//! One line of the record, in the names of the IPFIX registry and the events of RFC 8158 section 4.3.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::nat::event_log::{Binding, Detail, NatEventKind, Translation};
use serde::Serialize;

/// Values of `natEvent` (IPFIX element 230).
mod nat_event {
    pub(super) const SESSION_CREATE: u8 = 4;
    pub(super) const SESSION_DELETE: u8 = 5;
    pub(super) const BIB_CREATE: u8 = 8;
    pub(super) const BIB_DELETE: u8 = 9;
    pub(super) const PORTS_EXHAUSTED: u8 = 12;
    pub(super) const QUOTA_EXCEEDED: u8 = 13;
}

/// Values of `natQuotaExceededEvent` (466).
mod quota {
    pub(super) const SESSIONS: u32 = 1;
    pub(super) const OF_USER: u32 = 3;
}

/// Values of `natOriginatingAddressRealm` (229).
mod realm {
    pub(super) const PRIVATE: u8 = 1;
    pub(super) const PUBLIC: u8 = 2;
}

/// The fields of the templates of RFC 8158 that Genkan has something to say in. Sources and destinations are those of a packet
/// from inside, before and after translation, whoever began: so `postNATSource...` always is the external endpoint.
#[derive(Default, Serialize)]
struct Line {
    #[serde(rename = "observationTimeMilliseconds")]
    time: u64,
    #[serde(rename = "natEvent", skip_serializing_if = "Option::is_none")]
    event: Option<u8>,
    #[serde(rename = "protocolIdentifier", skip_serializing_if = "Option::is_none")]
    protocol: Option<u8>,
    #[serde(rename = "sourceIPv4Address", skip_serializing_if = "Option::is_none")]
    source: Option<Ipv4Addr>,
    #[serde(rename = "sourceTransportPort", skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(rename = "postNATSourceIPv4Address", skip_serializing_if = "Option::is_none")]
    post_source: Option<Ipv4Addr>,
    #[serde(rename = "postNAPTSourceTransportPort", skip_serializing_if = "Option::is_none")]
    post_source_port: Option<u16>,
    #[serde(rename = "destinationIPv4Address", skip_serializing_if = "Option::is_none")]
    destination: Option<Ipv4Addr>,
    #[serde(rename = "destinationTransportPort", skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(rename = "postNATDestinationIPv4Address", skip_serializing_if = "Option::is_none")]
    post_destination: Option<Ipv4Addr>,
    #[serde(rename = "postNAPTDestinationTransportPort", skip_serializing_if = "Option::is_none")]
    post_destination_port: Option<u16>,
    #[serde(rename = "natOriginatingAddressRealm", skip_serializing_if = "Option::is_none")]
    realm: Option<u8>,
    #[serde(rename = "natQuotaExceededEvent", skip_serializing_if = "Option::is_none")]
    quota: Option<u32>,
    #[serde(rename = "maxSessionEntries", skip_serializing_if = "Option::is_none")]
    max_sessions: Option<u32>,
    #[serde(rename = "maxEntriesPerUser", skip_serializing_if = "Option::is_none")]
    max_of_user: Option<u32>,
    #[serde(rename = "notSentFlowTotalCount", skip_serializing_if = "Option::is_none")]
    not_sent: Option<u64>,
}

/// Appends the line of an event.
pub(super) fn event(text: &mut Vec<u8>, time: Duration, kind: &NatEventKind, detail: Detail) {
    append(text, &Line { time: milliseconds(time), ..line_of(kind, detail) });
}

/// Appends the line that says how many events are missing in the record since it was begun.
pub(super) fn not_sent(text: &mut Vec<u8>, time: Duration, count: u64) {
    append(text, &Line { time: milliseconds(time), not_sent: Some(count), ..Line::default() });
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn append(text: &mut Vec<u8>, line: &Line) {
    // Numbers and addresses into memory: nothing can fail.
    let _: Result<(), io::Error> = serde_json::to_writer(&mut *text, line).map_err(io::Error::from);
    text.push(b'\n');
}

fn line_of(kind: &NatEventKind, detail: Detail) -> Line {
    match *kind {
        NatEventKind::SessionCreated(session) => session_line(nat_event::SESSION_CREATE, &session, detail),
        NatEventKind::SessionDeleted(session) => session_line(nat_event::SESSION_DELETE, &session, detail),
        NatEventKind::MappingCreated(binding) => binding_line(nat_event::BIB_CREATE, &binding),
        NatEventKind::MappingDeleted(binding) => binding_line(nat_event::BIB_DELETE, &binding),
        NatEventKind::PortsExhausted { external, protocol } => Line {
            event: Some(nat_event::PORTS_EXHAUSTED),
            protocol: Some(protocol.0),
            post_source: Some(external),
            ..Line::default()
        },
        NatEventKind::SessionLimit { limit } => Line {
            event: Some(nat_event::QUOTA_EXCEEDED),
            quota: Some(quota::SESSIONS),
            max_sessions: Some(limit),
            ..Line::default()
        },
        NatEventKind::HostLimit { host, limit } => Line {
            event: Some(nat_event::QUOTA_EXCEEDED),
            source: Some(host),
            quota: Some(quota::OF_USER),
            max_of_user: Some(limit),
            ..Line::default()
        },
    }
}

fn session_line(event: u8, session: &Translation, detail: Detail) -> Line {
    let realm = Some(if session.opened_inbound { realm::PUBLIC } else { realm::PRIVATE });
    let mut line = Line { realm, ..binding_line(event, &session.binding) };
    if detail == Detail::Sessions {
        let (address, port) = parts(session.remote);
        (line.destination, line.destination_port) = (address, port);
        // The far side is never translated.
        (line.post_destination, line.post_destination_port) = (address, port);
    }
    line
}

fn binding_line(event: u8, binding: &Binding) -> Line {
    let (source, source_port) = parts(binding.internal);
    let (post_source, post_source_port) = parts(binding.external);
    Line {
        event: Some(event),
        protocol: Some(binding.protocol.0),
        source,
        source_port,
        post_source,
        post_source_port,
        ..Line::default()
    }
}

fn parts(endpoint: SocketAddrV4) -> (Option<Ipv4Addr>, Option<u16>) {
    (Some(*endpoint.ip()), Some(endpoint.port()))
}

#[cfg(test)]
mod tests {
    use genkan_engine::wire::ipv4::Protocol;
    use serde_json::{Value, json};

    use super::*;

    fn written(kind: NatEventKind, detail: Detail) -> Value {
        let mut text = Vec::new();
        event(&mut text, Duration::from_nanos(1_767_225_600_123_999_999), &kind, detail);
        assert_eq!(text.pop(), Some(b'\n'));
        serde_json::from_slice(&text).expect("a line is JSON")
    }

    fn session() -> Translation {
        let [internal, external, remote] = ["192.168.0.10:8080", "203.0.113.1:80", "198.51.100.7:50000"]
            .map(|text| text.parse().expect("an endpoint"));
        let binding = Binding { protocol: Protocol::TCP, internal, external };
        Translation { binding, remote, opened_inbound: true }
    }

    /// All mandatory fields of the template, and of the others those that are known.
    #[test]
    fn sessions() {
        let mut expected = json!({
            "observationTimeMilliseconds": 1_767_225_600_123_u64,
            "natEvent": 4,
            "protocolIdentifier": 6,
            "sourceIPv4Address": "192.168.0.10",
            "sourceTransportPort": 8080,
            "postNATSourceIPv4Address": "203.0.113.1",
            "postNAPTSourceTransportPort": 80,
            "natOriginatingAddressRealm": 2,
        });
        assert_eq!(written(NatEventKind::SessionCreated(session()), Detail::Endpoints), expected);
        expected["natEvent"] = 5.into();
        expected["natOriginatingAddressRealm"] = 1.into();
        for key in ["destinationIPv4Address", "postNATDestinationIPv4Address"] {
            expected[key] = "198.51.100.7".into();
        }
        for key in ["destinationTransportPort", "postNAPTDestinationTransportPort"] {
            expected[key] = 50_000.into();
        }
        let outbound = Translation { opened_inbound: false, ..session() };
        assert_eq!(written(NatEventKind::SessionDeleted(outbound), Detail::Sessions), expected);
    }

    #[test]
    fn mappings() {
        let mut expected = json!({
            "observationTimeMilliseconds": 1_767_225_600_123_u64,
            "natEvent": 8,
            "protocolIdentifier": 6,
            "sourceIPv4Address": "192.168.0.10",
            "sourceTransportPort": 8080,
            "postNATSourceIPv4Address": "203.0.113.1",
            "postNAPTSourceTransportPort": 80,
        });
        assert_eq!(written(NatEventKind::MappingCreated(session().binding), Detail::Sessions), expected);
        expected["natEvent"] = 9.into();
        assert_eq!(written(NatEventKind::MappingDeleted(session().binding), Detail::Sessions), expected);
    }

    #[test]
    fn limits() {
        let external = Ipv4Addr::new(203, 0, 113, 1);
        let exhausted = NatEventKind::PortsExhausted { external, protocol: Protocol::UDP };
        let expected = json!({
            "observationTimeMilliseconds": 1_767_225_600_123_u64,
            "natEvent": 12,
            "protocolIdentifier": 17,
            "postNATSourceIPv4Address": "203.0.113.1",
        });
        assert_eq!(written(exhausted, Detail::Endpoints), expected);
        let expected = json!({
            "observationTimeMilliseconds": 1_767_225_600_123_u64,
            "natEvent": 13,
            "natQuotaExceededEvent": 1,
            "maxSessionEntries": 1_000_000,
        });
        assert_eq!(written(NatEventKind::SessionLimit { limit: 1_000_000 }, Detail::Endpoints), expected);
        let host = Ipv4Addr::new(192, 168, 0, 10);
        let expected = json!({
            "observationTimeMilliseconds": 1_767_225_600_123_u64,
            "natEvent": 13,
            "natQuotaExceededEvent": 3,
            "sourceIPv4Address": "192.168.0.10",
            "maxEntriesPerUser": 65_536,
        });
        assert_eq!(written(NatEventKind::HostLimit { host, limit: 65_536 }, Detail::Endpoints), expected);
    }
}
