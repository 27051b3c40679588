//! Ethernet II (IEEE 802.3).
//!
//! ```text
//!  0         6         12     14
//! +---------+---------+------+---------
//! | dst MAC | src MAC | type | payload
//! +---------+---------+------+---------
//! ```

use std::fmt;
use std::str::FromStr;

use super::{ParseError, be16};

/// Octets of the header, without a VLAN tag.
pub const HEADER_LEN: usize = 14;
/// Offset of the destination MAC address.
pub const FIELD_DESTINATION: usize = 0;
/// Offset of the source MAC address.
pub const FIELD_SOURCE: usize = 6;
/// Offset of the EtherType.
pub const FIELD_ETHERTYPE: usize = 12;

/// A 48-bit link-layer address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00, the unknown target of an ARP request.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Group bit set: multicast or broadcast.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All bits set.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == MacAddr::BROADCAST
    }

    /// Can belong to one station: neither multicast nor all zero.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != MacAddr::ZERO
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six two-digit hexadecimal octets joined by `:` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address is written as 52:54:00:12:34:56")]
pub struct ParseMacError;

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Reads `52:54:00:12:34:56` or `52-54-00-12-34-56`, in either case of letters.
    fn from_str(text: &str) -> Result<MacAddr, ParseMacError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacError)?;
            // from_str_radix alone would take "+1".
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(MacAddr(octets)) }
    }
}

/// What the payload of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP.
    pub const ARP: EtherType = EtherType(0x0806);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: EtherType = EtherType(0x8100);
    /// A service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EtherType::IPV4 => f.write_str("ipv4"),
            EtherType::ARP => f.write_str("arp"),
            EtherType::IPV6 => f.write_str("ipv6"),
            EtherType::VLAN => f.write_str("vlan"),
            EtherType::SERVICE_VLAN => f.write_str("service-vlan"),
            EtherType(number) => write!(f, "{number:#06x}"),
        }
    }
}

/// An Ethernet header in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a frame without FCS.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under 14 octets.
    #[inline]
    pub fn new_checked(frame: &'a [u8]) -> Result<View<'a>, ParseError> {
        let (header, payload) = frame.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok(View { header, payload })
    }

    /// Destination MAC address.
    #[inline]
    pub fn destination(&self) -> MacAddr {
        let [a, b, c, d, e, g, ..] = *self.header;
        MacAddr([a, b, c, d, e, g])
    }

    /// Source MAC address.
    #[inline]
    pub fn source(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, g, ..] = *self.header;
        MacAddr([a, b, c, d, e, g])
    }

    /// What the payload is.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(be16!(self.header, FIELD_ETHERTYPE))
    }

    /// Everything behind the header, link padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The fields of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Destination MAC address.
    pub destination: MacAddr,
    /// Source MAC address.
    pub source: MacAddr,
    /// What the payload is.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header at the start of `frame`.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under 14 octets.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Repr, ParseError> {
        let view = View::new_checked(frame)?;
        Ok(Repr { destination: view.destination(), source: view.source(), ethertype: view.ethertype() })
    }

    /// Writes the header to the first 14 octets of `frame`.
    ///
    /// # Panics
    /// When `frame` is shorter than [`HEADER_LEN`].
    pub fn emit(&self, frame: &mut [u8]) {
        frame[FIELD_DESTINATION..FIELD_SOURCE].copy_from_slice(&self.destination.0);
        frame[FIELD_SOURCE..FIELD_ETHERTYPE].copy_from_slice(&self.source.0);
        frame[FIELD_ETHERTYPE..HEADER_LEN].copy_from_slice(&self.ethertype.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const FRAME: [u8; 16] = [
        0x52, 0x54, 0x00, 0x00, 0x00, 0x01, // destination
        0x52, 0x54, 0x00, 0x00, 0x00, 0x02, // source
        0x08, 0x06,                         // ARP
        0xaa, 0xbb,                         // payload
    ];

    #[test]
    fn repr_parses_and_emits_the_same_octets() {
        let repr = Repr::parse(&FRAME).unwrap();
        assert_eq!(repr.destination, MacAddr([0x52, 0x54, 0, 0, 0, 1]));
        assert_eq!(repr.source, MacAddr([0x52, 0x54, 0, 0, 0, 2]));
        assert_eq!(repr.ethertype, EtherType::ARP);
        let mut out = [0; 14];
        repr.emit(&mut out);
        assert_eq!(out, FRAME[..14]);
        assert_eq!(View::new_checked(&FRAME).unwrap().payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn thirteen_octets_are_too_few() {
        assert_eq!(Repr::parse(&FRAME[..13]), Err(ParseError::Truncated));
    }

    #[test]
    fn mac_addresses_as_text() {
        let mac = MacAddr([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
        assert_eq!("52:54:00:AB:cd:ef".parse(), Ok(mac));
        assert_eq!("52-54-00-ab-cd-ef".parse(), Ok(mac));
        for wrong in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:00", "52:54:00:ab:cd:+f", "5:54:00:ab:cd:ef"] {
            assert_eq!(wrong.parse::<MacAddr>(), Err(ParseMacError), "{wrong}");
        }
    }

    #[test]
    fn kinds_of_mac_addresses() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        assert!(!MacAddr::ZERO.is_unicast() && MacAddr([2, 0, 0, 0, 0, 1]).is_unicast());
    }
}
