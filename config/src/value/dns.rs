//! Names of DNS, resolvers, and in what order these are asked.

use std::borrow::Cow;
use std::net::{Ipv6Addr, SocketAddrV4};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::address::{plain, single};
use super::word::Words;
use super::{Bad, Text, quoted};
use crate::{DnsStrategy, DnsUpstream};

/// A name of DNS: labels of letters, digits, `-` and `_` (RFC 1035 section 2.3.1, RFC 8552), in lower case, without a dot
/// at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain(pub(crate) String);

/// The longest name and the longest label, in octets (RFC 1035 section 2.3.4).
const MOST_NAME: usize = 253;
const MOST_LABEL: usize = 63;
const NAME: &str = "letters, digits and `-` are accepted, with dots between";

impl Text for Domain {
    const TAKES: &'static str = "a domain name";
    const MANY: &'static str = "domain names";

    fn parse(text: &str) -> Result<Domain, Bad> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err(Bad::new("it is empty", NAME));
        }
        if let Some(below) = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            let bad = Bad::new("it does not begin with a name", NAME);
            return Err(if below.is_empty() { bad } else { bad.fix(quoted(below)) });
        }
        if name.len() > MOST_NAME {
            return Err(Bad::new(format!("it is {} octets long, a name has at most 253", name.len()), NAME));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        for label in name.split('.') {
            if label.is_empty() {
                return Err(Bad::new("two dots stand side by side", NAME));
            }
            if let Some(wrong) = label.chars().find(|c| !fits(*c)) {
                let bad = Bad::new(format!("a domain name has no `{wrong}`"), NAME);
                let foreign = !wrong.is_ascii();
                return Err(if foreign { bad.help("write it in its `xn--` form") } else { bad });
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(Bad::new("a part between two dots begins or ends with `-`", NAME));
            }
            if label.len() > MOST_LABEL {
                return Err(Bad::new("a part between two dots has at most 63 octets", NAME));
            }
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(Bad::new("it is an address, or nearly one", NAME));
        }
        Ok(Domain(name))
    }
}

impl JsonSchema for Domain {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Domain".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.?$", "maxLength": 254 })
    }
}

/// A resolver: `"9.9.9.9"`, `"9.9.9.9:5353"`, `"tls://9.9.9.9#dns.quad9.net"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolver(pub(crate) DnsUpstream);

const PLAIN_PORT: u16 = 53;
const TLS_PORT: u16 = 853;
const RESOLVER: &str =
    "an address is accepted, with or without a port, such as \"9.9.9.9\" or \"tls://9.9.9.9#dns.quad9.net\"";

impl Text for Resolver {
    const TAKES: &'static str = "the address of a resolver";
    const MANY: &'static str = "addresses of resolvers";

    fn parse(text: &str) -> Result<Resolver, Bad> {
        let text = text.trim();
        let (rest, is_tls) = match text.split_once("://") {
            Some(("tls" | "dot", rest)) => (rest, true),
            Some(("udp" | "tcp" | "dns", rest)) => return Err(no_scheme(rest)),
            Some(("https" | "h3", _)) => {
                return Err(Bad::not_yet("DNS over HTTPS comes with a later version", RESOLVER));
            }
            Some(_) => return Err(Bad::new("it is no way to speak to a resolver", RESOLVER)),
            None => (text, false),
        };
        let (place, name) = match rest.split_once('#') {
            Some((place, name)) => (place, Some(name)),
            None => (rest, None),
        };
        if let Some(name) = name.filter(|_| !is_tls) {
            // Others write `@` before a port, and 53 is that of DNS without TLS.
            let place = place.replace('@', ":");
            let place = place.strip_suffix(":53").unwrap_or(&place);
            return Err(Bad::new("a name is compared with a certificate, which only TLS has", RESOLVER)
                .fix(quoted(&format!("tls://{place}#{name}"))));
        }
        if place.starts_with('[') || place.parse::<Ipv6Addr>().is_ok() {
            return Err(Bad::new("it is an IPv6 address, this version has IPv4", RESOLVER));
        }
        let (address, port) = match place.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (place, None),
        };
        let looks_like_a_name = address.contains(|c: char| c.is_ascii_alphabetic());
        // The fix of an address is no fix of the whole.
        let address = plain(address, RESOLVER).map_err(|bad| {
            let bad = Bad { fix: None, ..bad };
            let help = "a name would have to be resolved first, by somebody";
            if looks_like_a_name { bad.help(help) } else { bad }
        })?;
        // A resolver on the box itself is none of the network's.
        if !address.is_loopback() {
            single(address)?;
        }
        let port = match port.map(str::parse::<u16>) {
            None => {
                if is_tls {
                    TLS_PORT
                } else {
                    PLAIN_PORT
                }
            }
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(Bad::new("behind the `:` is no port", "1 to 65535 is accepted")),
        };
        let name = name.map(Domain::parse).transpose()?.map(|Domain(name)| name);
        Ok(Resolver(DnsUpstream { address: SocketAddrV4::new(address, port), is_tls, name }))
    }
}

fn no_scheme(rest: &str) -> Bad {
    Bad::new("UDP is tried first and TCP where it is needed, without being told", RESOLVER).fix(quoted(rest))
}

impl JsonSchema for Resolver {
    fn schema_name() -> Cow<'static, str> {
        "Resolver".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A resolver: its address and perhaps a port (53), or `tls://`, its address, perhaps a port (853) and `#` with the name in its certificate.",
            "type": "string",
            "pattern": "^((tls|dot)://)?[0-9.]+(:[0-9]{1,5})?(#[A-Za-z0-9._-]+)?$",
            "examples": ["9.9.9.9", "192.168.0.53:5353", "tls://9.9.9.9#dns.quad9.net"],
        })
    }
}

impl Words for DnsStrategy {
    const TAKES: &'static str = "an order of resolvers";
    const MANY: &'static str = "orders of resolvers";
    const WORDS: &'static [(&'static str, DnsStrategy)] =
        &[("ordered", DnsStrategy::Ordered), ("parallel", DnsStrategy::Parallel)];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("strict", "ordered"),
        ("strict-order", "ordered"),
        ("failover", "ordered"),
        ("first", "ordered"),
        ("all", "parallel"),
        ("all-servers", "parallel"),
        ("fastest", "parallel"),
        ("race", "parallel"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Result<DnsUpstream, Bad> {
        Resolver::parse(text).map(|Resolver(upstream)| upstream)
    }

    #[test]
    fn resolvers_are_addresses_with_what_they_need() {
        let of = |address: &str, is_tls, name: Option<&str>| {
            Ok(DnsUpstream { address: address.parse().unwrap(), is_tls, name: name.map(str::to_owned) })
        };
        assert_eq!(upstream("9.9.9.9"), of("9.9.9.9:53", false, None));
        assert_eq!(upstream("127.0.0.1:5353"), of("127.0.0.1:5353", false, None));
        assert_eq!(upstream("tls://9.9.9.9"), of("9.9.9.9:853", true, None));
        assert_eq!(upstream("tls://1.1.1.1:8853#One.One"), of("1.1.1.1:8853", true, Some("one.one")));
        for (text, what, fix) in [
            (
                "9.9.9.9#name",
                "a name is compared with a certificate, which only TLS has",
                Some("\"tls://9.9.9.9#name\""),
            ),
            (
                "9.9.9.9:53#name",
                "a name is compared with a certificate, which only TLS has",
                Some("\"tls://9.9.9.9#name\""),
            ),
            (
                "9.9.9.9@853#dns.quad9.net",
                "a name is compared with a certificate, which only TLS has",
                Some("\"tls://9.9.9.9:853#dns.quad9.net\""),
            ),
            ("dns.quad9.net", "it is not an IPv4 address", None),
            ("2620:fe::fe", "it is an IPv6 address, this version has IPv4", None),
            ("[2620:fe::fe]:53", "it is an IPv6 address, this version has IPv4", None),
            (
                "udp://9.9.9.9",
                "UDP is tried first and TCP where it is needed, without being told",
                Some("\"9.9.9.9\""),
            ),
            ("9.9.9.9:0", "behind the `:` is no port", None),
            ("0.0.0.0", "0.0.0.0/8 means \"this network\", no machine has such an address", None),
            ("ftp://9.9.9.9", "it is no way to speak to a resolver", None),
        ] {
            let bad = upstream(text).expect_err(text);
            assert_eq!((bad.what.as_str(), bad.fix.as_deref()), (what, fix), "{text}");
        }
    }

    #[test]
    fn domains_are_names_of_dns() {
        for (text, name) in
            [("Home.Arpa.", "home.arpa"), ("lan", "lan"), ("_x.a-1.example", "_x.a-1.example")]
        {
            assert_eq!(Domain::parse(text), Ok(Domain(name.to_owned())));
        }
        for wrong in [
            "",
            ".",
            "-",
            "a-.b",
            "a..b",
            "a b",
            "192.168.0.1",
            "日本.example",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert!(Domain::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Domain::parse("*.example.net").unwrap_err().fix.as_deref(), Some("\"example.net\""));
    }
}
