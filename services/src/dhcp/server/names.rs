//! What a client calls itself (options 12 and 81), made fit for DNS.

use std::net::Ipv4Addr;

use super::Reason;
use crate::dhcp::lease::HardwareAddress;
use crate::dhcp::message::{Request, code};
use crate::dhcp::pool::Holder;

/// Octets of the longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;
/// Names that software looks up by itself: a client that bore one would be believed.
const NEVER: [&str; 4] = ["localhost", "wpad", "isatap", "_gateway"];

/// Encoding of the name in option 81: wire format, not the deprecated text (RFC 4702 §2.1).
const FQDN_WIRE: u8 = 0x04;
/// The server updates the A record.
const FQDN_SERVER: u8 = 0x01;
/// The client wished otherwise.
const FQDN_OVERRIDE: u8 = 0x02;

/// The name that a client asks for: one label of letters, digits and hyphens in lower case.
pub(super) fn asked(request: &Request<'_>) -> Option<String> {
    fqdn(request).or_else(|| sanitise(request.option(code::HOST_NAME)?))
}

fn fqdn(request: &Request<'_>) -> Option<String> {
    let [flags, _, _, name @ ..] = request.option(code::CLIENT_FQDN)? else { return None };
    if flags & FQDN_WIRE == 0 {
        return sanitise(name);
    }
    let (len, rest) = name.split_first()?;
    sanitise(rest.get(..usize::from(*len))?)
}

/// The first label; what a host name cannot have becomes a hyphen.
pub(super) fn sanitise(octets: &[u8]) -> Option<String> {
    let label = octets.split(|octet| *octet == b'.').next()?;
    let fit: String = label
        .iter()
        .filter(|octet| **octet != 0)
        .take(MAX_LABEL)
        .map(|octet| if octet.is_ascii_alphanumeric() { octet.to_ascii_lowercase() as char } else { '-' })
        .collect();
    let fit = fit.trim_matches('-');
    (!fit.is_empty() && !NEVER.contains(&fit)).then(|| fit.to_owned())
}

/// Another name for a client whose name is taken: with the end of its link-layer address.
pub(super) fn with_suffix(name: &str, hardware: &HardwareAddress) -> String {
    let octets = hardware.octets();
    let end: String =
        octets[octets.len().saturating_sub(3)..].iter().map(|octet| format!("{octet:02x}")).collect();
    let room = MAX_LABEL - end.len() - 1;
    format!("{}-{end}", name.get(..name.len().min(room)).unwrap_or(name))
}

/// Option 81 of a reply, for a client that sent one: this server looks after the name (RFC 4702 §4).
pub(super) fn fqdn_reply(request: &Request<'_>, name: &str, domain: Option<&str>) -> Option<Vec<u8>> {
    let flags = *request.option(code::CLIENT_FQDN)?.first()?;
    let overridden = if flags & FQDN_SERVER == 0 { FQDN_OVERRIDE } else { 0 };
    let mut value = vec![flags & FQDN_WIRE | FQDN_SERVER | overridden, 255, 255];
    let labels = std::iter::once(name).chain(domain.into_iter().flat_map(|domain| domain.split('.')));
    if flags & FQDN_WIRE == 0 {
        value.extend_from_slice(labels.collect::<Vec<_>>().join(".").as_bytes());
        return Some(value);
    }
    for label in labels.filter(|label| (1..=MAX_LABEL).contains(&label.len())) {
        value.push(label.len() as u8);
        value.extend_from_slice(label.as_bytes());
    }
    value.push(0);
    Some(value)
}

impl super::Server {
    /// The name that a lease goes by: the reservation's, else what the client has told.
    pub(super) fn name_of<'a>(&'a self, address: Ipv4Addr, holder: &'a Holder) -> Option<&'a str> {
        self.reserved_name(address, holder).or(holder.name.as_deref())
    }

    /// The name of the reservation by which a client has an address. It is never kept with the lease: it is to go when the
    /// reservation goes.
    pub(super) fn reserved_name(&self, address: Ipv4Addr, holder: &Holder) -> Option<&str> {
        self.reservation_of(address, holder)?.name.as_deref()
    }

    /// The name that is kept with the lease of a client without a reserved one: what it asks for unless somebody else has
    /// it, else the one that it is known by.
    pub(super) fn told_name(
        &mut self,
        request: &Request<'_>,
        address: Ipv4Addr,
        known: Option<String>,
    ) -> Option<String> {
        let Some(asked) = asked(request) else { return known };
        if self.is_name_free(&asked, address) {
            return Some(asked);
        }
        let other = with_suffix(&asked, &request.hardware);
        let given = self.is_name_free(&other, address).then_some(other);
        self.dropped(Reason::NameTaken);
        given
    }

    fn is_name_free(&self, name: &str, address: Ipv4Addr) -> bool {
        self.table.named(name).is_none_or(|holder| holder == address) && !self.reserved_names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_label_of_ldh() {
        let name = |octets: &[u8]| sanitise(octets);
        assert_eq!(name(b"Anna's iPhone.local").as_deref(), Some("anna-s-iphone"));
        assert_eq!(name(b"printer\0").as_deref(), Some("printer"));
        assert_eq!(name(b"--_.x"), None);
        assert_eq!(name(b""), None);
        assert_eq!(name(b"WPAD"), None);
        assert_eq!(name("玄関".as_bytes()), None);
        assert_eq!(name(&[b'a'; 200]).map(|name| name.len()), Some(63));
    }

    #[test]
    fn a_suffix_never_makes_a_name_too_long() {
        let hardware = HardwareAddress::new(1, &[2, 0, 0, 0xaa, 0xbb, 0xcc]).unwrap();
        assert_eq!(with_suffix("tv", &hardware), "tv-aabbcc");
        assert_eq!(with_suffix(&"a".repeat(63), &hardware).len(), 63);
        assert_eq!(with_suffix("tv", &HardwareAddress::new(1, &[]).unwrap()), "tv-");
    }
}
