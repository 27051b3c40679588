//! The address as a web server sees it: the body of an HTTP answer that contains it.

use super::entry::Family;
use super::template::is_reachable;
use std::net::{IpAddr, Ipv4Addr};
use thiserror::Error;

/// Longest body that is looked at, in octets.
pub const MAX_BODY: usize = 4096;

/// Why no address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EchoError {
    /// Over [`MAX_BODY`].
    #[error("the answer is too long")]
    TooLong,
    /// None in it.
    #[error("no address in the answer")]
    NoAddress,
    /// None that was asked for; this one is there.
    #[error("no {kind} address in the answer, but {address}", kind = wanted.kind())]
    OtherFamily {
        /// What was asked for.
        wanted: Family,
        /// What is there.
        address: IpAddr,
    },
    /// None that can be reached from outside; this one is there.
    #[error("no public address in the answer, but {0}")]
    NotPublic(IpAddr),
    /// More than one.
    #[error("several addresses in the answer")]
    Several,
}

/// The one address of `family` that stands in `body`, alone or inside HTML or JSON: a public one unless
/// `private_too`.
///
/// # Errors
///
/// See [`EchoError`].
pub fn address(body: &[u8], family: Family, private_too: bool) -> Result<IpAddr, EchoError> {
    if body.len() > MAX_BODY {
        return Err(EchoError::TooLong);
    }
    let words = body.split(|&o| !(o.is_ascii_alphanumeric() || o == b'.' || o == b':'));
    let (mut found, mut other) = (None, None);
    for address in words.filter_map(in_word) {
        if Family::of(address) != family {
            other.get_or_insert(EchoError::OtherFamily { wanted: family, address });
        } else if !(is_public(&address) || private_too && is_reachable(address)) {
            other = Some(EchoError::NotPublic(address));
        } else if found.replace(address).is_some_and(|earlier| earlier != address) {
            return Err(EchoError::Several);
        }
    }
    found.ok_or(other.unwrap_or(EchoError::NoAddress))
}

/// The address that a word is, also at the end of a sentence, or behind "IP:".
fn in_word(word: &[u8]) -> Option<IpAddr> {
    let word = std::str::from_utf8(word).ok()?;
    let bare = || word.trim_end_matches(['.', ':']).parse().ok();
    let labelled = || {
        let (label, rest) = word.split_once(':')?;
        let is_label = label.contains(|c: char| !c.is_ascii_hexdigit());
        rest.trim_end_matches('.').parse().ok().filter(|_| is_label)
    };
    word.parse().ok().or_else(bare).or_else(labelled)
}

/// Whether an address can be reached from outside: none of the special ones of RFC 6890, of RFC 1918 and of RFC 6598.
/// The documentation ranges pass. A wan address that is not public lies behind another NAT.
pub fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(*v4),
        IpAddr::V6(v6) => {
            let head = v6.segments()[0];
            // Global unicast (RFC 4291 §2.4) besides 6to4 and Teredo, which no service stores with use.
            head & 0xe000 == 0x2000 && head != 0x2002 && v6.segments()[..2] != [0x2001, 0]
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || a == 0
        || a >= 224
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18))
}
