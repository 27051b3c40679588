//! Where the router itself answers: `"192.168.0.1:9090"`, or a list of such.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::address::{plain, single};
use super::{Bad, List, Place, Spanned, Text, Value, quoted, report_bad};
use crate::error::{Report, Span};

/// An address with a port of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) SocketAddrV4);

/// Lower ports take a right that the router gives up at its start (CAP_NET_BIND_SERVICE).
const LOWEST: u16 = 1024;
const PORT: &str = "a port from 1024 to 65535 is accepted";
const ACCEPTED: &str = "an own address on a lan with a port is accepted, such as \"192.168.0.1:9090\"";

impl Text for Listen {
    const TAKES: &'static str = "an address with a port";
    const MANY: &'static str = "addresses with a port";

    fn parse(text: &str) -> Result<Listen, Bad> {
        if text.starts_with('[') {
            return Err(Bad::new("it is an IPv6 address, this version has IPv4", ACCEPTED));
        }
        let (address, port) = text.split_once(':').unwrap_or((text, ""));
        if matches!(address, "" | "*" | "0.0.0.0") {
            return Err(Bad::new("it names no address, and the wan is none to answer at", ACCEPTED));
        }
        // The fix of an address is no fix of the whole.
        let address: Ipv4Addr = plain(address, ACCEPTED).map_err(|bad| Bad { fix: None, ..bad })?;
        single(address)?;
        if port.is_empty() {
            return Err(Bad::new("the port is missing", ACCEPTED).fix(quoted(&format!("{address}:9090"))));
        }
        let is_plain = port.bytes().all(|octet| octet.is_ascii_digit());
        match port.parse::<u16>() {
            _ if !is_plain => Err(Bad::new(format!("`{}` is no port", super::shorten(port)), PORT)),
            Ok(port) if port >= LOWEST => Ok(Listen(SocketAddrV4::new(address, port))),
            Ok(_) => Err(Bad::new("the router keeps no right to low ports", PORT)
                .fix(quoted(&format!("{address}:9090")))),
            Err(_) => Err(Bad::new(format!("`{}` is no port", super::shorten(port)), PORT)),
        }
    }
}

/// What a `listen` key holds: one or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listens(pub(crate) Vec<Spanned<Listen>>);

impl Value for Listens {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Listens> {
        match value {
            DeValue::Array(array) if array.is_empty() => {
                report_bad(Bad::new("the list is empty", ACCEPTED), span, place, report);
                None
            }
            DeValue::Array(_) => {
                List::<Listen>::read(value, span, place, report).map(|list| Listens(list.items))
            }
            _ => {
                let one = Listen::read(value, span, place, report)?;
                Some(Listens(vec![Spanned::new(one, span.clone())]))
            }
        }
    }
}

impl JsonSchema for Listens {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": "string", "pattern": "^[0-9.]+:[0-9]{4,5}$" });
        json_schema!({
            "description": "An address of the router's own on a lan, with a port from 1024 on, or a list of such.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "uniqueItems": true }],
            "examples": ["192.168.0.1:9090"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_and_a_port() {
        let listen = Listen(SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 1), 9090));
        assert_eq!(<Listen as Text>::parse("192.168.0.1:9090"), Ok(listen));
        for (text, what, fix) in [
            ("192.168.0.1", "the port is missing", Some("\"192.168.0.1:9090\"")),
            ("192.168.0.1:", "the port is missing", Some("\"192.168.0.1:9090\"")),
            (":9090", "it names no address, and the wan is none to answer at", None),
            ("0.0.0.0:9090", "it names no address, and the wan is none to answer at", None),
            ("[::1]:9090", "it is an IPv6 address, this version has IPv4", None),
            ("192.168.0.1:80", "the router keeps no right to low ports", Some("\"192.168.0.1:9090\"")),
            ("192.168.0.1:0", "the router keeps no right to low ports", Some("\"192.168.0.1:9090\"")),
            ("192.168.0.1:99999", "`99999` is no port", None),
            ("192.168.0.1:http", "`http` is no port", None),
            ("192.168.0.01:9090", "a number has a leading zero", None),
            ("127.0.0.1:9090", "it is a loopback address, which is a different machine for everybody", None),
        ] {
            let bad = <Listen as Text>::parse(text).expect_err(text);
            assert_eq!((bad.what.as_str(), bad.fix.as_deref()), (what, fix), "{text}");
        }
        for text in ["192.168.0.1:+9090", "192.168.0.1: 9090", "192.168.0.1:9090:1"] {
            assert!(<Listen as Text>::parse(text).is_err(), "{text}");
        }
    }
}
