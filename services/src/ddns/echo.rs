//! The address as a web server sees it: the body of an HTTP answer that contains it.

use super::entry::Family;
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
    /// No public address in it.
    #[error("no public address in the answer")]
    NoAddress,
    /// More than one.
    #[error("several addresses in the answer")]
    Several,
}

/// The one public address of `family` that stands in `body`, alone or inside HTML or JSON.
///
/// # Errors
///
/// See [`EchoError`].
pub fn address(body: &[u8], family: Family) -> Result<IpAddr, EchoError> {
    if body.len() > MAX_BODY {
        return Err(EchoError::TooLong);
    }
    let fits = |address: &IpAddr| Family::of(*address) == family && is_public(address);
    let mut found = None;
    for word in body.split(|&o| !(o.is_ascii_alphanumeric() || o == b'.' || o == b':')) {
        let Some(address) = std::str::from_utf8(word).ok().and_then(|w| w.parse().ok()).filter(fits) else {
            continue;
        };
        if found.replace(address).is_some_and(|earlier| earlier != address) {
            return Err(EchoError::Several);
        }
    }
    found.ok_or(EchoError::NoAddress)
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
