//! IPv4 headers (RFC 791 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+-----------+---+-------------------------------+
//! |   4   |  IHL  |   DSCP    |ECN|         total length          |  0
//! +-------+-------+-----------+---+-----+-------------------------+
//! |        identification         |0 D M|   fragment offset / 8   |  4
//! +---------------+---------------+-----+-------------------------+
//! |      TTL      |   protocol    |        header checksum        |  8
//! +---------------+---------------+-------------------------------+
//! |                        source address                         | 12
//! +---------------------------------------------------------------+
//! |                      destination address                      | 16
//! +---------------------------------------------------------------+
//! |                  options, up to 40 octets                     | 20
//! +---------------------------------------------------------------+
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use super::{ParseError, be16, be32, checksum};

/// Octets of the header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Offset of the octet that holds version and header length.
pub const FIELD_VERSION_IHL: usize = 0;
/// Offset of DSCP and ECN.
pub const FIELD_TOS: usize = 1;
/// Offset of the total length.
pub const FIELD_TOTAL_LEN: usize = 2;
/// Offset of the identification.
pub const FIELD_IDENTIFICATION: usize = 4;
/// Offset of flags and fragment offset.
pub const FIELD_FRAGMENT: usize = 6;
/// Offset of the TTL.
pub const FIELD_TTL: usize = 8;
/// Offset of the protocol number.
pub const FIELD_PROTOCOL: usize = 9;
/// Offset of the header checksum.
pub const FIELD_CHECKSUM: usize = 10;
/// Offset of the source address.
pub const FIELD_SOURCE: usize = 12;
/// Offset of the destination address.
pub const FIELD_DESTINATION: usize = 16;

/// In the word at [`FIELD_FRAGMENT`]: don't fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// In the word at [`FIELD_FRAGMENT`]: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// In the word at [`FIELD_FRAGMENT`]: the offset in units of 8 octets.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Option type: end of the list.
pub const OPTION_END: u8 = 0;
/// Option type: padding.
pub const OPTION_NOP: u8 = 1;
/// Option type: record route.
pub const OPTION_RECORD_ROUTE: u8 = 7;
/// Option type: loose source and record route.
pub const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
/// Option type: strict source and record route.
pub const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;
/// In an option type: goes into every fragment.
pub const OPTION_COPIED: u8 = 0x80;

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// DCCP.
    pub const DCCP: Protocol = Protocol(33);
    /// IPv6 inside IPv4.
    pub const IPV6: Protocol = Protocol(41);
    /// GRE.
    pub const GRE: Protocol = Protocol(47);
    /// ESP.
    pub const ESP: Protocol = Protocol(50);
    /// AH.
    pub const AH: Protocol = Protocol(51);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite.
    pub const UDP_LITE: Protocol = Protocol(136);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::ICMP => f.write_str("icmp"),
            Protocol::TCP => f.write_str("tcp"),
            Protocol::UDP => f.write_str("udp"),
            Protocol::DCCP => f.write_str("dccp"),
            Protocol::IPV6 => f.write_str("ipv6"),
            Protocol::GRE => f.write_str("gre"),
            Protocol::ESP => f.write_str("esp"),
            Protocol::AH => f.write_str("ah"),
            Protocol::SCTP => f.write_str("sctp"),
            Protocol::UDP_LITE => f.write_str("udp-lite"),
            Protocol(number) => write!(f, "{number}"),
        }
    }
}

/// An IPv4 packet in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; MIN_HEADER_LEN],
    /// From the version octet on; at least `header_len` octets, and no more than the total length.
    packet: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a whole packet; octets behind its total length (link padding) are cut off. Checksum and
    /// options are left to [`View::checksum_is_valid`] and [`check_options`].
    ///
    /// # Errors
    /// Under 20 octets, version other than 4, IHL under 5 words or past the total length, total length
    /// under 20 or past `bytes`; in this order, the first that applies.
    #[inline]
    pub fn new_checked(bytes: &'a [u8]) -> Result<View<'a>, ParseError> {
        let view = Self::new_truncated(bytes)?;
        if view.packet.len() < usize::from(view.total_len()) {
            return Err(ParseError::TotalLength);
        }
        Ok(view)
    }

    /// Looks at a packet that may be cut anywhere behind its header, as one quoted in an ICMP error.
    ///
    /// # Errors
    /// As [`View::new_checked`], but the total length may reach past `bytes`.
    #[inline]
    pub fn new_truncated(bytes: &'a [u8]) -> Result<View<'a>, ParseError> {
        let Some(header) = bytes.first_chunk::<MIN_HEADER_LEN>() else {
            // The version is told apart even here: an empty or foreign packet is not a cut one.
            return match bytes.first() {
                Some(first) if first >> 4 != 4 => Err(ParseError::Version),
                _ => Err(ParseError::Truncated),
            };
        };
        let view = View { header, packet: bytes };
        let (header_len, total_len) = (view.header_len(), usize::from(view.total_len()));
        if header[FIELD_VERSION_IHL] >> 4 != 4 {
            return Err(ParseError::Version);
        }
        if header_len < MIN_HEADER_LEN {
            return Err(ParseError::HeaderLength);
        }
        if total_len < MIN_HEADER_LEN {
            return Err(ParseError::TotalLength);
        }
        if header_len > total_len || header_len > bytes.len() {
            return Err(ParseError::HeaderLength);
        }
        Ok(View { header, packet: bytes.get(..total_len).unwrap_or(bytes) })
    }

    /// The header without its options.
    #[inline]
    pub fn header(&self) -> &'a [u8; MIN_HEADER_LEN] {
        self.header
    }

    /// Octets of the header with its options, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header[FIELD_VERSION_IHL] & 0x0f) * 4
    }

    /// DSCP (upper 6 bits) and ECN (lower 2).
    #[inline]
    pub fn tos(&self) -> u8 {
        self.header[FIELD_TOS]
    }

    /// Octets of header and payload, as the field says.
    #[inline]
    pub fn total_len(&self) -> u16 {
        be16!(self.header, FIELD_TOTAL_LEN)
    }

    /// Identification, which the fragments of one packet share.
    #[inline]
    pub fn identification(&self) -> u16 {
        be16!(self.header, FIELD_IDENTIFICATION)
    }

    /// Flags and fragment offset: [`DONT_FRAGMENT`], [`MORE_FRAGMENTS`], [`FRAGMENT_OFFSET`].
    #[inline]
    pub fn fragment_word(&self) -> u16 {
        be16!(self.header, FIELD_FRAGMENT)
    }

    /// Time to live in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[FIELD_TTL]
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol(self.header[FIELD_PROTOCOL])
    }

    /// Header checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16!(self.header, FIELD_CHECKSUM)
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32!(self.header, FIELD_SOURCE))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32!(self.header, FIELD_DESTINATION))
    }

    /// The header checksum agrees with the header, options included.
    #[inline]
    pub fn checksum_is_valid(&self) -> bool {
        let mut sum = u32::from(checksum::sum_header(self.header));
        if self.header_len() > MIN_HEADER_LEN {
            sum += checksum::sum(self.options());
        }
        checksum::fold(sum) == 0xffff
    }

    /// The options with their padding.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        &self.packet[MIN_HEADER_LEN..self.header_len()]
    }

    /// What follows the header, up to the total length or the cut.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.packet[self.header_len()..]
    }

    /// Header and payload, without link padding.
    #[inline]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }
}

/// Why options are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Loose or strict source route, or record route: they steer or show the inside of the network.
    #[error("source or record route")]
    SourceRoute,
    /// A length that is under 2 or reaches past the header.
    #[error("malformed option")]
    Malformed,
}

/// Walks the options of a header (what is between octet 20 and the header's end).
///
/// # Errors
/// The first refused option decides.
pub fn check_options(options: &[u8]) -> Result<(), OptionError> {
    let mut rest = options;
    while let Some(&kind) = rest.first() {
        let len = match kind {
            OPTION_END => return Ok(()),
            OPTION_NOP => 1,
            OPTION_RECORD_ROUTE | OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE => {
                return Err(OptionError::SourceRoute);
            }
            _ => match rest.get(1) {
                Some(&len) if len >= 2 => usize::from(len),
                _ => return Err(OptionError::Malformed),
            },
        };
        rest = rest.get(len..).ok_or(OptionError::Malformed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const PACKET: [u8; 26] = [
        0x46,             // version 4, 6 words
        0xb8,             // DSCP 46, ECN 0
        0x00, 0x19,       // total length 25
        0x12, 0x34,       // identification
        0x40, 0x00,       // DF, offset 0
        0x40,             // TTL 64
        0x11,             // UDP
        0xa6, 0xa7,       // header checksum
        192, 0, 2, 1,     // source
        198, 51, 100, 7,  // destination
        148, 4, 0, 0,     // router alert
        0x78,             // payload
        0x00,             // link padding
    ];

    #[test]
    fn view_reads_every_field() {
        let ip = View::new_checked(&PACKET).unwrap();
        assert_eq!((ip.header_len(), ip.tos(), ip.total_len()), (24, 0xb8, 25));
        assert_eq!((ip.identification(), ip.fragment_word()), (0x1234, DONT_FRAGMENT));
        assert_eq!((ip.ttl(), ip.protocol()), (64, Protocol::UDP));
        assert_eq!(ip.source(), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(ip.destination(), Ipv4Addr::new(198, 51, 100, 7));
        assert_eq!((ip.options(), ip.payload()), (&[148, 4, 0, 0][..], &b"x"[..]));
        assert_eq!(ip.packet().len(), 25);
        let oracle = etherparse::Ipv4HeaderSlice::from_slice(&PACKET).unwrap().to_header();
        assert_eq!(ip.checksum(), oracle.calc_header_checksum());
        assert!(ip.checksum_is_valid());
    }

    #[test]
    fn one_flipped_bit_breaks_the_checksum() {
        for bit in 0..24 * 8 {
            let mut packet = PACKET;
            packet[bit / 8] ^= 1 << (bit % 8);
            // Version and lengths have checks of their own.
            if let Ok(ip) = View::new_checked(&packet) {
                assert!(!ip.checksum_is_valid(), "bit {bit}");
            }
        }
    }

    #[test]
    fn lengths_and_version_out_of_bounds() {
        let with = |offset: usize, value: u8| {
            let mut packet = PACKET;
            packet[offset] = value;
            View::new_checked(&packet).map(|_| ())
        };
        assert_eq!(with(0, 0x66), Err(ParseError::Version));
        assert_eq!(with(0, 0x44), Err(ParseError::HeaderLength));
        assert_eq!(with(0, 0x47), Err(ParseError::HeaderLength), "28 octets of header, 25 of packet");
        assert_eq!(with(3, 19), Err(ParseError::TotalLength));
        assert_eq!(with(3, 23), Err(ParseError::HeaderLength));
        assert_eq!(with(3, 24), Ok(()));
        assert_eq!(with(3, 27), Err(ParseError::TotalLength));
        assert_eq!(View::new_checked(&PACKET[..19]).unwrap_err(), ParseError::Truncated);
        assert_eq!(View::new_checked(&[]).unwrap_err(), ParseError::Truncated);
        assert_eq!(View::new_checked(&[0x60]).unwrap_err(), ParseError::Version);
    }

    #[test]
    fn a_cut_packet_passes_only_as_such() {
        assert_eq!(View::new_checked(&PACKET[..24]).unwrap_err(), ParseError::TotalLength);
        let ip = View::new_truncated(&PACKET[..24]).unwrap();
        assert_eq!((ip.total_len(), ip.payload().len()), (25, 0));
        assert_eq!(View::new_truncated(&PACKET[..23]).unwrap_err(), ParseError::HeaderLength);
    }

    #[test]
    fn options_are_walked() {
        assert_eq!(check_options(&[]), Ok(()));
        assert_eq!(check_options(&[148, 4, 0, 0]), Ok(()), "router alert passes");
        assert_eq!(check_options(&[1, 1, 0, 255]), Ok(()), "nothing is read behind the end");
        assert_eq!(check_options(&[1, 131, 3, 4]), Err(OptionError::SourceRoute));
        assert_eq!(check_options(&[137, 3, 4, 0]), Err(OptionError::SourceRoute));
        assert_eq!(check_options(&[7, 3, 4, 0]), Err(OptionError::SourceRoute));
        assert_eq!(check_options(&[68, 0, 0, 0]), Err(OptionError::Malformed));
        assert_eq!(check_options(&[68, 1, 0, 0]), Err(OptionError::Malformed));
        assert_eq!(check_options(&[68, 5, 0, 0]), Err(OptionError::Malformed));
        assert_eq!(check_options(&[1, 1, 1, 68]), Err(OptionError::Malformed));
    }
}
