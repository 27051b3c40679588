//! URLs with placeholders.

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
        let rest = text.strip_prefix("https://").ok_or(TemplateError::NotHttps)?;
        let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if host.is_empty() {
            return Err(TemplateError::NotHttps);
        }
        if host.contains(['{', '}', '@']) {
            return Err(TemplateError::Host);
        }
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
    use super::{Template, TemplateError, Values};
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
            ("https://h.example/ x", TemplateError::Character { at: 18 }),
            ("https://h.example/{ip}", TemplateError::UnknownPlaceholder { at: 18 }),
            ("https://h.example/{names", TemplateError::UnknownPlaceholder { at: 18 }),
            ("https://h.example/}", TemplateError::UnknownPlaceholder { at: 18 }),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }
}
