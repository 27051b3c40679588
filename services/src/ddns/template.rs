//! URLs with placeholders.

use super::dns_name::DnsName;
use super::secret::Secret;
use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;
use thiserror::Error;

/// Longest template, in octets.
const MAX_TEMPLATE: usize = 1024;

/// Why a URL template is refused. Tells places only: a template may have a token in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The scheme is not https, or no host follows.
    #[error("a URL that begins with https:// and a host is wanted")]
    NotHttps,
    /// Over 1024 octets.
    #[error("the URL is longer than 1024 octets")]
    TooLong,
    /// Neither of the placeholders, or braces that do not match.
    #[error(
        "unknown placeholder at octet {at}: {{username}}, {{password}}, {{names}} and {{address}} are known"
    )]
    UnknownPlaceholder {
        /// Offset of the brace.
        at: usize,
    },
    /// A host that depends on a value, or credentials before it.
    #[error("the host may contain neither a placeholder nor a user name")]
    Host,
    /// Neither a name nor an address, or an IPv6 address without brackets.
    #[error("the host is neither a name nor an address (one of IPv6 stands in brackets)")]
    NoHost,
    /// Multicast, link-local and the like, and an IPv4 address in the form of one of IPv6.
    #[error("no server can be reached at an address of this kind")]
    Unreachable,
    /// Not 1 to 65535.
    #[error("the port is not 1 to 65535")]
    Port,
    /// A space, a control character or one outside ASCII.
    #[error("octet {at} must be percent-encoded")]
    Character {
        /// Its offset.
        at: usize,
    },
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Username,
    Password,
    Names,
    Address,
}

/// A URL with `{username}`, `{password}`, `{names}` (separated by commas) and `{address}` in its path or query.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// What the placeholders stand for.
pub(super) struct Values<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a Secret,
    pub(super) names: &'a [&'a str],
    pub(super) address: IpAddr,
}

impl Template {
    /// Takes a template apart.
    ///
    /// # Errors
    ///
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        if let Some(at) = text.bytes().position(|o| !o.is_ascii_graphic()) {
            return Err(TemplateError::Character { at });
        }
        host(text)?;
        let mut parts = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let plain = rest.find(['{', '}']).unwrap_or(rest.len());
            if plain > 0 {
                parts.push(Part::Text(rest[..plain].to_owned()));
                at += plain;
                continue;
            }
            let unknown = TemplateError::UnknownPlaceholder { at };
            let end = rest.find('}').ok_or(unknown)?;
            parts.push(match rest.get(1..end) {
                Some("username") => Part::Username,
                Some("password") => Part::Password,
                Some("names") => Part::Names,
                Some("address") => Part::Address,
                _ => return Err(unknown),
            });
            at += end + 1;
        }
        Ok(Template { parts })
    }

    pub(super) fn expand(&self, values: &Values<'_>) -> Secret {
        let mut url = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Username => percent_encode(&mut url, values.username),
                Part::Password => percent_encode(&mut url, values.password.expose()),
                Part::Address => percent_encode(&mut url, &values.address.to_string()),
                Part::Names => {
                    for (i, name) in values.names.iter().enumerate() {
                        if i > 0 {
                            url.push(',');
                        }
                        percent_encode(&mut url, name);
                    }
                }
            }
        }
        Secret::new(url)
    }

    /// Whether anything in it depends on a value.
    pub fn has_placeholders(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether it tells the address, and not the sender of the request alone.
    pub fn has_address(&self) -> bool {
        self.parts.contains(&Part::Address)
    }

    /// Whether it tells which names are meant.
    pub fn has_names(&self) -> bool {
        self.parts.contains(&Part::Names)
    }

    /// The literal text, for the digest of the configuration.
    pub(super) fn text(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Username => "{username}",
            Part::Password => "{password}",
            Part::Names => "{names}",
            Part::Address => "{address}",
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(..)")
    }
}

/// The host of an https URL, that of IPv6 without brackets.
///
/// # Errors
///
/// Where it names none that can be connected to.
pub fn host(url: &str) -> Result<&str, TemplateError> {
    let rest = url.strip_prefix("https://").ok_or(TemplateError::NotHttps)?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.is_empty() {
        return Err(TemplateError::NotHttps);
    }
    if authority.contains(['{', '}', '@']) {
        return Err(TemplateError::Host);
    }
    let (host, rest) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => bracketed.ok_or(TemplateError::NoHost)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        // Without brackets it is an IPv6 address.
        Some(port) if port.contains(':') => return Err(TemplateError::NoHost),
        Some(port) => port.parse::<u16>().is_ok_and(|port| port != 0),
        None => rest.is_empty(),
    };
    let is_bracketed = authority.starts_with('[');
    match (host.parse::<IpAddr>(), is_bracketed) {
        (Ok(address), _) if address.is_ipv6() != is_bracketed => return Err(TemplateError::NoHost),
        (Ok(address), _) if !is_reachable(address) => return Err(TemplateError::Unreachable),
        (Ok(_), _) => {}
        (Err(_), false) if DnsName::parse(host).is_ok() => {}
        (Err(_), _) => return Err(TemplateError::NoHost),
    }
    if port { Ok(host) } else { Err(TemplateError::Port) }
}

/// Whether a connection can go to an address that stands alone: one of a link needs the link's name, too.
pub fn is_reachable(address: IpAddr) -> bool {
    let is_of_another_kind = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(is_of_another_kind || address.is_unspecified() || address.is_multicast())
}

/// Everything but the unreserved characters (RFC 3986 §2.3).
pub(super) fn percent_encode(url: &mut String, value: &str) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            url.push(char::from(octet));
        } else {
            let _ = write!(url, "%{octet:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Template, TemplateError, Values, host};
    use crate::ddns::Secret;

    #[test]
    fn values_are_percent_encoded() {
        let template =
            Template::parse("https://h.example/u?h={names}&a={address}&u={username}&p={password}").unwrap();
        let url = template.expand(&Values {
            username: "me@example",
            password: &Secret::new("a&b=c d\u{e9}%"),
            names: &["a.example", "b.example"],
            address: "2001:db8::1".parse().unwrap(),
        });
        assert_eq!(
            url.expose(),
            "https://h.example/u?h=a.example,b.example&a=2001%3Adb8%3A%3A1&u=me%40example&p=a%26b%3Dc%20d%C3%A9%25"
        );
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("http://h.example/", TemplateError::NotHttps),
            ("https:///x", TemplateError::NotHttps),
            ("https://{names}/x", TemplateError::Host),
            ("https://u:p@h.example/x", TemplateError::Host),
            ("https://2001:db8::1/x", TemplateError::NoHost),
            ("https://[2001:db8::1/x", TemplateError::NoHost),
            ("https://[zz]/", TemplateError::NoHost),
            ("https://[]/", TemplateError::NoHost),
            ("https://[192.0.2.1]/", TemplateError::NoHost),
            ("https://[2001:db8::1]y/", TemplateError::Port),
            ("https://[fe80::1%25eth0]/", TemplateError::NoHost),
            ("https://[fe80::1]/", TemplateError::Unreachable),
            ("https://[ff02::1]/", TemplateError::Unreachable),
            ("https://[::ffff:192.0.2.1]/", TemplateError::Unreachable),
            ("https://0.0.0.0/", TemplateError::Unreachable),
            ("https://:443/", TemplateError::NoHost),
            ("https://h.example:/", TemplateError::Port),
            ("https://h.example:0/", TemplateError::Port),
            ("https://[2001:db8::1]:99999/", TemplateError::Port),
            ("https://h.example/ x", TemplateError::Character { at: 18 }),
            ("https://h.example/{ip}", TemplateError::UnknownPlaceholder { at: 18 }),
            ("https://h.example/{names", TemplateError::UnknownPlaceholder { at: 18 }),
            ("https://h.example/}", TemplateError::UnknownPlaceholder { at: 18 }),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
        for (url, expected) in [
            ("https://h.example", "h.example"),
            ("https://h.example:8443/x", "h.example"),
            ("https://192.0.2.1?x", "192.0.2.1"),
            ("https://[2001:db8::1]:8443/", "2001:db8::1"),
            ("https://localhost/", "localhost"),
        ] {
            assert_eq!(host(url), Ok(expected));
        }
    }
}
