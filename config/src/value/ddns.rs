//! What `[[ddns]]` holds: names, services, URLs, passwords.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use genkan_services::ddns::{DnsName, Family, Secret, Template, TsigAlgorithm, is_reachable};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::word::Words;
use super::{Bad, Place, Text, Value, quoted};
use crate::ddns::AddressSource;
use crate::error::{Code, Report, Span};

/// Ports of STUN (RFC 8489 §18.6) and of DNS.
const STUN_PORT: u16 = 3478;
const DNS_PORT: u16 = 53;

/// A service that keeps names, by what the file calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProviderName(pub(crate) &'static str);

/// Any service that takes dyndns2 updates.
pub(crate) const CUSTOM: ProviderName = ProviderName("dyndns2");
/// The Cloudflare API.
pub(crate) const CLOUDFLARE: ProviderName = ProviderName("cloudflare");
/// A DNS server.
pub(crate) const DNS_UPDATE: ProviderName = ProviderName("rfc2136");

impl Words for ProviderName {
    const TAKES: &'static str = "a service for names";
    const MANY: &'static str = "services for names";
    const WORDS: &'static [(&'static str, ProviderName)] = &[
        ("dyndns", ProviderName("dyndns")),
        ("noip", ProviderName("noip")),
        ("duckdns", ProviderName("duckdns")),
        ("freedns", ProviderName("freedns")),
        ("dynu", ProviderName("dynu")),
        ("desec", ProviderName("desec")),
        ("he", ProviderName("he")),
        ("mydns-jp", ProviderName("mydns-jp")),
        ("dyndns2", CUSTOM),
        ("cloudflare", CLOUDFLARE),
        ("rfc2136", DNS_UPDATE),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("dyn", "dyndns"),
        ("dyn.com", "dyndns"),
        ("dyndns.org", "dyndns"),
        ("no-ip", "noip"),
        ("no-ip.com", "noip"),
        ("noip.com", "noip"),
        ("duckdns.org", "duckdns"),
        ("duck", "duckdns"),
        ("afraid", "freedns"),
        ("afraid.org", "freedns"),
        ("freedns.afraid.org", "freedns"),
        ("dynu.com", "dynu"),
        ("dedyn", "desec"),
        ("dedyn.io", "desec"),
        ("desec.io", "desec"),
        ("hurricane", "he"),
        ("hurricane-electric", "he"),
        ("he.net", "he"),
        ("dns.he.net", "he"),
        ("mydns", "mydns-jp"),
        ("mydns.jp", "mydns-jp"),
        ("custom", "dyndns2"),
        ("generic", "dyndns2"),
        ("cloudflare.com", "cloudflare"),
        ("cf", "cloudflare"),
        ("dns", "rfc2136"),
        ("bind", "rfc2136"),
        ("named", "rfc2136"),
        ("nsupdate", "rfc2136"),
        ("tsig", "rfc2136"),
        ("2136", "rfc2136"),
    ];
}

impl Words for TsigAlgorithm {
    const TAKES: &'static str = "an algorithm of TSIG (RFC 8945)";
    const MANY: &'static str = "algorithms of TSIG";
    const WORDS: &'static [(&'static str, TsigAlgorithm)] =
        &[("hmac-sha256", TsigAlgorithm::HmacSha256), ("hmac-sha512", TsigAlgorithm::HmacSha512)];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("sha256", "hmac-sha256"),
        ("sha512", "hmac-sha512"),
        ("hmac-md5", "hmac-sha256"),
        ("hmac-sha1", "hmac-sha256"),
    ];
}

impl Words for Family {
    const TAKES: &'static str = "an address family";
    const MANY: &'static str = "address families";
    const WORDS: &'static [(&'static str, Family)] = &[("v4", Family::V4), ("v6", Family::V6)];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("ipv4", "v4"),
        ("inet", "v4"),
        ("a", "v4"),
        ("4", "v4"),
        ("ip4", "v4"),
        ("ipv6", "v6"),
        ("ip6", "v6"),
        ("inet6", "v6"),
        ("aaaa", "v6"),
        ("6", "v6"),
    ];
}

/// A name in the DNS, of two labels at least, in lower case and without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(pub(crate) String);

impl Text for DomainName {
    const TAKES: &'static str = "a domain name";
    const MANY: &'static str = "domain names";

    fn parse(text: &str) -> Result<DomainName, Bad> {
        let accepted = "a full name is accepted, such as \"home.example.net\"";
        if let Err(error) = DnsName::parse(text) {
            let bad = Bad::new(error.to_string(), accepted);
            let bare = text
                .trim()
                .trim_start_matches("https://")
                .trim_start_matches("http://")
                .trim_end_matches('/');
            return Err(if bare != text && DomainName::parse(bare).is_ok() {
                bad.fix(quoted(bare))
            } else {
                bad
            });
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if !name.contains('.') {
            return Err(Bad::new("it is not a full name", accepted));
        }
        if name.rsplit('.').next().is_some_and(|top| top.bytes().all(|octet| octet.is_ascii_digit())) {
            return Err(Bad::new("it is an address, or like one", accepted));
        }
        Ok(DomainName(name))
    }
}

/// Name of a TSIG key: a domain name, mostly of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName(pub(crate) String);

impl Text for KeyName {
    const TAKES: &'static str = "the name of a key";
    const MANY: &'static str = "names of keys";

    fn parse(text: &str) -> Result<KeyName, Bad> {
        let accepted = "the name that `tsig-keygen` was given is accepted";
        DnsName::parse(text)
            .map(|_| KeyName(text.to_owned()))
            .map_err(|error| Bad::new(error.to_string(), accepted))
    }
}

/// A server by name or IPv4 address, with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    fn parse(text: &str, port: u16, accepted: &str) -> Result<Server, Bad> {
        if text.starts_with('[') || text.matches(':').count() > 1 {
            return Err(Bad::new("it is an IPv6 address, this version has IPv4", accepted));
        }
        let (host, port) = match text.split_once(':') {
            None => (text, port),
            Some((host, written)) => (host, read_port(written, accepted)?),
        };
        DnsName::parse(host).map_err(|error| Bad::new(error.to_string(), accepted))?;
        Ok(Server { host: host.to_ascii_lowercase(), port })
    }
}

fn read_port(text: &str, accepted: &str) -> Result<u16, Bad> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| Bad::new(format!("`{}` is no port", super::shorten(text)), accepted))
}

impl Text for Server {
    const TAKES: &'static str = "a DNS server";
    const MANY: &'static str = "DNS servers";

    fn parse(text: &str) -> Result<Server, Bad> {
        Server::parse(text, DNS_PORT, "a name or an address is accepted, with or without a port")
    }
}

/// Where the address comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) AddressSource);

impl Text for Source {
    const TAKES: &'static str = "where the address comes from";
    const MANY: &'static str = "sources of addresses";

    fn parse(text: &str) -> Result<Source, Bad> {
        let accepted = "\"wan\", \"stun:SERVER\", or a URL that begins with https:// is accepted";
        let bad = |what: &str| Bad::new(what, accepted);
        if text == "wan" {
            return Ok(Source(AddressSource::Wan));
        }
        if let Some(server) = text.strip_prefix("stun:") {
            return stun(server.trim_start_matches("//")).map(Source);
        }
        if let Some(rest) = text.strip_prefix("http://") {
            let bad = bad("anybody on the way could change the answer");
            let safe = format!("https://{rest}");
            return Err(if Source::parse(&safe).is_ok() { bad.fix(quoted(&safe)) } else { bad });
        }
        if text.starts_with("https://") {
            let template = Template::parse(text).map_err(|error| Bad::new(error.to_string(), accepted))?;
            if template.has_placeholders() {
                return Err(bad("it has placeholders, and there is nothing to put in their place"));
            }
            return Ok(Source(AddressSource::Http { url: text.to_owned() }));
        }
        Err(match text.to_lowercase().as_str() {
            "stun" => bad("the server is missing").fix("\"stun:stun.example.net\""),
            "http" | "https" | "web" => bad("the URL is missing").fix("\"https://ip.example.net/\""),
            "wan" => bad("it is written in small letters").fix("\"wan\""),
            lower if lower != text && Source::parse(lower).is_ok() => {
                bad("it is written in small letters").fix(quoted(lower))
            }
            _ => bad("it is none of the three"),
        })
    }
}

/// `SERVER` or `SERVER:PORT`; an IPv6 address stands in brackets (RFC 7064 section 3.1).
fn stun(server: &str) -> Result<AddressSource, Bad> {
    let accepted = "stun:NAME, stun:ADDRESS or stun:[IPV6], each with or without :PORT, is accepted";
    let unreachable = || Bad::new("no server can be reached at an address of this kind", accepted);
    let Some((address, rest)) = server.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        if server.starts_with('[') || server.matches(':').count() > 1 {
            let bad = Bad::new("brackets tell where an IPv6 address ends", accepted);
            let address = server.trim_start_matches('[').parse::<Ipv6Addr>().ok();
            let bracketed = address.map(|address| format!("stun:[{address}]"));
            return Err(match bracketed.filter(|text| Source::parse(text).is_ok()) {
                Some(text) => bad.fix(quoted(&text)),
                None => bad,
            });
        }
        let Server { host, port } = Server::parse(server, STUN_PORT, accepted)?;
        if host.parse().is_ok_and(|address| !is_reachable(address)) {
            return Err(unreachable());
        }
        return Ok(AddressSource::Stun { host, port });
    };
    let address: Ipv6Addr = address
        .parse()
        .map_err(|_| Bad::new(format!("`{}` is no IPv6 address", super::shorten(address)), accepted))?;
    let port = match rest.strip_prefix(':') {
        Some(port) => read_port(port, accepted)?,
        None if rest.is_empty() => STUN_PORT,
        None => return Err(Bad::new(format!("`{}` is no port", super::shorten(rest)), accepted)),
    };
    if !is_reachable(address.into()) {
        return Err(unreachable());
    }
    Ok(AddressSource::Stun { host: address.to_string(), port })
}

/// A URL with scheme https, perhaps with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url(pub(crate) String);

impl Text for Url {
    const TAKES: &'static str = "a URL";
    const MANY: &'static str = "URLs";

    fn parse(text: &str) -> Result<Url, Bad> {
        let accepted =
            "https://HOST/PATH is accepted, with {username}, {password}, {names} and {address} in it";
        match Template::parse(text) {
            Ok(_) => Ok(Url(text.to_owned())),
            Err(error) => {
                let bad = Bad::new(error.to_string(), accepted);
                Err(match text.strip_prefix("http://") {
                    Some(rest) if Template::parse(&format!("https://{rest}")).is_ok() => bad
                        .fix(quoted(&format!("https://{rest}")))
                        .note("a password is not sent without encryption"),
                    _ => bad,
                })
            }
        }
    }
}

/// A user name, or an address of mail: what goes into a field of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain(pub(crate) String);

impl Text for Plain {
    const TAKES: &'static str = "a text";
    const MANY: &'static str = "texts";

    fn parse(text: &str) -> Result<Plain, Bad> {
        let accepted = "1 to 255 letters, digits and signs are accepted";
        if text.is_empty() || text.len() > 255 {
            return Err(Bad::new("it is empty or too long", accepted));
        }
        if text.chars().any(char::is_control) {
            return Err(Bad::new("it has a control character", accepted));
        }
        Ok(Plain(text.to_owned()))
    }
}

/// A password, which no message repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) Secret);

impl Value for Password {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Password> {
        let wrong = match value {
            DeValue::String(text) if text.is_empty() => "it is empty",
            DeValue::String(text) if text.len() > 1024 => "it is longer than 1024 octets",
            DeValue::String(text) if text.contains(char::is_control) => "it has a control character",
            // What is shown of a file is hidden line by line.
            DeValue::String(_)
                if ["\"\"\"", "'''"].iter().any(|quotes| report.text(span).starts_with(quotes)) =>
            {
                "it is a text of several lines"
            }
            DeValue::String(text) => return Some(Password(Secret::new(text.as_ref()))),
            _ => "it is no text",
        };
        report
            .error(Code::BadValue, span, format!("`{}` cannot be this: {wrong}", place.path))
            .label("a text in quotes is accepted")
            .help(format!(
                "write `{} = \"...\"`, or `{}_file` with the path of a file that holds it",
                place.key, place.key
            ));
        None
    }
}

macro_rules! schema {
    ($type:ty, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(DomainName, { "type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)+\\.?$" });
schema!(KeyName, { "type": "string", "minLength": 1 });
schema!(Server, { "type": "string", "pattern": "^[A-Za-z0-9._-]+(:[0-9]+)?$" });
schema!(Source, { "type": "string", "pattern": "^(wan|stun:.+|https://.+)$" });
schema!(Url, { "type": "string", "pattern": "^https://" });
schema!(Plain, { "type": "string", "minLength": 1, "maxLength": 255 });
schema!(Password, { "type": "string", "minLength": 1, "writeOnly": true });

#[cfg(test)]
mod tests {
    use genkan_services::ddns::PROVIDERS;

    use super::*;
    use crate::value::word::Word;

    #[test]
    fn every_known_service_has_its_word() {
        let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.id).collect();
        let words = ProviderName::WORDS.iter().map(|(word, name)| {
            assert_eq!(*word, name.0);
            *word
        });
        let words: Vec<&str> =
            words.filter(|word| !["dyndns2", "cloudflare", "rfc2136"].contains(word)).collect();
        assert_eq!(words, known);
        for (alias, word) in ProviderName::ALIASES {
            assert!(Word::<ProviderName>::parse(word).is_ok(), "{alias} -> {word}");
        }
    }

    #[test]
    fn sources() {
        let source = |text| Source::parse(text).map(|source| source.0);
        assert_eq!(source("wan"), Ok(AddressSource::Wan));
        let stun = |port| AddressSource::Stun { host: "stun.example.net".to_owned(), port };
        assert_eq!(source("stun:stun.example.net"), Ok(stun(3478)));
        assert_eq!(source("stun:stun.example.net:19302"), Ok(stun(19302)));
        let fix = |text| Source::parse(text).expect_err("refused").fix;
        assert_eq!(fix("http://ip.example.net/").as_deref(), Some("\"https://ip.example.net/\""));
        assert_eq!(fix("stun").as_deref(), Some("\"stun:stun.example.net\""));
        let stun = |port| AddressSource::Stun { host: "2001:db8::1".to_owned(), port };
        assert_eq!(source("stun:[2001:db8:0::1]"), Ok(stun(3478)));
        assert_eq!(source("stun:[2001:db8::1]:19302"), Ok(stun(19302)));
        assert_eq!(fix("stun:2001:db8::1").as_deref(), Some("\"stun:[2001:db8::1]\""));
        assert_eq!(fix("stun:[2001:db8::1").as_deref(), Some("\"stun:[2001:db8::1]\""));
        assert_eq!(fix("STUN:stun.example.net").as_deref(), Some("\"stun:stun.example.net\""));
        assert_eq!(
            (fix("WAN").as_deref(), fix("eth2"), fix("http://a/{names}")),
            (Some("\"wan\""), None, None)
        );
        for address in ["[fe80::1]", "[::]", "[ff02::1]", "[::ffff:192.0.2.1]", "0.0.0.0", "fe80::1"] {
            let refused = Source::parse(&format!("stun:{address}")).expect_err("nobody is there");
            assert_eq!(refused.fix, None, "{address}");
        }
        for wrong in ["[2001:db8::1]:0", "[2001:db8::1]3478", "[192.0.2.1]", "[2001:db8::1", "2001:db8::1:x"]
        {
            assert!(Source::parse(&format!("stun:{wrong}")).is_err(), "{wrong}");
        }
        assert!(Source::parse("https://ip.example.net/{names}").is_err());
    }
}
